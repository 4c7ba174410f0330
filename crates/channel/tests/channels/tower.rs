//! The victim sleeps: its tower acts. A phone without the Internet: its neighbour brings its order.

use smartmesh_channel::{Account, Answer, Command, ContractCall, Event, Start};
use smartmesh_types::Duration;

use super::world::{Disk, ONE, World, mesh};

const NOBODY: Account = Account::ZERO;

/// Phones 0 and 1 have a channel, 2 is 1's tower; gives the disk of 0 after the first payment.
fn watched() -> (World, smartmesh_channel::ChannelId, Disk) {
    let mut world = World::new(3);
    let id = world.open(0, 1, (100 * ONE, 100 * ONE));
    world.meet(1, 2);
    let name = Command::NameTower {
        peer: mesh(2),
        agent: NOBODY,
        fee: 2 * ONE,
    };
    world.command(1, name).unwrap();
    world.pay(0, id, 10 * ONE).unwrap();
    world.exchange();
    let old = world.phones[0].disk.clone();
    world.pay(0, id, 50 * ONE).unwrap();
    world.exchange();
    for _ in 0..4 {
        world.wait(Duration::from_secs(2));
        world.exchange();
    }
    assert!(world.phones[1].events.contains(&Event::Watched(id)));
    (world, id, old)
}

fn cheat(world: &mut World, id: smartmesh_channel::ChannelId, start: Start, old: Disk) {
    world.restart(0, start, Some(old));
    let close = Command::Close {
        channel: id,
        agent: NOBODY,
        fee: 0,
    };
    world.command(0, close).unwrap();
}

#[test]
fn the_tower_confiscates_while_the_victim_sleeps() {
    let (mut world, id, old) = watched();
    world.phones[1].online = false;
    let tower = world.balance(2);
    cheat(&mut world, id, Start::Continued, old);
    world.blocks(4);
    assert_eq!(world.settled(1), 198 * ONE);
    assert_eq!(world.balance(2) - tower, 2 * ONE);
}

#[test]
fn a_tower_that_restarted_after_the_close_still_acts() {
    let (mut world, id, old) = watched();
    world.phones[1].online = false;
    world.phones[2].online = false;
    cheat(&mut world, id, Start::Continued, old);
    world.blocks(20);
    world.phones[2].online = true;
    world.watch(2);
    world.phones[2].calls.clear();
    world.restart(2, Start::Continued, None);
    world.blocks(4);
    assert_eq!(world.settled(1), 198 * ONE);
}

#[test]
fn an_honest_mistake_is_answered_not_punished() {
    let (mut world, id, old) = watched();
    world.phones[1].online = false;
    cheat(&mut world, id, Start::Restored, old);
    world.blocks(4);
    world.skip(4 * 86_400);
    world.skip(86_400 / 4);
    world.blocks(15);
    // 60 were paid; of the 40 that are left a tenth is the fine.
    assert_eq!(world.settled(0), 36 * ONE);
    assert!(world.settled(1) >= 162 * ONE);
}

#[test]
fn a_request_that_is_not_signed_by_the_victim_is_not_kept() {
    use smartmesh_wire::payment::PaymentMessage;
    let (world, _, _) = watched();
    let hint = world
        .seen
        .iter()
        .find_map(|letter| match PaymentMessage::decode(&letter.bytes) {
            Ok(PaymentMessage::Watch(watch)) => Some(*watch),
            Ok(_) | Err(_) => None,
        })
        .unwrap();
    let mut other = World::new(3);
    for spoil in 0..3 {
        let mut watch = hint.clone();
        match spoil {
            0 => watch.forfeit[5] ^= 1,
            1 => watch.state.paid += 1,
            _ => watch.fee += 1,
        }
        let before = other.letters.len();
        let message = PaymentMessage::Watch(Box::new(watch));
        other
            .handle(
                2,
                smartmesh_channel::Input::Received {
                    from: mesh(1),
                    message,
                },
            )
            .unwrap();
        assert_eq!(other.letters.len(), before);
    }
}

#[test]
fn an_agent_brings_a_neighbours_close_for_a_fee() {
    let mut world = World::with(3, |config| config.agent_fee = Some(ONE));
    let id = world.open(0, 1, (100 * ONE, 100 * ONE));
    world.pay(0, id, 10 * ONE).unwrap();
    world.exchange();
    world.phones[1].online = false;
    world.meet(1, 2);
    for (fee, taken) in [(0, false), (ONE, true)] {
        let close = Command::Close {
            channel: id,
            agent: NOBODY,
            fee,
        };
        if taken {
            // The first order has to lapse before another one is signed.
            world.skip(7 * 86_400);
            world.phones[1].online = true;
            world.blocks(14);
            world.phones[1].online = false;
            world.phones[1].calls.clear();
        }
        world.command(1, close).unwrap();
        let call: ContractCall = world.phones[1].calls.pop().unwrap();
        world.phones[1].calls.clear();
        let request = world
            .command(1, Command::Bring { to: mesh(2), call })
            .unwrap();
        world.exchange();
        let answer = if taken {
            Answer::Ordered
        } else {
            Answer::NotTaken
        };
        assert!(world.has_answer(1, request, &answer));
    }
    world.block();
    assert!(
        world.phones[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::Closed { by_us: false, .. }))
    );
    let agent = world.balance(2);
    world.phones[1].online = true;
    world.watch(1);
    world.skip(86_400);
    world.blocks(2);
    world.skip(86_400 / 4);
    world.blocks(15);
    assert_eq!(world.balance(2) - agent, ONE);
    assert_eq!(world.settled(1), 109 * ONE);
}
