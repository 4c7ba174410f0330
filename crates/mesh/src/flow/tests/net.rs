//! A network of flows on a graph under virtual time: links with delay that die silently, relays that swallow packets, and
//! shortest-path routing that learns of a cut when the test says so.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{Identity, Rng, Seed, destination_tag};
use smartmesh_types::{Address, Duration, FlowId, Instant, Label, NeighbourId, Now, Tag, UnixTime};

use crate::flow::{
    FlowConfig, FlowEvent, FlowInput, FlowOutput, Flows, Forward, NextHops, PayloadKind, Sealed,
};
use crate::route::{
    NextHop, RouteConfig, RouteInput, RouteOutput, Routes, SearchTarget, SearchToken,
};

/// A link that is cut is suspected after this time and down after the next.
const SUSPECT_AFTER: Duration = Duration::from_millis(100);
const DOWN_AFTER: Duration = Duration::from_millis(1_500);
const METRIC: u32 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    Honest,
    /// Forwards control messages, drops others' packets.
    DropsData,
    /// Lets the first packets of each path pass, so that it looks proven, and drops the rest.
    DropsLater,
    /// Drops every second of others' packets.
    DropsHalf,
    /// Takes set-ups for others and says nothing.
    SwallowsSetUps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Suspect,
    Down,
}

#[derive(Debug)]
enum Event {
    Control {
        from: usize,
        to: usize,
        body: Vec<u8>,
    },
    Data {
        from: usize,
        to: usize,
        label: Label,
        payload: Vec<u8>,
        hops: u32,
    },
    Input {
        at: usize,
        input: FlowInput,
    },
    Route {
        from: usize,
        to: usize,
        body: Vec<u8>,
    },
    Lost {
        at: usize,
        to: usize,
        link: Link,
    },
}

/// What routing believes.
pub(super) struct Routing {
    pub(super) links: BTreeSet<(usize, usize)>,
    tags: BTreeMap<Tag, usize>,
    addresses: BTreeMap<Address, Tag>,
    /// Hides alternates whose best way leads back, as split horizon does.
    pub(super) split_horizon: bool,
    /// Targets that only a search finds, and the search's token.
    pub(super) beyond: BTreeMap<usize, SearchToken>,
    distances: BTreeMap<usize, BTreeMap<usize, u32>>,
}

impl Routing {
    fn neighbours(&self, of: usize) -> impl Iterator<Item = usize> {
        self.links.range((of, 0)..(of + 1, 0)).map(|(_, to)| *to)
    }

    pub(super) fn recompute(&mut self) {
        self.distances.clear();
        for &target in self.tags.values() {
            let mut distance = BTreeMap::from([(target, 0)]);
            let mut queue = VecDeque::from([target]);
            while let Some(node) = queue.pop_front() {
                let next = distance[&node] + 1;
                for other in self.neighbours(node) {
                    distance.entry(other).or_insert_with(|| {
                        queue.push_back(other);
                        next
                    });
                }
            }
            self.distances.insert(target, distance);
        }
    }

    fn distance(&self, from: usize, to: usize) -> Option<u32> {
        self.distances.get(&to)?.get(&from).copied()
    }
}

/// Routing as one node sees it.
struct View<'a> {
    routing: &'a Routing,
    node: usize,
}

impl NextHops for View<'_> {
    fn tag_of(&self, address: Address) -> Tag {
        self.routing
            .addresses
            .get(&address)
            .copied()
            .unwrap_or(Tag([0; 8]))
    }

    fn is_own(&self, tag: Tag) -> bool {
        self.routing.tags.get(&tag) == Some(&self.node)
    }

    fn next_hops(&self, tag: Tag) -> Vec<NextHop> {
        let Some(&target) = self.routing.tags.get(&tag) else {
            return Vec::new();
        };
        if self.routing.beyond.contains_key(&target) {
            return Vec::new();
        }
        let own = self.routing.distance(self.node, target);
        let mut hops: Vec<NextHop> = self
            .routing
            .neighbours(self.node)
            .filter_map(|other| {
                let rest = self.routing.distance(other, target)?;
                let back = self
                    .routing
                    .neighbours(other)
                    .find(|third| self.routing.distance(*third, target) == rest.checked_sub(1));
                if self.routing.split_horizon && back == Some(self.node) {
                    return None;
                }
                Some(NextHop {
                    neighbour: id_of(other),
                    metric: METRIC * (rest + 1),
                    hops: (rest + 1) as u8,
                    feasible: own.is_none_or(|own| rest < own),
                })
            })
            .collect();
        hops.sort_by_key(|hop| (!hop.feasible, hop.metric, hop.neighbour));
        hops
    }

    fn search_hop(&self, token: SearchToken) -> Option<NeighbourId> {
        let (&target, _) = self.routing.beyond.iter().find(|(_, t)| **t == token)?;
        self.routing
            .neighbours(self.node)
            .filter_map(|other| Some((self.routing.distance(other, target)?, other)))
            .min()
            .map(|(_, other)| id_of(other))
    }
}

pub(super) fn id_of(node: usize) -> NeighbourId {
    NeighbourId(node as u32 + 100)
}

fn node_of(id: NeighbourId) -> usize {
    (id.0 - 100) as usize
}

pub(super) struct Node {
    pub(super) flows: Flows,
    pub(super) address: Address,
    identity: Identity,
    routes: Option<Routes>,
    pub(super) events: Vec<FlowEvent>,
    pub(super) received: Vec<(Instant, FlowId, Vec<u8>)>,
    pub(super) conduct: Conduct,
    dead: bool,
    dropped: u32,
}

impl Node {
    fn next_timeout(&self) -> Option<Instant> {
        let routes = self.routes.as_ref().and_then(Routes::next_timeout);
        self.flows.next_timeout().into_iter().chain(routes).min()
    }
}

type Packets = Vec<(Label, Vec<u8>)>;

pub(super) struct Net {
    pub(super) nodes: Vec<Node>,
    pub(super) routing: Routing,
    pub(super) now: Instant,
    pub(super) delay: Duration,
    queue: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    seed: Seed,
    links: BTreeSet<(usize, usize)>,
    cut: BTreeSet<(usize, usize)>,
    /// Data packets that a cut link has swallowed, given back when it is suspected.
    swallowed: BTreeMap<(usize, usize), Packets>,
    suspected: BTreeSet<(usize, usize)>,
    /// Most hops that any packet took.
    pub(super) hops_max: u32,
    pub(super) data_packets: u64,
    pub(super) loss_percent: u64,
    rng: Rng,
}

impl Net {
    pub(super) fn new(count: usize, links: &[(usize, usize)], seed: u8) -> Self {
        Self::with_config(count, links, seed, FlowConfig::default())
    }

    pub(super) fn with_config(
        count: usize,
        links: &[(usize, usize)],
        seed: u8,
        config: FlowConfig,
    ) -> Self {
        let seed = Seed::new([seed; 32]);
        let mut rng = seed.split("net").rng();
        let both: BTreeSet<(usize, usize)> = links
            .iter()
            .flat_map(|(a, b)| [(*a, *b), (*b, *a)])
            .collect();
        let mut routing = Routing {
            links: both.clone(),
            tags: BTreeMap::new(),
            addresses: BTreeMap::new(),
            split_horizon: false,
            beyond: BTreeMap::new(),
            distances: BTreeMap::new(),
        };
        let mut nodes = Vec::new();
        for index in 0..count {
            let identity = Identity::generate(&mut rng);
            let address = identity.address();
            let tag = destination_tag(address, 1);
            routing.tags.insert(tag, index);
            routing.addresses.insert(address, tag);
            let own_seed = seed.split(&format!("node {index}"));
            nodes.push(Node {
                flows: Flows::new(config, &identity, &own_seed, at(Instant::ZERO)),
                address,
                identity,
                routes: None,
                events: Vec::new(),
                received: Vec::new(),
                conduct: Conduct::Honest,
                dead: false,
                dropped: 0,
            });
        }
        routing.recompute();
        let mut net = Self {
            nodes,
            routing,
            now: Instant::ZERO,
            delay: Duration::from_millis(1),
            queue: BTreeMap::new(),
            sequence: 0,
            seed,
            links: both,
            cut: BTreeSet::new(),
            swallowed: BTreeMap::new(),
            suspected: BTreeSet::new(),
            hops_max: 0,
            data_packets: 0,
            loss_percent: 0,
            rng,
        };
        for (a, b) in net.links.clone() {
            net.input(a, up(b));
        }
        net
    }

    fn push(&mut self, after: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + after, self.sequence), event);
    }

    /// The network with the real routing core at each node instead of the model.
    pub(super) fn with_routes(count: usize, links: &[(usize, usize)], seed: u8) -> Self {
        let mut net = Self::new(count, links, seed);
        for node in 0..count {
            let own = net.nodes[node].address;
            let seed = net.seed.split(&format!("routes {node}"));
            let routes = Routes::new(RouteConfig::default(), own, &seed, at(net.now));
            net.nodes[node].routes = Some(routes);
        }
        for (a, b) in net.links.clone() {
            net.route_input(
                a,
                RouteInput::NeighbourUp {
                    neighbour: id_of(b),
                    metric: METRIC,
                },
            );
        }
        net
    }

    fn route_input(&mut self, node: usize, input: RouteInput) {
        let now = at(self.now);
        let Some(routes) = self.nodes[node].routes.as_mut() else {
            return;
        };
        routes.handle(input, now);
        let mut outputs = Vec::new();
        while let Some(output) = routes.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            let input = match output {
                RouteOutput::Send { to, body } => {
                    let to = node_of(to);
                    let from = node;
                    self.push(self.delay, Event::Route { from, to, body });
                    continue;
                }
                RouteOutput::Changed { tag } => FlowInput::RouteChanged { tag },
                RouteOutput::Found { id, token, .. } => FlowInput::Found { id, token },
                RouteOutput::NotFound { id } => FlowInput::NotFound { id },
                RouteOutput::Epoch { .. } => continue,
            };
            self.input(node, input);
        }
    }

    pub(super) fn input(&mut self, node: usize, input: FlowInput) {
        let now = at(self.now);
        let one = &mut self.nodes[node];
        if let Some(routes) = &one.routes {
            one.flows.handle(input, routes, now);
        } else {
            let view = View {
                routing: &self.routing,
                node,
            };
            one.flows.handle(input, &view, now);
        }
        self.drain(node, 0);
    }

    pub(super) fn open(&mut self, from: usize, to: usize) -> FlowId {
        let address = self.nodes[to].address;
        let now = at(self.now);
        let one = &mut self.nodes[from];
        let flow = if let Some(routes) = &one.routes {
            one.flows.open(address, routes, now)
        } else {
            let view = View {
                routing: &self.routing,
                node: from,
            };
            one.flows.open(address, &view, now)
        };
        self.drain(from, 0);
        flow
    }

    /// Sends a message on a flow.
    pub(super) fn send(&mut self, from: usize, flow: FlowId, text: &[u8]) {
        let mut packet = Vec::new();
        let sealed = self.nodes[from].flows.seal(
            flow,
            PayloadKind::Message,
            text,
            &mut packet,
            at(self.now),
        );
        match sealed {
            Ok(Sealed::Send { to, label }) => self.carry(from, node_of(to), label, packet, 1),
            Ok(Sealed::Queued) => self.input(from, FlowInput::Tick),
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends on a flow that may be gone.
    pub(super) fn try_send(&mut self, from: usize, flow: FlowId, text: &[u8]) {
        if self.nodes[from].flows.flows().any(|one| one.flow == flow) {
            self.send(from, flow, text);
        }
    }

    pub(super) fn tag_of(&self, node: usize) -> [u8; 8] {
        self.routing.addresses[&self.nodes[node].address].0
    }

    fn carry(&mut self, from: usize, to: usize, label: Label, payload: Vec<u8>, hops: u32) {
        self.hops_max = self.hops_max.max(hops);
        self.data_packets += 1;
        if self.rng.below(100) < self.loss_percent {
            return;
        }
        self.push(
            self.delay,
            Event::Data {
                from,
                to,
                label,
                payload,
                hops,
            },
        );
    }

    fn drain(&mut self, node: usize, hops: u32) {
        while let Some(output) = self.nodes[node].flows.poll_output() {
            match output {
                FlowOutput::SendControl { to, body } => {
                    let to = node_of(to);
                    self.push(
                        self.delay,
                        Event::Control {
                            from: node,
                            to,
                            body,
                        },
                    );
                }
                FlowOutput::SendData { to, label, payload } => {
                    self.carry(node, node_of(to), label, payload, hops + 1);
                }
                FlowOutput::Search { id, target } if self.nodes[node].routes.is_some() => {
                    let search = RouteInput::Search {
                        id,
                        target: SearchTarget::Node(target),
                        avoid: Vec::new(),
                        rings: 4,
                    };
                    self.route_input(node, search);
                }
                FlowOutput::Search { id, target } => {
                    let tag = self.routing.addresses.get(&target).copied();
                    let target = tag.and_then(|tag| self.routing.tags.get(&tag));
                    let token = target.and_then(|target| self.routing.beyond.get(target));
                    let input = match token {
                        Some(token) => FlowInput::Found { id, token: *token },
                        None => FlowInput::NotFound { id },
                    };
                    self.push(Duration::from_millis(20), Event::Input { at: node, input });
                }
                FlowOutput::Event(FlowEvent::Received { flow, payload, .. }) => {
                    self.nodes[node].received.push((self.now, flow, payload));
                }
                FlowOutput::Event(event) => self.nodes[node].events.push(event),
            }
        }
    }

    /// Cuts a link silently: packets vanish, later both ends suspect it, then it is down.
    pub(super) fn cut(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            self.cut.insert((from, to));
            for (after, link) in [(SUSPECT_AFTER, Link::Suspect), (DOWN_AFTER, Link::Down)] {
                self.push(after, Event::Lost { at: from, to, link });
            }
        }
    }

    /// Routing learns which links are left.
    pub(super) fn converge(&mut self) {
        self.routing.links = self.links.difference(&self.cut).copied().collect();
        self.routing.recompute();
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].dead = true;
        let others: Vec<usize> = self
            .links
            .range((node, 0)..(node + 1, 0))
            .map(|(_, other)| *other)
            .collect();
        for other in others {
            self.cut(node, other);
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    pub(super) fn run_until(&mut self, end: Instant) {
        loop {
            let event_at = self.queue.first_key_value().map(|((at, _), _)| *at);
            let timer = self
                .nodes
                .iter()
                .enumerate()
                .filter(|(_, node)| !node.dead)
                .filter_map(|(index, node)| Some((node.next_timeout()?, index)))
                .min();
            let next = event_at
                .into_iter()
                .chain(timer.map(|(at, _)| at))
                .min()
                .filter(|at| *at <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if event_at == Some(next) {
                let Some((_, event)) = self.queue.pop_first() else {
                    break;
                };
                self.dispatch(event);
            } else if let Some((_, node)) = timer {
                self.route_input(node, RouteInput::Tick);
                self.input(node, FlowInput::Tick);
            }
        }
        self.now = end;
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Control { from, to, body } => {
                if self.cut.contains(&(from, to)) || self.nodes[to].dead {
                    return;
                }
                if self.nodes[to].conduct == Conduct::SwallowsSetUps && self.is_others(to, &body) {
                    return;
                }
                self.input(
                    to,
                    FlowInput::Control {
                        from: id_of(from),
                        body,
                    },
                );
            }
            Event::Data {
                from,
                to,
                label,
                payload,
                hops,
            } => {
                if self.cut.contains(&(from, to)) || self.nodes[to].dead {
                    self.swallowed
                        .entry((from, to))
                        .or_default()
                        .push((label, payload));
                    // What was on its way when the link was suspected comes back, too.
                    if self.suspected.contains(&(from, to)) {
                        self.give_back(from, to);
                    }
                    return;
                }
                self.take_data(from, to, label, payload, hops);
            }
            Event::Input { at: node, input } => {
                if !self.nodes[node].dead {
                    self.input(node, input);
                }
            }
            Event::Route { from, to, body } => {
                if !self.cut.contains(&(from, to)) && !self.nodes[to].dead {
                    let from = id_of(from);
                    self.route_input(to, RouteInput::Message { from, body });
                }
            }
            Event::Lost { at: node, to, link } => self.lose(node, to, link),
        }
    }

    /// The link at `node` to `to` is suspected or down: what it swallowed is given back.
    pub(super) fn lose(&mut self, node: usize, to: usize, link: Link) {
        if self.nodes[node].dead {
            return;
        }
        let neighbour = id_of(to);
        let input = match link {
            Link::Suspect => FlowInput::Suspect { neighbour },
            Link::Down => FlowInput::NeighbourDown { neighbour },
        };
        let route = match link {
            Link::Suspect => RouteInput::Suspect { neighbour },
            Link::Down => RouteInput::NeighbourDown { neighbour },
        };
        self.route_input(node, route);
        self.input(node, input);
        self.suspected.insert((node, to));
        self.give_back(node, to);
    }

    fn give_back(&mut self, node: usize, to: usize) {
        let neighbour = id_of(to);
        for (label, payload) in self.swallowed.remove(&(node, to)).unwrap_or_default() {
            self.input(
                node,
                FlowInput::Undelivered {
                    neighbour,
                    label,
                    payload,
                },
            );
        }
    }

    /// A cut link is whole again and both ends find each other anew.
    pub(super) fn mend(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            if self.cut.remove(&(from, to)) {
                self.swallowed.remove(&(from, to));
                self.queue.retain(|_, event| {
                    !matches!(event, Event::Lost { at, to: other, .. } if (*at, *other) == (from, to))
                });
                self.lose(from, to, Link::Down);
                self.suspected.remove(&(from, to));
                self.input(from, up(to));
            }
        }
    }

    /// A node loses all its state and starts anew.
    pub(super) fn restart(&mut self, node: usize) {
        let seed = self
            .seed
            .split(&format!("restart {node} {}", self.sequence));
        let fresh = Flows::new(
            FlowConfig::default(),
            &self.nodes[node].identity,
            &seed,
            at(self.now),
        );
        self.nodes[node].flows = fresh;
        self.nodes[node].events.clear();
        let others: Vec<usize> = self
            .links
            .range((node, 0)..(node + 1, 0))
            .map(|(_, other)| *other)
            .collect();
        for other in others {
            self.lose(other, node, Link::Down);
            self.suspected.remove(&(other, node));
            self.suspected.remove(&(node, other));
            self.input(other, up(node));
            self.input(node, up(other));
        }
    }

    fn is_others(&self, node: usize, body: &[u8]) -> bool {
        use smartmesh_wire::flow::FlowMessage;
        let view = View {
            routing: &self.routing,
            node,
        };
        matches!(FlowMessage::decode(body), Ok(FlowMessage::SetUp(s)) if !view.is_own(s.tag()))
    }

    fn take_data(&mut self, from: usize, to: usize, label: Label, payload: Vec<u8>, hops: u32) {
        let now = at(self.now);
        let node = &mut self.nodes[to];
        if node.conduct != Conduct::Honest {
            let decision = node.flows.forward(id_of(from), label, now);
            let held = decision == Forward::Hold;
            let relayed = matches!(
                decision,
                Forward::Relay { .. } | Forward::RelayInside { .. } | Forward::Hold
            );
            node.dropped += u32::from(relayed);
            let drops = match node.conduct {
                Conduct::DropsData => true,
                Conduct::DropsLater => !held,
                Conduct::DropsHalf => node.dropped.is_multiple_of(2),
                Conduct::Honest | Conduct::SwallowsSetUps => false,
            };
            if relayed && drops {
                return;
            }
        }
        let input = FlowInput::Data {
            from: id_of(from),
            label,
            payload,
        };
        if let Some(routes) = &node.routes {
            node.flows.handle(input, routes, now);
        } else {
            let view = View {
                routing: &self.routing,
                node: to,
            };
            node.flows.handle(input, &view, now);
        }
        self.drain(to, hops);
    }

    pub(super) fn texts(&self, node: usize) -> Vec<String> {
        let received = self.nodes[node].received.iter();
        received
            .map(|(_, _, text)| String::from_utf8_lossy(text).into_owned())
            .collect()
    }

    pub(super) fn is_up(&self, node: usize) -> bool {
        self.nodes[node]
            .events
            .iter()
            .any(|event| matches!(event, FlowEvent::Up { .. }))
    }
}

fn up(node: usize) -> FlowInput {
    FlowInput::NeighbourUp {
        neighbour: id_of(node),
        frame_bytes: 1_472,
        bits_per_second: 100_000_000,
    }
}

pub(super) fn at(instant: Instant) -> Now {
    Now {
        instant,
        unix: UnixTime::from_secs(1_700_000_000),
    }
}

pub(super) fn line(count: usize) -> Vec<(usize, usize)> {
    (1..count).map(|n| (n - 1, n)).collect()
}

pub(super) fn ring(count: usize) -> Vec<(usize, usize)> {
    (0..count).map(|n| (n, (n + 1) % count)).collect()
}

pub(super) fn grid(side: usize) -> Vec<(usize, usize)> {
    let mut links = Vec::new();
    for y in 0..side {
        for x in 0..side {
            let n = y * side + x;
            if x + 1 < side {
                links.push((n, n + 1));
            }
            if y + 1 < side {
                links.push((n, n + side));
            }
        }
    }
    links
}
