//! One kept neighbour.

use smartmesh_types::{Duration, Instant, LinkAddr, NeighbourId, NodeKey, RadioId};
use smartmesh_wire::link::BeaconId;

use super::LinkConfig;
use super::budget::{Bucket, Share, Standing};
use super::control::Control;
use super::flight::{Flight, Room};
use super::fragments::Reassembly;
use super::quality::Quality;
use super::recognise::Recognition;
use super::renew::Renewal;

/// How long a receiver waits before it acknowledges a stream of frames; a frame alone is acknowledged at once.
pub(super) const ACK_GAP: Duration = Duration::from_millis(20);
/// Silence after which an idle neighbour is asked for a sign of life, and how often: a lost beat must not end a link.
const HAIL_AFTER: Duration = Duration::from_secs(6);
const HAIL_GAP: Duration = Duration::from_millis(500);
/// Bytes of control that a stranger may send each second on a slow radio; contacts may send four times as much.
const CONTROL_BYTES_PER_SECOND_MIN: u64 = 16_384;

/// The oldest frame that wants an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    pub(super) session: u32,
    pub(super) counter: u64,
    pub(super) since: Instant,
}

/// What a finished handshake tells of a new neighbour.
pub(super) struct PeerStart {
    pub(super) id: NeighbourId,
    pub(super) radio: RadioId,
    pub(super) addr: LinkAddr,
    pub(super) key: [u8; 32],
    pub(super) binding: [u8; 32],
    pub(super) beacon: BeaconId,
    pub(super) links: u8,
    pub(super) frame_bytes: usize,
    pub(super) bits_per_second: u64,
    pub(super) explored: bool,
}

pub(super) struct Peer {
    pub(super) id: NeighbourId,
    pub(super) radio: RadioId,
    pub(super) addr: LinkAddr,
    /// The neighbour's link key: by it a neighbour that lost its session keys is known again.
    pub(super) key: [u8; 32],
    /// The hash of the handshake that made the link; what the two prove to each other is bound to it.
    pub(super) binding: [u8; 32],
    pub(super) beacon: BeaconId,
    /// The long-term key it has proven.
    pub(super) identity: Option<NodeKey>,
    pub(super) recognition: Recognition,
    /// How many links the neighbour says it has, and to whom, beside us.
    pub(super) links: u8,
    pub(super) around: Vec<[u8; 4]>,
    /// Whom it was told of last as our neighbours.
    pub(super) told_around: Vec<[u8; 4]>,
    /// Whether another neighbour made room for it.
    pub(super) explored: bool,
    pub(super) frame_bytes: usize,
    pub(super) bits_per_second: u64,
    /// Our indices of its sessions, oldest first; the last one that is confirmed is used to send.
    pub(super) sessions: Vec<u32>,
    pub(super) sending: u32,
    /// Whether this side began the handshake; it also begins the next one.
    pub(super) began: bool,
    pub(super) rekey_at: Instant,
    pub(super) renewal: Option<Renewal>,
    /// When it last asked for new keys.
    pub(super) answered_at: Instant,
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
    /// When data last went either way.
    pub(super) carried_at: Instant,
    pub(super) beat_after: Duration,
    pub(super) awaited: Option<Awaited>,
    /// The newest frame that wants an answer.
    pub(super) wanted: Option<(u32, u64)>,
    /// One frame whose round trip is being measured.
    pub(super) timed: Option<Awaited>,
    /// When to ask again for the answer that is awaited.
    pub(super) probe_at: Instant,
    pub(super) hailed_at: Instant,
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
    /// A neighbour without a session yet.
    pub(super) fn new(start: PeerStart, beat: Duration, now: Instant) -> Self {
        let bits_per_second = start.bits_per_second;
        Self {
            id: start.id,
            radio: start.radio,
            addr: start.addr,
            key: start.key,
            binding: start.binding,
            beacon: start.beacon,
            identity: None,
            recognition: Recognition::default(),
            links: start.links,
            around: Vec::new(),
            told_around: Vec::new(),
            explored: start.explored,
            frame_bytes: start.frame_bytes,
            bits_per_second,
            sessions: Vec::new(),
            sending: 0,
            began: false,
            rekey_at: Instant::NEVER,
            renewal: None,
            answered_at: Instant::ZERO,
            quality: Quality::new(
                bits_per_second,
                start.frame_bytes,
                Duration::from_millis(1),
                now,
            ),
            control: Control::default(),
            flight: Flight::default(),
            reassembly: Reassembly::default(),
            share: Share::default(),
            control_budget: control_budget(bits_per_second, Standing::Stranger, now),
            next_packet: 0,
            since: now,
            heard_at: now,
            sent_at: now,
            carried_at: Instant::ZERO,
            beat_after: beat,
            awaited: None,
            wanted: None,
            timed: None,
            probe_at: Instant::NEVER,
            hailed_at: now,
            suspect: false,
            suspect_since: now,
            ping_at: Instant::NEVER,
            ack_at: Instant::NEVER,
            acked_at: Instant::ZERO,
            highest_at: now,
            told: None,
            third: None,
        }
    }

    /// Whose share of the air it has.
    pub(super) fn standing(&self) -> Standing {
        match self.identity {
            Some(_) => Standing::Contact,
            None => Standing::Stranger,
        }
    }

    /// It has proven to be a contact, or is none any more.
    pub(super) fn set_identity(&mut self, identity: Option<NodeKey>, now: Instant) {
        self.identity = identity;
        self.control_budget = control_budget(self.bits_per_second, self.standing(), now);
    }

    pub(super) fn next_due(&self, config: &LinkConfig) -> Instant {
        let dead = self.heard_at + config.dead;
        let beat = self.sent_at + self.beat_after;
        let silence = match self.awaited {
            Some(awaited) if !self.suspect => {
                self.probe_at.min(awaited.since + self.quality.patience())
            }
            Some(_) | None => Instant::NEVER,
        };
        let ping = if self.suspect {
            self.ping_at
        } else {
            self.hail_at()
        };
        let resend = if self.resends() && !self.suspect {
            self.flight.next_due()
        } else {
            Instant::NEVER
        };
        let times = [
            dead,
            beat,
            silence,
            ping,
            resend,
            self.renew_at(),
            self.ack_at,
            self.control.next_due(),
            self.recognition.next_due(),
        ];
        times.into_iter().min().unwrap_or(Instant::NEVER)
    }

    /// When to ask a neighbour that has been silent for long whether it is there.
    pub(super) fn hail_at(&self) -> Instant {
        (self.heard_at + HAIL_AFTER).max(self.hailed_at + HAIL_GAP)
    }

    /// When to agree on new keys: the side that began the link does, and whoever began to and got no answer.
    pub(super) fn renew_at(&self) -> Instant {
        if self.began || self.renewal.is_some() {
            self.rekey_at
        } else {
            Instant::NEVER
        }
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
        self.timed.get_or_insert(fresh);
        if self.awaited.is_none() {
            self.set_awaited(Some(fresh));
        }
    }

    /// Keeps a copy of a sealed frame until it is acknowledged.
    pub(super) fn keep(&mut self, counter: u64, label: u32, frame: &[u8], now: Instant) {
        let room = if self.resends() {
            Room::MUCH
        } else {
            Room::LITTLE
        };
        let (name, wait) = ((self.sending, counter), self.quality.resend_after());
        self.flight.push(name, label, frame, room, wait, now);
    }

    /// What the silence of the link is measured by from now on.
    pub(super) fn set_awaited(&mut self, awaited: Option<Awaited>) {
        self.probe_at = match awaited {
            Some(awaited) => awaited.since + self.quality.probe_after(),
            None => Instant::NEVER,
        };
        self.awaited = awaited;
    }
}

/// Sessions of one neighbour that are kept: the newest, and those whose packets may still be on their way.
const SESSIONS_KEPT: usize = 3;

impl Peer {
    /// Keys of a handshake in the clear, which are used to send at once; who wrote the third message also begins the renewal.
    pub(super) fn restart(&mut self, index: u32, third: Option<Vec<u8>>, rekey_at: Instant) {
        self.sessions.push(index);
        self.began = third.is_some();
        self.third = third;
        self.rekey_at = rekey_at;
        self.renewal = None;
        self.switch_to(index);
    }

    /// Sends under these keys from now on.
    pub(super) fn switch_to(&mut self, index: u32) {
        self.sending = index;
        // What was awaited under the old keys is answered under them or not at all.
        self.set_awaited(None);
        self.timed = None;
        self.told = None;
    }

    /// Takes out the sessions that are older than those kept.
    pub(super) fn retired_sessions(&mut self) -> Vec<u32> {
        let mut retired = Vec::new();
        let mut excess = self.sessions.len().saturating_sub(SESSIONS_KEPT);
        self.sessions.retain(|index| {
            let goes = excess > 0 && *index != self.sending;
            if goes {
                excess = excess.saturating_sub(1);
                retired.push(*index);
            }
            !goes
        });
        retired
    }

    /// The index kept for a session that is being agreed on.
    pub(super) fn renewal_index(&self) -> Option<u32> {
        self.renewal.as_ref().map(|renewal| renewal.index)
    }
}

fn control_budget(bits_per_second: u64, standing: Standing, now: Instant) -> Bucket {
    let stranger = CONTROL_BYTES_PER_SECOND_MIN.max(bits_per_second / 32);
    let per_second = match standing {
        Standing::Contact => stranger.saturating_mul(4),
        Standing::Stranger => stranger,
    };
    Bucket::new(per_second, per_second.saturating_mul(4), now)
}
