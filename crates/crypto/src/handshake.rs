//! Noise handshakes (Noise Protocol Framework, revision 34) over our own resolver.

use std::sync::Arc;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::{aead, digest};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::aead::{CipherSuite, OpeningKey, SealingKey};
use crate::hash::verify_mac;
use crate::rng::{Rng, derive_key};

/// An X25519 key pair (RFC 7748). Clones share one prepared secret: the library computes the public half each time that it
/// takes a secret in, which costs a third of an agreement.
#[derive(Clone)]
pub struct KeyPair {
    secret: Zeroizing<[u8; 32]>,
    prepared: Arc<PrivateKey>,
    public: [u8; 32],
}

impl KeyPair {
    /// A new pair from the next 32 random bytes.
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_secret(rng.bytes())
    }

    /// The pair of this secret.
    pub fn from_secret(secret: [u8; 32]) -> Self {
        let prepared = PrivateKey::from_private_key(&X25519, &secret)
            .expect("any 32 bytes are an X25519 secret");
        let public = prepared
            .compute_public_key()
            .expect("an X25519 secret has a public key");
        Self {
            secret: Zeroizing::new(secret),
            public: public
                .as_ref()
                .first_chunk()
                .copied()
                .expect("X25519 keys have 32 bytes"),
            prepared: Arc::new(prepared),
        }
    }

    /// The public half, 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The secret shared with the owner of a public key, or `None` for a point of low order, whose shared secret would be
    /// all zero (RFC 7748 §6.1).
    pub fn agree(&self, remote: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let remote = UnparsedPublicKey::new(&X25519, remote);
        agreement::agree(&self.prepared, remote, (), |shared| {
            shared
                .first_chunk()
                .map(|shared| Zeroizing::new(*shared))
                .ok_or(())
        })
        .ok()
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(…)")
    }
}

/// Which of Noise's interactive patterns runs (§7.5 of the framework).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Three messages; both static keys travel encrypted.
    Xx,
    /// Two messages; the initiator knows the responder's static key beforehand.
    Ik,
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Self::Xx => "Noise_XX_25519_ChaChaPoly_SHA256",
            Self::Ik => "Noise_IK_25519_ChaChaPoly_SHA256",
        }
    }
}

/// Why a handshake did not go on. Says little on purpose: detail helps an attacker.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HandshakeError {
    /// The other side's message is malformed, damaged, or for somebody else.
    #[error("the handshake message is not valid")]
    Message,
    /// A message was given or asked for out of turn, or too large.
    #[error("the handshake is not at this step")]
    Step,
}

/// One side of a running Noise handshake.
pub struct Handshake(Box<snow::HandshakeState>);

/// What a finished handshake leaves: keys for both directions and the channel binding.
pub struct Finished {
    /// Key material for what this side sends; see [`Finished::keys`].
    send: Zeroizing<[u8; 32]>,
    receive: Zeroizing<[u8; 32]>,
    /// The handshake hash (§11.2 of the framework): signing it proves an identity to exactly this session.
    pub binding: [u8; 32],
    /// The other side's static X25519 key.
    pub remote_static: [u8; 32],
}

impl Finished {
    /// The two directions' packet keys for the suite both sides agreed on. Each suite has keys of its own (HKDF over
    /// Noise's `Split()` output), so that no key is ever used with two ciphers.
    pub fn keys(&self, suite: CipherSuite) -> (SealingKey, OpeningKey) {
        let label = match suite {
            CipherSuite::ChaCha20Poly1305 => "smartmesh packets chacha20-poly1305",
            CipherSuite::Aes256Gcm => "smartmesh packets aes-256-gcm",
        };
        let send = Zeroizing::new(derive_key(&self.send, label));
        let receive = Zeroizing::new(derive_key(&self.receive, label));
        (
            SealingKey::new(suite, &send),
            OpeningKey::new(suite, &receive),
        )
    }
}

impl Handshake {
    /// Starts as the side that speaks first. `prologue` is what both sides must agree on beyond the messages
    /// themselves; `remote` is needed by [`Pattern::Ik`] only.
    pub fn initiator(
        pattern: Pattern,
        local: &KeyPair,
        remote: Option<&[u8; 32]>,
        prologue: &[u8],
        rng: &mut Rng,
    ) -> Self {
        Self::start(pattern, local, remote, prologue, rng, Side::Initiator)
    }

    /// Starts as the side that answers.
    pub fn responder(pattern: Pattern, local: &KeyPair, prologue: &[u8], rng: &mut Rng) -> Self {
        Self::start(pattern, local, None, prologue, rng, Side::Responder)
    }

    fn start(
        pattern: Pattern,
        local: &KeyPair,
        remote: Option<&[u8; 32]>,
        prologue: &[u8],
        rng: &mut Rng,
        side: Side,
    ) -> Self {
        let params = pattern.name().parse().expect("the pattern names are valid");
        let resolver = Box::new(Resolver {
            seed: Zeroizing::new(rng.bytes()),
            local: local.clone(),
        });
        let mut builder = snow::Builder::with_resolver(params, resolver)
            .local_private_key(&*local.secret)
            .and_then(|builder| builder.prologue(prologue))
            .expect("each is set once");
        if let Some(remote) = remote {
            builder = builder.remote_public_key(remote).expect("set once");
        }
        let state = match side {
            Side::Initiator => builder.build_initiator(),
            Side::Responder => builder.build_responder(),
        };
        Self(Box::new(state.expect("the pattern's keys are all given")))
    }

    /// Makes this side's next message around a payload.
    ///
    /// # Errors
    /// If it is not this side's turn or the payload is larger than a Noise message.
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        // A message adds at most two public keys and two tags: 96 bytes.
        let mut message = vec![0; payload.len().saturating_add(96)];
        let length = self
            .0
            .write_message(payload, &mut message)
            .map_err(|_| HandshakeError::Step)?;
        message.truncate(length);
        Ok(message)
    }

    /// Takes the other side's next message and returns its payload.
    ///
    /// # Errors
    /// If the message is not valid at this step; the handshake is then of no more use.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        let mut payload = vec![0; message.len()];
        let length = self
            .0
            .read_message(message, &mut payload)
            .map_err(|_| HandshakeError::Message)?;
        payload.truncate(length);
        Ok(payload)
    }

    /// The hash of the conversation so far; after the last message it is the channel binding.
    pub fn binding(&self) -> [u8; 32] {
        self.0
            .get_handshake_hash()
            .first_chunk()
            .copied()
            .expect("SHA-256 gives 32 bytes")
    }

    /// The other side's static key, as soon as a message has shown it.
    pub fn remote_static(&self) -> Option<[u8; 32]> {
        self.0
            .get_remote_static()
            .and_then(|key| key.first_chunk().copied())
    }

    /// Whether the last message has been read or written.
    pub fn is_finished(&self) -> bool {
        self.0.is_handshake_finished()
    }

    /// Ends the handshake and hands out its keys.
    ///
    /// # Errors
    /// If messages are still missing.
    pub fn finish(mut self) -> Result<Finished, HandshakeError> {
        if !self.is_finished() {
            return Err(HandshakeError::Step);
        }
        let binding = self.binding();
        let remote_static = self.remote_static().ok_or(HandshakeError::Step)?;
        // The framework's Split() gives (initiator to responder, responder to initiator).
        let (first, second) = self.0.dangerously_get_raw_split();
        let (send, receive) = if self.0.is_initiator() {
            (first, second)
        } else {
            (second, first)
        };
        Ok(Finished {
            send: Zeroizing::new(send),
            receive: Zeroizing::new(receive),
            binding,
            remote_static,
        })
    }
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handshake(…)")
    }
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Finished(…)")
    }
}

enum Side {
    Initiator,
    Responder,
}

/// Gives snow the primitives of aws-lc-rs and the randomness of our seed.
struct Resolver {
    seed: Zeroizing<[u8; 32]>,
    /// The static pair, which snow hands over as bytes.
    local: KeyPair,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRandom(crate::Seed::new(*self.seed).rng())))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        (*choice == DHChoice::Curve25519)
            .then(|| Box::new(X25519Dh(self.local.clone())) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        (*choice == HashChoice::SHA256).then(|| Box::new(Sha256::default()) as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        (*choice == CipherChoice::ChaChaPoly)
            .then(|| Box::new(ChaChaPoly::default()) as Box<dyn Cipher>)
    }
}

struct SeededRandom(Rng);

impl Random for SeededRandom {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill(dest);
        Ok(())
    }
}

/// A static or an ephemeral pair; begins as the static one.
struct X25519Dh(KeyPair);

impl Dh for X25519Dh {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        if let Some(secret) = privkey.first_chunk()
            && !verify_mac(secret, &*self.0.secret)
        {
            self.0 = KeyPair::from_secret(*secret);
        }
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *secret)?;
        self.0 = KeyPair::from_secret(*secret);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.0.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.0.secret
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let remote = pubkey.get(..32).ok_or(snow::Error::Dh)?;
        let shared = self.0.agree(remote).ok_or(snow::Error::Dh)?;
        out.get_mut(..32)
            .ok_or(snow::Error::Dh)?
            .copy_from_slice(&*shared);
        Ok(())
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash = std::mem::take(self).0.finish();
        for (to, from) in out.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
    }
}

struct ChaChaPoly(aead::LessSafeKey);

impl Default for ChaChaPoly {
    fn default() -> Self {
        Self(chacha_key(&[0; 32]))
    }
}

fn chacha_key(key: &[u8; 32]) -> aead::LessSafeKey {
    let key =
        aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).expect("the suite takes 32-byte keys");
    aead::LessSafeKey::new(key)
}

/// Noise's nonce for ChaCha20-Poly1305: 4 zero bytes and the counter in little-endian order (§12.3 of the framework).
fn noise_nonce(counter: u64) -> aead::Nonce {
    let mut bytes = [0; 12];
    let (_, low) = bytes.split_at_mut(4);
    low.copy_from_slice(&counter.to_le_bytes());
    aead::Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = chacha_key(key);
    }

    fn encrypt(&self, nonce: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, rest) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let tag = self
            .0
            .seal_in_place_separate_tag(noise_nonce(nonce), aead::Aad::from(authtext), text)
            .expect("handshake messages are far below the cipher's limit");
        let length = tag.as_ref().len();
        rest.get_mut(..length)
            .expect("snow leaves room for the tag")
            .copy_from_slice(tag.as_ref());
        plaintext.len().saturating_add(length)
    }

    fn decrypt(
        &self,
        nonce: u64,
        authtext: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let mut sealed = ciphertext.to_vec();
        let text = self
            .0
            .open_in_place(noise_nonce(nonce), aead::Aad::from(authtext), &mut sealed)
            .map_err(|_| snow::Error::Decrypt)?;
        out.get_mut(..text.len())
            .ok_or(snow::Error::Decrypt)?
            .copy_from_slice(text);
        Ok(text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;

    fn rng(byte: u8) -> Rng {
        Seed::new([byte; 32]).rng()
    }

    #[test]
    fn both_sides_of_xx_get_matching_keys_and_each_others_static() {
        let (mut rng_a, mut rng_b) = (rng(1), rng(2));
        let (a, b) = (KeyPair::generate(&mut rng_a), KeyPair::generate(&mut rng_b));
        let mut alice = Handshake::initiator(Pattern::Xx, &a, None, b"v1", &mut rng_a);
        let mut bob = Handshake::responder(Pattern::Xx, &b, b"v1", &mut rng_b);
        assert_eq!(bob.read(&alice.write(b"one").unwrap()).unwrap(), b"one");
        assert_eq!(alice.read(&bob.write(b"two").unwrap()).unwrap(), b"two");
        assert_eq!(bob.read(&alice.write(b"three").unwrap()).unwrap(), b"three");
        let (alice, bob) = (alice.finish().unwrap(), bob.finish().unwrap());
        assert_eq!(
            (alice.remote_static, bob.remote_static),
            (b.public(), a.public())
        );
        assert_eq!(alice.binding, bob.binding);
        let ((seal, _), (_, open)) = (
            alice.keys(CipherSuite::Aes256Gcm),
            bob.keys(CipherSuite::Aes256Gcm),
        );
        let mut packet = b"x".to_vec();
        let tag = seal.seal(0, &[], &mut packet);
        packet.extend_from_slice(&tag);
        assert_eq!(open.open(0, &[], &mut packet).unwrap(), b"x");
    }

    #[test]
    fn another_prologue_or_a_flipped_bit_is_refused() {
        let (mut rng_a, mut rng_b) = (rng(1), rng(2));
        let (a, b) = (KeyPair::generate(&mut rng_a), KeyPair::generate(&mut rng_b));
        let mut alice = Handshake::initiator(Pattern::Xx, &a, None, b"v1", &mut rng_a);
        let mut bob = Handshake::responder(Pattern::Xx, &b, b"v2", &mut rng_b);
        bob.read(&alice.write(&[]).unwrap()).unwrap();
        assert_eq!(
            alice.read(&bob.write(&[]).unwrap()),
            Err(HandshakeError::Message)
        );
        assert_eq!(
            Handshake::responder(Pattern::Xx, &b, b"v1", &mut rng_b).read(&[1; 9]),
            Err(HandshakeError::Message)
        );
    }

    #[test]
    fn ik_takes_two_messages() {
        let (mut rng_a, mut rng_b) = (rng(1), rng(2));
        let (a, b) = (KeyPair::generate(&mut rng_a), KeyPair::generate(&mut rng_b));
        let mut alice = Handshake::initiator(Pattern::Ik, &a, Some(&b.public()), &[], &mut rng_a);
        let mut bob = Handshake::responder(Pattern::Ik, &b, &[], &mut rng_b);
        bob.read(&alice.write(&[]).unwrap()).unwrap();
        alice.read(&bob.write(&[]).unwrap()).unwrap();
        assert_eq!(
            alice.finish().unwrap().binding,
            bob.finish().unwrap().binding
        );
    }
}
