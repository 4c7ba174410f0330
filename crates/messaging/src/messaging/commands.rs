//! What the user asks for.

use smartmesh_crypto::address_of;
use smartmesh_types::{Address, Duration, MessageId, RequestId};
use smartmesh_wire::invite::{BundleError, NAME_BYTES_MAX, PrekeyBundle};
use smartmesh_wire::message::{Content, RECEIPT_IDS_MAX};

use super::Messaging;
use crate::border::{Answer, Command, CommandError, Event, Standing, Urgency};
use crate::keys::{OneTime, verify_bundle};
use crate::outbox::{Deposited, Item};
use crate::peer::{Contact, Peer};
use crate::records::{self, Key};
use crate::state::{FailReason, MessageState};
use crate::timers::Timer;

/// The longest a message is tried, which is also the longest its repeats are remembered.
pub(super) const LIFETIME_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Reads are collected for this long before their receipt is sealed.
const READ_DELAY: Duration = Duration::from_millis(200);
/// Receipts that may wait beyond the limit for the user's own messages to one person.
const SILENT_EXTRA_MAX: usize = 64;

impl Messaging {
    pub(super) fn handle_command(
        &mut self,
        request: RequestId,
        command: Command,
    ) -> Result<(), CommandError> {
        let answer = match command {
            Command::AddContact { text, name } => {
                self.add_contact(&text, name).map(Answer::Added)?
            }
            Command::Invite { name } => self.invite(&name).map(Answer::Invite)?,
            Command::Send {
                to,
                text,
                lifetime,
                urgency,
            } => return self.send(request, to, Content::Text(text), lifetime, urgency),
            Command::SendContent {
                to,
                content,
                lifetime,
            } => {
                return self.send(request, to, content, lifetime, Urgency::Normal);
            }
            Command::Cancel { message } => self.cancel(message)?,
            Command::MarkRead { message } => self.mark_read(message)?,
            Command::Stored { message } => self.apply_stored(message)?,
            Command::Rename { address, name } => self.rename(address, name)?,
            Command::Verify { address, verified } => self.verify(address, verified)?,
            Command::Block { address } => self.block(address)?,
            Command::Unblock { address } => self.unblock(address)?,
            Command::Forget { address } => self.forget(address)?,
            Command::Show { name } => self.show(name)?,
            Command::Hide => self.hide(),
        };
        self.event(Event::Answer { request, answer });
        Ok(())
    }

    fn add_contact(&mut self, text: &str, name: Option<String>) -> Result<Address, CommandError> {
        let name = name.unwrap_or_default();
        verify_name(&name)?;
        let (address, bundle) = match text.trim().parse::<Address>() {
            Ok(address) => (address, None),
            Err(_) => {
                let bundle = PrekeyBundle::from_text(text).map_err(CommandError::NotAnInvite)?;
                verify_bundle(&bundle).map_err(|_| CommandError::BadSignature)?;
                (address_of(&bundle.node_key), Some(bundle))
            }
        };
        if address == self.identity.address() {
            return Err(CommandError::Self_);
        }
        match self.people.find_mut(&address) {
            Some(peer) if peer.is_blocked() => return Err(CommandError::Blocked(address)),
            Some(peer) => {
                peer.contact.standing = Standing::Contact;
                if !name.is_empty() {
                    peer.contact.name = name;
                }
                self.persist_person(&address);
                self.event(Event::ContactChanged { address });
            }
            None => {
                let contact = Contact {
                    standing: Standing::Contact,
                    name,
                    proposed: String::new(),
                    verified: false,
                    key: None,
                    keys: None,
                    serial: 0,
                };
                self.admit(address, Peer::new(contact, self.config.retry_first))?;
            }
        }
        // Keys of an invite past its time, or of none, are fetched when there is something to send.
        let heard = self.heard.remove(&address);
        for bundle in bundle.into_iter().chain(heard) {
            if bundle.expires > self.now.unix {
                self.learn_keys(address, &bundle);
            }
        }
        Ok(address)
    }

    fn invite(&mut self, name: &str) -> Result<String, CommandError> {
        verify_name(name)?;
        let text = self
            .own
            .bundle(&self.identity, name, OneTime::Two)
            .and_then(|bundle| bundle.to_text())
            .map_err(CommandError::NotAnInvite)?;
        self.persist(records::account(&self.own));
        Ok(text)
    }

    fn send(
        &mut self,
        request: RequestId,
        to: Address,
        content: Content,
        lifetime: Option<Duration>,
        urgency: Urgency,
    ) -> Result<(), CommandError> {
        let peer = self.people.find(&to);
        let peer = peer.ok_or(CommandError::UnknownContact(to))?;
        if peer.is_blocked() {
            return Err(CommandError::Blocked(to));
        }
        if matches!(
            content,
            Content::Receipt { .. }
                | Content::Renew
                | Content::Group(_)
                | Content::Unsupported { .. }
        ) {
            return Err(CommandError::Invalid("this is not for sending"));
        }
        content
            .verify()
            .map_err(|_| CommandError::Invalid("the text or the file's name is too long"))?;
        let lifetime = lifetime.unwrap_or(self.config.lifetime);
        if lifetime > LIFETIME_MAX || lifetime < Duration::from_secs(1) {
            return Err(CommandError::Invalid(
                "a message is tried for 1 second to 30 days",
            ));
        }
        if self.outbox.len() >= self.config.outbox_max
            || self.outbox.to_person(to).count() >= self.config.outbox_per_person_max
        {
            return Err(CommandError::Full("unsent messages"));
        }
        // Answering a stranger is knowing them.
        if peer.contact.standing == Standing::Stranger {
            if let Some(peer) = self.people.find_mut(&to) {
                peer.contact.standing = Standing::Contact;
            }
            self.persist_person(&to);
            self.event(Event::ContactChanged { address: to });
        }
        let (id, item) = self.new_item(to, content, lifetime, urgency);
        let (state, may_fly) = (item.state, self.may_fly(&item));
        self.outbox.insert(id, item);
        // Sealing persists too: one record instead of two where it can go at once.
        if !may_fly || !self.seal(id) {
            self.persist_item(id);
        }
        self.event(Event::Answer {
            request,
            answer: Answer::Queued(id),
        });
        self.event(Event::StateChanged { message: id, state });
        self.attempt(id);
        Ok(())
    }

    fn new_item(
        &mut self,
        to: Address,
        content: Content,
        lifetime: Duration,
        urgency: Urgency,
    ) -> (MessageId, Item) {
        let expires = self.now.unix + lifetime;
        let item = Item {
            to,
            serial: self.next_serial(),
            content,
            sent_at: self.now.unix,
            expires,
            urgency,
            sealing: None,
            deposits: Vec::new(),
            state: MessageState::Waiting { until: expires },
            queued_at: self.now.instant,
            flown_at: None,
            retry: self.config.retry_first,
            carried: 0,
            deposited: Deposited::No,
        };
        (MessageId(self.rng.bytes()), item)
    }

    /// Queues something the user does not see: a receipt or a renewal.
    pub(super) fn send_silently(&mut self, to: Address, content: Content, delay: Duration) {
        let room = self
            .config
            .outbox_per_person_max
            .saturating_add(SILENT_EXTRA_MAX);
        if self.outbox.to_person(to).count() >= room {
            self.counters.unsendable = self.counters.unsendable.saturating_add(1);
            return;
        }
        let (id, item) = self.new_item(to, content, self.config.lifetime, Urgency::Normal);
        self.outbox.insert(id, item);
        self.persist_item(id);
        let at = self.now.instant + delay;
        self.timers.set(Timer::Message(id), at);
    }

    pub(super) fn persist_item(&mut self, id: MessageId) {
        let record = self
            .outbox
            .find(&id)
            .and_then(|item| records::outbox(id, item));
        if let Some(record) = record {
            self.persist(record);
        }
    }

    fn cancel(&mut self, message: MessageId) -> Result<Answer, CommandError> {
        let item = self.outbox.find(&message).filter(|item| item.is_of_user());
        item.ok_or(CommandError::UnknownMessage(message))?;
        self.give_up(message, FailReason::Cancelled);
        Ok(Answer::Done)
    }

    fn mark_read(&mut self, message: MessageId) -> Result<Answer, CommandError> {
        let received = self.inbox.find(&message);
        let from = received.ok_or(CommandError::UnknownMessage(message))?.from;
        let peer = self.people.find(&from);
        let peer = peer.ok_or(CommandError::UnknownContact(from))?;
        if peer.is_blocked() {
            return Err(CommandError::Blocked(from));
        }
        let open = self.outbox.to_person(from).find(|id| {
            self.outbox.find(id).is_some_and(|item| {
                item.sealing.is_none()
                    && matches!(&item.content, Content::Receipt { read, .. } if read.len() < RECEIPT_IDS_MAX)
            })
        });
        match open.and_then(|id| Some((id, self.outbox.find_mut(&id)?))) {
            Some((id, item)) => {
                if let Content::Receipt { read, .. } = &mut item.content
                    && !read.contains(&message)
                {
                    read.push(message);
                    self.persist_item(id);
                }
            }
            None => {
                let content = Content::Receipt {
                    arrived: Vec::new(),
                    read: vec![message],
                };
                self.send_silently(from, content, READ_DELAY);
            }
        }
        Ok(Answer::Done)
    }

    fn apply_stored(&mut self, message: MessageId) -> Result<Answer, CommandError> {
        let received = self.inbox.apply_stored(&message);
        let received = received.ok_or(CommandError::UnknownMessage(message))?;
        let record = records::inbox(message, received);
        self.persist(record);
        Ok(Answer::Done)
    }

    fn rename(&mut self, address: Address, name: String) -> Result<Answer, CommandError> {
        verify_name(&name)?;
        let peer = self.people.find_mut(&address);
        peer.ok_or(CommandError::UnknownContact(address))?
            .contact
            .name = name;
        self.persist_person(&address);
        self.event(Event::ContactChanged { address });
        Ok(Answer::Done)
    }

    fn verify(&mut self, address: Address, verified: bool) -> Result<Answer, CommandError> {
        let peer = self.people.find_mut(&address);
        let peer = peer.ok_or(CommandError::UnknownContact(address))?;
        if peer.contact.key.is_none() {
            return Err(CommandError::Invalid(
                "their key is not known yet; meet them or add their invite first",
            ));
        }
        peer.contact.verified = verified;
        self.persist_person(&address);
        self.event(Event::ContactChanged { address });
        Ok(Answer::Done)
    }

    fn block(&mut self, address: Address) -> Result<Answer, CommandError> {
        if address == self.identity.address() {
            return Err(CommandError::Self_);
        }
        let Some(peer) = self.people.find_mut(&address) else {
            let contact = Contact {
                standing: Standing::Blocked,
                name: String::new(),
                proposed: String::new(),
                verified: false,
                key: None,
                keys: None,
                serial: 0,
            };
            self.admit(address, Peer::new(contact, self.config.retry_first))?;
            return Ok(Answer::Done);
        };
        peer.contact.standing = Standing::Blocked;
        peer.unsent_receipts.clear();
        let ids: Vec<_> = self.outbox.to_person(address).collect();
        for id in ids {
            self.give_up(id, FailReason::ContactGone);
        }
        self.persist_person(&address);
        self.event(Event::ContactChanged { address });
        Ok(Answer::Done)
    }

    fn unblock(&mut self, address: Address) -> Result<Answer, CommandError> {
        let peer = self.people.find_mut(&address);
        let peer = peer.filter(|peer| peer.is_blocked());
        peer.ok_or(CommandError::UnknownContact(address))?
            .contact
            .standing = Standing::Contact;
        self.persist_person(&address);
        self.event(Event::ContactChanged { address });
        Ok(Answer::Done)
    }

    fn forget(&mut self, address: Address) -> Result<Answer, CommandError> {
        let peer = self.people.find(&address);
        peer.ok_or(CommandError::UnknownContact(address))?;
        self.forget_person(address);
        Ok(Answer::Done)
    }

    fn show(&mut self, name: String) -> Result<Answer, CommandError> {
        verify_name(&name)?;
        self.shown = Some(name);
        self.renew_card();
        self.publish();
        Ok(Answer::Done)
    }

    fn hide(&mut self) -> Answer {
        self.shown = None;
        self.renew_card();
        self.timers.cancel(Timer::Publish);
        Answer::Done
    }

    /// Gives a message up: removes it and tells the user.
    pub(super) fn give_up(&mut self, id: MessageId, reason: FailReason) {
        let Some(item) = self.outbox.remove(&id) else {
            return;
        };
        self.timers.cancel(Timer::Message(id));
        if item.is_of_user() {
            let state = MessageState::Failed(reason);
            self.event(Event::StateChanged { message: id, state });
        }
        self.persist(Key::Outbox(id).removal());
        self.land(&item);
    }
}

fn verify_name(name: &str) -> Result<(), CommandError> {
    let good = name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control);
    good.then_some(()).ok_or(CommandError::Invalid(
        "a name has at most 64 bytes and no control characters",
    ))
}

impl From<BundleError> for CommandError {
    fn from(error: BundleError) -> Self {
        Self::NotAnInvite(error)
    }
}
