//! Text for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

use crate::client::ClientError;

/// Prints one line; a reader that has gone away (`| head`) is no failure.
pub(crate) fn line(text: impl AsRef<str>) {
    let _ = writeln!(io::stdout(), "{}", text.as_ref());
}

/// Prints a note that is not part of the answer.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", text.as_ref());
}

/// Prints one JSON value on one line.
pub(crate) fn json(value: &impl Serialize) {
    line(serde_json::to_string(value).unwrap_or_default());
}

/// Prints why a command failed and what to do.
pub(crate) fn error(error: &anyhow::Error) {
    note(format!("smartmesh: {error:#}"));
    if let Some(ClientError::Refused {
        advice: Some(advice),
        ..
    }) = error.downcast_ref()
    {
        note(format!("  {advice}"));
    }
}

/// A span in the largest unit that says enough.
pub(crate) fn span_ms(millis: u64) -> String {
    let secs = millis / 1_000;
    match secs {
        0 => format!("{millis} ms"),
        1..60 => format!("{secs} s"),
        60..3_600 => format!("{} min", secs / 60),
        3_600..86_400 => format!("{} h", secs / 3_600),
        _ => format!("{} days", secs / 86_400),
    }
}

/// A round trip with the digits that matter.
pub(crate) fn rtt(micros: u64) -> String {
    format!("{}.{:03} ms", micros / 1_000, micros % 1_000)
}

/// Bytes in the largest unit that says enough.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{} KiB", count / 1_024),
        1_048_576..1_073_741_824 => format!("{} MiB", count / 1_048_576),
        _ => format!("{} GiB", count / 1_073_741_824),
    }
}

/// Bits a second in the largest unit that says enough.
pub(crate) fn rate(bits_per_second: u64) -> String {
    match bits_per_second {
        0..1_000 => format!("{bits_per_second} bit/s"),
        1_000..1_000_000 => format!("{} kbit/s", bits_per_second / 1_000),
        _ => format!(
            "{}.{} Mbit/s",
            bits_per_second / 1_000_000,
            bits_per_second / 100_000 % 10
        ),
    }
}

/// A moment as UTC, `2026-11-23 04:05`; the civil calendar by Howard Hinnant's `civil_from_days`.
pub(crate) fn moment(unix_secs: u64) -> String {
    let days = unix_secs / 86_400;
    let secs = unix_secs % 86_400;
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = day_of_era
        .saturating_sub(day_of_era / 1_460)
        .saturating_add(day_of_era / 36_524)
        .saturating_sub(day_of_era / 146_096)
        / 365;
    let leap_days = (year_of_era / 4).saturating_sub(year_of_era / 100);
    let day_of_year =
        day_of_era.saturating_sub(year_of_era.saturating_mul(365).saturating_add(leap_days));
    let month_index = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let before = month_index.saturating_mul(153).saturating_add(2) / 5;
    let day = day_of_year.saturating_sub(before).saturating_add(1);
    let month = if month_index < 10 {
        month_index.saturating_add(3)
    } else {
        month_index.saturating_sub(9)
    };
    let year = year_of_era
        .saturating_add(era.saturating_mul(400))
        .saturating_add(u64::from(month <= 2));
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}",
        secs / 3_600,
        secs / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_civil_dates() {
        for (secs, text) in [
            (0, "1970-01-01 00:00"),
            (951_782_399, "2000-02-28 23:59"),
            (951_782_400, "2000-02-29 00:00"),
            (1_795_405_500, "2026-11-23 03:45"),
            (4_107_542_400, "2100-03-01 00:00"),
        ] {
            assert_eq!(moment(secs), text);
        }
    }

    #[test]
    fn sizes_and_spans_are_short() {
        assert_eq!(
            [span_ms(15), span_ms(3_000), span_ms(150_000)],
            ["15 ms", "3 s", "2 min"]
        );
        assert_eq!(
            [bytes(5), bytes(2_048), bytes(3 << 20)],
            ["5 B", "2 KiB", "3 MiB"]
        );
        assert_eq!(
            [rate(800), rate(64_000), rate(12_340_000)],
            ["800 bit/s", "64 kbit/s", "12.3 Mbit/s"]
        );
        assert_eq!(rtt(1_234), "1.234 ms");
    }
}
