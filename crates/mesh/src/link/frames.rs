//! Session frames: opening trains, sealing packets, and the link's own frames.

use smartmesh_types::{Instant, Label, LinkAddr, NeighbourId, Now, RadioId, Train};
use smartmesh_wire::link::{
    CONTROL_MESSAGE_BYTES_MAX, FRAGMENT_HEADER_BYTES, Fragment, LABELS_RESERVED, LinkMessage,
    OWN_STREAM, SESSION_BIT, SESSION_OVERHEAD_BYTES, SESSION_PREFIX_BYTES, decode_session_header,
};

use super::fragments::Joined;
use super::session::OpenError;
use super::{ControlClass, DataFrame, FRAME_TAG_BYTES, LinkOutput, Links, Route, SendError, count};

pub(super) const LABEL_ACK: u32 = 0;
pub(super) const LABEL_CONTROL: u32 = 1;
const LABEL_FRAGMENT: u32 = 2;
pub(super) const LABEL_PING: u32 = 3;

/// Bytes of control on the way on one link at a time, for the classes that may wait.
const CONTROL_WINDOW_BYTES: usize = 32 * 1_024;
/// Radios slower than this are shared air: there neighbours get fair shares. On faster ones the processor is the limit.
const SHARED_AIR_BITS_PER_SECOND: u64 = 100_000_000;

impl Links {
    /// Opens a train where it lies. Data frames are listed in `data`, positions in the returned train's bytes; everything
    /// else is dealt with here.
    pub fn open_train(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        mut train: Train,
        now: Now,
        data: &mut Vec<DataFrame>,
    ) -> Train {
        let at = now.instant;
        let step = train.segment_bytes.max(1);
        let mut start = 0;
        while start < train.bytes.len() {
            let end = start.saturating_add(step).min(train.bytes.len());
            if let Some(frame) = train.bytes.get_mut(start..end) {
                self.open_frame(radio, from, frame, start, at, data);
            }
            start = end;
        }
        self.run_due(at);
        train
    }

    fn open_frame(
        &mut self,
        radio: RadioId,
        from: LinkAddr,
        frame: &mut [u8],
        offset: usize,
        now: Instant,
        data: &mut Vec<DataFrame>,
    ) {
        if frame.first().is_none_or(|first| *first < 0x80) {
            return self.handle_clear(radio, from, frame, now);
        }
        let Ok((index, counter)) = decode_session_header(frame) else {
            return count(&mut self.counters.wrong_size);
        };
        let Some(session) = self.sessions.find_mut(index) else {
            return count(&mut self.counters.unknown_session);
        };
        let before = session.replay.highest();
        let label = match session.open(counter, frame) {
            Ok(label) => label,
            Err(OpenError::Replayed) => return count(&mut self.counters.replayed),
            Err(OpenError::Forged) => return count(&mut self.counters.forged),
        };
        let newest = session.replay.highest() > before;
        let id = u32::try_from(session.peer).unwrap_or(0);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        if peer.radio != radio {
            return;
        }
        peer.heard_at = now;
        if newest {
            peer.highest_at = now;
            // A neighbour that writes from another place has moved there.
            peer.addr = from;
        }
        // The other side has the newest keys, too.
        if peer.sending != index && peer.sessions.last() == Some(&index) {
            peer.switch_to(index);
        }
        if peer.third.is_some() && peer.sending == index {
            peer.third = None;
        }
        let length = frame.len().saturating_sub(SESSION_OVERHEAD_BYTES);
        if label >= LABELS_RESERVED {
            peer.owe_ack(now);
            peer.carried_at = now;
            let standing = peer.standing();
            let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
            if peer.bits_per_second < SHARED_AIR_BITS_PER_SECOND
                && let Some(shared) = self.radios.get_mut(&radio)
                && !shared.share.admit(&mut peer.share, standing, bytes, now)
            {
                return count(&mut self.counters.data_over_share);
            }
            let start = offset.saturating_add(SESSION_PREFIX_BYTES);
            data.push(DataFrame {
                from: NeighbourId(id),
                label: Label(label),
                start,
                length,
            });
            return;
        }
        let payload_end = SESSION_PREFIX_BYTES.saturating_add(length);
        let payload = frame
            .get(SESSION_PREFIX_BYTES..payload_end)
            .unwrap_or_default();
        self.handle_own(NeighbourId(id), index, label, payload, now);
    }

    fn handle_own(
        &mut self,
        from: NeighbourId,
        session: u32,
        label: u32,
        payload: &[u8],
        now: Instant,
    ) {
        match label {
            LABEL_ACK => self.handle_ack(from, session, payload, now),
            LABEL_PING => {
                if let Some(peer) = self.peers.get_mut(&from.0) {
                    peer.ack_at = now;
                }
            }
            LABEL_CONTROL => self.handle_control(from, payload, now),
            LABEL_FRAGMENT => self.handle_fragment(from, payload, now),
            _ => count(&mut self.counters.unknown_label),
        }
    }

    fn handle_control(&mut self, from: NeighbourId, payload: &[u8], now: Instant) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        let bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        if !peer.control_budget.take(bytes, now) {
            // Not acknowledged, so it comes again: a neighbour that sends too much slows itself down.
            return count(&mut self.counters.control_over_budget);
        }
        let received = peer.control.handle_frame(payload);
        peer.owe_ack(now);
        self.counters.refused_pieces = self
            .counters
            .refused_pieces
            .saturating_add(received.refused);
        for (stream, message) in received.messages {
            if stream == OWN_STREAM {
                self.handle_message(from, &message, now);
            } else {
                self.outputs
                    .push_back(LinkOutput::Control { from, message });
            }
        }
    }

    fn handle_message(&mut self, from: NeighbourId, message: &[u8], now: Instant) {
        let Ok(message) = LinkMessage::decode(message) else {
            return count(&mut self.counters.malformed);
        };
        match message {
            LinkMessage::Renew { sender, noise } => self.handle_renew(from, sender, noise, now),
            LinkMessage::Renewing {
                receiver,
                sender,
                noise,
            } => self.handle_renewing(from, (receiver, sender), noise, now),
            LinkMessage::Renewed { receiver, noise } => {
                self.handle_renewed(from, receiver, noise, now)
            }
            LinkMessage::Around(around) => self.handle_around(from, around),
            LinkMessage::Hints { nonce, hints } => self.handle_hints(from, nonce, &hints, now),
            LinkMessage::Token(token) => self.handle_token(from, token, now),
            LinkMessage::Proof { token, signature } => {
                self.handle_proof(from, token, signature, now)
            }
            LinkMessage::Counterproof(signature) => self.handle_counterproof(from, signature, now),
        }
    }

    fn handle_fragment(&mut self, from: NeighbourId, payload: &[u8], now: Instant) {
        let Some(peer) = self.peers.get_mut(&from.0) else {
            return;
        };
        peer.owe_ack(now);
        let joined =
            Fragment::decode(payload).map(|fragment| peer.reassembly.handle(&fragment, now));
        match joined {
            Ok(Joined::Kept) => {}
            Ok(Joined::Whole(label, payload)) => {
                self.outputs.push_back(LinkOutput::Data {
                    from,
                    label: Label(label),
                    payload,
                });
            }
            Ok(Joined::Refused) | Err(_) => count(&mut self.counters.refused_pieces),
        }
    }

    /// Fills in header and tag of a frame whose payload lies between them, and seals it where it lies.
    ///
    /// # Errors
    /// If the neighbour is gone or the frame is larger than it takes.
    pub fn seal_frame(
        &mut self,
        to: NeighbourId,
        label: Label,
        frame: &mut [u8],
        now: Now,
    ) -> Result<Route, SendError> {
        let at = now.instant;
        let peer = self.peers.get_mut(&to.0).ok_or(SendError::Gone)?;
        if frame.len() > peer.frame_bytes || frame.len() < SESSION_OVERHEAD_BYTES {
            return Err(SendError::TooLarge(frame.len()));
        }
        let session = self
            .sessions
            .find_mut(peer.sending)
            .ok_or(SendError::Gone)?;
        let counter = session.seal(label.0, frame);
        peer.sent_at = at;
        peer.carried_at = at;
        peer.await_ack(peer.sending, counter, at);
        peer.keep(counter, label.0, frame, at);
        Ok(Route {
            radio: peer.radio,
            addr: peer.addr,
        })
    }

    /// Sends one packet of any size up to 65,535 bytes, in fragments where it is larger than a frame.
    ///
    /// # Errors
    /// If the neighbour is gone, or the packet would need more than 255 fragments.
    pub fn send_data(
        &mut self,
        to: NeighbourId,
        label: Label,
        payload: &[u8],
        now: Now,
    ) -> Result<(), SendError> {
        let peer = self.peers.get_mut(&to.0).ok_or(SendError::Gone)?;
        let room = peer.frame_bytes.saturating_sub(SESSION_OVERHEAD_BYTES);
        if payload.len() <= room {
            let mut frame = vec![0; payload.len().saturating_add(SESSION_OVERHEAD_BYTES)];
            if let Some(place) = frame
                .get_mut(SESSION_PREFIX_BYTES..SESSION_PREFIX_BYTES.saturating_add(payload.len()))
            {
                place.copy_from_slice(payload);
            }
            let route = self.seal_frame(to, label, &mut frame, now)?;
            self.transmit(route.radio, route.addr, Train::single(frame));
            return Ok(());
        }
        let piece_bytes = room.saturating_sub(FRAGMENT_HEADER_BYTES).max(1);
        let count = u8::try_from(payload.len().div_ceil(piece_bytes))
            .map_err(|_| SendError::TooLarge(payload.len()))?;
        peer.next_packet = peer.next_packet.wrapping_add(1);
        let packet = peer.next_packet;
        for (index, bytes) in (0_u8..).zip(payload.chunks(piece_bytes)) {
            let header = Fragment {
                packet,
                index,
                count,
                label: label.0,
                bytes,
            }
            .encode_header();
            let piece = [&header[..], bytes].concat();
            self.send_wanted(to, LABEL_FRAGMENT, &piece, now.instant);
        }
        Ok(())
    }

    /// Queues a control message of at most 16 KiB; it arrives once and in order within its class, or the link goes down.
    ///
    /// # Errors
    /// If the neighbour is gone, the message too large, or too much of its class is waiting.
    pub fn send_control(
        &mut self,
        to: NeighbourId,
        message: Vec<u8>,
        class: ControlClass,
        now: Now,
    ) -> Result<(), SendError> {
        if message.len() > CONTROL_MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge(message.len()));
        }
        self.queue_control(to, message, class.stream(), now.instant)
    }

    /// Queues a message on a stream in which so many bytes may wait.
    pub(super) fn queue_control(
        &mut self,
        to: NeighbourId,
        message: Vec<u8>,
        (stream, queue_bytes): (usize, usize),
        now: Instant,
    ) -> Result<(), SendError> {
        let peer = self.peers.get_mut(&to.0).ok_or(SendError::Gone)?;
        peer.control
            .push(stream, message, queue_bytes)
            .map_err(|_| SendError::Full)?;
        self.send_control_frames(to, now);
        Ok(())
    }

    /// Sends what the control streams have to send now.
    pub(super) fn send_control_frames(&mut self, to: NeighbourId, now: Instant) {
        loop {
            let Some(peer) = self.peers.get_mut(&to.0) else {
                return;
            };
            let room = peer.frame_bytes.saturating_sub(SESSION_OVERHEAD_BYTES);
            let resend_after = peer.quality.resend_after();
            let Some(body) = peer
                .control
                .poll_frame(room, CONTROL_WINDOW_BYTES, resend_after, now)
            else {
                return;
            };
            if self.send_wanted(to, LABEL_CONTROL, &body, now).is_none() {
                return;
            }
        }
    }

    /// Sends lost data frames again, on links that lose many.
    pub(super) fn resend_data(&mut self, to: NeighbourId, now: Instant) {
        while let Some(peer) = self
            .peers
            .get_mut(&to.0)
            .filter(|peer| peer.resends() && !peer.suspect)
        {
            let resend_after = peer.quality.resend_after();
            let (radio, addr) = (peer.radio, peer.addr);
            let Some((flown, cause)) = peer.flight.poll_resend(resend_after, now) else {
                return;
            };
            peer.quality.note_resent(cause);
            let train = Train::single(flown.bytes.clone());
            count(&mut self.counters.resent);
            self.transmit(radio, addr, train);
        }
    }

    /// Sends a frame of the link's own that wants an answer.
    pub(super) fn send_wanted(
        &mut self,
        to: NeighbourId,
        label: u32,
        body: &[u8],
        now: Instant,
    ) -> Option<()> {
        let (counter, frame) = self.seal_own(to, label, body, now)?;
        let peer = self.peers.get_mut(&to.0)?;
        peer.await_ack(peer.sending, counter, now);
        // Control repeats its segments itself, and a ping is repeated by another one.
        if label == LABEL_FRAGMENT && peer.resends() {
            peer.keep(counter, label, &frame, now);
        }
        let (radio, addr) = (peer.radio, peer.addr);
        self.transmit(radio, addr, Train::single(frame));
        Some(())
    }

    /// Sends a frame of the link's own that wants none.
    pub(super) fn send_own(&mut self, to: NeighbourId, label: u32, body: &[u8], now: Instant) {
        if let Some((_, frame)) = self.seal_own(to, label, body, now)
            && let Some(peer) = self.peers.get(&to.0)
        {
            let (radio, addr) = (peer.radio, peer.addr);
            self.transmit(radio, addr, Train::single(frame));
        }
    }

    /// Seals a frame of the link's own; returns its counter and its bytes.
    fn seal_own(
        &mut self,
        to: NeighbourId,
        label: u32,
        body: &[u8],
        now: Instant,
    ) -> Option<(u64, Vec<u8>)> {
        let peer = self.peers.get_mut(&to.0)?;
        let session = self.sessions.find_mut(peer.sending)?;
        let mut frame = Vec::with_capacity(body.len().saturating_add(SESSION_OVERHEAD_BYTES));
        frame.resize(SESSION_PREFIX_BYTES, 0);
        frame.extend_from_slice(body);
        frame.resize(frame.len().saturating_add(FRAME_TAG_BYTES), 0);
        let counter = session.seal(label, &mut frame);
        peer.sent_at = now;
        debug_assert!(
            frame
                .first()
                .is_some_and(|first| u32::from(*first) << 24 >= SESSION_BIT),
            "session frames have the top bit"
        );
        Some((counter, frame))
    }
}
