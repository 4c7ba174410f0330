//! The scenarios, one file each, and the settings they share.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "scenarios are test equipment with small numbers, and look for one kind of event at a time"
)]

mod crowd;
mod faults;
mod mail;
mod mobility;
mod photo;
mod still;

use anyhow::{Result, bail};
use smartmesh_types::Duration;

use crate::{Medium, NodeSetup, Point, RadioModel, World, WorldConfig};

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Number of phones, or the scenario's own.
    pub nodes: Option<u32>,
    /// The number every random choice follows from.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
    /// Simulated seconds, or the scenario's own.
    pub seconds: Option<u64>,
    /// Metres that phones move at once, where they move.
    pub step_m: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: None,
            seed: 1,
            threads: 1,
            seconds: None,
            step_m: 10,
        }
    }
}

/// What a run found out: lines to print, and whether each demand was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Figures, in the order in which they were found.
    pub lines: Vec<(String, String)>,
    /// Demands that were not met.
    pub failures: Vec<String>,
    /// Equal for equal seeds.
    pub trace: u64,
    /// The last moment, drawn.
    pub picture: String,
}

impl Report {
    fn say(&mut self, name: &str, value: impl std::fmt::Display) {
        self.lines.push((name.to_owned(), value.to_string()));
    }

    /// How pings went, beside the three baselines on the same trace.
    fn say_pings(&mut self, tally: &crate::PingTally, nodes: u64) {
        self.say(
            "pings answered of those that the oracle could connect",
            percent(tally.answered, tally.connected),
        );
        self.say("overall", percent(tally.answered_overall, tally.sent));
        self.say("oracle: connected", percent(tally.connected, tally.sent));
        let frames = tally.flooding_frames.checked_div(tally.connected.max(1));
        self.say(
            "flooding, same trace",
            format!("100 %, at {} frames a ping", frames.unwrap_or(2 * nodes)),
        );
        self.say(
            "plain distance vector, same trace",
            percent(tally.distance_vector, tally.connected),
        );
    }

    fn demand(&mut self, what: &str, met: bool) {
        if !met {
            self.failures.push(what.to_owned());
        }
    }

    fn finish(mut self, world: &World) -> Self {
        self.say("plaintext and identities on the air", world.leaks());
        self.demand(
            "no plaintext and no identity on the air",
            world.leaks() == 0,
        );
        self.demand("nothing is delivered twice", world.repeats() == 0);
        let walked = world.walked();
        self.say(
            "ways walked, of these loops",
            format!("{}, {}", walked.ways, walked.loops),
        );
        self.demand("no loops", walked.loops == 0);
        self.failures.extend(crate::checks::beyond_bounds(world));
        self.say("simulated events", world.happenings());
        self.trace = world.trace();
        self.say("trace", format!("{:016x}", self.trace));
        self.picture = crate::svg(world);
        self
    }
}

/// Each scenario with a sentence about it.
pub const SCENARIOS: [(&str, &str); 13] = [
    ("line", "phones in a row; cold start, idle traffic"),
    (
        "grid",
        "phones in a square, four neighbours each; cold start, idle traffic",
    ),
    (
        "mobility",
        "50 phones in one square kilometre that move every 15 s (--step 10 or 60); delivery against the oracle",
    ),
    (
        "walkers",
        "islands that meet only by people who walk; carried mail against epidemic flooding",
    ),
    (
        "photo",
        "a photo for somebody whom only a walker meets; then the same with a path",
    ),
    ("dense", "everybody hears everybody"),
    (
        "city",
        "10,000 phones, about 40 heard each; how fast the simulator is and what idling costs",
    ),
    (
        "blackholes",
        "every fifth phone swallows what it should relay",
    ),
    (
        "greyholes",
        "every fifth phone drops every second packet that it should relay",
    ),
    (
        "replay",
        "every fifth phone sends what it relays four times",
    ),
    ("flood", "one neighbour sends a hundred times its share"),
    (
        "crashes",
        "phones die at any moment with torn writes and come back; nothing acknowledged is lost",
    ),
    ("liars", "phones that claim to be next to everybody"),
];

/// Runs a scenario by its name.
///
/// # Errors
/// If there is none of that name, or a node cannot be started.
pub fn run(name: &str, settings: &Settings) -> Result<Report> {
    match name {
        "line" => still::line(settings),
        "grid" => still::grid(settings),
        "mobility" => mobility::run(settings),
        "walkers" => mail::walkers(settings),
        "photo" => photo::run(settings),
        "dense" => crowd::dense(settings),
        "city" => crowd::city(settings),
        "blackholes" => faults::black_holes(settings),
        "greyholes" => faults::grey_holes(settings),
        "replay" => faults::replay(settings),
        "flood" => faults::flood(settings),
        "crashes" => faults::crashes(settings),
        "liars" => faults::liars(settings),
        other => bail!("there is no scenario `{other}`"),
    }
}

/// Phones at these places, not yet started.
fn world_at(settings: &Settings, radio: RadioModel, places: Vec<Point>) -> World {
    let setups = places.iter().map(|_| NodeSetup::default()).collect();
    let config = WorldConfig {
        seed: settings.seed,
        threads: settings.threads,
        ..WorldConfig::default()
    };
    World::new(&config, Medium::new(radio, places), setups)
}

/// Starts all phones within a second, at random moments.
fn start_all(world: &mut World) -> Result<()> {
    let count = u32::try_from(world.len()).unwrap_or(u32::MAX);
    let mut order: Vec<(u64, u32)> = (0..count)
        .map(|node| (world.rng().below(10), node))
        .collect();
    order.sort_unstable();
    for tenth in 0..10 {
        for (_, node) in order.iter().filter(|(moment, _)| *moment == tenth) {
            world.start(*node)?;
        }
        world.run_for(Duration::from_millis(100));
    }
    Ok(())
}

/// A random pair of different phones.
fn random_pair(world: &mut World) -> (u32, u32) {
    let count = u64::try_from(world.len()).unwrap_or(u64::MAX);
    let from = world.rng().below(count);
    let to = from
        .saturating_add(1)
        .saturating_add(world.rng().below(count.saturating_sub(1)));
    let to = to.checked_rem(count).unwrap_or(0);
    (
        u32::try_from(from).unwrap_or(0),
        u32::try_from(to).unwrap_or(0),
    )
}

/// Parts of 10,000 as a percentage with two decimals.
fn percent(part: u64, whole: u64) -> String {
    let permyriad = part.saturating_mul(10_000).checked_div(whole).unwrap_or(0);
    format!("{}.{:02} %", permyriad / 100, permyriad % 100)
}

/// Bytes per second and phone between two moments.
fn idle_rate(world: &mut World, seconds: u64) -> u64 {
    let count = u32::try_from(world.len()).unwrap_or(u32::MAX);
    let sum = |world: &World| -> u64 { (0..count).map(|node| world.traffic(node).bytes).sum() };
    let before = sum(world);
    world.run_for(Duration::from_secs(seconds));
    let sent = sum(world).saturating_sub(before);
    sent.checked_div(seconds.saturating_mul(u64::from(count)))
        .unwrap_or(0)
}
