//! Putting packets together again that were larger than the link's frame.

use std::collections::BTreeMap;

use smartmesh_types::{Duration, Instant};
use smartmesh_wire::link::Fragment;

/// Packets of one neighbour being put together at a time; the oldest goes when one more begins.
const PACKETS_MAX: usize = 16;
/// Bytes of all their pieces; beyond it new pieces are dropped.
const BYTES_MAX: usize = 256 * 1024;
/// How long a packet may stay incomplete.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Partial {
    label: u32,
    count: u8,
    pieces: BTreeMap<u8, Vec<u8>>,
    begun_at: Instant,
}

/// Packets of one neighbour whose pieces are not all there.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    partial: BTreeMap<u16, Partial>,
    bytes: usize,
}

/// What became of a fragment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Joined {
    /// Kept until the rest comes.
    Kept,
    /// The last missing piece: label and packet.
    Whole(u32, Vec<u8>),
    /// No room, or at odds with the pieces already there.
    Refused,
}

impl Reassembly {
    pub(super) fn handle(&mut self, fragment: &Fragment<'_>, now: Instant) -> Joined {
        self.expire(now);
        if self.bytes.saturating_add(fragment.bytes.len()) > BYTES_MAX {
            return Joined::Refused;
        }
        if !self.partial.contains_key(&fragment.packet) && self.partial.len() >= PACKETS_MAX {
            let oldest = self.partial.iter().min_by_key(|(_, p)| p.begun_at);
            if let Some(packet) = oldest.map(|(packet, _)| *packet) {
                self.remove(packet);
            }
        }
        let partial = self
            .partial
            .entry(fragment.packet)
            .or_insert_with(|| Partial {
                label: fragment.label,
                count: fragment.count,
                pieces: BTreeMap::new(),
                begun_at: now,
            });
        if (partial.label, partial.count) != (fragment.label, fragment.count) {
            return Joined::Refused;
        }
        let old = partial
            .pieces
            .insert(fragment.index, fragment.bytes.to_vec());
        self.bytes = self
            .bytes
            .saturating_add(fragment.bytes.len())
            .saturating_sub(old.map_or(0, |piece| piece.len()));
        if partial.pieces.len() < usize::from(partial.count) {
            return Joined::Kept;
        }
        let label = partial.label;
        let whole = self.remove(fragment.packet);
        Joined::Whole(label, whole)
    }

    fn expire(&mut self, now: Instant) {
        while let Some((packet, partial)) = self.partial.iter().min_by_key(|(_, p)| p.begun_at) {
            if now.since(partial.begun_at) <= PATIENCE {
                break;
            }
            let packet = *packet;
            self.remove(packet);
        }
    }

    fn remove(&mut self, packet: u16) -> Vec<u8> {
        let Some(partial) = self.partial.remove(&packet) else {
            return Vec::new();
        };
        let mut whole = Vec::new();
        for piece in partial.pieces.values() {
            whole.extend_from_slice(piece);
        }
        self.bytes = self.bytes.saturating_sub(whole.len());
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(packet: u16, index: u8, count: u8, bytes: &[u8]) -> Fragment<'_> {
        Fragment {
            packet,
            index,
            count,
            label: 99,
            bytes,
        }
    }

    #[test]
    fn pieces_in_any_order_make_the_packet() {
        let mut reassembly = Reassembly::default();
        let now = Instant::ZERO;
        assert_eq!(
            reassembly.handle(&fragment(1, 2, 3, b"c"), now),
            Joined::Kept
        );
        assert_eq!(
            reassembly.handle(&fragment(1, 0, 3, b"a"), now),
            Joined::Kept
        );
        assert_eq!(
            reassembly.handle(&fragment(1, 0, 3, b"a"), now),
            Joined::Kept
        );
        assert_eq!(
            reassembly.handle(&fragment(1, 1, 3, b"b"), now),
            Joined::Whole(99, b"abc".to_vec())
        );
        assert_eq!(reassembly.bytes, 0);
    }

    #[test]
    fn room_and_time_are_bounded() {
        let mut reassembly = Reassembly::default();
        let big = vec![0; 20_000];
        for packet in 0..100 {
            reassembly.handle(&fragment(packet, 0, 2, &big), Instant::ZERO);
            assert!(reassembly.bytes <= BYTES_MAX && reassembly.partial.len() <= PACKETS_MAX);
        }
        reassembly.handle(&fragment(500, 0, 2, b"x"), Instant::from_millis(2_001));
        assert_eq!((reassembly.bytes, reassembly.partial.len()), (1, 1));
        assert_eq!(
            reassembly.handle(&fragment(500, 1, 3, b"x"), Instant::from_millis(2_001)),
            Joined::Refused
        );
    }
}
