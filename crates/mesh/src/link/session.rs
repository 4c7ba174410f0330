//! One session: keys for both directions, the counter of what was sent, the window of what came.

use smartmesh_crypto::{AeadError, OpeningKey, SealingKey, TAG_BYTES};
use smartmesh_wire::link::{SESSION_BIT, SESSION_HEADER_BYTES, SESSION_PREFIX_BYTES};

/// Words of the replay window; a power of two.
const WINDOW_WORDS: usize = 32;
/// How far behind the highest counter a frame may come and still be judged: 31 words of 64 counters.
const WINDOW: u64 = 31 * 64;

/// Remembers which counters have come (RFC 6479: a ring of words, cleared as the highest counter moves on).
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayWindow {
    words: [u64; WINDOW_WORDS],
    /// One more than the highest counter that has come.
    next: u64,
    received: u64,
}

impl ReplayWindow {
    /// The full counter whose low half this is: the one nearest to what is expected next.
    pub(super) fn extend(&self, low: u32) -> u64 {
        extend(self.next, low)
    }

    /// Whether this counter is new and not too old to tell.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        self.next.wrapping_sub(counter) <= WINDOW && self.word(counter) & bit(counter) == 0
    }

    /// Marks a counter that was authenticated.
    pub(super) fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let newest = counter.wrapping_shr(6);
            let mut block = self.next.wrapping_add(63).wrapping_shr(6);
            if newest.wrapping_sub(block) >= WINDOW_WORDS as u64 && newest >= block {
                self.words = [0; WINDOW_WORDS];
            } else {
                while block <= newest {
                    if let Some(word) = self.words.get_mut(place(block)) {
                        *word = 0;
                    }
                    block = block.wrapping_add(1);
                }
            }
            self.next = counter.wrapping_add(1);
        }
        if let Some(word) = self.words.get_mut(place(counter.wrapping_shr(6))) {
            *word |= bit(counter);
        }
        self.received = self.received.wrapping_add(1);
    }

    /// The highest counter that has come.
    pub(super) fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// How many frames have come.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bit `63 - i`: the counter `highest - 1 - i` has come.
    pub(super) fn bitmap(&self) -> u64 {
        let Some(highest) = self.highest() else {
            return 0;
        };
        let upper = u128::from(self.word(highest));
        let lower = if highest < 64 {
            0
        } else {
            u128::from(self.word(highest.wrapping_sub(64)))
        };
        let shift = u32::try_from(highest & 63).unwrap_or(0);
        let both = upper.wrapping_shl(64) | lower;
        u64::try_from(both.wrapping_shr(shift) & u128::from(u64::MAX)).unwrap_or(0)
    }

    fn word(&self, counter: u64) -> u64 {
        let word = self.words.get(place(counter.wrapping_shr(6)));
        word.copied().unwrap_or(0)
    }
}

fn place(block: u64) -> usize {
    usize::try_from(block).unwrap_or(0) & (WINDOW_WORDS - 1)
}

fn bit(counter: u64) -> u64 {
    1_u64.wrapping_shl(u32::try_from(counter & 63).unwrap_or(0))
}

/// The 64-bit counter nearest to `expected` whose low 32 bits are `low`.
pub(super) fn extend(expected: u64, low: u32) -> u64 {
    const HALF: u64 = 1 << 31;
    const WHOLE: u64 = 1 << 32;
    let candidate = (expected & !(WHOLE - 1)) | u64::from(low);
    if candidate.saturating_add(HALF) < expected {
        candidate.saturating_add(WHOLE)
    } else if candidate > expected.saturating_add(HALF) && candidate >= WHOLE {
        candidate.saturating_sub(WHOLE)
    } else {
        candidate
    }
}

/// Why a frame of a known session is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenError {
    /// Its counter has come before, or is too old to tell.
    Replayed,
    /// It does not open under the session's key.
    Forged,
}

/// Keys and counters of one session with one neighbour.
pub(super) struct Session {
    /// The index by which the neighbour addresses it; our choice.
    pub(super) local: u32,
    /// The index by which we address it; the neighbour's choice.
    pub(super) remote: u32,
    /// Slot of the neighbour.
    pub(super) peer: usize,
    seal: SealingKey,
    open: OpeningKey,
    /// The counter of the next frame to send.
    pub(super) next: u64,
    pub(super) replay: ReplayWindow,
}

impl Session {
    pub(super) fn new(
        (local, remote): (u32, u32),
        peer: usize,
        (seal, open): (SealingKey, OpeningKey),
    ) -> Self {
        Self {
            local,
            remote,
            peer,
            seal,
            open,
            next: 0,
            replay: ReplayWindow::default(),
        }
    }

    /// Opens a frame in place: afterwards its bytes from [`SESSION_HEADER_BYTES`] to the tag are label and payload.
    pub(super) fn open(&mut self, counter: u32, frame: &mut [u8]) -> Result<u32, OpenError> {
        let counter = self.replay.extend(counter);
        if !self.replay.is_new(counter) {
            return Err(OpenError::Replayed);
        }
        let (header, sealed) = frame
            .split_at_mut_checked(SESSION_HEADER_BYTES)
            .ok_or(OpenError::Forged)?;
        let text = self
            .open
            .open(counter, header, sealed)
            .map_err(|AeadError| OpenError::Forged)?;
        let label = text.first_chunk().ok_or(OpenError::Forged)?;
        let label = u32::from_be_bytes(*label);
        self.replay.mark(counter);
        Ok(label)
    }

    /// Fills in the header, seals in place and returns the counter used. The frame is prefix, payload and room for the tag.
    pub(super) fn seal(&mut self, label: u32, frame: &mut [u8]) -> u64 {
        let counter = self.next;
        self.next = counter.wrapping_add(1);
        let low = u32::try_from(counter & 0xffff_ffff).unwrap_or(0);
        let text_end = frame.len().saturating_sub(TAG_BYTES);
        let Some((body, tag)) = frame.split_at_mut_checked(text_end) else {
            return counter;
        };
        let Some((header, text)) = body.split_at_mut_checked(SESSION_HEADER_BYTES) else {
            return counter;
        };
        let [r3, r2, r1, r0] = self.remote.to_be_bytes();
        let [c3, c2, c1, c0] = low.to_be_bytes();
        header.copy_from_slice(&[r3, r2, r1, r0, c3, c2, c1, c0]);
        if let Some(place) = text.first_chunk_mut() {
            *place = label.to_be_bytes();
        }
        tag.copy_from_slice(&self.seal.seal(counter, header, text));
        counter
    }

    /// Takes back a frame that this session sealed, and returns its payload.
    pub(super) fn unseal(&self, counter: u64, frame: &mut [u8]) -> Option<Vec<u8>> {
        let (header, sealed) = frame.split_at_mut_checked(SESSION_HEADER_BYTES)?;
        let text = self.seal.unseal(counter, header, sealed).ok()?;
        let label_bytes = SESSION_PREFIX_BYTES.checked_sub(SESSION_HEADER_BYTES)?;
        text.get(label_bytes..).map(<[u8]>::to_vec)
    }
}

/// Slots of the table; the low bits of an index choose one, so that finding a session is one look-up.
const TABLE_SLOTS: usize = 4_096;

/// All sessions by the index that stands in the frames for us.
pub(super) struct SessionTable(Vec<Option<Box<Session>>>);

impl SessionTable {
    pub(super) fn new() -> Self {
        let mut slots = Vec::new();
        slots.resize_with(TABLE_SLOTS, || None);
        Self(slots)
    }

    /// An index, uniformly random among those whose slot is free, or `None` if a few draws found none.
    /// `taken` are indices of handshakes under way, whose slots must stay free.
    pub(super) fn draw_index(&self, taken: &[u32], rng: &mut smartmesh_crypto::Rng) -> Option<u32> {
        (0..16).find_map(|_| {
            let index = rng.u32() | SESSION_BIT;
            let free = matches!(self.0.get(slot(index)), Some(None));
            (free && taken.iter().all(|other| slot(*other) != slot(index))).then_some(index)
        })
    }

    pub(super) fn insert(&mut self, session: Session) {
        if let Some(place) = self.0.get_mut(slot(session.local)) {
            *place = Some(Box::new(session));
        }
    }

    pub(super) fn find(&self, index: u32) -> Option<&Session> {
        let session = self.0.get(slot(index))?.as_deref()?;
        (session.local == index).then_some(session)
    }

    pub(super) fn find_mut(&mut self, index: u32) -> Option<&mut Session> {
        let session = self.0.get_mut(slot(index))?.as_deref_mut()?;
        (session.local == index).then_some(session)
    }

    pub(super) fn remove(&mut self, index: u32) {
        if self.find(index).is_some()
            && let Some(place) = self.0.get_mut(slot(index))
        {
            *place = None;
        }
    }
}

fn slot(index: u32) -> usize {
    usize::try_from(index).unwrap_or(0) & (TABLE_SLOTS - 1)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn the_window_lets_each_counter_through_once(
            steps in proptest::collection::vec((0_u64..3_000, any::<bool>()), 1..400),
        ) {
            let (mut window, mut seen, mut top) = (ReplayWindow::default(), BTreeSet::new(), 0_u64);
            for (distance, forward) in steps {
                let counter = if forward { top + distance % 200 } else { top.saturating_sub(distance) };
                let highest = window.highest().unwrap_or(0);
                let too_old = counter + WINDOW <= highest && !seen.is_empty();
                prop_assert_eq!(window.is_new(counter), !seen.contains(&counter) && !too_old);
                if window.is_new(counter) {
                    window.mark(counter);
                    seen.insert(counter);
                    top = top.max(counter);
                }
                let expected = (0..64).fold(0_u64, |bits, i| {
                    let came = top.checked_sub(1 + i).is_some_and(|c| seen.contains(&c));
                    bits | (u64::from(came) << (63 - i))
                });
                prop_assert_eq!(window.bitmap(), expected);
            }
        }

        #[test]
        fn counters_extend_across_the_wrap(expected in 0_u64..1 << 40, offset in -1_000_000_i64..1_000_000) {
            let counter = expected.saturating_add_signed(offset);
            prop_assert_eq!(extend(expected, (counter & 0xffff_ffff) as u32), counter);
        }
    }
}
