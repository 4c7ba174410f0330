//! A phone's disk: what a write may lose when the phone dies.

use std::collections::BTreeMap;

use smartmesh_node::{PersistId, Record};

/// What a crash does to writes that were not yet acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All of them are gone.
    Unsynced,
    /// The oldest of them arrived, the others are gone; the last that arrived may be cut in its middle.
    Torn,
}

/// One phone's disk.
#[derive(Debug, Default)]
pub struct Disk {
    durable: BTreeMap<Vec<u8>, Vec<u8>>,
    pending: Vec<(PersistId, Vec<Record>)>,
    chunks: BTreeMap<[u8; 32], Vec<u8>>,
    stored_again: u64,
}

impl Disk {
    /// Starts a write.
    pub fn begin(&mut self, id: PersistId, records: Vec<Record>) {
        self.pending.push((id, records));
    }

    /// Ends a write: it survives from now on. Writes end in the order in which they began.
    pub fn complete(&mut self, id: PersistId) -> bool {
        let Some(position) = self.pending.iter().position(|(pending, _)| *pending == id) else {
            return false;
        };
        for (_, records) in self.pending.drain(..=position).collect::<Vec<_>>() {
            self.apply(records);
        }
        true
    }

    /// The phone died.
    pub fn crash(&mut self, loss: Loss) {
        let pending = std::mem::take(&mut self.pending);
        match loss {
            Loss::Unsynced => {}
            Loss::Torn => {
                if let Some((_, records)) = pending.into_iter().next() {
                    // One write is one transaction: a journal's checksum turns a cut record into no record.
                    let kept = records.len() / 2;
                    self.apply(records.into_iter().take(kept).collect());
                }
            }
        }
    }

    /// Everything a restart finds.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        self.durable.iter().map(|(key, value)| Record {
            key: key.clone(),
            value: Some(value.clone()),
        })
    }

    /// Keeps a chunk.
    pub fn store_chunk(&mut self, address: [u8; 32], bytes: Vec<u8>) {
        if self.chunks.insert(address, bytes).is_some() {
            self.stored_again = self.stored_again.saturating_add(1);
        }
    }

    /// Chunks that came although they were here: bytes fetched twice.
    pub fn stored_again(&self) -> u64 {
        self.stored_again
    }

    /// Finds a chunk.
    pub fn chunk(&self, address: &[u8; 32]) -> Option<Vec<u8>> {
        self.chunks.get(address).cloned()
    }

    /// All bytes on the disk, for a checker that looks for plaintext.
    pub fn contains(&self, needle: &[u8]) -> bool {
        let mut values = self.durable.values().chain(self.chunks.values());
        values.any(|value| {
            value
                .windows(needle.len().max(1))
                .any(|window| window == needle)
        })
    }

    fn apply(&mut self, records: Vec<Record>) {
        for Record { key, value } in records {
            match value {
                Some(value) => drop(self.durable.insert(key, value)),
                None => drop(self.durable.remove(&key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(key: u8) -> Vec<Record> {
        vec![
            Record {
                key: vec![key],
                value: Some(vec![1]),
            },
            Record {
                key: vec![key, 1],
                value: Some(vec![2]),
            },
        ]
    }

    #[test]
    fn a_crash_loses_what_was_not_complete() {
        let mut disk = Disk::default();
        disk.begin(PersistId(1), write(1));
        disk.begin(PersistId(2), write(2));
        assert!(disk.complete(PersistId(1)));
        disk.crash(Loss::Unsynced);
        assert_eq!(disk.records().count(), 2);
        disk.begin(PersistId(3), write(3));
        disk.crash(Loss::Torn);
        assert_eq!(disk.records().count(), 3);
        assert!(!disk.complete(PersistId(3)));
    }
}
