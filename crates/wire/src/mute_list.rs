//! A person's own list of people they do not want to hear in the public room, as a text that can be given to others.
//!
//! ```text
//! | version 1 = 1 | owner's node key 32 | addresses, 16 each | Ed25519 signature 64 |        in base32 behind "SMARTMESH-MUTES:"
//! ```
//!
//! The signature has the domain [`MUTE_LIST_DOMAIN`] and covers everything before it.

use smartmesh_types::{Address, NodeKey};
use thiserror::Error;

use crate::invite::{from_base32, to_base32};

/// What the signature of a list is for.
pub const MUTE_LIST_DOMAIN: &str = "smartmesh mutes v1";
/// The most people on a list.
pub const MUTED_MAX: usize = 256;

const SCHEME: &str = "SMARTMESH-MUTES:";
const VERSION: u8 = 1;

/// The text is no list of this form.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is no list of muted people")]
pub struct MuteListError;

/// A signed list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MuteList {
    /// Whose list.
    pub owner: NodeKey,
    /// Whom they mute; at most [`MUTED_MAX`].
    pub people: Vec<Address>,
    /// Of [`MuteList::signed_bytes`], under [`MUTE_LIST_DOMAIN`].
    pub signature: [u8; 64],
}

impl MuteList {
    /// What the signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.owner.0);
        for person in &self.people {
            bytes.extend_from_slice(&person.octets());
        }
        bytes
    }

    /// The list as a text.
    pub fn to_text(&self) -> String {
        let bytes = [&self.signed_bytes()[..], &self.signature].concat();
        format!("{SCHEME}{}", to_base32(&bytes))
    }

    /// Reads a text; its signature is not judged here.
    ///
    /// # Errors
    /// If it is damaged, too long, or of a later version.
    pub fn from_text(text: &str) -> Result<Self, MuteListError> {
        let text = text.trim();
        let scheme = text.get(..SCHEME.len()).ok_or(MuteListError)?;
        let body = text.get(SCHEME.len()..).ok_or(MuteListError)?;
        let longest = (97_usize.saturating_add(MUTED_MAX.saturating_mul(16))).saturating_mul(2);
        if !scheme.eq_ignore_ascii_case(SCHEME) || body.len() > longest {
            return Err(MuteListError);
        }
        let bytes = from_base32(body).map_err(|_| MuteListError)?;
        let (signed, signature) = bytes.split_last_chunk().ok_or(MuteListError)?;
        let (&[version], rest) = signed.split_first_chunk().ok_or(MuteListError)?;
        let (owner, rest) = rest.split_first_chunk().ok_or(MuteListError)?;
        let (people, rest) = rest.as_chunks();
        if version != VERSION || !rest.is_empty() || people.len() > MUTED_MAX {
            return Err(MuteListError);
        }
        let people = people.iter().map(|octets| Address::from_octets(*octets));
        Ok(Self {
            owner: NodeKey(*owner),
            people: people.collect::<Option<_>>().ok_or(MuteListError)?,
            signature: *signature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn lists_round_trip(owner in any::<[u8; 32]>(), people in prop::collection::vec(any::<[u8; 13]>(), 0..20)) {
            let people = people.into_iter().map(Address::from_key_hash).collect();
            let list = MuteList { owner: NodeKey(owner), people, signature: [9; 64] };
            let text = list.to_text();
            prop_assert_eq!(MuteList::from_text(&text.to_lowercase()), Ok(list));
        }

        #[test]
        fn arbitrary_texts_cause_errors_only(text in "\\PC{0,80}", body in "[A-Z2-7]{0,300}") {
            let _ = MuteList::from_text(&text);
            let _ = MuteList::from_text(&format!("{SCHEME}{body}"));
        }
    }
}
