//! From the first meeting to the last block.

use smartmesh_channel::{
    Account, Answer, ChannelPhase, Command, CommandError, Ending, Event, Start,
};
use smartmesh_types::Duration;
use smartmesh_wire::payment::Refusal;

use super::world::{ONE, World, mesh, wallet};

const NOBODY: Account = Account::ZERO;

/// Two phones with a channel of 100 each.
fn pair() -> (World, smartmesh_channel::ChannelId) {
    let mut world = World::new(2);
    let id = world.open(0, 1, (100 * ONE, 100 * ONE));
    (world, id)
}

#[test]
fn a_payment_arrives_and_both_know_it() {
    let (mut world, id) = pair();
    assert_eq!(world.info(0, id).phase, ChannelPhase::Open);
    assert!(world.info(0, id).established && world.info(1, id).established);
    let request = world
        .command(
            0,
            Command::Pay {
                channel: id,
                amount: 5 * ONE,
                memo: b"bread".to_vec(),
            },
        )
        .unwrap();
    assert!(world.has_answer(
        0,
        request,
        &Answer::Signed {
            channel: id,
            seq: 1
        }
    ));
    assert_eq!(world.letters.len(), 1);
    assert_eq!(world.info(0, id).unconfirmed, 5 * ONE);
    world.exchange();
    assert!(world.has_answer(
        0,
        request,
        &Answer::Arrived {
            channel: id,
            seq: 1
        }
    ));
    assert_eq!(world.info(0, id).unconfirmed, 0);
    let received = Event::Received {
        channel: id,
        from: mesh(0),
        amount: 5 * ONE,
        seq: 1,
        memo: b"bread".to_vec(),
    };
    assert!(world.phones[1].events.contains(&received));
    assert_eq!(
        (world.info(0, id).balance, world.info(1, id).balance),
        (95 * ONE, 105 * ONE)
    );
}

#[test]
fn payments_that_wait_are_covered_by_one_message() {
    let (mut world, id) = pair();
    let requests: Vec<_> = (0..50).map(|_| world.pay(0, id, ONE).unwrap()).collect();
    assert_eq!(world.letters.len(), 1);
    world.exchange();
    assert_eq!(world.info(1, id).received, 50 * ONE);
    for (at, request) in requests.iter().enumerate() {
        let seq = if at == 0 { 1 } else { 2 };
        assert!(world.has_answer(0, *request, &Answer::Arrived { channel: id, seq }));
    }
}

#[test]
fn a_payer_keeps_its_reserve() {
    let (mut world, id) = pair();
    // A twentieth of the deposit.
    assert_eq!(world.info(0, id).spendable, 95 * ONE);
    assert_eq!(
        world.pay(0, id, 95 * ONE + 1),
        Err(CommandError::TooMuch(95 * ONE))
    );
    world.pay(0, id, 95 * ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(1, id).received, 95 * ONE);
    assert_eq!(world.pay(0, id, 1), Err(CommandError::TooMuch(0)));
    // What was received can be spent.
    world.pay(1, id, 20 * ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(0, id).spendable, 20 * ONE);
}

#[test]
fn nothing_changes_towards_somebody_absent() {
    let (mut world, id) = pair();
    world.restart(0, Start::Continued, None);
    world.apart = true;
    let request = world.pay(0, id, ONE).unwrap();
    assert_eq!(world.info(0, id).sent, 0);
    world.wait(Duration::from_secs(11));
    let failed = Answer::Failed {
        channel: id,
        reason: Refusal::NotEstablished,
    };
    assert!(world.has_answer(0, request, &failed));
    assert_eq!((world.info(0, id).sent, world.letters.len()), (0, 0));
    // A path is looked for, and found.
    world.apart = false;
    world.pay(0, id, ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(1, id).received, ONE);
}

#[test]
fn a_lost_message_is_sent_again_as_it_was() {
    let (mut world, id) = pair();
    world.pay(0, id, ONE).unwrap();
    let first = world.letters.pop_front().unwrap();
    world.wait(Duration::from_secs(1));
    assert_eq!(world.letters.pop_front().unwrap().bytes, first.bytes);
    world.deliver(&first);
    world.deliver(&first);
    world.exchange();
    assert_eq!(world.info(1, id).received, ONE);
    let received = |event: &&Event| matches!(event, Event::Received { .. });
    assert_eq!(world.phones[1].events.iter().filter(received).count(), 1);
}

#[test]
fn both_restart_with_a_message_under_way() {
    let (mut world, id) = pair();
    world.pay(0, id, 3 * ONE).unwrap();
    world.letters.clear();
    world.restart(0, Start::Continued, None);
    world.restart(1, Start::Continued, None);
    assert_eq!(world.info(0, id).sent, 3 * ONE);
    world.meet(0, 1);
    world.exchange();
    assert_eq!(world.info(1, id).received, 3 * ONE);
    assert_eq!(world.info(0, id).unconfirmed, 0);
    world.pay(0, id, ONE).unwrap();
    world.pay(1, id, ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(1, id).received, 4 * ONE);
    assert_eq!(world.info(0, id).received, ONE);
}

#[test]
fn deposits_count_when_confirmed_and_are_rolled_back() {
    let mut world = World::new(2);
    world.meet(0, 1);
    let open = Command::Open {
        peer: mesh(1),
        token: world.chain.at.smt,
        deposit: 100 * ONE,
    };
    world.command(0, open).unwrap();
    world.exchange();
    let id = world.phones[0]
        .core
        .channel_with(mesh(1), world.chain.at.smt)
        .unwrap();
    world.block();
    assert_eq!(world.info(1, id).their_deposit, 0);
    assert_eq!(world.info(1, id).pending_total, (100 * ONE) as i128);
    assert_eq!(world.pay(0, id, ONE), Err(CommandError::NotOpen));
    world.blocks(2);
    assert_eq!(world.info(1, id).their_deposit, (100 * ONE) as i128);
    world.chain.reorganise(3, true);
    world.block();
    assert_eq!(world.info(1, id).pending_total, 0);
    assert_eq!(world.info(0, id).spendable, 0);
    let deposit = Command::Deposit {
        channel: id,
        amount: 40 * ONE,
    };
    world.command(0, deposit).unwrap();
    world.blocks(4);
    world.exchange();
    world.pay(0, id, ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(1, id).received, ONE);
}

#[test]
fn a_withdrawal_is_set_aside_executed_and_freed() {
    let (mut world, id) = pair();
    world.pay(0, id, 10 * ONE).unwrap();
    world.exchange();
    let withdraw = Command::Withdraw {
        channel: id,
        amount: 60 * ONE,
        to: wallet(1),
        agent: NOBODY,
        fee: ONE,
    };
    world.command(1, withdraw.clone()).unwrap();
    assert_eq!(world.info(1, id).reserved, 60 * ONE);
    world.exchange();
    assert_eq!(world.info(1, id).spendable, 45 * ONE);
    assert_eq!(world.command(1, withdraw), Err(CommandError::UnderWay));
    let before = world.balance(1);
    assert_eq!(world.block(), 0);
    // It submitted its own order, so the fee is its own.
    assert_eq!(world.balance(1) - before, 60 * ONE);
    world.blocks(20);
    let info = world.info(1, id);
    assert_eq!(
        (info.reserved, info.our_deposit, info.balance),
        (0, (40 * ONE) as i128, 50 * ONE)
    );
    world.pay(1, id, ONE).unwrap();
    world.pay(0, id, ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(0, id).received, ONE);
}

#[test]
fn an_unanswered_withdrawal_expires() {
    let (mut world, id) = pair();
    let withdraw = Command::Withdraw {
        channel: id,
        amount: 60 * ONE,
        to: wallet(0),
        agent: NOBODY,
        fee: 0,
    };
    world.command(0, withdraw).unwrap();
    world.letters.clear();
    assert_eq!(world.info(0, id).spendable, 35 * ONE);
    world.skip(7 * 86_400);
    assert_eq!(world.info(0, id).spendable, 35 * ONE);
    world.blocks(13);
    assert_eq!(world.info(0, id).spendable, 95 * ONE);
}

#[test]
fn ending_together_pays_both_at_once() {
    let (mut world, id) = pair();
    world.pay(0, id, 30 * ONE).unwrap();
    world.exchange();
    let close = Command::CloseTogether {
        channel: id,
        agent: NOBODY,
        fee: 0,
    };
    world.command(1, close).unwrap();
    assert_eq!(world.pay(1, id, ONE), Err(CommandError::Closing));
    world.exchange();
    assert_eq!(world.pay(0, id, ONE), Err(CommandError::Closing));
    let before = (world.balance(0), world.balance(1));
    assert_eq!(world.block(), 0);
    assert_eq!(world.balance(0) - before.0, 70 * ONE);
    assert_eq!(world.balance(1) - before.1, 130 * ONE);
    world.blocks(15);
    let ended = Event::Ended {
        channel: id,
        ending: Ending::Shared {
            ours: 70 * ONE,
            theirs: 130 * ONE,
        },
    };
    assert!(world.phones[0].events.contains(&ended));
    // The next epoch starts afresh.
    let deposit = Command::Deposit {
        channel: id,
        amount: 10 * ONE,
    };
    world.command(0, deposit).unwrap();
    world.blocks(4);
    world.exchange();
    assert_eq!(world.info(0, id).epoch, 1);
    world.pay(0, id, ONE).unwrap();
    world.exchange();
    assert_eq!(world.info(1, id).received, ONE);
}

#[test]
fn a_close_without_the_partner_settles_after_the_hold() {
    let (mut world, id) = pair();
    world.pay(0, id, 30 * ONE).unwrap();
    world.pay(1, id, 7 * ONE).unwrap();
    world.exchange();
    let close = Command::Close {
        channel: id,
        agent: NOBODY,
        fee: 0,
    };
    world.command(1, close).unwrap();
    assert_eq!(world.block(), 0);
    assert!(matches!(
        world.info(0, id).phase,
        ChannelPhase::Challenge { .. }
    ));
    let before = (world.settled(0), world.settled(1));
    world.skip(86_400);
    world.blocks(3);
    assert!(matches!(
        world.info(0, id).phase,
        ChannelPhase::Unlocking { .. }
    ));
    world.skip(86_400 / 4);
    world.blocks(15);
    assert_eq!(world.settled(0) - before.0, 77 * ONE);
    assert_eq!(world.settled(1) - before.1, 123 * ONE);
    // The channel key has no ETH; its signed order brings the tokens home.
    let home = world.balance(1);
    let sweep = Command::Sweep {
        token: world.chain.at.smt,
        amount: 123 * ONE,
        nonce: alloy_primitives::U256::ZERO,
        agent: NOBODY,
        fee: ONE,
    };
    world.command(1, sweep).unwrap();
    assert_eq!(world.block(), 0);
    assert_eq!((world.balance(1) - home, world.settled(1)), (123 * ONE, 0));
}

#[test]
fn who_closes_with_an_old_state_loses_everything() {
    let (mut world, id) = pair();
    world.pay(0, id, 30 * ONE).unwrap();
    world.exchange();
    let old = world.phones[0].disk.clone();
    world.pay(0, id, 30 * ONE).unwrap();
    world.exchange();
    // The payer starts from its old disk as if nothing were amiss, and closes.
    world.restart(0, Start::Continued, Some(old));
    let close = Command::Close {
        channel: id,
        agent: NOBODY,
        fee: 0,
    };
    world.command(0, close).unwrap();
    let before = world.settled(1);
    world.blocks(3);
    assert_eq!(world.settled(1) - before, 200 * ONE);
    world.blocks(14);
    let won = Event::Ended {
        channel: id,
        ending: Ending::Won(200 * ONE),
    };
    let lost = Event::Ended {
        channel: id,
        ending: Ending::Lost(200 * ONE),
    };
    assert!(world.phones[1].events.contains(&won));
    assert!(world.phones[0].events.contains(&lost));
}

#[test]
fn a_restored_phone_closes_as_unknown_and_is_fined_a_tenth() {
    let (mut world, id) = pair();
    world.pay(0, id, 30 * ONE).unwrap();
    world.exchange();
    let old = world.phones[0].disk.clone();
    world.pay(0, id, 30 * ONE).unwrap();
    world.exchange();
    world.restart(0, Start::Restored, Some(old));
    let close = Command::Close {
        channel: id,
        agent: NOBODY,
        fee: 0,
    };
    world.command(0, close).unwrap();
    let before = (world.settled(0), world.settled(1));
    world.blocks(5);
    world.skip(4 * 86_400);
    world.skip(86_400 / 4);
    world.blocks(15);
    // 40 are left of its 100; a tenth of them is the price of the accident.
    assert_eq!(world.settled(0) - before.0, 36 * ONE);
    assert_eq!(world.settled(1) - before.1, 164 * ONE);
}

#[test]
fn a_restored_phone_is_handed_back_what_it_forgot_and_ends_together() {
    let (mut world, id) = pair();
    world.pay(0, id, 30 * ONE).unwrap();
    world.exchange();
    let old = world.phones[0].disk.clone();
    world.pay(0, id, 30 * ONE).unwrap();
    world.pay(1, id, 5 * ONE).unwrap();
    world.exchange();
    // Nobody told it that it was restored: the partner does.
    world.restart(0, Start::Continued, Some(old));
    world.meet(0, 1);
    world.exchange();
    let info = world.info(0, id);
    assert_eq!((info.sent, info.received), (60 * ONE, 5 * ONE));
    assert!(info.recovering && world.phones[0].events.contains(&Event::Forgot(id)));
    assert_eq!(world.pay(0, id, ONE), Err(CommandError::Recovering));
    // It can still be paid.
    world.pay(1, id, ONE).unwrap();
    world.exchange();
    let close = Command::CloseTogether {
        channel: id,
        agent: NOBODY,
        fee: 0,
    };
    world.command(0, close).unwrap();
    world.exchange();
    let before = (world.balance(0), world.balance(1));
    world.blocks(15);
    assert_eq!(world.balance(0) - before.0, 46 * ONE);
    assert_eq!(world.balance(1) - before.1, 154 * ONE);
    // The epoch that it forgot in is over.
    assert!(!world.info(0, id).recovering);
}

#[test]
fn terms_that_are_not_acceptable_are_refused_in_words() {
    let mut world = World::with(2, |config| config.hold_min = 30 * 86_400);
    world.meet(0, 1);
    let open = Command::Open {
        peer: mesh(1),
        token: world.chain.at.smt,
        deposit: ONE,
    };
    let request = world.command(0, open).unwrap();
    world.exchange();
    let refused = Answer::NotOpened {
        reason: Refusal::BadTerms,
    };
    assert!(world.has_answer(0, request, &refused));
    assert_eq!(
        Refusal::BadTerms.to_string(),
        "the terms are not acceptable"
    );
}
