//! What the phone believes about the beacon chain, and the judgement of each update (consensus specs, altair,
//! `light-client/sync-protocol.md`, strict).
//!
//! An update is judged whole before anything changes; if it is refused, the store is as before. There is no forced update
//! unless [`Store::force_update`] is called, because whoever can silence a phone's sources could otherwise choose its head.

use thiserror::Error;

use alloy_primitives::B256;

use crate::committee::{Committee, Key, Signed};
use crate::header::Header;
use crate::merkle::verify_branch;
use crate::network::Network;
use crate::signature::{self, Participants, SignatureError};
use crate::update::{Bootstrap, Update};

/// Why a bootstrap is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BootstrapError {
    /// The header is not the one that is trusted.
    #[error("the header's root is {found}, not the trusted {trusted}")]
    WrongRoot {
        /// Root of the header that came.
        found: B256,
        /// Root that was asked for.
        trusted: B256,
    },
    /// The execution block is not proved.
    #[error("the execution block hash is not in the block body")]
    Execution,
    /// The committee is not proved.
    #[error("the sync committee is not in the state")]
    CommitteeBranch,
}

/// Why an update is refused. Each check of the specification has its own name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpdateError {
    /// Nobody signed.
    #[error("no member of the committee signed")]
    NoParticipants,
    /// The attested header's execution block is not proved.
    #[error("the attested header's execution block is not proved")]
    AttestedExecution,
    /// The signature lies in the future.
    #[error("signed at slot {signature_slot}, but the clock says slot {current_slot}")]
    Future {
        /// Slot of the signature.
        signature_slot: u64,
        /// Slot of the phone's clock.
        current_slot: u64,
    },
    /// Signed before it was attested.
    #[error("the signature is not younger than the attested header")]
    SignedBeforeAttested,
    /// Finalized after it was attested.
    #[error("the finalized header is younger than the attested header")]
    FinalizedAfterAttested,
    /// The signature is of a period whose committee is unknown.
    #[error("signed in period {signed}, but committees are known for period {known} only")]
    UnknownPeriod {
        /// Period of the signature.
        signed: u64,
        /// Period of the store.
        known: u64,
    },
    /// Nothing new.
    #[error("the update says nothing new")]
    Irrelevant,
    /// The finalized header's execution block is not proved.
    #[error("the finalized header's execution block is not proved")]
    FinalizedExecution,
    /// The finalized header is not in the attested state.
    #[error("the finalized header is not in the attested state")]
    FinalityBranch,
    /// The next committee is another one than is known already.
    #[error("the next sync committee differs from the one that is known")]
    NextCommitteeDiffers,
    /// The next committee is not in the attested state.
    #[error("the next sync committee is not in the attested state")]
    CommitteeBranch,
    /// The multiproof does not prove the absent members' keys.
    #[error("the absent members' keys are not in the committee")]
    MemberProof,
    /// Keys of absent members are neither known nor brought along.
    #[error("the key of absent member {0} is missing")]
    MissingKey(u16),
    /// The signature is wrong.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Finality of another period than the one whose next committee is unknown.
    #[error("the finalized header is not of the store's period")]
    FinalizedPeriod,
}

/// What an update changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// There is a new finalized header.
    pub finalized: bool,
    /// There is a new optimistic header.
    pub optimistic: bool,
    /// There is a new committee.
    pub committee: bool,
}

/// The light client's state (`LightClientStore`), committees in their compact form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    finalized: Header,
    current: Committee,
    next: Option<Committee>,
    best: Option<Box<Update>>,
    optimistic: Header,
    previous_participants_max: u64,
    current_participants_max: u64,
}

impl Store {
    /// Starts from a bootstrap whose header has the trusted root (`initialize_light_client_store`).
    ///
    /// # Errors
    ///
    /// Says which proof is wrong.
    pub fn bootstrap(
        network: &Network,
        trusted: B256,
        bootstrap: Bootstrap,
    ) -> Result<Self, BootstrapError> {
        let header = bootstrap.header;
        let found = header.beacon.root();
        if found != trusted {
            return Err(BootstrapError::WrongRoot { found, trusted });
        }
        if !header.verify_execution(network) {
            return Err(BootstrapError::Execution);
        }
        if !verify_branch(
            bootstrap.committee.root(),
            &bootstrap.branch,
            network.rules(header.beacon.slot).current_committee,
            header.beacon.state_root,
        ) {
            return Err(BootstrapError::CommitteeBranch);
        }
        Ok(Self {
            optimistic: header.clone(),
            finalized: header,
            current: bootstrap.committee,
            next: None,
            best: None,
            previous_participants_max: 0,
            current_participants_max: 0,
        })
    }

    /// Starts a period with two known committees, as a store that was kept says they are.
    #[must_use]
    pub const fn from_parts(
        finalized: Header,
        optimistic: Header,
        current: Committee,
        next: Option<Committee>,
        participants_max: [u64; 2],
    ) -> Self {
        let [previous_participants_max, current_participants_max] = participants_max;
        Self {
            finalized,
            current,
            next,
            best: None,
            optimistic,
            previous_participants_max,
            current_participants_max,
        }
    }

    /// Returns the newest finalized header.
    #[must_use]
    pub const fn finalized(&self) -> &Header {
        &self.finalized
    }

    /// Returns the newest header that a majority signed.
    #[must_use]
    pub const fn optimistic(&self) -> &Header {
        &self.optimistic
    }

    /// Returns the committee of the finalized header's period.
    #[must_use]
    pub const fn current_committee(&self) -> &Committee {
        &self.current
    }

    /// Returns the committee of the period after that, once known.
    #[must_use]
    pub const fn next_committee(&self) -> Option<&Committee> {
        self.next.as_ref()
    }

    /// Returns the best update that was valid but not enough to finalize anything.
    #[must_use]
    pub fn best_update(&self) -> Option<&Update> {
        self.best.as_deref()
    }

    /// Returns the most participants seen in the last period and in this one.
    #[must_use]
    pub const fn participants_max(&self) -> [u64; 2] {
        [
            self.previous_participants_max,
            self.current_participants_max,
        ]
    }

    /// Returns the participation above which a header is shown as optimistic (`get_safety_threshold`).
    #[must_use]
    pub fn safety_threshold(&self) -> u64 {
        self.previous_participants_max
            .max(self.current_participants_max)
            / 2
    }

    /// Forgets members' keys, so that the state is small; compact updates bring those that are needed.
    pub fn forget_keys(&mut self) {
        self.current.forget_keys();
        if let Some(next) = &mut self.next {
            next.forget_keys();
        }
        if let Some(best) = &mut self.best
            && let Some(next) = &mut best.next_committee
        {
            next.committee.forget_keys();
        }
    }

    /// Returns the committee that signs at a slot, if it is known.
    #[must_use]
    pub fn signer(&self, network: &Network, signature_slot: u64) -> Option<&Committee> {
        let period = network.period(self.finalized.beacon.slot);
        let signed = network.period(signature_slot);
        if signed == period {
            Some(&self.current)
        } else if signed == period.saturating_add(1) {
            self.next.as_ref()
        } else {
            None
        }
    }

    /// Judges an update (`validate_light_client_update`), changing nothing.
    ///
    /// # Errors
    ///
    /// Names the check that fails.
    pub fn verify(
        &self,
        network: &Network,
        update: &Update,
        current_slot: u64,
    ) -> Result<(), UpdateError> {
        if update.participation.count() == 0 {
            return Err(UpdateError::NoParticipants);
        }
        if !update.attested.verify_execution(network) {
            return Err(UpdateError::AttestedExecution);
        }
        self.verify_times(network, update, current_slot)?;
        self.verify_relevance(network, update)?;
        verify_finality(network, update)?;
        self.verify_next_committee(network, update)?;
        self.verify_signature(network, update)?;
        if self.would_finalize(network, update) && self.next.is_none() {
            let period = network.period(self.finalized.beacon.slot);
            if network.period(update.finalized_slot()) != period {
                return Err(UpdateError::FinalizedPeriod);
            }
        }
        Ok(())
    }

    fn verify_times(
        &self,
        network: &Network,
        update: &Update,
        current_slot: u64,
    ) -> Result<(), UpdateError> {
        let attested_slot = update.attested.beacon.slot;
        if current_slot < update.signature_slot {
            return Err(UpdateError::Future {
                signature_slot: update.signature_slot,
                current_slot,
            });
        }
        if update.signature_slot <= attested_slot {
            return Err(UpdateError::SignedBeforeAttested);
        }
        if attested_slot < update.finalized_slot() {
            return Err(UpdateError::FinalizedAfterAttested);
        }
        if self.signer(network, update.signature_slot).is_none() {
            return Err(UpdateError::UnknownPeriod {
                signed: network.period(update.signature_slot),
                known: network.period(self.finalized.beacon.slot),
            });
        }
        Ok(())
    }

    fn verify_relevance(&self, network: &Network, update: &Update) -> Result<(), UpdateError> {
        let period = network.period(self.finalized.beacon.slot);
        let brings_committee = self.next.is_none()
            && update.next_committee.is_some()
            && network.period(update.attested.beacon.slot) == period;
        if update.attested.beacon.slot <= self.finalized.beacon.slot && !brings_committee {
            return Err(UpdateError::Irrelevant);
        }
        Ok(())
    }

    fn verify_next_committee(&self, network: &Network, update: &Update) -> Result<(), UpdateError> {
        let Some(next) = &update.next_committee else {
            return Ok(());
        };
        let attested = &update.attested.beacon;
        let period = network.period(self.finalized.beacon.slot);
        if network.period(attested.slot) == period
            && self
                .next
                .as_ref()
                .is_some_and(|known| !known.is_same(&next.committee))
        {
            return Err(UpdateError::NextCommitteeDiffers);
        }
        let index = network.rules(attested.slot).next_committee;
        if !verify_branch(
            next.committee.root(),
            &next.branch,
            index,
            attested.state_root,
        ) {
            return Err(UpdateError::CommitteeBranch);
        }
        Ok(())
    }

    fn verify_signature(&self, network: &Network, update: &Update) -> Result<(), UpdateError> {
        let Some(committee) = self.signer(network, update.signature_slot) else {
            return Err(UpdateError::UnknownPeriod {
                signed: network.period(update.signature_slot),
                known: network.period(self.finalized.beacon.slot),
            });
        };
        let members = &update.members;
        if !members.keys.is_empty()
            && !committee.verify_members(
                &members.keys,
                &members.proof,
                network.preset.committee_size,
            )
        {
            return Err(UpdateError::MemberProof);
        }
        let participants = participants(committee, update)?;
        let root = network.signing_root(update.attested.beacon.root(), update.signature_slot);
        signature::verify(&participants, root, &update.signature)?;
        Ok(())
    }

    fn would_finalize(&self, network: &Network, update: &Update) -> bool {
        let brings_finalized_committee = self.next.is_none()
            && update.next_committee.is_some()
            && update.finality.is_some()
            && update.has_committee_finality(network);
        update.participation.is_supermajority()
            && (update.finalized_slot() > self.finalized.beacon.slot || brings_finalized_committee)
    }

    /// Judges an update and takes over what it says (`process_light_client_update`).
    ///
    /// # Errors
    ///
    /// Names the check that fails; the store is as before.
    pub fn apply(
        &mut self,
        network: &Network,
        update: &Update,
        current_slot: u64,
    ) -> Result<Changed, UpdateError> {
        self.verify(network, update, current_slot)?;
        let mut changed = Changed::default();
        self.learn_members(network, update);
        let is_better = self
            .best
            .as_ref()
            .is_none_or(|best| update.is_better(best, network));
        let count = update.participation.count();
        self.current_participants_max = self.current_participants_max.max(count);
        if count > self.safety_threshold()
            && update.attested.beacon.slot > self.optimistic.beacon.slot
        {
            self.optimistic = update.attested.clone();
            changed.optimistic = true;
        }
        if self.would_finalize(network, update) {
            self.advance(network, update, &mut changed);
            self.best = None;
        } else if is_better {
            self.best = Some(Box::new(update.clone()));
        }
        Ok(changed)
    }

    fn learn_members(&mut self, network: &Network, update: &Update) {
        let period = network.period(self.finalized.beacon.slot);
        let keys = update.members.keys.iter().map(|(at, key)| (*at, *key));
        if network.period(update.signature_slot) == period {
            self.current.learn(keys);
        } else if let Some(next) = &mut self.next {
            next.learn(keys);
        }
    }

    /// Takes over a judged update (`apply_light_client_update`).
    fn advance(&mut self, network: &Network, update: &Update, changed: &mut Changed) {
        let period = network.period(self.finalized.beacon.slot);
        let finalized_period = network.period(update.finalized_slot());
        let brought = update
            .next_committee
            .as_ref()
            .map(|next| next.committee.clone());
        match self.next.take() {
            None => {
                changed.committee = brought.is_some();
                self.next = brought;
            }
            Some(next) if finalized_period == period.saturating_add(1) => {
                self.current = next;
                self.next = brought;
                self.previous_participants_max = self.current_participants_max;
                self.current_participants_max = 0;
                changed.committee = true;
            }
            Some(next) => self.next = Some(next),
        }
        let finalized = update
            .finality
            .as_ref()
            .and_then(|finality| finality.header.as_ref());
        if let Some(header) = finalized
            && header.beacon.slot > self.finalized.beacon.slot
        {
            self.finalized = header.clone();
            changed.finalized = true;
            if header.beacon.slot > self.optimistic.beacon.slot {
                self.optimistic = header.clone();
                changed.optimistic = true;
            }
        }
    }

    /// Takes over the best update so far although nothing is finalized (`process_light_client_store_force_update`).
    ///
    /// Only on the user's word: after a period of silence this trusts the best update that some source has sent.
    pub fn force_update(&mut self, network: &Network, current_slot: u64) -> Changed {
        let mut changed = Changed::default();
        let timeout = self
            .finalized
            .beacon
            .slot
            .saturating_add(network.slots_per_period());
        if current_slot <= timeout {
            return changed;
        }
        let Some(mut update) = self.best.take() else {
            return changed;
        };
        if update.finalized_slot() <= self.finalized.beacon.slot {
            let branch = update
                .finality
                .take()
                .map_or_else(Vec::new, |old| old.branch);
            update.finality = Some(crate::update::Finality {
                header: Some(update.attested.clone()),
                branch,
            });
        }
        let period = network.period(self.finalized.beacon.slot);
        if self.next.is_none() && network.period(update.finalized_slot()) != period {
            return changed;
        }
        self.advance(network, &update, &mut changed);
        changed
    }
}

fn verify_finality(network: &Network, update: &Update) -> Result<(), UpdateError> {
    let Some(finality) = &update.finality else {
        return Ok(());
    };
    let root = match &finality.header {
        None => B256::ZERO,
        Some(header) => {
            if !header.verify_execution(network) {
                return Err(UpdateError::FinalizedExecution);
            }
            header.beacon.root()
        }
    };
    let attested = &update.attested.beacon;
    let index = network.rules(attested.slot).finalized_root;
    if !verify_branch(root, &finality.branch, index, attested.state_root) {
        return Err(UpdateError::FinalityBranch);
    }
    Ok(())
}

/// Chooses the shorter way to the participants' sum.
fn participants<'a>(
    committee: &'a Committee,
    update: &'a Update,
) -> Result<Participants<'a>, UpdateError> {
    let key = |position: u16| -> Result<&'a Key, UpdateError> {
        committee
            .key(position)
            .or_else(|| update.members.keys.get(&position))
            .ok_or(UpdateError::MissingKey(position))
    };
    let bits = &update.participation;
    let few = bits.count().saturating_mul(2) < bits.size();
    if few {
        let present: Result<Vec<_>, _> = bits.members(Signed::Yes).map(key).collect();
        if let Ok(present) = present {
            return Ok(Participants::Only(present));
        }
    }
    let absent = bits
        .members(Signed::No)
        .map(key)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Participants::AllBut(&committee.aggregate, absent))
}
