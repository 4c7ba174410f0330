//! The embedded bytecode in an EVM, against the model and against thieves.

mod chain;
mod digests;
mod history;
mod replay;
