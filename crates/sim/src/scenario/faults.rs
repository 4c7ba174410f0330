//! Cheats and misfortune.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use smartmesh_node::{Command, Event, Input, Sabotage};
use smartmesh_types::{Duration, RequestId};

use super::mail::befriend;
use super::{Report, Settings, percent, random_pair, start_all, world_at};
use crate::{DistanceVector, Field, Logged, Loss, Pings, RadioModel, World};

const FIELD: Field = Field {
    width: 1_000,
    height: 1_000,
};

/// 50 phones in a square kilometre, as in the mobility scenario.
fn village(settings: &Settings) -> World {
    let nodes = settings.nodes.unwrap_or(50);
    let mut rng = smartmesh_crypto::Seed::new([u8::try_from(settings.seed % 251).unwrap_or(0); 32])
        .split("places")
        .rng();
    let places = (0..nodes).map(|_| FIELD.random_point(&mut rng)).collect();
    world_at(
        settings,
        RadioModel {
            range_m: 200,
            ..RadioModel::WIFI
        },
        places,
    )
}

/// Every fifth phone.
fn is_bad(node: u32) -> bool {
    node % 5 == 3
}

fn sabotage_bad(world: &mut World, how: Sabotage) {
    for node in (0..u32::try_from(world.len()).unwrap_or(0)).filter(|node| is_bad(*node)) {
        world.sabotage(node, how);
    }
}

/// Pairs of honest phones with an honest path between them.
#[derive(Debug, Default)]
struct Pairs {
    possible: u64,
    /// One of the pings after five seconds was answered.
    reached: u64,
    /// Pings after five seconds, and how many of them were answered.
    pings: (u64, u64),
    /// A plain distance vector's way meets no cheat after five seconds.
    distance_vector: u64,
    /// Those not reached, and why.
    missed: Vec<String>,
}

/// Pings between honest phones, each repeated for five seconds: a pair counts when one of the last was answered.
fn honest_pairs(world: &mut World, pairs: u32) -> Pairs {
    let mut tally = Pairs::default();
    let mut model = DistanceVector::new(world.len());
    model.advance(&world.medium, world.now());
    for _ in 0..pairs {
        let (from, to) = random_pair(world);
        if is_bad(from)
            || is_bad(to)
            || crate::hops_between(&world.medium, from, to, |node| !is_bad(node)).is_none()
        {
            continue;
        }
        tally.possible = tally.possible.saturating_add(1);
        let mut pings = Pings::default();
        let mut after_five = Pings::default();
        for tenth in 0..70 {
            let pings = if tenth < 50 {
                &mut pings
            } else {
                &mut after_five
            };
            pings.send(world, from, to, |node| !is_bad(node));
            let log = world.run_for(Duration::from_millis(100));
            pings.note(&log);
        }
        let log = world.run_for(Duration::from_secs(1));
        after_five.note(&log);
        model.advance(&world.medium, world.now());
        let by_model = model.delivers(&world.medium, from, to, |node| !is_bad(node));
        tally.distance_vector = tally.distance_vector.saturating_add(u64::from(by_model));
        let after = after_five.tally();
        tally.pings.0 = tally.pings.0.saturating_add(after.connected);
        tally.pings.1 = tally.pings.1.saturating_add(after.answered);
        if after.answered > 0 {
            tally.reached = tally.reached.saturating_add(1);
        } else {
            tally.missed.push(missed(world, from, to));
        }
    }
    tally
}

/// Who was not reached, with the honest hops between over all links and over those that are kept.
fn missed(world: &World, from: u32, to: u32) -> String {
    let heard = crate::hops_between(&world.medium, from, to, |node| !is_bad(node));
    let kept = crate::hops_over(|at| world.kept(at), from, to, |node| !is_bad(node));
    format!("{from} to {to} ({heard:?} hops, {kept:?} over kept links)")
}

pub(super) fn black_holes(settings: &Settings) -> Result<Report> {
    cheats(settings, Sabotage::DropRelayed, 97)
}

pub(super) fn grey_holes(settings: &Settings) -> Result<Report> {
    cheats(settings, Sabotage::DropSome, 97)
}

pub(super) fn replay(settings: &Settings) -> Result<Report> {
    cheats(settings, Sabotage::Replay, 99)
}

pub(super) fn liars(settings: &Settings) -> Result<Report> {
    cheats(settings, Sabotage::ClaimEverybody, 97)
}

fn cheats(settings: &Settings, how: Sabotage, demand: u64) -> Result<Report> {
    let mut report = Report::default();
    let mut world = village(settings);
    start_all(&mut world)?;
    sabotage_bad(&mut world, how);
    world.run_for(Duration::from_secs(10));
    let Pairs {
        possible,
        reached,
        pings,
        distance_vector,
        missed,
    } = honest_pairs(&mut world, 150);
    report.say("oracle: pairs with an honest path", possible);
    report.say("reached after 5 s", percent(reached, possible));
    report.say("pings answered after 5 s", percent(pings.1, pings.0));
    report.say("not reached", format!("{missed:?}"));
    report.say(
        "flooding, same trace",
        format!("100 %, at {} frames a ping", 2 * world.len()),
    );
    report.say(
        "plain distance vector, same trace",
        percent(distance_vector, possible),
    );
    let met = reached.saturating_mul(100) >= possible.saturating_mul(demand);
    report.demand(
        &format!("at least {demand} % of the pairs with an honest path"),
        met,
    );
    Ok(report.finish(&world))
}

pub(super) fn flood(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let mut quiet = village(settings);
    start_all(&mut quiet)?;
    quiet.run_for(Duration::from_secs(10));
    let before = honest_pings(&mut quiet);
    let mut world = village(settings);
    start_all(&mut world)?;
    world.run_for(Duration::from_secs(10));
    world.sabotage(3, Sabotage::Flood);
    let during = honest_pings(&mut world);
    report.say(
        "honest pings answered without the flood",
        percent(before.answered, before.connected),
    );
    report.say(
        "honest pings answered beside it",
        percent(during.answered, during.connected),
    );
    report.say(
        "oracle, flooding, plain distance vector beside it",
        format!(
            "{}, 100 % at {} frames a ping, {}",
            percent(during.connected, during.sent),
            2 * world.len(),
            percent(during.distance_vector, during.connected)
        ),
    );
    report.say("frames that the flooder sent", world.traffic(3).frames);
    report.demand(
        "at least 98 % of honest traffic",
        during.permyriad() >= 9_800,
    );
    Ok(report.finish(&world))
}

fn honest_pings(world: &mut World) -> crate::PingTally {
    let mut pings = Pings::compared(world);
    for _ in 0..400 {
        let (from, to) = random_pair(world);
        if from == 3 || to == 3 {
            continue;
        }
        pings.send(world, from, to, |node| node != 3);
        let log = world.run_for(Duration::from_millis(50));
        pings.note(&log);
    }
    pings.note(&world.run_for(Duration::from_secs(3)));
    pings.tally()
}

pub(super) fn crashes(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let nodes = settings.nodes.unwrap_or(12);
    let places = (0..nodes)
        .map(|n| crate::Point::metres(i64::from(n % 4) * 80, i64::from(n / 4) * 80))
        .collect();
    let mut world = world_at(settings, RadioModel::WIFI, places);
    start_all(&mut world)?;
    for from in 0..nodes {
        befriend(&mut world, from, (from + nodes / 2) % nodes)?;
    }
    let mut queued: BTreeSet<String> = BTreeSet::new();
    let mut pending: BTreeMap<RequestId, String> = BTreeMap::new();
    let mut received: BTreeMap<String, u64> = BTreeMap::new();
    let mut down: BTreeMap<u32, u64> = BTreeMap::new();
    let rounds = settings.seconds.unwrap_or(120);
    for round in 0..rounds {
        let victim = u32::try_from(world.rng().below(u64::from(nodes))).unwrap_or(0);
        if down.len() < 4 && !down.contains_key(&victim) {
            let loss = if world.rng().below(2) == 0 {
                Loss::Unsynced
            } else {
                Loss::Torn
            };
            world.crash(victim, loss);
            down.insert(victim, round.saturating_add(3));
        }
        for node in down
            .iter()
            .filter(|(_, until)| **until <= round)
            .map(|(node, _)| *node)
            .collect::<Vec<_>>()
        {
            down.remove(&node);
            world.start(node)?;
        }
        let from = u32::try_from(world.rng().below(u64::from(nodes))).unwrap_or(0);
        let text = format!("note {round} from {from}");
        let request = RequestId(round.saturating_add(1));
        pending.insert(request, text.clone());
        let to = world.address((from + nodes / 2) % nodes);
        world.feed(
            from,
            Input::Command(request, Command::SendText { to, text }),
        );
        let pause = world.rng().below(900).saturating_add(100);
        note(
            &world.run_for(Duration::from_millis(pause)),
            &mut pending,
            &mut queued,
            &mut received,
        );
    }
    // Then everything heals, and what was acknowledged must arrive.
    for node in down.into_keys() {
        world.start(node)?;
    }
    note(
        &world.run_for(Duration::from_secs(300)),
        &mut pending,
        &mut queued,
        &mut received,
    );
    let lost = queued
        .iter()
        .filter(|text| !received.contains_key(*text))
        .count();
    let twice = received.values().filter(|count| **count > 1).count();
    report.say("messages acknowledged to their writers", queued.len());
    report.say("of these not delivered after all healed", lost);
    report.say("delivered twice", twice);
    report.demand("nothing acknowledged is lost", lost == 0);
    report.demand("nothing is delivered twice", twice == 0);
    Ok(report.finish(&world))
}

fn note(
    log: &[Logged],
    pending: &mut BTreeMap<RequestId, String>,
    queued: &mut BTreeSet<String>,
    received: &mut BTreeMap<String, u64>,
) {
    for Logged { event, .. } in log {
        match event {
            Event::Queued { request, .. } => queued.extend(pending.remove(request)),
            Event::TextReceived(text) => {
                let count = received.entry(text.text.clone()).or_default();
                *count = count.saturating_add(1);
            }
            _ => {}
        }
    }
}
