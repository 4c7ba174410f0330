//! Everything that goes in and comes out.

use smartmesh_types::{Address, Duration, FlowId, NeighbourId, NodeKey, UnixTime};
use smartmesh_wire::bundle::{BundleDecodeError, Priority};
use thiserror::Error;

/// Limits and times of custody.
#[derive(Clone, Debug)]
pub struct CustodyConfig {
    /// Copies a bundle starts with.
    pub copies: u8,
    /// Most bytes of payload carried for others.
    pub bytes_max: u64,
    /// Most bundles carried for others.
    pub bundles_max: usize,
    /// Most bytes carried for one depositor; all neighbours that have not proven a key are one.
    pub depositor_bytes_max: u64,
    /// Most bytes of own mail.
    pub own_bytes_max: u64,
    /// Most bundles of own mail.
    pub own_max: usize,
    /// Most names remembered as seen; the one that ends first is forgotten.
    pub seen_max: usize,
    /// Most vaccines kept; those for bundles never seen here go first.
    pub vaccines_max: usize,
    /// Most delivered payloads kept on disk until their receipt is revealed; the oldest goes.
    pub unread_max: usize,
    /// Most payloads coming in, those that wait for another holder included.
    pub incoming_max: usize,
    /// Longest life of a bundle.
    pub life_max: Duration,
    /// How long a peer may take to answer.
    pub answer_timeout: Duration,
    /// How often sets are compared anew with a neighbour that stays, while anything is held.
    pub hello_interval: Duration,
    /// How often ends are looked for and held mail is offered by gossip.
    pub sweep_interval: Duration,
    /// Least time between two mail acks by gossip, and between two wishes for one carrier.
    pub gossip_interval: Duration,
    /// Largest message over a flow, in bytes: fits one packet of any path that carries sessions.
    pub flow_message_bytes: usize,
}

impl Default for CustodyConfig {
    fn default() -> Self {
        Self {
            copies: 8,
            // An hour of a slow link's traffic, a thousandth of a phone's disk.
            bytes_max: 64 * 1_024 * 1_024,
            bundles_max: 4_096,
            depositor_bytes_max: 8 * 1_024 * 1_024,
            own_bytes_max: 64 * 1_024 * 1_024,
            own_max: 4_096,
            seen_max: 16_384,
            vaccines_max: 8_192,
            unread_max: 256,
            incoming_max: 64,
            life_max: Duration::from_secs(30 * 24 * 3_600),
            answer_timeout: Duration::from_secs(10),
            hello_interval: Duration::from_secs(300),
            sweep_interval: Duration::from_secs(60),
            gossip_interval: Duration::from_secs(10),
            flow_message_bytes: 440,
        }
    }
}

/// Somebody with whom mail is exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerRef {
    /// A neighbour, for everything.
    Neighbour(NeighbourId),
    /// The end of a flow, for pulling mail from a carrier only.
    Flow(FlowId),
}

/// A fact to be kept on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name, 33 bytes: what it is about, then the bundle's id.
    pub key: Vec<u8>,
    /// Its bytes, the version first; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// What custody is told.
#[derive(Clone, Debug)]
pub enum CustodyInput {
    /// Take own mail. The same payload and receipt again make no second bundle.
    Deposit {
        /// The reader.
        to: Address,
        /// Sealed bytes, at most [`BUNDLE_PAYLOAD_BYTES_MAX`](smartmesh_wire::bundle::BUNDLE_PAYLOAD_BYTES_MAX).
        payload: Vec<u8>,
        /// When it is of no more use; cut to the longest life.
        expires: UnixTime,
        /// How urgent it is.
        priority: Priority,
        /// What the reader will find inside the payload and reveal.
        receipt: [u8; 32],
    },
    /// The local reader has read a bundle or has its content from elsewhere, or the sender knows that it has arrived: its
    /// copies may go. A receipt of nothing that was seen here is remembered: such mail is cleared unread when it comes by.
    Reveal {
        /// What its commitment commits to.
        receipt: [u8; 32],
    },
    /// The content of the local reader's mail with these commitments is coming by another way: from now on exactly these
    /// are not pulled.
    ComesOtherwise {
        /// SHA-256 of each receipt.
        commitments: Vec<[u8; 32]>,
    },
    /// A neighbour is there.
    NeighbourUp {
        /// Which.
        neighbour: NeighbourId,
    },
    /// A neighbour is gone.
    NeighbourDown {
        /// Which.
        neighbour: NeighbourId,
    },
    /// A neighbour has proven its key.
    Identified {
        /// Which.
        neighbour: NeighbourId,
        /// Its key.
        key: NodeKey,
    },
    /// A flow to a carrier is there.
    FlowUp {
        /// Which.
        flow: FlowId,
    },
    /// A flow is gone.
    FlowDown {
        /// Which.
        flow: FlowId,
    },
    /// A [`BundleMessage`](smartmesh_wire::bundle::BundleMessage), without the family byte.
    Message {
        /// Who sent it.
        from: PeerRef,
        /// The message.
        body: Vec<u8>,
    },
    /// A [`MailOffer`](smartmesh_wire::bundle::MailOffer) was heard by gossip.
    OfferHeard {
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// A mail ack was heard by gossip.
    AcksHeard {
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// How carriers are reached from now on; opaque, at most 32 bytes.
    SetTag {
        /// This node's own routing tag.
        tag: Vec<u8>,
    },
    /// Nothing but time has passed.
    Tick,
}

/// What custody wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustodyOutput {
    /// Must be on disk before any later output is carried out.
    Persist(Record),
    /// Send a [`BundleMessage`](smartmesh_wire::bundle::BundleMessage).
    Send {
        /// To whom.
        to: PeerRef,
        /// The message, without the family byte.
        body: Vec<u8>,
    },
    /// Mail for the local reader.
    Delivered {
        /// The sealed bytes.
        payload: Vec<u8>,
    },
    /// An own deposit was read.
    Acked {
        /// SHA-256 of its receipt.
        commitment: [u8; 32],
    },
    /// An own deposit was handed over once more.
    Carried {
        /// SHA-256 of its receipt.
        commitment: [u8; 32],
        /// Carriers that have confirmed it so far.
        copies: u32,
    },
    /// Mail for the local reader lies with a carrier: open a flow to it, then say [`CustodyInput::FlowUp`].
    Wanted {
        /// The carrier's routing tag.
        tag: Vec<u8>,
    },
    /// Publish a [`MailOffer`](smartmesh_wire::bundle::MailOffer) by gossip.
    PublishOffer {
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// Publish a mail ack by gossip.
    PublishAcks {
        /// Its bytes.
        payload: Vec<u8>,
    },
}

/// Why an input was refused; nothing has changed but a counter.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CustodyError {
    /// The neighbour is not up, or too many flows are.
    #[error("{0:?} is not up")]
    UnknownPeer(PeerRef),
    /// The bytes are no message of this family.
    #[error(transparent)]
    Decode(#[from] BundleDecodeError),
    /// A message that does not belong on a flow.
    #[error("a message that only neighbours send")]
    NotOnFlows,
    /// A payload larger than a bundle's, in bytes.
    #[error("payload of {0} bytes")]
    PayloadTooLarge(usize),
    /// The deposit has ended already.
    #[error("the deposit has ended already")]
    Ended,
    /// Own mail has no room left.
    #[error("no room for more own mail")]
    Full,
}

/// Why records cannot be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// A record is cut off or of an unknown version or kind.
    #[error("carried mail's record {key:02x?} cannot be read")]
    Record {
        /// Its key.
        key: Vec<u8>,
    },
}

/// What custody has counted since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustodyCounters {
    /// Own bundles taken in.
    pub deposited: u64,
    /// Bundles taken from others.
    pub taken: u64,
    /// Copies given away.
    pub granted: u64,
    /// Payloads handed to the local reader.
    pub delivered: u64,
    /// Bundles cleared by a vaccine.
    pub cleared: u64,
    /// Bundles dropped: their life was over.
    pub expired: u64,
    /// Bundles dropped for others.
    pub evicted: u64,
    /// Bundles not taken: no room, or the depositor's quota is used up.
    pub no_room: u64,
    /// Payloads dropped: not what the header's hash says.
    pub bad_payload: u64,
    /// Headers dropped: malformed, ended, or not asked for.
    pub bad_offer: u64,
    /// Vaccines dropped: ended, or too many for bundles never seen.
    pub bad_vaccine: u64,
    /// Messages dropped: not decodable, out of place, or from somebody who is not up.
    pub malformed: u64,
    /// Requests given up: no answer.
    pub timed_out: u64,
    /// Ids not followed: too many wait already.
    pub queue_full: u64,
}
