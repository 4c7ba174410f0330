//! The core that fetches files from several holders at once and serves chunks to whoever asks.
//!
//! A fetched chunk goes through these states; a file is complete when none is left and no place in its tree is unvisited.
//!
//! | state | becomes | when |
//! |---|---|---|
//! | asked of the own store | done | the store has it: nothing is fetched twice, also after a restart |
//! | | waiting | the store has it not |
//! | waiting | in flight | a holder has room in its window |
//! | in flight | done | it arrived and its address is right; stored |
//! | | waiting | the holder was silent too long, lied, left, or has it not |
//!
//! The root and the chunks with references come before the data they lead to. A holder whose chunk does not hash to its address
//! is dropped at once; one that is silent is asked again later, after the others, and dropped the fourth time in a row.

use std::collections::{BTreeMap, VecDeque};

use smartmesh_types::{Address, Duration, Instant, Now, RequestId};
use smartmesh_wire::chunk::{ChunkAddress, ChunkMessage};
use thiserror::Error;

use crate::{Chunk, Reference, TreeError};

mod counters;
mod fetch;
mod holder;
mod serve;

pub use counters::RetrievalCounters;

use fetch::Fetch;
use holder::Holder;
use serve::Serving;

/// Limits of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrievalConfig {
    /// Files fetched at once.
    pub fetches_max: usize,
    /// Holders of one file; more are left aside.
    pub holders_max: usize,
    /// Chunks of one file that are asked for, wanted or under way at once; together about 1 MiB.
    pub pending_max: usize,
    /// Chunks under way from one holder at most; its window is smaller while its round trips say so.
    pub window_max: usize,
    /// Patience with a holder before its round trip is known; a chunk takes 1.6 s on the slowest path that has sessions.
    pub patience_first: Duration,
    /// The least patience.
    pub patience_min: Duration,
    /// The most patience.
    pub patience_max: Duration,
    /// Peers served at once; further ones get no answer.
    pub served_max: usize,
    /// Chunks owed to one peer: asked for, being loaded, or not yet taken by its session; what exceeds it gets no answer.
    pub owed_max: usize,
    /// Chunks being loaded from the store for others at once.
    pub loads_max: usize,
}

impl Default for RetrievalConfig {
    fn default() -> Self {
        Self {
            fetches_max: 16,
            holders_max: 16,
            pending_max: 256,
            window_max: 64,
            patience_first: Duration::from_secs(8),
            patience_min: Duration::from_secs(2),
            patience_max: Duration::from_secs(30),
            served_max: 64,
            owed_max: 128,
            loads_max: 32,
        }
    }
}

/// What comes in.
#[derive(Clone, Debug)]
pub enum RetrievalInput {
    /// Fetches every chunk of a file that the store lacks; [`RetrievalEvent::Complete`] or [`RetrievalEvent::Failed`] follows.
    Fetch {
        /// Names the fetch in events.
        id: RequestId,
        /// The file.
        reference: Reference,
        /// Who may have it; each must be reachable by [`RetrievalOutput::Send`].
        holders: Vec<Address>,
    },
    /// Others who may have the file too.
    AddHolders {
        /// The fetch.
        id: RequestId,
        /// Who.
        holders: Vec<Address>,
    },
    /// Gives a fetch up; what arrived stays in the store, and no event follows.
    Cancel {
        /// The fetch.
        id: RequestId,
    },
    /// A message from an authenticated peer.
    Received {
        /// Who.
        from: Address,
        /// What.
        message: ChunkMessage,
    },
    /// A peer can't be reached any more.
    PeerGone {
        /// Who.
        peer: Address,
    },
    /// A chunk, or word that one is missing, has been taken by this peer's session; until then it counts as owed.
    Sent {
        /// Who.
        to: Address,
    },
    /// A chunk came by another way and is in the store now: nobody needs to be asked for it.
    Stored(Chunk),
    /// The answer to [`RetrievalOutput::LoadChunk`].
    ChunkLoaded {
        /// Which.
        address: ChunkAddress,
        /// Span and payload, if the store has it.
        bytes: Option<Vec<u8>>,
    },
    /// The answer to [`RetrievalOutput::FindChunk`].
    ChunkFound {
        /// Which.
        address: ChunkAddress,
        /// Whether the store has it.
        held: Held,
    },
    /// Nothing but time has passed.
    Tick,
}

/// Whether the store has a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// It has.
    Yes,
    /// It has not.
    No,
}

/// What goes out, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetrievalOutput {
    /// Keep this verified chunk; must be done before later outputs are carried out.
    StoreChunk(Chunk),
    /// Load a chunk from the store; answer with [`RetrievalInput::ChunkLoaded`].
    LoadChunk {
        /// Which.
        address: ChunkAddress,
    },
    /// Say whether the store has a chunk; answer with [`RetrievalInput::ChunkFound`].
    FindChunk {
        /// Which.
        address: ChunkAddress,
    },
    /// Send a message.
    Send {
        /// To whom.
        to: Address,
        /// What.
        message: ChunkMessage,
    },
    /// Tell the layers above.
    Event(RetrievalEvent),
}

/// What the layers above get to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetrievalEvent {
    /// More of a file is in the store; told about 100 times a file at most.
    Progress {
        /// The fetch.
        id: RequestId,
        /// Bytes of the file in the store as far as visited.
        bytes_done: u64,
        /// Bytes of the file.
        bytes_total: u64,
    },
    /// All chunks of the file are in the store.
    Complete {
        /// The fetch.
        id: RequestId,
        /// Bytes of the file.
        bytes_total: u64,
    },
    /// The fetch has ended without the whole file; what arrived stays, and a new fetch goes on from there.
    Failed {
        /// The fetch.
        id: RequestId,
        /// Why.
        reason: FailReason,
    },
    /// A holder will not be asked again by this fetch.
    HolderDropped {
        /// The fetch.
        id: RequestId,
        /// Who.
        holder: Address,
        /// Why.
        fault: HolderFault,
    },
}

/// Why a fetch ended early.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FailReason {
    /// No holder is left.
    #[error("nobody who has the file can be reached")]
    NoHolders,
    /// Each holder says it has not this chunk.
    #[error("nobody has {0:?}")]
    Missing(ChunkAddress),
    /// The chunks are those that were referenced, and are no file.
    #[error("the file is damaged at its source: {0}")]
    Damaged(TreeError),
}

/// What a holder did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HolderFault {
    /// It sent bytes that are not the chunk they were sent as.
    Lied,
    /// It did not answer four times in a row.
    Silent,
    /// It can't be reached any more.
    Gone,
}

/// Why an input was refused; nothing has changed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RetrievalError {
    /// As many fetches as allowed.
    #[error("already {0} files are being fetched")]
    TooMany(usize),
    /// The id is in use.
    #[error("fetch {0:?} exists already")]
    Duplicate(RequestId),
    /// No such fetch.
    #[error("there is no fetch {0:?}")]
    Unknown(RequestId),
}

/// Fetches and serves chunks. Holds no chunk longer than one call; its tables are bounded by [`RetrievalConfig`].
#[derive(Debug)]
pub struct Retrieval {
    config: RetrievalConfig,
    fetches: BTreeMap<RequestId, Fetch>,
    holders: BTreeMap<Address, Holder>,
    serving: Serving,
    outputs: VecDeque<RetrievalOutput>,
    now: Instant,
    counters: RetrievalCounters,
}

impl Retrieval {
    /// A core that fetches nothing yet.
    pub fn new(config: RetrievalConfig, now: Now) -> Self {
        Self {
            config,
            fetches: BTreeMap::new(),
            holders: BTreeMap::new(),
            serving: Serving::default(),
            outputs: VecDeque::new(),
            now: now.instant,
            counters: RetrievalCounters::default(),
        }
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If a command names no fetch, one that exists, or one too many; the state is as before.
    pub fn handle(&mut self, input: RetrievalInput, now: Now) -> Result<(), RetrievalError> {
        self.now = now.instant;
        match input {
            RetrievalInput::Fetch {
                id,
                reference,
                holders,
            } => self.handle_fetch(id, reference, holders)?,
            RetrievalInput::AddHolders { id, holders } => self.handle_add_holders(id, holders)?,
            RetrievalInput::Cancel { id } => self.handle_cancel(id)?,
            RetrievalInput::Received { from, message } => self.handle_message(from, message),
            RetrievalInput::PeerGone { peer } => {
                self.serving.forget(peer);
                self.drop_holder(peer, HolderFault::Gone);
            }
            RetrievalInput::Sent { to } => self.serving.sent(to),
            RetrievalInput::Stored(chunk) => {
                self.cancel(chunk.address(), None);
                self.apply_chunk(&chunk);
            }
            RetrievalInput::ChunkLoaded { address, bytes } => self.handle_loaded(address, bytes),
            RetrievalInput::ChunkFound { address, held } => self.handle_found(address, held),
            RetrievalInput::Tick => self.handle_tick(),
        }
        self.advance();
        Ok(())
    }

    /// The next output, or `None` when drained.
    pub fn poll_output(&mut self) -> Option<RetrievalOutput> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with a tick if nothing comes before.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(self.now);
        }
        let waiting = self.fetches.values().any(Fetch::has_waiting);
        self.holders
            .values()
            .filter_map(|holder| holder.next_timeout(&self.config, waiting, self.now))
            .min()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> &RetrievalCounters {
        &self.counters
    }

    fn handle_fetch(
        &mut self,
        id: RequestId,
        reference: Reference,
        holders: Vec<Address>,
    ) -> Result<(), RetrievalError> {
        if self.fetches.contains_key(&id) {
            return Err(RetrievalError::Duplicate(id));
        }
        if self.fetches.len() >= self.config.fetches_max {
            return Err(RetrievalError::TooMany(self.fetches.len()));
        }
        self.fetches.insert(id, Fetch::new(id, reference));
        self.handle_add_holders(id, holders)
    }

    fn handle_add_holders(
        &mut self,
        id: RequestId,
        holders: Vec<Address>,
    ) -> Result<(), RetrievalError> {
        let fetch = self
            .fetches
            .get_mut(&id)
            .ok_or(RetrievalError::Unknown(id))?;
        for holder in holders {
            if fetch.holders.len() < self.config.holders_max {
                fetch.holders.insert(holder);
                self.holders
                    .entry(holder)
                    .or_insert_with(|| Holder::new(self.now));
            }
        }
        Ok(())
    }

    fn handle_cancel(&mut self, id: RequestId) -> Result<(), RetrievalError> {
        let fetch = self
            .fetches
            .remove(&id)
            .ok_or(RetrievalError::Unknown(id))?;
        self.end_fetch(&fetch);
        Ok(())
    }

    /// Tells holders that what is under way for an ended fetch is not wanted, and forgets holders nobody needs.
    fn end_fetch(&mut self, ended: &Fetch) {
        for peer in &ended.holders {
            if let Some(holder) = self.holders.get_mut(peer) {
                let cancelled = holder.cancel(ended.id);
                for some in cancelled.chunks(smartmesh_wire::chunk::ADDRESSES_MAX) {
                    self.outputs.push_back(RetrievalOutput::Send {
                        to: *peer,
                        message: ChunkMessage::Cancel(some.to_vec()),
                    });
                }
            }
            let needed = self
                .fetches
                .values()
                .any(|fetch| fetch.holders.contains(peer));
            if !needed {
                self.holders.remove(peer);
            }
        }
    }

    fn handle_message(&mut self, from: Address, message: ChunkMessage) {
        match message {
            ChunkMessage::Request(addresses) => {
                let refused = self.serving.request(from, addresses, &self.config);
                self.counters.refused = self.counters.refused.saturating_add(refused);
            }
            ChunkMessage::Cancel(addresses) => self.serving.cancel(from, &addresses),
            ChunkMessage::Missing(addresses) => self.handle_missing(from, &addresses),
            ChunkMessage::Chunk { address, bytes } => self.handle_chunk(from, address, bytes),
        }
    }

    fn handle_missing(&mut self, from: Address, addresses: &[ChunkAddress]) {
        let Some(holder) = self.holders.get_mut(&from) else {
            return;
        };
        holder.heard(self.now);
        for address in addresses {
            for id in holder.take(*address) {
                if let Some(fetch) = self.fetches.get_mut(&id) {
                    fetch.mark_missing(*address, from);
                }
            }
        }
    }

    fn handle_chunk(&mut self, from: Address, address: ChunkAddress, bytes: Vec<u8>) {
        let wanted = self.fetches.values().any(|fetch| fetch.wants(address));
        let Some(holder) = self.holders.get_mut(&from).filter(|_| wanted) else {
            self.counters.unasked = self.counters.unasked.saturating_add(1);
            return;
        };
        let Ok(chunk) = Chunk::verify(address, bytes) else {
            self.counters.lies = self.counters.lies.saturating_add(1);
            tracing::debug!(?address, "a holder sent another chunk than asked for");
            self.drop_holder(from, HolderFault::Lied);
            return;
        };
        holder.arrived(address, self.now, &self.config);
        // Asked of somebody else meanwhile, because this holder was late: that answer is no longer wanted.
        self.cancel(address, Some(from));
        self.counters.fetched = self.counters.fetched.saturating_add(1);
        self.outputs
            .push_back(RetrievalOutput::StoreChunk(chunk.clone()));
        self.apply_chunk(&chunk);
    }

    /// Tells all who were asked for a chunk, but for the one it came from, that it is wanted no more.
    fn cancel(&mut self, address: ChunkAddress, came_from: Option<Address>) {
        for (peer, other) in &mut self.holders {
            if !other.take(address).is_empty() && Some(*peer) != came_from {
                self.outputs.push_back(RetrievalOutput::Send {
                    to: *peer,
                    message: ChunkMessage::Cancel(vec![address]),
                });
            }
        }
    }

    /// Gives a verified chunk to each fetch that has a place for it.
    fn apply_chunk(&mut self, chunk: &Chunk) {
        let mut failed = Vec::new();
        for fetch in self.fetches.values_mut() {
            if let Err(error) = fetch.apply_chunk(chunk) {
                failed.push((fetch.id, FailReason::Damaged(error)));
            }
        }
        for (id, reason) in failed {
            self.fail(id, reason);
        }
    }

    fn handle_loaded(&mut self, address: ChunkAddress, bytes: Option<Vec<u8>>) {
        let loaded = bytes.and_then(|bytes| Chunk::from_bytes(bytes).ok());
        // A store that returns other bytes than were put in has lost the chunk.
        let loaded = loaded.filter(|chunk| chunk.address() == address);
        self.serve_loaded(address, loaded.as_ref());
        match loaded {
            Some(chunk) if self.fetches.values().any(|fetch| fetch.wants(address)) => {
                self.counters.held = self.counters.held.saturating_add(1);
                self.apply_chunk(&chunk);
            }
            Some(_) => {}
            None => {
                for fetch in self.fetches.values_mut() {
                    fetch.mark_absent(address);
                }
            }
        }
    }

    fn handle_found(&mut self, address: ChunkAddress, held: Held) {
        for fetch in self.fetches.values_mut() {
            match held {
                Held::Yes => {
                    if fetch.mark_held(address) {
                        self.counters.held = self.counters.held.saturating_add(1);
                    }
                }
                Held::No => fetch.mark_absent(address),
            }
        }
    }

    fn handle_tick(&mut self) {
        let mut silent = Vec::new();
        for (peer, holder) in &mut self.holders {
            if !holder.is_overdue(&self.config, self.now) {
                continue;
            }
            self.counters.silences = self.counters.silences.saturating_add(1);
            for (address, id) in holder.give_up(&self.config, self.now) {
                if let Some(fetch) = self.fetches.get_mut(&id) {
                    fetch.mark_waiting(address);
                }
            }
            if holder.is_hopeless() {
                silent.push(*peer);
            }
        }
        for peer in silent {
            self.drop_holder(peer, HolderFault::Silent);
        }
    }

    fn drop_holder(&mut self, peer: Address, fault: HolderFault) {
        let Some(holder) = self.holders.remove(&peer) else {
            return;
        };
        for (address, id) in holder.into_in_flight() {
            if let Some(fetch) = self.fetches.get_mut(&id) {
                fetch.mark_waiting(address);
            }
        }
        for fetch in self.fetches.values_mut() {
            if fetch.holders.remove(&peer) {
                self.outputs
                    .push_back(RetrievalOutput::Event(RetrievalEvent::HolderDropped {
                        id: fetch.id,
                        holder: peer,
                        fault,
                    }));
            }
        }
    }

    fn fail(&mut self, id: RequestId, reason: FailReason) {
        if let Some(fetch) = self.fetches.remove(&id) {
            self.outputs
                .push_back(RetrievalOutput::Event(RetrievalEvent::Failed {
                    id,
                    reason,
                }));
            self.end_fetch(&fetch);
        }
    }

    /// Visits further places, asks holders for what is waiting, ends what is complete or hopeless, and loads for others.
    fn advance(&mut self) {
        let ids: Vec<RequestId> = self.fetches.keys().copied().collect();
        for id in ids {
            let Some(fetch) = self.fetches.get_mut(&id) else {
                continue;
            };
            if let Err(error) = fetch.visit(&self.config, &mut self.outputs) {
                self.fail(id, FailReason::Damaged(error));
                continue;
            }
            fetch.tell_progress(&mut self.outputs);
            if fetch.is_complete() {
                let bytes_total = fetch.bytes_total();
                self.outputs
                    .push_back(RetrievalOutput::Event(RetrievalEvent::Complete {
                        id,
                        bytes_total,
                    }));
                if let Some(fetch) = self.fetches.remove(&id) {
                    self.end_fetch(&fetch);
                }
                continue;
            }
            let asked = fetch.ask(&mut self.holders, &self.config, self.now, &mut self.outputs);
            if let Err(reason) = asked {
                self.fail(id, reason);
            }
        }
        self.serving.load(&self.config, &mut self.outputs);
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]
mod tests;
