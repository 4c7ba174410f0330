//! Throughput and loss end to end: a stream as fast as congestion control allows, with echoes beside it that show what gets
//! lost and how long the way takes under load.
//!
//! The measuring side writes zeros until its time is over and finishes the stream; the far side counts and answers with
//! `bytes 8 | micros from first to last 8`, big-endian.

use std::collections::BTreeMap;

use smartmesh_mesh::flow::PayloadKind;
use smartmesh_session::{Direction, Read, SessionInput, StreamId};
use smartmesh_types::{Address, Duration, FlowId, Instant, Now, RequestId};

use crate::{Event, Node, RefusedReason};

/// First byte of a stream that measures.
pub(crate) const PURPOSE_PERF: u8 = 2;

/// How often an echo goes out beside the stream.
const ECHO_EVERY: Duration = Duration::from_millis(20);

/// How long to wait for path, session and report beyond the measuring itself.
const PATIENCE: Duration = Duration::from_secs(15);

/// Measurements at once, on each side; more are refused.
const RUNS_MAX: usize = 8;

/// Bytes written at once.
const PIECE: [u8; 16_384] = [0; 16_384];

#[derive(Debug)]
struct Run {
    request: RequestId,
    to: Address,
    length: Duration,
    stream: Option<StreamId>,
    /// When to stop writing; set when the stream opens.
    until: Instant,
    give_up_at: Instant,
    next_echo_at: Instant,
    finished: bool,
    report: Vec<u8>,
    echoes_sent: u64,
    echoes_back: u64,
}

#[derive(Debug, Default)]
struct Count {
    bytes: u64,
    first: Option<Instant>,
    last: Instant,
}

/// Measurements under way.
#[derive(Debug, Default)]
pub(crate) struct Perf {
    runs: BTreeMap<FlowId, Run>,
    counting: BTreeMap<(FlowId, StreamId), Count>,
}

impl Perf {
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let runs = self.runs.values();
        runs.map(|run| {
            if run.stream.is_some() {
                run.next_echo_at.min(run.give_up_at)
            } else {
                run.give_up_at
            }
        })
        .min()
    }

    /// Notes an echo that came back on a flow that measures.
    pub(crate) fn echo_back(&mut self, flow: FlowId) {
        if let Some(run) = self.runs.get_mut(&flow) {
            run.echoes_back = run.echoes_back.saturating_add(1);
        }
    }
}

impl Node {
    pub(crate) fn perf(&mut self, request: RequestId, to: Address, millis: u64, now: Now) {
        if to == self.identity.address() {
            let reason = RefusedReason::Invalid("this is your own address".to_owned());
            return self.tell(Event::Refused { request, reason });
        }
        let flow = self.mesh.open_flow(to, now);
        self.people.opening(flow, to);
        if self.perf.runs.len() >= RUNS_MAX || self.perf.runs.contains_key(&flow) {
            return self.tell(Event::Refused {
                request,
                reason: RefusedReason::Full("measurements"),
            });
        }
        let length = Duration::from_millis(millis.clamp(100, 60_000));
        let give_up_at = now.instant + length + PATIENCE;
        let run = Run {
            request,
            to,
            length,
            stream: None,
            until: Instant::NEVER,
            give_up_at,
            next_echo_at: Instant::NEVER,
            finished: false,
            report: Vec::new(),
            echoes_sent: 0,
            echoes_back: 0,
        };
        self.perf.runs.insert(flow, run);
        if self.people.flow_to(to) == Some(flow) {
            self.perf_connect(flow, now);
        }
    }

    /// The flow is up: a session is wanted.
    pub(crate) fn perf_connect(&mut self, flow: FlowId, now: Now) {
        let Some(run) = self.perf.runs.get(&flow).filter(|run| run.stream.is_none()) else {
            return;
        };
        let (request, to) = (run.request, run.to);
        if let Err(error) = self.sessions.handle(SessionInput::Connect { flow }, now) {
            self.perf.runs.remove(&flow);
            self.tell(Event::Refused {
                request,
                reason: RefusedReason::NoPath(to, error.to_string()),
            });
        }
        self.perf_connected(flow, now);
    }

    /// The session is up: the stream opens.
    pub(crate) fn perf_connected(&mut self, flow: FlowId, now: Now) {
        let Some(run) = self
            .perf
            .runs
            .get_mut(&flow)
            .filter(|run| run.stream.is_none())
        else {
            return;
        };
        let Ok(stream) = self
            .sessions
            .open_stream(flow, Direction::Both, PURPOSE_PERF, now)
        else {
            return;
        };
        run.stream = Some(stream);
        run.until = now.instant + run.length;
        run.next_echo_at = now.instant;
        self.perf_write(flow, now);
    }

    /// There is room to write.
    pub(crate) fn perf_write(&mut self, flow: FlowId, now: Now) {
        let Some(run) = self.perf.runs.get_mut(&flow).filter(|run| !run.finished) else {
            return;
        };
        let Some(stream) = run.stream else { return };
        if now.instant >= run.until {
            run.finished = true;
            let _ = self.sessions.finish(flow, stream, now);
            return;
        }
        while self.sessions.write(flow, stream, &PIECE, now) == Ok(PIECE.len()) {}
    }

    /// Something can be read on a measuring stream, ours or theirs.
    pub(crate) fn perf_read(&mut self, flow: FlowId, stream: StreamId, now: Now) {
        loop {
            match self.sessions.read(flow, stream, 65_536, now) {
                Ok(Read::Data(bytes)) => self.perf_data(flow, stream, &bytes, now),
                Ok(Read::Finished) => return self.perf_end(flow, stream, now),
                Ok(Read::Blocked) => return,
                Ok(Read::Reset(_)) | Err(_) => {
                    self.perf.counting.remove(&(flow, stream));
                    return;
                }
            }
        }
    }

    /// Whether this stream measures, and who does.
    pub(crate) fn is_perf(&self, flow: FlowId, stream: StreamId) -> bool {
        self.perf.counting.contains_key(&(flow, stream))
            || self
                .perf
                .runs
                .get(&flow)
                .is_some_and(|run| run.stream == Some(stream))
    }

    /// The peer measures.
    pub(crate) fn perf_opened(&mut self, flow: FlowId, stream: StreamId, now: Now) {
        if self.perf.counting.len() < RUNS_MAX {
            self.perf.counting.insert((flow, stream), Count::default());
            self.perf_read(flow, stream, now);
        } else {
            let _ = self.sessions.stop(flow, stream, 0, now);
        }
    }

    fn perf_data(&mut self, flow: FlowId, stream: StreamId, bytes: &[u8], now: Now) {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if let Some(count) = self.perf.counting.get_mut(&(flow, stream)) {
            count.bytes = count.bytes.saturating_add(length);
            count.first.get_or_insert(now.instant);
            count.last = now.instant;
        } else if let Some(run) = self.perf.runs.get_mut(&flow)
            && run.report.len() < 16
        {
            run.report.extend_from_slice(bytes);
        }
    }

    fn perf_end(&mut self, flow: FlowId, stream: StreamId, now: Now) {
        if let Some(count) = self.perf.counting.remove(&(flow, stream)) {
            let elapsed = count.last.since(count.first.unwrap_or(count.last));
            let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
            let report = [count.bytes.to_be_bytes(), micros.to_be_bytes()].concat();
            let _ = self.sessions.write(flow, stream, &report, now);
            let _ = self.sessions.finish(flow, stream, now);
        } else if let Some(run) = self.perf.runs.remove(&flow) {
            let number = |at: usize| {
                let bytes = run.report.get(at..).and_then(|rest| rest.first_chunk());
                bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes))
            };
            self.tell(Event::PerfReport {
                request: run.request,
                bytes_received: number(0),
                packets_sent: run.echoes_sent,
                packets_received: run.echoes_back,
                elapsed: Duration::from_micros(number(8)),
            });
        }
    }

    pub(crate) fn perf_closed(&mut self, flow: FlowId, reason: &str) {
        self.perf
            .counting
            .retain(|(counted, _), _| *counted != flow);
        if let Some(run) = self.perf.runs.remove(&flow) {
            let reason = RefusedReason::NoPath(run.to, reason.to_owned());
            self.tell(Event::Refused {
                request: run.request,
                reason,
            });
        }
    }

    pub(crate) fn perf_tick(&mut self, now: Now) {
        let flows: Vec<FlowId> = self.perf.runs.keys().copied().collect();
        for flow in flows {
            let Some(run) = self.perf.runs.get_mut(&flow) else {
                continue;
            };
            if run.give_up_at <= now.instant {
                let (request, to) = (run.request, run.to);
                self.perf.runs.remove(&flow);
                self.tell(Event::Refused {
                    request,
                    reason: RefusedReason::Timeout(to),
                });
                continue;
            }
            if run.stream.is_some() && run.next_echo_at <= now.instant {
                if run.finished {
                    run.next_echo_at = Instant::NEVER;
                } else {
                    run.next_echo_at = now.instant + ECHO_EVERY;
                    run.echoes_sent = run.echoes_sent.saturating_add(1);
                    self.mesh
                        .send(flow, PayloadKind::Probe, &crate::probe::PERF_ECHO, now);
                }
            }
            self.perf_write(flow, now);
        }
    }
}
