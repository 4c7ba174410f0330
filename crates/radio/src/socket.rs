//! A phone's own radio behind a framed local socket: BLE, Wi-Fi Direct, LoRa, or a test.
//!
//! The node listens; each connection is one radio. The node sends no faster than the announced rate, so that frames wait
//! here, where routing still sees them, and not in a radio's buffer.

pub(crate) mod codec;

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use smartmesh_types::{Broadcast, Destination, Duration, Instant, LinkAddr, RadioInfo, Train};
use tokio::net::UnixStream;
use tokio::time::Sleep;

use crate::radio::{Clock, EVENTS_PER_POLL, LinkEvent, Radio, RadioCounters};
use codec::{PROTOCOL_VERSION, SocketMessage};

/// Peers one radio may announce; further ones are ignored. A dense cell has about 170 phones.
const PEERS_MAX: usize = 1_024;
/// Frames may leave this much ahead of the announced rate, so that the radio never waits for us.
const AHEAD: Duration = Duration::from_millis(50);
/// Frames wait for at most this time at the announced rate; new ones are dropped when the queue is longer.
const QUEUE_TIME: Duration = Duration::from_secs(1);
/// However slow the radio, so many frames may wait: a greeting must not die behind a single data frame.
const QUEUE_FRAMES_MIN: usize = 16;
/// Bytes read in one system call.
const READ_BYTES: usize = 64 << 10;

/// One connection.
pub(crate) struct SocketRadio {
    stream: UnixStream,
    clock: Clock,
    state: State,
    peers: BTreeSet<LinkAddr>,
    input: Vec<u8>,
    /// Frames that wait for the rate.
    queue: VecDeque<(Destination, Vec<u8>)>,
    queued_bytes: usize,
    /// Bytes that wait for the socket.
    output: Vec<u8>,
    /// When the radio will have sent all that it was given, at its nominal rate.
    free_at: Instant,
    sleep: Pin<Box<Sleep>>,
    counters: RadioCounters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Open {
        frame_bytes: usize,
        bits_per_second: u64,
        broadcast: Broadcast,
    },
    /// A reason has been queued; closes when it is written.
    Refusing,
    Closed,
}

impl SocketRadio {
    pub(crate) fn new(stream: UnixStream, clock: Clock) -> Self {
        Self {
            stream,
            clock,
            state: State::Waiting,
            peers: BTreeSet::new(),
            input: Vec::new(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            output: Vec::new(),
            free_at: Instant::ZERO,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
            counters: RadioCounters::default(),
        }
    }

    fn announce(&self, events: &mut Vec<LinkEvent>) {
        if let State::Open {
            frame_bytes,
            bits_per_second,
            broadcast,
        } = self.state
        {
            events.push(LinkEvent::Up(RadioInfo {
                frame_bytes,
                bits_per_second,
                broadcast,
                peers: self.peers.iter().copied().collect(),
            }));
        }
    }

    fn refuse(&mut self, reason: &str) {
        tracing::warn!(reason, "a radio on the local socket was refused");
        SocketMessage::Refused(reason.to_owned()).encode(&mut self.output);
        self.queue.clear();
        self.state = State::Refusing;
    }

    /// Reads and handles messages until the socket is empty or enough events are there.
    fn poll_read(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) {
        let start = events.len();
        while self.state != State::Refusing && self.state != State::Closed {
            self.handle_input(events);
            if events.len().saturating_sub(start) >= EVENTS_PER_POLL {
                cx.waker().wake_by_ref();
                return;
            }
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) | Poll::Pending => return,
            }
            let mut part = [0; 4_096];
            let mut read = 0;
            while read < READ_BYTES {
                match self.stream.try_read(&mut part) {
                    Ok(0) => {
                        self.state = State::Closed;
                        return;
                    }
                    Ok(length) => {
                        self.input
                            .extend_from_slice(part.get(..length).unwrap_or_default());
                        read = read.saturating_add(length);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => {
                        self.state = State::Closed;
                        return;
                    }
                }
            }
        }
    }

    fn handle_input(&mut self, events: &mut Vec<LinkEvent>) {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while self.state != State::Refusing {
            match SocketMessage::decode(rest) {
                Ok(Some((message, used))) => {
                    rest = rest.get(used..).unwrap_or_default();
                    self.handle_message(message, events);
                }
                Ok(None) => break,
                Err(error) => {
                    self.counters.dropped_received =
                        self.counters.dropped_received.saturating_add(1);
                    self.refuse(&error.to_string());
                }
            }
        }
        self.input = rest.to_vec();
    }

    fn handle_message(&mut self, message: SocketMessage, events: &mut Vec<LinkEvent>) {
        match (self.state, message) {
            (_, SocketMessage::Hello { version, .. }) if version != PROTOCOL_VERSION => {
                self.refuse(&format!(
                    "this node speaks version {PROTOCOL_VERSION}, not {version}"
                ));
            }
            (
                _,
                SocketMessage::Hello {
                    broadcast,
                    frame_bytes,
                    bits_per_second,
                    ..
                },
            ) => {
                if self.state == State::Waiting {
                    SocketMessage::Welcome {
                        version: PROTOCOL_VERSION,
                    }
                    .encode(&mut self.output);
                }
                self.state = State::Open {
                    frame_bytes: frame_bytes.into(),
                    bits_per_second,
                    broadcast,
                };
                self.announce(events);
            }
            (State::Open { .. }, SocketMessage::Peer(peer)) => {
                if self.peers.len() < PEERS_MAX && self.peers.insert(peer) {
                    self.announce(events);
                }
            }
            (State::Open { .. }, SocketMessage::Gone(peer)) => {
                self.peers.remove(&peer);
                events.push(LinkEvent::CarrierLost(Some(peer)));
            }
            (
                State::Open { frame_bytes, .. },
                SocketMessage::Frame {
                    peer: Destination::Peer(from),
                    bytes,
                },
            ) if !bytes.is_empty() && bytes.len() <= frame_bytes => {
                let train = Train::single(bytes);
                self.counters.count_received(&train);
                events.push(LinkEvent::Train { from, train });
            }
            (State::Open { .. }, SocketMessage::Frame { .. }) => {
                self.counters.dropped_received = self.counters.dropped_received.saturating_add(1);
            }
            (_, SocketMessage::Welcome { .. } | SocketMessage::Refused(_)) => {
                self.refuse("only the node sends welcome and refused");
            }
            (State::Waiting | State::Refusing | State::Closed, _) => {
                self.refuse("hello comes first")
            }
        }
    }

    /// Encodes frames whose time has come; returns when the next one may go.
    fn fill_output(&mut self) -> Option<Instant> {
        let State::Open {
            bits_per_second, ..
        } = self.state
        else {
            return None;
        };
        let now = (self.clock)();
        while !self.queue.is_empty() && self.output.is_empty() {
            if self.free_at > now + AHEAD {
                return Some(self.free_at - AHEAD);
            }
            let Some((peer, bytes)) = self.queue.pop_front() else {
                break;
            };
            self.queued_bytes = self.queued_bytes.saturating_sub(bytes.len());
            let bits = u64::try_from(bytes.len())
                .unwrap_or(u64::MAX)
                .saturating_mul(8);
            let micros = bits
                .saturating_mul(1_000_000)
                .checked_div(bits_per_second)
                .unwrap_or(0);
            self.free_at = self.free_at.max(now) + Duration::from_micros(micros);
            self.counters.sent_frames = self.counters.sent_frames.saturating_add(1);
            let sent = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            self.counters.sent_bytes = self.counters.sent_bytes.saturating_add(sent);
            SocketMessage::Frame { peer, bytes }.encode(&mut self.output);
            self.write();
        }
        None
    }

    /// Writes what the socket takes now.
    fn write(&mut self) {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(length) => drop(self.output.drain(..length.min(self.output.len()))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.state = State::Closed;
                    return;
                }
            }
        }
        if self.state == State::Refusing {
            self.state = State::Closed;
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) {
        loop {
            self.write();
            if self.state == State::Closed {
                return;
            }
            if !self.output.is_empty() {
                if self.stream.poll_write_ready(cx).is_pending() {
                    return;
                }
                continue;
            }
            let next = self.fill_output();
            if !self.output.is_empty() {
                continue;
            }
            let Some(next) = next else { return };
            let wait = next.since((self.clock)());
            let deadline = tokio::time::Instant::now()
                .checked_add(wait)
                .unwrap_or_else(tokio::time::Instant::now);
            self.sleep.as_mut().reset(deadline);
            if self.sleep.as_mut().poll(cx).is_pending() {
                return;
            }
        }
    }

    fn has_room(&self, bytes: usize, bits_per_second: u64) -> bool {
        let bits = u128::from(bits_per_second).saturating_mul(QUEUE_TIME.as_secs().into());
        let limit = usize::try_from(bits / 8).unwrap_or(usize::MAX);
        self.queue.len() < QUEUE_FRAMES_MIN || self.queued_bytes.saturating_add(bytes) <= limit
    }
}

impl Radio for SocketRadio {
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let start = events.len();
        self.poll_read(cx, events);
        self.poll_write(cx);
        if self.state == State::Closed {
            events.push(LinkEvent::Down);
        }
        if events.len() > start {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn transmit(&mut self, to: Destination, train: Train) {
        let State::Open {
            frame_bytes,
            bits_per_second,
            broadcast,
        } = self.state
        else {
            self.counters.count_refused(&train);
            return;
        };
        for frame in train.frames() {
            let to_nobody = to == Destination::Broadcast && broadcast == Broadcast::No;
            if frame.len() > frame_bytes || to_nobody {
                self.counters.dropped_refused = self.counters.dropped_refused.saturating_add(1);
            } else if self.has_room(frame.len(), bits_per_second) {
                self.queued_bytes = self.queued_bytes.saturating_add(frame.len());
                self.queue.push_back((to, frame.to_vec()));
            } else {
                self.counters.dropped_full = self.counters.dropped_full.saturating_add(1);
            }
        }
    }

    fn flush(&mut self) {
        self.fill_output();
    }

    fn counters(&self) -> RadioCounters {
        self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn stopped_clock() -> Instant {
        Instant::from_millis(1_000)
    }

    fn pair() -> (SocketRadio, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (SocketRadio::new(ours, stopped_clock), theirs)
    }

    async fn say(stream: &mut UnixStream, messages: &[SocketMessage]) {
        let mut bytes = Vec::new();
        for message in messages {
            message.encode(&mut bytes);
        }
        stream.write_all(&bytes).await.unwrap();
    }

    async fn events(radio: &mut SocketRadio) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        poll_fn(|cx| radio.poll(cx, &mut events)).await;
        events
    }

    fn hello(version: u8, bits_per_second: u64) -> SocketMessage {
        SocketMessage::Hello {
            version,
            broadcast: Broadcast::Yes,
            frame_bytes: 200,
            bits_per_second,
        }
    }

    async fn heard(stream: &mut UnixStream) -> Vec<SocketMessage> {
        let mut bytes = vec![0; 65_536];
        let length = stream.read(&mut bytes).await.unwrap();
        let mut rest = &bytes[..length];
        let mut messages = Vec::new();
        while let Some((message, used)) = SocketMessage::decode(rest).unwrap() {
            messages.push(message);
            rest = &rest[used..];
        }
        messages
    }

    #[tokio::test]
    async fn a_radio_announces_itself_and_its_peers_and_carries_frames() {
        let (mut radio, mut phone) = pair();
        let peer = LinkAddr::new(b"aa:bb").unwrap();
        say(
            &mut phone,
            &[hello(1, 1_000_000), SocketMessage::Peer(peer)],
        )
        .await;
        let seen = events(&mut radio).await;
        let LinkEvent::Up(info) = seen.last().unwrap() else {
            panic!("{seen:?}")
        };
        assert_eq!((info.frame_bytes, info.peers.clone()), (200, vec![peer]));
        radio.transmit(Destination::Peer(peer), Train::single(vec![1; 200]));
        radio.transmit(Destination::Peer(peer), Train::single(vec![1; 201]));
        radio.flush();
        let frame = SocketMessage::Frame {
            peer: Destination::Peer(peer),
            bytes: vec![1; 200],
        };
        assert_eq!(
            heard(&mut phone).await,
            [SocketMessage::Welcome { version: 1 }, frame.clone()]
        );
        assert_eq!(
            radio.counters.dropped_refused, 1,
            "a frame above the announced size"
        );
        say(&mut phone, &[frame, SocketMessage::Gone(peer)]).await;
        let seen = events(&mut radio).await;
        assert!(matches!(&seen[0], LinkEvent::Train { from, .. } if *from == peer));
        assert_eq!(seen[1], LinkEvent::CarrierLost(Some(peer)));
        drop(phone);
        assert_eq!(events(&mut radio).await, [LinkEvent::Down]);
    }

    #[tokio::test]
    async fn no_more_than_the_announced_rate_leaves() {
        let (mut radio, mut phone) = pair();
        // 200 bytes take 80 ms at 20 kbit/s.
        say(&mut phone, &[hello(1, 20_000)]).await;
        events(&mut radio).await;
        for _ in 0..40 {
            radio.transmit(Destination::Broadcast, Train::single(vec![1; 200]));
        }
        radio.flush();
        assert_eq!(
            heard(&mut phone).await.len(),
            2,
            "the welcome and one frame; the clock stands still"
        );
        assert_eq!(
            radio.queue.len(),
            15,
            "one second of air is 2,500 bytes, but 16 frames may wait"
        );
        assert_eq!(radio.counters.dropped_full, 24);
    }

    #[tokio::test]
    async fn wrong_bytes_and_versions_are_refused_with_the_reason() {
        for (bytes, reason) in [
            (vec![0, 0, 0, 1, 99], "unknown message type 99"),
            (vec![0, 0, 0, 2, 3, 1], "hello comes first"),
        ] {
            let (mut radio, mut phone) = pair();
            phone.write_all(&bytes).await.unwrap();
            assert_eq!(events(&mut radio).await, [LinkEvent::Down]);
            assert_eq!(
                heard(&mut phone).await,
                [SocketMessage::Refused(reason.into())]
            );
        }
        let (mut radio, mut phone) = pair();
        say(&mut phone, &[hello(9, 1)]).await;
        assert_eq!(events(&mut radio).await, [LinkEvent::Down]);
    }
}
