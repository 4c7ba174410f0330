//! How fast one node takes in routing: 8 neighbours, a full zone of 256 destinations, every update changes the route.
//!
//! `cargo run --release -p smartmesh-mesh --example route_rate`

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a program that prints its figures; small numbers"
)]

use std::hint::black_box;

use smartmesh_crypto::Seed;
use smartmesh_mesh::route::{RouteConfig, RouteInput, RouteOutput, Routes};
use smartmesh_types::{Address, Duration, Instant, NeighbourId, Now, Tag, UnixTime};
use smartmesh_wire::route::{RouteSection, Update, encode_route_body};

const NEIGHBOURS: u32 = 8;
const DESTINATIONS: u64 = 240;
const ROUNDS: u32 = 400;

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn wall() -> std::time::Instant {
    std::time::Instant::now()
}

fn updates(from: u32, round: u32, tags: std::ops::Range<u64>) -> Vec<u8> {
    let updates = tags.map(|tag| Update {
        tag: Tag(tag.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()),
        seqno: round,
        hops: 3,
        metric: 1_000 + (from * 37 + round * 101) % 997,
    });
    encode_route_body(&[RouteSection::Updates(updates.collect())])
}

/// Hands over the body and drains; returns how many bytes it made this node send.
fn take(routes: &mut Routes, from: u32, body: Vec<u8>, now: Now) -> usize {
    let from = NeighbourId(from);
    routes.handle(RouteInput::Message { from, body }, now);
    let mut bytes = 0;
    while let Some(output) = routes.poll_output() {
        if let RouteOutput::Send { body, .. } = &output {
            bytes += body.len();
        }
        black_box(output);
    }
    bytes
}

fn measure(name: &str, batch: u64) {
    let mut now = Now {
        instant: Instant::from_millis(1_000),
        unix: UnixTime::from_secs(1_790_000_000),
    };
    let own = Address::from_key_hash([1; 13]);
    let mut routes = Routes::new(RouteConfig::default(), own, &Seed::new([1; 32]), now);
    let epoch = routes.epoch();
    for from in 0..NEIGHBOURS {
        let neighbour = NeighbourId(from);
        let metric = 1_000;
        routes.handle(RouteInput::NeighbourUp { neighbour, metric }, now);
        take(
            &mut routes,
            from,
            encode_route_body(&[RouteSection::Epoch(epoch)]),
            now,
        );
    }
    let (mut messages, mut entries, mut sent) = (0_u64, 0_u64, 0_usize);
    let mut spent = Duration::ZERO;
    for round in 1..=ROUNDS {
        for from in 0..NEIGHBOURS {
            for first in (0..DESTINATIONS).step_by(usize::try_from(batch).unwrap_or(1)) {
                let body = updates(from, round, first..(first + batch).min(DESTINATIONS));
                let start = wall();
                sent += take(&mut routes, from, body, now);
                spent += start.elapsed();
                messages += 1;
                entries += batch;
            }
        }
        // Slow enough for the budgets: this measures work, not refusal.
        now = now.after(Duration::from_secs(8));
    }
    let counters = routes.counters();
    println!(
        "{name}: {:.2} us a message, {:.2} us an update, {} destinations, {} taken, {} refused, {} B sent",
        spent.as_secs_f64() * 1e6 / messages as f64,
        spent.as_secs_f64() * 1e6 / entries as f64,
        routes.destinations().count(),
        counters.updates_received,
        counters.dropped_update_budget,
        sent,
    );
}

fn main() {
    measure("1 update a message", 1);
    measure("8 updates a message", 8);
    measure("80 updates a message", 80);
}
