//! Tokens, well behaved and hostile, as balances.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;

use super::{Refusal, difference, require, sum};

/// One token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Base units by account.
    pub balances: BTreeMap<Address, u128>,
    /// Who let whom take any amount: (owner, spender).
    pub allowed: BTreeSet<(Address, Address)>,
    /// Receivers to whom the token pays nothing.
    pub refused: BTreeSet<Address>,
    /// What it makes of a transfer.
    pub manner: Manner,
}

/// What a token makes of a transfer that it could carry out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// It carries it out, whatever it answers and whomever it calls meanwhile.
    #[default]
    Plain,
    /// A tenth goes to that account instead of the receiver.
    TakesTenth(Address),
    /// It moves nothing: it says no, reverts or burns its gas.
    Refuses,
}

impl Ledger {
    /// Balance of `account`.
    #[must_use]
    pub fn balance(&self, account: Address) -> u128 {
        self.balances.get(&account).copied().unwrap_or(0)
    }

    fn transfer(&mut self, from: Address, to: Address, amount: u128) -> bool {
        let Some(left) = self.balance(from).checked_sub(amount) else {
            return false;
        };
        if self.refused.contains(&to) {
            return false;
        }
        let tax = match self.manner {
            Manner::Plain => None,
            Manner::TakesTenth(collector) => Some((collector, amount.saturating_div(10))),
            Manner::Refuses => return false,
        };
        self.balances.insert(from, left);
        let (collector, tax) = tax.unwrap_or((to, 0));
        self.raise(to, amount.saturating_sub(tax));
        self.raise(collector, tax);
        true
    }

    fn raise(&mut self, account: Address, amount: u128) {
        // The supply is below 2^128, so no balance overflows.
        let raised = self.balance(account).saturating_add(amount);
        self.balances.insert(account, raised);
    }
}

/// All tokens by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bank {
    /// Tokens; an address without one is no contract.
    pub tokens: BTreeMap<Address, Ledger>,
}

impl Bank {
    /// Moves `amount` from its owner into a contract and returns by how much the contract's balance rose.
    ///
    /// # Errors
    /// [`Refusal::TokenFailed`] if the token refuses, [`Refusal::BadAmount`] if nothing arrived.
    pub(super) fn pull(
        &mut self,
        token: Address,
        from: Address,
        into: Address,
        amount: u128,
        allowed: bool,
    ) -> Result<u128, Refusal> {
        let ledger = self.tokens.get_mut(&token).ok_or(Refusal::TokenFailed)?;
        require(
            // Of nothing there is always an allowance.
            allowed || amount == 0 || ledger.allowed.contains(&(from, into)),
            Refusal::TokenFailed,
        )?;
        let before = ledger.balance(into);
        require(ledger.transfer(from, into, amount), Refusal::TokenFailed)?;
        let got = difference(ledger.balance(into), before)?;
        require(got != 0, Refusal::BadAmount)?;
        Ok(got)
    }

    /// Pays; false if the token refused, and then nothing moved.
    pub(super) fn push(
        &mut self,
        token: Address,
        from: Address,
        to: Address,
        amount: u128,
    ) -> bool {
        self.tokens
            .get_mut(&token)
            .is_some_and(|ledger| ledger.transfer(from, to, amount))
    }

    /// Balance of `account` in `token`; zero of no token.
    #[must_use]
    pub fn balance(&self, token: Address, account: Address) -> u128 {
        self.tokens
            .get(&token)
            .map_or(0, |ledger| ledger.balance(account))
    }

    /// Sum of all balances of `token`.
    ///
    /// # Errors
    /// [`Refusal::BadAmount`] if it does not fit 128 bits.
    pub fn supply(&self, token: Address) -> Result<u128, Refusal> {
        self.tokens.get(&token).map_or(Ok(0), |ledger| {
            ledger.balances.values().try_fold(0, |a, b| sum(a, *b))
        })
    }
}
