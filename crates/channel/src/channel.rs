//! One channel: who, what each side signed, and where it stands.

use std::collections::VecDeque;

use alloy_primitives::{Address as Account, B256};
use smartmesh_contracts::channel_id;
use smartmesh_contracts::model::Side;
use smartmesh_types::{Address, Duration, Instant, RequestId};
use smartmesh_wire::payment::{
    ChannelTag, LockChange, LockEnd, Payouts, SessionTag, SignatureBytes, State, Withdrawal,
};

use crate::locks::Lock;
use crate::onchain::OnChain;

/// A channel's id on the chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelId(pub B256);

impl ChannelId {
    /// The first bytes, which name it between its parties.
    pub(crate) fn tag(self) -> ChannelTag {
        let [a, b, c, d, e, f, ..] = self.0.0;
        ChannelTag([a, b, c, d, e, f])
    }
}

impl std::fmt::Display for ChannelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What names a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Terms {
    /// Token.
    pub token: Account,
    /// The lower of the two channel keys.
    pub low: Account,
    /// The higher.
    pub high: Account,
    /// Hold index + 256 x factor of an unknown close.
    pub terms: u16,
}

impl Terms {
    /// The channel of two keys.
    #[must_use]
    pub fn of(token: Account, one: Account, other: Account, terms: u16) -> Self {
        Self {
            token,
            low: one.min(other),
            high: one.max(other),
            terms,
        }
    }

    /// The channel's id.
    #[must_use]
    pub fn id(&self) -> ChannelId {
        ChannelId(channel_id(self.token, self.low, self.high, self.terms))
    }

    /// The key of one side.
    #[must_use]
    pub fn party(&self, side: Side) -> Account {
        match side {
            Side::Low => self.low,
            Side::High => self.high,
        }
    }
}

/// A state that its payer signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedState {
    pub(crate) state: State,
    pub(crate) signature: SignatureBytes,
}

/// What this side pays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outgoing {
    /// Newest content; from the moment it is on disk it counts as signed.
    pub(crate) state: State,
    /// What it changed, to be sent again as it was.
    pub(crate) changes: Vec<LockChange>,
    pub(crate) memo: Vec<u8>,
    pub(crate) locks: Vec<Lock>,
    /// Number of the newest one that the partner has on disk, and what it had paid by then.
    pub(crate) arrived: u64,
    pub(crate) arrived_paid: u128,
    /// The next lock's name.
    pub(crate) next_lock: u64,
    /// Waits for the message under way.
    queue: VecDeque<Pending>,
    /// What it adds up to, base units.
    pub(crate) queued: u128,
    /// Who asked for what the message under way pays.
    pub(crate) asked: Vec<RequestId>,
    pub(crate) resend: Option<Resend>,
    /// Until when what waits may wait for the partner to be met.
    pub(crate) patience: Option<Instant>,
}

impl Outgoing {
    pub(crate) fn queue(&self) -> &VecDeque<Pending> {
        &self.queue
    }

    pub(crate) fn push(&mut self, pending: Pending) {
        self.queued = self.queued.saturating_add(pending.amount());
        self.queue.push_back(pending);
    }

    pub(crate) fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        self.queued = self.queued.saturating_sub(pending.amount());
        Some(pending)
    }

    pub(crate) fn take_queue(&mut self) -> VecDeque<Pending> {
        self.queued = 0;
        std::mem::take(&mut self.queue)
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.arrived < self.state.seq
    }
}

/// When something is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Resend {
    pub(crate) at: Instant,
    pub(crate) pause: Duration,
}

/// A change that waits to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    Pay {
        request: Option<RequestId>,
        amount: u128,
        memo: Vec<u8>,
    },
    Add(Lock),
    Remove(u64, LockEnd),
}

impl Pending {
    fn amount(&self) -> u128 {
        match self {
            Self::Pay { amount, .. } => *amount,
            Self::Add(lock) => lock.added.amount,
            Self::Remove(..) => 0,
        }
    }
}

/// What the partner pays.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incoming {
    /// Newest message; none before the first.
    pub(crate) newest: Option<SignedState>,
    /// Another message of the partner with the number of one it had signed before: proof of a lie.
    pub(crate) contradiction: Option<SignedState>,
    pub(crate) locks: Vec<Lock>,
    /// The highest name of a lock so far.
    pub(crate) last_lock: u64,
    /// Ticks received of the newest message's chain, and the preimage that shows it.
    pub(crate) ticks: u32,
    pub(crate) preimage: [u8; 32],
    /// When claims and releases that the payer has not acted on are sent again.
    pub(crate) remind: Option<Resend>,
}

impl Incoming {
    pub(crate) fn state(&self) -> State {
        self.newest.map(|signed| signed.state).unwrap_or_default()
    }
}

/// The meeting of two starts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Session {
    /// The partner's nonce of its present start.
    pub(crate) peer_nonce: [u8; 8],
    pub(crate) established: bool,
    pub(crate) peer_recovers: bool,
    pub(crate) hello: Option<Resend>,
}

impl Default for Resend {
    fn default() -> Self {
        Self {
            at: Instant::ZERO,
            pause: Duration::ZERO,
        }
    }
}

/// An order to end the channel that this side signed: it pays nothing more until the order is executed or expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndOrder {
    pub(crate) deadline: u64,
    pub(crate) kind: EndKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one a channel, and few have any")]
pub(crate) enum EndKind {
    /// Payouts as proposed or answered; the partner's signature once it is there.
    Together(Payouts, Option<SignatureBytes>),
    /// A close that this side posts.
    Close {
        unknown: bool,
        agent: Account,
        fee: u128,
    },
}

/// A withdrawal that was signed: its amount is set aside until it is executed or expired beyond reorganisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) order: Withdrawal,
    /// Whose deposit falls.
    pub(crate) ours: bool,
    /// The other signature, once it is there.
    pub(crate) other: Option<SignatureBytes>,
}

/// One channel.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    /// Names its records.
    pub(crate) slot: u32,
    pub(crate) id: ChannelId,
    pub(crate) terms: Terms,
    pub(crate) side: Side,
    pub(crate) peer: Address,
    /// Locators of low and high.
    pub(crate) locators: ([u8; 32], [u8; 32]),
    /// What the partner said of itself.
    pub(crate) partner_reach: u32,
    pub(crate) partner_reserve: u128,
    /// What this side demands that the partner keep, as it told at the introduction.
    pub(crate) our_reserve: u128,
    pub(crate) chain: OnChain,
    /// Epoch of what is signed here.
    pub(crate) epoch: u32,
    pub(crate) out: Outgoing,
    pub(crate) inc: Incoming,
    /// This phone lost messages of this epoch.
    pub(crate) recovering: bool,
    pub(crate) order: Option<EndOrder>,
    pub(crate) withdrawal: Option<Reservation>,
    pub(crate) session: Session,
    /// Block at which each purpose was submitted last.
    pub(crate) submitted: Vec<(crate::border::Purpose, u64)>,
    /// The epoch's end was seen by this very installation, so the next one starts with nothing forgotten.
    pub(crate) next_is_clean: bool,
    /// When the towers are given the newest message, and what they keep.
    pub(crate) watch: Option<Resend>,
    pub(crate) watched: Option<(u64, B256)>,
    /// A close was told to the user.
    pub(crate) told_closed: bool,
}

impl Channel {
    /// A channel in which nothing happened yet.
    pub(crate) fn new(slot: u32, terms: Terms, side: Side, peer: Address) -> Self {
        Self {
            slot,
            id: terms.id(),
            terms,
            side,
            peer,
            locators: ([0; 32], [0; 32]),
            partner_reach: 0,
            partner_reserve: 0,
            our_reserve: 0,
            chain: OnChain::default(),
            epoch: 0,
            out: Outgoing::default(),
            inc: Incoming::default(),
            recovering: false,
            order: None,
            withdrawal: None,
            session: Session::default(),
            submitted: Vec::new(),
            next_is_clean: false,
            watch: None,
            watched: None,
            told_closed: false,
        }
    }

    pub(crate) fn me(&self) -> Account {
        self.terms.party(self.side)
    }

    pub(crate) fn partner(&self) -> Account {
        self.terms.party(self.side.other())
    }

    pub(crate) fn is_high(&self) -> bool {
        self.side == Side::High
    }

    /// What names the meeting of the present starts: from both nonces, low's first.
    pub(crate) fn session_tag(&self, nonce: [u8; 8]) -> SessionTag {
        let (low, high) = match self.side {
            Side::Low => (nonce, self.session.peer_nonce),
            Side::High => (self.session.peer_nonce, nonce),
        };
        let hash =
            smartmesh_crypto::sha256(&[b"smartmesh channel session", &low, &high, &self.id.0.0]);
        let [a, b, c, d, ..] = hash;
        SessionTag([a, b, c, d])
    }
}
