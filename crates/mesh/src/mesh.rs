//! The five cores of the mesh joined: who hears what from whom.
//!
//! ```text
//! radio → link ──control──→ route, flow, gossip, custody
//!          │  ──neighbours→ route, flow, gossip, custody
//!          └──packets─────→ flow → relay (sealed again in the same buffer) or the layers above
//! ```

use std::collections::VecDeque;

use smartmesh_crypto::{Identity, Seed};
use smartmesh_types::{
    Address, Destination, FlowId, Instant, LinkAddr, NeighbourId, Now, RadioId, RadioInfo, Tag,
    Train,
};
use smartmesh_wire::Family;

use crate::custody::{Custody, CustodyInput, CustodyOutput, PeerRef};
use crate::flow::{FlowConfig, FlowEvent, FlowInput, FlowOutput, Flows, PayloadKind};
use crate::gossip::{Gossip, GossipClass, GossipConfig, GossipInput, GossipOutput};
use crate::link::{ControlClass, DataFrame, LinkConfig, LinkContact, LinkInput, LinkOutput, Links};
use crate::route::{RouteConfig, RouteInput, RouteOutput, Routes, SearchTarget};

mod packets;
mod sabotage;

pub use sabotage::Sabotage;

/// Rings that a search tries: 4, 8, 16 and 32 hops.
const SEARCH_RINGS: u8 = 4;

/// The settings of the cores, but for carried mail, which is restored on its own.
#[derive(Clone, Debug, Default)]
pub struct MeshConfig {
    /// Links.
    pub link: LinkConfig,
    /// Routes.
    pub route: RouteConfig,
    /// Flows.
    pub flow: FlowConfig,
    /// Gossip.
    pub gossip: GossipConfig,
}

/// What happens to the mesh from outside.
#[derive(Clone, Debug)]
pub enum MeshInput {
    /// A radio can be used.
    RadioUp {
        /// Its name.
        radio: RadioId,
        /// What it offers.
        info: RadioInfo,
    },
    /// A radio is gone.
    RadioDown {
        /// Which.
        radio: RadioId,
    },
    /// The system says that a peer, or every peer, of a radio is out of reach.
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
    /// Whom this node knows.
    Contacts(Vec<LinkContact>),
    /// For gossip.
    Gossip(GossipInput),
    /// For carried mail.
    Custody(CustodyInput),
    /// A flow is no longer needed.
    CloseFlow {
        /// Which.
        flow: FlowId,
    },
    /// Nothing but time has passed.
    Tick,
}

/// What the mesh wants done, in order.
#[derive(Clone, Debug)]
pub enum MeshOutput {
    /// Send frames.
    Transmit {
        /// On which radio.
        radio: RadioId,
        /// To whom.
        to: Destination,
        /// The frames.
        train: Train,
    },
    /// A flow came up, changed, brought something or ended.
    Flow(FlowEvent),
    /// A broadcast was heard; never a [`GossipOutput::Send`].
    Gossip(GossipOutput),
    /// Something is to be done for carried mail; what goes to a neighbour comes back by [`Mesh::send_mail`].
    Custody(CustodyOutput),
    /// A neighbour has proven to be this contact.
    Identified {
        /// Which neighbour.
        neighbour: NeighbourId,
        /// Whom.
        key: smartmesh_types::NodeKey,
    },
    /// The best way to a destination is another one, or there is one now, or none any more.
    RouteChanged {
        /// Its tag.
        tag: Tag,
    },
    /// A new epoch of tags began.
    Epoch {
        /// Its number.
        epoch: u64,
    },
}

/// One node's part in the mesh.
pub struct Mesh {
    links: Links,
    routes: Routes,
    flows: Flows,
    gossip: Gossip,
    custody: Custody,
    sabotage: Sabotage,
    sabotage_at: Instant,
    sabotage_count: u64,
    /// Frames for one place that wait for more of their kind.
    filling: Option<packets::Filling>,
    frames: Vec<DataFrame>,
    outputs: VecDeque<MeshOutput>,
}

impl Mesh {
    /// A node without radios that remembers this mail.
    pub fn new(
        config: MeshConfig,
        identity: &Identity,
        custody: Custody,
        seed: &Seed,
        now: Now,
    ) -> Self {
        let seed = seed.split("mesh");
        Self {
            links: Links::new(config.link, identity, &seed, now),
            routes: Routes::new(config.route, identity.address(), &seed, now),
            flows: Flows::new(config.flow, identity, &seed, now),
            gossip: Gossip::new(config.gossip, &seed, now),
            custody,
            sabotage: Sabotage::None,
            sabotage_at: Instant::ZERO,
            sabotage_count: 0,
            filling: None,
            frames: Vec::new(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input and lets the cores settle.
    pub fn handle(&mut self, input: MeshInput, now: Now) {
        match input {
            MeshInput::RadioUp { radio, info } => {
                self.links.handle(LinkInput::RadioUp { radio, info }, now)
            }
            MeshInput::RadioDown { radio } => {
                self.links.handle(LinkInput::RadioDown { radio }, now)
            }
            MeshInput::CarrierLost { radio, peer } => self
                .links
                .handle(LinkInput::CarrierLost { radio, peer }, now),
            MeshInput::Train { radio, from, train } => self.handle_train(radio, from, train, now),
            MeshInput::Contacts(contacts) => self.links.handle(LinkInput::Contacts(contacts), now),
            // What gossip refuses it has counted.
            MeshInput::Gossip(input) => drop(self.gossip.handle(input, now)),
            MeshInput::Custody(input) => drop(self.custody.handle(input, now)),
            MeshInput::CloseFlow { flow } => {
                self.flows
                    .handle(FlowInput::Close { flow }, &self.routes, now)
            }
            MeshInput::Tick => self.tick(now),
        }
        self.settle(now);
    }

    /// The next thing to be done, until `None`.
    pub fn poll_output(&mut self) -> Option<MeshOutput> {
        if self.outputs.is_empty() {
            self.flush();
        }
        self.outputs.pop_front()
    }

    /// The next thing to be done besides a train that may still grow; [`Mesh::poll_output`] gives that, too.
    pub fn poll_settled(&mut self) -> Option<MeshOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`Mesh::handle`] at the latest.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.outputs.is_empty() || self.filling.is_some() {
            return Some(Instant::ZERO);
        }
        let timeouts = [
            self.links.next_timeout(),
            self.routes.next_timeout(),
            self.flows.next_timeout(),
            self.gossip.next_timeout(),
            self.custody.next_timeout(),
            self.sabotage_timeout(),
        ];
        timeouts.into_iter().flatten().min()
    }

    /// The flow to this address: the one there is, or one that is being built.
    pub fn open_flow(&mut self, to: Address, now: Now) -> FlowId {
        let flow = self.flows.open(to, &self.routes, now);
        self.settle(now);
        flow
    }

    /// The links, for `status`.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The routes, for `status` and `nearby`.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The flows, for `status`.
    pub fn flows(&self) -> &Flows {
        &self.flows
    }

    /// Gossip, for `status`.
    pub fn gossip(&self) -> &Gossip {
        &self.gossip
    }

    /// Carried mail, for `status` and for what needs no input.
    pub fn custody(&self) -> &Custody {
        &self.custody
    }

    /// Carried mail, for deposits.
    pub fn custody_mut(&mut self) -> &mut Custody {
        &mut self.custody
    }

    fn tick(&mut self, now: Now) {
        let due = |timeout: Option<Instant>| timeout.is_some_and(|at| at <= now.instant);
        if due(self.links.next_timeout()) {
            self.links.handle(LinkInput::Tick, now);
        }
        if due(self.routes.next_timeout()) {
            self.routes.handle(RouteInput::Tick, now);
        }
        if due(self.flows.next_timeout()) {
            self.flows.handle(FlowInput::Tick, &self.routes, now);
        }
        if due(self.gossip.next_timeout()) {
            let _ = self.gossip.handle(GossipInput::Tick, now);
        }
        if due(self.custody.next_timeout()) {
            let _ = self.custody.handle(CustodyInput::Tick, now);
        }
        self.sabotage_tick(now);
    }

    /// Carries outputs from core to core until all are quiet.
    pub(crate) fn settle(&mut self, now: Now) {
        loop {
            if let Some(output) = self.links.poll_output() {
                self.handle_link(output, now);
            } else if let Some(output) = self.routes.poll_output() {
                self.handle_route(output, now);
            } else if let Some(output) = self.flows.poll_output() {
                self.handle_flow(output, now);
            } else if let Some(output) = self.gossip.poll_output() {
                self.handle_gossip(output, now);
            } else if let Some(output) = self.custody.poll_output() {
                // The owner gates what follows a record: only it knows when the record is durable.
                self.outputs.push_back(MeshOutput::Custody(output));
            } else {
                return;
            }
        }
    }

    fn handle_link(&mut self, output: LinkOutput, now: Now) {
        match output {
            LinkOutput::Transmit { radio, to, train } => {
                self.outputs
                    .push_back(MeshOutput::Transmit { radio, to, train });
            }
            LinkOutput::Up { neighbour, metric } => self.neighbour_up(neighbour, metric, now),
            LinkOutput::Down { neighbour } => {
                self.routes
                    .handle(RouteInput::NeighbourDown { neighbour }, now);
                self.flows
                    .handle(FlowInput::NeighbourDown { neighbour }, &self.routes, now);
                let _ = self
                    .gossip
                    .handle(GossipInput::NeighbourDown { neighbour }, now);
                let _ = self
                    .custody
                    .handle(CustodyInput::NeighbourDown { neighbour }, now);
            }
            LinkOutput::Suspect { neighbour } => {
                self.routes.handle(RouteInput::Suspect { neighbour }, now);
                self.flows
                    .handle(FlowInput::Suspect { neighbour }, &self.routes, now);
            }
            LinkOutput::Recovered { neighbour } => {
                self.routes.handle(RouteInput::Recovered { neighbour }, now);
                self.flows
                    .handle(FlowInput::Recovered { neighbour }, &self.routes, now);
            }
            LinkOutput::Metric { neighbour, metric } => {
                self.routes
                    .handle(RouteInput::Metric { neighbour, metric }, now);
            }
            LinkOutput::Control { from, message } => self.handle_control(from, &message, now),
            LinkOutput::Data {
                from,
                label,
                payload,
            } => {
                self.flows.handle(
                    FlowInput::Data {
                        from,
                        label,
                        payload,
                    },
                    &self.routes,
                    now,
                );
            }
            LinkOutput::Undelivered {
                neighbour,
                label,
                payload,
            } => {
                self.flows.handle(
                    FlowInput::Undelivered {
                        neighbour,
                        label,
                        payload,
                    },
                    &self.routes,
                    now,
                );
            }
            LinkOutput::Identified { neighbour, key } => {
                let _ = self
                    .custody
                    .handle(CustodyInput::Identified { neighbour, key }, now);
                self.outputs
                    .push_back(MeshOutput::Identified { neighbour, key });
            }
        }
    }

    fn neighbour_up(&mut self, neighbour: NeighbourId, metric: u32, now: Now) {
        let Some(info) = self.links.neighbour(neighbour) else {
            return;
        };
        let (frame_bytes, bits_per_second) = (info.frame_bytes, info.bits_per_second);
        self.routes
            .handle(RouteInput::NeighbourUp { neighbour, metric }, now);
        let up = FlowInput::NeighbourUp {
            neighbour,
            frame_bytes,
            bits_per_second,
        };
        self.flows.handle(up, &self.routes, now);
        let _ = self.gossip.handle(
            GossipInput::NeighbourUp {
                neighbour,
                bits_per_second,
            },
            now,
        );
        let _ = self
            .custody
            .handle(CustodyInput::NeighbourUp { neighbour }, now);
    }

    fn handle_control(&mut self, from: NeighbourId, message: &[u8], now: Now) {
        // A family of a later version is dropped: the link has counted the message already.
        let Ok((family, body)) = Family::split(message) else {
            return;
        };
        let body = body.to_vec();
        match family {
            Family::Route => self.routes.handle(RouteInput::Message { from, body }, now),
            Family::Flow => {
                if !self.swallows_control(&body) {
                    self.flows
                        .handle(FlowInput::Control { from, body }, &self.routes, now);
                }
            }
            Family::Gossip => drop(self.gossip.handle(GossipInput::Message { from, body }, now)),
            Family::Bundle => {
                let from = PeerRef::Neighbour(from);
                let _ = self
                    .custody
                    .handle(CustodyInput::Message { from, body }, now);
            }
        }
    }

    fn send_control(
        &mut self,
        to: NeighbourId,
        family: Family,
        body: &[u8],
        class: ControlClass,
        now: Now,
    ) {
        if self
            .links
            .send_control(to, family.frame(body), class, now)
            .is_err()
            && family == Family::Route
        {
            // Routing repairs itself by sending everything again; the others repeat or do without.
            self.routes
                .handle(RouteInput::Undelivered { neighbour: to }, now);
        }
    }

    fn handle_route(&mut self, output: RouteOutput, now: Now) {
        match output {
            RouteOutput::Send { to, body } => {
                self.send_control(to, Family::Route, &body, ControlClass::Urgent, now)
            }
            RouteOutput::Changed { tag } => {
                self.flows
                    .handle(FlowInput::RouteChanged { tag }, &self.routes, now);
                self.outputs.push_back(MeshOutput::RouteChanged { tag });
            }
            RouteOutput::Found { id, token, .. } => {
                let found = FlowInput::Found { id, token };
                self.flows.handle(found, &self.routes, now);
            }
            RouteOutput::NotFound { id } => {
                let not_found = FlowInput::NotFound { id };
                self.flows.handle(not_found, &self.routes, now);
            }
            RouteOutput::Epoch { epoch } => self.outputs.push_back(MeshOutput::Epoch { epoch }),
        }
    }

    fn handle_flow(&mut self, output: FlowOutput, now: Now) {
        match output {
            FlowOutput::SendControl { to, body } => {
                self.send_control(to, Family::Flow, &body, ControlClass::Urgent, now);
            }
            FlowOutput::SendData { to, label, payload } => {
                self.send_packet(to, label, &payload, now)
            }
            FlowOutput::Search { id, target } => {
                let target = SearchTarget::Node(target);
                let search = RouteInput::Search {
                    id,
                    target,
                    avoid: Vec::new(),
                    rings: SEARCH_RINGS,
                };
                self.routes.handle(search, now);
            }
            FlowOutput::Event(event) => self.outputs.push_back(MeshOutput::Flow(event)),
        }
    }

    fn handle_gossip(&mut self, output: GossipOutput, now: Now) {
        match output {
            GossipOutput::Send { to, body, class } => {
                let class = match class {
                    GossipClass::Urgent => ControlClass::Urgent,
                    GossipClass::Normal => ControlClass::Normal,
                };
                self.send_control(to, Family::Gossip, &body, class, now);
            }
            deliver @ GossipOutput::Deliver { .. } => {
                self.outputs.push_back(MeshOutput::Gossip(deliver))
            }
        }
    }

    /// Sends a message of carried mail to a neighbour, once its owner knows that what it says is durable.
    pub fn send_mail(&mut self, to: NeighbourId, body: &[u8], now: Now) {
        self.send_control(to, Family::Bundle, body, ControlClass::Bulk, now);
        self.settle(now);
    }

    /// Publishes under the kind's own rules; what gossip refuses it has counted.
    pub fn publish(&mut self, input: GossipInput, now: Now) {
        let _ = self.gossip.handle(input, now);
        self.settle(now);
    }

    /// Queues a payload of a flow; it is sealed at once if there is a path.
    pub fn send(&mut self, flow: FlowId, kind: PayloadKind, payload: &[u8], now: Now) {
        self.seal_and_send(flow, kind, payload, now);
        self.settle(now);
    }
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh")
            .field("links", &self.links)
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}
