//! Flows: the control messages that build, confirm, repair and end a path, and the header of an end-to-end packet.
//!
//! A control message is a CBOR array `[variant, [fields…]]`; fields are numbered, later versions may add some behind the
//! last and older ones skip them. Sizes are capped before parsing.
//!
//! ```text
//! an end-to-end packet, as the link's payload      on a bypass, as the link's payload
//! 0        1         5              n              0             4
//! +--------+---------+--------------+--------+     +-------------+--------------------+
//! | form 1 | counter | sealed text  | tag 16 |     | inner label | end-to-end packet  |
//! +--------+---------+--------------+--------+     +-------------+--------------------+
//!
//! form 0: data; the sealed text is  kind 1 | payload; the counter is the low 32 bits
//! form 1: the third message of the Noise handshake stands behind the form, with no counter and no tag of its own
//! ```

use minicbor::{Decode, Encode};
use smartmesh_types::{Label, Tag};
use thiserror::Error;
use zerocopy::byteorder::{BigEndian, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Largest control message of this family, in bytes: a returned packet of [`RETURNED_BYTES_MAX`] and its envelope. It
/// fits the link's control channel (16 KiB) together with the family's byte.
pub const FLOW_MESSAGE_BYTES_MAX: usize = 16_000;
/// Largest packet that is handed back towards its sender, in bytes; larger ones are dropped.
pub const RETURNED_BYTES_MAX: usize = 15_900;
/// Largest end-to-end handshake part in a control message, in bytes; the second Noise message needs about 220.
pub const HANDSHAKE_BYTES_MAX: usize = 512;

/// The random name of one attempt to build a path, 16 bytes; known to every node on the path and to nobody else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathToken(pub [u8; 16]);

impl std::fmt::Debug for PathToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "PathToken({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

impl<C> Encode<C> for PathToken {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for PathToken {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        <[u8; 16]>::try_from(d.bytes()?)
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("a path token has 16 bytes"))
    }
}

/// What a path is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Purpose {
    /// Packets between two ends, both ways.
    #[n(0)]
    Flow,
    /// A way round one link, one way: at its end an inner label follows.
    #[n(1)]
    Bypass,
}

/// Why a node does not take a path any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Refusal {
    /// It knows no next hop that has not been tried.
    #[n(0)]
    NoRoute,
    /// The neighbour has used up its labels or its set-ups.
    #[n(1)]
    Quota,
    /// This node is on the path already.
    #[n(2)]
    Loop,
    /// The hop limit is used up.
    #[n(3)]
    HopLimit,
    /// The tries that the source granted are used up.
    #[n(4)]
    Tries,
    /// The destination does not take it: the caller does not know its address, or nobody announced the bypass.
    #[n(5)]
    Unknown,
}

/// Whether packets still get through where a link broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Patch {
    /// They go round it, unpaid, until a new path is set up.
    #[n(0)]
    Patched,
    /// They do not.
    #[n(1)]
    Open,
    /// The link is back.
    #[n(2)]
    Whole,
}

/// Walks from the source to the destination and reserves a label at each hop.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SetUp {
    /// Names this attempt.
    #[n(0)]
    pub token: PathToken,
    /// What the path is for.
    #[n(1)]
    pub purpose: Purpose,
    /// The destination's tag in routing, 8 bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub tag: [u8; 8],
    /// A finished search whose traces lead to the destination.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub search: Option<[u8; 8]>,
    /// Hops that it may still go; starts at a random value so that relays don't learn the distance to the source.
    #[n(4)]
    pub hop_limit: u8,
    /// Neighbours that may still be tried, at all relays together.
    #[n(5)]
    pub tries: u8,
    /// Lets relays choose differently from attempt to attempt.
    #[n(6)]
    pub nonce: u32,
    /// How far relays may stray from the best next hop, 0 to 7.
    #[n(7)]
    pub explore: u8,
    /// The label under which the sender of this message takes packets of the way back; 0 for a bypass, which has none.
    #[n(8)]
    pub label: u32,
    /// Smallest link payload in bytes so far.
    #[n(9)]
    pub payload_bytes: u32,
    /// Smallest rate so far, bits per second.
    #[n(10)]
    pub bits_per_second: u64,
    /// Sum of the hops' prices so far.
    #[n(11)]
    pub price: u64,
    /// Seconds that an unused label shall live; each node may shorten it.
    #[n(12)]
    pub lifetime_secs: u16,
    /// SHA-256 of a secret that reaches the destination in the first packet: who shows it proves that packets arrive.
    #[cbor(n(13), with = "minicbor::bytes")]
    pub proof: [u8; 32],
    /// The end-to-end handshake's first part; opaque to relays.
    #[cbor(n(14), with = "minicbor::bytes")]
    pub first: Vec<u8>,
}

impl SetUp {
    /// The destination's tag.
    pub fn tag(&self) -> Tag {
        Tag(self.tag)
    }
}

/// Walks back and tells each hop the label of the next one.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Confirm {
    /// Names the attempt.
    #[n(0)]
    pub token: PathToken,
    /// The label under which the sender of this message takes packets of the way out.
    #[n(1)]
    pub label: u32,
    /// Hops from the sender of this message to the destination.
    #[n(2)]
    pub hops: u8,
    /// Smallest link payload of the whole path, bytes.
    #[n(3)]
    pub payload_bytes: u32,
    /// Smallest rate of the whole path, bits per second.
    #[n(4)]
    pub bits_per_second: u64,
    /// The whole path's price.
    #[n(5)]
    pub price: u64,
    /// Seconds that an unused label lives, the shortest of the path.
    #[n(6)]
    pub lifetime_secs: u16,
    /// The end-to-end handshake's second part; opaque to relays.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub second: Vec<u8>,
}

/// The control messages of flows.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum FlowMessage {
    /// Builds a path.
    #[n(0)]
    SetUp(#[n(0)] SetUp),
    /// Finishes it.
    #[n(1)]
    Confirm(#[n(0)] Confirm),
    /// Turns it back: the hop before may try another neighbour.
    #[n(2)]
    Refuse {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
        /// Why.
        #[n(1)]
        reason: Refusal,
        /// Neighbours that may still be tried.
        #[n(2)]
        tries: u8,
    },
    /// Shows along the path that the first packet reached the destination.
    #[n(3)]
    Proven {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
        /// What [`SetUp::proof`] is the hash of.
        #[cbor(n(1), with = "minicbor::bytes")]
        secret: [u8; 32],
    },
    /// Frees the labels, from either side.
    #[n(4)]
    Teardown {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
    },
    /// Tells an end that a link of the path is dead.
    #[n(5)]
    Broken {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
        /// Whether packets still get through.
        #[n(1)]
        patch: Patch,
    },
    /// Keeps the labels of a path that carries nothing just now.
    #[n(6)]
    Refresh {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
    },
    /// Hands a packet that met a dead link back towards its sender.
    #[n(7)]
    Returned {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
        /// The packet, at most [`RETURNED_BYTES_MAX`] bytes.
        #[cbor(n(1), with = "minicbor::bytes")]
        packet: Vec<u8>,
    },
    /// Announces to a neighbour that a bypass of this token will end at it and carries what this link would carry.
    #[n(8)]
    Protect {
        /// The bypass's token.
        #[n(0)]
        token: PathToken,
    },
    /// Answers with the tag by which the neighbour is found on other ways.
    #[n(9)]
    Protected {
        /// The bypass's token.
        #[n(0)]
        token: PathToken,
        /// The neighbour's own tag in routing, which it announces to this node anyway.
        #[cbor(n(1), with = "minicbor::bytes")]
        tag: [u8; 8],
    },
    /// Says that packets were sent on and never shown to arrive: the hop before need not blame this one.
    #[n(10)]
    Swallowed {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
    },
    /// Asks each hop to find out where packets of a proven path get lost: who has sent some on and hears neither of the
    /// next hop's innocence nor a sign of life blames it.
    #[n(12)]
    Doubt {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
    },
    /// Says that a set-up is being tried over another neighbour: the hop before may wait on.
    #[n(11)]
    Trying {
        /// Names the attempt.
        #[n(0)]
        token: PathToken,
    },
}

/// Why bytes are no message of this family.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FlowDecodeError {
    /// Longer than any message may be.
    #[error("flow message of {0} bytes")]
    TooLong(usize),
    /// Not the CBOR that is expected here.
    #[error("malformed flow message")]
    Malformed,
    /// A part is longer than allowed.
    #[error("a part of the flow message is too long")]
    PartTooLong,
    /// A label that only the link itself uses.
    #[error("reserved label {0}")]
    ReservedLabel(u32),
}

/// Labels below this are the link's own.
pub const LABEL_MIN: u32 = 16;

impl FlowMessage {
    /// The message's bytes, without the family's byte.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let done = minicbor::encode(self, &mut bytes);
        assert!(done.is_ok(), "writing to a Vec does not fail");
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// If it is too long, malformed, or names a reserved label.
    pub fn decode(body: &[u8]) -> Result<Self, FlowDecodeError> {
        if body.len() > FLOW_MESSAGE_BYTES_MAX {
            return Err(FlowDecodeError::TooLong(body.len()));
        }
        let message: Self = minicbor::decode(body).map_err(|_| FlowDecodeError::Malformed)?;
        message.verify()?;
        Ok(message)
    }

    fn verify(&self) -> Result<(), FlowDecodeError> {
        match self {
            Self::SetUp(set_up) => {
                verify_part(set_up.first.len(), HANDSHAKE_BYTES_MAX)?;
                match set_up.purpose {
                    Purpose::Flow => verify_label(set_up.label),
                    Purpose::Bypass => Ok(()),
                }
            }
            Self::Confirm(confirm) => {
                verify_part(confirm.second.len(), HANDSHAKE_BYTES_MAX)?;
                verify_label(confirm.label)
            }
            Self::Returned { packet, .. } => verify_part(packet.len(), RETURNED_BYTES_MAX),
            Self::Refuse { .. }
            | Self::Proven { .. }
            | Self::Teardown { .. }
            | Self::Broken { .. }
            | Self::Refresh { .. }
            | Self::Protect { .. }
            | Self::Protected { .. }
            | Self::Swallowed { .. }
            | Self::Trying { .. }
            | Self::Doubt { .. } => Ok(()),
        }
    }
}

fn verify_part(length: usize, most: usize) -> Result<(), FlowDecodeError> {
    if length > most {
        return Err(FlowDecodeError::PartTooLong);
    }
    Ok(())
}

fn verify_label(label: u32) -> Result<(), FlowDecodeError> {
    if label < LABEL_MIN {
        return Err(FlowDecodeError::ReservedLabel(label));
    }
    Ok(())
}

/// Bytes of a label where it stands before a packet on a bypass.
pub const INNER_LABEL_BYTES: usize = 4;

/// Splits what arrives at the end of a bypass into the inner label and the packet; `None` if it is too short.
pub fn split_inner_label(payload: &[u8]) -> Option<(Label, &[u8])> {
    let (label, rest) = payload.split_first_chunk::<INNER_LABEL_BYTES>()?;
    Some((Label(u32::from_be_bytes(*label)), rest))
}

/// What an end-to-end packet holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketForm {
    /// A sealed payload.
    Data,
    /// The third message of the handshake.
    Handshake,
}

/// Bytes before the sealed text of an end-to-end packet.
pub const PACKET_HEADER_BYTES: usize = 5;

/// The header of a data packet; it is authenticated with the packet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct PacketHeader {
    form: u8,
    counter: U32<BigEndian>,
}

impl PacketHeader {
    /// A data packet's header.
    pub fn data(counter_low: u32) -> Self {
        Self {
            form: 0,
            counter: U32::new(counter_low),
        }
    }

    /// The low 32 bits of the counter.
    pub fn counter_low(&self) -> u32 {
        self.counter.get()
    }

    /// The five bytes as they go on the wire.
    pub fn to_bytes(self) -> [u8; PACKET_HEADER_BYTES] {
        let [a, b, c, d] = self.counter.get().to_be_bytes();
        [self.form, a, b, c, d]
    }

    /// Reads the header of a data packet; `None` if the packet is shorter or of another form.
    pub fn read(packet: &[u8]) -> Option<Self> {
        let (header, _) = Self::read_from_prefix(packet).ok()?;
        (header.form == 0).then_some(header)
    }
}

impl PacketForm {
    /// The form's byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Handshake => 1,
        }
    }

    /// The form of a packet; `None` if it is empty or of a later version.
    pub fn of(packet: &[u8]) -> Option<Self> {
        match packet.first() {
            Some(0) => Some(Self::Data),
            Some(1) => Some(Self::Handshake),
            Some(_) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set_up(purpose: Purpose, label: u32, search: Option<[u8; 8]>, first: Vec<u8>) -> SetUp {
        SetUp {
            token: PathToken([7; 16]),
            purpose,
            tag: [1; 8],
            search,
            hop_limit: 60,
            tries: 32,
            nonce: 9,
            explore: 1,
            label,
            payload_bytes: 1_472,
            bits_per_second: 1_000_000,
            price: 0,
            lifetime_secs: 60,
            proof: [3; 32],
            first,
        }
    }

    #[test]
    fn reserved_labels_and_long_parts_are_refused() {
        let reserved = FlowMessage::SetUp(set_up(Purpose::Flow, 15, None, vec![]));
        assert_eq!(
            FlowMessage::decode(&reserved.encode()),
            Err(FlowDecodeError::ReservedLabel(15))
        );
        let bypass = FlowMessage::SetUp(set_up(Purpose::Bypass, 0, None, vec![]));
        assert_eq!(FlowMessage::decode(&bypass.encode()), Ok(bypass));
        let long = FlowMessage::SetUp(set_up(Purpose::Flow, 16, None, vec![0; 513]));
        assert_eq!(
            FlowMessage::decode(&long.encode()),
            Err(FlowDecodeError::PartTooLong)
        );
        assert_eq!(
            FlowMessage::decode(&vec![0; FLOW_MESSAGE_BYTES_MAX + 1]),
            Err(FlowDecodeError::TooLong(FLOW_MESSAGE_BYTES_MAX + 1))
        );
    }

    #[test]
    fn the_largest_returned_packet_fits_a_message() {
        let largest = FlowMessage::Returned {
            token: PathToken([7; 16]),
            packet: vec![1; RETURNED_BYTES_MAX],
        };
        assert!(largest.encode().len() <= FLOW_MESSAGE_BYTES_MAX);
        assert_eq!(FlowMessage::decode(&largest.encode()), Ok(largest));
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        // [4, [token]] with a second field in the inner array.
        let mut bytes = vec![0x82, 4, 0x82, 0x50];
        bytes.extend_from_slice(&[7; 16]);
        bytes.push(0x01);
        assert_eq!(
            FlowMessage::decode(&bytes),
            Ok(FlowMessage::Teardown {
                token: PathToken([7; 16])
            })
        );
    }

    #[test]
    fn a_packet_header_has_five_bytes_in_network_order() {
        let header = PacketHeader::data(0x0102_0304);
        assert_eq!(header.to_bytes(), [0, 1, 2, 3, 4]);
        assert_eq!(PacketHeader::read(&header.to_bytes()), Some(header));
        assert_eq!(PacketHeader::read(&[1, 0, 0, 0, 0]), None);
        assert_eq!(PacketHeader::read(&[0; 4]), None);
    }

    proptest! {
        #[test]
        fn set_ups_round_trip(
            label in LABEL_MIN..,
            search in proptest::option::of(any::<[u8; 8]>()),
            first in proptest::collection::vec(any::<u8>(), 0..=HANDSHAKE_BYTES_MAX),
        ) {
            let message = FlowMessage::SetUp(set_up(Purpose::Flow, label, search, first));
            prop_assert_eq!(FlowMessage::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn confirms_round_trip(label in LABEL_MIN.., hops: u8, price: u64, second in proptest::collection::vec(any::<u8>(), 0..300)) {
            let message = FlowMessage::Confirm(Confirm {
                token: PathToken([9; 16]),
                label,
                hops,
                payload_bytes: 172,
                bits_per_second: 20_000,
                price,
                lifetime_secs: 60,
                second,
            });
            prop_assert_eq!(FlowMessage::decode(&message.encode()), Ok(message));
        }

        #[test]
        fn small_messages_round_trip(token: [u8; 16], secret: [u8; 32], tag: [u8; 8], tries: u8) {
            let token = PathToken(token);
            for message in [
                FlowMessage::Refuse { token, reason: Refusal::Tries, tries },
                FlowMessage::Proven { token, secret },
                FlowMessage::Teardown { token },
                FlowMessage::Broken { token, patch: Patch::Open },
                FlowMessage::Refresh { token },
                FlowMessage::Protect { token },
                FlowMessage::Protected { token, tag },
                FlowMessage::Swallowed { token },
                FlowMessage::Trying { token },
                FlowMessage::Doubt { token },
            ] {
                prop_assert_eq!(FlowMessage::decode(&message.encode()), Ok(message));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = FlowMessage::decode(&bytes);
            let _ = PacketHeader::read(&bytes);
            let _ = PacketForm::of(&bytes);
            let _ = split_inner_label(&bytes);
        }
    }
}
