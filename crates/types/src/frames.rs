//! What passes between a radio and the cores: trains of frames, and what a radio says of itself.

use crate::LinkAddr;

/// One or more frames of equal size back to back (the last may be shorter), to or from one place: what segmentation
/// offload hands over in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Train {
    /// All frames, one behind the other.
    pub bytes: Vec<u8>,
    /// Bytes of each frame but the last; never 0.
    pub segment_bytes: usize,
}

impl Train {
    /// A train of one frame.
    pub fn single(bytes: Vec<u8>) -> Self {
        let segment_bytes = bytes.len().max(1);
        Self {
            bytes,
            segment_bytes,
        }
    }

    /// The frames, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks(self.segment_bytes.max(1))
    }
}

/// Where a train goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// To everybody in reach of the radio.
    Broadcast,
    /// To one place.
    Peer(LinkAddr),
}

/// What a radio offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioInfo {
    /// Largest frame in bytes, from [`crate::FRAME_BYTES_MIN`] to [`crate::FRAME_BYTES_MAX`].
    pub frame_bytes: usize,
    /// Nominal rate in bits per second, shared by all in reach where the medium is shared.
    pub bits_per_second: u64,
    /// Whether [`Destination::Broadcast`] reaches anybody.
    pub broadcast: Broadcast,
    /// Peers to greet although no broadcast reaches them (configured by the user).
    pub peers: Vec<LinkAddr>,
}

/// Whether a radio can speak to all in reach at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broadcast {
    /// One frame reaches everybody in reach.
    Yes,
    /// Only single peers can be addressed.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_splits_into_its_frames() {
        let train = Train {
            bytes: vec![1, 2, 3, 4, 5],
            segment_bytes: 2,
        };
        assert_eq!(
            train.frames().collect::<Vec<_>>(),
            [&[1, 2][..], &[3, 4], &[5]]
        );
        assert_eq!(Train::single(vec![9; 4]).frames().count(), 1);
    }
}
