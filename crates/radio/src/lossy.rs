//! A radio that loses, delays, repeats and slows what it sends; for tests on one machine.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use smartmesh_types::{Destination, Duration, Instant, Train};

use crate::radio::{Clock, LinkEvent, Radio, RadioCounters};
use crate::spec::ParseLinkError;

/// What happens to each frame that a lossy radio sends.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Impairment {
    /// Probability from 0 to 1 that a frame is lost.
    pub loss: f64,
    /// Least delay of a frame in milliseconds.
    pub delay_ms: u32,
    /// Random further delay of up to so many milliseconds; frames may overtake one another.
    pub jitter_ms: u32,
    /// Probability from 0 to 1 that a frame arrives twice.
    pub duplicate: f64,
    /// Bits per second that pass; 0 for no limit. Frames that would wait for more than a second are lost.
    pub rate: u64,
    /// Where the random numbers start.
    pub seed: u64,
}

impl FromStr for Impairment {
    type Err = ParseLinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut impairment = Self::default();
        for parameter in text.split(',').filter(|part| !part.is_empty()) {
            let bad = || ParseLinkError::Parameter(parameter.to_owned());
            let (name, value) = parameter.split_once('=').ok_or_else(bad)?;
            let probability = || {
                let number: f64 = value.parse().map_err(|_| bad())?;
                if (0.0..=1.0).contains(&number) {
                    Ok(number)
                } else {
                    Err(bad())
                }
            };
            match name {
                "loss" => impairment.loss = probability()?,
                "duplicate" => impairment.duplicate = probability()?,
                "delay" => impairment.delay_ms = value.parse().map_err(|_| bad())?,
                "jitter" => impairment.jitter_ms = value.parse().map_err(|_| bad())?,
                "rate" => impairment.rate = value.parse().map_err(|_| bad())?,
                "seed" => impairment.seed = value.parse().map_err(|_| bad())?,
                _ => return Err(bad()),
            }
        }
        Ok(impairment)
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            loss,
            delay_ms,
            jitter_ms,
            duplicate,
            rate,
            seed,
        } = self;
        write!(
            f,
            "loss={loss},delay={delay_ms},jitter={jitter_ms},duplicate={duplicate},rate={rate},seed={seed}"
        )
    }
}

/// Frames that may wait for their moment; more are lost, as on a real link with a full queue.
const FRAMES_MAX: usize = 4_096;
/// Frames that would wait longer than this for a limited rate are lost.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The frames on their way, apart from any radio or clock.
struct Impaired {
    impairment: Impairment,
    random: u64,
    free_at: Instant,
    order: u64,
    waiting: BTreeMap<(Instant, u64), (Destination, Vec<u8>)>,
    lost: u64,
}

impl Impaired {
    fn new(impairment: Impairment) -> Self {
        Self {
            impairment,
            random: impairment.seed,
            free_at: Instant::ZERO,
            order: 0,
            waiting: BTreeMap::new(),
            lost: 0,
        }
    }

    /// The next number of SplitMix64 (Steele, Lea, Flood 2014); fault injection needs no cryptographic generator.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&mut self, probability: f64) -> bool {
        // 32 bits convert to f64 without loss.
        let number = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        f64::from(number) / (f64::from(u32::MAX) + 1.0) < probability
    }

    fn add(&mut self, to: Destination, frame: &[u8], now: Instant) {
        let copies = if self.happens(self.impairment.duplicate) {
            2
        } else {
            1
        };
        if self.happens(self.impairment.loss) {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        for _ in 0..copies {
            let Some(sent) = self.sent_at(frame.len(), now) else {
                self.lost = self.lost.saturating_add(1);
                continue;
            };
            if self.waiting.len() >= FRAMES_MAX {
                self.lost = self.lost.saturating_add(1);
                continue;
            }
            let jitter_micros = u64::from(self.impairment.jitter_ms).saturating_mul(1_000);
            let extra = self.next().checked_rem(jitter_micros).unwrap_or(0);
            let due = sent
                + Duration::from_millis(self.impairment.delay_ms.into())
                + Duration::from_micros(extra);
            self.order = self.order.saturating_add(1);
            self.waiting.insert((due, self.order), (to, frame.to_vec()));
        }
    }

    /// When the last bit leaves under the rate limit; `None` if the wait would be too long.
    fn sent_at(&mut self, bytes: usize, now: Instant) -> Option<Instant> {
        if self.impairment.rate == 0 {
            return Some(now);
        }
        let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(8);
        let micros = bits
            .saturating_mul(1_000_000)
            .checked_div(self.impairment.rate)
            .unwrap_or(0);
        let start = self.free_at.max(now);
        if start.since(now) > WAIT_MAX {
            return None;
        }
        self.free_at = start + Duration::from_micros(micros);
        Some(self.free_at)
    }

    fn take_due(&mut self, now: Instant) -> Option<(Destination, Vec<u8>)> {
        let entry = self.waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }
}

/// A radio around a radio.
pub(crate) struct Lossy {
    inner: Box<dyn Radio>,
    frames: Impaired,
    clock: Clock,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

impl Lossy {
    pub(crate) fn new(inner: Box<dyn Radio>, impairment: Impairment, clock: Clock) -> Self {
        Self {
            inner,
            frames: Impaired::new(impairment),
            clock,
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    fn release(&mut self) {
        let now = (self.clock)();
        while let Some((to, frame)) = self.frames.take_due(now) {
            self.inner.transmit(to, Train::single(frame));
        }
    }
}

impl Radio for Lossy {
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut Vec<LinkEvent>) -> Poll<()> {
        loop {
            self.release();
            let Some(due) = self.frames.next_due() else {
                break;
            };
            let wait = due.since((self.clock)());
            let deadline = tokio::time::Instant::now()
                .checked_add(wait)
                .unwrap_or_else(tokio::time::Instant::now);
            self.sleep.as_mut().reset(deadline);
            if self.sleep.as_mut().poll(cx).is_pending() {
                break;
            }
        }
        self.inner.flush();
        self.inner.poll(cx, events)
    }

    fn transmit(&mut self, to: Destination, train: Train) {
        let now = (self.clock)();
        for frame in train.frames() {
            self.frames.add(to, frame, now);
        }
    }

    fn flush(&mut self) {
        self.release();
        self.inner.flush();
    }

    fn counters(&self) -> RadioCounters {
        let mut counters = self.inner.counters();
        counters.dropped_refused = counters.dropped_refused.saturating_add(self.frames.lost);
        counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, frames: usize) -> Vec<(Instant, Vec<u8>)> {
        let mut link = Impaired::new(text.parse().unwrap());
        for number in 0..frames {
            let frame = u32::try_from(number).unwrap().to_be_bytes();
            link.add(Destination::Broadcast, &frame, Instant::ZERO);
        }
        let mut out = Vec::new();
        while let Some(due) = link.next_due() {
            let (_, frame) = link.take_due(due).unwrap();
            out.push((due, frame));
        }
        out
    }

    #[test]
    fn the_same_seed_loses_the_same_frames() {
        let once = run("loss=0.2,seed=5", 1_000);
        assert_eq!(once, run("loss=0.2,seed=5", 1_000));
        assert_ne!(once, run("loss=0.2,seed=6", 1_000));
        assert!((700..900).contains(&once.len()), "{}", once.len());
    }

    #[test]
    fn delay_and_jitter_move_frames_and_lose_none() {
        let out = run("delay=20,jitter=10", 200);
        assert_eq!(out.len(), 200);
        assert!(
            out.iter()
                .all(|(due, _)| (20_000..30_000).contains(&due.as_micros()))
        );
        let sent: Vec<_> = run("", 200).into_iter().map(|(_, frame)| frame).collect();
        let arrived: Vec<_> = out.into_iter().map(|(_, frame)| frame).collect();
        assert_ne!(sent, arrived, "jitter lets frames overtake one another");
    }

    #[test]
    fn a_rate_spreads_frames_and_drops_what_waits_too_long() {
        // 4 bytes at 320 bit/s take 0.1 s; whatever would start after 1 s is lost.
        let out = run("rate=320", 50);
        assert_eq!(out.len(), 11);
        assert_eq!(out[0].0, Instant::from_millis(100));
        assert_eq!(out[10].0, Instant::from_millis(1_100));
    }

    #[test]
    fn every_frame_may_come_twice() {
        assert_eq!(run("duplicate=1", 10).len(), 20);
    }
}
