//! What the two ends of a link say to each other on the control stream that is the link's own, [`OWN_STREAM`].
//!
//! ```text
//! renew          01 | sender's index 4 | Noise message 1
//! renewing       02 | receiver's index 4 | sender's index 4 | Noise message 2
//! renewed        03 | receiver's index 4 | Noise message 3
//! around         04 | ( first 4 bytes of a beacon id ) ...          at most 32
//! hints          05 | nonce 8 | hint 4 ...                          at most 256
//! token          06 | token 16
//! proof          07 | token 16 | signature 64
//! counterproof   08 | signature 64
//! ```

use super::{LinkDecodeError, index};

/// The control stream of these messages; the others belong to the layers above.
pub const OWN_STREAM: u8 = 3;
/// The most neighbours of a neighbour that are listed.
pub const AROUND_MAX: usize = 32;
/// The most hints in one message: 1 KiB.
pub const HINTS_MAX: usize = 256;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;

/// A message of the link's own stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkMessage<'a> {
    /// Asks for new session keys.
    Renew {
        /// The index by which the asked one is to address the new session.
        sender: u32,
        /// Noise message 1.
        noise: &'a [u8],
    },
    /// Answers [`LinkMessage::Renew`].
    Renewing {
        /// The asker's index.
        receiver: u32,
        /// The answerer's index.
        sender: u32,
        /// Noise message 2.
        noise: &'a [u8],
    },
    /// Completes the new session.
    Renewed {
        /// The answerer's index.
        receiver: u32,
        /// Noise message 3.
        noise: &'a [u8],
    },
    /// Who else is linked to the sender on this radio: the first bytes of their beacon ids.
    Around(Vec<[u8; 4]>),
    /// "Do you know me?" One hint for each contact of the sender, and random ones.
    Hints {
        /// Makes each asking different.
        nonce: [u8; 8],
        /// In no order that tells anything.
        hints: Vec<[u8; 4]>,
    },
    /// "I may." What only the contact can compute, or random bytes.
    Token([u8; 16]),
    /// "It is me": the asker's own token and its long-term signature, or random bytes.
    Proof {
        /// What only the contact can compute.
        token: [u8; 16],
        /// By the asker's long-term key.
        signature: [u8; SIGNATURE_BYTES],
    },
    /// "And me": the answerer's long-term signature, or random bytes.
    Counterproof([u8; SIGNATURE_BYTES]),
}

impl<'a> LinkMessage<'a> {
    /// Parses a message; bytes behind one of fixed length are ignored, so that later versions may add some.
    ///
    /// # Errors
    /// If it is cut short, of an unknown kind, longer than its limit, or has a field that cannot be.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, LinkDecodeError> {
        let (kind, rest) = bytes.split_first().ok_or(LinkDecodeError::Short)?;
        Ok(match kind {
            1 => {
                let (sender, noise) = take_index(rest)?;
                Self::Renew { sender, noise }
            }
            2 => {
                let (receiver, rest) = take_index(rest)?;
                let (sender, noise) = take_index(rest)?;
                Self::Renewing {
                    receiver,
                    sender,
                    noise,
                }
            }
            3 => {
                let (receiver, noise) = take_index(rest)?;
                Self::Renewed { receiver, noise }
            }
            4 => Self::Around(list(rest, AROUND_MAX)?),
            5 => {
                let (nonce, rest) = take(rest)?;
                let hints = list(rest, HINTS_MAX)?;
                Self::Hints { nonce, hints }
            }
            6 => Self::Token(take(rest)?.0),
            7 => {
                let (token, rest) = take(rest)?;
                let (signature, _) = take(rest)?;
                Self::Proof { token, signature }
            }
            8 => Self::Counterproof(take(rest)?.0),
            other => return Err(LinkDecodeError::Unknown(*other)),
        })
    }

    /// The message's bytes; of lists, as many entries as are allowed.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Renew { sender, noise } => [&[1][..], &sender.to_be_bytes(), noise].concat(),
            Self::Renewing {
                receiver,
                sender,
                noise,
            } => [
                &[2][..],
                &receiver.to_be_bytes(),
                &sender.to_be_bytes(),
                noise,
            ]
            .concat(),
            Self::Renewed { receiver, noise } => {
                [&[3][..], &receiver.to_be_bytes(), noise].concat()
            }
            Self::Around(ids) => {
                let ids = ids.get(..AROUND_MAX).unwrap_or(ids);
                [&[4][..], ids.as_flattened()].concat()
            }
            Self::Hints { nonce, hints } => {
                let hints = hints.get(..HINTS_MAX).unwrap_or(hints);
                [&[5][..], nonce, hints.as_flattened()].concat()
            }
            Self::Token(token) => [&[6][..], token].concat(),
            Self::Proof { token, signature } => [&[7][..], token, signature].concat(),
            Self::Counterproof(signature) => [&[8][..], signature].concat(),
        }
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<([u8; N], &[u8]), LinkDecodeError> {
    let (first, rest) = bytes.split_first_chunk().ok_or(LinkDecodeError::Short)?;
    Ok((*first, rest))
}

fn take_index(bytes: &[u8]) -> Result<(u32, &[u8]), LinkDecodeError> {
    let (bytes, rest) = take(bytes)?;
    Ok((index(u32::from_be_bytes(bytes))?, rest))
}

fn list(bytes: &[u8], most: usize) -> Result<Vec<[u8; 4]>, LinkDecodeError> {
    let (entries, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(LinkDecodeError::Short);
    }
    if entries.len() > most {
        return Err(LinkDecodeError::Field);
    }
    Ok(entries.to_vec())
}
