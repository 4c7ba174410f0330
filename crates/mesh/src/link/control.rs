//! The control channel of one link: four reliable, ordered streams, messages cut into segments.

use std::collections::{BTreeMap, VecDeque};

use smartmesh_types::{Duration, Instant};
use smartmesh_wire::link::{
    CONTROL_MESSAGE_BYTES_MAX, CONTROL_STREAMS, SEGMENT_HEADER_BYTES, Segment, StreamAck,
};

/// Segments of one stream on the way at a time: as many as an acknowledgement can tell apart.
const WINDOW: u16 = 32;
/// The longest wait before a segment is sent again.
const RESEND_MAX: Duration = Duration::from_secs(2);

/// A piece of a message that waits to be sent or acknowledged.
#[derive(Debug)]
struct Sent {
    first: bool,
    last: bool,
    sequence: u16,
    bytes: Vec<u8>,
    due: Instant,
    tries: u32,
    arrived: bool,
}

#[derive(Debug, Default)]
struct Sending {
    messages: VecDeque<Vec<u8>>,
    queued_bytes: usize,
    /// How much of the first message has been cut off already.
    offset: usize,
    next: u16,
    flight: VecDeque<Sent>,
}

#[derive(Debug, Default)]
struct Receiving {
    next: u16,
    later: BTreeMap<u16, (bool, bool, Vec<u8>)>,
    message: Option<Vec<u8>>,
    /// Whether an acknowledgement should tell of this stream.
    touched: bool,
}

/// All streams of one link.
#[derive(Debug, Default)]
pub(super) struct Control {
    sending: [Sending; CONTROL_STREAMS],
    receiving: [Receiving; CONTROL_STREAMS],
    /// Bytes on the way.
    flight_bytes: usize,
}

/// A stream's queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

/// What came out of a control frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// Whole messages with their streams, in order.
    pub(super) messages: Vec<(u8, Vec<u8>)>,
    /// Segments that were malformed, or outside the window, or of a message that is too long.
    pub(super) refused: u64,
}

impl Control {
    /// Queues a message on a stream whose queue may hold `queue_bytes`.
    pub(super) fn push(
        &mut self,
        stream: usize,
        message: Vec<u8>,
        queue_bytes: usize,
    ) -> Result<(), QueueFull> {
        let sending = self.sending.get_mut(stream).ok_or(QueueFull)?;
        let queued = sending.queued_bytes.saturating_add(message.len());
        if queued > queue_bytes && !sending.messages.is_empty() {
            return Err(QueueFull);
        }
        sending.queued_bytes = queued;
        sending.messages.push_back(message);
        Ok(())
    }

    /// Whether a message is queued or on the way.
    #[cfg(test)]
    fn is_busy(&self) -> bool {
        self.sending
            .iter()
            .any(|stream| !stream.messages.is_empty() || !stream.flight.is_empty())
    }

    /// When the next segment is to be sent again.
    pub(super) fn next_due(&self) -> Instant {
        let flight = self.sending.iter().flat_map(|stream| &stream.flight);
        let due = flight.filter(|sent| !sent.arrived).map(|sent| sent.due);
        due.min().unwrap_or(Instant::NEVER)
    }

    /// The next frame's payload of at most `room` bytes, if something is to be sent: what was lost first, then by stream.
    /// At most `window_bytes` are on the way at a time.
    pub(super) fn poll_frame(
        &mut self,
        room: usize,
        window_bytes: usize,
        resend_after: Duration,
        now: Instant,
    ) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        for (stream, sending) in (0_u8..).zip(&mut self.sending) {
            sending.resend(stream, &mut frame, room, resend_after, now);
        }
        for (stream, sending) in (0_u8..).zip(&mut self.sending) {
            // The first two streams are small and urgent: they do not wait for the bulk on the way.
            while stream < 2 || self.flight_bytes < window_bytes {
                match sending.send_next(stream, &mut frame, room, resend_after, now) {
                    Some(bytes) => self.flight_bytes = self.flight_bytes.saturating_add(bytes),
                    None => break,
                }
            }
        }
        (!frame.is_empty()).then_some(frame)
    }

    /// Takes what the neighbour says of one stream. Segments that later ones have overtaken are due at once.
    pub(super) fn handle_ack(&mut self, stream: usize, ack: StreamAck, now: Instant) {
        let Some(sending) = self.sending.get_mut(stream) else {
            return;
        };
        let acked = ack.next.wrapping_sub(
            sending
                .flight
                .front()
                .map_or(sending.next, |sent| sent.sequence),
        );
        if usize::from(acked) > sending.flight.len() {
            return;
        }
        for sent in sending.flight.drain(..usize::from(acked)) {
            self.flight_bytes = self.flight_bytes.saturating_sub(sent.bytes.len());
        }
        let newest = 32_u16.saturating_sub(u16::try_from(ack.later.leading_zeros()).unwrap_or(32));
        for sent in &mut sending.flight {
            let place = sent.sequence.wrapping_sub(ack.next);
            let bit = u32::from(place).wrapping_sub(1);
            if place > 0 && bit < 32 && ack.later.wrapping_shr(bit) & 1 == 1 {
                sent.arrived = true;
            } else if !sent.arrived && place < newest && sent.tries == 1 {
                sent.due = now;
            }
        }
    }

    /// Takes the payload of a control frame.
    pub(super) fn handle_frame(&mut self, mut frame: &[u8]) -> Received {
        let mut received = Received::default();
        while !frame.is_empty() {
            let Ok((segment, rest)) = Segment::decode(frame) else {
                received.refused = received.refused.saturating_add(1);
                break;
            };
            frame = rest;
            if let Some(stream) = self.receiving.get_mut(usize::from(segment.stream)) {
                stream.take(&segment, &mut received);
            }
        }
        received
    }

    /// What to tell the neighbour of streams that got segments since the last time.
    pub(super) fn take_acks(&mut self) -> [Option<StreamAck>; CONTROL_STREAMS] {
        let mut acks = [None; CONTROL_STREAMS];
        for (ack, stream) in acks.iter_mut().zip(&mut self.receiving) {
            if std::mem::take(&mut stream.touched) {
                *ack = Some(stream.ack());
            }
        }
        acks
    }
}

impl Sending {
    fn resend(
        &mut self,
        stream: u8,
        frame: &mut Vec<u8>,
        room: usize,
        resend_after: Duration,
        now: Instant,
    ) {
        for sent in &mut self.flight {
            let fits = frame
                .len()
                .saturating_add(SEGMENT_HEADER_BYTES)
                .saturating_add(sent.bytes.len())
                <= room;
            if sent.arrived || sent.due > now || !fits {
                continue;
            }
            let wait = resend_after
                .saturating_mul(1_u32.wrapping_shl(sent.tries.min(6)))
                .min(RESEND_MAX);
            sent.due = now + wait;
            sent.tries = sent.tries.saturating_add(1);
            sent.encode(stream, frame);
        }
    }

    /// Cuts the next segment off the queue into the frame; its bytes, or `None` if there is nothing, no window or no room.
    fn send_next(
        &mut self,
        stream: u8,
        frame: &mut Vec<u8>,
        room: usize,
        resend_after: Duration,
        now: Instant,
    ) -> Option<usize> {
        let in_flight = self
            .flight
            .front()
            .map_or(0, |sent| self.next.wrapping_sub(sent.sequence));
        if in_flight >= WINDOW {
            return None;
        }
        let message = self.messages.front()?;
        let rest = message.get(self.offset..).unwrap_or_default();
        let room = room
            .saturating_sub(frame.len())
            .saturating_sub(SEGMENT_HEADER_BYTES);
        // A sliver of a message behind others costs more in headers than it saves in frames.
        if room == 0 || (!frame.is_empty() && room < rest.len().min(64)) {
            return None;
        }
        let part = rest.get(..room).unwrap_or(rest);
        let sent = Sent {
            first: self.offset == 0,
            last: part.len() == rest.len(),
            sequence: self.next,
            bytes: part.to_vec(),
            due: now + resend_after,
            tries: 1,
            arrived: false,
        };
        self.next = self.next.wrapping_add(1);
        sent.encode(stream, frame);
        if sent.last {
            self.queued_bytes = self.queued_bytes.saturating_sub(message.len());
            self.messages.pop_front();
            self.offset = 0;
        } else {
            self.offset = self.offset.saturating_add(sent.bytes.len());
        }
        let bytes = sent.bytes.len();
        self.flight.push_back(sent);
        Some(bytes)
    }
}

impl Sent {
    fn encode(&self, stream: u8, frame: &mut Vec<u8>) {
        Segment {
            stream,
            first: self.first,
            last: self.last,
            sequence: self.sequence,
            bytes: &self.bytes,
        }
        .encode(frame);
    }
}

impl Receiving {
    fn take(&mut self, segment: &Segment<'_>, received: &mut Received) {
        self.touched = true;
        let ahead = segment.sequence.wrapping_sub(self.next);
        if ahead >= 0x8000 {
            // Already had: its acknowledgement was lost.
            return;
        }
        if ahead > WINDOW {
            received.refused = received.refused.saturating_add(1);
            return;
        }
        let piece = (segment.first, segment.last, segment.bytes.to_vec());
        self.later.insert(segment.sequence, piece);
        while let Some((first, last, bytes)) = self.later.remove(&self.next) {
            self.next = self.next.wrapping_add(1);
            if let Some(message) = self.join(first, last, bytes, received) {
                received.messages.push((segment.stream, message));
            }
        }
    }

    fn join(
        &mut self,
        first: bool,
        last: bool,
        bytes: Vec<u8>,
        received: &mut Received,
    ) -> Option<Vec<u8>> {
        let mut message = if first {
            Vec::new()
        } else {
            self.message.take().unwrap_or_default()
        };
        message.extend_from_slice(&bytes);
        if message.len() > CONTROL_MESSAGE_BYTES_MAX {
            received.refused = received.refused.saturating_add(1);
            // Keeps nothing; what follows of this message is too short to matter and is refused above.
            self.message = None;
            return None;
        }
        if last {
            self.message = None;
            return Some(message);
        }
        self.message = Some(message);
        None
    }

    fn ack(&self) -> StreamAck {
        let mut later = 0_u32;
        for sequence in self.later.keys() {
            let bit = u32::from(sequence.wrapping_sub(self.next)).wrapping_sub(1);
            if bit < 32 {
                later |= 1_u32.wrapping_shl(bit);
            }
        }
        StreamAck {
            next: self.next,
            later,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RTO: Duration = Duration::from_millis(50);

    proptest! {
        #[test]
        fn messages_arrive_in_order_whatever_is_lost(
            sizes in proptest::collection::vec((0_usize..4, 1_usize..3_000), 1..40),
            seed in 0_u8..255,
            room in 60_usize..1_400,
        ) {
            let (mut a, mut b) = (Control::default(), Control::default());
            let mut expected: [Vec<Vec<u8>>; 4] = Default::default();
            for (number, (stream, size)) in sizes.iter().enumerate() {
                let message = vec![u8::try_from(number).unwrap(); *size];
                a.push(*stream, message.clone(), 1 << 20).unwrap();
                expected[*stream].push(message);
            }
            let mut got: [Vec<Vec<u8>>; 4] = Default::default();
            let mut dice = smartmesh_crypto::Seed::new([seed; 32]).rng();
            let mut now = Instant::ZERO;
            for _ in 0..20_000 {
                while let Some(frame) = a.poll_frame(room, 16_384, RTO, now) {
                    prop_assert!(frame.len() <= room);
                    if dice.below(10) >= 3 {
                        let received = b.handle_frame(&frame);
                        prop_assert_eq!(received.refused, 0);
                        for (stream, message) in received.messages {
                            got[usize::from(stream)].push(message);
                        }
                    }
                }
                let acks = b.take_acks();
                if dice.below(10) >= 3 {
                    for (stream, ack) in acks.into_iter().enumerate() {
                        if let Some(ack) = ack {
                            a.handle_ack(stream, ack, now);
                        }
                    }
                }
                if !a.is_busy() {
                    break;
                }
                now = now + Duration::from_millis(20);
            }
            prop_assert!(!a.is_busy());
            prop_assert_eq!(got, expected);
            prop_assert_eq!(a.flight_bytes, 0);
        }

        #[test]
        fn arbitrary_frames_stay_within_bounds(
            frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..80),
        ) {
            let mut control = Control::default();
            for frame in frames {
                control.handle_frame(&frame);
                for stream in &control.receiving {
                    prop_assert!(stream.later.len() <= usize::from(WINDOW) + 1);
                    prop_assert!(stream.message.as_ref().is_none_or(|m| m.len() <= CONTROL_MESSAGE_BYTES_MAX));
                }
            }
        }
    }

    #[test]
    fn urgent_messages_overtake_bulk() {
        let mut control = Control::default();
        control.push(3, vec![3; 16_000], 1 << 20).unwrap();
        while control
            .poll_frame(1_000, 4_096, RTO, Instant::ZERO)
            .is_some()
        {}
        control.push(1, vec![1; 10], 1 << 20).unwrap();
        let frame = control
            .poll_frame(1_000, 4_096, RTO, Instant::ZERO)
            .unwrap();
        assert_eq!(Segment::decode(&frame).unwrap().0.stream, 1);
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut control = Control::default();
        assert_eq!(control.push(2, vec![0; 100], 150), Ok(()));
        assert_eq!(control.push(2, vec![0; 100], 150), Err(QueueFull));
        assert_eq!(control.push(1, vec![0; 200], 150), Ok(()));
    }
}
