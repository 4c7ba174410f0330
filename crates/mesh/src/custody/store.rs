//! What is held, what was seen, and who may hold how much here.

use std::collections::BTreeMap;

use smartmesh_crypto::{hmac_sha256_truncated, sha256};
use smartmesh_types::{Address, Duration, Instant, NodeKey, Now, UnixTime};
use smartmesh_wire::bundle::{BundleHeader, BundleId, Priority, Vaccine};
use smartmesh_wire::ids::ShortId;

use super::{CustodyConfig, PeerRef};

/// How far wall clocks may be wrong before valid mail is lost.
pub(super) const CLOCK_MARGIN: Duration = Duration::from_secs(25 * 3_600);

/// Whom a bundle is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Deposited here.
    Own,
    /// Brought by a neighbour that has proven its key.
    Key(NodeKey),
    /// Brought by anybody else; all of them share one quota.
    Strangers,
}

/// How long something lives: by age, which those who hold it count, and by wall clock with a margin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) expires: UnixTime,
    pub(super) life_secs: u32,
    /// Seconds of age at `since`.
    pub(super) age_secs: u32,
    pub(super) since: Instant,
}

impl Lifetime {
    pub(super) fn age(&self, now: Now) -> u32 {
        let held = u32::try_from(now.instant.since(self.since).as_secs()).unwrap_or(u32::MAX);
        self.age_secs.saturating_add(held)
    }

    pub(super) fn is_over(&self, now: Now) -> bool {
        self.age(now) >= self.life_secs || now.unix >= self.expires + CLOCK_MARGIN
    }
}

/// A bundle in custody.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) header: BundleHeader,
    pub(super) payload: Vec<u8>,
    pub(super) copies: u8,
    pub(super) origin: Origin,
    pub(super) lifetime: Lifetime,
    /// Carriers that have confirmed copies.
    pub(super) carriers: u32,
    /// Among which people it was taken.
    pub(super) stay: u64,
    /// Among which people copies were last given.
    pub(super) gave: Option<u64>,
    /// Who brought it, in this run of the program.
    pub(super) source: Option<PeerRef>,
}

/// A bundle that is not to be taken again.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) lifetime: Lifetime,
    /// Its header, if it was delivered here and its receipt has not been revealed yet.
    pub(super) read: Option<BundleHeader>,
}

/// A vaccine, and whether this node ever saw the bundle it is for.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) vaccine: Vaccine,
    pub(super) lifetime: Lifetime,
    pub(super) known: bool,
}

/// All that one node holds.
#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) held: BTreeMap<BundleId, Held>,
    pub(super) seen: BTreeMap<BundleId, Seen>,
    pub(super) vaccines: BTreeMap<BundleId, Kept>,
}

/// Whether a bundle may come in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// After these have gone.
    Yes(Vec<BundleId>),
    /// Nothing less urgent can go for it.
    No,
}

impl Store {
    /// Whether the bundle is here, was here, or has been read.
    pub(super) fn knows(&self, id: BundleId) -> bool {
        self.held.contains_key(&id)
            || self.seen.contains_key(&id)
            || self.vaccines.contains_key(&id)
    }

    /// The same for its short id.
    pub(super) fn knows_short(&self, short: ShortId) -> bool {
        find(&self.held, short).is_some()
            || find(&self.seen, short).is_some()
            || find(&self.vaccines, short).is_some()
    }

    /// Bytes charged to all for whom `charged` says so.
    fn bytes(&self, charged: impl Fn(Origin) -> bool) -> u64 {
        let charged = self.held.values().filter(|held| charged(held.origin));
        charged
            .map(|held| u64::from(held.header.size))
            .fold(0, u64::saturating_add)
    }

    pub(super) fn bytes_all(&self) -> u64 {
        self.bytes(|_| true)
    }

    pub(super) fn own_bytes(&self) -> u64 {
        self.bytes(|origin| origin == Origin::Own)
    }

    pub(super) fn own(&self) -> usize {
        self.held
            .values()
            .filter(|held| held.origin == Origin::Own)
            .count()
    }

    /// Whether own mail of this size fits beside the other own mail.
    pub(super) fn has_room_for_own(&self, size: u64, config: &CustodyConfig) -> bool {
        self.own() < config.own_max && self.own_bytes().saturating_add(size) <= config.own_bytes_max
    }

    /// Which bundles must go for a newcomer. Own mail never does; a more urgent one never does for a less urgent one. Over
    /// the depositor's quota, the depositor's least urgent and then oldest go. Over the total, the least urgent of all go,
    /// among those the ones of the depositor with most bytes, oldest first.
    pub(super) fn room_for(
        &self,
        priority: Priority,
        size: u32,
        origin: Origin,
        config: &CustodyConfig,
        now: Now,
    ) -> Room {
        let mut carried: Vec<_> = self
            .held
            .iter()
            .filter(|(_, held)| held.origin != Origin::Own)
            .map(|(id, held)| {
                (
                    held.header.priority,
                    held.lifetime.age(now),
                    *id,
                    held.origin,
                    u64::from(held.header.size),
                )
            })
            .collect();
        carried.sort_unstable();
        let mut loads: BTreeMap<Origin, u64> = BTreeMap::new();
        for (.., origin, size) in &carried {
            let load = loads.entry(*origin).or_default();
            *load = load.saturating_add(*size);
        }
        let size = u64::from(size);
        let mut gone = Vec::new();
        loop {
            let own_load = loads
                .get(&origin)
                .copied()
                .unwrap_or(0)
                .saturating_add(size);
            let all: u64 = loads.values().copied().fold(size, u64::saturating_add);
            let group = if own_load > config.depositor_bytes_max {
                Some(origin)
            } else if all > config.bytes_max || carried.len() >= config.bundles_max {
                let worst = carried.last().map(|(priority, ..)| *priority);
                let of_worst = carried
                    .iter()
                    .filter(|(priority, ..)| Some(*priority) == worst);
                of_worst
                    .map(|(.., origin, _)| *origin)
                    .max_by_key(|origin| loads.get(origin).copied())
            } else {
                return Room::Yes(gone);
            };
            let victim = carried
                .iter()
                .rposition(|(.., origin, _)| Some(*origin) == group);
            let Some(victim) = victim.map(|index| carried.remove(index)) else {
                return Room::No;
            };
            let (victim_priority, _, id, victim_origin, victim_size) = victim;
            if victim_priority < priority {
                return Room::No;
            }
            if let Some(load) = loads.get_mut(&victim_origin) {
                *load = load.saturating_sub(victim_size);
            }
            gone.push(id);
        }
    }

    /// Which name is forgotten when too many were seen: the one that ends first.
    pub(super) fn least_missed(&self, config: &CustodyConfig) -> Option<BundleId> {
        if self.seen.len() <= config.seen_max {
            return None;
        }
        let first = self
            .seen
            .iter()
            .min_by_key(|(_, seen)| seen.lifetime.expires)?;
        Some(*first.0)
    }

    /// Which vaccine is forgotten when there are too many: one for a bundle never seen here, then the one that ends first.
    pub(super) fn least_useful(&self, config: &CustodyConfig) -> Option<BundleId> {
        if self.vaccines.len() <= config.vaccines_max {
            return None;
        }
        let first = self
            .vaccines
            .iter()
            .min_by_key(|(_, kept)| (kept.known, kept.vaccine.expires))?;
        Some(*first.0)
    }
}

/// The entry with this short id.
pub(super) fn find<T>(map: &BTreeMap<BundleId, T>, short: ShortId) -> Option<(BundleId, &T)> {
    let mut first = [0; 32];
    for (to, from) in first.iter_mut().zip(short.0) {
        *to = from;
    }
    let (id, value) = map.range(BundleId(first)..).next()?;
    (id.short() == short).then_some((*id, value))
}

/// The hash of what a vaccine does not repeat of the header.
pub(super) fn core_of(header: &BundleHeader) -> [u8; 32] {
    sha256(&[
        b"smartmesh bundle core\0",
        &[header.priority.code()],
        &header.nonce,
        &header.hint,
        &header.size.to_be_bytes(),
        &header.payload_hash,
    ])
}

/// A bundle's name from the parts that a header and a vaccine have in common.
fn id_from(core: &[u8; 32], commitment: &[u8; 32], expires: UnixTime, life_secs: u32) -> BundleId {
    let expires = expires.as_secs().to_be_bytes();
    BundleId(sha256(&[
        b"smartmesh bundle\0",
        core,
        commitment,
        &expires,
        &life_secs.to_be_bytes(),
    ]))
}

/// A bundle's name.
pub(super) fn id_of(header: &BundleHeader) -> BundleId {
    id_from(
        &core_of(header),
        &header.commitment,
        header.expires,
        header.life_secs,
    )
}

/// The name of the bundle that a vaccine is for.
pub(super) fn id_of_vaccine(vaccine: &Vaccine) -> BundleId {
    id_from(
        &vaccine.core,
        &commitment_of(&vaccine.receipt),
        vaccine.expires,
        vaccine.life_secs,
    )
}

/// What commits to a receipt.
pub(super) fn commitment_of(receipt: &[u8; 32]) -> [u8; 32] {
    sha256(&[receipt])
}

/// How a reader recognises its mail.
pub(super) fn hint_for(address: Address, nonce: &[u8; 8]) -> [u8; 16] {
    hmac_sha256_truncated(&address.octets(), &[nonce])
}
