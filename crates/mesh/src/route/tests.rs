//! Several instances joined over links with delay, under virtual time.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "in a test an overflow panics, which is what it should do"
)]

mod adversary;
mod epochs;
mod net;
mod random;
mod searching;
mod topologies;
