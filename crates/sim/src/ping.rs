//! Pings between phones, and whose fault it was when one did not come back.

use std::collections::BTreeMap;

use smartmesh_node::{Command, Event, Input};
use smartmesh_types::{Instant, RequestId};

use crate::{DistanceVector, Logged, World, hops_between};

/// How the pings of a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PingTally {
    /// Asked for.
    pub sent: u64,
    /// The oracle saw a path at the moment of asking.
    pub connected: u64,
    /// Came back, of those that the oracle saw a path for.
    pub answered: u64,
    /// Came back at all.
    pub answered_overall: u64,
    /// The plain distance vector would have delivered, of those that the oracle saw a path for.
    pub distance_vector: u64,
    /// Transmissions that flooding would have cost for the connected ones.
    pub flooding_frames: u64,
}

impl PingTally {
    /// Answered of connected, in parts of 10,000.
    pub fn permyriad(&self) -> u64 {
        self.answered
            .saturating_mul(10_000)
            .checked_div(self.connected)
            .unwrap_or(0)
    }
}

/// Pings under way.
#[derive(Debug, Default)]
pub struct Pings {
    next: u64,
    open: BTreeMap<(u32, RequestId), bool>,
    answered: BTreeMap<(u32, RequestId), Instant>,
    tally: PingTally,
    /// A plain distance vector on the same trace.
    model: Option<DistanceVector>,
}

impl Pings {
    /// Pings that are compared with a plain distance vector on the same trace.
    pub fn compared(world: &World) -> Self {
        Self {
            model: Some(DistanceVector::new(world.len())),
            ..Self::default()
        }
    }

    /// Lets the models see the present moment; [`Pings::send`] does it, too.
    pub fn look(&mut self, world: &World) {
        if let Some(model) = &mut self.model {
            model.advance(&world.medium, world.now());
        }
    }

    /// Sends one, and notes what the oracle and the models say of it.
    pub fn send(
        &mut self,
        world: &mut World,
        from: u32,
        to: u32,
        passes: impl Fn(u32) -> bool + Copy,
    ) {
        self.look(world);
        self.next = self.next.saturating_add(1);
        let request = RequestId(self.next);
        let connected = hops_between(&world.medium, from, to, passes).is_some();
        self.tally.sent = self.tally.sent.saturating_add(1);
        if connected {
            self.tally.connected = self.tally.connected.saturating_add(1);
            let phones = u64::try_from(world.len()).unwrap_or(u64::MAX);
            self.tally.flooding_frames = self
                .tally
                .flooding_frames
                .saturating_add(phones.saturating_mul(2));
            let model = self.model.as_ref();
            if model.is_some_and(|model| model.delivers(&world.medium, from, to, passes)) {
                self.tally.distance_vector = self.tally.distance_vector.saturating_add(1);
            }
        }
        self.open.insert((from, request), connected);
        let to = world.address(to);
        world.feed(from, Input::Command(request, Command::Ping { to }));
    }

    /// Takes what the nodes reported.
    pub fn note(&mut self, log: &[Logged]) {
        for Logged { at, node, event } in log {
            let Event::Pong { request, .. } = event else {
                continue;
            };
            let Some(connected) = self.open.remove(&(*node, *request)) else {
                continue;
            };
            self.answered.insert((*node, *request), *at);
            self.tally.answered_overall = self.tally.answered_overall.saturating_add(1);
            if connected {
                self.tally.answered = self.tally.answered.saturating_add(1);
            }
        }
    }

    /// Forgets those that have not come back: they are lost.
    pub fn give_up(&mut self) {
        self.open.clear();
    }

    /// How it went so far.
    pub fn tally(&self) -> PingTally {
        self.tally
    }
}
