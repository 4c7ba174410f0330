//! UDP on one network interface: greetings by multicast, everything else by unicast.
//!
//! The socket for unicast is bound to the interface's own link-local IPv6 address, or to its IPv4 address where it has no
//! IPv6; greetings leave from that socket, so that who hears one knows where to answer. A second IPv4 socket answers
//! neighbours that have no IPv6.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::task::{Context, Poll};

use smartmesh_types::{Broadcast, Destination, RadioInfo, Train};
use socket2::InterfaceIndexOrAddress;

use crate::address::{link_addr, socket_addr};
use crate::radio::{EVENTS_PER_POLL, LinkEvent, Radio, RadioCounters};
use crate::udp::{GroupListener, UdpLink, udp_socket};
use crate::watch::Interface;

/// UDP port of greetings, and of unicast where it is free; from the range that IANA leaves to users.
pub const DISCOVERY_PORT: u16 = 21_325;
/// Link-local IPv6 group of greetings: "SMSH" as the group id (RFC 4291 §2.7).
pub const DISCOVERY_GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0x534d, 0x5348);
/// Administratively scoped IPv4 group of greetings (RFC 2365): 239, "SM", 72.
pub const DISCOVERY_GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 83, 77, 72);

/// IPv6 and UDP headers.
const HEADER_BYTES_V6: usize = 48;
/// IPv4 and UDP headers.
const HEADER_BYTES_V4: usize = 28;
/// Frames above a jumbo Ethernet frame gain nothing and hurt whoever shares the link.
const MTU_MAX: usize = 9_000;

/// Sockets of one address family on the interface.
struct Family {
    link: UdpLink,
    listener: GroupListener,
    group: SocketAddr,
}

/// One interface as a radio.
pub(crate) struct InterfaceRadio {
    info: RadioInfo,
    announced: bool,
    /// Greetings leave by this one.
    main: Family,
    /// Answers neighbours of the other address family.
    other: Option<Family>,
}

impl InterfaceRadio {
    /// Opens the sockets.
    ///
    /// # Errors
    /// As the system says; an IPv6 address whose uniqueness is still being checked is not available yet.
    pub(crate) fn open(interface: &Interface) -> io::Result<Self> {
        let v6 = interface
            .link_local
            .map(|ip| Family::open_v6(ip, interface.index))
            .transpose();
        let v4 = interface
            .v4
            .map(|ip| Family::open_v4(ip, interface.index))
            .transpose();
        let (main, other, headers) = match (v6, v4) {
            (Ok(Some(v6)), v4) => (v6, v4.ok().flatten(), HEADER_BYTES_V6),
            (Ok(None), Ok(Some(v4))) => (v4, None, HEADER_BYTES_V4),
            (Err(error), _) | (Ok(None), Err(error)) => return Err(error),
            (Ok(None), Ok(None)) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        let info = RadioInfo {
            frame_bytes: interface.mtu.min(MTU_MAX).saturating_sub(headers),
            bits_per_second: interface.bits_per_second,
            broadcast: Broadcast::Yes,
            peers: Vec::new(),
        };
        Ok(Self {
            info,
            announced: false,
            main,
            other,
        })
    }

    fn families(&mut self) -> impl Iterator<Item = &mut Family> {
        [Some(&mut self.main), self.other.as_mut()]
            .into_iter()
            .flatten()
    }
}

impl Family {
    fn open_v6(ip: Ipv6Addr, index: u32) -> io::Result<Self> {
        let socket = bind(|port| SocketAddrV6::new(ip, port, 0, index).into())?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(1)?;
        // Several nodes on one machine share an interface.
        socket.set_multicast_loop_v6(true)?;
        let group = SocketAddrV6::new(DISCOVERY_GROUP_V6, DISCOVERY_PORT, 0, index).into();
        let listener = udp_socket(group)?;
        listener.set_reuse_address(true)?;
        listener.set_multicast_all_v6(false)?;
        listener.bind(&group.into())?;
        listener.join_multicast_v6(&DISCOVERY_GROUP_V6, index)?;
        Self::new(socket, listener, group)
    }

    fn open_v4(ip: Ipv4Addr, index: u32) -> io::Result<Self> {
        let socket = bind(|port| SocketAddrV4::new(ip, port).into())?;
        socket.set_multicast_if_v4(&ip)?;
        socket.set_multicast_ttl_v4(1)?;
        socket.set_multicast_loop_v4(true)?;
        let group = SocketAddrV4::new(DISCOVERY_GROUP_V4, DISCOVERY_PORT).into();
        let listener = udp_socket(group)?;
        listener.set_reuse_address(true)?;
        listener.set_multicast_all_v4(false)?;
        listener.bind(&group.into())?;
        let interface = InterfaceIndexOrAddress::Index(index);
        listener.join_multicast_v4_n(&DISCOVERY_GROUP_V4, &interface)?;
        Self::new(socket, listener, group)
    }

    fn new(
        socket: socket2::Socket,
        listener: socket2::Socket,
        group: SocketAddr,
    ) -> io::Result<Self> {
        Ok(Self {
            link: UdpLink::new(socket)?,
            listener: GroupListener::new(listener, MTU_MAX)?,
            group,
        })
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) {
        let _ = self.link.poll(cx, events);
        for _ in 0..EVENTS_PER_POLL {
            let Poll::Ready((from, frame)) = self.listener.poll(cx) else {
                return;
            };
            if from == self.link.local() || frame.is_empty() {
                // The group gives us our own greetings too.
                continue;
            }
            let train = Train::single(frame);
            self.link.counters.count_received(&train);
            events.push(LinkEvent::Train {
                from: link_addr(from),
                train,
            });
        }
    }
}

/// Binds to the well-known port, so that one firewall rule is enough, or to any if another node of this machine has it.
fn bind(address: impl Fn(u16) -> SocketAddr) -> io::Result<socket2::Socket> {
    let known = address(DISCOVERY_PORT);
    let socket = udp_socket(known)?;
    match socket.bind(&known.into()) {
        Ok(()) => Ok(socket),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            socket.bind(&address(0).into())?;
            Ok(socket)
        }
        Err(error) => Err(error),
    }
}

impl Radio for InterfaceRadio {
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        let start = events.len();
        if !self.announced {
            self.announced = true;
            events.push(LinkEvent::Up(self.info.clone()));
        }
        for family in self.families() {
            family.poll(cx, events);
        }
        if events.len() > start {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn transmit(&mut self, to: Destination, train: Train) {
        let target = match to {
            Destination::Broadcast => Some(self.main.group),
            Destination::Peer(addr) => socket_addr(&addr),
        };
        if let Some(target) = target
            && let Some(family) = self
                .families()
                .find(|family| family.group.is_ipv6() == target.is_ipv6())
        {
            family.link.queue(target, train);
        } else {
            self.main.link.counters.count_refused(&train);
        }
    }

    fn flush(&mut self) {
        for family in self.families() {
            family.link.flush();
        }
    }

    fn counters(&self) -> RadioCounters {
        let main = self.main.link.counters;
        match &self.other {
            Some(other) => main.plus(&other.link.counters),
            None => main,
        }
    }
}
