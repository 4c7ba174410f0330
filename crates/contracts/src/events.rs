//! Logs of the contracts as values.

use alloy_primitives::{Address, LogData};
use alloy_sol_types::SolEventInterface;

use crate::{Deployment, abi};

/// A log of one of the contracts.
#[derive(Clone, Debug)]
pub enum ContractEvent {
    /// Of the token.
    Smt(abi::token::SMT::SMTEvents),
    /// Of the registry of conditions.
    Conditions(abi::conditions::Conditions::ConditionsEvents),
    /// Of payment channels.
    Channels(abi::channels::Channels::ChannelsEvents),
    /// Of chequebooks.
    Chequebook(abi::chequebook::Chequebook::ChequebookEvents),
    /// Of rewards.
    Rewards(abi::rewards::Rewards::RewardsEvents),
}

/// Why a log is none of ours.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The address is not in the deployment.
    #[error("log of {0}, which is none of our contracts")]
    Stranger(Address),
    /// Topics or data do not have the shape of an event of that contract.
    #[error("log that its contract cannot emit: {0}")]
    Malformed(#[from] alloy_sol_types::Error),
}

/// Decodes a log that `address` emitted. The log must come out of a proved receipt: nothing here shows that it happened.
///
/// # Errors
/// If the address is not in `deployment`, or the log is not an event of the contract there.
pub fn decode_log(
    deployment: &Deployment,
    address: Address,
    log: &LogData,
) -> Result<ContractEvent, EventError> {
    let (topics, data) = (log.topics(), log.data.as_ref());
    if address == deployment.channels {
        Ok(ContractEvent::Channels(SolEventInterface::decode_raw_log(
            topics, data,
        )?))
    } else if address == deployment.conditions {
        Ok(ContractEvent::Conditions(
            SolEventInterface::decode_raw_log(topics, data)?,
        ))
    } else if address == deployment.chequebook {
        Ok(ContractEvent::Chequebook(
            SolEventInterface::decode_raw_log(topics, data)?,
        ))
    } else if address == deployment.smt {
        Ok(ContractEvent::Smt(SolEventInterface::decode_raw_log(
            topics, data,
        )?))
    } else if address == deployment.rewards {
        Ok(ContractEvent::Rewards(SolEventInterface::decode_raw_log(
            topics, data,
        )?))
    } else {
        Err(EventError::Stranger(address))
    }
}
