//! What has been proved, under the hash that proves it.

use std::collections::{BTreeMap, VecDeque};

use alloy_consensus::proofs::{calculate_receipt_root, calculate_transaction_root};
use alloy_consensus::{
    EthereumTxEnvelope, Header, Receipt, ReceiptEnvelope, TxEip4844, TxType, Typed2718,
};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Log, U64, U256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::TrieAccount;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::need::Need;
use super::trie::{ProofError, TrieNodes};

/// A transaction as blocks carry it.
pub type Tx = EthereumTxEnvelope<TxEip4844>;

/// Bytes kept of trie nodes.
const NODE_BYTES: usize = 4 << 20;
/// Bytes kept of code.
const CODE_BYTES: usize = 2 << 20;
/// Bytes kept of headers.
const HEADER_BYTES: usize = 2 << 20;
/// Bytes kept of bodies and of receipts, each.
const BLOCK_BYTES: usize = 8 << 20;
/// Bytes counted for a header; its bloom alone has 256.
const HEADER_WEIGHT: usize = 800;
/// The longest code of a contract (EIP-170), with room for EIP-7907.
const CODE_BYTES_MAX: usize = 256 << 10;
/// Transactions of one block that are read.
const TRANSACTIONS_MAX: usize = 10_000;
/// Nodes of one answer: an account and 1,024 slots.
const NODES_MAX: usize = 40_000;

/// Values by hash, the oldest forgotten first.
#[derive(Clone, Debug)]
pub(super) struct Cache<V> {
    values: BTreeMap<B256, (V, usize)>,
    order: VecDeque<B256>,
    bytes: usize,
    bytes_max: usize,
}

impl<V> Cache<V> {
    pub(super) const fn new(bytes_max: usize) -> Self {
        Self {
            values: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    pub(super) fn get(&self, hash: &B256) -> Option<&V> {
        self.values.get(hash).map(|(value, _)| value)
    }

    pub(super) fn insert(&mut self, hash: B256, value: V, weight: usize) {
        // 64 bytes for the place in both collections.
        let weight = weight.saturating_add(64);
        if self.values.contains_key(&hash) || weight > self.bytes_max {
            return;
        }
        self.values.insert(hash, (value, weight));
        self.order.push_back(hash);
        self.bytes = self.bytes.saturating_add(weight);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            if let Some((_, weight)) = self.values.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(weight);
            }
        }
    }
}

/// What is wrong with an answer of a source. Each check has its own name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Lie {
    /// It has nothing where there must be something.
    #[error("the source has nothing for what must exist")]
    Nothing,
    /// The shape is wrong.
    #[error("the answer is malformed ({0})")]
    Shape(String),
    /// The header is another one.
    #[error("the header's hash is {found}, not {wanted}")]
    Header {
        /// What came.
        found: B256,
        /// What was asked for.
        wanted: B256,
    },
    /// The code is another one.
    #[error("the code's hash is {found}, not {wanted}")]
    Code {
        /// What came.
        found: B256,
        /// What was asked for.
        wanted: B256,
    },
    /// The account is not proved.
    #[error("the account is not proved: {0}")]
    Account(ProofError),
    /// A slot is not proved.
    #[error("slot {slot} is not proved: {reason}")]
    Slot {
        /// The slot.
        slot: U256,
        /// Why.
        reason: ProofError,
    },
    /// The transactions are not those of the block.
    #[error("the transactions are not those of the block")]
    Body,
    /// The receipts are not those of the block.
    #[error("the receipts are not those of the block")]
    Receipts,
    /// More than may be sent.
    #[error("the answer holds more than was asked for")]
    TooMuch,
}

/// Everything proved so far that is still remembered.
#[derive(Clone, Debug)]
pub struct Knowledge {
    headers: Cache<Header>,
    pub(crate) nodes: TrieNodes,
    codes: Cache<Bytes>,
    bodies: Cache<Vec<(B256, Tx)>>,
    receipts: Cache<Vec<ReceiptEnvelope>>,
}

impl Default for Knowledge {
    fn default() -> Self {
        Self {
            headers: Cache::new(HEADER_BYTES),
            nodes: TrieNodes::new(NODE_BYTES),
            codes: Cache::new(CODE_BYTES),
            bodies: Cache::new(BLOCK_BYTES),
            receipts: Cache::new(BLOCK_BYTES),
        }
    }
}

fn shape(error: impl std::fmt::Display) -> Lie {
    Lie::Shape(error.to_string().chars().take(200).collect())
}

impl Knowledge {
    /// Returns the header with this hash, if it is known.
    #[must_use]
    pub fn header(&self, hash: B256) -> Option<&Header> {
        self.headers.get(&hash)
    }

    /// Returns code by its hash, if it is known.
    #[must_use]
    pub fn code(&self, hash: B256) -> Option<&Bytes> {
        self.codes.get(&hash)
    }

    /// Returns the transactions of a block with their hashes, if they are known.
    #[must_use]
    pub fn body(&self, block: B256) -> Option<&[(B256, Tx)]> {
        self.bodies.get(&block).map(Vec::as_slice)
    }

    /// Returns the receipts of a block, if they are known.
    #[must_use]
    pub fn receipts(&self, block: B256) -> Option<&[ReceiptEnvelope]> {
        self.receipts.get(&block).map(Vec::as_slice)
    }

    /// Looks an account up under a state root; `None` if it is proved absent.
    ///
    /// # Errors
    ///
    /// [`ProofError::Missing`] if a node on the way is not known.
    pub fn account(
        &self,
        state_root: B256,
        address: Address,
    ) -> Result<Option<TrieAccount>, ProofError> {
        self.nodes
            .lookup(state_root, keccak256(address).as_slice())?
            .map(|value| TrieAccount::decode(&mut value.as_slice()).map_err(|_| ProofError::Value))
            .transpose()
    }

    /// Looks a slot up under a storage root; zero if it is proved absent.
    ///
    /// # Errors
    ///
    /// [`ProofError::Missing`] if a node on the way is not known.
    pub fn slot(&self, storage_root: B256, slot: U256) -> Result<U256, ProofError> {
        let key = keccak256(slot.to_be_bytes::<32>());
        match self.nodes.lookup(storage_root, key.as_slice())? {
            None => Ok(U256::ZERO),
            Some(value) => U256::decode(&mut value.as_slice()).map_err(|_| ProofError::Value),
        }
    }

    /// Judges a source's answer to a need, and remembers what it proves.
    ///
    /// # Errors
    ///
    /// Names the check that fails; nothing is remembered then but trie nodes, which are harmless under their own hash.
    pub fn accept(&mut self, need: &Need, answer: &Value) -> Result<(), Lie> {
        if answer.is_null() && !need.is_hint() {
            return Err(Lie::Nothing);
        }
        match need {
            Need::Header(wanted) => self.accept_header(*wanted, answer),
            Need::State {
                block,
                address,
                slots,
                ..
            } => self.accept_state(*block, *address, slots, answer),
            Need::Code { hash: wanted, .. } => {
                let code = Bytes::deserialize(answer).map_err(shape)?;
                if code.len() > CODE_BYTES_MAX {
                    return Err(Lie::TooMuch);
                }
                let found = keccak256(&code);
                if found != *wanted {
                    return Err(Lie::Code {
                        found,
                        wanted: *wanted,
                    });
                }
                let weight = code.len();
                self.codes.insert(found, code, weight);
                Ok(())
            }
            Need::Body(block) => self.accept_body(*block, answer),
            Need::Receipts(block) => self.accept_receipts(*block, answer),
            Need::Transaction(_) | Need::PendingNonce(_) | Need::Tip | Need::Send(_) => Ok(()),
        }
    }

    fn accept_header(&mut self, wanted: B256, answer: &Value) -> Result<(), Lie> {
        let header = Header::deserialize(answer).map_err(shape)?;
        let found = header.hash_slow();
        if found != wanted {
            return Err(Lie::Header { found, wanted });
        }
        self.headers.insert(found, header, HEADER_WEIGHT);
        Ok(())
    }

    fn accept_state(
        &mut self,
        block: B256,
        address: Address,
        slots: &[U256],
        answer: &Value,
    ) -> Result<(), Lie> {
        let state_root = self.header(block).ok_or(Lie::Nothing)?.state_root;
        let nodes = |value: &Value| {
            Vec::<Bytes>::deserialize(value.get("proof").unwrap_or(value)).map_err(shape)
        };
        let account_nodes = answer
            .get("accountProof")
            .ok_or_else(|| shape("no accountProof"))
            .and_then(nodes)?;
        let slot_nodes = match answer.get("storageProof").and_then(Value::as_array) {
            Some(proofs) if proofs.len() > slots.len() => return Err(Lie::TooMuch),
            Some(proofs) => proofs
                .iter()
                .map(nodes)
                .collect::<Result<Vec<_>, _>>()?
                .concat(),
            None => Vec::new(),
        };
        if account_nodes.len().saturating_add(slot_nodes.len()) > NODES_MAX {
            return Err(Lie::TooMuch);
        }
        for node in account_nodes.into_iter().chain(slot_nodes) {
            self.nodes.insert(node);
        }
        let account = self.account(state_root, address).map_err(Lie::Account)?;
        let Some(account) = account else {
            return Ok(());
        };
        for slot in slots {
            self.slot(account.storage_root, *slot)
                .map_err(|reason| Lie::Slot {
                    slot: *slot,
                    reason,
                })?;
        }
        Ok(())
    }

    fn accept_body(&mut self, block: B256, answer: &Value) -> Result<(), Lie> {
        self.accept_header(block, answer)?;
        let header = self.header(block).ok_or(Lie::Nothing)?;
        let shown = answer
            .get("transactions")
            .and_then(Value::as_array)
            .ok_or_else(|| shape("no transactions"))?;
        if shown.len() > TRANSACTIONS_MAX {
            return Err(Lie::TooMuch);
        }
        let transactions = shown
            .iter()
            .map(Tx::deserialize)
            .collect::<Result<Vec<_>, _>>()
            .map_err(shape)?;
        if calculate_transaction_root(&transactions) != header.transactions_root {
            return Err(Lie::Body);
        }
        let mut weight = 0_usize;
        let body: Vec<(B256, Tx)> = transactions
            .into_iter()
            .map(|tx| {
                let encoded = tx.encoded_2718();
                weight = weight.saturating_add(encoded.len().saturating_mul(2));
                (keccak256(encoded), tx)
            })
            .collect();
        self.bodies.insert(block, body, weight);
        Ok(())
    }

    fn accept_receipts(&mut self, block: B256, answer: &Value) -> Result<(), Lie> {
        let header = self.header(block).ok_or(Lie::Nothing)?;
        let shown = answer.as_array().ok_or_else(|| shape("no list"))?;
        if shown.len() > TRANSACTIONS_MAX {
            return Err(Lie::TooMuch);
        }
        let receipts = shown.iter().map(receipt).collect::<Result<Vec<_>, _>>()?;
        if calculate_receipt_root(&receipts) != header.receipts_root {
            return Err(Lie::Receipts);
        }
        let weight = receipts
            .iter()
            .map(Encodable2718::encode_2718_len)
            .fold(0, usize::saturating_add);
        self.receipts.insert(block, receipts, weight);
        Ok(())
    }
}

/// What the receipts' root commits to, out of a receipt as JSON-RPC shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShownReceipt {
    #[serde(rename = "type")]
    kind: Option<U64>,
    status: U64,
    cumulative_gas_used: U64,
    logs: Vec<Log>,
}

fn receipt(value: &Value) -> Result<ReceiptEnvelope, Lie> {
    let shown = ShownReceipt::deserialize(value).map_err(shape)?;
    let receipt = Receipt {
        status: (shown.status == U64::from(1)).into(),
        cumulative_gas_used: shown.cumulative_gas_used.to(),
        logs: shown.logs,
    }
    .with_bloom();
    let kind = shown.kind.map_or(0, |kind| kind.to::<u64>());
    let kind = u8::try_from(kind)
        .ok()
        .and_then(|kind| TxType::try_from(kind).ok())
        .ok_or_else(|| shape("unknown type"))?;
    Ok(match kind {
        TxType::Legacy => ReceiptEnvelope::Legacy(receipt),
        TxType::Eip2930 => ReceiptEnvelope::Eip2930(receipt),
        TxType::Eip1559 => ReceiptEnvelope::Eip1559(receipt),
        TxType::Eip4844 => ReceiptEnvelope::Eip4844(receipt),
        TxType::Eip7702 => ReceiptEnvelope::Eip7702(receipt),
    })
}

/// Gas that each transaction used, from the running sums in the receipts.
pub(crate) fn gas_used(receipts: &[ReceiptEnvelope], at: usize) -> u64 {
    let sum = |at: usize| {
        receipts
            .get(at)
            .map_or(0, ReceiptEnvelope::cumulative_gas_used)
    };
    match at.checked_sub(1) {
        Some(before) => sum(at).saturating_sub(sum(before)),
        None => sum(at),
    }
}

/// Number of the first log of a transaction in its block.
pub(crate) fn first_log(receipts: &[ReceiptEnvelope], at: usize) -> u64 {
    let before = receipts.iter().take(at);
    let count = before
        .map(|one| one.logs().len())
        .fold(0, usize::saturating_add);
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The type of a transaction as a number.
pub(crate) fn kind(tx: &Tx) -> u64 {
    u64::from(tx.ty())
}
