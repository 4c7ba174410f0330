//! Neighbours that flood, steal, replay and send garbage.

use proptest::prelude::*;
use smartmesh_types::{Label, NeighbourId};
use smartmesh_wire::flow::{FlowMessage, PathToken, Purpose, SetUp};

use super::net::{Net, at, id_of, line};
use super::{MILLI, SECOND};
use crate::flow::{FlowConfig, FlowInput, Forward, Opened, PayloadKind, Sealed};

fn set_up(n: u64, tag: [u8; 8]) -> FlowInput {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&n.to_be_bytes());
    let message = FlowMessage::SetUp(SetUp {
        token: PathToken(token),
        purpose: Purpose::Flow,
        tag,
        search: None,
        hop_limit: 50,
        tries: 32,
        nonce: 0,
        explore: 0,
        label: 1_000 + n as u32,
        payload_bytes: 1_000,
        bits_per_second: 1_000_000,
        price: 0,
        lifetime_secs: 60,
        proof: [0; 32],
        first: vec![0; 48],
    });
    FlowInput::Control {
        from: id_of(4),
        body: message.encode(),
    }
}

#[test]
fn a_neighbour_that_floods_set_ups_does_not_keep_others_out() {
    // 0 - 1 - 2 - 3, and the flooder 4 at node 1; the set-ups go to 3, whose address it does not know.
    let mut net = Net::new(5, &[(0, 1), (1, 2), (2, 3), (4, 1)], 1);
    let tag = net.tag_of(3);
    let (mut n, mut served) = (0, 0);
    for round in 0..200u64 {
        for _ in 0..40 {
            n += 1;
            net.input(1, set_up(n, tag));
        }
        let flow = net.open(0, 3);
        net.run_for(MILLI * 35);
        net.send(0, flow, &round.to_be_bytes());
        net.run_for(MILLI * 5);
        net.input(0, FlowInput::Close { flow });
    }
    net.run_for(SECOND);
    for round in 0..200u64 {
        let arrived = |(_, _, text): &(_, _, Vec<u8>)| text[..] == round.to_be_bytes();
        served += u32::from(net.nodes[3].received.iter().any(arrived));
    }
    assert!(served >= 196, "{served} of 200");
    assert!(net.nodes[3].flows.counters().knocks_refused > 0);
    assert!(net.nodes[1].flows.counters().set_ups_over_budget > 1_000);
}

#[test]
fn labels_are_a_quota_per_neighbour() {
    let config = FlowConfig {
        labels_per_neighbour: 8,
        ..FlowConfig::default()
    };
    let mut net = Net::with_config(5, &[(0, 1), (1, 2), (2, 3), (4, 1)], 1, config);
    let tag = net.tag_of(3);
    for n in 0..50 {
        net.input(1, set_up(n, tag));
    }
    assert!(net.nodes[1].flows.labels_used() <= 16);
    assert!(net.nodes[1].flows.counters().labels_used_up > 0);
    net.run_for(SECOND * 10);
    assert_eq!(net.nodes[1].flows.labels_used(), 0, "nothing came of them");
}

#[test]
fn a_replayed_or_changed_packet_is_counted_and_dropped() {
    let mut net = Net::new(2, &line(2), 3);
    let flow = net.open(0, 1);
    net.run_for(SECOND);
    let (now, mut packet) = (at(net.now), Vec::new());
    let sealed = net.nodes[0]
        .flows
        .seal(flow, PayloadKind::Quic, b"once", &mut packet, now);
    let Ok(Sealed::Send { label, .. }) = sealed else {
        panic!("{sealed:?}");
    };
    let flows = &mut net.nodes[1].flows;
    let Forward::Deliver { path } = flows.forward(id_of(0), label, now) else {
        panic!();
    };
    let mut changed = packet.clone();
    changed[8] ^= 1;
    assert!(flows.open_payload(path, &mut changed, now).is_err());
    let mut copy = packet.clone();
    let opened = flows.open_payload(path, &mut copy, now);
    assert!(matches!(opened, Ok(Opened::Payload { payload, .. }) if payload == b"once"));
    assert!(flows.open_payload(path, &mut packet, now).is_err());
    assert_eq!((flows.counters().replayed, flows.counters().forged), (1, 1));
}

fn labels_in_use(net: &mut Net, node: usize) -> Vec<(NeighbourId, Label)> {
    net.nodes[node].flows.labels_of_test()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn garbage_from_a_neighbour_never_panics_and_leaves_other_flows_alone(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..40),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..60),
        packets in proptest::collection::vec((0usize..8, any::<u32>(), proptest::collection::vec(any::<u8>(), 0..60)), 0..40),
    ) {
        let mut net = Net::new(5, &[(0, 1), (1, 2), (2, 3), (4, 1)], 5);
        let flow = net.open(0, 3);
        net.run_for(SECOND);
        let FlowInput::Control { body: valid, .. } = set_up(1, net.tag_of(3)) else {
            return Ok(());
        };
        let changed = flips.iter().map(|(at, bits)| {
            let mut body = valid.clone();
            let at = usize::from(*at) % body.len();
            body[at] ^= bits;
            body
        });
        for body in bodies.into_iter().chain(changed) {
            net.input(1, FlowInput::Control { from: id_of(4), body });
        }
        let known = labels_in_use(&mut net, 1);
        for (which, label, payload) in packets {
            let label = known.get(which).map_or(Label(label), |(_, label)| *label);
            net.input(1, FlowInput::Data { from: id_of(4), label, payload: payload.clone() });
            net.input(1, FlowInput::Undelivered { neighbour: id_of(2), label, payload });
        }
        net.send(0, flow, b"still there");
        net.run_for(SECOND);
        prop_assert_eq!(net.texts(3), ["still there"]);
    }
}
