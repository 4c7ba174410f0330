//! The cipher alone.

use std::hint::black_box;
use std::time::Duration;

use smartmesh_crypto::{CipherSuite, OpeningKey, SealingKey, TAG_BYTES};

use crate::{PACKET_BYTES, thread_time};

/// Index and counter before the sealed part, and the label inside.
pub(crate) const HEADER_BYTES: usize = 8;
pub(crate) const FRAME_BYTES: usize = HEADER_BYTES + 4 + PACKET_BYTES + TAG_BYTES;

pub(crate) fn keys() -> (SealingKey, OpeningKey) {
    let suite = CipherSuite::preferred();
    (
        SealingKey::new(suite, &[3; 32]),
        OpeningKey::new(suite, &[3; 32]),
    )
}

/// Seals a frame that lies ready, with its counter in its header.
pub(crate) fn seal(key: &SealingKey, counter: u64, frame: &mut [u8]) {
    let Some((header, sealed)) = frame.split_at_mut_checked(HEADER_BYTES) else {
        return;
    };
    header.copy_from_slice(&counter.to_be_bytes());
    let text_bytes = sealed.len().saturating_sub(TAG_BYTES);
    let (text, tag) = sealed.split_at_mut(text_bytes);
    tag.copy_from_slice(&key.seal(counter, header, text));
}

/// Opens a frame in place; says whether it was one.
pub(crate) fn open(key: &OpeningKey, frame: &mut [u8]) -> bool {
    let Some((header, sealed)) = frame.split_at_mut_checked(HEADER_BYTES) else {
        return false;
    };
    let counter = header
        .first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes));
    key.open(counter, header, sealed).is_ok()
}

/// Time to seal and open one packet.
pub(crate) fn cipher(packets: u32) -> Duration {
    let (sealing, opening) = keys();
    let mut frame = vec![5; FRAME_BYTES];
    let started = thread_time();
    for counter in 0..u64::from(packets) {
        seal(&sealing, counter, black_box(&mut frame));
        assert!(open(&opening, black_box(&mut frame)));
    }
    (thread_time() - started) / packets
}
