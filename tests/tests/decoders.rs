//! Corpora replayed, and a mutation run with a fixed seed, over every decoder.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::arithmetic_side_effects,
    reason = "tests may panic; their inputs are their own"
)]

use std::path::{Path, PathBuf};

use smartmesh_crypto::{Rng, Seed};
use smartmesh_tests::decoders::{TARGETS, Target};

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target.name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {} is empty", target.name);
    files
        .iter()
        .map(|file| std::fs::read(file).unwrap())
        .collect()
}

fn rounds() -> u64 {
    std::env::var("SMARTMESH_FUZZ_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(20_000)
}

/// One of the classic mutations: flip, overwrite, cut, repeat, insert, splice.
fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut Rng) {
    let length = bytes.len() as u64;
    let at = rng.below(length.max(1)) as usize;
    match rng.below(7) {
        0 if length > 0 => bytes[at] ^= 1 << rng.below(8),
        1 if length > 0 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.below(5) as usize],
        2 => bytes.truncate(at),
        3 if length > 0 => {
            let end = at + rng.below(length - at as u64) as usize;
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        4 => bytes.insert(at.min(bytes.len()), rng.below(256) as u8),
        5 => {
            let other = &others[rng.below(others.len() as u64) as usize];
            bytes.truncate(at);
            bytes.extend_from_slice(&other[other.len().min(at)..]);
        }
        _ => bytes.extend_from_slice(&rng.bytes::<4>()),
    }
    bytes.truncate(70_000);
}

#[test]
fn corpora_replay_without_a_panic() {
    for target in &TARGETS {
        for input in corpus(target) {
            (target.body)(&input);
        }
    }
}

#[test]
fn mutated_inputs_never_panic() {
    for target in &TARGETS {
        let seeds = corpus(target);
        let mut rng = Seed::new([42; 32]).split(target.name).rng();
        for _ in 0..rounds() {
            let mut input = seeds[rng.below(seeds.len() as u64) as usize].clone();
            for _ in 0..=rng.below(6) {
                mutate(&mut input, &seeds, &mut rng);
            }
            (target.body)(&input);
        }
    }
}
