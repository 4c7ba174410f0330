//! Links joined by an in-memory medium with delay and loss, under virtual time.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "small numbers of a test, and one kind of output at a time"
)]

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::Broadcast;

use super::*;

mod cells;
mod contacts;
mod loss;

const RADIO: RadioId = RadioId(1);

struct Air {
    nodes: Vec<Links>,
    now: Now,
    /// (arrival, order) to (from, to, train).
    flying: BTreeMap<(Instant, u64), (usize, usize, Train)>,
    order: u64,
    cut: BTreeSet<(usize, usize)>,
    loss_permille: u64,
    rng: Rng,
    events: Vec<(usize, LinkOutput)>,
    data: Vec<(usize, Label, Vec<u8>)>,
    seen_bytes: Vec<Vec<u8>>,
}

fn identity(node: usize) -> Identity {
    Identity::from_secret([node as u8 + 101; 32])
}

fn addr(node: usize) -> LinkAddr {
    LinkAddr::new(&[node as u8]).unwrap()
}

impl Air {
    fn new(count: usize, frame_bytes: usize) -> Self {
        Self::with_config(count, frame_bytes, &LinkConfig::default())
    }

    fn with_config(count: usize, frame_bytes: usize, config: &LinkConfig) -> Self {
        let now = Now {
            instant: Instant::from_millis(1_000),
            ..Now::default()
        };
        let mut air = Self {
            nodes: Vec::new(),
            now,
            flying: BTreeMap::new(),
            order: 0,
            cut: BTreeSet::new(),
            loss_permille: 0,
            rng: Seed::new([9; 32]).rng(),
            events: Vec::new(),
            data: Vec::new(),
            seen_bytes: Vec::new(),
        };
        air.add(count, frame_bytes, config);
        air
    }

    /// Adds nodes that hear everybody they are not cut off from.
    fn add(&mut self, count: usize, frame_bytes: usize, config: &LinkConfig) {
        let first = self.nodes.len();
        for node in first..first + count {
            let seed = Seed::new([node as u8 + 1; 32]);
            let mut links = Links::new(config.clone(), &identity(node), &seed, self.now);
            let info = RadioInfo {
                frame_bytes,
                bits_per_second: 1_000_000_000,
                broadcast: Broadcast::Yes,
                peers: Vec::new(),
            };
            links.handle(LinkInput::RadioUp { radio: RADIO, info }, self.now);
            self.nodes.push(links);
        }
        (first..first + count).for_each(|node| self.drain(node));
    }

    fn drain(&mut self, node: usize) {
        while let Some(output) = self.nodes[node].poll_output() {
            let LinkOutput::Transmit { to, train, .. } = output else {
                self.events.push((node, output));
                continue;
            };
            let receivers: Vec<usize> = match to {
                Destination::Broadcast => (0..self.nodes.len())
                    .filter(|other| *other != node)
                    .collect(),
                Destination::Peer(addr) => vec![addr.as_bytes()[0] as usize],
            };
            self.seen_bytes.push(train.bytes.clone());
            for to in receivers {
                let lost = self.rng.below(1_000) < self.loss_permille;
                if to < self.nodes.len()
                    && !lost
                    && !self.cut.contains(&(node.min(to), node.max(to)))
                {
                    self.order += 1;
                    let at = self.now.instant + Duration::from_micros(500);
                    self.flying
                        .insert((at, self.order), (node, to, train.clone()));
                }
            }
        }
    }

    fn run(&mut self, millis: u64) {
        let end = self.now.instant + Duration::from_millis(millis);
        loop {
            let timer = self
                .nodes
                .iter()
                .filter_map(Links::next_timeout)
                .min()
                .unwrap_or(Instant::NEVER);
            let arrival = self
                .flying
                .keys()
                .next()
                .map_or(Instant::NEVER, |(at, _)| *at);
            let next = timer.min(arrival).max(self.now.instant);
            if next > end {
                self.now.instant = end;
                return;
            }
            self.now.instant = next;
            if arrival <= next {
                let (_, (from, to, train)) = self.flying.pop_first().unwrap();
                self.receive(to, from, train);
            } else {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].next_timeout().is_some_and(|at| at <= next) {
                        self.nodes[node].handle(LinkInput::Tick, self.now);
                        self.drain(node);
                    }
                }
            }
        }
    }

    fn receive(&mut self, to: usize, from: usize, train: Train) {
        let mut frames = Vec::new();
        let train = self.nodes[to].open_train(RADIO, addr(from), train, self.now, &mut frames);
        for frame in frames {
            self.data.push((
                to,
                frame.label,
                train.bytes[frame.start..frame.start + frame.length].to_vec(),
            ));
        }
        self.drain(to);
    }

    fn neighbour(&self, node: usize) -> NeighbourId {
        self.nodes[node]
            .neighbours()
            .next()
            .expect("has a neighbour")
            .id
    }

    fn send(&mut self, node: usize, payload: &[u8]) {
        let to = self.neighbour(node);
        self.nodes[node]
            .send_data(to, Label(77), payload, self.now)
            .unwrap();
        self.drain(node);
    }

    fn count(&self, wanted: impl Fn(&LinkOutput) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(_, output)| wanted(output))
            .count()
    }
}

#[test]
fn two_nodes_are_linked_within_twenty_milliseconds() {
    let mut air = Air::new(2, 1_400);
    air.run(20);
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Up { .. })),
        2
    );
    assert!(
        air.nodes
            .iter()
            .all(|links| links.neighbours().count() == 1)
    );
}

#[test]
fn data_and_control_arrive_once_in_order_even_when_half_is_lost_or_frames_are_small() {
    for (frame_bytes, loss) in [(1_400, 0), (200, 0), (1_400, 300), (200, 300)] {
        let mut air = Air::new(2, frame_bytes);
        air.run(300);
        air.loss_permille = loss;
        let to = air.neighbour(0);
        let messages: Vec<Vec<u8>> = (0..20_u8).map(|n| vec![n; 700]).collect();
        for message in &messages {
            air.nodes[0]
                .send_control(to, message.clone(), ControlClass::Urgent, air.now)
                .unwrap();
        }
        air.drain(0);
        air.run(8_000);
        let came: Vec<&Vec<u8>> = air
            .events
            .iter()
            .filter_map(|(node, output)| match output {
                LinkOutput::Control { message, .. } if *node == 1 => Some(message),
                _ => None,
            })
            .collect();
        assert_eq!(
            came,
            messages.iter().collect::<Vec<_>>(),
            "frames of {frame_bytes}, loss {loss}"
        );
        if loss == 0 {
            air.send(0, &[5; 3_000]);
            air.run(10);
            let fragments = air.count(|output| matches!(output, LinkOutput::Data { payload, .. } if *payload == [5; 3_000]));
            assert_eq!(fragments, 1);
        }
    }
}

#[test]
fn a_silent_link_in_use_is_suspected_in_time_and_gives_back_what_was_lost() {
    let mut air = Air::new(2, 1_400);
    air.run(300);
    for n in 0..40_u8 {
        air.send(0, &[n; 100]);
        air.run(5);
    }
    assert_eq!(air.data.len(), 40);
    air.events.clear();
    air.cut.insert((0, 1));
    let cut_at = air.now.instant;
    let mut suspected_at = None;
    for n in 40..80_u8 {
        air.send(0, &[n; 100]);
        air.run(5);
        if suspected_at.is_none()
            && air.count(|output| matches!(output, LinkOutput::Suspect { .. })) > 0
        {
            suspected_at = Some(air.now.instant.since(cut_at));
        }
    }
    let suspected = suspected_at.expect("the link is suspected");
    assert!(suspected <= Duration::from_millis(150), "{suspected:?}");
    let given_back = air.count(|output| matches!(output, LinkOutput::Undelivered { .. }));
    assert!(given_back >= 10, "{given_back}");
    air.cut.clear();
    air.run(1_000);
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Recovered { .. })),
        1
    );
    air.cut.insert((0, 1));
    air.run(15_000);
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Down { .. })),
        2
    );
}

#[test]
fn a_single_packet_on_an_idle_link_is_given_back_when_nobody_answers() {
    let mut air = Air::new(2, 1_400);
    air.run(3_000);
    air.events.clear();
    air.cut.insert((0, 1));
    air.send(0, b"alone");
    air.run(150);
    assert_eq!(air.count(|output| matches!(output, LinkOutput::Undelivered { payload, .. } if payload == b"alone")), 1);
}

#[test]
fn a_quiet_pair_says_little_and_changes_its_keys() {
    let mut air = Air::new(2, 1_400);
    air.run(10_000);
    air.seen_bytes.clear();
    air.run(400_000);
    let bytes: usize = air.seen_bytes.iter().map(|bytes| bytes.len() + 62).sum();
    assert!(
        bytes / 400 / 2 <= 50,
        "{} bytes a second and node",
        bytes / 400 / 2
    );
    assert!(
        air.nodes[0].counters().handshakes >= 3,
        "{:?}",
        air.nodes[0].counters()
    );
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Down { .. })),
        0
    );
    air.send(0, b"still here");
    air.run(5);
    assert_eq!(air.data, [(1, Label(77), b"still here".to_vec())]);
}

#[test]
fn replayed_damaged_and_random_frames_are_counted_and_change_nothing() {
    let mut air = Air::new(2, 1_400);
    air.run(300);
    air.seen_bytes.clear();
    air.send(0, b"once");
    let frame = air.seen_bytes.last().unwrap().clone();
    air.run(5);
    air.receive(1, 0, Train::single(frame.clone()));
    assert_eq!(air.data.len(), 1);
    assert_eq!(air.nodes[1].counters().replayed, 1);
    let mut rng = Seed::new([3; 32]).rng();
    for _ in 0..20_000 {
        let mut bytes = frame.clone();
        match rng.below(4) {
            0 => bytes.truncate(rng.below(bytes.len() as u64) as usize),
            1 => rng.fill(&mut bytes),
            2 => {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            _ => {
                bytes = vec![0; rng.below(120) as usize];
                rng.fill(&mut bytes);
                if let Some(first) = bytes.first_mut() {
                    *first = rng.below(9) as u8;
                }
            }
        }
        air.receive(1, 0, Train::single(bytes));
    }
    assert_eq!(air.data.len(), 1);
    assert_eq!(air.nodes[1].neighbours().count(), 1);
    assert!(air.nodes[1].pending.len() <= 64 && air.nodes[1].halves.len() <= 64);
}

#[test]
fn a_flood_of_first_messages_costs_no_diffie_hellman_before_a_cookie() {
    let mut air = Air::new(1, 1_400);
    air.run(100);
    let id = air.nodes[0].radio_id(RADIO);
    for n in 0..5_000_u32 {
        let first = smartmesh_wire::link::FirstMessage {
            version: 1,
            links: 0,
            purpose: smartmesh_wire::link::Purpose::Ordinary,
            sender: n | 0x8000_0000,
            from: BeaconId(u64::from(n).to_be_bytes()),
            to: id,
            cookie: [0; 16],
            noise: &[7; 32],
        };
        air.receive(
            0,
            0,
            Train::single(smartmesh_wire::link::ClearFrame::First(first).encode()),
        );
    }
    let counters = air.nodes[0].counters();
    assert!(counters.cookies_sent >= 4_900, "{counters:?}");
    assert!(air.nodes[0].halves.len() <= 64);
}

#[test]
fn carrier_loss_ends_links_at_once() {
    let mut air = Air::new(2, 1_400);
    air.run(300);
    air.send(0, b"on its way");
    air.nodes[0].handle(
        LinkInput::CarrierLost {
            radio: RADIO,
            peer: None,
        },
        air.now,
    );
    air.drain(0);
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Undelivered { .. })),
        1
    );
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Down { .. })),
        1
    );
}

#[test]
fn another_version_is_counted_and_answered_with_ours() {
    let mut air = Air::new(1, 1_400);
    let first = smartmesh_wire::link::FirstMessage {
        version: 9,
        links: 0,
        purpose: smartmesh_wire::link::Purpose::Ordinary,
        sender: 0x8000_0001,
        from: BeaconId([1; 8]),
        to: air.nodes[0].radio_id(RADIO),
        cookie: [0; 16],
        noise: &[7; 32],
    };
    air.seen_bytes.clear();
    air.receive(
        0,
        0,
        Train::single(smartmesh_wire::link::ClearFrame::First(first).encode()),
    );
    assert_eq!(air.nodes[0].counters().unknown_version, 1);
    assert_eq!(air.seen_bytes.last().map(|bytes| bytes[0]), Some(6));
}
