//! Why something was not taken, as one byte.

/// Why an update was not taken; nothing of it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// The channel is not known here.
    UnknownChannel,
    /// It must be re-established first.
    NotEstablished,
    /// The deposit is not confirmed here yet.
    NotConfirmed,
    /// The signature is not the payer's.
    BadSignature,
    /// The number is below the newest one.
    OldNumber,
    /// The number is the newest one's, the content is not.
    Contradiction,
    /// A number was left out.
    Gap,
    /// The payer does not have that much, or would go below its reserve.
    Overspent,
    /// A lock is malformed, expires too soon or too late, or there are too many.
    BadLock,
    /// The root is not that of the locks.
    BadRoot,
    /// A lock was dropped without release, claim or expiry.
    DroppedLock,
    /// The tick fields break a rule.
    BadTicks,
    /// The channel is closing.
    Closing,
    /// The payee takes no payments now.
    Busy,
    /// The terms asked for are not acceptable.
    BadTerms,
    /// Of a later version.
    Other(u8),
}

impl Refusal {
    const KNOWN: [Self; 15] = [
        Self::UnknownChannel,
        Self::NotEstablished,
        Self::NotConfirmed,
        Self::BadSignature,
        Self::OldNumber,
        Self::Contradiction,
        Self::Gap,
        Self::Overspent,
        Self::BadLock,
        Self::BadRoot,
        Self::DroppedLock,
        Self::BadTicks,
        Self::Closing,
        Self::Busy,
        Self::BadTerms,
    ];

    /// Its byte.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Other(code) => code,
            Self::UnknownChannel => 1,
            Self::NotEstablished => 2,
            Self::NotConfirmed => 3,
            Self::BadSignature => 4,
            Self::OldNumber => 5,
            Self::Contradiction => 6,
            Self::Gap => 7,
            Self::Overspent => 8,
            Self::BadLock => 9,
            Self::BadRoot => 10,
            Self::DroppedLock => 11,
            Self::BadTicks => 12,
            Self::Closing => 13,
            Self::Busy => 14,
            Self::BadTerms => 15,
        }
    }

    /// The refusal that a byte means.
    #[must_use]
    pub fn from_code(code: u8) -> Self {
        usize::from(code)
            .checked_sub(1)
            .and_then(|at| Self::KNOWN.get(at))
            .copied()
            .unwrap_or(Self::Other(code))
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownChannel => "the channel is not known there",
            Self::NotEstablished => "the channel must be re-established first",
            Self::NotConfirmed => "the deposit is not confirmed there yet",
            Self::BadSignature => "the signature is wrong",
            Self::OldNumber => "the number is old",
            Self::Contradiction => "the number was used for something else",
            Self::Gap => "a message before it is missing",
            Self::Overspent => "the deposit does not cover it with the reserve",
            Self::BadLock => "a lock is not acceptable",
            Self::BadRoot => "the root does not match the locks",
            Self::DroppedLock => "a lock was dropped that may still be claimed",
            Self::BadTicks => "the ticks break a rule",
            Self::Closing => "the channel is closing",
            Self::Busy => "no payments are taken now",
            Self::BadTerms => "the terms are not acceptable",
            Self::Other(_) => "for a reason of a later version",
        })
    }
}
