//! Blocks, and the transactions in them with what came of each.

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{Header, Receipt, ReceiptEnvelope, ReceiptWithBloom, TxType};
use alloy_primitives::{Address, B256, Log};

use crate::execute::{Ended, Outcome, Tx};

/// A transaction in a block.
#[derive(Clone, Debug)]
pub struct Included {
    /// As its sender signed it.
    pub tx: Tx,
    /// Keccak of its encoding.
    pub hash: B256,
    /// Who signed.
    pub from: Address,
    /// Gas of this transaction alone.
    pub gas_used: u64,
    /// The contract that it made.
    pub created: Option<Address>,
    /// Number of its first log in the block.
    pub first_log: u64,
    /// As the receipts' root commits to it.
    pub receipt: ReceiptEnvelope,
}

impl Included {
    /// Whether it did what it should.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.receipt.is_success()
    }

    /// Its logs.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        self.receipt.logs()
    }
}

/// A block of the chain.
#[derive(Clone, Debug)]
pub struct Block {
    /// Header with true roots.
    pub header: Header,
    /// Keccak of the header's encoding.
    pub hash: B256,
    /// Its transactions.
    pub transactions: Vec<Included>,
}

/// A block that is being filled.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) header: Header,
    pub(crate) transactions: Vec<Included>,
    logs: u64,
}

impl Draft {
    pub(crate) fn new(header: Header) -> Self {
        Self {
            header,
            transactions: Vec::new(),
            logs: 0,
        }
    }

    pub(crate) fn gas_left(&self) -> u64 {
        self.header.gas_limit.saturating_sub(self.header.gas_used)
    }

    pub(crate) fn push(&mut self, tx: Tx, hash: B256, from: Address, outcome: Outcome) {
        self.header.gas_used = self.header.gas_used.saturating_add(outcome.gas_used);
        let count = u64::try_from(outcome.logs.len()).unwrap_or(u64::MAX);
        let success = matches!(outcome.result, Ended::Returned(_));
        let receipt = Receipt {
            status: success.into(),
            cumulative_gas_used: self.header.gas_used,
            logs: outcome.logs,
        }
        .with_bloom();
        self.header.logs_bloom |= receipt.logs_bloom;
        self.transactions.push(Included {
            hash,
            from,
            gas_used: outcome.gas_used,
            created: outcome.created,
            first_log: self.logs,
            receipt: envelope(tx.tx_type(), receipt),
            tx,
        });
        self.logs = self.logs.saturating_add(count);
    }

    /// Seals the block over the state after it.
    pub(crate) fn seal(mut self, state_root: B256) -> Block {
        let txs: Vec<&Tx> = self.transactions.iter().map(|one| &one.tx).collect();
        self.header.transactions_root = calculate_transaction_root(&txs);
        let receipts: Vec<&ReceiptEnvelope> =
            self.transactions.iter().map(|one| &one.receipt).collect();
        self.header.receipts_root = calculate_receipt_root(&receipts);
        self.header.state_root = state_root;
        Block {
            hash: self.header.hash_slow(),
            header: self.header,
            transactions: self.transactions,
        }
    }
}

fn envelope(kind: TxType, receipt: ReceiptWithBloom<Receipt>) -> ReceiptEnvelope {
    match kind {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    }
}
