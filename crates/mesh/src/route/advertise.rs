//! What neighbours are told, packed into as few and small messages as possible.

use smartmesh_types::{Instant, NeighbourId, Tag};
use smartmesh_wire::route::{
    RouteSection, SECTION_HEADER_BYTES, SeqnoRequest, UPDATE_BYTES_MAX, Update, encode_route_body,
};

use super::neighbour::{Neighbour, bit};
use super::table::{Best, Dest, Selected, Slot};
use super::{RouteOutput, Routes};

/// Bytes of a body at most, so that it fits one frame of a 1,280-byte link with all headers.
const BODY_BYTES: usize = 1_100;
/// Bytes of the longest request or retraction.
const ENTRY_BYTES: usize = 14;

impl Routes {
    /// Sends the neighbour everything that is due for it.
    pub(super) fn flush(&mut self, slot: Slot, now: Instant) {
        let epoch = self.epochs.current;
        let digest_every = self.config.digest_every;
        let Some(neighbour) = self.neighbours.at_mut(slot) else {
            return;
        };
        let id = neighbour.id;
        neighbour.flush_at = Instant::NEVER;
        let pending = std::mem::take(&mut neighbour.pending);
        let requests = std::mem::take(&mut neighbour.requests);
        let full = std::mem::take(&mut neighbour.full_due);
        let resync = take_resync(neighbour, now);
        let digest = neighbour.digest_at <= now;
        if digest {
            neighbour.digest_at = now + digest_every;
        }
        let tell_epoch = full || neighbour.epoch < epoch;
        neighbour.epoch = neighbour.epoch.max(epoch);

        let mut packer = Packer::default();
        if tell_epoch {
            packer.push(RouteSection::Epoch(epoch), 8);
        }
        if full {
            self.pack_full(slot, &mut packer);
        } else {
            self.pack_changes(slot, &pending, &mut packer);
        }
        requests
            .into_iter()
            .for_each(|request| packer.push_request(request));
        if resync {
            packer.push(RouteSection::Resync, 0);
        }
        if digest {
            let (digest, count) = self.digest_sent(slot);
            packer.push(RouteSection::Digest { digest, count }, 6);
        }
        for body in packer.finish() {
            self.send(id, &body);
        }
        for tag in pending {
            self.bury(tag, now);
        }
    }

    pub(super) fn send(&mut self, to: NeighbourId, sections: &[RouteSection]) {
        let body = encode_route_body(sections);
        let bytes = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.counters.messages_sent = self.counters.messages_sent.saturating_add(1);
        self.counters.bytes_sent = self.counters.bytes_sent.saturating_add(bytes);
        self.out.push_back(RouteOutput::Send { to, body });
    }

    fn pack_full(&mut self, slot: Slot, packer: &mut Packer) {
        packer.push(RouteSection::FullStart, 0);
        for (tag, dest) in &mut self.dests {
            dest.dirty &= !bit(slot);
            dest.holds &= !bit(slot);
            if is_told(dest, slot, self.config.hops_max) {
                dest.holds |= bit(slot);
                dest.note_advertised();
                packer.push_update(update_of(*tag, &dest.selected));
            }
        }
        packer.push(RouteSection::FullEnd, 0);
    }

    /// Retractions first: they free the neighbour from what is wrong before it learns what is new.
    fn pack_changes(&mut self, slot: Slot, pending: &[Tag], packer: &mut Packer) {
        let mut updates = Vec::new();
        for tag in pending {
            let Some(dest) = self.dests.get_mut(tag) else {
                continue;
            };
            if dest.dirty & bit(slot) == 0 {
                continue;
            }
            dest.dirty &= !bit(slot);
            if is_told(dest, slot, self.config.hops_max) {
                dest.holds |= bit(slot);
                dest.note_advertised();
                updates.push(update_of(*tag, &dest.selected));
            } else if dest.holds & bit(slot) != 0 {
                dest.holds &= !bit(slot);
                packer.push_retraction(*tag);
            }
        }
        updates
            .into_iter()
            .for_each(|update| packer.push_update(update));
    }

    /// Digest of what the neighbour holds from this node; nothing is pending for it when this is asked.
    fn digest_sent(&self, slot: Slot) -> (u32, u16) {
        digest_of(
            self.dests
                .iter()
                .filter(|(_, dest)| dest.holds & bit(slot) != 0)
                .map(|(tag, dest)| update_of(*tag, &dest.selected)),
        )
    }

    /// Digest of what this node holds from the neighbour.
    pub(super) fn digest_held(&self, slot: Slot) -> (u32, u16) {
        digest_of(self.dests.iter().filter_map(|(tag, dest)| {
            let offer = dest.offer(slot)?;
            Some(Update {
                tag: *tag,
                seqno: offer.seqno,
                hops: offer.hops,
                metric: offer.metric,
            })
        }))
    }
}

/// Whether the neighbour is to hold an advertisement of this destination: not if the route leads over it (split horizon),
/// not if it is the destination itself, not if the hop limit ends here.
fn is_told(dest: &Dest, slot: Slot, hops_max: u8) -> bool {
    let reachable = match dest.selected.best {
        Best::Nowhere => false,
        Best::Here => true,
        Best::Via(next) => next != slot && dest.selected.hops < hops_max,
    };
    reachable && dest.offer(slot).is_none_or(|offer| offer.hops > 0)
}

fn update_of(tag: Tag, selected: &Selected) -> Update {
    Update {
        tag,
        seqno: selected.seqno,
        hops: selected.hops,
        metric: selected.metric,
    }
}

fn take_resync(neighbour: &mut Neighbour, now: Instant) -> bool {
    let due = neighbour.resync_due && neighbour.resync_from <= now;
    if due {
        neighbour.resync_due = false;
        neighbour.partial = false;
        neighbour.resync_from = now + super::receive::RESYNC_EVERY;
    }
    due
}

/// XOR of a hash of each route, so that order does not matter. Against accidents only: a neighbour that lies in it harms
/// what it advertises itself.
fn digest_of(updates: impl Iterator<Item = Update>) -> (u32, u16) {
    updates.fold((0, 0_u16), |(digest, count), update| {
        let route = u64::from(update.seqno) | u64::from(update.metric).wrapping_shl(32);
        let tag = u64::from_be_bytes(update.tag.0) ^ u64::from(update.hops);
        let mixed = mix(tag ^ mix(route));
        let [a, b, c, d, ..] = mixed.to_be_bytes();
        (
            digest ^ u32::from_be_bytes([a, b, c, d]),
            count.saturating_add(1),
        )
    })
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z.wrapping_shr(30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z.wrapping_shr(27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z.wrapping_shr(31)
}

/// Fills bodies up to their size; entries of one kind that follow each other share a section.
#[derive(Default)]
struct Packer {
    done: Vec<Vec<RouteSection>>,
    current: Vec<RouteSection>,
    bytes: usize,
}

impl Packer {
    fn room(&mut self, bytes: usize) {
        if self.bytes.saturating_add(bytes) > BODY_BYTES {
            self.done.push(std::mem::take(&mut self.current));
            self.bytes = 0;
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn push(&mut self, section: RouteSection, content_bytes: usize) {
        self.room(content_bytes.saturating_add(SECTION_HEADER_BYTES));
        self.current.push(section);
    }

    fn push_update(&mut self, update: Update) {
        self.room(UPDATE_BYTES_MAX);
        if let Some(RouteSection::Updates(updates)) = self.current.last_mut() {
            updates.push(update);
        } else {
            self.push(RouteSection::Updates(vec![update]), 0);
        }
    }

    fn push_retraction(&mut self, tag: Tag) {
        self.room(ENTRY_BYTES);
        if let Some(RouteSection::Retractions(tags)) = self.current.last_mut() {
            tags.push(tag);
        } else {
            self.push(RouteSection::Retractions(vec![tag]), 0);
        }
    }

    fn push_request(&mut self, request: SeqnoRequest) {
        self.room(ENTRY_BYTES);
        if let Some(RouteSection::Requests(requests)) = self.current.last_mut() {
            requests.push(request);
        } else {
            self.push(RouteSection::Requests(vec![request]), 0);
        }
    }

    fn finish(mut self) -> Vec<Vec<RouteSection>> {
        if !self.current.is_empty() {
            self.done.push(self.current);
        }
        self.done
    }
}
