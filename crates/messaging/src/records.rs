//! Facts on disk: a key, and a value of one version byte and CBOR with numbered fields.
//!
//! | key | holds |
//! |---|---|
//! | `account` | the ratchet account and its prekeys |
//! | `person/` address 16 | who somebody is, and their keys |
//! | `session/` address 16, session id 32 | one ratchet session |
//! | `outbox/` message id 16 | a message under way, with its sealed form |
//! | `arrived/` message id 16 | a message of our own that has arrived |
//! | `inbox/` message id 16 | a received message's trace, with its content until the shell has stored it |

use minicbor::{Decode, Encode};
use smartmesh_crypto::{RatchetAccount, RatchetSession};
use smartmesh_types::{Address, Duration, Instant, MessageId, NodeKey, UnixTime};
use smartmesh_wire::message::Body;
use thiserror::Error;

use crate::border::{Record, Standing, Urgency, Via};
use crate::inbox::{Received, Unstored};
use crate::keys::OwnKeys;
use crate::outbox::{Arrived, Deposited, Item, Sealing};
use crate::peer::{Contact, PeerKeys, Slot};
use crate::state::MessageState;

const VERSION: u8 = 1;

/// Why the records cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RestoreError {
    /// A record was written by a later version of the program.
    #[error("record {0} is of version {1}; this program is older than the data")]
    Version(String, u8),
    /// A record is damaged.
    #[error("record {0} is damaged")]
    Damaged(String),
}

/// One record, read.
pub(crate) enum Fact {
    Account(Box<OwnKeys>),
    Person(Address, Contact),
    Session(Address, Box<Slot>),
    Outbox(MessageId, Item),
    Arrived(MessageId, Arrived),
    Inbox(MessageId, Received),
}

/// Which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Account,
    Person(Address),
    Session(Address, [u8; 32]),
    Outbox(MessageId),
    Arrived(MessageId),
    Inbox(MessageId),
}

impl Key {
    fn encode(self) -> Vec<u8> {
        match self {
            Self::Account => b"account".to_vec(),
            Self::Person(address) => [&b"person/"[..], &address.octets()].concat(),
            Self::Session(address, id) => [&b"session/"[..], &address.octets(), &id].concat(),
            Self::Outbox(id) => [&b"outbox/"[..], &id.0].concat(),
            Self::Arrived(id) => [&b"arrived/"[..], &id.0].concat(),
            Self::Inbox(id) => [&b"inbox/"[..], &id.0].concat(),
        }
    }

    fn decode(key: &[u8]) -> Option<Self> {
        if key == b"account" {
            return Some(Self::Account);
        }
        if let Some(rest) = key.strip_prefix(b"person/") {
            return Some(Self::Person(Address::from_octets(rest.try_into().ok()?)?));
        }
        if let Some(rest) = key.strip_prefix(b"session/") {
            let (address, id) = rest.split_first_chunk()?;
            let address = Address::from_octets(*address)?;
            return Some(Self::Session(address, id.try_into().ok()?));
        }
        let id = |prefix: &[u8]| {
            let rest = key.strip_prefix(prefix)?;
            rest.try_into().ok().map(MessageId)
        };
        id(b"outbox/")
            .map(Self::Outbox)
            .or_else(|| id(b"arrived/").map(Self::Arrived))
            .or_else(|| id(b"inbox/").map(Self::Inbox))
    }

    /// The record that removes this key.
    pub(crate) fn removal(self) -> Record {
        Record {
            key: self.encode(),
            value: None,
        }
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct AccountFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    account: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    fresh: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    given: Vec<u8>,
    #[cbor(n(3), with = "minicbor::bytes")]
    fallback: [u8; 32],
    #[n(4)]
    fallback_since: u64,
    #[n(5)]
    rotation_secs: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct PersonFields {
    #[n(0)]
    standing: u8,
    #[n(1)]
    name: String,
    #[n(2)]
    proposed: String,
    #[cbor(n(3), with = "minicbor::bytes")]
    node_key: Option<Vec<u8>>,
    #[n(4)]
    keys: Option<KeyFields>,
    #[n(5)]
    serial: u64,
    #[n(6)]
    verified: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct KeyFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    seal_key: [u8; 32],
    #[cbor(n(1), with = "minicbor::bytes")]
    ratchet_key: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    fallback: [u8; 32],
    #[cbor(n(3), with = "minicbor::bytes")]
    one_time: Vec<u8>,
    #[n(4)]
    expires: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SessionFields {
    #[n(0)]
    used: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    session: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct OutboxFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    to: [u8; 16],
    #[n(1)]
    serial: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    body: Vec<u8>,
    #[n(3)]
    expires: u64,
    #[n(4)]
    urgent: bool,
    #[cbor(n(5), with = "minicbor::bytes")]
    sealed: Option<Vec<u8>>,
    #[cbor(n(6), with = "minicbor::bytes")]
    receipt: Option<Vec<u8>>,
    #[cbor(n(7), with = "minicbor::bytes")]
    deposits: Vec<u8>,
    #[cbor(n(8), with = "minicbor::bytes")]
    session: Option<Vec<u8>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ArrivedFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    to: [u8; 16],
    #[n(1)]
    serial: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct InboxFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    from: [u8; 16],
    #[n(1)]
    until: u64,
    #[cbor(n(2), with = "minicbor::bytes")]
    body: Option<Vec<u8>>,
    #[n(3)]
    received_at: Option<u64>,
    #[n(4)]
    carried: Option<bool>,
}

pub(crate) fn account(keys: &OwnKeys) -> Record {
    let fields = AccountFields {
        account: keys.account.to_stored().to_vec(),
        fresh: keys.fresh.concat(),
        given: keys.given.iter().flatten().copied().collect(),
        fallback: keys.fallback,
        fallback_since: keys.fallback_since.as_secs(),
        rotation_secs: keys.rotation_secs,
    };
    write(Key::Account, fields)
}

pub(crate) fn person(address: Address, contact: &Contact) -> Record {
    let fields = PersonFields {
        standing: match contact.standing {
            Standing::Contact => 0,
            Standing::Stranger => 1,
            Standing::Blocked => 2,
        },
        name: contact.name.clone(),
        proposed: contact.proposed.clone(),
        node_key: contact.key.map(|key| key.0.to_vec()),
        keys: contact.keys.as_ref().map(|keys| KeyFields {
            seal_key: keys.seal_key,
            ratchet_key: keys.ratchet_key,
            fallback: keys.fallback,
            one_time: keys.one_time.concat(),
            expires: keys.expires.as_secs(),
        }),
        serial: contact.serial,
        verified: contact.verified.then_some(true),
    };
    write(Key::Person(address), fields)
}

pub(crate) fn session(address: Address, slot: &Slot) -> Record {
    let fields = SessionFields {
        used: slot.used,
        session: slot.session.to_stored().to_vec(),
    };
    write(Key::Session(address, slot.id), fields)
}

/// The record of a message under way; `None` if its content is beyond the limits, which the commands refuse.
pub(crate) fn outbox(id: MessageId, item: &Item) -> Option<Record> {
    let body = Body {
        id,
        sent_at: item.sent_at,
        content: item.content.clone(),
    };
    let fields = OutboxFields {
        to: item.to.octets(),
        serial: item.serial,
        body: body.encode().ok()?,
        expires: item.expires.as_secs(),
        urgent: item.urgency == Urgency::Urgent,
        sealed: item.sealing.as_ref().map(|sealing| sealing.bytes.clone()),
        receipt: item
            .sealing
            .as_ref()
            .map(|sealing| sealing.receipt.to_vec()),
        deposits: item.deposits.concat(),
        session: item
            .sealing
            .as_ref()
            .map(|sealing| sealing.session.to_vec()),
    };
    Some(write(Key::Outbox(id), fields))
}

pub(crate) fn arrived(id: MessageId, arrived: &Arrived) -> Record {
    let fields = ArrivedFields {
        to: arrived.to.octets(),
        serial: arrived.serial,
    };
    write(Key::Arrived(id), fields)
}

/// The record of a received message; a content beyond the limits was refused when it came.
pub(crate) fn inbox(id: MessageId, received: &Received) -> Record {
    let unstored = received.unstored.as_ref();
    let body = unstored.and_then(|unstored| {
        let body = Body {
            id,
            sent_at: unstored.sent_at,
            content: unstored.content.clone(),
        };
        body.encode().ok()
    });
    let fields = InboxFields {
        from: received.from.octets(),
        until: received.until.as_secs(),
        body,
        received_at: unstored.map(|unstored| unstored.received_at.as_secs()),
        carried: unstored.map(|unstored| unstored.via == Via::Bundle),
    };
    write(Key::Inbox(id), fields)
}

fn write<T: Encode<()>>(key: Key, fields: T) -> Record {
    let mut value = vec![VERSION];
    minicbor::encode(fields, &mut value).expect("writing into a vector does not fail");
    Record {
        key: key.encode(),
        value: Some(value),
    }
}

/// Reads a record; `None` for a removal.
pub(crate) fn read(record: &Record) -> Result<Option<Fact>, RestoreError> {
    let Some(value) = &record.value else {
        return Ok(None);
    };
    let shown = || record.key.escape_ascii().to_string();
    match value.split_first() {
        Some((&VERSION, fields)) => read_fields(&record.key, fields)
            .map(Some)
            .ok_or_else(|| RestoreError::Damaged(shown())),
        Some((version, _)) => Err(RestoreError::Version(shown(), *version)),
        None => Err(RestoreError::Damaged(shown())),
    }
}

fn read_fields(key: &[u8], fields: &[u8]) -> Option<Fact> {
    match Key::decode(key)? {
        Key::Account => read_account(decode(fields)?).map(|own| Fact::Account(Box::new(own))),
        Key::Person(address) => {
            read_person(decode(fields)?).map(|contact| Fact::Person(address, contact))
        }
        Key::Session(address, id) => {
            let fields: SessionFields = decode(fields)?;
            let session = RatchetSession::from_stored(&fields.session).ok()?;
            let used = fields.used;
            (session.id() == id)
                .then_some(Fact::Session(address, Box::new(Slot { id, session, used })))
        }
        Key::Outbox(id) => read_outbox(decode(fields)?).map(|item| Fact::Outbox(id, item)),
        Key::Arrived(id) => {
            let fields: ArrivedFields = decode(fields)?;
            let to = Address::from_octets(fields.to)?;
            let serial = fields.serial;
            Some(Fact::Arrived(id, Arrived { to, serial }))
        }
        Key::Inbox(id) => read_inbox(decode(fields)?).map(|received| Fact::Inbox(id, received)),
    }
}

fn decode<T: for<'b> Decode<'b, ()>>(fields: &[u8]) -> Option<T> {
    minicbor::decode(fields).ok()
}

fn read_account(fields: AccountFields) -> Option<OwnKeys> {
    Some(OwnKeys {
        account: RatchetAccount::from_stored(&fields.account).ok()?,
        fresh: keys(&fields.fresh)?,
        given: keys(&fields.given)?.into(),
        fallback: fields.fallback,
        fallback_since: UnixTime::from_secs(fields.fallback_since),
        rotation_secs: fields.rotation_secs,
    })
}

fn read_person(fields: PersonFields) -> Option<Contact> {
    let node_key = fields.node_key.map(|key| key.try_into().map(NodeKey));
    let peer_keys = fields.keys.map(|fields| {
        Some(PeerKeys {
            seal_key: fields.seal_key,
            ratchet_key: fields.ratchet_key,
            fallback: fields.fallback,
            one_time: keys(&fields.one_time)?,
            expires: UnixTime::from_secs(fields.expires),
        })
    });
    Some(Contact {
        standing: match fields.standing {
            0 => Standing::Contact,
            1 => Standing::Stranger,
            2 => Standing::Blocked,
            _ => return None,
        },
        name: fields.name,
        proposed: fields.proposed,
        verified: fields.verified.unwrap_or(false),
        key: node_key.transpose().ok()?,
        keys: match peer_keys {
            Some(keys) => Some(keys?),
            None => None,
        },
        serial: fields.serial,
    })
}

fn read_outbox(fields: OutboxFields) -> Option<Item> {
    let body = Body::decode(&fields.body).ok()?;
    let expires = UnixTime::from_secs(fields.expires);
    let sealing = match (fields.sealed, fields.receipt, fields.session) {
        (Some(bytes), Some(receipt), Some(session)) => Some(Sealing {
            bytes,
            receipt: receipt.try_into().ok()?,
            session: session.try_into().ok()?,
        }),
        (None, None, None) => None,
        _ => return None,
    };
    Some(Item {
        to: Address::from_octets(fields.to)?,
        serial: fields.serial,
        content: body.content,
        sent_at: body.sent_at,
        expires,
        urgency: if fields.urgent {
            Urgency::Urgent
        } else {
            Urgency::Normal
        },
        sealing,
        deposits: keys(&fields.deposits)?,
        state: MessageState::Waiting { until: expires },
        queued_at: Instant::ZERO,
        flown_at: None,
        retry: Duration::ZERO,
        carried: 0,
        deposited: Deposited::No,
    })
}

fn read_inbox(fields: InboxFields) -> Option<Received> {
    let unstored = match fields.body {
        None => None,
        Some(body) => {
            let body = Body::decode(&body).ok()?;
            Some(Unstored {
                sent_at: body.sent_at,
                received_at: UnixTime::from_secs(fields.received_at?),
                via: if fields.carried? {
                    Via::Bundle
                } else {
                    Via::Flow
                },
                content: body.content,
            })
        }
    };
    Some(Received {
        from: Address::from_octets(fields.from)?,
        until: UnixTime::from_secs(fields.until),
        unstored,
    })
}

fn keys(bytes: &[u8]) -> Option<Vec<[u8; 32]>> {
    let (keys, rest) = bytes.as_chunks();
    rest.is_empty().then(|| keys.to_vec())
}
