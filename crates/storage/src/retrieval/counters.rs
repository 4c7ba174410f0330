//! What retrieval counted.

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetrievalCounters {
    /// Chunks fetched and stored.
    pub fetched: u64,
    /// Chunks that the store had already.
    pub held: u64,
    /// Chunks whose bytes were not theirs.
    pub lies: u64,
    /// Chunks nobody was waiting for.
    pub unasked: u64,
    /// Times a holder was silent too long.
    pub silences: u64,
    /// Chunks sent to others.
    pub served: u64,
    /// Answers that a chunk is not here.
    pub missing: u64,
    /// Chunks asked of this node beyond what it owes to one peer or to all.
    pub refused: u64,
}
