//! What a link is worth: round-trip time, loss, and the metric made of them.

use smartmesh_types::{Duration, Instant};

/// Parts of the whole in which loss is counted.
pub(super) const MILLION: u32 = 1_000_000;
/// Fixed cost of a hop in the metric, in microseconds: more than the noise of a wired link, so that of two good ways the
/// one with fewer hops wins.
const HOP_MICROS: u64 = 2_000;
/// Bytes of the packet that the metric prices, with the frame around it.
const PRICED_BITS: u64 = (1_280 + 28) * 8;
/// The loss at which frames are sent again by the link itself: 3 %.
pub(super) const RESEND_LOSS: u32 = 30_000;
/// Metrics are announced at most this often.
const ANNOUNCE_GAP: Duration = Duration::from_secs(1);

/// Measured properties of one link.
#[derive(Clone, Debug)]
pub(super) struct Quality {
    bits_per_second: u64,
    /// Smoothed round-trip time and its mean deviation (RFC 6298), in microseconds.
    srtt: u64,
    rttvar: u64,
    /// The smallest round trips of this window and of the one before: what the link costs when nobody stalls.
    min_now: u64,
    min_before: u64,
    min_since: Instant,
    /// Smoothed loss of what we send, parts per million.
    loss: u32,
    announced: u32,
    announced_at: Instant,
}

/// Length of the windows of the smallest round trip.
const MIN_WINDOW: Duration = Duration::from_secs(30);

impl Quality {
    pub(super) fn new(bits_per_second: u64, rtt: Duration, now: Instant) -> Self {
        let rtt = micros(rtt);
        let mut quality = Self {
            bits_per_second: bits_per_second.max(1),
            srtt: rtt,
            rttvar: rtt / 2,
            min_now: rtt,
            min_before: rtt,
            min_since: now,
            loss: 0,
            announced: 0,
            announced_at: now,
        };
        quality.announced = quality.metric();
        quality
    }

    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(self.srtt)
    }

    pub(super) fn loss(&self) -> u32 {
        self.loss
    }

    pub(super) fn announced(&self) -> u32 {
        self.announced
    }

    pub(super) fn sample_rtt(&mut self, rtt: Duration, now: Instant) {
        let rtt = micros(rtt).max(1);
        let deviation = self.srtt.abs_diff(rtt);
        self.rttvar = self.rttvar.saturating_mul(3).saturating_add(deviation) / 4;
        self.srtt = self.srtt.saturating_mul(7).saturating_add(rtt) / 8;
        if now.since(self.min_since) > MIN_WINDOW {
            (self.min_before, self.min_now, self.min_since) = (self.min_now, rtt, now);
        }
        self.min_now = self.min_now.min(rtt);
    }

    /// Of `sent` frames, `lost` did not arrive. Few frames say little, so they weigh little.
    pub(super) fn sample_loss(&mut self, sent: u64, lost: u64) {
        if sent == 0 {
            return;
        }
        let sample = lost
            .saturating_mul(u64::from(MILLION))
            .checked_div(sent)
            .unwrap_or(0);
        let weight = sent.min(32);
        let total = 64_u64;
        let old = u64::from(self.loss).saturating_mul(total.saturating_sub(weight));
        let new = old.saturating_add(sample.saturating_mul(weight)) / total;
        self.loss = u32::try_from(new).unwrap_or(MILLION).min(MILLION);
    }

    /// How long a frame that wants an answer may stay without one before the link is suspected.
    pub(super) fn patience(&self, ack_delay: Duration) -> Duration {
        let floor = 80_000;
        let measured = self
            .srtt
            .saturating_add(self.rttvar.saturating_mul(4))
            .saturating_add(micros(ack_delay))
            .saturating_add(30_000);
        // A stalled processor inflates the deviation for a while; a false alarm is cheaper than a late one.
        let ceiling = self.min_rtt().saturating_mul(4).max(200_000);
        Duration::from_micros(measured.clamp(floor, ceiling))
    }

    /// How long a frame may stay unacknowledged before it is sent again.
    pub(super) fn resend_after(&self, ack_delay: Duration) -> Duration {
        let measured = self
            .srtt
            .saturating_add(self.rttvar.saturating_mul(4))
            .saturating_add(micros(ack_delay));
        Duration::from_micros(measured.max(40_000))
    }

    /// Expected cost of a 1,280-byte packet, in microseconds: airtime times the expected number of sendings, half the
    /// smallest round trip, and the fixed cost of a hop.
    pub(super) fn metric(&self) -> u32 {
        let airtime = PRICED_BITS
            .saturating_mul(1_000_000)
            .checked_div(self.bits_per_second);
        let airtime = airtime.unwrap_or(u64::MAX);
        let arriving = u64::from(MILLION.saturating_sub(self.loss)).max(50_000);
        // Latency counts with the loss too: each sending again costs a round trip.
        let once = airtime
            .saturating_add(self.min_rtt() / 2)
            .saturating_add(HOP_MICROS);
        let cost = once
            .saturating_mul(u64::from(MILLION))
            .checked_div(arriving)
            .unwrap_or(u64::MAX);
        u32::try_from(cost).unwrap_or(u32::MAX).max(1)
    }

    /// The metric, if it differs from the announced one by a quarter and the last announcement is a while ago.
    pub(super) fn poll_metric(&mut self, now: Instant) -> Option<u32> {
        let metric = self.metric();
        let quarter = self.announced / 4;
        if metric.abs_diff(self.announced) <= quarter || now.since(self.announced_at) < ANNOUNCE_GAP
        {
            return None;
        }
        self.announced = metric;
        self.announced_at = now;
        Some(metric)
    }

    pub(super) fn min_rtt(&self) -> u64 {
        self.min_now.min(self.min_before)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality() -> Quality {
        Quality::new(100_000_000, Duration::from_millis(1), Instant::ZERO)
    }

    #[test]
    fn loss_raises_the_metric_and_is_announced_once() {
        let mut quality = quality();
        let before = quality.announced();
        (0..20).for_each(|_| quality.sample_loss(32, 16));
        let now = Instant::from_millis(2_000);
        let metric = quality.poll_metric(now).unwrap();
        assert!(metric > before * 3 / 2, "{before} -> {metric}");
        assert_eq!(quality.poll_metric(now + ANNOUNCE_GAP), None);
    }

    #[test]
    fn a_stall_does_not_move_the_metric_but_patience_grows_up_to_its_ceiling() {
        let mut quality = quality();
        let delay = Duration::from_millis(20);
        assert_eq!(quality.patience(delay), Duration::from_millis(80));
        let before = quality.metric();
        for step in 0..20 {
            quality.sample_rtt(Duration::from_millis(70), Instant::from_millis(step));
        }
        assert_eq!(quality.metric(), before);
        assert!(quality.patience(delay) > Duration::from_millis(110));
        assert!(quality.patience(delay) <= Duration::from_millis(200));
    }
}
