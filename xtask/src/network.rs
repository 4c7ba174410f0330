//! `cargo xtask network`: real nodes in network namespaces and on loopback.

use anyhow::Result;
use clap::Args;

use crate::process;

/// Which tests.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only tests whose name holds this.
    filter: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let program = process::build_smartmesh()?;
    if process::is_root() {
        process::need("ip", "iproute2")?;
        process::need("ping", "iputils-ping")?;
    }
    let mut command = process::cargo();
    command.env("SMARTMESH_PROGRAM", program);
    // One test at a time: each starts many processes, and two cores are soon full.
    command.args([
        "test",
        "--quiet",
        "--package",
        "smartmesh-tests",
        "--test",
        "network",
        "--test",
        "money",
    ]);
    command.args(["--", "--test-threads=1", "--nocapture"]);
    process::run(command.args(&options.filter))
}
