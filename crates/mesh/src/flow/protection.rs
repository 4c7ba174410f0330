//! Bypasses: announced to the neighbour whose link they go round, laid, refreshed and torn down.

use std::collections::BTreeSet;

use smartmesh_types::{Duration, Instant, Label, NeighbourId, Tag};
use smartmesh_wire::flow::{FlowMessage, PathToken, Purpose, SetUp};

use super::circuit::{End, Health, Protection};
use super::repair::SWEEP;
use super::{Flows, NextHops};

/// Hops of a bypass at most: it goes round one link, and a ring longer than this is not repaired locally.
const BYPASS_HOPS: u8 = 24;
/// How long after a failure a bypass is tried again.
const PROTECT_RETRY: Duration = Duration::from_secs(5);
/// How long a neighbour has to answer an announcement of a bypass.
const PROTECT_ANSWER: Duration = Duration::from_secs(2);
/// Bypasses are refreshed three times in the lifetime of a label.
const REFRESHES: u32 = 3;
/// Announcements remembered for one neighbour; it needs one at a time.
const ANNOUNCED_PER_NEIGHBOUR: usize = 4;

impl Flows {
    pub(super) fn handle_refresh(&mut self, from: NeighbourId, token: PathToken, now: Instant) {
        let Some(circuit) = self.circuits.get_mut(&token) else {
            // Gone here: the sender is to build another.
            return self.send_control(from, &FlowMessage::Teardown { token });
        };
        if circuit.upstream.is_none_or(|hop| hop.neighbour != from) {
            return self.count_stray();
        }
        circuit.touched = now;
        if let Some(hop) = circuit.downstream {
            self.send_control(hop.neighbour, &FlowMessage::Refresh { token });
        }
    }

    /// A neighbour announces a bypass that will end here.
    pub(super) fn handle_protect(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        routes: &dyn NextHops,
        now: Instant,
    ) {
        let held = self.announced.values().filter(|(of, _)| *of == from);
        if held.count() >= ANNOUNCED_PER_NEIGHBOUR || self.circuits.contains_key(&token) {
            return self.count_stray();
        }
        self.announced.insert(token, (from, now));
        self.sweep_at = self.sweep_at.min(now + SWEEP);
        let tag = routes.tag_of(self.own.address).0;
        self.send_control(from, &FlowMessage::Protected { token, tag });
    }

    pub(super) fn handle_protected(
        &mut self,
        from: NeighbourId,
        token: PathToken,
        tag: [u8; 8],
        routes: &dyn NextHops,
        now: Instant,
    ) {
        let asked = self.neighbours.get(&from).is_some_and(|known| {
            matches!(known.protection, Protection::Asked { token: asked, .. } if asked == token)
        });
        if !asked {
            return self.count_stray();
        }
        self.set_protection(from, Protection::Building { token });
        let set_up = self.bypass_set_up(token, Tag(tag));
        self.insert_circuit(End::BypassSource(from), None, set_up, now);
        if self.advance(token, routes, now).is_err() {
            self.remove_circuit(token, |_, _| false);
        }
    }

    pub(super) fn finish_protection(
        &mut self,
        neighbour: NeighbourId,
        token: PathToken,
        to: NeighbourId,
        label: Label,
        now: Instant,
    ) {
        let refresh_at = now + self.refresh_time();
        let ready = Protection::Ready {
            token,
            to,
            label,
            refresh_at,
        };
        self.set_protection(neighbour, ready);
        self.apply_to_lost(neighbour, now);
    }

    /// The way round a lost link has changed.
    pub(super) fn apply_to_lost(&mut self, neighbour: NeighbourId, now: Instant) {
        let known = self.neighbours.get(&neighbour);
        if known.is_some_and(|known| known.health != Health::Well) {
            self.apply_health(neighbour, now);
        }
    }

    fn refresh_time(&self) -> Duration {
        let lifetime = self.config.label_lifetime;
        lifetime.checked_div(REFRESHES).unwrap_or(lifetime)
    }

    pub(super) fn set_protection(&mut self, neighbour: NeighbourId, protection: Protection) {
        if let Some(known) = self.neighbours.get_mut(&neighbour) {
            known.protection = protection;
        }
    }

    /// The bypass of this token is gone; another is built later if the link is still in use.
    pub(super) fn lose_protection(&mut self, neighbour: NeighbourId, token: PathToken) {
        let retry_at = self.clock + PROTECT_RETRY;
        let ours = self
            .neighbours
            .get(&neighbour)
            .is_some_and(|known| known.protection.token() == Some(token));
        if ours {
            self.set_protection(neighbour, Protection::None { retry_at });
        }
    }

    pub(super) fn sweep_protections(&mut self, now: Instant) {
        let used: BTreeSet<NeighbourId> = self
            .circuits
            .values()
            .filter(|circuit| circuit.purpose == Purpose::Flow && circuit.pending.is_none())
            .flat_map(|circuit| circuit.hops().map(|hop| hop.neighbour))
            .collect();
        let neighbours: Vec<(NeighbourId, Protection)> = self
            .neighbours
            .iter()
            .map(|(id, known)| (*id, known.protection))
            .collect();
        for (id, protection) in neighbours {
            match protection {
                Protection::None { .. } if used.contains(&id) => self.protect_if_used(id, now),
                Protection::Asked { at, .. } if now.since(at) > PROTECT_ANSWER => {
                    let retry_at = now + PROTECT_RETRY;
                    self.set_protection(id, Protection::None { retry_at });
                }
                Protection::Ready { token, .. } if !used.contains(&id) => {
                    self.remove_circuit(token, |_, _| true);
                    self.set_protection(id, Protection::None { retry_at: now });
                }
                Protection::Ready {
                    token,
                    to,
                    label,
                    refresh_at,
                } if refresh_at <= now => {
                    if let Some(circuit) = self.circuits.get_mut(&token) {
                        circuit.touched = now;
                    }
                    self.send_control(to, &FlowMessage::Refresh { token });
                    self.finish_refresh(id, token, to, label, now);
                }
                Protection::None { .. }
                | Protection::Asked { .. }
                | Protection::Building { .. }
                | Protection::Ready { .. } => {}
            }
        }
        let gone: Vec<NeighbourId> = self
            .neighbours
            .iter()
            .filter(|(_, known)| known.health == Health::Gone)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.forget_unused(id);
        }
    }

    fn finish_refresh(
        &mut self,
        neighbour: NeighbourId,
        token: PathToken,
        to: NeighbourId,
        label: Label,
        now: Instant,
    ) {
        let refresh_at = now + self.refresh_time();
        let ready = Protection::Ready {
            token,
            to,
            label,
            refresh_at,
        };
        self.set_protection(neighbour, ready);
    }

    /// A bypass for the link to a neighbour that has come into use.
    pub(super) fn protect_if_used(&mut self, neighbour: NeighbourId, now: Instant) {
        let due = self.neighbours.get(&neighbour).is_some_and(|one| {
            one.health == Health::Well
                && matches!(one.protection, Protection::None { retry_at } if retry_at <= now)
        });
        // With one neighbour there is no other way.
        if due && self.neighbours.len() > 1 {
            let token = PathToken(self.rng.bytes());
            self.set_protection(neighbour, Protection::Asked { token, at: now });
            self.send_control(neighbour, &FlowMessage::Protect { token });
        }
    }

    /// The set-up of a bypass to this neighbour.
    pub(super) fn bypass_set_up(&mut self, token: PathToken, tag: Tag) -> SetUp {
        SetUp {
            token,
            purpose: Purpose::Bypass,
            tag: tag.0,
            search: None,
            hop_limit: BYPASS_HOPS,
            tries: super::seek::TRIES,
            nonce: self.rng.u32(),
            explore: 0,
            label: 0,
            payload_bytes: u32::MAX,
            bits_per_second: u64::MAX,
            price: 0,
            lifetime_secs: u16::MAX,
            proof: [0; 32],
            first: Vec::new(),
        }
    }
}
