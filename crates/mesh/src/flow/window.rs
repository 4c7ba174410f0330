//! The replay window of one path: which packet counters have been seen (the sliding bitmap of RFC 4303 §3.4.3, with the
//! high half of the counter inferred as in its Appendix A).

/// Counters behind the highest one that may still arrive. A bypass is longer than the link that it goes round, so
/// packets of one path overtake each other by what is in flight: 2,048 packets are 2.6 MB of 1,280 bytes.
const WINDOW: u64 = 2_048;
const WORDS: usize = 32;

/// Remembers which counters were used.
#[derive(Clone, Debug)]
pub(super) struct Window {
    /// One more than the highest counter seen.
    next: u64,
    bits: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self {
            next: 0,
            bits: [0; WORDS],
        }
    }
}

impl Window {
    /// One more than the highest counter seen.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The full counter with these low 32 bits that lies nearest to the highest one seen.
    pub(super) fn expand(&self, low: u32) -> u64 {
        expand(self.next, low)
    }

    /// Whether a packet of this counter would be new.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        if self.next.saturating_sub(counter) > WINDOW {
            return false;
        }
        let (word, bit) = place(counter);
        self.bits.get(word).is_some_and(|bits| bits & bit == 0)
    }

    /// Marks the counter of a packet that has been authenticated.
    pub(super) fn mark(&mut self, counter: u64) {
        if counter >= self.next {
            let fresh = counter.saturating_sub(self.next).saturating_add(1);
            if fresh >= WINDOW {
                self.bits = [0; WORDS];
            } else {
                for passed in self.next..counter {
                    self.clear(passed);
                }
            }
            self.next = counter.saturating_add(1);
        }
        let (word, bit) = place(counter);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= bit;
        }
    }

    fn clear(&mut self, counter: u64) {
        let (word, bit) = place(counter);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits &= !bit;
        }
    }
}

/// The 64-bit counter with these low 32 bits that lies nearest to `near`.
pub(super) fn expand(near: u64, low: u32) -> u64 {
    const SPAN: u64 = 1 << 32;
    let guess = (near & !(SPAN - 1)) | u64::from(low);
    if guess.saturating_add(SPAN / 2) < near {
        guess.saturating_add(SPAN)
    } else if guess > near.saturating_add(SPAN / 2) && guess >= SPAN {
        guess.saturating_sub(SPAN)
    } else {
        guess
    }
}

fn place(counter: u64) -> (usize, u64) {
    let slot = counter % WINDOW;
    (
        usize::try_from(slot / 64).unwrap_or(0),
        1u64.wrapping_shl(u32::try_from(slot % 64).unwrap_or(0)),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_high_half_is_inferred_across_a_wrap() {
        let near = (1u64 << 32) - 2;
        assert_eq!(expand(near, u32::MAX), (1 << 32) - 1);
        assert_eq!(expand(near, 3), (1 << 32) + 3);
        assert_eq!(expand((1 << 32) + 5, u32::MAX), (1 << 32) - 1);
        assert_eq!(expand(0, u32::MAX), u64::from(u32::MAX));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(counters in proptest::collection::vec(0u64..6_000, 1..400)) {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            for counter in counters {
                let in_reach = counter.saturating_add(WINDOW) >= window.next();
                prop_assert_eq!(window.is_new(counter), in_reach && !seen.contains(&counter));
                if window.is_new(counter) {
                    window.mark(counter);
                    seen.insert(counter);
                }
            }
        }
    }
}
