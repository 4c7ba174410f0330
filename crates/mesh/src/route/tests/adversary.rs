//! Neighbours that lie, flood or send noise.

use proptest::prelude::*;
use smartmesh_crypto::Seed;
use smartmesh_types::{Duration, NeighbourId, Tag};
use smartmesh_wire::route::{
    RouteSection, SearchAnswer, SearchToken, SeqnoRequest, Update, encode_route_body,
};

use super::net::{HOP, Net, grid, line};
use crate::route::RouteConfig;

const QUIET: Duration = Duration::from_secs(3);

fn fake(number: u64, metric: u32) -> Update {
    Update {
        tag: Tag((number ^ 0xdead_beef_0000_0000).to_be_bytes()),
        seqno: 1,
        hops: 1,
        metric,
    }
}

/// The liar's messages to each of its neighbours.
fn say(net: &mut Net, liar: usize, sections: &[RouteSection]) {
    let body = encode_route_body(sections);
    let all: Vec<NeighbourId> = (0..net.nodes.len())
        .filter_map(|to| net.id_of(liar, to))
        .collect();
    for to in all {
        net.send(liar, to, body.clone());
    }
}

/// Ten honest nodes in a line, the flooder at one end of it with its 10,000 tags that get nearer and nearer.
fn check_flood(metric: impl Fn(u64) -> u32) {
    let config = RouteConfig {
        zone_destinations: 64,
        ..RouteConfig::default()
    };
    let mut net = line(11, &config);
    net.run_until_quiet(QUIET);
    net.puppets.insert(10, Vec::new());
    let before = net.messages;
    for batch in 0..250 {
        let updates = (0..40)
            .map(|n| fake(batch * 40 + n, metric(batch * 40 + n)))
            .collect();
        say(&mut net, 10, &[RouteSection::Updates(updates)]);
        net.run_for(Duration::from_millis(100));
        for from in 0..10 {
            for to in 0..10 {
                let known = from == to || net.metric_between(from, to).is_some();
                assert!(known, "batch {batch}: {from} lost {to}");
            }
            assert!(net.nodes[from].dests.len() <= 73);
        }
    }
    println!(
        "flood of 10,000 tags in 25 s: {} messages in a line of 11",
        net.messages - before
    );
    assert!(
        net.nodes[9].counters().dropped_admission_budget
            + net.nodes[9].counters().dropped_beyond_zone
            > 5_000
    );
}

#[test]
fn a_flood_of_invented_tags_displaces_no_honest_one() {
    check_flood(|_| 1);
}

#[test]
fn a_flood_of_ever_nearer_tags_displaces_no_honest_one() {
    check_flood(|n| 1_000_000 - u32::try_from(n).unwrap() * 90);
}

#[test]
fn honest_routes_that_come_after_the_flood_find_room() {
    let config = RouteConfig::default();
    let mut net = Net::new(62, &config);
    net.judge_loops = false;
    net.join(0, 61, 1_000, HOP);
    net.run_until_quiet(QUIET);
    net.puppets.insert(61, Vec::new());
    for batch in 0..25 {
        let updates = (0..40).map(|n| fake(batch * 40 + n, 1)).collect();
        say(&mut net, 61, &[RouteSection::Updates(updates)]);
        net.run_for(Duration::from_millis(100));
    }
    assert!(net.nodes[0].destinations().count() >= 224);
    for node in 1..61 {
        net.join(node - 1, node, 1_000, HOP);
    }
    net.run_until_quiet(QUIET);
    for to in 1..61 {
        assert!(net.metric_between(0, to).is_some(), "lost {to}");
    }
}

#[test]
fn a_liar_attracts_traffic_but_makes_no_loop_and_its_end_heals() {
    let mut net = grid(4, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    let tags: Vec<Tag> = (0..16).map(|node| net.tag_of(node)).collect();
    net.puppets.insert(5, Vec::new());
    let mut rng = Seed::new([9; 32]).rng();
    for _ in 0..400 {
        let tag = tags[usize::try_from(rng.below(16)).unwrap()];
        let seqno = u32::try_from(rng.below(1 << 32) >> rng.below(32)).unwrap();
        let near = net.nodes[0]
            .dests
            .get(&tag)
            .map_or(seqno, |dest| dest.selected.seqno);
        let update = Update {
            tag,
            seqno: if rng.below(2) == 0 {
                seqno
            } else {
                near.saturating_add(1)
            },
            hops: u8::try_from(rng.below(256)).unwrap(),
            metric: u32::try_from(rng.below(1 << 32) >> rng.below(32)).unwrap(),
        };
        let section = match rng.below(4) {
            0 => RouteSection::Retractions(vec![tag]),
            1 => RouteSection::Requests(vec![SeqnoRequest {
                tag,
                seqno,
                hops: 0,
            }]),
            _ => RouteSection::Updates(vec![update]),
        };
        say(&mut net, 5, &[section]);
        net.run_for(Duration::from_millis(rng.below(20)));
    }
    for peer in [1, 4, 6, 9] {
        net.cut(5, peer);
    }
    net.run_for(Duration::from_secs(200));
    for from in (0..16).filter(|node| *node != 5) {
        for to in (0..16).filter(|node| *node != 5 && *node != from) {
            assert!(net.metric_between(from, to).is_some(), "{from} lost {to}");
        }
    }
}

#[test]
fn an_answer_nobody_asked_for_leaves_no_path() {
    let mut net = line(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    net.puppets.insert(2, Vec::new());
    let token = SearchToken([1; 8]);
    let answer = SearchAnswer {
        token,
        hops: 0,
        metric: 0,
    };
    say(&mut net, 2, &[RouteSection::Answer(answer)]);
    net.run_for(QUIET);
    assert_eq!(net.nodes[1].search_hop(token), None);
    assert_eq!(net.nodes[1].counters().dropped_answers, 1);
}

#[test]
fn requests_raise_a_sequence_number_no_faster_than_its_budget() {
    let mut net = line(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    net.puppets.insert(2, Vec::new());
    let tag = net.tag_of(0);
    let first = net.nodes[0].dests[&tag].selected.seqno;
    for step in 1..=1_000_u32 {
        let seqno = first.saturating_add(step);
        say(
            &mut net,
            2,
            &[RouteSection::Requests(vec![SeqnoRequest {
                tag,
                seqno,
                hops: 0,
            }])],
        );
        net.run_for(Duration::from_millis(10));
    }
    assert!(net.nodes[0].counters().bytes_sent < 3_000);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_dropped_and_counted(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut net = line(3, &RouteConfig::default());
        net.run_until_quiet(QUIET);
        net.puppets.insert(2, Vec::new());
        let to = net.id_of(2, 1).unwrap();
        let before = net.nodes[1].counters().messages_received;
        let count = bodies.len() as u64;
        for body in bodies {
            net.send(2, to, body);
        }
        net.run_for(QUIET);
        let counters = net.nodes[1].counters();
        prop_assert_eq!(counters.dropped_malformed + counters.messages_received - before, count);
        prop_assert!(net.metric_between(1, 0).is_some());
    }

    #[test]
    fn well_formed_nonsense_never_panics(kinds in prop::collection::vec((1_u8..11, prop::collection::vec(any::<u8>(), 0..40)), 1..40)) {
        let mut net = line(3, &RouteConfig::default());
        net.run_until_quiet(QUIET);
        net.puppets.insert(2, Vec::new());
        let to = net.id_of(2, 1).unwrap();
        for (kind, content) in kinds {
            let mut body = vec![kind, 0, u8::try_from(content.len()).unwrap()];
            body.extend(content);
            net.send(2, to, body);
            net.run_for(Duration::from_millis(1));
        }
        net.run_for(QUIET);
        prop_assert!(net.metric_between(1, 0).is_some() || net.nodes[1].epoch() != net.nodes[0].epoch());
    }
}
