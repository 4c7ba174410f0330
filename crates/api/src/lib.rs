//! The JSON of the local API, as the node serves it and as the command line and the app read it.
//!
//! Types only: no server, no client, no protocol. Addresses are IPv6 texts, ids and references hex, times Unix seconds,
//! spans microseconds where the name says so. Read [`Status`] and [`Event`] first; `docs/api.md` lists the paths.

mod amount;
mod connection;
mod event;
mod file;
mod light;
mod message;
mod money;
mod people;
mod room;
mod safety;
mod statement;
mod status;
mod tool;

pub use amount::{Amount, ParseAmountError};
pub use connection::{Connection, ErrorBody, OpenKey, VERSION_PREFIX};
pub use event::Event;
pub use file::{FetchState, File, FileOffer, Shared};
pub use light::{LightHead, LightSource, LightStatus};
pub use message::{
    Conversation, Direction, EditText, Message, MessageState, Path, Photo, Queued, React, Reaction,
    SendText, Voice,
};
pub use money::{
    Authorise, Chain, Channel, ChannelPhase, Done, EndChannel, MoneyFlow, MoveFunds, Movement,
    OpenChannel, Pay, PaymentRequest, Preview, RequestPayment, Services, Signed, SignedPayment,
    SubmitPayment, Wallet, Way, Words,
};
pub use people::{
    AddContact, Added, BlockContact, Contact, Identity, Invite, Nearby, Phrase, RenameContact,
    SetName, VerifyContact,
};
pub use room::{MuteList, MutePerson, Muted, RoomMessage, SayInRoom};
pub use safety::{
    Bulletin, ClaimSos, Condition, HelpStep, Helper, Need, Person, PersonSource, Pin, PinKey,
    Place, Posted, PublishBulletin, ReportPerson, SendSos, Sos, Urgency,
};
pub use statement::{Party, Statement, StatementClose, StatementMessage, StatementPayout};
pub use status::{Bundles, Flow, Neighbour, Radio, Status};
pub use tool::{Check, Doctor, Perf, PerfReport, Pong, TraceHop, Verdict, Visibility, Whom};
