//! The embedded bytecode on an in-memory chain: accounts with keys, one block a call, gas free of charge.

use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolCall, SolValue};
use k256::ecdsa::SigningKey;
use revm::context::{Context, TxEnv};
use revm::context_interface::result::ExecutionResult;
use revm::database::InMemoryDB;
use revm::database_interface::DatabaseRef;
use revm::handler::{MainnetContext, MainnetEvm};
use revm::primitives::hardfork::SpecId;
use revm::{ExecuteCommitEvm, MainBuilder, MainContext, SystemCallCommitEvm};
use smartmesh_contracts::typed::{SolStruct, Verifier, digest};
use smartmesh_contracts::{channels, chequebook, conditions, token};

/// Chain id of the in-memory chain.
pub(crate) const CHAIN_ID: u64 = 31_337;
/// Enough for every call of a test.
const GAS_LIMIT: u64 = 30_000_000;

/// A key and its address.
#[derive(Clone)]
pub(crate) struct Account {
    key: SigningKey,
    pub(crate) address: Address,
}

impl Account {
    /// The account whose key is 32 times `seed` (not 0).
    pub(crate) fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_encoded_point(false);
        let address = Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..]);
        Self { key, address }
    }

    /// EIP-2098 signature (r, vs) of a digest, s in the lower half.
    pub(crate) fn sign_digest(&self, digest: B256) -> (B256, B256) {
        let (signature, parity) = self
            .key
            .sign_prehash_recoverable(digest.as_slice())
            .unwrap();
        let bytes = signature.to_bytes();
        let mut vs = B256::from_slice(&bytes[32..]);
        if parity.is_y_odd() {
            vs.0[0] |= 0x80;
        }
        (B256::from_slice(&bytes[..32]), vs)
    }

    /// Signs a typed struct.
    pub(crate) fn sign(&self, message: &impl SolStruct, domain: &Eip712Domain) -> (B256, B256) {
        self.sign_digest(digest(message, domain))
    }

    /// 65 bytes r, s, v, as the token takes them.
    pub(crate) fn sign_long(&self, message: &impl SolStruct, domain: &Eip712Domain) -> Bytes {
        let (r, mut vs) = self.sign(message, domain);
        let v = 27 + (vs.0[0] >> 7);
        vs.0[0] &= 0x7f;
        [r.as_slice(), vs.as_slice(), &[v]].concat().into()
    }
}

/// A call that went through.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) gas: u64,
    pub(crate) logs: Vec<Log>,
    pub(crate) created: Option<Address>,
}

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The revert data.
    Reverted(Bytes),
    /// Anything else, such as gas used up.
    Halted(String),
}

/// Contracts deployed on it, and the time of its next block.
pub(crate) struct Chain {
    evm: MainnetEvm<MainnetContext<InMemoryDB>>,
    pub(crate) now: u64,
    pub(crate) smt: Address,
    pub(crate) conditions: Address,
    pub(crate) channels: Address,
    pub(crate) chequebook: Address,
}

impl Chain {
    /// Deploys all from the embedded bytecode; the token's supply goes to `holder`.
    pub(crate) fn new(holder: Address) -> Self {
        let context = Context::mainnet()
            .with_db(InMemoryDB::default())
            .modify_cfg_chained(|cfg| {
                cfg.chain_id = CHAIN_ID;
                cfg.set_spec_and_mainnet_gas_params(SpecId::OSAKA);
                cfg.disable_nonce_check = true;
                cfg.tx_gas_limit_cap = Some(u64::MAX);
            });
        let context = context.modify_block_chained(|block| block.gas_limit = u64::MAX);
        let evm = context.build_mainnet();
        let zero = Address::ZERO;
        let mut chain = Self {
            evm,
            now: 1_800_000_000,
            smt: zero,
            conditions: zero,
            channels: zero,
            chequebook: zero,
        };
        chain.smt = chain.deploy(&token::SMT::BYTECODE, &holder.abi_encode());
        chain.conditions = chain.deploy(&conditions::Conditions::BYTECODE, &[]);
        let registry = chain.conditions.abi_encode();
        chain.channels = chain.deploy(&channels::Channels::BYTECODE, &registry);
        chain.chequebook = chain.deploy(&chequebook::Chequebook::BYTECODE, &[]);
        chain
    }

    /// Deploys `bytecode` with ABI-encoded constructor arguments.
    pub(crate) fn deploy(&mut self, bytecode: &Bytes, arguments: &[u8]) -> Address {
        let code = [bytecode.as_ref(), arguments].concat();
        self.transact(Address::repeat_byte(0xde), TxKind::Create, code.into())
            .unwrap()
            .created
            .unwrap()
    }

    /// One transaction in one block.
    pub(crate) fn call(
        &mut self,
        from: Address,
        to: Address,
        call: &impl SolCall,
    ) -> Result<Receipt, Failed> {
        self.transact(from, TxKind::Call(to), call.abi_encode().into())
    }

    /// A call whose sender is a contract, as that contract's own code would make it.
    pub(crate) fn call_as_contract(
        &mut self,
        from: Address,
        to: Address,
        call: &impl SolCall,
    ) -> Result<Receipt, Failed> {
        let now = U256::from(self.now);
        self.evm.ctx.modify_block(|block| block.timestamp = now);
        let data: Bytes = call.abi_encode().into();
        receipt(
            self.evm
                .system_call_with_caller_commit(from, to, data)
                .unwrap(),
        )
    }

    fn transact(&mut self, from: Address, to: TxKind, data: Bytes) -> Result<Receipt, Failed> {
        let now = U256::from(self.now);
        self.evm.ctx.modify_block(|block| block.timestamp = now);
        let tx = TxEnv::builder()
            .caller(from)
            .kind(to)
            .data(data)
            .gas_limit(GAS_LIMIT)
            .gas_price(0)
            .chain_id(Some(CHAIN_ID))
            .build()
            .unwrap();
        receipt(self.evm.transact_commit(tx).unwrap())
    }

    /// The state as it is, to return to after a reorganisation.
    pub(crate) fn state(&self) -> InMemoryDB {
        self.evm.ctx.journaled_state.database.clone()
    }

    /// The chain takes another course from an earlier state.
    pub(crate) fn reorganise(&mut self, state: InMemoryDB) {
        self.evm.ctx.journaled_state.database = state;
    }

    /// One word of a contract's storage.
    pub(crate) fn word(&self, contract: Address, slot: U256) -> U256 {
        self.evm
            .ctx
            .journaled_state
            .database
            .storage_ref(contract, slot)
            .unwrap()
    }

    /// Balance of a token that is laid out like SMT (slot 0: balances).
    pub(crate) fn balance(&self, token: Address, account: Address) -> u128 {
        self.word(token, mapped(account, U256::ZERO)).to()
    }

    /// Domain of one of the contracts.
    pub(crate) fn domain(&self, verifier: Verifier) -> Eip712Domain {
        let address = match verifier {
            Verifier::Smt => self.smt,
            Verifier::Conditions => self.conditions,
            Verifier::Channels => self.channels,
            Verifier::Chequebook => self.chequebook,
        };
        verifier.domain(CHAIN_ID, address)
    }
}

fn receipt(result: ExecutionResult) -> Result<Receipt, Failed> {
    match result {
        ExecutionResult::Success {
            gas, logs, output, ..
        } => Ok(Receipt {
            gas: gas.tx_gas_used(),
            logs,
            created: output.address().copied(),
        }),
        ExecutionResult::Revert { output, .. } => Err(Failed::Reverted(output)),
        ExecutionResult::Halt { reason, .. } => Err(Failed::Halted(format!("{reason:?}"))),
    }
}

/// Slot of `key` in the mapping at `slot`.
pub(crate) fn mapped(key: impl SolValue, slot: U256) -> U256 {
    keccak256([key.abi_encode(), slot.abi_encode()].concat()).into()
}
