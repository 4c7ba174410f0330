//! Payments in SMT that somebody else brings to the chain for a fee in SMT, so that nobody needs ether
//! (docs/contracts.md, "SMT").

use alloy_primitives::{Address, B256, Bytes, Signature, U256};
use alloy_sol_types::SolCall;
use smartmesh_contracts::Deployment;
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::typed::token::Transfer;
use smartmesh_contracts::typed::{self, Verifier};
use thiserror::Error;

use crate::Key;

/// First byte of the encoding.
const VERSION: u8 = 1;
/// Version, chain id, token, three addresses, four words, signature.
const BYTES: usize = 1 + 8 + 20 + 60 + 128 + 65;

/// A signed transfer that any agent, or the one it names, can submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorisedTransfer {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The token.
    pub token: Address,
    /// What is signed: amounts in base units, deadline in seconds.
    pub transfer: Transfer,
    /// By `transfer.from`.
    pub signature: Signature,
}

/// Why bytes are no authorised transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodePaymentError {
    /// Another length or version.
    #[error("this is not a signed payment of a known version")]
    Shape,
    /// Not signed by who pays.
    #[error("the payment is not signed by who pays")]
    Signature,
}

impl AuthorisedTransfer {
    /// Signs a transfer for the contracts of `deployment`.
    #[must_use]
    pub fn sign(deployment: &Deployment, transfer: Transfer, key: &Key) -> Self {
        let domain = Verifier::Smt.domain(deployment.chain_id, deployment.smt);
        let signature = key.sign_typed(&transfer, &domain);
        Self {
            chain_id: deployment.chain_id,
            token: deployment.smt,
            transfer,
            signature,
        }
    }

    /// Whether who pays has signed exactly this.
    #[must_use]
    pub fn verify(&self) -> bool {
        let domain = Verifier::Smt.domain(self.chain_id, self.token);
        let digest = typed::digest(&self.transfer, &domain);
        self.signature.normalize_s().is_none()
            && self
                .signature
                .recover_address_from_prehash(&digest)
                .is_ok_and(|signer| signer == self.transfer.from)
    }

    /// The call that an agent submits to the token.
    #[must_use]
    pub fn call(&self) -> Bytes {
        let Transfer {
            from,
            to,
            value,
            fee,
            agent,
            nonce,
            deadline,
        } = self.transfer;
        let call = SMT::transferWithFeeCall {
            from,
            to,
            value,
            fee,
            agent,
            nonce,
            deadline,
            signature: Bytes::copy_from_slice(&self.signature.as_bytes()),
        };
        call.abi_encode().into()
    }

    /// The bytes in which it travels:
    ///
    /// ```text
    /// version 1 | chain id 8 | token 20 | from 20 | to 20 | agent 20 | value 32 | fee 32 | nonce 32 | deadline 32 | r s v 65
    /// ```
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let one = &self.transfer;
        let mut bytes = vec![VERSION];
        bytes.extend(self.chain_id.to_be_bytes());
        for address in [self.token, one.from, one.to, one.agent] {
            bytes.extend(address);
        }
        for word in [one.value, one.fee, one.nonce, one.deadline] {
            bytes.extend(word.to_be_bytes::<32>());
        }
        bytes.extend(self.signature.as_bytes());
        bytes
    }

    /// Reads what [`AuthorisedTransfer::encode`] wrote, and checks the signature.
    ///
    /// # Errors
    /// If the bytes have another shape, or who pays has not signed them.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodePaymentError> {
        let shape = DecodePaymentError::Shape;
        if bytes.len() != BYTES {
            return Err(shape);
        }
        let (version, rest) = bytes.split_first().ok_or(shape)?;
        let (chain_id, rest) = rest.split_first_chunk::<8>().ok_or(shape)?;
        let (addresses, rest) = rest.split_at_checked(80).ok_or(shape)?;
        let (words, signature) = rest.split_at_checked(128).ok_or(shape)?;
        let mut addresses = addresses.chunks_exact(20).map(Address::from_slice);
        let mut words = words
            .chunks_exact(32)
            .map(|word| U256::from_be_bytes(B256::from_slice(word).0));
        let mut address = || addresses.next().ok_or(shape);
        let (token, from, to, agent) = (address()?, address()?, address()?, address()?);
        let mut word = || words.next().ok_or(shape);
        let transfer = Transfer {
            from,
            to,
            agent,
            value: word()?,
            fee: word()?,
            nonce: word()?,
            deadline: word()?,
        };
        let payment = Self {
            chain_id: u64::from_be_bytes(*chain_id),
            token,
            transfer,
            signature: Signature::from_raw(signature).map_err(|_| shape)?,
        };
        if *version != VERSION {
            return Err(shape);
        }
        if !payment.verify() || payment.encode() != bytes {
            return Err(DecodePaymentError::Signature);
        }
        Ok(payment)
    }
}

/// The data with which the token hands a deposit to the channels' contract (docs/contracts.md, `onApprovalReceived`):
/// `low 20 | high 20 | terms 2 | epoch 4 | side 1 | locatorLow 32 | locatorHigh 32`.
#[must_use]
pub fn deposit_data(
    low: Address,
    high: Address,
    terms: u16,
    epoch: u32,
    high_pays: bool,
    locators: Option<[B256; 2]>,
) -> Bytes {
    let mut data = [low.as_slice(), high.as_slice()].concat();
    data.extend(terms.to_be_bytes());
    data.extend(epoch.to_be_bytes());
    data.push(u8::from(high_pays));
    if let Some(locators) = locators {
        data.extend(locators.iter().flat_map(|locator| locator.0));
    }
    data.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment() -> AuthorisedTransfer {
        let key = Key::from_bytes(&[0x31; 32]).unwrap();
        let deployment = Deployment {
            chain_id: 1,
            block: 0,
            smt: Address::repeat_byte(1),
            conditions: Address::repeat_byte(2),
            channels: Address::repeat_byte(3),
            chequebook: Address::repeat_byte(4),
            rewards: Address::repeat_byte(5),
        };
        let transfer = Transfer {
            from: key.address(),
            to: Address::repeat_byte(9),
            value: U256::from(1_000),
            fee: U256::from(10),
            agent: Address::ZERO,
            nonce: U256::from_limbs([0, 1, 0, 0]),
            deadline: U256::from(2_000_000_000),
        };
        AuthorisedTransfer::sign(&deployment, transfer, &key)
    }

    #[test]
    fn payments_survive_their_encoding() {
        let payment = payment();
        assert!(payment.verify());
        assert_eq!(payment.encode().len(), BYTES);
        assert_eq!(AuthorisedTransfer::decode(&payment.encode()), Ok(payment));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let bytes = payment().encode();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(AuthorisedTransfer::decode(&changed).is_err(), "byte {at}");
        }
        assert_eq!(
            AuthorisedTransfer::decode(&bytes[1..]),
            Err(DecodePaymentError::Shape)
        );
    }

    #[test]
    fn deposit_data_has_the_contracts_lengths() {
        let (low, high) = (Address::repeat_byte(1), Address::repeat_byte(2));
        assert_eq!(deposit_data(low, high, 0x0405, 3, true, None).len(), 47);
        let locators = Some([B256::repeat_byte(3), B256::repeat_byte(4)]);
        let data = deposit_data(low, high, 0x0405, 3, false, locators);
        assert_eq!((data.len(), data[46]), (111, 0));
    }
}
