//! Bonded chequebooks: every call of the contract, on plain values.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, address};

use super::{Bank, Env, Refusal, Signer, difference, require, sum};
use crate::layout::book_id;
use crate::typed::{self, SolStruct};

/// Shortest and longest thaw, seconds: 1 to 365 days.
const THAW: std::ops::RangeInclusive<u64> = 86_400..=365 * 86_400;
/// Funds and bond are below this, base units.
const AMOUNT_LIMIT: u128 = 1 << 96;
/// Where burnt tokens go.
const GRAVE: Address = address!("0x000000000000000000000000000000000000dEaD");

/// What names a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BookTerms {
    /// ERC-20 token.
    pub token: Address,
    /// Wallet that may thaw.
    pub owner: Address,
    /// Key that signs cheques.
    pub issuer: Address,
    /// Most that one beneficiary gets after a fraud, base units.
    pub cap: u128,
    /// Delay of a withdrawal, seconds.
    pub thaw: u64,
}

impl BookTerms {
    /// The book's id.
    #[must_use]
    pub fn id(&self) -> B256 {
        book_id(self.token, self.owner, self.issuer, self.cap, self.thaw)
    }
}

/// A cheque.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cheque {
    /// Issuer's index, from 1.
    pub index: u64,
    /// What this one adds, base units.
    pub increment: u128,
    /// Running total of the book, base units.
    pub total: u128,
    /// Hash of the previous cheque.
    pub previous: B256,
    /// Who may cash it.
    pub beneficiary: Address,
    /// That beneficiary's cumulative amount, base units.
    pub cumulative: u128,
}

impl Cheque {
    /// The struct that is signed.
    #[must_use]
    pub fn typed(&self, book: B256) -> typed::chequebook::Cheque {
        typed::chequebook::Cheque {
            book,
            index: self.index,
            increment: U256::from(self.increment).wrapping_to(),
            total: U256::from(self.total).wrapping_to(),
            previous: self.previous,
            beneficiary: self.beneficiary,
            cumulative: U256::from(self.cumulative).wrapping_to(),
        }
    }

    /// The cheque hash, which the next one carries.
    #[must_use]
    pub fn hash(&self, book: B256) -> B256 {
        self.typed(book).eip712_hash_struct()
    }
}

/// A cheque with who signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCheque {
    /// Content.
    pub cheque: Cheque,
    /// Who signed this content for this book.
    pub signer: Signer,
}

/// A beneficiary's order to an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CashOrder {
    /// Who gets the rest.
    pub to: Address,
    /// Who may submit; zero: anybody.
    pub agent: Address,
    /// Base units.
    pub fee: u128,
    /// Seconds.
    pub deadline: u64,
    /// Who signed this order for this cheque.
    pub signer: Signer,
}

/// An order to set an amount aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockOrder {
    /// For whom.
    pub beneficiary: Address,
    /// All that is set aside then, base units.
    pub amount: u128,
    /// Until when, seconds; later than before.
    pub until: u64,
    /// Seconds; valid iff now < deadline. Counts only if neither owner nor issuer calls, like the signature.
    pub deadline: u64,
    /// Who signed.
    pub signer: Signer,
}

/// Phase of a book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BookPhase {
    /// Never funded.
    #[default]
    None,
    /// Cheques can be cashed and amounts locked.
    Open,
    /// The owner may withdraw at the book's time.
    Thawing,
    /// A contradiction was shown; victims claim until the book's time.
    Fraud,
    /// The owner withdrew.
    Closed,
}

/// One beneficiary's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Cashed so far, base units.
    pub cashed: u128,
    /// Set aside for it, base units.
    pub locked: u128,
    /// Until when, seconds.
    pub until: u64,
    /// Claimed of the pot, base units.
    pub claimed: u128,
}

/// A book as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    /// Backs the cheques, base units.
    pub funds: u128,
    /// Answers for contradictions, base units.
    pub bond: u128,
    /// End of the thaw, or of the claims; seconds.
    pub time: u64,
    /// Phase.
    pub phase: BookPhase,
    /// Half of the bond, after a fraud.
    pub pot: u128,
    /// All that was claimed of it.
    pub claims: u128,
    /// By beneficiary.
    pub accounts: BTreeMap<Address, Account>,
}

impl Book {
    fn account(&self, beneficiary: Address) -> Account {
        self.accounts.get(&beneficiary).copied().unwrap_or_default()
    }

    /// Books what a cheque is still due, from the lock first; returns what is paid and what stays due.
    fn take(&mut self, cheque: &Cheque) -> Result<(u128, u128), Refusal> {
        let mut account = self.account(cheque.beneficiary);
        let due = cheque.cumulative.saturating_sub(account.cashed);
        let from_lock = due.min(account.locked);
        let from_funds = difference(due, from_lock)?.min(self.funds);
        let paid = sum(from_lock, from_funds)?;
        account.cashed = sum(account.cashed, paid)?;
        account.locked = difference(account.locked, from_lock)?;
        self.funds = difference(self.funds, from_funds)?;
        self.accounts.insert(cheque.beneficiary, account);
        Ok((paid, difference(due, paid)?))
    }
}

/// All books of one contract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chequebook {
    /// The contract's own address.
    pub address: Address,
    /// Books by id.
    pub books: BTreeMap<B256, Book>,
}

impl Chequebook {
    /// A contract at `address` in which nothing happened yet.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    /// The book `id`; one never used is empty.
    #[must_use]
    pub fn book(&self, id: B256) -> Book {
        self.books.get(&id).cloned().unwrap_or_default()
    }

    fn pay(
        &self,
        bank: &mut Bank,
        token: Address,
        to: Address,
        amount: u128,
    ) -> Result<(), Refusal> {
        require(
            amount == 0 || bank.push(token, self.address, to, amount),
            Refusal::TokenFailed,
        )
    }

    /// Adds to funds and bond; the caller pays.
    ///
    /// # Errors
    /// `TokenFailed`, `BadAmount`, `BadBook`, `WrongPhase`.
    pub fn fund(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        funds: u128,
        bond: u128,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut after = bank.clone();
        let got = after.pull(
            terms.token,
            env.caller,
            self.address,
            sum(funds, bond)?,
            false,
        )?;
        require(
            terms.owner != Address::ZERO && terms.issuer != Address::ZERO,
            Refusal::BadBook,
        )?;
        require(THAW.contains(&terms.thaw), Refusal::BadBook)?;
        let to_funds = difference(got, bond)?;
        let mut book = self.book(terms.id());
        match book.phase {
            BookPhase::Fraud | BookPhase::Closed => return Err(Refusal::WrongPhase),
            BookPhase::None => book.phase = BookPhase::Open,
            BookPhase::Open | BookPhase::Thawing => {}
        }
        book.funds = sum(book.funds, to_funds)?;
        book.bond = sum(book.bond, bond)?;
        require(
            book.funds < AMOUNT_LIMIT && book.bond < AMOUNT_LIMIT,
            Refusal::BadAmount,
        )?;
        *bank = after;
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Cashes as much as there is.
    ///
    /// # Errors
    /// `BadSignature`, `NothingDue`, `TokenFailed`.
    pub fn cash(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        shown: &SignedCheque,
    ) -> Result<(), Refusal> {
        signed(terms, shown)?;
        let mut book = self.book(terms.id());
        let (paid, _) = book.take(&shown.cheque)?;
        require(paid != 0, Refusal::NothingDue)?;
        self.pay(bank, terms.token, shown.cheque.beneficiary, paid)?;
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Cashes every cheque that pays something and skips the others; returns how many paid.
    pub fn cash_batch(&mut self, bank: &mut Bank, items: &[(BookTerms, SignedCheque)]) -> usize {
        items
            .iter()
            .filter(|(terms, shown)| self.cash(bank, terms, shown).is_ok())
            .count()
    }

    /// Cashes all that is due by a beneficiary's order, for a fee, or nothing.
    ///
    /// # Errors
    /// `BadSignature`, `Expired`, `WrongCaller`, `BadBook`, `NothingDue`, `TokenFailed`.
    pub fn cash_for(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        shown: &SignedCheque,
        order: &CashOrder,
        env: Env,
    ) -> Result<(), Refusal> {
        signed(terms, shown)?;
        require(env.now < order.deadline, Refusal::Expired)?;
        require(
            order.agent == Address::ZERO || order.agent == env.caller,
            Refusal::WrongCaller,
        )?;
        require(order.to != Address::ZERO, Refusal::BadBook)?;
        require(
            order.signer == Some(shown.cheque.beneficiary),
            Refusal::BadSignature,
        )?;
        let mut book = self.book(terms.id());
        let (paid, unpaid) = book.take(&shown.cheque)?;
        require(
            paid != 0 && paid >= order.fee && unpaid == 0,
            Refusal::NothingDue,
        )?;
        let mut after = bank.clone();
        self.pay(
            &mut after,
            terms.token,
            order.to,
            difference(paid, order.fee)?,
        )?;
        self.pay(&mut after, terms.token, env.caller, order.fee)?;
        *bank = after;
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Sets an amount aside for one beneficiary.
    ///
    /// # Errors
    /// `WrongPhase`, `Expired`, `BadSignature`, `BadAmount`.
    pub fn lock_for(
        &mut self,
        terms: &BookTerms,
        order: &LockOrder,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.book(terms.id());
        require(book.phase == BookPhase::Open, Refusal::WrongPhase)?;
        if env.caller != terms.owner && env.caller != terms.issuer {
            require(env.now < order.deadline, Refusal::Expired)?;
            require(
                order.signer == Some(terms.owner) || order.signer == Some(terms.issuer),
                Refusal::BadSignature,
            )?;
        }
        let mut account = book.account(order.beneficiary);
        require(
            order.until > account.until && order.until > env.now,
            Refusal::Expired,
        )?;
        let more = difference(order.amount, account.locked)?;
        book.funds = difference(book.funds, more)?;
        account.locked = order.amount;
        account.until = order.until;
        book.accounts.insert(order.beneficiary, account);
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Gives what is left of an expired lock back to the funds.
    ///
    /// # Errors
    /// `WrongPhase`, `NothingDue`, `BadAmount`.
    pub fn release_lock(
        &mut self,
        terms: &BookTerms,
        beneficiary: Address,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.book(terms.id());
        let mut account = book.account(beneficiary);
        require(env.now >= account.until, Refusal::WrongPhase)?;
        require(account.locked != 0, Refusal::NothingDue)?;
        book.funds = sum(book.funds, account.locked)?;
        require(book.funds < AMOUNT_LIMIT, Refusal::BadAmount)?;
        account.locked = 0;
        book.accounts.insert(beneficiary, account);
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Starts the delay of a withdrawal.
    ///
    /// # Errors
    /// `WrongPhase`, `Expired`, `BadSignature`.
    pub fn start_thaw(
        &mut self,
        terms: &BookTerms,
        deadline: u64,
        signer: Signer,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.book(terms.id());
        require(book.phase == BookPhase::Open, Refusal::WrongPhase)?;
        if env.caller != terms.owner {
            require(env.now < deadline, Refusal::Expired)?;
            require(signer == Some(terms.owner), Refusal::BadSignature)?;
        }
        book.phase = BookPhase::Thawing;
        book.time = env.now.saturating_add(terms.thaw);
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Takes out funds and bond after the delay. The order's `fee` counts only if somebody else calls than the owner.
    ///
    /// # Errors
    /// `WrongPhase`, `BadBook`, `Expired`, `WrongCaller`, `BadSignature`, `NothingDue`, `TokenFailed`.
    pub fn withdraw(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        order: &CashOrder,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.book(terms.id());
        let possible = match book.phase {
            BookPhase::None | BookPhase::Open => false,
            BookPhase::Thawing | BookPhase::Fraud | BookPhase::Closed => env.now >= book.time,
        };
        require(possible, Refusal::WrongPhase)?;
        require(order.to != Address::ZERO, Refusal::BadBook)?;
        let mut fee = 0;
        if env.caller != terms.owner {
            fee = order.fee;
            require(
                fee == 0 || book.phase == BookPhase::Thawing,
                Refusal::WrongPhase,
            )?;
            require(env.now < order.deadline, Refusal::Expired)?;
            require(
                order.agent == Address::ZERO || order.agent == env.caller,
                Refusal::WrongCaller,
            )?;
            require(order.signer == Some(terms.owner), Refusal::BadSignature)?;
        }
        let amount = sum(book.funds, book.bond)?;
        require(amount != 0 && fee <= amount, Refusal::NothingDue)?;
        book.funds = 0;
        book.bond = 0;
        if book.phase == BookPhase::Thawing {
            book.phase = BookPhase::Closed;
        }
        let mut after = bank.clone();
        self.pay(&mut after, terms.token, order.to, difference(amount, fee)?)?;
        self.pay(&mut after, terms.token, env.caller, fee)?;
        *bank = after;
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Shows two cheques that contradict each other: half of the bond burns, the rest is the victims' pot.
    ///
    /// # Errors
    /// `WrongPhase`, `BadSignature`, `NoFraud`.
    pub fn prove_fraud(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        first: &SignedCheque,
        second: &SignedCheque,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.book(terms.id());
        require(
            matches!(book.phase, BookPhase::Open | BookPhase::Thawing),
            Refusal::WrongPhase,
        )?;
        signed(terms, first)?;
        signed(terms, second)?;
        let (a, b) = (&first.cheque, &second.cheque);
        require(a != b && a.index <= b.index, Refusal::NoFraud)?;
        let next = a.index.checked_add(1) == Some(b.index);
        let fraud = a.index == b.index
            || sum(a.total, b.increment)? > b.total
            || (next && b.previous != a.hash(terms.id()));
        require(fraud, Refusal::NoFraud)?;
        book.pot = book.bond.checked_div(2).unwrap_or(0);
        let burned = difference(book.bond, book.pot)?;
        book.bond = 0;
        book.phase = BookPhase::Fraud;
        book.time = env.now.saturating_add(terms.thaw);
        self.books.insert(terms.id(), book);
        // A token that will not be burnt stays here: a proof of fraud never fails for it.
        bank.push(terms.token, self.address, GRAVE, burned);
        Ok(())
    }

    /// Registers what a victim is due, at most the cap.
    ///
    /// # Errors
    /// `WrongPhase`, `BadSignature`, `NothingDue`.
    pub fn claim(
        &mut self,
        terms: &BookTerms,
        shown: &SignedCheque,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.book(terms.id());
        require(
            book.phase == BookPhase::Fraud && env.now < book.time,
            Refusal::WrongPhase,
        )?;
        signed(terms, shown)?;
        let mut account = book.account(shown.cheque.beneficiary);
        let due = shown.cheque.cumulative.saturating_sub(account.cashed);
        let amount = due.min(terms.cap.saturating_sub(account.claimed));
        require(amount != 0, Refusal::NothingDue)?;
        account.cashed = sum(account.cashed, amount)?;
        account.claimed = sum(account.claimed, amount)?;
        book.claims = sum(book.claims, amount)?;
        book.accounts.insert(shown.cheque.beneficiary, account);
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Pays one victim its share of the pot.
    ///
    /// # Errors
    /// `WrongPhase`, `NothingDue`, `TokenFailed`.
    pub fn collect(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        beneficiary: Address,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.after_claims(terms, env)?;
        let mut account = book.account(beneficiary);
        require(account.claimed != 0, Refusal::NothingDue)?;
        let amount = if book.pot < book.claims {
            // 96 bits times 96 bits: in 256.
            let share = U256::from(account.claimed).saturating_mul(U256::from(book.pot));
            share
                .checked_div(U256::from(book.claims))
                .unwrap_or(U256::ZERO)
                .saturating_to()
        } else {
            account.claimed
        };
        self.pay(bank, terms.token, beneficiary, amount)?;
        account.claimed = 0;
        book.accounts.insert(beneficiary, account);
        self.books.insert(terms.id(), book);
        Ok(())
    }

    /// Burns what no claim needs.
    ///
    /// # Errors
    /// `WrongPhase`, `NothingDue`.
    pub fn burn_surplus(
        &mut self,
        bank: &mut Bank,
        terms: &BookTerms,
        env: Env,
    ) -> Result<(), Refusal> {
        let mut book = self.after_claims(terms, env)?;
        require(book.pot > book.claims, Refusal::NothingDue)?;
        bank.push(
            terms.token,
            self.address,
            GRAVE,
            difference(book.pot, book.claims)?,
        );
        book.pot = book.claims;
        self.books.insert(terms.id(), book);
        Ok(())
    }

    fn after_claims(&self, terms: &BookTerms, env: Env) -> Result<Book, Refusal> {
        let book = self.book(terms.id());
        require(
            book.phase == BookPhase::Fraud && env.now >= book.time,
            Refusal::WrongPhase,
        )?;
        Ok(book)
    }
}

fn signed(terms: &BookTerms, shown: &SignedCheque) -> Result<(), Refusal> {
    require(shown.signer == Some(terms.issuer), Refusal::BadSignature)
}
