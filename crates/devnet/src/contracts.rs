//! SmartMesh's contracts on a new chain, and money for its first people.

use alloy_consensus::{EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip4844};
use alloy_eips::Encodable2718;
use alloy_primitives::{Address, B256, Bytes, Signature, TxKind, U256};
use alloy_sol_types::SolCall;
use k256::ecdsa::SigningKey;
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::{Deployment, DeploymentPlan};

use crate::chain::Devnet;
use crate::execute::Invalid;
use crate::genesis::DEV_ACCOUNTS;

/// Key of the first known account, as public as its mnemonic.
const DEV_KEY: [u8; 32] =
    alloy_primitives::hex!("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
/// Gas of each of our own transactions; the largest deployment takes a fifth of it.
const GAS: u64 = 16_000_000;

impl Devnet {
    /// Deploys the five contracts, one block each. The whole supply of SMT goes to the first known account, from which
    /// [`Devnet::fund`] pays.
    ///
    /// # Errors
    /// If the chain is not one of [`crate::Genesis::dev`], whose first account pays for it.
    pub fn deploy_contracts(&mut self, now: u64) -> Result<Deployment, Invalid> {
        let [holder, ..] = DEV_ACCOUNTS;
        let block = self.head().header.number.saturating_add(1);
        let plan = DeploymentPlan::new(holder, self.nonce(holder), holder);
        for creation in &plan.creations {
            self.send_as_dev(TxKind::Create, creation.code.clone(), now)?;
        }
        let deployment = plan.deployment(self.chain_id(), block);
        self.deployment = Some(deployment);
        Ok(deployment)
    }

    /// The contracts that [`Devnet::deploy_contracts`] made.
    #[must_use]
    pub fn deployment(&self) -> Option<&Deployment> {
        self.deployment.as_ref()
    }

    /// Gives somebody SMT (base units) and sets their balance to at least so much wei.
    ///
    /// # Errors
    /// If no contracts were deployed, or the supply is used up.
    pub fn fund(&mut self, who: Address, wei: U256, smt: U256, now: u64) -> Result<(), Invalid> {
        let token = self
            .deployment
            .ok_or_else(|| Invalid("no contracts were deployed on this chain".to_owned()))?
            .smt;
        if self.balance(who) < wei {
            self.set_balance(who, wei);
        }
        if !smt.is_zero() {
            let call = SMT::transferCall {
                to: who,
                value: smt,
            };
            self.send_as_dev(TxKind::Call(token), call.abi_encode().into(), now)?;
        }
        Ok(())
    }

    /// A transaction of the first known account, in a block when this returns.
    fn send_as_dev(&mut self, to: TxKind, input: Bytes, now: u64) -> Result<B256, Invalid> {
        let [dev, ..] = DEV_ACCOUNTS;
        let base_fee = self.next_header(now).base_fee_per_gas.unwrap_or_default();
        let tx = TxEip1559 {
            chain_id: self.chain_id(),
            nonce: self.nonce(dev),
            gas_limit: GAS,
            max_fee_per_gas: u128::from(base_fee).saturating_mul(2),
            max_priority_fee_per_gas: 0,
            to,
            input,
            ..TxEip1559::default()
        };
        let key = SigningKey::from_slice(&DEV_KEY).map_err(|error| Invalid(error.to_string()))?;
        let signed = key
            .sign_prehash_recoverable(tx.signature_hash().as_slice())
            .map_err(|error| Invalid(error.to_string()))?;
        let tx: EthereumTxEnvelope<TxEip4844> = tx.into_signed(Signature::from(signed)).into();
        let hash = self.send(&tx.encoded_2718(), now)?;
        if self.transaction(hash).is_none() {
            self.mine(now);
        }
        let done = self
            .transaction(hash)
            .and_then(|(block, at)| block.transactions.get(at));
        if done.is_some_and(crate::Included::succeeded) {
            Ok(hash)
        } else {
            Err(Invalid("the transaction failed".to_owned()))
        }
    }
}
