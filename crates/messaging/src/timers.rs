//! Every moment at which something is due, in one table.

use std::collections::{BTreeMap, BTreeSet};

use smartmesh_types::{Address, Duration, Instant, MessageId};

/// The pause after this one: twice as long, up to a longest.
pub(crate) fn longer(pause: Duration, longest: Duration) -> Duration {
    pause.saturating_mul(2).min(longest)
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Acknowledgements to this person go out.
    Receipts(Address),
    /// A path to this person is asked for again.
    Path(Address),
    /// There is place on the path to this person.
    Next(Address),
    /// A message is sent, sent again or given to carriers.
    Message(MessageId),
    /// The own prekeys are gossiped again.
    Publish,
    /// Expired messages are given up and old prekeys replaced.
    Sweep,
}

/// The table; each timer is set at most once.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: BTreeMap<Timer, Instant>,
    queue: BTreeSet<(Instant, Timer)>,
}

impl Timers {
    /// Sets a timer, whatever it was set to.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(timer);
        self.at.insert(timer, at);
        self.queue.insert((at, timer));
    }

    /// Sets a timer unless it is set to an earlier moment.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        if self.at.get(&timer).is_none_or(|set| *set > at) {
            self.set(timer, at);
        }
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub(crate) fn is_set(&self, timer: Timer) -> bool {
        self.at.contains_key(&timer)
    }

    /// Takes the first timer that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        let (at, timer) = *self.queue.first()?;
        if at > now {
            return None;
        }
        self.cancel(timer);
        Some(timer)
    }

    /// When the first timer is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_is_set_once_and_due_in_order() {
        let at = Instant::from_millis;
        let mut timers = Timers::default();
        timers.set(Timer::Sweep, at(5));
        timers.set(Timer::Sweep, at(9));
        timers.set(Timer::Publish, at(7));
        timers.set_earlier(Timer::Publish, at(8));
        assert_eq!(timers.next(), Some(at(7)));
        assert_eq!(timers.pop_due(at(6)), None);
        assert_eq!(timers.pop_due(at(9)), Some(Timer::Publish));
        assert_eq!(timers.pop_due(at(9)), Some(Timer::Sweep));
        assert_eq!(timers.next(), None);
    }
}
