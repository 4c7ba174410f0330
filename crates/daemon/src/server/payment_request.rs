//! A request for a payment as a text.
//!
//! ```text
//! SMARTMESH-PAY: [mesh address] / [account] / [amount in SMT] / [memo]
//! ```
//!
//! Every part may be empty. Only the capitals, digits and marks of a QR code's alphanumeric mode occur, so that the code is
//! small; everything else of the memo, its small letters too, is percent-encoded (RFC 3986 §2.1).

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use alloy_primitives::Address as Account;
use smartmesh_api::Amount;
use smartmesh_types::Address;

const SCHEME: &str = "SMARTMESH-PAY:";
/// Bytes of a request that are looked at.
const BYTES_MAX: usize = 1_024;

/// Who wants to be paid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) address: Option<Address>,
    pub(super) account: Option<Account>,
    pub(super) amount: Option<Amount>,
    pub(super) memo: String,
}

/// A text that is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRequest;

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(address) = self.address {
            f.write_str(&address.to_string().to_uppercase())?;
        }
        f.write_str("/")?;
        if let Some(account) = self.account {
            f.write_str(&hex::encode_upper(account))?;
        }
        f.write_str("/")?;
        if let Some(amount) = self.amount {
            amount.fmt(f)?;
        }
        f.write_str("/")?;
        for byte in self.memo.bytes() {
            if byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"-.".contains(&byte) {
                write!(f, "{}", char::from(byte))?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Request {
    type Err = NoRequest;

    fn from_str(text: &str) -> Result<Self, NoRequest> {
        let (scheme, rest) = text.split_at_checked(SCHEME.len()).ok_or(NoRequest)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || text.len() > BYTES_MAX {
            return Err(NoRequest);
        }
        let mut parts = rest.splitn(4, '/');
        let mut part = || parts.next().ok_or(NoRequest);
        let (address, account, amount, memo) = (part()?, part()?, part()?, part()?);
        let address = match address {
            "" => None,
            text => {
                let octets = text.parse::<Ipv6Addr>().map_err(|_| NoRequest)?.octets();
                Some(Address::from_octets(octets).ok_or(NoRequest)?)
            }
        };
        let account = match account {
            "" => None,
            text => Some(text.parse().map_err(|_| NoRequest)?),
        };
        let amount = match amount {
            "" => None,
            text => Some(text.parse().map_err(|_| NoRequest)?),
        };
        Ok(Self {
            address,
            account,
            amount,
            memo: decode(memo)?,
        })
    }
}

fn decode(text: &str) -> Result<String, NoRequest> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            let (digits, after) = after.split_first_chunk::<2>().ok_or(NoRequest)?;
            bytes.extend(hex::decode(digits).map_err(|_| NoRequest)?);
            rest = after;
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).map_err(|_| NoRequest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_their_text_and_fit_a_small_code() {
        let address = Address::from_key_hash([7; 13]);
        for request in [
            Request {
                address: Some(address),
                account: Some(Account::repeat_byte(0xab)),
                amount: "5.25".parse().ok(),
                memo: "Bröd & 2 eggs/100%".into(),
            },
            Request {
                address: None,
                account: None,
                amount: None,
                memo: String::new(),
            },
        ] {
            let text = request.to_string();
            let small = |byte: u8| {
                byte.is_ascii_uppercase() || byte.is_ascii_digit() || b" $%*+-./:".contains(&byte)
            };
            assert!(text.bytes().all(small), "{text}");
            assert_eq!(text.parse(), Ok(request.clone()));
            assert_eq!(
                text.to_lowercase()
                    .parse::<Request>()
                    .map(|one| one.address),
                Ok(request.address)
            );
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "smartmesh:fd53",
            "SMARTMESH-PAY:",
            "SMARTMESH-PAY:///",
            "SMARTMESH-PAY:FE80::1///",
            "SMARTMESH-PAY:/0X12//",
            "SMARTMESH-PAY://-1/",
            "SMARTMESH-PAY:///%4",
            "SMARTMESH-PAY:///%ZZ",
        ] {
            let parsed = text.parse::<Request>();
            assert_eq!(parsed.is_err(), text != "SMARTMESH-PAY:///", "{text}");
        }
    }
}
