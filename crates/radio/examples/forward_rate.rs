//! What a relay costs: packets of 1,280 bytes opened, relabelled and sealed again, beside the bare cipher; and the same
//! through UDP sockets, beside a bare forwarder with the same system calls and the same cipher.
//!
//! Times are processor times of the relay's thread, taken in turns, the best of each: the machine may be shared. Run with
//! `cargo run --release -p smartmesh-radio --example forward_rate`.
#![expect(
    clippy::print_stdout,
    reason = "a measuring tool prints what it measured"
)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "divides measured figures by constants"
)]

#[path = "forward_rate/bare.rs"]
mod bare;
#[path = "forward_rate/row.rs"]
mod row;
#[path = "forward_rate/sockets.rs"]
mod sockets;

use std::time::Duration;

/// Payload of a link frame: what the issue calls a 1,280-byte packet.
pub(crate) const PACKET_BYTES: usize = 1_280;
/// Frames handed over at once, as segmentation offload does.
pub(crate) const TRAIN_FRAMES: usize = 48;
const ROUNDS: usize = 5;

/// Why nothing can be measured; it may come from another thread.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let (mut cipher, mut relay) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        cipher = cipher.min(bare::cipher(60_000));
        relay = relay.min(row::Row::new()?.relay(1_200)?);
    }
    report(
        "in process",
        "the bare cipher, seal and open",
        cipher,
        relay,
        60,
    );
    let (mut plain, mut through) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        plain = plain.min(sockets::plain(60_000)?);
        through = through.min(sockets::mesh(60_000)?);
    }
    report(
        "through UDP sockets",
        "a bare forwarder",
        plain,
        through,
        50,
    );
    Ok(())
}

fn report(how: &str, limit: &str, least: Duration, ours: Duration, target: u128) {
    let percent = 100 * least.as_nanos() / ours.as_nanos().max(1);
    let rate = |each: Duration| {
        let bits = u128::try_from(PACKET_BYTES * 8).unwrap_or(0);
        bits * 1_000 / each.as_nanos().max(1)
    };
    println!(
        "{how}: {limit}: {least:?} a packet ({} Mbit/s)",
        rate(least)
    );
    println!(
        "{how}: the mesh's relay: {ours:?} a packet ({} Mbit/s)",
        rate(ours)
    );
    println!("  {percent} %; target >= {target} %");
}

/// Processor time that this thread has used.
pub(crate) fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanos)
}

/// Time of a clock that never jumps.
#[expect(
    clippy::disallowed_methods,
    reason = "a measuring tool reads the clock"
)]
pub(crate) fn clock() -> smartmesh_types::Instant {
    use std::sync::OnceLock;
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let start = START.get_or_init(std::time::Instant::now);
    smartmesh_types::Instant::ZERO + start.elapsed()
}
