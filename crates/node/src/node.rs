//! The node's border: inputs, outputs, and the value that owns every core.

use std::collections::{BTreeMap, VecDeque};

use smartmesh_channel::{ChainFact, ContractCall};
use smartmesh_crypto::{Identity, Seed};
use smartmesh_mesh::custody::{Custody, CustodyConfig};
use smartmesh_mesh::{Mesh, MeshConfig, MeshInput, MeshOutput, Sabotage};
use smartmesh_messaging::{Board, BoardInput, Messaging};
use smartmesh_session::{SessionConfig, SessionInput, Sessions};
use smartmesh_types::{
    Address, Destination, Instant, LinkAddr, Now, RadioId, RadioInfo, RequestId, Train,
};
use thiserror::Error;

use crate::gate::Gate;
use crate::people::People;
use crate::perf::Perf;
use crate::probe::Probes;
use crate::{Command, Event, carried, fetch};

/// What the user may set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The name shown to people when this node is visible; at most 64 bytes of UTF-8.
    pub name: String,
    /// Any moment of the standard library's clock, taken once by the shell: the QUIC library wants that clock's instants,
    /// and adds to this one what has passed.
    pub origin: std::time::Instant,
}

/// One thing that happened outside.
#[derive(Clone, Debug)]
pub enum Input {
    /// A radio can be used from now on.
    RadioUp {
        /// Its name from now on.
        radio: RadioId,
        /// What it offers.
        info: RadioInfo,
    },
    /// A radio is gone with all its links.
    RadioDown {
        /// Which.
        radio: RadioId,
    },
    /// The system says that a peer (or, with `None`, every peer) of a radio is out of reach.
    CarrierLost {
        /// Which radio.
        radio: RadioId,
        /// Which peer.
        peer: Option<LinkAddr>,
    },
    /// Frames came in.
    Train {
        /// On which radio.
        radio: RadioId,
        /// From where.
        from: LinkAddr,
        /// The frames.
        train: Train,
    },
    /// A local program sent an IP packet into the TUN interface.
    Tunnel(Vec<u8>),
    /// The user asks for something.
    Command(RequestId, Command),
    /// What is new on the chain; above [`Node::chain_cursor`] after a start.
    Chain(ChainFact),
    /// The records of this output are on disk.
    Persisted(PersistId),
    /// The answer to [`Output::LoadChunk`].
    ChunkLoaded {
        /// Which chunk.
        address: [u8; 32],
        /// Its bytes, if this node has it.
        bytes: Option<Vec<u8>>,
    },
    /// Nothing but time has passed.
    Tick,
}

/// One thing to be done outside, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these records, then answer with [`Input::Persisted`]; what depends on them waits inside until then.
    Persist {
        /// Names this write.
        id: PersistId,
        /// What to write, in order.
        records: Vec<Record>,
    },
    /// Send frames.
    Transmit {
        /// On which radio.
        radio: RadioId,
        /// To whom.
        to: Destination,
        /// The frames.
        train: Train,
    },
    /// Hand an IP packet to the local programs.
    Tunnel(Vec<u8>),
    /// Keep a chunk; it is verified.
    StoreChunk {
        /// Its address.
        address: [u8; 32],
        /// Span and payload.
        bytes: Vec<u8>,
    },
    /// Look a chunk up and answer with [`Input::ChunkLoaded`].
    LoadChunk {
        /// Its address.
        address: [u8; 32],
    },
    /// Bring a call to the chain; asked again until its effect is seen there.
    Submit(ContractCall),
    /// Tell the user.
    Event(Event),
}

/// Names one [`Output::Persist`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PersistId(pub u64);

/// One fact on disk: the newest value of a key, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key; its first byte names the core that owns it.
    pub key: Vec<u8>,
    /// The value, or `None` to remove the key.
    pub value: Option<Vec<u8>>,
}

/// Why the records of an earlier start cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the records of {core} cannot be read: {reason}")]
pub struct RestoreError {
    /// Which core wrote them.
    pub core: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// One phone's node.
pub struct Node {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) mesh: Mesh,
    pub(crate) messaging: Messaging,
    pub(crate) board: Board,
    pub(crate) sessions: Sessions,
    pub(crate) messages_gate: Gate<smartmesh_messaging::Output>,
    pub(crate) mail_gate: Gate<smartmesh_mesh::custody::CustodyOutput>,
    pub(crate) board_gate: Gate<smartmesh_messaging::BoardOutput>,
    pub(crate) next_persist: u64,
    /// Whether people near see the name.
    pub(crate) visible: bool,
    pub(crate) people: People,
    pub(crate) probes: Probes,
    pub(crate) perf: Perf,
    pub(crate) files: fetch::Files,
    pub(crate) carried: carried::Carried,
    pub(crate) money: Option<crate::money::Money>,
    /// Records of channels, until the wallet is there.
    pub(crate) money_records: Vec<smartmesh_channel::Record>,
    pub(crate) outputs: VecDeque<Output>,
}

impl Node {
    /// A node that starts with an empty memory.
    pub fn new(config: Config, identity: Identity, seed: &Seed, now: Now) -> Self {
        let messaging =
            Messaging::new(messaging_config(), &identity, &seed.split("messaging"), now);
        let custody = Custody::new(CustodyConfig::default(), &seed.split("custody"), now);
        let board = Board::restore(&identity, &config.name, seed, [], now)
            .expect("no record is damaged where there is none");
        let cores = (messaging, board, custody);
        let mut node = Self::with(config, identity, cores, seed, now);
        node.begin(now);
        node
    }

    /// A node that remembers what its records say.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn restore(
        config: Config,
        identity: Identity,
        seed: &Seed,
        records: impl IntoIterator<Item = Record>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
        let mut by_core: BTreeMap<u8, Pairs> = BTreeMap::new();
        for Record { key, value } in records {
            if let (Some((core, key)), Some(value)) = (key.split_first(), value) {
                by_core
                    .entry(*core)
                    .or_default()
                    .push((key.to_vec(), value));
            }
        }
        let messages = by_core
            .remove(&MESSAGING_RECORDS)
            .unwrap_or_default()
            .into_iter();
        let messages: Vec<_> = messages
            .map(|(key, value)| smartmesh_messaging::Record {
                key,
                value: Some(value),
            })
            .collect();
        let messaging = if messages.is_empty() {
            Messaging::new(messaging_config(), &identity, &seed.split("messaging"), now)
        } else {
            Messaging::restore(
                messaging_config(),
                &identity,
                &seed.split("messaging"),
                messages,
                now,
            )
            .map_err(|error| RestoreError {
                core: "messaging",
                reason: error.to_string(),
            })?
        };
        let mail = by_core
            .remove(&CUSTODY_RECORDS)
            .unwrap_or_default()
            .into_iter();
        let mail = mail.map(|(key, value)| smartmesh_mesh::custody::Record {
            key,
            value: Some(value),
        });
        let custody = Custody::restore(CustodyConfig::default(), &seed.split("custody"), mail, now)
            .map_err(|error| RestoreError {
                core: "carried mail",
                reason: error.to_string(),
            })?;
        let posts = by_core.remove(&BOARD_RECORDS).unwrap_or_default();
        let posts = posts
            .into_iter()
            .map(|(key, value)| smartmesh_messaging::Record {
                key,
                value: Some(value),
            });
        let board = Board::restore(&identity, &config.name, seed, posts, now).map_err(|error| {
            RestoreError {
                core: "the board",
                reason: error.to_string(),
            }
        })?;
        let cores = (messaging, board, custody);
        let mut node = Self::with(config, identity, cores, seed, now);
        let money = by_core.remove(&crate::money::MONEY_RECORDS);
        node.keep_money_records(money.unwrap_or_default());
        let files = by_core
            .remove(&carried::CARRIED_RECORDS)
            .unwrap_or_default();
        // Before carried mail brings the parts that came just before the end.
        node.restore_carried(files, now)
            .map_err(|key| RestoreError {
                core: "carried files",
                reason: format!("record {key:02x?}"),
            })?;
        node.begin(now);
        Ok(node)
    }

    fn with(
        config: Config,
        identity: Identity,
        cores: (Messaging, Board, Custody),
        seed: &Seed,
        now: Now,
    ) -> Self {
        let (messaging, board, mut custody) = cores;
        custody.set_local(identity.address());
        let mesh = Mesh::new(MeshConfig::default(), &identity, custody, seed, now);
        let sessions = Sessions::new(
            SessionConfig::default(),
            &identity,
            &seed.split("session"),
            config.origin,
            now,
        );
        Self {
            config,
            mesh,
            messaging,
            board,
            sessions,
            messages_gate: Gate::default(),
            mail_gate: Gate::default(),
            board_gate: Gate::default(),
            next_persist: 0,
            visible: false,
            people: People::default(),
            probes: Probes::new(&seed.split("probes")),
            perf: Perf::default(),
            files: fetch::Files::new(now),
            carried: carried::Carried::default(),
            money: None,
            money_records: Vec::new(),
            outputs: VecDeque::new(),
            identity,
        }
    }

    fn begin(&mut self, now: Now) {
        self.contacts_changed(now);
        self.settle(now);
    }

    /// Takes one input. Never fails: what is wrong with bytes from outside is counted, what is wrong with a command is
    /// answered by [`Event::Refused`].
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::RadioUp { radio, info } => {
                self.mesh.handle(MeshInput::RadioUp { radio, info }, now)
            }
            Input::RadioDown { radio } => self.mesh.handle(MeshInput::RadioDown { radio }, now),
            Input::CarrierLost { radio, peer } => self
                .mesh
                .handle(MeshInput::CarrierLost { radio, peer }, now),
            Input::Train { radio, from, train } => self
                .mesh
                .handle(MeshInput::Train { radio, from, train }, now),
            Input::Tunnel(packet) => self.handle_tunnel(&packet, now),
            Input::Command(request, command) => self.handle_command(request, command, now),
            Input::Chain(fact) => self.chain_fact(fact, now),
            Input::Persisted(id) => self.handle_persisted(id, now),
            Input::ChunkLoaded { address, bytes } => self.handle_chunk_loaded(address, bytes, now),
            Input::Tick => self.tick(now),
        }
        self.settle(now);
    }

    /// The next thing to be done, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        // Only trains that were still filling are left in the mesh.
        match self.mesh.poll_output()? {
            MeshOutput::Transmit { radio, to, train } => {
                Some(Output::Transmit { radio, to, train })
            }
            MeshOutput::Flow(_)
            | MeshOutput::Gossip(_)
            | MeshOutput::Custody(_)
            | MeshOutput::Identified { .. }
            | MeshOutput::RouteChanged { .. }
            | MeshOutput::Epoch { .. } => None,
        }
    }

    /// When to call [`Node::handle`] with [`Input::Tick`] at the latest; not later than now while outputs are queued.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() {
            return Some(Instant::ZERO);
        }
        let timeouts = [
            self.mesh.next_timeout(),
            self.messaging.next_timeout(),
            self.board.next_timeout(),
            self.sessions.next_timeout(),
            self.probes.next_timeout(),
            self.perf.next_timeout(),
            self.files.next_timeout(),
            self.money_timeout(),
        ];
        timeouts.into_iter().flatten().min()
    }

    /// Who this node is.
    pub fn address(&self) -> Address {
        self.identity.address()
    }

    /// Neighbours that are kept now.
    pub fn neighbour_count(&self) -> usize {
        self.mesh.links().neighbours().count()
    }

    /// What people say to everybody near.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Makes this node cheat from now on; for the simulator.
    pub fn sabotage(&mut self, how: Sabotage) {
        self.mesh.sabotage(how);
    }

    fn tick(&mut self, now: Now) {
        let due = |timeout: Option<Instant>| timeout.is_some_and(|at| at <= now.instant);
        if due(self.mesh.next_timeout()) {
            self.mesh.handle(MeshInput::Tick, now);
        }
        if due(self.messaging.next_timeout()) {
            let _ = self.messaging.handle(smartmesh_messaging::Input::Tick, now);
        }
        if due(self.board.next_timeout()) {
            let _ = self.board.handle(BoardInput::Tick, now);
        }
        if due(self.sessions.next_timeout()) {
            let _ = self.sessions.handle(SessionInput::Tick, now);
        }
        if due(self.probes.next_timeout()) {
            self.probes_tick(now);
        }
        if due(self.perf.next_timeout()) {
            self.perf_tick(now);
        }
        if due(self.money_timeout()) {
            self.ask_money(smartmesh_channel::Input::Tick, now);
        }
        if due(self.files.next_timeout()) {
            self.files_tick(now);
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({})", self.identity.address())
    }
}

fn messaging_config() -> smartmesh_messaging::Config {
    smartmesh_messaging::Config::default()
}

/// First byte of the keys of messaging's records.
pub(crate) const MESSAGING_RECORDS: u8 = 1;

/// First byte of the keys of the board's records.
pub(crate) const BOARD_RECORDS: u8 = 10;

/// First byte of the keys of carried mail's records.
pub(crate) const CUSTODY_RECORDS: u8 = 2;
