//! One kept neighbour.

use smartmesh_crypto::KeyPair;
use smartmesh_types::{Duration, Instant, LinkAddr, NeighbourId, RadioId};
use smartmesh_wire::link::BeaconId;

use super::LinkConfig;
use super::budget::{Bucket, Share};
use super::control::Control;
use super::flight::Flight;
use super::fragments::Reassembly;
use super::quality::Quality;

/// How long a receiver waits before it acknowledges a stream of frames; a frame alone is acknowledged at once.
pub(super) const ACK_GAP: Duration = Duration::from_millis(20);

/// The oldest frame that wants an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) session: u32,
    pub(super) counter: u64,
    pub(super) since: Instant,
}

pub(super) struct Peer {
    pub(super) id: NeighbourId,
    pub(super) radio: RadioId,
    pub(super) addr: LinkAddr,
    /// The neighbour's link key, and ours that it knows: new session keys are made under the same two.
    pub(super) key: [u8; 32],
    pub(super) own_key: KeyPair,
    pub(super) beacon: BeaconId,
    /// How many links the neighbour says it has.
    pub(super) links: u8,
    pub(super) frame_bytes: usize,
    pub(super) bits_per_second: u64,
    /// Our indices of its sessions, oldest first; the last one that is confirmed is used to send.
    pub(super) sessions: Vec<u32>,
    pub(super) sending: u32,
    /// Whether this side began the handshake; it also begins the next one.
    pub(super) began: bool,
    pub(super) rekey_at: Instant,
    pub(super) quality: Quality,
    pub(super) control: Control,
    pub(super) flight: Flight,
    pub(super) reassembly: Reassembly,
    pub(super) share: Share,
    pub(super) control_budget: Bucket,
    pub(super) next_packet: u16,
    pub(super) since: Instant,
    pub(super) heard_at: Instant,
    pub(super) sent_at: Instant,
    pub(super) beat_after: Duration,
    pub(super) awaited: Option<Awaited>,
    /// The newest frame that wants an answer.
    pub(super) wanted: Option<(u32, u64)>,
    /// One frame whose round trip is being measured.
    pub(super) timed: Option<Awaited>,
    pub(super) suspect: bool,
    pub(super) suspect_since: Instant,
    pub(super) ping_at: Instant,
    /// When to acknowledge, if something came that wants it.
    pub(super) ack_at: Instant,
    pub(super) acked_at: Instant,
    /// When the frame with the highest counter came.
    pub(super) highest_at: Instant,
    /// Highest counter and number of frames in the neighbour's last acknowledgement, for the loss between two.
    pub(super) told: Option<(u32, u64, u16)>,
    /// The third message of our last handshake, until a frame shows that it arrived.
    pub(super) third: Option<Vec<u8>>,
}

impl Peer {
    pub(super) fn next_due(&self, config: &LinkConfig) -> Instant {
        let dead = self.heard_at + config.dead;
        let beat = self.sent_at + self.beat_after;
        let silence = match self.awaited {
            Some(awaited) if !self.suspect => awaited.since + self.quality.patience(ACK_GAP),
            Some(_) | None => Instant::NEVER,
        };
        let ping = if self.suspect {
            self.ping_at
        } else {
            Instant::NEVER
        };
        let resend = if self.resends() && !self.suspect {
            self.flight.next_due()
        } else {
            Instant::NEVER
        };
        let rekey = if self.began {
            self.rekey_at
        } else {
            Instant::NEVER
        };
        let times = [
            dead,
            beat,
            silence,
            ping,
            resend,
            rekey,
            self.ack_at,
            self.control.next_due(),
        ];
        times.into_iter().min().unwrap_or(Instant::NEVER)
    }

    /// Whether the link loses so much that it sends frames again by itself.
    pub(super) fn resends(&self) -> bool {
        self.quality.loss() >= super::quality::RESEND_LOSS
    }

    /// A frame that wants an acknowledgement came: at once if it is alone, else with others.
    pub(super) fn owe_ack(&mut self, now: Instant) {
        self.ack_at = self.ack_at.min(now.max(self.acked_at + ACK_GAP));
    }

    /// A frame that wants an acknowledgement was sent.
    pub(super) fn await_ack(&mut self, session: u32, counter: u64, now: Instant) {
        let fresh = Awaited {
            session,
            counter,
            since: now,
        };
        self.wanted = Some((session, counter));
        self.awaited.get_or_insert(fresh);
        self.timed.get_or_insert(fresh);
    }
}

/// Sessions of one neighbour that are kept: the newest, and those whose packets may still be on their way.
const SESSIONS_KEPT: usize = 3;

impl Peer {
    /// New keys; they are used to send at once by the side that asked for them, since the other has them by then.
    pub(super) fn add_session(&mut self, index: u32, began: bool, rekey_at: Instant) {
        self.sessions.push(index);
        self.sending = index;
        self.began = began;
        self.rekey_at = rekey_at;
        // What was awaited under the old keys is answered under them or not at all.
        self.awaited = None;
        self.timed = None;
        self.told = None;
    }

    /// Takes out the sessions that are older than those kept.
    pub(super) fn retired_sessions(&mut self) -> Vec<u32> {
        let excess = self.sessions.len().saturating_sub(SESSIONS_KEPT);
        self.sessions.drain(..excess).collect()
    }
}
