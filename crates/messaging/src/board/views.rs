//! The board as the user sees it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use smartmesh_types::{Address, MessageId};
use smartmesh_wire::post::{Call, Saying};

use super::held::{Held, Slot, first_address, folded, last_address};
use super::{Board, BulletinView, CallView, HelperView, PersonView, RoomView, SourceView};

/// The call in a post, if it is one and not called off.
pub(super) fn open_call(held: &Held) -> Option<&Call> {
    match &held.post.saying {
        Saying::Call(call) => Some(call),
        Saying::CallOff(_)
        | Saying::Claim(_)
        | Saying::Person(_)
        | Saying::Bulletin(_)
        | Saying::Room(_) => None,
    }
}

impl Board {
    /// All calls, as a helper wants them: open and unclaimed first, then by need, then the weakest battery, then the oldest.
    pub fn calls(&self) -> Vec<CallView> {
        let range = Slot::Call(first_address())..=Slot::Call(last_address());
        let callers = self.posts.range(range).map(|(_, held)| held.author);
        let mut calls: Vec<_> = callers.filter_map(|caller| self.call_of(caller)).collect();
        calls.sort_by_key(|call| {
            (
                call.over,
                call.is_done(),
                call.is_claimed(),
                Reverse(call.need),
                call.battery.unwrap_or(101),
                call.begun,
            )
        });
        calls
    }

    /// Whether this phone's user calls for help now.
    pub fn own_call(&self) -> Option<CallView> {
        self.call_of(self.identity.address())
            .filter(|call| !call.over)
    }

    pub(super) fn call_of(&self, caller: Address) -> Option<CallView> {
        let held = self.posts.find(&Slot::Call(caller))?;
        let (begun, off_note) = match &held.post.saying {
            Saying::Call(call) => (call.begun, None),
            Saying::CallOff(off) => (off.begun, Some(off.note.clone())),
            Saying::Claim(_) | Saying::Person(_) | Saying::Bulletin(_) | Saying::Room(_) => {
                return None;
            }
        };
        let call = open_call(held);
        Some(CallView {
            caller,
            name: call.map(|call| call.name.clone()).unwrap_or_default(),
            begun,
            made: held.post.made,
            heard_at: held.heard_at,
            need: call.map_or(smartmesh_wire::post::Need::Unknown, |call| call.need),
            people: call.map_or(0, |call| call.people),
            battery: call.and_then(|call| call.battery),
            place: call.and_then(|call| call.place),
            note: call.map_or(off_note.clone().unwrap_or_default(), |call| {
                call.note.clone()
            }),
            hops: held.hops,
            over: off_note.is_some(),
            helpers: self.helpers_of(caller, begun),
        })
    }

    fn helpers_of(&self, caller: Address, begun: smartmesh_types::UnixTime) -> Vec<HelperView> {
        let range = Slot::Claim(caller, first_address())..=Slot::Claim(caller, last_address());
        let mut helpers: Vec<_> = self
            .posts
            .range(range)
            .filter_map(|(_, held)| match &held.post.saying {
                Saying::Claim(claim) if claim.begun == begun => Some(HelperView {
                    helper: held.author,
                    name: claim.name.clone(),
                    step: claim.step,
                    note: claim.note.clone(),
                    made: held.post.made,
                }),
                Saying::Call(_)
                | Saying::CallOff(_)
                | Saying::Claim(_)
                | Saying::Person(_)
                | Saying::Bulletin(_)
                | Saying::Room(_) => None,
            })
            .collect();
        helpers.sort_by_key(|helper| (helper.made, helper.helper));
        helpers
    }

    /// People whose name, or what tells them apart, has all the words of the query; by name. An empty query finds all.
    pub fn people(&self, query: &str) -> Vec<PersonView> {
        let query = folded(query);
        let words: Vec<_> = query.split(' ').filter(|word| !word.is_empty()).collect();
        let mut found: BTreeMap<&String, ()> = BTreeMap::new();
        for (slot, _) in self.posts.iter() {
            if let Slot::Person(key, _) = slot
                && words.iter().all(|word| key.contains(word))
            {
                found.insert(key, ());
            }
        }
        found.keys().filter_map(|key| self.person_of(key)).collect()
    }

    pub(super) fn person_of(&self, key: &str) -> Option<PersonView> {
        let range = Slot::Person(key.to_owned(), first_address())
            ..=Slot::Person(key.to_owned(), last_address());
        let mut words: Vec<_> = self
            .posts
            .range(range)
            .filter_map(|(_, held)| match &held.post.saying {
                Saying::Person(person) => Some((held, person)),
                Saying::Call(_)
                | Saying::CallOff(_)
                | Saying::Claim(_)
                | Saying::Bulletin(_)
                | Saying::Room(_) => None,
            })
            .collect();
        // The same order on every phone: by time, then by author.
        words.sort_by_key(|(held, _)| (Reverse(held.post.made), held.author));
        let (newest, person) = *words.first()?;
        Some(PersonView {
            name: person.name.clone(),
            about: person.about.clone(),
            condition: person.condition,
            place: words.iter().find_map(|(_, person)| person.place),
            made: newest.post.made,
            sources: words
                .iter()
                .map(|(held, person)| SourceView {
                    author: held.author,
                    reporter: person.reporter.clone(),
                    condition: person.condition,
                    place: person.place,
                    note: person.note.clone(),
                    made: held.post.made,
                })
                .collect(),
        })
    }

    pub(super) fn shows_bulletins_of(&self, author: Address) -> bool {
        self.pins.contains_key(&author) || author == self.identity.address()
    }

    pub(super) fn bulletin_slots(&self, author: Address) -> impl Iterator<Item = Slot> {
        self.posts
            .range(Slot::Bulletin(author, String::new())..)
            .map(|(slot, _)| slot)
            .take_while(move |slot| matches!(slot, Slot::Bulletin(of, _) if *of == author))
            .cloned()
    }

    /// Bulletins of pinned keys and the user's own that hold, the most urgent first.
    pub fn bulletins(&self) -> Vec<BulletinView> {
        let authors = self.pins.keys().copied().chain([self.identity.address()]);
        let mut authors: Vec<_> = authors.collect();
        authors.sort_unstable();
        authors.dedup();
        let mut bulletins: Vec<_> = authors
            .into_iter()
            .flat_map(|author| self.bulletin_slots(author))
            .filter_map(|slot| self.bulletin_of(&slot))
            .filter(|bulletin| !bulletin.text.is_empty() && bulletin.until >= self.now.unix)
            .collect();
        bulletins.sort_by_key(|bulletin| (Reverse(bulletin.urgency), Reverse(bulletin.made)));
        bulletins
    }

    pub(super) fn bulletin_of(&self, slot: &Slot) -> Option<BulletinView> {
        let held = self.posts.find(slot)?;
        match &held.post.saying {
            Saying::Bulletin(bulletin) => Some(BulletinView {
                author: held.author,
                pinned_as: self.pins.get(&held.author).cloned().unwrap_or_default(),
                urgency: bulletin.urgency,
                made: held.post.made,
                until: bulletin.until,
                title: bulletin.title.clone(),
                text: bulletin.text.clone(),
            }),
            Saying::Call(_)
            | Saying::CallOff(_)
            | Saying::Claim(_)
            | Saying::Person(_)
            | Saying::Room(_) => None,
        }
    }

    /// Keys whose bulletins are shown, with their local names.
    pub fn pins(&self) -> impl Iterator<Item = (Address, &str)> {
        self.pins
            .iter()
            .map(|(address, name)| (*address, name.as_str()))
    }

    /// The newest lines of the room, oldest first, without those of muted people.
    pub fn room(&self, limit: usize) -> Vec<RoomView> {
        let range = Slot::Room(MessageId([0; 16]))..=Slot::Room(MessageId([255; 16]));
        let mut lines: Vec<_> = self.posts.range(range).collect();
        lines.sort_by_key(|(_, held)| (held.post.made, held.serial));
        let shown: Vec<_> = lines
            .iter()
            .rev()
            .filter_map(|(slot, _)| self.room_of(slot))
            .take(limit)
            .collect();
        shown.into_iter().rev().collect()
    }

    /// One line of the room, unless its author is muted.
    pub(super) fn room_of(&self, slot: &Slot) -> Option<RoomView> {
        let Slot::Room(id) = slot else {
            return None;
        };
        let held = self.posts.find(slot)?;
        match &held.post.saying {
            Saying::Room(room) if !self.mutes.contains(&held.author) => Some(RoomView {
                id: *id,
                author: held.author,
                name: room.name.clone(),
                text: room.text.clone(),
                made: held.post.made,
                heard_at: held.heard_at,
                hops: held.hops,
            }),
            Saying::Call(_)
            | Saying::CallOff(_)
            | Saying::Claim(_)
            | Saying::Person(_)
            | Saying::Bulletin(_)
            | Saying::Room(_) => None,
        }
    }
}
