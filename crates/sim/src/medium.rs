//! The air: who hears whom, how long a frame takes, and what gets lost.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::Duration;

use crate::Point;

/// What all phones' radios are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RadioModel {
    /// How far a frame is heard, in metres.
    pub range_m: u32,
    /// Largest frame in bytes.
    pub frame_bytes: usize,
    /// Rate in bits per second, shared by everybody in one square of the range's size.
    pub bits_per_second: u64,
    /// Delay of a frame besides its airtime; also the step in which parallel parts of the simulator may run ahead.
    pub latency: Duration,
    /// Lost frames in parts of 1,000.
    pub loss_permille: u32,
}

impl RadioModel {
    /// Phones on Wi-Fi in the open: 100 m, 20 Mbit/s, 2 ms a hop.
    pub const WIFI: Self = Self {
        range_m: 100,
        frame_bytes: 1_472,
        bits_per_second: 20_000_000,
        latency: Duration::from_millis(2),
        loss_permille: 0,
    };

    /// Airtime of this many bytes, at the nominal rate, in microseconds.
    pub fn airtime_micros(&self, bytes: usize) -> u64 {
        let bits = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(8_000_000);
        bits.checked_div(self.bits_per_second).unwrap_or(0)
    }
}

/// Positions, links forced up or down, and how busy the air is; changes only between the simulator's steps.
#[derive(Debug)]
pub struct Medium {
    /// The radios.
    pub radio: RadioModel,
    positions: Vec<Point>,
    squares: BTreeMap<(i64, i64), Vec<u32>>,
    /// Explicit graph instead of range, if a scenario wants one.
    graph: Option<Vec<BTreeSet<u32>>>,
    cut: BTreeSet<(u32, u32)>,
    /// Busy share of the air in parts of 1,000, by square, over the last step.
    load: BTreeMap<(i64, i64), u64>,
}

impl Medium {
    /// Phones at these places; everybody in range hears everybody.
    pub fn new(radio: RadioModel, positions: Vec<Point>) -> Self {
        let mut medium = Self {
            radio,
            positions,
            squares: BTreeMap::new(),
            graph: None,
            cut: BTreeSet::new(),
            load: BTreeMap::new(),
        };
        medium.index();
        medium
    }

    /// Lets exactly these pairs hear each other, wherever they are.
    pub fn set_graph(&mut self, edges: &[(u32, u32)]) {
        let mut graph = vec![BTreeSet::new(); self.positions.len()];
        for (a, b) in edges {
            for (from, to) in [(a, b), (b, a)] {
                if let Some(heard) = graph.get_mut(index(*from)) {
                    heard.insert(*to);
                }
            }
        }
        self.graph = Some(graph);
    }

    /// Cuts or mends one pair.
    pub fn set_cut(&mut self, a: u32, b: u32, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cut.insert(pair);
        } else {
            self.cut.remove(&pair);
        }
    }

    /// Where a phone is.
    pub fn position(&self, node: u32) -> Point {
        self.positions.get(index(node)).copied().unwrap_or_default()
    }

    /// Moves phones.
    pub fn move_all(&mut self, places: impl IntoIterator<Item = (u32, Point)>) {
        for (node, place) in places {
            if let Some(position) = self.positions.get_mut(index(node)) {
                *position = place;
            }
        }
        self.index();
    }

    /// Whether two phones hear each other.
    pub fn hears(&self, a: u32, b: u32) -> bool {
        if a == b || self.cut.contains(&(a.min(b), a.max(b))) {
            return false;
        }
        match &self.graph {
            Some(graph) => graph.get(index(a)).is_some_and(|heard| heard.contains(&b)),
            None => {
                let range = u64::from(self.radio.range_m).saturating_mul(1_000);
                self.position(a).distance_squared(self.position(b)) <= range.saturating_mul(range)
            }
        }
    }

    /// Everybody who hears a phone, in order.
    pub fn hearers(&self, node: u32) -> Vec<u32> {
        let mut hearers: Vec<u32> = match &self.graph {
            Some(graph) => graph
                .get(index(node))
                .into_iter()
                .flatten()
                .copied()
                .collect(),
            None => {
                let (x, y) = self.square(self.position(node));
                let around = (x.saturating_sub(1)..=x.saturating_add(1))
                    .flat_map(|x| (y.saturating_sub(1)..=y.saturating_add(1)).map(move |y| (x, y)));
                around
                    .filter_map(|square| self.squares.get(&square))
                    .flatten()
                    .copied()
                    .collect()
            }
        };
        hearers.retain(|other| self.hears(node, *other));
        hearers.sort_unstable();
        hearers
    }

    /// Number of phones.
    pub fn len(&self) -> usize {
        self.positions.len()
    }

    /// Whether there is no phone.
    pub fn is_empty(&self) -> bool {
        self.positions.is_empty()
    }

    /// The links as the oracle sees them.
    pub fn edges(&self) -> Vec<(u32, u32)> {
        (0..u32::try_from(self.len()).unwrap_or(u32::MAX))
            .flat_map(|a| {
                self.hearers(a)
                    .into_iter()
                    .filter(move |b| *b > a)
                    .map(move |b| (a, b))
            })
            .collect()
    }

    /// The square of the air a phone talks in, for [`Medium::set_load`].
    pub fn square_of(&self, node: u32) -> (i64, i64) {
        self.square(self.position(node))
    }

    /// Takes the airtime that each square saw during the last step, in microseconds.
    pub fn set_load(&mut self, airtime: &BTreeMap<(i64, i64), u64>, step: Duration) {
        let micros = u64::try_from(step.as_micros()).unwrap_or(u64::MAX).max(1);
        self.load = airtime
            .iter()
            .map(|(square, busy)| {
                (
                    *square,
                    busy.saturating_mul(1_000).checked_div(micros).unwrap_or(0),
                )
            })
            .collect();
    }

    /// Busy share of the air around a phone, in parts of 1,000; above 1,000 more was offered than fits.
    pub fn load_permille(&self, node: u32) -> u64 {
        if self.graph.is_some() {
            return 0;
        }
        self.load.get(&self.square_of(node)).copied().unwrap_or(0)
    }

    fn square(&self, place: Point) -> (i64, i64) {
        let side = i64::from(self.radio.range_m).saturating_mul(1_000).max(1);
        (place.x.div_euclid(side), place.y.div_euclid(side))
    }

    fn index(&mut self) {
        let mut squares: BTreeMap<(i64, i64), Vec<u32>> = BTreeMap::new();
        for (node, place) in (0_u32..).zip(&self.positions) {
            squares.entry(self.square(*place)).or_default().push(node);
        }
        self.squares = squares;
    }
}

pub(crate) fn index(node: u32) -> usize {
    usize::try_from(node).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_decides_who_hears_whom() {
        let places = vec![
            Point::metres(0, 0),
            Point::metres(99, 0),
            Point::metres(199, 0),
        ];
        let mut medium = Medium::new(RadioModel::WIFI, places);
        assert_eq!(medium.edges(), [(0, 1), (1, 2)]);
        medium.set_cut(1, 0, true);
        assert_eq!(medium.hearers(1), [2]);
        medium.move_all([(2, Point::metres(0, 50))]);
        assert_eq!(medium.edges(), [(0, 2)]);
    }
}
