//! Pieces of control messages and of packets that are larger than a frame.

use super::{
    CONTROL_STREAMS, FRAGMENT_HEADER_BYTES, LABELS_RESERVED, LinkDecodeError, SEGMENT_HEADER_BYTES,
};

/// A piece of a control message on one of the link's ordered streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Which stream, below [`CONTROL_STREAMS`].
    pub stream: u8,
    /// Whether a message begins here.
    pub first: bool,
    /// Whether a message ends here.
    pub last: bool,
    /// Its place in the stream.
    pub sequence: u16,
    /// Its part of the message.
    pub bytes: &'a [u8],
}

const SEGMENT_FIRST: u8 = 0x40;
const SEGMENT_LAST: u8 = 0x80;

impl<'a> Segment<'a> {
    /// Takes the next segment off a control frame.
    ///
    /// # Errors
    /// If it is cut short or names no stream.
    pub fn decode(frame: &'a [u8]) -> Result<(Self, &'a [u8]), LinkDecodeError> {
        let ([head, s1, s0, l1, l0], rest) = frame
            .split_first_chunk::<SEGMENT_HEADER_BYTES>()
            .ok_or(LinkDecodeError::Short)?;
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        let (bytes, rest) = rest
            .split_at_checked(length)
            .ok_or(LinkDecodeError::Short)?;
        let stream = head & !(SEGMENT_FIRST | SEGMENT_LAST);
        if usize::from(stream) >= CONTROL_STREAMS {
            return Err(LinkDecodeError::Field);
        }
        let segment = Self {
            stream,
            first: head & SEGMENT_FIRST != 0,
            last: head & SEGMENT_LAST != 0,
            sequence: u16::from_be_bytes([*s1, *s0]),
            bytes,
        };
        Ok((segment, rest))
    }

    /// Puts the segment behind others of a control frame; `bytes` beyond 65,535 are cut off.
    pub fn encode(&self, frame: &mut Vec<u8>) {
        let length = u16::try_from(self.bytes.len()).unwrap_or(u16::MAX);
        let mut head = self.stream;
        if self.first {
            head |= SEGMENT_FIRST;
        }
        if self.last {
            head |= SEGMENT_LAST;
        }
        frame.push(head);
        frame.extend_from_slice(&self.sequence.to_be_bytes());
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(self.bytes.get(..usize::from(length)).unwrap_or_default());
    }
}

/// A piece of a data packet that is larger than the link's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// The packet's number.
    pub packet: u16,
    /// Which piece.
    pub index: u8,
    /// How many pieces; more than `index`.
    pub count: u8,
    /// The packet's label.
    pub label: u32,
    /// The piece.
    pub bytes: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Parses the payload of a fragment frame.
    ///
    /// # Errors
    /// If it is cut short, or its index or label cannot be.
    pub fn decode(frame: &'a [u8]) -> Result<Self, LinkDecodeError> {
        let ([p1, p0, index, count, label @ ..], bytes) = frame
            .split_first_chunk::<FRAGMENT_HEADER_BYTES>()
            .ok_or(LinkDecodeError::Short)?;
        let label = u32::from_be_bytes(*label);
        if index >= count || label < LABELS_RESERVED {
            return Err(LinkDecodeError::Field);
        }
        Ok(Self {
            packet: u16::from_be_bytes([*p1, *p0]),
            index: *index,
            count: *count,
            label,
            bytes,
        })
    }

    /// The payload's first [`FRAGMENT_HEADER_BYTES`] bytes; the piece follows.
    pub fn encode_header(&self) -> [u8; FRAGMENT_HEADER_BYTES] {
        let [p1, p0] = self.packet.to_be_bytes();
        let [l3, l2, l1, l0] = self.label.to_be_bytes();
        [p1, p0, self.index, self.count, l3, l2, l1, l0]
    }
}
