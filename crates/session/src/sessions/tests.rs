use proptest::prelude::*;
use smartmesh_crypto::Rng;

use super::*;

const FLOW: FlowId = FlowId(7);
const PURPOSE: u8 = 42;

/// One end with everything it was told and every byte it read.
struct End {
    core: Sessions,
    key: NodeKey,
    events: Vec<SessionEvent>,
    received: Vec<u8>,
    finished: bool,
    /// What is still to be written, on which stream, and how far it is.
    outgoing: Option<(StreamId, Vec<u8>, usize)>,
}

/// Two ends and a path between them that takes time, loses packets and can be cut.
struct Pair {
    ends: [End; 2],
    now: Now,
    air: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    sequence: u64,
    latency: Duration,
    loss_percent: u64,
    packet_bytes_max: usize,
    cut: bool,
    rng: Rng,
    largest: usize,
}

fn identity(byte: u8) -> Identity {
    Identity::from_secret([byte; 32])
}

fn end(byte: u8, config: SessionConfig) -> End {
    #[expect(
        clippy::disallowed_methods,
        reason = "any moment will do as origin; nothing depends on which"
    )]
    let origin = std::time::Instant::now();
    let identity = identity(byte);
    End {
        core: Sessions::new(
            config,
            &identity,
            &Seed::new([byte; 32]),
            origin,
            Now::default(),
        ),
        key: identity.key(),
        events: vec![],
        received: vec![],
        finished: false,
        outgoing: None,
    }
}

impl Pair {
    fn new() -> Self {
        Self::with(SessionConfig::default())
    }

    fn with(config: SessionConfig) -> Self {
        Self {
            ends: [end(1, config.clone()), end(2, config)],
            now: Now::default(),
            air: BTreeMap::new(),
            sequence: 0,
            latency: Duration::from_millis(20),
            loss_percent: 0,
            packet_bytes_max: usize::MAX,
            cut: false,
            rng: Seed::new([9; 32]).rng(),
            largest: 0,
        }
    }

    fn flow_up(&mut self, mtu: usize, bits_per_second: u64) {
        let keys = [self.ends[1].key, self.ends[0].key];
        self.flow_up_as(keys, mtu, bits_per_second);
    }

    fn flow_up_as(&mut self, keys: [NodeKey; 2], mtu: usize, bits_per_second: u64) {
        for (index, role) in [FlowRole::Initiator, FlowRole::Responder]
            .into_iter()
            .enumerate()
        {
            let input = SessionInput::FlowUp {
                flow: FLOW,
                key: keys[index],
                role,
                mtu,
                bits_per_second,
            };
            self.ends[index].core.handle(input, self.now).unwrap();
            self.drain(index);
        }
    }

    fn give(&mut self, index: usize, input: SessionInput) -> Result<(), ConnectError> {
        let result = self.ends[index].core.handle(input, self.now);
        self.drain(index);
        result
    }

    fn drain(&mut self, index: usize) {
        while let Some(output) = self.ends[index].core.poll_output() {
            match output {
                SessionOutput::Transmit { flow, train } => {
                    assert_eq!(flow, FLOW);
                    for packet in train.frames() {
                        self.send(index, packet.to_vec());
                    }
                }
                SessionOutput::Event(event) => self.note(index, event),
            }
        }
    }

    fn send(&mut self, from: usize, packet: Vec<u8>) {
        assert!(packet.len() <= self.packet_bytes_max.max(1_200));
        self.largest = self.largest.max(packet.len());
        if self.cut || self.rng.below(100) < self.loss_percent {
            return;
        }
        self.sequence += 1;
        let at = self.now.instant + self.latency;
        self.air.insert((at, self.sequence), (1 - from, packet));
    }

    fn note(&mut self, index: usize, event: SessionEvent) {
        let now = self.now;
        let end = &mut self.ends[index];
        end.events.push(event.clone());
        match event {
            SessionEvent::StreamOpened { stream, .. } | SessionEvent::Readable { stream, .. } => {
                loop {
                    match end.core.read(FLOW, stream, 100_000, now).unwrap() {
                        Read::Data(bytes) => end.received.extend_from_slice(&bytes),
                        Read::Blocked => break,
                        Read::Finished => {
                            end.finished = true;
                            break;
                        }
                        Read::Reset(_) => break,
                    }
                }
            }
            SessionEvent::Writable { .. } => self.write_on(index),
            SessionEvent::Connected { .. }
            | SessionEvent::Closed { .. }
            | SessionEvent::Delivered { .. }
            | SessionEvent::Stopped { .. }
            | SessionEvent::StreamsAvailable { .. }
            | SessionEvent::DatagramReceived { .. } => {}
        }
    }

    fn write_on(&mut self, index: usize) {
        let end = &mut self.ends[index];
        let Some((stream, bytes, mut at)) = end.outgoing.take() else {
            return;
        };
        while at < bytes.len() {
            let written = end
                .core
                .write(FLOW, stream, &bytes[at..], self.now)
                .unwrap();
            if written == 0 {
                end.outgoing = Some((stream, bytes, at));
                return;
            }
            at += written;
        }
        end.core.finish(FLOW, stream, self.now).unwrap();
    }

    fn start_stream(&mut self, index: usize, bytes: Vec<u8>) {
        let stream = self.ends[index]
            .core
            .open_stream(FLOW, Direction::OneWay, PURPOSE, self.now)
            .unwrap();
        self.ends[index].outgoing = Some((stream, bytes, 0));
        self.write_on(index);
        self.drain(index);
    }

    /// Moves the clock to whatever comes next, until the condition holds; false if `limit` passes first.
    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now.instant + limit;
        while !done(self) {
            let packet = self.air.first_key_value().map(|((at, _), _)| *at);
            let timers = self.ends.iter().filter_map(|end| end.core.next_timeout());
            let Some(next) = timers.chain(packet).min().filter(|next| *next <= end) else {
                self.now = self.now.after(end.since(self.now.instant));
                return done(self);
            };
            self.now = self.now.after(next.since(self.now.instant));
            let key = self.air.first_key_value().map(|(key, _)| *key);
            if let Some(key) = key.filter(|(at, _)| *at <= self.now.instant) {
                let (to, bytes) = self.air.remove(&key).unwrap();
                self.give(to, SessionInput::Datagram { flow: FLOW, bytes })
                    .unwrap();
            }
            for index in [0, 1] {
                if self.ends[index]
                    .core
                    .next_timeout()
                    .is_some_and(|at| at <= self.now.instant)
                {
                    self.give(index, SessionInput::Tick).unwrap();
                }
            }
        }
        true
    }

    fn connect(&mut self) {
        self.give(0, SessionInput::Connect { flow: FLOW }).unwrap();
        assert!(self.run(Duration::from_secs(10), |pair| {
            pair.ends
                .iter()
                .all(|end| end.core.counters().connected == 1)
        }));
    }

    fn closed(&self, index: usize) -> Option<&CloseReason> {
        self.ends[index]
            .events
            .iter()
            .find_map(|event| match event {
                SessionEvent::Closed { reason, .. } => Some(reason),
                _ => None,
            })
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251) as u8).collect()
}

#[test]
fn both_ends_connect_and_know_each_others_key() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    let keys = [pair.ends[0].key, pair.ends[1].key];
    for (index, key) in [(0, keys[1]), (1, keys[0])] {
        assert_eq!(
            pair.ends[index].events,
            [SessionEvent::Connected { flow: FLOW, key }]
        );
    }
}

#[test]
fn ten_megabytes_arrive_whole_over_a_lossy_path() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 100_000_000);
    pair.connect();
    pair.loss_percent = 1;
    pair.start_stream(0, pattern(10_000_000));
    assert!(pair.run(Duration::from_secs(300), |pair| pair.ends[1].finished));
    assert_eq!(pair.ends[1].received, pattern(10_000_000));
    assert!(pair.ends[1].events.contains(&SessionEvent::StreamOpened {
        flow: FLOW,
        stream: StreamId(2),
        direction: Direction::OneWay,
        purpose: PURPOSE,
    }));
    assert!(pair.run(Duration::from_secs(5), |pair| {
        pair.ends[0].events.contains(&SessionEvent::Delivered {
            flow: FLOW,
            stream: StreamId(2),
        })
    }));
    assert!(
        pair.largest > 1_300,
        "packets grow to the path's size: {}",
        pair.largest
    );
}

#[test]
fn an_answer_comes_back_on_the_same_stream() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    let now = pair.now;
    let stream = pair.ends[0]
        .core
        .open_stream(FLOW, Direction::Both, PURPOSE, now)
        .unwrap();
    assert_eq!(
        pair.ends[0].core.write(FLOW, stream, b"question", now),
        Ok(8)
    );
    pair.drain(0);
    assert!(
        pair.run(Duration::from_secs(1), |pair| pair.ends[1].received
            == b"question")
    );
    let now = pair.now;
    assert_eq!(pair.ends[1].core.write(FLOW, stream, b"answer", now), Ok(6));
    pair.ends[1].core.finish(FLOW, stream, now).unwrap();
    pair.drain(1);
    assert!(pair.run(Duration::from_secs(1), |pair| pair.ends[0].finished));
    assert_eq!(pair.ends[0].received, b"answer");
}

#[test]
fn a_reset_and_a_stop_reach_the_other_end() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    pair.start_stream(0, pattern(10));
    assert!(pair.run(Duration::from_secs(1), |pair| pair.ends[1].finished));
    let now = pair.now;
    let core = &mut pair.ends[0].core;
    let stream = core
        .open_stream(FLOW, Direction::Both, PURPOSE, now)
        .unwrap();
    assert_eq!(
        core.stop(FLOW, stream, u64::MAX, now),
        Err(StreamError::Code(u64::MAX))
    );
    core.stop(FLOW, stream, 5, now).unwrap();
    assert_eq!(
        core.stop(FLOW, stream, 5, now),
        Err(StreamError::Closed(stream))
    );
    pair.drain(0);
    let stopped = SessionEvent::Stopped {
        flow: FLOW,
        stream,
        code: 5,
    };
    assert!(pair.run(Duration::from_secs(1), |pair| {
        pair.ends[1].events.contains(&stopped)
    }));
    let now = pair.now;
    pair.ends[0].core.reset(FLOW, stream, 6, now).unwrap();
    pair.drain(0);
    assert!(pair.run(Duration::from_secs(1), |_| false) || pair.closed(1).is_none());
    let write = pair.ends[0].core.write(FLOW, stream, b"x", pair.now);
    assert_eq!(write, Err(StreamError::Closed(stream)));
}

#[test]
fn datagrams_arrive_and_too_large_ones_are_refused() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    let now = pair.now;
    pair.ends[0]
        .core
        .send_datagram(FLOW, b"voice", now)
        .unwrap();
    pair.drain(0);
    let voice = SessionEvent::DatagramReceived {
        flow: FLOW,
        bytes: b"voice".to_vec(),
    };
    assert!(pair.run(Duration::from_secs(1), |pair| {
        pair.ends[1].events.contains(&voice)
    }));
    let bytes_max = pair.ends[0].core.datagram_bytes_max(FLOW).unwrap();
    let refused = pair.ends[0]
        .core
        .send_datagram(FLOW, &vec![0; bytes_max + 1], pair.now);
    assert_eq!(
        refused,
        Err(StreamError::DatagramTooLarge {
            bytes: bytes_max + 1,
            bytes_max
        })
    );
}

#[test]
fn another_key_than_the_flows_is_refused_on_either_side() {
    for wrong in [0, 1] {
        let mut pair = Pair::new();
        let mut keys = [pair.ends[1].key, pair.ends[0].key];
        keys[wrong] = identity(3).key();
        pair.flow_up_as(keys, 1_400, 1_000_000);
        pair.give(0, SessionInput::Connect { flow: FLOW }).unwrap();
        pair.run(Duration::from_secs(60), |pair| pair.closed(wrong).is_some());
        assert!(matches!(pair.closed(wrong), Some(CloseReason::Refused(_))));
        assert_eq!(pair.ends[wrong].core.counters().connected, 0);
    }
}

#[test]
fn thin_paths_and_unknown_flows_are_refused() {
    let mut pair = Pair::new();
    let unknown = pair.give(0, SessionInput::Connect { flow: FLOW });
    assert_eq!(unknown, Err(ConnectError::UnknownFlow(FLOW)));
    for (mtu, bits_per_second) in [(439, 1_000_000), (1_400, 19_999)] {
        pair.flow_up(mtu, bits_per_second);
        let thin = pair.give(0, SessionInput::Connect { flow: FLOW });
        assert_eq!(
            thin,
            Err(ConnectError::PathTooThin {
                mtu,
                bits_per_second
            })
        );
    }
    pair.flow_up(440, 20_000);
    pair.connect();
}

#[test]
fn both_at_once_make_one_session() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.give(1, SessionInput::Connect { flow: FLOW }).unwrap();
    pair.connect();
    assert_eq!(pair.closed(0), None);
    assert_eq!(pair.closed(1), None);
    pair.start_stream(1, pattern(1_000));
    assert!(pair.run(Duration::from_secs(5), |pair| pair.ends[0].finished));
}

#[test]
fn a_change_of_path_in_the_middle_breaks_nothing() {
    let mut pair = Pair::new();
    pair.flow_up(8_000, 100_000_000);
    pair.connect();
    pair.start_stream(0, pattern(5_000_000));
    assert!(
        pair.run(Duration::from_secs(60), |pair| pair.ends[1].received.len()
            > 1_000_000)
    );
    assert!(pair.largest > 7_000, "{}", pair.largest);
    pair.packet_bytes_max = 500;
    pair.latency = Duration::from_millis(150);
    pair.air.clear();
    for index in [0, 1] {
        let input = SessionInput::PathChanged {
            flow: FLOW,
            mtu: 500,
            rtt: Some(Duration::from_millis(300)),
        };
        pair.give(index, input).unwrap();
    }
    assert!(pair.run(Duration::from_secs(300), |pair| pair.ends[1].finished));
    assert_eq!(pair.ends[1].received, pattern(5_000_000));
    assert_eq!(pair.closed(0), None);
}

#[test]
fn a_flow_that_comes_back_in_time_goes_on() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 100_000_000);
    pair.connect();
    pair.start_stream(0, pattern(3_000_000));
    assert!(
        pair.run(Duration::from_secs(60), |pair| pair.ends[1].received.len()
            > 500_000)
    );
    for index in [0, 1] {
        pair.give(index, SessionInput::FlowDown { flow: FLOW })
            .unwrap();
    }
    pair.air.clear();
    let before = pair.sequence;
    pair.run(Duration::from_secs(20), |_| false);
    assert_eq!(pair.sequence, before, "a flow that is down is not used");
    pair.flow_up(1_400, 100_000_000);
    assert!(pair.run(Duration::from_secs(60), |pair| pair.ends[1].finished));
    assert_eq!(pair.ends[1].received, pattern(3_000_000));
}

#[test]
fn a_flow_that_stays_away_ends_the_session() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    for index in [0, 1] {
        pair.give(index, SessionInput::FlowDown { flow: FLOW })
            .unwrap();
    }
    pair.run(Duration::from_secs(40), |_| false);
    for index in [0, 1] {
        assert_eq!(pair.closed(index), Some(&CloseReason::TimedOut));
        assert_eq!(pair.ends[index].core.next_timeout(), None);
    }
}

#[test]
fn only_sessions_with_open_streams_are_kept_alive() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    let now = pair.now;
    let core = &mut pair.ends[0].core;
    let stream = core
        .open_stream(FLOW, Direction::Both, PURPOSE, now)
        .unwrap();
    core.write(FLOW, stream, b"x", now).unwrap();
    pair.drain(0);
    assert!(!pair.run(Duration::from_secs(300), |pair| pair.closed(0).is_some()));
    let now = pair.now;
    pair.ends[0].core.finish(FLOW, stream, now).unwrap();
    pair.ends[0].core.stop(FLOW, stream, 0, now).unwrap();
    pair.drain(0);
    assert!(pair.run(Duration::from_secs(60), |pair| pair.closed(0).is_some()));
    assert_eq!(pair.closed(0), Some(&CloseReason::TimedOut));
}

#[test]
fn closing_tells_the_peer() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 1_000_000);
    pair.connect();
    pair.give(
        0,
        SessionInput::Close {
            flow: FLOW,
            code: 3,
        },
    )
    .unwrap();
    assert!(pair.run(Duration::from_secs(5), |pair| pair.closed(1).is_some()));
    assert_eq!(pair.closed(0), Some(&CloseReason::Local));
    assert_eq!(pair.closed(1), Some(&CloseReason::Peer(3)));
    pair.run(Duration::from_secs(60), |_| false);
    assert_eq!(
        pair.ends[0].core.sessions.len() + pair.ends[1].core.sessions.len(),
        0
    );
}

#[test]
fn a_slow_reader_holds_the_writer_back() {
    let mut pair = Pair::new();
    pair.flow_up(1_400, 100_000_000);
    pair.connect();
    let now = pair.now;
    let core = &mut pair.ends[0].core;
    let stream = core
        .open_stream(FLOW, Direction::OneWay, PURPOSE, now)
        .unwrap();
    let endless = pattern(10_000_000);
    let mut written = core.write(FLOW, stream, &endless, now).unwrap();
    for _ in 0..100 {
        while let Some(output) = pair.ends[0].core.poll_output() {
            if let SessionOutput::Transmit { train, .. } = output {
                for packet in train.frames() {
                    let input = SessionInput::Datagram {
                        flow: FLOW,
                        bytes: packet.to_vec(),
                    };
                    pair.ends[1].core.handle(input, pair.now).unwrap();
                }
            }
        }
        while let Some(output) = pair.ends[1].core.poll_output() {
            if let SessionOutput::Transmit { train, .. } = output {
                for packet in train.frames() {
                    let input = SessionInput::Datagram {
                        flow: FLOW,
                        bytes: packet.to_vec(),
                    };
                    pair.ends[0].core.handle(input, pair.now).unwrap();
                }
            }
        }
        pair.now = pair.now.after(Duration::from_millis(10));
        for end in &mut pair.ends {
            end.core.handle(SessionInput::Tick, pair.now).unwrap();
        }
        written += pair.ends[0]
            .core
            .write(FLOW, stream, &endless, pair.now)
            .unwrap();
    }
    let config = SessionConfig::default();
    let purpose = 1;
    assert_eq!(written + purpose, config.stream_window_bytes as usize);
}

#[test]
fn limits_on_flows_and_sessions_hold() {
    let config = SessionConfig {
        flows_max: 2,
        sessions_max: 1,
        ..SessionConfig::default()
    };
    let mut core = end(1, config).core;
    let up = |flow| SessionInput::FlowUp {
        flow: FlowId(flow),
        key: identity(2).key(),
        role: FlowRole::Initiator,
        mtu: 1_400,
        bits_per_second: 1_000_000,
    };
    let now = Now::default();
    assert_eq!(core.handle(up(1), now), Ok(()));
    assert_eq!(core.handle(up(2), now), Ok(()));
    assert_eq!(core.handle(up(3), now), Err(ConnectError::TooMany(2)));
    assert_eq!(
        core.handle(SessionInput::Connect { flow: FlowId(1) }, now),
        Ok(())
    );
    let second = core.handle(SessionInput::Connect { flow: FlowId(2) }, now);
    assert_eq!(second, Err(ConnectError::TooMany(1)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_bytes_on_a_flow_do_no_harm(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1_500), 1..8),
        flips in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8),
    ) {
        let mut pair = Pair::new();
        pair.flow_up(1_400, 1_000_000);
        pair.give(0, SessionInput::Connect { flow: FLOW }).unwrap();
        let real: Vec<_> = pair.air.values().cloned().collect();
        for (to, mut bytes) in real {
            for (at, bit) in &flips {
                let at = usize::from(*at) % bytes.len();
                bytes[at] ^= bit;
            }
            pair.give(to, SessionInput::Datagram { flow: FLOW, bytes }).unwrap();
        }
        for bytes in packets {
            for index in [0, 1] {
                pair.give(index, SessionInput::Datagram { flow: FLOW, bytes: bytes.clone() }).unwrap();
            }
        }
        let connected = pair.run(Duration::from_secs(20), |pair| {
            pair.ends.iter().all(|end| end.core.counters().connected == 1)
        });
        prop_assert!(connected);
    }
}
