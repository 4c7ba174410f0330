//! Payments over several hops: everybody gets their part or nobody does.

use smartmesh_channel::{Account, Answer, ChannelId, Command, Event, Hop, Start};
use smartmesh_types::{Duration, RequestId};
use smartmesh_wire::payment::{PaymentMessage, Refusal};

use super::world::{Letter, ONE, World, mesh};

/// What each relay takes.
const FEE: (u64, u32) = (1_000, 1_000);

/// A chain of phones, each with a channel of 100 and 100 with the next.
fn row(phones: usize) -> (World, Vec<ChannelId>) {
    let mut world = World::with(phones, |config| {
        config.reach = 3_600;
        config.fee = FEE;
    });
    let ids = (1..phones)
        .map(|next| world.open(next - 1, next, (100 * ONE, 100 * ONE)))
        .collect();
    (world, ids)
}

fn way(from: usize, to: usize) -> Vec<Hop> {
    (from + 1..=to)
        .map(|index| Hop {
            peer: mesh(index),
            fee: FEE,
            reach: 3_600,
        })
        .collect()
}

fn pay_over(world: &mut World, to: usize, amount: u128) -> RequestId {
    let token = world.chain.at.smt;
    world
        .command(
            0,
            Command::PayOver {
                hops: way(0, to),
                token,
                amount,
            },
        )
        .unwrap()
}

fn settle_down(world: &mut World) {
    for _ in 0..8 {
        world.exchange();
        world.wait(Duration::from_secs(3));
    }
}

fn is_claim(letter: &Letter) -> bool {
    matches!(
        PaymentMessage::decode(&letter.bytes),
        Ok(PaymentMessage::Claim { .. })
    )
}

/// Delivers what passes, for some seconds.
fn run(world: &mut World, passes: impl Fn(&Letter) -> bool) {
    for _ in 0..8 {
        while let Some(letter) = world.letters.pop_front() {
            if passes(&letter) {
                world.deliver(&letter);
            }
        }
        world.wait(Duration::from_secs(3));
    }
}

fn told(world: &World, index: usize, wanted: impl Fn(&Event) -> bool) -> bool {
    world.phones[index].events.iter().any(wanted)
}

fn not_paid(world: &World, request: RequestId) -> bool {
    told(
        world,
        0,
        |event| matches!(event, Event::Answer { request: of, answer: Answer::NotPaid { .. } } if *of == request),
    )
}

fn no_locks(world: &World, ids: &[ChannelId]) -> bool {
    ids.iter().enumerate().all(|(at, id)| {
        [at, at + 1].iter().all(|index| {
            let info = world.info(*index, *id);
            info.locked_in == 0 && info.locked_out == 0
        })
    })
}

#[test]
fn three_hops_pay_the_payee_and_each_relay_its_fee() {
    let (mut world, ids) = row(4);
    let request = pay_over(&mut world, 3, 10 * ONE);
    settle_down(&mut world);
    let one = 10 * ONE + 1_000 + (10 * ONE).div_ceil(1_000);
    let two = one + 1_000 + one.div_ceil(1_000);
    assert!(world.has_answer(0, request, &Answer::Paid { amount: two }));
    assert!(told(&world, 3, |event| {
        *event
            == Event::ReceivedOver {
                channel: ids[2],
                amount: 10 * ONE,
            }
    }));
    assert_eq!(world.info(3, ids[2]).received, 10 * ONE);
    assert_eq!(world.info(1, ids[0]).received, two);
    assert_eq!(world.info(1, ids[1]).sent, one);
    assert_eq!(
        world.info(2, ids[1]).received - world.info(2, ids[2]).sent,
        one - 10 * ONE
    );
    assert!(no_locks(&world, &ids));
}

#[test]
fn no_two_hops_see_the_same_lock_or_secret() {
    let (mut world, _) = row(5);
    pay_over(&mut world, 4, ONE);
    settle_down(&mut world);
    let mut secrets = Vec::new();
    for letter in &world.seen {
        if let Ok(PaymentMessage::Claim { secret, .. }) = PaymentMessage::decode(&letter.bytes) {
            secrets.push(secret);
        }
    }
    secrets.sort_unstable();
    secrets.dedup();
    assert_eq!(secrets.len(), 4);
}

#[test]
fn a_relay_that_cannot_pay_on_gives_the_lock_back() {
    let (mut world, ids) = row(4);
    world.pay(1, ids[1], 90 * ONE).unwrap();
    world.exchange();
    let request = pay_over(&mut world, 3, 10 * ONE);
    settle_down(&mut world);
    assert!(not_paid(&world, request));
    assert!(no_locks(&world, &ids));
    assert_eq!(world.info(0, ids[0]).sent, 0);
    assert_eq!(world.info(0, ids[0]).spendable, 95 * ONE);
}

#[test]
fn an_unreachable_payee_costs_nothing() {
    let (mut world, ids) = row(3);
    world.apart = true;
    let request = pay_over(&mut world, 2, ONE);
    world.wait(Duration::from_secs(30));
    world.wait(Duration::from_secs(30));
    assert!(world.has_answer(
        0,
        request,
        &Answer::NotPaid {
            reason: Refusal::NotEstablished
        }
    ));
    assert!(no_locks(&world, &ids));
}

#[test]
fn restarts_of_everybody_in_the_middle_do_no_harm() {
    for cut in 0..40 {
        let (mut world, ids) = row(4);
        pay_over(&mut world, 3, 10 * ONE);
        for _ in 0..cut {
            if let Some(letter) = world.letters.pop_front() {
                world.deliver(&letter);
            }
        }
        for index in 0..4 {
            world.restart(index, Start::Continued, None);
        }
        world.letters.clear();
        for index in 0..3 {
            world.meet(index, index + 1);
        }
        settle_down(&mut world);
        // What hangs ends with its time.
        for _ in 0..6 {
            world.skip(3_600);
            settle_down(&mut world);
        }
        world.blocks(14);
        settle_down(&mut world);
        let earned = |world: &World, index: usize| {
            let mut sum = 0_i128;
            for (at, id) in ids.iter().enumerate() {
                if at == index || at + 1 == index {
                    let info = world.info(index, *id);
                    sum += info.received as i128 - info.sent as i128;
                }
            }
            sum
        };
        assert!(no_locks(&world, &ids), "cut {cut}");
        assert!(
            earned(&world, 1) >= 0 && earned(&world, 2) >= 0,
            "cut {cut}"
        );
        let payee = earned(&world, 3);
        assert!(payee == 0 || payee == (10 * ONE) as i128, "cut {cut}");
        assert_eq!(earned(&world, 0) == 0, payee == 0, "cut {cut}");
    }
}

#[test]
fn a_payee_who_stays_silent_gets_nothing_and_the_locks_end_with_their_time() {
    let (mut world, ids) = row(3);
    let request = pay_over(&mut world, 2, 10 * ONE);
    run(&mut world, |letter| !is_claim(letter));
    assert!(world.info(0, ids[0]).locked_out > 10 * ONE);
    // The payee never comes back: it knows the secret, so it is as if it had died.
    world.phones[2].online = false;
    world.apart = true;
    world.restart(2, Start::Continued, None);
    world.letters.clear();
    for _ in 0..12 {
        world.skip(1_800);
        world
            .letters
            .retain(|letter| letter.to != 2 && letter.from != 2);
        world.exchange();
        world.letters.clear();
    }
    for _ in 0..3 {
        world.blocks(14);
        world.wait(Duration::from_secs(5));
        world
            .letters
            .retain(|letter| letter.to != 2 && letter.from != 2);
        world.exchange();
    }
    assert!(not_paid(&world, request));
    assert_eq!(world.info(0, ids[0]).locked_out, 0);
    assert_eq!(world.info(0, ids[0]).sent, 0);
}

#[test]
fn a_payer_who_vanishes_after_the_claim_pays_on_the_chain() {
    let (mut world, ids) = row(3);
    pay_over(&mut world, 2, 10 * ONE);
    // The payer's phone dies when the relay has paid and claims.
    run(&mut world, |letter| letter.to != 0 || !is_claim(letter));
    assert_eq!(world.info(2, ids[1]).received, 10 * ONE);
    let due = world.info(1, ids[0]).locked_in;
    assert!(due > 10 * ONE);
    world.phones[0].online = false;
    world.letters.clear();
    // In time before the lock ends the secret is made known on the chain.
    world.skip(1_800);
    world.blocks(3);
    world.skip(1_800);
    world.blocks(3);
    let close = Command::Close {
        channel: ids[0],
        agent: Account::ZERO,
        fee: 0,
    };
    world.command(1, close).unwrap();
    world.blocks(3);
    // Past the challenge; what was registered in time is claimed.
    world.skip(86_400);
    world.blocks(3);
    world.skip(86_400);
    world.blocks(15);
    assert_eq!(world.settled(1), 100 * ONE + due);
}
