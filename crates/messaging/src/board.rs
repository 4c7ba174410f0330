//! The board: what people say to everybody near. Calls for help, who helps, how people are, bulletins, the public room.
//!
//! Each post is signed by its author and stands in a slot: one call of each person, one word of each helper about each call,
//! one word of each author about each person, one bulletin of each title, and each line of the room. Of two posts for one slot
//! the later one stays, whoever brings them and in which order: phones that have heard the same posts hold the same
//! board, also after partitions meet. Gossip carries posts for a day; whoever still holds one that is worth it puts it on the
//! air again, and hearing it from somebody else first saves that.
//!
//! What a stranger may take is bounded: so many posts a minute by the times the posts themselves bear, so many places, and
//! when there is no place left, whoever has most makes room. What contacts and this phone's user say goes last.

mod border;
mod commands;
mod held;
mod mutes;
mod records;
#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]
mod tests;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{Identity, Rng, Seed, address_of, sha256, verify_signature};
use smartmesh_types::{Address, Duration, Instant, MessageId, Now, UnixTime};
use smartmesh_wire::post::{POST_DOMAIN, Post, Saying};

pub use border::{
    BoardCommand, BoardError, BoardEvent, BoardInput, BoardOutput, BulletinView, CallForHelp,
    CallView, HelperView, PersonView, RoomView, SourceView,
};

use crate::border::Record;
use crate::records::RestoreError;
use held::{Held, Posts, Slot};

/// Links that calls, claims, person records and bulletins cross: everybody in reach.
const WIDE_SCOPE: u8 = 64;
/// Links that the room's words cross: those near.
const ROOM_SCOPE: u8 = 8;
/// How long gossip keeps what is worth keeping; its own longest.
const WIDE_LIFE: Duration = Duration::from_secs(86_400);
/// How long gossip keeps the room's words, for those who come later.
const ROOM_LIFE: Duration = Duration::from_secs(6 * 3_600);
/// Gossip remembers a name so much longer than its life; before, putting it on the air again does nothing.
const GOSSIP_MARGIN: Duration = Duration::from_secs(130);
/// Holders of a post put it on the air again after a random part of this, so that one does it for all.
const AGAIN_SPREAD: Duration = Duration::from_secs(900);
/// After a start, others have this long to show what they hold before this phone puts its own posts on the air.
const AFTER_START: Duration = Duration::from_secs(60);
/// Posts put on the air in one call.
const AGAIN_PER_CALL: usize = 16;
/// How often ended posts are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A post made so long ago is not taken any more: replays of what was forgotten.
const STALE: Duration = Duration::from_secs(30 * 86_400);

/// The board of one phone.
#[derive(Debug)]
pub struct Board {
    identity: Identity,
    rng: Rng,
    name: String,
    posts: Posts,
    /// When each post goes on the air again.
    again: BTreeSet<(Instant, Slot)>,
    pins: BTreeMap<Address, String>,
    mutes: BTreeSet<Address>,
    contacts: BTreeSet<Address>,
    /// The latest time that a post of this phone bears.
    last_made: UnixTime,
    serial: u64,
    sweep_at: Instant,
    outputs: VecDeque<BoardOutput>,
    counters: BoardCounters,
    now: Now,
}

/// What was dropped, by kind; only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardCounters {
    /// Posts that are not well-formed.
    pub malformed: u64,
    /// Posts of a version or kind this program does not know.
    pub unknown: u64,
    /// Posts whose signature is wrong.
    pub forged: u64,
    /// Posts that were here already, or that a later one has replaced.
    pub superseded: u64,
    /// Posts of authors who say too much.
    pub over_budget: u64,
    /// Posts made too long ago.
    pub stale: u64,
    /// Posts that made room for others.
    pub evicted: u64,
}

impl Board {
    /// Starts from what an earlier start persisted, or with an empty board. `name` is what the user is called.
    ///
    /// # Errors
    /// If a record is damaged or of a later version.
    pub fn restore(
        identity: &Identity,
        name: &str,
        seed: &Seed,
        records: impl IntoIterator<Item = Record>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let mut board = Self {
            identity: Identity::from_secret(*identity.secret()),
            rng: seed.split("board").rng(),
            name: commands::cut_name(name),
            posts: Posts::default(),
            again: BTreeSet::new(),
            pins: BTreeMap::new(),
            mutes: BTreeSet::new(),
            contacts: BTreeSet::new(),
            last_made: UnixTime::default(),
            serial: 0,
            sweep_at: now.instant + SWEEP_EVERY,
            outputs: VecDeque::new(),
            counters: BoardCounters::default(),
            now,
        };
        let mut latest = BTreeMap::new();
        for record in records {
            latest.insert(record.key, record.value);
        }
        for (key, value) in latest {
            if let Some(value) = value {
                board.apply_record(&key, &value)?;
            }
        }
        Ok(board)
    }

    /// Takes one input.
    ///
    /// # Errors
    /// If a command cannot be carried out; nothing has changed then. What is wrong with a post is counted.
    pub fn handle(&mut self, input: BoardInput, now: Now) -> Result<(), BoardError> {
        self.now = now;
        match input {
            BoardInput::Command(request, command) => self.handle_command(request, command)?,
            BoardInput::Heard {
                item,
                payload,
                hops,
            } => self.handle_heard(item, payload, hops),
            BoardInput::Contacts(contacts) => self.contacts = contacts.into_iter().collect(),
            BoardInput::Tick => {}
        }
        self.run_timers();
        Ok(())
    }

    /// The next thing to be done.
    pub fn poll_output(&mut self) -> Option<BoardOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle`] again at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(self.now.instant);
        }
        let again = self.again.first().map(|(at, _)| *at);
        Some(again.map_or(self.sweep_at, |at| at.min(self.sweep_at)))
    }

    /// What was dropped.
    pub fn counters(&self) -> &BoardCounters {
        &self.counters
    }

    fn handle_heard(&mut self, item: [u8; 16], payload: Vec<u8>, hops: u8) {
        let post = match Post::decode(&payload) {
            Ok(post) => post,
            Err(smartmesh_wire::post::PostError::Unknown { .. }) => {
                // Of a later version: passed on, not shown.
                self.counters.unknown = self.counters.unknown.saturating_add(1);
                return;
            }
            Err(_) => {
                self.counters.malformed = self.counters.malformed.saturating_add(1);
                self.outputs.push_back(BoardOutput::Refuse { item });
                return;
            }
        };
        let author = address_of(&post.author);
        let slot = Slot::of(&post, author, post_id(&payload));
        if let Some(held) = self.posts.find(&slot) {
            if held.payload == payload {
                // Put on the air again by somebody else: not this phone's turn.
                self.counters.superseded = self.counters.superseded.saturating_add(1);
                self.set_again(slot, item);
                return;
            }
            if (held.post.made, &held.payload) > (post.made, &payload) {
                self.counters.superseded = self.counters.superseded.saturating_add(1);
                self.outputs.push_back(BoardOutput::Drop { item });
                return;
            }
        }
        let signed = post.signed_bytes().unwrap_or_default();
        if verify_signature(&post.author, POST_DOMAIN, &signed, &post.signature).is_err() {
            self.counters.forged = self.counters.forged.saturating_add(1);
            self.outputs.push_back(BoardOutput::Refuse { item });
            return;
        }
        if post.made + STALE < self.now.unix {
            self.counters.stale = self.counters.stale.saturating_add(1);
            self.outputs.push_back(BoardOutput::Drop { item });
            return;
        }
        if author != self.identity.address() && self.posts.is_over_budget(&slot, &post, author) {
            self.counters.over_budget = self.counters.over_budget.saturating_add(1);
            self.outputs.push_back(BoardOutput::Drop { item });
            return;
        }
        let held = Held {
            post,
            payload,
            author,
            heard_at: self.now.unix,
            hops,
            serial: self.next_serial(),
            item: Some(item),
        };
        if self.keep(slot.clone(), held) {
            self.set_again(slot.clone(), item);
            self.tell(&slot);
        } else {
            self.outputs.push_back(BoardOutput::Drop { item });
        }
    }

    /// Puts a post into its slot, on disk too, and makes room if there must be; says whether the post itself is still there.
    fn keep(&mut self, slot: Slot, held: Held) -> bool {
        let record = records::post(&slot, &held);
        self.persist(record);
        if let Some(old) = self.posts.insert(slot.clone(), held)
            && let Some(item) = old.item
        {
            self.outputs.push_back(BoardOutput::Drop { item });
        }
        let own = self.identity.address();
        let victims = self.posts.make_room(&slot, own, &self.contacts, &self.pins);
        for victim in victims {
            self.counters.evicted = self.counters.evicted.saturating_add(1);
            self.remove(&victim);
        }
        self.posts.find(&slot).is_some()
    }

    fn remove(&mut self, slot: &Slot) {
        self.persist(records::removal(slot));
        if let Some(held) = self.posts.remove(slot)
            && let Some(item) = held.item
        {
            self.outputs.push_back(BoardOutput::Drop { item });
        }
        self.again.retain(|(_, waiting)| waiting != slot);
    }

    /// Notes that gossip has a post now, and when this phone will look after it.
    fn set_again(&mut self, slot: Slot, item: [u8; 16]) {
        let Some(held) = self.posts.find_mut(&slot) else {
            return;
        };
        held.item = Some(item);
        let life = life(&held.post.saying);
        let at = self.now.instant + life + GOSSIP_MARGIN + self.spread();
        self.again.retain(|(_, waiting)| *waiting != slot);
        self.again.insert((at, slot));
    }

    fn spread(&mut self) -> Duration {
        let micros = u64::try_from(AGAIN_SPREAD.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.rng.below(micros))
    }

    fn run_timers(&mut self) {
        for _ in 0..AGAIN_PER_CALL {
            let Some((at, slot)) = self.again.first().cloned() else {
                break;
            };
            if at > self.now.instant {
                break;
            }
            self.again.remove(&(at, slot.clone()));
            self.publish(&slot);
        }
        if self.sweep_at <= self.now.instant {
            self.sweep_at = self.now.instant + SWEEP_EVERY;
            for slot in self.posts.ended(self.now.unix) {
                self.remove(&slot);
            }
        }
    }

    /// Puts a post on the air, if it is still worth it.
    fn publish(&mut self, slot: &Slot) {
        let Some(held) = self.posts.find(slot) else {
            return;
        };
        let saying = &held.post.saying;
        if held.post.made + held::worth(saying) < self.now.unix {
            return;
        }
        let life = life(saying);
        let output = BoardOutput::Publish {
            kind: saying.gossip_kind(),
            scope: match saying {
                Saying::Room(_) => ROOM_SCOPE,
                Saying::Call(_)
                | Saying::CallOff(_)
                | Saying::Claim(_)
                | Saying::Person(_)
                | Saying::Bulletin(_) => WIDE_SCOPE,
            },
            life,
            payload: held.payload.clone(),
        };
        self.outputs.push_back(output);
        let at = self.now.instant + life + GOSSIP_MARGIN + self.spread();
        self.again.insert((at, slot.clone()));
    }

    /// Tells the user what a post changed.
    fn tell(&mut self, slot: &Slot) {
        let event = match slot {
            Slot::Call(caller) | Slot::Claim(caller, _) => {
                self.call_of(*caller).map(BoardEvent::Call)
            }
            Slot::Person(key, _) => self.person_of(key).map(BoardEvent::Person),
            Slot::Bulletin(author, _) if self.shows_bulletins_of(*author) => {
                self.bulletin_of(slot).map(BoardEvent::Bulletin)
            }
            Slot::Bulletin(..) => None,
            Slot::Room(_) => self.room_of(slot).map(BoardEvent::Room),
        };
        if let Some(event) = event {
            self.outputs.push_back(BoardOutput::Event(event));
        }
    }

    fn next_serial(&mut self) -> u64 {
        self.serial = self.serial.saturating_add(1);
        self.serial
    }

    fn persist(&mut self, record: Record) {
        self.outputs.push_back(BoardOutput::Persist(record));
    }
}

/// A post's name.
fn post_id(payload: &[u8]) -> MessageId {
    let hash = sha256(&[b"smartmesh post\0", payload]);
    MessageId(hash.first_chunk().copied().expect("SHA-256 gives 32 bytes"))
}

/// How long gossip keeps a post.
fn life(saying: &Saying) -> Duration {
    match saying {
        Saying::Room(_) => ROOM_LIFE,
        Saying::Call(_)
        | Saying::CallOff(_)
        | Saying::Claim(_)
        | Saying::Person(_)
        | Saying::Bulletin(_) => WIDE_LIFE,
    }
}
