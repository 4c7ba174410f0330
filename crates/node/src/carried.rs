//! Files that are carried: with no path to the reader, a small file's chunks travel as bundles behind the message that
//! offers it.
//!
//! ```text
//! a part, the payload of a bundle
//! kind 1 = 1 | name 16 | sealed ( index 1 | (length 2 | span and payload of a chunk)* ) | tag 16
//! ```
//! Name, key and receipt of each part follow from the file's reference and the message's id, which sender and reader alone
//! know both: carriers see neither content nor which parts belong together. The same file and message always give the same
//! parts, so that a sender that starts anew deposits nothing twice.
//!
//! | a carried file is | because | next |
//! |---|---|---|
//! | to be cut (sender) | carriers were given the message that offers it | under way, or left: too long, or no room |
//! | under way (sender) | its parts are deposited | over when all are read, or the message has failed |
//! | expected (reader) | a message offered it | here, when the store has every chunk, whichever way it came |
//! | here (reader) | | parts that still come by are cleared unread; forgotten at its end |

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use smartmesh_crypto::{CipherSuite, Mac, OpeningKey, SealingKey, TAG_BYTES, hmac_sha256, sha256};
use smartmesh_mesh::MeshInput;
use smartmesh_mesh::custody::CustodyInput;
use smartmesh_storage::{Chunk, Reader, Reference, RetrievalInput};
use smartmesh_types::{Address, Duration, MessageId, Now, RequestId, UnixTime};
use smartmesh_wire::bundle::{BUNDLE_PAYLOAD_BYTES_MAX, Priority};

use crate::gate::Gate;
use crate::{Event, FileOffer, Node, Output, PersistId, Record};

mod records;

pub(crate) use records::CARRIED_RECORDS;

/// First byte of a bundle's payload that holds a part of a file.
pub(crate) const FILE_PART: u8 = 1;

/// The longest file that is carried, in bytes: a photo, not a film. Eight copies of it are what a few walkers take along in
/// one encounter.
pub(crate) const CARRIED_FILE_BYTES_MAX: u64 = 1_024 * 1_024;

/// Parts of one file at most: those of the longest, encrypted, and some to spare.
const PARTS_MAX: u8 = 20;

/// Bytes of a part's name.
const NAME_BYTES: usize = 16;

/// Bytes of chunks in one part, with their lengths.
const PART_BYTES_MAX: usize = BUNDLE_PAYLOAD_BYTES_MAX - 2 - NAME_BYTES - TAG_BYTES;

/// Own mail that files may fill: half of all, the rest stays for messages.
const OWN_BYTES_MAX: u64 = 32 * 1_024 * 1_024;

/// Files under way from here, and expected here, at most; the one that ends first goes.
const FILES_MAX: usize = 256;

/// Parts kept that came before the message that offers their file; the oldest is left on disk until the next start.
const EARLY_MAX: usize = 64;

/// How long an offered file is expected: as long as any mail lives, and a day for clocks that differ.
const EXPECTED_FOR: Duration = Duration::from_secs(31 * 24 * 3_600);

/// Own looks at what the store has are numbered from here, beyond the shell's requests.
const FIRST_LOOK: u64 = 1 << 63;

/// What sender and reader alone can compute of a file's parts.
struct Secrets(Mac);

impl Secrets {
    fn new(reference: &[u8], message: MessageId) -> Self {
        let key = hmac_sha256(reference, &[b"smartmesh carried file 1\0", &message.0]);
        Self(Mac::new(&key))
    }

    fn name(&self, index: u8) -> [u8; NAME_BYTES] {
        let mac = self.0.sign(&[b"name", &[index]]);
        mac.first_chunk().copied().unwrap_or_default()
    }

    fn receipt(&self, index: u8) -> [u8; 32] {
        self.0.sign(&[b"receipt", &[index]])
    }

    fn commitment(&self, index: u8) -> [u8; 32] {
        sha256(&[&self.receipt(index)])
    }

    /// The key of one part, used for that one text.
    fn key(&self, index: u8) -> [u8; 32] {
        self.0.sign(&[b"key", &[index]])
    }

    fn seal(&self, index: u8, chunks: &[u8]) -> Vec<u8> {
        let mut text = vec![index];
        text.extend_from_slice(chunks);
        let key = SealingKey::new(CipherSuite::ChaCha20Poly1305, &self.key(index));
        let tag = key.seal(0, &[], &mut text);
        [&[FILE_PART][..], &self.name(index), &text, &tag].concat()
    }

    /// The chunks of a part whose name is this file's.
    fn open(&self, index: u8, sealed: &[u8]) -> Option<Vec<Chunk>> {
        let mut sealed = sealed.to_vec();
        let key = OpeningKey::new(CipherSuite::ChaCha20Poly1305, &self.key(index));
        let text = key.open(0, &[], &mut sealed).ok()?;
        let (said, mut rest) = text.split_first()?;
        let mut chunks = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (chunk, behind) =
                behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            chunks.push(Chunk::from_bytes(chunk.to_vec()).ok()?);
            rest = behind;
        }
        (*said == index && rest.is_empty()).then_some(chunks)
    }
}

/// A file that goes out with carriers.
#[derive(Clone, Debug)]
struct Outgoing {
    to: Address,
    reference: Vec<u8>,
    expires: UnixTime,
    /// Commitments of deposited parts that nobody has read yet; `None` while the file is to be cut.
    parts: Option<BTreeSet<[u8; 32]>>,
}

/// The file that is being cut.
#[derive(Debug)]
struct Cutting {
    message: MessageId,
    reader: Reader,
    chunks: Vec<u8>,
    commitments: BTreeSet<[u8; 32]>,
    index: u8,
}

/// A file that was offered and may come with carriers.
#[derive(Clone, Debug)]
struct Expected {
    reference: Vec<u8>,
    expires: UnixTime,
    /// Bit i: part i is here.
    parts: u32,
    here: bool,
}

/// What waits for records to be durable.
#[derive(Debug)]
pub(crate) enum CarriedOutput {
    Reveal([u8; 32]),
    Look(MessageId),
    Tell(Event),
}

/// Carried files of this node.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) gate: Gate<CarriedOutput>,
    outgoing: BTreeMap<MessageId, Outgoing>,
    cutting: Option<Cutting>,
    expected: BTreeMap<MessageId, Expected>,
    /// Parts that would be recognised, by name.
    names: BTreeMap<[u8; NAME_BYTES], (MessageId, u8)>,
    early: VecDeque<Vec<u8>>,
    /// Looks at what the store has of a file.
    looks: BTreeMap<RequestId, MessageId>,
    unlooked: BTreeSet<MessageId>,
    looked: u64,
}

impl Node {
    /// Carriers got a message that offers a file: its content goes the same way.
    pub(crate) fn carry_file(
        &mut self,
        message: MessageId,
        to: Address,
        offer: &smartmesh_messaging::FileOffer,
        expires: UnixTime,
        now: Now,
    ) {
        let own = self.mesh.custody().own_bytes().saturating_add(offer.bytes);
        let known = self.carried.outgoing.contains_key(&message);
        if known || offer.bytes > CARRIED_FILE_BYTES_MAX || own > OWN_BYTES_MAX {
            return;
        }
        while self.carried.outgoing.len() >= FILES_MAX {
            let first = self
                .carried
                .outgoing
                .iter()
                .min_by_key(|(_, one)| one.expires);
            let Some(first) = first.map(|(message, _)| *message) else {
                break;
            };
            self.forget_outgoing(first);
        }
        let outgoing = Outgoing {
            to,
            reference: offer.reference.clone(),
            expires,
            parts: None,
        };
        let record = records::outgoing(message, &outgoing);
        self.carried.gate.persist(record);
        self.carried.outgoing.insert(message, outgoing);
        self.cut_next(now);
    }

    fn forget_outgoing(&mut self, message: MessageId) {
        self.carried.outgoing.remove(&message);
        let cut = self.carried.cutting.as_ref();
        if cut.is_some_and(|cutting| cutting.message == message) {
            self.carried.cutting = None;
        }
        self.carried.gate.persist(records::outgoing_gone(message));
    }

    /// The message that offered a file has failed or was taken back: carriers need not carry its content.
    pub(crate) fn stop_carrying(&mut self, message: MessageId, now: Now) {
        let Some(outgoing) = self.carried.outgoing.get(&message) else {
            return;
        };
        let secrets = Secrets::new(&outgoing.reference, message);
        self.forget_outgoing(message);
        for index in 0..PARTS_MAX {
            self.reveal(secrets.receipt(index), now);
        }
        self.cut_next(now);
    }

    /// Carriers brought word that a bundle of ours was read.
    pub(crate) fn part_read(&mut self, commitment: [u8; 32]) {
        let over = self.carried.outgoing.iter_mut().find_map(|(id, one)| {
            let parts = one.parts.as_mut()?;
            (parts.remove(&commitment) && parts.is_empty()).then_some(*id)
        });
        if let Some(message) = over {
            self.forget_outgoing(message);
        }
    }

    /// Cuts one file after the other, so that one at a time is in memory.
    fn cut_next(&mut self, now: Now) {
        if self.carried.cutting.is_some() {
            return;
        }
        let ended = |one: &Outgoing| one.expires <= now.unix;
        let mut waiting = self.carried.outgoing.iter();
        let next = waiting.find(|(_, one)| one.parts.is_none());
        let Some((message, outgoing)) = next.map(|(id, one)| (*id, one.clone())) else {
            return;
        };
        let Ok(reference) = Reference::from_bytes(&outgoing.reference) else {
            return self.forget_outgoing(message);
        };
        if ended(&outgoing) {
            self.forget_outgoing(message);
            return self.cut_next(now);
        }
        self.carried.cutting = Some(Cutting {
            message,
            reader: Reader::new(reference),
            chunks: Vec::new(),
            commitments: BTreeSet::new(),
            index: 0,
        });
        self.want_chunk();
    }

    fn want_chunk(&mut self) {
        let cutting = self.carried.cutting.as_ref();
        if let Some(address) = cutting.and_then(|cutting| cutting.reader.wanted()) {
            let address = address.0;
            self.outputs.push_back(Output::LoadChunk { address });
        }
    }

    /// A chunk came from the store: perhaps the one that is to be cut next.
    pub(crate) fn cut_chunk(&mut self, address: [u8; 32], bytes: Option<&[u8]>, now: Now) {
        let Some(cutting) = self.carried.cutting.as_mut() else {
            return;
        };
        if cutting.reader.wanted().map(|wanted| wanted.0) != Some(address) {
            return;
        }
        let message = cutting.message;
        let taken = bytes.is_some_and(|bytes| cutting.reader.supply(bytes.to_vec()).is_ok());
        let long = cutting.reader.file_length() > Some(CARRIED_FILE_BYTES_MAX);
        let length = bytes.and_then(|bytes| u16::try_from(bytes.len()).ok());
        let (Some(bytes), Some(length), true, false) = (bytes, length, taken, long) else {
            // The sender's own store has lost it, or it was never the small file that it was said to be.
            self.carried.cutting = None;
            self.forget_outgoing(message);
            return self.cut_next(now);
        };
        let more = bytes.len().saturating_add(2);
        if cutting.chunks.len().saturating_add(more) > PART_BYTES_MAX {
            self.deposit_part(now);
        }
        if let Some(cutting) = self.carried.cutting.as_mut() {
            cutting.chunks.extend_from_slice(&length.to_be_bytes());
            cutting.chunks.extend_from_slice(bytes);
            if cutting.reader.wanted().is_none() {
                self.deposit_part(now);
                self.finish_cutting();
                return self.cut_next(now);
            }
        }
        self.want_chunk();
    }

    fn finish_cutting(&mut self) {
        if let Some(cutting) = self.carried.cutting.take()
            && let Some(outgoing) = self.carried.outgoing.get_mut(&cutting.message)
        {
            outgoing.parts = Some(cutting.commitments);
        }
    }

    fn deposit_part(&mut self, now: Now) {
        let Some(cutting) = self.carried.cutting.as_mut() else {
            return;
        };
        let Some(outgoing) = self.carried.outgoing.get(&cutting.message) else {
            return;
        };
        let secrets = Secrets::new(&outgoing.reference, cutting.message);
        let index = cutting.index;
        let payload = secrets.seal(index, &std::mem::take(&mut cutting.chunks));
        cutting.index = index.saturating_add(1);
        cutting.commitments.insert(secrets.commitment(index));
        let deposit = CustodyInput::Deposit {
            to: outgoing.to,
            payload,
            expires: outgoing.expires,
            priority: Priority::File,
            receipt: secrets.receipt(index),
        };
        self.mesh.handle(MeshInput::Custody(deposit), now);
    }

    /// A message offers a file: whatever comes of it with carriers is recognised from now on. The user hears of the offer
    /// when that is certain.
    pub(crate) fn expect_file(
        &mut self,
        message: MessageId,
        offer: &FileOffer,
        event: Event,
        now: Now,
    ) {
        let known = self.carried.expected.contains_key(&message);
        if offer.size <= CARRIED_FILE_BYTES_MAX && !known {
            let expected = Expected {
                reference: offer.reference.clone(),
                expires: now.unix + EXPECTED_FOR,
                parts: 0,
                here: false,
            };
            self.insert_expected(message, expected);
            self.persist_expected(message);
        }
        self.carried.gate.push(CarriedOutput::Tell(event));
        for part in std::mem::take(&mut self.carried.early) {
            self.handle_part(part, now);
        }
    }

    fn insert_expected(&mut self, message: MessageId, expected: Expected) {
        while self.carried.expected.len() >= FILES_MAX {
            let first = self
                .carried
                .expected
                .iter()
                .min_by_key(|(_, one)| one.expires);
            let Some(first) = first.map(|(message, _)| *message) else {
                break;
            };
            self.carried.expected.remove(&first);
            self.carried.names.retain(|_, (of, _)| *of != first);
            self.carried.gate.persist(records::expected_gone(first));
        }
        let secrets = Secrets::new(&expected.reference, message);
        for index in 0..PARTS_MAX {
            self.carried
                .names
                .insert(secrets.name(index), (message, index));
        }
        self.carried.expected.insert(message, expected);
    }

    fn persist_expected(&mut self, message: MessageId) {
        if let Some(expected) = self.carried.expected.get(&message) {
            let record = records::expected(message, expected);
            self.carried.gate.persist(record);
        }
    }

    /// A part of a file came with carriers, without its kind.
    pub(crate) fn handle_part(&mut self, part: Vec<u8>, now: Now) {
        let name = part.split_first_chunk::<NAME_BYTES>();
        let Some((name, sealed)) = name else { return };
        let Some((message, index)) = self.carried.names.get(name).copied() else {
            if self.carried.early.len() >= EARLY_MAX {
                self.carried.early.pop_front();
            }
            return self.carried.early.push_back(part);
        };
        let Some(expected) = self.carried.expected.get_mut(&message) else {
            return;
        };
        let secrets = Secrets::new(&expected.reference, message);
        let bit = 1_u32.checked_shl(u32::from(index)).unwrap_or(0);
        if expected.parts & bit == 0 && !expected.here {
            let Some(chunks) = secrets.open(index, sealed) else {
                return;
            };
            expected.parts |= bit;
            for chunk in chunks {
                let (address, bytes) = (chunk.address().0, chunk.bytes().to_vec());
                self.outputs
                    .push_back(Output::StoreChunk { address, bytes });
                let stored = RetrievalInput::Stored(chunk);
                let _ = self.files.retrieval_mut().handle(stored, now);
            }
            // Behind the chunks on disk: who reveals the receipt will not get them again.
            self.persist_expected(message);
            self.carried.gate.push(CarriedOutput::Look(message));
        }
        let receipt = secrets.receipt(index);
        self.carried.gate.push(CarriedOutput::Reveal(receipt));
    }

    pub(crate) fn handle_carried(&mut self, output: CarriedOutput, now: Now) {
        match output {
            CarriedOutput::Reveal(receipt) => self.reveal(receipt, now),
            CarriedOutput::Look(message) => {
                self.carried.unlooked.insert(message);
                self.look_next(now);
            }
            CarriedOutput::Tell(event) => self.tell(event),
        }
    }

    /// Looks whether the store has all of a file: a fetch that asks nobody. Refused while too many fetches are under way, and
    /// tried again when one of them ends.
    pub(crate) fn look_next(&mut self, now: Now) {
        while let Some(message) = self.carried.unlooked.first().copied() {
            let expected = self.carried.expected.get(&message);
            let reference = expected.and_then(|one| Reference::from_bytes(&one.reference).ok());
            if let Some(reference) = reference {
                self.carried.looked = self.carried.looked.saturating_add(1);
                let id = RequestId(FIRST_LOOK.saturating_add(self.carried.looked));
                let look = RetrievalInput::Fetch {
                    id,
                    reference,
                    holders: Vec::new(),
                };
                if self.files.retrieval_mut().handle(look, now).is_err() {
                    return;
                }
                self.carried.looks.insert(id, message);
            }
            self.carried.unlooked.remove(&message);
        }
    }

    /// Whether this was a look of ours at the store, which has ended.
    pub(crate) fn look_over(&mut self, id: RequestId, complete: bool, now: Now) -> bool {
        let Some(message) = self.carried.looks.remove(&id) else {
            return false;
        };
        let expected = self.carried.expected.get(&message);
        let news = expected.filter(|one| complete && !one.here);
        if let Some(reference) = news.map(|one| one.reference.clone()) {
            // The user hears of it before it is noted on disk: torn between the two, it is told once more.
            self.tell(Event::FetchComplete {
                reference: reference.clone(),
                holders: Vec::new(),
            });
            self.file_is_here(&reference);
        }
        self.look_next(now);
        true
    }

    /// All chunks of a file are in the store: carriers need not bring what is still under way.
    pub(crate) fn file_is_here(&mut self, reference: &[u8]) {
        let same = self.carried.expected.iter_mut();
        let same = same.filter(|(_, one)| one.reference == reference && !one.here);
        let messages: Vec<MessageId> = same
            .map(|(message, one)| {
                one.here = true;
                *message
            })
            .collect();
        for message in messages {
            self.persist_expected(message);
            let secrets = Secrets::new(reference, message);
            for index in 0..PARTS_MAX {
                let receipt = secrets.receipt(index);
                self.carried.gate.push(CarriedOutput::Reveal(receipt));
            }
        }
    }

    /// While a file is being fetched, its parts are not taken from carriers: no byte comes twice.
    pub(crate) fn fetches_changed(&mut self, now: Now) {
        let fetching: BTreeSet<&[u8]> = self.files.references().collect();
        let coming = self.carried.expected.iter();
        let coming = coming.filter(|(_, one)| fetching.contains(&one.reference[..]) && !one.here);
        let commitments = coming.flat_map(|(message, one)| {
            let secrets = Secrets::new(&one.reference, *message);
            (0..PARTS_MAX).map(move |index| secrets.commitment(index))
        });
        let commitments = commitments.collect();
        let input = CustodyInput::ComesOtherwise { commitments };
        self.mesh.handle(MeshInput::Custody(input), now);
    }

    /// Whether carriers may bring a file that cannot be fetched at this moment.
    pub(crate) fn may_be_carried(&self, reference: &[u8]) -> bool {
        let mut expected = self.carried.expected.values();
        expected.any(|one| one.reference == reference && !one.here)
    }

    pub(crate) fn carried_persisted(&mut self, id: PersistId, now: Now) {
        for output in self.carried.gate.complete(id) {
            self.handle_carried(output, now);
        }
    }

    /// Takes the records of an earlier start; says which one cannot be read.
    pub(crate) fn restore_carried(
        &mut self,
        found: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        now: Now,
    ) -> Result<(), Vec<u8>> {
        for (key, value) in found {
            match records::parse(&key, &value).ok_or(key)? {
                records::Fact::Outgoing(message, outgoing) => {
                    self.carried.outgoing.insert(message, outgoing);
                }
                records::Fact::Expected(message, expected) if expected.expires <= now.unix => {
                    self.carried.gate.persist(records::expected_gone(message));
                }
                records::Fact::Expected(message, expected) => {
                    if expected.here {
                        let secrets = Secrets::new(&expected.reference, message);
                        for index in 0..PARTS_MAX {
                            self.reveal(secrets.receipt(index), now);
                        }
                    } else {
                        // It may have become complete just before the end.
                        self.carried.unlooked.insert(message);
                    }
                    self.insert_expected(message, expected);
                }
            }
        }
        self.cut_next(now);
        self.look_next(now);
        Ok(())
    }

    pub(crate) fn carried_record(key: Vec<u8>, value: Option<Vec<u8>>) -> Record {
        Record {
            key: crate::wiring::prefixed(CARRIED_RECORDS, &key),
            value,
        }
    }
}
