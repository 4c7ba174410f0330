//! Short ids: the first 8 bytes of a hash, and lists of them packed into one byte string.

use std::fmt;

use minicbor::decode::{Decoder, Error as DecodeError};
use minicbor::encode::{Encoder, Error as EncodeError, Write};
use minicbor::{Decode, Encode};

/// The first 8 bytes of an id that is a hash: enough to tell two honest things apart, and finding a second thing with the
/// short id of a given one takes 2^64 hashes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ShortId(pub [u8; 8]);

impl fmt::Debug for ShortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShortId({:016x})", u64::from_be_bytes(self.0))
    }
}

/// A list of short ids; on the air one byte string of 8 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShortIds(pub Vec<ShortId>);

impl<C> Encode<C> for ShortIds {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|id| id.0).collect();
        e.bytes(&bytes)?;
        Ok(())
    }
}

impl<'b, C> Decode<'b, C> for ShortIds {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
        let (ids, rest) = d.bytes()?.as_chunks::<8>();
        if rest.is_empty() {
            Ok(Self(ids.iter().copied().map(ShortId).collect()))
        } else {
            Err(DecodeError::message("not a whole number of ids"))
        }
    }
}
