//! One-way sealing to somebody's long-term key, with the sender's long-term key hidden inside and proven.
//!
//! This is the first message of Noise IK (§7.5 and §7.7 of the framework: payload confidentiality 2, sender
//! authentication 1), which is the same computation as the one-way pattern X. The sender's key is readable by the recipient
//! alone, and the proof convinces nobody else. It has no forward secrecy towards the recipient's key and a thief of the
//! recipient's key can forge senders to the recipient; what is inside is therefore sealed again by the ratchet.

use crate::handshake::{Handshake, HandshakeError, KeyPair, Pattern};
use crate::{Rng, Seed};

/// Bytes that sealing adds: an ephemeral key, the sender's sealed key with its tag, the payload's tag.
pub const SEALED_OVERHEAD_BYTES: usize = 96;

const PROLOGUE: &[u8] = b"smartmesh sealed message v1";

/// Seals a text to a recipient's X25519 key; see `Identity::end_to_end_key`.
///
/// # Errors
/// If the recipient's key has small order or the text is longer than 65,439 bytes.
pub fn seal_to(
    sender: &KeyPair,
    recipient: &[u8; 32],
    text: &[u8],
    rng: &mut Rng,
) -> Result<Vec<u8>, HandshakeError> {
    Handshake::initiator(Pattern::Ik, sender, Some(recipient), PROLOGUE, rng).write(text)
}

/// Opens what [`seal_to`] made and returns the text and the sender's X25519 key.
///
/// # Errors
/// If it is damaged or sealed to somebody else.
pub fn open_sealed(
    recipient: &KeyPair,
    sealed: &[u8],
) -> Result<(Vec<u8>, [u8; 32]), HandshakeError> {
    // Reading draws no randomness; the handshake only wants a generator for the answer that is never written.
    let mut unused = Seed::new([0; 32]).rng();
    let mut handshake = Handshake::responder(Pattern::Ik, recipient, PROLOGUE, &mut unused);
    let text = handshake.read(sealed)?;
    let sender = handshake.remote_static().ok_or(HandshakeError::Message)?;
    Ok((text, sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recipient_opens_and_learns_the_sender() {
        let mut rng = Seed::new([1; 32]).rng();
        let [alice, bob, eve] = [(); 3].map(|()| KeyPair::generate(&mut rng));
        let sealed = seal_to(&alice, &bob.public(), b"text", &mut rng).unwrap();
        assert_eq!(sealed.len(), 4 + SEALED_OVERHEAD_BYTES);
        assert_eq!(
            open_sealed(&bob, &sealed),
            Ok((b"text".to_vec(), alice.public()))
        );
        assert_eq!(open_sealed(&eve, &sealed), Err(HandshakeError::Message));
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert!(open_sealed(&bob, &damaged).is_err());
        }
        assert!(open_sealed(&bob, &sealed[..95]).is_err());
        assert!(seal_to(&alice, &[0; 32], b"text", &mut rng).is_err());
    }
}
