//! `cargo xtask fuzz`: every decoder under mutated input, without a nightly compiler. The same bodies are cargo-fuzz
//! targets in `fuzz/`.

use anyhow::Result;
use clap::Args;

use crate::process;

/// For how long.
#[derive(Args)]
pub(crate) struct Options {
    /// Mutations of each target.
    #[arg(long, default_value_t = 2_000_000)]
    pub(crate) rounds: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = process::cargo();
    command.env("SMARTMESH_FUZZ_ROUNDS", options.rounds.to_string());
    command.args([
        "test",
        "--release",
        "--quiet",
        "--package",
        "smartmesh-tests",
        "--test",
        "decoders",
    ]);
    process::run(&mut command)
}
