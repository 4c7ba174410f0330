//! What gossip tells readers in the zone, and what it tells us.

use smartmesh_types::{Duration, Instant};
use smartmesh_wire::bundle::{MailOffer, OfferEntry};

use super::{Custody, CustodyError, CustodyOutput, store};

/// Vaccines in one mail ack: what fits a gossip payload of 1,024 bytes.
const ACKS_MAX: usize = 13;
/// Entries in one mail offer: the same, beside a tag of 32 bytes.
const OFFERS_MAX: usize = 30;
/// Bundles wanted from carriers known by gossip; beyond, offers are not followed until some have come.
const WANTED_MAX: usize = 256;
/// How long an announced bundle is wanted if nobody announces it again.
const WANTED_FOR: Duration = Duration::from_secs(600);

impl Custody {
    pub(super) fn handle_offer_heard(&mut self, payload: &[u8]) -> Result<(), CustodyError> {
        let offer = MailOffer::decode(payload)?;
        let Some(local) = self.local else {
            return Ok(());
        };
        let is_ours = |entry: &&OfferEntry| entry.hint == store::hint_for(local, &entry.nonce);
        let now = self.now.instant;
        let interval = self.config.gossip_interval;
        self.wanted.retain(|_, at| now < *at + WANTED_FOR);
        let mut any = false;
        for entry in offer.entries.iter().filter(is_ours) {
            if self.store.knows_short(entry.id) {
                continue;
            }
            if self.wanted.len() >= WANTED_MAX && !self.wanted.contains_key(&entry.id) {
                self.counters.queue_full = self.counters.queue_full.saturating_add(1);
                continue;
            }
            any = true;
            self.wanted.insert(entry.id, now);
        }
        self.wishes.retain(|_, at| now < *at + interval);
        if any && !self.wishes.contains_key(&offer.tag) && self.wishes.len() < WANTED_MAX {
            self.wishes.insert(offer.tag.clone(), now);
            self.outputs
                .push_back(CustodyOutput::Wanted { tag: offer.tag });
        }
        Ok(())
    }

    /// Announces held mail to readers in the zone, some at a time in turn.
    pub(super) fn publish_offer(&mut self) {
        let after = self.offered_to.take();
        let rest = self
            .store
            .held
            .iter()
            .filter(|(id, _)| after.is_none_or(|after| **id > after));
        let entries: Vec<_> = rest
            .take(OFFERS_MAX)
            .map(|(id, held)| {
                (
                    *id,
                    OfferEntry {
                        nonce: held.header.nonce,
                        hint: held.header.hint,
                        id: id.short(),
                    },
                )
            })
            .collect();
        self.offered_to = entries
            .last()
            .map(|(id, _)| *id)
            .filter(|_| entries.len() == OFFERS_MAX);
        self.offer_at = if self.store.held.is_empty() {
            Instant::NEVER
        } else {
            self.now.instant + self.config.sweep_interval
        };
        if !entries.is_empty() && !self.tag.is_empty() {
            let offer = MailOffer {
                tag: self.tag.clone(),
                entries: entries.into_iter().map(|(_, entry)| entry).collect(),
            };
            self.outputs.push_back(CustodyOutput::PublishOffer {
                payload: offer.encode(),
            });
        }
    }

    pub(super) fn publish_acks(&mut self) {
        let count = self.acks.len().min(ACKS_MAX);
        let payload: Vec<u8> = self
            .acks
            .drain(..count)
            .flat_map(|vaccine| vaccine.encode())
            .collect();
        let now = self.now.instant;
        self.acked_at = Some(now);
        self.acks_at = if self.acks.is_empty() {
            Instant::NEVER
        } else {
            now + self.config.gossip_interval
        };
        if !payload.is_empty() {
            self.outputs
                .push_back(CustodyOutput::PublishAcks { payload });
        }
    }
}
