//! The token that changes its manners (contracts/test/support/Chameleon.sol).

use alloy_primitives::{Address, U256, address};
use alloy_sol_types::SolValue;
use smartmesh_contracts::model::{Ledger, Manner};

use super::Dice;
use crate::chain::{Chain, Failed, Receipt};

alloy_sol_types::sol!(Chameleon, "testdata/chameleon.json");

/// Where it puts the tenths it takes.
pub(super) const TAX: Address = address!("0x00000000000000000000000000000000000007A5");
/// Slot of the number of calls back that got in.
const ENTERED_SLOT: u64 = 3;

/// Deploys one whose supply is with `holder`.
pub(super) fn deploy(chain: &mut Chain, holder: Address, supply: u128) -> Address {
    let arguments = (holder, U256::from(supply)).abi_encode();
    chain.deploy(&Chameleon::BYTECODE, &arguments)
}

/// Changes its manners on both sides. To the model a token that returns nothing or calls back is a plain one, and the three
/// ways to refuse are one.
pub(super) fn behave(
    chain: &mut Chain,
    token: Address,
    ledger: &mut Ledger,
    dice: &mut Dice,
) -> Result<Receipt, Failed> {
    let manner = dice.pick(&[0_u8, 0, 1, 1, 2, 3, 4, 5, 6, 6]);
    ledger.manner = match manner {
        1 => Manner::TakesTenth(TAX),
        3..=5 => Manner::Refuses,
        _ => Manner::Plain,
    };
    chain.call(TAX, token, &Chameleon::behaveCall { m: manner })
}

/// Puts an account on its list of refused receivers, or off it.
pub(super) fn refuse(
    chain: &mut Chain,
    token: Address,
    ledger: &mut Ledger,
    account: Address,
) -> Result<Receipt, Failed> {
    let yes = !ledger.refused.remove(&account);
    if yes {
        ledger.refused.insert(account);
    }
    chain.call(TAX, token, &Chameleon::refuseCall { account, yes })
}

/// No call back of it got past the lock.
pub(super) fn nobody_entered(chain: &Chain, token: Address) -> bool {
    chain.word(token, U256::from(ENTERED_SLOT)) == U256::ZERO
}
