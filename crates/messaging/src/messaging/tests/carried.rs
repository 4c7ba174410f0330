//! Phones that are never in reach of each other at the same time.

use super::*;
use crate::{FailReason, Via};

#[test]
fn mail_to_somebody_away_is_sealed_from_the_invite_and_carried() {
    let mut world = World::new(2);
    world.scan(0, 1);
    let id = world.send(0, 1, "come to the well").unwrap();
    world.run_secs(3);
    assert_eq!(world.carried.len(), 1);
    let commitment = world.carried[0].commitment;
    world
        .input(
            0,
            Input::Carried {
                commitment,
                copies: 3,
            },
        )
        .unwrap();
    world.check_state(0, id, MessageState::Carried { by: 3 });
    world.run_secs(3_600);
    world.carry();
    world.check_texts(1, &["come to the well"]);
    assert_eq!(world.phones[1].stored[0].via, Via::Bundle);
    assert_eq!(world.core(1).contacts()[0].name, "");
    world.carry_acks();
    world.check_state(0, id, MessageState::Arrived);
}

#[test]
fn a_conversation_by_carriers_alone_goes_on_and_is_marked_read() {
    let mut world = World::new(2);
    world.scan(0, 1);
    for round in 0..6 {
        let id = world.send(0, 1, &format!("question {round}")).unwrap();
        world.run_secs(20);
        world.carry();
        world.command(1, Command::MarkRead { message: id }).unwrap();
        world.send(1, 0, &format!("answer {round}"));
        world.run_secs(20);
        world.carry();
        world.carry_acks();
        world.check_state(0, id, MessageState::Read);
    }
    assert_eq!((world.texts(0).len(), world.texts(1).len()), (6, 6));
    let unreadable = [0, 1].map(|phone| world.counters(phone).unreadable);
    assert_eq!(unreadable, [0, 0]);
    world.run_secs(60);
    world.carry();
    world.carry_acks();
    assert!(world.carried.is_empty());
    world.run_secs(60);
    assert!(world.carried.is_empty(), "receipts for receipts go round");
}

#[test]
fn the_same_message_by_both_ways_is_seen_once() {
    let mut world = World::new(2);
    world.scan(0, 1);
    let id = world.send(0, 1, "once").unwrap();
    world.run_secs(5);
    let copies = world.carried.clone();
    assert_eq!(copies.len(), 1);
    world.meet(0, 1);
    world.run_secs(1);
    world.check_state(0, id, MessageState::Arrived);
    // The sender's copies are cleared by its own word too.
    assert_eq!(world.phones[0].reveals, 1);
    assert!(world.carried[0].delivered);
    for copy in copies.iter().chain(&copies) {
        let sealed = copy.sealed.clone();
        world.input(1, Input::Bundle { sealed }).unwrap();
    }
    world.check_texts(1, &["once"]);
    assert_eq!(world.counters(1).duplicates, 2);
    assert_eq!(world.counters(1).unreadable, 0);
}

#[test]
fn two_hundred_carried_letters_in_any_order_all_arrive() {
    let mut world = World::new(2);
    world.scan(0, 1);
    let letters: Vec<_> = (0..200).map(|n| format!("letter {n}")).collect();
    for letter in &letters {
        world.send(0, 1, letter);
    }
    world.run_secs(5);
    // A reader keeps the keys of 40 skipped letters of a session: the sender takes several sessions.
    world.carry();
    let letters: Vec<_> = letters.iter().map(String::as_str).collect();
    world.check_texts(1, &letters);
    assert_eq!(world.counters(1).unreadable, 0);
    world.carry_acks();
    assert!(world.core(0).outbox.len() == 0);
}

#[test]
fn prekeys_from_gossip_serve_for_somebody_away() {
    let mut world = World::new(3);
    let show = Command::Show {
        name: "Brandon".into(),
    };
    world.command(1, show).unwrap();
    let payload = world.phones[1].published[0].clone();
    assert!(payload.len() <= 1_024);
    world
        .input(
            0,
            Input::Gossip {
                payload: payload.clone(),
            },
        )
        .unwrap();
    let seen = |event: &Event| matches!(event, Event::Seen { name, .. } if name == "Brandon");
    assert!(world.phones[0].events.iter().any(seen));
    // Heard first, added later; and the other way round.
    world.add(0, 1);
    world.add(2, 1);
    world.input(2, Input::Gossip { payload }).unwrap();
    world.send(0, 1, "from Alice");
    world.send(2, 1, "from Chen");
    world.run_secs(3);
    world.carry();
    world.check_texts(1, &["from Alice", "from Chen"]);
    world.run_secs(601);
    assert_eq!(world.phones[1].published.len(), 2);
    world.command(1, Command::Hide).unwrap();
    world.run_secs(1_201);
    assert_eq!(world.phones[1].published.len(), 2);
}

#[test]
fn without_keys_a_message_waits_and_fails_with_the_reason() {
    let mut world = World::new(2);
    world.add(0, 1);
    let id = world.send(0, 1, "who are you?").unwrap();
    world.run_secs(10);
    assert!(world.carried.is_empty());
    world.run_secs(7 * 86_400 + 60);
    world.check_state(0, id, MessageState::Failed(FailReason::NoKeys));
    assert!(
        !world.phones[0]
            .disk
            .keys()
            .any(|key| key.starts_with(b"outbox/"))
    );
}

#[test]
fn a_message_ends_at_its_time_and_can_be_cancelled() {
    let mut world = World::new(2);
    world.scan(0, 1);
    let to = world.address(1);
    let command = Command::Send {
        to,
        text: "soon".into(),
        lifetime: Some(Duration::from_secs(60)),
        urgency: Urgency::Urgent,
    };
    let Ok(Some(Answer::Queued(id))) = world.command(0, command) else {
        panic!();
    };
    let other = world.send(0, 1, "later").unwrap();
    world.run_secs(130);
    world.check_state(0, id, MessageState::Failed(FailReason::Expired));
    world
        .command(0, Command::Cancel { message: other })
        .unwrap();
    world.check_state(0, other, MessageState::Failed(FailReason::Cancelled));
    let again = world.command(0, Command::Cancel { message: other });
    assert_eq!(again, Err(CommandError::UnknownMessage(other)));
    // Mail that was carried past its time and a day of skew is not taken.
    world.run_secs(8 * 86_400 + 61);
    world.carry();
    world.check_texts(1, &[]);
    assert!(world.counters(1).expired >= 2);
}

#[test]
fn an_invite_still_serves_after_its_first_user_and_expires_with_its_fallback() {
    let mut world = World::new(4);
    let invite = world
        .command(
            3,
            Command::Invite {
                name: String::new(),
            },
        )
        .unwrap();
    let Some(Answer::Invite(text)) = invite else {
        panic!();
    };
    for phone in 0..3 {
        let text = text.to_lowercase();
        world
            .command(phone, Command::AddContact { text, name: None })
            .unwrap();
        world.send(phone, 3, &format!("from {phone}"));
    }
    world.run_secs(5);
    for _ in 0..3 {
        world.carry();
        world.carry_acks();
        world.run_secs(60);
    }
    world.check_texts(3, &["from 0", "from 1", "from 2"]);
    world.run_secs(30 * 86_400);
    let mut late = World::new(1);
    late.now = world.now;
    late.command(0, Command::AddContact { text, name: None })
        .unwrap();
    assert!(!late.core(0).contacts()[0].has_keys);
}

#[test]
fn clocks_may_be_wrong() {
    let mut world = World::new(2);
    world.phones[1].clock_ahead = 400 * 86_400;
    world.restart(1);
    world.add(0, 1);
    world.add(1, 0);
    world.meet(0, 1);
    world.send(0, 1, "what year is it?");
    world.send(1, 0, "the next one");
    world.run_secs(5);
    world.check_texts(1, &["what year is it?"]);
    world.check_texts(0, &["the next one"]);
    // Both times are told, so that the app can show that they are far apart.
    let message = &world.phones[1].stored[0];
    assert!(message.received_at.as_secs() - message.sent_at.as_secs() > 399 * 86_400);
}
