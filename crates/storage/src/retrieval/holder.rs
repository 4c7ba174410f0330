//! One peer that may have what is fetched: how much is under way from it, and how long to wait for it.

use std::collections::BTreeMap;

use smartmesh_types::{Duration, Instant, RequestId};
use smartmesh_wire::chunk::ChunkAddress;

use super::RetrievalConfig;

/// Chunks under way at first: enough to measure a round trip with, little to lose to one that never answers.
const WINDOW_FIRST: usize = 8;
/// The smallest window: two, so that the path is not idle for a round trip after each chunk.
const WINDOW_MIN: usize = 2;
/// Silences in a row after which a holder is given up.
const SILENCES_MAX: u32 = 4;
/// Round trips below this are noise; they must not make a window shrink.
const RTT_FLOOR: Duration = Duration::from_millis(5);

/// The window grows by one with each chunk that came within 2.5 times the shortest round trip, and shrinks by one otherwise:
/// then the path is full, and more in flight would only wait in queues.
#[derive(Debug)]
pub(super) struct Holder {
    in_flight: BTreeMap<(ChunkAddress, RequestId), Instant>,
    window: usize,
    rtt_shortest: Option<Duration>,
    rtt_smoothed: Option<Duration>,
    heard_at: Instant,
    silences: u32,
    paused_until: Instant,
}

impl Holder {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            in_flight: BTreeMap::new(),
            window: WINDOW_FIRST,
            rtt_shortest: None,
            rtt_smoothed: None,
            heard_at: now,
            silences: 0,
            paused_until: Instant::ZERO,
        }
    }

    /// How many more chunks may be asked of it now.
    pub(super) fn room(&self, config: &RetrievalConfig, now: Instant) -> usize {
        if now < self.paused_until {
            return 0;
        }
        let window = self.window.min(config.window_max);
        window.saturating_sub(self.in_flight.len())
    }

    pub(super) fn ask(&mut self, address: ChunkAddress, id: RequestId, now: Instant) {
        if self.in_flight.is_empty() {
            // Patience begins with the question, not with the last answer of long ago.
            self.heard_at = now;
        }
        self.in_flight.insert((address, id), now);
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.silences = 0;
        self.paused_until = Instant::ZERO;
    }

    /// A right chunk came from this holder.
    pub(super) fn arrived(
        &mut self,
        address: ChunkAddress,
        now: Instant,
        config: &RetrievalConfig,
    ) {
        self.heard(now);
        let asked = self
            .in_flight
            .range((address, RequestId(0))..=(address, RequestId(u64::MAX)))
            .next();
        let Some((_, since)) = asked else {
            return;
        };
        let sample = now.since(*since);
        let shortest = self.rtt_shortest.map_or(sample, |rtt| rtt.min(sample));
        self.rtt_shortest = Some(shortest);
        let smoothed = self.rtt_smoothed.unwrap_or(sample).saturating_mul(7);
        self.rtt_smoothed = smoothed.saturating_add(sample).checked_div(8);
        let full = shortest.max(RTT_FLOOR).mul_f32(2.5);
        self.window = if sample <= full {
            self.window.saturating_add(1).min(config.window_max)
        } else {
            self.window.saturating_sub(1).max(WINDOW_MIN)
        };
    }

    /// Takes a chunk off the list of what is under way and says for which fetches it was.
    pub(super) fn take(&mut self, address: ChunkAddress) -> Vec<RequestId> {
        let ids: Vec<RequestId> = self
            .in_flight
            .range((address, RequestId(0))..=(address, RequestId(u64::MAX)))
            .map(|((_, id), _)| *id)
            .collect();
        for id in &ids {
            self.in_flight.remove(&(address, *id));
        }
        ids
    }

    /// Takes everything of one fetch off the list.
    pub(super) fn cancel(&mut self, id: RequestId) -> Vec<ChunkAddress> {
        let cancelled: Vec<ChunkAddress> = self
            .in_flight
            .keys()
            .filter(|(_, of)| *of == id)
            .map(|(address, _)| *address)
            .collect();
        self.in_flight.retain(|(_, of), _| *of != id);
        cancelled
    }

    fn patience(&self, config: &RetrievalConfig) -> Duration {
        self.rtt_smoothed
            .map_or(config.patience_first, |rtt| rtt.saturating_mul(4))
            .clamp(config.patience_min, config.patience_max)
    }

    fn due(&self, config: &RetrievalConfig) -> Option<Instant> {
        let asked = !self.in_flight.is_empty();
        asked.then(|| self.heard_at + self.patience(config))
    }

    pub(super) fn is_overdue(&self, config: &RetrievalConfig, now: Instant) -> bool {
        self.due(config).is_some_and(|due| due <= now)
    }

    /// Gives up what is under way and leaves the holder alone for a while, longer each time.
    pub(super) fn give_up(
        &mut self,
        config: &RetrievalConfig,
        now: Instant,
    ) -> Vec<(ChunkAddress, RequestId)> {
        self.silences = self.silences.saturating_add(1);
        self.window = WINDOW_MIN;
        let pause = self.patience(config).saturating_mul(self.silences);
        self.paused_until = now + pause;
        std::mem::take(&mut self.in_flight).into_keys().collect()
    }

    pub(super) fn is_hopeless(&self) -> bool {
        self.silences >= SILENCES_MAX
    }

    pub(super) fn into_in_flight(self) -> Vec<(ChunkAddress, RequestId)> {
        self.in_flight.into_keys().collect()
    }

    /// When it is overdue, or, if chunks are waiting, when its pause is over.
    pub(super) fn next_timeout(
        &self,
        config: &RetrievalConfig,
        waiting: bool,
        now: Instant,
    ) -> Option<Instant> {
        let resume = (waiting && self.paused_until > now).then_some(self.paused_until);
        match (self.due(config), resume) {
            (Some(due), Some(resume)) => Some(due.min(resume)),
            (due, resume) => due.or(resume),
        }
    }
}
