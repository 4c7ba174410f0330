//! Access to the chain: an endpoint that is asked, a follower that tells what is new in order, an outbox that brings
//! transactions there. All of it runs on one thread beside the loop, because it waits for the network.
//!
//! The endpoint is believed about what it was asked, not about its manners: it may stall, answer rubbish, go back, or leave;
//! then the state is [`Status`] with a reason and nothing is lost. That its answers are the chain's is the business of the
//! light node in `light`, through which it is asked wherever there is a checkpoint.

mod access;
mod beacon;
mod endpoint;
mod ether;
mod follow;
mod light;
mod open;
mod outbox;
mod server;

pub(crate) use access::{Access, Job, Report, Sent, Status, repeatable};
pub(crate) use follow::Fact;
pub(crate) use light::{Light, NoAnswer};
pub(crate) use open::ChainOpened;
pub(crate) use outbox::{Outcome, Wish};
pub use server::{DevnetServer, serve_devnet};
