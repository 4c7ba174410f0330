#![expect(
    clippy::arithmetic_side_effects,
    reason = "counts of a test fit their types by far"
)]

use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;

const LATENCY: Duration = Duration::from_millis(5);
const LIFE: Duration = Duration::from_secs(3_600);

/// Nodes that hear one another by pairs, each message after a fixed latency.
struct World {
    nodes: Vec<Gossip>,
    links: BTreeSet<(usize, usize)>,
    /// By time and order: receiver, sender, message.
    flying: BTreeMap<(Instant, usize), (usize, usize, Vec<u8>)>,
    sent: usize,
    /// What each node was given: payload and hops.
    delivered: Vec<Vec<(Vec<u8>, u8)>>,
    now: Now,
}

fn id(node: usize) -> NeighbourId {
    NeighbourId(u32::try_from(node).unwrap())
}

impl World {
    fn new(count: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let now = Now {
            instant: Instant::from_millis(1_000),
            ..Now::default()
        };
        let node = |index| {
            let seed = Seed::new([u8::try_from(index).unwrap(); 32]);
            Gossip::new(GossipConfig::default(), &seed, now)
        };
        let mut world = Self {
            nodes: (0..count).map(node).collect(),
            links: BTreeSet::new(),
            flying: BTreeMap::new(),
            sent: 0,
            delivered: vec![Vec::new(); count],
            now,
        };
        for (a, b) in links {
            world.meet(a, b);
        }
        world
    }

    fn meet(&mut self, a: usize, b: usize) {
        self.links.insert((a.min(b), a.max(b)));
        for (node, other) in [(a, b), (b, a)] {
            let up = GossipInput::NeighbourUp {
                neighbour: id(other),
                bits_per_second: 10_000_000,
            };
            self.nodes[node].handle(up, self.now).unwrap();
        }
        self.drain();
    }

    fn publish(&mut self, node: usize, kind: GossipKind, scope: u8, payload: Vec<u8>) {
        let input = GossipInput::Publish {
            kind,
            scope,
            life: LIFE,
            payload,
        };
        self.nodes[node].handle(input, self.now).unwrap();
        self.drain();
    }

    fn drain(&mut self) {
        for index in 0..self.nodes.len() {
            while let Some(output) = self.nodes[index].poll_output() {
                match output {
                    GossipOutput::Send { to, body, .. } => {
                        let to = usize::try_from(to.0).unwrap();
                        self.sent += 1;
                        self.flying
                            .insert((self.now.instant + LATENCY, self.sent), (to, index, body));
                    }
                    GossipOutput::Deliver { payload, hops, .. } => {
                        self.delivered[index].push((payload, hops))
                    }
                }
            }
        }
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now.instant + span;
        loop {
            let timeouts = self.nodes.iter().filter_map(Gossip::next_timeout);
            let next = timeouts
                .chain(self.flying.keys().map(|(at, _)| *at))
                .min()
                .unwrap_or(Instant::NEVER);
            if next > end {
                self.now = self.now.after(end.since(self.now.instant));
                return;
            }
            self.now = self
                .now
                .after(next.since(self.now.instant).max(Duration::from_micros(1)));
            while let Some(entry) = self
                .flying
                .first_entry()
                .filter(|entry| entry.key().0 <= self.now.instant)
            {
                let (to, from, body) = entry.remove();
                if self.links.contains(&(from.min(to), from.max(to))) {
                    let _ = self.nodes[to].handle(
                        GossipInput::Message {
                            from: id(from),
                            body,
                        },
                        self.now,
                    );
                }
            }
            for node in &mut self.nodes {
                if node.next_timeout().is_some_and(|at| at <= self.now.instant) {
                    node.handle(GossipInput::Tick, self.now).unwrap();
                }
            }
            self.drain();
        }
    }

    fn sum(&self, counter: impl Fn(&GossipCounters) -> u64) -> u64 {
        self.nodes.iter().map(|node| counter(node.counters())).sum()
    }
}

fn line(count: usize) -> World {
    World::new(count, (1..count).map(|b| (b - 1, b)))
}

fn grid(side: usize) -> World {
    let right = (0..side * side)
        .filter(move |n| n % side + 1 < side)
        .map(|n| (n, n + 1));
    let down = (0..side * (side - 1)).map(move |n| (n, n + side));
    World::new(side * side, right.chain(down))
}

#[test]
fn an_item_goes_as_far_as_its_scope_and_no_farther() {
    let mut world = line(6);
    world.publish(0, GossipKind::PublicRoom, 3, b"hello".to_vec());
    world.wait(Duration::from_secs(5));
    let hops: Vec<Vec<u8>> = world
        .delivered
        .iter()
        .map(|items| items.iter().map(|(_, hops)| *hops).collect())
        .collect();
    assert_eq!(hops, [vec![], vec![1], vec![2], vec![3], vec![], vec![]]);
    let again = GossipInput::Publish {
        kind: GossipKind::PublicRoom,
        scope: 3,
        life: LIFE,
        payload: b"hello".to_vec(),
    };
    assert_eq!(
        world.nodes[1].handle(again, world.now),
        Err(GossipError::Known)
    );
}

#[test]
fn everybody_hears_everything_once() {
    let mut world = grid(5);
    for node in 0..25_u8 {
        world.publish(
            usize::from(node),
            GossipKind::PublicRoom,
            16,
            vec![node; 100],
        );
    }
    world.wait(Duration::from_secs(30));
    for (node, items) in world.delivered.iter().enumerate() {
        let distinct: BTreeSet<_> = items.iter().map(|(payload, _)| payload).collect();
        assert_eq!((items.len(), distinct.len()), (24, 24), "node {node}");
    }
}

#[test]
fn in_a_crowd_most_relays_keep_silent() {
    let count = 20;
    let mut world = World::new(count, (0..count).flat_map(|a| (0..a).map(move |b| (b, a))));
    world.publish(0, GossipKind::PublicRoom, 8, vec![1; 800]);
    world.wait(Duration::from_secs(10));
    assert!(world.delivered[1..].iter().all(|items| items.len() == 1));
    let sent = world.sum(|counters| counters.sent_items);
    let flooded = u64::try_from((count - 1) * (count - 1)).unwrap();
    assert!(
        sent * 2 < flooded,
        "{sent} items sent, flooding sends {flooded}"
    );
}

#[test]
fn a_flood_of_a_hundred_times_the_rate_drowns_nobody() {
    let mut world = grid(5);
    // Node 0 is the flooder; it speaks to 1 and 5 as fast as it likes. The others say something now and then.
    let (mut said, mut flooded) = (0_u16, 0_u32);
    for second in 0..240_u32 {
        for _ in 0..100 {
            flooded += 1;
            let mut payload = vec![0xff; 1_000];
            payload[..4].copy_from_slice(&flooded.to_be_bytes());
            let item = Item {
                kind: 5,
                scope: 16,
                hops: 1,
                life_secs: 3_600,
                age_secs: 0,
                payload,
            };
            let body = GossipMessage::Items(vec![item]).encode();
            for victim in [1, 5] {
                let message = GossipInput::Message {
                    from: id(0),
                    body: body.clone(),
                };
                world.nodes[victim].handle(message, world.now).unwrap();
            }
        }
        world.drain();
        if second % 4 == 0 && second < 200 {
            let node = 1 + usize::from(said) % 24;
            said += 1;
            let mut payload = vec![0; 200];
            payload[..2].copy_from_slice(&said.to_be_bytes());
            world.publish(node, GossipKind::PublicRoom, 16, payload);
        }
        world.wait(Duration::from_secs(1));
    }
    let honest = |items: &Vec<(Vec<u8>, u8)>| {
        items
            .iter()
            .filter(|(payload, _)| payload.len() == 200)
            .count()
    };
    let heard: usize = world.delivered[1..].iter().map(honest).sum();
    let expected = usize::from(said) * 23;
    println!("{heard} of {expected} honest items delivered under a flood");
    assert!(heard * 100 >= expected * 98);
    assert!(world.nodes[1].counters().choked > 0);
    assert!(world.nodes[1].choked_until(id(0)) > world.now.instant);
    assert_eq!(
        world.nodes[7].counters().choked,
        0,
        "relays of a flood are not taken for its source"
    );
}

#[test]
fn an_sos_leaves_at_once_and_first() {
    let mut world = line(2);
    for number in 0..60_u8 {
        let input = GossipInput::Publish {
            kind: GossipKind::PublicRoom,
            scope: 4,
            life: LIFE,
            payload: vec![number; 1_000],
        };
        world.nodes[0].handle(input, world.now).unwrap();
    }
    let sos = GossipInput::Publish {
        kind: GossipKind::Sos,
        scope: 16,
        life: LIFE,
        payload: b"help".to_vec(),
    };
    world.now = world.now.after(Duration::from_secs(1));
    world.nodes[0].handle(sos, world.now).unwrap();
    let first = world.nodes[0].poll_output();
    let Some(GossipOutput::Send { body, class, .. }) = first else {
        panic!("{first:?}")
    };
    assert_eq!(class, GossipClass::Urgent);
    let Ok(GossipMessage::Items(items)) = GossipMessage::decode(&body) else {
        panic!()
    };
    assert_eq!(items[0].payload, b"help");
}

#[test]
fn who_comes_late_gets_what_still_holds() {
    let mut world = World::new(3, [(0, 1)]);
    for number in 0..20_u8 {
        world.publish(0, GossipKind::Prekeys, 16, vec![number; 100]);
    }
    world.wait(Duration::from_secs(60));
    world.meet(1, 2);
    world.wait(Duration::from_secs(60));
    assert_eq!(world.delivered[2].len(), 20);
    assert!(world.delivered[2].iter().all(|(_, hops)| *hops == 2));
    world.wait(LIFE + Duration::from_secs(200));
    assert_eq!(world.nodes[2].kept(), 0);
    assert_eq!(world.nodes[2].next_timeout(), None, "nothing is left to do");
}

#[test]
fn a_refused_item_goes_no_further_and_its_bringer_is_choked() {
    let mut world = line(3);
    let item = Item {
        kind: 5,
        scope: 16,
        hops: 1,
        life_secs: 60,
        age_secs: 0,
        payload: b"forged".to_vec(),
    };
    let body = GossipMessage::Items(vec![item]).encode();
    world.nodes[1]
        .handle(GossipInput::Message { from: id(0), body }, world.now)
        .unwrap();
    let Some(GossipOutput::Deliver { id: item, .. }) = world.nodes[1].poll_output() else {
        panic!()
    };
    world.nodes[1]
        .handle(GossipInput::Refuse { id: item }, world.now)
        .unwrap();
    world.wait(Duration::from_secs(10));
    assert!(world.delivered[2].is_empty());
    assert_eq!(world.nodes[1].counters().choked, 1);
}

#[test]
fn what_cannot_be_published_is_refused() {
    let mut world = World::new(1, []);
    let now = world.now;
    let mut publish = |kind, scope, life, bytes| {
        world.nodes[0].handle(
            GossipInput::Publish {
                kind,
                scope,
                life,
                payload: vec![0; bytes],
            },
            now,
        )
    };
    assert_eq!(
        publish(GossipKind::Sos, 1, LIFE, 241),
        Err(GossipError::PayloadTooLarge(241))
    );
    assert_eq!(
        publish(GossipKind::Sos, 0, LIFE, 1),
        Err(GossipError::Scope(0))
    );
    assert_eq!(
        publish(GossipKind::Sos, 65, LIFE, 1),
        Err(GossipError::Scope(65))
    );
    assert_eq!(
        publish(GossipKind::Sos, 1, Duration::ZERO, 1),
        Err(GossipError::Life(Duration::ZERO))
    );
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let ids = || {
        prop::collection::vec(
            any::<u8>().prop_map(|byte| smartmesh_wire::ids::ShortId([byte; 8])),
            1..20,
        )
        .prop_map(smartmesh_wire::ids::ShortIds)
    };
    let item = (
        any::<[u8; 3]>(),
        any::<[u8; 2]>(),
        prop::collection::vec(any::<u8>(), 0..50),
    )
        .prop_map(|([kind, scope, hops], [life, age], payload)| Item {
            kind: kind % 8,
            scope: scope % 70,
            hops: hops % 70,
            life_secs: life.into(),
            age_secs: age.into(),
            payload,
        });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..100),
        prop::collection::vec(item, 1..5).prop_map(|items| GossipMessage::Items(items).encode()),
        ids().prop_map(|ids| GossipMessage::Digest(ids).encode()),
        ids().prop_map(|ids| GossipMessage::Request(ids).encode()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_cause_no_panic_and_memory_stays_bounded(
        bodies in prop::collection::vec((any_body(), 0..40_u64), 1..80),
    ) {
        let mut world = line(2);
        let config = GossipConfig { items_max: 8, bytes_max: 200, seen_max: 16, ..GossipConfig::default() };
        world.nodes[0] = Gossip::new(config, &Seed::new([1; 32]), world.now);
        let up = GossipInput::NeighbourUp { neighbour: id(1), bits_per_second: 1_000 };
        world.nodes[0].handle(up, world.now).unwrap();
        for (body, seconds) in bodies {
            let node = &mut world.nodes[0];
            let _ = node.handle(GossipInput::Message { from: id(1), body }, world.now);
            prop_assert!(node.kept() <= 8);
            prop_assert!(node.next_timeout().is_none_or(|at| at <= world.now.instant) || node.poll_output().is_none());
            while node.poll_output().is_some() {}
            world.now = world.now.after(Duration::from_secs(seconds));
        }
    }
}
