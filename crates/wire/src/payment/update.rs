//! The one message a payer signs, and what changed in it.
//!
//! ```text
//!  first byte: kind 3 | 0x20 locks | 0x40 ticks | 0x80 changes or memo
//! +------+-----------+-----------+-------+---------+---------------------------------------+
//! | 1    | channel 6 | session 4 | seq 8 | paid 12 | locks: root 32, locked 12, expiry 5   |
//! +------+-----------+-----------+-------+---------+---------------------------------------+
//! | ticks: tip 32, unit 8, max 4 | signature 64 | changes: count 1, each below | memo: 2 + n |
//! +------------------------------+--------------+------------------------------------------+
//!  change 1 add    id 8 | amount 12 | expiry 5 | condition 2 + n | instructions 2 + n
//!  change 2 remove id 8 | how 1
//! ```
//!
//! 95 bytes with neither locks nor ticks, 188 with both.

use super::codec::{Reader, Writer};
use super::{
    CHANGES_MAX, CONDITION_BYTES_MAX, ChannelTag, INSTRUCTIONS_BYTES_MAX, LOCKS_MAX,
    MEMO_BYTES_MAX, Restate, SessionTag, SignatureBytes, Whose,
};

pub(super) const KIND_UPDATE: u8 = 3;
pub(super) const KIND_RESTATE: u8 = 6;
const WITH_LOCKS: u8 = 1;
const WITH_TICKS: u8 = 2;
const WITH_CHANGES: u8 = 4;

/// Content of a payer's message; channel, epoch and payer, which are signed too, follow from the channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// From 1.
    pub seq: u64,
    /// Cumulative, base units, below 2^96.
    pub paid: u128,
    /// Root of the tree of locks; zero without locks.
    pub root: [u8; 32],
    /// Sum of the locks, base units.
    pub locked: u128,
    /// Latest expiry of the locks, seconds, 40 bits.
    pub last_expiry: u64,
    /// End of the chain of ticks; zero without.
    pub tip: [u8; 32],
    /// Base units a tick.
    pub unit: u64,
    /// Ticks at most.
    pub max: u32,
}

/// A lock that an update adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedLock {
    /// Unique in the channel's epoch and direction.
    pub id: u64,
    /// Base units.
    pub amount: u128,
    /// Seconds.
    pub expiry: u64,
    /// Encoded condition.
    pub condition: Vec<u8>,
    /// Sealed to the receiver: what to do with it. Not signed: it only instructs.
    pub instructions: Vec<u8>,
}

/// How a lock ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockEnd {
    /// The payee showed the secret: its amount is in `paid` now.
    Claimed,
    /// The payee released it.
    Released,
    /// Its time passed.
    Expired,
}

/// One change of the locks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// A lock more, at the end of the tree.
    Add(AddedLock),
    /// A lock less; those behind it move up.
    Remove(u64, LockEnd),
}

/// A signed state with what changed since the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The channel.
    pub channel: ChannelTag,
    /// Between which starts.
    pub session: SessionTag,
    /// Content.
    pub state: State,
    /// The payer's signature.
    pub signature: SignatureBytes,
    /// What changed in the locks.
    pub changes: Vec<LockChange>,
    /// A word to the payee, at most [`MEMO_BYTES_MAX`] bytes; not signed.
    pub memo: Vec<u8>,
}

impl State {
    fn has_locks(&self) -> bool {
        self.root != [0; 32] || self.locked != 0 || self.last_expiry != 0
    }

    fn has_ticks(&self) -> bool {
        self.tip != [0; 32] || self.unit != 0 || self.max != 0
    }

    fn present(&self) -> u8 {
        let locks = if self.has_locks() { WITH_LOCKS } else { 0 };
        let ticks = if self.has_ticks() { WITH_TICKS } else { 0 };
        locks | ticks
    }

    fn write(&self, w: &mut Writer) {
        w.u64(self.seq).amount(self.paid);
        if self.has_locks() {
            w.put(&self.root).amount(self.locked).time(self.last_expiry);
        }
        if self.has_ticks() {
            w.put(&self.tip).u64(self.unit).u32(self.max);
        }
    }

    fn read(present: u8, r: &mut Reader<'_>) -> Option<Self> {
        let mut state = Self {
            seq: r.u64()?,
            paid: r.amount()?,
            ..Self::default()
        };
        if present & WITH_LOCKS != 0 {
            state.root = r.array()?;
            state.locked = r.amount()?;
            state.last_expiry = r.time()?;
        }
        if present & WITH_TICKS != 0 {
            state.tip = r.array()?;
            state.unit = r.u64()?;
            state.max = r.u32()?;
        }
        // One form only: what is empty is left out.
        (state.present() == present & (WITH_LOCKS | WITH_TICKS)).then_some(state)
    }

    pub(super) fn write_whole(&self, w: &mut Writer) {
        w.u8(self.present());
        self.write(w);
    }

    pub(super) fn read_whole(r: &mut Reader<'_>) -> Option<Self> {
        let present = r.u8()?;
        (present <= WITH_LOCKS | WITH_TICKS)
            .then(|| Self::read(present, r))
            .flatten()
    }

    /// The content as bytes, for a record on disk; [`State::from_bytes`] reads it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write_whole(&mut w);
        w.finish()
    }

    /// Reads what [`State::to_bytes`] wrote, and returns what follows it.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let state = Self::read_whole(&mut r)?;
        r.is_empty().then_some(state)
    }
}

fn write_lock(w: &mut Writer, lock: &AddedLock) {
    w.u64(lock.id).amount(lock.amount).time(lock.expiry);
    w.sized(&lock.condition, CONDITION_BYTES_MAX);
    w.sized(&lock.instructions, INSTRUCTIONS_BYTES_MAX);
}

fn read_lock(r: &mut Reader<'_>) -> Option<AddedLock> {
    Some(AddedLock {
        id: r.u64()?,
        amount: r.amount()?,
        expiry: r.time()?,
        condition: r.sized(CONDITION_BYTES_MAX)?,
        instructions: r.sized(INSTRUCTIONS_BYTES_MAX)?,
    })
}

impl AddedLock {
    /// The lock as bytes, for a record on disk.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        write_lock(&mut w, self);
        w.finish()
    }

    /// Reads what [`AddedLock::to_bytes`] wrote.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut r = Reader::new(bytes);
        let lock = read_lock(&mut r)?;
        r.is_empty().then_some(lock)
    }
}

impl Update {
    pub(super) fn write(&self, w: &mut Writer) {
        let more = !self.changes.is_empty() || !self.memo.is_empty();
        let present = self.state.present() | if more { WITH_CHANGES } else { 0 };
        w.u8(KIND_UPDATE | present << 5);
        w.put(&self.channel.0).put(&self.session.0);
        self.state.write(w);
        w.put(&self.signature);
        if !more {
            return;
        }
        let changes = self.changes.get(..CHANGES_MAX).unwrap_or(&self.changes);
        w.u8(u8::try_from(changes.len()).unwrap_or(u8::MAX));
        for change in changes {
            match change {
                LockChange::Add(lock) => {
                    w.u8(1);
                    write_lock(w, lock);
                }
                LockChange::Remove(id, end) => {
                    w.u8(2).u64(*id).u8(match end {
                        LockEnd::Claimed => 0,
                        LockEnd::Released => 1,
                        LockEnd::Expired => 2,
                    });
                }
            }
        }
        w.sized(&self.memo, MEMO_BYTES_MAX);
    }

    pub(super) fn read(present: u8, r: &mut Reader<'_>) -> Option<Self> {
        let (channel, session) = (ChannelTag(r.array()?), SessionTag(r.array()?));
        let state = State::read(present, r)?;
        let signature = r.array()?;
        let (mut changes, mut memo) = (Vec::new(), Vec::new());
        if present & WITH_CHANGES != 0 {
            let count = usize::from(r.u8()?);
            if count > CHANGES_MAX {
                return None;
            }
            for _ in 0..count {
                changes.push(match r.u8()? {
                    1 => LockChange::Add(read_lock(r)?),
                    2 => LockChange::Remove(
                        r.u64()?,
                        match r.u8()? {
                            0 => LockEnd::Claimed,
                            1 => LockEnd::Released,
                            2 => LockEnd::Expired,
                            _ => return None,
                        },
                    ),
                    _ => return None,
                });
            }
            memo = r.sized(MEMO_BYTES_MAX)?;
        }
        Some(Self {
            channel,
            session,
            state,
            signature,
            changes,
            memo,
        })
    }
}

impl Restate {
    pub(super) fn write(&self, w: &mut Writer) {
        w.u8(KIND_RESTATE).put(&self.channel.0);
        w.u8(match self.whose {
            Whose::Mine => 0,
            Whose::Yours => 1,
        });
        self.state.write_whole(w);
        w.put(&self.signature);
        let locks = self.locks.get(..LOCKS_MAX).unwrap_or(&self.locks);
        w.u8(u8::try_from(locks.len()).unwrap_or(u8::MAX));
        for lock in locks {
            write_lock(w, lock);
        }
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Option<Self> {
        let channel = ChannelTag(r.array()?);
        let whose = match r.u8()? {
            0 => Whose::Mine,
            1 => Whose::Yours,
            _ => return None,
        };
        let (state, signature) = (State::read_whole(r)?, r.array()?);
        let count = usize::from(r.u8()?);
        if count > LOCKS_MAX {
            return None;
        }
        let mut locks = Vec::new();
        for _ in 0..count {
            locks.push(read_lock(r)?);
        }
        Some(Self {
            channel,
            whose,
            state,
            signature,
            locks,
        })
    }
}
