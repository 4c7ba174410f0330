//! Swarm's encryption of chunks: a key of its own for each chunk, and a keystream of hashes.
//!
//! Segment `i` of 32 bytes is combined by exclusive or with `keccak256(keccak256(key | counter))`, where the counter is 4 bytes,
//! little-endian. The payload, filled with random bytes to 4,096, is counted from 0; the 8 bytes of the span take counter 64
//! (4,096 bytes divided by the 64 of an encrypted reference). As in bee's `pkg/encryption`; the second hash lets one segment be
//! disclosed without the key. A key encrypts exactly one chunk, so no keystream is used twice.

use alloy_primitives::keccak256;
use smartmesh_crypto::Rng;
use smartmesh_wire::chunk::{PAYLOAD_BYTES_MAX, SPAN_BYTES};

use crate::Chunk;
use crate::reference::KEY_BYTES;

const SEGMENT_BYTES: usize = 32;
const SPAN_COUNTER: u32 = 64;

/// Encrypts span and payload under a fresh key.
pub(crate) fn encrypt(
    span: [u8; SPAN_BYTES],
    payload: &[u8],
    rng: &mut Rng,
) -> (Chunk, [u8; KEY_BYTES]) {
    let key = rng.bytes();
    let mut span = span;
    apply_keystream(&key, SPAN_COUNTER, &mut span);
    let mut sealed = payload.to_vec();
    apply_keystream(&key, 0, &mut sealed);
    let filled = sealed.len();
    sealed.resize(PAYLOAD_BYTES_MAX, 0);
    rng.fill(sealed.get_mut(filled..).unwrap_or_default());
    (Chunk::new(span, &sealed), key)
}

/// The span and the payload with its padding; `None` if the payload is not full, as every encrypted chunk's is.
pub(crate) fn decrypt(chunk: &Chunk, key: &[u8; KEY_BYTES]) -> Option<(u64, Vec<u8>)> {
    let mut span = chunk.span_bytes();
    apply_keystream(key, SPAN_COUNTER, &mut span);
    let mut payload = chunk.payload().to_vec();
    if payload.len() != PAYLOAD_BYTES_MAX {
        return None;
    }
    apply_keystream(key, 0, &mut payload);
    Some((u64::from_le_bytes(span), payload))
}

fn apply_keystream(key: &[u8; KEY_BYTES], first: u32, data: &mut [u8]) {
    let mut input = [0; KEY_BYTES + 4];
    for (counter, segment) in (first..).zip(data.chunks_mut(SEGMENT_BYTES)) {
        let (front, back) = input.split_at_mut(KEY_BYTES);
        front.copy_from_slice(key);
        back.copy_from_slice(&counter.to_le_bytes());
        let stream = keccak256(keccak256(input));
        for (byte, mask) in segment.iter_mut().zip(&stream.0) {
            *byte ^= mask;
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, as it should"
)]
mod tests {
    use smartmesh_crypto::Seed;

    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let mut out = [0; N];
        for (byte, at) in out.iter_mut().zip((0..).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        }
        out
    }

    /// From bee's `pkg/encryption/encryption_test.go`: 4,096 zeros under this key; the first two segments and the last.
    #[test]
    fn the_keystream_is_bees() {
        let key = bytes("8abf1502f557f15026716030fb6384792583daf39608a3cd02ff2f47e9bc6e49");
        let mut data = [0; PAYLOAD_BYTES_MAX];
        apply_keystream(&key, 0, &mut data);
        assert_eq!(
            data[..64],
            bytes::<64>(
                "352187af3a843decc63ceca6cb01ea39dbcf77caf0a8f705f5c30d557044ceec\
                 9392b94a79376f1e5c10cd0c0f2a98e5353bf22b3ea4fdac6677ee553dec192e"
            )
        );
        assert_eq!(
            data[4_064..],
            bytes::<32>("719f67da7bcc2fce073c01e87c62ea3cdbcd589cfc41281f2f4c757c742d6d1e")
        );
    }

    #[test]
    fn what_is_encrypted_can_be_decrypted_with_its_key_only() {
        let mut rng = Seed::new([1; 32]).rng();
        let (chunk, key) = encrypt(5_u64.to_le_bytes(), b"hello", &mut rng);
        let (span, payload) = decrypt(&chunk, &key).unwrap();
        assert_eq!((span, &payload[..5]), (5, &b"hello"[..]));
        assert_ne!(decrypt(&chunk, &[0; 32]).unwrap().0, 5);
        assert_eq!(decrypt(&Chunk::new([0; 8], b"short"), &key), None);
        let again = encrypt(5_u64.to_le_bytes(), b"hello", &mut rng).0;
        assert_ne!(
            again.address(),
            chunk.address(),
            "each encryption has its own key"
        );
    }
}
