//! What is passed on so that others can fetch a file.

use std::fmt;
use std::str::FromStr;

use smartmesh_wire::chunk::{ADDRESS_BYTES, ChunkAddress};
use thiserror::Error;

/// Bytes of a chunk's key.
pub(crate) const KEY_BYTES: usize = 32;

/// A file's Swarm reference: 32 bytes plain, or 64 with the key of the root chunk; who has the latter can read the file.
///
/// It prints as hexadecimal, as Swarm's clients do; the debug form hides the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reference {
    /// Anybody who holds the chunks can read them.
    Plain(ChunkAddress),
    /// The chunks are encrypted, each under its own key; this is the root's.
    Encrypted(ChunkAddress, [u8; KEY_BYTES]),
}

/// Not a reference.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ReferenceError {
    /// Neither 32 nor 64 bytes.
    #[error("a reference has 32 or 64 bytes, not {0}")]
    Length(usize),
    /// Not hexadecimal.
    #[error("a reference is written in hexadecimal digits")]
    Digits,
}

impl Reference {
    /// The address of the root chunk.
    pub fn address(&self) -> ChunkAddress {
        match self {
            Self::Plain(address) | Self::Encrypted(address, _) => *address,
        }
    }

    /// The reference as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Plain(address) => address.0.to_vec(),
            Self::Encrypted(address, key) => [address.0, *key].concat(),
        }
    }

    /// Takes a reference from bytes.
    ///
    /// # Errors
    /// If they are neither 32 nor 64.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReferenceError> {
        let wrong = ReferenceError::Length(bytes.len());
        let (address, rest) = bytes.split_first_chunk::<ADDRESS_BYTES>().ok_or(wrong)?;
        let address = ChunkAddress(*address);
        if rest.is_empty() {
            return Ok(Self::Plain(address));
        }
        let key = <[u8; KEY_BYTES]>::try_from(rest).map_err(|_| wrong)?;
        Ok(Self::Encrypted(address, key))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => write!(f, "Plain({address:?})"),
            Self::Encrypted(address, _) => write!(f, "Encrypted({address:?}, …)"),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if !rest.is_empty() {
            return Err(ReferenceError::Digits);
        }
        let bytes: Option<Vec<u8>> = pairs
            .iter()
            .map(|pair| {
                let digits = std::str::from_utf8(pair).ok()?;
                let hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                hex.then(|| u8::from_str_radix(digits, 16).ok())?
            })
            .collect();
        Self::from_bytes(&bytes.ok_or(ReferenceError::Digits)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_print_and_parse() {
        let plain = Reference::Plain(ChunkAddress([0xab; 32]));
        let encrypted = Reference::Encrypted(ChunkAddress([0xab; 32]), [1; 32]);
        assert_eq!(plain.to_string(), "ab".repeat(32));
        assert_eq!(plain.to_string().parse(), Ok(plain));
        assert_eq!(encrypted.to_string().parse(), Ok(encrypted));
        assert_eq!("ab".parse::<Reference>(), Err(ReferenceError::Length(1)));
        assert_eq!(
            "+1".repeat(32).parse::<Reference>(),
            Err(ReferenceError::Digits)
        );
        assert_eq!("é".parse::<Reference>(), Err(ReferenceError::Digits));
        assert!(!format!("{encrypted:?}").contains("01"));
    }
}
