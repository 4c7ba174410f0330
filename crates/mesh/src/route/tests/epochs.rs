//! Rotating tags: agreement, overlap, restarts.

use smartmesh_crypto::destination_tag;
use smartmesh_types::Duration;

use super::net::{Net, START_UNIX, address, grid, line};
use crate::route::RouteConfig;

const QUIET: Duration = Duration::from_secs(3);

#[test]
fn around_a_change_the_old_and_the_new_tag_lead_there() {
    let mut net = grid(4, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    let old = net.nodes[0].epoch();
    let took = net.run_until(Duration::from_secs(1_000), |net| {
        net.nodes[15].epoch() == old + 1
    });
    assert!(took > Duration::from_secs(880), "{took:?}");
    net.run_for(Duration::from_secs(5));
    for epoch in [old, old + 1] {
        let tag = destination_tag(address(15), epoch);
        assert!(net.nodes[15].is_own(tag));
        assert!(net.nodes[0].next_hops(tag)[0].feasible);
    }
    assert_eq!(net.nodes[0].destinations().count(), 30);
    net.run_for(Duration::from_secs(70));
    assert!(
        net.nodes[0]
            .next_hops(destination_tag(address(15), old))
            .is_empty()
    );
    assert_eq!(net.nodes[0].destinations().count(), 15);
    net.judge_shortest();
}

#[test]
fn while_the_new_tag_is_unknown_the_old_one_is_used() {
    let mut net = line(3, &RouteConfig::default());
    net.run_until_quiet(QUIET);
    let old = net.tag_of(2);
    net.losing.insert((1, 0));
    net.run_until(Duration::from_secs(1_000), |net| {
        net.nodes[0].epochs.previous.is_some()
    });
    assert_eq!(net.nodes[0].tag_of(address(2)), old);
}

#[test]
fn two_partitions_agree_when_they_meet() {
    let config = RouteConfig::default();
    let mut net = Net::new(8, &config);
    for node in 4..8 {
        net.restart(node, &config, START_UNIX + 900 * 5_000);
    }
    for node in [1, 2, 3, 5, 6, 7] {
        net.join(node - 1, node, 1_000, super::net::HOP);
    }
    net.run_until_quiet(QUIET);
    assert_ne!(net.nodes[0].epoch(), net.nodes[7].epoch());
    net.join(3, 4, 1_000, super::net::HOP);
    net.run_until_quiet(QUIET);
    assert!(
        net.nodes
            .iter()
            .all(|node| node.epoch() == net.nodes[7].epoch())
    );
    net.judge_shortest();
    net.run_for(Duration::from_secs(120));
    net.judge_shortest();
    assert_eq!(net.nodes[0].destinations().count(), 7);
}

/// A node restarts within its epoch, with the clock moved by this many seconds, and is reachable again soon.
fn check_restart(moved_secs: i64) {
    let config = RouteConfig::default();
    let mut net = line(5, &config);
    net.run_until_quiet(QUIET);
    let unix = START_UNIX.checked_add_signed(moved_secs).unwrap();
    net.restart(4, &config, unix);
    net.join(3, 4, 1_000, super::net::HOP);
    net.run_for(Duration::from_millis(200));
    net.judge_shortest();
}

#[test]
fn a_restarted_node_is_not_mistaken_for_its_past() {
    for moved_secs in [0, 5, 500, -5, -300] {
        check_restart(moved_secs);
    }
}
