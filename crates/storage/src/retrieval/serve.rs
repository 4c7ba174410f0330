//! Serving others: what each has asked for and not yet got, bounded for each and for all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_types::Address;
use smartmesh_wire::chunk::{ChunkAddress, ChunkMessage};

use super::{Retrieval, RetrievalConfig, RetrievalOutput};
use crate::Chunk;

#[derive(Debug, Default)]
struct Served {
    queue: VecDeque<ChunkAddress>,
    loading: BTreeSet<ChunkAddress>,
    /// Answers given out and not yet taken by the peer's session.
    unsent: usize,
}

impl Served {
    fn owed(&self) -> usize {
        self.queue
            .len()
            .saturating_add(self.loading.len())
            .saturating_add(self.unsent)
    }
}

/// Everybody who is owed chunks, served in turn.
#[derive(Debug, Default)]
pub(super) struct Serving {
    peers: BTreeMap<Address, Served>,
    /// Who was served last; the next in order is next.
    last: Option<Address>,
}

impl Serving {
    /// Queues what was asked for and says how much of it was refused.
    pub(super) fn request(
        &mut self,
        from: Address,
        addresses: Vec<ChunkAddress>,
        config: &RetrievalConfig,
    ) -> u64 {
        let mut refused: u64 = 0;
        if !self.peers.contains_key(&from) && self.peers.len() >= config.served_max {
            return u64::try_from(addresses.len()).unwrap_or(u64::MAX);
        }
        let served = self.peers.entry(from).or_default();
        for address in addresses {
            let repeated = served.loading.contains(&address) || served.queue.contains(&address);
            if repeated || served.owed() >= config.owed_max {
                refused = refused.saturating_add(1);
            } else {
                served.queue.push_back(address);
            }
        }
        refused
    }

    pub(super) fn cancel(&mut self, from: Address, addresses: &[ChunkAddress]) {
        if let Some(served) = self.peers.get_mut(&from) {
            served.queue.retain(|address| !addresses.contains(address));
        }
        self.tidy(from);
    }

    pub(super) fn sent(&mut self, to: Address) {
        if let Some(served) = self.peers.get_mut(&to) {
            served.unsent = served.unsent.saturating_sub(1);
        }
        self.tidy(to);
    }

    pub(super) fn forget(&mut self, peer: Address) {
        self.peers.remove(&peer);
    }

    fn tidy(&mut self, peer: Address) {
        if self
            .peers
            .get(&peer)
            .is_some_and(|served| served.owed() == 0)
        {
            self.peers.remove(&peer);
        }
    }

    /// Asks the store for the next chunks, one peer after the other, so that nobody waits for another's long list.
    pub(super) fn load(
        &mut self,
        config: &RetrievalConfig,
        outputs: &mut VecDeque<RetrievalOutput>,
    ) {
        let mut loading: usize = self.peers.values().map(|served| served.loading.len()).sum();
        while loading < config.loads_max {
            let after = |(peer, _): &(&Address, &Served)| Some(**peer) > self.last;
            let hungry = |(_, served): &(&Address, &Served)| !served.queue.is_empty();
            let next = self
                .peers
                .iter()
                .filter(hungry)
                .find(after)
                .or_else(|| self.peers.iter().find(hungry))
                .map(|(peer, _)| *peer);
            let Some(peer) = next else {
                return;
            };
            self.last = Some(peer);
            let Some(served) = self.peers.get_mut(&peer) else {
                return;
            };
            if let Some(address) = served.queue.pop_front() {
                served.loading.insert(address);
                loading = loading.saturating_add(1);
                outputs.push_back(RetrievalOutput::LoadChunk { address });
            }
        }
    }

    /// The store has answered; says who gets the answer.
    pub(super) fn loaded(&mut self, address: ChunkAddress) -> Vec<Address> {
        let mut out = Vec::new();
        for (peer, served) in &mut self.peers {
            if served.loading.remove(&address) {
                served.unsent = served.unsent.saturating_add(1);
                out.push(*peer);
            }
        }
        out
    }
}

impl Retrieval {
    /// Answers all who asked for a chunk that the store has looked up.
    pub(super) fn serve_loaded(&mut self, address: ChunkAddress, chunk: Option<&Chunk>) {
        for to in self.serving.loaded(address) {
            let message = match chunk {
                Some(chunk) => {
                    self.counters.served = self.counters.served.saturating_add(1);
                    ChunkMessage::Chunk {
                        address,
                        bytes: chunk.bytes().to_vec(),
                    }
                }
                None => {
                    self.counters.missing = self.counters.missing.saturating_add(1);
                    ChunkMessage::Missing(vec![address])
                }
            };
            self.outputs
                .push_back(RetrievalOutput::Send { to, message });
        }
    }
}
