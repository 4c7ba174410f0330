//! Whole lives of channels: real cores, a network and disks that fail as told, and the contracts' real bytecode.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that panics or overflows fails, as it should"
)]

mod chain;
mod crash;
mod honest;
mod hops;
mod lifecycle;
mod tower;
mod world;
