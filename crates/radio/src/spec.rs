//! What a `--link` argument asks for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

use crate::lossy::Impairment;

/// One `--link` argument.
///
/// ```text
/// udp:IFACE                      UDP on that network interface, loopback included
/// udp                            UDP on all usable interfaces (the default)
/// socket:PATH                    the framed local socket of docs/radio-socket.md
/// peers                          only the peers configured with --peer and --listen
/// lossy:loss=0.1,delay=20,...:LINK   LINK with loss and delay, for tests
/// trace:FILE:LINK                LINK, and all its frames written to FILE (pcap)
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum LinkSpec {
    /// UDP on all usable interfaces: up, with carrier, Ethernet-like, not loopback, no part of a bridge.
    Everywhere,
    /// UDP on the interface with this name.
    Interface(String),
    /// The framed local socket at this path, for a phone's own radio code.
    Socket(PathBuf),
    /// Configured peers, over the Internet or any routed network.
    Peers,
    /// Another link with loss, delay, duplication and a rate limit on what it sends.
    Lossy(Impairment, Box<LinkSpec>),
    /// Another link whose frames are also written to a pcap file.
    Traced(PathBuf, Box<LinkSpec>),
}

/// Why a text names no link.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseLinkError {
    /// The first word is none that we know.
    #[error("unknown link {0:?}; use udp:IFACE, socket:PATH or peers")]
    Unknown(String),
    /// A name or path is missing behind the colon.
    #[error("{0} needs a name behind the colon, such as {1}")]
    Missing(&'static str, &'static str),
    /// A parameter of `lossy` has no meaning.
    #[error(
        "lossy parameter {0:?} is not one of loss, delay, jitter, duplicate, rate, seed with a number"
    )]
    Parameter(String),
}

impl FromStr for LinkSpec {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        match kind {
            "udp" if rest.is_empty() => Ok(Self::Everywhere),
            "udp" => Ok(Self::Interface(rest.to_owned())),
            "socket" if rest.is_empty() => {
                Err(ParseLinkError::Missing("socket", "socket:/run/radio.sock"))
            }
            "socket" => Ok(Self::Socket(rest.into())),
            "peers" if rest.is_empty() => Ok(Self::Peers),
            "lossy" => {
                let (parameters, inner) = rest
                    .split_once(':')
                    .ok_or(ParseLinkError::Missing("lossy", "lossy:loss=0.1:udp:lo"))?;
                Ok(Self::Lossy(parameters.parse()?, Box::new(inner.parse()?)))
            }
            "trace" => {
                let (file, inner) = rest
                    .split_once(':')
                    .ok_or(ParseLinkError::Missing("trace", "trace:frames.pcap:udp:lo"))?;
                Ok(Self::Traced(file.into(), Box::new(inner.parse()?)))
            }
            _ => Err(ParseLinkError::Unknown(text.to_owned())),
        }
    }
}

impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("udp"),
            Self::Interface(name) => write!(f, "udp:{name}"),
            Self::Socket(path) => write!(f, "socket:{}", path.display()),
            Self::Peers => f.write_str("peers"),
            Self::Lossy(impairment, inner) => write!(f, "lossy:{impairment}:{inner}"),
            Self::Traced(file, inner) => write!(f, "trace:{}:{inner}", file.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_print_as_they_are_written() {
        for text in [
            "udp",
            "udp:wlan0",
            "socket:/tmp/radio",
            "peers",
            "lossy:loss=0.1,delay=20,jitter=0,duplicate=0,rate=0,seed=7:udp:lo",
            "trace:a.pcap:lossy:loss=0,delay=1,jitter=2,duplicate=0.5,rate=9,seed=0:peers",
        ] {
            assert_eq!(text.parse::<LinkSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "bluetooth",
            "socket:",
            "socket",
            "peers:x",
            "lossy",
            "lossy:loss=0.1",
            "lossy:loss=x:udp",
        ] {
            assert!(text.parse::<LinkSpec>().is_err(), "{text}");
        }
    }
}
