//! Many who hear each other: whom to keep, and how cells that meet become one.

use smartmesh_wire::link::{ClearFrame, FirstMessage, Purpose};

use super::*;

/// Everybody whom links reach from node 0.
fn reached(air: &Air) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([0]);
    let mut open = vec![0];
    while let Some(node) = open.pop() {
        for neighbour in air.nodes[node].neighbours() {
            let other = neighbour.addr.as_bytes()[0] as usize;
            if reached.insert(other) {
                open.push(other);
            }
        }
    }
    reached
}

fn kept(air: &Air) -> Vec<usize> {
    let links = air.nodes.iter().map(|links| links.neighbours().count());
    links.collect()
}

#[test]
fn in_a_dense_cell_nobody_keeps_too_many_and_all_hang_together() {
    let mut air = Air::new(40, 1_400);
    air.run(30_000);
    assert_eq!(reached(&air).len(), 40);
    let kept = kept(&air);
    assert!(kept.iter().all(|kept| (3..=8).contains(kept)), "{kept:?}");
}

#[test]
fn two_full_cells_that_meet_become_one_and_stay_so() {
    let (mut air, half) = (Air::new(0, 1_400), 12);
    for first in 0..half {
        for second in half..2 * half {
            air.cut.insert((first, second));
        }
    }
    air.add(2 * half, 1_400, &LinkConfig::default());
    air.run(30_000);
    assert_eq!(reached(&air).len(), half, "two cells that never met");
    let kept_apart: usize = kept(&air).iter().sum();
    assert!(
        kept_apart >= 2 * half * 6,
        "the cells are full: {kept_apart}"
    );
    air.cut.clear();
    air.run(30_000);
    for _ in 0..4 {
        assert_eq!(reached(&air).len(), 2 * half);
        let across = |node: usize| {
            let neighbours = air.nodes[node].neighbours();
            neighbours.filter(|other| other.addr.as_bytes()[0] as usize >= half)
        };
        let across: usize = (0..half).map(|node| across(node).count()).sum();
        assert!(across >= 4, "{across} links join the cells");
        air.run(30_000);
    }
    let kept = kept(&air);
    assert!(kept.iter().all(|kept| (3..=8).contains(kept)), "{kept:?}");
}

#[test]
fn a_thin_bridge_between_full_cells_is_built_and_kept() {
    // Of two cells only node 0 and node 12 hear each other.
    let (mut air, half) = (Air::new(0, 1_400), 12);
    for first in 0..half {
        for second in half..2 * half {
            air.cut.insert((first, second));
        }
    }
    air.add(2 * half, 1_400, &LinkConfig::default());
    air.run(20_000);
    air.cut.remove(&(0, half));
    air.run(60_000);
    let mut joined = 0;
    for _ in 0..10 {
        joined += usize::from(reached(&air).len() == 2 * half);
        air.run(10_000);
    }
    assert_eq!(joined, 10);
}

#[test]
fn a_cell_at_rest_settles() {
    let mut air = Air::new(14, 1_400);
    air.run(120_000);
    let changes = |air: &Air| air.count(|output| matches!(output, LinkOutput::Down { .. }));
    let before = changes(&air);
    air.run(120_000);
    let after = changes(&air) - before;
    assert!(after <= 14, "{after} ends of links in two minutes");
}

#[test]
fn radios_of_one_node_on_one_wire_do_not_link_the_node_to_itself() {
    let mut air = Air::new(1, 1_400);
    let info = RadioInfo {
        frame_bytes: 1_400,
        bits_per_second: 1_000_000_000,
        broadcast: Broadcast::Yes,
        peers: Vec::new(),
    };
    let links = &mut air.nodes[0];
    let (radio, mut now) = (RadioId(2), air.now);
    links.handle(LinkInput::RadioUp { radio, info }, now);
    for _ in 0..5_000 {
        now.instant = now.instant + Duration::from_millis(1);
        links.handle(LinkInput::Tick, now);
        let mut outputs = Vec::new();
        while let Some(output) = links.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            if let LinkOutput::Transmit { radio, train, .. } = output {
                // Each radio hears what the other sends.
                let (other, from) = (RadioId(3 - radio.0), addr(radio.0 as usize));
                links.open_train(other, from, train, now, &mut Vec::new());
            }
        }
    }
    assert_eq!(links.neighbours().count(), 0);
    assert_eq!((links.pending.len(), links.halves.len()), (0, 0));
}

#[test]
fn names_and_link_keys_change_while_links_stay_up() {
    let config = LinkConfig {
        key_lifetime: Duration::from_secs(60),
        ..LinkConfig::default()
    };
    let mut air = Air::with_config(3, 1_400, &config);
    air.run(2_000);
    let shown = |air: &Air| {
        let radio = &air.nodes[0].radios[&RADIO];
        (radio.id, radio.key.public())
    };
    let (mut names, mut keys) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..10 {
        let (name, key) = shown(&air);
        names.insert(name);
        keys.insert(key);
        air.run(100_000);
        assert_eq!(kept(&air), [2, 2, 2], "one link to each other node");
        for node in 0..3 {
            for other in air.nodes[node].peers.values() {
                let theirs = &air.nodes[other.addr.as_bytes()[0] as usize];
                assert_eq!(other.beacon, theirs.radio_id(RADIO));
            }
        }
    }
    assert!(names.len() >= 9 && keys.len() >= 9);
    let downs = air.count(|output| matches!(output, LinkOutput::Down { .. }));
    assert_eq!(downs, 0, "nobody lost a link over it");
}

#[test]
fn renewals_show_nothing_on_the_air() {
    let mut air = Air::new(2, 1_400);
    air.run(1_000);
    air.seen_bytes.clear();
    let before = air.nodes[0].counters().handshakes;
    air.run(600_000);
    assert!(air.nodes[0].counters().handshakes >= before + 4);
    let clear = |bytes: &&Vec<u8>| bytes[0] < 0x80 && bytes[0] != 1;
    assert_eq!(air.seen_bytes.iter().filter(clear).count(), 0);
}

#[test]
fn who_copies_the_name_of_a_neighbour_takes_no_place() {
    let config = LinkConfig {
        kept_max: 3,
        kept_wanted: 3,
        ..LinkConfig::default()
    };
    let mut air = Air::with_config(4, 1_400, &config);
    air.run(5_000);
    assert_eq!(air.nodes[0].neighbours().count(), 3);
    let known: Vec<NeighbourId> = air.nodes[0].neighbours().map(|one| one.id).collect();
    // A stranger that shows itself under the name of node 1, with a link key of its own.
    let copied = air.nodes[1].radio_id(RADIO);
    air.add(1, 1_400, &config);
    let stranger = &mut air.nodes[4];
    stranger.radios.get_mut(&RADIO).unwrap().id = copied;
    let to = air.nodes[0].radio_id(RADIO);
    let now = air.now.instant;
    for other in 1..4 {
        air.cut.insert((other, 4));
    }
    air.nodes[4].begin(RADIO, addr(0), to, Purpose::Ordinary, now);
    air.drain(4);
    air.run(1_000);
    let still: Vec<NeighbourId> = air.nodes[0].neighbours().map(|one| one.id).collect();
    assert_eq!(still, known);
    assert!(air.nodes[0].counters().busy > 0);
}

#[test]
fn a_first_message_alone_displaces_nobody() {
    let config = LinkConfig {
        kept_max: 2,
        kept_wanted: 2,
        ..LinkConfig::default()
    };
    let mut air = Air::with_config(8, 1_400, &config);
    air.run(10_000);
    let to = air.nodes[0].radio_id(RADIO);
    let before = air.nodes[0].neighbours().count();
    for n in 0..30_u32 {
        let first = FirstMessage {
            version: 1,
            links: 0,
            purpose: Purpose::Explore,
            sender: n | 0x8000_0000,
            from: BeaconId(u64::from(n).to_be_bytes()),
            to,
            cookie: [0; 16],
            noise: &[7; 32],
        };
        air.receive(0, 7, Train::single(ClearFrame::First(first).encode()));
    }
    assert_eq!(air.nodes[0].neighbours().count(), before);
    assert_eq!(air.nodes[0].counters().displaced, 0);
}
