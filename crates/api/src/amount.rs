//! Amounts of SMT: integers inside, decimals for people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

/// Digits behind the point.
const DECIMALS: usize = 18;
/// Base units of one SMT.
const ONE: u128 = 1_000_000_000_000_000_000;

/// Base units of SMT, 10^18 to one. In JSON a string of decimal digits, because numbers there lose digits; printed and
/// parsed as decimal SMT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, example = "1500000000000000000")]
pub struct Amount(pub u128);

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseAmountError {
    /// Not digits with at most one point.
    NotANumber,
    /// More than 18 digits behind the point.
    TooFine,
    /// More than there can ever be.
    TooLarge,
}

impl fmt::Display for ParseAmountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotANumber => "an amount is digits with at most one point, such as 1.5",
            Self::TooFine => "an amount has at most 18 digits behind the point",
            Self::TooLarge => "the amount is too large",
        })
    }
}

impl std::error::Error for ParseAmountError {}

impl FromStr for Amount {
    type Err = ParseAmountError;

    fn from_str(text: &str) -> Result<Self, ParseAmountError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) {
            return Err(ParseAmountError::NotANumber);
        }
        if part.len() > DECIMALS {
            return Err(ParseAmountError::TooFine);
        }
        let number = |text: &str| {
            if text.is_empty() {
                return Ok(0_u128);
            }
            text.parse().map_err(|_| ParseAmountError::TooLarge)
        };
        let part = number(&format!("{part:0<DECIMALS$}"))?;
        number(whole)?
            .checked_mul(ONE)
            .and_then(|whole| whole.checked_add(part))
            .map(Self)
            .ok_or(ParseAmountError::TooLarge)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0 / ONE;
        let part = format!("{:0>DECIMALS$}", self.0 % ONE);
        match part.trim_end_matches('0') {
            "" => write!(f, "{whole}"),
            part => write!(f, "{whole}.{part}"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(serde::de::Error::custom(
                "an amount is a string of decimal digits: base units, 10^18 to one SMT",
            ));
        }
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_decimals() {
        for (text, units) in [
            ("5", 5 * ONE),
            ("1.5", ONE + ONE / 2),
            (".25", ONE / 4),
            ("0.000000000000000001", 1),
            ("340282366920938463463.374607431768211455", u128::MAX),
        ] {
            assert_eq!(text.parse(), Ok(Amount(units)), "{text}");
        }
        for (text, error) in [
            ("", ParseAmountError::NotANumber),
            (".", ParseAmountError::NotANumber),
            ("-1", ParseAmountError::NotANumber),
            ("1,5", ParseAmountError::NotANumber),
            ("1e3", ParseAmountError::NotANumber),
            ("0.0000000000000000001", ParseAmountError::TooFine),
            ("340282366920938463464", ParseAmountError::TooLarge),
        ] {
            assert_eq!(text.parse::<Amount>(), Err(error), "{text}");
        }
    }

    #[test]
    fn people_read_decimals_and_programs_integers() {
        for (units, text) in [
            (0, "0"),
            (ONE, "1"),
            (ONE / 10, "0.1"),
            (1, "0.000000000000000001"),
        ] {
            assert_eq!(Amount(units).to_string(), text);
            let json = serde_json::to_string(&Amount(units)).unwrap();
            assert_eq!(json, format!("\"{units}\""));
            assert_eq!(
                serde_json::from_str::<Amount>(&json).unwrap(),
                Amount(units)
            );
        }
        assert!(serde_json::from_str::<Amount>("\"1.5\"").is_err());
        assert!(serde_json::from_str::<Amount>("5").is_err());
    }
}
