//! One file being fetched: the places of its tree still to visit, and the chunks between wanted and done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_types::{Address, Instant, RequestId};
use smartmesh_wire::chunk::{ADDRESSES_MAX, ChunkAddress, ChunkMessage};

use super::holder::Holder;
use super::{FailReason, RetrievalConfig, RetrievalEvent, RetrievalOutput};
use crate::tree::{Node, Opened, TreeError};
use crate::{Chunk, Reference};

/// Places of data known and not yet visited, beyond which no further chunk with references is fetched: 100 KiB of memory.
const LEAVES_MAX: usize = 1_024;
/// Places for which chunks are pending; a file of one chunk repeated would otherwise pile up all its places at once.
const PLACES_MAX: usize = 2_048;
/// References in a chunk, at most.
const BRANCHES_MAX: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The store has been asked.
    Asked,
    /// To be fetched.
    Waiting,
    /// Asked of a holder.
    InFlight,
}

#[derive(Debug)]
struct Pending {
    /// Every place of the file that this chunk fills.
    places: Vec<Node>,
    stage: Stage,
    /// Holders that said they have it not.
    missing_at: BTreeSet<Address>,
}

impl Pending {
    fn may_branch(&self) -> bool {
        self.places.first().is_some_and(Node::may_branch)
    }
}

/// One file on its way.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) id: RequestId,
    pub(super) holders: BTreeSet<Address>,
    /// Places whose chunks hold references; the next on top.
    branches: Vec<Node>,
    /// Places whose chunks hold data.
    leaves: VecDeque<Node>,
    pending: BTreeMap<ChunkAddress, Pending>,
    /// Pending chunks to be fetched, in order.
    waiting: VecDeque<ChunkAddress>,
    /// Places of all pending chunks together.
    places: usize,
    bytes_done: u64,
    bytes_told: u64,
    bytes_total: Option<u64>,
}

impl Fetch {
    pub(super) fn new(id: RequestId, reference: Reference) -> Self {
        Self {
            id,
            holders: BTreeSet::new(),
            branches: vec![Node::root(reference)],
            leaves: VecDeque::new(),
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            places: 0,
            bytes_done: 0,
            bytes_told: 0,
            bytes_total: None,
        }
    }

    pub(super) fn wants(&self, address: ChunkAddress) -> bool {
        self.pending.contains_key(&address)
    }

    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.pending.is_empty() && self.branches.is_empty() && self.leaves.is_empty()
    }

    pub(super) fn bytes_total(&self) -> u64 {
        self.bytes_total.unwrap_or(0)
    }

    /// Asks the store for the chunks of the next places, as far as the limits allow.
    pub(super) fn visit(
        &mut self,
        config: &RetrievalConfig,
        outputs: &mut VecDeque<RetrievalOutput>,
    ) -> Result<(), TreeError> {
        while self.pending.len() < config.pending_max && self.places < PLACES_MAX {
            let Some(place) = self.next_place() else {
                return Ok(());
            };
            self.places = self.places.saturating_add(1);
            let address = place.address();
            if let Some(pending) = self.pending.get_mut(&address) {
                if pending.may_branch() != place.may_branch() {
                    let spans = |node: Option<&Node>| node.and_then(|node| node.span).unwrap_or(0);
                    return Err(TreeError::Span {
                        expected: spans(Some(&place)),
                        found: spans(pending.places.first()),
                    });
                }
                pending.places.push(place);
                continue;
            }
            outputs.push_back(if place.may_branch() {
                RetrievalOutput::LoadChunk { address }
            } else {
                RetrievalOutput::FindChunk { address }
            });
            self.pending.insert(
                address,
                Pending {
                    places: vec![place],
                    stage: Stage::Asked,
                    missing_at: BTreeSet::new(),
                },
            );
        }
        Ok(())
    }

    /// References first, as long as the data they lead to can be remembered.
    fn next_place(&mut self) -> Option<Node> {
        let opening = self
            .pending
            .values()
            .filter(|pending| pending.may_branch())
            .count();
        let expected = self
            .leaves
            .len()
            .saturating_add(opening.saturating_mul(BRANCHES_MAX));
        let next = if expected < LEAVES_MAX {
            self.branches.pop()
        } else {
            None
        };
        next.or_else(|| self.leaves.pop_front())
            .or_else(|| (opening == 0).then(|| self.branches.pop())?)
    }

    /// The store has it not: it must be fetched.
    pub(super) fn mark_absent(&mut self, address: ChunkAddress) {
        let asked = self
            .pending
            .get(&address)
            .is_some_and(|pending| pending.stage == Stage::Asked);
        if asked {
            self.mark_waiting(address);
        }
    }

    /// To be asked of another holder, or of the same one later; chunks with references go first.
    pub(super) fn mark_waiting(&mut self, address: ChunkAddress) {
        let Some(pending) = self.pending.get_mut(&address) else {
            return;
        };
        if pending.stage == Stage::Waiting {
            return;
        }
        pending.stage = Stage::Waiting;
        if pending.may_branch() {
            self.waiting.push_front(address);
        } else {
            self.waiting.push_back(address);
        }
    }

    pub(super) fn mark_missing(&mut self, address: ChunkAddress, at: Address) {
        if let Some(pending) = self.pending.get_mut(&address) {
            pending.missing_at.insert(at);
            self.mark_waiting(address);
        }
    }

    /// The store has a chunk of data; true if this fetch was asking.
    pub(super) fn mark_held(&mut self, address: ChunkAddress) -> bool {
        let asked = self
            .pending
            .get(&address)
            .is_some_and(|pending| pending.stage == Stage::Asked && !pending.may_branch());
        if let Some(pending) = asked.then(|| self.remove(address)).flatten() {
            for place in &pending.places {
                self.done(place.span.unwrap_or(0));
            }
        }
        asked
    }

    fn done(&mut self, bytes: u64) {
        self.bytes_done = self.bytes_done.saturating_add(bytes);
    }

    fn remove(&mut self, address: ChunkAddress) -> Option<Pending> {
        let pending = self.pending.remove(&address)?;
        self.places = self.places.saturating_sub(pending.places.len());
        if pending.stage == Stage::Waiting {
            self.waiting.retain(|waiting| *waiting != address);
        }
        Some(pending)
    }

    /// Takes a verified chunk that is in the store now.
    pub(super) fn apply_chunk(&mut self, chunk: &Chunk) -> Result<(), TreeError> {
        let Some(pending) = self.remove(chunk.address()) else {
            return Ok(());
        };
        for place in &pending.places {
            match place.open(chunk)? {
                Opened::Data(data) => {
                    let length = u64::try_from(data.len()).unwrap_or(0);
                    self.bytes_total.get_or_insert(length);
                    self.done(length);
                }
                Opened::Branch(span, children) => {
                    self.bytes_total.get_or_insert(span);
                    let (branches, leaves): (Vec<Node>, Vec<Node>) =
                        children.into_iter().partition(Node::may_branch);
                    self.branches.extend(branches.into_iter().rev());
                    self.leaves.extend(leaves);
                }
            }
        }
        Ok(())
    }

    /// Tells how far it is, once for each hundredth of the file.
    pub(super) fn tell_progress(&mut self, outputs: &mut VecDeque<RetrievalOutput>) {
        let Some(bytes_total) = self.bytes_total else {
            return;
        };
        let step = bytes_total.div_ceil(100).max(1);
        if self.bytes_done.saturating_sub(self.bytes_told) >= step {
            self.bytes_told = self.bytes_done;
            outputs.push_back(RetrievalOutput::Event(RetrievalEvent::Progress {
                id: self.id,
                bytes_done: self.bytes_done,
                bytes_total,
            }));
        }
    }

    /// Asks holders with room for what is waiting, always the one with the most room.
    ///
    /// # Errors
    /// If there is no holder, or none that could still have a chunk.
    pub(super) fn ask(
        &mut self,
        holders: &mut BTreeMap<Address, Holder>,
        config: &RetrievalConfig,
        now: Instant,
        outputs: &mut VecDeque<RetrievalOutput>,
    ) -> Result<(), FailReason> {
        if self.holders.is_empty() && !self.waiting.is_empty() {
            return Err(FailReason::NoHolders);
        }
        let mut room: BTreeMap<Address, usize> = self
            .holders
            .iter()
            .filter_map(|peer| Some((*peer, holders.get(peer)?.room(config, now))))
            .collect();
        let mut asked: BTreeMap<Address, Vec<ChunkAddress>> = BTreeMap::new();
        let mut later = VecDeque::new();
        while let Some(address) = self.waiting.pop_front() {
            let Some(pending) = self.pending.get_mut(&address) else {
                continue;
            };
            if self.holders.is_subset(&pending.missing_at) {
                return Err(FailReason::Missing(address));
            }
            let best = room
                .iter_mut()
                .filter(|(peer, room)| **room > 0 && !pending.missing_at.contains(peer))
                .max_by_key(|(_, room)| **room);
            let Some((peer, room)) = best else {
                later.push_back(address);
                continue;
            };
            *room = room.saturating_sub(1);
            pending.stage = Stage::InFlight;
            if let Some(holder) = holders.get_mut(peer) {
                holder.ask(address, self.id, now);
            }
            asked.entry(*peer).or_default().push(address);
        }
        self.waiting = later;
        for (to, addresses) in asked {
            for some in addresses.chunks(ADDRESSES_MAX) {
                outputs.push_back(RetrievalOutput::Send {
                    to,
                    message: ChunkMessage::Request(some.to_vec()),
                });
            }
        }
        Ok(())
    }
}
