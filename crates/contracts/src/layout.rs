//! How the contracts name, pack and hash what they store (docs/contracts.md, "Channels", "Conditions", "Chequebook").

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;

/// Hold in hours by index; the table of docs/contracts.md, "Identity and terms".
const HOLD_HOURS: [u64; 9] = [1, 6, 12, 24, 72, 168, 336, 720, 1440];
/// Largest factor by which an unknown close multiplies the hold.
const FACTOR_MAX: u16 = 8;
/// A tree has at most 64 leaves, so 6 levels above them.
const LEAVES_MAX: usize = 64;

/// Id of a channel: `keccak(abi.encode(token, low, high, terms))`.
#[must_use]
pub fn channel_id(token: Address, low: Address, high: Address, terms: u16) -> B256 {
    keccak256((token, low, high, U256::from(terms)).abi_encode())
}

/// Id of a chequebook: `keccak(abi.encode(token, owner, issuer, cap, thaw))`; cap in base units, thaw in seconds.
#[must_use]
pub fn book_id(token: Address, owner: Address, issuer: Address, cap: u128, thaw: u64) -> B256 {
    keccak256((token, owner, issuer, U256::from(cap), U256::from(thaw)).abi_encode())
}

/// Hold in seconds that `terms` name, or none if they are not in the table.
#[must_use]
pub fn hold_seconds(terms: u16) -> Option<u64> {
    let hours = HOLD_HOURS.get(usize::from(terms & 0xff))?;
    unknown_factor(terms)?;
    hours.checked_mul(3600)
}

/// Factor of the hold of an unknown close, 1 to 8, or none if `terms` are not in the table.
#[must_use]
pub fn unknown_factor(terms: u16) -> Option<u64> {
    let factor = terms >> 8;
    (1..=FACTOR_MAX)
        .contains(&factor)
        .then(|| u64::from(factor))
}

/// Phase of a channel's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WordPhase {
    /// Nothing is deposited in this epoch.
    #[default]
    None,
    /// Payments flow.
    Open,
    /// A close was posted.
    Closing,
}

/// The one word that the contract stores of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Deposit of the lower key, base units; negative if it took out what it had received. Zero while closing: the closing
    /// record has it then.
    pub low: i128,
    /// Deposit of the higher key.
    pub high: i128,
    /// While closing the record's hash, see [`ClosingRecord::hash`]; zero otherwise.
    pub record: B256,
    /// Rises with each settlement; 24 bits.
    pub epoch: u32,
    /// While open the expiry of the last executed withdrawal, while closing the end of the challenge; 36 bits, seconds.
    pub time: u64,
    /// Phase.
    pub phase: WordPhase,
    /// Some leaf of this epoch was released.
    pub released: bool,
}

/// Bit of the phase field that says that a leaf was released.
const RELEASED: u128 = 4;

impl Word {
    /// Reads a stored or published word; none if its phase is unknown.
    #[must_use]
    pub fn unpack(word: U256) -> Option<Self> {
        let bits = field(word, 252, 4);
        let phase = match bits & !RELEASED {
            0 => WordPhase::None,
            1 => WordPhase::Open,
            2 => WordPhase::Closing,
            _ => return None,
        };
        let content = word & mask(192);
        let (deposits, record) = match phase {
            WordPhase::None | WordPhase::Open => (content, U256::ZERO),
            WordPhase::Closing => (U256::ZERO, content),
        };
        let [low, high] = deposits_of(deposits);
        Some(Self {
            low,
            high,
            record: record.into(),
            epoch: u32::try_from(field(word, 192, 24)).ok()?,
            time: u64::try_from(field(word, 216, 36)).ok()?,
            phase,
            released: bits & RELEASED != 0,
        })
    }

    /// The 256 bits as stored. Members beyond their fields' widths are cut.
    #[must_use]
    pub fn pack(&self) -> U256 {
        let phase = match self.phase {
            WordPhase::None => 0_u8,
            WordPhase::Open => 1,
            WordPhase::Closing => 2,
        };
        let content = match self.phase {
            WordPhase::None | WordPhase::Open => deposits_word([self.low, self.high]),
            WordPhase::Closing => U256::from_be_bytes(self.record.0) & mask(192),
        };
        content
            | place(u128::from(self.epoch), 192, 24)
            | place(u128::from(self.time), 216, 36)
            | place(u128::from(phase), 252, 2)
            | place(u128::from(self.released), 254, 1)
    }
}

/// One direction in a closing record, named by its payer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SideRecord {
    /// Seq of the message that counts.
    pub seq: u64,
    /// Paid + unlocked + ticks, base units.
    pub out: u128,
    /// Bit i is set when leaf i was unlocked.
    pub done: u64,
    /// Ticks redeemed.
    pub ticks: u32,
    /// State hash of the message that counts.
    pub state: B256,
    /// Agent that this party named last; zero if none.
    pub agent: Address,
    /// That agent's fee, base units, 96 bits.
    pub fee: u128,
}

impl SideRecord {
    fn word(&self) -> U256 {
        place(u128::from(self.seq), 0, 64)
            | place(self.out, 64, 128)
            | place(u128::from(self.done), 192, 64)
    }

    /// Seq, out and done.
    fn read(word: U256) -> Option<(u64, u128, u64)> {
        Some((
            u64::try_from(field(word, 0, 64)).ok()?,
            field(word, 64, 128),
            u64::try_from(field(word, 192, 64)).ok()?,
        ))
    }
}

/// The record of a closing channel, eight words (docs/contracts.md, "The closing record").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClosingRecord {
    /// The higher key closed.
    pub closer_high: bool,
    /// The closer said that it may not know the newest messages.
    pub unknown: bool,
    /// The partner showed a newer message in an unknown close.
    pub fined: bool,
    /// Latest expiry of the locks of all messages posted, seconds, at most 60 days after the challenge.
    pub last_expiry: u64,
    /// Seq the closer posted for its own direction.
    pub declared: u64,
    /// What low pays, what high pays.
    pub sides: [SideRecord; 2],
    /// Deposits of low and of high, as in [`Word`].
    pub deposits: [i128; 2],
}

impl ClosingRecord {
    /// The eight words that a call takes.
    #[must_use]
    pub fn pack(&self) -> [U256; 8] {
        let flags = u128::from(self.closer_high)
            | u128::from(self.unknown) << 1
            | u128::from(self.fined) << 2;
        let [low, high] = &self.sides;
        let head = place(flags, 0, 8)
            | place(u128::from(self.last_expiry), 8, 40)
            | place(u128::from(self.declared), 48, 64)
            | place(u128::from(low.ticks), 112, 32)
            | place(u128::from(high.ticks), 144, 32);
        let agent = |side: &SideRecord| {
            U256::from_be_bytes(side.agent.into_word().0) | place(side.fee, 160, 96)
        };
        [
            head,
            low.word(),
            high.word(),
            low.state.into(),
            high.state.into(),
            agent(low),
            agent(high),
            deposits_word(self.deposits),
        ]
    }

    /// Reads the eight words of an event; none if bits are set that have no meaning.
    #[must_use]
    pub fn unpack(words: [U256; 8]) -> Option<Self> {
        let [
            head,
            low,
            high,
            state_low,
            state_high,
            agent_low,
            agent_high,
            deposits,
        ] = words;
        let flags = field(head, 0, 8);
        let stray = head.wrapping_shr(176) | deposits.wrapping_shr(192);
        if flags > 7 || stray != U256::ZERO {
            return None;
        }
        let side = |word: U256, state: U256, agent: U256, ticks_at: usize| {
            let (seq, out, done) = SideRecord::read(word)?;
            Some(SideRecord {
                seq,
                out,
                done,
                ticks: u32::try_from(field(head, ticks_at, 32)).ok()?,
                state: state.into(),
                agent: Address::from_word(agent.into()),
                fee: field(agent, 160, 96),
            })
        };
        Some(Self {
            closer_high: flags & 1 != 0,
            unknown: flags & 2 != 0,
            fined: flags & 4 != 0,
            last_expiry: u64::try_from(field(head, 8, 40)).ok()?,
            declared: u64::try_from(field(head, 48, 64)).ok()?,
            sides: [
                side(low, state_low, agent_low, 112)?,
                side(high, state_high, agent_high, 144)?,
            ],
            deposits: deposits_of(deposits),
        })
    }

    /// The record after an `Unlocked` event, which carries the one word that an unlock changes.
    #[must_use]
    pub fn unlocked(mut self, payer_high: bool, word: U256) -> Option<Self> {
        let (seq, out, done) = SideRecord::read(word)?;
        let [low, high] = &mut self.sides;
        let side = if payer_high { high } else { low };
        (side.seq, side.out, side.done) = (seq, out, done);
        Some(self)
    }

    /// The record after a `Named` event, which carries a party's agent word.
    #[must_use]
    pub fn named(mut self, party_high: bool, word: U256) -> Self {
        let [low, high] = &mut self.sides;
        let side = if party_high { high } else { low };
        side.agent = Address::from_word(word.into());
        side.fee = field(word, 160, 96);
        self
    }

    /// What the contract keeps: the upper 192 bits of the keccak of the 256 bytes, as a number.
    #[must_use]
    pub fn hash(&self) -> B256 {
        let words = self.pack().map(|word| word.to_be_bytes::<32>()).concat();
        U256::from_be_bytes(keccak256(words).0)
            .wrapping_shr(64)
            .into()
    }
}

/// One lock of a direction's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Unique in the channel's epoch and direction.
    pub id: u64,
    /// Base units, below 2^96.
    pub amount: u128,
    /// Seconds, 40 bits; fulfilled in time iff before it.
    pub expiry: u64,
    /// Encoded condition (docs/contracts.md, "Encoding of a condition").
    pub condition: Vec<u8>,
}

impl Leaf {
    /// Hash of the leaf in its tree.
    #[must_use]
    pub fn hash(&self) -> B256 {
        let kind = keccak256("Leaf(uint64 id,uint96 amount,uint40 expiry,bytes condition)");
        let condition = keccak256(&self.condition);
        keccak256(
            (
                kind,
                self.id,
                U256::from(self.amount),
                self.expiry,
                condition,
            )
                .abi_encode(),
        )
    }
}

/// Key under which a released leaf is marked: of one channel, epoch and payer.
#[must_use]
pub fn void_key(channel: B256, epoch: u32, payer: Address, leaf: B256) -> B256 {
    keccak256((keccak256((channel, epoch, payer).abi_encode()), leaf).abi_encode())
}

/// Root over the hashes of at most 64 leaves, padded with zero words to the next power of two: one leaf is its own root,
/// no leaf gives zero. None for more.
#[must_use]
pub fn tree_root(leaves: &[B256]) -> Option<B256> {
    let mut level = padded(leaves)?;
    while level.len() > 1 {
        level = parents(&level);
    }
    Some(level.first().copied().unwrap_or(B256::ZERO))
}

/// Siblings that prove the leaves at `indices` (rising, not repeated) together, level by level, and the tree's depth.
/// None if the tree is too large or empty, or an index is not in it.
#[must_use]
pub fn tree_proof(leaves: &[B256], indices: &[usize]) -> Option<(u8, Vec<B256>)> {
    let mut level = padded(leaves)?;
    if indices.iter().any(|index| *index >= leaves.len()) || !indices.is_sorted_by(|a, b| a < b) {
        return None;
    }
    let mut wanted = indices.to_vec();
    let (mut depth, mut proof) = (0_u8, Vec::new());
    while level.len() > 1 {
        for index in &wanted {
            let sibling = index ^ 1;
            if !wanted.contains(&sibling) {
                proof.push(*level.get(sibling)?);
            }
        }
        wanted = wanted.iter().map(|index| index >> 1).collect();
        wanted.dedup();
        level = parents(&level);
        depth = depth.checked_add(1)?;
    }
    Some((depth, proof))
}

fn padded(leaves: &[B256]) -> Option<Vec<B256>> {
    if leaves.len() > LEAVES_MAX {
        return None;
    }
    let mut level = leaves.to_vec();
    if !level.is_empty() {
        level.resize(leaves.len().next_power_of_two(), B256::ZERO);
    }
    Some(level)
}

fn parents(level: &[B256]) -> Vec<B256> {
    level
        .chunks(2)
        .map(|pair| keccak256(pair.iter().flat_map(|node| node.0).collect::<Vec<u8>>()))
        .collect()
}

fn deposits_word([low, high]: [i128; 2]) -> U256 {
    place(low.cast_unsigned(), 0, 96) | place(high.cast_unsigned(), 96, 96)
}

fn deposits_of(word: U256) -> [i128; 2] {
    [
        signed_96(field(word, 0, 96)),
        signed_96(field(word, 96, 96)),
    ]
}

fn mask(width: usize) -> U256 {
    U256::MAX.wrapping_shr(256_usize.saturating_sub(width))
}

/// The `width` <= 128 bits of `word` from bit `at`.
fn field(word: U256, at: usize, width: usize) -> u128 {
    (word.wrapping_shr(at) & mask(width)).saturating_to()
}

fn place(value: u128, at: usize, width: usize) -> U256 {
    (U256::from(value) & mask(width)).wrapping_shl(at)
}

/// Reads 96 bits as two's complement.
fn signed_96(bits: u128) -> i128 {
    // Shifted to the top and back, the sign fills the upper bits.
    (bits << 32).cast_signed() >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_packing() {
        let word = Word {
            low: -5,
            high: (1 << 94) + 7,
            epoch: 0xabcdef,
            time: (1 << 36) - 2,
            phase: WordPhase::Open,
            released: true,
            record: B256::ZERO,
        };
        assert_eq!(Word::unpack(word.pack()), Some(word));
        let closing = Word {
            low: 0,
            high: 0,
            record: ClosingRecord::default().hash(),
            phase: WordPhase::Closing,
            released: false,
            ..word
        };
        assert_eq!(Word::unpack(closing.pack()), Some(closing));
        assert_eq!(Word::unpack(U256::MAX), None);
    }

    #[test]
    fn records_survive_packing() {
        let side = SideRecord {
            seq: u64::MAX - 1,
            out: u128::MAX - 2,
            done: u64::MAX - 3,
            ticks: u32::MAX - 4,
            state: B256::repeat_byte(0x77),
            agent: Address::repeat_byte(0x99),
            fee: (1 << 96) - 5,
        };
        let record = ClosingRecord {
            closer_high: true,
            unknown: true,
            fined: false,
            last_expiry: (1 << 40) - 6,
            declared: u64::MAX - 7,
            sides: [side, SideRecord::default()],
            deposits: [-(1 << 94), (1 << 95) - 1],
        };
        assert_eq!(ClosingRecord::unpack(record.pack()), Some(record));
        for (word, bit) in [(0, 176_usize), (7, 192)] {
            let mut words = record.pack();
            words[word] |= U256::from(1) << bit;
            assert_eq!(ClosingRecord::unpack(words), None);
        }
        let mut after = record;
        (after.sides[1].seq, after.sides[1].out, after.sides[1].done) = (1, 2, 3);
        let word = after.sides[1].word();
        assert_eq!(record.unlocked(true, word), Some(after));
        (after.sides[1].agent, after.sides[1].fee) = (Address::repeat_byte(5), 9);
        let word = after.pack()[6];
        assert_eq!(
            record
                .unlocked(true, after.sides[1].word())
                .unwrap()
                .named(true, word),
            after
        );
    }

    #[test]
    fn one_proof_covers_several_leaves() {
        let leaves: Vec<B256> = (1..=5).map(B256::repeat_byte).collect();
        assert_eq!(tree_root(&leaves[..1]), Some(leaves[0]));
        assert_eq!(tree_root(&[]), Some(B256::ZERO));
        // Leaves 0 and 1 are joined; their parent needs one sibling, and the half above one more.
        let (depth, proof) = tree_proof(&leaves, &[0, 1]).unwrap();
        assert_eq!((depth, proof.len()), (3, 2));
        let pair = |a: B256, b: B256| keccak256([a.0, b.0].concat());
        assert_eq!(
            tree_root(&leaves),
            Some(pair(pair(pair(leaves[0], leaves[1]), proof[0]), proof[1]))
        );
        assert_eq!(tree_proof(&leaves, &[5]), None);
        assert_eq!(tree_root(&[B256::ZERO; 65]), None);
    }

    #[test]
    fn terms_outside_the_table_are_none() {
        assert_eq!(
            (hold_seconds(0x0405), unknown_factor(0x0405)),
            (Some(7 * 86_400), Some(4))
        );
        for terms in [0x0005, 0x0905, 0x0409] {
            assert_eq!(hold_seconds(terms), None);
        }
    }
}
