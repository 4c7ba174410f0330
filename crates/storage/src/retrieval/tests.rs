use std::collections::BTreeSet;

use proptest::prelude::*;
use smartmesh_crypto::Seed;
use smartmesh_wire::chunk::ChunkFrames;

use super::*;
use crate::{Reader, Splitter, split};

const FETCH: RequestId = RequestId(1);

/// How a node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Each chunk it sends has a flipped bit.
    Lying,
    /// Says nothing after this many chunks.
    Vanishing(u64),
}

struct Node {
    core: Retrieval,
    store: BTreeMap<ChunkAddress, Vec<u8>>,
    manner: Manner,
    events: Vec<RetrievalEvent>,
    /// Every address it was asked for by others, each time.
    asked: Vec<ChunkAddress>,
    sent: u64,
    stored: Vec<ChunkAddress>,
}

/// Nodes that reach each other with a latency; node 0 fetches.
struct Village {
    nodes: Vec<Node>,
    now: Now,
    air: BTreeMap<(Instant, u64), (usize, usize, ChunkMessage)>,
    sequence: u64,
}

fn name(index: usize) -> Address {
    Address::from_key_hash([u8::try_from(index).unwrap(); 13])
}

fn index(name: Address) -> usize {
    usize::from(name.octets()[15])
}

fn file(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Seed::new([5; 32]).rng().fill(&mut bytes);
    bytes
}

impl Village {
    fn new(manners: &[Manner]) -> Self {
        let node = |manner: &Manner| Node {
            core: Retrieval::new(RetrievalConfig::default(), Now::default()),
            store: BTreeMap::new(),
            manner: *manner,
            events: vec![],
            asked: vec![],
            sent: 0,
            stored: vec![],
        };
        let fetcher = node(&Manner::Honest);
        Self {
            nodes: std::iter::once(fetcher)
                .chain(manners.iter().map(node))
                .collect(),
            now: Now::default(),
            air: BTreeMap::new(),
            sequence: 0,
        }
    }

    fn publish(&mut self, splitter: Splitter, bytes: &[u8]) -> Reference {
        let (reference, chunks) = split(splitter, bytes);
        for node in self.nodes.iter_mut().skip(1) {
            for chunk in &chunks {
                node.store.insert(chunk.address(), chunk.bytes().to_vec());
            }
        }
        reference
    }

    fn fetch(&mut self, reference: Reference) {
        let holders = (1..self.nodes.len()).map(name).collect();
        self.give(
            0,
            RetrievalInput::Fetch {
                id: FETCH,
                reference,
                holders,
            },
        );
    }

    fn give(&mut self, at: usize, input: RetrievalInput) {
        self.nodes[at].core.handle(input, self.now).unwrap();
        while let Some(output) = self.nodes[at].core.poll_output() {
            self.carry_out(at, output);
        }
    }

    fn carry_out(&mut self, at: usize, output: RetrievalOutput) {
        let node = &mut self.nodes[at];
        match output {
            RetrievalOutput::StoreChunk(chunk) => {
                node.stored.push(chunk.address());
                node.store.insert(chunk.address(), chunk.into_bytes());
            }
            RetrievalOutput::LoadChunk { address } => {
                let bytes = node.store.get(&address).cloned();
                let input = RetrievalInput::ChunkLoaded { address, bytes };
                node.core.handle(input, self.now).unwrap();
            }
            RetrievalOutput::FindChunk { address } => {
                let held = if node.store.contains_key(&address) {
                    Held::Yes
                } else {
                    Held::No
                };
                let input = RetrievalInput::ChunkFound { address, held };
                node.core.handle(input, self.now).unwrap();
            }
            RetrievalOutput::Send { to, message } => self.send(at, index(to), message),
            RetrievalOutput::Event(event) => node.events.push(event),
        }
    }

    fn send(&mut self, from: usize, to: usize, mut message: ChunkMessage) {
        let node = &mut self.nodes[from];
        let mut delay = Duration::from_millis(20);
        if matches!(
            message,
            ChunkMessage::Chunk { .. } | ChunkMessage::Missing(_)
        ) {
            let input = RetrievalInput::Sent { to: name(to) };
            node.core.handle(input, self.now).unwrap();
        }
        if let ChunkMessage::Chunk { bytes, .. } = &mut message {
            node.sent += 1;
            match node.manner {
                Manner::Honest => {}
                Manner::Lying => bytes[20] ^= 1,
                Manner::Vanishing(after) if node.sent > after => return,
                Manner::Vanishing(_) => {}
            }
            // Chunks leave one after the other, one in 2 ms.
            let behind = self.air.values().filter(|(by, _, _)| *by == from).count();
            delay += Duration::from_millis(2) * u32::try_from(behind).unwrap();
        }
        if let ChunkMessage::Request(addresses) = &message {
            self.nodes[to].asked.extend(addresses);
        }
        let mut frames = ChunkFrames::default();
        frames.push(&message.encode());
        assert_eq!(frames.next_message(), Ok(Some(message.clone())));
        self.sequence += 1;
        let key = (self.now.instant + delay, self.sequence);
        self.air.insert(key, (from, to, message));
    }

    fn run(&mut self, limit: Duration) -> bool {
        let end = self.now.instant + limit;
        loop {
            let over = |event: &RetrievalEvent| {
                matches!(
                    event,
                    RetrievalEvent::Complete { .. } | RetrievalEvent::Failed { .. }
                )
            };
            if self.nodes[0].events.iter().any(over) {
                return true;
            }
            let message = self.air.first_key_value().map(|((at, _), _)| *at);
            let timers = self
                .nodes
                .iter()
                .filter_map(|node| node.core.next_timeout());
            let Some(next) = timers.chain(message).min().filter(|next| *next <= end) else {
                return false;
            };
            self.now = self.now.after(next.since(self.now.instant));
            let key = self.air.first_key_value().map(|(key, _)| *key);
            if let Some(key) = key.filter(|(at, _)| *at <= self.now.instant) {
                let (from, to, message) = self.air.remove(&key).unwrap();
                self.give(
                    to,
                    RetrievalInput::Received {
                        from: name(from),
                        message,
                    },
                );
            }
            for at in 0..self.nodes.len() {
                let due = self.nodes[at].core.next_timeout();
                if due.is_some_and(|due| due <= self.now.instant) {
                    self.give(at, RetrievalInput::Tick);
                }
            }
        }
    }

    fn read_back(&self, reference: Reference) -> Vec<u8> {
        let mut reader = Reader::new(reference);
        let mut out = Vec::new();
        while let Some(address) = reader.wanted() {
            let bytes = self.nodes[0].store[&address].clone();
            out.extend(reader.supply(bytes).unwrap());
        }
        out
    }

    fn dropped(&self) -> Vec<(usize, HolderFault)> {
        let fault = |event: &RetrievalEvent| match event {
            RetrievalEvent::HolderDropped { holder, fault, .. } => Some((index(*holder), *fault)),
            RetrievalEvent::Progress { .. }
            | RetrievalEvent::Complete { .. }
            | RetrievalEvent::Failed { .. } => None,
        };
        self.nodes[0].events.iter().filter_map(fault).collect()
    }
}

#[test]
fn a_file_comes_from_three_holders_and_no_chunk_twice() {
    let mut village = Village::new(&[Manner::Honest; 3]);
    let bytes = file(3_000_000);
    let reference = village.publish(Splitter::plain(), &bytes);
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(60)));
    assert!(village.read_back(reference) == bytes);
    let asked: Vec<_> = village.nodes[1..]
        .iter()
        .flat_map(|node| &node.asked)
        .collect();
    let distinct: BTreeSet<_> = asked.iter().collect();
    assert_eq!(asked.len(), distinct.len(), "each chunk was asked for once");
    assert_eq!(asked.len(), village.nodes[0].store.len());
    for node in &village.nodes[1..] {
        assert!(node.asked.len() > asked.len() / 6, "all three took part");
    }
    let progress = village.nodes[0].events.len();
    assert!((50..=110).contains(&progress), "{progress} events");
}

#[test]
fn a_liar_and_one_who_vanishes_cost_only_what_they_spoilt() {
    let mut village = Village::new(&[Manner::Honest, Manner::Lying, Manner::Vanishing(40)]);
    let bytes = file(3_000_000);
    let reference = village.publish(Splitter::encrypted(Seed::new([1; 32]).rng()), &bytes);
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(120)));
    assert!(village.read_back(reference) == bytes);
    assert!(village.dropped().contains(&(2, HolderFault::Lied)));
    let fetcher = &village.nodes[0];
    assert_eq!(
        fetcher.core.counters().lies,
        1,
        "nothing more was taken from the liar"
    );
    assert!(fetcher.core.counters().silences >= 1);
    let distinct: BTreeSet<_> = fetcher.stored.iter().collect();
    assert_eq!(
        distinct.len(),
        fetcher.stored.len(),
        "each chunk was stored once"
    );
    // Whatever the honest holder was asked for twice it had answered too late; it never is.
    let honest: BTreeSet<_> = village.nodes[1].asked.iter().collect();
    assert_eq!(honest.len(), village.nodes[1].asked.len());
    let asked: usize = village.nodes[1..].iter().map(|node| node.asked.len()).sum();
    let spoilt = asked - fetcher.stored.len();
    let window = RetrievalConfig::default().window_max;
    assert!(
        spoilt <= 8 + window + 4 * 2,
        "{spoilt} chunks were asked for again"
    );
}

#[test]
fn after_a_restart_nothing_is_fetched_again() {
    let mut village = Village::new(&[Manner::Honest]);
    let bytes = file(2_000_000);
    let reference = village.publish(Splitter::plain(), &bytes);
    village.fetch(reference);
    assert!(!village.run(Duration::from_millis(700)));
    let before: BTreeSet<_> = village.nodes[0].stored.iter().copied().collect();
    assert!(before.len() > 50, "{}", before.len());
    village.air.clear();
    village.nodes[0].core = Retrieval::new(RetrievalConfig::default(), village.now);
    village.nodes[1].core = Retrieval::new(RetrievalConfig::default(), village.now);
    village.nodes[1].asked.clear();
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(60)));
    assert!(village.read_back(reference) == bytes);
    assert!(
        village.nodes[1]
            .asked
            .iter()
            .all(|address| !before.contains(address))
    );
    assert!(village.nodes[0].core.counters().held > 50);
}

#[test]
fn what_is_complete_already_needs_nobody() {
    let mut village = Village::new(&[]);
    let (reference, chunks) = split(Splitter::plain(), &[1; 10_000]);
    for chunk in chunks {
        village.nodes[0]
            .store
            .insert(chunk.address(), chunk.into_bytes());
    }
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(1)));
    let complete = RetrievalEvent::Complete {
        id: FETCH,
        bytes_total: 10_000,
    };
    assert_eq!(village.nodes[0].events.last(), Some(&complete));
}

#[test]
fn a_file_of_repeated_chunks_is_fetched_once() {
    let mut village = Village::new(&[Manner::Honest]);
    let bytes = vec![0; 20_000_000];
    let reference = village.publish(Splitter::plain(), &bytes);
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(60)));
    assert!(village.nodes[1].asked.len() < 10);
    assert!(village.read_back(reference) == bytes);
}

#[test]
fn a_fetch_without_a_holder_who_has_it_fails_and_says_why() {
    let mut village = Village::new(&[Manner::Honest, Manner::Honest]);
    let reference = village.publish(Splitter::plain(), &file(100_000));
    let lost = *village.nodes[1].store.keys().next().unwrap();
    village.nodes[1].store.remove(&lost);
    village.nodes[2].store.remove(&lost);
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(60)));
    let failed = RetrievalEvent::Failed {
        id: FETCH,
        reason: FailReason::Missing(lost),
    };
    assert_eq!(village.nodes[0].events.last(), Some(&failed));

    let mut village = Village::new(&[Manner::Vanishing(0)]);
    let reference = village.publish(Splitter::plain(), &file(100_000));
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(300)));
    assert_eq!(village.dropped(), [(1, HolderFault::Silent)]);
    let failed = RetrievalEvent::Failed {
        id: FETCH,
        reason: FailReason::NoHolders,
    };
    assert_eq!(village.nodes[0].events.last(), Some(&failed));
    assert_eq!(village.nodes[0].core.next_timeout(), None);
}

#[test]
fn chunks_that_come_another_way_are_not_fetched() {
    let mut village = Village::new(&[Manner::Vanishing(0)]);
    let bytes = file(200_000);
    let (reference, chunks) = split(Splitter::plain(), &bytes);
    village.fetch(reference);
    for chunk in chunks {
        let address = chunk.address();
        village.nodes[0]
            .store
            .insert(address, chunk.bytes().to_vec());
        village.give(0, RetrievalInput::Stored(chunk));
    }
    assert!(village.run(Duration::from_secs(1)));
    assert!(village.read_back(reference) == bytes);
    assert!(village.nodes[0].stored.is_empty(), "nothing was fetched");
}

#[test]
fn a_cancelled_fetch_stops_asking() {
    let mut village = Village::new(&[Manner::Honest]);
    let reference = village.publish(Splitter::plain(), &file(2_000_000));
    village.fetch(reference);
    assert!(!village.run(Duration::from_millis(300)));
    village.give(0, RetrievalInput::Cancel { id: FETCH });
    let asked = village.nodes[1].asked.len();
    assert!(!village.run(Duration::from_secs(60)));
    assert_eq!(village.nodes[1].asked.len(), asked);
    assert_eq!(village.nodes[0].core.next_timeout(), None);
    let unknown = village.nodes[0]
        .core
        .handle(RetrievalInput::Cancel { id: FETCH }, village.now);
    assert_eq!(unknown, Err(RetrievalError::Unknown(FETCH)));
}

#[test]
fn a_damaged_file_is_told_from_a_lying_holder() {
    let mut village = Village::new(&[Manner::Honest]);
    let bad = Chunk::new(9_000_u64.to_le_bytes(), &[9; 96]);
    let reference = Reference::Plain(bad.address());
    village.nodes[1]
        .store
        .insert(bad.address(), bad.into_bytes());
    let short = Chunk::new(9_000_u64.to_le_bytes(), &[9; 64]);
    let damaged = Reference::Plain(short.address());
    village.nodes[1]
        .store
        .insert(short.address(), short.into_bytes());
    village.fetch(damaged);
    assert!(village.run(Duration::from_secs(60)));
    assert!(matches!(
        village.nodes[0].events.last(),
        Some(RetrievalEvent::Failed {
            reason: FailReason::Damaged(_),
            ..
        })
    ));
    assert_eq!(village.dropped(), []);
    village.nodes[0].events.clear();
    village.fetch(reference);
    assert!(village.run(Duration::from_secs(60)));
    let nowhere = FailReason::Missing(ChunkAddress([9; 32]));
    let failed = RetrievalEvent::Failed {
        id: FETCH,
        reason: nowhere,
    };
    assert_eq!(village.nodes[0].events.last(), Some(&failed));
}

#[test]
fn a_greedy_peer_is_owed_no_more_than_the_limit() {
    let config = RetrievalConfig::default();
    let mut core = Retrieval::new(config.clone(), Now::default());
    let mut loads = 0;
    for round in 0..100_u8 {
        let addresses = (0..64).map(|i| ChunkAddress([round.wrapping_mul(64).wrapping_add(i); 32]));
        let message = ChunkMessage::Request(addresses.collect());
        let input = RetrievalInput::Received {
            from: name(7),
            message,
        };
        core.handle(input, Now::default()).unwrap();
        while let Some(output) = core.poll_output() {
            if let RetrievalOutput::LoadChunk { address } = output {
                loads += 1;
                let bytes = Some(vec![0; 8]);
                let input = RetrievalInput::ChunkLoaded { address, bytes };
                core.handle(input, Now::default()).unwrap();
            }
        }
    }
    assert_eq!(loads, config.owed_max);
    let answered = core.counters().missing;
    assert_eq!(answered, u64::try_from(loads).unwrap());
    assert_eq!(core.counters().refused, 6_400 - answered);
    core.handle(RetrievalInput::PeerGone { peer: name(7) }, Now::default())
        .unwrap();
    assert_eq!(core.next_timeout(), None);
}

#[test]
fn limits_on_fetches_hold() {
    let config = RetrievalConfig {
        fetches_max: 1,
        ..RetrievalConfig::default()
    };
    let mut core = Retrieval::new(config, Now::default());
    let fetch = |id| RetrievalInput::Fetch {
        id: RequestId(id),
        reference: Reference::Plain(ChunkAddress([1; 32])),
        holders: vec![name(1)],
    };
    assert_eq!(core.handle(fetch(1), Now::default()), Ok(()));
    assert_eq!(core.next_timeout(), Some(Now::default().instant));
    let duplicate = core.handle(fetch(1), Now::default());
    assert_eq!(duplicate, Err(RetrievalError::Duplicate(RequestId(1))));
    assert_eq!(
        core.handle(fetch(2), Now::default()),
        Err(RetrievalError::TooMany(1))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn files_of_any_size_arrive(size in 0_usize..400_000, sealed: bool, vanish in 0_u64..50) {
        let mut village = Village::new(&[Manner::Honest, Manner::Vanishing(vanish)]);
        let bytes = file(size);
        let splitter = if sealed {
            Splitter::encrypted(Seed::new([2; 32]).rng())
        } else {
            Splitter::plain()
        };
        let reference = village.publish(splitter, &bytes);
        village.fetch(reference);
        prop_assert!(village.run(Duration::from_secs(120)));
        prop_assert!(village.read_back(reference) == bytes);
    }

    #[test]
    fn any_chunks_from_anybody_do_no_harm(
        messages in proptest::collection::vec((0_usize..3, any::<[u8; 32]>(), proptest::collection::vec(any::<u8>(), 8..200)), 0..40),
    ) {
        let mut village = Village::new(&[Manner::Honest, Manner::Honest]);
        let bytes = file(100_000);
        let reference = village.publish(Splitter::plain(), &bytes);
        village.fetch(reference);
        for (kind, address, bytes) in messages {
            let address = ChunkAddress(address);
            let message = match kind {
                0 => ChunkMessage::Missing(vec![address]),
                1 => ChunkMessage::Cancel(vec![address]),
                _ => ChunkMessage::Chunk { address, bytes },
            };
            village.give(0, RetrievalInput::Received { from: name(1), message });
        }
        prop_assert!(village.run(Duration::from_secs(120)));
        prop_assert!(village.read_back(reference) == bytes);
    }
}
