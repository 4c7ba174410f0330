//! Ping: echo over a flow.
//!
//! ```text
//! 0      1        9
//! kind 1 | token 8 | filling
//! ```
//! Kind 0 asks, kind 1 answers with the same token.

use std::collections::BTreeMap;

use smartmesh_crypto::{Rng, Seed};
use smartmesh_mesh::flow::{DownReason, PayloadKind};
use smartmesh_types::{Address, Duration, FlowId, Instant, Now, RequestId};

use crate::{Event, Node, RefusedReason};

const ASK: u8 = 0;
const ANSWER: u8 = 1;

/// What a measurement sends beside its stream: an echo whose token is no ping's.
pub(crate) const PERF_ECHO: [u8; ECHO_BYTES] = [ASK; ECHO_BYTES];

/// How long a ping waits for path and answer together.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pings under way at most; more are refused.
const PINGS_MAX: usize = 1_024;

/// Bytes of an echo: as long as a short message, so that the figure means something.
const ECHO_BYTES: usize = 64;

#[derive(Debug)]
struct Ping {
    request: RequestId,
    to: Address,
    flow: FlowId,
    sent_at: Instant,
    give_up_at: Instant,
    traces: bool,
}

/// Pings under way.
#[derive(Debug)]
pub(crate) struct Probes {
    rng: Rng,
    pings: BTreeMap<[u8; 8], Ping>,
}

impl Probes {
    pub(crate) fn new(seed: &Seed) -> Self {
        Self {
            rng: seed.rng(),
            pings: BTreeMap::new(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.pings.values().map(|ping| ping.give_up_at).min()
    }
}

impl Node {
    pub(crate) fn ping(&mut self, request: RequestId, to: Address, now: Now) {
        self.probe(request, to, false, now);
    }

    /// Relays of a flow are nameless on purpose and do not answer; what can be told is how many there are.
    pub(crate) fn trace(&mut self, request: RequestId, to: Address, now: Now) {
        self.probe(request, to, true, now);
    }

    fn probe(&mut self, request: RequestId, to: Address, traces: bool, now: Now) {
        if self.probes.pings.len() >= PINGS_MAX {
            return self.tell(Event::Refused {
                request,
                reason: RefusedReason::Full("pings"),
            });
        }
        if to == self.identity.address() {
            return self.tell(Event::Pong {
                request,
                rtt: Duration::ZERO,
                hops: 0,
            });
        }
        let flow = self.mesh.open_flow(to, now);
        self.people.opening(flow, to);
        let token = self.probes.rng.bytes();
        let give_up_at = now.instant + PATIENCE;
        self.probes.pings.insert(
            token,
            Ping {
                request,
                to,
                flow,
                sent_at: now.instant,
                give_up_at,
                traces,
            },
        );
        self.send_echo(flow, ASK, &token, now);
    }

    fn send_echo(&mut self, flow: FlowId, kind: u8, token: &[u8], now: Now) {
        let mut payload = Vec::with_capacity(ECHO_BYTES);
        payload.push(kind);
        payload.extend_from_slice(token);
        payload.resize(ECHO_BYTES, 0);
        self.mesh.send(flow, PayloadKind::Probe, &payload, now);
    }

    pub(crate) fn handle_probe(&mut self, flow: FlowId, payload: &[u8], now: Now) {
        let Some((kind, token)) = payload.split_first() else {
            return;
        };
        let Some(token) = token.first_chunk::<8>() else {
            return;
        };
        match *kind {
            ASK => self.send_echo(flow, ANSWER, token, now),
            ANSWER => {
                if self
                    .probes
                    .pings
                    .get(token)
                    .is_some_and(|ping| ping.flow == flow)
                    && let Some(ping) = self.probes.pings.remove(token)
                {
                    let rtt = now.instant.since(ping.sent_at);
                    let hops = self.people.hops(flow).unwrap_or(0);
                    let request = ping.request;
                    if ping.traces {
                        for hop in 1..hops {
                            self.tell(Event::TraceHop {
                                request,
                                hop,
                                rtt: None,
                            });
                        }
                        self.tell(Event::TraceHop {
                            request,
                            hop: hops,
                            rtt: Some(rtt),
                        });
                        self.tell(Event::Done(request));
                    } else {
                        self.tell(Event::Pong { request, rtt, hops });
                    }
                } else if *token == [0; 8] {
                    self.perf.echo_back(flow);
                }
            }
            // Of a later version.
            _ => {}
        }
    }

    /// A ping that waited for its path: its round trip starts now.
    pub(crate) fn probes_flow_up(&mut self, flow: FlowId, now: Now) {
        for ping in self
            .probes
            .pings
            .values_mut()
            .filter(|ping| ping.flow == flow)
        {
            ping.sent_at = now.instant;
        }
    }

    pub(crate) fn probes_flow_down(&mut self, flow: FlowId, reason: DownReason) {
        let lost: Vec<_> = self
            .probes
            .pings
            .iter()
            .filter(|(_, ping)| ping.flow == flow)
            .map(|(token, _)| *token)
            .collect();
        for token in lost {
            if let Some(ping) = self.probes.pings.remove(&token) {
                let reason = RefusedReason::NoPath(ping.to, down_in_words(reason).to_owned());
                self.tell(Event::Refused {
                    request: ping.request,
                    reason,
                });
            }
        }
    }

    pub(crate) fn probes_tick(&mut self, now: Now) {
        let late: Vec<_> = self
            .probes
            .pings
            .iter()
            .filter(|(_, ping)| ping.give_up_at <= now.instant)
            .map(|(token, _)| *token)
            .collect();
        for token in late {
            if let Some(ping) = self.probes.pings.remove(&token) {
                self.tell(Event::Refused {
                    request: ping.request,
                    reason: RefusedReason::Timeout(ping.to),
                });
            }
        }
    }
}

/// Why there is no path, for people.
pub(crate) fn down_in_words(reason: DownReason) -> &'static str {
    match reason {
        DownReason::NoRoute => "nobody within reach knows a way there",
        DownReason::NoAnswer => "there is a way, but nobody answered at its end",
        DownReason::Lost => "the path was lost and no other was found",
        DownReason::Closed => "they closed the connection",
        DownReason::Restarted => "their phone has just restarted",
        DownReason::Idle => "the connection was not used for long",
    }
}
