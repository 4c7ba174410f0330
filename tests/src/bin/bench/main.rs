//! Benchmarks of whole daemons in namespaces, each beside a peer or a limit of the same run. `cargo xtask bench` starts it.
#![expect(
    clippy::print_stdout,
    reason = "this program's purpose is to print figures"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "divides measured figures by constants"
)]

mod cold_start;
mod failover;
mod idle;
mod peers;
mod probe;
mod throughput;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use smartmesh_tests::lab;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Only benchmarks whose name holds this.
    #[arg(global = true)]
    filter: Option<String>,
}

/// The same program also runs inside the hosts.
#[derive(Subcommand)]
enum Role {
    /// Sends back each UDP packet.
    Echo,
    /// Sends packets to an echo and prints when answers came.
    Probe(probe::Options),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Echo) => return probe::echo(),
        Some(Role::Probe(options)) => return probe::run(&options),
        None => {}
    }
    if !lab::can_make_namespaces() {
        bail!("these benchmarks need root: they make network namespaces");
    }
    println!(
        "load average: {}",
        std::fs::read_to_string("/proc/loadavg")?.trim()
    );
    type Benchmark = (&'static str, fn() -> Result<()>);
    let benchmarks: [Benchmark; 9] = [
        ("ring-silent", failover::ring_silent),
        ("ring-visible", failover::ring_visible),
        ("ring-slow", failover::ring_slow),
        ("grid-silent", failover::grid_silent),
        ("cold-start", cold_start::run),
        ("idle-49", idle::grid_of_49),
        ("idle-100", idle::grid_of_100),
        ("tcp", throughput::run),
        ("peers", peers::run),
    ];
    for (name, run) in benchmarks {
        if arguments
            .filter
            .as_deref()
            .is_none_or(|filter| name.contains(filter))
        {
            println!("== {name}");
            run()?;
        }
    }
    Ok(())
}

/// How many cuts or starts a benchmark makes; `cargo xtask bench --times` sets it.
fn times() -> usize {
    let times = std::env::var("SMARTMESH_TIMES").ok();
    times.and_then(|times| times.parse().ok()).unwrap_or(12)
}

/// The smallest value below which this many parts of 1,000 lie.
fn quantile(sorted: &[u64], permille: usize) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted
        .get(last.saturating_mul(permille) / 1_000)
        .copied()
        .unwrap_or(0)
}
