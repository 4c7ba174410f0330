//! What the user says and asks for.

use smartmesh_types::{Address, Duration, MessageId, RequestId, UnixTime};
use smartmesh_wire::invite::NAME_BYTES_MAX;
use smartmesh_wire::post::{
    AUTHOR_NAME_BYTES_MAX, Call, CallOff, Claim, POST_DOMAIN, PersonRecord, Post, RoomText, Saying,
    Step,
};

use super::held::{Held, Slot};
use super::{Board, BoardCommand, BoardError, BoardEvent, BoardOutput, CallForHelp, post_id};
use super::{records, views};

/// The most pinned keys.
const PINS_MAX: usize = 64;
/// The longest that a bulletin may hold.
const BULLETIN_MAX: Duration = Duration::from_secs(30 * 86_400);

impl Board {
    pub(super) fn handle_command(
        &mut self,
        request: RequestId,
        command: BoardCommand,
    ) -> Result<(), BoardError> {
        let post = match command {
            BoardCommand::Call(call) => Some(self.call(call)?),
            BoardCommand::CallOff { note } => Some(self.call_off(note)?),
            BoardCommand::Claim { caller, step, note } => Some(self.claim(caller, step, note)?),
            BoardCommand::Report(person) => Some(self.report(person)?),
            BoardCommand::Publish(bulletin) => {
                if bulletin.until > self.now.unix + BULLETIN_MAX {
                    return Err(BoardError::Invalid("a bulletin holds for at most 30 days"));
                }
                Some(self.post(Saying::Bulletin(bulletin))?)
            }
            BoardCommand::Pin { address, name } => {
                self.pin(address, name)?;
                None
            }
            BoardCommand::Unpin { address } => {
                if self.pins.remove(&address).is_some() {
                    self.persist(records::pin(address, None));
                }
                None
            }
            BoardCommand::Say { text } => {
                let name = self.name.clone();
                Some(self.post(Saying::Room(RoomText { name, text }))?)
            }
            BoardCommand::Mute { address } => {
                self.mute(address)?;
                None
            }
            BoardCommand::Unmute { address } => {
                self.unmute(address);
                None
            }
            BoardCommand::AdoptMutes { text } => {
                self.adopt_mutes(&text)?;
                None
            }
            BoardCommand::Name(name) => {
                self.name = cut_name(&name);
                None
            }
        };
        let id = post.as_ref().map(|(id, _)| *id);
        let event = BoardEvent::Answer { request, post: id };
        self.outputs.push_back(BoardOutput::Event(event));
        if let Some((_, slot)) = post {
            self.tell(&slot);
            self.publish(&slot);
        }
        Ok(())
    }

    fn call(&mut self, call: CallForHelp) -> Result<(MessageId, Slot), BoardError> {
        let own = self.identity.address();
        let open = self.posts.find(&Slot::Call(own)).and_then(views::open_call);
        let begun = open.map_or(self.now.unix, |open| open.begun);
        let place = call.place.or(open.and_then(|open| open.place));
        self.post(Saying::Call(Call {
            begun,
            need: call.need,
            people: call.people,
            battery: call.battery,
            place,
            name: self.name.clone(),
            note: call.note,
        }))
    }

    fn call_off(&mut self, note: String) -> Result<(MessageId, Slot), BoardError> {
        let own = self.identity.address();
        let open = self.posts.find(&Slot::Call(own)).and_then(views::open_call);
        let begun = open.ok_or(BoardError::NoOwnCall)?.begun;
        self.post(Saying::CallOff(CallOff { begun, note }))
    }

    fn claim(
        &mut self,
        caller: Address,
        step: Step,
        note: String,
    ) -> Result<(MessageId, Slot), BoardError> {
        let open = self
            .posts
            .find(&Slot::Call(caller))
            .and_then(views::open_call);
        let begun = open.ok_or(BoardError::NoCall(caller))?.begun;
        let name = self.name.clone();
        self.post(Saying::Claim(Claim {
            caller,
            begun,
            step,
            name,
            note,
        }))
    }

    fn report(&mut self, mut person: PersonRecord) -> Result<(MessageId, Slot), BoardError> {
        if person.reporter.is_empty() {
            person.reporter.clone_from(&self.name);
        }
        self.post(Saying::Person(person))
    }

    fn pin(&mut self, address: Address, name: String) -> Result<(), BoardError> {
        if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(BoardError::Invalid(
                "a name has at most 64 bytes and no control characters",
            ));
        }
        if self.pins.len() >= PINS_MAX && !self.pins.contains_key(&address) {
            return Err(BoardError::Full("pinned keys"));
        }
        self.persist(records::pin(address, Some(&name)));
        self.pins.insert(address, name);
        // What it said before it was pinned is news now.
        let said: Vec<_> = self.bulletin_slots(address).collect();
        for slot in said {
            self.tell(&slot);
        }
        Ok(())
    }

    /// Signs a post, keeps it in its slot and on disk.
    fn post(&mut self, saying: Saying) -> Result<(MessageId, Slot), BoardError> {
        let author = self.identity.address();
        // Later than all before, also when the clock was set back: else the old word would stand.
        let made = self.now.unix.max(self.last_made + Duration::from_secs(1));
        let made = UnixTime::from_secs(made.as_secs().min(u64::from(u32::MAX)));
        let mut post = Post {
            author: self.identity.key(),
            made,
            saying,
            signature: [0; 64],
        };
        let too_long =
            |_| BoardError::Invalid("this is too long, or a field is empty or out of range");
        let signed = post.signed_bytes().map_err(too_long)?;
        post.signature = self.identity.sign(POST_DOMAIN, &signed);
        let payload = post.encode().map_err(too_long)?;
        let id = post_id(&payload);
        let slot = Slot::of(&post, author, id);
        if self.posts.is_over_budget(&slot, &post, author) {
            return Err(BoardError::TooFast(60));
        }
        self.last_made = made;
        let held = Held {
            post,
            payload,
            author,
            heard_at: self.now.unix,
            hops: 0,
            serial: self.next_serial(),
            item: None,
        };
        self.again.retain(|(_, waiting)| *waiting != slot);
        self.keep(slot.clone(), held);
        Ok((id, slot))
    }
}

/// A name as posts bear it: at most 32 bytes, whole characters, no control characters.
pub(super) fn cut_name(name: &str) -> String {
    let mut cut = String::new();
    for character in name.chars().filter(|one| !one.is_control()) {
        if cut.len().saturating_add(character.len_utf8()) > AUTHOR_NAME_BYTES_MAX {
            break;
        }
        cut.push(character);
    }
    cut
}
