//! What a link costs to make, beside the Diffie-Hellman that it cannot do without; and what a flood of first messages costs.
//!
//! Both sides of each link run on one core; times are the thread's processor time. Run with `cargo run --release -p smartmesh-mesh --example handshake_rate`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a measuring tool prints what it measured"
)]

use std::hint::black_box;
use std::time::Duration as Time;

use smartmesh_crypto::{Identity, KeyPair, Rng, Seed};
use smartmesh_mesh::link::{LinkConfig, LinkInput, LinkOutput, Links};
use smartmesh_types::{Broadcast, Destination, Duration, LinkAddr, Now, RadioId, RadioInfo, Train};
use smartmesh_wire::link::{BeaconId, ClearFrame, FirstMessage, Purpose};

const RADIO: RadioId = RadioId(1);
/// Links made in one round: as many as a node keeps. The best of many rounds counts, for the machine is shared.
const LINKS: usize = 8;
const ROUNDS: usize = 150;

fn main() {
    let mut now = Now::default();
    let mut rng = Seed::new([7; 32]).rng();
    let (mut least_floor, mut least_link) = (Time::MAX, Time::MAX);
    for round in 0..ROUNDS {
        least_floor = least_floor.min(floor(&mut rng));
        least_link = least_link.min(links(round, &mut now));
    }
    let percent = 100 * least_floor.as_nanos() / least_link.as_nanos().max(1);
    println!("Diffie-Hellman of one link, both sides (2 key pairs, 6 agreements): {least_floor:?}");
    println!("one link, both sides, from the beacon until both are quiet: {least_link:?}");
    println!("of the Diffie-Hellman limit: {percent} %; target >= 80 %");
    flood(now);
}

/// Processor time that this thread has used.
fn thread_time() -> Time {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Time::new(
        u64::try_from(time.tv_sec).unwrap(),
        u32::try_from(time.tv_nsec).unwrap(),
    )
}

/// What the pattern (Noise XX) needs of Diffie-Hellman: an ephemeral pair and three agreements on each side.
fn floor(rng: &mut Rng) -> Time {
    let remote = KeyPair::generate(rng).public();
    let started = thread_time();
    for _ in 0..LINKS {
        for _ in 0..2 {
            let pair = KeyPair::generate(rng);
            for _ in 0..3 {
                black_box(pair.agree(&remote)).unwrap();
            }
        }
    }
    (thread_time() - started) / LINKS as u32
}

/// One hub and many others that meet it one after the other.
fn links(round: usize, now: &mut Now) -> Time {
    let config = LinkConfig {
        kept_max: LINKS + 1,
        kept_wanted: LINKS + 1,
        ..LinkConfig::default()
    };
    let mut hub = node(0, &config, *now);
    let mut others: Vec<Links> = (1..=LINKS)
        .map(|n| node(round * LINKS + n, &config, *now))
        .collect();
    while hub.poll_output().is_some() {}
    let mut taken = Time::ZERO;
    for (n, other) in others.iter_mut().enumerate() {
        // Time passes, so that no budget is the limit.
        now.instant = now.instant + Duration::from_millis(20);
        let place = LinkAddr::new(&(n as u32).to_be_bytes()).unwrap();
        let started = thread_time();
        exchange(&mut hub, other, place, *now);
        taken += thread_time() - started;
        assert_eq!(other.neighbours().count(), 1, "no link was made");
    }
    assert_eq!(hub.neighbours().count(), LINKS);
    taken / LINKS as u32
}

fn node(number: usize, config: &LinkConfig, now: Now) -> Links {
    let mut rng = Seed::new([9; 32]).split(&number.to_string()).rng();
    let (identity, seed) = (Identity::generate(&mut rng), Seed::new(rng.bytes()));
    let mut links = Links::new(config.clone(), &identity, &seed, now);
    let info = RadioInfo {
        frame_bytes: 1_472,
        bits_per_second: 1_000_000_000,
        broadcast: Broadcast::Yes,
        peers: Vec::new(),
    };
    let up = LinkInput::RadioUp { radio: RADIO, info };
    links.handle(up, now);
    links
}

/// Carries frames between the two until neither has any at this moment.
fn exchange(hub: &mut Links, other: &mut Links, place: LinkAddr, now: Now) {
    let hub_place = LinkAddr::new(&[255]).unwrap();
    let mut data = Vec::new();
    loop {
        let mut quiet = true;
        while let Some(output) = other.poll_output() {
            if let LinkOutput::Transmit { train, .. } = output {
                quiet = false;
                hub.open_train(RADIO, place, train, now, &mut data);
            }
        }
        while let Some(output) = hub.poll_output() {
            if let LinkOutput::Transmit { train, to, .. } = output
                && to != Destination::Broadcast
                && to == Destination::Peer(place)
            {
                quiet = false;
                other.open_train(RADIO, hub_place, train, now, &mut data);
            }
        }
        if quiet {
            return;
        }
    }
}

/// First messages from made-up places, faster than any budget.
fn flood(now: Now) {
    let count = 200_000_u32;
    let mut victim = node(77, &LinkConfig::default(), now);
    let mut to = BeaconId::default();
    while let Some(output) = victim.poll_output() {
        if let LinkOutput::Transmit { train, .. } = output
            && let Ok(ClearFrame::Beacon(beacon)) = ClearFrame::decode(&train.bytes)
        {
            to = beacon.id;
        }
    }
    let mut data = Vec::new();
    let started = thread_time();
    for n in 0..count {
        let first = FirstMessage {
            version: 1,
            links: 0,
            purpose: Purpose::Ordinary,
            sender: n | 0x8000_0000,
            from: BeaconId(u64::from(n).to_be_bytes()),
            to,
            cookie: [0; 16],
            noise: &[7; 32],
        };
        let train = Train::single(ClearFrame::First(first).encode());
        let place = LinkAddr::new(&n.to_be_bytes()).unwrap();
        victim.open_train(RADIO, place, train, now, &mut data);
        while victim.poll_output().is_some() {}
    }
    let each = (thread_time() - started) / count;
    let counters = victim.counters();
    let worked = u64::from(count) - counters.cookies_sent;
    println!(
        "flood of {count} first messages without a cookie: {each:?} each, {} answered by a cookie, {worked} by a handshake",
        counters.cookies_sent
    );
}
