//! `cargo xtask browser`: the app in a real browser against real nodes.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::{process, web};

/// Which tests.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only tests whose name holds this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = process::build_smartmesh()?;
    process::need("chromium", "chromium")?;
    let folder = process::root().join("tests/browser");
    web::install(&folder)?;
    let pictures = process::target_dir().join("browser");
    let mut command = Command::new("node");
    command
        .current_dir(&folder)
        .env("SMARTMESH_PROGRAM", program)
        .env("SMARTMESH_BROWSER_OUT", &pictures)
        // One file at a time: each starts many processes, and two cores are soon full.
        .args([
            "--test",
            "--test-concurrency=1",
            "--test-timeout=300000",
            "--test-reporter=spec",
        ]);
    if let Some(filter) = &options.filter {
        command.arg(format!("--test-name-pattern={filter}"));
    }
    let result = process::run(&mut command);
    eprintln!("pictures of the screens are in {}", pictures.display());
    result
}
