//! Who somebody is on the mesh.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use thiserror::Error;

/// A node's long-term Ed25519 public key, 32 bytes (RFC 8032); the root of its identity.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeKey(pub [u8; 32]);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "NodeKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A node's mesh address: an IPv6 address in [`Address::PREFIX`]`/24` whose other 104 bits are a hash of its key.
///
/// The prefix is inside fd00::/8 (RFC 4193), so programs may use it over the TUN interface and the user's other
/// unique local networks stay untouched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

/// Why a text is no mesh address.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseAddressError {
    /// It is not an IPv6 address.
    #[error("not an IPv6 address: {0}")]
    NotIpv6(String),
    /// It is an IPv6 address outside the mesh's prefix.
    #[error("{0} is not a mesh address; those begin with fd53:4d")]
    OutsideMesh(Ipv6Addr),
}

impl Address {
    /// The first 24 bits of each mesh address: fd, then "SM" in ASCII.
    pub const PREFIX: [u8; 3] = [0xfd, 0x53, 0x4d];

    /// The address whose last 13 bytes are this hash of a key; `smartmesh-crypto` computes it.
    pub fn from_key_hash(hash: [u8; 13]) -> Self {
        let mut bytes = [0; 16];
        let (prefix, rest) = bytes.split_at_mut(3);
        prefix.copy_from_slice(&Self::PREFIX);
        rest.copy_from_slice(&hash);
        Self(bytes)
    }

    /// The address as it stands in an IPv6 header.
    pub const fn octets(self) -> [u8; 16] {
        self.0
    }

    /// Takes an IPv6 address, or `None` if it lies outside the mesh's prefix.
    pub fn from_octets(octets: [u8; 16]) -> Option<Self> {
        octets.starts_with(&Self::PREFIX).then_some(Self(octets))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv6Addr::from(self.0).fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ip: Ipv6Addr = text
            .trim()
            .parse()
            .map_err(|_| ParseAddressError::NotIpv6(text.to_owned()))?;
        Self::from_octets(ip.octets()).ok_or(ParseAddressError::OutsideMesh(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_prints_and_parses_as_ipv6() {
        let address = Address::from_key_hash([7; 13]);
        assert_eq!(address.to_string(), "fd53:4d07:707:707:707:707:707:707");
        assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        let outside = "fd00::1".parse::<Address>();
        assert_eq!(
            outside,
            Err(ParseAddressError::OutsideMesh("fd00::1".parse().unwrap()))
        );
        assert_eq!(
            "10.0.0.1".parse::<Address>(),
            Err(ParseAddressError::NotIpv6("10.0.0.1".into()))
        );
    }
}
