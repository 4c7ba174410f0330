//! A network of [`Routes`] under virtual time, with judges that know the graph and nothing of the protocol.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_crypto::Seed;
use smartmesh_types::{Address, Duration, Instant, NeighbourId, Now, Tag, UnixTime};

use crate::route::{
    RouteConfig, RouteInput, RouteOutput, Routes, SearchId, SearchTarget, SearchToken,
};

/// Wall time at which every test begins, unless it says otherwise.
pub(super) const START_UNIX: u64 = 1_790_000_000;

/// One direction of a link that is up.
#[derive(Clone, Debug)]
struct Half {
    to: usize,
    /// What the sender calls the receiver.
    id: NeighbourId,
    delay: Duration,
    last_arrival: Instant,
}

pub(super) struct Found {
    pub(super) token: SearchToken,
    pub(super) hops: u8,
    pub(super) at: Instant,
}

pub(super) struct Net {
    pub(super) nodes: Vec<Routes>,
    pub(super) now: Instant,
    /// Wall time at instant zero, per node.
    pub(super) unix: Vec<u64>,
    /// Which messages vanish: sender and receiver.
    pub(super) losing: BTreeSet<(usize, usize)>,
    /// Whether each step is judged for loops.
    pub(super) judge_loops: bool,
    halves: Vec<BTreeMap<NeighbourId, Half>>,
    next_id: u32,
    /// Arrivals: time, order, receiver, the receiver's name for the sender, body.
    flying: BTreeMap<(Instant, u64), (usize, NeighbourId, Vec<u8>)>,
    sequence: u64,
    timeouts: BTreeSet<(Instant, usize)>,
    timeout_of: Vec<Instant>,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) found: BTreeMap<SearchId, Option<Found>>,
    pub(super) changes: u64,
    /// Messages that came to a node whose place a test has taken.
    pub(super) puppets: BTreeMap<usize, Vec<(NeighbourId, Vec<u8>)>>,
}

pub(super) fn address(node: usize) -> Address {
    let mut hash = [0; 13];
    hash[..8].copy_from_slice(&(node as u64).to_be_bytes());
    Address::from_key_hash(hash)
}

impl Net {
    pub(super) fn new(nodes: usize, config: &RouteConfig) -> Self {
        let mut net = Self {
            nodes: Vec::new(),
            now: Instant::from_millis(1_000),
            unix: vec![START_UNIX; nodes],
            losing: BTreeSet::new(),
            judge_loops: true,
            halves: vec![BTreeMap::new(); nodes],
            next_id: 0,
            flying: BTreeMap::new(),
            sequence: 0,
            timeouts: BTreeSet::new(),
            timeout_of: vec![Instant::NEVER; nodes],
            messages: 0,
            bytes: 0,
            found: BTreeMap::new(),
            changes: 0,
            puppets: BTreeMap::new(),
        };
        for node in 0..nodes {
            net.nodes.push(net.fresh(node, config));
            net.drain(node);
        }
        net
    }

    fn fresh(&self, node: usize, config: &RouteConfig) -> Routes {
        let seed = Seed::new([u8::try_from(node % 251).unwrap(); 32]);
        Routes::new(config.clone(), address(node), &seed, self.now_of(node))
    }

    /// The node loses all it knew and starts again, at this wall time for instant zero.
    pub(super) fn restart(&mut self, node: usize, config: &RouteConfig, unix: u64) {
        let peers: Vec<usize> = self.halves[node].values().map(|half| half.to).collect();
        for peer in peers {
            self.cut(node, peer);
        }
        self.unix[node] = unix;
        self.nodes[node] = self.fresh(node, config);
        self.drain(node);
    }

    fn now_of(&self, node: usize) -> Now {
        Now {
            instant: self.now,
            unix: UnixTime::from_secs(self.unix[node] + self.now.as_micros() / 1_000_000),
        }
    }

    /// What `a` calls `b`.
    pub(super) fn id_of(&self, a: usize, b: usize) -> Option<NeighbourId> {
        self.halves[a]
            .values()
            .find(|half| half.to == b)
            .map(|half| half.id)
    }

    /// Whom the node calls this.
    pub(super) fn peer_of(&self, node: usize, id: NeighbourId) -> usize {
        self.halves[node][&id].to
    }

    pub(super) fn join(&mut self, a: usize, b: usize, metric: u32, delay: Duration) {
        self.join_unequal(a, b, metric, metric, delay);
    }

    pub(super) fn join_unequal(&mut self, a: usize, b: usize, ab: u32, ba: u32, delay: Duration) {
        assert!(self.id_of(a, b).is_none());
        let ids = [NeighbourId(self.next_id), NeighbourId(self.next_id + 1)];
        self.next_id += 2;
        for (from, to, id) in [(a, b, ids[0]), (b, a, ids[1])] {
            let half = Half {
                to,
                id,
                delay,
                last_arrival: self.now,
            };
            self.halves[from].insert(id, half);
        }
        for (from, id, metric) in [(a, ids[0], ab), (b, ids[1], ba)] {
            let neighbour = id;
            self.input(from, RouteInput::NeighbourUp { neighbour, metric });
        }
    }

    /// Both ends learn at once that the link is gone; what is under way is lost.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let neighbour = self.id_of(from, to).unwrap();
            self.halves[from].remove(&neighbour);
            self.input(from, RouteInput::NeighbourDown { neighbour });
        }
    }

    pub(super) fn input(&mut self, node: usize, input: RouteInput) {
        if let Some(received) = self.puppets.get_mut(&node) {
            if let RouteInput::Message { from, body } = input {
                received.push((from, body));
            }
            return;
        }
        let now = self.now_of(node);
        self.nodes[node].handle(input, now);
        self.drain(node);
        if self.judge_loops {
            self.judge_loops_through(node);
        }
    }

    pub(super) fn search(
        &mut self,
        node: usize,
        id: u64,
        target: SearchTarget,
        avoid: Vec<NeighbourId>,
    ) {
        let id = SearchId(id);
        self.input(
            node,
            RouteInput::Search {
                id,
                target,
                avoid,
                rings: 4,
            },
        );
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            match output {
                RouteOutput::Send { to, body } => self.send(node, to, body),
                RouteOutput::Changed { .. } => self.changes += 1,
                RouteOutput::Found {
                    id, token, hops, ..
                } => {
                    let at = self.now;
                    self.found.insert(id, Some(Found { token, hops, at }));
                }
                RouteOutput::NotFound { id } => {
                    self.found.insert(id, None);
                }
                RouteOutput::Epoch { .. } => {}
            }
        }
        let next = self.nodes[node].next_timeout().unwrap_or(Instant::NEVER);
        let old = std::mem::replace(&mut self.timeout_of[node], next);
        self.timeouts.remove(&(old, node));
        self.timeouts.insert((next, node));
    }

    pub(super) fn send(&mut self, node: usize, to: NeighbourId, body: Vec<u8>) {
        self.messages += 1;
        self.bytes += body.len() as u64;
        assert!(body.len() <= 1_200, "body of {} bytes", body.len());
        let half = self.halves[node].get_mut(&to).unwrap();
        let receiver = half.to;
        if self.losing.contains(&(node, receiver)) {
            return;
        }
        half.last_arrival = half.last_arrival.max(self.now + half.delay);
        let at = half.last_arrival;
        let name = self.id_of(receiver, node).unwrap();
        self.sequence += 1;
        self.flying
            .insert((at, self.sequence), (receiver, name, body));
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until nothing happens within `quiet`, and returns when the last message arrived.
    pub(super) fn run_until_quiet(&mut self, quiet: Duration) -> Instant {
        let mut last = self.now;
        let limit = self.now + Duration::from_secs(600);
        loop {
            let before = self.messages;
            let end = self.now + quiet;
            while self.messages == before && self.flying.is_empty() && self.step(end) {}
            if self.flying.is_empty() && self.messages == before {
                self.now = end;
                return last;
            }
            while !self.flying.is_empty() {
                assert!(self.step(limit), "never quiet");
            }
            last = self.now;
        }
    }

    /// Runs until the condition holds, and returns how long it took.
    pub(super) fn run_until(&mut self, limit: Duration, met: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !met(self) {
            assert!(self.step(start + limit), "not met within {limit:?}");
        }
        self.now.since(start)
    }

    fn step(&mut self, end: Instant) -> bool {
        let flight = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timeout = *self.timeouts.first().unwrap();
        if flight.is_some_and(|at| at <= timeout.0) {
            let at = flight.unwrap();
            if at > end {
                return false;
            }
            let (_, (node, from, body)) = self.flying.pop_first().unwrap();
            self.now = self.now.max(at);
            if self.halves[node].contains_key(&from) {
                self.input(node, RouteInput::Message { from, body });
            }
            return true;
        }
        if timeout.0 > end {
            return false;
        }
        self.now = self.now.max(timeout.0);
        self.input(timeout.1, RouteInput::Tick);
        if self.puppets.contains_key(&timeout.1) {
            self.timeouts.remove(&timeout);
        }
        true
    }

    pub(super) fn tag_of(&self, node: usize) -> Tag {
        self.nodes[node].own_tags[1]
    }

    pub(super) fn metric_between(&self, from: usize, to: usize) -> Option<u32> {
        let tag = self.nodes[from].tag_of(address(to));
        let info = self.nodes[from]
            .destinations()
            .find(|info| info.tag == tag)?;
        Some(info.metric)
    }

    pub(super) fn is_complete(&self) -> bool {
        let count = self.nodes.len();
        (0..count).all(|a| self.nodes[a].destinations().count() >= count - 1)
    }

    /// No node is reached again over any mixture of feasible ways.
    fn judge_loops_through(&self, node: usize) {
        let tags: Vec<Tag> = self.nodes[node].dests.keys().copied().collect();
        for tag in tags {
            let mut seen = BTreeSet::new();
            let mut open = vec![node];
            while let Some(at) = open.pop() {
                if self.puppets.contains_key(&at) || self.nodes[at].is_own(tag) {
                    continue;
                }
                for hop in self.nodes[at].next_hops(tag) {
                    let known = self.halves[at].get(&hop.neighbour);
                    let Some(half) = known.filter(|_| hop.feasible) else {
                        continue;
                    };
                    assert_ne!(half.to, node, "a loop through node {node} for {tag:?}");
                    if seen.insert(half.to) {
                        open.push(half.to);
                    }
                }
            }
        }
    }

    /// Every node knows exactly the nodes it can reach, at the metric that Dijkstra's algorithm finds.
    pub(super) fn judge_shortest(&self) {
        for from in 0..self.nodes.len() {
            let shortest = self.shortest_from(from);
            for to in (0..self.nodes.len()).filter(|to| *to != from) {
                assert_eq!(
                    self.metric_between(from, to),
                    shortest.get(&to).copied(),
                    "from {from} to {to}"
                );
            }
        }
    }

    fn shortest_from(&self, from: usize) -> BTreeMap<usize, u32> {
        let mut done = BTreeMap::new();
        let mut open = BTreeSet::from([(0, from)]);
        while let Some((metric, node)) = open.pop_first() {
            if done.contains_key(&node) {
                continue;
            }
            done.insert(node, metric);
            for half in self.halves[node].values() {
                let slot = self.nodes[node].neighbours.slot(half.id).unwrap();
                let cost = self.nodes[node].neighbours.at(slot).unwrap().metric;
                open.insert((metric + cost, half.to));
            }
        }
        done
    }

    /// Follows the path that a search left, and where it ends the routes; returns the nodes passed, the first included.
    pub(super) fn follow(&self, from: usize, token: SearchToken, tag: Tag) -> Vec<usize> {
        let mut path = vec![from];
        loop {
            let at = *path.last().unwrap();
            assert!(path.len() <= 200, "endless path {path:?}");
            let next = match self.nodes[at].search_hop(token) {
                Some(next) => next,
                None if self.nodes[at].is_own(tag) => return path,
                None => self.nodes[at].next_hops(tag).first().unwrap().neighbour,
            };
            path.push(self.peer_of(at, next));
        }
    }
}

pub(super) const HOP: Duration = Duration::from_micros(200);

pub(super) fn line(nodes: usize, config: &RouteConfig) -> Net {
    let mut net = Net::new(nodes, config);
    for node in 1..nodes {
        net.join(node - 1, node, 1_000, HOP);
    }
    net
}

pub(super) fn ring(nodes: usize, config: &RouteConfig) -> Net {
    let mut net = line(nodes, config);
    net.join(nodes - 1, 0, 1_000, HOP);
    net
}

pub(super) fn grid(side: usize, config: &RouteConfig) -> Net {
    let mut net = Net::new(side * side, config);
    net.judge_loops = side <= 5;
    for row in 0..side {
        for column in 0..side {
            let node = row * side + column;
            if column + 1 < side {
                net.join(node, node + 1, 1_000, HOP);
            }
            if row + 1 < side {
                net.join(node, node + side, 1_000, HOP);
            }
        }
    }
    net
}
