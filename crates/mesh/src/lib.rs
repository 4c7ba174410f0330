//! The mesh core: neighbours, routes, flows, gossip and carried mail, as plain values that are given time and seed.

pub mod custody;
pub mod flow;
pub mod gossip;
pub mod link;
pub mod route;
