//! The shell around a node.

pub mod clock;
mod database;
mod disk;
mod entropy;
mod folder;
mod keystore;
