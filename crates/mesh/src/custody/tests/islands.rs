use super::*;

/// Phones of one island; all hear each other.
const ISLAND: usize = 4;

fn phones(island: usize) -> std::ops::Range<usize> {
    island * ISLAND..(island + 1) * ISLAND
}

/// Islands of phones that stay, then the walkers.
fn islands(count: usize, walkers: usize) -> World {
    let mut world = World::new(count * ISLAND + walkers);
    for island in 0..count {
        for a in phones(island) {
            for b in phones(island).filter(|b| *b < a) {
                world.meet(a, b);
            }
        }
    }
    world
}

fn few_copies(world: &World) {
    assert!(world.copies().values().all(|copies| *copies <= 8));
}

/// The walker hears one phone after the other, two at a time.
fn pass(world: &mut World, walker: usize, island: usize) {
    world.wait(Duration::from_secs(60));
    for phone in phones(island) {
        world.meet(walker, phone);
        world.wait(Duration::from_secs(5));
        if phone > phones(island).start {
            world.part(walker, phone - 1);
        }
        few_copies(world);
    }
    world.part(walker, phones(island).end - 1);
}

#[test]
fn an_island_keeps_copies_for_the_walker() {
    let (mut world, walker) = (islands(2, 1), 2 * ISLAND);
    pass(&mut world, walker, 0);
    pass(&mut world, walker, 1);
    for phone in phones(0) {
        world.deposit(phone, phone + ISLAND, u8::try_from(phone).unwrap(), 100);
    }
    world.wait(Duration::from_secs(1_000));
    for phone in phones(0) {
        let held = world.nodes[phone].custody.store.held.values();
        let own = held.filter(|held| held.origin == Origin::Own);
        assert_eq!(own.map(|held| held.copies).sum::<u8>(), 6);
    }
    pass(&mut world, walker, 0);
    pass(&mut world, walker, 1);
    for phone in phones(1) {
        assert_eq!(world.nodes[phone].delivered.len(), 1);
    }
}

#[test]
fn islands_pass_mail_on_between_walkers_who_never_meet() {
    let mut world = islands(4, 3);
    let walker = |island: usize| 4 * ISLAND + island;
    for island in 0..3 {
        pass(&mut world, walker(island), island);
        pass(&mut world, walker(island), island + 1);
    }
    world.deposit(1, 3 * ISLAND + 2, 1, 2_000);
    for island in 0..3 {
        pass(&mut world, walker(island), island);
        pass(&mut world, walker(island), island + 1);
    }
    assert_eq!(world.nodes[3 * ISLAND + 2].delivered.len(), 1);
}

#[test]
fn a_last_copy_moves_to_who_gets_about_and_survives_crashes() {
    for outputs in 0..40 {
        let (mut world, walker) = (islands(2, 1), 2 * ISLAND);
        pass(&mut world, walker, 0);
        pass(&mut world, walker, 1);
        world.deposit(0, ISLAND, 1, 100);
        for phone in 1..ISLAND {
            let before: u32 = world.copies().values().sum();
            world.nodes[phone].until_crash = Some(outputs);
            world.meet(walker, phone);
            world.nodes[phone].until_crash = None;
            assert!(world.copies().values().sum::<u32>() <= before);
        }
        for phone in 1..ISLAND {
            world.part(walker, phone);
        }
        few_copies(&world);
        if outputs == 39 {
            for phone in 1..ISLAND {
                assert_eq!(world.nodes[phone].custody.held(), 0, "handed over");
            }
            let walker = &world.nodes[walker].custody.store.held;
            assert_eq!(walker.values().map(|held| held.copies).sum::<u8>(), 2);
        }
    }
}
