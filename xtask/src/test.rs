//! `cargo xtask test`: all checks, in the order in which they are cheap.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use crate::{contracts, demo, fuzz, network, process, tidy};

/// How thorough.
#[derive(Args)]
pub(crate) struct Options {
    /// Also runs what takes long: many seeds, long simulations, long fuzzing, mutants.
    #[arg(long)]
    deep: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    check()?;
    step("unit, vector, property and replay tests", || {
        process::run(process::cargo().args([
            "test",
            "--workspace",
            "--quiet",
            "--exclude",
            "smartmesh-tests",
        ]))
    })?;
    step("decoders under mutated input", || {
        fuzz::run(&fuzz::Options { rounds: 100_000 })
    })?;
    step("contracts", || {
        contracts::run(&contracts::Options { deep: options.deep })
    })?;
    step("real nodes", || network::run(&network::Options::default()))?;
    step("demo", || demo::run(&demo::Options { once: true }))?;
    if options.deep {
        step("long fuzzing", || {
            fuzz::run(&fuzz::Options { rounds: 20_000_000 })
        })?;
        step("mutants", contracts::mutants)?;
    }
    step("all checks", || Ok(()))
}

/// Formatting, lints and house rules.
pub(crate) fn check() -> Result<()> {
    step("house rules", tidy::run)?;
    step("formatting", || {
        process::run(process::cargo().args(["fmt", "--all", "--check"]))
    })?;
    step("lints", || {
        process::run(process::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ]))
    })
}

#[expect(clippy::print_stdout, reason = "this is what the command prints")]
fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    println!("== {name}");
    #[expect(
        clippy::disallowed_methods,
        reason = "shows how long a check took; nothing depends on it"
    )]
    let start = std::time::Instant::now();
    work()?;
    println!("== {name}: ok, {} s", Duration::as_secs(&start.elapsed()));
    Ok(())
}
