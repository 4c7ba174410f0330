//! The light client judged by the specification's own vectors and by data of real chains.

#![cfg(test)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "test code with small numbers"
)]

mod compact;
mod fixtures;
mod mainnet;
mod spec;
