//! What a node costs when nobody uses it.

use std::time::Duration;

use anyhow::Result;
use smartmesh_tests::lab::{Lab, resident_kib};

use crate::quantile;

/// How long to watch.
const WATCH: Duration = Duration::from_secs(60);

pub(crate) fn grid_of_49() -> Result<()> {
    grid(7)
}

pub(crate) fn grid_of_100() -> Result<()> {
    grid(10)
}

#[expect(clippy::print_stdout, reason = "prints the figures")]
fn grid(side: usize) -> Result<()> {
    let mut lab = Lab::grid(side)?;
    lab.start_all()?;
    std::thread::park_timeout(Duration::from_secs(30));
    let before: Vec<u64> = (0..lab.len())
        .map(|host| lab.bytes_sent(host))
        .collect::<Result<_>>()?;
    std::thread::park_timeout(WATCH);
    let after: Vec<u64> = (0..lab.len())
        .map(|host| lab.bytes_sent(host))
        .collect::<Result<_>>()?;
    let sum: u64 = after
        .iter()
        .zip(&before)
        .map(|(after, before)| after.saturating_sub(*before))
        .sum();
    let hosts = u64::try_from(lab.len()).unwrap_or(1);
    println!(
        "idle, grid of {hosts}: {} B/s per node at the interface; target <= 200",
        sum / hosts / WATCH.as_secs()
    );
    let mut memory: Vec<u64> = (0..lab.len())
        .map(|host| resident_kib(lab.pid(host)?))
        .collect::<Result<_>>()?;
    memory.sort_unstable();
    println!(
        "idle memory: median {} KiB, most {} KiB; target <= 16384",
        quantile(&memory, 500),
        quantile(&memory, 1_000)
    );
    let program = std::env::var("SMARTMESH_PROGRAM")?;
    println!(
        "binary: {} bytes; target <= 15000000",
        std::fs::metadata(program)?.len()
    );
    Ok(())
}
