//! Whether a link lives: acknowledgements, beats, suspicion, and the timers of each neighbour.

use smartmesh_types::{Duration, Instant, NeighbourId, Train};
use smartmesh_wire::link::Acknowledgement;

use super::peer::{Awaited, Peer};
use super::{LinkOutput, Links, count};

/// How often a silent neighbour is asked whether it is there; after two seconds less often.
const PING_GAP: Duration = Duration::from_millis(100);
const PING_GAP_LATE: Duration = Duration::from_millis(500);
/// How long what was sent is kept in case the link fails.
const FLIGHT_AGE: Duration = Duration::from_secs(1);

impl Links {
    /// Does everything that is due.
    pub(super) fn run_due(&mut self, now: Instant) {
        self.send_beacons(now);
        self.run_handshakes(now);
        self.tell_around(now);
        let due = self
            .peers
            .values()
            .filter(|peer| peer.next_due(&self.config) <= now);
        let due: Vec<NeighbourId> = due.map(|peer| peer.id).collect();
        for neighbour in due {
            self.run_peer(neighbour, now);
        }
    }

    fn run_peer(&mut self, neighbour: NeighbourId, now: Instant) {
        let dead = self.config.dead;
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        if peer.heard_at + dead <= now {
            return self.drop_peer(neighbour, now);
        }
        peer.flight.expire(FLIGHT_AGE, now);
        self.run_suspicion(neighbour, now);
        self.ask_contact(neighbour, now);
        self.send_control_frames(neighbour, now);
        self.resend_data(neighbour, now);
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        if peer.ack_at <= now || peer.sent_at + peer.beat_after <= now {
            self.acknowledge(neighbour, now);
        }
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        if peer.renew_at() <= now {
            self.renew(neighbour, now);
        }
    }

    /// Asks again for an answer that is late, and suspects the link if there is none in time.
    fn run_suspicion(&mut self, neighbour: NeighbourId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        let patience = peer.quality.patience();
        let is_late = |awaited: Awaited| awaited.since + patience <= now;
        if !peer.suspect && peer.awaited.is_some_and(is_late) {
            self.suspect(neighbour, now);
        }
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        if peer.suspect {
            if peer.ping_at <= now {
                self.ping_suspect(neighbour, now);
            }
        } else if peer.awaited.is_some() && peer.probe_at <= now {
            peer.probe_at = now + peer.quality.probe_gap();
            self.ping(neighbour, now);
        } else if peer.hail_at() <= now {
            peer.hailed_at = now;
            self.ping(neighbour, now);
        }
    }

    fn ping_suspect(&mut self, neighbour: NeighbourId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        let late = now.since(peer.suspect_since) > Duration::from_secs(2);
        peer.ping_at = now + if late { PING_GAP_LATE } else { PING_GAP };
        if let Some(third) = peer.third.clone() {
            let (radio, addr) = (peer.radio, peer.addr);
            self.transmit(radio, addr, Train::single(third));
        }
        self.ping(neighbour, now);
    }

    fn suspect(&mut self, neighbour: NeighbourId, now: Instant) {
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        peer.suspect = true;
        peer.suspect_since = now;
        peer.ping_at = now;
        count(&mut self.counters.suspected);
        self.outputs.push_back(LinkOutput::Suspect { neighbour });
        self.give_back(neighbour);
    }

    /// Tells a neighbour what came from it; also the sign of life of an idle link.
    fn acknowledge(&mut self, neighbour: NeighbourId, now: Instant) {
        let jitter = self.rng.below(250);
        let Some(radio) = self.peers.get(&neighbour.0).map(|peer| peer.radio) else {
            return;
        };
        let links = self.links_on(radio);
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        let beat = u64::try_from(self.config.beat.as_micros()).unwrap_or(u64::MAX);
        peer.beat_after =
            Duration::from_micros(beat.saturating_sub(beat.saturating_mul(jitter) / 1_000));
        peer.sent_at = now;
        let owed = std::mem::replace(&mut peer.ack_at, Instant::NEVER) != Instant::NEVER;
        let Some(session) = self.sessions.find(peer.sending) else {
            return;
        };
        let highest = session.replay.highest().unwrap_or(u64::MAX);
        let delay = now.since(peer.highest_at).as_micros() / 32;
        let body = Acknowledgement {
            highest: low32(highest),
            received: u16::try_from(session.replay.received() & 0xffff).unwrap_or(0),
            delay: u16::try_from(delay).unwrap_or(u16::MAX),
            links,
            // A beat of an idle link needs no details.
            bitmap: owed.then(|| session.replay.bitmap()),
            streams: peer.control.take_acks(),
        }
        .encode();
        peer.acked_at = now;
        self.send_own(neighbour, super::frames::LABEL_ACK, &body, now);
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self, neighbour: NeighbourId, now: Instant) {
        let _ = self.send_wanted(neighbour, super::frames::LABEL_PING, &[], now);
    }

    pub(super) fn handle_ack(
        &mut self,
        neighbour: NeighbourId,
        session: u32,
        body: &[u8],
        now: Instant,
    ) {
        let Ok(ack) = Acknowledgement::decode(body) else {
            return count(&mut self.counters.malformed);
        };
        let Some(sent) = self.sessions.find(session).map(|session| session.next) else {
            return;
        };
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        peer.links = ack.links;
        for (stream, told) in ack.streams.into_iter().enumerate() {
            if let Some(told) = told {
                peer.control.handle_ack(stream, told, now);
            }
        }
        if let Some(last) = sent.checked_sub(1)
            && ack.highest != u32::MAX
        {
            let highest = super::session::extend(sent, ack.highest).min(last);
            peer.note_ack(session, highest, &ack, now);
            if peer.suspect && peer.awaited.is_none_or(|awaited| awaited.since == now) {
                peer.suspect = false;
                self.outputs.push_back(LinkOutput::Recovered { neighbour });
            }
        }
        let Some(peer) = self.peers.get_mut(&neighbour.0) else {
            return;
        };
        if let Some(metric) = peer.quality.poll_metric(now) {
            self.outputs
                .push_back(LinkOutput::Metric { neighbour, metric });
        }
        self.send_control_frames(neighbour, now);
        self.resend_data(neighbour, now);
    }
}

impl Peer {
    /// Frames up to `highest` of a session are known to have come, or not to.
    fn note_ack(&mut self, session: u32, highest: u64, ack: &Acknowledgement, now: Instant) {
        if let Some(timed) = self
            .timed
            .filter(|timed| timed.session == session && timed.counter <= highest)
        {
            self.timed = None;
            // Only the newest frame's delay is told; for older ones the sample would be too long.
            if timed.counter == highest && ack.delay != u16::MAX {
                let held = Duration::from_micros(u64::from(ack.delay).saturating_mul(32));
                self.quality
                    .sample_rtt(now.since(timed.since).saturating_sub(held), now);
            }
        }
        if let Some((told_session, told_highest, told_received)) = self.told
            && told_session == session
            && highest > told_highest
        {
            let frames = highest.saturating_sub(told_highest);
            let came = u64::from(ack.received.wrapping_sub(told_received));
            self.quality
                .sample_loss(frames, frames.saturating_sub(came));
        }
        if self
            .told
            .is_none_or(|(told, before, _)| told != session || highest > before)
        {
            self.told = Some((session, highest, ack.received));
        }
        self.flight.handle_ack(session, highest, ack.bitmap, now);
        if self
            .awaited
            .is_some_and(|awaited| awaited.session != session || awaited.counter <= highest)
        {
            // Whatever was sent later has at least from now on to be answered.
            let later = self.wanted.filter(|(wanted_session, counter)| {
                *wanted_session != session || *counter > highest
            });
            self.set_awaited(later.map(|(session, counter)| Awaited {
                session,
                counter,
                since: now,
            }));
        }
    }
}

pub(super) fn low32(counter: u64) -> u32 {
    u32::try_from(counter & 0xffff_ffff).unwrap_or(0)
}
