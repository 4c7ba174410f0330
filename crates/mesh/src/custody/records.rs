//! Facts on disk.
//!
//! A key is one letter and the bundle's id (32 bytes); a value begins with its version (1 byte):
//!
//! ```text
//! p  header 106 | payload                                               of a held bundle, or of a delivered one not yet revealed
//! s  copies 1 | carriers 4 | age_secs 4 | saved at 8 | origin 0..=2 1 | key 32 if origin is 1      makes p a held bundle
//! x  expires 8 | life_secs 4 | age_secs 4 | saved at 8 | header 106 if delivered and not revealed   seen
//! v  known 1 | age_secs 4 | saved at 8 | vaccine 76
//! ```
//!
//! What a wall clock says has passed while the program was off counts as age only beyond the clock margin: a clock that was
//! set wrong meanwhile must not end mail that is valid.

use std::collections::BTreeMap;

use smartmesh_crypto::Seed;
use smartmesh_types::{NodeKey, Now, UnixTime};
use smartmesh_wire::bundle::{BundleHeader, BundleId, HEADER_BYTES, VACCINE_BYTES, Vaccine};

use super::store::{CLOCK_MARGIN, Held, Kept, Lifetime, Origin, Seen, id_of, id_of_vaccine};
use super::{Custody, CustodyConfig, CustodyOutput, Record, RestoreError};

const VERSION: u8 = 1;
const PAYLOAD: u8 = b'p';
const STATE: u8 = b's';
const SEEN: u8 = b'x';
const VACCINE: u8 = b'v';

fn record(kind: u8, id: BundleId, parts: &[&[u8]]) -> Record {
    let mut value = vec![VERSION];
    for part in parts {
        value.extend_from_slice(part);
    }
    Record {
        value: Some(value),
        ..gone(kind, id)
    }
}

fn gone(kind: u8, id: BundleId) -> Record {
    let mut key = vec![kind];
    key.extend_from_slice(&id.0);
    Record { key, value: None }
}

pub(super) fn payload(id: BundleId, header: &BundleHeader, payload: &[u8]) -> Record {
    record(PAYLOAD, id, &[&header.encode(), payload])
}

pub(super) fn payload_gone(id: BundleId) -> Record {
    gone(PAYLOAD, id)
}

pub(super) fn state(id: BundleId, held: &Held, now: Now) -> Record {
    let age = held.lifetime.age(now).to_be_bytes();
    let saved = now.unix.as_secs().to_be_bytes();
    let carriers = held.carriers.to_be_bytes();
    let (origin, key): (u8, &[u8]) = match &held.origin {
        Origin::Own => (0, &[]),
        Origin::Key(key) => (1, &key.0),
        Origin::Strangers => (2, &[]),
    };
    record(
        STATE,
        id,
        &[&[held.copies], &carriers, &age, &saved, &[origin], key],
    )
}

pub(super) fn state_gone(id: BundleId) -> Record {
    gone(STATE, id)
}

pub(super) fn seen(id: BundleId, seen: &Seen, now: Now) -> Record {
    let lifetime = &seen.lifetime;
    let header = seen.read.as_ref().map(BundleHeader::encode);
    let parts: [&[u8]; 5] = [
        &lifetime.expires.as_secs().to_be_bytes(),
        &lifetime.life_secs.to_be_bytes(),
        &lifetime.age(now).to_be_bytes(),
        &now.unix.as_secs().to_be_bytes(),
        header.as_ref().map_or(&[], |header| &header[..]),
    ];
    record(SEEN, id, &parts)
}

pub(super) fn seen_gone(id: BundleId) -> Record {
    gone(SEEN, id)
}

pub(super) fn vaccine(id: BundleId, kept: &Kept, now: Now) -> Record {
    let age = kept.lifetime.age(now).to_be_bytes();
    let saved = now.unix.as_secs().to_be_bytes();
    record(
        VACCINE,
        id,
        &[
            &[u8::from(kept.known)],
            &age,
            &saved,
            &kept.vaccine.encode(),
        ],
    )
}

pub(super) fn vaccine_gone(id: BundleId) -> Record {
    gone(VACCINE, id)
}

/// Splits a fixed array off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

/// The lifetime of something that had this age when it was saved.
fn lifetime(expires: UnixTime, life_secs: u32, age: [u8; 4], saved: [u8; 8], now: Now) -> Lifetime {
    let off = now
        .unix
        .as_secs()
        .saturating_sub(u64::from_be_bytes(saved))
        .saturating_sub(CLOCK_MARGIN.as_secs());
    let age_secs = u32::from_be_bytes(age).saturating_add(u32::try_from(off).unwrap_or(u32::MAX));
    Lifetime {
        expires,
        life_secs,
        age_secs,
        since: now.instant,
    }
}

/// What a state record says.
struct State {
    copies: u8,
    carriers: u32,
    age: [u8; 4],
    saved: [u8; 8],
    origin: Origin,
}

fn parse_payload(bytes: &[u8]) -> Option<(BundleHeader, Vec<u8>)> {
    let (header, payload) = bytes.split_at_checked(HEADER_BYTES)?;
    let header = BundleHeader::decode(header).ok()?;
    (usize::try_from(header.size) == Ok(payload.len())).then(|| (header, payload.to_vec()))
}

fn parse_state(mut bytes: &[u8]) -> Option<State> {
    let bytes = &mut bytes;
    let [copies] = take(bytes)?;
    let carriers = u32::from_be_bytes(take(bytes)?);
    let (age, saved) = (take(bytes)?, take(bytes)?);
    let [origin] = take(bytes)?;
    let origin = match origin {
        0 => Origin::Own,
        1 => Origin::Key(NodeKey(take(bytes)?)),
        2 => Origin::Strangers,
        _ => return None,
    };
    bytes.is_empty().then_some(State {
        copies,
        carriers,
        age,
        saved,
        origin,
    })
}

fn parse_seen(mut bytes: &[u8], now: Now) -> Option<Seen> {
    let bytes = &mut bytes;
    let expires = UnixTime::from_secs(u64::from_be_bytes(take(bytes)?));
    let life_secs = u32::from_be_bytes(take(bytes)?);
    let (age, saved) = (take(bytes)?, take(bytes)?);
    let read = match bytes.len() {
        0 => None,
        HEADER_BYTES => Some(BundleHeader::decode(bytes).ok()?),
        _ => return None,
    };
    Some(Seen {
        lifetime: lifetime(expires, life_secs, age, saved, now),
        read,
    })
}

fn parse_vaccine(mut bytes: &[u8], now: Now) -> Option<Kept> {
    let bytes = &mut bytes;
    let [known] = take(bytes)?;
    let (age, saved) = (take(bytes)?, take(bytes)?);
    if bytes.len() != VACCINE_BYTES {
        return None;
    }
    let vaccine = Vaccine::decode(bytes).ok()?;
    let lifetime = lifetime(vaccine.expires, vaccine.life_secs, age, saved, now);
    Some(Kept {
        vaccine,
        lifetime,
        known: known != 0,
    })
}

/// Records by kind, before they are put together.
#[derive(Default)]
struct Found {
    payloads: BTreeMap<BundleId, (BundleHeader, Vec<u8>)>,
    states: BTreeMap<BundleId, State>,
}

impl Custody {
    /// Custody of what the records say. Mail that was delivered and whose receipt was not revealed is delivered once more.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn restore(
        config: CustodyConfig,
        seed: &Seed,
        records: impl IntoIterator<Item = Record>,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let mut custody = Self::new(config, seed, now);
        let mut found = Found::default();
        for Record { key, value } in records {
            if let Some(value) = value {
                custody
                    .read(&key, &value, &mut found, now)
                    .ok_or(RestoreError::Record { key })?;
            }
        }
        custody.assemble(found, now);
        if !custody.store.held.is_empty() {
            custody.offer_at = now.instant + custody.config.gossip_interval;
        }
        custody.sweep();
        custody.sweep_at = now.instant + custody.config.sweep_interval;
        Ok(custody)
    }

    fn read(&mut self, mut key: &[u8], value: &[u8], found: &mut Found, now: Now) -> Option<()> {
        let [kind] = take(&mut key)?;
        let id = BundleId(take(&mut key)?);
        let (version, value) = value.split_first()?;
        if *version != VERSION || !key.is_empty() {
            return None;
        }
        match kind {
            PAYLOAD => {
                let payload = parse_payload(value).filter(|(header, _)| id_of(header) == id)?;
                found.payloads.insert(id, payload);
            }
            STATE => {
                found.states.insert(id, parse_state(value)?);
            }
            SEEN => {
                self.store.seen.insert(id, parse_seen(value, now)?);
            }
            VACCINE => {
                let kept =
                    parse_vaccine(value, now).filter(|kept| id_of_vaccine(&kept.vaccine) == id)?;
                self.store.vaccines.insert(id, kept);
            }
            _ => return None,
        }
        Some(())
    }

    /// A crash may have come between two records of one change: vaccine before the rest, seen before the delivery, payload
    /// before the state. What is left over goes.
    fn assemble(&mut self, found: Found, now: Now) {
        let Found {
            mut payloads,
            states,
        } = found;
        for (id, state) in states {
            let payload = payloads.remove(&id);
            let over = self.store.vaccines.contains_key(&id) || self.store.seen.contains_key(&id);
            let Some((header, payload)) = payload.filter(|_| !over) else {
                self.persist(state_gone(id));
                self.persist(payload_gone(id));
                continue;
            };
            let lifetime = lifetime(
                header.expires,
                header.life_secs,
                state.age,
                state.saved,
                now,
            );
            let State {
                copies,
                carriers,
                origin,
                ..
            } = state;
            self.store.held.insert(
                id,
                Held {
                    header,
                    payload,
                    copies,
                    origin,
                    lifetime,
                    carriers,
                    stay: self.company.stay(),
                    gave: None,
                    source: None,
                },
            );
        }
        let cleared: Vec<_> = self
            .store
            .seen
            .keys()
            .filter(|id| self.store.vaccines.contains_key(id))
            .copied()
            .collect();
        for id in cleared {
            self.forget_seen(id);
        }
        for (id, (_, payload)) in payloads {
            let unread = self
                .store
                .seen
                .get(&id)
                .is_some_and(|seen| seen.read.is_some() && !seen.lifetime.is_over(now));
            if unread {
                self.unread.push_back(id);
                self.counters.delivered = self.counters.delivered.saturating_add(1);
                self.outputs.push_back(CustodyOutput::Delivered { payload });
            } else {
                self.persist(payload_gone(id));
            }
        }
    }
}
