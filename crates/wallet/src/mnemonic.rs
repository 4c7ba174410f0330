//! The words from which everything of a wallet follows (BIP-39, English).

use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Why words are no mnemonic.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MnemonicError {
    /// Not 12, 15, 18, 21 or 24 words.
    #[error("a mnemonic has 12, 15, 18, 21 or 24 words, not {0}")]
    WordCount(usize),
    /// A word is not in the list.
    #[error("word {place} is not in the BIP-39 list; look for a misspelling")]
    UnknownWord {
        /// Counted from 1.
        place: usize,
    },
    /// All words are right, but not together.
    #[error("these words do not belong together: one of them is wrong, or their order")]
    Checksum,
    /// The entropy has another length than 16, 20, 24, 28 or 32 bytes.
    #[error("entropy of {0} bytes")]
    EntropyLength(usize),
}

/// A checked mnemonic.
pub struct Mnemonic(bip39::Mnemonic);

impl Mnemonic {
    /// The mnemonic of 16 to 32 bytes of entropy; 32 give 24 words.
    ///
    /// # Errors
    /// If the length is none of BIP-39's.
    pub fn from_entropy(entropy: &[u8]) -> Result<Self, MnemonicError> {
        bip39::Mnemonic::from_entropy(entropy)
            .map(Self)
            .map_err(|_| MnemonicError::EntropyLength(entropy.len()))
    }

    /// Reads words as a person types them: any case, any white space.
    ///
    /// # Errors
    /// Says which word is wrong where it can.
    pub fn parse(text: &str) -> Result<Self, MnemonicError> {
        let mut words = Zeroizing::new(String::with_capacity(text.len()));
        for word in text.split_whitespace() {
            if !words.is_empty() {
                words.push(' ');
            }
            words.extend(word.chars().flat_map(char::to_lowercase));
        }
        bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &words)
            .map(Self)
            .map_err(|error| match error {
                bip39::Error::BadWordCount(count) => MnemonicError::WordCount(count),
                bip39::Error::UnknownWord(index) => MnemonicError::UnknownWord {
                    place: index.saturating_add(1),
                },
                bip39::Error::InvalidChecksum
                | bip39::Error::BadEntropyBitCount(_)
                | bip39::Error::AmbiguousLanguages(_) => MnemonicError::Checksum,
            })
    }

    /// The words, to be shown to their owner and nobody else.
    #[must_use]
    pub fn words(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string())
    }

    /// The entropy, to be kept encrypted.
    #[must_use]
    pub fn entropy(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_entropy())
    }

    /// The seed of the key tree; `passphrase` is BIP-39's extension, empty for none.
    pub(crate) fn seed(&self, passphrase: &str) -> Zeroizing<[u8; 64]> {
        Zeroizing::new(self.0.to_seed_normalized(passphrase))
    }
}

impl Drop for Mnemonic {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Mnemonic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Mnemonic({} words)", self.0.word_count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All English vectors of BIP-39 (trezor/python-mnemonic, MIT): entropy, words, seed with the passphrase `TREZOR`.
    #[test]
    fn official_vectors() {
        let text = include_str!("../testdata/bip39.json");
        let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
        let english = vectors["english"].as_array().unwrap();
        assert_eq!(english.len(), 24);
        for vector in english {
            let entropy = hex::decode(vector[0].as_str().unwrap()).unwrap();
            let words = vector[1].as_str().unwrap();
            let mnemonic = Mnemonic::from_entropy(&entropy).unwrap();
            assert_eq!(*mnemonic.words(), words);
            let read = Mnemonic::parse(&format!("  {}\n", words.to_uppercase())).unwrap();
            assert_eq!(*read.entropy(), entropy);
            assert_eq!(
                hex::encode(*read.seed("TREZOR")),
                vector[2].as_str().unwrap()
            );
        }
    }

    #[test]
    fn mistakes_are_told_apart() {
        let words = Mnemonic::from_entropy(&[0; 16]).unwrap().words();
        let parse = |text: &str| Mnemonic::parse(text).err();
        assert_eq!(parse("abandon about"), Some(MnemonicError::WordCount(2)));
        assert_eq!(
            parse(&words.replacen("abandon", "abandom", 1)),
            Some(MnemonicError::UnknownWord { place: 1 })
        );
        assert_eq!(
            parse(&words.replace("about", "abandon")),
            Some(MnemonicError::Checksum)
        );
        assert_eq!(
            Mnemonic::from_entropy(&[0; 5]).err(),
            Some(MnemonicError::EntropyLength(5))
        );
    }

    #[test]
    fn debug_shows_no_word() {
        let mnemonic = Mnemonic::from_entropy(&[7; 32]).unwrap();
        assert_eq!(format!("{mnemonic:?}"), "Mnemonic(24 words)");
    }
}
