//! The paths that run through this node or end here, and the neighbours that they use.

use std::collections::BTreeSet;

use smartmesh_types::{Duration, Instant, Label, NeighbourId, Tag};
use smartmesh_wire::flow::{FlowMessage, PathToken, Purpose, SetUp};

use crate::route::SearchToken;

use super::budget::{Bucket, SharedBucket};
use super::label::Action;
use super::path::Way;
use super::{Flows, NextHops, PathId};

/// The part of a path towards one neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) neighbour: NeighbourId,
    /// The label under which it sends to us; none on the way back of a bypass.
    pub(super) own: Option<Label>,
    /// The label under which we send to it; unknown downstream until the confirmation.
    pub(super) theirs: Option<Label>,
}

/// What this node is on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Relay,
    Source(PathId),
    Destination(PathId),
    /// This node protects its link to that neighbour.
    BypassSource(NeighbourId),
    /// That neighbour protects its link to this node.
    BypassExit,
}

/// A set-up that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// As it came in; changed for each hop on sending.
    pub(super) set_up: SetUp,
    pub(super) tried: Vec<NeighbourId>,
}

/// One path at one node.
#[derive(Clone, Debug)]
pub(super) struct Circuit {
    pub(super) purpose: Purpose,
    pub(super) end: End,
    pub(super) upstream: Option<Hop>,
    pub(super) downstream: Option<Hop>,
    pub(super) pending: Option<Box<Pending>>,
    pub(super) proof: [u8; 32],
    pub(super) born: Instant,
    /// Last time something other than a packet used it.
    pub(super) touched: Instant,
    /// Until when the next hop has to show success; `None` when nothing is awaited.
    pub(super) judge_at: Option<Instant>,
    /// How long it has for an answer.
    pub(super) patience: Duration,
    /// Times that the next hop may still ask for more.
    pub(super) extensions: u8,
    /// When the first packet of the way out passed.
    pub(super) first_packet: Option<Instant>,
    /// When the set-up was last sent on.
    pub(super) sent_at: Instant,
    /// When a broken bypass is removed.
    pub(super) doomed_at: Option<Instant>,
}

impl Circuit {
    pub(super) fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.upstream.iter().chain(self.downstream.iter())
    }

    pub(super) fn hop_of(&self, neighbour: NeighbourId) -> Option<&Hop> {
        self.hops().find(|hop| hop.neighbour == neighbour)
    }

    /// The hop on the other side of this neighbour's.
    pub(super) fn opposite(&self, neighbour: NeighbourId) -> Option<&Hop> {
        if self.upstream.is_some_and(|hop| hop.neighbour == neighbour) {
            self.downstream.as_ref()
        } else {
            self.upstream.as_ref()
        }
    }
}

/// Whether a link answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Well,
    Suspect,
    Gone,
}

/// The way round a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    /// None; try again then.
    None { retry_at: Instant },
    /// The neighbour has been told the token.
    Asked { token: PathToken, at: Instant },
    /// Its set-up is under way.
    Building { token: PathToken },
    /// It can be used.
    Ready {
        token: PathToken,
        to: NeighbourId,
        label: Label,
        refresh_at: Instant,
    },
}

impl Protection {
    pub(super) fn token(&self) -> Option<PathToken> {
        match self {
            Self::None { .. } => None,
            Self::Asked { token, .. } | Self::Building { token } | Self::Ready { token, .. } => {
                Some(*token)
            }
        }
    }
}

/// One neighbour, as far as flows care.
#[derive(Debug)]
pub(super) struct Neighbour {
    /// Link payload bytes of one frame.
    pub(super) payload_bytes: usize,
    pub(super) bits_per_second: u64,
    pub(super) health: Health,
    pub(super) protection: Protection,
    /// Set-ups it may send.
    pub(super) incoming: Bucket,
    /// Set-ups it may be sent, shared by all who send through us.
    pub(super) outgoing: SharedBucket,
    /// Labels given to it.
    pub(super) labels: usize,
}

/// Where a set-up goes and how it may choose.
pub(super) struct Aim<'a> {
    pub(super) from: Option<NeighbourId>,
    pub(super) tag: Tag,
    pub(super) search: Option<SearchToken>,
    pub(super) nonce: u32,
    pub(super) explore: u8,
    pub(super) exclude: &'a [NeighbourId],
    pub(super) stray: Stray,
}

/// Whether neighbours without a known route may be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stray {
    Allowed,
    Refused,
}

/// A next hop that failed once costs this much more: enough that a detour of two hops is preferred on short paths.
const FAILURE_COST: u64 = 4;
/// Metric in microseconds of a neighbour that routing says nothing about, at least.
const STRAY_METRIC: u64 = 20_000;

impl Flows {
    /// Neighbours to try, best first. A next hop's cost grows with its failures; a set-up that explores adds noise to the
    /// costs, so that near-equal hops change places at once and distant ones only after several attempts.
    pub(super) fn candidates(
        &self,
        aim: &Aim<'_>,
        routes: &dyn NextHops,
        now: Instant,
    ) -> Vec<NeighbourId> {
        let mut costs: Vec<(u64, NeighbourId)> = Vec::new();
        let mut known = BTreeSet::new();
        let mut worst = STRAY_METRIC;
        let found = aim.search.and_then(|token| routes.search_hop(token));
        let ways = routes.next_hops(aim.tag);
        if let Some(neighbour) = found {
            known.insert(neighbour);
            // Before all others while nothing speaks against it, and behind them once it has failed: the trace of a search may
            // lead to somebody who swallows what comes.
            let best = ways.iter().map(|hop| u64::from(hop.metric)).min();
            costs.push((best.unwrap_or(STRAY_METRIC).max(2) / 2, neighbour));
        }
        for hop in ways {
            let metric = u64::from(hop.metric).max(1);
            worst = worst.max(metric);
            if known.insert(hop.neighbour) {
                let doubt = if hop.feasible { 1 } else { 2 };
                costs.push((metric.saturating_mul(doubt), hop.neighbour));
            }
        }
        if aim.stray == Stray::Allowed {
            let stray = self.neighbours.keys().filter(|id| !known.contains(id));
            costs.extend(stray.map(|id| (worst.saturating_mul(4), *id)));
        }
        costs.retain(|(_, id)| {
            aim.from != Some(*id)
                && !aim.exclude.contains(id)
                && self
                    .neighbours
                    .get(id)
                    .is_some_and(|neighbour| neighbour.health == Health::Well)
        });
        for (cost, id) in &mut costs {
            let failures = self.scores.failures(*id, now).saturating_mul(FAILURE_COST);
            let noise = u64::from(aim.explore.min(7))
                .saturating_mul(u64::from(mix(aim.nonce, id.0) & 0xff));
            *cost = cost
                .saturating_mul(failures.saturating_add(1_000))
                .saturating_mul(noise.saturating_add(256));
        }
        costs.sort_unstable();
        costs.into_iter().map(|(_, id)| id).collect()
    }

    /// A new label for a neighbour, within its quota.
    pub(super) fn allocate_label(
        &mut self,
        neighbour: NeighbourId,
        token: PathToken,
        action: Action,
        now: Instant,
    ) -> Option<Label> {
        let quota = self.config.labels_per_neighbour;
        let entry = self.neighbours.get_mut(&neighbour)?;
        let label = if entry.labels < quota {
            self.labels.allocate(neighbour, token, action, now)
        } else {
            None
        };
        if label.is_some() {
            entry.labels = entry.labels.saturating_add(1);
        } else {
            self.counters.labels_used_up = self.counters.labels_used_up.saturating_add(1);
        }
        label
    }

    /// Frees what a hop holds.
    pub(super) fn release_hop(&mut self, hop: &Hop) {
        if let Some(label) = hop.own {
            self.labels.free(label);
            if let Some(neighbour) = self.neighbours.get_mut(&hop.neighbour) {
                neighbour.labels = neighbour.labels.saturating_sub(1);
            }
        }
        if let Some(label) = hop.theirs {
            self.outward.remove(&(hop.neighbour, label));
        }
    }

    /// Removes a path at this node and tells the hops given; the local end, if any, is the caller's business.
    pub(super) fn remove_circuit(
        &mut self,
        token: PathToken,
        tell: impl Fn(&Circuit, &Hop) -> bool,
    ) -> Option<Circuit> {
        let circuit = self.circuits.remove(&token)?;
        let hops: Vec<Hop> = circuit.hops().copied().collect();
        for hop in &hops {
            self.release_hop(hop);
            if tell(&circuit, hop) && self.can_tell(hop.neighbour) {
                self.send_control(hop.neighbour, &FlowMessage::Teardown { token });
            }
        }
        if let End::BypassSource(neighbour) = circuit.end {
            self.lose_protection(neighbour, token);
        }
        Some(circuit)
    }

    pub(super) fn can_tell(&self, neighbour: NeighbourId) -> bool {
        self.neighbours
            .get(&neighbour)
            .is_some_and(|one| one.health != Health::Gone)
    }

    /// How packets get across a hop just now.
    pub(super) fn way_over(&self, purpose: Purpose, hop: &Hop) -> Way {
        let (Some(label), Some(neighbour)) = (hop.theirs, self.neighbours.get(&hop.neighbour))
        else {
            return Way::None;
        };
        if neighbour.health == Health::Well {
            let to = hop.neighbour;
            return Way::Direct { to, label };
        }
        match (purpose, neighbour.protection) {
            (
                Purpose::Flow,
                Protection::Ready {
                    to, label: outer, ..
                },
            ) if self
                .neighbours
                .get(&to)
                .is_some_and(|first| first.health == Health::Well) =>
            {
                Way::Inside {
                    to,
                    label: outer,
                    push: label,
                }
            }
            (Purpose::Flow | Purpose::Bypass, _) => Way::None,
        }
    }

    /// Writes what a path's packets do into its labels' slots, or into its local end.
    pub(super) fn refresh_actions(&mut self, token: PathToken) {
        let Some(circuit) = self.circuits.get(&token) else {
            return;
        };
        let circuit = circuit.clone();
        let (purpose, end) = (circuit.purpose, circuit.end);
        let (upstream, downstream) = (circuit.upstream, circuit.downstream);
        let outward = downstream.map_or(Way::None, |hop| self.way_over(purpose, &hop));
        let back = upstream.map_or(Way::None, |hop| self.way_over(purpose, &hop));
        match end {
            End::Relay => {
                // The first packet takes the slow path, where its time is noted.
                let seen = circuit.first_packet.is_some() || purpose == Purpose::Bypass;
                let outward = if seen { outward } else { Way::None };
                if let Some(label) = upstream.and_then(|hop| hop.own) {
                    self.labels.set_action(label, action_of(outward));
                }
                if let Some(label) = downstream.and_then(|hop| hop.own) {
                    self.labels.set_action(label, action_of(back));
                }
            }
            End::Source(path) => self.set_way(path, outward),
            End::Destination(path) => self.set_way(path, back),
            End::BypassSource(_) | End::BypassExit => {}
        }
    }

    fn set_way(&mut self, path: PathId, way: Way) {
        if let Some(path) = self.path_mut(path) {
            path.way = way;
        }
    }

    /// When a path was last used, by packets of either direction or by control messages.
    pub(super) fn last_used(&self, circuit: &Circuit) -> Instant {
        circuit
            .hops()
            .filter_map(|hop| self.labels.last_used(hop.own?))
            .fold(circuit.touched, Instant::max)
    }
}

fn action_of(way: Way) -> Action {
    match way {
        Way::None => Action::Hold,
        Way::Direct { to, label } => Action::Relay { to, label },
        Way::Inside { to, label, push } => Action::RelayInside { to, label, push },
    }
}

/// A well-mixed function of nonce and neighbour (the finaliser of MurmurHash3, 32 bits).
fn mix(nonce: u32, neighbour: u32) -> u32 {
    let mut x = nonce ^ neighbour.wrapping_mul(0x9e37_79b9);
    x ^= x >> 16;
    x = x.wrapping_mul(0x85eb_ca6b);
    x ^= x >> 13;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 16)
}
