//! The tree of keys, and what one key does.

use alloy_primitives::{Address, B256, Signature, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct};
use bip32::{ChildNumber, XPrv};
use k256::ecdsa::SigningKey;
use smartmesh_contracts::typed;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::Mnemonic;

/// How many installations of one wallet can be told apart; docs/contracts.md, "Recovery from the mnemonic".
pub const CHANNEL_INDEX_COUNT: u32 = 65_536;
/// BIP-44: purpose 44', coin 60' (SLIP-44: Ether).
const PURPOSE: u32 = 44;
const COIN: u32 = 60;
/// Accounts of the key tree that are ours: keys of channels, and the secret from which locators come.
const CHANNEL_ACCOUNT: u32 = 21_326;
const LOCATOR_ACCOUNT: u32 = 21_327;
const LOCATOR_LABEL: &[u8] = b"smartmesh channel locator v1";

/// A key that BIP-32 skips: its number is not on the curve, which happens once in 2^127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("there is no key at this place of the tree; use the next index")]
pub struct DeriveError;

/// All keys of one mnemonic.
pub struct Wallet {
    root: XPrv,
}

impl Wallet {
    /// Opens the tree of a mnemonic.
    ///
    /// # Errors
    /// If the seed has no key, once in 2^127.
    pub fn new(mnemonic: &Mnemonic) -> Result<Self, DeriveError> {
        let seed = mnemonic.seed("");
        let root = XPrv::new(seed.as_slice()).map_err(|_| DeriveError)?;
        Ok(Self { root })
    }

    /// The account with this index: `m/44'/60'/0'/0/index`, as other wallets show it.
    ///
    /// # Errors
    /// If the tree has no key there.
    pub fn account(&self, index: u32) -> Result<Key, DeriveError> {
        self.derive(0, index)
    }

    /// The key that signs in channels of the installation with this index: `m/44'/60'/21326'/0/index`.
    ///
    /// # Errors
    /// If the tree has no key there.
    pub fn channel_key(&self, index: u32) -> Result<Key, DeriveError> {
        self.derive(CHANNEL_ACCOUNT, index)
    }

    /// What the installation with this index leaves in its channels' opening events, so that the mnemonic alone finds them.
    /// Without the mnemonic locators of one wallet cannot be linked.
    ///
    /// # Errors
    /// If the tree has no key at `m/44'/60'/21327'/0/0`.
    pub fn locator(&self, index: u32) -> Result<B256, DeriveError> {
        let secret = self.derive(LOCATOR_ACCOUNT, 0)?;
        let secret = Zeroizing::new(secret.0.to_bytes());
        let mut text = Zeroizing::new(LOCATOR_LABEL.to_vec());
        text.extend_from_slice(&secret);
        text.extend_from_slice(&index.to_be_bytes());
        Ok(keccak256(&*text))
    }

    fn derive(&self, account: u32, index: u32) -> Result<Key, DeriveError> {
        let steps = [
            (PURPOSE, true),
            (COIN, true),
            (account, true),
            (0, false),
            (index, false),
        ];
        let mut key = self.root.clone();
        for (number, hardened) in steps {
            let step = ChildNumber::new(number, hardened).map_err(|_| DeriveError)?;
            key = key.derive_child(step).map_err(|_| DeriveError)?;
        }
        Ok(Key(key.private_key().clone()))
    }
}

impl std::fmt::Debug for Wallet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wallet")
    }
}

/// A secp256k1 key. Signatures are deterministic (RFC 6979), with s in the lower half.
#[derive(Clone)]
pub struct Key(SigningKey);

impl Key {
    /// A key from its 32 bytes, if they are one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    /// The 32 bytes, for those that sign often and keep their own form of it.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Its account on the chain.
    #[must_use]
    pub fn address(&self) -> Address {
        Address::from_public_key(self.0.verifying_key())
    }

    /// Signs 32 bytes.
    ///
    /// # Panics
    /// Never: signing a digest of this length with this curve has no failure.
    #[must_use]
    pub fn sign_digest(&self, digest: B256) -> Signature {
        let signed = self
            .0
            .sign_prehash_recoverable(digest.as_slice())
            .expect("a digest of 32 bytes can be signed");
        Signature::from(signed)
    }

    /// Signs a typed struct (EIP-712).
    #[must_use]
    pub fn sign_typed(&self, message: &impl SolStruct, domain: &Eip712Domain) -> Signature {
        self.sign_digest(typed::digest(message, domain))
    }

    /// Signs a text as wallets do for people (EIP-191, version 0x45).
    #[must_use]
    pub fn sign_text(&self, text: &[u8]) -> Signature {
        self.sign_digest(alloy_primitives::eip191_hash_message(text))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wallet(words: &str) -> Wallet {
        Wallet::new(&Mnemonic::parse(words).unwrap()).unwrap()
    }

    /// The accounts that every development chain funds, known from their documentation.
    #[test]
    fn accounts_are_those_of_other_wallets() {
        let wallet = wallet("test test test test test test test test test test test junk");
        for (index, address) in [
            (0, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"),
            (1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"),
            (9, "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"),
        ] {
            let key = wallet.account(index).unwrap();
            assert_eq!(key.address().to_string(), address);
            assert_eq!(format!("{key:?}"), format!("Key({address})"));
        }
    }

    /// BIP-32, test vectors 1 to 3: chains of private keys.
    #[test]
    fn bip32_vectors() {
        let vectors = [
            (
                "000102030405060708090a0b0c0d0e0f",
                "m/0'/1/2'/2/1000000000",
                "xprvA41z7zogVVwxVSgdKUHDy1SKmdb533PjDz7J6N6mV6uS3ze1ai8FHa8kmHScGpWmj4WggLyQjgPie1rFSruoUihUZREPSL39UNdE3BBDu76",
            ),
            (
                "fffcf9f6f3f0edeae7e4e1dedbd8d5d2cfccc9c6c3c0bdbab7b4b1aeaba8a5a29f9c999693908d8a8784817e7b7875726f6c696663605d5a5754514e4b484542",
                "m/0/2147483647'/1/2147483646'/2",
                "xprvA2nrNbFZABcdryreWet9Ea4LvTJcGsqrMzxHx98MMrotbir7yrKCEXw7nadnHM8Dq38EGfSh6dqA9QWTyefMLEcBYJUuekgW4BYPJcr9E7j",
            ),
            (
                "4b381541583be4423346c643850da4b320e46a87ae3d2a4e6da11eba819cd4acba45d239319ac14f863b8d5ab5a0d0c64d2e8a1e7d1457df2e5a3c51c73235be",
                "m/0'",
                "xprv9uPDJpEQgRQfDcW7BkF7eTya6RPxXeJCqCJGHuCJ4GiRVLzkTXBAJMu2qaMWPrS7AANYqdq6vcBcBUdJCVVFceUvJFjaPdGZ2y9WACViL4L",
            ),
        ];
        for (seed, path, expected) in vectors {
            let seed = hex::decode(seed).unwrap();
            let key = XPrv::derive_from_path(seed, &path.parse().unwrap()).unwrap();
            assert_eq!(*key.to_string(bip32::Prefix::XPRV), expected);
        }
    }

    #[test]
    fn channel_keys_and_locators_are_apart() {
        let wallet =
            wallet("legal winner thank year wave sausage worth useful legal winner thank yellow");
        let keys: Vec<_> = [0, 1, 65_535]
            .map(|index| wallet.channel_key(index).unwrap().address())
            .into();
        assert!(keys[0] != keys[1] && keys[1] != keys[2]);
        assert!(!keys.contains(&wallet.account(0).unwrap().address()));
        assert_ne!(wallet.locator(0).unwrap(), wallet.locator(1).unwrap());
    }

    /// EIP-191's example in the documentation of web3.js.
    #[test]
    fn texts_are_signed_as_wallets_do() {
        let bytes = hex::decode("4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318")
            .unwrap();
        let key = Key::from_bytes(&bytes.try_into().unwrap()).unwrap();
        let signature = key.sign_text(b"Some data");
        assert_eq!(
            hex::encode(signature.as_bytes()),
            "b91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
        );
    }
}
