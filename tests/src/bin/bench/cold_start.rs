//! From the start of the last node to the first answer from the other end, with fresh folders and discovery only.

use std::process::Stdio;

use anyhow::{Context, Result};
use smartmesh_tests::lab::Lab;
use smartmesh_tests::wait;

use crate::probe::{answers, monotonic_us, start_echo, start_probe};
use crate::{quantile, times};

pub(crate) fn run() -> Result<()> {
    let runs = times();
    measure("line of 8", runs, || Lab::line(8), 300)?;
    measure("grid of 49", (runs / 6).max(2), || Lab::grid(7), 1_000)
}

#[expect(clippy::print_stdout, reason = "prints the figures")]
fn measure(what: &str, times: usize, make: impl Fn() -> Result<Lab>, target_ms: u64) -> Result<()> {
    let mut taken = Vec::new();
    for _ in 0..times {
        taken.push(one(make()?)?);
    }
    taken.sort_unstable();
    let [median, p99, worst] = [500, 990, 1_000].map(|part| quantile(&taken, part) / 1_000);
    println!(
        "cold start, {what}: median {median} ms, p99 {p99} ms, worst {worst} ms of {times}; target <= {target_ms} ms"
    );
    Ok(())
}

fn one(mut lab: Lab) -> Result<u64> {
    let last = lab.len().saturating_sub(1);
    for host in 0..last {
        lab.spawn(host, &[])?;
    }
    for host in 0..last {
        lab.ready(host)?;
    }
    let first = lab.address(0)?.to_owned();
    let _echo = start_echo(&lab, 0)?;
    // The others have found each other: the last but one reaches the first.
    let before = last.saturating_sub(1);
    wait::until("the mesh without its last node", || {
        let seen = answers(start_probe(&lab, before, &first, 5_000, 300).ok()?).ok()?;
        (seen.len() > 40).then_some(())
    });
    let start = monotonic_us()?;
    lab.spawn(last, &[])?;
    let mut command = lab.command(last, &std::env::current_exe()?.to_string_lossy())?;
    command
        .args(["probe", &first, "2000", "30000", "--first"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let seen = answers(command.spawn()?)?;
    let came = seen.first().context("no answer within 30 s")?.came;
    Ok(came.saturating_sub(start))
}
