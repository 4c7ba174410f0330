//! `cargo xtask sim`: builds and runs the simulator.

use anyhow::Result;
use clap::Args;

use crate::process;

/// What is handed to the simulator unchanged.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// The scenario and its settings; `--help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut command = process::cargo();
    command.args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "smartmesh-sim",
        "--bin",
        "smartmesh-sim",
        "--",
    ]);
    process::run(command.args(&options.arguments))
}
