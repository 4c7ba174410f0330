//! Nodes that meet and part, on simulated disks; the reader finds the receipt in the first 32 bytes of its mail.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "in a test an overflow panics, which is what it should do"
)]

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::{FlowId, NeighbourId, NodeKey};

use super::*;

mod contacts;
mod hostile;
mod islands;
mod mobility;
mod schedules;

fn address(node: usize) -> Address {
    Address::from_key_hash([u8::try_from(node).unwrap(); 13])
}

fn seed() -> Seed {
    Seed::new([7; 32])
}

/// Mail whose reader will find this receipt.
fn mail(receipt: u8, bytes: usize) -> Vec<u8> {
    let mut payload = vec![receipt; 32];
    payload.resize(bytes.max(32), 0x5a);
    payload
}

struct Node {
    custody: Custody,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    delivered: Vec<Vec<u8>>,
    acked: BTreeSet<[u8; 32]>,
    carried: u32,
    wanted: Vec<Vec<u8>>,
    published: Vec<CustodyOutput>,
    restarts: usize,
    /// Outputs carried out before the next crash.
    until_crash: Option<usize>,
}

struct World {
    nodes: Vec<Node>,
    links: BTreeSet<(usize, usize)>,
    now: Now,
    /// Messages of which the next are lost.
    lose: usize,
    config: CustodyConfig,
}

fn start() -> Now {
    Now {
        instant: Instant::from_millis(1_000),
        unix: UnixTime::from_secs(1_800_000_000),
    }
}

impl World {
    fn new(count: usize) -> Self {
        Self::with(count, CustodyConfig::default())
    }

    fn with(count: usize, config: CustodyConfig) -> Self {
        let nodes = (0..count).map(|index| {
            let mut custody = Custody::new(config.clone(), &seed(), start());
            custody.set_local(address(index));
            Node {
                custody,
                disk: BTreeMap::new(),
                delivered: Vec::new(),
                acked: BTreeSet::new(),
                carried: 0,
                wanted: Vec::new(),
                published: Vec::new(),
                restarts: 0,
                until_crash: None,
            }
        });
        Self {
            nodes: nodes.collect(),
            links: BTreeSet::new(),
            now: start(),
            lose: 0,
            config,
        }
    }

    fn handle(&mut self, node: usize, input: CustodyInput) -> Result<(), CustodyError> {
        let result = self.nodes[node].custody.handle(input, self.now);
        self.settle();
        result
    }

    fn deposit(&mut self, node: usize, to: usize, receipt: u8, bytes: usize) {
        let expires = self.now.unix + Duration::from_secs(7 * 24 * 3_600);
        self.deposit_as(node, to, receipt, bytes, Priority::Message, expires)
            .unwrap();
    }

    fn deposit_as(
        &mut self,
        node: usize,
        to: usize,
        receipt: u8,
        bytes: usize,
        priority: Priority,
        expires: UnixTime,
    ) -> Result<(), CustodyError> {
        let payload = mail(receipt, bytes);
        let to = address(to);
        self.handle(
            node,
            CustodyInput::Deposit {
                to,
                payload,
                expires,
                priority,
                receipt: [receipt; 32],
            },
        )
    }

    /// Carries outputs and messages until all are quiet.
    fn settle(&mut self) {
        loop {
            let next = (0..self.nodes.len())
                .find_map(|index| Some((index, self.nodes[index].custody.poll_output()?)));
            let Some((index, output)) = next else { return };
            if let Some(left) = &mut self.nodes[index].until_crash {
                if *left == 0 {
                    self.restart(index);
                    continue;
                }
                *left -= 1;
            }
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: CustodyOutput) {
        let now = self.now;
        let node = &mut self.nodes[index];
        match output {
            CustodyOutput::Persist(Record {
                key,
                value: Some(value),
            }) => {
                node.disk.insert(key, value);
            }
            CustodyOutput::Persist(Record { key, value: None }) => {
                node.disk.remove(&key);
            }
            CustodyOutput::Send {
                to: PeerRef::Neighbour(NeighbourId(to)),
                body,
            } => {
                assert!(body.len() <= smartmesh_wire::bundle::BUNDLE_MESSAGE_BYTES_MAX);
                let to = usize::try_from(to).unwrap();
                if self.lose > 0 {
                    self.lose -= 1;
                } else if self.links.contains(&(index.min(to), index.max(to))) {
                    let from = neighbour(index);
                    self.nodes[to]
                        .custody
                        .handle(CustodyInput::Message { from, body }, now)
                        .unwrap();
                }
            }
            CustodyOutput::Send {
                to: PeerRef::Flow(FlowId(to)),
                body,
            } => {
                assert!(body.len() <= self.config.flow_message_bytes);
                if self.lose > 0 {
                    self.lose -= 1;
                    return;
                }
                let from = PeerRef::Flow(FlowId(u64::try_from(index).unwrap()));
                let to = usize::try_from(to).unwrap();
                self.nodes[to]
                    .custody
                    .handle(CustodyInput::Message { from, body }, now)
                    .unwrap();
            }
            CustodyOutput::Delivered { payload } => {
                let receipt = payload[..32].try_into().unwrap();
                node.delivered.push(payload);
                node.custody
                    .handle(CustodyInput::Reveal { receipt }, now)
                    .unwrap();
            }
            CustodyOutput::Acked { commitment } => {
                node.acked.insert(commitment);
            }
            CustodyOutput::Carried { copies, .. } => node.carried = copies,
            CustodyOutput::Wanted { tag } => node.wanted.push(tag),
            output @ (CustodyOutput::PublishOffer { .. } | CustodyOutput::PublishAcks { .. }) => {
                node.published.push(output);
            }
        }
    }

    /// A crash: what is not on disk is gone, and the neighbours notice.
    fn restart(&mut self, index: usize) {
        let peers: Vec<_> = self
            .links
            .iter()
            .filter(|(a, b)| *a == index || *b == index)
            .copied()
            .collect();
        let node = &mut self.nodes[index];
        node.until_crash = None;
        node.restarts += 1;
        let records = node.disk.iter().map(|(key, value)| Record {
            key: key.clone(),
            value: Some(value.clone()),
        });
        node.custody = Custody::restore(self.config.clone(), &seed(), records, self.now).unwrap();
        node.custody.set_local(address(index));
        for (a, b) in peers {
            self.links.remove(&(a, b));
            let other = if a == index { b } else { a };
            let down = CustodyInput::NeighbourDown {
                neighbour: NeighbourId(u32::try_from(index).unwrap()),
            };
            self.nodes[other].custody.handle(down, self.now).unwrap();
        }
    }

    fn meet(&mut self, a: usize, b: usize) {
        if a == b || !self.links.insert((a.min(b), a.max(b))) {
            return;
        }
        for (node, other) in [(a, b), (b, a)] {
            let neighbour = NeighbourId(u32::try_from(other).unwrap());
            self.nodes[node]
                .custody
                .handle(CustodyInput::NeighbourUp { neighbour }, self.now)
                .unwrap();
        }
        self.settle();
    }

    fn part(&mut self, a: usize, b: usize) {
        if !self.links.remove(&(a.min(b), a.max(b))) {
            return;
        }
        for (node, other) in [(a, b), (b, a)] {
            let neighbour = NeighbourId(u32::try_from(other).unwrap());
            self.handle(node, CustodyInput::NeighbourDown { neighbour })
                .unwrap();
        }
    }

    /// Moves the clock in steps, each node woken when it asked for it.
    fn wait(&mut self, span: Duration) {
        let end = self.now.after(span);
        while self.now.instant < end.instant {
            let due = self
                .nodes
                .iter()
                .filter_map(|node| node.custody.next_timeout())
                .min();
            let next = due
                .unwrap_or(end.instant)
                .clamp(self.now.instant, end.instant);
            self.now = self
                .now
                .after(next.since(self.now.instant).max(Duration::from_micros(1)));
            for index in 0..self.nodes.len() {
                if self.nodes[index]
                    .custody
                    .next_timeout()
                    .is_some_and(|at| at <= self.now.instant)
                {
                    self.handle(index, CustodyInput::Tick).unwrap();
                }
            }
        }
    }

    fn copies(&self) -> BTreeMap<BundleId, u32> {
        let mut copies = BTreeMap::new();
        for (id, held) in self.nodes.iter().flat_map(|node| &node.custody.store.held) {
            *copies.entry(*id).or_default() += u32::from(held.copies);
        }
        copies
    }

    fn held(&self) -> usize {
        self.nodes.iter().map(|node| node.custody.held()).sum()
    }
}

fn neighbour(index: usize) -> PeerRef {
    PeerRef::Neighbour(NeighbourId(u32::try_from(index).unwrap()))
}
