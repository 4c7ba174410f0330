//! Configured peers over the Internet, or over any network that routes UDP.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use smartmesh_types::{Broadcast, Destination, Duration, LinkAddr, RadioInfo, Train};
use tokio::task::JoinHandle;
use tokio::time::Sleep;

use crate::address::{link_addr, socket_addr};
use crate::radio::{LinkEvent, Radio, RadioCounters};
use crate::spec::ParseLinkError;
use crate::udp::{UdpLink, udp_socket};

/// Frame size over the Internet: 1,400-byte IPv6 packets pass nearly all access lines and the tunnels in them.
pub const INTERNET_FRAME_BYTES: usize = 1_352;
/// Nominal rate of an access line; the link layer measures the real one.
const BITS_PER_SECOND: u64 = 20_000_000;
/// A failed look-up is tried again after this time, doubled each time up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Names are looked up again after this time, because peers at home change their address.
const REFRESH: Duration = Duration::from_secs(300);

/// One `--peer` argument: a host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerName {
    host: String,
    port: u16,
}

impl FromStr for PeerName {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ParseLinkError::Missing("peer", "example.org:21325 or [2001:db8::1]:21325");
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = port.parse().map_err(|_| bad())?;
        if host.is_empty() || port == 0 {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// A name, what it stands for now, and the look-up under way.
struct Peer {
    name: PeerName,
    found: Vec<SocketAddr>,
    lookup: Lookup,
    retry: Duration,
}

enum Lookup {
    Running(JoinHandle<io::Result<Vec<SocketAddr>>>),
    Waiting(Pin<Box<Sleep>>),
}

impl Peer {
    fn new(name: PeerName) -> Self {
        let (found, lookup) = match name.host.parse() {
            // An address needs no look-up, now or later.
            Ok(ip) => (
                vec![SocketAddr::new(ip, name.port)],
                Lookup::Waiting(Box::pin(tokio::time::sleep(Duration::MAX))),
            ),
            Err(_) => (Vec::new(), Lookup::Running(look_up(&name))),
        };
        Self {
            name,
            found,
            lookup,
            retry: RETRY_MIN,
        }
    }

    /// Goes on with the look-up; true if the addresses have changed.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let mut changed = false;
        loop {
            match &mut self.lookup {
                Lookup::Waiting(sleep) => {
                    if sleep.as_mut().poll(cx).is_pending() {
                        return changed;
                    }
                    self.lookup = Lookup::Running(look_up(&self.name));
                }
                Lookup::Running(task) => {
                    let Poll::Ready(result) = Pin::new(task).poll(cx) else {
                        return changed;
                    };
                    let wait = match result.map_err(io::Error::other).flatten() {
                        Ok(found) if !found.is_empty() => {
                            changed |= found != self.found;
                            self.found = found;
                            self.retry = RETRY_MIN;
                            REFRESH
                        }
                        Ok(_) | Err(_) => {
                            tracing::debug!(peer = %self.name, "the peer's name could not be looked up");
                            let wait = self.retry;
                            self.retry = self.retry.saturating_mul(2).min(RETRY_MAX);
                            wait
                        }
                    };
                    self.lookup = Lookup::Waiting(Box::pin(tokio::time::sleep(wait)));
                }
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Lookup::Running(task) = &self.lookup {
            task.abort();
        }
    }
}

fn look_up(name: &PeerName) -> JoinHandle<io::Result<Vec<SocketAddr>>> {
    let (host, port) = (name.host.clone(), name.port);
    tokio::spawn(async move {
        let mut found: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
        found.sort();
        found.dedup();
        Ok(found)
    })
}

/// The radio of configured peers; also answers whoever knows our address.
pub(crate) struct InternetRadio {
    links: Vec<UdpLink>,
    peers: Vec<Peer>,
    announced: Option<Vec<LinkAddr>>,
}

impl InternetRadio {
    /// Binds to `listen`, or to any free port of both address families.
    ///
    /// # Errors
    /// If the port is in use or the address is none of this machine's.
    pub(crate) fn open(listen: Option<SocketAddr>, peers: Vec<PeerName>) -> io::Result<Self> {
        let mut links = Vec::new();
        if let Some(address) = listen {
            links.push(open_socket(address)?);
            if address.ip().is_unspecified() && address.is_ipv6() {
                links.push(open_socket((Ipv4Addr::UNSPECIFIED, address.port()).into())?);
            }
        } else {
            // A machine may lack one of the families, but not both.
            let v6 = open_socket((Ipv6Addr::UNSPECIFIED, 0).into());
            let v4 = open_socket((Ipv4Addr::UNSPECIFIED, 0).into());
            match (v6, v4) {
                (Err(_), Err(error)) => return Err(error),
                (v6, v4) => links.extend([v6, v4].into_iter().flatten()),
            }
        }
        Ok(Self {
            links,
            peers: peers.into_iter().map(Peer::new).collect(),
            announced: None,
        })
    }

    fn reachable_peers(&self) -> Vec<LinkAddr> {
        // Only the best address of each name, so that one peer is greeted once; IPv6 sorts after IPv4.
        let families: BTreeMap<bool, ()> = self
            .links
            .iter()
            .map(|link| (link.local().is_ipv6(), ()))
            .collect();
        self.peers
            .iter()
            .filter_map(|peer| {
                peer.found
                    .iter()
                    .rev()
                    .find(|address| families.contains_key(&address.is_ipv6()))
            })
            .map(|address| link_addr(*address))
            .collect()
    }
}

fn open_socket(address: SocketAddr) -> io::Result<UdpLink> {
    let socket = udp_socket(address)?;
    socket.bind(&address.into())?;
    UdpLink::new(socket)
}

impl Radio for InternetRadio {
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let start = events.len();
        let mut changed = self.announced.is_none();
        for peer in &mut self.peers {
            changed |= peer.poll(cx);
        }
        if changed {
            let peers = self.reachable_peers();
            if self.announced.as_ref() != Some(&peers) {
                self.announced = Some(peers.clone());
                events.push(LinkEvent::Up(RadioInfo {
                    frame_bytes: INTERNET_FRAME_BYTES,
                    bits_per_second: BITS_PER_SECOND,
                    broadcast: Broadcast::No,
                    peers,
                }));
            }
        }
        for link in &mut self.links {
            let _ = link.poll(cx, events);
        }
        if events.len() > start {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn transmit(&mut self, to: Destination, train: Train) {
        let target = match to {
            Destination::Broadcast => None,
            Destination::Peer(addr) => socket_addr(&addr),
        };
        let link = self
            .links
            .iter_mut()
            .find(|link| target.is_some_and(|target| link.local().is_ipv6() == target.is_ipv6()));
        match (link, target) {
            (Some(link), Some(target)) => link.queue(target, train),
            _ => {
                if let Some(link) = self.links.first_mut() {
                    link.counters.count_refused(&train);
                }
            }
        }
    }

    fn flush(&mut self) {
        for link in &mut self.links {
            link.flush();
        }
    }

    fn counters(&self) -> RadioCounters {
        self.links
            .iter()
            .fold(RadioCounters::default(), |sum, link| {
                sum.plus(&link.counters)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn peers_are_a_host_and_a_port() {
        for text in ["example.org:1", "10.0.0.1:65535", "[::1]:21325"] {
            assert_eq!(text.parse::<PeerName>().unwrap().to_string(), text);
        }
        for text in ["", "example.org", ":5", "host:0", "host:70000"] {
            assert!(text.parse::<PeerName>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_peer_given_by_name_is_announced_once_it_is_found() {
        let peer = "localhost:9".parse().unwrap();
        let mut radio = InternetRadio::open(None, vec![peer]).unwrap();
        let mut peers = Vec::new();
        while peers.is_empty() {
            let mut events = Vec::new();
            poll_fn(|cx| radio.poll(cx, &mut events)).await;
            for event in events {
                let LinkEvent::Up(info) = event else {
                    panic!("{event:?}")
                };
                peers = info.peers;
            }
        }
        let found = socket_addr(&peers[0]).unwrap();
        assert!(found.ip().is_loopback());
        assert_eq!(found.port(), 9);
    }

    #[tokio::test]
    async fn a_used_port_is_an_error() {
        let first = InternetRadio::open(Some("127.0.0.1:0".parse().unwrap()), Vec::new()).unwrap();
        let taken = first.links[0].local();
        let error = InternetRadio::open(Some(taken), Vec::new()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
