//! Finding what lies outside the zone: a search by expanding rings, now; the place of the far-routing regime.
//!
//! The search of one ring has a random token. Each node passes it on once; whoever knows the target answers, and the
//! answer leaves at each node of its path which neighbour leads on. [`FarSearch`] knows neither routes nor epochs: it is
//! told whether this node can reach the target, and over which links it may speak.

use std::collections::{BTreeMap, VecDeque};

use smartmesh_crypto::Rng;
use smartmesh_types::{Address, Duration, Instant, NeighbourId, Tag};
use smartmesh_wire::route::{Answerer, RouteSection, SearchAnswer, SearchQuery, SearchToken};

use super::RouteOutput;
use super::neighbour::Budget;

/// The caller's name for one search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchId(pub u64);

/// Whom to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchTarget {
    /// The node with this address.
    Node(Address),
    /// This neighbour, but not over its own link: the way round for a bypass.
    Neighbour(NeighbourId),
}

/// How far a node has it to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) hops: u8,
    pub(super) metric: u32,
}

/// A link a search may go over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) to: NeighbourId,
    pub(super) metric: u32,
}

/// What the search wants done or counted.
#[derive(Debug)]
pub(super) enum SearchStep {
    Send {
        to: NeighbourId,
        section: RouteSection,
    },
    Event(RouteOutput),
    DroppedSearch,
    DroppedAnswer,
}

/// Hops of the rings, nearest first.
const RINGS: [u8; 4] = [4, 8, 16, 32];
/// Searches of this node's own at once; the caller's own limit is lower.
const RUNNING_MAX: usize = 256;
/// Searches remembered so that they are passed on once and their answers find back.
const ASKED_MAX: usize = 2_048;
/// How long an unanswered search is remembered: longer than the widest ring takes on slow links.
const ASKED_FOR: Duration = Duration::from_secs(5);
/// Paths left behind by answers.
const PATHS_MAX: usize = 1_024;
/// How long a path is kept; a set-up follows within a second.
const PATH_FOR: Duration = Duration::from_secs(60);
/// Searches taken from one neighbour at once and each second: it may fill no more than an eighth of the memory.
const QUERIES_BURST: u32 = 128;
const QUERIES_PER_SECOND: u32 = 24;
/// Bounds of a ring's wait.
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// Time per hop assumed before anything was measured, in microseconds.
const HOP_MICROS_FIRST: u32 = 1_000;

#[derive(Debug)]
struct Running {
    tag: Tag,
    avoid: Vec<NeighbourId>,
    /// Rings still to try after this one, nearest first.
    rings: VecDeque<u8>,
    token: SearchToken,
    started_at: Instant,
    due: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Asker {
    Own(SearchId),
    Neighbour(NeighbourId),
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// This node answered: the path ends here.
    End,
    On(NeighbourId),
}

/// Entries that live for a fixed time, at most so many; the oldest go first.
#[derive(Debug)]
struct Expiring<T> {
    entries: BTreeMap<SearchToken, (Instant, T)>,
    order: VecDeque<(Instant, SearchToken)>,
    max: usize,
    life: Duration,
}

impl<T: Copy> Expiring<T> {
    fn new(max: usize, life: Duration) -> Self {
        Self {
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            max,
            life,
        }
    }

    fn find(&self, token: SearchToken, now: Instant) -> Option<T> {
        let (until, value) = self.entries.get(&token)?;
        (*until > now).then_some(*value)
    }

    fn insert(&mut self, token: SearchToken, value: T, now: Instant) {
        let until = now + self.life;
        self.entries.insert(token, (until, value));
        self.order.push_back((until, token));
        while let Some((until, token)) = self.order.front().copied() {
            if until > now && self.order.len() <= self.max {
                break;
            }
            self.order.pop_front();
            if self.entries.get(&token).is_some_and(|(at, _)| *at == until) {
                self.entries.remove(&token);
            }
        }
    }
}

/// Searches of this node and those it passes on.
#[derive(Debug)]
pub(super) struct FarSearch {
    rng: Rng,
    running: BTreeMap<SearchId, Running>,
    asked: Expiring<Asker>,
    paths: Expiring<Way>,
    budgets: BTreeMap<NeighbourId, Budget>,
    /// Smoothed time per hop of answered searches, one way, in microseconds.
    hop_micros: u32,
    steps: VecDeque<SearchStep>,
}

impl FarSearch {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            running: BTreeMap::new(),
            asked: Expiring::new(ASKED_MAX, ASKED_FOR),
            paths: Expiring::new(PATHS_MAX, PATH_FOR),
            budgets: BTreeMap::new(),
            hop_micros: HOP_MICROS_FIRST,
            steps: VecDeque::new(),
        }
    }

    pub(super) fn poll_step(&mut self) -> Option<SearchStep> {
        self.steps.pop_front()
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.running
            .values()
            .map(|running| running.due)
            .min()
            .unwrap_or(Instant::NEVER)
    }

    pub(super) fn hop(&self, token: SearchToken, now: Instant) -> Option<NeighbourId> {
        match self.paths.find(token, now)? {
            Way::On(neighbour) => Some(neighbour),
            Way::End => None,
        }
    }

    pub(super) fn is_end(&self, token: SearchToken, now: Instant) -> bool {
        matches!(self.paths.find(token, now), Some(Way::End))
    }

    pub(super) fn handle_down(&mut self, id: NeighbourId) {
        self.budgets.remove(&id);
        self.paths
            .entries
            .retain(|_, (_, way)| !matches!(way, Way::On(neighbour) if *neighbour == id));
    }

    /// Starts a search of this node's own. `known`: the target is in the zone, so that nobody need be asked.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one input and what routing adds to it"
    )]
    pub(super) fn start(
        &mut self,
        id: SearchId,
        tag: Option<Tag>,
        known: Option<Reach>,
        avoid: Vec<NeighbourId>,
        rings: u8,
        links: &[Link],
        now: Instant,
    ) {
        let Some(tag) = tag.filter(|_| self.running.len() < RUNNING_MAX) else {
            self.report(RouteOutput::NotFound { id });
            return;
        };
        if let Some(reach) = known {
            let token = SearchToken(self.rng.bytes());
            self.paths.insert(token, Way::End, now);
            self.report_found(id, token, tag, reach);
            return;
        }
        let running = Running {
            tag,
            avoid,
            rings: RINGS.into_iter().take(usize::from(rings)).collect(),
            token: SearchToken([0; 8]),
            started_at: now,
            due: now,
        };
        self.running.insert(id, running);
        self.next_ring(id, links, now);
    }

    pub(super) fn handle_time(&mut self, links: &[Link], now: Instant) {
        let due: Vec<_> = self
            .running
            .iter()
            .filter(|(_, running)| running.due <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.next_ring(id, links, now);
        }
    }

    /// Whether to look at this search at all: within the neighbour's budget, and not seen before.
    pub(super) fn accept(&mut self, from: NeighbourId, query: &SearchQuery, now: Instant) -> bool {
        let fresh = self.asked.find(query.token, now).is_none();
        let accepted = fresh
            && self
                .budgets
                .entry(from)
                .or_insert_with(|| Budget::new(QUERIES_BURST, QUERIES_PER_SECOND, now))
                .take(now);
        if !accepted {
            self.steps.push_back(SearchStep::DroppedSearch);
        }
        accepted
    }

    /// Answers an accepted search, or passes it on.
    pub(super) fn handle_query(
        &mut self,
        from: NeighbourId,
        query: SearchQuery,
        reach: Option<Reach>,
        links: &[Link],
        now: Instant,
    ) {
        self.asked.insert(query.token, Asker::Neighbour(from), now);
        if let Some(Reach { hops, metric }) = reach {
            self.paths.insert(query.token, Way::End, now);
            let token = query.token;
            let answer = SearchAnswer {
                token,
                hops,
                metric,
            };
            self.send(from, RouteSection::Answer(answer));
            return;
        }
        let hops = query.hops.saturating_add(1);
        let widest = RINGS.iter().copied().max().unwrap_or(0);
        if hops >= query.ring.min(widest) {
            return;
        }
        for link in links.iter().filter(|link| link.to != from) {
            self.send(link.to, RouteSection::Search(SearchQuery { hops, ..query }));
        }
    }

    /// Takes the first answer to a search this node sent or passed on, from any other neighbour than who asked.
    pub(super) fn handle_answer(
        &mut self,
        from: NeighbourId,
        cost: u32,
        answer: SearchAnswer,
        now: Instant,
    ) {
        let token = answer.token;
        let asker = self
            .asked
            .find(token, now)
            .filter(|_| self.paths.find(token, now).is_none());
        let reach = Reach {
            hops: answer.hops.saturating_add(1),
            metric: answer.metric.saturating_add(cost),
        };
        match asker {
            Some(Asker::Own(id)) => self.finish(id, from, token, reach, now),
            Some(Asker::Neighbour(asker)) if asker != from => {
                self.paths.insert(token, Way::On(from), now);
                let answer = SearchAnswer {
                    token,
                    hops: reach.hops,
                    metric: reach.metric,
                };
                self.send(asker, RouteSection::Answer(answer));
            }
            Some(Asker::Neighbour(_)) | None => self.steps.push_back(SearchStep::DroppedAnswer),
        }
    }

    fn finish(
        &mut self,
        id: SearchId,
        from: NeighbourId,
        token: SearchToken,
        reach: Reach,
        now: Instant,
    ) {
        let asked = self
            .running
            .get(&id)
            .is_some_and(|running| !running.avoid.contains(&from));
        let running = if asked {
            self.running.remove(&id)
        } else {
            None
        };
        let Some(running) = running else {
            self.steps.push_back(SearchStep::DroppedAnswer);
            return;
        };
        let took = u32::try_from(now.since(running.started_at).as_micros()).unwrap_or(u32::MAX);
        let per_hop = took
            .checked_div(u32::from(reach.hops).saturating_mul(2))
            .unwrap_or(took);
        self.hop_micros = (self.hop_micros / 4)
            .saturating_mul(3)
            .saturating_add(per_hop / 4);
        self.paths.insert(token, Way::On(from), now);
        self.report_found(id, token, running.tag, reach);
    }

    fn next_ring(&mut self, id: SearchId, links: &[Link], now: Instant) {
        let Some(running) = self.running.get_mut(&id) else {
            return;
        };
        let first_hops: Vec<_> = links
            .iter()
            .filter(|link| !running.avoid.contains(&link.to))
            .copied()
            .collect();
        let ring = running.rings.pop_front().filter(|_| !first_hops.is_empty());
        let Some(ring) = ring else {
            self.running.remove(&id);
            self.report(RouteOutput::NotFound { id });
            return;
        };
        let slowest = first_hops.iter().map(|link| link.metric).max().unwrap_or(0);
        // There and back, and as much again for queues on the way.
        let micros = u64::from(self.hop_micros.max(slowest))
            .saturating_mul(u64::from(ring))
            .saturating_mul(4);
        let wait = Duration::from_micros(micros).clamp(WAIT_MIN, WAIT_MAX);
        let token = SearchToken(self.rng.bytes());
        running.token = token;
        running.started_at = now;
        running.due = now + wait;
        let query = SearchQuery {
            token,
            tag: running.tag,
            hops: 0,
            ring,
            answerer: if running.avoid.is_empty() {
                Answerer::AnyRoute
            } else {
                Answerer::Target
            },
        };
        self.asked.insert(token, Asker::Own(id), now);
        for link in first_hops {
            self.send(link.to, RouteSection::Search(query));
        }
    }

    fn send(&mut self, to: NeighbourId, section: RouteSection) {
        self.steps.push_back(SearchStep::Send { to, section });
    }

    fn report(&mut self, event: RouteOutput) {
        self.steps.push_back(SearchStep::Event(event));
    }

    fn report_found(&mut self, id: SearchId, token: SearchToken, tag: Tag, reach: Reach) {
        let Reach { hops, metric } = reach;
        self.report(RouteOutput::Found {
            id,
            token,
            tag,
            hops,
            metric,
        });
    }
}
