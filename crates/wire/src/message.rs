//! Messages between people: the pieces that ride a flow, the sealed form that rides a flow or a bundle, and what is inside.
//!
//! ## Pieces: the payload of a flow's packet of kind 2
//!
//! ```text
//! | transfer 8 | index 2 | count 2 | bytes of an object, at least 1 |        big-endian; count 1 to 1,024, index below it
//! ```
//!
//! Pieces of one transfer, joined in order of their index, are an object: one byte of kind, then its body:
//! 1 a sealed message, 2 a request for prekeys (empty), 3 a prekey bundle (see `invite`), 4 an acknowledgement: message ids
//! of 16 bytes, 1 to 64 of them. The flow itself is sealed and authenticated end to end.
//!
//! ## Sealed message
//!
//! ```text
//! | version 1 | Noise IK, first message: ephemeral key 32 | sender's sealing key 32 + tag 16 | padded envelope | tag 16 |
//! ```
//!
//! The whole has a length of 256, 512, 1024, … or 32,768 bytes. The envelope is CBOR (a map, fields by number), then zeros.
//! Inside it is an Olm message whose text is the body: again CBOR, see [`Body`].

mod body;

use minicbor::{Decode, Encode};
use smartmesh_types::{Address, MessageId, UnixTime};
use thiserror::Error;

pub use body::{
    Attachment, Body, Change, Content, EMOJI_BYTES_MAX, FileOffer, GROUP_BYTES_MAX,
    INLINE_BYTES_MAX, Look, Say, THUMBNAIL_BYTES_MAX, WAVEFORM_BYTES_MAX,
};

/// The longest text of one message, in bytes of UTF-8; longer things are files.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// The longest name of an offered file, in bytes of UTF-8 (what file systems take).
pub const FILE_NAME_BYTES_MAX: usize = 255;
/// The longest media type, in bytes (RFC 6838 §4.2 allows 127 for each half).
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;
/// The most message ids in one receipt or acknowledgement.
pub const RECEIPT_IDS_MAX: usize = 64;
/// The largest sealed message, in bytes.
pub const SEALED_BYTES_MAX: usize = 32 * 1024;
/// The smallest step of padding, in bytes.
pub const SEALED_BYTES_MIN: usize = 256;
/// The sealed form's version, its first byte.
pub const SEALED_VERSION: u8 = 1;
/// Bytes before the object's bytes in each piece.
pub const PIECE_HEADER_BYTES: usize = 12;
/// The most pieces of one object: the largest object in pieces of about 40 bytes.
pub const PIECES_MAX: u16 = 1_024;

/// Why bytes are no message of this family.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MessageError {
    /// Too long, too short, or not ending where it should.
    #[error("a message part of {0} bytes is damaged")]
    Length(usize),
    /// Not the CBOR that is expected.
    #[error("a message part is not well-formed")]
    Cbor,
    /// A field is out of range or missing.
    #[error("a field of a message is out of range")]
    Field,
    /// A kind of object of a later version.
    #[error("unknown kind of object {0}")]
    Kind(u8),
}

/// One piece of an object, as a flow carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Names the object among those under way from the same sender; the same for the same bytes.
    pub transfer: [u8; 8],
    /// Which piece this is, from 0.
    pub index: u16,
    /// How many there are, 1 to [`PIECES_MAX`].
    pub count: u16,
    /// The object's bytes in this piece, at least 1.
    pub bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The piece as a flow's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(PIECE_HEADER_BYTES.saturating_add(self.bytes.len()));
        payload.extend_from_slice(&self.transfer);
        payload.extend_from_slice(&self.index.to_be_bytes());
        payload.extend_from_slice(&self.count.to_be_bytes());
        payload.extend_from_slice(self.bytes);
        payload
    }

    /// Reads a flow's payload.
    ///
    /// # Errors
    /// If it is too short or its counts are out of range.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MessageError> {
        let damaged = MessageError::Length(payload.len());
        let (transfer, rest) = payload.split_first_chunk().ok_or(damaged)?;
        let (index, rest) = rest.split_first_chunk().ok_or(damaged)?;
        let (count, bytes) = rest.split_first_chunk().ok_or(damaged)?;
        let (index, count) = (u16::from_be_bytes(*index), u16::from_be_bytes(*count));
        if bytes.is_empty() {
            return Err(damaged);
        }
        if count == 0 || count > PIECES_MAX || index >= count {
            return Err(MessageError::Field);
        }
        Ok(Self {
            transfer: *transfer,
            index,
            count,
            bytes,
        })
    }
}

/// What two nodes' messaging exchanges over a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A sealed message, at most [`SEALED_BYTES_MAX`].
    Sealed(Vec<u8>),
    /// Asks for a fresh prekey bundle.
    PrekeyRequest,
    /// A prekey bundle, as `invite` lays it out.
    Prekeys(Vec<u8>),
    /// These messages have arrived and are kept; 1 to [`RECEIPT_IDS_MAX`].
    Arrived(Vec<MessageId>),
}

impl Object {
    /// The object's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Sealed(sealed) => {
                bytes.push(1);
                bytes.extend_from_slice(sealed);
            }
            Self::PrekeyRequest => bytes.push(2),
            Self::Prekeys(bundle) => {
                bytes.push(3);
                bytes.extend_from_slice(bundle);
            }
            Self::Arrived(ids) => {
                bytes.push(4);
                for id in ids {
                    bytes.extend_from_slice(&id.0);
                }
            }
        }
        bytes
    }

    /// Reads an object.
    ///
    /// # Errors
    /// If it is of no known kind or its length is out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let damaged = MessageError::Length(bytes.len());
        let (kind, body) = bytes.split_first().ok_or(damaged)?;
        match kind {
            1 if body.len() <= SEALED_BYTES_MAX => Ok(Self::Sealed(body.to_vec())),
            2 if body.is_empty() => Ok(Self::PrekeyRequest),
            3 if body.len() <= crate::invite::BUNDLE_BYTES_MAX => Ok(Self::Prekeys(body.to_vec())),
            4 => {
                let (ids, rest) = body.as_chunks();
                if ids.is_empty() || ids.len() > RECEIPT_IDS_MAX || !rest.is_empty() {
                    return Err(damaged);
                }
                Ok(Self::Arrived(ids.iter().map(|id| MessageId(*id)).collect()))
            }
            1..=3 => Err(damaged),
            other => Err(MessageError::Kind(*other)),
        }
    }
}

/// What the outer seal hides: enough to know a message again without opening it, and the ratchet's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The message's id; the body repeats it.
    pub id: MessageId,
    /// The recipient reveals it once the message is kept: whoever carries a copy can drop it (see `bundle`).
    pub receipt: [u8; 32],
    /// After this nobody carries or sends it any more.
    pub expires: UnixTime,
    /// Who says to have sent it; the outer seal proves it to who knows the sender's sealing key.
    pub sender: Address,
    /// The sender's prekey bundle, for a recipient that may not know the sender yet.
    pub card: Option<Vec<u8>>,
    /// Which of Olm's two forms follows: 0 or 1.
    pub ratchet_kind: u8,
    /// The Olm message.
    pub ratchet: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct EnvelopeFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    id: [u8; 16],
    #[cbor(n(1), with = "minicbor::bytes")]
    receipt: [u8; 32],
    #[n(2)]
    expires: u64,
    #[cbor(n(3), with = "minicbor::bytes")]
    sender: [u8; 16],
    #[cbor(n(4), with = "minicbor::bytes")]
    card: Option<Vec<u8>>,
    #[n(5)]
    ratchet_kind: u8,
    #[cbor(n(6), with = "minicbor::bytes")]
    ratchet: Vec<u8>,
}

impl Envelope {
    /// The envelope, padded so that a sealed message of `overhead` bytes more has one of the padded lengths.
    ///
    /// # Errors
    /// If it is too long for [`SEALED_BYTES_MAX`].
    pub fn encode_padded(&self, overhead: usize) -> Result<Vec<u8>, MessageError> {
        let fields = EnvelopeFields {
            id: self.id.0,
            receipt: self.receipt,
            expires: self.expires.as_secs(),
            sender: self.sender.octets(),
            card: self.card.clone(),
            ratchet_kind: self.ratchet_kind,
            ratchet: self.ratchet.clone(),
        };
        let mut bytes = minicbor::to_vec(fields).map_err(|_| MessageError::Cbor)?;
        let total = bytes.len().saturating_add(overhead);
        let padded = total.next_power_of_two().max(SEALED_BYTES_MIN);
        if padded > SEALED_BYTES_MAX {
            return Err(MessageError::Length(total));
        }
        bytes.resize(padded.saturating_sub(overhead), 0);
        Ok(bytes)
    }

    /// Reads a padded envelope.
    ///
    /// # Errors
    /// If it is not well-formed, a field is out of range, or the padding is not zero.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > SEALED_BYTES_MAX {
            return Err(MessageError::Length(bytes.len()));
        }
        let mut decoder = minicbor::Decoder::new(bytes);
        let fields: EnvelopeFields = decoder.decode().map_err(|_| MessageError::Cbor)?;
        let padding = bytes.get(decoder.position()..).unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            return Err(MessageError::Length(bytes.len()));
        }
        Ok(Self {
            id: MessageId(fields.id),
            receipt: fields.receipt,
            expires: UnixTime::from_secs(fields.expires),
            sender: Address::from_octets(fields.sender).ok_or(MessageError::Field)?,
            card: fields.card,
            ratchet_kind: fields.ratchet_kind,
            ratchet: fields.ratchet,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn ids() -> impl Strategy<Value = Vec<MessageId>> {
        vec(any::<[u8; 16]>().prop_map(MessageId), 0..=RECEIPT_IDS_MAX)
    }

    proptest! {
        #[test]
        fn envelopes_round_trip_at_padded_lengths(
            id in any::<[u8; 16]>(),
            receipt in any::<[u8; 32]>(),
            card in proptest::option::of(vec(any::<u8>(), 0..300)),
            ratchet in vec(any::<u8>(), 0..5_000),
        ) {
            let envelope = Envelope {
                id: MessageId(id),
                receipt,
                expires: UnixTime::from_secs(9),
                sender: Address::from_key_hash([3; 13]),
                card,
                ratchet_kind: 1,
                ratchet,
            };
            let bytes = envelope.encode_padded(97).unwrap();
            let sealed = bytes.len().saturating_add(97);
            prop_assert!(sealed.is_power_of_two() && sealed >= SEALED_BYTES_MIN);
            prop_assert_eq!(Envelope::decode(&bytes), Ok(envelope));
        }

        #[test]
        fn objects_and_pieces_round_trip(bytes in vec(any::<u8>(), 1..600), some in ids(), index in 0..PIECES_MAX) {
            let piece = Piece { transfer: [1; 8], index, count: PIECES_MAX, bytes: &bytes };
            let payload = piece.encode();
            prop_assert_eq!(Piece::decode(&payload), Ok(piece));
            let mut objects = vec![Object::Sealed(bytes.clone()), Object::PrekeyRequest];
            objects.push(Object::Prekeys(bytes[..bytes.len().min(300)].to_vec()));
            objects.extend((!some.is_empty()).then_some(Object::Arrived(some)));
            for object in objects {
                prop_assert_eq!(Object::decode(&object.encode()), Ok(object));
            }
        }

        #[test]
        fn arbitrary_bytes_cause_errors_only(bytes in vec(any::<u8>(), 0..400)) {
            let _ = Piece::decode(&bytes);
            let _ = Object::decode(&bytes);
            let _ = Envelope::decode(&bytes);
            if let Ok(body) = Body::decode(&bytes) {
                prop_assert!(body.encode().is_ok());
            }
        }
    }

    #[test]
    fn what_is_too_large_is_refused_before_it_is_sent() {
        let mut envelope = Envelope {
            id: MessageId([0; 16]),
            receipt: [0; 32],
            expires: UnixTime::default(),
            sender: Address::from_key_hash([3; 13]),
            card: None,
            ratchet_kind: 0,
            ratchet: vec![0; SEALED_BYTES_MAX],
        };
        assert!(matches!(
            envelope.encode_padded(97),
            Err(MessageError::Length(_))
        ));
        // The longest text fits.
        envelope.ratchet = vec![0; TEXT_BYTES_MAX + 500];
        envelope.card = Some(vec![0; 300]);
        assert_eq!(
            envelope.encode_padded(97).unwrap().len() + 97,
            SEALED_BYTES_MAX
        );
        let long = Content::Text("x".repeat(TEXT_BYTES_MAX + 1));
        assert_eq!(long.verify(), Err(MessageError::Field));
    }

    #[test]
    fn bytes_behind_the_envelope_must_be_zero() {
        let envelope = Envelope {
            id: MessageId([1; 16]),
            receipt: [0; 32],
            expires: UnixTime::default(),
            sender: Address::from_key_hash([3; 13]),
            card: None,
            ratchet_kind: 0,
            ratchet: vec![1, 2, 3],
        };
        let mut bytes = envelope.encode_padded(97).unwrap();
        *bytes.last_mut().unwrap() = 1;
        assert_eq!(Envelope::decode(&bytes), Err(MessageError::Length(159)));
    }
}
