//! What a packet costs at a relay, at its source and at its destination, beside the links' own sealing.
//!
//! Three nodes in a row in one process: the set-up is driven by hand, then packets are forwarded and sealed as fast as
//! one core can. Run with `cargo run --release -p smartmesh-mesh --example flow_rate`.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a measuring tool prints and reads the clock"
)]

use std::hint::black_box;
use std::time::Instant as Clock;

use smartmesh_crypto::{Identity, Seed, destination_tag};
use smartmesh_mesh::flow::{
    FlowConfig, FlowEvent, FlowInput, FlowOutput, Flows, Forward, NextHops, Opened, PayloadKind,
    Sealed,
};
use smartmesh_mesh::route::{NextHop, SearchToken};
use smartmesh_types::{Address, Label, NeighbourId, Now, Tag};

/// A row of nodes: the one to the left is neighbour 1, the one to the right neighbour 2.
struct Row {
    own: Tag,
    way: Option<NeighbourId>,
}

impl NextHops for Row {
    fn tag_of(&self, address: Address) -> Tag {
        destination_tag(address, 1)
    }

    fn is_own(&self, tag: Tag) -> bool {
        tag == self.own
    }

    fn next_hops(&self, _: Tag) -> Vec<NextHop> {
        let hop = |neighbour| NextHop {
            neighbour,
            metric: 1_000,
            hops: 1,
            feasible: true,
        };
        self.way.map(hop).into_iter().collect()
    }

    fn search_hop(&self, _: SearchToken) -> Option<NeighbourId> {
        None
    }
}

const LEFT: NeighbourId = NeighbourId(1);
const RIGHT: NeighbourId = NeighbourId(2);
const FLOWS: usize = 1_000;
const ROUNDS: u64 = 5_000_000;

struct Node {
    flows: Flows,
    row: Row,
}

fn main() {
    let mut now = Now::default();
    let seed = Seed::new([1; 32]);
    let identity = |n: u32| Identity::generate(&mut seed.split(&format!("{n}")).rng());
    let config = FlowConfig {
        flows_max: 2 * FLOWS,
        ..FlowConfig::default()
    };
    let node = |n: u32, way, now| {
        let identity = identity(n);
        let own = destination_tag(identity.address(), 1);
        let flows = Flows::new(config, &identity, &seed.split(&format!("flows {n}")), now);
        let row = Row { own, way };
        Node { flows, row }
    };
    // 1,000 sources at the left of one relay: so many labels are in use.
    let mut nodes = [
        node(0, Some(RIGHT), now),
        node(1, Some(RIGHT), now),
        node(2, None, now),
    ];
    for (at, neighbours) in [(0, vec![RIGHT]), (1, vec![LEFT, RIGHT]), (2, vec![LEFT])] {
        for neighbour in neighbours {
            let up = FlowInput::NeighbourUp {
                neighbour,
                frame_bytes: 1_472,
                bits_per_second: 1_000_000_000,
            };
            let Some(Node { flows, row }) = nodes.get_mut(at) else {
                return;
            };
            flows.handle(up, row, now);
        }
    }
    let target = identity(2).address();
    let started = Clock::now();
    let mut labels = Vec::new();
    let mut flow = None;
    for n in 0..FLOWS {
        // Time passes, so that the budget for set-ups fills again.
        now = now.after(std::time::Duration::from_millis(10));
        let [source, ..] = &mut nodes;
        let one = source.flows.open(target, &source.row, now);
        flow = Some(one);
        run(&mut nodes, now);
        let [source, ..] = &mut nodes;
        let mut packet = Vec::new();
        let sealed = source
            .flows
            .seal(one, PayloadKind::Ip, &[0; 64], &mut packet, now);
        if let Ok(Sealed::Send { label, .. }) = sealed {
            labels.push(label);
        }
        if n + 1 < FLOWS {
            // A new identity would be a new source; closing without telling leaves the relay's labels in use.
            let fresh = node(3 + u32::try_from(n).unwrap(), Some(RIGHT), now);
            let [source, ..] = &mut nodes;
            *source = fresh;
            let up = FlowInput::NeighbourUp {
                neighbour: RIGHT,
                frame_bytes: 1_472,
                bits_per_second: 1_000_000_000,
            };
            source.flows.handle(up, &source.row, now);
        }
    }
    let set_up = started.elapsed() / u32::try_from(FLOWS).unwrap();
    let [source, relay, destination] = &mut nodes;
    println!("labels at the relay: {}", relay.flows.labels_used());
    println!("set-up, two hops, all three nodes and both ends' handshakes: {set_up:?}");
    forward_rate(&mut relay.flows, &labels, now);
    end_rate(
        &mut source.flows,
        &mut relay.flows,
        &mut destination.flows,
        flow.unwrap(),
        now,
    );
}

fn forward_rate(relay: &mut Flows, labels: &[Label], now: Now) {
    let started = Clock::now();
    let mut relayed = 0u64;
    for label in labels.iter().cycle().take(usize::try_from(ROUNDS).unwrap()) {
        let decision = black_box(relay.forward(LEFT, *label, now));
        relayed += u64::from(matches!(decision, Forward::Relay { .. }));
    }
    let each = started.elapsed().as_nanos() / u128::from(ROUNDS);
    println!("forward: {each} ns a packet ({relayed} of {ROUNDS} relayed)");
}

fn end_rate(
    source: &mut Flows,
    relay: &mut Flows,
    destination: &mut Flows,
    flow: smartmesh_types::FlowId,
    now: Now,
) {
    let (payload, rounds) = ([7; 1_200], 300_000u32);
    let mut buffer = Vec::with_capacity(2_000);
    let (mut sealing, mut opening) = (std::time::Duration::ZERO, std::time::Duration::ZERO);
    for _ in 0..rounds {
        buffer.clear();
        let at = Clock::now();
        let sealed = source.seal(flow, PayloadKind::Quic, &payload, &mut buffer, now);
        sealing += at.elapsed();
        let Ok(Sealed::Send { label, .. }) = sealed else {
            return;
        };
        let Forward::Relay { label, .. } = relay.forward(LEFT, label, now) else {
            return;
        };
        let at = Clock::now();
        let Forward::Deliver { path } = destination.forward(LEFT, label, now) else {
            return;
        };
        let opened = destination.open_payload(path, &mut buffer, now);
        opening += at.elapsed();
        assert!(matches!(opened, Ok(Opened::Payload { .. })));
    }
    println!(
        "end to end, 1,200 bytes: seal {:?}, open {:?}",
        sealing / rounds,
        opening / rounds
    );
}

/// Carries everything between the nodes until all is quiet.
fn run(nodes: &mut [Node; 3], now: Now) {
    loop {
        let mut moved = Vec::new();
        for (index, node) in nodes.iter_mut().enumerate() {
            while let Some(output) = node.flows.poll_output() {
                moved.push((index, output));
            }
        }
        if moved.is_empty() {
            return;
        }
        for (index, output) in moved {
            let (to, input) = match output {
                FlowOutput::SendControl { to, body } => (
                    to,
                    FlowInput::Control {
                        from: back(to),
                        body,
                    },
                ),
                FlowOutput::SendData { to, label, payload } => {
                    let from = back(to);
                    (
                        to,
                        FlowInput::Data {
                            from,
                            label,
                            payload,
                        },
                    )
                }
                FlowOutput::Event(FlowEvent::Down { reason, .. }) => {
                    println!("a flow ended: {reason:?}");
                    continue;
                }
                FlowOutput::Event(_) | FlowOutput::Search { .. } => continue,
            };
            let next = if to == RIGHT { index + 1 } else { index - 1 };
            let Some(Node { flows, row }) = nodes.get_mut(next) else {
                continue;
            };
            flows.handle(input, row, now);
        }
    }
}

/// Who the receiver takes the sender for.
fn back(to: NeighbourId) -> NeighbourId {
    if to == RIGHT { LEFT } else { RIGHT }
}
