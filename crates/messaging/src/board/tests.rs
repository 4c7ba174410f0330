//! Phones that hear each other's posts in any order, twice, late, or not at all.

use super::*;
use crate::{Bulletin, Condition, Need, PersonRecord, Place, Step};
use proptest::prelude::*;
use smartmesh_types::RequestId;
use smartmesh_wire::gossip::{GossipKind, SOS_BYTES_MAX};

struct Phone {
    board: Board,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What it put on the air.
    air: Vec<(GossipKind, Vec<u8>)>,
    events: Vec<BoardEvent>,
    refused: usize,
    dropped: usize,
    now: Now,
}

fn identity(n: u8) -> Identity {
    Identity::from_secret([n; 32])
}

fn start(n: u8, disk: BTreeMap<Vec<u8>, Vec<u8>>, now: Now) -> Phone {
    let records = disk.iter().map(|(key, value)| Record {
        key: key.clone(),
        value: Some(value.clone()),
    });
    let name = format!("phone {n}");
    let board = Board::restore(&identity(n), &name, &Seed::new([n; 32]), records, now).unwrap();
    Phone {
        board,
        disk,
        air: Vec::new(),
        events: Vec::new(),
        refused: 0,
        dropped: 0,
        now,
    }
}

fn phone(n: u8) -> Phone {
    let now = Now {
        instant: Instant::from_millis(1_000),
        unix: UnixTime::from_secs(1_795_400_000),
    };
    start(n, BTreeMap::new(), now)
}

impl Phone {
    fn drain(&mut self) {
        while let Some(output) = self.board.poll_output() {
            match output {
                BoardOutput::Persist(Record { key, value }) => match value {
                    Some(value) => drop(self.disk.insert(key, value)),
                    None => drop(self.disk.remove(&key)),
                },
                BoardOutput::Publish { kind, payload, .. } => self.air.push((kind, payload)),
                BoardOutput::Refuse { .. } => self.refused += 1,
                BoardOutput::Drop { .. } => self.dropped += 1,
                BoardOutput::Event(event) => self.events.push(event),
            }
        }
    }

    fn ask(&mut self, command: BoardCommand) -> Result<(), BoardError> {
        let result = self
            .board
            .handle(BoardInput::Command(RequestId(1), command), self.now);
        self.drain();
        result
    }

    fn hear(&mut self, payload: &[u8]) {
        let item = *sha256(&[payload]).first_chunk().unwrap();
        let heard = BoardInput::Heard {
            item,
            payload: payload.to_vec(),
            hops: 2,
        };
        self.board.handle(heard, self.now).unwrap();
        self.drain();
    }

    fn wait(&mut self, step: Duration) {
        self.now = self.now.after(step);
        self.board.handle(BoardInput::Tick, self.now).unwrap();
        self.drain();
    }

    fn said(&self) -> Vec<Vec<u8>> {
        self.air
            .iter()
            .map(|(_, payload)| payload.clone())
            .collect()
    }

    fn call(&mut self, need: Need, note: &str) {
        let call = CallForHelp {
            need,
            people: 1,
            battery: Some(50),
            place: None,
            note: note.into(),
        };
        self.ask(BoardCommand::Call(call)).unwrap();
    }

    fn report(&mut self, name: &str, condition: Condition) {
        let person = PersonRecord {
            condition,
            place: None,
            name: name.into(),
            about: String::new(),
            reporter: String::new(),
            note: String::new(),
        };
        self.ask(BoardCommand::Report(person)).unwrap();
    }
}

fn address(n: u8) -> Address {
    identity(n).address()
}

#[test]
fn a_call_is_heard_claimed_done_and_called_off() {
    let (mut caller, mut helper) = (phone(1), phone(2));
    let place = Place::new(-12_920_661, 368_219_462, 8);
    let call = CallForHelp {
        need: Need::Injured,
        people: 2,
        battery: Some(9),
        place,
        note: "under the bridge".into(),
    };
    caller.ask(BoardCommand::Call(call)).unwrap();
    let (kind, payload) = caller.air.pop().unwrap();
    assert_eq!(kind, GossipKind::Sos);
    assert!(payload.len() <= SOS_BYTES_MAX);
    helper.hear(&payload);
    let BoardEvent::Call(seen) = &helper.events[0] else {
        panic!("{:?}", helper.events)
    };
    assert_eq!((seen.caller, seen.place, seen.hops), (address(1), place, 2));
    assert_eq!(seen.name, "phone 1");
    let claim = |step| BoardCommand::Claim {
        caller: address(1),
        step,
        note: String::new(),
    };
    helper.ask(claim(Step::Claimed)).unwrap();
    caller.hear(&helper.said()[0]);
    assert!(caller.board.calls()[0].is_claimed());
    // A later word keeps the place and the beginning.
    caller.now = caller.now.after(Duration::from_secs(30));
    caller.call(Need::Life, "worse");
    helper.hear(&caller.said()[0]);
    let seen = &helper.board.calls()[0];
    assert_eq!((seen.need, seen.place), (Need::Life, place));
    assert!(seen.is_claimed(), "the claim is of the same emergency");
    helper.ask(claim(Step::Done)).unwrap();
    assert!(helper.board.calls()[0].is_done());
    caller
        .ask(BoardCommand::CallOff {
            note: "thanks".into(),
        })
        .unwrap();
    helper.hear(caller.said().last().unwrap());
    assert!(helper.board.calls()[0].over);
    assert_eq!(helper.board.calls()[0].note, "thanks");
    assert_eq!(
        helper.ask(claim(Step::Claimed)),
        Err(BoardError::NoCall(address(1)))
    );
    assert_eq!(
        caller.ask(BoardCommand::CallOff {
            note: String::new()
        }),
        Err(BoardError::NoOwnCall)
    );
}

#[test]
fn the_call_off_stands_whatever_comes_late_and_over_a_restart() {
    let (mut caller, mut other) = (phone(1), phone(2));
    caller.call(Need::Stuck, "x");
    caller
        .ask(BoardCommand::CallOff {
            note: String::new(),
        })
        .unwrap();
    let said = caller.said();
    other.hear(&said[1]);
    other.hear(&said[0]);
    assert!(other.board.calls()[0].over);
    assert_eq!(other.dropped, 1, "the old call goes no further");
    let mut other = start(2, other.disk, other.now);
    other.hear(&said[0]);
    assert!(other.board.calls()[0].over);
    // The caller's clock is set back, and its next word stands all the same.
    let mut caller = start(1, caller.disk, Now::default());
    caller.call(Need::Life, "again");
    other.hear(&caller.said()[0]);
    assert!(!other.board.calls()[0].over);
}

#[test]
fn nobody_calls_or_calls_off_for_another() {
    let (mut caller, mut other) = (phone(1), phone(2));
    caller.call(Need::Stuck, "x");
    let mut forged = caller.said()[0].clone();
    forged[40] ^= 1;
    other.hear(&forged);
    other.hear(&forged[..60]);
    other.hear(b"");
    assert_eq!((other.refused, other.board.calls().len()), (3, 0));
    assert_eq!(other.board.counters().forged, 1);
    assert_eq!(other.board.counters().malformed, 2);
}

#[test]
fn helpers_see_the_most_urgent_first() {
    let mut helper = phone(9);
    for (n, need) in [(1, Need::Supplies), (2, Need::Life), (3, Need::Injured)] {
        let mut caller = phone(n);
        caller.call(need, "x");
        helper.hear(&caller.said()[0]);
    }
    let claim = BoardCommand::Claim {
        caller: address(2),
        step: Step::Claimed,
        note: String::new(),
    };
    let order =
        |helper: &Phone| -> Vec<_> { helper.board.calls().iter().map(|call| call.need).collect() };
    assert_eq!(order(&helper), [Need::Life, Need::Injured, Need::Supplies]);
    helper.ask(claim).unwrap();
    assert_eq!(order(&helper), [Need::Injured, Need::Supplies, Need::Life]);
}

#[test]
fn two_partitions_join_what_they_know_of_people() {
    let (mut north, mut south) = (phone(1), phone(2));
    for n in 0..20 {
        north.report(&format!("Person {n}"), Condition::Safe);
        south.now = south.now.after(Duration::from_secs(1));
        south.report(&format!("person  {}", n + 15), Condition::Hurt);
    }
    north.report("Amina", Condition::Missing);
    south.now = south.now.after(Duration::from_secs(60));
    south.report("AMINA", Condition::Safe);
    for payload in north.said() {
        south.hear(&payload);
    }
    for payload in south.said() {
        north.hear(&payload);
    }
    for phone in [&north, &south] {
        assert_eq!(phone.board.people("").len(), 36);
        let found = phone.board.people("amina");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].condition, Condition::Safe);
        let sources: Vec<_> = found[0].sources.iter().map(|one| one.author).collect();
        assert_eq!(sources, [address(2), address(1)]);
    }
    assert_eq!(north.board.people(""), south.board.people(""));
}

#[test]
fn bulletins_are_shown_of_pinned_keys_alone_also_those_heard_before() {
    let (mut town, mut reader) = (phone(1), phone(2));
    let bulletin = |text: &str| {
        BoardCommand::Publish(Bulletin {
            urgency: crate::Alert::Danger,
            until: UnixTime::from_secs(1_795_400_000 + 3_600),
            title: "Water".into(),
            text: text.into(),
        })
    };
    town.ask(bulletin("Boil it.")).unwrap();
    reader.hear(&town.said()[0]);
    assert!(reader.events.is_empty() && reader.board.bulletins().is_empty());
    let pin = BoardCommand::Pin {
        address: address(1),
        name: "Town hall".into(),
    };
    reader.ask(pin).unwrap();
    assert_eq!(reader.board.bulletins()[0].pinned_as, "Town hall");
    let mut reader = start(2, reader.disk, reader.now);
    assert_eq!(reader.board.bulletins()[0].text, "Boil it.");
    town.ask(bulletin("")).unwrap();
    reader.hear(&town.said()[1]);
    assert!(reader.board.bulletins().is_empty());
    reader.wait(Duration::from_secs(3_700));
    assert!(reader.disk.keys().all(|key| key.starts_with(b"pin/")));
}

#[test]
fn the_room_hides_whom_the_user_mutes_and_lists_can_be_adopted() {
    let (mut ann, mut bo, mut cy) = (phone(1), phone(2), phone(3));
    let say = |text: &str| BoardCommand::Say { text: text.into() };
    ann.ask(say("hello all")).unwrap();
    cy.ask(say("spam")).unwrap();
    for payload in [ann.said(), cy.said()].concat() {
        bo.hear(&payload);
    }
    assert_eq!(bo.board.room(10).len(), 2);
    bo.ask(BoardCommand::Mute {
        address: address(3),
    })
    .unwrap();
    assert_eq!(bo.board.room(10)[0].text, "hello all");
    assert_eq!(bo.board.room(10).len(), 1);
    let list = bo.board.mute_list();
    let adopt = BoardCommand::AdoptMutes { text: list.clone() };
    ann.ask(adopt).unwrap();
    assert_eq!(ann.board.muted().collect::<Vec<_>>(), [address(3)]);
    let mut ann = start(1, ann.disk, ann.now);
    ann.hear(&cy.said()[0]);
    assert_eq!(ann.board.room(10).len(), 1);
    ann.ask(BoardCommand::Unmute {
        address: address(3),
    })
    .unwrap();
    assert_eq!(ann.board.room(10).len(), 2);
    let mut forged = list.into_bytes();
    forged[30] = if forged[30] == b'A' { b'B' } else { b'A' };
    let forged = BoardCommand::AdoptMutes {
        text: String::from_utf8(forged).unwrap(),
    };
    assert_eq!(ann.ask(forged), Err(BoardError::NoList));
}

#[test]
fn who_says_too_much_is_heard_no_further_and_others_still_are() {
    let (mut loud, mut quiet, mut reader) = (phone(1), phone(2), phone(3));
    let mut refused = 0;
    for n in 0..40 {
        let say = BoardCommand::Say {
            text: format!("{n}"),
        };
        if loud.ask(say) == Err(BoardError::TooFast(60)) {
            refused += 1;
            loud.now = loud.now.after(Duration::from_secs(1));
        }
    }
    assert!(refused > 20, "{refused}");
    // A changed program signs as much as it likes.
    for n in 0..100_u32 {
        let mut post = Post {
            author: identity(1).key(),
            made: UnixTime::from_secs(1_795_400_000),
            saying: Saying::Room(smartmesh_wire::post::RoomText {
                name: String::new(),
                text: n.to_string(),
            }),
            signature: [0; 64],
        };
        post.signature = identity(1).sign(POST_DOMAIN, &post.signed_bytes().unwrap());
        reader.hear(&post.encode().unwrap());
    }
    assert_eq!(reader.board.room(1_000).len(), 12);
    assert_eq!(reader.board.counters().over_budget, 88);
    quiet.ask(BoardCommand::Say { text: "hi".into() }).unwrap();
    reader.hear(&quiet.said()[0]);
    assert_eq!(reader.board.room(1_000).len(), 13);
}

#[test]
fn what_still_counts_goes_on_the_air_again_and_ends_in_time() {
    let (mut north, mut south) = (phone(1), phone(2));
    north.call(Need::Life, "x");
    south.hear(&north.said()[0]);
    let day = Duration::from_secs(86_400 + 1_100);
    south.wait(Duration::from_secs(86_000));
    assert!(south.air.is_empty(), "gossip has it still");
    south.wait(day - Duration::from_secs(86_000));
    assert_eq!(south.said(), north.said());
    // Hearing it again from another saves the next turn.
    south.air.clear();
    south.hear(&north.said()[0]);
    south.wait(Duration::from_secs(86_000));
    assert!(south.air.is_empty());
    for _ in 0..10 {
        south.wait(day);
    }
    assert!(south.air.len() < 3, "an old call is not worth the air");
    assert!(south.board.calls().is_empty() && south.disk.is_empty());
}

#[test]
fn a_flood_of_strangers_does_not_push_out_contacts() {
    let mut reader = phone(200);
    reader
        .board
        .handle(BoardInput::Contacts(vec![address(1)]), reader.now)
        .unwrap();
    let mut friend = phone(1);
    friend.call(Need::Supplies, "a friend");
    reader.hear(&friend.said()[0]);
    for n in 0..700_u32 {
        let secret = sha256(&[&n.to_be_bytes()]);
        let stranger = Identity::from_secret(secret);
        let mut post = Post {
            author: stranger.key(),
            made: UnixTime::from_secs(1_795_400_000 + u64::from(n)),
            saying: Saying::Call(smartmesh_wire::post::Call {
                begun: UnixTime::from_secs(1_795_400_000),
                need: Need::Life,
                people: 0,
                battery: None,
                place: None,
                name: String::new(),
                note: String::new(),
            }),
            signature: [0; 64],
        };
        post.signature = stranger.sign(POST_DOMAIN, &post.signed_bytes().unwrap());
        reader.hear(&post.encode().unwrap());
    }
    let calls = reader.board.calls();
    assert_eq!(calls.len(), 512);
    assert!(calls.iter().any(|call| call.note == "a friend"));
    assert_eq!(reader.disk.len(), 512);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn phones_that_heard_the_same_hold_the_same(order in prop::collection::vec(any::<prop::sample::Index>(), 60)) {
        let mut authors: Vec<_> = (1..=3).map(phone).collect();
        let mut posts = Vec::new();
        for round in 0..4_u8 {
            for author in &mut authors {
                author.now = author.now.after(Duration::from_secs(u64::from(round)));
                author.report(if round % 2 == 0 { "Amina" } else { "Yusuf" }, Condition::ALL[usize::from(round)]);
                author.call(Need::ALL[usize::from(round)], "x");
            }
        }
        for author in &authors {
            posts.extend(author.said());
        }
        let (mut straight, mut shuffled) = (phone(8), phone(9));
        posts.iter().for_each(|post| straight.hear(post));
        // Any order, with doubles; then the rest.
        order.iter().for_each(|index| shuffled.hear(index.get::<Vec<u8>>(&posts)));
        posts.iter().rev().for_each(|post| shuffled.hear(post));
        prop_assert_eq!(straight.board.people(""), shuffled.board.people(""));
        prop_assert_eq!(straight.board.calls(), shuffled.board.calls());
        prop_assert_eq!(straight.disk.keys().collect::<Vec<_>>(), shuffled.disk.keys().collect::<Vec<_>>());
        // And what is on disk is the same board.
        let again = start(9, shuffled.disk.clone(), shuffled.now);
        prop_assert_eq!(again.board.people(""), straight.board.people(""));
    }

    #[test]
    fn arbitrary_posts_cause_counts_only(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut phone = phone(1);
        phone.hear(&payload);
        prop_assert!(phone.events.is_empty());
    }
}
