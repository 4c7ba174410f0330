//! One destination: what each neighbour offers, which offers are feasible, which one is used.
//!
//! Pure values: nothing here knows of time, messages or other destinations.

use smartmesh_types::Instant;

/// Metric of what cannot be reached; sums saturate here (RFC 8966 §3.5.2).
pub(super) const INFINITY: u32 = u32::MAX;

/// Sequence numbers may honestly run ahead this far between two advertisements: one a second over a tag's life, and some
/// bursts.
pub(super) const SEQNO_LEAP: u32 = 4_096;

/// A neighbour's place in the masks and offers, below [`super::NEIGHBOURS_MAX`].
pub(super) type Slot = u8;

/// Whether sequence number `a` is newer than `b`.
///
/// RFC 8966 §3.2.1 compares modulo 2^16, where three numbers can each be newer than the next in a circle: a liar could
/// build a loop from that. Here the order is plain; a tag's life is too short to use up 32 bits.
pub(super) fn is_newer(a: u32, b: u32) -> bool {
    a > b
}

/// The best distance this node ever advertised: sequence number and metric (RFC 8966 §3.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance {
    pub(super) seqno: u32,
    pub(super) metric: u32,
}

impl Distance {
    /// The feasibility condition: strictly better than anything this node has advertised.
    pub(super) fn permits(self, seqno: u32, metric: u32) -> bool {
        is_newer(seqno, self.seqno) || (seqno == self.seqno && metric < self.metric)
    }

    /// Whether the sequence number is so far ahead that only a lie or a long absence explains it.
    fn is_leap(self, seqno: u32) -> bool {
        seqno.saturating_sub(self.seqno) > SEQNO_LEAP
    }

    /// Remembers an advertisement that is about to be sent.
    fn lower(&mut self, seqno: u32, metric: u32) {
        if is_newer(seqno, self.seqno) {
            *self = Self { seqno, metric };
        } else if seqno == self.seqno {
            self.metric = self.metric.min(metric);
        }
    }
}

/// What one neighbour advertises for the destination: 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// Cost from the neighbour on, in microseconds.
    pub(super) metric: u32,
    pub(super) seqno: u32,
    pub(super) slot: Slot,
    /// Hops from the neighbour on.
    pub(super) hops: u8,
}

/// Where packets to the destination go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Best {
    /// No feasible route.
    Nowhere,
    /// This node is the destination.
    Here,
    /// To this neighbour.
    Via(Slot),
}

/// The route in use, as it is advertised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Selected {
    pub(super) metric: u32,
    pub(super) seqno: u32,
    pub(super) hops: u8,
    pub(super) best: Best,
}

impl Selected {
    pub(super) const NONE: Self = Self {
        metric: INFINITY,
        seqno: 0,
        hops: u8::MAX,
        best: Best::Nowhere,
    };

    /// Whether neighbours would see no difference.
    pub(super) fn looks_like(&self, other: &Self) -> bool {
        (self.metric, self.seqno, self.hops) == (other.metric, other.seqno, other.hops)
    }
}

/// What a link to a neighbour costs now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkCost {
    pub(super) metric: u32,
    pub(super) health: Health,
}

/// Whether the link layer has doubts about a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    Sound,
    Suspect,
}

/// A reason to ask the destination for a newer sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The routes are good.
    None,
    /// An unfeasible route would be shorter.
    Shorter(Slot),
    /// Only unfeasible routes (or a suspect neighbour's) remain.
    Starving(Slot),
}

/// How good an offer is; the least is best.
type Rank = (Health, bool, u32, bool, Slot);

/// One destination of the zone.
#[derive(Clone, Debug)]
pub(super) struct Dest {
    /// At most one per neighbour.
    pub(super) offers: Vec<Offer>,
    /// Neighbours that hold an advertisement of ours.
    pub(super) holds: u64,
    /// Neighbours that must be told.
    pub(super) dirty: u64,
    /// When a neighbour last said anything about it.
    pub(super) heard_at: Instant,
    /// When to look at it again; [`Instant::NEVER`] if there is no reason.
    pub(super) alarm: Instant,
    /// When a request for it was last sent or passed on.
    pub(super) asked_at: Instant,
    pub(super) distance: Option<Distance>,
    /// Sequence number last asked for, until a route has it.
    pub(super) asked: Option<u32>,
    pub(super) selected: Selected,
    /// Requests sent since the wish arose.
    pub(super) tries: u8,
    /// Whether no sound feasible route was left at the last choice.
    pub(super) starving: bool,
    /// The epoch in which it was first heard of.
    pub(super) epoch: u64,
}

impl Dest {
    pub(super) fn new(distance: Option<Distance>) -> Self {
        Self {
            offers: Vec::new(),
            holds: 0,
            dirty: 0,
            heard_at: Instant::ZERO,
            alarm: Instant::NEVER,
            asked_at: Instant::ZERO,
            distance,
            asked: None,
            selected: Selected::NONE,
            tries: 0,
            starving: false,
            epoch: 0,
        }
    }

    pub(super) fn offer(&self, slot: Slot) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.slot == slot)
    }

    pub(super) fn put_offer(&mut self, offer: Offer) {
        match self.offers.iter_mut().find(|old| old.slot == offer.slot) {
            Some(old) => *old = offer,
            None => self.offers.push(offer),
        }
    }

    pub(super) fn remove_offer(&mut self, slot: Slot) -> bool {
        let before = self.offers.len();
        self.offers.retain(|offer| offer.slot != slot);
        self.offers.len() != before
    }

    pub(super) fn is_feasible(&self, offer: &Offer) -> bool {
        self.distance
            .is_none_or(|distance| distance.permits(offer.seqno, offer.metric))
    }

    fn is_leap(&self, offer: &Offer) -> bool {
        self.distance
            .is_some_and(|distance| distance.is_leap(offer.seqno))
    }

    /// Lowers the feasibility distance before the selected route is advertised (RFC 8966 §3.7.3).
    pub(super) fn note_advertised(&mut self) {
        if !matches!(self.selected.best, Best::Via(_)) {
            return;
        }
        let Selected { seqno, metric, .. } = self.selected;
        match &mut self.distance {
            Some(distance) => distance.lower(seqno, metric),
            None => self.distance = Some(Distance { seqno, metric }),
        }
    }

    /// The sequence number that makes any route feasible again (RFC 8966 §3.8.2.1).
    pub(super) fn seqno_to_ask(&self) -> u32 {
        self.distance
            .map_or(self.selected.seqno, |distance| distance.seqno)
            .saturating_add(1)
    }

    /// Nothing is known and nobody needs to be told: only the feasibility distance matters still.
    pub(super) fn is_dead(&self) -> bool {
        self.offers.is_empty()
            && self.holds == 0
            && self.dirty == 0
            && self.selected.best == Best::Nowhere
    }

    /// The route to use, and whether to ask for a newer sequence number. Among feasible offers: a sound neighbour before a
    /// suspect one, then a credible sequence number before a leap, then the smallest metric, then the route in use, then the lowest slot.
    pub(super) fn choose(
        &self,
        hops_max: u8,
        cost: impl Fn(Slot) -> Option<LinkCost>,
    ) -> (Selected, Wish) {
        let mut feasible: Option<(Rank, Selected)> = None;
        let mut unfeasible: Option<(u32, Slot)> = None;
        for offer in &self.offers {
            let Some(link) = cost(offer.slot) else {
                continue;
            };
            let metric = offer.metric.saturating_add(link.metric.max(1));
            let hops = offer.hops.saturating_add(1);
            if metric == INFINITY || hops > hops_max {
                continue;
            }
            if self.is_feasible(offer) {
                let best = Best::Via(offer.slot);
                let rank = (
                    link.health,
                    self.is_leap(offer),
                    metric,
                    self.selected.best != best,
                    offer.slot,
                );
                if feasible.is_none_or(|(other, _)| rank < other) {
                    let seqno = offer.seqno;
                    feasible = Some((
                        rank,
                        Selected {
                            metric,
                            seqno,
                            hops,
                            best,
                        },
                    ));
                }
            } else if link.health == Health::Sound
                && unfeasible.is_none_or(|other| (metric, offer.slot) < other)
            {
                unfeasible = Some((metric, offer.slot));
            }
        }
        let wish = match (&feasible, unfeasible) {
            (_, None) => Wish::None,
            (None | Some(((Health::Suspect, ..), _)), Some((_, slot))) => Wish::Starving(slot),
            (Some(((Health::Sound, _, used, ..), _)), Some((metric, slot))) if metric < *used => {
                Wish::Shorter(slot)
            }
            (Some(_), Some(_)) => Wish::None,
        };
        (feasible.map_or(Selected::NONE, |(_, route)| route), wish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dest(offers: &[(Slot, u32, u32)], distance: Option<(u32, u32)>) -> Dest {
        let mut dest = Dest::new(distance.map(|(seqno, metric)| Distance { seqno, metric }));
        for (slot, seqno, metric) in offers {
            dest.put_offer(Offer {
                metric: *metric,
                seqno: *seqno,
                slot: *slot,
                hops: 1,
            });
        }
        dest
    }

    fn choose(dest: &Dest, suspect: &[Slot]) -> (Best, Wish) {
        let (selected, wish) = dest.choose(64, |slot| {
            Some(LinkCost {
                metric: 10,
                health: if suspect.contains(&slot) {
                    Health::Suspect
                } else {
                    Health::Sound
                },
            })
        });
        (selected.best, wish)
    }

    #[test]
    fn only_what_beats_every_past_advertisement_is_used() {
        let dest = dest(&[(0, 7, 50), (1, 7, 20), (2, 6, 1)], Some((7, 50)));
        assert_eq!(choose(&dest, &[]), (Best::Via(1), Wish::Shorter(2)));
        assert_eq!(choose(&dest, &[1]), (Best::Via(1), Wish::Starving(2)));
    }

    #[test]
    fn a_newer_sequence_number_makes_any_metric_feasible() {
        let dest = dest(&[(0, 8, 900)], Some((7, 5)));
        assert_eq!(choose(&dest, &[]), (Best::Via(0), Wish::None));
    }

    #[test]
    fn a_leaping_sequence_number_is_used_only_if_nothing_else_is_left() {
        let mut dest = dest(&[(0, 5, 20), (1, 9_000, 1)], Some((5, 50)));
        assert_eq!(choose(&dest, &[]), (Best::Via(0), Wish::None));
        dest.remove_offer(0);
        assert_eq!(choose(&dest, &[]), (Best::Via(1), Wish::None));
    }

    #[test]
    fn metrics_saturate_to_unreachable() {
        let dest = dest(&[(0, 0, INFINITY), (1, 0, INFINITY - 5)], None);
        assert_eq!(choose(&dest, &[]), (Best::Nowhere, Wish::None));
    }

    #[test]
    fn advertising_lowers_the_distance_and_never_raises_it() {
        let mut dest = dest(&[], Some((3, 40)));
        for (seqno, metric, expected) in [
            (3, 60, (3, 40)),
            (3, 30, (3, 30)),
            (4, 90, (4, 90)),
            (3, 1, (4, 90)),
        ] {
            dest.selected = Selected {
                metric,
                seqno,
                hops: 1,
                best: Best::Via(0),
            };
            dest.note_advertised();
            let distance = dest.distance.unwrap();
            assert_eq!((distance.seqno, distance.metric), expected);
        }
    }

    #[test]
    fn an_entry_stays_within_its_memory() {
        let offers = 8 * size_of::<Offer>();
        assert!(size_of::<Dest>() + size_of::<smartmesh_types::Tag>() + offers <= 232);
    }
}
