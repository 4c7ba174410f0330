//! Asking for chunks and giving them, over a stream of a session; and what is said of a file on offer.
//!
//! A chunk is Swarm's: an 8-byte little-endian span and up to 4,096 bytes of payload, named by the 32-byte root of a binary
//! Merkle tree over it (Book of Swarm §2.2.2). Each frame on the stream is
//!
//! ```text
//!  0        4      5
//! +--------+------+--------------------------------------------+
//! | length | kind | body                                       |
//! +--------+------+--------------------------------------------+
//!   u32 BE   u8     length - 1 bytes
//!
//! kind 1 Request   1 to 64 addresses of 32 bytes: please send these, in this order
//! kind 2 Chunk     address 32 | span 8 (LE) | payload 0..=4096
//! kind 3 Missing   1 to 64 addresses: these I don't have
//! kind 4 Cancel    1 to 64 addresses: these I no longer want
//! ```
//!
//! A frame of unknown kind and allowed length is skipped, so that a later version may add some.

use std::fmt;

use minicbor::{Decode, Encode};
use thiserror::Error;

/// Bytes of a chunk's address.
pub const ADDRESS_BYTES: usize = 32;
/// Bytes of a chunk's span field, which says how many bytes of the file lie below the chunk.
pub const SPAN_BYTES: usize = 8;
/// The most payload bytes of a chunk.
pub const PAYLOAD_BYTES_MAX: usize = 4_096;
/// The most bytes of a chunk: span and payload.
pub const CHUNK_BYTES_MAX: usize = SPAN_BYTES + PAYLOAD_BYTES_MAX;
/// The most addresses in one message: two requests then keep 512 KiB under way.
pub const ADDRESSES_MAX: usize = 64;
/// The most bytes of a file's name in an offer (what common file systems allow).
pub const NAME_BYTES_MAX: usize = 255;
/// The most bytes of a media type in an offer (RFC 6838 §4.2 allows 127 a half).
pub const MIME_BYTES_MAX: usize = 255;
/// The most bytes of an encoded file offer.
pub const OFFER_BYTES_MAX: usize = 1_024;

const LENGTH_BYTES: usize = 4;
const FRAME_BYTES_MAX: usize = 1 + ADDRESS_BYTES + CHUNK_BYTES_MAX;

const KIND_REQUEST: u8 = 1;
const KIND_CHUNK: u8 = 2;
const KIND_MISSING: u8 = 3;
const KIND_CANCEL: u8 = 4;

/// The name of a chunk: the root of the binary Merkle tree over its payload, hashed with its span.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkAddress(pub [u8; ADDRESS_BYTES]);

impl fmt::Debug for ChunkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "ChunkAddress({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// What goes over a stream of chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkMessage {
    /// Please send these, in this order; 1 to [`ADDRESSES_MAX`].
    Request(Vec<ChunkAddress>),
    /// One chunk, not yet verified: span and payload, [`SPAN_BYTES`] to [`CHUNK_BYTES_MAX`] bytes.
    Chunk {
        /// The address under which it was asked for.
        address: ChunkAddress,
        /// Span and payload.
        bytes: Vec<u8>,
    },
    /// The sender doesn't have these; 1 to [`ADDRESSES_MAX`].
    Missing(Vec<ChunkAddress>),
    /// No longer wanted; 1 to [`ADDRESSES_MAX`].
    Cancel(Vec<ChunkAddress>),
}

/// Bytes on a stream of chunks that are no frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChunkMessageError {
    /// A length of 0 or above the largest frame.
    #[error("a frame of {0} bytes on a stream of chunks")]
    FrameLength(u32),
    /// No addresses, too many, or a torn one.
    #[error("{0} bytes are not 1 to 64 addresses")]
    Addresses(usize),
    /// A chunk shorter than its span or longer than a chunk may be.
    #[error("a chunk of {0} bytes")]
    ChunkLength(usize),
}

impl ChunkMessage {
    /// The frame with its length in front.
    ///
    /// Addresses beyond [`ADDRESSES_MAX`] and bytes beyond [`CHUNK_BYTES_MAX`] are left out: callers keep to the limits.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        match self {
            Self::Request(addresses) => push_addresses(&mut body, KIND_REQUEST, addresses),
            Self::Missing(addresses) => push_addresses(&mut body, KIND_MISSING, addresses),
            Self::Cancel(addresses) => push_addresses(&mut body, KIND_CANCEL, addresses),
            Self::Chunk { address, bytes } => {
                body.push(KIND_CHUNK);
                body.extend_from_slice(&address.0);
                body.extend(bytes.iter().take(CHUNK_BYTES_MAX));
            }
        }
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let mut frame = Vec::with_capacity(body.len().saturating_add(LENGTH_BYTES));
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&body);
        frame
    }

    /// Takes the body of a frame (kind and what follows); `None` if it is of an unknown kind.
    ///
    /// # Errors
    /// If it breaks the layout or a limit.
    pub fn decode(frame: &[u8]) -> Result<Option<Self>, ChunkMessageError> {
        let Some((kind, body)) = frame.split_first() else {
            return Err(ChunkMessageError::FrameLength(0));
        };
        Ok(Some(match *kind {
            KIND_REQUEST => Self::Request(take_addresses(body)?),
            KIND_MISSING => Self::Missing(take_addresses(body)?),
            KIND_CANCEL => Self::Cancel(take_addresses(body)?),
            KIND_CHUNK => {
                let (address, bytes) = body
                    .split_first_chunk::<ADDRESS_BYTES>()
                    .ok_or(ChunkMessageError::ChunkLength(0))?;
                if bytes.len() < SPAN_BYTES || bytes.len() > CHUNK_BYTES_MAX {
                    return Err(ChunkMessageError::ChunkLength(bytes.len()));
                }
                Self::Chunk {
                    address: ChunkAddress(*address),
                    bytes: bytes.to_vec(),
                }
            }
            _ => return Ok(None),
        }))
    }
}

fn push_addresses(body: &mut Vec<u8>, kind: u8, addresses: &[ChunkAddress]) {
    body.push(kind);
    for address in addresses.iter().take(ADDRESSES_MAX) {
        body.extend_from_slice(&address.0);
    }
}

fn take_addresses(body: &[u8]) -> Result<Vec<ChunkAddress>, ChunkMessageError> {
    let (addresses, rest) = body.as_chunks::<ADDRESS_BYTES>();
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX || !rest.is_empty() {
        return Err(ChunkMessageError::Addresses(body.len()));
    }
    Ok(addresses.iter().map(|bytes| ChunkAddress(*bytes)).collect())
}

/// Cuts a stream into frames; holds at most one frame and what was pushed behind it.
#[derive(Debug, Default)]
pub struct ChunkFrames {
    buffer: Vec<u8>,
    /// Bytes at the front of `buffer` that were taken already; moved away once in a while, not for each frame.
    taken: usize,
}

impl ChunkFrames {
    /// Adds bytes from the stream; take all frames with [`Self::next_message`] before pushing more.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken.min(self.buffer.len()));
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes come; frames of unknown kind are skipped.
    ///
    /// # Errors
    /// If the stream breaks the layout; nothing after it can be trusted, so close the stream.
    pub fn next_message(&mut self) -> Result<Option<ChunkMessage>, ChunkMessageError> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
                return Ok(None);
            };
            let announced = u32::from_be_bytes(*length);
            let length = usize::try_from(announced).unwrap_or(usize::MAX);
            if length == 0 || length > FRAME_BYTES_MAX {
                return Err(ChunkMessageError::FrameLength(announced));
            }
            let Some(frame) = rest.get(..length) else {
                return Ok(None);
            };
            let message = ChunkMessage::decode(frame)?;
            self.taken = self
                .taken
                .saturating_add(LENGTH_BYTES)
                .saturating_add(length);
            if message.is_some() {
                return Ok(message);
            }
        }
    }
}

/// A file that somebody offers: what to call it and where it is.
///
/// CBOR array of fixed positions: 0 name, 1 size in bytes, 2 media type, 3 reference (32 bytes plain, 64 encrypted).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct FileOffer {
    /// The file's name without a path, at most [`NAME_BYTES_MAX`] bytes.
    #[n(0)]
    pub name: String,
    /// Bytes of the file.
    #[n(1)]
    pub size: u64,
    /// Media type (RFC 6838), at most [`MIME_BYTES_MAX`] bytes; empty if unknown.
    #[n(2)]
    pub mime: String,
    /// The Swarm reference: 32 bytes plain, or 64 with the key of the root chunk.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub reference: Vec<u8>,
}

/// Why bytes or values are no file offer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FileOfferError {
    /// More than [`OFFER_BYTES_MAX`] bytes.
    #[error("a file offer of {0} bytes, at most 1,024 are allowed")]
    TooLong(usize),
    /// Not the CBOR it should be.
    #[error("not a file offer")]
    Malformed,
    /// A name that is empty, too long, a path, or holds control characters.
    #[error("not a file name")]
    Name,
    /// A media type that is too long.
    #[error("a media type of {0} bytes")]
    Mime(usize),
    /// A reference of neither 32 nor 64 bytes.
    #[error("a reference of {0} bytes, neither 32 nor 64")]
    Reference(usize),
}

impl FileOffer {
    /// The offer as bytes.
    ///
    /// # Errors
    /// If a field breaks its limit.
    pub fn encode(&self) -> Result<Vec<u8>, FileOfferError> {
        self.verify()?;
        minicbor::to_vec(self).map_err(|_| FileOfferError::Malformed)
    }

    /// Takes an offer; its name is safe to use inside a folder.
    ///
    /// # Errors
    /// If it is too long, malformed, or a field breaks its limit.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileOfferError> {
        if bytes.len() > OFFER_BYTES_MAX {
            return Err(FileOfferError::TooLong(bytes.len()));
        }
        let offer: Self = minicbor::decode(bytes).map_err(|_| FileOfferError::Malformed)?;
        offer.verify()?;
        Ok(offer)
    }

    fn verify(&self) -> Result<(), FileOfferError> {
        let refused = |c: char| c.is_control() || c == '/' || c == '\\';
        if self.name.is_empty()
            || self.name.len() > NAME_BYTES_MAX
            || self.name == "."
            || self.name == ".."
            || self.name.contains(refused)
        {
            return Err(FileOfferError::Name);
        }
        if self.mime.len() > MIME_BYTES_MAX {
            return Err(FileOfferError::Mime(self.mime.len()));
        }
        match self.reference.len() {
            ADDRESS_BYTES | 64 => Ok(()),
            other => Err(FileOfferError::Reference(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses() -> impl Strategy<Value = Vec<ChunkAddress>> {
        proptest::collection::vec(any::<[u8; 32]>().prop_map(ChunkAddress), 1..=ADDRESSES_MAX)
    }

    fn message() -> impl Strategy<Value = ChunkMessage> {
        let bytes = proptest::collection::vec(any::<u8>(), SPAN_BYTES..=CHUNK_BYTES_MAX);
        prop_oneof![
            addresses().prop_map(ChunkMessage::Request),
            addresses().prop_map(ChunkMessage::Missing),
            addresses().prop_map(ChunkMessage::Cancel),
            (any::<[u8; 32]>(), bytes).prop_map(|(address, bytes)| ChunkMessage::Chunk {
                address: ChunkAddress(address),
                bytes
            }),
        ]
    }

    proptest! {
        #[test]
        fn messages_round_trip_however_the_stream_is_cut(
            messages in proptest::collection::vec(message(), 0..6),
            cut in 1_usize..5_000,
        ) {
            let stream: Vec<u8> = messages.iter().flat_map(ChunkMessage::encode).collect();
            let mut frames = ChunkFrames::default();
            let mut out = Vec::new();
            for piece in stream.chunks(cut) {
                frames.push(piece);
                while let Some(message) = frames.next_message().unwrap() {
                    out.push(message);
                }
            }
            prop_assert_eq!(out, messages);
        }

        #[test]
        fn any_bytes_give_a_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..6_000)) {
            let _ = ChunkMessage::decode(&bytes);
            let mut frames = ChunkFrames::default();
            frames.push(&bytes);
            while let Ok(Some(_)) = frames.next_message() {}
            if let Ok(offer) = FileOffer::decode(&bytes) {
                prop_assert_eq!(FileOffer::decode(&offer.encode().unwrap()), Ok(offer));
            }
        }

        #[test]
        fn offers_round_trip(name in "[a-zA-Z0-9 äß.]{1,60}", size: u64, mime in "[a-z/]{0,40}", long: bool) {
            prop_assume!(name != "." && name != "..");
            let reference = vec![7; if long { 64 } else { 32 }];
            let offer = FileOffer { name, size, mime, reference };
            prop_assert_eq!(FileOffer::decode(&offer.encode().unwrap()), Ok(offer));
        }
    }

    #[test]
    fn limits_are_kept_before_anything_is_held() {
        let mut frames = ChunkFrames::default();
        frames.push(&u32::MAX.to_be_bytes());
        assert_eq!(
            frames.next_message(),
            Err(ChunkMessageError::FrameLength(u32::MAX))
        );
        let mut short = vec![KIND_CHUNK];
        short.extend_from_slice(&[0; ADDRESS_BYTES + 7]);
        assert_eq!(
            ChunkMessage::decode(&short),
            Err(ChunkMessageError::ChunkLength(7))
        );
        assert_eq!(
            ChunkMessage::decode(&[KIND_REQUEST; 34]),
            Err(ChunkMessageError::Addresses(33))
        );
        assert_eq!(ChunkMessage::decode(&[99, 1, 2]), Ok(None));
    }

    #[test]
    fn an_offer_that_would_leave_its_folder_is_refused() {
        for name in ["../x", "a/b", "a\\b", "..", "", "a\nb"] {
            let offer = FileOffer {
                name: name.to_owned(),
                size: 1,
                mime: String::new(),
                reference: vec![0; 32],
            };
            assert_eq!(offer.encode(), Err(FileOfferError::Name));
        }
    }
}
