//! Small identifiers: radios, link-layer addresses, neighbours, labels, flows, tags, requests.

use std::fmt;

use thiserror::Error;

/// One radio (a UDP interface, a phone's own radio behind a local socket, the Internet) of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RadioId(pub u32);

/// A neighbour's slot in this node's own table; meaningless to anybody else, never reused while the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourId(pub u32);

/// The 4-byte name that one node gives to one direction of one flow, told only to the neighbour that will use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(pub u32);

/// One end-to-end flow as this node's upper layers know it; survives changes of path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

/// Ties a local command to the event that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A destination's rotating 8-byte name in routing; only who knows the address can compute it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub [u8; 8]);

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:016x})", u64::from_be_bytes(self.0))
    }
}

/// A message's random 16-byte name, drawn by its sender; the same whichever way it travels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a frame goes to or came from on one radio, in that radio's own form (at most 23 bytes), opaque to the cores.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkAddr {
    length: u8,
    bytes: [u8; Self::BYTES_MAX],
}

/// A link-layer address longer than [`LinkAddr::BYTES_MAX`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("link address of {0} bytes, at most 23 fit")]
pub struct LinkAddrTooLong(pub usize);

impl LinkAddr {
    /// The most bytes an address may have: an IPv6 address, a port and a scope need 22.
    pub const BYTES_MAX: usize = 23;

    /// Takes an address in the radio's own form.
    ///
    /// # Errors
    /// If it has more than [`Self::BYTES_MAX`] bytes.
    pub fn new(address: &[u8]) -> Result<Self, LinkAddrTooLong> {
        let mut bytes = [0; Self::BYTES_MAX];
        let length = u8::try_from(address.len()).map_err(|_| LinkAddrTooLong(address.len()))?;
        bytes
            .get_mut(..address.len())
            .ok_or(LinkAddrTooLong(address.len()))?
            .copy_from_slice(address);
        Ok(Self { length, bytes })
    }

    /// The address in the radio's own form.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }
}

impl fmt::Debug for LinkAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkAddr(")?;
        for byte in self.as_bytes() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_address_keeps_its_bytes_and_refuses_more_than_fit() {
        let bytes: Vec<u8> = (0..23).collect();
        assert_eq!(LinkAddr::new(&bytes).unwrap().as_bytes(), bytes);
        assert_eq!(LinkAddr::new(&[0; 24]), Err(LinkAddrTooLong(24)));
        assert_eq!(LinkAddr::new(&[0; 300]), Err(LinkAddrTooLong(300)));
    }
}
