//! The embedded bytecode in an EVM, against the model and against thieves.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "tests; clippy knows only the marked functions as such"
)]

mod chain;
mod digests;
mod history;
mod logs;
mod replay;
