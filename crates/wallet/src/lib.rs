//! Keys, transactions and signed payments of one person.
//!
//! One mnemonic (BIP-39) gives the wallet's account (BIP-44), the key of each installation's channels, and the locators by
//! which those channels are found on the chain again. Nothing here asks a chain, keeps a file or shows a secret: `Debug` of
//! a key tells its address alone, and secrets are wiped when they go. `docs/wallet.md` says what is derived how.
//!
//! Read first: [`Wallet`], the tree of keys, and [`Key`], which signs.

mod keys;
mod mnemonic;
mod payment;
mod transaction;

pub use keys::{CHANNEL_INDEX_COUNT, DeriveError, Key, Wallet};
pub use mnemonic::{Mnemonic, MnemonicError};
pub use payment::{AuthorisedTransfer, DecodePaymentError, deposit_data};
pub use transaction::{Fees, SignedTransaction, Transaction};
