//! What differs from chain to chain and from fork to fork, as data: sizes, versions, epochs, generalized indices.
//!
//! A new fork is a new row in [`Fork::rules`] and a line in the schedule; no other code names forks.

use std::num::NonZeroU64;

use alloy_primitives::{B256, b256};
use sha2::{Digest, Sha256};

use crate::merkle::{GeneralizedIndex, hash_pair};

/// A fork of the beacon chain that changes what a light client sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fork {
    /// Before sync committees.
    Phase0,
    /// Sync committees.
    Altair,
    /// The merge.
    Bellatrix,
    /// Execution headers in light-client data.
    Capella,
    /// Blob gas in execution headers.
    Deneb,
    /// A deeper state.
    Electra,
    /// Only a new version.
    Fulu,
    /// Progressive containers; light-client data names an execution block hash alone.
    Gloas,
}

/// The form of a light-client header on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderForm {
    /// The beacon header alone.
    Beacon,
    /// Beacon header, execution payload header of 15 fields, branch.
    Capella,
    /// Beacon header, execution payload header of 17 fields, branch.
    Deneb,
    /// Beacon header, execution block hash, branch.
    BlockHash,
}

/// Where a fork keeps what a light client wants proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Of the finalized checkpoint's root in the state.
    pub finalized_root: GeneralizedIndex,
    /// Of the current sync committee in the state.
    pub current_committee: GeneralizedIndex,
    /// Of the next sync committee in the state.
    pub next_committee: GeneralizedIndex,
    /// Of the execution block hash in the block body; 0 where there is none.
    pub block_hash: GeneralizedIndex,
    /// The form of headers on the wire.
    pub header: HeaderForm,
}

impl Fork {
    /// Returns the fork's rules.
    #[must_use]
    pub const fn rules(self) -> Rules {
        const ALTAIR: Rules = Rules {
            finalized_root: 105,
            current_committee: 54,
            next_committee: 55,
            block_hash: 0,
            header: HeaderForm::Beacon,
        };
        const CAPELLA: Rules = Rules {
            block_hash: 412,
            header: HeaderForm::Capella,
            ..ALTAIR
        };
        const DENEB: Rules = Rules {
            block_hash: 812,
            header: HeaderForm::Deneb,
            ..ALTAIR
        };
        const ELECTRA: Rules = Rules {
            finalized_root: 169,
            current_committee: 86,
            next_committee: 87,
            ..DENEB
        };
        const GLOAS: Rules = Rules {
            finalized_root: 735,
            current_committee: 2945,
            next_committee: 2946,
            block_hash: 2856,
            header: HeaderForm::BlockHash,
        };
        match self {
            Self::Phase0 | Self::Altair | Self::Bellatrix => ALTAIR,
            Self::Capella => CAPELLA,
            Self::Deneb => DENEB,
            Self::Electra | Self::Fulu => ELECTRA,
            Self::Gloas => GLOAS,
        }
    }

    /// Returns the name as configuration files write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phase0 => "GENESIS",
            Self::Altair => "ALTAIR",
            Self::Bellatrix => "BELLATRIX",
            Self::Capella => "CAPELLA",
            Self::Deneb => "DENEB",
            Self::Electra => "ELECTRA",
            Self::Fulu => "FULU",
            Self::Gloas => "GLOAS",
        }
    }

    /// Every fork, oldest first.
    pub const ALL: [Self; 8] = [
        Self::Phase0,
        Self::Altair,
        Self::Bellatrix,
        Self::Capella,
        Self::Deneb,
        Self::Electra,
        Self::Fulu,
        Self::Gloas,
    ];
}

/// Sizes that a preset fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Members of a sync committee; a power of two, at least 8.
    pub committee_size: u16,
    /// Slots of an epoch.
    pub slots_per_epoch: NonZeroU64,
    /// Epochs of a sync-committee period.
    pub epochs_per_period: NonZeroU64,
}

const fn nonzero(value: u64) -> NonZeroU64 {
    match NonZeroU64::new(value) {
        Some(value) => value,
        None => NonZeroU64::MIN,
    }
}

impl Preset {
    /// The preset of public networks.
    pub const MAINNET: Self = Self {
        committee_size: 512,
        slots_per_epoch: nonzero(32),
        epochs_per_period: nonzero(256),
    };
    /// The preset of small test chains.
    pub const MINIMAL: Self = Self {
        committee_size: 32,
        slots_per_epoch: nonzero(8),
        epochs_per_period: nonzero(8),
    };
}

/// One beacon chain: its genesis, its sizes, its forks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Name for people.
    pub name: String,
    /// Sizes.
    pub preset: Preset,
    /// Enters every signature.
    pub genesis_validators_root: B256,
    /// Unix time of slot 0, in seconds.
    pub genesis_time: u64,
    /// Seconds of a slot.
    pub seconds_per_slot: NonZeroU64,
    /// Version and first epoch of each fork, oldest first.
    pub schedule: Vec<Activation>,
}

/// When a fork begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activation {
    /// The fork.
    pub fork: Fork,
    /// Its version, part of the signature domain.
    pub version: [u8; 4],
    /// Its first epoch; `u64::MAX` while undecided.
    pub epoch: u64,
}

/// `DOMAIN_SYNC_COMMITTEE` of the consensus specs.
const DOMAIN_SYNC_COMMITTEE: [u8; 4] = [7, 0, 0, 0];

impl Network {
    /// Returns Ethereum's main network.
    #[must_use]
    pub fn mainnet() -> Self {
        let epochs = [
            0,
            74_240,
            144_896,
            194_048,
            269_568,
            364_032,
            411_392,
            u64::MAX,
        ];
        let schedule = Fork::ALL
            .into_iter()
            .zip(epochs)
            .zip(0_u8..)
            .map(|((fork, epoch), number)| Activation {
                fork,
                version: [number, 0, 0, 0],
                epoch,
            })
            .collect();
        Self {
            name: "mainnet".to_owned(),
            preset: Preset::MAINNET,
            genesis_validators_root: b256!(
                "0x4b363db94e286120d76eb905340fdd4e54bfe9f06bf33ff6cf5ad27f511bfe95"
            ),
            genesis_time: 1_606_824_023,
            seconds_per_slot: nonzero(12),
            schedule,
        }
    }

    /// Returns the epoch of a slot.
    #[must_use]
    pub fn epoch(&self, slot: u64) -> u64 {
        slot / self.preset.slots_per_epoch
    }

    /// Returns the sync-committee period of a slot.
    #[must_use]
    pub fn period(&self, slot: u64) -> u64 {
        self.epoch(slot) / self.preset.epochs_per_period
    }

    /// Returns the slots of a period, which is also how long the specification waits before a forced update.
    #[must_use]
    pub fn slots_per_period(&self) -> u64 {
        self.preset
            .slots_per_epoch
            .get()
            .saturating_mul(self.preset.epochs_per_period.get())
    }

    /// Returns the first slot of a period.
    #[must_use]
    pub fn period_start(&self, period: u64) -> u64 {
        period.saturating_mul(self.slots_per_period())
    }

    /// Returns the slot at a Unix time in seconds, 0 before genesis.
    #[must_use]
    pub fn slot_at(&self, unix_seconds: u64) -> u64 {
        unix_seconds.saturating_sub(self.genesis_time) / self.seconds_per_slot
    }

    /// Returns the Unix time in seconds at which a slot begins.
    #[must_use]
    pub fn slot_time(&self, slot: u64) -> u64 {
        self.genesis_time
            .saturating_add(slot.saturating_mul(self.seconds_per_slot.get()))
    }

    fn activation(&self, epoch: u64) -> Option<&Activation> {
        self.schedule.iter().rfind(|line| line.epoch <= epoch)
    }

    /// Returns the fork that is active at a slot.
    #[must_use]
    pub fn fork(&self, slot: u64) -> Fork {
        self.activation(self.epoch(slot))
            .map_or(Fork::Phase0, |line| line.fork)
    }

    /// Returns the rules that hold at a slot.
    #[must_use]
    pub fn rules(&self, slot: u64) -> Rules {
        self.fork(slot).rules()
    }

    /// Returns what a sync committee signs for this header root (`compute_signing_root` with the domain of the slot
    /// before the signature's).
    #[must_use]
    pub fn signing_root(&self, header_root: B256, signature_slot: u64) -> B256 {
        let epoch = self.epoch(signature_slot.saturating_sub(1));
        let version = self
            .activation(epoch)
            .map_or([0; 4], |activation| activation.version);
        hash_pair(header_root, self.domain(version))
    }

    fn domain(&self, version: [u8; 4]) -> B256 {
        let fork_data_root = self.fork_data_root(version);
        let mut domain = [0; 32];
        for (to, from) in domain
            .iter_mut()
            .zip(DOMAIN_SYNC_COMMITTEE.iter().chain(fork_data_root.iter()))
        {
            *to = *from;
        }
        B256::from(domain)
    }

    fn fork_data_root(&self, version: [u8; 4]) -> B256 {
        let mut hasher = Sha256::new();
        hasher.update(version);
        hasher.update([0; 28]);
        hasher.update(self.genesis_validators_root);
        B256::from(<[u8; 32]>::from(hasher.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mainnet_forks_begin_where_they_did() {
        let network = Network::mainnet();
        assert_eq!(network.fork(194_048 * 32 - 1), Fork::Bellatrix);
        assert_eq!(network.fork(194_048 * 32), Fork::Capella);
        assert_eq!(network.fork(364_032 * 32), Fork::Electra);
        assert_eq!(network.fork(u64::MAX - 1), Fork::Fulu);
        // Capella's digest on mainnet, as seen on the wire.
        assert_eq!(
            network.fork_data_root([3, 0, 0, 0])[..4],
            [0xbb, 0xa4, 0xda, 0x96]
        );
        assert_eq!(network.period(7_069_376), 862);
    }
}
