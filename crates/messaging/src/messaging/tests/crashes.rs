//! A phone dies after any record that it writes; what it has promised holds.

use super::*;

/// Runs a story in which one phone dies after its n-th record and starts again. Returns whether it lived to the end.
fn check(
    victim: usize,
    dies_after: usize,
    story: fn(&mut World) -> Vec<(usize, MessageId)>,
) -> bool {
    let mut world = World::new(2);
    world.add(0, 1);
    world.add(1, 0);
    world.phones[victim].dies_after = Some(dies_after);
    let promised = story(&mut world);
    let lived = world.phones[victim].dies_after.is_some();
    for _ in 0..4 {
        revive(&mut world);
        world.run_secs(70);
        world.carry();
        world.carry_acks();
    }
    for (to, id) in promised {
        let times = world.phones[to]
            .stored
            .iter()
            .filter(|it| it.id == id)
            .count();
        assert_eq!(
            times, 1,
            "message {id} to {to}, victim {victim} after {dies_after}"
        );
        let sender = 1 - to;
        let last = world.phones[sender].states[&id].last().copied();
        let done = matches!(last, Some(MessageState::Arrived | MessageState::Read));
        assert!(done, "{last:?} of {id}, victim {victim} after {dies_after}");
    }
    lived
}

fn revive(world: &mut World) {
    for phone in 0..2 {
        if world.phones[phone].core.is_none() {
            world.restart(phone);
        }
    }
}

fn say(world: &mut World, promised: &mut Vec<(usize, MessageId)>, from: usize, text: &str) {
    revive(world);
    promised.extend(world.send(from, 1 - from, text).map(|id| (1 - from, id)));
}

fn live_story(world: &mut World) -> Vec<(usize, MessageId)> {
    let mut promised = Vec::new();
    world.meet(0, 1);
    world.loss_percent = 10;
    for round in 0..3 {
        say(world, &mut promised, 0, &format!("a{round}"));
        world.run(Duration::from_millis(300));
        say(world, &mut promised, 1, &format!("b{round}"));
        revive(world);
        world.run_secs(1);
        revive(world);
        let message = world.phones[1].stored.last().map(|it| it.id);
        if let Some(message) = message {
            let _ = world.command(1, Command::MarkRead { message });
        }
    }
    promised
}

fn carried_story(world: &mut World) -> Vec<(usize, MessageId)> {
    let mut promised = Vec::new();
    let show = Command::Show {
        name: String::new(),
    };
    let _ = world.command(1, show);
    if let Some(payload) = world.phones[1].published.first().cloned() {
        world.input(0, Input::Gossip { payload }).unwrap();
    }
    for round in 0..2 {
        say(world, &mut promised, 0, &format!("a{round}"));
        world.run_secs(12);
        revive(world);
        world.carry();
        say(world, &mut promised, 1, &format!("b{round}"));
        world.run_secs(12);
        revive(world);
        world.carry();
        world.carry_acks();
    }
    // In the end they meet: whoever has no keys yet gets them.
    revive(world);
    world.meet(0, 1);
    promised
}

fn check_all(victim: usize, story: fn(&mut World) -> Vec<(usize, MessageId)>) {
    let mut dies_after = 1;
    while !check(victim, dies_after, story) {
        dies_after += 1;
    }
    assert!(
        dies_after > 15,
        "only {dies_after} records: the story is too short to say anything"
    );
}

#[test]
fn the_first_phone_dies_while_they_talk() {
    check_all(0, live_story);
}

#[test]
fn the_second_phone_dies_while_they_talk() {
    check_all(1, live_story);
}

#[test]
fn the_first_phone_dies_around_carried_mail() {
    check_all(0, carried_story);
}

#[test]
fn the_second_phone_dies_around_carried_mail() {
    check_all(1, carried_story);
}

#[test]
fn a_message_is_reported_until_the_shell_has_it() {
    let mut world = World::pair();
    world.phones[1].confirms = false;
    let id = world.send(0, 1, "keep me").unwrap();
    world.run_secs(1);
    world.check_state(0, id, MessageState::Arrived);
    world.phones[1].stored.clear();
    world.restart(1);
    world.check_texts(1, &["keep me"]);
    world.command(1, Command::Stored { message: id }).unwrap();
    world.phones[1].stored.clear();
    world.restart(1);
    world.check_texts(1, &[]);
}

#[test]
fn a_shell_that_stores_nothing_is_not_flooded() {
    let mut world = World::pair();
    world.phones[1].confirms = false;
    for n in 0..100 {
        world.send(0, 1, &n.to_string());
    }
    world.run_secs(20);
    let max = Config::default().unstored_per_person_max;
    assert_eq!(world.phones[1].stored.len(), max);
    assert!(world.counters(1).full > 0);
    // Once it stores, the senders' next attempts bring the others.
    world.phones[1].confirms = true;
    let ids: Vec<_> = world.phones[1].stored.iter().map(|it| it.id).collect();
    for message in ids {
        world.command(1, Command::Stored { message }).unwrap();
    }
    world.run_secs(120);
    assert_eq!(world.phones[1].stored.len(), 100);
}

#[test]
fn a_read_receipt_is_not_lost_by_either_ones_death() {
    for victim in [0, 1] {
        for dies_after in 1..40 {
            let mut world = World::pair();
            let id = world.send(0, 1, "did you see?").unwrap();
            world.run_secs(1);
            world.phones[victim].dies_after = Some(dies_after);
            let answer = world.command(1, Command::MarkRead { message: id }).unwrap();
            for _ in 0..3 {
                world.run_secs(5);
                revive(&mut world);
            }
            if answer.is_some() {
                world.check_state(0, id, MessageState::Read);
            }
        }
    }
}
