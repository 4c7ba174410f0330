//! A ping of our own: UDP packets at a fixed pace, and when each answer came.

use std::io::Write;
use std::net::{Ipv6Addr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use smartmesh_tests::lab::Lab;

/// The echo's port.
const PORT: u16 = 7_007;

/// How to probe.
#[derive(Args)]
pub(crate) struct Options {
    /// Whom.
    to: Ipv6Addr,
    /// Time between packets, in microseconds.
    interval_us: u64,
    /// How long, in milliseconds.
    millis: u64,
    /// Ends at the first answer.
    #[arg(long)]
    first: bool,
}

/// When a packet left and its answer came, in microseconds of [`monotonic_us`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) sent: u64,
    pub(crate) came: u64,
}

pub(crate) fn echo() -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, PORT))?;
    let mut packet = [0; 2_048];
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        let _ = socket.send_to(packet.get(..length).unwrap_or_default(), from);
    }
}

/// Prints for each answer when its packet left and when it came.
#[expect(clippy::print_stdout, reason = "the benchmark reads this")]
pub(crate) fn run(options: &Options) -> Result<()> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    let start = monotonic_us()?;
    let end = start.saturating_add(options.millis.saturating_mul(1_000));
    let mut next = start;
    let mut packet = [0; 64];
    loop {
        let now = monotonic_us()?;
        if now >= end {
            return Ok(());
        }
        if now >= next {
            // Until the interface is up there is no route: then there is nothing to be counted yet.
            let _ = socket.send_to(&now.to_be_bytes(), (options.to, PORT));
            next = next
                .max(now.saturating_sub(options.interval_us))
                .saturating_add(options.interval_us);
        }
        let wait = next.saturating_sub(monotonic_us()?).max(50);
        socket.set_read_timeout(Some(Duration::from_micros(wait)))?;
        let Ok((length, _)) = socket.recv_from(&mut packet) else {
            continue;
        };
        let Some(sent) = packet.get(..length).and_then(|bytes| bytes.first_chunk()) else {
            continue;
        };
        println!("{} {}", u64::from_be_bytes(*sent), monotonic_us()?);
        if options.first {
            std::io::stdout().flush()?;
            return Ok(());
        }
    }
}

/// Microseconds on a clock that all processes of this machine share and that does not jump while one of them runs.
pub(crate) fn monotonic_us() -> Result<u64> {
    use std::sync::OnceLock;
    static START: OnceLock<(std::time::SystemTime, std::time::Instant)> = OnceLock::new();
    #[expect(
        clippy::disallowed_methods,
        reason = "measures real time between real processes"
    )]
    let (wall, instant) =
        START.get_or_init(|| (std::time::SystemTime::now(), std::time::Instant::now()));
    let since = wall
        .duration_since(std::time::UNIX_EPOCH)
        .context("the clock is before 1970")?;
    let micros = since.saturating_add(instant.elapsed()).as_micros();
    Ok(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Starts the echo on a host.
pub(crate) fn start_echo(lab: &Lab, host: usize) -> Result<Guard> {
    let mut command = lab.command(host, &std::env::current_exe()?.to_string_lossy())?;
    Ok(Guard(command.arg("echo").stdin(Stdio::null()).spawn()?))
}

/// Starts a probe on a host.
pub(crate) fn start_probe(
    lab: &Lab,
    host: usize,
    to: &str,
    interval_us: u64,
    millis: u64,
) -> Result<Child> {
    let mut command = lab.command(host, &std::env::current_exe()?.to_string_lossy())?;
    command.args(["probe", to, &interval_us.to_string(), &millis.to_string()]);
    Ok(command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?)
}

/// Waits for a probe's end and reads what it saw.
pub(crate) fn answers(probe: Child) -> Result<Vec<Answer>> {
    let output = probe.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let answers = lines.filter_map(|(sent, came)| {
        Some(Answer {
            sent: sent.parse().ok()?,
            came: came.parse().ok()?,
        })
    });
    Ok(answers.collect())
}

/// The longest time without an answer from `from` on, in microseconds.
pub(crate) fn longest_gap(answers: &[Answer], from: u64) -> u64 {
    let mut times: Vec<u64> = answers.iter().map(|answer| answer.came).collect();
    times.sort_unstable();
    let relevant = times
        .windows(2)
        .filter(|pair| pair.get(1).is_some_and(|later| *later >= from));
    relevant
        .filter_map(|pair| Some(pair.get(1)?.saturating_sub(*pair.first()?)))
        .max()
        .unwrap_or(u64::MAX)
}

/// The longest time without an answer, of the times after `event`, in microseconds.
pub(crate) fn longest_gap_after(answers: &[Answer], event: u64) -> u64 {
    let mut times: Vec<u64> = answers.iter().map(|answer| answer.came).collect();
    times.retain(|came| *came > event);
    times.push(event);
    times.sort_unstable();
    let gaps = times
        .windows(2)
        .filter_map(|pair| Some(pair.get(1)?.saturating_sub(*pair.first()?)));
    // No answer at all: the flow is dead.
    gaps.max().unwrap_or(u64::MAX)
}

/// From the first packet after `event` until a packet sent since then is answered, in microseconds.
pub(crate) fn delay_of_next(answers: &[Answer], event: u64, interval_us: u64) -> u64 {
    let sent = answers.iter().map(|answer| answer.sent);
    let last = sent.filter(|sent| *sent <= event).max();
    let Some(next) = last.map(|last| last.saturating_add(interval_us)) else {
        return u64::MAX;
    };
    // A packet may leave a little before its time or after it.
    let later = answers
        .iter()
        .filter(|answer| answer.sent > event.max(next.saturating_sub(interval_us / 2)));
    let came = later.map(|answer| answer.came).min();
    came.map_or(u64::MAX, |came| came.saturating_sub(next))
}

/// Ends a process when it goes out of scope.
pub(crate) struct Guard(pub(crate) Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
