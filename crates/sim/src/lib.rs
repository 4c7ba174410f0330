//! The whole-network simulator: many real [`smartmesh_node::Node`]s under virtual time, joined by a model of radio, disk,
//! motion and misfortune. One seed gives one run, whatever the number of threads.
//!
//! It judges with checkers that share no code with the cores. Read [`World`] first, then a file in `scenario/`.

mod baseline;
mod checks;
mod disk;
mod geometry;
mod medium;
mod picture;
mod ping;
pub mod scenario;
mod shard;
mod world;

pub use baseline::{DistanceVector, Epidemic, hops_between, hops_over};
pub use checks::Walked;
pub use disk::{Disk, Loss};
pub use geometry::{Field, Point};
pub use medium::{Medium, RadioModel};
pub use picture::svg;
pub use ping::{PingTally, Pings};
pub use shard::{Logged, Traffic};
pub use world::{NodeSetup, World, WorldConfig};
