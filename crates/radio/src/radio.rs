//! What each radio does for the set, and what the set tells the shell.

use std::task::{Context, Poll};

use smartmesh_types::{Destination, Instant, LinkAddr, RadioId, RadioInfo, Train};

/// Asks the shell for the monotonic time; radios never ask the system themselves.
pub type Clock = fn() -> Instant;

/// What a radio tells the node, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadioEvent {
    /// The radio works now, or what it offers has changed.
    Up {
        /// Which radio.
        radio: RadioId,
        /// What it offers.
        info: RadioInfo,
    },
    /// The radio is gone; all that was queued on it is lost.
    Down {
        /// Which radio.
        radio: RadioId,
    },
    /// The medium says that one peer, or all of them, can't be reached any more.
    CarrierLost {
        /// Which radio.
        radio: RadioId,
        /// Which peer; `None` for all.
        peer: Option<LinkAddr>,
    },
    /// Frames arrived.
    Train {
        /// On which radio.
        radio: RadioId,
        /// From whom, unauthenticated.
        from: LinkAddr,
        /// The frames.
        train: Train,
    },
}

/// What one radio reports before the set adds its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    Up(RadioInfo),
    Down,
    CarrierLost(Option<LinkAddr>),
    Train { from: LinkAddr, train: Train },
}

impl LinkEvent {
    pub(crate) fn with_id(self, radio: RadioId) -> RadioEvent {
        match self {
            Self::Up(info) => RadioEvent::Up { radio, info },
            Self::Down => RadioEvent::Down { radio },
            Self::CarrierLost(peer) => RadioEvent::CarrierLost { radio, peer },
            Self::Train { from, train } => RadioEvent::Train { radio, from, train },
        }
    }
}

/// What a radio has moved and dropped since it came up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RadioCounters {
    /// Frames handed to the medium.
    pub sent_frames: u64,
    /// Bytes of these frames, without the medium's own headers.
    pub sent_bytes: u64,
    /// Frames that arrived.
    pub received_frames: u64,
    /// Bytes of these frames.
    pub received_bytes: u64,
    /// Frames dropped because the queue to the medium was full.
    pub dropped_full: u64,
    /// Frames dropped because the medium refused them, or because they were larger than it takes.
    pub dropped_refused: u64,
    /// Received frames dropped because they were malformed or came from ourselves.
    pub dropped_received: u64,
}

impl RadioCounters {
    pub(crate) fn plus(self, other: &Self) -> Self {
        Self {
            sent_frames: self.sent_frames.saturating_add(other.sent_frames),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            received_frames: self.received_frames.saturating_add(other.received_frames),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
            dropped_full: self.dropped_full.saturating_add(other.dropped_full),
            dropped_refused: self.dropped_refused.saturating_add(other.dropped_refused),
            dropped_received: self.dropped_received.saturating_add(other.dropped_received),
        }
    }

    pub(crate) fn count_received(&mut self, train: &Train) {
        self.received_frames = self.received_frames.saturating_add(frame_count(train));
        self.received_bytes = self.received_bytes.saturating_add(byte_count(train));
    }

    pub(crate) fn count_full(&mut self, train: &Train) {
        self.dropped_full = self.dropped_full.saturating_add(frame_count(train));
    }

    pub(crate) fn count_refused(&mut self, train: &Train) {
        self.dropped_refused = self.dropped_refused.saturating_add(frame_count(train));
    }
}

pub(crate) fn frame_count(train: &Train) -> u64 {
    u64::try_from(train.bytes.len().div_ceil(train.segment_bytes.max(1))).unwrap_or(u64::MAX)
}

fn byte_count(train: &Train) -> u64 {
    u64::try_from(train.bytes.len()).unwrap_or(u64::MAX)
}

/// Events one radio may report in one poll, so that a flooded radio starves neither the others nor the API.
pub(crate) const EVENTS_PER_POLL: usize = 32;

/// Bytes one UDP radio keeps while the medium takes none; about one second at 8 Mbit/s. New frames are dropped when full.
pub(crate) const QUEUE_BYTES_MAX: usize = 1 << 20;

/// One radio as the set drives it.
pub(crate) trait Radio: Send {
    /// Reports what has happened, at most about [`EVENTS_PER_POLL`] events, and registers to be woken for more.
    ///
    /// Ready when it reported something.
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()>;

    /// Queues a train; drops it, counted, when the queue is full or the place is not one of this radio's.
    fn transmit(&mut self, to: Destination, train: Train);

    /// Hands to the medium what it takes without waiting; the rest goes out in later polls.
    fn flush(&mut self);

    fn counters(&self) -> RadioCounters;
}
