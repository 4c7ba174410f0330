//! Every counter of every core by name, for `status`.

use std::fmt::Debug;

use crate::Node;

impl Node {
    pub(crate) fn counters(&self) -> Vec<(String, u64)> {
        let mut all = Vec::new();
        list("link", self.mesh.links().counters(), &mut all);
        list("route", self.mesh.routes().counters(), &mut all);
        list("flow", self.mesh.flows().counters(), &mut all);
        list("gossip", self.mesh.gossip().counters(), &mut all);
        list("mail", self.mesh.custody().counters(), &mut all);
        list("messages", self.messaging.counters(), &mut all);
        list("board", self.board.counters(), &mut all);
        list("sessions", self.sessions.counters(), &mut all);
        all
    }
}

/// Counters are structs of numbers: their `Debug` form names each, also those that a later version adds.
fn list(core: &str, counters: &impl Debug, all: &mut Vec<(String, u64)>) {
    let text = format!("{counters:?}");
    let fields = text
        .split(['{', ',', '}'])
        .filter_map(|field| field.split_once(": "));
    let numbers = fields.filter_map(|(name, number)| {
        Some((
            format!("{core}.{}", name.trim()),
            number.trim().parse().ok()?,
        ))
    });
    all.extend(numbers);
}
