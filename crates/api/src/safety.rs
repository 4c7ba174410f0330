//! Calls for help, how people are, bulletins.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A place on Earth (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Degrees north, -90 to 90.
    pub latitude: f64,
    /// Degrees east, -180 to 180.
    pub longitude: f64,
    /// How far it may be off, in metres.
    #[serde(default)]
    pub accuracy_m: u16,
}

/// What a caller needs most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Water, food, medicine.
    Supplies,
    /// Cannot get away.
    Stuck,
    /// Not said.
    #[default]
    Unknown,
    /// Somebody is hurt or ill.
    Injured,
    /// Somebody will die without help.
    Life,
}

/// Calls for help, or tells more about the call that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendSos {
    /// In the caller's words; with the name about 120 bytes fit.
    pub note: String,
    /// What is needed most.
    #[serde(default)]
    pub need: Need,
    /// How many people; 0 if unknown.
    #[serde(default)]
    pub people: u8,
    /// Charge of the phone in percent.
    #[serde(default)]
    pub battery: Option<u8>,
    /// Where; without it the place told before stays.
    #[serde(default)]
    pub place: Option<Place>,
}

/// A post that is on disk and on its way to everybody in reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Posted {
    /// Its id, 32 hex digits.
    pub id: String,
}

/// One emergency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sos {
    /// Who calls: an address.
    pub caller: String,
    /// What they are called: by the user, or else by their own words.
    pub name: String,
    /// Whether it is this phone's own call.
    pub own: bool,
    /// When it began, Unix seconds by the caller's clock.
    pub begun: u64,
    /// When the caller last said something about it.
    pub made: u64,
    /// When that was heard here.
    pub heard_at: u64,
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
    /// Links between the caller and this phone when it was heard: how far away, where there is no place.
    pub hops: u8,
    /// Whether the caller has called off.
    pub over: bool,
    /// Whether a helper is on the way.
    pub claimed: bool,
    /// Whether a helper says that help has been given.
    pub done: bool,
    /// What helpers said, the newest word of each, oldest first.
    pub helpers: Vec<Helper>,
}

/// What a helper does about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HelpStep {
    /// Goes there.
    Claimed,
    /// Gives it back.
    Released,
    /// Help has been given.
    Done,
}

/// One helper's newest word about a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Helper {
    /// Who.
    pub helper: String,
    /// What they are called.
    pub name: String,
    /// What they do.
    pub step: HelpStep,
    /// In their words.
    pub note: String,
    /// When, by their clock.
    pub made: u64,
}

/// Says what the user does about somebody's open call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimSos {
    /// What.
    pub step: HelpStep,
    /// In the user's words; about 80 bytes fit.
    #[serde(default)]
    pub note: String,
}

/// How a person is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Safe and well.
    #[default]
    Safe,
    /// Hurt or ill, and cared for.
    Hurt,
    /// Looked for.
    Missing,
    /// Dead.
    Dead,
}

/// Says how a person is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportPerson {
    /// Their name, at most 64 bytes; without it, the user's own.
    #[serde(default)]
    pub name: Option<String>,
    /// What tells them from others of that name, such as a village or a parent; at most 64 bytes.
    #[serde(default)]
    pub about: String,
    /// How they are.
    #[serde(default)]
    pub condition: Condition,
    /// Where they are or were last seen.
    #[serde(default)]
    pub place: Option<Place>,
    /// More, at most 256 bytes.
    #[serde(default)]
    pub note: String,
}

/// What is known of one person, joined from all who said something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Person {
    /// Their name, as the newest source writes it.
    pub name: String,
    /// What tells them from others of that name.
    pub about: String,
    /// The newest word.
    pub condition: Condition,
    /// The newest place that any source gave.
    pub place: Option<Place>,
    /// When the newest word was said.
    pub made: u64,
    /// Who said what, newest first.
    pub sources: Vec<PersonSource>,
}

/// One source's newest word about a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PersonSource {
    /// Who says it: an address.
    pub author: String,
    /// What they are called: by the user, or else by their own words.
    pub reporter: String,
    /// How the person is.
    pub condition: Condition,
    /// Where.
    pub place: Option<Place>,
    /// More.
    pub note: String,
    /// When, by the author's clock.
    pub made: u64,
}

/// How urgent a bulletin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    /// Good to know.
    #[default]
    Information,
    /// Be ready.
    Warning,
    /// Act now.
    Danger,
}

/// Publishes a bulletin, or withdraws one by an empty text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBulletin {
    /// Its title, 1 to 100 bytes; one with the same title is replaced.
    pub title: String,
    /// Its text, at most 800 bytes.
    pub text: String,
    /// How urgent it is.
    #[serde(default)]
    pub urgency: Urgency,
    /// How many hours it holds, 1 to 720.
    pub hours: u16,
}

/// Word from an authority whose key the user has pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bulletin {
    /// Who says it: an address.
    pub author: String,
    /// What the user calls them.
    pub author_name: String,
    /// Whether it is this phone's own.
    pub own: bool,
    /// How urgent it is.
    pub urgency: Urgency,
    /// When it was said.
    pub made: u64,
    /// Until when it holds.
    pub until: u64,
    /// Its title.
    pub title: String,
    /// Its text; empty if it was withdrawn.
    pub text: String,
}

/// Shows an authority's bulletins from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinKey {
    /// An address, an invite, or a contact's name.
    pub who: String,
    /// What to call them.
    #[serde(default)]
    pub name: String,
}

/// An authority whose bulletins are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pin {
    /// Its address.
    pub address: String,
    /// What the user calls it.
    pub name: String,
}
