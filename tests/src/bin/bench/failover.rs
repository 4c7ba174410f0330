//! How long a flow is silent when a link on its way dies.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use smartmesh_tests::lab::{Cut, Lab};
use smartmesh_tests::wait;

use crate::probe::{
    Guard, answers, delay_of_next, longest_gap, longest_gap_after, monotonic_us, start_echo,
    start_probe,
};
use crate::{quantile, times};

/// What is measured of a cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    /// The longest silence.
    Gap,
    /// The longest silence after the system has told both ends that the carrier is gone.
    GapAfterEvent,
    /// From the next packet until one is answered.
    NextPacket,
}

pub(crate) fn ring_silent() -> Result<()> {
    ring(Cut::Silent, 5_000, Measure::Gap, (150, 500), times())
}

pub(crate) fn ring_visible() -> Result<()> {
    let (how, what) = (Cut::Visible, Measure::GapAfterEvent);
    ring(how, 1_000, what, (20, 50), times())
}

/// One packet a second: the packet after the cut finds out.
pub(crate) fn ring_slow() -> Result<()> {
    let (how, what) = (Cut::Silent, Measure::NextPacket);
    ring(how, 1_000_000, what, (150, 500), times())
}

fn ring(
    how: Cut,
    interval_us: u64,
    what: Measure,
    target_ms: (u64, u64),
    cuts: usize,
) -> Result<()> {
    let mut lab = Lab::ring(8)?;
    lab.start_all()?;
    let (from, to) = (0, 3);
    let address = lab.address(to)?.to_owned();
    let _echo = start_echo(&lab, to)?;
    let mut gaps = Vec::new();
    for cut in 0..cuts {
        let way = settle(&lab, from, &address)?;
        let links: Vec<(usize, usize)> = if way == 1 {
            vec![(0, 1), (1, 2), (2, 3)]
        } else {
            vec![(0, 7), (7, 6), (6, 5), (5, 4), (4, 3)]
        };
        let link = *links
            .get(cut.checked_rem(links.len()).unwrap_or(0))
            .context("no link")?;
        gaps.push(one_cut(
            &lab,
            link,
            how,
            (from, &address),
            interval_us,
            what,
        )?);
    }
    report(
        &format!("ring of 8, {how:?} cut, a probe each {interval_us} us"),
        gaps,
        target_ms,
    );
    Ok(())
}

pub(crate) fn grid_silent() -> Result<()> {
    let mut lab = Lab::grid(5)?;
    lab.start_all()?;
    let (from, to) = (0, 24);
    let address = lab.address(to)?.to_owned();
    let _echo = start_echo(&lab, to)?;
    let mut gaps = Vec::new();
    for _ in 0..times() {
        settle(&lab, from, &address)?;
        let link = used_link(&lab, from, &address)?;
        let probed = (from, address.as_str());
        gaps.push(one_cut(
            &lab,
            link,
            Cut::Silent,
            probed,
            5_000,
            Measure::Gap,
        )?);
    }
    report(
        "grid of 5x5, silent cut of a link in use, a probe each 5000 us",
        gaps,
        (150, 500),
    );
    Ok(())
}

/// Cuts a link under a running probe, mends it, and returns what was to be measured, in microseconds.
fn one_cut(
    lab: &Lab,
    link: (usize, usize),
    how: Cut,
    (from, address): (usize, &str),
    interval_us: u64,
    what: Measure,
) -> Result<u64> {
    let millis = 2_500_u64.max(interval_us.saturating_mul(5) / 1_000);
    let watches = match what {
        Measure::GapAfterEvent => vec![
            CarrierWatch::new(lab, link.0, link.1)?,
            CarrierWatch::new(lab, link.1, link.0)?,
        ],
        Measure::Gap | Measure::NextPacket => Vec::new(),
    };
    let probe = start_probe(lab, from, address, interval_us, millis)?;
    std::thread::park_timeout(Duration::from_millis(
        500.max(interval_us.saturating_mul(5) / 2_000),
    ));
    let at = monotonic_us()?;
    lab.cut(link.0, link.1, how)?;
    let told = watches.iter().filter_map(|watch| watch.lost_after(at));
    let event = told.max().unwrap_or(at);
    let seen = answers(probe)?;
    lab.mend(link.0, link.1, how)?;
    let measured = match what {
        Measure::Gap => longest_gap(&seen, at),
        Measure::GapAfterEvent => longest_gap_after(&seen, event),
        Measure::NextPacket => delay_of_next(&seen, at, interval_us),
    };
    let last = seen.iter().map(|answer| answer.came).max().unwrap_or(0);
    // No answer at all after the cut: as long as the probe ran.
    Ok(if last <= at {
        millis.saturating_mul(1_000)
    } else {
        measured.min(millis.saturating_mul(1_000))
    })
}

/// Hears from the system when the carrier of one end of a cable goes.
struct CarrierWatch {
    lost: Receiver<u64>,
    _monitor: Guard,
}

impl CarrierWatch {
    fn new(lab: &Lab, host: usize, other: usize) -> Result<Self> {
        let mut command = lab.command(host, "ip")?;
        let mut monitor = command
            .args(["-o", "monitor", "link"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(monitor.stdout.take().context("no output")?).lines();
        let (tell, lost) = sync_channel(16);
        let end = format!("to{other}@");
        std::thread::spawn(move || {
            let gone = |line: &String| line.contains(&end) && !line.contains("LOWER_UP");
            for _ in lines.map_while(Result::ok).filter(gone) {
                let Ok(at) = monotonic_us() else { return };
                if tell.try_send(at).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            lost,
            _monitor: Guard(monitor),
        })
    }

    /// When the carrier went, after this time; `None` if nothing was heard within two seconds.
    fn lost_after(&self, from: u64) -> Option<u64> {
        loop {
            let at = self.lost.recv_timeout(Duration::from_secs(2)).ok()?;
            if at >= from {
                return Some(at);
            }
        }
    }
}

/// Waits until probes are answered over both the mended ring and steady routes; returns the first hop in use.
fn settle(lab: &Lab, from: usize, address: &str) -> Result<usize> {
    let mut steady = 0;
    let mut last = usize::MAX;
    let way = wait::within(wait::PATIENCE, || {
        let before = lab.bytes_by_cable(from).ok()?;
        let seen = answers(start_probe(lab, from, address, 5_000, 300).ok()?).ok()?;
        let after = lab.bytes_by_cable(from).ok()?;
        let busiest = after.iter().max_by_key(|(name, bytes)| {
            bytes.saturating_sub(before.get(*name).copied().unwrap_or(0))
        });
        let way = busiest?.0.strip_prefix("to")?.parse().ok()?;
        steady = if seen.len() >= 50 && way == last {
            steady + 1
        } else {
            0
        };
        last = way;
        (steady >= 3).then_some(way)
    });
    way.context("the mesh did not settle after a cut")
}

/// A link that carries the probe: each node's busiest cable away from the source, a random one of them.
fn used_link(lab: &Lab, from: usize, address: &str) -> Result<(usize, usize)> {
    let before: Vec<_> = (0..lab.len())
        .map(|host| lab.bytes_by_cable(host))
        .collect::<Result<_>>()?;
    answers(start_probe(lab, from, address, 2_000, 400)?)?;
    let mut used = Vec::new();
    for (host, old) in before.iter().enumerate() {
        for (name, bytes) in lab.bytes_by_cable(host)? {
            let grown = bytes.saturating_sub(old.get(&name).copied().unwrap_or(0));
            // 200 probes of about 150 bytes on the wire.
            if grown > 15_000
                && let Some(other) = name.strip_prefix("to").and_then(|other| other.parse().ok())
            {
                used.push((host, other));
            }
        }
    }
    let pick = usize::try_from(monotonic_us()? / 7)
        .unwrap_or(0)
        .checked_rem(used.len());
    match pick.and_then(|pick| used.get(pick)) {
        Some(link) => Ok(*link),
        None => bail!("no link carries the probe"),
    }
}

#[expect(clippy::print_stdout, reason = "prints the figures")]
fn report(what: &str, mut gaps: Vec<u64>, target_ms: (u64, u64)) {
    gaps.sort_unstable();
    let (p50, p99) = (quantile(&gaps, 500) / 1_000, quantile(&gaps, 990) / 1_000);
    let worst = gaps.last().copied().unwrap_or(0) / 1_000;
    println!(
        "{what}: {} cuts, gap p50 {p50} ms, p99 {p99} ms, worst {worst} ms",
        gaps.len()
    );
    println!(
        "  target: p50 <= {} ms, p99 <= {} ms",
        target_ms.0, target_ms.1
    );
}
