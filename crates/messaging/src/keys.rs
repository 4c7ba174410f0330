//! This node's own prekeys: which are fresh, which were given away, and when the fallback is replaced.

use std::collections::VecDeque;

use smartmesh_crypto::{
    Identity, RatchetAccount, SIGNATURE_BYTES, SignatureError, verify_signature,
};
use smartmesh_types::{Duration, UnixTime};
use smartmesh_wire::invite::{BundleError, ONE_TIME_KEYS_MAX, PrekeyBundle};

/// What the signature of a prekey bundle is for.
const DOMAIN: &str = "smartmesh prekeys v1";
/// How many one-time prekeys are made at once, when fewer than [`FRESH_MIN`] are left.
const FRESH_BATCH: usize = 20;
const FRESH_MIN: usize = ONE_TIME_KEYS_MAX;
/// The most one-time prekeys given away and not used: beyond, the oldest is forgotten, and who holds it is answered with
/// a new session. Keeps the account's record small when strangers only collect keys.
const GIVEN_MAX: usize = 256;

/// The account and its prekeys.
#[derive(Debug)]
pub(crate) struct OwnKeys {
    pub(crate) account: RatchetAccount,
    /// One-time prekeys that nobody has.
    pub(crate) fresh: Vec<[u8; 32]>,
    /// One-time prekeys given away, oldest first.
    pub(crate) given: VecDeque<[u8; 32]>,
    pub(crate) fallback: [u8; 32],
    pub(crate) fallback_since: UnixTime,
    pub(crate) rotation_secs: u64,
}

/// How many one-time prekeys a bundle gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OneTime {
    /// None: for many readers.
    None,
    /// One, for one reader.
    One,
    /// Two: an invite that is shown to somebody and tried again.
    Two,
}

impl OwnKeys {
    pub(crate) fn generate(now: UnixTime, rotation: Duration) -> Self {
        let mut account = RatchetAccount::generate();
        let fallback = account.rotate_fallback_key();
        Self {
            account,
            fresh: Vec::new(),
            given: VecDeque::new(),
            fallback,
            fallback_since: now,
            rotation_secs: rotation.as_secs(),
        }
    }

    /// Replaces the fallback if it is old, or if the clock was set back behind it by more than a rotation.
    pub(crate) fn rotate(&mut self, now: UnixTime, rotation: Duration) -> Rotated {
        let age = now.as_secs().saturating_sub(self.fallback_since.as_secs());
        let ahead = self.fallback_since.as_secs().saturating_sub(now.as_secs());
        if age < rotation.as_secs() && ahead < rotation.as_secs() {
            return Rotated::No;
        }
        self.fallback = self.account.rotate_fallback_key();
        self.fallback_since = now;
        self.rotation_secs = rotation.as_secs();
        Rotated::Yes
    }

    /// Makes a signed bundle and marks its one-time prekeys as given. Store the account before the bundle leaves.
    ///
    /// # Errors
    /// If the name is too long.
    pub(crate) fn bundle(
        &mut self,
        identity: &Identity,
        name: &str,
        one_time: OneTime,
    ) -> Result<PrekeyBundle, BundleError> {
        let mut bundle = PrekeyBundle {
            node_key: identity.key(),
            seal_key: identity.end_to_end_key().public(),
            ratchet_key: self.account.identity_key(),
            fallback: self.fallback,
            one_time: Vec::new(),
            name: name.to_owned(),
            // The fallback is current for one rotation and kept for another; carried mail may take half of that.
            expires: self.fallback_since
                + Duration::from_secs(self.rotation_secs.saturating_mul(3) / 2),
            signature: [0; SIGNATURE_BYTES],
        };
        bundle.signed_bytes()?;
        bundle.one_time = self.take(match one_time {
            OneTime::None => 0,
            OneTime::One => 1,
            OneTime::Two => 2,
        });
        bundle.signature = identity.sign(DOMAIN, &bundle.signed_bytes()?);
        Ok(bundle)
    }

    fn take(&mut self, count: usize) -> Vec<[u8; 32]> {
        if count > 0 && self.fresh.len() < FRESH_MIN {
            self.fresh
                .extend(self.account.generate_one_time_keys(FRESH_BATCH));
        }
        let taken: Vec<_> = self.fresh.drain(..count.min(self.fresh.len())).collect();
        self.given.extend(taken.iter().copied());
        while self.given.len() > GIVEN_MAX {
            if let Some(key) = self.given.pop_front() {
                self.account.forget_one_time_key(key);
            }
        }
        taken
    }
}

/// Whether the fallback was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotated {
    Yes,
    No,
}

/// Judges a bundle's signature.
///
/// # Errors
/// If it is not the named node's.
pub(crate) fn verify_bundle(bundle: &PrekeyBundle) -> Result<(), SignatureError> {
    let signed = bundle.signed_bytes().map_err(|_| SignatureError)?;
    verify_signature(&bundle.node_key, DOMAIN, &signed, &bundle.signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[test]
    fn bundles_are_signed_and_one_time_prekeys_given_once() {
        let identity = Identity::from_secret([1; 32]);
        let mut keys = OwnKeys::generate(UnixTime::from_secs(1_000), DAY);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..30 {
            let bundle = keys.bundle(&identity, "Ana", OneTime::Two).unwrap();
            assert_eq!(verify_bundle(&bundle), Ok(()));
            assert!(bundle.one_time.iter().all(|key| seen.insert(*key)));
        }
        let mut forged = keys.bundle(&identity, "Ana", OneTime::One).unwrap();
        forged.fallback = [7; 32];
        assert_eq!(verify_bundle(&forged), Err(SignatureError));
        assert!(
            keys.bundle(&identity, &"x".repeat(65), OneTime::None)
                .is_err()
        );
    }

    #[test]
    fn who_only_collects_prekeys_makes_the_account_no_larger() {
        let identity = Identity::from_secret([1; 32]);
        let mut keys = OwnKeys::generate(UnixTime::default(), DAY);
        for _ in 0..1_000 {
            keys.bundle(&identity, "", OneTime::One).unwrap();
        }
        assert!(keys.account.one_time_keys_kept() <= GIVEN_MAX + FRESH_BATCH + FRESH_MIN);
    }

    #[test]
    fn the_fallback_is_replaced_by_age_and_after_a_clock_set_back() {
        let at = UnixTime::from_secs;
        let mut keys = OwnKeys::generate(at(10 * 86_400), DAY);
        let first = keys.fallback;
        assert_eq!(keys.rotate(at(10 * 86_400 + 5), DAY), Rotated::No);
        assert_eq!(keys.rotate(at(11 * 86_400), DAY), Rotated::Yes);
        assert_ne!(keys.fallback, first);
        assert_eq!(keys.rotate(at(5 * 86_400), DAY), Rotated::Yes);
        assert_eq!(keys.fallback_since, at(5 * 86_400));
    }
}
