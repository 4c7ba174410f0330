//! Messages of gossip: small scoped broadcasts, passed from neighbour to neighbour.
//!
//! A body (without the [`crate::Family`] byte) is one CBOR array `[variant, [fields…]]`:
//!
//! ```text
//! Items    [0, [ [item…] ]]                   at most 64
//! Digest   [1, [ ids ]]                       the first 8 bytes of each item the sender has and may still pass on
//! Request  [2, [ ids ]]                       send me these
//!
//! item     [kind, scope, hops, life_secs, age_secs, payload]
//! ids      one byte string of 8 bytes each, at most 512
//! ```
//!
//! `kind`, `scope` and `life_secs` are the origin's; with the payload they make the item's id. `hops` and `age_secs` grow on
//! the way.

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::ids::ShortIds;

/// Largest payload of an item, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1_024;
/// Largest payload of an SOS, in bytes: with its headers it fits two frames of the smallest radio.
pub const SOS_BYTES_MAX: usize = 240;
/// Largest message, in bytes: what a link's control channel carries, less the family byte.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1_024 - 1;
/// Most items in one message.
pub const ITEMS_MAX: usize = 64;
/// Most ids in one digest or request.
pub const IDS_MAX: usize = 512;

/// What an item is about, in the order in which items are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GossipKind {
    /// A call for help.
    Sos,
    /// How people are, and word from authorities.
    Safety,
    /// Held mail is announced to readers in the zone.
    MailOffer,
    /// Receipts that clear copies of carried mail.
    MailAck,
    /// One-time keys of a person, for sealing mail while they are away.
    Prekeys,
    /// Block headers and cheque heads.
    Heads,
    /// The public room.
    PublicRoom,
}

impl GossipKind {
    /// All kinds, in the order in which they are sent.
    pub const ALL: [Self; 7] = [
        Self::Sos,
        Self::Safety,
        Self::MailOffer,
        Self::MailAck,
        Self::Prekeys,
        Self::Heads,
        Self::PublicRoom,
    ];

    /// The kind's byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Sos => 0,
            Self::MailOffer => 1,
            Self::MailAck => 2,
            Self::Prekeys => 3,
            Self::Heads => 4,
            Self::PublicRoom => 5,
            Self::Safety => 6,
        }
    }

    /// The kind of this byte, or `None` for one of a later version.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Sos),
            1 => Some(Self::MailOffer),
            2 => Some(Self::MailAck),
            3 => Some(Self::Prekeys),
            4 => Some(Self::Heads),
            5 => Some(Self::PublicRoom),
            6 => Some(Self::Safety),
            _ => None,
        }
    }

    /// Largest payload of this kind, in bytes.
    pub const fn payload_bytes_max(self) -> usize {
        match self {
            Self::Sos => SOS_BYTES_MAX,
            Self::Safety
            | Self::MailOffer
            | Self::MailAck
            | Self::Prekeys
            | Self::Heads
            | Self::PublicRoom => PAYLOAD_BYTES_MAX,
        }
    }
}

/// One broadcast as it stands on a link.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// The code of a [`GossipKind`]; an unknown one is dropped by the reader.
    #[n(0)]
    pub kind: u8,
    /// How many links it may cross, as its origin chose.
    #[n(1)]
    pub scope: u8,
    /// How many links it has crossed, this one included.
    #[n(2)]
    pub hops: u8,
    /// Seconds of age at which it ends, as its origin chose.
    #[n(3)]
    pub life_secs: u32,
    /// Seconds it has been on its way, counted by those who held it.
    #[n(4)]
    pub age_secs: u32,
    /// The upper layer's bytes, signed there.
    #[cbor(n(5), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
}

impl Item {
    /// Bytes that an item costs beside its payload, for budgets.
    pub const OVERHEAD_BYTES: usize = 20;

    /// The six bytes that, with the payload, name the item: kind, scope, life.
    pub fn fixed_bytes(&self) -> [u8; 6] {
        let [a, b, c, d] = self.life_secs.to_be_bytes();
        [self.kind, self.scope, a, b, c, d]
    }
}

/// What neighbours tell one another about gossip.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum GossipMessage {
    /// Items in full.
    #[n(0)]
    Items(#[n(0)] Vec<Item>),
    /// Items the sender has and may still pass on.
    #[n(1)]
    Digest(#[n(0)] ShortIds),
    /// Items the sender wants.
    #[n(2)]
    Request(#[n(0)] ShortIds),
}

/// Why bytes are no gossip message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum GossipDecodeError {
    /// Larger than [`MESSAGE_BYTES_MAX`].
    #[error("gossip message of {0} bytes")]
    TooLong(usize),
    /// More entries than [`ITEMS_MAX`] or [`IDS_MAX`], or none.
    #[error("gossip message with {0} entries")]
    Entries(usize),
    /// A payload larger than [`PAYLOAD_BYTES_MAX`].
    #[error("gossip payload of {0} bytes")]
    Payload(usize),
    /// Not the CBOR of this module.
    #[error("malformed gossip message")]
    Malformed,
}

impl GossipMessage {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    /// Reads a message, its size capped before anything is parsed.
    ///
    /// # Errors
    /// If it is too long, malformed, or has too many entries.
    pub fn decode(body: &[u8]) -> Result<Self, GossipDecodeError> {
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(GossipDecodeError::TooLong(body.len()));
        }
        let message: Self = minicbor::decode(body).map_err(|_| GossipDecodeError::Malformed)?;
        let (entries, most) = match &message {
            Self::Items(items) => (items.len(), ITEMS_MAX),
            Self::Digest(ids) | Self::Request(ids) => (ids.0.len(), IDS_MAX),
        };
        if entries == 0 || entries > most {
            return Err(GossipDecodeError::Entries(entries));
        }
        if let Self::Items(items) = &message
            && let Some(item) = items
                .iter()
                .find(|item| item.payload.len() > PAYLOAD_BYTES_MAX)
        {
            return Err(GossipDecodeError::Payload(item.payload.len()));
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShortId;
    use proptest::prelude::*;

    fn any_message() -> impl Strategy<Value = GossipMessage> {
        let item = (
            any::<[u8; 3]>(),
            any::<[u32; 2]>(),
            prop::collection::vec(any::<u8>(), 0..200),
        )
            .prop_map(
                |([kind, scope, hops], [life_secs, age_secs], payload)| Item {
                    kind,
                    scope,
                    hops,
                    life_secs,
                    age_secs,
                    payload,
                },
            );
        let ids = || prop::collection::vec(any::<[u8; 8]>().prop_map(ShortId), 1..IDS_MAX);
        prop_oneof![
            prop::collection::vec(item, 1..ITEMS_MAX).prop_map(GossipMessage::Items),
            ids().prop_map(|ids| GossipMessage::Digest(ShortIds(ids))),
            ids().prop_map(|ids| GossipMessage::Request(ShortIds(ids))),
        ]
    }

    proptest! {
        #[test]
        fn messages_round_trip(message in any_message()) {
            let bytes = message.encode();
            prop_assert_eq!(GossipMessage::decode(&bytes), Ok(message));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(message) = GossipMessage::decode(&bytes) {
                prop_assert_eq!(GossipMessage::decode(&message.encode()), Ok(message));
            }
        }
    }

    #[test]
    fn limits_hold() {
        assert_eq!(
            GossipMessage::decode(&vec![0; MESSAGE_BYTES_MAX + 1]),
            Err(GossipDecodeError::TooLong(MESSAGE_BYTES_MAX + 1))
        );
        let empty = GossipMessage::Digest(ShortIds(Vec::new())).encode();
        assert_eq!(
            GossipMessage::decode(&empty),
            Err(GossipDecodeError::Entries(0))
        );
        let many = GossipMessage::Request(ShortIds(vec![ShortId([0; 8]); IDS_MAX + 1])).encode();
        assert_eq!(
            GossipMessage::decode(&many),
            Err(GossipDecodeError::Entries(IDS_MAX + 1))
        );
        let item = Item {
            kind: 5,
            scope: 1,
            hops: 1,
            life_secs: 1,
            age_secs: 0,
            payload: vec![0; 1_025],
        };
        let large = GossipMessage::Items(vec![item]).encode();
        assert_eq!(
            GossipMessage::decode(&large),
            Err(GossipDecodeError::Payload(1_025))
        );
    }

    #[test]
    fn kinds_round_trip() {
        for kind in GossipKind::ALL {
            assert_eq!(GossipKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!(GossipKind::from_code(7), None);
    }
}
