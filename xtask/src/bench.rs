//! `cargo xtask bench`: figures, each beside a peer or a physical limit measured in the same run.

use anyhow::Result;
use clap::Args;

use crate::process;

/// Which figures.
#[derive(Args)]
pub(crate) struct Options {
    /// Only benchmarks whose name holds this.
    filter: Option<String>,
    /// How many cuts or starts each benchmark of whole daemons makes; 200 for figures that are to be quoted.
    #[arg(long, default_value_t = 12)]
    times: usize,
}

/// Benchmarks that run inside one process: (package, example).
const IN_PROCESS: [(&str, &str); 5] = [
    ("smartmesh-mesh", "flow_rate"),
    ("smartmesh-mesh", "route_rate"),
    ("smartmesh-mesh", "handshake_rate"),
    ("smartmesh-radio", "forward_rate"),
    ("smartmesh-channel", "payments"),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    let wanted = |name: &str| {
        options
            .filter
            .as_deref()
            .is_none_or(|filter| name.contains(filter))
    };
    for (package, example) in IN_PROCESS {
        if wanted(example) {
            let mut command = process::cargo();
            process::run(command.args([
                "run",
                "--release",
                "--quiet",
                "--package",
                package,
                "--example",
                example,
            ]))?;
        }
    }
    let program = process::build_smartmesh()?;
    if process::is_root() {
        process::need("ip", "iproute2")?;
        process::need("ping", "iputils-ping")?;
        process::need("iperf3", "iperf3")?;
        process::need("babeld", "babeld")?;
        process::need("yggdrasil", "yggdrasil")?;
    }
    let mut command = process::cargo();
    command.env("SMARTMESH_PROGRAM", program);
    command.env("SMARTMESH_TIMES", options.times.to_string());
    command.args([
        "run",
        "--release",
        "--quiet",
        "--package",
        "smartmesh-tests",
        "--bin",
        "bench",
        "--",
    ]);
    process::run(command.args(&options.filter))
}
