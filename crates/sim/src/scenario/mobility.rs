//! 50 phones in one square kilometre that jump every 15 s: the shape of meshnet-lab's `mobility1` and `mobility2`, whose
//! published figures stand in `docs/simulator.md`.

use anyhow::Result;
use smartmesh_types::Duration;

use super::{Report, Settings, random_pair, start_all, world_at};
use crate::{Field, Pings, RadioModel};

const FIELD: Field = Field {
    width: 1_000,
    height: 1_000,
};

/// Pings in each step.
const PINGS: u64 = 200;

pub(super) fn run(settings: &Settings) -> Result<Report> {
    let mut report = Report::default();
    let nodes = settings.nodes.unwrap_or(50);
    let steps = settings.seconds.unwrap_or(450) / 15;
    // With this range 50 phones have about 150 links.
    let radio = RadioModel {
        range_m: 200,
        ..RadioModel::WIFI
    };
    let mut places = Vec::new();
    let mut rng = smartmesh_crypto::Seed::new([u8::try_from(settings.seed % 251).unwrap_or(0); 32])
        .split("places")
        .rng();
    places.resize_with(usize::try_from(nodes).unwrap_or(0), || {
        FIELD.random_point(&mut rng)
    });
    let mut world = world_at(settings, radio, places);
    start_all(&mut world)?;
    world.run_for(Duration::from_secs(10));
    let mut pings = Pings::compared(&world);
    for _ in 0..steps {
        let moves: Vec<_> = (0..nodes)
            .map(|node| {
                let from = world.medium.position(node);
                (node, FIELD.random_step(from, settings.step_m, world.rng()))
            })
            .collect();
        world.medium.move_all(moves);
        for _ in 0..PINGS {
            let (from, to) = random_pair(&mut world);
            pings.send(&mut world, from, to, |_| true);
            let log = world.run_for(Duration::from_millis(15_000 / PINGS));
            pings.note(&log);
        }
        pings.note(&world.run_for(Duration::from_secs(0)));
    }
    pings.note(&world.run_for(Duration::from_secs(5)));
    let tally = pings.tally();
    let demand = if settings.step_m <= 10 { 9_950 } else { 9_800 };
    report.say_pings(&tally, u64::from(nodes));
    report.demand(
        &format!(
            "at least {}.{:02} % are answered",
            demand / 100,
            demand % 100
        ),
        tally.permyriad() >= demand,
    );
    let count = u64::from(nodes).max(1);
    let bytes: u64 = (0..nodes).map(|node| world.traffic(node).bytes).sum();
    let seconds = world.now().as_micros() / 1_000_000;
    report.say(
        "traffic with pings, all headers",
        format!("{} B/s per phone", bytes / count / seconds.max(1)),
    );
    Ok(report.finish(&world))
}
