//! Two phones that can reach each other.

use super::*;
use crate::{FileOffer, Standing, Via};

#[test]
fn a_text_goes_from_an_address_alone_and_is_read() {
    let mut world = World::pair();
    let id = world.send(0, 1, "hello").unwrap();
    world.run_secs(1);
    world.check_texts(1, &["hello"]);
    world.check_state(0, id, MessageState::Arrived);
    let message = world.phones[1].stored[0].clone();
    assert_eq!(message.from, world.address(0));
    assert_eq!((message.via, message.sent_at), (Via::Flow, START));
    world.command(1, Command::MarkRead { message: id }).unwrap();
    world.run_secs(1);
    world.check_state(0, id, MessageState::Read);
    let states = &world.phones[0].states[&id];
    let until = START + Config::default().lifetime;
    let expected = [
        MessageState::Waiting { until },
        MessageState::Sent,
        MessageState::Arrived,
        MessageState::Read,
    ];
    assert_eq!(states[..], expected);
    // Nothing is left under way, and nothing was given to carriers.
    assert!(world.core(0).outgoing().is_empty());
    assert!(world.carried.is_empty());
}

#[test]
fn a_file_is_offered_by_its_reference() {
    let mut world = World::pair();
    let offer = FileOffer {
        reference: vec![5; 64],
        name: "house.jpg".into(),
        bytes: 123_456,
        media_type: "image/jpeg".into(),
    };
    let to = world.address(1);
    let command = Command::SendContent {
        to,
        content: Content::File(offer.clone()),
        lifetime: None,
    };
    world.command(0, command).unwrap();
    world.run_secs(1);
    assert_eq!(world.phones[1].stored[0].content, Content::File(offer));
}

#[test]
fn both_write_first_at_the_same_moment() {
    let mut world = World::pair();
    world.jitter_ms = 50;
    for round in 0..3 {
        world.send(0, 1, &format!("a{round}"));
        world.send(1, 0, &format!("b{round}"));
    }
    world.run_secs(2);
    world.check_texts(1, &["a0", "a1", "a2"]);
    world.check_texts(0, &["b0", "b1", "b2"]);
    for phone in [0, 1] {
        assert_eq!(world.counters(phone).unreadable, 0);
        assert!(world.core(phone).outgoing().is_empty() || world.phones[phone].starts == 1);
    }
    world.send(0, 1, "a3");
    world.send(1, 0, "b3");
    world.run_secs(2);
    assert_eq!((world.texts(0).len(), world.texts(1).len()), (4, 4));
}

#[test]
fn loss_doubling_and_reordering_lose_and_double_nothing() {
    let mut world = World::pair();
    (world.loss_percent, world.double_percent, world.jitter_ms) = (30, 20, 400);
    let mut expected = Vec::new();
    for n in 0..60 {
        let text = format!("{n} {}", "x".repeat(n * 97 % 3_000));
        world.send(n % 2, 1 - n % 2, &text);
        expected.push(text);
        world.run(Duration::from_millis(100));
    }
    world.run_secs(600);
    for phone in [0, 1] {
        let mine = expected.iter().skip(1 - phone).step_by(2);
        let mine: Vec<_> = mine.map(String::as_str).collect();
        world.check_texts(phone, &mine);
    }
}

#[test]
fn the_longest_text_fits_a_narrow_path_in_pieces() {
    let mut world = World::pair();
    world.payload_bytes = 100;
    world.loss_percent = 5;
    let text = "ä".repeat(crate::TEXT_BYTES_MAX / 2);
    let id = world.send(0, 1, &text).unwrap();
    world.run_secs(60);
    assert_eq!(world.texts(1), [text.as_str()]);
    world.check_state(0, id, MessageState::Arrived);
}

#[test]
fn what_cannot_be_sent_is_refused_and_changes_nothing() {
    let mut world = World::pair();
    let (own, other) = (world.address(0), world.address(1));
    let nobody = Address::from_key_hash([9; 13]);
    let send = |to, text: String, secs| Command::Send {
        to,
        text,
        lifetime: Some(Duration::from_secs(secs)),
        urgency: Urgency::Normal,
    };
    let add = |text: &str, name: &str| Command::AddContact {
        text: text.into(),
        name: Some(name.into()),
    };
    let before = world.phones[0].disk.clone();
    for (command, error) in [
        (
            send(nobody, "x".into(), 9),
            CommandError::UnknownContact(nobody),
        ),
        (add(&own.to_string(), ""), CommandError::Self_),
        (Command::Block { address: own }, CommandError::Self_),
        (
            Command::Forget { address: nobody },
            CommandError::UnknownContact(nobody),
        ),
    ] {
        assert_eq!(world.command(0, command), Err(error));
    }
    let too_long = "x".repeat(crate::TEXT_BYTES_MAX + 1);
    for command in [
        send(other, too_long, 9),
        send(other, "x".into(), 0),
        send(other, "x".into(), 31 * 86_400),
        add(&other.to_string(), &"x".repeat(65)),
        add(&other.to_string(), "a\nb"),
    ] {
        assert!(matches!(
            world.command(0, command),
            Err(CommandError::Invalid(_))
        ));
    }
    assert!(matches!(
        world.command(0, add("hello", "")),
        Err(CommandError::NotAnInvite(_))
    ));
    assert!(world.phones[0].disk == before);
}

#[test]
fn the_outbox_is_bounded_for_one_person() {
    let mut world = World::new(2);
    world.scan(0, 1);
    let max = Config::default().outbox_per_person_max;
    for _ in 0..max {
        assert!(world.send(0, 1, "x").is_some());
    }
    let to = world.address(1);
    let one_more = Command::Send {
        to,
        text: "x".into(),
        lifetime: None,
        urgency: Urgency::Normal,
    };
    let full = Err(CommandError::Full("unsent messages"));
    assert_eq!(world.command(0, one_more), full);
    // They all go when the path comes, at most 16 at once.
    world.meet(0, 1);
    assert!(world.air.len() <= 17, "{} packets at once", world.air.len());
    world.run_secs(30);
    assert_eq!(world.phones[1].stored.len(), max);
}

#[test]
fn strangers_blocked_and_forgotten_people() {
    let mut world = World::new(2);
    world.add(0, 1);
    world.meet(0, 1);
    world.send(0, 1, "do you know me?");
    world.run_secs(1);
    let alice = world.address(0);
    assert_eq!(world.core(1).contacts()[0].standing, Standing::Stranger);
    world.check_texts(1, &["do you know me?"]);
    world.command(1, Command::Block { address: alice }).unwrap();
    let refused = world.send(0, 1, "hello?").unwrap();
    world.run_secs(20);
    world.carry();
    assert_eq!(world.phones[1].stored.len(), 1);
    assert!(world.counters(1).blocked > 1);
    assert_ne!(
        world.phones[0].states[&refused].last(),
        Some(&MessageState::Arrived)
    );
    let add = Command::AddContact {
        text: alice.to_string(),
        name: None,
    };
    assert_eq!(world.command(1, add), Err(CommandError::Blocked(alice)));
    world
        .command(1, Command::Unblock { address: alice })
        .unwrap();
    world.run_secs(70);
    world.check_texts(1, &["do you know me?", "hello?"]);
    let rename = Command::Rename {
        address: alice,
        name: "Ali".into(),
    };
    world.command(1, rename).unwrap();
    assert_eq!(world.core(1).contacts()[0].name, "Ali");
    world
        .command(1, Command::Forget { address: alice })
        .unwrap();
    assert!(world.core(1).contacts().is_empty());
    let left: Vec<_> = world.phones[1]
        .disk
        .keys()
        .filter(|key| !key.starts_with(b"inbox/"))
        .collect();
    assert_eq!(left, [b"account"]);
}

#[test]
fn three_people_talk_in_a_triangle() {
    let mut world = World::new(3);
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        world.scan(a, b);
        world.add(b, a);
        world.meet(a, b);
    }
    world.loss_percent = 20;
    for n in 0..9 {
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            world.send(a, b, &format!("{a} to {b}: {n}"));
            world.send(b, a, &format!("{b} to {a}: {n}"));
        }
        world.run(Duration::from_millis(300));
    }
    world.run_secs(120);
    for phone in 0..3 {
        assert_eq!(world.phones[phone].stored.len(), 18);
        assert!(world.core(phone).outbox.len() == 0);
    }
}

#[test]
fn a_swallowing_path_does_not_keep_mail_from_the_carriers() {
    let mut world = World::pair();
    world.send(0, 1, "first");
    world.run_secs(1);
    world.loss_percent = 100;
    let ids: Vec<_> = (0..20)
        .map(|n| world.send(0, 1, &n.to_string()).unwrap())
        .collect();
    world.run_secs(5);
    assert_eq!(world.carried.len(), 20);
    world.carry();
    assert_eq!(world.phones[1].stored.len(), 21);
    world.carry_acks();
    for id in ids {
        world.check_state(0, id, MessageState::Arrived);
    }
}

#[test]
fn a_path_that_comes_back_is_used_at_once() {
    let mut world = World::pair();
    world.send(0, 1, "one");
    world.run_secs(1);
    world.part(0, 1);
    let id = world.send(0, 1, "two").unwrap();
    world.run_secs(3_000);
    let until = START + Duration::from_secs(1) + Config::default().lifetime;
    world.check_state(0, id, MessageState::Waiting { until });
    world.meet(0, 1);
    world.run(Duration::from_millis(50));
    world.check_state(0, id, MessageState::Arrived);
}
