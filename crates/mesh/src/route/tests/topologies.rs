//! Shapes whose figures are promised: convergence, bytes, silence when idle.

use smartmesh_types::Duration;

use super::net::{Net, grid, line, ring};
use crate::route::{RouteConfig, RouteInput};

const QUIET: Duration = Duration::from_secs(3);

/// Cold start of a grid: time to full knowledge and bytes of bodies per node; then minutes of silence.
fn check_grid(side: usize, converged_ms: u128, bytes_per_node: u64) {
    let mut net = grid(side, &RouteConfig::default());
    let took = net.run_until(Duration::from_secs(2), Net::is_complete);
    net.run_until_quiet(QUIET);
    net.judge_shortest();
    let nodes = net.nodes.len() as u64;
    let (bytes, messages) = (net.bytes / nodes, net.messages / nodes);
    println!(
        "grid {side}x{side}: complete after {took:?}, {bytes} B and {messages} messages a node"
    );
    assert!(took.as_millis() <= converged_ms, "{took:?}");
    assert!(bytes <= bytes_per_node, "{bytes} bytes a node");

    let before = net.bytes;
    net.run_for(Duration::from_secs(200));
    assert_eq!(net.bytes, before, "an idle mesh is silent");
    let before = (net.bytes, net.messages);
    net.run_for(Duration::from_secs(1_800));
    let rate = (net.bytes - before.0) as f64 / nodes as f64 / 1_800.0;
    let messages = (net.messages - before.1) as f64 / nodes as f64 / 1_800.0;
    println!(
        "grid {side}x{side}: idle with two epochs {rate:.2} B/s and {messages:.4} messages/s a node"
    );
    assert!(rate <= 6.0, "{rate} B/s");
    assert!(messages <= 0.12, "{messages} messages/s");
    net.judge_shortest();
    let mismatches: u64 = net
        .nodes
        .iter()
        .map(|node| node.counters().digest_mismatches)
        .sum();
    assert_eq!(mismatches, 0);
}

#[test]
fn a_grid_of_49_starts_fast_and_then_is_silent() {
    check_grid(7, 60, 2_200);
}

#[test]
fn a_grid_of_100_starts_fast_and_then_is_silent() {
    check_grid(10, 90, 4_500);
}

#[test]
fn a_line_of_64_is_one_zone() {
    let mut net = line(64, &RouteConfig::default());
    let took = net.run_until(Duration::from_secs(1), Net::is_complete);
    println!("line of 64: complete after {took:?}");
    assert!(took <= Duration::from_millis(300));
    net.judge_shortest();
}

#[test]
fn the_hop_limit_ends_a_route() {
    let config = RouteConfig {
        hops_max: 5,
        ..RouteConfig::default()
    };
    let mut net = line(8, &config);
    net.run_until_quiet(QUIET);
    assert_eq!(net.metric_between(0, 5), Some(5_000));
    assert_eq!(net.metric_between(0, 6), None);
}

#[test]
fn a_ring_heals_after_each_cut() {
    for cut in 0..8 {
        let mut net = ring(8, &RouteConfig::default());
        net.run_until_quiet(QUIET);
        net.judge_shortest();
        net.cut(cut, (cut + 1) % 8);
        let took = net.run_until(Duration::from_secs(1), |net| {
            net.is_complete() && (0..8).all(|a| (0..8).all(|b| net.follow_routes(a, b)))
        });
        println!("ring of 8, cut {cut}: healed after {took:?}");
        assert!(took <= Duration::from_millis(40), "{took:?}");
        net.run_until_quiet(QUIET);
        net.judge_shortest();
    }
}

#[test]
fn a_suspect_link_gives_way_at_once_and_comes_back() {
    let mut net = grid(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    let (tag, right, below) = (
        net.tag_of(8),
        net.id_of(0, 1).unwrap(),
        net.id_of(0, 3).unwrap(),
    );
    let first = net.nodes[0].next_hops(tag)[0].neighbour;
    let other = if first == right { below } else { right };
    net.input(0, RouteInput::Suspect { neighbour: first });
    let hops = net.nodes[0].next_hops(tag);
    assert_eq!((hops[0].neighbour, hops[0].feasible), (other, true));
    assert_eq!(hops[1].neighbour, first);
    net.run_until_quiet(QUIET);
    net.input(0, RouteInput::Recovered { neighbour: first });
    net.run_until_quiet(QUIET);
    net.judge_shortest();
}

#[test]
fn a_suspect_link_without_feasible_alternate_asks_ahead() {
    let mut net = ring(7, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    let tag = net.tag_of(3);
    let neighbour = net.id_of(0, 1).unwrap();
    assert_eq!(net.nodes[0].next_hops(tag)[0].neighbour, neighbour);
    net.input(0, RouteInput::Suspect { neighbour });
    net.run_for(Duration::from_millis(40));
    let hops = net.nodes[0].next_hops(tag);
    assert_eq!(
        net.peer_of(0, hops[0].neighbour),
        6,
        "the long way is ready"
    );
    assert!(hops[0].feasible);
}

#[test]
fn small_and_fast_changes_of_a_link_stay_at_home() {
    let mut net = line(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    let (messages, neighbour) = (net.messages, net.id_of(0, 1).unwrap());
    for metric in [1_100, 900, 1_200, 1_000] {
        net.input(0, RouteInput::Metric { neighbour, metric });
        net.run_for(Duration::from_secs(1));
    }
    assert_eq!(net.messages, messages);
    net.run_for(Duration::from_secs(10));
    net.input(
        0,
        RouteInput::Metric {
            neighbour,
            metric: 1_800,
        },
    );
    net.input(
        0,
        RouteInput::Metric {
            neighbour,
            metric: 1_000,
        },
    );
    net.input(
        0,
        RouteInput::Metric {
            neighbour,
            metric: 1_800,
        },
    );
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.metric_between(0, 2), Some(2_800));
    net.input(
        0,
        RouteInput::Metric {
            neighbour,
            metric: 1_000,
        },
    );
    net.run_for(Duration::from_secs(1));
    assert_eq!(net.metric_between(0, 2), Some(2_800), "not yet");
    net.run_for(Duration::from_secs(5));
    assert_eq!(net.metric_between(0, 2), Some(2_000));
}

#[test]
fn a_lost_message_is_noticed_by_the_digest() {
    let mut net = line(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    net.losing.insert((1, 0));
    net.cut(1, 2);
    net.run_for(QUIET);
    net.losing.clear();
    assert!(
        net.metric_between(0, 2).is_some(),
        "the retraction was lost"
    );
    net.run_for(Duration::from_secs(400));
    assert_eq!(net.metric_between(0, 2), None);
    assert_eq!(net.nodes[0].counters().digest_mismatches, 1);
}

#[test]
fn a_refused_message_is_made_good_soon() {
    let mut net = line(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    net.losing.insert((1, 0));
    net.cut(1, 2);
    net.run_for(Duration::from_millis(10));
    net.losing.clear();
    let neighbour = net.id_of(1, 0).unwrap();
    net.input(1, RouteInput::Undelivered { neighbour });
    net.run_for(Duration::from_millis(250));
    assert_eq!(net.metric_between(0, 2), None);
}

#[test]
fn a_zone_smaller_than_the_mesh_keeps_the_nearest_and_does_not_flap() {
    let config = RouteConfig {
        zone_destinations: 32,
        ..RouteConfig::default()
    };
    let mut net = grid(10, &config);
    net.run_for(Duration::from_secs(60));
    let before = net.messages;
    net.run_for(Duration::from_secs(120));
    assert_eq!(net.messages, before, "the border is at rest");
    for node in 0..100 {
        let count = net.nodes[node].destinations().count();
        assert!((24..=36).contains(&count), "node {node} keeps {count}");
    }
    let kept: Vec<u8> = net.nodes[55].destinations().map(|info| info.hops).collect();
    assert!(kept.iter().all(|hops| *hops <= 6), "{kept:?}");
    assert!(
        (0..100)
            .all(|to| hops_apart(55, to) > 2 || to == 55 || net.metric_between(55, to).is_some())
    );
}

fn hops_apart(a: usize, b: usize) -> usize {
    (a / 10).abs_diff(b / 10) + (a % 10).abs_diff(b % 10)
}

impl Net {
    /// Whether the best hops lead from `a` to `b`.
    fn follow_routes(&self, a: usize, b: usize) -> bool {
        let mut at = a;
        for _ in 0..self.nodes.len() {
            if at == b {
                return true;
            }
            let tag = self.nodes[at].tag_of(super::net::address(b));
            match self.nodes[at].next_hops(tag).first() {
                Some(hop) if hop.feasible => at = self.peer_of(at, hop.neighbour),
                Some(_) | None => return false,
            }
        }
        false
    }
}
