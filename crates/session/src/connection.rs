//! One QUIC connection: its streams as the layers above see them, and when it wants to be woken.

use std::collections::{BTreeMap, VecDeque};

use quinn_proto::{Connection, Dir, FinishError, ReadError, StreamEvent, VarInt, WriteError};
use smartmesh_types::{Duration, FlowId, Instant, NodeKey, Train};
use thiserror::Error;

use crate::interface::{SessionEvent, SessionOutput};

/// The most packets in one train: what segmentation offload takes in one piece on common systems, with room to spare.
const TRAIN_PACKETS_MAX: usize = 32;

/// A stream of a session (RFC 9000 §2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// Whether the peer may answer on the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Both ends write.
    Both,
    /// Only the end that opened it writes.
    OneWay,
}

impl Direction {
    fn of(dir: Dir) -> Self {
        match dir {
            Dir::Bi => Self::Both,
            Dir::Uni => Self::OneWay,
        }
    }

    fn dir(self) -> Dir {
        match self {
            Self::Both => Dir::Bi,
            Self::OneWay => Dir::Uni,
        }
    }
}

/// What reading a stream gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// The next bytes in order; never empty.
    Data(Vec<u8>),
    /// Nothing now; [`SessionEvent::Readable`] follows.
    Blocked,
    /// The peer finished the stream and all of it was read.
    Finished,
    /// The peer gave the stream up, with this code.
    Reset(u64),
}

/// Why a command on a stream was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum StreamError {
    /// The flow has no connected session.
    #[error("no connected session on flow {0:?}")]
    NotConnected(FlowId),
    /// The stream is closed in this direction, or never was.
    #[error("stream {0:?} is not open for this")]
    Closed(StreamId),
    /// As many streams are open as the peer allows; [`SessionEvent::StreamsAvailable`] follows.
    #[error("the peer allows no more streams now")]
    TooMany,
    /// The datagram is larger than the path takes in one packet; the limit in bytes is given.
    #[error("a datagram of {bytes} bytes, at most {bytes_max} fit")]
    DatagramTooLarge {
        /// Its length.
        bytes: usize,
        /// What would fit now.
        bytes_max: usize,
    },
    /// The code does not fit into 62 bits (RFC 9000 §16).
    #[error("{0} is no QUIC error code")]
    Code(u64),
}

/// How a stream ended, told once after its last byte.
#[derive(Clone, Copy, Debug)]
enum End {
    Finished,
    Reset(u64),
}

#[derive(Debug)]
struct Stream {
    /// The purpose byte that opens a stream of ours, until QUIC has taken it.
    unsent_purpose: Option<u8>,
    /// A stream of the peer's whose purpose byte hasn't come yet is not told of.
    announced: bool,
    sending: bool,
    receiving: bool,
    end: Option<End>,
    /// Readable was told and not yet answered by reading until blocked.
    told_readable: bool,
}

/// A QUIC connection and what is known about it here.
pub(crate) struct Session {
    pub(crate) flow: FlowId,
    pub(crate) key: NodeKey,
    pub(crate) quic: Connection,
    pub(crate) state: State,
    pub(crate) connected_at: Option<Instant>,
    /// When something was last sent; decides when to send a sign of life.
    pub(crate) sent_at: Instant,
    /// The deadline under which this session stands in the core's table.
    pub(crate) deadline: Option<Instant>,
    streams: BTreeMap<StreamId, Stream>,
}

/// What a connection may still do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Handshake or data.
    Live,
    /// Lost or closed: only its farewell is still sent.
    Ending,
    /// Gave way to the peer's own attempt: says nothing more.
    Muted,
}

impl Session {
    pub(crate) fn new(flow: FlowId, key: NodeKey, quic: Connection, now: Instant) -> Self {
        Self {
            flow,
            key,
            quic,
            state: State::Live,
            connected_at: None,
            sent_at: now,
            deadline: None,
            streams: BTreeMap::new(),
        }
    }

    /// Whether a sign of life is worth its airtime: only while somebody has a stream open.
    pub(crate) fn in_use(&self) -> bool {
        self.state == State::Live && self.connected_at.is_some() && !self.streams.is_empty()
    }

    /// All packets that may leave now, as trains, but no packet above `packet_bytes_max`: such a one is a probe for a larger
    /// size than the flow says it carries. Returns how many of those were dropped.
    pub(crate) fn transmit(
        &mut self,
        packet_bytes_max: usize,
        now: std::time::Instant,
        outputs: &mut VecDeque<SessionOutput>,
    ) -> Transmitted {
        let mut done = Transmitted::default();
        loop {
            let mut bytes = Vec::new();
            let Some(packet) = self.quic.poll_transmit(now, TRAIN_PACKETS_MAX, &mut bytes) else {
                return done;
            };
            bytes.truncate(packet.size);
            let segment_bytes = packet.segment_size.unwrap_or(packet.size).max(1);
            if segment_bytes > packet_bytes_max {
                done.dropped = done.dropped.saturating_add(1);
                continue;
            }
            done.trains = done.trains.saturating_add(1);
            outputs.push_back(SessionOutput::Transmit {
                flow: self.flow,
                train: Train {
                    bytes,
                    segment_bytes,
                },
            });
        }
    }

    pub(crate) fn open(
        &mut self,
        direction: Direction,
        purpose: u8,
    ) -> Result<StreamId, StreamError> {
        let id = self
            .quic
            .streams()
            .open(direction.dir())
            .ok_or(StreamError::TooMany)?;
        let stream = StreamId(id.into());
        self.streams.insert(
            stream,
            Stream {
                unsent_purpose: Some(purpose),
                announced: true,
                sending: true,
                receiving: direction == Direction::Both,
                end: None,
                told_readable: false,
            },
        );
        self.send_purpose(stream);
        Ok(stream)
    }

    /// Tries to write the purpose byte; true if nothing is left to write of it.
    fn send_purpose(&mut self, stream: StreamId) -> bool {
        let Some(state) = self.streams.get_mut(&stream) else {
            return false;
        };
        let Some(purpose) = state.unsent_purpose else {
            return true;
        };
        let written = self.quic.send_stream(quic_id(stream)).write(&[purpose]);
        if written == Ok(1) {
            state.unsent_purpose = None;
        }
        state.unsent_purpose.is_none()
    }

    fn sending(&self, stream: StreamId) -> Result<(), StreamError> {
        match self.streams.get(&stream) {
            Some(state) if state.sending => Ok(()),
            Some(_) | None => Err(StreamError::Closed(stream)),
        }
    }

    pub(crate) fn write(&mut self, stream: StreamId, bytes: &[u8]) -> Result<usize, StreamError> {
        self.sending(stream)?;
        if !self.send_purpose(stream) {
            return Ok(0);
        }
        match self.quic.send_stream(quic_id(stream)).write(bytes) {
            Ok(written) => Ok(written),
            Err(WriteError::Blocked) => Ok(0),
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => {
                Err(StreamError::Closed(stream))
            }
        }
    }

    pub(crate) fn finish(&mut self, stream: StreamId) -> Result<(), StreamError> {
        self.sending(stream)?;
        if !self.send_purpose(stream) {
            // Without its first byte the stream would be a riddle to the peer.
            return self.reset(stream, 0);
        }
        match self.quic.send_stream(quic_id(stream)).finish() {
            Ok(()) => Ok(()),
            Err(FinishError::Stopped(_) | FinishError::ClosedStream) => {
                Err(StreamError::Closed(stream))
            }
        }
    }

    pub(crate) fn reset(&mut self, stream: StreamId, code: u64) -> Result<(), StreamError> {
        let code = VarInt::try_from(code).map_err(|_| StreamError::Code(code))?;
        self.sending(stream)?;
        let result = self.quic.send_stream(quic_id(stream)).reset(code);
        self.end_sending(stream);
        result.map_err(|_| StreamError::Closed(stream))
    }

    pub(crate) fn stop(&mut self, stream: StreamId, code: u64) -> Result<(), StreamError> {
        let code = VarInt::try_from(code).map_err(|_| StreamError::Code(code))?;
        match self.streams.get(&stream) {
            Some(state) if state.receiving => {}
            Some(_) | None => return Err(StreamError::Closed(stream)),
        }
        let result = self.quic.recv_stream(quic_id(stream)).stop(code);
        self.end_receiving(stream);
        result.map_err(|_| StreamError::Closed(stream))
    }

    pub(crate) fn read(&mut self, stream: StreamId, bytes_max: usize) -> Result<Read, StreamError> {
        let state = self
            .streams
            .get_mut(&stream)
            .filter(|state| state.announced)
            .ok_or(StreamError::Closed(stream))?;
        if let Some(end) = state.end.take() {
            self.end_receiving(stream);
            return Ok(match end {
                End::Finished => Read::Finished,
                End::Reset(code) => Read::Reset(code),
            });
        }
        if !state.receiving {
            return Err(StreamError::Closed(stream));
        }
        let (data, stop) = self.take(stream, bytes_max);
        match stop {
            None => {}
            Some(Stop::Blocked) => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.told_readable = false;
                }
                if data.is_empty() {
                    return Ok(Read::Blocked);
                }
            }
            Some(Stop::End(end)) if data.is_empty() => {
                self.end_receiving(stream);
                return Ok(match end {
                    End::Finished => Read::Finished,
                    End::Reset(code) => Read::Reset(code),
                });
            }
            Some(Stop::End(end)) => {
                if let Some(state) = self.streams.get_mut(&stream) {
                    state.end = Some(end);
                }
            }
        }
        Ok(Read::Data(data))
    }

    /// Takes bytes in order until `bytes_max` are there or the stream says why not.
    fn take(&mut self, stream: StreamId, bytes_max: usize) -> (Vec<u8>, Option<Stop>) {
        let mut data = Vec::new();
        let mut recv = self.quic.recv_stream(quic_id(stream));
        let Ok(mut chunks) = recv.read(true) else {
            return (data, Some(Stop::End(End::Finished)));
        };
        let mut stop = None;
        while data.len() < bytes_max {
            match chunks.next(bytes_max.saturating_sub(data.len())) {
                Ok(Some(chunk)) => data.extend_from_slice(&chunk.bytes),
                Ok(None) => {
                    stop = Some(Stop::End(End::Finished));
                    break;
                }
                Err(ReadError::Blocked) => {
                    stop = Some(Stop::Blocked);
                    break;
                }
                Err(ReadError::Reset(code)) => {
                    stop = Some(Stop::End(End::Reset(code.into_inner())));
                    break;
                }
            }
        }
        // The connection is polled for packets after each command, so nothing is lost by not looking at the hint.
        let _ = chunks.finalize();
        (data, stop)
    }

    fn end_sending(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.sending = false;
            if !state.receiving {
                self.streams.remove(&stream);
            }
        }
    }

    fn end_receiving(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.receiving = false;
            if !state.sending {
                self.streams.remove(&stream);
            }
        }
    }

    /// Takes one event of quinn-proto's about streams.
    pub(crate) fn apply_stream_event(
        &mut self,
        event: StreamEvent,
        out: &mut VecDeque<SessionOutput>,
    ) {
        let flow = self.flow;
        let mut tell = |event| out.push_back(SessionOutput::Event(event));
        match event {
            StreamEvent::Opened { dir } => {
                while let Some(id) = self.quic.streams().accept(dir) {
                    let stream = StreamId(id.into());
                    self.streams.insert(
                        stream,
                        Stream {
                            unsent_purpose: None,
                            announced: false,
                            sending: dir == Dir::Bi,
                            receiving: true,
                            end: None,
                            told_readable: false,
                        },
                    );
                    if let Some(event) = self.readable(stream) {
                        tell(event);
                    }
                }
            }
            StreamEvent::Readable { id } => {
                if let Some(event) = self.readable(StreamId(id.into())) {
                    tell(event);
                }
            }
            StreamEvent::Writable { id } => {
                let stream = StreamId(id.into());
                self.send_purpose(stream);
                tell(SessionEvent::Writable { flow, stream });
            }
            StreamEvent::Finished { id } => {
                let stream = StreamId(id.into());
                self.end_sending(stream);
                tell(SessionEvent::Delivered { flow, stream });
            }
            StreamEvent::Stopped { id, error_code } => {
                let stream = StreamId(id.into());
                let _ = self.quic.send_stream(id).reset(error_code);
                self.end_sending(stream);
                tell(SessionEvent::Stopped {
                    flow,
                    stream,
                    code: error_code.into_inner(),
                });
            }
            StreamEvent::Available { dir } => tell(SessionEvent::StreamsAvailable {
                flow,
                direction: Direction::of(dir),
            }),
        }
    }

    /// A stream has something to read: its purpose first, then what the layers above will fetch.
    fn readable(&mut self, stream: StreamId) -> Option<SessionEvent> {
        let flow = self.flow;
        let state = self.streams.get(&stream).filter(|state| state.receiving)?;
        if !state.announced {
            let (first, stop) = self.take(stream, 1);
            let Some(purpose) = first.first().copied() else {
                if matches!(stop, Some(Stop::End(_))) {
                    // Given up before it said what it was for.
                    self.end_receiving(stream);
                }
                return None;
            };
            let direction = Direction::of(quic_id(stream).dir());
            let state = self.streams.get_mut(&stream)?;
            state.announced = true;
            state.told_readable = true;
            return Some(SessionEvent::StreamOpened {
                flow,
                stream,
                direction,
                purpose,
            });
        }
        let state = self.streams.get_mut(&stream)?;
        if state.told_readable {
            return None;
        }
        state.told_readable = true;
        Some(SessionEvent::Readable { flow, stream })
    }

    /// When the next sign of life is due.
    pub(crate) fn keep_alive_at(&self, interval: Duration) -> Option<Instant> {
        self.in_use().then(|| self.sent_at + interval)
    }
}

/// Why [`Session::take`] stopped before it had all it was asked for.
enum Stop {
    Blocked,
    End(End),
}

/// What [`Session::transmit`] did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transmitted {
    pub(crate) trains: u64,
    pub(crate) dropped: u64,
}

fn quic_id(stream: StreamId) -> quinn_proto::StreamId {
    VarInt::try_from(stream.0).unwrap_or(VarInt::MAX).into()
}
