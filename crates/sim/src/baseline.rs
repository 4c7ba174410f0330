//! What others would do on the same trace: an oracle that knows the graph, a plain distance vector, epidemic flooding.
//!
//! These are models of a few lines, generous to their side: no frame is lost, no byte takes time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_types::{Duration, Instant};

use crate::Medium;
use crate::medium::index;

/// Links on the shortest path between two phones at this moment, or `None` if there is no path: the oracle.
pub fn hops_between(
    medium: &Medium,
    from: u32,
    to: u32,
    passes: impl Fn(u32) -> bool,
) -> Option<u32> {
    hops_over(|at| medium.hearers(at), from, to, passes)
}

/// The same over any links.
pub fn hops_over(
    links: impl Fn(u32) -> Vec<u32>,
    from: u32,
    to: u32,
    passes: impl Fn(u32) -> bool,
) -> Option<u32> {
    let mut distance = BTreeMap::from([(from, 0_u32)]);
    let mut open = VecDeque::from([from]);
    while let Some(at) = open.pop_front() {
        let hops = distance.get(&at).copied()?;
        if at == to {
            return Some(hops);
        }
        if at != from && !passes(at) {
            continue;
        }
        for next in links(at) {
            if let std::collections::btree_map::Entry::Vacant(entry) = distance.entry(next) {
                entry.insert(hops.saturating_add(1));
                open.push_back(next);
            }
        }
    }
    None
}

/// A plain distance vector with Babel's default timers: updates each 16 s and on change, hellos each 4 s, a neighbour is
/// dead after three missed hellos; no feasibility, no repair.
#[derive(Debug)]
pub struct DistanceVector {
    /// For each phone: destination to (hops, next hop).
    tables: Vec<BTreeMap<u32, (u32, u32)>>,
    /// When each pair was last in reach.
    heard: BTreeMap<(u32, u32), Instant>,
    next_round: Instant,
}

/// How often the model exchanges tables.
const ROUND: Duration = Duration::from_secs(4);

/// How long a silent neighbour is believed.
const DEAD: Duration = Duration::from_secs(12);

/// Hops that mean unreachable.
const INFINITY: u32 = 64;

impl DistanceVector {
    /// Empty tables.
    pub fn new(phones: usize) -> Self {
        Self {
            tables: vec![BTreeMap::new(); phones],
            heard: BTreeMap::new(),
            next_round: Instant::ZERO,
        }
    }

    /// Lets the model exchange tables as often as its timers allow until `now`.
    pub fn advance(&mut self, medium: &Medium, now: Instant) {
        for (a, b) in medium.edges() {
            self.heard.insert((a, b), now);
        }
        self.heard.retain(|_, heard| now.since(*heard) < DEAD);
        if now < self.next_round {
            return;
        }
        self.next_round = now + ROUND;
        let mut neighbours: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (a, b) in self.heard.keys() {
            neighbours.entry(*a).or_default().insert(*b);
            neighbours.entry(*b).or_default().insert(*a);
        }
        // Changes trigger updates: within one round a table crosses several links. Four is generous.
        for _ in 0..4 {
            let before = self.tables.clone();
            for (phone, table) in (0_u32..).zip(self.tables.iter_mut()) {
                let mut fresh = BTreeMap::from([(phone, (0, phone))]);
                for via in neighbours
                    .get(&phone)
                    .into_iter()
                    .flatten()
                    .filter(|via| medium.hears(phone, **via))
                {
                    for (target, (hops, next)) in before.get(index(*via)).into_iter().flatten() {
                        let hops = hops.saturating_add(1);
                        let better = fresh.get(target).is_none_or(|(known, _)| hops < *known);
                        if *next != phone && hops < INFINITY && better {
                            fresh.insert(*target, (hops, *via));
                        }
                    }
                }
                // Routes over a neighbour that is silent but not yet dead are kept.
                for (target, (hops, via)) in table.iter() {
                    let silent = neighbours.get(&phone).is_some_and(|all| all.contains(via))
                        && !medium.hears(phone, *via);
                    if silent && !fresh.contains_key(target) {
                        fresh.insert(*target, (*hops, *via));
                    }
                }
                *table = fresh;
            }
            if self.tables == before {
                break;
            }
        }
    }

    /// Whether a packet sent now would arrive.
    pub fn delivers(
        &self,
        medium: &Medium,
        from: u32,
        to: u32,
        passes: impl Fn(u32) -> bool,
    ) -> bool {
        let mut at = from;
        for _ in 0..INFINITY {
            if at == to {
                return true;
            }
            if at != from && !passes(at) {
                return false;
            }
            let Some((_, next)) = self.tables.get(index(at)).and_then(|table| table.get(&to))
            else {
                return false;
            };
            if !medium.hears(at, *next) {
                return false;
            }
            at = *next;
        }
        false
    }
}

/// Epidemic flooding of carried mail: whoever meets a carrier becomes one.
#[derive(Debug, Default)]
pub struct Epidemic {
    carriers: BTreeMap<u64, BTreeSet<u32>>,
    arrivals: BTreeMap<u64, Instant>,
    targets: BTreeMap<u64, u32>,
}

impl Epidemic {
    /// A mail starts at a phone.
    pub fn send(&mut self, mail: u64, from: u32, to: u32) {
        self.carriers.insert(mail, BTreeSet::from([from]));
        self.targets.insert(mail, to);
    }

    /// Everybody in one component of the present graph shares everything.
    pub fn advance(&mut self, medium: &Medium, now: Instant) {
        let components = components(medium);
        for (mail, carriers) in &mut self.carriers {
            let touched: BTreeSet<u32> = carriers
                .iter()
                .filter_map(|c| components.get(index(*c)).copied())
                .collect();
            let all = (0_u32..)
                .zip(&components)
                .filter(|(_, component)| touched.contains(component));
            *carriers = all.map(|(phone, _)| phone).collect();
            let target = self.targets.get(mail).copied();
            if target.is_some_and(|target| carriers.contains(&target)) {
                self.arrivals.entry(*mail).or_insert(now);
            }
        }
    }

    /// When each mail arrived.
    pub fn arrivals(&self) -> &BTreeMap<u64, Instant> {
        &self.arrivals
    }
}

/// For each phone the smallest number in its connected component.
fn components(medium: &Medium) -> Vec<u32> {
    let count = u32::try_from(medium.len()).unwrap_or(u32::MAX);
    let mut component = vec![u32::MAX; medium.len()];
    for start in 0..count {
        let mut open = vec![start];
        while let Some(at) = open.pop() {
            let Some(slot) = component
                .get_mut(index(at))
                .filter(|slot| **slot == u32::MAX)
            else {
                continue;
            };
            *slot = start;
            open.extend(medium.hearers(at));
        }
    }
    component
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Point, RadioModel};

    fn line(phones: u32) -> Medium {
        Medium::new(
            RadioModel::WIFI,
            (0..phones)
                .map(|n| Point::metres(i64::from(n).saturating_mul(90), 0))
                .collect(),
        )
    }

    #[test]
    fn the_oracle_counts_hops_and_sees_partitions() {
        let mut medium = line(5);
        assert_eq!(hops_between(&medium, 0, 4, |_| true), Some(4));
        assert_eq!(hops_between(&medium, 0, 4, |phone| phone != 2), None);
        medium.set_cut(1, 2, true);
        assert_eq!(hops_between(&medium, 0, 4, |_| true), None);
    }

    #[test]
    fn the_distance_vector_delivers_when_quiet_and_fails_after_a_cut() {
        let mut medium = line(4);
        let mut model = DistanceVector::new(4);
        for second in 0..30 {
            model.advance(&medium, Instant::from_millis(second * 1_000));
        }
        assert!(model.delivers(&medium, 0, 3, |_| true));
        medium.set_cut(1, 2, true);
        assert!(!model.delivers(&medium, 0, 3, |_| true));
    }

    #[test]
    fn an_epidemic_crosses_by_a_walker() {
        let mut medium = line(3);
        medium.set_cut(1, 2, true);
        let mut epidemic = Epidemic::default();
        epidemic.send(7, 0, 2);
        epidemic.advance(&medium, Instant::from_millis(1));
        assert!(epidemic.arrivals().is_empty());
        medium.set_cut(1, 2, false);
        epidemic.advance(&medium, Instant::from_millis(2));
        assert_eq!(epidemic.arrivals().get(&7), Some(&Instant::from_millis(2)));
    }
}
