//! Where the contracts are: known deployments by chain id, the file that names another one, and how one is made.

use alloy_primitives::{Address, Bytes};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

use crate::abi;

/// Addresses of one deployment. Its JSON form is what `smartmesh chain deploy` prints and a node's configuration takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// One contract to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Creation {
    /// Name of the contract, as in `contracts/src`.
    pub name: &'static str,
    /// Nonce of the transaction that makes it.
    pub nonce: u64,
    /// Data of that transaction: bytecode and the constructor's arguments.
    pub code: Bytes,
    /// Where it will be: a function of sender and nonce.
    pub address: Address,
}

/// The five transactions that make a deployment, in order. Later ones name earlier ones by their addresses, so each must
/// succeed with its nonce before the next is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeploymentPlan {
    /// The contracts, in the order of their nonces.
    pub creations: [Creation; 5],
}

impl DeploymentPlan {
    /// Plans a deployment by `sender`, whose next nonce is `nonce`. The whole supply of SMT goes to `holder`.
    #[must_use]
    pub fn new(sender: Address, nonce: u64, holder: Address) -> Self {
        let at = |place: u64| sender.create(nonce.saturating_add(place));
        let [smt, conditions, channels] = [at(0), at(1), at(2)];
        let creation = |place: u64, name, bytecode: &Bytes, arguments: Vec<u8>| Creation {
            name,
            nonce: nonce.saturating_add(place),
            code: [bytecode.to_vec(), arguments].concat().into(),
            address: at(place),
        };
        Self {
            creations: [
                creation(0, "SMT", &abi::token::SMT::BYTECODE, holder.abi_encode()),
                creation(
                    1,
                    "Conditions",
                    &abi::conditions::Conditions::BYTECODE,
                    Vec::new(),
                ),
                creation(
                    2,
                    "Channels",
                    &abi::channels::Channels::BYTECODE,
                    conditions.abi_encode(),
                ),
                creation(
                    3,
                    "Chequebook",
                    &abi::chequebook::Chequebook::BYTECODE,
                    Vec::new(),
                ),
                creation(
                    4,
                    "Rewards",
                    &abi::rewards::Rewards::BYTECODE,
                    (channels, smt).abi_encode(),
                ),
            ],
        }
    }

    /// What is deployed when all five were made on `chain_id`, the first of them in `block`.
    #[must_use]
    pub fn deployment(&self, chain_id: u64, block: u64) -> Deployment {
        let [smt, conditions, channels, chequebook, rewards] =
            self.creations.each_ref().map(|creation| creation.address);
        Deployment {
            chain_id,
            block,
            smt,
            conditions,
            channels,
            chequebook,
            rewards,
        }
    }
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

    #[test]
    fn a_plan_links_the_contracts_by_address() {
        let sender = Address::repeat_byte(0x11);
        let plan = DeploymentPlan::new(sender, 7, Address::repeat_byte(0x22));
        let made = plan.deployment(5, 9);
        let [smt, conditions, channels, _, rewards] = &plan.creations;
        assert_eq!((smt.address, smt.nonce), (sender.create(7), 7));
        assert_eq!((made.conditions, conditions.nonce), (sender.create(8), 8));
        assert!(channels.code.ends_with(made.conditions.as_slice()));
        assert!(rewards.code.ends_with(made.smt.as_slice()));
        assert_eq!((made.chain_id, made.block), (5, 9));
    }

    #[test]
    fn a_deployment_survives_its_file() {
        let plan = DeploymentPlan::new(Address::repeat_byte(1), 0, Address::ZERO);
        let made = plan.deployment(31_337, 1);
        let text = serde_json::to_string(&made).unwrap();
        assert!(text.contains("\"chain_id\":31337"), "{text}");
        assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap(), made);
        let more = text.replace("\"block\"", "\"blocks\"");
        assert!(serde_json::from_str::<Deployment>(&more).is_err());
    }
}
