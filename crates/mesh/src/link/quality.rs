//! What a link is worth: round-trip time, loss, and the metric made of them.

use smartmesh_types::{Duration, Instant};

use super::flight::Cause;
use super::peer::ACK_GAP;

/// Parts of the whole in which loss is counted.
pub(super) const MILLION: u32 = 1_000_000;
const WHOLE: u64 = 1_000_000;
/// Fixed cost of a hop in the metric, in microseconds: more than the noise of a wired link, so that of two good ways the
/// one with fewer hops wins.
const HOP_MICROS: u64 = 2_000;
/// Bytes of the packet that the metric prices, with the frame around it.
const PRICED_BITS: u64 = (1_280 + 28) * 8;
/// The loss at which frames are sent again by the link itself: 3 %.
pub(super) const RESEND_LOSS: u32 = 30_000;
/// Frames of which loss is remembered, and of which it is judged at least.
const LOSS_MEMORY: u64 = 64;
const LOSS_PRIOR: u64 = 16;
/// How often, in parts per million, a link that answers may be suspected for bad luck: once in 10,000 awaited answers.
const FALSE_ALARM: u64 = 100;
/// The most askings before a link is suspected: on one that loses half of all frames each way, one alarm in 300 is false.
const ASKINGS_MAX: u64 = 20;
/// Bounds of the time between askings: a stalled processor must not stretch it.
const PROBE_GAP_MIN_MICROS: u64 = 15_000;
const PROBE_GAP_MAX_MICROS: u64 = 30_000;
/// Metrics are announced at most this often.
const ANNOUNCE_GAP: Duration = Duration::from_secs(1);

/// Measured properties of one link.
#[derive(Clone, Debug)]
pub(super) struct Quality {
    bits_per_second: u64,
    /// Time on the air of the largest frame, in microseconds.
    frame_micros: u64,
    /// Smoothed round-trip time and its mean deviation (RFC 6298), in microseconds.
    srtt: u64,
    rttvar: u64,
    /// The smallest round trips of this window and of the one before: what the link costs when nobody stalls.
    min_now: u64,
    min_before: u64,
    min_since: Instant,
    /// Smoothed loss of what we send, parts per million, and of how many frames it was learnt, up to [`LOSS_MEMORY`].
    loss: u32,
    frames_seen: u64,
    /// After how many askings without an answer a link with this loss is not merely unlucky.
    askings: u64,
    /// Frames lost that the counts of acknowledgements do not show because they came when sent again, in halves.
    hidden_halves: u64,
    announced: u32,
    announced_at: Instant,
}

/// Length of the windows of the smallest round trip.
const MIN_WINDOW: Duration = Duration::from_secs(30);

impl Quality {
    pub(super) fn new(
        bits_per_second: u64,
        frame_bytes: usize,
        rtt: Duration,
        now: Instant,
    ) -> Self {
        let rtt = micros(rtt);
        let bits_per_second = bits_per_second.max(1);
        let frame_bits = u64::try_from(frame_bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(8);
        let frame_micros = frame_bits
            .saturating_mul(1_000_000)
            .div_ceil(bits_per_second);
        let mut quality = Self {
            bits_per_second,
            frame_micros,
            srtt: rtt,
            rttvar: rtt / 2,
            min_now: rtt,
            min_before: rtt,
            min_since: now,
            loss: 0,
            frames_seen: 0,
            askings: 1,
            hidden_halves: 0,
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

    /// A frame had to be sent again. Of two that nobody answered about one had arrived and its acknowledgement was lost.
    pub(super) fn note_resent(&mut self, cause: Cause) {
        let halves = match cause {
            Cause::Overtaken => 2,
            Cause::Silence => 1,
        };
        self.hidden_halves = self.hidden_halves.saturating_add(halves);
    }

    /// Of `sent` frames, `lost` did not arrive. Few frames say little beside many before.
    pub(super) fn sample_loss(&mut self, sent: u64, lost: u64) {
        if sent == 0 {
            return;
        }
        let hidden = (self.hidden_halves / 2).min(sent.saturating_sub(lost));
        self.hidden_halves = self.hidden_halves.saturating_sub(hidden.saturating_mul(2));
        let sample = lost
            .saturating_add(hidden)
            .saturating_mul(u64::from(MILLION))
            .checked_div(sent)
            .unwrap_or(0);
        let weight = sent.min(LOSS_MEMORY / 2);
        self.frames_seen = self.frames_seen.saturating_add(weight).min(LOSS_MEMORY);
        let total = self.frames_seen.max(LOSS_PRIOR);
        let old = u64::from(self.loss).saturating_mul(total.saturating_sub(weight));
        let new = old.saturating_add(sample.saturating_mul(weight));
        let new = new.checked_div(total).unwrap_or(0);
        self.loss = u32::try_from(new).unwrap_or(MILLION).min(MILLION);
        self.askings = askings(self.loss);
    }

    /// How long a frame that wants an answer may stay without one before the link is suspected: long enough for the answer
    /// on a good link, and for several more askings on one that loses many frames.
    pub(super) fn patience(&self) -> Duration {
        let floor = 80_000;
        let measured = self.answer_micros().saturating_add(30_000);
        // A stalled processor inflates the deviation for a while; a false alarm is cheaper than a late one.
        let ceiling = self.min_rtt().saturating_mul(4).max(200_000);
        let asked = micros(self.probe_gap()).saturating_mul(self.askings.saturating_sub(1));
        let asking = micros(self.probe_after()).saturating_add(asked);
        let patience = measured.clamp(floor, ceiling).max(asking);
        Duration::from_micros(patience.saturating_add(self.frame_micros.saturating_mul(2)))
    }

    /// How long to wait before the answer that is awaited is asked for again.
    pub(super) fn probe_after(&self) -> Duration {
        Duration::from_micros(self.answer_micros().max(30_000))
    }

    /// How long to wait between further askings, which are answered at once.
    pub(super) fn probe_gap(&self) -> Duration {
        let measured = self.answer_micros().saturating_sub(micros(ACK_GAP));
        let ceiling = self.min_rtt().saturating_mul(2).max(PROBE_GAP_MAX_MICROS);
        Duration::from_micros(measured.clamp(PROBE_GAP_MIN_MICROS, ceiling))
    }

    /// How long a frame may stay unacknowledged before it is sent again.
    pub(super) fn resend_after(&self) -> Duration {
        Duration::from_micros(self.answer_micros().max(40_000))
    }

    /// Within what time an acknowledgement is to be expected.
    fn answer_micros(&self) -> u64 {
        self.srtt
            .saturating_add(self.rttvar.saturating_mul(4))
            .saturating_add(micros(ACK_GAP))
            .saturating_add(self.frame_micros.saturating_mul(2))
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

/// How many askings in a row all fail by chance seldom enough, if so many parts per million are lost each way.
fn askings(loss: u32) -> u64 {
    let arrives = u64::from(MILLION.saturating_sub(loss));
    let unlucky = WHOLE.saturating_sub(arrives.saturating_mul(arrives) / WHOLE);
    let (mut askings, mut chance) = (1_u64, unlucky);
    while chance > FALSE_ALARM && askings < ASKINGS_MAX {
        chance = chance.saturating_mul(unlucky) / WHOLE;
        askings = askings.saturating_add(1);
    }
    askings
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality() -> Quality {
        Quality::new(100_000_000, 1_400, Duration::from_millis(1), Instant::ZERO)
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
        assert!(quality.patience() < Duration::from_millis(81));
        let before = quality.metric();
        for step in 0..20 {
            quality.sample_rtt(Duration::from_millis(70), Instant::from_millis(step));
        }
        assert_eq!(quality.metric(), before);
        assert!(quality.patience() > Duration::from_millis(110));
        assert!(quality.patience() <= Duration::from_millis(201));
    }

    #[test]
    fn loss_lengthens_patience_by_as_many_askings_as_it_takes() {
        let mut quality = quality();
        quality.sample_loss(64, 0);
        assert_eq!(quality.askings, 1);
        (0..20).for_each(|_| quality.sample_loss(20, 1));
        assert!(quality.patience() < Duration::from_millis(90));
        (0..20).for_each(|_| quality.sample_loss(20, 4));
        assert_eq!(quality.askings, 10);
        let patience = quality.patience();
        assert!(
            (150..=250).contains(&patience.as_millis()),
            "{patience:?} at 20 % each way"
        );
    }

    #[test]
    fn frames_that_came_only_when_sent_again_count_as_lost() {
        let mut quality = quality();
        for _ in 0..40 {
            (0..2).for_each(|_| quality.note_resent(Cause::Overtaken));
            quality.sample_loss(10, 0);
        }
        assert!(
            (150_000..=210_000).contains(&quality.loss()),
            "{}",
            quality.loss()
        );
    }

    #[test]
    fn a_slow_radio_is_given_the_time_its_frames_take() {
        let slow = Quality::new(5_000, 200, Duration::from_millis(1), Instant::ZERO);
        assert!(slow.patience() > Duration::from_millis(640));
    }
}
