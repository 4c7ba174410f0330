//! What an adversary can send: it is counted, and changes nothing that matters.

use smartmesh_crypto::{KeyPair, seal_to};
use smartmesh_wire::message::{Envelope, Object, SEALED_BYTES_MAX};

use super::*;

/// Alice's only letter to Brandon, as carriers see it.
fn letter(world: &mut World) -> Vec<u8> {
    world.scan(0, 1);
    world.send(0, 1, "the secret plan");
    world.run_secs(3);
    world.carried[0].sealed.clone()
}

#[test]
fn carriers_see_neither_who_writes_nor_what() {
    let mut world = World::new(2);
    let sealed = letter(&mut world);
    assert!(sealed.len().is_power_of_two());
    let card = world.core(0).card.clone();
    for known in [
        &b"the secret plan"[..],
        &world.address(0).octets(),
        &world.address(1).octets(),
        &world.phones[0].identity.key().0,
        &world.phones[0].identity.end_to_end_key().public(),
        &card[..64],
    ] {
        let found = sealed.windows(known.len()).any(|window| window == known);
        assert!(!found, "{known:02x?}");
    }
    // Letters of different lengths look the same.
    world.send(0, 1, &"x".repeat(200));
    world.run_secs(3);
    assert_eq!(world.carried[1].sealed.len(), sealed.len());
}

#[test]
fn every_flipped_bit_is_noticed_and_nothing_is_kept() {
    let mut world = World::new(2);
    let sealed = letter(&mut world);
    let before = world.phones[1].disk.clone();
    for position in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[position] ^= 0x10;
        world.input(1, Input::Bundle { sealed: damaged }).unwrap();
    }
    let counters = world.counters(1);
    assert_eq!(counters.malformed, 1);
    assert_eq!(counters.unopened, u64::try_from(sealed.len()).unwrap() - 1);
    assert!(world.phones[1].disk == before);
    world.input(1, Input::Bundle { sealed }).unwrap();
    world.check_texts(1, &["the secret plan"]);
}

#[test]
fn a_letter_for_somebody_else_does_not_open() {
    let mut world = World::new(3);
    let sealed = letter(&mut world);
    world.input(2, Input::Bundle { sealed }).unwrap();
    assert_eq!(world.counters(2).unopened, 1);
    world.check_texts(2, &[]);
}

#[test]
fn a_replay_after_years_shows_nothing_twice() {
    let mut world = World::new(2);
    let sealed = letter(&mut world);
    world.carry();
    world.run_secs(3_600);
    for _ in 0..3 {
        world
            .input(
                1,
                Input::Bundle {
                    sealed: sealed.clone(),
                },
            )
            .unwrap();
    }
    assert!(world.counters(1).duplicates >= 3);
    world.run_secs(40 * 86_400);
    assert!(
        !world.phones[1]
            .disk
            .keys()
            .any(|key| key.starts_with(b"inbox/"))
    );
    world.input(1, Input::Bundle { sealed }).unwrap();
    world.check_texts(1, &["the secret plan"]);
    assert_eq!(world.counters(1).expired, 1);
}

/// A letter whose outer seal is made by `pair`, with an envelope changed by `change`.
fn forge(world: &mut World, pair: &KeyPair, change: impl FnOnce(&mut Envelope)) -> Vec<u8> {
    let victim = world.phones[1].identity.end_to_end_key();
    let mut envelope = Envelope {
        id: MessageId([1; 16]),
        receipt: [2; 32],
        expires: START + Duration::from_secs(3_600),
        sender: world.address(0),
        card: Some(world.core(0).card.clone()),
        ratchet_kind: 1,
        ratchet: vec![3; 40],
    };
    change(&mut envelope);
    let padded = envelope.encode_padded(97).unwrap();
    let sealed = seal_to(pair, &victim.public(), &padded, &mut world.rng).unwrap();
    [&[1][..], &sealed].concat()
}

#[test]
fn nobody_writes_in_another_name() {
    let mut world = World::new(3);
    world.scan(1, 0);
    let eve = world.phones[2].identity.end_to_end_key();
    let eves_card = world.core(2).card.clone();
    let eves_address = world.address(2);
    let alices_card = world.core(0).card.clone();
    let broken = {
        let mut card = alices_card.clone();
        *card.last_mut().unwrap() ^= 1;
        card
    };
    let forgeries = [
        forge(&mut world, &eve, |_| {}),
        forge(&mut world, &eve, |it| it.card = Some(eves_card.clone())),
        forge(&mut world, &eve, |it| it.card = Some(broken)),
        forge(&mut world, &eve, |it| {
            it.sender = eves_address;
            it.card = Some(alices_card);
        }),
    ];
    for sealed in forgeries {
        world.input(1, Input::Bundle { sealed }).unwrap();
    }
    assert_eq!(world.counters(1).forged, 4);
    let nameless = forge(&mut world, &eve, |it| it.card = None);
    world.input(1, Input::Bundle { sealed: nameless }).unwrap();
    assert_eq!(world.counters(1).unknown_sender, 1);
    assert_eq!(world.core(1).contacts().len(), 1);
    world.check_texts(1, &[]);
    // In her own name she may write, but not without a ratchet.
    let own = forge(&mut world, &eve, |it| {
        it.sender = eves_address;
        it.card = Some(eves_card);
    });
    world.input(1, Input::Bundle { sealed: own }).unwrap();
    let counters = world.counters(1);
    assert_eq!((counters.malformed, counters.unreadable), (1, 0));
}

#[test]
fn garbage_in_every_layer_is_counted() {
    let mut world = World::pair();
    world.send(0, 1, "hello");
    world.run_secs(1);
    let from = world.address(0);
    let mut bytes = vec![0; 300];
    for n in 0..500_u64 {
        world.rng.fill(&mut bytes);
        let length = usize::try_from(world.rng.below(300)).unwrap();
        let payload = bytes[..length].to_vec();
        for input in [
            Input::Packet {
                from,
                payload: payload.clone(),
            },
            Input::Bundle {
                sealed: payload.clone(),
            },
            Input::Gossip {
                payload: payload.clone(),
            },
        ] {
            world.input(1, input).unwrap();
        }
        // Past the pieces, and past the outer seal.
        for object in [payload.clone(), [&[1, 1][..], &payload].concat()] {
            for payload in crate::pieces::cut(&object, 1_200) {
                world.input(1, Input::Packet { from, payload }).unwrap();
            }
        }
        let alice = world.phones[0].identity.end_to_end_key();
        let sealed = forge(&mut world, &alice, |it| {
            it.id = MessageId([n.to_be_bytes(); 2].concat().try_into().unwrap());
            it.ratchet_kind = u8::from(n % 2 == 0);
            it.ratchet = payload;
        });
        world.input(1, Input::Bundle { sealed }).unwrap();
    }
    world.check_texts(1, &["hello"]);
    assert!(world.counters(1).malformed > 900);
    let huge = vec![1; SEALED_BYTES_MAX + 1];
    world.input(1, Input::Bundle { sealed: huge }).unwrap();
    world.send(0, 1, "still there?");
    world.run_secs(5);
    world.check_texts(1, &["hello", "still there?"]);
}

#[test]
fn who_asks_for_prekeys_all_day_gets_one_and_then_the_fallback() {
    let mut world = World::pair();
    world.send(0, 1, "hello");
    world.run_secs(1);
    let from = world.address(0);
    let records = world.phones[1].records_written;
    for payload in crate::pieces::cut(&Object::PrekeyRequest.encode(), 1_200) {
        for _ in 0..1_000 {
            let payload = payload.clone();
            world.input(1, Input::Packet { from, payload }).unwrap();
        }
    }
    assert_eq!(world.counters(1).prekeys_refused, 1_000);
    assert_eq!(world.phones[1].records_written, records);
    // Everybody else still gets a one-time prekey, and the fallback serves all.
    world.scan(0, 1);
    world.send(0, 1, "still there?");
    world.run_secs(1);
    assert_eq!(world.texts(1).len(), 2);
}

#[test]
fn replayed_unreadable_letters_start_few_sessions() {
    let mut world = World::pair();
    world.send(0, 1, "hello");
    world.send(1, 0, "hello");
    world.run_secs(2);
    let alice = world.phones[0].identity.end_to_end_key();
    let first = {
        let mut account = smartmesh_crypto::RatchetAccount::generate();
        let prekey = account.generate_one_time_keys(1)[0];
        let session = account.start_session(&account.identity_key(), &prekey);
        session.unwrap().encrypt(b"x").unwrap().to_bytes()
    };
    for n in 0..200_u8 {
        let sealed = forge(&mut world, &alice, |it| {
            it.id = MessageId([n; 16]);
            it.ratchet_kind = 0;
            it.ratchet = first.clone();
        });
        world.input(1, Input::Bundle { sealed }).unwrap();
        world.run_secs(10);
    }
    // In 2,000 seconds, with 30 s doubling between two renewals.
    let counters = world.counters(1);
    assert_eq!(counters.unreadable, 200);
    assert!(counters.renewals <= 7, "{}", counters.renewals);
    world.send(0, 1, "still there?");
    world.run_secs(5);
    assert!(world.texts(1).contains(&"still there?"));
}

#[test]
fn strangers_are_bounded() {
    let mut world = World::new(1);
    let card = |n: u32| {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let identity = Identity::from_secret(secret);
        let mut own = OwnKeys::generate(START, Duration::from_secs(86_400));
        let bundle = own.bundle(&identity, "", OneTime::None).unwrap();
        (identity, bundle.encode().unwrap())
    };
    let victim = world.phones[0].identity.end_to_end_key().public();
    for n in 0..200 {
        let (identity, card) = card(n);
        let payload = card.clone();
        world.input(0, Input::Gossip { payload }).unwrap();
        let envelope = Envelope {
            id: MessageId([0; 16]),
            receipt: [0; 32],
            expires: START,
            sender: identity.address(),
            card: Some(card),
            ratchet_kind: 1,
            ratchet: Vec::new(),
        };
        let padded = envelope.encode_padded(97).unwrap();
        let pair = identity.end_to_end_key();
        let sealed = seal_to(&pair, &victim, &padded, &mut world.rng).unwrap();
        let sealed = [&[1][..], &sealed].concat();
        world.input(0, Input::Bundle { sealed }).unwrap();
    }
    assert_eq!(
        world.core(0).contacts().len(),
        Config::default().strangers_max
    );
    assert!(world.core(0).heard.len() <= 64);
}

#[test]
fn nobody_acknowledges_for_another() {
    let mut world = World::new(3);
    world.scan(0, 1);
    let id = world.send(0, 1, "for Brandon").unwrap();
    let from = world.address(2);
    for payload in crate::pieces::cut(&Object::Arrived(vec![id]).encode(), 1_200) {
        world.input(0, Input::Packet { from, payload }).unwrap();
    }
    assert_eq!(world.core(0).outbox.len(), 1);
}
