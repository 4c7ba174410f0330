//! Posts in their slots, and who makes room when there is no place.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::{Address, Duration, MessageId, UnixTime};
use smartmesh_wire::post::{Post, Saying};

/// What a post takes the place of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Slot {
    /// A person's call, open or called off.
    Call(Address),
    /// The word of a helper (second) about the call of a person (first).
    Claim(Address, Address),
    /// The word of an author about a person, by the person's key.
    Person(String, Address),
    /// An author's bulletin of this title.
    Bulletin(Address, String),
    /// A line of the room.
    Room(MessageId),
}

impl Slot {
    pub(super) fn of(post: &Post, author: Address, id: MessageId) -> Self {
        match &post.saying {
            Saying::Call(_) | Saying::CallOff(_) => Self::Call(author),
            Saying::Claim(claim) => Self::Claim(claim.caller, author),
            Saying::Person(person) => Self::Person(person_key(&person.name, &person.about), author),
            Saying::Bulletin(bulletin) => Self::Bulletin(author, bulletin.title.clone()),
            Saying::Room(_) => Self::Room(id),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Call(_) => Class::Call,
            Self::Claim(..) => Class::Claim,
            Self::Person(..) => Class::Person,
            Self::Bulletin(..) => Class::Bulletin,
            Self::Room(_) => Class::Room,
        }
    }
}

/// One name for all spellings of a person: small letters, single spaces.
pub(super) fn person_key(name: &str, about: &str) -> String {
    format!("{}\n{}", folded(name), folded(about))
}

/// A text for comparing: small letters, single spaces, no punctuation.
pub(super) fn folded(text: &str) -> String {
    let plain: String = text
        .to_lowercase()
        .chars()
        .map(|one| if one.is_alphanumeric() { one } else { ' ' })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A post that this phone keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(super) post: Post,
    pub(super) payload: Vec<u8>,
    pub(super) author: Address,
    pub(super) heard_at: UnixTime,
    pub(super) hops: u8,
    /// Orders posts as they came.
    pub(super) serial: u64,
    /// Gossip's name of it, while gossip may have it.
    pub(super) item: Option<[u8; 16]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Call,
    Claim,
    Person,
    Bulletin,
    Room,
}

impl Class {
    /// Most posts of this class.
    fn places(self) -> usize {
        match self {
            // A valley after an earthquake.
            Self::Call => 512,
            Self::Claim => 1_024,
            // A town's worth; about 1 MiB with all that is around them.
            Self::Person => 4_096,
            Self::Bulletin => 128,
            Self::Room => 1_024,
        }
    }

    /// Most posts of one author.
    fn places_of_author(self) -> usize {
        match self {
            Self::Call => 1,
            Self::Claim => 64,
            // A volunteer at the door of a shelter.
            Self::Person => 1_024,
            Self::Bulletin => 16,
            Self::Room => 128,
        }
    }

    /// Most posts of one author whose times lie within a minute.
    fn posts_a_minute(self) -> usize {
        match self {
            Self::Call | Self::Bulletin => 8,
            Self::Claim => 16,
            Self::Person => 64,
            Self::Room => 12,
        }
    }
}

/// How long after it was made a post is worth being put on the air again.
pub(super) fn worth(saying: &Saying) -> Duration {
    match saying {
        Saying::Call(_) | Saying::CallOff(_) | Saying::Claim(_) => Duration::from_secs(3 * 86_400),
        Saying::Person(_) | Saying::Bulletin(_) => Duration::from_secs(30 * 86_400),
        Saying::Room(_) => Duration::from_secs(6 * 3_600),
    }
}

/// How long a post is kept after it was heard.
fn kept(saying: &Saying) -> Duration {
    match saying {
        Saying::Call(_) | Saying::CallOff(_) | Saying::Claim(_) => Duration::from_secs(7 * 86_400),
        Saying::Person(_) | Saying::Bulletin(_) => Duration::from_secs(30 * 86_400),
        Saying::Room(_) => Duration::from_secs(7 * 86_400),
    }
}

/// All posts.
#[derive(Debug, Default)]
pub(super) struct Posts {
    by_slot: BTreeMap<Slot, Held>,
    counts: BTreeMap<Class, usize>,
    by_author: BTreeMap<(Class, Address), BTreeSet<(UnixTime, Slot)>>,
}

impl Posts {
    pub(super) fn find(&self, slot: &Slot) -> Option<&Held> {
        self.by_slot.get(slot)
    }

    pub(super) fn find_mut(&mut self, slot: &Slot) -> Option<&mut Held> {
        self.by_slot.get_mut(slot)
    }

    pub(super) fn range(
        &self,
        range: impl std::ops::RangeBounds<Slot>,
    ) -> impl DoubleEndedIterator<Item = (&Slot, &Held)> {
        self.by_slot.range(range)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Slot, &Held)> {
        self.by_slot.iter()
    }

    /// Puts a post into its slot and returns the one that was there.
    pub(super) fn insert(&mut self, slot: Slot, held: Held) -> Option<Held> {
        let old = self.remove(&slot);
        let class = slot.class();
        let count = self.counts.entry(class).or_default();
        *count = count.saturating_add(1);
        self.by_author
            .entry((class, held.author))
            .or_default()
            .insert((held.post.made, slot.clone()));
        self.by_slot.insert(slot, held);
        old
    }

    pub(super) fn remove(&mut self, slot: &Slot) -> Option<Held> {
        let held = self.by_slot.remove(slot)?;
        let class = slot.class();
        if let Some(count) = self.counts.get_mut(&class) {
            *count = count.saturating_sub(1);
        }
        let key = (class, held.author);
        if let Some(posts) = self.by_author.get_mut(&key) {
            posts.remove(&(held.post.made, slot.clone()));
            if posts.is_empty() {
                self.by_author.remove(&key);
            }
        }
        Some(held)
    }

    /// Whether an author has said so much around the time of this post that it is not taken.
    pub(super) fn is_over_budget(&self, slot: &Slot, post: &Post, author: Address) -> bool {
        let class = slot.class();
        let Some(posts) = self.by_author.get(&(class, author)) else {
            return false;
        };
        let half = Duration::from_secs(30);
        let (from, to) = (post.made - half, post.made + half);
        let near = posts
            .iter()
            .skip_while(|(made, _)| *made < from)
            .take_while(|(made, _)| *made <= to);
        near.count() >= class.posts_a_minute()
    }

    /// What has to go so that the limits hold: the oldest of an author who has too many; then, of the stranger who has
    /// most, the oldest. What is over goes before what is open; contacts and pinned keys go last, the user's own words never.
    pub(super) fn make_room(
        &self,
        newcomer: &Slot,
        own: Address,
        contacts: &BTreeSet<Address>,
        pins: &BTreeMap<Address, String>,
    ) -> Vec<Slot> {
        let class = newcomer.class();
        let mut victims = Vec::new();
        let Some(author) = self.find(newcomer).map(|held| held.author) else {
            return victims;
        };
        if let Some(posts) = self.by_author.get(&(class, author))
            && author != own
        {
            let beyond = posts.len().saturating_sub(class.places_of_author());
            victims.extend(posts.iter().take(beyond).map(|(_, slot)| slot.clone()));
        }
        let count = self.counts.get(&class).copied().unwrap_or(0);
        if count.saturating_sub(victims.len()) > class.places() {
            let authors = self
                .by_author
                .range((class, first_address())..)
                .take_while(|((of, _), _)| *of == class);
            let worst = authors
                .filter(|((_, author), _)| *author != own)
                .max_by_key(|((_, author), posts)| {
                    let known = contacts.contains(author) || pins.contains_key(author);
                    let over = posts.iter().all(|(_, slot)| self.is_over(slot));
                    let oldest = posts.first().map(|(made, _)| std::cmp::Reverse(*made));
                    (!known, over, posts.len(), oldest)
                });
            victims.extend(worst.and_then(|(_, posts)| Some(posts.first()?.1.clone())));
        }
        victims
    }

    fn is_over(&self, slot: &Slot) -> bool {
        self.find(slot)
            .is_some_and(|held| matches!(held.post.saying, Saying::CallOff(_)))
    }

    /// What need not be kept any longer.
    pub(super) fn ended(&self, now: UnixTime) -> Vec<Slot> {
        let ended = |held: &Held| match &held.post.saying {
            Saying::Bulletin(bulletin) => {
                bulletin.until < now || held.heard_at + kept(&held.post.saying) < now
            }
            Saying::Call(_)
            | Saying::CallOff(_)
            | Saying::Claim(_)
            | Saying::Person(_)
            | Saying::Room(_) => held.heard_at + kept(&held.post.saying) < now,
        };
        self.by_slot
            .iter()
            .filter(|(_, held)| ended(held))
            .map(|(slot, _)| slot.clone())
            .collect()
    }
}

/// The address before all others.
pub(super) fn first_address() -> Address {
    Address::from_key_hash([0; 13])
}

/// The address behind all others.
pub(super) fn last_address() -> Address {
    Address::from_key_hash([255; 13])
}
