//! The labels this node has given out: a slot each, found by index, so that a packet costs one array access.
//!
//! ```text
//! a label     31        20 19                 0
//!             +-----------+--------------------+
//!             | generation|   slot index + 16  |
//!             +-----------+--------------------+
//! ```
//!
//! The generation changes each time a slot is freed, so an old label finds nothing; it starts at random, so labels of an
//! earlier run of the program find nothing either.

use std::collections::VecDeque;

use smartmesh_crypto::Rng;
use smartmesh_types::{Instant, Label, NeighbourId};
use smartmesh_wire::flow::{LABEL_MIN, PathToken};

use super::{DropReason, Forward, PathId};

/// Bits of a label that name the slot.
const INDEX_BITS: u32 = 20;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
const GENERATION_MASK: u32 = u32::MAX >> INDEX_BITS;
/// More slots than this would not fit the index.
pub(super) const SLOTS_MAX: usize = 1_048_000;

/// What happens to a packet that carries a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The slot is unused.
    Free,
    /// The path is not built yet, or broken without a way round.
    Hold,
    /// Goes on to a neighbour.
    Relay { to: NeighbourId, label: Label },
    /// Goes on through a bypass.
    RelayInside {
        to: NeighbourId,
        label: Label,
        push: Label,
    },
    /// Comes out of a bypass that stands for the link to this neighbour.
    Unwrap { from: NeighbourId },
    /// Is for this node.
    Deliver { path: PathId },
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u32,
    from: NeighbourId,
    action: Action,
    last_used: Instant,
    token: PathToken,
}

/// All labels given out.
#[derive(Debug)]
pub(super) struct LabelTable {
    slots: Vec<Slot>,
    /// Oldest first, so that a label stays unused for as long as possible.
    free: VecDeque<u32>,
    slots_max: usize,
    first_generation: u32,
}

impl LabelTable {
    pub(super) fn new(slots_max: usize, rng: &mut Rng) -> Self {
        Self {
            slots: Vec::new(),
            free: VecDeque::new(),
            slots_max: slots_max.min(SLOTS_MAX),
            first_generation: rng.u32() & GENERATION_MASK,
        }
    }

    /// Labels in use.
    pub(super) fn used(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// A new label that only this neighbour may use; `None` if the table is full.
    pub(super) fn allocate(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        action: Action,
        now: Instant,
    ) -> Option<Label> {
        // Slots rest until half of the table has been handed out once: an old label is then far away.
        let fresh = self.slots.len() < self.slots_max
            && (self.free.is_empty() || self.free.len() < self.slots.len() / 2);
        let index = if fresh {
            let index = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(Slot {
                generation: self.first_generation,
                from,
                action: Action::Free,
                last_used: now,
                token,
            });
            index
        } else {
            self.free.pop_front()?
        };
        let slot = self.slots.get_mut(usize::try_from(index).ok()?)?;
        slot.from = from;
        slot.action = action;
        slot.last_used = now;
        slot.token = token;
        Some(label_of(index, slot.generation))
    }

    /// Frees a label; one that is free already is left alone.
    pub(super) fn free(&mut self, label: Label) {
        let Some(index) = index_of(label) else { return };
        if let Some(slot) = self.slot_mut(label) {
            slot.action = Action::Free;
            slot.generation = slot.generation.wrapping_add(1) & GENERATION_MASK;
            if let Ok(index) = u32::try_from(index) {
                self.free.push_back(index);
            }
        }
    }

    pub(super) fn set_action(&mut self, label: Label, action: Action) {
        if let Some(slot) = self.slot_mut(label) {
            slot.action = action;
        }
    }

    pub(super) fn last_used(&self, label: Label) -> Option<Instant> {
        self.slot(label).map(|slot| slot.last_used)
    }

    pub(super) fn token(&self, label: Label) -> Option<PathToken> {
        self.slot(label).map(|slot| slot.token)
    }

    /// Decides about one packet: constant time, no allocation.
    #[inline]
    pub(super) fn forward(&mut self, from: NeighbourId, label: Label, now: Instant) -> Forward {
        let Some(slot) = self.slot_mut(label) else {
            return Forward::Drop(DropReason::UnknownLabel);
        };
        if slot.from != from {
            return Forward::Drop(DropReason::Stranger);
        }
        slot.last_used = now;
        match slot.action {
            Action::Relay { to, label } => Forward::Relay { to, label },
            Action::RelayInside { to, label, push } => Forward::RelayInside { to, label, push },
            Action::Unwrap { from } => Forward::Unwrap { from },
            Action::Deliver { path } => Forward::Deliver { path },
            Action::Hold => Forward::Hold,
            Action::Free => Forward::Drop(DropReason::UnknownLabel),
        }
    }

    #[inline]
    fn slot(&self, label: Label) -> Option<&Slot> {
        let slot = self.slots.get(index_of(label)?)?;
        (slot.generation == label.0 >> INDEX_BITS && slot.action != Action::Free).then_some(slot)
    }

    #[inline]
    fn slot_mut(&mut self, label: Label) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(index_of(label)?)?;
        (slot.generation == label.0 >> INDEX_BITS && slot.action != Action::Free).then_some(slot)
    }
}

fn label_of(index: u32, generation: u32) -> Label {
    Label((generation & GENERATION_MASK) << INDEX_BITS | (index.saturating_add(LABEL_MIN)))
}

#[inline]
fn index_of(label: Label) -> Option<usize> {
    usize::try_from((label.0 & INDEX_MASK).checked_sub(LABEL_MIN)?).ok()
}

#[cfg(test)]
mod tests {
    use smartmesh_crypto::Seed;

    use super::*;

    const TOKEN: PathToken = PathToken([1; 16]);
    const ALICE: NeighbourId = NeighbourId(1);
    const EVE: NeighbourId = NeighbourId(2);

    fn table(slots: usize) -> LabelTable {
        LabelTable::new(slots, &mut Seed::new([1; 32]).rng())
    }

    #[test]
    fn a_label_serves_its_neighbour_until_it_is_freed() {
        let mut labels = table(4);
        let relay = Action::Relay {
            to: EVE,
            label: Label(99),
        };
        let label = labels.allocate(ALICE, TOKEN, relay, Instant::ZERO).unwrap();
        assert!(label.0 >= LABEL_MIN);
        let now = Instant::from_millis(5);
        assert_eq!(
            labels.forward(ALICE, label, now),
            Forward::Relay {
                to: EVE,
                label: Label(99)
            }
        );
        assert_eq!(labels.last_used(label), Some(now));
        assert_eq!(
            labels.forward(EVE, label, now),
            Forward::Drop(DropReason::Stranger)
        );
        labels.free(label);
        labels.free(label);
        assert_eq!(labels.used(), 0);
        assert_eq!(
            labels.forward(ALICE, label, now),
            Forward::Drop(DropReason::UnknownLabel)
        );
    }

    #[test]
    fn a_full_table_gives_nothing_and_a_reused_slot_gets_another_label() {
        let mut labels = table(2);
        let first = labels
            .allocate(ALICE, TOKEN, Action::Hold, Instant::ZERO)
            .unwrap();
        let second = labels
            .allocate(ALICE, TOKEN, Action::Hold, Instant::ZERO)
            .unwrap();
        assert_eq!(
            labels.allocate(ALICE, TOKEN, Action::Hold, Instant::ZERO),
            None
        );
        labels.free(first);
        let third = labels
            .allocate(ALICE, TOKEN, Action::Hold, Instant::ZERO)
            .unwrap();
        assert!(third != first && third != second);
        assert_eq!(labels.token(first), None);
    }

    #[test]
    fn labels_of_the_link_itself_find_nothing() {
        let mut labels = table(2);
        labels
            .allocate(ALICE, TOKEN, Action::Hold, Instant::ZERO)
            .unwrap();
        for label in (0..LABEL_MIN).chain([u32::MAX]) {
            assert_eq!(
                labels.forward(ALICE, Label(label), Instant::ZERO),
                Forward::Drop(DropReason::UnknownLabel)
            );
        }
    }
}
