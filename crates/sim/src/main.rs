//! `smartmesh-sim SCENARIO`: runs one scenario and prints what it found.
#![expect(
    clippy::print_stdout,
    reason = "this program's purpose is to print its findings"
)]

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use smartmesh_sim::scenario::{self, SCENARIOS, Settings};

/// Runs a whole mesh under virtual time. The same seed gives the same run.
#[derive(Parser)]
#[command(name = "cargo xtask sim")]
struct Arguments {
    /// Which scenario; without one, lists them.
    scenario: Option<String>,
    /// Number of phones.
    #[arg(long)]
    nodes: Option<u32>,
    /// The number every random choice follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs this many seeds, one after the other, starting at the seed.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Threads; changes nothing but the time it takes.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Simulated seconds.
    #[arg(long)]
    seconds: Option<u64>,
    /// Metres that phones move at once, where they move.
    #[arg(long, default_value_t = 10)]
    step: u32,
    /// Writes a picture of the last moment.
    #[arg(long)]
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let Some(name) = &arguments.scenario else {
        for (name, about) in SCENARIOS {
            println!("{name:12} {about}");
        }
        return Ok(());
    };
    let mut failures = Vec::new();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let settings = Settings {
            nodes: arguments.nodes,
            seed,
            threads: arguments.threads,
            seconds: arguments.seconds,
            step_m: arguments.step,
        };
        let report = scenario::run(name, &settings)?;
        println!("-- {name}, seed {seed}");
        for (what, value) in &report.lines {
            println!("{what}: {value}");
        }
        if let Some(file) = &arguments.svg {
            std::fs::write(file, &report.picture)?;
        }
        for failure in report.failures {
            println!("NOT MET: {failure}");
            failures.push(format!(
                "{failure}; again with: cargo xtask sim {name} --seed {seed} --step {}",
                arguments.step
            ));
        }
    }
    if !failures.is_empty() {
        bail!("not met:\n{}", failures.join("\n"));
    }
    Ok(())
}
