//! What the first block holds.

use alloy_primitives::{Address, U256, address};

/// Chain id of development chains.
pub const CHAIN_ID: u64 = 31_337;
/// Wei of one ether.
pub const ETHER: U256 = U256::from_limbs([1_000_000_000_000_000_000, 0, 0, 0]);

/// The first four accounts of the mnemonic `test test test test test test test test test test test junk`, path
/// `m/44'/60'/0'/0/i`. Everybody knows their keys.
pub const DEV_ACCOUNTS: [Address; 4] = [
    address!("f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
    address!("70997970C51812dc3A010C7d01b50e0d17dc79C8"),
    address!("3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"),
    address!("90F79bf6EB2c4f870365E785982E1f101E93b906"),
];

/// Settings of a new chain.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Timestamp of the first block in Unix seconds.
    pub timestamp: u64,
    /// Gas of a block.
    pub gas_limit: u64,
    /// Base fee of the first two blocks in wei.
    pub base_fee: u64,
    /// Who gets the tips.
    pub coinbase: Address,
    /// Blocks under the newest one that count as final: two epochs of 32 slots, as on mainnet.
    pub finality_depth: u64,
    /// Wei of each account.
    pub balances: Vec<(Address, U256)>,
}

impl Genesis {
    /// Ten thousand ether for each known account, base fee 1 gwei, blocks of 36 million gas.
    #[must_use]
    pub fn dev(timestamp: u64) -> Self {
        let rich = ETHER.saturating_mul(U256::from(10_000));
        Self {
            chain_id: CHAIN_ID,
            timestamp,
            gas_limit: 36_000_000,
            base_fee: 1_000_000_000,
            coinbase: Address::ZERO,
            finality_depth: 64,
            balances: DEV_ACCOUNTS.map(|account| (account, rich)).to_vec(),
        }
    }
}
