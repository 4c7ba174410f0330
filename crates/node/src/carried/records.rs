//! Facts on disk about carried files.
//!
//! ```text
//! o | message 16    version 1 = 1 | to 16 | expires 8 | reference 32 or 64                    a file that goes out
//! e | message 16    version 1 = 1 | here 1 | parts 4 | expires 8 | reference 32 or 64         a file that is expected
//! ```

use smartmesh_types::{Address, MessageId, UnixTime};

use super::{Expected, Outgoing};
use crate::{Node, Record};

/// First byte of the keys of carried files' records.
pub(crate) const CARRIED_RECORDS: u8 = 3;

const VERSION: u8 = 1;
const OUTGOING: u8 = b'o';
const EXPECTED: u8 = b'e';

/// One fact, read back.
pub(super) enum Fact {
    Outgoing(MessageId, Outgoing),
    Expected(MessageId, Expected),
}

fn record(kind: u8, message: MessageId, value: Option<Vec<u8>>) -> Record {
    let mut key = vec![kind];
    key.extend_from_slice(&message.0);
    Node::carried_record(key, value)
}

pub(super) fn outgoing(message: MessageId, outgoing: &Outgoing) -> Record {
    let expires = outgoing.expires.as_secs().to_be_bytes();
    let to = outgoing.to.octets();
    let value = [&[VERSION][..], &to, &expires, &outgoing.reference].concat();
    record(OUTGOING, message, Some(value))
}

pub(super) fn outgoing_gone(message: MessageId) -> Record {
    record(OUTGOING, message, None)
}

pub(super) fn expected(message: MessageId, expected: &Expected) -> Record {
    let expires = expected.expires.as_secs().to_be_bytes();
    let parts = expected.parts.to_be_bytes();
    let here = [u8::from(expected.here)];
    let value = [&[VERSION][..], &here, &parts, &expires, &expected.reference].concat();
    record(EXPECTED, message, Some(value))
}

pub(super) fn expected_gone(message: MessageId) -> Record {
    record(EXPECTED, message, None)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// Reads a record whose key has lost the byte that names its owner.
pub(super) fn parse(mut key: &[u8], mut value: &[u8]) -> Option<Fact> {
    let (key, value) = (&mut key, &mut value);
    let [kind] = take(key)?;
    let message = MessageId(take(key)?);
    let [version] = take(value)?;
    if version != VERSION || !key.is_empty() {
        return None;
    }
    match kind {
        OUTGOING => {
            let to = Address::from_octets(take(value)?)?;
            let expires = UnixTime::from_secs(u64::from_be_bytes(take(value)?));
            let outgoing = Outgoing {
                to,
                reference: value.to_vec(),
                expires,
                parts: None,
            };
            Some(Fact::Outgoing(message, outgoing))
        }
        EXPECTED => {
            let [here] = take(value)?;
            let parts = u32::from_be_bytes(take(value)?);
            let expires = UnixTime::from_secs(u64::from_be_bytes(take(value)?));
            let expected = Expected {
                reference: value.to_vec(),
                expires,
                parts,
                here: here != 0,
            };
            Some(Fact::Expected(message, expected))
        }
        _ => None,
    }
}
