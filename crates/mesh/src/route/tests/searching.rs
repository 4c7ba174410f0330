//! Searches beyond the zone and around a link.

use smartmesh_types::Duration;

use super::net::{Net, address, grid, line, ring};
use crate::route::{RouteConfig, RouteInput, SearchId, SearchTarget};

const QUIET: Duration = Duration::from_secs(3);

fn small_zone() -> RouteConfig {
    RouteConfig {
        zone_destinations: 16,
        ..RouteConfig::default()
    }
}

fn quiet(mut net: Net) -> Net {
    net.run_until_quiet(QUIET);
    net
}

#[test]
fn a_far_node_is_found_by_rings_and_the_path_leads_there() {
    let mut net = quiet(line(40, &small_zone()));
    assert_eq!(net.metric_between(0, 30), None);
    let start = net.now;
    net.search(0, 1, SearchTarget::Node(address(30)), vec![]);
    net.run_for(Duration::from_secs(2));
    let found = net.found[&SearchId(1)].as_ref().unwrap();
    assert_eq!(found.hops, 30);
    let took = found.at.since(start);
    println!("found 30 hops away after {took:?}");
    assert!(took <= Duration::from_millis(400), "{took:?}");
    let path = net.follow(0, found.token, net.tag_of(30));
    assert_eq!(path, (0..=30).collect::<Vec<_>>());
    net.run_for(Duration::from_secs(61));
    let token = net.found[&SearchId(1)].as_ref().unwrap().token;
    net.input(0, RouteInput::Tick);
    assert_eq!(net.nodes[0].search_hop(token), None, "paths expire");
}

#[test]
fn what_is_not_there_is_not_found_within_a_second() {
    let mut net = quiet(grid(7, &small_zone()));
    let (start, bytes) = (net.now, net.bytes);
    net.search(0, 1, SearchTarget::Node(address(1_000)), vec![]);
    net.run_until(Duration::from_secs(2), |net| {
        net.found.contains_key(&SearchId(1))
    });
    assert!(net.found[&SearchId(1)].is_none());
    assert!(net.now.since(start) <= Duration::from_secs(1));
    println!(
        "a vain search of four rings costs {} bytes in a grid of 49",
        net.bytes - bytes
    );
}

#[test]
fn a_node_of_the_zone_needs_no_message() {
    let mut net = quiet(line(5, &RouteConfig::default()));
    let messages = net.messages;
    net.search(0, 7, SearchTarget::Node(address(4)), vec![]);
    let found = net.found[&SearchId(7)].as_ref().unwrap();
    assert_eq!((found.hops, net.messages), (4, messages));
    assert!(net.nodes[0].is_search_end(found.token));
}

#[test]
fn the_way_round_a_link_does_not_use_it() {
    let mut net = quiet(ring(8, &RouteConfig::default()));
    for node in 0..8 {
        let far = (node + 1) % 8;
        let link = net.id_of(node, far).unwrap();
        let start = net.now;
        net.search(node, 9, SearchTarget::Neighbour(link), vec![]);
        net.run_for(Duration::from_millis(200));
        let found = net.found[&SearchId(9)].as_ref().unwrap();
        assert_eq!(found.hops, 7);
        assert!(found.at.since(start) <= Duration::from_millis(60));
        let path = net.follow(node, found.token, net.tag_of(far));
        assert_eq!(path.len(), 8, "{path:?}");
        assert_eq!(path[1], (node + 7) % 8);
    }
}

#[test]
fn there_is_no_way_round_a_bridge() {
    let mut net = quiet(line(6, &RouteConfig::default()));
    let link = net.id_of(2, 3).unwrap();
    net.search(2, 3, SearchTarget::Neighbour(link), vec![]);
    net.run_for(Duration::from_secs(2));
    assert!(net.found[&SearchId(3)].is_none());
}

#[test]
fn a_search_does_not_enter_a_suspect_link() {
    let mut net = quiet(ring(8, &RouteConfig::default()));
    let suspect = net.id_of(4, 3).unwrap();
    net.input(4, RouteInput::Suspect { neighbour: suspect });
    let link = net.id_of(0, 1).unwrap();
    net.search(0, 3, SearchTarget::Neighbour(link), vec![]);
    net.run_for(Duration::from_secs(2));
    assert!(net.found[&SearchId(3)].is_none());
}

#[test]
fn a_neighbour_that_floods_searches_is_cut_off_and_others_still_find() {
    let mut net = quiet(line(40, &small_zone()));
    let flooder = net.id_of(20, 19).unwrap();
    let before = net.messages;
    for id in 0..10_000_u64 {
        net.search(20, id, SearchTarget::Node(address(5_000)), vec![flooder]);
        if id % 100 == 99 {
            net.run_for(Duration::from_millis(10));
        }
    }
    net.run_for(Duration::from_secs(5));
    let dropped = net.nodes[21].counters().dropped_searches;
    assert!(dropped > 0 || net.messages - before < 40_000, "{dropped}");
    net.search(0, 77_777, SearchTarget::Node(address(18)), vec![]);
    net.run_for(Duration::from_secs(2));
    assert!(net.found[&SearchId(77_777)].is_some());
}
