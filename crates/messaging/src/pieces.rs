//! Objects in pieces: what one packet of a flow does not hold goes in several.
//!
//! The pieces of the same bytes have the same transfer name, so a retransmission fills the gaps of the first attempt.

use std::collections::BTreeMap;

use smartmesh_crypto::sha256;
use smartmesh_types::{Address, Duration, Instant};
use smartmesh_wire::message::{
    MessageError, PIECE_HEADER_BYTES, PIECES_MAX, Piece, SEALED_BYTES_MAX,
};

/// The most objects half received from one person; the oldest makes room.
const PER_PERSON_MAX: usize = 8;
/// The most objects half received from all people together; the oldest makes room. With the longest objects 8 MiB.
const TOTAL_MAX: usize = 256;
/// A half received object is dropped after this long: twice the slowest retransmission.
const AGE_MAX: Duration = Duration::from_secs(120);
/// The largest object: a sealed message behind its kind's byte.
const OBJECT_BYTES_MAX: usize = SEALED_BYTES_MAX + 1;

/// Cuts an object into payloads of at most `payload_bytes`.
///
/// Returns nothing if the packets are too small to hold it in [`PIECES_MAX`] pieces.
pub(crate) fn cut(object: &[u8], payload_bytes: usize) -> Vec<Vec<u8>> {
    let room = payload_bytes.saturating_sub(PIECE_HEADER_BYTES);
    if room == 0 || object.is_empty() {
        return Vec::new();
    }
    let Ok(count) = u16::try_from(object.len().div_ceil(room)) else {
        return Vec::new();
    };
    if count > PIECES_MAX {
        return Vec::new();
    }
    let [a, b, c, d, e, f, g, h, ..] = sha256(&[object]);
    let transfer = [a, b, c, d, e, f, g, h];
    (0_u16..)
        .zip(object.chunks(room))
        .map(|(index, bytes)| {
            Piece {
                transfer,
                index,
                count,
                bytes,
            }
            .encode()
        })
        .collect()
}

/// Objects half received.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    partial: BTreeMap<(Address, [u8; 8]), Partial>,
}

#[derive(Debug)]
struct Partial {
    since: Instant,
    count: u16,
    bytes: usize,
    have: BTreeMap<u16, Vec<u8>>,
}

impl Pieces {
    /// Takes one packet and returns the object if it is complete.
    ///
    /// # Errors
    /// If it is malformed, contradicts the pieces before it, or would make an object too large.
    pub(crate) fn take(
        &mut self,
        from: Address,
        payload: &[u8],
        now: Instant,
    ) -> Result<Option<Vec<u8>>, MessageError> {
        let piece = Piece::decode(payload)?;
        if piece.count == 1 {
            return Ok(Some(piece.bytes.to_vec()));
        }
        let key = (from, piece.transfer);
        if !self.partial.contains_key(&key) {
            self.make_room(from, now);
        }
        let partial = self.partial.entry(key).or_insert_with(|| Partial {
            since: now,
            count: piece.count,
            bytes: 0,
            have: BTreeMap::new(),
        });
        if partial.count != piece.count {
            // The path has other packets than before: the cut is different. The newer attempt is the one that goes on.
            *partial = Partial {
                since: now,
                count: piece.count,
                bytes: 0,
                have: BTreeMap::new(),
            };
        }
        if partial.have.contains_key(&piece.index) {
            return Ok(None);
        }
        let bytes = partial.bytes.saturating_add(piece.bytes.len());
        if bytes > OBJECT_BYTES_MAX {
            self.partial.remove(&key);
            return Err(MessageError::Length(bytes));
        }
        partial.bytes = bytes;
        partial.have.insert(piece.index, piece.bytes.to_vec());
        if partial.have.len() < usize::from(partial.count) {
            return Ok(None);
        }
        let whole = self.partial.remove(&key).map(|partial| partial.have);
        let object: Vec<u8> = whole
            .into_iter()
            .flatten()
            .flat_map(|(_, bytes)| bytes)
            .collect();
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[&object]);
        if piece.transfer != [a, b, c, d, e, f, g, h] {
            return Err(MessageError::Field);
        }
        Ok(Some(object))
    }

    fn make_room(&mut self, from: Address, now: Instant) {
        self.partial
            .retain(|_, partial| now.since(partial.since) < AGE_MAX);
        let of_person = self.partial.keys().filter(|key| key.0 == from).count();
        let oldest = if of_person >= PER_PERSON_MAX {
            let own = self.partial.iter().filter(|(key, _)| key.0 == from);
            own.min_by_key(|(_, partial)| partial.since)
                .map(|(key, _)| *key)
        } else if self.partial.len() >= TOTAL_MAX {
            let all = self.partial.iter();
            all.min_by_key(|(_, partial)| partial.since)
                .map(|(key, _)| *key)
        } else {
            None
        };
        if let Some(key) = oldest {
            self.partial.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn person(byte: u8) -> Address {
        Address::from_key_hash([byte; 13])
    }

    proptest! {
        #[test]
        fn pieces_join_in_any_order_over_two_lossy_attempts(
            object in proptest::collection::vec(any::<u8>(), 1..3_000),
            payload_bytes in 60_usize..1_300,
            lost in any::<proptest::sample::Index>(),
        ) {
            let pieces = cut(&object, payload_bytes);
            prop_assert!(pieces.iter().all(|piece| piece.len() <= payload_bytes));
            let lost = lost.index(pieces.len());
            let (mut joined, mut done) = (Pieces::default(), None);
            let first = pieces.iter().enumerate().rev().filter(|(index, _)| *index != lost);
            for (_, piece) in first.chain(pieces.iter().enumerate()) {
                done = done.or(joined.take(person(1), piece, Instant::ZERO).unwrap());
            }
            prop_assert_eq!(done, Some(object));
        }

        #[test]
        fn arbitrary_packets_cause_errors_only(packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut pieces = Pieces::default();
            for packet in packets {
                let _ = pieces.take(person(1), &packet, Instant::ZERO);
            }
            prop_assert!(pieces.partial.len() <= PER_PERSON_MAX);
        }
    }

    #[test]
    fn half_received_objects_are_bounded() {
        let mut pieces = Pieces::default();
        for n in 0..=255 {
            for m in 0..20 {
                let first = &cut(&[n, m, 1, 2, 3, 4], PIECE_HEADER_BYTES + 3)[0];
                assert_eq!(pieces.take(person(n), first, Instant::ZERO), Ok(None));
            }
        }
        assert!(pieces.partial.len() <= TOTAL_MAX);
        let later = Instant::ZERO + AGE_MAX;
        pieces
            .take(person(0), &cut(&[0; 30], 30)[0], later)
            .unwrap();
        assert_eq!(pieces.partial.len(), 1);
    }

    #[test]
    fn a_longer_object_than_any_is_dropped() {
        let mut pieces = Pieces::default();
        let piece = |index| {
            Piece {
                transfer: [1; 8],
                index,
                count: 3,
                bytes: &[0; 20_000],
            }
            .encode()
        };
        assert_eq!(pieces.take(person(1), &piece(0), Instant::ZERO), Ok(None));
        assert_eq!(
            pieces.take(person(1), &piece(1), Instant::ZERO),
            Err(MessageError::Length(40_000))
        );
        assert!(cut(&[0; 40_000], 20).is_empty());
        assert!(cut(&[0; 40], 12).is_empty());
    }
}
