//! Mail whose content comes by another way: what the reader has already is cleared unread, what it is getting is not pulled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_wire::bundle::{BundleHeader, Vaccine};

use super::transfer::Incoming;
use super::{Custody, Learnt, store};

/// Receipts remembered of mail that was never seen here: those of a few hundred carried files; the oldest goes.
const HERE_MAX: usize = 8_192;

/// What is known of mail's content besides the mail itself.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// Receipts of what is here, by commitment.
    here: BTreeMap<[u8; 32], [u8; 32]>,
    /// The same commitments, in the order in which they were told.
    order: VecDeque<[u8; 32]>,
    /// Commitments of what is on its way.
    coming: BTreeSet<[u8; 32]>,
}

impl Elsewhere {
    pub(super) fn is_coming(&self, header: &BundleHeader) -> bool {
        self.coming.contains(&header.commitment)
    }
}

impl Custody {
    /// Remembers a receipt of mail that may still come by, and clears it where it is offered already.
    pub(super) fn note_here(&mut self, receipt: [u8; 32]) {
        let commitment = store::commitment_of(&receipt);
        if self.elsewhere.here.insert(commitment, receipt).is_none() {
            self.elsewhere.order.push_back(commitment);
        }
        if self.elsewhere.order.len() > HERE_MAX
            && let Some(oldest) = self.elsewhere.order.pop_front()
        {
            self.elsewhere.here.remove(&oldest);
        }
        let incoming = self.incoming.values().map(|one| one.header);
        let offers = self.peers.values().flat_map(|peer| peer.offers.values());
        let offered: Vec<_> = incoming
            .chain(offers.map(|(header, _)| *header))
            .filter(|header| header.commitment == commitment)
            .collect();
        for header in offered {
            self.clear_unread(&header);
        }
    }

    /// Clears mail that is offered to its reader, who has its content already; false if it has not.
    pub(super) fn clear_unread(&mut self, header: &BundleHeader) -> bool {
        let Some(receipt) = self.elsewhere.here.get(&header.commitment).copied() else {
            return false;
        };
        let vaccine = Vaccine {
            core: store::core_of(header),
            receipt,
            expires: header.expires,
            life_secs: header.life_secs,
        };
        self.apply_vaccine(&vaccine, None, Learnt::Here);
        let id = store::id_of(header);
        for peer in self.peers.values_mut() {
            peer.offers.retain(|(_, offered), _| *offered != id);
        }
        true
    }

    /// From now on exactly these are not pulled; what of them is being pulled waits.
    pub(super) fn note_coming(&mut self, commitments: Vec<[u8; 32]>) {
        self.elsewhere.coming = commitments.into_iter().collect();
        let paused: Vec<_> = self
            .incoming
            .iter()
            .filter(|(_, one)| self.elsewhere.is_coming(&one.header))
            .filter_map(|(id, one)| Some((*id, one.peer?)))
            .collect();
        for (id, from) in paused {
            let Some(one) = self.incoming.get_mut(&id) else {
                continue;
            };
            let Incoming {
                header, lifetime, ..
            } = *one;
            one.peer = None;
            if let Some(peer) = self.peers.get_mut(&from) {
                peer.offers
                    .insert((header.priority, id), (header, lifetime));
            }
        }
    }
}
