//! Cuts a file of any length into chunks while holding only what is not yet full.

use smartmesh_crypto::Rng;
use smartmesh_wire::chunk::PAYLOAD_BYTES_MAX;

use crate::{Chunk, Reference, encryption};

/// References waiting for their parent chunk.
#[derive(Debug, Default)]
struct Level {
    references: Vec<u8>,
    count: usize,
    span: u64,
}

#[derive(Debug)]
enum Mode {
    Plain,
    Encrypted(Box<Rng>),
}

impl Mode {
    fn branches(&self) -> usize {
        match self {
            Self::Plain => 128,
            Self::Encrypted(_) => 64,
        }
    }
}

/// Cuts a stream of bytes into Swarm chunks, each given out as soon as it is full.
///
/// It holds at most one chunk's data and, for each level of the tree, one chunk's references: 4 KiB, and 4 KiB for every
/// factor of 128 (64 if encrypted) in the length.
#[derive(Debug)]
pub struct Splitter {
    data: Vec<u8>,
    levels: Vec<Level>,
    mode: Mode,
    length: u64,
}

impl Splitter {
    /// For a plain reference: the same bytes give the same reference everywhere.
    pub fn plain() -> Self {
        Self::new(Mode::Plain)
    }

    /// For an encrypted reference; keys and padding come from the generator.
    pub fn encrypted(rng: Rng) -> Self {
        Self::new(Mode::Encrypted(Box::new(rng)))
    }

    fn new(mode: Mode) -> Self {
        Self {
            data: Vec::with_capacity(PAYLOAD_BYTES_MAX),
            levels: Vec::new(),
            mode,
            length: 0,
        }
    }

    /// Bytes pushed so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Takes the next bytes and adds the chunks they fill, children before parents; push pieces of bounded size and store what
    /// comes out.
    pub fn push(&mut self, mut bytes: &[u8], chunks: &mut Vec<Chunk>) {
        while !bytes.is_empty() {
            // A full chunk is cut only when more comes, so that the last one is never missing.
            if self.data.len() >= PAYLOAD_BYTES_MAX {
                self.cut_data(chunks);
            }
            let room = PAYLOAD_BYTES_MAX.saturating_sub(self.data.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.data.extend_from_slice(now);
            self.length = self
                .length
                .saturating_add(u64::try_from(now.len()).unwrap_or(0));
            bytes = later;
        }
    }

    /// Adds the remaining chunks, the root last, and gives the file's reference.
    pub fn finish(mut self, chunks: &mut Vec<Chunk>) -> Reference {
        let mut top = self.cut_data(chunks);
        let mut at = 0;
        while let Some(level) = self.levels.get(at) {
            let higher = self.levels.len() > at.saturating_add(1);
            let next = at.saturating_add(1);
            if level.count > 1 {
                top = self.cut_level(at, chunks);
            } else if level.count == 1 && higher {
                let (references, span) = (level.references.clone(), level.span);
                self.add(next, &references, span, chunks);
            }
            at = next;
        }
        top
    }

    fn cut_data(&mut self, chunks: &mut Vec<Chunk>) -> Reference {
        let data = std::mem::take(&mut self.data);
        let span = u64::try_from(data.len()).unwrap_or(0);
        let reference = self.make(span, &data, chunks);
        self.add(0, &reference.to_bytes(), span, chunks);
        reference
    }

    /// Turns a level's references into one chunk, whose reference goes a level up.
    fn cut_level(&mut self, at: usize, chunks: &mut Vec<Chunk>) -> Reference {
        let level = self
            .levels
            .get_mut(at)
            .map(std::mem::take)
            .unwrap_or_default();
        let reference = self.make(level.span, &level.references, chunks);
        self.add(
            at.saturating_add(1),
            &reference.to_bytes(),
            level.span,
            chunks,
        );
        reference
    }

    fn add(&mut self, at: usize, reference: &[u8], span: u64, chunks: &mut Vec<Chunk>) {
        if self.levels.len() <= at {
            self.levels.push(Level::default());
        }
        let full = self
            .levels
            .get(at)
            .is_some_and(|level| level.count >= self.mode.branches());
        if full {
            self.cut_level(at, chunks);
        }
        if let Some(level) = self.levels.get_mut(at) {
            level.references.extend_from_slice(reference);
            level.count = level.count.saturating_add(1);
            level.span = level.span.saturating_add(span);
        }
    }

    fn make(&mut self, span: u64, payload: &[u8], chunks: &mut Vec<Chunk>) -> Reference {
        let span = span.to_le_bytes();
        let (chunk, reference) = match &mut self.mode {
            Mode::Plain => {
                let chunk = Chunk::new(span, payload);
                let reference = Reference::Plain(chunk.address());
                (chunk, reference)
            }
            Mode::Encrypted(rng) => {
                let (chunk, key) = encryption::encrypt(span, payload, rng);
                let reference = Reference::Encrypted(chunk.address(), key);
                (chunk, reference)
            }
        };
        chunks.push(chunk);
        reference
    }
}

/// Cuts bytes that are all in memory; for small files.
pub fn split(mut splitter: Splitter, bytes: &[u8]) -> (Reference, Vec<Chunk>) {
    let mut chunks = Vec::new();
    splitter.push(bytes, &mut chunks);
    let reference = splitter.finish(&mut chunks);
    (reference, chunks)
}

#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "a test that overflows fails, as it should; patterns are cut to bytes on purpose"
)]
mod tests;
