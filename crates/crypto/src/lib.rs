//! All cryptography of SmartMesh. Primitives come from `aws-lc-rs`, protocols from `snow` (Noise), `vodozemac` (Double
//! Ratchet) and `rustls` (TLS 1.3); this crate only composes them and says which proof or standard each composition
//! rests on.
//!
//! It refuses to draw entropy: every random byte comes from a [`Seed`] that the shell gives at start, so that a run can be
//! repeated. Read [`Identity`] (who this node is) and [`Handshake`] (how two ends get keys) first.

mod account;
mod aead;
mod at_rest;
mod handshake;
mod hash;
mod identity;
mod phrase;
mod ratchet;
mod rng;
mod sealed;
mod tls;

pub use account::{
    AccountKey, AccountKeyError, COMPACT_SIGNATURE_BYTES, CompactSignature, CurvePoint, recover,
    signed_by,
};
pub use aead::{AeadError, CipherSuite, OpeningKey, SealingKey, TAG_BYTES};
pub use at_rest::{
    AT_REST_OVERHEAD_BYTES, PassphraseCost, PassphraseCostError, StoreKey, passphrase_key,
};
pub use handshake::{Finished, Handshake, HandshakeError, KeyPair, Pattern};
pub use hash::{Mac, hmac_sha256, hmac_sha256_truncated, sha256, verify_mac};
pub use identity::{
    Identity, PairSecret, SIGNATURE_BYTES, SignatureError, address_of, destination_tag,
    verify_signature,
};
pub use phrase::SafetyPhrase;
pub use ratchet::{
    RATCHET_KEY_BYTES, RatchetAccount, RatchetError, RatchetKind, RatchetMessage, RatchetSession,
};
pub use rng::{Rng, Seed};
pub use sealed::{SEALED_OVERHEAD_BYTES, open_sealed, seal_to};
pub use tls::{TLS_PROTOCOL, TlsIdentity};
