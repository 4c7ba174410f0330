//! The mesh core: neighbours, routes, flows, gossip and carried mail, as plain values that are given time and seed.

pub mod custody;
pub mod flow;
pub mod gossip;
pub mod link;
mod mesh;
pub mod route;

pub use mesh::{Mesh, MeshConfig, MeshInput, MeshOutput, Sabotage};
