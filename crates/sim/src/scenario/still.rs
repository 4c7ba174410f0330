//! Phones that stay where they are.

use anyhow::Result;
use smartmesh_types::Duration;

use super::{Report, Settings, idle_rate, random_pair, start_all, world_at};
use crate::{Pings, Point, RadioModel, World};

/// Metres between neighbours: the next but one is out of reach.
const SPACING: i64 = 90;

pub(super) fn line(settings: &Settings) -> Result<Report> {
    let nodes = i64::from(settings.nodes.unwrap_or(8));
    let places = (0..nodes).map(|x| Point::metres(x * SPACING, 0)).collect();
    still(settings, places)
}

pub(super) fn grid(settings: &Settings) -> Result<Report> {
    let side = i64::from(settings.nodes.unwrap_or(49)).isqrt().max(1);
    let places = (0..side * side)
        .map(|n| Point::metres(n % side * SPACING, n / side * SPACING))
        .collect();
    still(settings, places)
}

fn still(settings: &Settings, places: Vec<Point>) -> Result<Report> {
    let mut report = Report::default();
    let mut world = world_at(
        settings,
        RadioModel {
            range_m: 100,
            ..RadioModel::WIFI
        },
        places,
    );
    start_all(&mut world)?;
    let millis = first_answer(&mut world);
    report.say(
        "first answer from one end to the other after the last start (virtual)",
        format!("{millis} ms"),
    );
    report.demand("the ends reach each other within a second", millis <= 1_000);
    let mut pings = Pings::compared(&world);
    for _ in 0..200 {
        let (from, to) = random_pair(&mut world);
        pings.send(&mut world, from, to, |_| true);
        let log = world.run_for(Duration::from_millis(50));
        pings.note(&log);
    }
    pings.note(&world.run_for(Duration::from_secs(3)));
    let tally = pings.tally();
    report.say_pings(&tally, u64::try_from(world.len()).unwrap_or(0));
    report.demand("every ping is answered", tally.answered == tally.connected);
    // Flows of the pings fall asleep first.
    world.run_for(Duration::from_secs(90));
    let rate = idle_rate(&mut world, settings.seconds.unwrap_or(120));
    report.say("idle traffic, all headers", format!("{rate} B/s per phone"));
    report.demand("idle traffic is at most 200 B/s per phone", rate <= 200);
    Ok(report.finish(&world))
}

/// Pings from the first to the last phone every 20 ms; returns how long it took until one was answered.
fn first_answer(world: &mut World) -> u64 {
    let last = u32::try_from(world.len().saturating_sub(1)).unwrap_or(0);
    let mut pings = Pings::default();
    for step in 0..500_u64 {
        pings.send(world, 0, last, |_| true);
        let log = world.run_for(Duration::from_millis(20));
        pings.note(&log);
        if pings.tally().answered_overall > 0 {
            return step.saturating_add(1).saturating_mul(20);
        }
    }
    u64::MAX
}
