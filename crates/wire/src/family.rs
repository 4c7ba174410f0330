//! Which layer a control message belongs to: the first byte of each.

use thiserror::Error;

/// The layers that talk to their like on the neighbour through a link's control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Routes of the zone, searches, epochs.
    Route,
    /// Set-up, confirmation and repair of flows.
    Flow,
    /// Small scoped broadcasts.
    Gossip,
    /// Carried mail.
    Bundle,
}

/// A control message of no known family.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum FamilyError {
    /// No bytes at all.
    #[error("empty control message")]
    Empty,
    /// A family of a later version.
    #[error("unknown control message family {0}")]
    Unknown(u8),
}

impl Family {
    /// The family's byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Route => 1,
            Self::Flow => 2,
            Self::Gossip => 3,
            Self::Bundle => 4,
        }
    }

    /// Puts the family's byte before a body.
    pub fn frame(self, body: &[u8]) -> Vec<u8> {
        let mut message = Vec::with_capacity(body.len().saturating_add(1));
        message.push(self.code());
        message.extend_from_slice(body);
        message
    }

    /// Splits a control message into family and body.
    ///
    /// # Errors
    /// If it is empty or of an unknown family.
    pub fn split(message: &[u8]) -> Result<(Self, &[u8]), FamilyError> {
        let (code, body) = message.split_first().ok_or(FamilyError::Empty)?;
        let family = match code {
            1 => Self::Route,
            2 => Self::Flow,
            3 => Self::Gossip,
            4 => Self::Bundle,
            other => return Err(FamilyError::Unknown(*other)),
        };
        Ok((family, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_round_trip_and_others_are_refused() {
        for family in [Family::Route, Family::Flow, Family::Gossip, Family::Bundle] {
            assert_eq!(
                Family::split(&family.frame(b"body")),
                Ok((family, &b"body"[..]))
            );
        }
        assert_eq!(Family::split(&[]), Err(FamilyError::Empty));
        assert_eq!(Family::split(&[9]), Err(FamilyError::Unknown(9)));
    }
}
