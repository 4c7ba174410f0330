//! Holds back what depends on a write until the disk has it.

use std::collections::VecDeque;

use crate::{PersistId, Record};

/// One core's outputs on their way out: whatever comes after a record waits until the record is durable. Records that
/// gather while a write is under way go into the next one together, so that one sync serves many.
#[derive(Debug)]
pub(crate) struct Gate<T> {
    /// Waits for the write under way.
    held: VecDeque<T>,
    under_way: Option<PersistId>,
    /// For the next write.
    records: Vec<Record>,
    /// Waits for the next write.
    next: VecDeque<T>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self {
            held: VecDeque::new(),
            under_way: None,
            records: Vec::new(),
            next: VecDeque::new(),
        }
    }
}

impl<T> Gate<T> {
    /// Takes a record; what is pushed later waits for it.
    pub(crate) fn persist(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Takes an output.
    pub(crate) fn push(&mut self, output: T) {
        self.next.push_back(output);
    }

    /// Starts the next write if there is one to start.
    pub(crate) fn begin(&mut self, next_id: &mut u64) -> Option<(PersistId, Vec<Record>)> {
        if self.under_way.is_some() || self.records.is_empty() {
            return None;
        }
        *next_id = next_id.saturating_add(1);
        let id = PersistId(*next_id);
        self.under_way = Some(id);
        self.held.append(&mut self.next);
        Some((id, std::mem::take(&mut self.records)))
    }

    /// The write is durable.
    pub(crate) fn complete(&mut self, id: PersistId) -> VecDeque<T> {
        if self.under_way != Some(id) {
            return VecDeque::new();
        }
        self.under_way = None;
        std::mem::take(&mut self.held)
    }

    /// The next output that waits for nothing.
    pub(crate) fn release(&mut self) -> Option<T> {
        if self.under_way.is_some() || !self.records.is_empty() {
            return None;
        }
        self.next.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u8) -> Record {
        Record {
            key: vec![key],
            value: None,
        }
    }

    #[test]
    fn outputs_wait_for_the_records_before_them() {
        let (mut gate, mut ids) = (Gate::default(), 0);
        gate.push("free");
        assert_eq!(gate.release(), Some("free"));
        gate.persist(record(1));
        gate.push("after one");
        assert_eq!(gate.release(), None);
        let (first, records) = gate.begin(&mut ids).unwrap();
        assert_eq!(records, [record(1)]);
        gate.push("also after one");
        gate.persist(record(2));
        gate.push("after two");
        assert_eq!(gate.begin(&mut ids), None);
        assert_eq!(gate.complete(PersistId(99)), [] as [&str; 0]);
        assert_eq!(gate.complete(first), ["after one"]);
        assert_eq!(gate.release(), None);
        let (second, _) = gate.begin(&mut ids).unwrap();
        assert_eq!(gate.complete(second), ["also after one", "after two"]);
    }
}
