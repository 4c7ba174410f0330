//! Files: chunks asked for and given over streams of sessions. Requests go on a stream that this side opened, answers on
//! the one that the other side did.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_session::{Direction, Read, SessionEvent, SessionInput, StreamId};
use smartmesh_storage::{
    ChunkAddress, ChunkFrames, ChunkMessage, Held, Reference, Retrieval, RetrievalConfig,
    RetrievalEvent, RetrievalInput, RetrievalOutput,
};
use smartmesh_types::{Address, FlowId, Instant, Now, RequestId};

use crate::perf::PURPOSE_PERF;
use crate::{Event, FileOffer, Node, Output, RefusedReason};

/// First byte of a stream of chunks.
const PURPOSE_CHUNKS: u8 = 1;

/// Messages that wait for one stream at most; beyond it the peer is taken for gone.
const WAITING_MAX: usize = 256;

/// Holders asked at once besides the one who offered the file.
const OTHER_HOLDERS: usize = 3;

/// One stream of chunks.
#[derive(Debug, Default)]
struct Lane {
    stream: Option<StreamId>,
    frames: ChunkFrames,
    /// Encoded messages, the first of which may be partly written; and whether each is an answer.
    waiting: VecDeque<(Vec<u8>, bool)>,
    written: usize,
}

/// Fetches and answers under way.
#[derive(Debug)]
pub(crate) struct Files {
    retrieval: Retrieval,
    /// Streams by flow; `true`: opened here.
    lanes: BTreeMap<(FlowId, bool), Lane>,
    fetches: BTreeMap<RequestId, (Vec<u8>, BTreeMap<Address, u64>)>,
    finding: BTreeSet<[u8; 32]>,
}

impl Files {
    pub(crate) fn new(now: Now) -> Self {
        Self {
            retrieval: Retrieval::new(RetrievalConfig::default(), now),
            lanes: BTreeMap::new(),
            fetches: BTreeMap::new(),
            finding: BTreeSet::new(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.retrieval.next_timeout()
    }

    pub(crate) fn retrieval_mut(&mut self) -> &mut Retrieval {
        &mut self.retrieval
    }

    /// The files that are being fetched.
    pub(crate) fn references(&self) -> impl Iterator<Item = &[u8]> {
        self.fetches
            .values()
            .map(|(reference, _)| reference.as_slice())
    }
}

impl Node {
    pub(crate) fn fetch_file(
        &mut self,
        request: RequestId,
        from: Address,
        offer: FileOffer,
        now: Now,
    ) {
        let Ok(reference) = Reference::from_bytes(&offer.reference) else {
            let reason = RefusedReason::Invalid("this is not the reference of a file".to_owned());
            return self.tell(Event::Refused { request, reason });
        };
        let others: Vec<Address> = self
            .people
            .reachable()
            .filter(|other| *other != from)
            .take(OTHER_HOLDERS)
            .collect();
        let holders: Vec<Address> = std::iter::once(from).chain(others).collect();
        self.files
            .fetches
            .insert(request, (offer.reference, BTreeMap::new()));
        let fetch = RetrievalInput::Fetch {
            id: request,
            reference,
            holders,
        };
        if let Err(error) = self.files.retrieval.handle(fetch, now) {
            self.files.fetches.remove(&request);
            return self.tell(Event::Refused {
                request,
                reason: RefusedReason::Invalid(error.to_string()),
            });
        }
        self.tell(Event::Done(request));
        self.fetches_changed(now);
    }

    pub(crate) fn cancel_fetch(&mut self, request: RequestId, reference: &[u8], now: Now) {
        let ids: Vec<RequestId> = self
            .files
            .fetches
            .iter()
            .filter(|(_, (known, _))| known == reference)
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.files.fetches.remove(&id);
            let _ = self
                .files
                .retrieval
                .handle(RetrievalInput::Cancel { id }, now);
        }
        self.tell(Event::Done(request));
        self.fetches_changed(now);
    }

    pub(crate) fn files_tick(&mut self, now: Now) {
        let _ = self.files.retrieval.handle(RetrievalInput::Tick, now);
    }

    pub(crate) fn handle_chunk_loaded(
        &mut self,
        address: [u8; 32],
        bytes: Option<Vec<u8>>,
        now: Now,
    ) {
        let chunk = ChunkAddress(address);
        self.cut_chunk(address, bytes.as_deref(), now);
        if self.files.finding.remove(&address) {
            let held = if bytes.is_some() { Held::Yes } else { Held::No };
            let _ = self.files.retrieval.handle(
                RetrievalInput::ChunkFound {
                    address: chunk,
                    held,
                },
                now,
            );
        }
        let _ = self.files.retrieval.handle(
            RetrievalInput::ChunkLoaded {
                address: chunk,
                bytes,
            },
            now,
        );
    }

    /// Carries out one output of retrieval; whether there was one.
    pub(crate) fn settle_files(&mut self, now: Now) -> bool {
        let Some(output) = self.files.retrieval.poll_output() else {
            return false;
        };
        match output {
            RetrievalOutput::StoreChunk(chunk) => {
                let (address, bytes) = (chunk.address().0, chunk.bytes().to_vec());
                self.outputs
                    .push_back(Output::StoreChunk { address, bytes });
            }
            RetrievalOutput::LoadChunk { address } => self
                .outputs
                .push_back(Output::LoadChunk { address: address.0 }),
            RetrievalOutput::FindChunk { address } => {
                self.files.finding.insert(address.0);
                self.outputs
                    .push_back(Output::LoadChunk { address: address.0 });
            }
            RetrievalOutput::Send { to, message } => self.send_chunk_message(to, &message, now),
            RetrievalOutput::Event(event) => self.tell_fetch(event, now),
        }
        true
    }

    fn tell_fetch(&mut self, event: RetrievalEvent, now: Now) {
        match event {
            RetrievalEvent::Progress { id, bytes_done, .. } => {
                if let Some((reference, _)) = self.files.fetches.get(&id) {
                    let reference = reference.clone();
                    self.tell(Event::FetchProgress {
                        reference,
                        bytes: bytes_done,
                    });
                }
            }
            RetrievalEvent::Complete { id, .. } => {
                if self.look_over(id, true, now) {
                    return;
                }
                if let Some((reference, holders)) = self.files.fetches.remove(&id) {
                    self.tell(Event::FetchComplete {
                        reference: reference.clone(),
                        holders: holders.into_iter().collect(),
                    });
                    self.file_is_here(&reference);
                    self.fetches_changed(now);
                }
            }
            RetrievalEvent::Failed { id, reason } => {
                if self.look_over(id, false, now) {
                    return;
                }
                if let Some((reference, _)) = self.files.fetches.remove(&id) {
                    self.fetches_changed(now);
                    let mut reason = reason.to_string();
                    if self.may_be_carried(&reference) {
                        reason.push_str("; if people carry it here, it will appear by itself");
                    }
                    self.tell(Event::FetchFailed { reference, reason });
                }
                self.look_next(now);
            }
            RetrievalEvent::HolderDropped { .. } => {}
        }
    }

    fn send_chunk_message(&mut self, to: Address, message: &ChunkMessage, now: Now) {
        let answer = match message {
            ChunkMessage::Request(_) | ChunkMessage::Cancel(_) => false,
            ChunkMessage::Chunk { .. } | ChunkMessage::Missing(_) => true,
        };
        let flow = match self.people.flow_to(to) {
            Some(flow) => flow,
            None => {
                let flow = self.mesh.open_flow(to, now);
                self.people.opening(flow, to);
                flow
            }
        };
        let lane = self.files.lanes.entry((flow, !answer)).or_default();
        if lane.waiting.len() >= WAITING_MAX {
            let _ = self
                .files
                .retrieval
                .handle(RetrievalInput::PeerGone { peer: to }, now);
            return;
        }
        lane.waiting.push_back((message.encode(), answer));
        if lane.stream.is_none() && !answer {
            self.chunks_connect(flow, now);
        }
        self.write_lane(flow, !answer, now);
    }

    /// Wants a session on a flow with requests that wait, and a stream in it.
    fn chunks_connect(&mut self, flow: FlowId, now: Now) {
        let lane = self.files.lanes.get(&(flow, true));
        if lane.is_none_or(|lane| lane.stream.is_some()) {
            return;
        }
        // Refused while the flow is not up: tried again when it is. On a path too thin for sessions nobody holds anything.
        let connected = self.sessions.handle(SessionInput::Connect { flow }, now);
        if let (Err(smartmesh_session::ConnectError::PathTooThin { .. }), Some(peer)) =
            (connected, self.people.peer_of(flow))
        {
            self.files.lanes.remove(&(flow, true));
            let _ = self
                .files
                .retrieval
                .handle(RetrievalInput::PeerGone { peer }, now);
            return;
        }
        if let Ok(stream) = self
            .sessions
            .open_stream(flow, Direction::Both, PURPOSE_CHUNKS, now)
            && let Some(lane) = self.files.lanes.get_mut(&(flow, true))
        {
            lane.stream = Some(stream);
            self.write_lane(flow, true, now);
        }
    }

    fn write_lane(&mut self, flow: FlowId, opened_here: bool, now: Now) {
        let peer = self.people.peer_of(flow);
        let Some(lane) = self.files.lanes.get_mut(&(flow, opened_here)) else {
            return;
        };
        let Some(stream) = lane.stream else { return };
        while let Some((bytes, answer)) = lane.waiting.front() {
            let rest = bytes.get(lane.written..).unwrap_or_default();
            let Ok(taken) = self.sessions.write(flow, stream, rest, now) else {
                return;
            };
            lane.written = lane.written.saturating_add(taken);
            if lane.written < bytes.len() {
                return;
            }
            let answered = *answer;
            lane.waiting.pop_front();
            lane.written = 0;
            if let (true, Some(to)) = (answered, peer) {
                let _ = self
                    .files
                    .retrieval
                    .handle(RetrievalInput::Sent { to }, now);
            }
        }
    }

    fn read_lane(&mut self, flow: FlowId, opened_here: bool, now: Now) {
        let Some(peer) = self.people.peer_of(flow) else {
            return;
        };
        loop {
            let Some(lane) = self.files.lanes.get_mut(&(flow, opened_here)) else {
                return;
            };
            let Some(stream) = lane.stream else { return };
            match self.sessions.read(flow, stream, 65_536, now) {
                Ok(Read::Data(bytes)) => lane.frames.push(&bytes),
                Ok(Read::Blocked) => return,
                Ok(Read::Finished | Read::Reset(_)) | Err(_) => {
                    return self.lane_gone(flow, opened_here, now);
                }
            }
            loop {
                let Some(lane) = self.files.lanes.get_mut(&(flow, opened_here)) else {
                    return;
                };
                match lane.frames.next_message() {
                    Ok(Some(message)) => self.handle_chunk_message(peer, message, now),
                    Ok(None) => break,
                    Err(_) => return self.lane_gone(flow, opened_here, now),
                }
            }
        }
    }

    fn handle_chunk_message(&mut self, from: Address, message: ChunkMessage, now: Now) {
        if let ChunkMessage::Chunk { .. } = &message {
            for (_, holders) in self.files.fetches.values_mut() {
                let count = holders.entry(from).or_default();
                *count = count.saturating_add(1);
            }
        }
        let _ = self
            .files
            .retrieval
            .handle(RetrievalInput::Received { from, message }, now);
    }

    fn lane_gone(&mut self, flow: FlowId, opened_here: bool, now: Now) {
        if self.files.lanes.remove(&(flow, opened_here)).is_some()
            && let Some(peer) = self.people.peer_of(flow)
        {
            let _ = self
                .files
                .retrieval
                .handle(RetrievalInput::PeerGone { peer }, now);
        }
    }

    pub(crate) fn files_flow_up(&mut self, flow: FlowId, now: Now) {
        self.chunks_connect(flow, now);
    }

    /// A flow is gone for good, with its session.
    pub(crate) fn files_flow_down(&mut self, flow: FlowId, peer: Address, now: Now) {
        self.files.lanes.retain(|(lane, _), _| *lane != flow);
        let _ = self
            .files
            .retrieval
            .handle(RetrievalInput::PeerGone { peer }, now);
    }

    fn lane_of(&self, flow: FlowId, stream: StreamId) -> Option<bool> {
        [true, false].into_iter().find(|here| {
            self.files
                .lanes
                .get(&(flow, *here))
                .is_some_and(|lane| lane.stream == Some(stream))
        })
    }

    pub(crate) fn handle_session_event(&mut self, event: SessionEvent, now: Now) {
        match event {
            SessionEvent::Connected { flow, .. } => {
                self.perf_connected(flow, now);
                self.chunks_connect(flow, now);
            }
            SessionEvent::Closed { flow, reason } => {
                self.perf_closed(flow, &reason.to_string());
                for here in [true, false] {
                    self.lane_gone(flow, here, now);
                }
            }
            SessionEvent::StreamOpened {
                flow,
                stream,
                purpose,
                ..
            } => match purpose {
                PURPOSE_CHUNKS => {
                    let lane = self.files.lanes.entry((flow, false)).or_default();
                    *lane = Lane {
                        stream: Some(stream),
                        ..Lane::default()
                    };
                    self.read_lane(flow, false, now);
                }
                PURPOSE_PERF => self.perf_opened(flow, stream, now),
                // Of a later version.
                _ => drop(self.sessions.stop(flow, stream, 0, now)),
            },
            SessionEvent::Readable { flow, stream } => match self.lane_of(flow, stream) {
                Some(here) => self.read_lane(flow, here, now),
                None if self.is_perf(flow, stream) => self.perf_read(flow, stream, now),
                None => {}
            },
            SessionEvent::Writable { flow, stream } => match self.lane_of(flow, stream) {
                Some(here) => self.write_lane(flow, here, now),
                None => self.perf_write(flow, now),
            },
            SessionEvent::Stopped { flow, stream, .. } => {
                if let Some(here) = self.lane_of(flow, stream) {
                    self.lane_gone(flow, here, now);
                }
            }
            SessionEvent::Delivered { .. }
            | SessionEvent::StreamsAvailable { .. }
            | SessionEvent::DatagramReceived { .. } => {}
        }
    }
}
