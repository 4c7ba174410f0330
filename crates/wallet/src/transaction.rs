//! Transactions of an account (EIP-1559).

use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip4844};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};

use crate::Key;

/// What a transaction pays for each unit of gas, in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// At most this, base fee and tip together.
    pub most: u128,
    /// At most this to who makes the block.
    pub tip: u128,
}

impl Fees {
    /// Fees that last while the base fee doubles: six full blocks, more than a minute.
    #[must_use]
    pub fn over(base_fee: u128, tip: u128) -> Self {
        Self {
            most: base_fee.saturating_mul(2).saturating_add(tip),
            tip,
        }
    }

    /// The least that replaces a waiting transaction: an eighth more of both, where nodes want a tenth.
    #[must_use]
    pub fn raised(self) -> Self {
        let raise = |wei: u128| wei.saturating_add(wei / 8).saturating_add(1);
        Self {
            most: raise(self.most),
            tip: raise(self.tip),
        }
    }
}

/// A transaction before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// How many the account has sent before.
    pub nonce: u64,
    /// Gas it may use.
    pub gas_limit: u64,
    /// What it pays for gas.
    pub fees: Fees,
    /// Whom it calls; `None` makes a contract.
    pub to: Option<Address>,
    /// Wei.
    pub value: U256,
    /// Call data.
    pub data: Bytes,
}

/// A transaction as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    /// Its name on the chain.
    pub hash: B256,
    /// EIP-2718 encoding.
    pub raw: Bytes,
}

impl Transaction {
    /// Signs it. The same transaction always gives the same bytes.
    #[must_use]
    pub fn sign(&self, key: &Key) -> SignedTransaction {
        let tx = TxEip1559 {
            chain_id: self.chain_id,
            nonce: self.nonce,
            gas_limit: self.gas_limit,
            max_fee_per_gas: self.fees.most,
            max_priority_fee_per_gas: self.fees.tip,
            to: self.to.map_or(TxKind::Create, TxKind::Call),
            value: self.value,
            input: self.data.clone(),
            ..TxEip1559::default()
        };
        let signature = key.sign_digest(tx.signature_hash());
        let signed: EthereumTxEnvelope<TxEip4844> = tx.into_signed(signature).into();
        SignedTransaction {
            hash: *signed.hash(),
            raw: signed.encoded_2718().into(),
        }
    }

    /// The most that it can cost, in wei.
    #[must_use]
    pub fn cost_max(&self) -> U256 {
        let gas = U256::from(self.gas_limit).saturating_mul(U256::from(self.fees.most));
        self.value.saturating_add(gas)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_consensus::transaction::SignerRecoverable;
    use alloy_eips::Decodable2718;

    #[test]
    fn signed_bytes_decode_to_the_same_sender() {
        let key = Key::from_bytes(&[0x11; 32]).unwrap();
        let tx = Transaction {
            chain_id: 31_337,
            nonce: 7,
            gas_limit: 21_000,
            fees: Fees::over(1_000_000_000, 2),
            to: Some(Address::repeat_byte(0x22)),
            value: U256::from(5),
            data: Bytes::new(),
        };
        let signed = tx.sign(&key);
        assert_eq!(signed, tx.sign(&key));
        let read = EthereumTxEnvelope::<TxEip4844>::decode_2718(&mut &signed.raw[..]).unwrap();
        assert_eq!(read.recover_signer().unwrap(), key.address());
        assert_eq!(*read.hash(), signed.hash);
        let cost = U256::from(21_000_u64) * U256::from(2_000_000_002_u64) + U256::from(5);
        assert_eq!(tx.cost_max(), cost);
        let raised = tx.fees.raised();
        assert!(raised.most * 10 >= tx.fees.most * 11 && raised.tip > tx.fees.tip);
    }
}
