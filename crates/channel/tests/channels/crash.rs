//! The process ends at every write and every send; the disk keeps only what was synced.

use std::collections::BTreeMap;

use smartmesh_channel::{ChannelId, Start};
use smartmesh_types::Duration;
use smartmesh_wire::payment::{PaymentMessage, State};

use super::world::{Letter, ONE, World};

/// Every message that either side ever sent, by number: there is at most one content for each.
pub(crate) fn no_number_has_two_contents(letters: &[Letter]) {
    let mut by_number: BTreeMap<(usize, [u8; 6], u64), State> = BTreeMap::new();
    for letter in letters {
        if let Ok(PaymentMessage::Update(update)) = PaymentMessage::decode(&letter.bytes) {
            let key = (letter.from, update.channel.0, update.state.seq);
            let known = by_number.entry(key).or_insert(update.state);
            assert_eq!(*known, update.state, "two contents for {key:?}");
        }
    }
}

fn settle_down(world: &mut World, id: ChannelId) {
    for _ in 0..20 {
        while world.step(0) || world.step(1) {}
        world.exchange();
        let (a, b) = (world.info(0, id), world.info(1, id));
        if a.established && b.established && a.unconfirmed == 0 && b.unconfirmed == 0 {
            return;
        }
        world.meet(0, 1);
        world.wait(Duration::from_secs(3));
    }
    panic!("it does not go on without help");
}

#[test]
fn a_thousand_payments_with_a_crash_at_every_write_and_send() {
    let mut world = World::new(2);
    let id = world.open(0, 1, (400 * ONE, 400 * ONE));
    world.syncs_at_once = false;
    let (mut crashes, mut asked) = (0_u32, 0_u32);
    for round in 0..1_000_usize {
        let payer = round % 2;
        // Where in this payment's life the process ends, and whose process.
        let (crash_at, who) = ((round / 2) % 12, (round / 24) % 2);
        world.pay(payer, id, ONE / 10).unwrap();
        asked += 1;
        let mut steps = 0;
        'life: loop {
            for index in 0..2 {
                if steps == crash_at && who == index {
                    world.restart(who, Start::Continued, None);
                    world.syncs_at_once = false;
                    crashes += 1;
                    break 'life;
                }
                steps += usize::from(world.step(index));
            }
            let letter = world.letters.pop_front();
            if let Some(letter) = &letter {
                world.deliver(letter);
            }
            let is_quiet = world.phones.iter().all(|phone| phone.held.is_empty());
            if letter.is_none() && is_quiet {
                steps += 1;
                if steps > 20 {
                    break;
                }
            }
        }
        settle_down(&mut world, id);
        no_number_has_two_contents(&world.seen);
        world.seen.truncate(0);
        let (a, b) = (world.info(0, id), world.info(1, id));
        assert_eq!((a.sent, b.sent), (b.received, a.received));
        assert!(!a.recovering && !b.recovering);
    }
    let (a, b) = (world.info(0, id), world.info(1, id));
    // What was not on disk was not paid; most of it was.
    let paid = (a.sent + b.sent) / (ONE / 10);
    assert!(crashes > 600, "{crashes} crashes");
    assert!(
        paid <= u128::from(asked) && paid > 800,
        "{paid} of {asked} were paid"
    );
}
