//! Phones that lost their memory, wholly or in part.

use super::*;

/// Wipes what a phone keeps, all but its identity.
fn wipe(world: &mut World, phone: usize) {
    world.phones[phone].disk.clear();
    world.phones[phone].stored.clear();
    world.restart(phone);
}

#[test]
fn a_wiped_phone_is_reached_again_over_a_path() {
    let mut world = World::pair();
    world.send(0, 1, "before");
    world.send(1, 0, "before");
    world.run_secs(2);
    wipe(&mut world, 1);
    let id = world.send(0, 1, "after").unwrap();
    world.run_secs(90);
    world.check_texts(1, &["after"]);
    world.check_state(0, id, MessageState::Arrived);
    world.send(1, 0, "I lost everything");
    world.run_secs(5);
    world.check_texts(0, &["before", "I lost everything"]);
}

#[test]
fn a_wiped_phone_is_reached_again_by_carriers() {
    let mut world = World::new(2);
    world.scan(0, 1);
    world.scan(1, 0);
    world.send(0, 1, "before");
    world.run_secs(20);
    world.carry();
    world.carry_acks();
    wipe(&mut world, 1);
    let id = world.send(0, 1, "after").unwrap();
    for _ in 0..4 {
        world.run_secs(100);
        world.carry();
        world.carry_acks();
    }
    world.check_texts(1, &["after"]);
    world.check_state(0, id, MessageState::Arrived);
}

#[test]
fn the_wiped_phone_writes_first() {
    let mut world = World::pair();
    world.send(0, 1, "before");
    world.send(1, 0, "before");
    world.run_secs(2);
    wipe(&mut world, 1);
    world.add(1, 0);
    world.send(1, 0, "new phone");
    world.run_secs(90);
    world.check_texts(0, &["before", "new phone"]);
    world.send(0, 1, "nice");
    world.run_secs(90);
    world.check_texts(1, &["nice"]);
}

#[test]
fn an_old_backup_comes_back() {
    let mut world = World::pair();
    world.send(0, 1, "one");
    world.send(1, 0, "two");
    world.run_secs(2);
    let backup = world.phones[1].disk.clone();
    for n in 0..30 {
        world.send(n % 2, 1 - n % 2, &n.to_string());
        world.run(Duration::from_millis(700));
    }
    world.phones[1].disk = backup;
    world.restart(1);
    let sent = [
        world.send(0, 1, "to the backup").unwrap(),
        world.send(1, 0, "from the backup").unwrap(),
    ];
    world.run_secs(180);
    assert!(world.texts(1).contains(&"to the backup"));
    assert!(world.texts(0).contains(&"from the backup"));
    for (phone, id) in sent.into_iter().enumerate() {
        world.check_state(phone, id, MessageState::Arrived);
    }
}

#[test]
fn both_are_wiped_and_meet_again() {
    let mut world = World::pair();
    world.send(0, 1, "before");
    world.run_secs(2);
    wipe(&mut world, 0);
    wipe(&mut world, 1);
    world.add(0, 1);
    world.send(0, 1, "again");
    world.run_secs(90);
    world.check_texts(1, &["again"]);
}
