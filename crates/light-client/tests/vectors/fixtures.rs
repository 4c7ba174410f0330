//! Reads the compressed test data.

use std::io::Read;

use alloy_primitives::{B256, hex};
use serde_json::Value;

/// Unpacks one file of test data.
pub(crate) fn load(compressed: &[u8]) -> Value {
    let mut text = String::new();
    ruzstd::decoding::StreamingDecoder::new(compressed)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Reads hex as bytes.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// Reads hex as a hash.
pub(crate) fn node(value: &Value) -> B256 {
    B256::from_slice(&bytes(value))
}

/// Reads a decimal string.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}
