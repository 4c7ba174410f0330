//! Islands that meet only by walkers: mail is carried, and compared with epidemic flooding on the same trace.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use smartmesh_node::{Command, Event, Input};
use smartmesh_types::{Duration, Instant, RequestId};

use super::{Report, Settings, percent, start_all, world_at};
use crate::{DistanceVector, Epidemic, Logged, Point, RadioModel, World};

/// Phones of one island.
const ISLAND: u32 = 8;

/// Islands, in a row far from each other.
const ISLANDS: u32 = 4;

/// Walkers that go to and fro between neighbouring islands.
const WALKERS: u32 = 4;

/// Metres between islands.
const DISTANCE: i64 = 1_000;

/// Metres a walker covers in a second: fast, so that a run is short.
const SPEED: i64 = 10;

pub(super) fn walkers(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let settled = ISLAND * ISLANDS;
    let mut places: Vec<Point> = (0..settled).map(home).collect();
    places.extend((0..WALKERS).map(|walker| walk(walker, 0)));
    let mut world = world_at(settings, RadioModel::WIFI, places);
    start_all(&mut world)?;
    let mut epidemic = Epidemic::default();
    let sent = send_mail(&mut world, &mut epidemic)?;
    let seconds = settings.seconds.unwrap_or(1_200);
    let mut arrived: BTreeMap<String, Instant> = BTreeMap::new();
    let mut doubles = 0_u64;
    let mut model = DistanceVector::new(world.len());
    let mut live = Live::default();
    for second in 0..seconds {
        let moves = (0..WALKERS).map(|walker| {
            (
                settled + walker,
                walk(walker, i64::try_from(second).unwrap_or(0)),
            )
        });
        world.medium.move_all(moves.collect::<Vec<_>>());
        epidemic.advance(&world.medium, world.now());
        model.advance(&world.medium, world.now());
        live.look(&world, &model, &sent);
        for Logged { at, event, .. } in world.run_for(Duration::from_secs(1)) {
            if let Event::TextReceived(text) = event {
                doubles =
                    doubles.saturating_add(u64::from(arrived.insert(text.text, at).is_some()));
            }
        }
    }
    judge(&mut report, &sent, &arrived, &epidemic);
    report.say(
        "oracle, plain distance vector: letters with a path at any moment",
        format!("{}, {}", live.oracle.len(), live.distance_vector.len()),
    );
    report.say("delivered twice to a reader", doubles);
    report.demand("nothing is delivered twice", doubles == 0);
    report.say("plaintext seen on the air", world.leaks());
    report.demand("no plaintext on the air", world.leaks() == 0);
    let count = u32::try_from(world.len()).unwrap_or(0);
    let stored = (0..count)
        .filter_map(|node| world.disk(node))
        .filter(|disk| disk.contains(b"letter "))
        .count();
    report.say(
        "phones whose carried mail can be read on disk",
        stored_by_strangers(stored),
    );
    Ok(report.finish(&world))
}

/// Letters that a live path could have brought, at one moment or another.
#[derive(Debug, Default)]
struct Live {
    oracle: BTreeSet<u32>,
    distance_vector: BTreeSet<u32>,
}

impl Live {
    fn look(&mut self, world: &World, model: &DistanceVector, sent: &[Letter]) {
        for letter in sent {
            let (from, to) = (letter.from, letter.to);
            if crate::hops_between(&world.medium, from, to, |_| true).is_some() {
                self.oracle.insert(from);
            }
            if model.delivers(&world.medium, from, to, |_| true) {
                self.distance_vector.insert(from);
            }
        }
    }
}

/// One letter on its way.
#[derive(Debug)]
struct Letter {
    from: u32,
    to: u32,
    text: String,
    sent_at: Instant,
}

/// The simulator's disk holds records before the daemon seals them: senders keep their own words there.
fn stored_by_strangers(stored: usize) -> String {
    format!("{stored} (senders' own outbox; the daemon seals all records)")
}

/// Each phone of an island writes to one of another island.
fn send_mail(world: &mut World, epidemic: &mut Epidemic) -> Result<Vec<Letter>> {
    let settled = ISLAND * ISLANDS;
    let mut sent = Vec::new();
    for from in 0..settled {
        let to = (from
            + ISLAND
            + u32::try_from(world.rng().below(u64::from(settled - 2 * ISLAND))).unwrap_or(0))
            % settled;
        befriend(world, from, to)?;
        let text = format!("letter {from} to {to}");
        world.forbid(&[text.clone().into_bytes()]);
        epidemic.send(u64::from(from), from, to);
        sent.push(Letter {
            from,
            to,
            text: text.clone(),
            sent_at: world.now(),
        });
        let to = world.address(to);
        world.feed(
            from,
            Input::Command(
                RequestId(u64::from(from) + 1),
                Command::SendText { to, text },
            ),
        );
    }
    Ok(sent)
}

/// Hands an invite from `to` to `from`, as people would when they met once.
pub(super) fn befriend(world: &mut World, from: u32, to: u32) -> Result<()> {
    let request = RequestId(1_000_000 + u64::from(to));
    world.feed(to, Input::Command(request, Command::MakeInvite));
    let log = world.run_for(Duration::from_millis(50));
    let invite = log.into_iter().find_map(|logged| match logged.event {
        Event::Invite {
            request: answered,
            text,
        } if answered == request && logged.node == to => Some(text),
        _ => None,
    });
    let text = invite.context("no invite")?;
    world.feed(
        from,
        Input::Command(
            RequestId(2_000_000),
            Command::AddContact { text, name: None },
        ),
    );
    world.run_for(Duration::from_millis(50));
    Ok(())
}

fn judge(
    report: &mut Report,
    sent: &[Letter],
    arrived: &BTreeMap<String, Instant>,
    epidemic: &Epidemic,
) {
    let mut delays: Vec<Duration> = Vec::new();
    for letter in sent {
        let arrival = epidemic.arrivals().get(&u64::from(letter.from));
        delays.extend(arrival.map(|at| at.since(letter.sent_at)));
    }
    delays.sort_unstable();
    let median = delays.get(delays.len() / 2).copied().unwrap_or_default();
    let limit = median * 3;
    let by_epidemic = delays.iter().filter(|delay| **delay <= limit).count();
    let ours = sent
        .iter()
        .filter(|letter| {
            arrived
                .get(&letter.text)
                .is_some_and(|at| at.since(letter.sent_at) <= limit)
        })
        .count();
    report.say("letters", sent.len());
    report.say(
        "epidemic flooding: delivered, median time",
        format!("{} in {} s", delays.len(), median.as_secs()),
    );
    report.say(
        "within three times that: epidemic, ours",
        format!("{by_epidemic}, {ours}"),
    );
    report.say("ours overall", arrived.len());
    let share = u64::try_from(ours).unwrap_or(0).saturating_mul(100);
    let whole = u64::try_from(by_epidemic).unwrap_or(0);
    report.say(
        "ours of epidemic",
        percent(u64::try_from(ours).unwrap_or(0), whole),
    );
    report.demand(
        "at least 95 % of what epidemic flooding delivers",
        share >= whole.saturating_mul(95),
    );
}

fn home(phone: u32) -> Point {
    let (island, place) = (i64::from(phone / ISLAND), i64::from(phone % ISLAND));
    Point::metres(island * DISTANCE + place % 4 * 70, place / 4 * 70)
}

/// Where a walker is: to and fro between two islands.
fn walk(walker: u32, second: i64) -> Point {
    let start = i64::from(walker % (ISLANDS - 1)) * DISTANCE;
    let length = DISTANCE + 210;
    let way = (second * SPEED + i64::from(walker) * 311) % (2 * length);
    let along = if way > length { 2 * length - way } else { way };
    Point::metres(start + along, 30)
}

/// Used by the picture of the islands.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::Medium;

    #[test]
    fn islands_do_not_hear_each_other_without_walkers() {
        let medium = Medium::new(RadioModel::WIFI, (0..ISLAND * ISLANDS).map(home).collect());
        assert_eq!(crate::hops_between(&medium, 0, ISLAND, |_| true), None);
        assert!(crate::hops_between(&medium, 0, ISLAND - 1, |_| true).is_some());
    }
}
