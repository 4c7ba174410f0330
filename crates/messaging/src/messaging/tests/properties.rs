//! Any order of meetings, partings, letters, carriers and deaths ends with each letter read once.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Send { from: usize, to: usize },
    Meet(usize, usize),
    Part(usize, usize),
    Carry,
    CarryAcks,
    Die { phone: usize, after: usize },
    Read(usize),
    Wait(u64),
}

fn two() -> impl Strategy<Value = (usize, usize)> {
    (0..3_usize, 1..3_usize).prop_map(|(a, step)| (a, (a + step) % 3))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => two().prop_map(|(from, to)| Step::Send { from, to }),
        2 => two().prop_map(|(a, b)| Step::Meet(a, b)),
        2 => two().prop_map(|(a, b)| Step::Part(a, b)),
        2 => Just(Step::Carry),
        1 => Just(Step::CarryAcks),
        1 => (0..3_usize, 1..12_usize).prop_map(|(phone, after)| Step::Die { phone, after }),
        1 => (0..3_usize).prop_map(Step::Read),
        5 => (1..20_000_u64).prop_map(Step::Wait),
    ]
}

fn revive(world: &mut World) {
    for phone in 0..3 {
        if world.phones[phone].core.is_none() {
            world.restart(phone);
        }
    }
}

fn take(world: &mut World, step: Step, promised: &mut Vec<(usize, usize, MessageId)>) {
    match step {
        Step::Send { from, to } => {
            promised.extend(world.send(from, to, "x").map(|id| (from, to, id)));
        }
        Step::Meet(a, b) => world.meet(a, b),
        Step::Part(a, b) => world.part(a, b),
        Step::Carry => world.carry(),
        Step::CarryAcks => world.carry_acks(),
        Step::Die { phone, after } => world.phones[phone].dies_after = Some(after),
        Step::Read(phone) => {
            if let Some(message) = world.phones[phone].stored.last().map(|it| it.id) {
                let _ = world.command(phone, Command::MarkRead { message });
            }
        }
        Step::Wait(millis) => world.run(Duration::from_millis(millis)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_promised_letter_is_read_once(steps in proptest::collection::vec(step(), 1..40), loss in 0..40_u64) {
        let mut world = World::new(3);
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            world.scan(a, b);
            world.add(b, a);
        }
        (world.loss_percent, world.double_percent, world.jitter_ms) = (loss, 10, 300);
        let mut promised = Vec::new();
        for step in steps {
            revive(&mut world);
            take(&mut world, step, &mut promised);
        }
        // Then the faults end, and everybody meets.
        world.loss_percent = 0;
        for phone in 0..3 {
            world.phones[phone].dies_after = None;
        }
        revive(&mut world);
        for (a, b) in [(0, 1), (1, 2), (2, 0)] {
            world.meet(a, b);
        }
        world.run_secs(300);
        for (from, to, id) in promised {
            let times = world.phones[to].stored.iter().filter(|it| it.id == id).count();
            prop_assert_eq!(times, 1);
            let last = world.phones[from].states[&id].last().copied();
            prop_assert!(matches!(last, Some(MessageState::Arrived | MessageState::Read)), "{:?}", last);
        }
        for phone in 0..3 {
            prop_assert_eq!(world.core(phone).outbox.len(), 0);
        }
    }

    #[test]
    fn the_same_seed_takes_the_same_decisions(texts in proptest::collection::vec(0..900_usize, 1..8)) {
        let trace = |texts: &[usize]| {
            let mut world = World::pair();
            world.loss_percent = 20;
            for length in texts {
                world.send(0, 1, &"x".repeat(*length));
                world.run_secs(1);
            }
            world.run_secs(60);
            let sizes: Vec<_> = world.carried.iter().map(|it| it.sealed.len()).collect();
            let events: Vec<_> = world.phones.iter().map(|it| it.events.len()).collect();
            let packets: Vec<_> = world.phones.iter().map(|it| it.packets_sent).collect();
            (sizes, events, packets, world.phones.iter().map(|it| it.states.clone()).collect::<Vec<_>>())
        };
        prop_assert_eq!(trace(&texts), trace(&texts));
    }
}
