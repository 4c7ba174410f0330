//! The node's border: inputs, outputs, and the value that owns every core.

use std::collections::VecDeque;

use smartmesh_crypto::{Identity, Seed};
use smartmesh_types::{
    Address, Destination, Instant, LinkAddr, Now, RadioId, RadioInfo, RequestId, Train,
};
use thiserror::Error;

use crate::{Command, ContactStatus, Event, NearbyStatus, Status};

/// What the user may set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The name shown to people when this node is visible; at most 64 bytes of UTF-8.
    pub name: String,
}

/// One thing that happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
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
pub enum RestoreError {
    /// A record that this version cannot read.
    #[error("record {key:02x?} cannot be read: {reason}")]
    Record {
        /// Its key.
        key: Vec<u8>,
        /// What is wrong with it.
        reason: String,
    },
}

/// One phone's node.
#[derive(Debug)]
pub struct Node {
    identity: Identity,
    outputs: VecDeque<Output>,
}

impl Node {
    /// A node that starts with an empty memory.
    pub fn new(config: Config, identity: Identity, seed: &Seed, now: Now) -> Self {
        let _ = (config, seed, now);
        Self {
            identity,
            outputs: VecDeque::new(),
        }
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
        let _ = records.into_iter().count();
        Ok(Self::new(config, identity, seed, now))
    }

    /// Takes one input. Never fails: what is wrong with bytes from outside is counted, what is wrong with a command is
    /// answered by [`Event::Refused`].
    pub fn handle(&mut self, input: Input, now: Now) {
        let _ = now;
        if let Input::Command(request, _) = input {
            self.outputs.push_back(Output::Event(Event::Done(request)));
        }
    }

    /// The next thing to be done, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Node::handle`] with [`Input::Tick`] at the latest; not later than now while outputs are queued.
    pub fn next_timeout(&self) -> Option<Instant> {
        (!self.outputs.is_empty()).then_some(Instant::ZERO)
    }

    /// What `status` shows.
    pub fn status(&self, now: Now) -> Status {
        let _ = now;
        Status {
            address: self.identity.address(),
            key: self.identity.key(),
            epoch: 0,
            neighbours: Vec::new(),
            destinations: 0,
            flows: Vec::new(),
            relayed_labels: 0,
            bundles: crate::BundleStatus::default(),
            counters: Vec::new(),
        }
    }

    /// Who can be reached.
    pub fn nearby(&self, now: Now) -> Vec<NearbyStatus> {
        let _ = now;
        Vec::new()
    }

    /// The contacts.
    pub fn contacts(&self) -> Vec<ContactStatus> {
        Vec::new()
    }

    /// Who this node is.
    pub fn address(&self) -> Address {
        self.identity.address()
    }
}
