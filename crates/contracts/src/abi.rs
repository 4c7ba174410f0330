//! Calls, returns, events, errors and bytecode of each contract, generated from the compiled artifacts.
//!
//! Each module holds one contract of the same name with a `BYTECODE` to deploy (the constructor's arguments, ABI-encoded, follow
//! it) and one Rust type per function, event and error; names and units are those of `contracts/src/interfaces`.

/// The token SMT: ERC-20, EIP-2612 and payments authorised by signature.
pub mod token {
    alloy_sol_types::sol!(
        #[derive(Debug)]
        SMT,
        "../../contracts/artifacts/SMT.json"
    );
}

/// Payment channels.
#[expect(
    clippy::too_many_arguments,
    reason = "a generated constructor takes each member of its event"
)]
pub mod channels {
    alloy_sol_types::sol!(
        #[derive(Debug)]
        Channels,
        "../../contracts/artifacts/Channels.json"
    );
}

/// Conditions of conditional payments and the registry of fulfilled ones.
pub mod conditions {
    alloy_sol_types::sol!(
        #[derive(Debug)]
        Conditions,
        "../../contracts/artifacts/Conditions.json"
    );
}

/// Bonded chequebooks.
pub mod chequebook {
    alloy_sol_types::sol!(
        #[derive(Debug)]
        Chequebook,
        "../../contracts/artifacts/Chequebook.json"
    );
}

/// Rewards of relays.
pub mod rewards {
    alloy_sol_types::sol!(
        #[derive(Debug)]
        Rewards,
        "../../contracts/artifacts/Rewards.json"
    );
}
