//! Three nodes in a row in one process, joined by nothing but function calls.

use std::collections::VecDeque;
use std::time::Duration;

use smartmesh_crypto::{Identity, Seed};
use smartmesh_mesh::custody::{Custody, CustodyConfig};
use smartmesh_mesh::flow::{FlowEvent, PayloadKind};
use smartmesh_mesh::{Mesh, MeshConfig, MeshInput, MeshOutput};
use smartmesh_types::{Address, Broadcast, FlowId, LinkAddr, Now, RadioId, RadioInfo, Train};

use crate::{Failure, PACKET_BYTES, TRAIN_FRAMES, thread_time};

/// What the end-to-end layer adds to a payload inside the link's frame.
const END_TO_END_BYTES: usize = 22;

/// A node that remembers nothing.
pub(crate) fn node(number: u8, now: Now) -> (Mesh, Address) {
    let seed = Seed::new([number; 32]);
    let identity = Identity::generate(&mut seed.split("identity").rng());
    let custody = Custody::new(CustodyConfig::default(), &seed, now);
    let mesh = Mesh::new(MeshConfig::default(), &identity, custody, &seed, now);
    (mesh, identity.address())
}

pub(crate) fn cable(peers: Vec<LinkAddr>) -> RadioInfo {
    RadioInfo {
        frame_bytes: 1_352,
        bits_per_second: 10_000_000_000,
        broadcast: if peers.is_empty() {
            Broadcast::Yes
        } else {
            Broadcast::No
        },
        peers,
    }
}

/// Packets of the size that makes a link frame carry [`PACKET_BYTES`].
pub(crate) fn send_packets(mesh: &mut Mesh, flow: FlowId, now: Now) {
    let payload = [9; PACKET_BYTES - END_TO_END_BYTES];
    for _ in 0..TRAIN_FRAMES {
        mesh.send(flow, PayloadKind::Ip, &payload, now);
    }
}

/// A train on its way: to which node, on which of its radios, from where.
type Flying = (usize, RadioId, LinkAddr, Train);

pub(crate) struct Row {
    nodes: [Mesh; 3],
    flow: FlowId,
    now: Now,
    flying: VecDeque<Flying>,
    relayed: u64,
    arrived: u64,
}

const NEAR: RadioId = RadioId(1);
const FAR: RadioId = RadioId(2);

impl Row {
    /// Makes the row and a flow from end to end.
    pub(crate) fn new() -> Result<Self, Failure> {
        let now = Now::default();
        let [(first, _), (relay, _), (last, target)] = [1, 2, 3].map(|number| node(number, now));
        let mut row = Self {
            nodes: [first, relay, last],
            flow: FlowId(0),
            now,
            flying: VecDeque::new(),
            relayed: 0,
            arrived: 0,
        };
        for (mesh, radios) in row
            .nodes
            .iter_mut()
            .zip([&[NEAR][..], &[NEAR, FAR], &[NEAR]])
        {
            for radio in radios {
                let (radio, info) = (*radio, cable(Vec::new()));
                mesh.handle(MeshInput::RadioUp { radio, info }, now);
            }
        }
        for _ in 0..2_000 {
            row.step();
        }
        let [first, _, _] = &mut row.nodes;
        row.flow = first.open_flow(target, row.now);
        let before = row.arrived;
        for _ in 0..2_000 {
            row.step();
            let [first, _, _] = &mut row.nodes;
            first.send(row.flow, PayloadKind::Ip, &[1], row.now);
            if row.arrived > before {
                return Ok(row);
            }
        }
        Err("the flow does not come up".into())
    }

    /// A millisecond passes.
    fn step(&mut self) {
        self.now = self.now.after(Duration::from_millis(1));
        for node in 0..3 {
            self.handle(node, MeshInput::Tick);
        }
        self.carry();
    }

    /// Gives a node an input and takes what it sends; returns how long that took.
    fn handle(&mut self, node: usize, input: MeshInput) -> Duration {
        let Some(mesh) = self.nodes.get_mut(node) else {
            return Duration::ZERO;
        };
        let started = thread_time();
        mesh.handle(input, self.now);
        let mut outputs = Vec::new();
        while let Some(output) = mesh.poll_output() {
            outputs.push(output);
        }
        let taken = thread_time() - started;
        for output in outputs {
            self.take(node, output);
        }
        taken
    }

    fn take(&mut self, node: usize, output: MeshOutput) {
        match output {
            MeshOutput::Transmit { radio, train, .. } => {
                let (to, on) = match (node, radio) {
                    (0, _) => (1, NEAR),
                    (1, NEAR) => (0, NEAR),
                    (1, _) => (2, NEAR),
                    _ => (1, FAR),
                };
                if node == 1 && train.bytes.len() > PACKET_BYTES {
                    let frames = u64::try_from(train.frames().count()).unwrap_or(0);
                    self.relayed += frames;
                }
                let number = u8::try_from(node).unwrap_or(0);
                let from = LinkAddr::new(&[number]).expect("one byte is an address");
                self.flying.push_back((to, on, from, train));
            }
            MeshOutput::Flow(FlowEvent::Received { .. }) => self.arrived += 1,
            MeshOutput::Flow(_)
            | MeshOutput::Gossip(_)
            | MeshOutput::Custody(_)
            | MeshOutput::Identified { .. }
            | MeshOutput::RouteChanged { .. }
            | MeshOutput::Epoch { .. } => {}
        }
    }

    /// Carries all trains to their places; returns how long the relay was busy.
    fn carry(&mut self) -> Duration {
        let mut busy = Duration::ZERO;
        while let Some((to, radio, from, train)) = self.flying.pop_front() {
            let taken = self.handle(to, MeshInput::Train { radio, from, train });
            if to == 1 {
                busy += taken;
            }
        }
        busy
    }

    /// Sends this many trains from end to end; returns the relay's time for one packet.
    pub(crate) fn relay(mut self, trains: u32) -> Result<Duration, Failure> {
        let mut busy = Duration::ZERO;
        let (before, arrived) = (self.relayed, self.arrived);
        for _ in 0..trains {
            // What this many packets take at 1 Gbit/s.
            self.now = self.now.after(Duration::from_micros(500));
            let [first, _, _] = &mut self.nodes;
            send_packets(first, self.flow, self.now);
            self.handle(0, MeshInput::Tick);
            busy += self.handle(1, MeshInput::Tick);
            self.handle(2, MeshInput::Tick);
            busy += self.carry();
        }
        let relayed = self.relayed - before;
        if relayed < u64::from(trains) * 40 || self.arrived - arrived < relayed {
            return Err(format!("only {relayed} packets were relayed").into());
        }
        Ok(busy / u32::try_from(relayed)?)
    }
}
