//! Several instances joined over links with delay, under virtual time.

mod adversary;
mod epochs;
mod net;
mod random;
mod searching;
mod topologies;
