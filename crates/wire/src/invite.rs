//! Prekey bundles: what somebody needs to write to a person who is away. One signed form serves three ways: as an invite
//! (text or QR), as gossip, and as the answer to a request over a flow.
//!
//! Layout, big-endian, at most [`BUNDLE_BYTES_MAX`]:
//!
//! ```text
//! | version 1 | one-time keys n 1 | name bytes m 1 | expires, unix seconds 8 |
//! | node key 32 | sealing key 32 | ratchet identity key 32 | fallback prekey 32 |
//! | n one-time prekeys, 32 each | name m | signature 64 |
//! ```
//!
//! The signature is the node key's over all fields before it, rebuilt from the parsed values. As text: `SMARTMESH:` and the
//! bytes in base32 (RFC 4648 §6, upper case, no padding), all of which a QR code holds in its alphanumeric mode; parsing
//! takes either case.

use smartmesh_types::{NodeKey, UnixTime};
use thiserror::Error;

/// The most one-time prekeys in a bundle: one per person who may scan the same invite, and the QR code stays readable.
pub const ONE_TIME_KEYS_MAX: usize = 4;
/// The longest proposed name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of the signature.
const SIGNATURE_BYTES: usize = 64;
/// The largest bundle: fixed fields, keys, name and signature; below a gossip message's 1 KiB.
pub const BUNDLE_BYTES_MAX: usize = 11 + 4 * 32 + ONE_TIME_KEYS_MAX * 32 + NAME_BYTES_MAX + 64;
/// What an invite's text starts with.
pub const INVITE_SCHEME: &str = "SMARTMESH:";

const VERSION: u8 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A person's keys for being written to, signed by the node key. Reading one does not verify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrekeyBundle {
    /// Whose keys these are; the address follows from it.
    pub node_key: NodeKey,
    /// X25519 key of the outer seal.
    pub seal_key: [u8; 32],
    /// X25519 identity key of the ratchet.
    pub ratchet_key: [u8; 32],
    /// X25519 prekey that serves any number of sessions.
    pub fallback: [u8; 32],
    /// X25519 prekeys that serve one session each; at most [`ONE_TIME_KEYS_MAX`].
    pub one_time: Vec<[u8; 32]>,
    /// The name its owner proposes, 1 to [`NAME_BYTES_MAX`] bytes; empty for none.
    pub name: String,
    /// When the prekeys end.
    pub expires: UnixTime,
    /// The node key's Ed25519 signature over [`Self::signed_bytes`].
    pub signature: [u8; SIGNATURE_BYTES],
}

/// Why bytes or a text are no prekey bundle.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BundleError {
    /// The length does not fit the fields, or is above the limit.
    #[error("an invite of {0} bytes is damaged")]
    Length(usize),
    /// A later version.
    #[error("this invite needs a newer program (version {0})")]
    Version(u8),
    /// Too many prekeys, or a name that is too long or no UTF-8.
    #[error("a field of the invite is out of range")]
    Field,
    /// The text does not start with [`INVITE_SCHEME`].
    #[error("an invite starts with SMARTMESH:")]
    Scheme,
    /// The text has a character outside base32.
    #[error("the invite has an unexpected character at {0}")]
    Character(usize),
}

impl PrekeyBundle {
    /// The bytes that the signature covers: all fields before it.
    ///
    /// # Errors
    /// If there are too many prekeys or the name is too long.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let count = u8::try_from(self.one_time.len()).map_err(|_| BundleError::Field)?;
        let name = u8::try_from(self.name.len()).map_err(|_| BundleError::Field)?;
        if usize::from(count) > ONE_TIME_KEYS_MAX || usize::from(name) > NAME_BYTES_MAX {
            return Err(BundleError::Field);
        }
        let mut bytes = Vec::with_capacity(BUNDLE_BYTES_MAX);
        bytes.extend_from_slice(&[VERSION, count, name]);
        bytes.extend_from_slice(&self.expires.as_secs().to_be_bytes());
        bytes.extend_from_slice(&self.node_key.0);
        bytes.extend_from_slice(&self.seal_key);
        bytes.extend_from_slice(&self.ratchet_key);
        bytes.extend_from_slice(&self.fallback);
        for key in &self.one_time {
            bytes.extend_from_slice(key);
        }
        bytes.extend_from_slice(self.name.as_bytes());
        Ok(bytes)
    }

    /// The bundle's bytes.
    ///
    /// # Errors
    /// If there are too many prekeys or the name is too long.
    pub fn encode(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = self.signed_bytes()?;
        bytes.extend_from_slice(&self.signature);
        Ok(bytes)
    }

    /// Reads a bundle.
    ///
    /// # Errors
    /// If the bytes are not exactly one bundle of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BundleError> {
        let damaged = BundleError::Length(bytes.len());
        if bytes.len() > BUNDLE_BYTES_MAX {
            return Err(damaged);
        }
        let (&version, _) = bytes.split_first().ok_or(damaged)?;
        if version != VERSION {
            return Err(BundleError::Version(version));
        }
        let mut rest = bytes;
        let [_, count, name_bytes] = take(&mut rest).ok_or(damaged)?;
        if usize::from(count) > ONE_TIME_KEYS_MAX || usize::from(name_bytes) > NAME_BYTES_MAX {
            return Err(BundleError::Field);
        }
        let expires = UnixTime::from_secs(u64::from_be_bytes(take(&mut rest).ok_or(damaged)?));
        let node_key = NodeKey(take(&mut rest).ok_or(damaged)?);
        let seal_key = take(&mut rest).ok_or(damaged)?;
        let ratchet_key = take(&mut rest).ok_or(damaged)?;
        let fallback = take(&mut rest).ok_or(damaged)?;
        let one_time = (0..count)
            .map(|_| take(&mut rest).ok_or(damaged))
            .collect::<Result<_, _>>()?;
        let (name, rest) = rest
            .split_at_checked(usize::from(name_bytes))
            .ok_or(damaged)?;
        let name = std::str::from_utf8(name).map_err(|_| BundleError::Field)?;
        let signature = rest.try_into().map_err(|_| damaged)?;
        Ok(Self {
            node_key,
            seal_key,
            ratchet_key,
            fallback,
            one_time,
            name: name.to_owned(),
            expires,
            signature,
        })
    }

    /// The bundle as an invite's text.
    ///
    /// # Errors
    /// If there are too many prekeys or the name is too long.
    pub fn to_text(&self) -> Result<String, BundleError> {
        Ok(format!("{INVITE_SCHEME}{}", to_base32(&self.encode()?)))
    }

    /// Reads an invite's text, in either case, with white space around it.
    ///
    /// # Errors
    /// If it is not exactly one invite.
    pub fn from_text(text: &str) -> Result<Self, BundleError> {
        let text = text.trim();
        let (scheme, body) = text
            .split_at_checked(INVITE_SCHEME.len())
            .ok_or(BundleError::Scheme)?;
        if !scheme.eq_ignore_ascii_case(INVITE_SCHEME) {
            return Err(BundleError::Scheme);
        }
        // Eight characters hold five bytes.
        if body.len() > BUNDLE_BYTES_MAX.saturating_mul(8).div_ceil(5) {
            return Err(BundleError::Length(body.len()));
        }
        Self::decode(&from_base32(body)?)
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

pub(crate) fn to_base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().saturating_mul(8).div_ceil(5));
    for group in bytes.chunks(5) {
        let mut block = [0; 5];
        for (to, from) in block.iter_mut().zip(group) {
            *to = *from;
        }
        let bits = block
            .iter()
            .fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        let characters = group.len().saturating_mul(8).div_ceil(5);
        for shift in [35_u32, 30, 25, 20, 15, 10, 5, 0].iter().take(characters) {
            let index = usize::try_from((bits >> shift) & 31).unwrap_or_default();
            text.push(char::from(BASE32.get(index).copied().unwrap_or(b'A')));
        }
    }
    text
}

pub(crate) fn from_base32(text: &str) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u64, 0_u32);
    for (position, character) in text.bytes().enumerate() {
        let character = character.to_ascii_uppercase();
        let value = BASE32
            .iter()
            .position(|known| *known == character)
            .and_then(|value| u64::try_from(value).ok())
            .ok_or(BundleError::Character(
                position.saturating_add(INVITE_SCHEME.len()),
            ))?;
        bits = ((bits << 5) | value) & 0xfff;
        held = held.saturating_add(5);
        if held >= 8 {
            held = held.saturating_sub(8);
            bytes.extend(u8::try_from((bits >> held) & 0xff));
        }
    }
    // What does not fill a byte is padding: less than one character, and zero.
    if held >= 5 || bits & ((1_u64 << held).wrapping_sub(1)) != 0 {
        return Err(BundleError::Length(text.len()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn bundle()(
            keys in any::<[[u8; 32]; 4]>(),
            one_time in vec(any::<[u8; 32]>(), 0..=ONE_TIME_KEYS_MAX),
            name in "\\PC{0,16}",
            expires in any::<u64>(),
            signature in any::<[u8; 32]>(),
        ) -> PrekeyBundle {
            PrekeyBundle {
                node_key: NodeKey(keys[0]),
                seal_key: keys[1],
                ratchet_key: keys[2],
                fallback: keys[3],
                one_time,
                name,
                expires: UnixTime::from_secs(expires),
                signature: std::array::from_fn(|i| signature[i % 32]),
            }
        }
    }

    proptest! {
        #[test]
        fn bundles_round_trip_as_bytes_and_as_text(bundle in bundle()) {
            let bytes = bundle.encode().unwrap();
            prop_assert!(bytes.len() <= BUNDLE_BYTES_MAX);
            prop_assert_eq!(PrekeyBundle::decode(&bytes), Ok(bundle.clone()));
            let text = bundle.to_text().unwrap();
            let alphanumeric = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ':';
            prop_assert!(text.chars().all(alphanumeric));
            prop_assert_eq!(PrekeyBundle::from_text(&text), Ok(bundle.clone()));
            prop_assert_eq!(PrekeyBundle::from_text(&format!(" {}\n", text.to_lowercase())), Ok(bundle));
            prop_assert!(PrekeyBundle::decode(bytes.split_last().unwrap().1).is_err());
            prop_assert!(PrekeyBundle::from_text(text.split_at(text.len().saturating_sub(1)).0).is_err());
        }

        #[test]
        fn arbitrary_bytes_and_texts_cause_errors_only(bytes in vec(any::<u8>(), 0..500), text in "\\PC{0,80}") {
            if let Ok(bundle) = PrekeyBundle::decode(&bytes) {
                prop_assert_eq!(bundle.encode().unwrap(), bytes);
            }
            prop_assert!(PrekeyBundle::from_text(&text).is_err());
            let with_scheme = ["smartmesh:", &text].concat();
            prop_assert!(PrekeyBundle::from_text(&with_scheme).is_err());
        }
    }

    #[test]
    fn base32_is_that_of_rfc_4648_section_10_without_padding() {
        for (bytes, text) in [
            ("", ""),
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(to_base32(bytes.as_bytes()), text);
            assert_eq!(from_base32(text), Ok(bytes.as_bytes().to_vec()));
        }
        assert_eq!(from_base32("M1"), Err(BundleError::Character(11)));
        assert_eq!(from_base32("MZ"), Err(BundleError::Length(2)));
    }

    #[test]
    fn limits_are_named() {
        assert_eq!(PrekeyBundle::decode(&[2]), Err(BundleError::Version(2)));
        assert_eq!(PrekeyBundle::decode(&[1, 5, 0]), Err(BundleError::Field));
        assert_eq!(PrekeyBundle::decode(&[]), Err(BundleError::Length(0)));
        assert_eq!(
            PrekeyBundle::decode(&[1; 500]),
            Err(BundleError::Length(500))
        );
        assert_eq!(
            PrekeyBundle::from_text("http://x.y"),
            Err(BundleError::Scheme)
        );
    }
}
