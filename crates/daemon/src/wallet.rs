//! The wallet of this device, sealed in the file `wallet`.
//!
//! The file holds the mnemonic's entropy and the index of this installation's channel key, sealed with the key of the
//! database, so what protects that (`keystore`) protects this. It is written once and replaced only by a restore.

use std::sync::Arc;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use smartmesh_channel::{Chain, Config};
use smartmesh_contracts::Deployment;
use smartmesh_crypto::{AccountKey, Rng, StoreKey};
use smartmesh_wallet::{CHANNEL_INDEX_COUNT, Key, Mnemonic, Wallet};
use thiserror::Error;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::folder::{Folder, FolderError};

const FILE: &str = "wallet";
/// What a restore replaced, so that a mistake costs nothing.
const OLD_FILE: &str = "wallet.old";
const VERSION: u8 = 1;
const PLACE: &[u8] = b"smartmesh wallet v1";
/// 24 words.
const ENTROPY_BYTES: usize = 32;

/// Why the wallet can't be opened.
#[derive(Debug, Error)]
pub enum WalletError {
    /// The folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The file makes no sense.
    #[error(
        "the file wallet is damaged ({0}); put it back from a backup, or move it away and restore the wallet from its words"
    )]
    Damaged(String),
    /// It belongs to another folder.
    #[error(
        "the file wallet belongs to another identity; put the files of one folder together again"
    )]
    OtherKey,
}

/// The keys that money needs.
#[derive(Debug)]
pub(crate) struct WalletKeys {
    /// The account that holds tokens and pays for gas.
    pub(crate) account: Key,
    /// Signs in this installation's channels.
    pub(crate) channel: Key,
    /// Finds those channels from the mnemonic.
    pub(crate) locator: [u8; 32],
}

impl WalletKeys {
    /// How this installation's channels are kept on this chain.
    pub(crate) fn channel_config(&self, deployment: &Deployment, confirmations: u64) -> Config {
        let chain = Chain {
            chain_id: deployment.chain_id,
            token: deployment.smt,
            conditions: deployment.conditions,
            channels: deployment.channels,
            chequebook: deployment.chequebook,
        };
        let mut config = Config::new(chain, self.account.address(), self.locator);
        config.confirmations = confirmations;
        config
    }

    /// The channel key, as the channels take it.
    ///
    /// # Errors
    /// Never for a key that [`Key`] holds.
    pub(crate) fn channel_key(&self) -> Result<AccountKey, WalletError> {
        AccountKey::from_bytes(*self.channel.to_bytes())
            .map_err(|error| WalletError::Damaged(error.to_string()))
    }
}

/// Where the wallet is, and what opens it.
pub(crate) struct WalletFile {
    folder: Arc<Folder>,
    key: StoreKey,
}

impl std::fmt::Debug for WalletFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WalletFile({})", self.folder.file(FILE).display())
    }
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Content {
    version: u8,
    entropy: String,
    index: u32,
}

impl WalletFile {
    /// The wallet of a folder, whose database is sealed with `key`.
    pub(crate) fn new(folder: Arc<Folder>, key: StoreKey) -> Self {
        Self { folder, key }
    }

    /// Opens the wallet, or makes a new one if there is none.
    ///
    /// # Errors
    /// If the file is damaged or another folder's.
    pub(crate) fn open(&self, rng: &mut Rng) -> Result<WalletKeys, WalletError> {
        let content = match fs::read(self.folder.file(FILE)) {
            Ok(sealed) => self.unseal(&sealed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let entropy = Zeroizing::new(rng.bytes::<ENTROPY_BYTES>());
                self.write(&*entropy, rng)?
            }
            Err(error) => return Err(WalletError::Damaged(error.to_string())),
        };
        let damaged = |error: &dyn std::fmt::Display| WalletError::Damaged(error.to_string());
        let mnemonic = mnemonic(&content)?;
        let wallet = Wallet::new(&mnemonic).map_err(|error| damaged(&error))?;
        Ok(WalletKeys {
            account: wallet.account(0).map_err(|error| damaged(&error))?,
            channel: wallet
                .channel_key(content.index)
                .map_err(|error| damaged(&error))?,
            locator: wallet
                .locator(content.index)
                .map_err(|error| damaged(&error))?
                .0,
        })
    }

    /// The words, for their owner.
    ///
    /// # Errors
    /// If the file is damaged.
    pub(crate) fn words(&self) -> Result<Zeroizing<String>, WalletError> {
        let sealed = fs::read(self.folder.file(FILE))
            .map_err(|error| WalletError::Damaged(error.to_string()))?;
        Ok(mnemonic(&self.unseal(&sealed)?)?.words())
    }

    /// Puts another mnemonic in the place of this one, which is kept in `wallet.old`. It counts from the next start.
    ///
    /// # Errors
    /// If the folder can't be written.
    pub(crate) fn replace(&self, mnemonic: &Mnemonic, rng: &mut Rng) -> Result<(), WalletError> {
        if let Ok(old) = fs::read(self.folder.file(FILE)) {
            self.folder.write(OLD_FILE, &old)?;
        }
        self.write(&mnemonic.entropy(), rng).map(drop)
    }

    fn unseal(&self, sealed: &[u8]) -> Result<Content, WalletError> {
        let opened = self
            .key
            .open(PLACE, sealed)
            .map_err(|_| WalletError::OtherKey)?;
        let opened = Zeroizing::new(opened);
        let content: Content = serde_json::from_slice(&opened)
            .map_err(|error| WalletError::Damaged(error.to_string()))?;
        if content.version != VERSION {
            let reason = format!("version {} is unknown", content.version);
            return Err(WalletError::Damaged(reason));
        }
        Ok(content)
    }

    fn write(&self, entropy: &[u8], rng: &mut Rng) -> Result<Content, WalletError> {
        let content = Content {
            version: VERSION,
            entropy: hex::encode(entropy),
            // Another index for each installation, also when one mnemonic is restored twice.
            index: u32::from_be_bytes(rng.bytes()) % CHANNEL_INDEX_COUNT,
        };
        let text = Zeroizing::new(serde_json::to_vec(&content).unwrap_or_default());
        let sealed = self.key.seal(PLACE, &text, rng);
        self.folder.write(FILE, &sealed)?;
        Ok(content)
    }
}

fn mnemonic(content: &Content) -> Result<Mnemonic, WalletError> {
    let entropy = hex::decode(&content.entropy)
        .map(Zeroizing::new)
        .map_err(|error| WalletError::Damaged(error.to_string()))?;
    Mnemonic::from_entropy(&entropy).map_err(|error| WalletError::Damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_crypto::Seed;

    fn file(folder: &Arc<Folder>, key: u8) -> WalletFile {
        WalletFile::new(Arc::clone(folder), StoreKey::new([key; 32]))
    }

    #[test]
    fn the_wallet_stays_and_shows_nothing_of_itself() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::open(temporary.path()).unwrap());
        let mut rng = Seed::new([1; 32]).rng();
        let first = file(&folder, 1).open(&mut rng).unwrap();
        let again = file(&folder, 1).open(&mut rng).unwrap();
        assert_eq!(first.account.address(), again.account.address());
        assert_eq!(first.locator, again.locator);
        let bytes = fs::read(folder.file(FILE)).unwrap();
        let words = file(&folder, 1).words().unwrap();
        let word = words.split(' ').next().unwrap();
        assert!(
            !bytes
                .windows(word.len())
                .any(|part| part == word.as_bytes())
        );
        assert!(!format!("{first:?}").contains(word));
        assert!(matches!(
            file(&folder, 2).open(&mut rng),
            Err(WalletError::OtherKey)
        ));
    }

    #[test]
    fn restored_words_give_the_account_and_another_installation() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Arc::new(Folder::open(temporary.path()).unwrap());
        let mut rng = Seed::new([1; 32]).rng();
        let file = file(&folder, 1);
        let before = file.open(&mut rng).unwrap();
        let words = file.words().unwrap();
        file.replace(&Mnemonic::parse(&words).unwrap(), &mut rng)
            .unwrap();
        let after = file.open(&mut rng).unwrap();
        assert_eq!(before.account.address(), after.account.address());
        assert_ne!(before.channel.address(), after.channel.address());
        assert!(folder.file(OLD_FILE).exists());
    }
}
