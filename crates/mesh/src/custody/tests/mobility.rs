use super::*;

const NODES: usize = 40;
/// Metres.
const SIDE: i64 = 1_000;
const RANGE: i64 = 60;
/// Steps of ten seconds: eight hours.
const STEPS: usize = 2_880;
const STEP: Duration = Duration::from_secs(10);
/// Metres a step: a walk.
const PACE: i64 = 14;
const MAILS: u8 = 60;

struct Walker {
    at: (i64, i64),
    to: (i64, i64),
}

fn point(rng: &mut smartmesh_crypto::Rng) -> (i64, i64) {
    let side = u64::try_from(SIDE).unwrap();
    (
        i64::try_from(rng.below(side)).unwrap(),
        i64::try_from(rng.below(side)).unwrap(),
    )
}

/// Pairs in range at each step; walkers go to random places.
fn trace(rng: &mut smartmesh_crypto::Rng) -> Vec<BTreeSet<(usize, usize)>> {
    let mut walkers: Vec<_> = (0..NODES)
        .map(|_| Walker {
            at: point(rng),
            to: point(rng),
        })
        .collect();
    let steps = (0..STEPS).map(|_| {
        for walker in &mut walkers {
            let (dx, dy) = (walker.to.0 - walker.at.0, walker.to.1 - walker.at.1);
            let distance = (dx * dx + dy * dy).isqrt();
            if distance <= PACE {
                walker.at = walker.to;
                walker.to = point(rng);
            } else {
                walker.at.0 += dx * PACE / distance;
                walker.at.1 += dy * PACE / distance;
            }
        }
        let near = |a: &Walker, b: &Walker| {
            (a.at.0 - b.at.0).pow(2) + (a.at.1 - b.at.1).pow(2) <= RANGE * RANGE
        };
        let pairs = (0..NODES).flat_map(|a| (0..a).map(move |b| (b, a)));
        pairs
            .filter(|(a, b)| near(&walkers[*a], &walkers[*b]))
            .collect()
    });
    steps.collect()
}

/// The step at which flooding without limits would have delivered.
fn flood(trace: &[BTreeSet<(usize, usize)>], from: usize, to: usize) -> Option<usize> {
    let mut holders = BTreeSet::from([from]);
    for (step, links) in trace.iter().enumerate() {
        let mut before = 0;
        while before != holders.len() {
            before = holders.len();
            for (a, b) in links {
                if holders.contains(a) || holders.contains(b) {
                    holders.extend([*a, *b]);
                }
            }
        }
        if holders.contains(&to) {
            return Some(step);
        }
    }
    None
}

fn median(mut delays: Vec<usize>) -> usize {
    delays.sort_unstable();
    delays[delays.len() / 2]
}

#[test]
fn eight_copies_do_nearly_what_flooding_does() {
    let mut rng = seed().split("walkers").rng();
    let trace = trace(&mut rng);
    let mut world = World::new(NODES);
    let mut routes = Vec::new();
    for receipt in 0..MAILS {
        let from = usize::from(receipt) % NODES;
        let to = (from + 1 + usize::try_from(rng.below(39)).unwrap()) % NODES;
        world.deposit(from, to, receipt, 100);
        routes.push((from, to));
    }
    let mut arrived: BTreeMap<u8, usize> = BTreeMap::new();
    for (step, links) in trace.iter().enumerate() {
        for (a, b) in world.links.clone().difference(links) {
            world.part(*a, *b);
        }
        for (a, b) in links {
            world.meet(*a, *b);
        }
        if step % 10 == 0 {
            assert!(world.copies().values().all(|copies| *copies <= 8));
        }
        world.now = world.now.after(STEP);
        for node in &mut world.nodes {
            for payload in node.delivered.drain(..) {
                assert_eq!(arrived.insert(payload[0], step), None, "delivered twice");
            }
        }
    }
    let flooded: Vec<_> = routes
        .iter()
        .map(|(from, to)| flood(&trace, *from, *to))
        .collect();
    let reached: Vec<usize> = flooded.into_iter().flatten().collect();
    let ours: Vec<usize> = arrived.values().copied().collect();
    println!(
        "{NODES} walkers, {MAILS} mails: flooding {} median {} s, eight copies {} median {} s",
        reached.len(),
        median(reached.clone()) * 10,
        ours.len(),
        median(ours.clone()) * 10
    );
    assert!(ours.len() * 100 >= reached.len() * 95);
    assert!(median(ours) <= 3 * median(reached));
}
