mod history;
mod hostile;
mod net;

use std::collections::BTreeSet;

use smartmesh_types::{Duration, FlowId, Instant, Label};

use super::{DownReason, FlowEvent, FlowInput, Forward};
use net::{Conduct, Net, at, grid, id_of, line, ring};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

#[test]
fn a_set_up_takes_one_round_trip_over_one_to_eight_hops() {
    for hops in 1..=8 {
        let mut net = Net::new(hops + 1, &line(hops + 1), 1);
        let flow = net.open(0, hops);
        net.send(0, flow, b"hello");
        net.run_until(Instant::from_millis(3 * hops as u64));
        assert_eq!(
            net.texts(hops),
            ["hello"],
            "{hops} hops: one and a half round trips"
        );
        let FlowEvent::Up {
            peer,
            mtu,
            hops: counted,
            rtt,
            ..
        } = &net.nodes[0].events[0]
        else {
            panic!("{:?}", net.nodes[0].events);
        };
        assert_eq!(*peer, net.nodes[hops].address);
        assert_eq!((*mtu, *counted), (1_472 - 28 - 22, hops as u8));
        assert_eq!(*rtt, MILLI * 2 * hops as u32);
        let back = net.nodes[hops].received[0].1;
        net.send(hops, back, b"and back");
        net.run_for(SECOND);
        assert_eq!(net.texts(0), ["and back"]);
        assert_eq!(net.nodes[0].flows.counters().stalls, 0);
    }
}

#[test]
fn nobody_answers_where_no_route_leads() {
    let mut net = Net::new(3, &[(0, 1)], 1);
    let flow = net.open(0, 2);
    net.run_for(SECOND * 20);
    assert_eq!(
        net.nodes[0].events,
        [FlowEvent::Down {
            flow,
            reason: DownReason::NoRoute
        }]
    );
    assert_eq!(net.nodes[0].flows.next_timeout(), None);
}

#[test]
fn a_target_beyond_the_zone_is_searched() {
    let mut net = Net::new(6, &line(6), 1);
    net.routing
        .beyond
        .insert(5, crate::route::SearchToken([9; 8]));
    let flow = net.open(0, 5);
    net.send(0, flow, b"far");
    net.run_for(SECOND);
    assert_eq!(net.texts(5), ["far"]);
}

/// Sends a packet each `pause` while something happens at the given times; returns what never arrived and the longest
/// gap between arrivals.
fn drive(
    net: &mut Net,
    (from, to): (usize, usize),
    flow: FlowId,
    (count, pause): (u64, Duration),
    mut act: impl FnMut(&mut Net, u64),
) -> (Vec<u64>, Duration) {
    let before = net.nodes[to].received.len();
    for n in 0..count {
        act(net, n);
        net.send(from, flow, &n.to_be_bytes());
        net.run_for(pause);
    }
    net.run_for(SECOND * 3);
    let arrived: Vec<(Instant, u64)> = net.nodes[to].received[before..]
        .iter()
        .map(|(at, _, text)| (*at, u64::from_be_bytes(text[..8].try_into().unwrap())))
        .collect();
    let missing = (0..count)
        .filter(|n| !arrived.iter().any(|(_, other)| other == n))
        .collect();
    let gap = arrived
        .windows(2)
        .map(|pair| pair[1].0.since(pair[0].0))
        .max();
    (missing, gap.unwrap_or(Duration::from_secs(99)))
}

fn check_ring_cut(split_horizon: bool, way: (usize, usize)) {
    let mut net = Net::new(8, &ring(8), 2);
    net.routing.split_horizon = split_horizon;
    let mut flow = net.open(0, 3);
    net.run_for(SECOND);
    assert!(net.is_up(0) && net.is_up(3));
    if way.0 != 0 {
        flow = net.open(way.0, way.1);
    }
    let (missing, gap) = drive(&mut net, way, flow, (400, MILLI * 5), |net, n| {
        if n == 50 {
            net.cut(1, 2);
        }
        if n == 150 {
            net.converge();
        }
    });
    assert_eq!(missing, [0; 0], "undelivered packets go round");
    assert!(gap < MILLI * 130, "{gap:?}");
    assert!(net.hops_max <= 16, "{}", net.hops_max);
    let resent: u64 = net
        .nodes
        .iter()
        .map(|node| node.flows.counters().resent)
        .sum();
    assert!(resent > 0, "the bypass carried what the link had lost");
}

#[test]
fn in_a_ring_traffic_goes_back_and_round_when_a_link_dies() {
    check_ring_cut(false, (0, 3));
    check_ring_cut(false, (3, 0));
    check_ring_cut(true, (0, 3));
    check_ring_cut(true, (3, 0));
}

#[test]
fn a_slow_flow_gets_its_next_packet_through_after_a_cut() {
    let mut net = Net::new(8, &ring(8), 3);
    let flow = net.open(0, 3);
    net.run_for(SECOND);
    let (missing, _) = drive(&mut net, (0, 3), flow, (5, SECOND), |net, n| {
        if n == 3 {
            net.cut(1, 2);
        }
    });
    assert_eq!(missing, [0; 0]);
}

#[test]
fn the_death_of_a_relay_costs_one_detection() {
    let mut net = Net::new(8, &ring(8), 4);
    let flow = net.open(0, 3);
    net.run_for(SECOND);
    let (missing, gap) = drive(&mut net, (0, 3), flow, (300, MILLI * 5), |net, n| {
        if n == 50 {
            net.kill(2);
        }
    });
    assert!(gap < MILLI * 200, "{gap:?}");
    assert_eq!(
        missing, [0; 0],
        "what met the dead relay came back and went out again"
    );
}

#[test]
fn two_failures_in_a_grid_are_survived() {
    for seed in 1..6 {
        let mut net = Net::new(25, &grid(5), seed);
        let flow = net.open(0, 24);
        net.run_for(SECOND);
        let (missing, gap) = drive(&mut net, (0, 24), flow, (400, MILLI * 5), |net, n| {
            if n == 50 {
                net.kill(12);
                net.cut(0, 1);
            }
            if n == 70 {
                net.cut(18, 23);
            }
            if n == 200 {
                net.converge();
            }
        });
        assert!(missing.len() < 3, "{missing:?}");
        assert!(gap < MILLI * 400, "{gap:?}");
    }
}

#[test]
fn a_link_that_recovers_takes_its_traffic_back() {
    let mut net = Net::new(8, &ring(8), 5);
    let flow = net.open(0, 3);
    net.run_for(SECOND);
    for node in [1, 2] {
        let neighbour = id_of(3 - node);
        net.input(node, FlowInput::Suspect { neighbour });
    }
    net.send(0, flow, b"round");
    net.run_for(MILLI * 5);
    for node in [1, 2] {
        let neighbour = id_of(3 - node);
        net.input(node, FlowInput::Recovered { neighbour });
    }
    net.send(0, flow, b"straight");
    net.run_for(SECOND);
    let mut texts = net.texts(3);
    texts.sort();
    assert_eq!(texts, ["round", "straight"]);
}

fn check_hole(conduct: Conduct, count: u64) -> (Vec<u64>, Duration) {
    // 0 - 1 - 2 - 5 and 0 - 3 - 4 - 5; node 1 lies on the way that is tried first.
    let links = [(0, 1), (1, 2), (2, 5), (0, 3), (3, 4), (4, 5)];
    let mut net = Net::new(6, &links, 6);
    net.nodes[1].conduct = conduct;
    let flow = net.open(0, 5);
    drive(&mut net, (0, 5), flow, (count, MILLI * 20), |_, _| {})
}

#[test]
fn relays_that_swallow_set_ups_or_packets_are_walked_around() {
    let (missing, _) = check_hole(Conduct::SwallowsSetUps, 50);
    assert_eq!(missing, [0; 0]);
    let (missing, _) = check_hole(Conduct::DropsData, 100);
    assert_eq!(missing, [0; 0], "unproven packets are sent again");
    let (missing, _) = check_hole(Conduct::DropsHalf, 300);
    assert!(missing.len() < 40, "{}", missing.len());
}

/// Opens flows between honest nodes of a grid of 49, of which ten swallow things, and counts which deliver after 5 s.
fn check_holes(conduct: [Conduct; 2]) -> (usize, usize) {
    let (mut pairs, mut reached) = (0, 0);
    for seed in 1..6u8 {
        let mut net = Net::new(49, &grid(7), seed);
        let mut rng = smartmesh_crypto::Seed::new([seed; 32]).split("holes").rng();
        let mut holes = BTreeSet::new();
        while holes.len() < 10 {
            holes.insert(rng.below(49) as usize);
        }
        for (n, hole) in holes.iter().enumerate() {
            net.nodes[*hole].conduct = conduct[n % 2];
        }
        let mut asked = Vec::new();
        for _ in 0..40 {
            let (a, b) = (rng.below(49) as usize, rng.below(49) as usize);
            if a != b && !holes.contains(&a) && !holes.contains(&b) && honest_path(&holes, a, b) {
                let flow = net.open(a, b);
                asked.push((a, b, flow));
            }
        }
        for _ in 0..25 {
            net.run_for(MILLI * 200);
            for (a, _, flow) in &asked {
                net.send(*a, *flow, b"steady");
            }
        }
        for (n, (a, _, flow)) in asked.iter().enumerate() {
            net.send(*a, *flow, format!("{seed} {n}").as_bytes());
        }
        net.run_for(MILLI * 200);
        pairs += asked.len();
        reached += (asked.iter().enumerate())
            .filter(|(n, (_, b, _))| net.texts(*b).contains(&format!("{seed} {n}")))
            .count();
    }
    assert!(pairs > 100);
    println!("{conduct:?}: {reached} of {pairs}");
    (pairs, reached)
}

#[test]
fn with_a_fifth_of_the_relays_swallowing_packets_honest_paths_are_found() {
    for conduct in [
        [Conduct::DropsData, Conduct::SwallowsSetUps],
        [Conduct::DropsData, Conduct::DropsData],
        [Conduct::SwallowsSetUps, Conduct::SwallowsSetUps],
    ] {
        let (pairs, reached) = check_holes(conduct);
        assert!(
            reached * 100 >= pairs * 97,
            "{conduct:?}: {reached} of {pairs}"
        );
    }
    // Relays that first look good and then accuse their neighbours take longer to walk around.
    let (pairs, reached) = check_holes([Conduct::DropsLater; 2]);
    assert!(reached * 100 >= pairs * 70, "{reached} of {pairs}");
}

fn honest_path(holes: &BTreeSet<usize>, a: usize, b: usize) -> bool {
    let links = grid(7);
    let (mut seen, mut queue) = (vec![a], vec![a]);
    while let Some(node) = queue.pop() {
        for (x, y) in &links {
            for (from, to) in [(*x, *y), (*y, *x)] {
                if from == node && !seen.contains(&to) && !holes.contains(&to) {
                    seen.push(to);
                    queue.push(to);
                }
            }
        }
    }
    seen.contains(&b)
}

#[test]
fn only_the_neighbour_that_was_told_a_label_may_use_it() {
    let mut net = Net::new(4, &[(0, 1), (1, 2), (1, 3)], 7);
    let flow = net.open(0, 2);
    net.run_for(SECOND);
    let mut packet = Vec::new();
    let now = at(net.now);
    let sealed = net.nodes[0]
        .flows
        .seal(flow, super::PayloadKind::Ip, b"x", &mut packet, now);
    let Ok(super::Sealed::Send { label, .. }) = sealed else {
        panic!("{sealed:?}");
    };
    let relay = &mut net.nodes[1].flows;
    assert!(matches!(
        relay.forward(id_of(0), label, now),
        Forward::Relay { .. }
    ));
    assert!(matches!(
        relay.forward(id_of(3), label, now),
        Forward::Drop(_)
    ));
    assert_eq!(relay.counters().stolen_label, 1);
    assert!(matches!(
        relay.forward(id_of(0), Label(16), now),
        Forward::Drop(_)
    ));
}

#[test]
fn both_sides_that_open_at_once_get_one_flow() {
    let mut net = Net::new(4, &line(4), 8);
    let (left, right) = (net.open(0, 3), net.open(3, 0));
    net.send(0, left, b"from the left");
    net.send(3, right, b"from the right");
    net.run_for(SECOND * 8);
    for node in [0, 3] {
        let ups = net.nodes[node].events.iter();
        assert_eq!(
            ups.filter(|event| matches!(event, FlowEvent::Up { .. }))
                .count(),
            1
        );
        assert_eq!(net.nodes[node].flows.flows().count(), 1);
        assert_eq!(net.nodes[node].received.len(), 1);
    }
    // One path, and bypasses don't exist in a line: two labels at a relay.
    assert_eq!(net.nodes[1].flows.labels_used(), 2);
}

#[test]
fn unused_labels_expire_and_the_flow_comes_back_when_it_is_used() {
    let mut net = Net::new(4, &line(4), 9);
    let flow = net.open(0, 3);
    net.run_for(SECOND);
    net.run_for(SECOND * 100);
    for node in &net.nodes {
        assert_eq!(node.flows.labels_used(), 0);
    }
    net.send(0, flow, b"again");
    net.run_for(SECOND);
    assert_eq!(net.texts(3), ["again"]);
    net.run_for(SECOND * 700);
    assert_eq!(
        net.nodes[0].events.last(),
        Some(&FlowEvent::Down {
            flow,
            reason: DownReason::Idle
        })
    );
    assert_eq!(
        net.nodes[0].flows.next_timeout(),
        None,
        "an idle node sleeps"
    );
}

#[test]
fn closing_frees_every_label_on_the_way() {
    let mut net = Net::new(8, &ring(8), 10);
    let flow = net.open(0, 3);
    net.run_for(SECOND);
    assert!(
        net.nodes[1].flows.labels_used() > 2,
        "two for the flow, others for bypasses"
    );
    net.input(0, FlowInput::Close { flow });
    net.run_for(SECOND * 10);
    for node in &net.nodes {
        assert_eq!(node.flows.labels_used(), 0);
    }
    let closed = |event: &FlowEvent| {
        matches!(
            event,
            FlowEvent::Down {
                reason: DownReason::Closed,
                ..
            }
        )
    };
    assert!(net.nodes[3].events.iter().any(closed));
}

#[test]
fn a_peer_that_starts_anew_gets_a_new_flow() {
    let mut net = Net::new(4, &line(4), 11);
    let flow = net.open(0, 3);
    net.send(0, flow, b"before");
    net.run_for(SECOND);
    net.restart(3);
    net.run_for(MILLI * 10);
    let again = net.open(0, 3);
    net.send(0, again, b"after");
    net.run_for(SECOND);
    let restarted = FlowEvent::Down {
        flow,
        reason: DownReason::Restarted,
    };
    let at = net.nodes[0]
        .events
        .iter()
        .position(|event| *event == restarted);
    let next = &net.nodes[0].events[at.unwrap() + 1];
    assert!(
        matches!(next, FlowEvent::Up { flow: new, .. } if *new == again),
        "{next:?}"
    );
    assert_eq!(net.texts(3), ["before", "after"]);
}

#[test]
fn a_lossy_network_still_carries_flows() {
    let mut net = Net::new(6, &line(6), 12);
    net.loss_percent = 5;
    let flow = net.open(0, 5);
    let (missing, _) = drive(&mut net, (0, 5), flow, (400, MILLI * 10), |_, _| {});
    // 23 % are lost over five hops without the links' own repair.
    assert!(missing.len() < 140, "{}", missing.len());
    assert!(net.nodes[0].flows.counters().attempts < 40, "no thrashing");
}

#[test]
fn with_real_routes_rings_and_grids_heal_without_loss() {
    for (count, links, cut, way) in [
        (8, ring(8), (1, 2), (0, 3)),
        (8, ring(8), (1, 2), (3, 0)),
        (25, grid(5), (11, 12), (10, 14)),
        (8, ring(8), (0, 1), (0, 3)),
    ] {
        let mut net = Net::with_routes(count, &links, 13);
        net.run_for(SECOND);
        let flow = net.open(way.0, way.1);
        net.run_for(SECOND);
        assert!(net.is_up(way.1));
        let (missing, gap) = drive(&mut net, way, flow, (400, MILLI * 5), |net, n| {
            if n == 50 {
                net.cut(cut.0, cut.1);
            }
        });
        assert_eq!(missing, [0; 0], "{cut:?}");
        assert!(gap < MILLI * 150, "{gap:?}");
    }
}

#[test]
fn with_real_routes_a_dead_relay_costs_one_detection() {
    let mut net = Net::with_routes(25, &grid(5), 14);
    net.run_for(SECOND);
    let flow = net.open(10, 14);
    net.run_for(SECOND);
    let (missing, gap) = drive(&mut net, (10, 14), flow, (300, MILLI * 5), |net, n| {
        if n == 50 {
            net.kill(12);
        }
    });
    assert_eq!(missing, [0; 0]);
    assert!(gap < MILLI * 200, "{gap:?}");
}

#[test]
fn with_real_routes_any_link_of_a_grid_may_die() {
    let links = grid(5);
    let (mut gaps, mut lost) = (Vec::new(), 0);
    for (n, (a, b)) in links.iter().enumerate().step_by(3) {
        let mut net = Net::with_routes(25, &links, 20 + n as u8);
        net.run_for(SECOND);
        let way = ([0, 4, 2, 10][n % 4], [24, 20, 22, 14][n % 4]);
        let flow = net.open(way.0, way.1);
        net.run_for(SECOND);
        let (missing, gap) = drive(&mut net, way, flow, (200, MILLI * 5), |net, n| {
            if n == 50 {
                net.cut(*a, *b);
            }
        });
        lost += missing.len();
        gaps.push(gap);
    }
    gaps.sort();
    println!(
        "gaps: p50 {:?}, most {:?}; lost {lost}",
        gaps[gaps.len() / 2],
        gaps[gaps.len() - 1]
    );
    assert_eq!(lost, 0);
    assert!(gaps[gaps.len() - 1] < MILLI * 150, "{gaps:?}");
}
