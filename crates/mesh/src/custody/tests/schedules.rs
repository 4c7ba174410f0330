use proptest::prelude::*;

use super::*;

/// What may happen in a crowd of five.
#[derive(Clone, Debug)]
enum Step {
    Meet(usize, usize),
    Part(usize, usize),
    /// After so many outputs, wherever that is.
    Crash(usize, usize),
    Lose(usize),
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    let node = || 0..5_usize;
    prop_oneof![
        5 => (node(), node()).prop_map(|(a, b)| Step::Meet(a, b)),
        3 => (node(), node()).prop_map(|(a, b)| Step::Part(a, b)),
        2 => (node(), 0..12_usize).prop_map(|(node, outputs)| Step::Crash(node, outputs)),
        1 => (1..6_usize).prop_map(Step::Lose),
        1 => (1..50_u64).prop_map(Step::Wait),
    ]
}

fn check_copies(world: &World) -> Result<(), TestCaseError> {
    for (id, copies) in world.copies() {
        prop_assert!(copies <= 8, "{copies} copies of {id:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    /// From 0 to 1, whatever happens to either and to those between.
    #[test]
    fn copies_are_never_made_and_mail_arrives_once(steps in prop::collection::vec(any_step(), 1..40)) {
        let mut world = World::new(5);
        world.deposit(0, 1, 1, 20_000);
        world.deposit(0, 1, 2, 100);
        for step in steps {
            match step {
                Step::Meet(a, b) => world.meet(a, b),
                Step::Part(a, b) => world.part(a, b),
                Step::Crash(node, outputs) => world.nodes[node].until_crash = Some(outputs),
                Step::Lose(count) => world.lose = count,
                Step::Wait(seconds) => world.wait(Duration::from_secs(seconds)),
            }
            check_copies(&world)?;
        }
        // Then all is well again: everybody meets everybody anew.
        world.lose = 0;
        for node in &mut world.nodes {
            node.until_crash = None;
        }
        for _ in 0..2 {
            for (a, b) in (0..5).flat_map(|a| (0..a).map(move |b| (a, b))) {
                world.part(a, b);
                world.meet(a, b);
                check_copies(&world)?;
            }
        }
        let reader = &world.nodes[1];
        for mail in [mail(1, 20_000), mail(2, 100)] {
            let times = reader.delivered.iter().filter(|payload| **payload == mail).count();
            prop_assert!((1..=1 + reader.restarts).contains(&times), "{times} times, {} restarts", reader.restarts);
        }
        prop_assert_eq!(world.held(), 0, "vaccines have cleared every copy");
        let sender = &world.nodes[0];
        prop_assert!(sender.restarts > 0 || sender.acked.len() == 2);
    }
}
