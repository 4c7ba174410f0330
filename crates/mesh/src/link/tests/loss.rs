//! Links that lose many frames.

use super::*;

/// Two linked nodes with data both ways for a minute; returns how many packets of 1,200 arrived.
fn arrived(loss_permille: u64, frame_bytes: usize) -> (Air, usize) {
    let mut air = Air::new(2, frame_bytes);
    air.run(300);
    air.loss_permille = loss_permille;
    // The link learns what it loses.
    for n in 0..100_u8 {
        air.send(0, &[n; 300]);
        air.run(20);
    }
    air.run(1_000);
    air.data.clear();
    air.events.clear();
    for n in 0..1_200_u16 {
        let payload = [&n.to_be_bytes()[..], &[7; 300]].concat();
        air.send(usize::from(n % 2), &payload);
        air.run(50);
    }
    air.run(1_000);
    let whole = |output: &&(usize, LinkOutput)| matches!(output.1, LinkOutput::Data { .. });
    let pieces = air.events.iter().filter(whole).count();
    let arrived = air.data.len() + pieces;
    (air, arrived)
}

#[test]
fn at_twenty_percent_loss_each_way_nearly_all_arrives_and_the_link_is_seldom_suspected() {
    for frame_bytes in [1_400, 200] {
        let (air, arrived) = arrived(200, frame_bytes);
        let suspected = air.count(|output| matches!(output, LinkOutput::Suspect { .. }));
        let downs = air.count(|output| matches!(output, LinkOutput::Down { .. }));
        assert!(
            arrived >= 1_188,
            "{arrived} of 1,200, frames of {frame_bytes}"
        );
        assert!(suspected <= 4, "suspected {suspected} times in a minute");
        assert_eq!(downs, 0);
    }
}

#[test]
fn a_good_link_sends_nothing_again() {
    let (air, arrived) = arrived(0, 1_400);
    assert_eq!(arrived, 1_200);
    assert_eq!(air.nodes[0].counters().resent, 0);
    assert_eq!(air.nodes[0].counters().suspected, 0);
}

#[test]
fn an_idle_link_survives_lost_beats() {
    let mut air = Air::new(2, 1_400);
    air.run(300);
    air.loss_permille = 250;
    air.run(1_800_000);
    assert_eq!(
        air.count(|output| matches!(output, LinkOutput::Down { .. })),
        0
    );
}

#[test]
fn a_lossy_link_that_dies_is_still_suspected_soon() {
    let (mut air, _) = arrived(200, 1_400);
    air.events.clear();
    air.cut.insert((0, 1));
    let mut suspected = None;
    for step in 0..100_u64 {
        air.send(0, b"is anybody there");
        air.run(5);
        let seen = air.count(|output| matches!(output, LinkOutput::Suspect { .. }));
        if seen > 0 && suspected.is_none() {
            suspected = Some(5 * step);
        }
    }
    assert!(
        suspected.is_some_and(|millis| millis <= 320),
        "{suspected:?} ms"
    );
}
