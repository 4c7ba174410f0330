//! The air of the village: phones have places on a map, and hear each other as far as their radios reach.
//!
//! Every phone has each other phone as a configured peer, at an address of this process. A datagram that arrives there is
//! handed on if the two hear each other now, and lost otherwise, without a word, as a radio loses it. So a visitor can walk
//! a phone away or hold a hand over a link, and the real nodes have to find out by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::UdpSocket;

use super::village::Person;

/// How far a radio reaches, in the units of the map.
pub(super) const REACH: i32 = 185;
/// The map.
pub(super) const WIDTH: i32 = 820;
pub(super) const HEIGHT: i32 = 420;
/// The largest datagram.
const DATAGRAM_BYTES: usize = 65_535;

/// A place on the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) x: i32,
    pub(super) y: i32,
}

impl Spot {
    fn is_within_reach(self, other: Self) -> bool {
        let x = i64::from(self.x).saturating_sub(i64::from(other.x));
        let y = i64::from(self.y).saturating_sub(i64::from(other.y));
        let reach = i64::from(REACH);
        x.saturating_mul(x).saturating_add(y.saturating_mul(y)) <= reach.saturating_mul(reach)
    }
}

/// A pair of phones, the lower first.
type Pair = (Person, Person);

fn pair(a: Person, b: Person) -> Pair {
    if a <= b { (a, b) } else { (b, a) }
}

#[derive(Debug, Default)]
struct Sky {
    spots: BTreeMap<Person, Spot>,
    cut: BTreeSet<Pair>,
    /// Bytes that passed between two phones so far.
    passed: BTreeMap<Pair, u64>,
}

impl Sky {
    fn hears(&self, a: Person, b: Person) -> bool {
        let spots = self.spots.get(&a).zip(self.spots.get(&b));
        !self.cut.contains(&pair(a, b)) && spots.is_some_and(|(a, b)| a.is_within_reach(*b))
    }
}

/// The air; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Air(Arc<Mutex<Sky>>);

/// What the picture shows of two phones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) a: Person,
    pub(super) b: Person,
    pub(super) is_cut: bool,
    /// Bytes that passed so far.
    pub(super) bytes: u64,
}

/// One end of the air: what one phone sends to this socket goes out of the other to the other phone.
struct End {
    socket: UdpSocket,
    phone: SocketAddr,
}

impl Air {
    fn sky(&self) -> MutexGuard<'_, Sky> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn place(&self, person: Person, spot: Spot) {
        let spot = Spot {
            x: spot.x.clamp(0, WIDTH),
            y: spot.y.clamp(0, HEIGHT),
        };
        self.sky().spots.insert(person, spot);
    }

    pub(super) fn spot(&self, person: Person) -> Option<Spot> {
        self.sky().spots.get(&person).copied()
    }

    pub(super) fn set_cut(&self, a: Person, b: Person, is_cut: bool) {
        let mut sky = self.sky();
        if is_cut {
            sky.cut.insert(pair(a, b));
        } else {
            sky.cut.remove(&pair(a, b));
        }
    }

    /// Every two phones that are within each other's reach.
    pub(super) fn lines(&self) -> Vec<Line> {
        let sky = self.sky();
        let within = |a, b| {
            let spots = sky.spots.get(&a).zip(sky.spots.get(&b));
            spots.is_some_and(|(a, b)| a.is_within_reach(*b))
        };
        pairs()
            .filter(|(a, b)| within(*a, *b))
            .map(|(a, b)| Line {
                a,
                b,
                is_cut: sky.cut.contains(&(a, b)),
                bytes: sky.passed.get(&(a, b)).copied().unwrap_or_default(),
            })
            .collect()
    }

    /// Opens the air between all phones; returns where each finds each other one.
    pub(super) async fn open(
        &self,
        radios: &BTreeMap<Person, SocketAddr>,
    ) -> io::Result<BTreeMap<Pair, SocketAddr>> {
        let mut doors = BTreeMap::new();
        for (a, b) in pairs() {
            let (Some(radio_a), Some(radio_b)) = (radios.get(&a), radios.get(&b)) else {
                continue;
            };
            let near_a = Arc::new(End {
                socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
                phone: *radio_a,
            });
            let near_b = Arc::new(End {
                socket: UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?,
                phone: *radio_b,
            });
            doors.insert((a, b), near_a.socket.local_addr()?);
            doors.insert((b, a), near_b.socket.local_addr()?);
            tokio::spawn(self.clone().carry((a, b), near_a.clone(), near_b.clone()));
            tokio::spawn(self.clone().carry((a, b), near_b, near_a));
        }
        Ok(doors)
    }

    /// Carries one direction until the demo ends.
    async fn carry(self, (a, b): Pair, from: Arc<End>, to: Arc<End>) {
        let mut datagram = vec![0; DATAGRAM_BYTES];
        loop {
            // A phone that is switched off answers that its port is closed; it may come back.
            let Ok((length, sender)) = from.socket.recv_from(&mut datagram).await else {
                continue;
            };
            if sender != from.phone || !self.pass((a, b), length) {
                continue;
            }
            if let Some(bytes) = datagram.get(..length) {
                let _ = to.socket.send_to(bytes, to.phone).await;
            }
        }
    }

    /// Whether a datagram gets through; counts it if so.
    fn pass(&self, (a, b): Pair, length: usize) -> bool {
        let mut sky = self.sky();
        if !sky.hears(a, b) {
            return false;
        }
        let passed = sky.passed.entry((a, b)).or_default();
        *passed = passed.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        true
    }
}

/// Every two people, the lower first.
fn pairs() -> impl Iterator<Item = Pair> {
    Person::ALL.into_iter().flat_map(|a| {
        Person::ALL
            .into_iter()
            .filter(move |b| a < *b)
            .map(move |b| (a, b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_village_begins_with_the_lines_of_its_picture() {
        let air = Air::default();
        for person in Person::ALL {
            air.place(person, person.home());
        }
        let names = |line: &Line| format!("{}-{}", line.a.name(), line.b.name());
        let mut lines: Vec<String> = air.lines().iter().map(names).collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "Ann-Ben", "Ann-Eve", "Ben-Cleo", "Cleo-Dan", "Cleo-Fay", "Dan-Gus", "Eve-Fay"
            ]
        );
    }

    #[test]
    fn who_walks_away_or_is_cut_off_is_not_heard() {
        let air = Air::default();
        for person in Person::ALL {
            air.place(person, person.home());
        }
        let (a, b) = (Person::Ben, Person::Ann);
        assert!(air.pass(pair(a, b), 10));
        air.set_cut(a, b, true);
        assert!(!air.pass(pair(a, b), 10));
        air.set_cut(b, a, false);
        assert!(air.pass(pair(a, b), 10));
        air.place(a, Spot { x: 10_000, y: -5 });
        assert_eq!(air.spot(a), Some(Spot { x: WIDTH, y: 0 }));
        assert!(!air.pass(pair(a, b), 10));
        let line = air.lines().into_iter().find(|line| line.a == b);
        assert!(line.is_some_and(|line| line.b == Person::Eve));
    }
}
