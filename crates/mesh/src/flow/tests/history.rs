//! Random histories on small graphs: whatever happens, packets don't circle, nothing arrives twice on one path, and when
//! all flows are closed every label is free.

use proptest::prelude::*;

use super::net::{Net, grid, ring};
use super::{MILLI, SECOND};
use crate::flow::FlowInput;

#[derive(Clone, Debug)]
enum Step {
    Open(usize, usize),
    Send(usize),
    Cut(usize),
    Mend(usize),
    Converge,
    Restart(usize),
    Close(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..9, 0usize..9).prop_map(|(a, b)| Step::Open(a, b)),
        6 => (0usize..8).prop_map(Step::Send),
        2 => (0usize..12).prop_map(Step::Cut),
        2 => (0usize..12).prop_map(Step::Mend),
        1 => Just(Step::Converge),
        1 => (0usize..9).prop_map(Step::Restart),
        1 => (0usize..8).prop_map(Step::Close),
        6 => (1u64..400).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn packets_do_not_circle_and_labels_do_not_leak(
        rings: bool,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let links = if rings { ring(9) } else { grid(3) };
        let mut net = Net::new(9, &links, 7);
        let mut flows = Vec::new();
        for step in steps {
            match step {
                Step::Open(a, b) if a != b => flows.push((a, net.open(a, b))),
                Step::Open(..) => {}
                Step::Send(n) => {
                    if let Some((from, flow)) = flows.get(n) {
                        net.try_send(*from, *flow, b"x");
                    }
                }
                Step::Cut(n) => {
                    let (a, b) = links[n % links.len()];
                    net.cut(a, b);
                }
                Step::Mend(n) => {
                    let (a, b) = links[n % links.len()];
                    net.mend(a, b);
                }
                Step::Converge => net.converge(),
                Step::Restart(node) => net.restart(node),
                Step::Close(n) => {
                    if let Some((node, flow)) = flows.get(n) {
                        net.input(*node, FlowInput::Close { flow: *flow });
                    }
                }
                Step::Wait(millis) => net.run_for(MILLI * millis as u32),
            }
        }
        // Once round the graph, back and round again over a bypass, and out of it: no honest packet takes more.
        prop_assert!(net.hops_max <= 48, "{} hops", net.hops_max);
        for (a, b) in &links {
            net.mend(*a, *b);
        }
        net.converge();
        for node in 0..9 {
            let open: Vec<_> = net.nodes[node].flows.flows().map(|one| one.flow).collect();
            for flow in open {
                net.input(node, FlowInput::Close { flow });
            }
        }
        net.run_for(SECOND * 80);
        for (index, node) in net.nodes.iter().enumerate() {
            prop_assert_eq!(node.flows.labels_used(), 0, "node {}", index);
            prop_assert!(node.flows.is_empty_test(), "node {}", index);
        }
    }
}
