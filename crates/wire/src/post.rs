//! Public posts: what somebody says to everybody near, signed, in the clear, and carried by gossip.
//!
//! ```text
//! post       | version 1 = 1 | kind 1 | author's node key 32 | made 4 | body | Ed25519 signature 64 |      big-endian
//!
//! 1 call     | begun 4 | need 1 | people 1 | battery 1 | place 10 | n 1 | name n | note |        the whole at most 240 bytes
//! 2 call off | begun 4 | note |                                                                  the same
//! 3 claim    | caller 16 | begun 4 | step 1 | n 1 | name n | note |                              the same
//! 4 person   | condition 1 | place 10 | n 1 | name n | m 1 | about m | k 1 | reporter k | note |
//! 5 bulletin | urgency 1 | until 4 | n 1 | title n | text |
//! 6 room     | n 1 | name n | text |
//!
//! place      | latitude 4 | longitude 4 | accuracy 2 |      ten-millionths of a degree, metres; latitude -2^31: none
//! ```
//!
//! The signature has the domain [`POST_DOMAIN`] and covers everything before it. An author's later post takes the place of an
//! earlier one about the same thing, so `made` (Unix seconds, until the year 2106) only grows.

use smartmesh_types::{Address, NodeKey, UnixTime};
use thiserror::Error;

use crate::gossip::{GossipKind, PAYLOAD_BYTES_MAX, SOS_BYTES_MAX};

/// What the signature of a post is for.
pub const POST_DOMAIN: &str = "smartmesh post v1";
/// The longest name of an author or reporter, in bytes of UTF-8.
pub const AUTHOR_NAME_BYTES_MAX: usize = 32;
/// The longest name of a person in a person record, in bytes of UTF-8.
pub const PERSON_NAME_BYTES_MAX: usize = 64;
/// The longest words that tell a person from others of the same name, in bytes of UTF-8.
pub const ABOUT_BYTES_MAX: usize = 64;
/// The longest title of a bulletin, in bytes of UTF-8.
pub const TITLE_BYTES_MAX: usize = 100;
/// The longest text of a bulletin or in the room, in bytes of UTF-8.
pub const POST_TEXT_BYTES_MAX: usize = 800;
/// The longest note of a person record, in bytes of UTF-8.
pub const PERSON_NOTE_BYTES_MAX: usize = 256;

const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 64;
const BATTERY_UNKNOWN: u8 = 255;

/// Why bytes are no post, or a post cannot be sent.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PostError {
    /// Too short, or too long for its kind.
    #[error("a post of {0} bytes is damaged or too long")]
    Length(usize),
    /// A field is out of range or no UTF-8.
    #[error("a field of a post is out of range")]
    Field,
    /// A version or kind that this program does not know.
    #[error("a post of version {version} and kind {kind}")]
    Unknown {
        /// The version.
        version: u8,
        /// The kind.
        kind: u8,
    },
}

/// One signed post.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Who says it.
    pub author: NodeKey,
    /// When, by the author's clock; whole seconds until 2106.
    pub made: UnixTime,
    /// What.
    pub saying: Saying,
    /// Of [`Post::signed_bytes`], under [`POST_DOMAIN`].
    pub signature: [u8; SIGNATURE_BYTES],
}

/// What a post says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    /// Somebody calls for help, or tells more about it.
    Call(Call),
    /// They need help no longer.
    CallOff(CallOff),
    /// A helper takes a call on, is done with it, or gives it back.
    Claim(Claim),
    /// How a person is.
    Person(PersonRecord),
    /// Word from an authority, for those who have pinned its key.
    Bulletin(Bulletin),
    /// Words in the public room.
    Room(RoomText),
}

/// A call for help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When this emergency began; stays the same while it lasts.
    pub begun: UnixTime,
    /// What is needed most.
    pub need: Need,
    /// How many people; 0 if unknown.
    pub people: u8,
    /// Charge of the caller's phone in percent, at most 100.
    pub battery: Option<u8>,
    /// Where.
    pub place: Option<Place>,
    /// What the caller is called, at most [`AUTHOR_NAME_BYTES_MAX`].
    pub name: String,
    /// In the caller's words; what fits.
    pub note: String,
}

/// A call for help taken back by its author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOff {
    /// Which emergency.
    pub begun: UnixTime,
    /// In the caller's words; what fits.
    pub note: String,
}

/// A helper's word about somebody's call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Who called.
    pub caller: Address,
    /// Which emergency.
    pub begun: UnixTime,
    /// What the helper does.
    pub step: Step,
    /// What the helper is called, at most [`AUTHOR_NAME_BYTES_MAX`].
    pub name: String,
    /// In the helper's words; what fits.
    pub note: String,
}

/// How a person is, as they or somebody else says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonRecord {
    /// How they are.
    pub condition: Condition,
    /// Where they are or were last seen.
    pub place: Option<Place>,
    /// Their name, 1 to [`PERSON_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// What tells them from others of that name, such as a village or a parent; at most [`ABOUT_BYTES_MAX`] bytes.
    pub about: String,
    /// What the author is called, at most [`AUTHOR_NAME_BYTES_MAX`] bytes.
    pub reporter: String,
    /// More, at most [`PERSON_NOTE_BYTES_MAX`] bytes.
    pub note: String,
}

/// Word from an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bulletin {
    /// How urgent it is.
    pub urgency: Alert,
    /// Until when it holds.
    pub until: UnixTime,
    /// Its title, 1 to [`TITLE_BYTES_MAX`] bytes. A later bulletin with the same title takes this one's place.
    pub title: String,
    /// Its text, at most [`POST_TEXT_BYTES_MAX`] bytes; an empty one withdraws the bulletin.
    pub text: String,
}

/// Words in the public room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomText {
    /// What the author is called, at most [`AUTHOR_NAME_BYTES_MAX`] bytes.
    pub name: String,
    /// The words, 1 to [`POST_TEXT_BYTES_MAX`] bytes.
    pub text: String,
}

/// A place on Earth (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    latitude_e7: i32,
    longitude_e7: i32,
    accuracy_m: u16,
}

impl Place {
    /// A place in ten-millionths of a degree, and how far it may be off in metres; `None` if there is no such place.
    pub fn new(latitude_e7: i32, longitude_e7: i32, accuracy_m: u16) -> Option<Self> {
        let real = (-900_000_000..=900_000_000).contains(&latitude_e7)
            && (-1_800_000_000..=1_800_000_000).contains(&longitude_e7);
        real.then_some(Self {
            latitude_e7,
            longitude_e7,
            accuracy_m,
        })
    }

    /// Ten-millionths of a degree north.
    pub fn latitude_e7(self) -> i32 {
        self.latitude_e7
    }

    /// Ten-millionths of a degree east.
    pub fn longitude_e7(self) -> i32 {
        self.longitude_e7
    }

    /// How far it may be off, in metres.
    pub fn accuracy_m(self) -> u16 {
        self.accuracy_m
    }
}

/// Defines an enum that is one byte on the air.
macro_rules! byte_enum {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $code:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$doc])* $variant),+
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its byte.
            pub const fn code(self) -> u8 {
                match self {
                    $(Self::$variant => $code),+
                }
            }

            /// The one with this byte.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

byte_enum!(
    /// What a caller needs most; the greater, the sooner.
    Need {
        /// Water, food, medicine.
        Supplies = 1,
        /// Cannot get away: shut in, cut off, lost.
        Stuck = 2,
        /// Not said.
        Unknown = 0,
        /// Somebody is hurt or ill.
        Injured = 3,
        /// Somebody will die without help.
        Life = 4,
    }
);

byte_enum!(
    /// What a helper does about a call.
    Step {
        /// Goes there.
        Claimed = 1,
        /// Gives it back.
        Released = 2,
        /// Help has been given.
        Done = 3,
    }
);

byte_enum!(
    /// How a person is.
    Condition {
        /// Safe and well.
        Safe = 1,
        /// Hurt or ill, and cared for.
        Hurt = 2,
        /// Looked for.
        Missing = 3,
        /// Dead.
        Dead = 4,
    }
);

byte_enum!(
    /// How urgent a bulletin is; the greater, the more.
    Alert {
        /// Good to know.
        Information = 1,
        /// Be ready.
        Warning = 2,
        /// Act now.
        Danger = 3,
    }
);

impl Saying {
    /// The kind's byte.
    pub fn code(&self) -> u8 {
        match self {
            Self::Call(_) => 1,
            Self::CallOff(_) => 2,
            Self::Claim(_) => 3,
            Self::Person(_) => 4,
            Self::Bulletin(_) => 5,
            Self::Room(_) => 6,
        }
    }

    /// As what gossip passes it on.
    pub fn gossip_kind(&self) -> GossipKind {
        match self {
            Self::Call(_) | Self::CallOff(_) | Self::Claim(_) => GossipKind::Sos,
            Self::Person(_) | Self::Bulletin(_) => GossipKind::Safety,
            Self::Room(_) => GossipKind::PublicRoom,
        }
    }

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PostError> {
        match self {
            Self::Call(call) => {
                push_time(bytes, call.begun);
                let battery = call.battery.unwrap_or(BATTERY_UNKNOWN);
                if call.battery.is_some_and(|percent| percent > 100) {
                    return Err(PostError::Field);
                }
                bytes.extend_from_slice(&[call.need.code(), call.people, battery]);
                push_place(bytes, call.place);
                push_text(bytes, &call.name, AUTHOR_NAME_BYTES_MAX)?;
                bytes.extend_from_slice(call.note.as_bytes());
            }
            Self::CallOff(off) => {
                push_time(bytes, off.begun);
                bytes.extend_from_slice(off.note.as_bytes());
            }
            Self::Claim(claim) => {
                bytes.extend_from_slice(&claim.caller.octets());
                push_time(bytes, claim.begun);
                bytes.push(claim.step.code());
                push_text(bytes, &claim.name, AUTHOR_NAME_BYTES_MAX)?;
                bytes.extend_from_slice(claim.note.as_bytes());
            }
            Self::Person(person) => {
                bytes.push(person.condition.code());
                push_place(bytes, person.place);
                if person.name.trim().is_empty() {
                    return Err(PostError::Field);
                }
                push_text(bytes, &person.name, PERSON_NAME_BYTES_MAX)?;
                push_text(bytes, &person.about, ABOUT_BYTES_MAX)?;
                push_text(bytes, &person.reporter, AUTHOR_NAME_BYTES_MAX)?;
                push_rest(bytes, &person.note, PERSON_NOTE_BYTES_MAX)?;
            }
            Self::Bulletin(bulletin) => {
                bytes.push(bulletin.urgency.code());
                push_time(bytes, bulletin.until);
                if bulletin.title.trim().is_empty() {
                    return Err(PostError::Field);
                }
                push_text(bytes, &bulletin.title, TITLE_BYTES_MAX)?;
                push_rest(bytes, &bulletin.text, POST_TEXT_BYTES_MAX)?;
            }
            Self::Room(room) => {
                push_text(bytes, &room.name, AUTHOR_NAME_BYTES_MAX)?;
                if room.text.trim().is_empty() {
                    return Err(PostError::Field);
                }
                push_rest(bytes, &room.text, POST_TEXT_BYTES_MAX)?;
            }
        }
        Ok(())
    }

    fn decode(kind: u8, body: &[u8]) -> Result<Self, PostError> {
        let mut reader = Fields(body);
        match kind {
            1 => Ok(Self::Call(Call {
                begun: reader.time()?,
                need: Need::from_code(reader.byte()?).unwrap_or(Need::Unknown),
                people: reader.byte()?,
                battery: match reader.byte()? {
                    BATTERY_UNKNOWN => None,
                    percent if percent <= 100 => Some(percent),
                    _ => return Err(PostError::Field),
                },
                place: reader.place()?,
                name: reader.text(AUTHOR_NAME_BYTES_MAX)?,
                note: reader.rest(SOS_BYTES_MAX)?,
            })),
            2 => Ok(Self::CallOff(CallOff {
                begun: reader.time()?,
                note: reader.rest(SOS_BYTES_MAX)?,
            })),
            3 => Ok(Self::Claim(Claim {
                caller: Address::from_octets(reader.take()?).ok_or(PostError::Field)?,
                begun: reader.time()?,
                step: Step::from_code(reader.byte()?).ok_or(PostError::Field)?,
                name: reader.text(AUTHOR_NAME_BYTES_MAX)?,
                note: reader.rest(SOS_BYTES_MAX)?,
            })),
            4 => Ok(Self::Person(PersonRecord {
                condition: Condition::from_code(reader.byte()?).ok_or(PostError::Field)?,
                place: reader.place()?,
                name: reader.named(PERSON_NAME_BYTES_MAX)?,
                about: reader.text(ABOUT_BYTES_MAX)?,
                reporter: reader.text(AUTHOR_NAME_BYTES_MAX)?,
                note: reader.rest(PERSON_NOTE_BYTES_MAX)?,
            })),
            5 => Ok(Self::Bulletin(Bulletin {
                urgency: Alert::from_code(reader.byte()?).ok_or(PostError::Field)?,
                until: reader.time()?,
                title: reader.named(TITLE_BYTES_MAX)?,
                text: reader.rest(POST_TEXT_BYTES_MAX)?,
            })),
            6 => {
                let name = reader.text(AUTHOR_NAME_BYTES_MAX)?;
                let text = reader.rest(POST_TEXT_BYTES_MAX)?;
                if text.trim().is_empty() {
                    return Err(PostError::Field);
                }
                Ok(Self::Room(RoomText { name, text }))
            }
            kind => Err(PostError::Unknown {
                version: VERSION,
                kind,
            }),
        }
    }
}

impl Post {
    /// What the signature covers.
    ///
    /// # Errors
    /// If a field is out of range or the post would be too long for its kind.
    pub fn signed_bytes(&self) -> Result<Vec<u8>, PostError> {
        let mut bytes = vec![VERSION, self.saying.code()];
        bytes.extend_from_slice(&self.author.0);
        push_time(&mut bytes, self.made);
        self.saying.encode(&mut bytes)?;
        let whole = bytes.len().saturating_add(SIGNATURE_BYTES);
        if whole > bytes_max(&self.saying) {
            return Err(PostError::Length(whole));
        }
        Ok(bytes)
    }

    /// The post's bytes.
    ///
    /// # Errors
    /// If a field is out of range or the post would be too long for its kind.
    pub fn encode(&self) -> Result<Vec<u8>, PostError> {
        let mut bytes = self.signed_bytes()?;
        bytes.extend_from_slice(&self.signature);
        Ok(bytes)
    }

    /// Reads a post; its signature is not judged here.
    ///
    /// # Errors
    /// If it is damaged, too long for its kind, or of a later version.
    pub fn decode(bytes: &[u8]) -> Result<Self, PostError> {
        let damaged = PostError::Length(bytes.len());
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Err(damaged);
        }
        let (signed, signature) = bytes.split_last_chunk().ok_or(damaged)?;
        let mut reader = Fields(signed);
        let (version, kind) = (reader.byte()?, reader.byte()?);
        if version != VERSION {
            return Err(PostError::Unknown { version, kind });
        }
        let author = NodeKey(reader.take()?);
        let made = reader.time()?;
        let saying = Saying::decode(kind, reader.0)?;
        if bytes.len() > bytes_max(&saying) {
            return Err(damaged);
        }
        Ok(Self {
            author,
            made,
            saying,
            signature: *signature,
        })
    }
}

fn bytes_max(saying: &Saying) -> usize {
    saying.gossip_kind().payload_bytes_max()
}

fn push_time(bytes: &mut Vec<u8>, time: UnixTime) {
    let secs = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&secs.to_be_bytes());
}

fn push_place(bytes: &mut Vec<u8>, place: Option<Place>) {
    let (latitude, longitude, accuracy) = place.map_or((i32::MIN, 0, 0), |place| {
        (place.latitude_e7, place.longitude_e7, place.accuracy_m)
    });
    bytes.extend_from_slice(&latitude.to_be_bytes());
    bytes.extend_from_slice(&longitude.to_be_bytes());
    bytes.extend_from_slice(&accuracy.to_be_bytes());
}

fn push_text(bytes: &mut Vec<u8>, text: &str, longest: usize) -> Result<(), PostError> {
    let length = u8::try_from(text.len()).map_err(|_| PostError::Field)?;
    if text.len() > longest || text.chars().any(char::is_control) {
        return Err(PostError::Field);
    }
    bytes.push(length);
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

fn push_rest(bytes: &mut Vec<u8>, text: &str, longest: usize) -> Result<(), PostError> {
    if text.len() > longest {
        return Err(PostError::Field);
    }
    bytes.extend_from_slice(text.as_bytes());
    Ok(())
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PostError> {
        let (taken, rest) = self
            .0
            .split_first_chunk()
            .ok_or(PostError::Length(self.0.len()))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn byte(&mut self) -> Result<u8, PostError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn time(&mut self) -> Result<UnixTime, PostError> {
        let secs = u32::from_be_bytes(self.take()?);
        Ok(UnixTime::from_secs(u64::from(secs)))
    }

    fn place(&mut self) -> Result<Option<Place>, PostError> {
        let latitude = i32::from_be_bytes(self.take()?);
        let longitude = i32::from_be_bytes(self.take()?);
        let accuracy = u16::from_be_bytes(self.take()?);
        if latitude == i32::MIN {
            // One way only to say that there is none.
            return if longitude == 0 && accuracy == 0 {
                Ok(None)
            } else {
                Err(PostError::Field)
            };
        }
        Place::new(latitude, longitude, accuracy)
            .map(Some)
            .ok_or(PostError::Field)
    }

    fn text(&mut self, longest: usize) -> Result<String, PostError> {
        let length = usize::from(self.byte()?);
        let (text, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(PostError::Length(self.0.len()))?;
        let text = std::str::from_utf8(text).map_err(|_| PostError::Field)?;
        if length > longest || text.chars().any(char::is_control) {
            return Err(PostError::Field);
        }
        self.0 = rest;
        Ok(text.to_owned())
    }

    fn named(&mut self, longest: usize) -> Result<String, PostError> {
        let name = self.text(longest)?;
        if name.trim().is_empty() {
            return Err(PostError::Field);
        }
        Ok(name)
    }

    fn rest(&mut self, longest: usize) -> Result<String, PostError> {
        if self.0.len() > longest {
            return Err(PostError::Field);
        }
        let text = std::str::from_utf8(self.0).map_err(|_| PostError::Field)?;
        self.0 = &[];
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = Option<Place>> {
        (any::<i32>(), any::<i32>(), any::<u16>())
            .prop_map(|(latitude, longitude, accuracy)| Place::new(latitude, longitude, accuracy))
    }

    fn time() -> impl Strategy<Value = UnixTime> {
        any::<u32>().prop_map(|secs| UnixTime::from_secs(u64::from(secs)))
    }

    fn saying() -> impl Strategy<Value = Saying> {
        let address = any::<[u8; 13]>().prop_map(Address::from_key_hash);
        prop_oneof![
            (
                time(),
                0_usize..5,
                any::<u8>(),
                prop::option::of(0_u8..=100),
                place(),
                "[a-zé]{0,16}",
                "[a-z\n]{0,80}"
            )
                .prop_map(|(begun, need, people, battery, place, name, note)| {
                    let need = Need::ALL[need];
                    Saying::Call(Call {
                        begun,
                        need,
                        people,
                        battery,
                        place,
                        name,
                        note,
                    })
                }),
            (time(), "[a-z]{0,80}")
                .prop_map(|(begun, note)| Saying::CallOff(CallOff { begun, note })),
            (address, time(), 0_usize..3, "[a-z]{0,32}", "[a-z]{0,60}").prop_map(
                |(caller, begun, step, name, note)| {
                    let step = Step::ALL[step];
                    Saying::Claim(Claim {
                        caller,
                        begun,
                        step,
                        name,
                        note,
                    })
                }
            ),
            (
                0_usize..4,
                place(),
                "[a-zé]{1,32}",
                "[a-z]{0,64}",
                "[a-z]{0,32}",
                "[a-z]{0,256}"
            )
                .prop_map(|(condition, place, name, about, reporter, note)| {
                    let condition = Condition::ALL[condition];
                    Saying::Person(PersonRecord {
                        condition,
                        place,
                        name,
                        about,
                        reporter,
                        note,
                    })
                }),
            (0_usize..3, time(), "[a-z]{1,100}", "[a-z]{0,800}").prop_map(
                |(urgency, until, title, text)| {
                    let urgency = Alert::ALL[urgency];
                    Saying::Bulletin(Bulletin {
                        urgency,
                        until,
                        title,
                        text,
                    })
                }
            ),
            ("[a-z]{0,32}", "[a-z]{1,800}")
                .prop_map(|(name, text)| Saying::Room(RoomText { name, text })),
        ]
    }

    proptest! {
        #[test]
        fn posts_round_trip(saying in saying(), made in time(), author in any::<[u8; 32]>(), fill in any::<u8>()) {
            let post = Post { author: NodeKey(author), made, saying, signature: [fill; 64] };
            let bytes = post.encode().unwrap();
            prop_assert!(bytes.len() <= bytes_max(&post.saying));
            prop_assert_eq!(Post::decode(&bytes), Ok(post));
        }

        #[test]
        fn arbitrary_bytes_cause_errors_only(kind in 0_u8..8, rest in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Post::decode(&rest);
            let bytes = [&[VERSION, kind][..], &rest].concat();
            if let Ok(post) = Post::decode(&bytes) {
                // Unknown needs read as unknown, all else is kept to the byte.
                prop_assert_eq!(Post::decode(&post.encode().unwrap()), Ok(post));
            }
        }
    }

    fn call(note: &str) -> Post {
        Post {
            author: NodeKey([1; 32]),
            made: UnixTime::from_secs(5),
            saying: Saying::Call(Call {
                begun: UnixTime::from_secs(5),
                need: Need::Injured,
                people: 2,
                battery: Some(9),
                place: Place::new(12_345_678, -98_765_432, 15),
                name: "Amina".into(),
                note: note.into(),
            }),
            signature: [7; 64],
        }
    }

    #[test]
    fn a_call_fits_two_small_frames_or_is_refused() {
        let most = SOS_BYTES_MAX - call("").encode().unwrap().len();
        assert!(most >= 100, "{most}");
        assert_eq!(
            call(&"x".repeat(most)).encode().unwrap().len(),
            SOS_BYTES_MAX
        );
        assert_eq!(
            call(&"x".repeat(most + 1)).encode(),
            Err(PostError::Length(241))
        );
    }

    #[test]
    fn the_more_is_needed_the_greater() {
        assert!(Need::Life > Need::Injured && Need::Injured > Need::Unknown);
        assert!(Need::Unknown > Need::Stuck && Need::Stuck > Need::Supplies);
    }
}
