//! A short phrase that two people read to each other, to know that nobody stands between them.

use smartmesh_types::NodeKey;

use crate::hash::sha256;

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// What two people compare: the same on both phones, another for any other pair of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyPhrase {
    /// Four words that can be spoken in most languages (proquints, 16 bits each: Wilkerson, "A Proposal for Proquints", 2009).
    pub words: String,
    /// The same 64 bits as four groups of five digits.
    pub digits: String,
}

impl SafetyPhrase {
    /// The phrase of two node keys, in whatever order. To find a key that makes the phrase of another's key takes 2^64
    /// key pairs; the phrase is bound to both keys, so no table helps.
    pub fn of(a: &NodeKey, b: &NodeKey) -> Self {
        let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        let hash = sha256(&[b"smartmesh safety phrase\0", &first.0, &second.0]);
        let (pairs, _) = hash.as_chunks::<2>();
        let parts = pairs.iter().take(4).map(|pair| u16::from_be_bytes(*pair));
        let words: Vec<_> = parts.clone().map(proquint).collect();
        let digits: Vec<_> = parts.map(|part| format!("{part:05}")).collect();
        Self {
            words: words.join(" "),
            digits: digits.join(" "),
        }
    }
}

/// Sixteen bits as consonant, vowel, consonant, vowel, consonant.
fn proquint(bits: u16) -> String {
    let letter = |table: &[u8], shift: u32, mask: u16| {
        let index = usize::from(bits.checked_shr(shift).unwrap_or(0) & mask);
        char::from(table.get(index).copied().unwrap_or(b'-'))
    };
    [
        letter(CONSONANTS, 12, 15),
        letter(VOWELS, 10, 3),
        letter(CONSONANTS, 6, 15),
        letter(VOWELS, 4, 3),
        letter(CONSONANTS, 0, 15),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proquints_are_those_of_the_proposal() {
        // 127.0.0.1 is lusab-babad.
        assert_eq!(proquint(0x7f00), "lusab");
        assert_eq!(proquint(0x0001), "babad");
    }

    #[test]
    fn both_sides_read_the_same_and_others_do_not() {
        let [a, b, c] = [1, 2, 3].map(|n| NodeKey([n; 32]));
        let phrase = SafetyPhrase::of(&a, &b);
        assert_eq!(phrase, SafetyPhrase::of(&b, &a));
        assert_ne!(phrase, SafetyPhrase::of(&a, &c));
        assert_eq!((phrase.words.len(), phrase.digits.len()), (23, 23));
    }
}
