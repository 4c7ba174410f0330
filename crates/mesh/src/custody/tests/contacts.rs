use super::*;

#[test]
fn two_nodes_hand_over_and_the_ack_clears_both() {
    let mut world = World::new(2);
    world.deposit(0, 1, 1, 40_000);
    world.deposit(0, 1, 1, 40_000);
    assert_eq!(
        world.nodes[0].custody.own(),
        1,
        "the same deposit twice is one bundle"
    );
    world.meet(0, 1);
    assert_eq!(world.nodes[1].delivered, [mail(1, 40_000)]);
    assert_eq!(world.nodes[0].acked, BTreeSet::from([sha256(&[&[1; 32]])]));
    assert_eq!(world.held(), 0);
    world.deposit(0, 1, 1, 40_000);
    assert_eq!(world.held(), 0, "what was read is not deposited again");
}

#[test]
fn a_walker_carries_it_between_people_who_never_meet() {
    let mut world = World::new(3);
    world.deposit(0, 2, 1, 65_536);
    world.meet(0, 1);
    world.part(0, 1);
    assert_eq!(world.nodes[0].carried, 1);
    assert_eq!(world.copies().values().copied().collect::<Vec<_>>(), [8]);
    world.wait(Duration::from_secs(86_400));
    world.meet(1, 2);
    world.part(1, 2);
    assert_eq!(world.nodes[2].delivered, [mail(1, 65_536)]);
    assert!(world.nodes[0].acked.is_empty());
    world.meet(1, 0);
    assert_eq!(
        world.nodes[0].acked.len(),
        1,
        "the walker brings the vaccine back"
    );
    assert_eq!(world.held(), 0);
}

#[test]
fn mail_deposited_during_a_contact_leaves_at_once() {
    let mut world = World::new(3);
    world.meet(0, 1);
    world.meet(1, 2);
    world.deposit(0, 2, 9, 100);
    assert_eq!(world.nodes[2].delivered.len(), 1);
    assert_eq!(world.held(), 0);
}

#[test]
fn a_broken_transfer_goes_on_with_another_holder() {
    let mut world = World::new(4);
    world.deposit(0, 3, 1, 60_000);
    world.meet(0, 1);
    world.part(0, 1);
    world.links.insert((0, 2));
    for (node, other) in [(0, 2), (2, 0)] {
        world.nodes[node]
            .custody
            .handle(
                CustodyInput::NeighbourUp {
                    neighbour: NeighbourId(other),
                },
                world.now,
            )
            .unwrap();
    }
    // Up to the first piece, then the link breaks.
    for _ in 0..40 {
        for index in [0, 2] {
            if world.nodes[2]
                .custody
                .incoming
                .values()
                .all(|one| one.payload.is_empty())
                && let Some(output) = world.nodes[index].custody.poll_output()
            {
                world.carry_out(index, output);
            }
        }
    }
    let partial = world.nodes[2]
        .custody
        .incoming
        .values()
        .map(|one| one.payload.len())
        .sum::<usize>();
    assert!(partial > 0 && partial < 60_000);
    world.part(0, 2);
    world.meet(1, 2);
    assert_eq!(world.nodes[2].custody.held(), 1);
}

#[test]
fn a_reader_pulls_over_a_flow_what_gossip_offers() {
    let mut world = World::new(3);
    world.deposit(0, 2, 1, 20_000);
    world
        .handle(1, CustodyInput::SetTag { tag: vec![1; 8] })
        .unwrap();
    world.meet(0, 1);
    world.part(0, 1);
    world.wait(Duration::from_secs(11));
    let published = std::mem::take(&mut world.nodes[1].published);
    let [CustodyOutput::PublishOffer { payload }] = &published[..] else {
        panic!("{published:?}")
    };
    for node in [0, 2, 2] {
        world
            .handle(
                node,
                CustodyInput::OfferHeard {
                    payload: payload.clone(),
                },
            )
            .unwrap();
    }
    assert!(world.nodes[0].wanted.is_empty());
    assert_eq!(world.nodes[2].wanted, [vec![1; 8]]);
    world
        .handle(2, CustodyInput::FlowUp { flow: FlowId(1) })
        .unwrap();
    assert_eq!(world.nodes[2].delivered.len(), 1);
    assert_eq!(
        world.nodes[1].custody.held(),
        0,
        "the vaccine went back over the flow"
    );
    world.wait(Duration::from_secs(12));
    let published = std::mem::take(&mut world.nodes[2].published);
    let [CustodyOutput::PublishAcks { payload }] = &published[..] else {
        panic!("{published:?}")
    };
    let payload = payload.clone();
    world
        .handle(0, CustodyInput::AcksHeard { payload })
        .unwrap();
    assert_eq!(world.nodes[0].acked.len(), 1);
    assert_eq!(world.held(), 0);
}

#[test]
fn the_sender_clears_copies_of_what_arrived_another_way() {
    let mut world = World::new(3);
    world.deposit(0, 2, 1, 100);
    world.meet(0, 1);
    world
        .handle(0, CustodyInput::Reveal { receipt: [1; 32] })
        .unwrap();
    assert_eq!(world.held(), 0);
    assert!(world.nodes[0].acked.is_empty(), "the sender said so itself");
}

#[test]
fn mail_whose_content_came_otherwise_is_cleared_unread() {
    let mut world = World::new(3);
    world
        .handle(2, CustodyInput::Reveal { receipt: [1; 32] })
        .unwrap();
    world.deposit(0, 2, 1, 40_000);
    world.deposit(0, 2, 2, 100);
    world.meet(0, 1);
    world.part(0, 1);
    world.meet(1, 2);
    assert_eq!(world.nodes[2].delivered, [mail(2, 100)], "the other comes");
    let again = world.nodes[2].custody.counters();
    assert_eq!(again.delivered, 1, "not pulled, let alone delivered");
    world
        .handle(2, CustodyInput::Reveal { receipt: [2; 32] })
        .unwrap();
    assert_eq!(world.nodes[1].custody.held(), 0, "both are cleared");
}

#[test]
fn mail_whose_content_is_coming_otherwise_is_pulled_only_when_it_does_not() {
    let mut world = World::new(2);
    let commitment = smartmesh_crypto::sha256(&[&[1; 32]]);
    let coming = |commitments| CustodyInput::ComesOtherwise { commitments };
    world.handle(1, coming(vec![commitment])).unwrap();
    world.deposit(0, 1, 1, 40_000);
    world.meet(0, 1);
    assert!(world.nodes[1].delivered.is_empty());
    world.handle(1, coming(Vec::new())).unwrap();
    assert_eq!(world.nodes[1].delivered, [mail(1, 40_000)]);
}

#[test]
fn unrevealed_mail_is_delivered_again_after_a_restart_and_only_then() {
    let mut world = World::new(2);
    world.deposit(0, 1, 1, 100);
    world.nodes[1].until_crash = Some(usize::MAX);
    world.links.insert((0, 1));
    for (node, other) in [(0, 1), (1, 0)] {
        world.nodes[node]
            .custody
            .handle(
                CustodyInput::NeighbourUp {
                    neighbour: NeighbourId(other),
                },
                world.now,
            )
            .unwrap();
    }
    // Everything but the delivery is carried out; then node 1 crashes.
    let mut seen = false;
    while !seen {
        for index in [0, 1] {
            match world.nodes[index].custody.poll_output() {
                Some(CustodyOutput::Delivered { .. }) => seen = true,
                Some(output) => world.carry_out(index, output),
                None => {}
            }
        }
    }
    world.restart(1);
    world.settle();
    assert_eq!(world.nodes[1].delivered.len(), 1);
    world.restart(1);
    world.meet(0, 1);
    assert_eq!(world.nodes[1].delivered.len(), 1);
    assert_eq!(world.held(), 0);
}

#[test]
fn bundles_end_by_age_and_a_clock_a_day_off_ends_none() {
    let mut world = World::new(2);
    let expires = world.now.unix + Duration::from_secs(7_200);
    world
        .deposit_as(0, 5, 1, 100, Priority::Message, expires)
        .unwrap();
    for unix in [1_800_000_000 - 86_400, 1_800_000_000 + 86_400] {
        world.now.unix = UnixTime::from_secs(unix);
        world.restart(0);
        world.wait(Duration::from_secs(120));
        assert_eq!(world.nodes[0].custody.held(), 1);
    }
    world.meet(0, 1);
    assert_eq!(world.nodes[1].custody.held(), 1);
    world.wait(Duration::from_secs(7_300));
    assert_eq!(world.held(), 0);
    assert_eq!(world.nodes[1].custody.counters().expired, 1);
    assert!(world.nodes[1].disk.is_empty(), "{:?}", world.nodes[1].disk);
}

#[test]
fn lost_messages_only_delay() {
    for lost in 1..20 {
        let mut world = World::new(3);
        world.deposit(0, 2, 1, 40_000);
        world.lose = lost;
        world.meet(0, 1);
        world.wait(Duration::from_secs(8_000));
        assert_eq!(world.copies().values().sum::<u32>(), 8, "{lost} lost");
        world.lose = lost;
        world.meet(1, 2);
        world.wait(Duration::from_secs(8_000));
        assert_eq!(world.nodes[2].delivered.len(), 1, "{lost} lost");
        assert_eq!(world.nodes[0].custody.held(), 0, "{lost} lost");
    }
}
