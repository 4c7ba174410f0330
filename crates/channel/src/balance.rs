//! Who can spend what, and whether a payer's next message is acceptable. Pure judgement; nothing changes here.

use smartmesh_contracts::WordPhase;
use smartmesh_contracts::model::Side;
use smartmesh_wire::payment::{LockChange, LockEnd, Refusal, State};

use crate::channel::Channel;
use crate::locks::{LOCK_LIFE_MAX, Lock, is_supported, match_state};

/// A payer keeps one part in so many of its deposit: who has nothing left to lose is no debtor.
const RESERVE_DIVISOR: i128 = 20;
/// Amounts stay below the contract's limit.
pub(crate) const AMOUNT_LIMIT: u128 = 1 << 95;

fn signed(amount: u128) -> i128 {
    i128::try_from(amount).unwrap_or(i128::MAX)
}

/// What a state takes out of its payer's hands: paid, locked, and all ticks it allows.
fn committed(state: &State) -> i128 {
    let ticks = u128::from(state.unit).saturating_mul(u128::from(state.max));
    signed(
        state
            .paid
            .saturating_add(state.locked)
            .saturating_add(ticks),
    )
}

impl Channel {
    pub(crate) fn deposit_of(&self, side: Side) -> i128 {
        match side {
            Side::Low => self.chain.counted.word.low,
            Side::High => self.chain.counted.word.high,
        }
    }

    fn newest_of(&self, side: Side) -> State {
        if side == self.side {
            self.out.state
        } else {
            self.inc.state()
        }
    }

    /// What is set aside of `side` for a withdrawal that may still be executed.
    pub(crate) fn reserved_of(&self, side: Side) -> u128 {
        let ours = side == self.side;
        self.withdrawal
            .filter(|reservation| {
                reservation.ours == ours && self.chain.counted.word.time < reservation.order.expiry
            })
            .map_or(0, |reservation| reservation.order.amount)
    }

    /// What `payer` must keep.
    fn reserve_of(&self, payer: Side) -> i128 {
        let demanded = if payer == self.side {
            self.partner_reserve
        } else {
            self.our_reserve
        };
        let share = self
            .deposit_of(payer)
            .max(0)
            .checked_div(RESERVE_DIVISOR)
            .unwrap_or(0);
        share.max(signed(demanded))
    }

    /// What `payer` would have left beyond its reserve if `state` were its newest.
    fn left_with(&self, payer: Side, state: &State) -> i128 {
        self.deposit_of(payer)
            .saturating_sub(committed(state))
            .saturating_add(signed(self.newest_of(payer.other()).paid))
            .saturating_sub(signed(self.reserved_of(payer)))
            .saturating_sub(self.reserve_of(payer))
    }

    /// What this side can add to what it pays, base units.
    pub(crate) fn spendable(&self) -> u128 {
        u128::try_from(self.left_with(self.side, &self.out.state)).unwrap_or(0)
    }

    /// What waits to be signed, base units.
    pub(crate) fn queued(&self) -> u128 {
        self.out.queued
    }

    /// What the partner could still take out or pay.
    pub(crate) fn partner_spendable(&self) -> u128 {
        u128::try_from(self.left_with(self.side.other(), &self.inc.state())).unwrap_or(0)
    }

    /// What this side would get if the channel ended now, undecided locks left out.
    pub(crate) fn balance(&self) -> i128 {
        self.deposit_of(self.side)
            .saturating_sub(signed(self.out.state.paid))
            .saturating_add(signed(self.inc.state().paid))
    }

    pub(crate) fn total(&self) -> i128 {
        let word = &self.chain.counted.word;
        word.low.saturating_add(word.high)
    }

    /// Whether payments can flow as far as the chain is concerned.
    pub(crate) fn is_open(&self) -> bool {
        self.chain.counted.word.phase == WordPhase::Open
            && self.chain.counted.word.epoch == self.epoch
            && self.chain.seen.word.phase == WordPhase::Open
            && self.chain.seen.word.epoch == self.epoch
    }

    /// Whether this side may sign a payment now.
    pub(crate) fn may_sign(&self) -> bool {
        self.session.established && !self.recovering && self.order.is_none() && self.is_open()
    }

    /// The partner's locks after the changes of an update.
    pub(crate) fn changed_locks(&self, changes: &[LockChange]) -> Result<Vec<Lock>, Refusal> {
        let mut locks = self.inc.locks.clone();
        for change in changes {
            match change {
                LockChange::Add(added) => locks.push(Lock::new(added.clone())),
                LockChange::Remove(id, LockEnd::Claimed | LockEnd::Released | LockEnd::Expired) => {
                    let at = locks
                        .iter()
                        .position(|lock| lock.added.id == *id)
                        .ok_or(Refusal::DroppedLock)?;
                    locks.remove(at);
                }
            }
        }
        Ok(locks)
    }

    /// Judges the partner's next state and returns what it pays beyond the locks that it ends. `clock` is in chain seconds.
    pub(crate) fn judge(
        &self,
        next: &State,
        locks: &[Lock],
        clock: u64,
        skew: u64,
    ) -> Result<u128, Refusal> {
        if self.chain.seen.word.phase == WordPhase::Closing || self.order.is_some() {
            return Err(Refusal::Closing);
        }
        if !self.is_open() {
            return Err(Refusal::NotConfirmed);
        }
        if !match_state(next, locks) {
            return Err(Refusal::BadRoot);
        }
        let before = self.inc.state();
        let paid = next
            .paid
            .checked_sub(before.paid)
            .filter(|_| next.paid < AMOUNT_LIMIT && next.locked < AMOUNT_LIMIT)
            .ok_or(Refusal::Overspent)?;
        let owed = self.owed_for_dropped(locks, clock, skew)?;
        let owed = owed.saturating_add(self.owed_ticks(next)?);
        let free = paid.checked_sub(owed).ok_or(Refusal::DroppedLock)?;
        self.judge_added(locks, clock, skew)?;
        if self.left_with(self.side.other(), next) < 0 {
            return Err(Refusal::Overspent);
        }
        Ok(free)
    }

    /// Locks that are gone without release or expiry must have been paid.
    fn owed_for_dropped(&self, locks: &[Lock], clock: u64, skew: u64) -> Result<u128, Refusal> {
        let kept = |id: u64| locks.iter().find(|lock| lock.added.id == id);
        let mut owed = 0_u128;
        for lock in &self.inc.locks {
            if let Some(same) = kept(lock.added.id) {
                if same.leaf() != lock.leaf() {
                    return Err(Refusal::DroppedLock);
                }
                continue;
            }
            // A secret known here may be on the chain in time, so only the payee's own word ends it.
            let over = lock.added.expiry.saturating_add(skew) <= clock && lock.secret.is_none();
            if !lock.released && !over {
                owed = owed.saturating_add(lock.added.amount);
            }
        }
        Ok(owed)
    }

    fn judge_added(&self, locks: &[Lock], clock: u64, skew: u64) -> Result<(), Refusal> {
        let mut last = self.inc.last_lock;
        for lock in locks {
            let known = self
                .inc
                .locks
                .iter()
                .any(|old| old.added.id == lock.added.id);
            if known {
                continue;
            }
            let added = &lock.added;
            let in_time = added.expiry > clock.saturating_add(skew)
                && added.expiry <= clock.saturating_add(LOCK_LIFE_MAX);
            // Names only rise, so that a release names one lock for ever.
            if added.id <= last || added.amount == 0 || !in_time || !is_supported(&added.condition)
            {
                return Err(Refusal::BadLock);
            }
            last = added.id;
        }
        Ok(())
    }

    /// Ticks that were received must be paid when their chain is left.
    fn owed_ticks(&self, next: &State) -> Result<u128, Refusal> {
        let before = self.inc.state();
        if (next.tip, next.unit, next.max) == (before.tip, before.unit, before.max) {
            return Ok(0);
        }
        Ok(u128::from(before.unit).saturating_mul(u128::from(self.inc.ticks)))
    }
}
