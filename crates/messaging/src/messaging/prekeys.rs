//! Keys of others and our own: requests, answers, gossip, and new sessions where an old one was lost.

use smartmesh_crypto::address_of;
use smartmesh_types::{Address, Duration};
use smartmesh_wire::invite::PrekeyBundle;
use smartmesh_wire::message::{Content, Object};

use super::Messaging;
use crate::border::{Event, Output};
use crate::keys::{OneTime, Rotated, verify_bundle};
use crate::peer::{PeerKeys, RENEWAL_PAUSE, Wanted};
use crate::records;
use crate::timers::{Timer, longer};

/// People near whose prekeys are kept although they are no contacts; the one that ends first makes room.
const HEARD_MAX: usize = 64;
/// One person gets at most one one-time prekey in this time, so that nobody uses them up for others.
const GIVE_EVERY: Duration = Duration::from_secs(600);

impl Messaging {
    /// Gets somebody's keys: from what was heard, over the path, or by asking for a path.
    pub(super) fn seek_keys(&mut self, to: Address) {
        if let Some(bundle) = self.heard.remove(&to)
            && bundle.expires > self.now.unix
        {
            self.learn_keys(to, &bundle);
            return;
        }
        if !self.paths.contains_key(&to) {
            self.seek_path(to);
            return;
        }
        if self.timers.is_set(Timer::Path(to)) {
            return;
        }
        let Some(peer) = self.people.find_mut(&to) else {
            return;
        };
        let at = self.now.instant + peer.path_retry;
        peer.path_retry = longer(peer.path_retry, self.config.retry_max);
        self.timers.set(Timer::Path(to), at);
        self.send_over_path(to, &Object::PrekeyRequest);
    }

    /// Answers a request with a fresh bundle.
    pub(super) fn handle_prekey_request(&mut self, from: Address) {
        let now = self.now.instant;
        let mut one_time = OneTime::One;
        let recent = self.prekeys_given.get(&from);
        if recent.is_some_and(|at| now < *at + GIVE_EVERY) {
            self.counters.prekeys_refused = self.counters.prekeys_refused.saturating_add(1);
            one_time = OneTime::None;
        } else {
            self.prekeys_given.retain(|_, at| now < *at + GIVE_EVERY);
            if self.prekeys_given.len() >= super::PATHS_MAX {
                one_time = OneTime::None;
            } else {
                self.prekeys_given.insert(from, now);
            }
        }
        let name = self.shown.clone().unwrap_or_default();
        let bundle = self
            .own
            .bundle(&self.identity, &name, one_time)
            .and_then(|bundle| bundle.encode());
        if one_time == OneTime::One {
            self.persist(records::account(&self.own));
        }
        if let Ok(bytes) = bundle {
            self.send_over_path(from, &Object::Prekeys(bytes));
        }
    }

    /// Takes the answer to a request.
    pub(super) fn handle_prekeys(&mut self, from: Address, bytes: &[u8]) {
        let Ok(bundle) = PrekeyBundle::decode(bytes) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        if address_of(&bundle.node_key) != from || verify_bundle(&bundle).is_err() {
            self.counters.forged = self.counters.forged.saturating_add(1);
            return;
        }
        if self.people.find(&from).is_some() {
            self.learn_keys(from, &bundle);
        }
    }

    /// Takes prekeys heard by gossip.
    pub(super) fn handle_gossip(&mut self, payload: &[u8]) {
        let Ok(bundle) = PrekeyBundle::decode(payload) else {
            self.counters.malformed = self.counters.malformed.saturating_add(1);
            return;
        };
        let address = address_of(&bundle.node_key);
        if address == self.identity.address() {
            return;
        }
        let known = match self.people.find(&address) {
            Some(peer) if peer.is_blocked() => return,
            Some(peer) => {
                let keys = peer.contact.keys.as_ref();
                keys.map(|keys| (keys.expires, peer.contact.proposed.as_str()))
            }
            None => {
                let heard = self.heard.get(&address);
                heard.map(|heard| (heard.expires, heard.name.as_str()))
            }
        };
        // What is no news needs no look at its signature.
        let is_news = known.is_none_or(|(expires, name)| {
            bundle.expires > expires || (bundle.expires == expires && name != bundle.name)
        });
        if !is_news || bundle.expires <= self.now.unix {
            return;
        }
        if verify_bundle(&bundle).is_err() {
            self.counters.forged = self.counters.forged.saturating_add(1);
            return;
        }
        self.event(Event::Seen {
            address,
            key: bundle.node_key,
            name: bundle.name.clone(),
        });
        if self.people.find(&address).is_some() {
            self.learn_keys(address, &bundle);
            return;
        }
        if self.heard.len() >= HEARD_MAX {
            let first = self.heard.iter().min_by_key(|(_, bundle)| bundle.expires);
            if let Some(first) = first.map(|(address, _)| *address) {
                self.heard.remove(&first);
            }
        }
        self.heard.insert(address, bundle);
    }

    /// Takes a person's verified bundle if it is newer than what is known, and does what waited for it.
    pub(super) fn learn_keys(&mut self, address: Address, bundle: &PrekeyBundle) {
        let Some(peer) = self.people.find_mut(&address) else {
            return;
        };
        let old = peer.contact.keys.as_ref();
        // An older bundle may be a replay. One that ends at the same time has the same fallback and perhaps fresh
        // one-time prekeys.
        let news = old.is_none_or(|old| {
            bundle.expires > old.expires
                || (bundle.expires == old.expires
                    && (!bundle.one_time.is_empty() || bundle.name != peer.contact.proposed))
        });
        let wanted = peer.renewal.wanted;
        if !news && wanted == Wanted::No {
            return;
        }
        if news {
            let first = old.is_none();
            let replaced = old.is_some_and(|old| old.ratchet_key != bundle.ratchet_key);
            if !bundle.name.is_empty() && !bundle.name.chars().any(char::is_control) {
                peer.contact.proposed = bundle.name.clone();
            }
            let mut keys = PeerKeys::of(bundle);
            if let Some(old) = old.filter(|old| old.fallback == keys.fallback)
                && keys.one_time.is_empty()
            {
                keys.one_time.clone_from(&old.one_time);
            }
            self.people.apply_keys(&address, bundle.node_key, keys);
            self.persist_person(&address);
            if first || replaced {
                self.event(Event::ContactChanged { address });
            }
            // Another ratchet identity under the same node key: the person's device lost its memory, old sessions are
            // of no use there.
            if replaced {
                self.start_session(address);
                self.reseal_all(address);
            }
        }
        self.timers.cancel(Timer::Path(address));
        if wanted == Wanted::Yes {
            self.renew(address);
        }
        let unsealed: Vec<_> = self
            .outbox
            .to_person(address)
            .filter(|id| self.outbox.find(id).is_some_and(|it| it.sealing.is_none()))
            .collect();
        for id in unsealed {
            self.attempt(id);
        }
    }

    /// Starts a new session with somebody whose message no session opens, and asks by it for everything again. Paced, so
    /// that replays do not make us work.
    pub(super) fn renew(&mut self, from: Address) {
        let now = self.now.instant;
        let under_way = self.outbox.to_person(from).any(|id| {
            self.outbox
                .find(&id)
                .is_some_and(|item| item.content == Content::Renew)
        });
        let Some(peer) = self.people.find_mut(&from) else {
            return;
        };
        if under_way || now < peer.renewal.not_before {
            return;
        }
        if !self.start_session(from) {
            if let Some(peer) = self.people.find_mut(&from) {
                peer.renewal.wanted = Wanted::Yes;
            }
            self.seek_keys(from);
            return;
        }
        if let Some(peer) = self.people.find_mut(&from) {
            peer.renewal.wanted = Wanted::No;
            peer.renewal.not_before = now + peer.renewal.pause;
            peer.renewal.pause = longer(peer.renewal.pause, RENEWAL_PAUSE.1);
        }
        self.counters.renewals = self.counters.renewals.saturating_add(1);
        self.send_silently(from, Content::Renew, Duration::ZERO);
    }

    /// Gossips the own prekeys while they are shown.
    pub(super) fn publish(&mut self) {
        if self.shown.is_none() {
            return;
        }
        let payload = self.card.clone();
        self.outputs.push_back(Output::Publish { payload });
        let at = self.now.instant + self.config.publish_every;
        self.timers.set(Timer::Publish, at);
    }

    pub(super) fn rotate_fallback(&mut self) {
        let rotation = self.config.fallback_rotation;
        if self.own.rotate(self.now.unix, rotation) == Rotated::Yes {
            self.persist(records::account(&self.own));
            self.renew_card();
        }
    }
}
