//! All radios of this node as one source of events and one place to send to.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};

use smartmesh_types::{Destination, RadioId, Train};
use thiserror::Error;
use tokio::net::UnixListener;

use crate::interface::InterfaceRadio;
use crate::internet::{InternetRadio, PeerName};
use crate::lossy::{Impairment, Lossy};
use crate::radio::{Clock, LinkEvent, Radio, RadioCounters, RadioEvent};
use crate::socket::SocketRadio;
use crate::spec::LinkSpec;
use crate::trace::Trace;
use crate::watch::{Interface, InterfaceKind, Watch};

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct RadioSettings {
    /// The `--link` arguments; none means UDP on all usable interfaces.
    pub links: Vec<LinkSpec>,
    /// The `--peer` arguments.
    pub peers: Vec<PeerName>,
    /// Where configured peers reach us; `None` for any free port.
    pub listen: Option<SocketAddr>,
    /// The node's own TUN interface, never to be used as a radio.
    pub tunnel: Option<String>,
    /// Where the time comes from.
    pub clock: Clock,
}

/// Why the radios can't be opened.
#[derive(Debug, Error)]
pub enum OpenRadiosError {
    /// The port for configured peers is not free.
    #[error(
        "can't listen on {address}: {cause}; another program uses it, choose another with --listen"
    )]
    Listen {
        /// The wanted address.
        address: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The local socket can't be made.
    #[error("can't make the socket {path}: {cause}")]
    Socket {
        /// The wanted path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The trace file can't be written.
    #[error("can't write the trace {path}: {cause}")]
    Trace {
        /// The wanted path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// One radio as `status` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RadioState {
    /// Its id.
    pub radio: RadioId,
    /// What it is, such as `udp:wlan0`.
    pub name: String,
    /// What it has moved and dropped.
    pub counters: RadioCounters,
}

/// What is put around a radio, innermost first.
#[derive(Clone, Debug)]
enum Wrapper {
    Lossy(Impairment),
    Trace(PathBuf),
}

struct Entry {
    name: String,
    radio: Box<dyn Radio>,
}

/// A wish for interfaces, with what to put around each.
struct InterfaceWish {
    /// `None` for all usable ones.
    name: Option<String>,
    wrappers: Vec<Wrapper>,
}

struct SocketSource {
    path: PathBuf,
    listener: UnixListener,
    wrappers: Vec<Wrapper>,
}

/// Connections to one node's local sockets at one time; further ones are closed at once.
const SOCKET_RADIOS_MAX: usize = 32;

/// All radios; the daemon's loop owns it.
pub struct Radios {
    settings: RadioSettings,
    watch: Option<Watch>,
    wishes: Vec<InterfaceWish>,
    sockets: Vec<SocketSource>,
    radios: BTreeMap<RadioId, Entry>,
    /// Open interfaces by index, with the addresses they were opened with.
    interfaces: BTreeMap<u32, (RadioId, Interface)>,
    next_id: u32,
    /// Where the next poll begins, so that no radio starves the others.
    turn: RadioId,
    scratch: Vec<LinkEvent>,
}

impl Radios {
    /// Opens what was asked for; interfaces follow when the kernel has listed them, and whenever one comes up.
    ///
    /// # Errors
    /// If a port, a socket or a trace file that the user named can't be had.
    pub fn open(settings: RadioSettings) -> Result<Self, OpenRadiosError> {
        let mut radios = Self {
            watch: None,
            wishes: Vec::new(),
            sockets: Vec::new(),
            radios: BTreeMap::new(),
            interfaces: BTreeMap::new(),
            next_id: 0,
            turn: RadioId(0),
            scratch: Vec::new(),
            settings,
        };
        let mut links = radios.settings.links.clone();
        if links.is_empty() {
            links.push(LinkSpec::Everywhere);
        }
        let wants_peers = !radios.settings.peers.is_empty() || radios.settings.listen.is_some();
        if wants_peers && !links.iter().any(names_peers) {
            links.push(LinkSpec::Peers);
        }
        for link in links {
            radios.open_link(link, Vec::new())?;
        }
        if !radios.wishes.is_empty() {
            radios.watch = Some(Watch::open());
        }
        Ok(radios)
    }

    fn open_link(
        &mut self,
        link: LinkSpec,
        mut wrappers: Vec<Wrapper>,
    ) -> Result<(), OpenRadiosError> {
        match link {
            LinkSpec::Everywhere => self.wishes.push(InterfaceWish {
                name: None,
                wrappers,
            }),
            LinkSpec::Interface(name) => self.wishes.push(InterfaceWish {
                name: Some(name),
                wrappers,
            }),
            LinkSpec::Socket(path) => {
                let listener = listen(&path).map_err(|cause| OpenRadiosError::Socket {
                    path: path.clone(),
                    cause,
                })?;
                self.sockets.push(SocketSource {
                    path,
                    listener,
                    wrappers,
                });
            }
            LinkSpec::Peers => {
                let (listen, peers) = (self.settings.listen, self.settings.peers.clone());
                let radio = InternetRadio::open(listen, peers).map_err(|cause| {
                    let address = listen.map_or_else(|| "any port".to_owned(), |at| at.to_string());
                    OpenRadiosError::Listen { address, cause }
                })?;
                self.add("peers".to_owned(), Box::new(radio), &wrappers)?;
            }
            LinkSpec::Lossy(impairment, inner) => {
                wrappers.insert(0, Wrapper::Lossy(impairment));
                self.open_link(*inner, wrappers)?;
            }
            LinkSpec::Traced(path, inner) => {
                wrappers.insert(0, Wrapper::Trace(path));
                self.open_link(*inner, wrappers)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        name: String,
        mut radio: Box<dyn Radio>,
        wrappers: &[Wrapper],
    ) -> Result<RadioId, OpenRadiosError> {
        let id = RadioId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        for wrapper in wrappers {
            radio = match wrapper {
                Wrapper::Lossy(impairment) => {
                    Box::new(Lossy::new(radio, *impairment, self.settings.clock))
                }
                Wrapper::Trace(path) => {
                    let path = trace_path(path, id);
                    Box::new(
                        Trace::new(radio, &path, self.settings.clock)
                            .map_err(|cause| OpenRadiosError::Trace { path, cause })?,
                    )
                }
            };
        }
        tracing::info!(radio = id.0, name, "a radio is on");
        self.radios.insert(id, Entry { name, radio });
        Ok(id)
    }

    /// Waits for something to happen and appends it to `events`. Cancel-safe.
    pub async fn wait(&mut self, events: &mut Vec<RadioEvent>) {
        std::future::poll_fn(|cx| self.poll(cx, events)).await;
    }

    /// Appends what has happened; ready when there was something.
    pub fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<RadioEvent>) -> Poll<()> {
        let start = events.len();
        self.poll_interfaces(cx, events);
        self.poll_sockets(cx);
        let ids: Vec<RadioId> = self
            .radios
            .range(self.turn..)
            .chain(self.radios.range(..self.turn))
            .map(|(id, _)| *id)
            .collect();
        self.turn = ids.get(1).copied().unwrap_or(RadioId(0));
        for id in ids {
            let Some(entry) = self.radios.get_mut(&id) else {
                continue;
            };
            let _ = entry.radio.poll(cx, &mut self.scratch);
            let gone = self.scratch.contains(&LinkEvent::Down);
            events.extend(self.scratch.drain(..).map(|event| event.with_id(id)));
            if gone {
                self.remove(id);
            }
        }
        if events.len() > start {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    fn poll_interfaces(&mut self, cx: &mut Context<'_>, events: &mut Vec<RadioEvent>) {
        while let Some(watch) = &mut self.watch
            && watch.poll(cx).is_ready()
        {
            let wanted: Vec<_> = watch
                .interfaces()
                .iter()
                .filter(|one| one.is_usable())
                .filter_map(|one| {
                    let wish = self
                        .wishes
                        .iter()
                        .find(|wish| wish.covers(one, &self.settings))?;
                    Some((one.clone(), wish.wrappers.clone()))
                })
                .collect();
            close_interfaces(&mut self.interfaces, &mut self.radios, &wanted, events);
            for (interface, wrappers) in wanted {
                if !self.interfaces.contains_key(&interface.index) {
                    self.open_interface(interface, &wrappers);
                }
            }
        }
    }

    fn open_interface(&mut self, interface: Interface, wrappers: &[Wrapper]) {
        let name = format!("udp:{}", interface.name);
        let opened = InterfaceRadio::open(&interface)
            .map_err(|cause| OpenRadiosError::Socket {
                path: name.clone().into(),
                cause,
            })
            .and_then(|radio| self.add(name, Box::new(radio), wrappers));
        match opened {
            Ok(id) => {
                self.interfaces.insert(interface.index, (id, interface));
            }
            Err(error) => {
                tracing::warn!(interface = interface.name, %error, "an interface can't be used");
            }
        }
    }

    fn poll_sockets(&mut self, cx: &mut Context<'_>) {
        let mut accepted = Vec::new();
        for source in &self.sockets {
            while let Poll::Ready(Ok((stream, _))) = source.listener.poll_accept(cx) {
                accepted.push((stream, source.path.clone(), source.wrappers.clone()));
            }
        }
        for (stream, path, wrappers) in accepted {
            let open = self
                .radios
                .values()
                .filter(|entry| entry.name.starts_with("socket:"))
                .count();
            if open >= SOCKET_RADIOS_MAX {
                tracing::warn!(path = %path.display(), "too many radios on the local socket");
                continue;
            }
            let name = format!("socket:{}", path.display());
            let radio = Box::new(SocketRadio::new(stream, self.settings.clock));
            if let Err(error) = self.add(name, radio, &wrappers) {
                tracing::warn!(%error, "a radio on the local socket can't be used");
            }
        }
    }

    fn remove(&mut self, id: RadioId) {
        if let Some(entry) = self.radios.remove(&id) {
            tracing::info!(radio = id.0, name = entry.name, "a radio is off");
        }
        self.interfaces.retain(|_, (radio, _)| *radio != id);
    }

    /// Queues a train on a radio; a train for a radio that is gone is lost, as it would be on the air.
    pub fn transmit(&mut self, radio: RadioId, to: Destination, train: Train) {
        if let Some(entry) = self.radios.get_mut(&radio) {
            entry.radio.transmit(to, train);
        }
    }

    /// Hands to the media what they take without waiting; call it when a turn's trains are queued.
    pub fn flush(&mut self) {
        for entry in self.radios.values_mut() {
            entry.radio.flush();
        }
    }

    /// All radios that are on.
    pub fn states(&self) -> Vec<RadioState> {
        self.radios
            .iter()
            .map(|(id, entry)| RadioState {
                radio: *id,
                name: entry.name.clone(),
                counters: entry.radio.counters(),
            })
            .collect()
    }
}

impl Drop for Radios {
    fn drop(&mut self) {
        for source in &self.sockets {
            let _ = std::fs::remove_file(&source.path);
        }
    }
}

impl InterfaceWish {
    fn covers(&self, interface: &Interface, settings: &RadioSettings) -> bool {
        if settings.tunnel.as_ref() == Some(&interface.name) {
            return false;
        }
        match &self.name {
            Some(name) => *name == interface.name,
            None => interface.kind == InterfaceKind::Ethernet,
        }
    }
}

/// Closes radios whose interface is gone, has lost its carrier, or has another address now.
fn close_interfaces(
    open: &mut BTreeMap<u32, (RadioId, Interface)>,
    radios: &mut BTreeMap<RadioId, Entry>,
    wanted: &[(Interface, Vec<Wrapper>)],
    events: &mut Vec<RadioEvent>,
) {
    open.retain(|index, (id, opened)| {
        let stays = wanted.iter().any(|(one, _)| {
            one.index == *index
                && one.link_local == opened.link_local
                && one.v4 == opened.v4
                && one.mtu == opened.mtu
        });
        if !stays {
            tracing::info!(
                radio = id.0,
                interface = opened.name,
                "an interface is off or has changed"
            );
            radios.remove(id);
            events.push(RadioEvent::CarrierLost {
                radio: *id,
                peer: None,
            });
            events.push(RadioEvent::Down { radio: *id });
        }
        stays
    });
}

/// The wanted path for the first radio, with the radio's number behind it for later ones: each file has one header.
fn trace_path(path: &Path, id: RadioId) -> PathBuf {
    match id.0 {
        0 => path.to_owned(),
        number => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}

fn names_peers(link: &LinkSpec) -> bool {
    match link {
        LinkSpec::Peers => true,
        LinkSpec::Lossy(_, inner) | LinkSpec::Traced(_, inner) => names_peers(inner),
        LinkSpec::Everywhere | LinkSpec::Interface(_) | LinkSpec::Socket(_) => false,
    }
}

/// Listens at a path that only this user can open; takes the place of a socket that a killed node left behind.
fn listen(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests;
