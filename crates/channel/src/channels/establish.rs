//! After a start, and whenever a path comes up: both sides see who lost what, and bind the channel to their two starts.
//!
//! | this side heard | it does |
//! |---|---|
//! | a hello with another nonce | the channel is not established any more |
//! | the partner lacks our newest message | hands it over in full |
//! | the partner lacks its own newest message | hands it back |
//! | a hello that echoes our nonce, with equal numbers | the channel is established |
//! | an own message that it does not know | it forgot: it pays no more in this epoch |

use smartmesh_types::Address;
use smartmesh_wire::payment::{Hello, PaymentMessage, Restate, Whose};

use super::Channels;
use crate::border::Event;
use crate::calls::typed_state;
use crate::channel::{ChannelId, SignedState};
use crate::locks::{Lock, match_state};
use crate::record;

impl Channels {
    pub(super) fn handle_path_up(&mut self, peer: Address) {
        if self.reachable.len() >= super::REACHABLE_MAX && !self.reachable.contains(&peer) {
            return;
        }
        self.reachable.insert(peer);
        self.introduce_to(peer);
        let range = (peer, smartmesh_wire::payment::ChannelTag([0; 6]))
            ..=(peer, smartmesh_wire::payment::ChannelTag([u8::MAX; 6]));
        let ids: Vec<ChannelId> = self.by_tag.range(range).map(|(_, id)| *id).collect();
        for id in ids {
            self.greet(id);
        }
    }

    /// Says hello unless the two have met in these starts, and asks for an answer until they have.
    pub(super) fn greet(&mut self, id: ChannelId) {
        let first = self.first_resend();
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let peer = channel.peer;
        channel.session.hello = None;
        if !channel.session.established && self.reachable.contains(&peer) {
            channel.session.hello = Some(first);
            self.say_hello(id, [0; 8]);
        }
        self.resend_now(id);
        self.reschedule(id);
    }

    fn say_hello(&mut self, id: ChannelId, echo: [u8; 8]) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let hello = Hello {
            channel: id.tag(),
            epoch: channel.epoch,
            nonce: self.nonce,
            echo,
            mine: channel.out.state.seq,
            yours: channel.inc.state().seq,
            recovering: channel.recovering,
        };
        self.send(channel.peer, PaymentMessage::Hello(hello));
    }

    pub(super) fn resend_hello(&mut self, id: ChannelId) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let Some(last) = channel
            .session
            .hello
            .filter(|last| last.at <= self.now.instant)
        else {
            return;
        };
        let is_due = !channel.session.established && self.reachable.contains(&channel.peer);
        let next = is_due.then(|| self.next_resend(last));
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.session.hello = next;
        }
        if is_due {
            // Without an echo it asks for an answer.
            self.say_hello(id, [0; 8]);
        }
    }

    pub(super) fn handle_hello(&mut self, from: Address, m: &Hello) {
        let Some(id) = self.find(from, m.channel) else {
            return;
        };
        self.reachable.insert(from);
        let nonce = self.nonce;
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if m.epoch != channel.epoch {
            // One of the two has yet to hear of the chain.
            channel.session.established = false;
            return;
        }
        if channel.session.peer_nonce != m.nonce {
            channel.session.established = false;
            channel.session.peer_nonce = m.nonce;
        }
        channel.session.peer_recovers = m.recovering;
        let was = channel.session.established;
        let (ours, theirs) = (channel.out.state.seq, channel.inc.state().seq);
        let is_fresh = m.echo == nonce;
        let is_equal = m.yours == ours && m.mine == theirs;
        if is_fresh && m.yours == ours && channel.out.is_under_way() {
            self.note_arrived(id);
        }
        if m.yours < ours {
            self.restate(id, Whose::Mine);
        }
        if m.mine < theirs {
            self.restate(id, Whose::Yours);
        }
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if is_fresh && is_equal {
            channel.session.established = true;
            channel.session.hello = None;
        }
        if !was || !is_fresh || !is_equal {
            self.say_hello(id, m.nonce);
        }
        let is_new = !was
            && self
                .channels
                .get(&id)
                .is_some_and(|channel| channel.session.established);
        if is_new {
            self.tell(Event::Changed(id));
        }
        self.reschedule(id);
        self.pump(id);
    }

    /// Gives a direction in full.
    fn restate(&mut self, id: ChannelId, whose: Whose) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let added = |locks: &[Lock]| locks.iter().map(|lock| lock.added.clone()).collect();
        let (signed, locks) = match whose {
            Whose::Mine => {
                let state = channel.out.state;
                let typed = typed_state(id, channel.epoch, channel.me(), &state);
                let signature = self.signer.sign(&typed);
                (
                    Some(SignedState { state, signature }),
                    added(&channel.out.locks),
                )
            }
            Whose::Yours => (channel.inc.newest, added(&channel.inc.locks)),
        };
        if let Some(SignedState { state, signature }) =
            signed.filter(|signed| signed.state.seq != 0)
        {
            let restate = Restate {
                channel: id.tag(),
                whose,
                state,
                signature,
                locks,
            };
            self.send(channel.peer, PaymentMessage::Restate(restate));
        }
    }

    pub(super) fn handle_restate(&mut self, from: Address, m: Restate) {
        let Some(id) = self.find(from, m.channel) else {
            return;
        };
        let signed = SignedState {
            state: m.state,
            signature: m.signature,
        };
        let locks: Vec<Lock> = m.locks.into_iter().map(Lock::new).collect();
        match m.whose {
            Whose::Mine => self.take_restated(id, signed, locks),
            Whose::Yours => self.take_back(id, signed, locks),
        }
    }

    /// The partner hands back what this side signed: if it is not known here, this phone forgot.
    fn take_back(&mut self, id: ChannelId, signed: SignedState, locks: Vec<Lock>) {
        let signer = &self.signer;
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let typed = typed_state(id, channel.epoch, channel.me(), &signed.state);
        let known = channel.out.state;
        if signed.state.seq <= known.seq
            || !signer.is_by(channel.me(), &typed, &signed.signature)
            || !match_state(&signed.state, &locks)
        {
            self.counters.unexpected = self.counters.unexpected.saturating_add(1);
            return;
        }
        channel.recovering = true;
        let out = &mut channel.out;
        out.state = signed.state;
        out.changes.clear();
        out.memo.clear();
        out.next_lock = locks
            .iter()
            .map(|lock| lock.added.id)
            .fold(out.next_lock, u64::max);
        out.locks = locks;
        out.arrived = signed.state.seq;
        out.arrived_paid = signed.state.paid;
        out.resend = None;
        let records = [
            record::out(channel),
            record::out_locks(channel),
            record::chain(channel),
        ];
        let nonce = channel.session.peer_nonce;
        for record in records {
            self.persist(record);
        }
        self.tell(Event::Forgot(id));
        self.say_hello(id, nonce);
        self.fail_queue(id);
    }

    /// The partner gives its newest message in full.
    fn take_restated(&mut self, id: ChannelId, signed: SignedState, locks: Vec<Lock>) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        let (peer, nonce) = (channel.peer, channel.session.peer_nonce);
        let newest = channel.inc.state().seq;
        if signed.state.seq > newest {
            // What this side knows of locks that stay is kept.
            let mut locks = locks;
            for lock in &mut locks {
                let known = channel
                    .inc
                    .locks
                    .iter()
                    .find(|old| old.leaf() == lock.leaf());
                if let Some(known) = known {
                    lock.secret = known.secret;
                    lock.released = known.released;
                }
            }
            if let Err(reason) = self.accept(id, signed, locks, Vec::new()) {
                self.counters.refused = self.counters.refused.saturating_add(1);
                self.refuse(peer, id.tag(), signed.state.seq, reason);
                return;
            }
        }
        self.say_hello(id, nonce);
    }
}
