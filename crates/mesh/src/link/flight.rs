//! Data frames on the way that nobody has acknowledged yet: to give back when the link fails, to send again when it loses.

use std::collections::VecDeque;

use smartmesh_types::{Duration, Instant};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    frames: usize,
    bytes: usize,
}

impl Room {
    /// On a good link: what matters is a call or a message, not the middle of a file.
    pub(super) const LITTLE: Self = Self {
        frames: 64,
        bytes: 96 * 1_024,
    };
    /// On a link that loses frames all the time: what may be on the way in 50 ms at 80 Mbit/s.
    pub(super) const MUCH: Self = Self {
        frames: 512,
        bytes: 512 * 1_024,
    };
}

/// How long nothing is copied after the frames came faster than acknowledgements.
const PAUSE: Duration = Duration::from_millis(250);
/// How often one frame is sent again at most.
const RESENDS_MAX: u8 = 3;

/// A sealed frame that may be needed again.
#[derive(Debug)]
pub(super) struct Flown {
    /// Our index of the session that sealed it.
    pub(super) session: u32,
    pub(super) counter: u64,
    pub(super) label: u32,
    pub(super) bytes: Vec<u8>,
    sent_at: Instant,
    due: Instant,
    resends: u8,
    overtaken: bool,
}

/// Why a frame is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Later frames have come: this one is lost.
    Overtaken,
    /// Nothing was heard: this one is lost or its acknowledgement is.
    Silence,
}

/// The ring of frames on the way. When frames come faster than acknowledgements can clear it, it is emptied and rests for
/// a while: at that rate copying would cost more than the few packets in it are worth, and the ends repeat them anyway.
#[derive(Debug, Default)]
pub(super) struct Flight {
    frames: VecDeque<Flown>,
    bytes: usize,
    spare: Vec<Vec<u8>>,
    paused_until: Instant,
}

impl Flight {
    /// Keeps a copy of a sealed frame.
    pub(super) fn push(
        &mut self,
        (session, counter): (u32, u64),
        label: u32,
        sealed: &[u8],
        room: Room,
        resend_after: Duration,
        now: Instant,
    ) {
        if now < self.paused_until {
            return;
        }
        if self.frames.len() >= room.frames || self.bytes.saturating_add(sealed.len()) > room.bytes
        {
            self.clear();
            self.paused_until = now + PAUSE;
            return;
        }
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(sealed);
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.frames.push_back(Flown {
            session,
            counter,
            label,
            bytes,
            sent_at: now,
            due: now + resend_after,
            resends: 0,
            overtaken: false,
        });
    }

    /// Forgets what an acknowledgement of this session covers; what it shows as missing is due.
    pub(super) fn handle_ack(
        &mut self,
        session: u32,
        highest: u64,
        bitmap: Option<u64>,
        now: Instant,
    ) {
        let mut index = 0;
        while let Some(flown) = self.frames.get_mut(index) {
            let behind = highest.wrapping_sub(flown.counter);
            let covered = flown.session == session && flown.counter <= highest;
            let arrived = covered
                && match (behind, bitmap) {
                    (0, _) => true,
                    (1..=64, Some(bits)) => {
                        let place = 64_u64.wrapping_sub(behind);
                        bits.wrapping_shr(u32::try_from(place).unwrap_or(0)) & 1 == 1
                    }
                    // Too far behind to tell, or not told.
                    (_, Some(_)) => true,
                    (_, None) => false,
                };
            if arrived {
                self.remove(index);
                continue;
            }
            // Overtaken by several later frames: not merely out of order.
            if covered && behind >= 3 && flown.resends == 0 {
                flown.due = now;
                flown.overtaken = true;
            }
            index = index.saturating_add(1);
        }
    }

    /// The next frame that is to be sent again, if the link loses so much that this pays.
    pub(super) fn poll_resend(
        &mut self,
        resend_after: Duration,
        now: Instant,
    ) -> Option<(&Flown, Cause)> {
        let flown = self
            .frames
            .iter_mut()
            .find(|flown| flown.due <= now && flown.resends < RESENDS_MAX)?;
        flown.resends = flown.resends.saturating_add(1);
        flown.due = now + resend_after.saturating_mul(1_u32.wrapping_shl(u32::from(flown.resends)));
        let cause = match std::mem::take(&mut flown.overtaken) {
            true => Cause::Overtaken,
            false => Cause::Silence,
        };
        Some((flown, cause))
    }

    /// When the next frame is to be sent again.
    pub(super) fn next_due(&self) -> Instant {
        let waiting = self.frames.iter().filter(|f| f.resends < RESENDS_MAX);
        waiting
            .map(|flown| flown.due)
            .min()
            .unwrap_or(Instant::NEVER)
    }

    /// Forgets what is older than `age`: its ends have given it up or sent it again.
    pub(super) fn expire(&mut self, age: Duration, now: Instant) {
        while self
            .frames
            .front()
            .is_some_and(|flown| now.since(flown.sent_at) > age)
        {
            self.remove(0);
        }
    }

    /// Takes all frames out, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<Flown> {
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }

    fn remove(&mut self, index: usize) {
        if let Some(flown) = self.frames.remove(index) {
            self.bytes = self.bytes.saturating_sub(flown.bytes.len());
            self.spare.push(flown.bytes);
        }
    }

    fn clear(&mut self) {
        for flown in self.frames.drain(..) {
            self.spare.push(flown.bytes);
        }
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTO: Duration = Duration::from_millis(40);

    fn flight(frames: u64) -> Flight {
        let mut flight = Flight::default();
        for counter in 0..frames {
            let room = Room::LITTLE;
            flight.push((1, counter), 20, &[0; 100], room, RTO, Instant::ZERO);
        }
        flight
    }

    fn left(flight: &mut Flight) -> Vec<u64> {
        flight.take().iter().map(|flown| flown.counter).collect()
    }

    #[test]
    fn acknowledgements_clear_what_they_cover_and_show_holes() {
        let mut flight = flight(8);
        // 5 came, and 4, 2, 1, 0; 3 did not; 6 and 7 are on the way.
        let bitmap = 0b10111 << 59;
        flight.handle_ack(1, 5, Some(bitmap), Instant::from_millis(1));
        assert_eq!(left(&mut flight), [3, 6, 7]);
    }

    #[test]
    fn a_hole_is_sent_again_a_few_times() {
        let mut flight = flight(8);
        flight.handle_ack(1, 7, Some(0b1111011 << 57), Instant::from_millis(1));
        let mut now = Instant::from_millis(1);
        for cause in [Cause::Overtaken, Cause::Silence, Cause::Silence] {
            let (flown, why) = flight.poll_resend(RTO, now).unwrap();
            assert_eq!((flown.counter, why), (2, cause));
            assert!(flight.poll_resend(RTO, now).is_none());
            now = flight.next_due();
        }
        assert_eq!(now, Instant::NEVER);
    }

    #[test]
    fn frames_that_come_too_fast_are_not_kept() {
        let mut flight = flight(65);
        assert!(flight.take().is_empty());
        let room = Room::LITTLE;
        flight.push((1, 99), 20, &[0; 100], room, RTO, Instant::ZERO + PAUSE);
        assert_eq!(left(&mut flight), [99]);
    }
}
