//! Where a sent message is, in words for people.

use std::fmt;

use smartmesh_types::UnixTime;

/// Where a sent message is. It only moves forward, except between the first three while the message is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// No path yet; tries until then.
    Waiting {
        /// When it gives up.
        until: UnixTime,
    },
    /// So many other phones carry a copy.
    Carried {
        /// How many.
        by: u32,
    },
    /// It left along a live path and nobody has confirmed it yet.
    Sent,
    /// The other phone has it.
    Arrived,
    /// The other person has read it.
    Read,
    /// It will not arrive.
    Failed(FailReason),
}

/// Why a message will not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailReason {
    /// No receipt came in time; it may have arrived all the same.
    Expired,
    /// The other person's keys were never heard: no invite, no gossip, no path.
    NoKeys,
    /// The user took it back before it was confirmed; copies may still arrive.
    Cancelled,
    /// The contact was forgotten or blocked.
    ContactGone,
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired => "nobody confirmed it in time; it may still have arrived",
            Self::NoKeys => "their keys were never found; meet them or scan their invite",
            Self::Cancelled => "cancelled",
            Self::ContactGone => "the contact was removed or blocked",
        })
    }
}

impl fmt::Display for MessageState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting { until } => {
                write!(f, "waiting (no path; will try until {})", Date(*until))
            }
            Self::Carried { by: 1 } => f.write_str("carried by 1 phone"),
            Self::Carried { by } => write!(f, "carried by {by} phones"),
            Self::Sent => f.write_str("sent"),
            Self::Arrived => f.write_str("arrived"),
            Self::Read => f.write_str("read"),
            Self::Failed(reason) => write!(f, "failed ({reason})"),
        }
    }
}

/// Prints as year, month, day, hour and minute in UTC.
struct Date(UnixTime);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0.as_secs();
        let (days, minutes) = (secs / 86_400, secs % 86_400 / 60);
        // Days to a civil date, with years that begin in March (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
        let shifted = u128::from(days).saturating_add(719_468);
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let leap_days = (day_of_era / 1_460)
            .saturating_add(day_of_era / 146_096)
            .saturating_sub(day_of_era / 36_524);
        let year_of_era = day_of_era.saturating_sub(leap_days) / 365;
        let day_of_year = day_of_era.saturating_sub(
            year_of_era
                .saturating_mul(365)
                .saturating_add(year_of_era / 4)
                .saturating_sub(year_of_era / 100),
        );
        let month_from_march = day_of_year.saturating_mul(5).saturating_add(2) / 153;
        let day = day_of_year
            .saturating_sub(month_from_march.saturating_mul(153).saturating_add(2) / 5)
            .saturating_add(1);
        let (month, next_year) = if month_from_march < 10 {
            (month_from_march.saturating_add(3), 0)
        } else {
            (month_from_march.saturating_sub(9), 1)
        };
        let year = era
            .saturating_mul(400)
            .saturating_add(year_of_era)
            .saturating_add(next_year);
        let (hour, minute) = (minutes / 60, minutes % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: MessageState, words: &str) {
        assert_eq!(state.to_string(), words);
    }

    #[test]
    fn states_are_words() {
        let until = UnixTime::from_secs(1_795_404_179);
        check(
            MessageState::Waiting { until },
            "waiting (no path; will try until 2026-11-23 03:22 UTC)",
        );
        check(MessageState::Carried { by: 3 }, "carried by 3 phones");
        check(
            MessageState::Failed(FailReason::Cancelled),
            "failed (cancelled)",
        );
    }

    #[test]
    fn dates_are_civil() {
        for (secs, words) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_164_800 + 86_399, "2024-02-29 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
        ] {
            assert_eq!(Date(UnixTime::from_secs(secs)).to_string(), words);
        }
        assert!(!Date(UnixTime::from_secs(u64::MAX)).to_string().is_empty());
    }
}
