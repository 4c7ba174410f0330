//! Transactions on their way: each is on disk before it is sent, is sent again until it is in a block, pays more when the
//! fees rise, and is forgotten only when it is deep enough. So a call that is asked for twice is made once.

use alloy_primitives::{Address, B256, Bytes, U256};
use serde::{Deserialize, Serialize};
use smartmesh_wallet::{Fees, Key, SignedTransaction, Transaction};

use super::endpoint::{Endpoint, EndpointError};
use super::ether::Header;

/// Calls on their way at once.
const WAITING_MAX: usize = 256;
/// Seconds after which a transaction that is in no block is sent again.
const AGAIN: u64 = 30;
/// How often a transaction may be made dearer: five eighths more each time is 150 times in all.
const RAISES_MAX: usize = 12;

/// A call on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Who asks for the same call again uses the same name.
    pub(super) name: B256,
    to: Address,
    data: Bytes,
    value: U256,
    nonce: u64,
    gas: u64,
    most: u128,
    tip: u128,
    /// Of every version that was ever sent.
    hashes: Vec<B256>,
    sent_at: u64,
    /// Told to the user once.
    failed: bool,
}

/// What a call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Names the call.
    pub(crate) name: B256,
    /// The contract or account.
    pub(crate) to: Address,
    /// Call data.
    pub(crate) data: Bytes,
    /// Wei.
    pub(crate) value: U256,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is deep enough in the chain.
    Done,
    /// It is in a block and did nothing.
    Failed,
    /// Another transaction of the same account took its place.
    Replaced,
}

/// All that are on their way, of one account on one chain.
#[derive(Debug)]
pub(super) struct Outbox {
    key: Key,
    chain_id: u64,
    entries: Vec<Entry>,
}

impl Outbox {
    /// Goes on with what was kept, [`Outbox::to_bytes`]; bytes that make no sense are none.
    pub(super) fn restore(key: Key, chain_id: u64, kept: Option<&[u8]>) -> Self {
        let entries = kept.and_then(|kept| serde_json::from_slice(kept).ok());
        Self {
            key,
            chain_id,
            entries: entries.unwrap_or_default(),
        }
    }

    /// What must be on disk before anything is sent.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&self.entries).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn holds(&self, name: B256) -> bool {
        self.entries.iter().any(|entry| entry.name == name)
    }

    /// The first nonce that neither the chain nor this outbox uses.
    fn free_nonce(&self, next: u64) -> u64 {
        let ours = self
            .entries
            .iter()
            .map(|entry| entry.nonce.saturating_add(1));
        ours.max().unwrap_or(0).max(next)
    }

    /// Takes a call in; it is sent by [`Outbox::send`] once it is on disk. `next` is the chain's word for the next nonce.
    pub(super) fn add(
        &mut self,
        wish: Wish,
        gas: u64,
        fees: Fees,
        next: u64,
    ) -> Result<B256, String> {
        if self.entries.len() >= WAITING_MAX {
            return Err(
                "too many transactions are on their way; wait until some are done".to_owned(),
            );
        }
        let entry = Entry {
            name: wish.name,
            to: wish.to,
            data: wish.data,
            value: wish.value,
            nonce: self.free_nonce(next),
            gas,
            most: fees.most,
            tip: fees.tip,
            hashes: Vec::new(),
            sent_at: 0,
            failed: false,
        };
        let hash = self.signed(&entry).hash;
        self.entries.push(Entry {
            hashes: vec![hash],
            ..entry
        });
        Ok(hash)
    }

    fn signed(&self, entry: &Entry) -> SignedTransaction {
        let transaction = Transaction {
            chain_id: self.chain_id,
            nonce: entry.nonce,
            gas_limit: entry.gas,
            fees: Fees {
                most: entry.most,
                tip: entry.tip,
            },
            to: Some(entry.to),
            value: entry.value,
            data: entry.data.clone(),
        };
        transaction.sign(&self.key)
    }

    /// Sends what was never sent or has been silent for long. A refusal is no reason to stop: the endpoint may know the
    /// transaction already.
    pub(super) fn send(&mut self, endpoint: &Endpoint, now: u64) -> Result<(), EndpointError> {
        for at in 0..self.entries.len() {
            let Some(entry) = self.entries.get(at) else {
                break;
            };
            if entry.sent_at.saturating_add(AGAIN) > now {
                continue;
            }
            let raw = self.signed(entry).raw;
            match endpoint.send(&raw) {
                Ok(_) => {}
                Err(EndpointError::Refused { message, .. }) => {
                    tracing::debug!(%message, "a transaction was not taken");
                }
                Err(error) => return Err(error),
            }
            if let Some(entry) = self.entries.get_mut(at) {
                entry.sent_at = now;
            }
        }
        Ok(())
    }

    /// Makes dearer what the newest base fee left behind. Returns whether something changed, which must be on disk before
    /// it is sent.
    pub(super) fn raise(&mut self, base_fee: u128) -> bool {
        let mut changed = false;
        for at in 0..self.entries.len() {
            let Some(mut entry) = self.entries.get(at).cloned() else {
                break;
            };
            if base_fee.saturating_add(entry.tip) <= entry.most || entry.hashes.len() > RAISES_MAX {
                continue;
            }
            let needed = Fees::over(base_fee, entry.tip);
            let raised = Fees {
                most: entry.most,
                tip: entry.tip,
            }
            .raised();
            entry.most = raised.most.max(needed.most);
            entry.tip = raised.tip;
            entry.sent_at = 0;
            entry.hashes.push(self.signed(&entry).hash);
            if let Some(place) = self.entries.get_mut(at) {
                *place = entry;
                changed = true;
            }
        }
        changed
    }

    /// Asks what became of each; forgets those that are deep enough, and tells.
    pub(super) fn check(
        &mut self,
        endpoint: &Endpoint,
        head: &Header,
        confirmations: u64,
    ) -> Result<Vec<(B256, Outcome)>, EndpointError> {
        let mut told = Vec::new();
        let mut kept = Vec::new();
        if self.entries.is_empty() {
            return Ok(told);
        }
        let confirmed = endpoint.nonce(self.key.address(), "latest")?;
        for mut entry in self.entries.clone() {
            let mut receipt = None;
            for hash in &entry.hashes {
                receipt = receipt.or(endpoint.receipt(*hash)?);
            }
            match receipt {
                Some(receipt) => {
                    let depth = head.number().saturating_sub(receipt.block());
                    if !receipt.succeeded() && !entry.failed {
                        entry.failed = true;
                        told.push((entry.name, Outcome::Failed));
                    }
                    if depth < confirmations {
                        kept.push(entry);
                    } else if receipt.succeeded() {
                        told.push((entry.name, Outcome::Done));
                    }
                }
                None if confirmed > entry.nonce => told.push((entry.name, Outcome::Replaced)),
                None => kept.push(entry),
            }
        }
        self.entries = kept;
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_devnet::{Devnet, ETHER, Genesis, Mining, Orphans};
    use std::sync::{Arc, Mutex};

    const NOW: u64 = 1_800_000_000;
    const CONFIRMATIONS: u64 = 3;

    fn key() -> Key {
        Key::from_bytes(&[0x41; 32]).unwrap()
    }

    struct Test {
        devnet: Arc<Mutex<Devnet>>,
        endpoint: Endpoint,
        outbox: Outbox,
        now: u64,
    }

    fn test() -> Test {
        let mut devnet = Devnet::new(&Genesis::dev(NOW));
        devnet.set_balance(key().address(), ETHER);
        devnet.set_mining(Mining::Manual);
        let devnet = Arc::new(Mutex::new(devnet));
        Test {
            endpoint: Endpoint::Devnet(Arc::clone(&devnet)),
            devnet,
            outbox: Outbox::restore(key(), 31_337, None),
            now: NOW,
        }
    }

    fn wish(name: u8) -> Wish {
        Wish {
            name: B256::repeat_byte(name),
            to: Address::repeat_byte(0x77),
            data: Bytes::new(),
            value: U256::from(1_000),
        }
    }

    impl Test {
        fn add(&mut self, name: u8, most: u128) {
            let next = self.endpoint.nonce(key().address(), "pending").unwrap();
            let fees = Fees { most, tip: 1 };
            self.outbox.add(wish(name), 21_000, fees, next).unwrap();
        }

        fn send(&mut self) {
            self.now = self.now.saturating_add(AGAIN);
            self.outbox.send(&self.endpoint, self.now).unwrap();
        }

        fn mine(&mut self, blocks: u64) -> Vec<(B256, Outcome)> {
            for _ in 0..blocks {
                self.devnet.lock().unwrap().mine(self.now);
            }
            let head = self.endpoint.head().unwrap();
            self.outbox
                .check(&self.endpoint, &head, CONFIRMATIONS)
                .unwrap()
        }

        fn paid(&self) -> U256 {
            self.devnet
                .lock()
                .unwrap()
                .balance(Address::repeat_byte(0x77))
        }
    }

    #[test]
    fn a_call_is_made_once_and_forgotten_when_deep() {
        let mut test = test();
        test.add(1, 3_000_000_000);
        test.add(2, 3_000_000_000);
        test.send();
        assert_eq!(test.mine(1), []);
        // A restart in between sends again what is on disk, and changes nothing.
        let kept = test.outbox.to_bytes();
        test.outbox = Outbox::restore(key(), 31_337, Some(&kept));
        assert!(test.outbox.holds(B256::repeat_byte(1)));
        test.send();
        let done = test.mine(CONFIRMATIONS);
        assert_eq!(done.len(), 2);
        assert!(done.iter().all(|(_, outcome)| *outcome == Outcome::Done));
        assert_eq!((test.outbox.len(), test.paid()), (0, U256::from(2_000)));
    }

    #[test]
    fn a_reorganisation_that_forgets_it_changes_nothing_in_the_end() {
        let mut test = test();
        test.add(1, 3_000_000_000);
        test.send();
        assert_eq!(test.mine(1), []);
        test.devnet.lock().unwrap().rollback(1, Orphans::Forget);
        assert_eq!((test.mine(1), test.paid()), (vec![], U256::ZERO));
        test.send();
        let done = test.mine(CONFIRMATIONS + 1);
        assert_eq!(done, [(B256::repeat_byte(1), Outcome::Done)]);
        assert_eq!(test.paid(), U256::from(1_000));
    }

    #[test]
    fn what_the_fees_left_behind_pays_more() {
        let mut test = test();
        test.add(1, 1_100_000_000);
        test.send();
        test.devnet
            .lock()
            .unwrap()
            .set_next_base_fee(50_000_000_000);
        assert_eq!((test.mine(1), test.paid()), (vec![], U256::ZERO));
        assert!(!test.outbox.raise(1_000_000_000));
        assert!(test.outbox.raise(50_000_000_000));
        test.send();
        test.mine(1);
        assert_eq!(test.paid(), U256::from(1_000));
    }
}
