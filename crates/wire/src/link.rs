//! What two neighbours say to each other on one link.
//!
//! The first byte tells the two kinds of frame apart: at least `0x80`, and it is a session frame; below, a clear frame.
//!
//! ```text
//! session frame   index 4 | counter 4 | sealed ( label 4 | payload ) | tag 16          28 bytes beside the payload
//!                 index    the receiver's name for the session, top bit set
//!                 counter  low 32 bits of the frame's number; index and counter are authenticated, not hidden
//!
//! beacon      01 | version min 1 | version max 1 | links 1 | beacon id 8
//! first       02 | version 1 | links 1 | purpose 1 | sender's index 4 | sender's beacon id 8 | receiver's beacon id 8
//!                | cookie 16 (zero: none) | Noise message 1
//! cookie      03 | 0 0 0 | receiver's index 4 | cookie 16
//! second      04 | 0 0 0 | receiver's index 4 | sender's index 4 | Noise message 2
//! third       05 | 0 0 0 | receiver's index 4 | Noise message 3
//! versions    06 | version min 1 | version max 1 | 0 | receiver's index 4
//! busy        07 | 0 0 0 | receiver's index 4
//! ```
//!
//! Inside session frames, labels below [`LABELS_RESERVED`] are the link's own:
//!
//! ```text
//! acknowledgement   highest 4 | received 2 | delay 2 | links 1 | flags 1 | [bitmap 8] | [next 2 | later 4] per class in flags
//! control           ( head 1 | sequence 2 | length 2 | bytes ) ...
//! fragment          packet 2 | index 1 | count 1 | label 4 | bytes
//! offer (in Noise)  version min 1 | version max 1 | suites 1 | links 1 | frame bytes 4 | beacon id 8 | more (ignored)
//! ```
//!
//! Messages of the control stream that is the link's own are drawn in `own.rs`.

mod own;
mod pieces;

pub use own::{AROUND_MAX, HINTS_MAX, LinkMessage, OWN_STREAM};
pub use pieces::{Fragment, Segment};

use thiserror::Error;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes before the sealed part of a session frame: index and counter.
pub const SESSION_HEADER_BYTES: usize = 8;
/// Bytes before the payload of a session frame: index, counter and label.
pub const SESSION_PREFIX_BYTES: usize = 12;
/// Bytes that a session frame has beside its payload.
pub const SESSION_OVERHEAD_BYTES: usize = 28;
/// The bit that marks a session index, and so a session frame.
pub const SESSION_BIT: u32 = 0x8000_0000;
/// Labels below this are the link's own; flows get higher ones.
pub const LABELS_RESERVED: u32 = 16;
/// The most bytes of one control message.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a fragment before its part of the packet.
pub const FRAGMENT_HEADER_BYTES: usize = 8;
/// Bytes of a control segment before its part of the message.
pub const SEGMENT_HEADER_BYTES: usize = 5;
/// How many control streams a link has.
pub const CONTROL_STREAMS: usize = 4;

/// A frame of the link layer that does not parse.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum LinkDecodeError {
    /// Shorter than its layout.
    #[error("link frame cut short")]
    Short,
    /// A first byte that no known frame has.
    #[error("unknown link frame {0:#04x}")]
    Unknown(u8),
    /// A field with a value that cannot be.
    #[error("link frame with an impossible field")]
    Field,
}

/// A radio's random name on the air, changed about every hour.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BeaconId(pub [u8; 8]);

impl std::fmt::Debug for BeaconId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BeaconId({:016x})", u64::from_be_bytes(self.0))
    }
}

/// The versions of the link protocol that somebody speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl Versions {
    /// The newest version that both speak.
    pub fn highest_common(self, other: Self) -> Option<u8> {
        let version = self.max.min(other.max);
        (version >= self.min && version >= other.min).then_some(version)
    }
}

/// "Somebody is here": sent to all in reach, or to a configured peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// The versions the sender speaks.
    pub versions: Versions,
    /// How many links the sender has on this radio, at most 255.
    pub links: u8,
    /// The sender's name on this radio for now.
    pub id: BeaconId,
}

/// Why somebody asks for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It has room for more.
    Ordinary,
    /// It is full, but this neighbourhood is new to it; a full receiver should make room.
    Explore,
}

/// The first message of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstMessage<'a> {
    /// The version the initiator chose.
    pub version: u8,
    /// How many links the initiator has on this radio.
    pub links: u8,
    /// Why it asks.
    pub purpose: Purpose,
    /// The index by which the responder is to address the session.
    pub sender: u32,
    /// The initiator's beacon id.
    pub from: BeaconId,
    /// The beacon id that is asked.
    pub to: BeaconId,
    /// Proof that the initiator receives at its address; all zero if it has none.
    pub cookie: [u8; 16],
    /// Noise message 1.
    pub noise: &'a [u8],
}

/// A frame that is not inside a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearFrame<'a> {
    /// "Somebody is here."
    Beacon(Beacon),
    /// First message of a handshake.
    First(FirstMessage<'a>),
    /// "Say that again with this cookie."
    Cookie {
        /// The initiator's index.
        receiver: u32,
        /// To be repeated in the first message.
        cookie: [u8; 16],
    },
    /// Second message of a handshake.
    Second {
        /// The initiator's index.
        receiver: u32,
        /// The responder's index.
        sender: u32,
        /// Noise message 2.
        noise: &'a [u8],
    },
    /// Third message of a handshake.
    Third {
        /// The responder's index.
        receiver: u32,
        /// Noise message 3.
        noise: &'a [u8],
    },
    /// "I do not speak that version, but these."
    Versions {
        /// The initiator's index, or 0 if a beacon is answered.
        receiver: u32,
        /// What the sender speaks.
        versions: Versions,
    },
    /// "I have all the links I want; ask others first."
    Busy {
        /// The initiator's index.
        receiver: u32,
    },
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct BeaconLayout {
    kind: u8,
    version_min: u8,
    version_max: u8,
    links: u8,
    id: [u8; 8],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct FirstLayout {
    kind: u8,
    version: u8,
    links: u8,
    purpose: u8,
    sender: U32,
    from: [u8; 8],
    to: [u8; 8],
    cookie: [u8; 16],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ReplyLayout {
    kind: u8,
    a: u8,
    b: u8,
    c: u8,
    receiver: U32,
}

const KIND_BEACON: u8 = 1;
const KIND_FIRST: u8 = 2;
const KIND_COOKIE: u8 = 3;
const KIND_SECOND: u8 = 4;
const KIND_THIRD: u8 = 5;
const KIND_VERSIONS: u8 = 6;
const KIND_BUSY: u8 = 7;

impl<'a> ClearFrame<'a> {
    /// Parses a frame whose first byte is below `0x80`. Bytes behind a beacon, a cookie, versions or busy are ignored, so
    /// that later versions may add some.
    ///
    /// # Errors
    /// If it is cut short, of an unknown kind, or has a field that cannot be.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, LinkDecodeError> {
        let kind = *bytes.first().ok_or(LinkDecodeError::Short)?;
        match kind {
            KIND_BEACON => decode_beacon(bytes),
            KIND_FIRST => decode_first(bytes),
            KIND_COOKIE..=KIND_BUSY => decode_reply(bytes),
            other => Err(LinkDecodeError::Unknown(other)),
        }
    }

    /// The frame's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Beacon(beacon) => encode_beacon(&beacon),
            Self::First(first) => encode_first(&first),
            Self::Cookie { receiver, cookie } => reply(KIND_COOKIE, [0; 2], receiver, &[&cookie]),
            Self::Second {
                receiver,
                sender,
                noise,
            } => reply(
                KIND_SECOND,
                [0; 2],
                receiver,
                &[&sender.to_be_bytes(), noise],
            ),
            Self::Third { receiver, noise } => reply(KIND_THIRD, [0; 2], receiver, &[noise]),
            Self::Versions { receiver, versions } => {
                reply(KIND_VERSIONS, [versions.min, versions.max], receiver, &[])
            }
            Self::Busy { receiver } => reply(KIND_BUSY, [0; 2], receiver, &[]),
        }
    }
}

fn decode_beacon(bytes: &[u8]) -> Result<ClearFrame<'_>, LinkDecodeError> {
    let (layout, _) = BeaconLayout::ref_from_prefix(bytes).map_err(|_| LinkDecodeError::Short)?;
    Ok(ClearFrame::Beacon(Beacon {
        versions: versions(layout.version_min, layout.version_max)?,
        links: layout.links,
        id: BeaconId(layout.id),
    }))
}

fn encode_beacon(beacon: &Beacon) -> Vec<u8> {
    BeaconLayout {
        kind: KIND_BEACON,
        version_min: beacon.versions.min,
        version_max: beacon.versions.max,
        links: beacon.links,
        id: beacon.id.0,
    }
    .as_bytes()
    .to_vec()
}

fn decode_first(bytes: &[u8]) -> Result<ClearFrame<'_>, LinkDecodeError> {
    let (layout, noise) =
        FirstLayout::ref_from_prefix(bytes).map_err(|_| LinkDecodeError::Short)?;
    Ok(ClearFrame::First(FirstMessage {
        version: layout.version,
        links: layout.links,
        purpose: match layout.purpose {
            0 => Purpose::Ordinary,
            1 => Purpose::Explore,
            _ => return Err(LinkDecodeError::Field),
        },
        sender: index(layout.sender.get())?,
        from: BeaconId(layout.from),
        to: BeaconId(layout.to),
        cookie: layout.cookie,
        noise,
    }))
}

fn encode_first(first: &FirstMessage<'_>) -> Vec<u8> {
    let layout = FirstLayout {
        kind: KIND_FIRST,
        version: first.version,
        links: first.links,
        purpose: match first.purpose {
            Purpose::Ordinary => 0,
            Purpose::Explore => 1,
        },
        sender: U32::new(first.sender),
        from: first.from.0,
        to: first.to.0,
        cookie: first.cookie,
    };
    [layout.as_bytes(), first.noise].concat()
}

fn decode_reply(bytes: &[u8]) -> Result<ClearFrame<'_>, LinkDecodeError> {
    let (layout, rest) = ReplyLayout::ref_from_prefix(bytes).map_err(|_| LinkDecodeError::Short)?;
    let receiver = layout.receiver.get();
    if layout.kind == KIND_VERSIONS {
        let versions = versions(layout.a, layout.b)?;
        return Ok(ClearFrame::Versions { receiver, versions });
    }
    let receiver = index(receiver)?;
    Ok(match layout.kind {
        KIND_COOKIE => ClearFrame::Cookie {
            receiver,
            cookie: *rest.first_chunk().ok_or(LinkDecodeError::Short)?,
        },
        KIND_SECOND => {
            let (sender, noise) = rest.split_first_chunk().ok_or(LinkDecodeError::Short)?;
            ClearFrame::Second {
                receiver,
                sender: index(u32::from_be_bytes(*sender))?,
                noise,
            }
        }
        KIND_THIRD => ClearFrame::Third {
            receiver,
            noise: rest,
        },
        _ => ClearFrame::Busy { receiver },
    })
}

fn reply(kind: u8, [a, b]: [u8; 2], receiver: u32, rest: &[&[u8]]) -> Vec<u8> {
    let layout = ReplyLayout {
        kind,
        a,
        b,
        c: 0,
        receiver: U32::new(receiver),
    };
    let mut bytes = layout.as_bytes().to_vec();
    for part in rest {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn versions(min: u8, max: u8) -> Result<Versions, LinkDecodeError> {
    if min == 0 || max < min {
        return Err(LinkDecodeError::Field);
    }
    Ok(Versions { min, max })
}

fn index(value: u32) -> Result<u32, LinkDecodeError> {
    if value & SESSION_BIT == 0 {
        return Err(LinkDecodeError::Field);
    }
    Ok(value)
}

/// What each side tells the other inside the handshake's sealed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The versions it speaks, to notice if somebody in the middle made the two choose an old one.
    pub versions: Versions,
    /// Whether it prefers AES-256-GCM; both must for it to be used.
    pub prefers_aes: bool,
    /// How many links it has on this radio, this one not counted.
    pub links: u8,
    /// The largest frame its radio takes, in bytes.
    pub frame_bytes: u32,
    /// Its beacon id.
    pub id: BeaconId,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OfferLayout {
    version_min: u8,
    version_max: u8,
    suites: u8,
    links: u8,
    frame_bytes: U32,
    id: [u8; 8],
}

impl Offer {
    /// Bytes of an encoded offer.
    pub const BYTES: usize = 16;

    /// Parses an offer; bytes behind it are ignored.
    ///
    /// # Errors
    /// If it is cut short or has a field that cannot be.
    pub fn decode(bytes: &[u8]) -> Result<Self, LinkDecodeError> {
        let (layout, _) =
            OfferLayout::ref_from_prefix(bytes).map_err(|_| LinkDecodeError::Short)?;
        Ok(Self {
            versions: versions(layout.version_min, layout.version_max)?,
            prefers_aes: layout.suites & 1 != 0,
            links: layout.links,
            frame_bytes: layout.frame_bytes.get(),
            id: BeaconId(layout.id),
        })
    }

    /// The offer's bytes.
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let layout = OfferLayout {
            version_min: self.versions.min,
            version_max: self.versions.max,
            suites: u8::from(self.prefers_aes),
            links: self.links,
            frame_bytes: U32::new(self.frame_bytes),
            id: self.id.0,
        };
        zerocopy::transmute!(layout)
    }
}

/// What has arrived of one control stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamAck {
    /// The first segment still missing.
    pub next: u16,
    /// Bit `i`: segment `next + 1 + i` is there already.
    pub later: u32,
}

/// What a receiver tells the sender about frames that came, and a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledgement {
    /// Low 32 bits of the highest counter received in this session.
    pub highest: u32,
    /// How many frames of this session came, low 16 bits.
    pub received: u16,
    /// Time since the highest counter came, in units of 32 µs; `u16::MAX` means longer.
    pub delay: u16,
    /// How many links the sender has on this radio.
    pub links: u8,
    /// Bit `63 - i`: the counter `highest - 1 - i` has come.
    pub bitmap: Option<u64>,
    /// Streams of which segments came lately.
    pub streams: [Option<StreamAck>; CONTROL_STREAMS],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct AckLayout {
    highest: U32,
    received: U16,
    delay: U16,
    links: u8,
    flags: u8,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct StreamAckLayout {
    next: U16,
    later: U32,
}

const ACK_BITMAP: u8 = 0x10;

impl Acknowledgement {
    /// Parses an acknowledgement; bytes behind it are ignored.
    ///
    /// # Errors
    /// If it is cut short.
    pub fn decode(bytes: &[u8]) -> Result<Self, LinkDecodeError> {
        let (layout, mut rest) =
            AckLayout::ref_from_prefix(bytes).map_err(|_| LinkDecodeError::Short)?;
        let mut bitmap = None;
        if layout.flags & ACK_BITMAP != 0 {
            let (bits, after) = U64::ref_from_prefix(rest).map_err(|_| LinkDecodeError::Short)?;
            bitmap = Some(bits.get());
            rest = after;
        }
        let mut streams = [None; CONTROL_STREAMS];
        for (bit, stream) in (0_u32..).zip(&mut streams) {
            if layout.flags & 1_u8.wrapping_shl(bit) != 0 {
                let (ack, after) =
                    StreamAckLayout::ref_from_prefix(rest).map_err(|_| LinkDecodeError::Short)?;
                *stream = Some(StreamAck {
                    next: ack.next.get(),
                    later: ack.later.get(),
                });
                rest = after;
            }
        }
        Ok(Self {
            highest: layout.highest.get(),
            received: layout.received.get(),
            delay: layout.delay.get(),
            links: layout.links,
            bitmap,
            streams,
        })
    }

    /// The acknowledgement's bytes: 10, and 8 with a bitmap, and 6 for each stream.
    pub fn encode(&self) -> Vec<u8> {
        let mut flags = if self.bitmap.is_some() { ACK_BITMAP } else { 0 };
        for (bit, stream) in (0_u32..).zip(&self.streams) {
            if stream.is_some() {
                flags |= 1_u8.wrapping_shl(bit);
            }
        }
        let layout = AckLayout {
            highest: U32::new(self.highest),
            received: U16::new(self.received),
            delay: U16::new(self.delay),
            links: self.links,
            flags,
        };
        let mut bytes = layout.as_bytes().to_vec();
        if let Some(bits) = self.bitmap {
            bytes.extend_from_slice(&bits.to_be_bytes());
        }
        for stream in self.streams.iter().flatten() {
            bytes.extend_from_slice(&stream.next.to_be_bytes());
            bytes.extend_from_slice(&stream.later.to_be_bytes());
        }
        bytes
    }
}

/// Splits a session frame into its index, counter and sealed part.
///
/// # Errors
/// If it is shorter than [`SESSION_OVERHEAD_BYTES`].
pub fn decode_session_header(frame: &[u8]) -> Result<(u32, u32), LinkDecodeError> {
    if frame.len() < SESSION_OVERHEAD_BYTES {
        return Err(LinkDecodeError::Short);
    }
    let ([i3, i2, i1, i0, c3, c2, c1, c0], _) = frame
        .split_first_chunk::<SESSION_HEADER_BYTES>()
        .ok_or(LinkDecodeError::Short)?;
    Ok((
        u32::from_be_bytes([*i3, *i2, *i1, *i0]),
        u32::from_be_bytes([*c3, *c2, *c1, *c0]),
    ))
}

#[cfg(test)]
mod tests;
