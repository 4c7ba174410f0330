//! Facts on disk.
//!
//! | key | holds |
//! |---|---|
//! | `post/` SHA-256 of the slot 32 | one post, and how it was heard |
//! | `pin/` address 16 | a pinned key's local name |
//! | `mute/` address 16 | nothing: the person is muted |

use minicbor::{Decode, Encode};
use smartmesh_crypto::{address_of, sha256};
use smartmesh_types::{Address, UnixTime};
use smartmesh_wire::post::Post;

use super::held::{Held, Slot};
use super::{AFTER_START, Board, post_id};
use crate::border::Record;
use crate::records::RestoreError;

const VERSION: u8 = 1;

#[derive(Encode, Decode)]
#[cbor(map)]
struct PostFields {
    #[cbor(n(0), with = "minicbor::bytes")]
    payload: Vec<u8>,
    #[n(1)]
    heard_at: u64,
    #[n(2)]
    hops: u8,
    #[n(3)]
    serial: u64,
}

fn key(slot: &Slot) -> Vec<u8> {
    let name = format!("{slot:?}");
    [&b"post/"[..], &sha256(&[name.as_bytes()])].concat()
}

pub(super) fn post(slot: &Slot, held: &Held) -> Record {
    let fields = PostFields {
        payload: held.payload.clone(),
        heard_at: held.heard_at.as_secs(),
        hops: held.hops,
        serial: held.serial,
    };
    let mut value = vec![VERSION];
    minicbor::encode(fields, &mut value).expect("writing into a vector does not fail");
    Record {
        key: key(slot),
        value: Some(value),
    }
}

pub(super) fn removal(slot: &Slot) -> Record {
    Record {
        key: key(slot),
        value: None,
    }
}

pub(super) fn pin(address: Address, name: Option<&str>) -> Record {
    Record {
        key: [&b"pin/"[..], &address.octets()].concat(),
        value: name.map(|name| [&[VERSION][..], name.as_bytes()].concat()),
    }
}

pub(super) fn mute(address: Address, muted: bool) -> Record {
    Record {
        key: [&b"mute/"[..], &address.octets()].concat(),
        value: muted.then(|| vec![VERSION]),
    }
}

impl Board {
    /// Takes in one record of an earlier start.
    pub(super) fn apply_record(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let shown = || key.escape_ascii().to_string();
        let damaged = || RestoreError::Damaged(shown());
        let fields = match value.split_first() {
            Some((&VERSION, fields)) => fields,
            Some((version, _)) => return Err(RestoreError::Version(shown(), *version)),
            None => return Err(damaged()),
        };
        if key.starts_with(b"post/") {
            return self.apply_post(fields).ok_or_else(damaged);
        }
        let address = |prefix: &[u8]| {
            let rest = key.strip_prefix(prefix)?;
            Address::from_octets(rest.try_into().ok()?)
        };
        if let Some(address) = address(b"pin/") {
            let name = String::from_utf8(fields.to_vec()).map_err(|_| damaged())?;
            self.pins.insert(address, name);
            return Ok(());
        }
        self.mutes.insert(address(b"mute/").ok_or_else(damaged)?);
        Ok(())
    }

    fn apply_post(&mut self, fields: &[u8]) -> Option<()> {
        let fields: PostFields = minicbor::decode(fields).ok()?;
        let post = Post::decode(&fields.payload).ok()?;
        let author = address_of(&post.author);
        let slot = Slot::of(&post, author, post_id(&fields.payload));
        if author == self.identity.address() {
            self.last_made = self.last_made.max(post.made);
        }
        self.serial = self.serial.max(fields.serial);
        let at = self.now.instant + AFTER_START + self.spread();
        self.again.insert((at, slot.clone()));
        let held = Held {
            post,
            payload: fields.payload,
            author,
            heard_at: UnixTime::from_secs(fields.heard_at),
            hops: fields.hops,
            serial: fields.serial,
            item: None,
        };
        self.posts.insert(slot, held);
        Some(())
    }
}
