//! Many phones: one dense cell, and a city.

use anyhow::Result;
use smartmesh_types::Duration;

use super::{Report, Settings, idle_rate, random_pair, start_all, world_at};
use crate::{Field, Pings, Point, RadioModel};

pub(super) fn dense(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let nodes = i64::from(settings.nodes.unwrap_or(170));
    let side = nodes.isqrt().max(1);
    let places = (0..nodes)
        .map(|n| Point::metres(n % side * 4, n / side * 4))
        .collect();
    let mut world = world_at(settings, RadioModel::WIFI, places);
    start_all(&mut world)?;
    world.run_for(Duration::from_secs(20));
    let kept: Vec<usize> = (0..u32::try_from(nodes).unwrap_or(0))
        .filter_map(|n| Some(world.node(n)?.neighbour_count()))
        .collect();
    report.say(
        "kept neighbours, fewest and most",
        format!("{:?} and {:?}", kept.iter().min(), kept.iter().max()),
    );
    report.demand(
        "nobody keeps more than 8 neighbours",
        kept.iter().all(|kept| *kept <= 8),
    );
    let tally = ping_all(&mut world, 300);
    report.say_pings(&tally, u64::try_from(nodes).unwrap_or(0));
    report.demand(
        "at least 99 % of the pings are answered",
        tally.permyriad() >= 9_900,
    );
    world.run_for(Duration::from_secs(90));
    let rate = idle_rate(&mut world, settings.seconds.unwrap_or(60));
    report.say("idle traffic, all headers", format!("{rate} B/s per phone"));
    Ok(report.finish(&world))
}

pub(super) fn city(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let nodes = settings.nodes.unwrap_or(10_000);
    let seconds = settings.seconds.unwrap_or(600);
    // A square in which each phone hears 40 others on average: nodes * pi * range^2 / 40 square metres.
    let area = u64::from(nodes).saturating_mul(31_416) / 40;
    let side = u32::try_from(area.isqrt()).unwrap_or(u32::MAX);
    let field = Field {
        width: side,
        height: side,
    };
    let mut rng = smartmesh_crypto::Seed::new([u8::try_from(settings.seed % 251).unwrap_or(0); 32])
        .split("places")
        .rng();
    let places = (0..nodes).map(|_| field.random_point(&mut rng)).collect();
    let mut world = world_at(settings, RadioModel::WIFI, places);
    let heard: usize = (0..nodes)
        .map(|node| world.medium.hearers(node).len())
        .sum();
    report.say(
        "phones heard by each, on average",
        heard / usize::try_from(nodes).unwrap_or(1).max(1),
    );
    start_all(&mut world)?;
    world.run_for(Duration::from_secs(seconds.saturating_sub(61)));
    let kept: usize = (0..nodes)
        .filter_map(|node| Some(world.node(node)?.neighbour_count()))
        .sum();
    report.say(
        "neighbours kept by each, on average",
        kept / usize::try_from(nodes).unwrap_or(1).max(1),
    );
    let rate = idle_rate(&mut world, 60);
    report.say("idle traffic, all headers", format!("{rate} B/s per phone"));
    Ok(report.finish(&world))
}

fn ping_all(world: &mut crate::World, count: u32) -> crate::PingTally {
    let mut pings = Pings::compared(world);
    for _ in 0..count {
        let (from, to) = random_pair(world);
        pings.send(world, from, to, |_| true);
        let log = world.run_for(Duration::from_millis(50));
        pings.note(&log);
    }
    pings.note(&world.run_for(Duration::from_secs(5)));
    pings.tally()
}
