//! The Double Ratchet with prekeys, as Olm specifies it (Olm: "A Cryptographic Ratchet", §"Initial setup" and
//! §"Advancing the root key"), by `vodozemac`.
//!
//! `vodozemac` draws its own entropy from the system for every key it makes; there is no way to seed it. Nothing that this
//! module returns besides key and ciphertext bytes depends on it, so a caller that takes no decision by comparing those
//! bytes repeats its decisions from its own seed.
//!
//! What is stored holds secret keys in the clear: the shell encrypts it at rest.

use thiserror::Error;
use vodozemac::Curve25519PublicKey;
use vodozemac::olm::{Account, OlmMessage, Session, SessionConfig};
use zeroize::Zeroizing;

use crate::hash::sha256;

/// Bytes of each public key here (X25519, RFC 7748).
pub const RATCHET_KEY_BYTES: usize = 32;

/// Why a ratchet operation did not go on. Says little on purpose.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RatchetError {
    /// The bytes are not an Olm message.
    #[error("not a ratchet message")]
    Malformed,
    /// A public key has small order: the shared secret would not be secret.
    #[error("a public key is not usable")]
    WeakKey,
    /// The message names a prekey that is used up, forgotten or never was ours.
    #[error("the prekey is unknown")]
    UnknownPrekey,
    /// The message does not open here: forged, already opened, or from a state this side does not have.
    #[error("the message does not open in this session")]
    Unreadable,
    /// Stored bytes are not what this module wrote.
    #[error("the stored ratchet state is damaged")]
    Damaged,
}

/// This device's long-term ratchet identity and the private halves of its prekeys.
pub struct RatchetAccount(Account);

/// One Double Ratchet with one peer.
pub struct RatchetSession(Session);

/// A parsed ratchet message.
pub struct RatchetMessage(OlmMessage);

/// Which of Olm's two message forms a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RatchetKind {
    /// Carries what is needed to set the session up; used until the peer has answered once.
    First,
    /// Of an established session.
    Next,
}

impl RatchetKind {
    /// The form's byte on the air.
    pub const fn code(self) -> u8 {
        match self {
            Self::First => 0,
            Self::Next => 1,
        }
    }
}

impl RatchetMessage {
    /// Parses a message of the form that `code` names.
    ///
    /// # Errors
    /// If the code or the bytes are none of Olm's.
    pub fn parse(code: u8, bytes: &[u8]) -> Result<Self, RatchetError> {
        OlmMessage::from_parts(usize::from(code), bytes)
            .map(Self)
            .map_err(|_| RatchetError::Malformed)
    }

    /// The message's form.
    pub fn kind(&self) -> RatchetKind {
        match &self.0 {
            OlmMessage::PreKey(_) => RatchetKind::First,
            OlmMessage::Normal(_) => RatchetKind::Next,
        }
    }

    /// The session this message sets up, for [`RatchetKind::First`].
    pub fn session_id(&self) -> Option<[u8; 32]> {
        match &self.0 {
            OlmMessage::PreKey(first) => Some(session_id(&first.session_keys())),
            OlmMessage::Normal(_) => None,
        }
    }

    /// The message's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_parts().1
    }
}

impl RatchetAccount {
    /// A new account with a fresh identity key and no prekeys.
    pub fn generate() -> Self {
        Self(Account::new())
    }

    /// The long-term X25519 key that peers need to start a session.
    pub fn identity_key(&self) -> [u8; 32] {
        self.0.curve25519_key().to_bytes()
    }

    /// Makes one-time prekeys and returns their public halves; each serves one session.
    pub fn generate_one_time_keys(&mut self, count: usize) -> Vec<[u8; 32]> {
        let made = self.0.generate_one_time_keys(count);
        self.0.mark_keys_as_published();
        made.created.iter().map(|key| key.to_bytes()).collect()
    }

    /// How many private halves of one-time prekeys are kept.
    pub fn one_time_keys_kept(&self) -> usize {
        self.0.stored_one_time_key_count()
    }

    /// Forgets a one-time prekey that nobody used.
    pub fn forget_one_time_key(&mut self, key: [u8; 32]) {
        // The private half is wiped when the returned key is dropped.
        let _ = self
            .0
            .remove_one_time_key(Curve25519PublicKey::from_bytes(key));
    }

    /// Makes a new fallback prekey, which serves any number of sessions, and returns its public half. The one before
    /// stays usable; the one before that is forgotten.
    pub fn rotate_fallback_key(&mut self) -> [u8; 32] {
        self.0.generate_fallback_key();
        let key = self
            .0
            .fallback_key()
            .values()
            .next()
            .map(|key| key.to_bytes())
            .expect("a fallback key was made just now and is not published yet");
        self.0.mark_keys_as_published();
        key
    }

    /// Starts a session with a peer by its identity key and one of its prekeys.
    ///
    /// # Errors
    /// If one of the keys has small order.
    pub fn start_session(
        &self,
        identity: &[u8; 32],
        prekey: &[u8; 32],
    ) -> Result<RatchetSession, RatchetError> {
        self.0
            .create_outbound_session(
                SessionConfig::version_1(),
                Curve25519PublicKey::from_bytes(*identity),
                Curve25519PublicKey::from_bytes(*prekey),
            )
            .map(RatchetSession)
            .map_err(|_| RatchetError::WeakKey)
    }

    /// Accepts the session that a peer's first message sets up, and opens the message. A one-time prekey is used up by
    /// it; a failure changes nothing.
    ///
    /// # Errors
    /// If the message is not of the first form, is not from this identity, names an unknown prekey or does not open.
    pub fn accept_session(
        &mut self,
        identity: &[u8; 32],
        message: &RatchetMessage,
    ) -> Result<(RatchetSession, Zeroizing<Vec<u8>>), RatchetError> {
        use vodozemac::olm::SessionCreationError as Olm;
        let OlmMessage::PreKey(first) = &message.0 else {
            return Err(RatchetError::Malformed);
        };
        self.0
            .create_inbound_session(
                SessionConfig::version_1(),
                Curve25519PublicKey::from_bytes(*identity),
                first,
            )
            .map(|made| (RatchetSession(made.session), Zeroizing::new(made.plaintext)))
            .map_err(|error| match error {
                Olm::MissingOneTimeKey(_) => RatchetError::UnknownPrekey,
                Olm::NonContributoryKey => RatchetError::WeakKey,
                Olm::MismatchedIdentityKey(..)
                | Olm::MismatchedSessionConfig { .. }
                | Olm::Decryption(_) => RatchetError::Unreadable,
            })
    }

    /// The account as bytes to store; secret.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let pickle = serde_json::to_vec(&self.0.pickle());
        Zeroizing::new(pickle.expect("the account's parts are plain numbers, lists and maps"))
    }

    /// The account that [`Self::to_stored`] wrote.
    ///
    /// # Errors
    /// If the bytes are damaged.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, RatchetError> {
        serde_json::from_slice(bytes)
            .map(|pickle| Self(Account::from_pickle(pickle)))
            .map_err(|_| RatchetError::Damaged)
    }
}

impl RatchetSession {
    /// Names the session the same on both sides: SHA-256 over the three public keys it was set up with.
    pub fn id(&self) -> [u8; 32] {
        session_id(&self.0.session_keys())
    }

    /// Encrypts a message and moves the ratchet on. Store the session before the message leaves: a message key must
    /// never serve twice.
    ///
    /// # Errors
    /// If the peer's ratchet key has small order.
    pub fn encrypt(&mut self, text: &[u8]) -> Result<RatchetMessage, RatchetError> {
        self.0
            .encrypt(text)
            .map(RatchetMessage)
            .map_err(|_| RatchetError::WeakKey)
    }

    /// Opens a message and moves the ratchet on; a failure changes nothing. Up to 40 skipped messages of each of the
    /// last 5 chains can still be opened later.
    ///
    /// # Errors
    /// If the message is forged, was opened before, or is of a state this side does not have.
    pub fn decrypt(
        &mut self,
        message: &RatchetMessage,
    ) -> Result<Zeroizing<Vec<u8>>, RatchetError> {
        // On a copy, because a message of another session makes this one's sending ratchet take a step before it fails.
        let mut moved = Session::from_pickle(self.0.pickle());
        let text = moved
            .decrypt(&message.0)
            .map_err(|_| RatchetError::Unreadable)?;
        self.0 = moved;
        Ok(Zeroizing::new(text))
    }

    /// The session as bytes to store; secret.
    pub fn to_stored(&self) -> Zeroizing<Vec<u8>> {
        let pickle = serde_json::to_vec(&self.0.pickle());
        Zeroizing::new(pickle.expect("the session's parts are plain numbers, lists and maps"))
    }

    /// The session that [`Self::to_stored`] wrote.
    ///
    /// # Errors
    /// If the bytes are damaged.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, RatchetError> {
        serde_json::from_slice(bytes)
            .map(|pickle| Self(Session::from_pickle(pickle)))
            .map_err(|_| RatchetError::Damaged)
    }
}

impl std::fmt::Debug for RatchetAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RatchetAccount(…)")
    }
}

impl std::fmt::Debug for RatchetSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RatchetSession(…)")
    }
}

impl std::fmt::Debug for RatchetMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RatchetMessage({:?})", self.kind())
    }
}

fn session_id(keys: &vodozemac::olm::SessionKeys) -> [u8; 32] {
    sha256(&[
        keys.identity_key.as_bytes(),
        keys.base_key.as_bytes(),
        keys.one_time_key.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pair() -> (RatchetAccount, RatchetAccount, RatchetSession, [u8; 32]) {
        let (alice, mut bob) = (RatchetAccount::generate(), RatchetAccount::generate());
        let prekey = bob.generate_one_time_keys(1)[0];
        let session = alice.start_session(&bob.identity_key(), &prekey).unwrap();
        (alice, bob, session, prekey)
    }

    #[test]
    fn a_conversation_survives_storing_after_each_step() {
        let (alice, mut bob, mut at_alice, _) = pair();
        let first = at_alice.encrypt(b"one").unwrap();
        assert_eq!(first.kind(), RatchetKind::First);
        let (mut at_bob, text) = bob.accept_session(&alice.identity_key(), &first).unwrap();
        assert_eq!((&text[..], at_bob.id()), (&b"one"[..], at_alice.id()));
        assert_eq!(first.session_id(), Some(at_bob.id()));
        for round in 0..4_u8 {
            at_bob = RatchetSession::from_stored(&at_bob.to_stored()).unwrap();
            at_alice = RatchetSession::from_stored(&at_alice.to_stored()).unwrap();
            let reply = at_bob.encrypt(&[round]).unwrap();
            assert_eq!(*at_alice.decrypt(&reply).unwrap(), [round]);
            let next = at_alice.encrypt(&[round, 1]).unwrap();
            assert_eq!(next.kind(), RatchetKind::Next);
            let parsed = RatchetMessage::parse(1, &next.to_bytes()).unwrap();
            assert_eq!(*at_bob.decrypt(&parsed).unwrap(), [round, 1]);
        }
    }

    #[test]
    fn a_one_time_prekey_serves_once_and_a_fallback_until_two_rotations() {
        let (alice, mut bob, mut session, _) = pair();
        let first = session.encrypt(b"x").unwrap();
        bob = RatchetAccount::from_stored(&bob.to_stored()).unwrap();
        bob.accept_session(&alice.identity_key(), &first).unwrap();
        assert_eq!(
            bob.accept_session(&alice.identity_key(), &first)
                .unwrap_err(),
            RatchetError::UnknownPrekey
        );
        let fallback = bob.rotate_fallback_key();
        let mut session = alice.start_session(&bob.identity_key(), &fallback).unwrap();
        let first = session.encrypt(b"x").unwrap();
        bob.rotate_fallback_key();
        bob.accept_session(&alice.identity_key(), &first).unwrap();
        bob.rotate_fallback_key();
        assert_eq!(
            bob.accept_session(&alice.identity_key(), &first)
                .unwrap_err(),
            RatchetError::UnknownPrekey
        );
    }

    #[test]
    fn wrong_sender_replay_and_damage_change_nothing() {
        let (alice, mut bob, mut session, prekey) = pair();
        let first = session.encrypt(b"x").unwrap();
        assert_eq!(
            bob.accept_session(&[9; 32], &first).unwrap_err(),
            RatchetError::Unreadable
        );
        assert_eq!(bob.one_time_keys_kept(), 1);
        let (mut at_bob, _) = bob.accept_session(&alice.identity_key(), &first).unwrap();
        let before = at_bob.to_stored();
        assert_eq!(
            at_bob.decrypt(&first).unwrap_err(),
            RatchetError::Unreadable
        );
        assert_eq!(at_bob.to_stored(), before);
        bob.forget_one_time_key(prekey);
        assert_eq!(bob.one_time_keys_kept(), 0);
        assert_eq!(
            alice
                .start_session(&bob.identity_key(), &[0; 32])
                .unwrap_err(),
            RatchetError::WeakKey
        );
    }

    #[test]
    fn a_message_of_another_session_changes_nothing() {
        let (alice, mut bob, mut session, _) = pair();
        let first = session.encrypt(b"x").unwrap();
        let (mut at_bob, _) = bob.accept_session(&alice.identity_key(), &first).unwrap();
        let (_, _, mut other, _) = pair();
        let before = at_bob.to_stored();
        let message = other.encrypt(b"y").unwrap();
        assert!(at_bob.decrypt(&message).is_err());
        assert_eq!(at_bob.to_stored(), before);
    }

    proptest! {
        #[test]
        fn received_bytes_cause_errors_only(code in 0_u8..3, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = RatchetMessage::parse(code, &bytes) {
                let (_, mut bob, mut session, _) = pair();
                prop_assert!(session.decrypt(&message).is_err());
                prop_assert!(bob.accept_session(&[9; 32], &message).is_err());
            }
            prop_assert!(RatchetSession::from_stored(&bytes).is_err());
            prop_assert!(RatchetAccount::from_stored(&bytes).is_err());
        }

        /// The header of a first message is not under its MAC, and X25519 ignores a key's top bit (RFC 7748 §5), so a few
        /// flips go unnoticed here; they change no text. The outer seal notices every one.
        #[test]
        fn a_damaged_message_never_opens_to_another_text(position in any::<proptest::sample::Index>(), bit in 0_u8..8) {
            let (alice, mut bob, mut session, _) = pair();
            let mut bytes = session.encrypt(b"text").unwrap().to_bytes();
            let position = position.index(bytes.len());
            bytes[position] ^= 1 << bit;
            if let Ok(message) = RatchetMessage::parse(0, &bytes)
                && let Ok((_, text)) = bob.accept_session(&alice.identity_key(), &message)
            {
                prop_assert_eq!(&text[..], b"text");
            }
        }
    }
}
