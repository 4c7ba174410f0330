//! Which network interfaces exist and work, told by the kernel the moment it changes (rtnetlink(7)).
//!
//! Where the kernel's socket is forbidden, the list is read every two seconds instead, and a lost carrier is noticed by
//! the silence of the link.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};

use smartmesh_types::Duration;
use tokio::io::unix::AsyncFd;
use tokio::time::{Interval, MissedTickBehavior};

use crate::netlink;

/// One interface of this machine, as far as a radio on it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mtu: usize,
    pub(crate) link_local: Option<Ipv6Addr>,
    pub(crate) v4: Option<Ipv4Addr>,
    pub(crate) bits_per_second: u64,
    pub(crate) kind: InterfaceKind,
    pub(crate) carrier: Carrier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InterfaceKind {
    /// Ethernet, Wi-Fi, a bridge: the ordinary case.
    Ethernet,
    Loopback,
    /// A port of a bridge: the bridge is the interface to use.
    BridgePort,
    /// A tunnel, a modem, ...: only when the user names it.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    Up,
    Down,
}

impl Interface {
    /// Whether a radio can work on it now.
    pub(crate) fn is_usable(&self) -> bool {
        self.carrier == Carrier::Up && (self.link_local.is_some() || self.v4.is_some())
    }
}

/// Numbers from linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h.
mod number {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
    pub(super) const NEW_LINK: u16 = 16;
    pub(super) const DEL_LINK: u16 = 17;
    pub(super) const GET_LINK: u16 = 18;
    pub(super) const NEW_ADDR: u16 = 20;
    pub(super) const DEL_ADDR: u16 = 21;
    pub(super) const GET_ADDR: u16 = 22;
    /// NLM_F_REQUEST | NLM_F_DUMP.
    pub(super) const REQUEST_DUMP: u16 = 0x301;
    pub(super) const LINK_NAME: u16 = 3;
    pub(super) const LINK_MTU: u16 = 4;
    pub(super) const LINK_MASTER: u16 = 10;
    pub(super) const ADDR_ADDRESS: u16 = 1;
    pub(super) const ADDR_LOCAL: u16 = 2;
    pub(super) const ADDR_FLAGS: u16 = 8;
    /// IFF_UP | IFF_LOWER_UP.
    pub(super) const WORKS: u32 = 0x1_0001;
    /// IFA_F_DADFAILED | IFA_F_TENTATIVE: nobody may use the address.
    pub(super) const UNUSABLE: u32 = 0x48;
    pub(super) const TENTATIVE: u32 = 0x40;
    pub(super) const TYPE_ETHERNET: u16 = 1;
    pub(super) const TYPE_LOOPBACK: u16 = 772;
    pub(super) const FAMILY_V4: u8 = 2;
    pub(super) const FAMILY_V6: u8 = 10;
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Link {
    name: String,
    mtu: usize,
    flags: u32,
    hardware: u16,
    master: bool,
}

/// What the kernel has told so far.
#[derive(Debug, Default)]
struct Table {
    links: BTreeMap<u32, Link>,
    v4: BTreeMap<u32, Vec<Ipv4Addr>>,
    /// Link-local addresses with their flags.
    v6: BTreeMap<u32, BTreeMap<Ipv6Addr, u32>>,
}

/// What is left to be read at the start, or after lost events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    Links,
    Addresses,
    Complete,
}

enum Source {
    Kernel {
        fd: AsyncFd<OwnedFd>,
        dump: Dump,
        table: Table,
        buffer: Vec<u8>,
    },
    Polling {
        interval: Interval,
        list: Lister,
    },
}

/// Reads all interfaces at once.
type Lister = fn() -> Vec<Interface>;

/// The watch over all interfaces.
pub(crate) struct Watch {
    source: Source,
    interfaces: Vec<Interface>,
}

/// How often interfaces are listed where the kernel does not tell.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// Larger than any batch the kernel sends (NLMSG_GOODSIZE is at most 32 KiB for dumps).
const BUFFER_BYTES: usize = 64 << 10;

impl Watch {
    pub(crate) fn open() -> Self {
        Self::with(Self::open_kernel(), list_interfaces, POLL_EVERY)
    }

    /// Listens to the kernel if it lets us, else lists the interfaces again and again.
    fn with(kernel: io::Result<Source>, list: Lister, every: Duration) -> Self {
        let source = kernel.unwrap_or_else(|error| {
            tracing::debug!(%error, "no kernel events about interfaces, polling instead");
            let mut interval = tokio::time::interval(every);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Source::Polling { interval, list }
        });
        Self {
            source,
            interfaces: Vec::new(),
        }
    }

    fn open_kernel() -> io::Result<Source> {
        let fd = netlink::open()?;
        netlink::send(&fd, &dump_request(number::GET_LINK))?;
        Ok(Source::Kernel {
            fd: netlink::watch(fd)?,
            dump: Dump::Links,
            table: Table::default(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// All interfaces as of the last poll.
    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Ready when [`Self::interfaces`] has changed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let current = match &mut self.source {
                Source::Polling { interval, list } => {
                    if interval.poll_tick(cx).is_pending() {
                        return Poll::Pending;
                    }
                    list()
                }
                Source::Kernel {
                    fd,
                    dump,
                    table,
                    buffer,
                } => {
                    let mut guard = match fd.poll_read_ready(cx) {
                        Poll::Ready(Ok(guard)) => guard,
                        Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
                    };
                    match guard.try_io(|fd| netlink::receive(fd.get_ref(), buffer)) {
                        Ok(Ok(length)) => {
                            let batch = buffer.get(..length).unwrap_or_default();
                            read_batch(batch, table, dump, fd.get_ref());
                        }
                        // Events were lost: read everything again.
                        Ok(Err(_)) => {
                            *dump = Dump::Links;
                            let _ = netlink::send(fd.get_ref(), &dump_request(number::GET_LINK));
                        }
                        Err(_would_block) => continue,
                    }
                    if *dump != Dump::Complete {
                        continue;
                    }
                    table.interfaces()
                }
            };
            if current != self.interfaces {
                self.interfaces = current;
                return Poll::Ready(());
            }
        }
    }
}

/// nlmsghdr (16 bytes) and an empty rtgenmsg, in the machine's byte order.
fn dump_request(kind: u16) -> Vec<u8> {
    let mut request = Vec::with_capacity(20);
    request.extend(20_u32.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend(number::REQUEST_DUMP.to_ne_bytes());
    request.extend([0; 12]);
    request
}

fn read_batch(batch: &[u8], table: &mut Table, dump: &mut Dump, fd: &OwnedFd) {
    for (kind, body) in messages(batch) {
        match kind {
            number::DONE | number::ERROR => match dump {
                Dump::Links => {
                    *dump = Dump::Addresses;
                    table.v4.clear();
                    table.v6.clear();
                    let _ = netlink::send(fd, &dump_request(number::GET_ADDR));
                }
                Dump::Addresses | Dump::Complete => *dump = Dump::Complete,
            },
            _ => table.apply(kind, body),
        }
    }
}

/// Splits a batch into types and bodies; stops at the first malformed header.
fn messages(mut batch: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (u32_at(batch, 0), u16_at(batch, 4)) {
        let Ok(length) = usize::try_from(length) else {
            break;
        };
        let Some(body) = batch.get(16..length) else {
            break;
        };
        found.push((kind, body));
        batch = batch.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Splits attributes into types and values; stops at the first malformed header.
fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (u16_at(bytes, 0), u16_at(bytes, 2)) {
        let length = usize::from(length);
        let Some(value) = bytes.get(4..length) else {
            break;
        };
        // The two top bits are flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
        found.push((kind & 0x3fff, value));
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let found = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_ne_bytes(*found))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let found = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*found))
}

impl Table {
    fn apply(&mut self, kind: u16, body: &[u8]) {
        let Some(index) = u32_at(body, 4) else { return };
        match kind {
            number::NEW_LINK => self.apply_link(index, body),
            number::DEL_LINK => {
                self.links.remove(&index);
                self.v4.remove(&index);
                self.v6.remove(&index);
            }
            number::NEW_ADDR | number::DEL_ADDR => self.apply_address(index, kind, body),
            _ => {}
        }
    }

    /// ifinfomsg: family 1, pad 1, type 2, index 4, flags 4, change 4; then attributes.
    fn apply_link(&mut self, index: u32, body: &[u8]) {
        let (Some(hardware), Some(flags)) = (u16_at(body, 2), u32_at(body, 8)) else {
            return;
        };
        let mut link = Link {
            name: String::new(),
            mtu: 1_500,
            flags,
            hardware,
            master: false,
        };
        for (attribute, value) in attributes(body.get(16..).unwrap_or_default()) {
            match attribute {
                number::LINK_NAME => {
                    let text = value.split(|byte| *byte == 0).next().unwrap_or_default();
                    link.name = String::from_utf8_lossy(text).into_owned();
                }
                number::LINK_MTU => {
                    let mtu = u32_at(value, 0).and_then(|mtu| usize::try_from(mtu).ok());
                    link.mtu = mtu.unwrap_or(1_500);
                }
                number::LINK_MASTER => link.master = true,
                _ => {}
            }
        }
        if !link.name.is_empty() {
            self.links.insert(index, link);
        }
    }

    /// ifaddrmsg: family 1, prefix 1, flags 1, scope 1, index 4; then attributes.
    fn apply_address(&mut self, index: u32, kind: u16, body: &[u8]) {
        let (Some(&family), Some(&short_flags)) = (body.first(), body.get(2)) else {
            return;
        };
        let mut flags = u32::from(short_flags);
        let mut address = None;
        let mut local = None;
        for (attribute, value) in attributes(body.get(8..).unwrap_or_default()) {
            match attribute {
                number::ADDR_ADDRESS => address = Some(value),
                number::ADDR_LOCAL => local = Some(value),
                number::ADDR_FLAGS => flags = u32_at(value, 0).unwrap_or(flags),
                _ => {}
            }
        }
        // On point-to-point links IFA_ADDRESS is the peer's.
        let Some(bytes) = local.or(address) else {
            return;
        };
        match (
            family,
            <[u8; 4]>::try_from(bytes),
            <[u8; 16]>::try_from(bytes),
        ) {
            (number::FAMILY_V4, Ok(bytes), _) => {
                let list = self.v4.entry(index).or_default();
                let ip = Ipv4Addr::from(bytes);
                list.retain(|known| *known != ip);
                if kind == number::NEW_ADDR {
                    list.push(ip);
                }
            }
            (number::FAMILY_V6, _, Ok(bytes)) => {
                let ip = Ipv6Addr::from(bytes);
                if !ip.is_unicast_link_local() {
                    return;
                }
                let list = self.v6.entry(index).or_default();
                if kind == number::NEW_ADDR {
                    list.insert(ip, flags);
                } else {
                    list.remove(&ip);
                }
            }
            _ => {}
        }
    }

    fn interfaces(&self) -> Vec<Interface> {
        self.links
            .iter()
            .map(|(&index, link)| {
                let v6 = self.v6.get(&index);
                let usable = |(_, flags): &(&Ipv6Addr, &u32)| **flags & number::UNUSABLE == 0;
                let link_local = v6
                    .and_then(|list| list.iter().find(usable))
                    .map(|(ip, _)| *ip);
                // Uniqueness of the IPv6 address is known in a second or two; don't begin with IPv4 just to change over.
                let soon = link_local.is_none()
                    && v6.is_some_and(|list| {
                        list.values()
                            .any(|flags| flags & number::UNUSABLE == number::TENTATIVE)
                    });
                let works = link.flags & number::WORKS == number::WORKS;
                Interface {
                    name: link.name.clone(),
                    index,
                    mtu: link.mtu,
                    link_local,
                    v4: self.v4.get(&index).and_then(|list| list.first()).copied(),
                    bits_per_second: nominal_rate(&link.name),
                    kind: match link.hardware {
                        number::TYPE_LOOPBACK => InterfaceKind::Loopback,
                        number::TYPE_ETHERNET if link.master => InterfaceKind::BridgePort,
                        number::TYPE_ETHERNET => InterfaceKind::Ethernet,
                        _ => InterfaceKind::Other,
                    },
                    carrier: if works && !soon {
                        Carrier::Up
                    } else {
                        Carrier::Down
                    },
                }
            })
            .collect()
    }
}

/// The rate in bits per second that the driver names; else 20 Mbit/s for Wi-Fi and 1 Gbit/s for the rest.
fn nominal_rate(name: &str) -> u64 {
    let base = std::path::Path::new("/sys/class/net").join(name);
    let speed: Option<u64> = std::fs::read_to_string(base.join("speed"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|speed| *speed > 0);
    match speed {
        Some(megabits) => megabits.saturating_mul(1_000_000),
        None if base.join("phy80211").exists() => 20_000_000,
        None => 1_000_000_000,
    }
}

/// The MTU that the system names, else Ethernet's.
fn known_mtu(name: &str) -> usize {
    let file = std::path::Path::new("/sys/class/net")
        .join(name)
        .join("mtu");
    let text = std::fs::read_to_string(file).ok();
    text.and_then(|text| text.trim().parse().ok())
        .unwrap_or(1_500)
}

/// The list without kernel events: one entry an interface that has an address and is up.
fn list_interfaces() -> Vec<Interface> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for entry in if_addrs::get_if_addrs().unwrap_or_default() {
        let up = entry.is_oper_up() || entry.is_loopback();
        let interface = found
            .entry(entry.name.clone())
            .or_insert_with(|| Interface {
                name: entry.name.clone(),
                index: entry.index.unwrap_or_default(),
                mtu: known_mtu(&entry.name),
                link_local: None,
                v4: None,
                bits_per_second: nominal_rate(&entry.name),
                kind: match (entry.is_loopback(), entry.is_p2p()) {
                    (true, _) => InterfaceKind::Loopback,
                    (false, true) => InterfaceKind::Other,
                    (false, false) => InterfaceKind::Ethernet,
                },
                carrier: if up { Carrier::Up } else { Carrier::Down },
            });
        match entry.ip() {
            std::net::IpAddr::V4(ip) => interface.v4 = interface.v4.or(Some(ip)),
            std::net::IpAddr::V6(ip) if ip.is_unicast_link_local() => {
                interface.link_local = interface.link_local.or(Some(ip));
            }
            std::net::IpAddr::V6(_) => {}
        }
    }
    found.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len().saturating_add(16)).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = u16::try_from(value.len().saturating_add(4))
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn link(index: u32, flags: u32) -> Vec<u8> {
        let mut body = vec![0, 0];
        body.extend(1_u16.to_ne_bytes());
        body.extend(index.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attribute(3, b"wlan0\0"));
        body.extend(attribute(4, &1_400_u32.to_ne_bytes()));
        message(16, &body)
    }

    fn address(index: u32, ip: Ipv6Addr, flags: u32) -> Vec<u8> {
        let mut body = vec![10, 64, 0, 253];
        body.extend(index.to_ne_bytes());
        body.extend(attribute(1, &ip.octets()));
        body.extend(attribute(8, &flags.to_ne_bytes()));
        message(20, &body)
    }

    fn table(batches: &[Vec<u8>]) -> Table {
        let mut table = Table::default();
        for (kind, body) in messages(&batches.concat()) {
            table.apply(kind, body);
        }
        table
    }

    #[test]
    fn an_interface_is_usable_once_its_address_is_unique() {
        let ip = "fe80::1".parse().unwrap();
        let waiting = table(&[link(3, 0x1_1043), address(3, ip, 0x40)]).interfaces();
        assert!(!waiting[0].is_usable());
        let ready = table(&[
            link(3, 0x1_1043),
            address(3, ip, 0x40),
            address(3, ip, 0x80),
        ])
        .interfaces();
        assert!(ready[0].is_usable());
        assert_eq!(
            (ready[0].name.as_str(), ready[0].mtu, ready[0].link_local),
            ("wlan0", 1_400, Some(ip))
        );
    }

    #[test]
    fn a_lost_carrier_shows_at_once() {
        let ip = "fe80::1".parse().unwrap();
        let up = [link(3, 0x1_1043), address(3, ip, 0x80)].concat();
        let down = table(&[up, link(3, 0x1003)]).interfaces();
        assert_eq!(down[0].carrier, Carrier::Down);
    }

    #[test]
    fn broken_batches_are_read_as_far_as_they_make_sense() {
        let whole = [link(3, 1), address(3, "fe80::1".parse().unwrap(), 0)].concat();
        for length in 0..whole.len() {
            let cut = table(&[whole[..length].to_vec()]);
            assert!(cut.links.len() <= 1);
        }
        assert!(messages(&[0; 64]).is_empty());
        assert!(attributes(&[0; 64]).is_empty());
    }

    /// What Android (from API level 30) answers to a program that binds a routing socket.
    fn forbidden() -> io::Result<Source> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    #[tokio::test]
    async fn where_the_kernel_tells_nothing_the_same_interfaces_are_listed() {
        let mut polling = Watch::with(forbidden(), list_interfaces, POLL_EVERY);
        assert!(matches!(polling.source, Source::Polling { .. }));
        poll_fn(|cx| polling.poll(cx)).await;
        let mut told = Watch::open();
        poll_fn(|cx| told.poll(cx)).await;
        // Those without an address are of no use and not in the list.
        let usable = |watch: &Watch| -> Vec<(u32, String, usize)> {
            let usable = watch.interfaces().iter().filter(|one| one.is_usable());
            let mut usable: Vec<_> = usable
                .map(|one| (one.index, one.name.clone(), one.mtu))
                .collect();
            usable.sort();
            usable
        };
        assert!(!usable(&polling).is_empty());
        assert_eq!(usable(&polling), usable(&told));
    }

    #[tokio::test]
    async fn where_the_kernel_tells_nothing_the_next_listing_shows_changes() {
        use std::sync::atomic::{AtomicU32, Ordering};
        static TIMES: AtomicU32 = AtomicU32::new(0);
        // Nothing, then an interface for five listings, then nothing again.
        fn list() -> Vec<Interface> {
            let wlan = Interface {
                name: "wlan0".to_owned(),
                index: 3,
                mtu: 1_500,
                link_local: None,
                v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
                bits_per_second: 20_000_000,
                kind: InterfaceKind::Ethernet,
                carrier: Carrier::Up,
            };
            match TIMES.fetch_add(1, Ordering::Relaxed) {
                3..8 => vec![wlan],
                _ => Vec::new(),
            }
        }
        let mut watch = Watch::with(forbidden(), list, Duration::from_millis(1));
        poll_fn(|cx| watch.poll(cx)).await;
        assert_eq!(watch.interfaces().len(), 1);
        assert_eq!(TIMES.load(Ordering::Relaxed), 4);
        poll_fn(|cx| watch.poll(cx)).await;
        assert!(watch.interfaces().is_empty());
        assert_eq!(TIMES.load(Ordering::Relaxed), 9);
    }

    #[tokio::test]
    async fn this_machine_has_a_loopback_interface() {
        let mut watch = Watch::open();
        poll_fn(|cx| watch.poll(cx)).await;
        let loopback = watch
            .interfaces()
            .iter()
            .find(|one| one.kind == InterfaceKind::Loopback);
        assert!(loopback.is_some_and(|one| one.v4 == Some(Ipv4Addr::LOCALHOST)));
    }
}
