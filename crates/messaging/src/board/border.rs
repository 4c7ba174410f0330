//! What goes into the board and what comes out.

use smartmesh_types::{Address, Duration, MessageId, RequestId, UnixTime};
use smartmesh_wire::gossip::GossipKind;
use smartmesh_wire::post::{Alert, Bulletin, Condition, Need, PersonRecord, Place, Step};
use thiserror::Error;

use crate::border::Record;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardInput {
    /// A local request; answered by [`BoardEvent::Answer`] with the same id, or refused by the error of `handle`.
    Command(RequestId, BoardCommand),
    /// Gossip brought a post.
    Heard {
        /// Gossip's own name of the item, for [`BoardOutput::Refuse`].
        item: [u8; 16],
        /// The post.
        payload: Vec<u8>,
        /// Links it has crossed, as the relays say.
        hops: u8,
    },
    /// The user's contacts are these: what they say is never dropped for the sake of strangers.
    Contacts(Vec<Address>),
    /// Nothing but time has passed.
    Tick,
}

/// What a user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardCommand {
    /// Calls for help, or tells more about the call that is open.
    Call(CallForHelp),
    /// Takes the open call back.
    CallOff {
        /// In the user's words.
        note: String,
    },
    /// Says what this user does about somebody's open call.
    Claim {
        /// Who calls.
        caller: Address,
        /// What is done.
        step: Step,
        /// In the user's words.
        note: String,
    },
    /// Says how a person is.
    Report(PersonRecord),
    /// Publishes a bulletin.
    Publish(Bulletin),
    /// Shows bulletins of this key from now on.
    Pin {
        /// Whose.
        address: Address,
        /// What the user calls them, at most 64 bytes.
        name: String,
    },
    /// Shows them no longer.
    Unpin {
        /// Whose.
        address: Address,
    },
    /// Says something in the room.
    Say {
        /// The words.
        text: String,
    },
    /// Hides somebody in the room.
    Mute {
        /// Whom.
        address: Address,
    },
    /// Shows them again.
    Unmute {
        /// Whom.
        address: Address,
    },
    /// Takes in a list of muted people that somebody signed ([`crate::Board::mute_list`]).
    AdoptMutes {
        /// The list's text.
        text: String,
    },
    /// From now on the user is called this; at most 32 bytes are shown.
    Name(String),
}

/// A call for help, as the user gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallForHelp {
    /// What is needed most.
    pub need: Need,
    /// How many people; 0 if unknown.
    pub people: u8,
    /// Charge of the phone in percent.
    pub battery: Option<u8>,
    /// Where; without one, the place told before stays.
    pub place: Option<Place>,
    /// In the caller's words.
    pub note: String,
}

/// Why a command is refused; nothing has changed then.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BoardError {
    /// A field is too long, empty or out of range.
    #[error("{0}")]
    Invalid(&'static str),
    /// There is no open call of this person.
    #[error("{0} does not call for help")]
    NoCall(Address),
    /// The user has no open call.
    #[error("you have no open call for help")]
    NoOwnCall,
    /// Said too much in a short time.
    #[error("that is too much at once for everybody near; try again in {0} s")]
    TooFast(u64),
    /// A bounded table is full.
    #[error("too many {0}")]
    Full(&'static str),
    /// The text is no list of muted people, or its signature is wrong.
    #[error("this is no list of muted people, or it is damaged")]
    NoList,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardOutput {
    /// Must be durable before any later output is carried out.
    Persist(Record),
    /// Broadcast a post. If gossip knows it still, that is well.
    Publish {
        /// As what.
        kind: GossipKind,
        /// How many links it may cross.
        scope: u8,
        /// How long gossip keeps it.
        life: Duration,
        /// The post.
        payload: Vec<u8>,
    },
    /// The post is forged: it goes no further, and its bringer pays for it.
    Refuse {
        /// Gossip's name of the item.
        item: [u8; 16],
    },
    /// The post is not needed any more: it goes no further.
    Drop {
        /// Gossip's name of the item.
        item: [u8; 16],
    },
    /// Tell the user.
    Event(BoardEvent),
}

/// What the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoardEvent {
    /// A command was carried out and is on disk.
    Answer {
        /// Which.
        request: RequestId,
        /// The post that came of it, if one did.
        post: Option<MessageId>,
    },
    /// Somebody calls for help, tells more, is helped, or calls off.
    Call(CallView),
    /// There is news about a person.
    Person(PersonView),
    /// A bulletin of a pinned key is new, changed or withdrawn.
    Bulletin(BulletinView),
    /// Somebody said something in the room.
    Room(RoomView),
}

/// One emergency as the user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    /// Who calls.
    pub caller: Address,
    /// What they are called, by their own words.
    pub name: String,
    /// When the emergency began, by the caller's clock.
    pub begun: UnixTime,
    /// When they last said something about it.
    pub made: UnixTime,
    /// When that was heard here.
    pub heard_at: UnixTime,
    /// What is needed most.
    pub need: Need,
    /// How many people; 0 if unknown.
    pub people: u8,
    /// Charge of the caller's phone in percent.
    pub battery: Option<u8>,
    /// Where.
    pub place: Option<Place>,
    /// In the caller's words.
    pub note: String,
    /// Links between the caller and this phone when it was heard; 0 for one's own.
    pub hops: u8,
    /// Whether the caller has called off.
    pub over: bool,
    /// What helpers said, the newest word of each, oldest first.
    pub helpers: Vec<HelperView>,
}

impl CallView {
    /// Whether help has been given, as a helper says.
    pub fn is_done(&self) -> bool {
        self.helpers.iter().any(|helper| helper.step == Step::Done)
    }

    /// Whether somebody is on the way.
    pub fn is_claimed(&self) -> bool {
        self.helpers
            .iter()
            .any(|helper| helper.step == Step::Claimed)
    }
}

/// One helper's newest word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperView {
    /// Who.
    pub helper: Address,
    /// What they are called, by their own words.
    pub name: String,
    /// What they do.
    pub step: Step,
    /// In their words.
    pub note: String,
    /// When, by their clock.
    pub made: UnixTime,
}

/// What is known of one person, joined from all who said something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonView {
    /// Their name, as the newest source writes it.
    pub name: String,
    /// What tells them from others of that name.
    pub about: String,
    /// The newest word.
    pub condition: Condition,
    /// The newest place that any source gave.
    pub place: Option<Place>,
    /// When the newest word was said.
    pub made: UnixTime,
    /// Who said what, newest first.
    pub sources: Vec<SourceView>,
}

/// One source's newest word about a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceView {
    /// Who says it.
    pub author: Address,
    /// What they are called, by their own words.
    pub reporter: String,
    /// How the person is.
    pub condition: Condition,
    /// Where.
    pub place: Option<Place>,
    /// More.
    pub note: String,
    /// When, by the author's clock.
    pub made: UnixTime,
}

/// One bulletin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulletinView {
    /// Who says it.
    pub author: Address,
    /// What the user calls them; empty if the key is not pinned.
    pub pinned_as: String,
    /// How urgent it is.
    pub urgency: Alert,
    /// When it was said.
    pub made: UnixTime,
    /// Until when it holds.
    pub until: UnixTime,
    /// Its title.
    pub title: String,
    /// Its text; empty if it was withdrawn.
    pub text: String,
}

/// Words in the room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomView {
    /// The post's name.
    pub id: MessageId,
    /// Who.
    pub author: Address,
    /// What they are called, by their own words.
    pub name: String,
    /// The words.
    pub text: String,
    /// When, by the author's clock.
    pub made: UnixTime,
    /// When it was heard here.
    pub heard_at: UnixTime,
    /// Links between.
    pub hops: u8,
}
