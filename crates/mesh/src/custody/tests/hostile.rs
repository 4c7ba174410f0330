use proptest::prelude::*;
use smartmesh_wire::bundle::{HEADER_BYTES, Offered, VACCINE_BYTES};

use super::*;

fn small() -> CustodyConfig {
    CustodyConfig {
        bytes_max: 10_000,
        depositor_bytes_max: 5_000,
        bundles_max: 20,
        ..CustodyConfig::default()
    }
}

fn receive(custody: &mut Custody, message: &BundleMessage, now: Now) -> Result<(), CustodyError> {
    custody.handle(
        CustodyInput::Message {
            from: neighbour(9),
            body: message.encode(),
        },
        now,
    )
}

/// Node 0 deposits bundles of one priority and hands them over to node 1, and is known there by this key.
fn pass(world: &mut World, key: Option<u8>, receipts: std::ops::Range<u8>, priority: Priority) {
    let expires = world.now.unix + Duration::from_secs(86_400);
    let mut depositor = World::with(1, world.config.clone());
    depositor.now = world.now;
    for receipt in receipts {
        depositor
            .deposit_as(0, 7, receipt, 1_000, priority, expires)
            .unwrap();
    }
    world.nodes[0].custody = depositor.nodes.remove(0).custody;
    world.links.insert((0, 1));
    for (node, other) in [(0, 1), (1, 0)] {
        let up = CustodyInput::NeighbourUp {
            neighbour: NeighbourId(other),
        };
        world.nodes[node].custody.handle(up, world.now).unwrap();
    }
    if let Some(key) = key {
        let known = CustodyInput::Identified {
            neighbour: NeighbourId(0),
            key: NodeKey([key; 32]),
        };
        world.nodes[1].custody.handle(known, world.now).unwrap();
    }
    world.settle();
    world.part(0, 1);
    world.wait(Duration::from_secs(61));
}

fn held_at_1(world: &World) -> Vec<u8> {
    let mut firsts: Vec<_> = world.nodes[1]
        .custody
        .store
        .held
        .values()
        .map(|held| held.payload[0])
        .collect();
    firsts.sort_unstable();
    firsts
}

#[test]
fn strangers_share_one_quota_and_contacts_keep_theirs() {
    let mut world = World::with(2, small());
    pass(&mut world, Some(1), 0..4, Priority::File);
    pass(&mut world, None, 10..20, Priority::Message);
    pass(&mut world, None, 20..30, Priority::Message);
    let held = held_at_1(&world);
    assert_eq!(held[..4], [0, 1, 2, 3], "the contact's files are untouched");
    assert_eq!(
        held.len(),
        9,
        "and strangers have their five thousand bytes"
    );
    assert!(world.nodes[1].custody.held_bytes() <= 10_000);
}

#[test]
fn a_full_store_lets_the_least_urgent_go_and_never_sos_or_own_mail() {
    let mut world = World::with(2, small());
    let expires = world.now.unix + Duration::from_secs(86_400);
    world
        .deposit_as(1, 7, 99, 9_000, Priority::File, expires)
        .unwrap();
    pass(&mut world, Some(1), 0..5, Priority::File);
    pass(&mut world, Some(2), 10..15, Priority::Sos);
    pass(&mut world, Some(3), 20..25, Priority::Message);
    assert_eq!(
        held_at_1(&world),
        [10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 99]
    );
    pass(&mut world, Some(4), 30..35, Priority::File);
    assert_eq!(
        held_at_1(&world),
        [10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 99]
    );
    pass(&mut world, Some(5), 40..45, Priority::Sos);
    assert_eq!(
        held_at_1(&world),
        [10, 11, 12, 13, 14, 40, 41, 42, 43, 44, 99]
    );
    let counters = world.nodes[1].custody.counters();
    assert_eq!(counters.evicted, 10);
    assert!(counters.no_room > 0);
}

#[test]
fn own_mail_is_refused_when_full_and_when_it_has_ended() {
    let config = CustodyConfig {
        own_max: 1,
        ..CustodyConfig::default()
    };
    let mut world = World::with(1, config);
    let now = world.now.unix;
    let later = now + Duration::from_secs(60);
    assert_eq!(
        world.deposit_as(0, 1, 1, 100, Priority::Sos, now),
        Err(CustodyError::Ended)
    );
    assert_eq!(
        world.deposit_as(0, 1, 1, 65_537, Priority::Sos, later),
        Err(CustodyError::PayloadTooLarge(65_537))
    );
    world
        .deposit_as(0, 1, 1, 100, Priority::Sos, later)
        .unwrap();
    assert_eq!(
        world.deposit_as(0, 1, 2, 100, Priority::Sos, later),
        Err(CustodyError::Full)
    );
}

#[test]
fn a_forged_vaccine_clears_nothing_and_a_flood_of_them_is_choked() {
    let mut world = World::new(1);
    world.deposit(0, 1, 1, 100);
    let header = world.nodes[0]
        .custody
        .store
        .held
        .values()
        .next()
        .unwrap()
        .header;
    let (expires, life_secs) = (header.expires, header.life_secs);
    let forged = |receipt| Vaccine {
        core: store::core_of(&header),
        receipt,
        expires,
        life_secs,
    };
    let now = world.now;
    let custody = &mut world.nodes[0].custody;
    custody
        .handle(
            CustodyInput::NeighbourUp {
                neighbour: NeighbourId(9),
            },
            now,
        )
        .unwrap();
    for batch in 0..100_u8 {
        let list = (0..100_u8).flat_map(|one| {
            let mut receipt = [9; 32];
            receipt[..2].copy_from_slice(&[batch, one]);
            forged(receipt).encode()
        });
        receive(
            custody,
            &BundleMessage::Vaccines {
                list: list.collect(),
            },
            now,
        )
        .unwrap();
    }
    assert_eq!(custody.held(), 1);
    assert_eq!(custody.counters().bad_vaccine, 10_000 - 512);
    let list = forged([1; 32]).encode().to_vec();
    receive(custody, &BundleMessage::Vaccines { list }, now).unwrap();
    assert_eq!(custody.held(), 0, "the true one still passes");
}

#[test]
fn a_payload_that_is_not_what_the_header_says_is_dropped() {
    let mut world = World::new(1);
    let custody = &mut world.nodes[0].custody;
    let now = world.now;
    custody
        .handle(
            CustodyInput::NeighbourUp {
                neighbour: NeighbourId(9),
            },
            now,
        )
        .unwrap();
    let header = BundleHeader {
        priority: Priority::Sos,
        nonce: [1; 8],
        hint: [2; 16],
        expires: now.unix + Duration::from_secs(60),
        life_secs: 60,
        size: 4,
        payload_hash: sha256(&[b"good"]),
        commitment: [3; 32],
    };
    let id = store::id_of(&header);
    let offer = BundleMessage::Offer {
        bundles: vec![Offered {
            header: header.encode().to_vec(),
            age_secs: 0,
            copies: 4,
        }],
    };
    receive(custody, &offer, now).unwrap();
    assert_eq!(custody.counters().bad_offer, 1, "nobody asked for it");
    let have = BundleMessage::Have {
        spray: smartmesh_wire::ids::ShortIds(vec![id.short()]),
        wait: Default::default(),
    };
    receive(custody, &have, now).unwrap();
    receive(custody, &offer, now).unwrap();
    receive(
        custody,
        &BundleMessage::Grant {
            id: id.0,
            copies: 4,
            age_secs: 0,
        },
        now,
    )
    .unwrap();
    assert_eq!(custody.held(), 0, "no copies before the payload is here");
    receive(
        custody,
        &BundleMessage::Piece {
            id: id.0,
            offset: 0,
            bytes: b"evil".to_vec(),
        },
        now,
    )
    .unwrap();
    assert_eq!(custody.counters().bad_payload, 1);
    receive(
        custody,
        &BundleMessage::Grant {
            id: id.0,
            copies: 4,
            age_secs: 0,
        },
        now,
    )
    .unwrap();
    assert_eq!(custody.held(), 0);
}

#[test]
fn what_never_answers_is_given_up() {
    let mut world = World::new(2);
    world.deposit(0, 5, 1, 100);
    world.lose = 0;
    world.links.insert((0, 1));
    let now = world.now;
    world.nodes[1]
        .custody
        .handle(
            CustodyInput::NeighbourUp {
                neighbour: NeighbourId(9),
            },
            now,
        )
        .unwrap();
    let ids = smartmesh_wire::ids::ShortIds(vec![ShortId([4; 8])]);
    receive(
        &mut world.nodes[1].custody,
        &BundleMessage::Have {
            spray: ids,
            wait: Default::default(),
        },
        now,
    )
    .unwrap();
    world.settle();
    world.wait(Duration::from_secs(60));
    assert_eq!(world.nodes[1].custody.counters().timed_out, 1);
    assert_eq!(world.nodes[1].custody.next_timeout(), None);
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![Just([1_u8; 32]), any::<[u8; 32]>()];
    let ids = || {
        prop::collection::vec(any::<u8>().prop_map(|b| ShortId([b; 8])), 0..5)
            .prop_map(smartmesh_wire::ids::ShortIds)
    };
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        (any::<[u8; 8]>(), prop::collection::vec(any::<u8>(), 0..600)).prop_map(
            |(held, vaccines)| BundleMessage::Hello {
                utility: 0,
                held,
                vaccines
            }
            .encode()
        ),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|buckets| BundleMessage::Need {
            held: 1,
            buckets
        }
        .encode()),
        (ids(), ids()).prop_map(|(spray, wait)| BundleMessage::Have { spray, wait }.encode()),
        ids().prop_map(|ids| BundleMessage::Ask { ids }.encode()),
        ids().prop_map(|ids| BundleMessage::VaccineAsk { ids }.encode()),
        prop::collection::vec(any::<u8>(), 0..VACCINE_BYTES * 3)
            .prop_map(|list| BundleMessage::Vaccines { list }.encode()),
        prop::collection::vec(
            (
                prop::collection::vec(any::<u8>(), 0..HEADER_BYTES + 2),
                any::<u32>(),
                any::<u8>()
            ),
            0..3
        )
        .prop_map(|bundles| {
            let offered = |(header, age_secs, copies)| Offered {
                header,
                age_secs,
                copies,
            };
            BundleMessage::Offer {
                bundles: bundles.into_iter().map(offered).collect(),
            }
            .encode()
        }),
        (id, any::<[u32; 2]>(), any::<u8>(), 0..6_u8).prop_map(
            |(id, [offset, length], copies, which)| {
                match which {
                    0 => BundleMessage::Pull { id, offset, length },
                    1 => BundleMessage::Piece {
                        id,
                        offset,
                        bytes: vec![0; 10],
                    },
                    2 => BundleMessage::Ready { id },
                    3 => BundleMessage::Grant {
                        id,
                        copies,
                        age_secs: length,
                    },
                    4 => BundleMessage::Taken { id },
                    _ => BundleMessage::Gone { id },
                }
                .encode()
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_cause_no_panic_and_leave_a_restorable_disk(
        bodies in prop::collection::vec((any_message(), any::<bool>(), 0..100_u64), 1..60),
        heard in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut world = World::new(1);
        world.deposit(0, 1, 1, 100);
        let up = CustodyInput::NeighbourUp { neighbour: NeighbourId(9) };
        world.handle(0, up).unwrap();
        for (body, on_flow, seconds) in bodies {
            let from = if on_flow { PeerRef::Flow(FlowId(seconds)) } else { neighbour(9) };
            let _ = world.nodes[0].custody.handle(CustodyInput::Message { from, body }, world.now);
            // Nobody is there to answer.
            while let Some(output) = world.nodes[0].custody.poll_output() {
                if matches!(output, CustodyOutput::Persist(_)) {
                    world.carry_out(0, output);
                }
            }
            world.now = world.now.after(Duration::from_secs(seconds));
        }
        let _ = world.handle(0, CustodyInput::OfferHeard { payload: heard.clone() });
        let _ = world.handle(0, CustodyInput::AcksHeard { payload: heard.clone() });
        let copies: u32 = world.copies().values().sum();
        world.restart(0);
        prop_assert_eq!(world.copies().values().sum::<u32>(), copies);
        let records = [Record { key: heard.clone(), value: Some(heard) }];
        let _ = Custody::restore(CustodyConfig::default(), &seed(), records, world.now);
    }
}
