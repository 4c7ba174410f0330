//! All timers of paths and flows: acknowledgements owed and awaited, paths that stall, retire or expire.

use smartmesh_types::{Duration, FlowId, Instant};
use smartmesh_wire::flow::Patch;

use super::conversation::DORMANT_MAX;
use super::packet::{KIND_ACK, KIND_PING};
use super::path::{Path, Side};
use super::{DownReason, Flows, NextHops, PathId};

/// Pings without an answer after which a path counts as stalled, and after which it is given up.
const PROBES_BEFORE_STALL: u8 = 2;
const PROBES_MAX: u8 = 20;
/// A path is built anew after this time, for fresh keys.
const REKEY_AFTER: Duration = Duration::from_secs(3_600);
/// The ends forget an unused path after so many quarters of its lifetime, before the relays do.
const EXPIRY_QUARTERS: u32 = 3;

impl Flows {
    /// Runs all timers that are due.
    pub(super) fn run_timers(&mut self, routes: &dyn NextHops, now: Instant) {
        if self.sweep_at <= now {
            self.sweep(now);
            self.sweep_conversations(now);
        }
        // An attempt that fails on the spot asks for the next one at once; each round tries another neighbour.
        for _ in 0..16 {
            if self.wake > now {
                break;
            }
            self.wake = Instant::NEVER;
            self.judge(routes, now);
            let due: Vec<FlowId> = self
                .conversations
                .values()
                .filter(|one| one.seek.as_ref().is_some_and(|seek| seek.next_at <= now))
                .map(|one| one.id)
                .collect();
            for flow in due {
                self.attempt(flow, routes, now);
            }
            for index in 0..self.paths.len() {
                if let Ok(index) = u32::try_from(index) {
                    self.run_path_timers(PathId(index), now);
                }
            }
            let seeks = self.conversations.values();
            let next = seeks
                .filter_map(|one| one.seek.as_ref().map(|seek| seek.next_at))
                .chain(self.paths.iter().flatten().filter_map(|path| next_of(path)))
                .min();
            if let Some(next) = next {
                self.wake_at(next);
            }
        }
    }

    fn run_path_timers(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        if path.retire_at.is_some_and(|at| at <= now) {
            // The other side still sends here: it has not moved yet.
            if now.since(path.last_received) < Duration::from_secs(2) && path.flow.is_some() {
                path.retire_at = Some(now + Duration::from_secs(2));
            } else {
                return self.cut_path(id);
            }
        }
        let Some(path) = self.path_mut(id) else {
            return;
        };
        if path.ack_due.is_some_and(|at| at <= now) {
            path.ack_due = None;
            let ack = path.ack();
            self.send_ack(id, &ack, now);
        }
        self.run_stall_timer(id, now);
    }

    /// Acknowledgements also go out on a path that is being retired: the other side may not know yet.
    fn send_ack(&mut self, id: PathId, ack: &[u8], now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        let (way, patch) = (path.way, path.patch);
        let mut packet = Vec::with_capacity(64);
        if patch != Patch::Open && path.seal(KIND_ACK, ack, &mut packet, now).is_some() {
            self.send_way(way, packet);
        }
    }

    fn run_stall_timer(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id) else {
            return;
        };
        if path.stall_at.is_none_or(|at| at > now) {
            return;
        }
        path.probes = path.probes.saturating_add(1);
        let probes = path.probes;
        let pause = if probes <= PROBES_BEFORE_STALL {
            let trips = path.rtt.saturating_mul(2).min(Duration::from_secs(1));
            trips.saturating_add(Duration::from_millis(80))
        } else {
            Duration::from_millis(500)
        };
        path.stall_at = Some(now + pause);
        let third = !path.proven && path.side == Side::Initiator;
        let newly = probes > PROBES_BEFORE_STALL && !path.stalled;
        path.stalled |= newly;
        if path.retire_at.is_some() {
            return self.resend_unproven(id, now);
        }
        if probes > PROBES_MAX {
            path.stall_at = None;
            return self.abandon(id, now);
        }
        path.note_ping(now);
        if third {
            self.send_third(id, now);
        }
        self.send_own(id, KIND_PING, &[], now);
        if newly {
            self.note_stall(id, now);
        }
    }

    /// A path that does not deliver: another one is looked for.
    fn note_stall(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path(id) else { return };
        let (token, flow, side, proven) = (path.token, path.flow, path.side, path.proven);
        self.counters.stalls = self.counters.stalls.saturating_add(1);
        // A new path is worth more when the relays know where the old one failed.
        let mut known_after = Duration::ZERO;
        if proven && side == Side::Initiator {
            known_after = self.pass_doubt(token, now);
        } else {
            self.blame_first_hop(token, now);
        }
        let active = flow
            .and_then(|flow| self.conversations.get(&flow))
            .and_then(|one| one.active);
        if let Some(flow) = flow.filter(|_| active == Some(id)) {
            let delay = match side {
                Side::Initiator => known_after,
                Side::Responder => Duration::from_millis(100),
            };
            self.begin_seek(flow, delay, u32::MAX, now);
        }
    }

    /// A relay says that this path's first packet got lost behind it.
    pub(super) fn doubt_path(&mut self, id: PathId, now: Instant) {
        let Some(path) = self.path_mut(id).filter(|path| !path.proven) else {
            return;
        };
        path.stalled = true;
        path.probes = path.probes.max(1);
        let flow = path.flow;
        self.counters.stalls = self.counters.stalls.saturating_add(1);
        if let Some(flow) = flow {
            self.begin_seek(flow, Duration::ZERO, u32::MAX, now);
            self.hasten(flow, now);
        }
    }

    /// A path that has owed answers for too long ends.
    fn abandon(&mut self, id: PathId, now: Instant) {
        let Some(token) = self.path(id).map(|path| path.token) else {
            return;
        };
        self.remove_circuit(token, |_, _| true);
        self.lose_path(id, now);
    }

    /// Ends of paths and flows that nobody uses; keys that are old.
    fn sweep_conversations(&mut self, now: Instant) {
        let stale: Vec<(PathId, bool)> = self
            .paths
            .iter()
            .zip(0u32..)
            .filter_map(|(path, index)| Some((path.as_deref()?, PathId(index))))
            .filter(|(path, _)| path.is_established())
            .filter_map(|(path, id)| {
                let idle = now.since(path.last_used).saturating_mul(4)
                    > path.lifetime.saturating_mul(EXPIRY_QUARTERS);
                let old = now.since(path.born) > REKEY_AFTER;
                (idle || old).then_some((id, idle))
            })
            .collect();
        for (id, idle) in stale {
            let flow = self.path(id).and_then(|path| path.flow);
            if idle {
                self.cut_path(id);
            } else if let Some(flow) = flow {
                self.begin_seek(flow, Duration::ZERO, 4, now);
            }
        }
        let dormant: Vec<FlowId> = self
            .conversations
            .values()
            .filter(|one| now.since(one.last_used) > DORMANT_MAX)
            .map(|one| one.id)
            .collect();
        for id in dormant {
            self.end_conversation(id, DownReason::Idle);
        }
        if !self.conversations.is_empty() {
            self.sweep_at = self.sweep_at.min(now + super::repair::SWEEP);
        }
    }
}

fn next_of(path: &Path) -> Option<Instant> {
    [path.retire_at, path.ack_due, path.stall_at]
        .into_iter()
        .flatten()
        .min()
}
