//! Carried mail: the header of a bundle, vaccines, offers by gossip, and the messages of a contact.
//!
//! Header, 106 bytes, big-endian; it never changes on the way, and its hash is the bundle's id:
//!
//! ```text
//! 0       1          2        10        26         34            38           42              74
//! version | priority | nonce  | hint    | expires  | life_secs   | size       | payload hash  | receipt commitment
//! 1       | 1        | 8      | 16      | 8        | 4           | 4          | 32            | 32
//! ```
//!
//! Vaccine, 76 bytes: from it everybody computes the id of the bundle that was read.
//!
//! ```text
//! 0        32        64        72
//! core     | receipt | expires | life_secs
//! 32       | 32      | 8       | 4
//! ```
//!
//! Mail offer (a gossip payload): `tag length 1 | routing tag 0..=32 | entries of 32: nonce 8, hint 16, short id 8`.
//! Mail ack (a gossip payload): vaccines of 76 bytes each.
//!
//! Messages of a contact (without the [`crate::Family`] byte) are CBOR arrays `[variant, [fields…]]`; see
//! [`BundleMessage`] for the fields by number.

use std::fmt;

use minicbor::{Decode, Encode};
use smartmesh_types::UnixTime;
use thiserror::Error;

use crate::ids::{ShortId, ShortIds};

/// Bytes of a bundle's header.
pub const HEADER_BYTES: usize = 106;
/// Largest payload of a bundle, in bytes; larger content is many bundles.
pub const BUNDLE_PAYLOAD_BYTES_MAX: usize = 64 * 1_024;
/// Bytes of a vaccine.
pub const VACCINE_BYTES: usize = 76;
/// Largest message of a contact, in bytes: what a link's control channel carries, less the family byte.
pub const BUNDLE_MESSAGE_BYTES_MAX: usize = 16 * 1_024 - 1;
/// Buckets into which vaccines are sorted by the top 6 bits of their id when sets are compared.
pub const VACCINE_BUCKETS: usize = 64;
/// Bytes of one entry of a mail offer.
pub const OFFER_ENTRY_BYTES: usize = 32;
/// Longest routing tag in a mail offer, in bytes.
pub const OFFER_TAG_BYTES_MAX: usize = 32;
/// The version this module writes and reads.
const VERSION: u8 = 1;

/// A bundle's name: a hash over its header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BundleId(pub [u8; 32]);

impl BundleId {
    /// Its first 8 bytes.
    pub fn short(self) -> ShortId {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        ShortId([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Debug for BundleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BundleId({:016x}…)", u64::from_be_bytes(self.short().0))
    }
}

/// How urgent a bundle is; the first goes first and is evicted last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A call for help.
    Sos,
    /// Text and receipts.
    Message,
    /// Pieces of files.
    File,
}

impl Priority {
    /// The priority's byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Sos => 0,
            Self::Message => 1,
            Self::File => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Sos),
            1 => Some(Self::Message),
            2 => Some(Self::File),
            _ => None,
        }
    }
}

/// What everybody may know of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleHeader {
    /// How urgent it is.
    pub priority: Priority,
    /// Makes the hints of two bundles for one reader different.
    pub nonce: [u8; 8],
    /// HMAC-SHA256 of the nonce under the reader's address, cut to 16 bytes: only who knows the address recognises it.
    pub hint: [u8; 16],
    /// When it ends, by wall clocks.
    pub expires: UnixTime,
    /// Seconds of age at which it ends, counted by those who hold it.
    pub life_secs: u32,
    /// Bytes of the payload, at most [`BUNDLE_PAYLOAD_BYTES_MAX`].
    pub size: u32,
    /// SHA-256 of the payload.
    pub payload_hash: [u8; 32],
    /// SHA-256 of the receipt, which only the reader finds, inside the sealed payload.
    pub commitment: [u8; 32],
}

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BundleDecodeError {
    /// Longer than the limit of its kind, in bytes.
    #[error("{0} bytes are too many")]
    TooLong(usize),
    /// Shorter than its layout, in bytes.
    #[error("{0} bytes are too few")]
    TooShort(usize),
    /// A header of another version.
    #[error("unknown bundle version {0}")]
    Version(u8),
    /// A priority that this version does not know.
    #[error("unknown bundle priority {0}")]
    Priority(u8),
    /// A payload larger than [`BUNDLE_PAYLOAD_BYTES_MAX`].
    #[error("bundle payload of {0} bytes")]
    Payload(u32),
    /// Not the CBOR of this module.
    #[error("malformed bundle message")]
    Malformed,
}

/// Splits a fixed array off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], BundleDecodeError> {
    let length = bytes.len();
    let (head, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or(BundleDecodeError::TooShort(length))?;
    *bytes = rest;
    Ok(*head)
}

impl BundleHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let parts: [&[u8]; 9] = [
            &[VERSION],
            &[self.priority.code()],
            &self.nonce,
            &self.hint,
            &self.expires.as_secs().to_be_bytes(),
            &self.life_secs.to_be_bytes(),
            &self.size.to_be_bytes(),
            &self.payload_hash,
            &self.commitment,
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads a header from the front of `bytes`.
    ///
    /// # Errors
    /// If it is too short, of another version, or announces too large a payload.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, BundleDecodeError> {
        let [version] = take(&mut bytes)?;
        if version != VERSION {
            return Err(BundleDecodeError::Version(version));
        }
        let [priority] = take(&mut bytes)?;
        let header = Self {
            priority: Priority::from_code(priority).ok_or(BundleDecodeError::Priority(priority))?,
            nonce: take(&mut bytes)?,
            hint: take(&mut bytes)?,
            expires: UnixTime::from_secs(u64::from_be_bytes(take(&mut bytes)?)),
            life_secs: u32::from_be_bytes(take(&mut bytes)?),
            size: u32::from_be_bytes(take(&mut bytes)?),
            payload_hash: take(&mut bytes)?,
            commitment: take(&mut bytes)?,
        };
        match usize::try_from(header.size) {
            Ok(size) if size <= BUNDLE_PAYLOAD_BYTES_MAX => Ok(header),
            Ok(_) | Err(_) => Err(BundleDecodeError::Payload(header.size)),
        }
    }
}

/// Proof that a bundle was read: who holds a copy may drop it, and nobody can make one without the receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vaccine {
    /// The hash of the header's fields other than commitment, expiry and life.
    pub core: [u8; 32],
    /// What the commitment commits to.
    pub receipt: [u8; 32],
    /// The bundle's expiry; the vaccine needs to live no longer.
    pub expires: UnixTime,
    /// The bundle's life in seconds.
    pub life_secs: u32,
}

impl Vaccine {
    /// The vaccine's bytes.
    pub fn encode(&self) -> [u8; VACCINE_BYTES] {
        let mut bytes = [0; VACCINE_BYTES];
        let parts: [&[u8]; 4] = [
            &self.core,
            &self.receipt,
            &self.expires.as_secs().to_be_bytes(),
            &self.life_secs.to_be_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// Reads a vaccine from the front of `bytes`.
    ///
    /// # Errors
    /// If there are fewer than [`VACCINE_BYTES`].
    pub fn decode(mut bytes: &[u8]) -> Result<Self, BundleDecodeError> {
        Ok(Self {
            core: take(&mut bytes)?,
            receipt: take(&mut bytes)?,
            expires: UnixTime::from_secs(u64::from_be_bytes(take(&mut bytes)?)),
            life_secs: u32::from_be_bytes(take(&mut bytes)?),
        })
    }

    /// Reads vaccines that stand one behind the other, as in a mail ack.
    ///
    /// # Errors
    /// If they are not a whole number, or more than a message has room for.
    pub fn decode_list(bytes: &[u8]) -> Result<Vec<Self>, BundleDecodeError> {
        if bytes.len() > BUNDLE_MESSAGE_BYTES_MAX {
            return Err(BundleDecodeError::TooLong(bytes.len()));
        }
        let (list, rest) = bytes.as_chunks::<VACCINE_BYTES>();
        if rest.is_empty() {
            list.iter().map(|one| Self::decode(one)).collect()
        } else {
            Err(BundleDecodeError::TooShort(rest.len()))
        }
    }
}

/// One bundle that a carrier announces to readers in its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferEntry {
    /// The header's nonce.
    pub nonce: [u8; 8],
    /// The header's hint.
    pub hint: [u8; 16],
    /// The bundle, for asking for it.
    pub id: ShortId,
}

/// What a carrier announces by gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailOffer {
    /// How to reach the carrier; at most [`OFFER_TAG_BYTES_MAX`] bytes, opaque here.
    pub tag: Vec<u8>,
    /// What it holds.
    pub entries: Vec<OfferEntry>,
}

impl MailOffer {
    /// The offer's bytes; a tag that is too long is cut.
    pub fn encode(&self) -> Vec<u8> {
        let tag = self.tag.get(..OFFER_TAG_BYTES_MAX).unwrap_or(&self.tag);
        let mut bytes = vec![u8::try_from(tag.len()).unwrap_or(0)];
        bytes.extend_from_slice(tag);
        for entry in &self.entries {
            bytes.extend_from_slice(&entry.nonce);
            bytes.extend_from_slice(&entry.hint);
            bytes.extend_from_slice(&entry.id.0);
        }
        bytes
    }

    /// Reads an offer.
    ///
    /// # Errors
    /// If it is too long or cut off.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, BundleDecodeError> {
        if bytes.len() > BUNDLE_MESSAGE_BYTES_MAX {
            return Err(BundleDecodeError::TooLong(bytes.len()));
        }
        let [length] = take(&mut bytes)?;
        let length = usize::from(length);
        if length > OFFER_TAG_BYTES_MAX {
            return Err(BundleDecodeError::TooLong(length));
        }
        let (tag, rest) = bytes
            .split_at_checked(length)
            .ok_or(BundleDecodeError::TooShort(bytes.len()))?;
        let (list, rest) = rest.as_chunks::<OFFER_ENTRY_BYTES>();
        if !rest.is_empty() {
            return Err(BundleDecodeError::TooShort(rest.len()));
        }
        let entries = list.iter().map(|entry| {
            let mut entry = &entry[..];
            Ok(OfferEntry {
                nonce: take(&mut entry)?,
                hint: take(&mut entry)?,
                id: ShortId(take(&mut entry)?),
            })
        });
        Ok(Self {
            tag: tag.to_vec(),
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

/// One bundle offered to a neighbour.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Offered {
    /// [`HEADER_BYTES`] bytes of header.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub header: Vec<u8>,
    /// Seconds of age so far.
    #[n(1)]
    pub age_secs: u32,
    /// Copies the offerer would hand over; 0 means: for the reader only.
    #[n(2)]
    pub copies: u8,
}

/// What two nodes tell one another about carried mail.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum BundleMessage {
    /// Opens a contact: fingerprints, or the sets themselves where they are small.
    #[n(0)]
    Hello {
        /// How often the sender meets somebody new, in hundredths.
        #[n(0)]
        utility: u32,
        /// The first 8 bytes of SHA-256 over the ids held, spray and wait apart.
        #[cbor(n(1), with = "minicbor::bytes")]
        held: [u8; 8],
        /// The first 8 bytes of SHA-256 over each bucket of vaccine ids, [`VACCINE_BUCKETS`] × 8 bytes; empty: no vaccines.
        #[cbor(n(2), with = "minicbor::bytes")]
        vaccines: Vec<u8>,
    },
    /// Asks for the lists behind the fingerprints.
    #[n(1)]
    Need {
        /// Whether the list of bundles is wanted: 0 or 1.
        #[n(0)]
        held: u8,
        /// Buckets of vaccines that are wanted, one byte each.
        #[cbor(n(1), with = "minicbor::bytes")]
        buckets: Vec<u8>,
    },
    /// Bundles the sender holds; later ones of the same contact only add to the first.
    #[n(2)]
    Have {
        /// Those of which it would hand over copies.
        #[n(0)]
        spray: ShortIds,
        /// Those it keeps for the reader.
        #[n(1)]
        wait: ShortIds,
    },
    /// Vaccines the sender has in some bucket.
    #[n(3)]
    VaccineIds {
        /// Their ids.
        #[n(0)]
        ids: ShortIds,
    },
    /// Asks for vaccines.
    #[n(4)]
    VaccineAsk {
        /// Their ids.
        #[n(0)]
        ids: ShortIds,
    },
    /// Vaccines, [`VACCINE_BYTES`] each.
    #[n(5)]
    Vaccines {
        /// One behind the other.
        #[cbor(n(0), with = "minicbor::bytes")]
        list: Vec<u8>,
    },
    /// Asks for headers.
    #[n(6)]
    Ask {
        /// The bundles.
        #[n(0)]
        ids: ShortIds,
    },
    /// Headers.
    #[n(7)]
    Offer {
        /// One for each bundle.
        #[n(0)]
        bundles: Vec<Offered>,
    },
    /// The sender no longer has, or no longer gives, this bundle.
    #[n(8)]
    Gone {
        /// The bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 32],
    },
    /// Asks for a range of a payload.
    #[n(9)]
    Pull {
        /// The bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 32],
        /// First byte.
        #[n(1)]
        offset: u32,
        /// How many bytes.
        #[n(2)]
        length: u32,
    },
    /// A range of a payload.
    #[n(10)]
    Piece {
        /// The bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 32],
        /// First byte.
        #[n(1)]
        offset: u32,
        /// The bytes.
        #[cbor(n(2), with = "minicbor::bytes")]
        bytes: Vec<u8>,
    },
    /// The sender has the whole payload and would carry it.
    #[n(11)]
    Ready {
        /// The bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 32],
    },
    /// Copies change hands: the sender has already struck them from its own, on disk.
    #[n(12)]
    Grant {
        /// The bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 32],
        /// How many copies.
        #[n(1)]
        copies: u8,
        /// Seconds of age so far.
        #[n(2)]
        age_secs: u32,
    },
    /// The sender carries the bundle now, on disk.
    #[n(13)]
    Taken {
        /// The bundle.
        #[cbor(n(0), with = "minicbor::bytes")]
        id: [u8; 32],
    },
    /// The sender's utility has changed.
    #[n(14)]
    Utility {
        /// How often the sender meets somebody new, in hundredths.
        #[n(0)]
        utility: u32,
    },
}

impl BundleMessage {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    /// Reads a message, its size capped before anything is parsed.
    ///
    /// # Errors
    /// If it is too long or malformed.
    pub fn decode(body: &[u8]) -> Result<Self, BundleDecodeError> {
        if body.len() > BUNDLE_MESSAGE_BYTES_MAX {
            return Err(BundleDecodeError::TooLong(body.len()));
        }
        minicbor::decode(body).map_err(|_| BundleDecodeError::Malformed)
    }
}

#[cfg(test)]
mod tests;
