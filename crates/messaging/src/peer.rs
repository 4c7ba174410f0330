//! People: who they are, their keys, and the ratchet sessions with them.

use std::collections::BTreeMap;

use smartmesh_crypto::RatchetSession;
use smartmesh_types::{Address, Duration, Instant, MessageId, NodeKey, UnixTime};
use smartmesh_wire::invite::PrekeyBundle;

use crate::border::Standing;

/// The most sessions kept with one person. A sender takes a new one for each 32 letters that nobody acknowledges, so this
/// is what a full queue of one person needs.
pub(crate) const SESSIONS_MAX: usize = 8;

/// What is known of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) standing: Standing,
    /// The local name.
    pub(crate) name: String,
    /// The name they proposed.
    pub(crate) proposed: String,
    /// Whether the user has compared the safety phrase.
    pub(crate) verified: bool,
    pub(crate) key: Option<NodeKey>,
    pub(crate) keys: Option<PeerKeys>,
    /// Orders people by when they became known.
    pub(crate) serial: u64,
}

/// A person's verified keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerKeys {
    pub(crate) seal_key: [u8; 32],
    pub(crate) ratchet_key: [u8; 32],
    pub(crate) fallback: [u8; 32],
    pub(crate) one_time: Vec<[u8; 32]>,
    /// When the prekeys end; of two bundles the one that ends later is the newer.
    pub(crate) expires: UnixTime,
}

impl PeerKeys {
    pub(crate) fn of(bundle: &PrekeyBundle) -> Self {
        Self {
            seal_key: bundle.seal_key,
            ratchet_key: bundle.ratchet_key,
            fallback: bundle.fallback,
            one_time: bundle.one_time.clone(),
            expires: bundle.expires,
        }
    }
}

/// One ratchet session.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: [u8; 32],
    pub(crate) session: RatchetSession,
    /// Orders the sessions: the last one that a message came through, or that was started, is the one to send with.
    pub(crate) used: u64,
}

/// A person with everything that is under way.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) contact: Contact,
    /// In order of `used`; at most [`SESSIONS_MAX`].
    pub(crate) sessions: Vec<Slot>,
    /// Acknowledgements not sent yet.
    pub(crate) unsent_receipts: Vec<MessageId>,
    /// The last sign that the path works, or that it came up.
    pub(crate) progress_at: Instant,
    /// Messages sent over the path and not acknowledged.
    pub(crate) in_flight: usize,
    pub(crate) path_retry: Duration,
    pub(crate) path_asked_at: Option<Instant>,
    pub(crate) renewal: Renewal,
}

/// Whether a new session is needed because something of theirs could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Renewal {
    /// Fresh prekeys are awaited for it.
    pub(crate) wanted: Wanted,
    /// Not before then, so that nobody makes us renew in a loop.
    pub(crate) not_before: Instant,
    /// The distance to the next one; doubles.
    pub(crate) pause: Duration,
}

/// Whether something is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Yes,
    No,
}

/// The first distance between two renewals with one person, and the longest.
pub(crate) const RENEWAL_PAUSE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(3_600));

impl Peer {
    pub(crate) fn new(contact: Contact, path_retry: Duration) -> Self {
        Self {
            contact,
            sessions: Vec::new(),
            unsent_receipts: Vec::new(),
            progress_at: Instant::ZERO,
            in_flight: 0,
            path_retry,
            path_asked_at: None,
            renewal: Renewal {
                wanted: Wanted::No,
                not_before: Instant::ZERO,
                pause: RENEWAL_PAUSE.0,
            },
        }
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.contact.standing == Standing::Blocked
    }

    /// Whether a message could be sealed now.
    pub(crate) fn has_keys(&self, now: UnixTime) -> bool {
        self.contact
            .keys
            .as_ref()
            .is_some_and(|keys| !self.sessions.is_empty() || keys.expires > now)
    }
}

/// Everybody, findable by address and by sealing key.
#[derive(Debug, Default)]
pub(crate) struct People {
    pub(crate) by_address: BTreeMap<Address, Peer>,
    by_seal_key: BTreeMap<[u8; 32], Address>,
}

impl People {
    pub(crate) fn find(&self, address: &Address) -> Option<&Peer> {
        self.by_address.get(address)
    }

    pub(crate) fn find_mut(&mut self, address: &Address) -> Option<&mut Peer> {
        self.by_address.get_mut(address)
    }

    pub(crate) fn by_seal_key(&self, key: &[u8; 32]) -> Option<Address> {
        self.by_seal_key.get(key).copied()
    }

    pub(crate) fn insert(&mut self, address: Address, peer: Peer) {
        if let Some(keys) = &peer.contact.keys {
            self.by_seal_key.insert(keys.seal_key, address);
        }
        self.by_address.insert(address, peer);
    }

    pub(crate) fn remove(&mut self, address: &Address) -> Option<Peer> {
        let peer = self.by_address.remove(address)?;
        if let Some(keys) = &peer.contact.keys {
            self.by_seal_key.remove(&keys.seal_key);
        }
        Some(peer)
    }

    /// Replaces a person's keys.
    pub(crate) fn apply_keys(&mut self, address: &Address, key: NodeKey, keys: PeerKeys) {
        let Some(peer) = self.by_address.get_mut(address) else {
            return;
        };
        if let Some(old) = &peer.contact.keys {
            self.by_seal_key.remove(&old.seal_key);
        }
        self.by_seal_key.insert(keys.seal_key, *address);
        peer.contact.key = Some(key);
        peer.contact.keys = Some(keys);
    }

    /// The stranger known for the longest time.
    pub(crate) fn oldest_stranger(&self) -> Option<Address> {
        self.by_address
            .iter()
            .filter(|(_, peer)| peer.contact.standing == Standing::Stranger)
            .min_by_key(|(_, peer)| peer.contact.serial)
            .map(|(address, _)| *address)
    }

    pub(crate) fn count(&self, standing: Standing) -> usize {
        self.by_address
            .values()
            .filter(|peer| peer.contact.standing == standing)
            .count()
    }
}
