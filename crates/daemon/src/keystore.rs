//! The device's identity and the key of its database, sealed in the file `identity`.
//!
//! The sealing key comes from the user's passphrase by Argon2id, or, without one, lies beside it in the file `device.key`:
//! then who can read the folder can read everything in it. A passphrase given later replaces the device key.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use smartmesh_crypto::{Identity, PassphraseCost, Rng, StoreKey, passphrase_key};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::folder::{Folder, FolderError};

const IDENTITY_FILE: &str = "identity";
const DEVICE_KEY_FILE: &str = "device.key";
const VERSION: u8 = 1;
const PLACE: &[u8] = b"smartmesh identity v1";

/// What protects the keys at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// The user's passphrase.
    Passphrase,
    /// A key in the same folder.
    Device,
}

/// Why the keys can't be opened.
#[derive(Debug, Error)]
pub enum KeystoreError {
    /// The folder can't be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A passphrase was set and none was given.
    #[error(
        "this node's keys are protected by a passphrase; give it with --passphrase-file or in SMARTMESH_PASSPHRASE"
    )]
    PassphraseMissing,
    /// It does not open the keys.
    #[error("the passphrase is wrong")]
    PassphraseWrong,
    /// The device key is gone.
    #[error(
        "the file device.key is missing or is not the one that belongs to this folder's identity; put it back from a backup"
    )]
    DeviceKey,
    /// The identity is gone, but its database is there.
    #[error(
        "the file identity is missing, but messages of it are there; put it back from a backup, or choose an empty folder with --data for a new identity"
    )]
    IdentityMissing,
    /// The file makes no sense.
    #[error("the file identity is damaged ({0}); put it back from a backup")]
    Damaged(String),
}

/// The keys of this device.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Who this node is.
    pub(crate) identity: Identity,
    /// Seals the database.
    pub(crate) store: StoreKey,
    /// The same key, for the wallet's file.
    pub(crate) wallet: StoreKey,
    /// What protects both at rest.
    pub(crate) protection: Protection,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    version: u8,
    protection: Protection,
    salt: String,
    memory_kib: u32,
    passes: u32,
    sealed: String,
}

/// Opens the keys, or makes new ones in an empty folder.
///
/// # Errors
/// If a passphrase is missing or wrong, or a file is missing or damaged.
pub(crate) fn open(
    folder: &Folder,
    passphrase: Option<&[u8]>,
    cost: PassphraseCost,
    rng: &mut Rng,
) -> Result<Keys, KeystoreError> {
    let content = match fs::read(folder.file(IDENTITY_FILE)) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if folder.file(crate::database::FILE).exists() {
                return Err(KeystoreError::IdentityMissing);
            }
            let secrets = Zeroizing::new(rng.bytes::<64>());
            let protection = write(folder, &secrets[..], passphrase, cost, rng)?;
            return keys(&secrets[..], protection);
        }
        Err(error) => return Err(KeystoreError::Damaged(error.to_string())),
    };
    let file: Sealed = serde_json::from_slice(&content)
        .map_err(|error| KeystoreError::Damaged(error.to_string()))?;
    if file.version != VERSION {
        return Err(KeystoreError::Damaged(format!(
            "version {} is unknown",
            file.version
        )));
    }
    let secrets = unseal(folder, &file, passphrase)?;
    if file.protection == Protection::Device && passphrase.is_some() {
        write(folder, &secrets, passphrase, cost, rng)?;
        return keys(&secrets, Protection::Passphrase);
    }
    keys(&secrets, file.protection)
}

fn keys(secrets: &[u8], protection: Protection) -> Result<Keys, KeystoreError> {
    let damaged = || KeystoreError::Damaged("wrong length".to_owned());
    let (identity, store) = secrets.split_first_chunk::<32>().ok_or_else(damaged)?;
    let store: [u8; 32] = store.try_into().map_err(|_| damaged())?;
    Ok(Keys {
        identity: Identity::from_secret(*identity),
        store: StoreKey::new(store),
        wallet: StoreKey::new(store),
        protection,
    })
}

fn unseal(
    folder: &Folder,
    file: &Sealed,
    passphrase: Option<&[u8]>,
) -> Result<Zeroizing<Vec<u8>>, KeystoreError> {
    let damaged = |error: &dyn std::fmt::Display| KeystoreError::Damaged(error.to_string());
    let sealed = hex::decode(&file.sealed).map_err(|error| damaged(&error))?;
    let key = match (file.protection, passphrase) {
        (Protection::Passphrase, None) => return Err(KeystoreError::PassphraseMissing),
        (Protection::Passphrase, Some(passphrase)) => {
            let salt = hex::decode(&file.salt).map_err(|error| damaged(&error))?;
            let salt: [u8; 16] = salt.try_into().map_err(|_| damaged(&"wrong salt"))?;
            let cost = PassphraseCost {
                memory_kib: file.memory_kib,
                passes: file.passes,
            };
            passphrase_key(passphrase, &salt, cost).map_err(|error| damaged(&error))?
        }
        (Protection::Device, _) => read_device_key(folder)?,
    };
    let wrong = match file.protection {
        Protection::Passphrase => KeystoreError::PassphraseWrong,
        Protection::Device => KeystoreError::DeviceKey,
    };
    let secrets = StoreKey::new(*key)
        .open(PLACE, &sealed)
        .map_err(|_| wrong)?;
    Ok(Zeroizing::new(secrets))
}

fn read_device_key(folder: &Folder) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let text =
        fs::read_to_string(folder.file(DEVICE_KEY_FILE)).map_err(|_| KeystoreError::DeviceKey)?;
    let bytes = Zeroizing::new(hex::decode(text.trim()).map_err(|_| KeystoreError::DeviceKey)?);
    let key: &[u8; 32] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| KeystoreError::DeviceKey)?;
    Ok(Zeroizing::new(*key))
}

/// Seals the secrets; the device key is on disk before what needs it, and goes only when nothing needs it any more.
fn write(
    folder: &Folder,
    secrets: &[u8],
    passphrase: Option<&[u8]>,
    cost: PassphraseCost,
    rng: &mut Rng,
) -> Result<Protection, KeystoreError> {
    let salt: [u8; 16] = rng.bytes();
    let (key, protection) = match passphrase {
        Some(passphrase) => {
            let key = passphrase_key(passphrase, &salt, cost)
                .map_err(|error| KeystoreError::Damaged(error.to_string()))?;
            (key, Protection::Passphrase)
        }
        None => {
            let key = Zeroizing::new(rng.bytes::<32>());
            let text = Zeroizing::new(hex::encode(*key));
            folder.write(DEVICE_KEY_FILE, text.as_bytes())?;
            (key, Protection::Device)
        }
    };
    let file = Sealed {
        version: VERSION,
        protection,
        salt: hex::encode(salt),
        memory_kib: cost.memory_kib,
        passes: cost.passes,
        sealed: hex::encode(StoreKey::new(*key).seal(PLACE, secrets, rng)),
    };
    let content = serde_json::to_vec_pretty(&file).unwrap_or_default();
    folder.write(IDENTITY_FILE, &content)?;
    if protection == Protection::Passphrase {
        folder.remove(DEVICE_KEY_FILE);
    }
    Ok(protection)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_crypto::Seed;
    use smartmesh_types::Address;

    /// Small, so that the tests are quick.
    const CHEAP: PassphraseCost = PassphraseCost {
        memory_kib: 64,
        passes: 1,
    };

    struct Test {
        folder: Folder,
        rng: Rng,
        _temporary: tempfile::TempDir,
    }

    fn test() -> Test {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        Test {
            folder,
            rng: Seed::new([1; 32]).rng(),
            _temporary: temporary,
        }
    }

    impl Test {
        fn open(
            &mut self,
            passphrase: Option<&str>,
        ) -> Result<(Address, Protection), KeystoreError> {
            let keys = super::open(
                &self.folder,
                passphrase.map(str::as_bytes),
                CHEAP,
                &mut self.rng,
            )?;
            Ok((keys.identity.address(), keys.protection))
        }
    }

    #[test]
    fn the_identity_is_random_and_stays() {
        let mut test = test();
        let (address, protection) = test.open(None).unwrap();
        assert_eq!(protection, Protection::Device);
        assert_eq!(test.open(None).unwrap().0, address);
        let content = fs::read_to_string(test.folder.file(IDENTITY_FILE)).unwrap();
        let keys = super::open(&test.folder, None, CHEAP, &mut test.rng).unwrap();
        assert!(!content.contains(&hex::encode(keys.identity.secret())));
    }

    #[test]
    fn a_passphrase_is_needed_and_must_be_right() {
        let mut test = test();
        let (address, _) = test.open(Some("correct horse")).unwrap();
        assert!(matches!(
            test.open(None),
            Err(KeystoreError::PassphraseMissing)
        ));
        assert!(matches!(
            test.open(Some("wrong")),
            Err(KeystoreError::PassphraseWrong)
        ));
        assert_eq!(
            test.open(Some("correct horse")).unwrap(),
            (address, Protection::Passphrase)
        );
        assert!(!test.folder.file(DEVICE_KEY_FILE).exists());
    }

    #[test]
    fn a_passphrase_given_later_replaces_the_device_key() {
        let mut test = test();
        let (address, _) = test.open(None).unwrap();
        assert_eq!(
            test.open(Some("later")).unwrap(),
            (address, Protection::Passphrase)
        );
        assert!(!test.folder.file(DEVICE_KEY_FILE).exists());
        assert!(matches!(
            test.open(None),
            Err(KeystoreError::PassphraseMissing)
        ));
    }

    #[test]
    fn missing_and_damaged_files_are_told_apart() {
        let mut test = test();
        test.open(None).unwrap();
        fs::remove_file(test.folder.file(DEVICE_KEY_FILE)).unwrap();
        assert!(matches!(test.open(None), Err(KeystoreError::DeviceKey)));
        fs::write(test.folder.file(IDENTITY_FILE), "{}").unwrap();
        assert!(matches!(test.open(None), Err(KeystoreError::Damaged(_))));
        fs::remove_file(test.folder.file(IDENTITY_FILE)).unwrap();
        fs::write(test.folder.file(crate::database::FILE), "").unwrap();
        assert!(matches!(
            test.open(None),
            Err(KeystoreError::IdentityMissing)
        ));
    }
}
