//! The packet path: frames are opened, relabelled and sealed again in the buffer they came in, and frames of one size for
//! one place leave as one train.

use smartmesh_types::{Destination, FlowId, Label, LinkAddr, NeighbourId, Now, RadioId, Train};
use smartmesh_wire::flow::split_inner_label;

use super::{Mesh, MeshOutput};
use crate::flow::{FlowEvent, FlowInput, Forward, NESTING_MAX, Opened, PayloadKind, Sealed};
use crate::link::{DataFrame, FRAME_HEADER_BYTES, FRAME_TAG_BYTES};

/// Frames of one train at most: what segmentation offload takes at once on Linux.
const TRAIN_FRAMES_MAX: usize = 64;

/// Bytes of one train at most: below what one UDP datagram with offload may hold.
const TRAIN_BYTES_MAX: usize = 64_000;

/// Bytes of an inner label before the payload on a bypass.
const INNER_LABEL_BYTES: usize = 4;

/// A train that may still grow.
#[derive(Debug)]
pub(super) struct Filling {
    radio: RadioId,
    addr: LinkAddr,
    train: Train,
    frames: usize,
}

impl Filling {
    fn takes(&self, radio: RadioId, addr: LinkAddr, frame_bytes: usize) -> bool {
        let is_whole = self.train.bytes.len().checked_rem(self.train.segment_bytes) == Some(0);
        self.radio == radio
            && self.addr == addr
            && is_whole
            && frame_bytes <= self.train.segment_bytes
            && self.frames < TRAIN_FRAMES_MAX
            && self.train.bytes.len().saturating_add(frame_bytes) <= TRAIN_BYTES_MAX
    }
}

impl Mesh {
    pub(super) fn handle_train(&mut self, radio: RadioId, from: LinkAddr, train: Train, now: Now) {
        let mut frames = std::mem::take(&mut self.frames);
        let mut train = self.links.open_train(radio, from, train, now, &mut frames);
        for frame in frames.drain(..) {
            self.handle_frame(frame, &mut train.bytes, now);
        }
        self.frames = frames;
    }

    fn handle_frame(&mut self, frame: DataFrame, bytes: &mut [u8], now: Now) {
        let (mut from, mut label, mut start) = (frame.from, frame.label, frame.start);
        let end = frame.start.saturating_add(frame.length);
        for _ in 0..=NESTING_MAX {
            let decision = self.flows.forward(from, label, now);
            if self.swallows_packet(&decision) {
                return;
            }
            match decision {
                Forward::Relay { to, label } => {
                    self.replay(to, label, bytes.get(start..end).unwrap_or_default(), now);
                    return self.relay(to, label, start, end, bytes, now);
                }
                Forward::RelayInside { to, label, push } => {
                    let payload = bytes.get(start..end).unwrap_or_default();
                    let mut inside =
                        Vec::with_capacity(payload.len().saturating_add(INNER_LABEL_BYTES));
                    inside.extend_from_slice(&push.0.to_be_bytes());
                    inside.extend_from_slice(payload);
                    return self.send_packet(to, label, &inside, now);
                }
                Forward::Deliver { path } => {
                    let Some(packet) = bytes.get_mut(start..end) else {
                        return;
                    };
                    // What does not open has been counted.
                    let opened = match self.flows.open_payload(path, packet, now) {
                        Ok(Opened::Payload {
                            flow,
                            kind,
                            payload,
                        }) => Some((flow, kind, payload.to_vec())),
                        Ok(Opened::Consumed) | Err(_) => None,
                    };
                    // The first packet brings its flow up: the layers above must hear of that before they get it.
                    while let Some(output) = self.flows.poll_output() {
                        self.handle_flow(output, now);
                    }
                    if let Some((flow, kind, payload)) = opened {
                        let event = FlowEvent::Received {
                            flow,
                            kind,
                            payload,
                        };
                        self.outputs.push_back(MeshOutput::Flow(event));
                    }
                    return;
                }
                Forward::Hold => {
                    let payload = bytes.get(start..end).unwrap_or_default().to_vec();
                    let held = FlowInput::Data {
                        from,
                        label,
                        payload,
                    };
                    return self.flows.handle(held, &self.routes, now);
                }
                Forward::Unwrap { from: link } => {
                    let Some((inner, _)) = bytes.get(start..end).and_then(split_inner_label) else {
                        return;
                    };
                    (from, label) = (link, inner);
                    start = start.saturating_add(INNER_LABEL_BYTES);
                }
                Forward::Drop(_) => return,
            }
        }
    }

    /// Seals a frame again where it lies, and copies it into the train for its next place.
    fn relay(
        &mut self,
        to: NeighbourId,
        label: Label,
        start: usize,
        end: usize,
        bytes: &mut [u8],
        now: Now,
    ) {
        let first = start.saturating_sub(FRAME_HEADER_BYTES);
        let last = end.saturating_add(FRAME_TAG_BYTES);
        let Some(frame) = bytes.get_mut(first..last) else {
            return;
        };
        if self
            .links
            .frame_bytes(to)
            .is_some_and(|most| most < frame.len())
        {
            let payload = bytes.get(start..end).unwrap_or_default().to_vec();
            return self.send_packet(to, label, &payload, now);
        }
        if let Ok(route) = self.links.seal_frame(to, label, frame, now) {
            Self::fill(
                &mut self.filling,
                &mut self.outputs,
                route.radio,
                route.addr,
                frame,
            );
        }
    }

    /// Sends one packet: in a frame of its own, or in fragments where it is larger than a frame.
    pub(super) fn send_packet(&mut self, to: NeighbourId, label: Label, payload: &[u8], now: Now) {
        let mut frame = Vec::with_capacity(
            payload
                .len()
                .saturating_add(FRAME_HEADER_BYTES + FRAME_TAG_BYTES),
        );
        frame.resize(FRAME_HEADER_BYTES, 0);
        frame.extend_from_slice(payload);
        self.send_frame(to, label, frame, now);
    }

    /// Sends a frame that has room for its header before the payload and none yet for its tag.
    fn send_frame(&mut self, to: NeighbourId, label: Label, mut frame: Vec<u8>, now: Now) {
        let whole = frame.len().saturating_add(FRAME_TAG_BYTES);
        if self.links.frame_bytes(to).is_some_and(|most| most < whole) {
            let payload = frame.get(FRAME_HEADER_BYTES..).unwrap_or_default();
            // A neighbour that is gone or a full queue: counted by the link, repaired by the ends.
            let _ = self.links.send_data(to, label, payload, now);
            return;
        }
        frame.resize(whole, 0);
        if let Ok(route) = self.links.seal_frame(to, label, &mut frame, now) {
            Self::fill(
                &mut self.filling,
                &mut self.outputs,
                route.radio,
                route.addr,
                &frame,
            );
        }
    }

    pub(super) fn seal_and_send(
        &mut self,
        flow: FlowId,
        kind: PayloadKind,
        payload: &[u8],
        now: Now,
    ) {
        // Header, possible inner label, the end-to-end layer and both tags.
        let mut frame = Vec::with_capacity(payload.len().saturating_add(96));
        frame.resize(FRAME_HEADER_BYTES, 0);
        if let Ok(Sealed::Send { to, label }) =
            self.flows.seal(flow, kind, payload, &mut frame, now)
        {
            self.send_frame(to, label, frame, now);
        }
    }

    fn fill(
        filling: &mut Option<Filling>,
        outputs: &mut std::collections::VecDeque<MeshOutput>,
        radio: RadioId,
        addr: LinkAddr,
        frame: &[u8],
    ) {
        if let Some(open) = filling
            .as_mut()
            .filter(|open| open.takes(radio, addr, frame.len()))
        {
            open.train.bytes.extend_from_slice(frame);
            open.frames = open.frames.saturating_add(1);
            return;
        }
        if let Some(Filling {
            radio, addr, train, ..
        }) = filling.take()
        {
            outputs.push_back(MeshOutput::Transmit {
                radio,
                to: Destination::Peer(addr),
                train,
            });
        }
        let train = Train::single(frame.to_vec());
        *filling = Some(Filling {
            radio,
            addr,
            train,
            frames: 1,
        });
    }

    pub(super) fn flush(&mut self) {
        if let Some(Filling {
            radio, addr, train, ..
        }) = self.filling.take()
        {
            self.outputs.push_back(MeshOutput::Transmit {
                radio,
                to: Destination::Peer(addr),
                train,
            });
        }
    }
}
