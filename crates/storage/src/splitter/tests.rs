use std::collections::BTreeMap;

use proptest::prelude::*;
use smartmesh_crypto::Seed;
use smartmesh_wire::chunk::ChunkAddress;

use super::*;
use crate::{ReadError, Reader};

const VECTORS: &str = include_str!("../../testdata/swarm-references.txt");

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (7 * i + 13 * (i >> 8) + 31 * (i >> 16)) as u8)
        .collect()
}

fn store(chunks: Vec<Chunk>) -> BTreeMap<ChunkAddress, Vec<u8>> {
    chunks
        .into_iter()
        .map(|chunk| (chunk.address(), chunk.into_bytes()))
        .collect()
}

fn read(mut reader: Reader, store: &BTreeMap<ChunkAddress, Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(address) = reader.wanted() {
        out.extend(reader.supply(store[&address].clone()).unwrap());
    }
    out
}

fn encrypted() -> Splitter {
    Splitter::encrypted(Seed::new([3; 32]).rng())
}

/// References of up to 67 MB of pattern data, computed by Swarm's own JavaScript client; see `testdata/swarm-references.mjs`.
#[test]
fn references_equal_those_of_swarms_own_client() {
    let mut seen = 0;
    for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
        let (size, reference) = line.split_once(' ').unwrap();
        let size: usize = size.parse().unwrap();
        let data = pattern(size);
        let mut splitter = Splitter::plain();
        let mut chunks = Vec::new();
        for piece in data.chunks(100_003) {
            splitter.push(piece, &mut chunks);
            chunks.clear();
        }
        assert_eq!(splitter.length(), u64::try_from(size).unwrap());
        assert_eq!(
            splitter.finish(&mut chunks).to_string(),
            reference,
            "{size} bytes"
        );
        seen += 1;
    }
    assert_eq!(seen, 22, "each line of the vectors is one case");
}

#[test]
fn large_trees_are_read_back_plain_and_encrypted() {
    for size in [
        0,
        1,
        4_096,
        4_097,
        64 * 4_096,
        64 * 4_096 + 1,
        128 * 4_096 + 1,
    ] {
        let data = pattern(size);
        for splitter in [Splitter::plain(), encrypted()] {
            let (reference, chunks) = split(splitter, &data);
            assert_eq!(chunks.last().unwrap().address(), reference.address());
            let store = store(chunks);
            assert!(
                read(Reader::new(reference), &store) == data,
                "{size} bytes, {reference:?}"
            );
        }
    }
}

#[test]
fn an_encrypted_tree_of_four_levels_is_read_back() {
    let data = vec![7; 64 * 64 * 4_096 + 9];
    let (reference, chunks) = split(encrypted(), &data);
    let middle = Reader::range(reference, 9_000_000, 10_000);
    let end = Reader::range(reference, 64 * 64 * 4_096, 100);
    let store = store(chunks);
    assert_eq!(read(middle, &store), vec![7; 10_000]);
    assert_eq!(read(end, &store), vec![7; 9]);
}

#[test]
fn an_encrypted_file_shows_neither_its_bytes_nor_its_length() {
    let (reference, chunks) = split(encrypted(), &[b'x'; 5_000]);
    assert_eq!(reference.to_bytes().len(), 64);
    for chunk in &chunks {
        assert_eq!(chunk.bytes().len(), 4_104);
        assert!(!chunk.bytes().windows(8).any(|window| window == [b'x'; 8]));
    }
}

#[test]
fn a_chunk_out_of_place_is_refused() {
    let (reference, chunks) = split(Splitter::plain(), &pattern(10_000));
    let mut reader = Reader::new(reference);
    let root = chunks.last().unwrap().bytes().to_vec();
    assert!(matches!(
        reader.supply(vec![0; 100]),
        Err(ReadError::Chunk(_))
    ));
    assert_eq!(reader.supply(root.clone()), Ok(vec![]));
    assert!(matches!(reader.supply(root), Err(ReadError::Chunk(_))));
    assert_eq!(reader.file_length(), Some(10_000));
    // A root whose span lies about its children: right by itself, no file.
    let lying = Chunk::new(9_000_u64.to_le_bytes(), chunks.last().unwrap().payload());
    let mut reader = Reader::new(Reference::Plain(lying.address()));
    assert_eq!(reader.supply(lying.into_bytes()), Ok(vec![]));
    let first = chunks[0].bytes().to_vec();
    assert!(reader.supply(first).is_ok());
    reader.supply(chunks[1].bytes().to_vec()).unwrap();
    let last = reader.supply(chunks[2].bytes().to_vec());
    assert!(matches!(last, Err(ReadError::Tree(_))));
    let endless = Chunk::new(u64::MAX.to_le_bytes(), &[0; 64]);
    let mut reader = Reader::new(Reference::Plain(endless.address()));
    assert!(matches!(
        reader.supply(endless.into_bytes()),
        Err(ReadError::Tree(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_range_of_any_file_is_read_back(
        size in 0_usize..600_000, start in 0_usize..700_000, length in 0_usize..700_000, sealed: bool, cut in 1_usize..9_000,
    ) {
        let data = pattern(size);
        let mut splitter = if sealed { encrypted() } else { Splitter::plain() };
        let mut chunks = Vec::new();
        for piece in data.chunks(cut) {
            splitter.push(piece, &mut chunks);
        }
        let reference = splitter.finish(&mut chunks);
        let store = store(chunks);
        let reader = Reader::range(reference, start as u64, length as u64);
        let from = start.min(size);
        let to = (start + length).min(size);
        prop_assert!(read(reader, &store) == data[from..to]);
    }

    #[test]
    fn any_chunk_gives_bytes_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..4_200), key: Option<[u8; 32]>) {
        if let Ok(chunk) = Chunk::from_bytes(bytes.clone()) {
            let reference = match key {
                Some(key) => Reference::Encrypted(chunk.address(), key),
                None => Reference::Plain(chunk.address()),
            };
            let _ = Reader::new(reference).supply(bytes);
        }
    }
}
