//! What a light client is given: a bootstrap, and updates of one normalised shape.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use thiserror::Error;

use crate::committee::{Committee, Key, Participation};
use crate::header::Header;
use crate::network::Network;

/// A sync committee's signature (96 bytes, compressed).
pub type Signature = [u8; 96];

/// A header with the sync committee of its period (consensus specs, altair, `LightClientBootstrap`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// The header whose root the user trusts.
    pub header: Header,
    /// The sync committee in its state.
    pub committee: Committee,
    /// Proof of the committee under the header's state root.
    pub branch: Vec<B256>,
}

/// The next sync committee with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextCommittee {
    /// The committee.
    pub committee: Committee,
    /// Proof under the attested header's state root.
    pub branch: Vec<B256>,
}

/// The finalized header with its proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finality {
    /// The finalized header; `None` while the chain's finalized checkpoint is still genesis.
    pub header: Option<Header>,
    /// Proof under the attested header's state root.
    pub branch: Vec<B256>,
}

/// A signed header and what its state says (consensus specs, altair, `LightClientUpdate`).
///
/// A finality update is one without a next committee, an optimistic update one without finality too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The header that the committee signed.
    pub attested: Header,
    /// The committee of the following period.
    pub next_committee: Option<NextCommittee>,
    /// The finalized header.
    pub finality: Option<Finality>,
    /// Who signed.
    pub participation: Participation,
    /// The signature.
    pub signature: Signature,
    /// Slot of the block that carried the signature.
    pub signature_slot: u64,
    /// Keys of absent members that the receiver may not know, with their multiproof; empty in the full form.
    pub members: Members,
}

/// Keys of committee members, proved by a multiproof under the committee's keys root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Keys by position.
    pub keys: BTreeMap<u16, Key>,
    /// Nodes of the multiproof, greatest generalized index first.
    pub proof: Vec<B256>,
}

impl Update {
    /// Returns the finalized slot, 0 if there is none.
    #[must_use]
    pub fn finalized_slot(&self) -> u64 {
        self.finality
            .as_ref()
            .and_then(|finality| finality.header.as_ref())
            .map_or(0, |header| header.beacon.slot)
    }

    /// Judges whether this update is to be preferred to another one (`is_better_update`).
    #[must_use]
    pub fn is_better(&self, old: &Self, network: &Network) -> bool {
        let new_count = self.participation.count();
        let old_count = old.participation.count();
        let new_super = self.participation.is_supermajority();
        if new_super != old.participation.is_supermajority() {
            return new_super;
        }
        if !new_super && new_count != old_count {
            return new_count > old_count;
        }
        let relevant = self.has_relevant_committee(network);
        if relevant != old.has_relevant_committee(network) {
            return relevant;
        }
        if self.finality.is_some() != old.finality.is_some() {
            return self.finality.is_some();
        }
        if self.finality.is_some() {
            let same_period = self.has_committee_finality(network);
            if same_period != old.has_committee_finality(network) {
                return same_period;
            }
        }
        if new_count != old_count {
            return new_count > old_count;
        }
        if self.attested.beacon.slot != old.attested.beacon.slot {
            return self.attested.beacon.slot < old.attested.beacon.slot;
        }
        self.signature_slot < old.signature_slot
    }

    fn has_relevant_committee(&self, network: &Network) -> bool {
        self.next_committee.is_some()
            && network.period(self.attested.beacon.slot) == network.period(self.signature_slot)
    }

    /// Returns whether finalized and attested header lie in one period.
    pub(crate) fn has_committee_finality(&self, network: &Network) -> bool {
        network.period(self.finalized_slot()) == network.period(self.attested.beacon.slot)
    }
}

/// Why bytes or JSON are no light-client data of this network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormError {
    /// The bytes end too early.
    #[error("the data end too early")]
    Truncated,
    /// There are bytes after the end.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// A number is too large or not in its shortest form.
    #[error("a number is out of range or not in its shortest form")]
    Number,
    /// An SSZ offset does not point to where its part begins.
    #[error("an SSZ offset points to the wrong place")]
    Offset,
    /// Extra data longer than 32 bytes.
    #[error("the extra data are {0} bytes long, at most 32 are allowed")]
    ExtraData(usize),
    /// A field is missing from JSON or of the wrong shape.
    #[error("`{0}` is missing or malformed")]
    Field(&'static str),
    /// A list has the wrong length.
    #[error("`{field}` has {found} items instead of {expected}")]
    Length {
        /// Name of the list.
        field: &'static str,
        /// Items found.
        found: usize,
        /// Items the network and fork prescribe.
        expected: usize,
    },
    /// A header carries execution data that its fork does not have.
    #[error("the header at slot {0} carries execution data that its fork does not have")]
    UnexpectedExecution(u64),
    /// A branch normalised for a later fork does not begin with zero nodes.
    #[error("the execution branch at slot {0} is longer than its fork's")]
    LongBranch(u64),
    /// A finalized header is given without a proof.
    #[error("a finalized header comes without its branch")]
    FinalityWithoutBranch,
    /// A finalized header at slot 0 must be empty.
    #[error("the finalized header at genesis is not empty")]
    GenesisHeader,
    /// A next committee is given without a proof.
    #[error("a next sync committee comes without its branch")]
    CommitteeWithoutBranch,
    /// More data than a source may send.
    #[error("{0} bytes are more than a source may send")]
    TooLong(usize),
}
