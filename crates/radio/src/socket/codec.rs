//! The bytes of the framed local socket; `docs/radio-socket.md` is the page for who writes the other end.
//!
//! ```text
//! message    | length 4 | type 1 | body |            length counts type and body; all numbers big-endian
//! 1 hello    | version 1 | broadcast 1 | frame size 2 | bits per second 8 |          radio code to node
//! 2 welcome  | version 1 |                                                           node to radio code
//! 3 peer     | address |                   a peer came into reach                    radio code to node
//! 4 gone     | address |                   a peer is out of reach                    radio code to node
//! 5 frame    | address length 1 | address | frame |    length 0: broadcast           both ways
//! 6 refused  | reason, UTF-8 |             the node closes the connection            node to radio code
//! ```

use smartmesh_types::{Broadcast, Destination, FRAME_BYTES_MAX, FRAME_BYTES_MIN, LinkAddr};
use thiserror::Error;

/// Version of the protocol that this code speaks.
pub const PROTOCOL_VERSION: u8 = 1;
/// Bytes before type and body.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The longest type and body: a frame of the largest size with the longest address.
const MESSAGE_BYTES_MAX: usize = 2 + LinkAddr::BYTES_MAX + FRAME_BYTES_MAX;

/// One message of the framed local socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketMessage {
    /// The radio code says what its radio offers; the first message, and again when it changes.
    Hello {
        /// Protocol version, see [`PROTOCOL_VERSION`].
        version: u8,
        /// Whether a frame without an address reaches all in reach.
        broadcast: Broadcast,
        /// Largest frame in bytes, 200 to 65,535.
        frame_bytes: u16,
        /// Nominal rate; the node sends no faster. 0 is taken as 1.
        bits_per_second: u64,
    },
    /// The node accepts.
    Welcome {
        /// Protocol version the node will use.
        version: u8,
    },
    /// A peer came into reach; the node greets it.
    Peer(LinkAddr),
    /// A peer is out of reach; the node finds another way at once.
    Gone(LinkAddr),
    /// A frame: to the radio, where it shall go; from the radio, whence it came.
    Frame {
        /// The peer, or all in reach.
        peer: Destination,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// The node will not talk on, and why.
    Refused(String),
}

/// Why bytes are no message; the connection can't go on after it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    /// The length lies outside what any message has.
    #[error("message of {0} bytes")]
    Length(usize),
    /// No message has this type.
    #[error("unknown message type {0}")]
    Type(u8),
    /// The body ends too early or has bytes too many.
    #[error("message of type {0} has the wrong length")]
    Body(u8),
    /// The frame size is outside 200 to 65,535 bytes.
    #[error("frame size {0} is below 200 bytes")]
    FrameBytes(u16),
}

impl SocketMessage {
    /// Appends the message with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; LENGTH_BYTES]);
        match self {
            Self::Hello {
                version,
                broadcast,
                frame_bytes,
                bits_per_second,
            } => {
                let broadcast = match broadcast {
                    Broadcast::Yes => 1,
                    Broadcast::No => 0,
                };
                out.extend([1, *version, broadcast]);
                out.extend(frame_bytes.to_be_bytes());
                out.extend(bits_per_second.to_be_bytes());
            }
            Self::Welcome { version } => out.extend([2, *version]),
            Self::Peer(peer) => {
                out.push(3);
                out.extend(peer.as_bytes());
            }
            Self::Gone(peer) => {
                out.push(4);
                out.extend(peer.as_bytes());
            }
            Self::Frame { peer, bytes } => encode_frame(peer, bytes, out),
            Self::Refused(reason) => {
                out.push(6);
                out.extend(reason.as_bytes());
            }
        }
        let length = out.len().saturating_sub(start).saturating_sub(LENGTH_BYTES);
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(place) = out.get_mut(start..start.saturating_add(LENGTH_BYTES)) {
            place.copy_from_slice(&length);
        }
    }

    /// Takes the first message off `bytes` and says how many bytes it used; `None` while it is incomplete.
    ///
    /// # Errors
    /// If the bytes can't be the beginning of any message.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, CodecError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if length == 0 || length > MESSAGE_BYTES_MAX {
            return Err(CodecError::Length(length));
        }
        let Some(message) = rest.get(..length) else {
            return Ok(None);
        };
        let Some((&kind, body)) = message.split_first() else {
            return Ok(None);
        };
        let used = length.saturating_add(LENGTH_BYTES);
        Ok(Some((Self::decode_body(kind, body)?, used)))
    }

    fn decode_body(kind: u8, body: &[u8]) -> Result<Self, CodecError> {
        let wrong = || CodecError::Body(kind);
        let address = |bytes| LinkAddr::new(bytes).map_err(|_| wrong());
        match kind {
            1 => {
                let body: &[u8; 12] = body.try_into().map_err(|_| wrong())?;
                let [version, broadcast, high, low, rate @ ..] = *body;
                let frame_bytes = u16::from_be_bytes([high, low]);
                if usize::from(frame_bytes) < FRAME_BYTES_MIN {
                    return Err(CodecError::FrameBytes(frame_bytes));
                }
                let broadcast = if broadcast == 0 {
                    Broadcast::No
                } else {
                    Broadcast::Yes
                };
                let bits_per_second = u64::from_be_bytes(rate).max(1);
                Ok(Self::Hello {
                    version,
                    broadcast,
                    frame_bytes,
                    bits_per_second,
                })
            }
            2 => match body {
                [version] => Ok(Self::Welcome { version: *version }),
                _ => Err(wrong()),
            },
            3 => Ok(Self::Peer(address(body)?)),
            4 => Ok(Self::Gone(address(body)?)),
            5 => {
                let (&length, rest) = body.split_first().ok_or_else(wrong)?;
                let (peer, frame) = rest.split_at_checked(length.into()).ok_or_else(wrong)?;
                let peer = match peer {
                    [] => Destination::Broadcast,
                    bytes => Destination::Peer(address(bytes)?),
                };
                Ok(Self::Frame {
                    peer,
                    bytes: frame.to_vec(),
                })
            }
            6 => Ok(Self::Refused(String::from_utf8_lossy(body).into_owned())),
            _ => Err(CodecError::Type(kind)),
        }
    }
}

/// Appends type and body of a frame.
fn encode_frame(peer: &Destination, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(5);
    match peer {
        Destination::Broadcast => out.push(0),
        Destination::Peer(address) => {
            let address = address.as_bytes();
            out.push(u8::try_from(address.len()).unwrap_or_default());
            out.extend(address);
        }
    }
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn examples() -> Vec<SocketMessage> {
        let peer = LinkAddr::new(&[1, 2, 3]).unwrap();
        vec![
            SocketMessage::Hello {
                version: 1,
                broadcast: Broadcast::Yes,
                frame_bytes: 200,
                bits_per_second: 5_000,
            },
            SocketMessage::Welcome { version: 1 },
            SocketMessage::Peer(peer),
            SocketMessage::Gone(peer),
            SocketMessage::Frame {
                peer: Destination::Peer(peer),
                bytes: vec![9; 200],
            },
            SocketMessage::Frame {
                peer: Destination::Broadcast,
                bytes: Vec::new(),
            },
            SocketMessage::Refused("version 9 is unknown".into()),
        ]
    }

    #[test]
    fn messages_survive_the_round_trip_and_wait_for_their_last_byte() {
        for message in examples() {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert_eq!(
                SocketMessage::decode(&bytes),
                Ok(Some((message, bytes.len())))
            );
            assert_eq!(SocketMessage::decode(&bytes[..bytes.len() - 1]), Ok(None));
        }
    }

    #[test]
    fn senseless_bytes_are_refused() {
        for (bytes, error) in [
            (&[0, 0, 0, 0][..], CodecError::Length(0)),
            (&[0xff, 0, 0, 0], CodecError::Length(0xff00_0000)),
            (&[0, 0, 0, 1, 77], CodecError::Type(77)),
            (&[0, 0, 0, 2, 1, 1], CodecError::Body(1)),
            (
                &[0, 0, 0, 13, 1, 1, 1, 0, 199, 0, 0, 0, 0, 0, 0, 0, 1],
                CodecError::FrameBytes(199),
            ),
            (&[0, 0, 0, 3, 5, 9, 1], CodecError::Body(5)),
        ] {
            assert_eq!(SocketMessage::decode(bytes), Err(error));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((message, used))) = SocketMessage::decode(&bytes) {
                prop_assert!(used <= bytes.len());
                let mut again = Vec::new();
                message.encode(&mut again);
                prop_assert!(SocketMessage::decode(&again).is_ok());
            }
        }
    }
}
