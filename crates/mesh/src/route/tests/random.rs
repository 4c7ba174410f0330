//! Arbitrary graphs with arbitrary histories: never a loop, and the shortest routes once all is quiet.

use proptest::prelude::*;
use smartmesh_types::Duration;

use super::net::Net;
use crate::route::{RouteConfig, RouteInput};

#[derive(Clone, Debug)]
enum Move {
    Join(usize, usize, u32, u32, u64),
    Cut(usize),
    Metric(usize, u32),
    Suspect(usize),
    Recovered(usize),
    Restart(usize),
    Wait(u64),
}

fn moves(nodes: usize) -> impl Strategy<Value = Vec<Move>> {
    let join = (0..nodes, 0..nodes, 1_u32..20, 1_u32..20, 50_u64..20_000)
        .prop_map(|(a, b, ab, ba, delay)| Move::Join(a, b, ab * 1_000, ba * 1_000, delay));
    let one = prop_oneof![
        4 => join,
        2 => (0_usize..1_000).prop_map(Move::Cut),
        2 => (0_usize..1_000, 1_u32..40).prop_map(|(link, metric)| Move::Metric(link, metric * 1_000)),
        1 => (0_usize..1_000).prop_map(Move::Suspect),
        1 => (0_usize..1_000).prop_map(Move::Recovered),
        1 => (0..nodes).prop_map(Move::Restart),
        4 => (0_u64..60_000).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..80)
}

fn link(links: &[(usize, usize)], pick: usize) -> Option<(usize, usize)> {
    links.get(pick.checked_rem(links.len())?).copied()
}

fn play(nodes: usize, moves: Vec<Move>) -> Net {
    let mut net = Net::new(nodes, &RouteConfig::default());
    let mut links = Vec::new();
    for step in moves {
        match step {
            Move::Join(a, b, ab, ba, delay) => {
                if a != b && net.id_of(a, b).is_none() {
                    net.join_unequal(a, b, ab, ba, Duration::from_micros(delay));
                    links.push((a, b));
                }
            }
            Move::Cut(pick) => {
                if let Some((a, b)) = link(&links, pick) {
                    net.cut(a, b);
                    links.retain(|other| *other != (a, b));
                }
            }
            Move::Metric(pick, metric) => {
                if let Some((a, b)) = link(&links, pick) {
                    let neighbour = net.id_of(a, b).unwrap();
                    net.input(a, RouteInput::Metric { neighbour, metric });
                }
            }
            Move::Suspect(pick) => {
                if let Some((a, b)) = link(&links, pick) {
                    let neighbour = net.id_of(a, b).unwrap();
                    net.input(a, RouteInput::Suspect { neighbour });
                }
            }
            Move::Recovered(pick) => {
                if let Some((a, b)) = link(&links, pick) {
                    let neighbour = net.id_of(a, b).unwrap();
                    net.input(a, RouteInput::Recovered { neighbour });
                }
            }
            Move::Restart(node) => {
                let unix = net.unix[node];
                net.restart(node, &RouteConfig::default(), unix);
                links.retain(|(a, b)| *a != node && *b != node);
            }
            Move::Wait(micros) => net.run_for(Duration::from_micros(micros)),
        }
    }
    for (a, b) in links {
        for (from, to) in [(a, b), (b, a)] {
            let neighbour = net.id_of(from, to).unwrap();
            net.input(from, RouteInput::Recovered { neighbour });
        }
    }
    net
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_is_free_of_loops_and_ends_in_the_shortest_routes(moves in moves(9)) {
        let mut net = play(9, moves);
        // Longer than the damping of links and all tries for shorter routes.
        net.run_until_quiet(Duration::from_secs(30));
        net.judge_shortest();
        let before = net.messages;
        net.run_for(Duration::from_secs(60));
        prop_assert_eq!(net.messages, before, "at rest");
    }
}

#[test]
fn the_same_history_gives_the_same_run() {
    let moves = || {
        (0..60)
            .map(|step| match step % 4 {
                0 | 1 => Move::Join(step * 7 % 9, step * 4 % 9, 3_000, 4_000, 300),
                2 => Move::Wait(2_000),
                _ if step % 8 == 3 => Move::Cut(step),
                _ => Move::Metric(step, 9_000),
            })
            .collect()
    };
    let (a, b) = (play(9, moves()), play(9, moves()));
    assert_eq!(
        (a.messages, a.bytes, a.changes),
        (b.messages, b.bytes, b.changes)
    );
    assert!(a.messages > 40, "{}", a.messages);
}
