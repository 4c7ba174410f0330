//! The whole-network simulator: many real [`smartmesh_node::Node`]s under virtual time, joined by a model of radio, disk,
//! motion and misfortune. One seed gives one run, whatever the number of threads.
//!
//! It judges with checkers that share no code with the cores. Read [`World`] first, then a file in `scenario/`.

mod disk;
mod geometry;
mod medium;
mod shard;
mod world;

pub use disk::{Disk, Loss};
pub use geometry::{Field, Point};
pub use medium::{Medium, RadioModel};
pub use shard::{Logged, Traffic};
pub use world::{NodeSetup, World, WorldConfig};
