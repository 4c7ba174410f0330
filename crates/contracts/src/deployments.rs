//! Where the contracts are, by chain id.

use alloy_primitives::Address;

/// Addresses of one deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Block of the first of the five; logs need not be looked for below it.
    pub block: u64,
    /// The token.
    pub smt: Address,
    /// Conditions and their registry.
    pub conditions: Address,
    /// Payment channels.
    pub channels: Address,
    /// Chequebooks.
    pub chequebook: Address,
    /// Rewards of relays.
    pub rewards: Address,
}

/// Deployments that everybody can use, by rising chain id. None is public yet: a node on its own chain takes the addresses
/// from its configuration.
const KNOWN: &[Deployment] = &[];

/// Returns the deployment known for `chain_id`, if there is one.
#[must_use]
pub fn deployment(chain_id: u64) -> Option<Deployment> {
    KNOWN
        .iter()
        .copied()
        .find(|known| known.chain_id == chain_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_listed_once_and_in_order() {
        assert!(
            KNOWN
                .windows(2)
                .all(|pair| pair[0].chain_id < pair[1].chain_id)
        );
        assert_eq!(deployment(u64::MAX), None);
    }
}
