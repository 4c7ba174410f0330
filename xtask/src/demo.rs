//! `cargo xtask demo`: builds the program and lets it show itself.

use anyhow::Result;
use clap::Args;

use crate::process;

/// Settings of the demo.
#[derive(Args)]
pub(crate) struct Options {
    /// Ends after the story instead of staying up.
    #[arg(long)]
    pub(crate) once: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    eprintln!("building SmartMesh (the first time takes a few minutes)");
    let program = process::build_smartmesh()?;
    let mut command = std::process::Command::new(program);
    command.arg("demo");
    if options.once {
        command.arg("--once");
    }
    process::run(&mut command)
}
