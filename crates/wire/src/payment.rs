//! Payments between the two parties of a channel, sealed by the flow they travel on. `docs/payments.md` draws each layout.
//!
//! The first byte holds the kind in its low 5 bits and, for an update, what is present in its upper 3. Integers are
//! big-endian; nothing may follow the last field. What is signed is never these bytes but the EIP-712 struct rebuilt from
//! them, so no two encodings of one message matter. Sizes are capped before anything is held.

mod codec;
mod refusal;
mod update;

use thiserror::Error;

use codec::{Reader, Writer};
pub use refusal::Refusal;
pub use update::{AddedLock, LockChange, LockEnd, State, Update};

/// Bytes of an update with neither locks nor ticks, without the memo.
pub const PLAIN_UPDATE_BYTES: usize = 95;
/// The most bytes of a payment message; longer ones are refused unread.
pub const MESSAGE_BYTES_MAX: usize = 24_576;
/// The most bytes of a memo.
pub const MEMO_BYTES_MAX: usize = 128;
/// The most bytes of an encoded condition.
pub const CONDITION_BYTES_MAX: usize = 512;
/// The most bytes of a lock's sealed instructions.
pub const INSTRUCTIONS_BYTES_MAX: usize = 4_096;
/// The most changes of locks in one update.
pub const CHANGES_MAX: usize = 8;
/// The most locks in one direction.
pub const LOCKS_MAX: usize = 64;
/// The most ticks entries in one message.
pub const TICKS_MAX: usize = 64;
/// The most bytes of a contract call that an agent brings.
pub const CALL_BYTES_MAX: usize = 8_192;

/// The first 6 bytes of a channel's id: names it between its two parties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelTag(pub [u8; 6]);

/// Names the two starts of the two parties between which a channel was re-established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionTag(pub [u8; 4]);

/// An EIP-2098 signature as it travels.
pub type SignatureBytes = [u8; 64];

/// Whose direction is meant, as the sender of the message sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// What the sender pays.
    Mine,
    /// What the receiver pays.
    Yours,
}

/// A party introduces itself before there is a channel: which key, which terms, which declared time to the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Whether it is the answer to one.
    pub answer: bool,
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Address of the channels contract.
    pub contract: [u8; 20],
    /// Address of the token.
    pub token: [u8; 20],
    /// The sender's channel key, as its account.
    pub account: [u8; 20],
    /// Hold index + 256 x factor of an unknown close.
    pub terms: u16,
    /// Lets the sender find the channel from its mnemonic.
    pub locator: [u8; 32],
    /// Seconds within which the sender says that it can reach the chain.
    pub reach: u32,
    /// Fee of a relayed payment: base units, then millionths of the amount.
    pub fee: (u64, u32),
    /// What the receiver must keep at least in the channel, base units: the sender's price of a dispute.
    pub reserve: u128,
    /// By the channel key, over all of this and both mesh addresses.
    pub signature: SignatureBytes,
}

/// Sent when a path is up and after each start: what the sender has, so that both can see who lost what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The channel.
    pub channel: ChannelTag,
    /// Its epoch.
    pub epoch: u32,
    /// Random at each start of the sender.
    pub nonce: [u8; 8],
    /// The receiver's nonce as the sender last heard it; zero if never.
    pub echo: [u8; 8],
    /// Number of the newest message the sender signed.
    pub mine: u64,
    /// Number of the receiver's newest message that the sender holds.
    pub yours: u64,
    /// Whether the sender knows that it forgot: it will sign no payments in this epoch.
    pub recovering: bool,
}

/// A whole direction, handed back or given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restate {
    /// The channel.
    pub channel: ChannelTag,
    /// Whose.
    pub whose: Whose,
    /// The newest message.
    pub state: State,
    /// Its payer's signature.
    pub signature: SignatureBytes,
    /// All its locks in the order of the tree.
    pub locks: Vec<AddedLock>,
}

/// Both sign a withdrawal while the channel stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    /// The channel.
    pub channel: ChannelTag,
    /// Whether it is the partner's signature, not the one who takes out.
    pub answer: bool,
    /// Base units, with the fee.
    pub amount: u128,
    /// Who gets it.
    pub to: [u8; 20],
    /// Who may submit; zero: anybody.
    pub agent: [u8; 20],
    /// Base units.
    pub fee: u128,
    /// Chain seconds.
    pub expiry: u64,
    /// The sender's.
    pub signature: SignatureBytes,
}

/// Both sign the payouts that end an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payouts {
    /// The channel.
    pub channel: ChannelTag,
    /// Whether it is the second signature.
    pub answer: bool,
    /// Base units of the lower key, of the higher key.
    pub amounts: (u128, u128),
    /// Receiver of the lower key's, of the higher key's.
    pub to: ([u8; 20], [u8; 20]),
    /// Who may submit; zero: anybody.
    pub agent: [u8; 20],
    /// Base units.
    pub fee: u128,
    /// Chain seconds.
    pub deadline: u64,
    /// The sender's.
    pub signature: SignatureBytes,
}

/// Ticks of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// The channel.
    pub channel: ChannelTag,
    /// Low bits of the number of the message whose tip this leads to.
    pub anchor: u32,
    /// How often the preimage must be hashed.
    pub count: u32,
    /// The preimage.
    pub preimage: [u8; 32],
}

/// A bonded book's cheque to somebody with whom there is no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cheque {
    /// Id of the book.
    pub book: [u8; 32],
    /// Over all cheques of the book, from 1.
    pub index: u64,
    /// Base units by which this one raises the total.
    pub increment: u128,
    /// Base units of all cheques of the book.
    pub total: u128,
    /// Hash of the cheque before.
    pub previous: [u8; 32],
    /// Who is paid.
    pub beneficiary: [u8; 20],
    /// All that the beneficiary was paid, base units.
    pub cumulative: u128,
    /// The issuer's.
    pub signature: SignatureBytes,
}

/// What names a book and cannot change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Book {
    /// Token.
    pub token: [u8; 20],
    /// Owner.
    pub owner: [u8; 20],
    /// Key that signs the cheques.
    pub issuer: [u8; 20],
    /// The most that the bond answers for to one beneficiary, base units.
    pub cap: u128,
    /// Seconds before funds can leave.
    pub thaw: u64,
}

/// What a party asks a watchtower to do if a close appears; useless until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Token, lower key, higher key.
    pub parties: ([u8; 20], [u8; 20], [u8; 20]),
    /// Terms.
    pub terms: u16,
    /// Epoch.
    pub epoch: u32,
    /// The partner's newest message, which contradicts any older close.
    pub state: State,
    /// The partner's signature of it.
    pub signature: SignatureBytes,
    /// The tower that may act; zero: anybody.
    pub agent: [u8; 20],
    /// Its fee, base units.
    pub fee: u128,
    /// Chain seconds.
    pub deadline: u64,
    /// The watched party's order to forfeit.
    pub forfeit: SignatureBytes,
    /// The watched party's order to post this very message.
    pub update: SignatureBytes,
}

/// How a relay hands a lock on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Token.
    pub token: [u8; 20],
    /// The point of the lock that comes, as its condition names it.
    pub incoming: [u8; 20],
    /// Mesh address of who is next.
    pub next: [u8; 16],
    /// Compressed point of the lock that goes on.
    pub point: [u8; 33],
    /// Scalar that leads from the point that goes on to the one that comes.
    pub tweak: [u8; 32],
    /// Base units of the lock that goes on.
    pub amount: u128,
    /// Its expiry, seconds.
    pub expiry: u64,
}

/// Everything that channels say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentMessage {
    /// Before a channel.
    Introduction(Introduction),
    /// After a start, and when a path is up.
    Hello(Hello),
    /// A signed state with what changed.
    Update(Update),
    /// The update with this number is on disk here.
    Accepted {
        /// The channel.
        channel: ChannelTag,
        /// Between which starts.
        session: SessionTag,
        /// The number.
        seq: u64,
    },
    /// The update with this number was not taken.
    Refused {
        /// The channel.
        channel: ChannelTag,
        /// The number.
        seq: u64,
        /// Why.
        reason: Refusal,
    },
    /// A direction in full.
    Restate(Restate),
    /// The payee shows what opens a lock.
    Claim {
        /// The channel.
        channel: ChannelTag,
        /// The lock.
        lock: u64,
        /// Preimage or secret scalar.
        secret: [u8; 32],
    },
    /// The payee gives a lock up; it can never be claimed again.
    Release {
        /// The channel.
        channel: ChannelTag,
        /// The lock.
        lock: u64,
        /// The payee's.
        signature: SignatureBytes,
        /// Why.
        reason: Refusal,
    },
    /// Taking out.
    Withdrawal(Withdrawal),
    /// Ending by agreement.
    Payouts(Payouts),
    /// Ticks of several channels.
    Ticks(Vec<Tick>),
    /// Ticks that are on disk here: the same fields, the preimage left out.
    TicksAccepted(Vec<(ChannelTag, u32, u32)>),
    /// Asks somebody for a fresh lock to pay them over several hops.
    InvoiceWanted {
        /// Names the request.
        id: [u8; 8],
        /// Token.
        token: [u8; 20],
        /// Base units.
        amount: u128,
    },
    /// The answer: the point whose secret only the payee knows.
    Invoice {
        /// Names the request.
        id: [u8; 8],
        /// Compressed point.
        point: [u8; 33],
        /// The payee's account.
        account: [u8; 20],
        /// Unix seconds until which it is taken.
        expires: u64,
    },
    /// What a relay is to do with a lock that will come; only sent by who pays.
    Relay(Relay),
    /// A cheque, with the book's terms.
    Cheque(Box<(Book, Cheque)>),
    /// The cheque with this hash is on disk here.
    ChequeAccepted {
        /// Its struct hash.
        hash: [u8; 32],
    },
    /// Two cheques that cannot both be honest.
    Fork(Box<(Book, Cheque, Cheque)>),
    /// A hint for a watchtower.
    Watch(Box<Watch>),
    /// The tower keeps the hint.
    Watching {
        /// State hash that it keeps.
        state: [u8; 32],
    },
    /// A signed call for an agent to bring to the chain.
    Bring {
        /// Names the request.
        id: [u8; 8],
        /// 0 token, 1 conditions, 2 channels, 3 chequebook.
        contract: u8,
        /// Base units that the call pays its submitter.
        fee: u128,
        /// The call's data.
        call: Vec<u8>,
    },
    /// What came of it.
    Brought {
        /// Names the request.
        id: [u8; 8],
        /// Whether the agent took it.
        taken: bool,
    },
}

/// Bytes that are no payment message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PaymentMessageError {
    /// Longer than [`MESSAGE_BYTES_MAX`], or empty.
    #[error("a payment message of {0} bytes")]
    Length(usize),
    /// Of a later version.
    #[error("a payment message of unknown kind {0}")]
    Kind(u8),
    /// Cut short, too long, or a field breaks its limit.
    #[error("a payment message that breaks its layout")]
    Layout,
}

impl PaymentMessage {
    /// The message as bytes. Lists beyond their limits are cut: callers keep to them.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Self::Introduction(m) => codec::introduction(&mut w, m),
            Self::Hello(m) => codec::hello(&mut w, m),
            Self::Update(m) => m.write(&mut w),
            Self::Accepted {
                channel,
                session,
                seq,
            } => {
                w.u8(4).put(&channel.0).put(&session.0).u64(*seq);
            }
            Self::Refused {
                channel,
                seq,
                reason,
            } => {
                w.u8(5).put(&channel.0).u64(*seq).u8(reason.code());
            }
            Self::Restate(m) => m.write(&mut w),
            Self::Claim {
                channel,
                lock,
                secret,
            } => {
                w.u8(7).put(&channel.0).u64(*lock).put(secret);
            }
            Self::Release {
                channel,
                lock,
                signature,
                reason,
            } => {
                w.u8(8)
                    .put(&channel.0)
                    .u64(*lock)
                    .put(signature)
                    .u8(reason.code());
            }
            Self::Withdrawal(m) => codec::withdrawal(&mut w, m),
            Self::Payouts(m) => codec::payouts(&mut w, m),
            Self::Ticks(ticks) => codec::ticks(&mut w, ticks),
            Self::TicksAccepted(ticks) => {
                w.u8(12);
                for (channel, anchor, count) in ticks.iter().take(TICKS_MAX) {
                    w.put(&channel.0).u32(*anchor).u32(*count);
                }
            }
            Self::InvoiceWanted { id, token, amount } => {
                w.u8(13).put(id).put(token).amount(*amount);
            }
            Self::Invoice {
                id,
                point,
                account,
                expires,
            } => {
                w.u8(14).put(id).put(point).put(account).u64(*expires);
            }
            Self::Relay(m) => codec::relay(&mut w, m),
            Self::Cheque(m) => {
                w.u8(15);
                codec::book(&mut w, &m.0);
                codec::cheque(&mut w, &m.1);
            }
            Self::ChequeAccepted { hash } => {
                w.u8(16).put(hash);
            }
            Self::Fork(m) => {
                w.u8(17);
                codec::book(&mut w, &m.0);
                codec::cheque(&mut w, &m.1);
                codec::cheque(&mut w, &m.2);
            }
            Self::Watch(m) => codec::watch(&mut w, m),
            Self::Watching { state } => {
                w.u8(19).put(state);
            }
            Self::Bring {
                id,
                contract,
                fee,
                call,
            } => {
                w.u8(20).put(id).u8(*contract).amount(*fee);
                w.sized(call, CALL_BYTES_MAX);
            }
            Self::Brought { id, taken } => {
                w.u8(21).put(id).u8(u8::from(*taken));
            }
        }
        w.finish()
    }

    /// Takes a message.
    ///
    /// # Errors
    /// If it is too long, of an unknown kind, or breaks its layout.
    pub fn decode(bytes: &[u8]) -> Result<Self, PaymentMessageError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(PaymentMessageError::Length(bytes.len()));
        }
        let Some((first, rest)) = bytes.split_first() else {
            return Err(PaymentMessageError::Length(0));
        };
        let mut r = Reader::new(rest);
        let (kind, present) = (first & 0x1f, first >> 5);
        if present != 0 && kind != update::KIND_UPDATE {
            return Err(PaymentMessageError::Kind(*first));
        }
        let message = Self::read(kind, present, &mut r)
            .ok_or(PaymentMessageError::Layout)
            .and_then(|message| message.ok_or(PaymentMessageError::Kind(kind)))?;
        if r.is_empty() {
            Ok(message)
        } else {
            Err(PaymentMessageError::Layout)
        }
    }

    /// `None`: broken layout; `Some(None)`: unknown kind.
    fn read(kind: u8, present: u8, r: &mut Reader<'_>) -> Option<Option<Self>> {
        Some(Some(match kind {
            1 => Self::Introduction(codec::read_introduction(r)?),
            2 => Self::Hello(codec::read_hello(r)?),
            update::KIND_UPDATE => Self::Update(Update::read(present, r)?),
            4 => Self::Accepted {
                channel: ChannelTag(r.array()?),
                session: SessionTag(r.array()?),
                seq: r.u64()?,
            },
            5 => Self::Refused {
                channel: ChannelTag(r.array()?),
                seq: r.u64()?,
                reason: Refusal::from_code(r.u8()?),
            },
            update::KIND_RESTATE => Self::Restate(Restate::read(r)?),
            7 => Self::Claim {
                channel: ChannelTag(r.array()?),
                lock: r.u64()?,
                secret: r.array()?,
            },
            8 => Self::Release {
                channel: ChannelTag(r.array()?),
                lock: r.u64()?,
                signature: r.array()?,
                reason: Refusal::from_code(r.u8()?),
            },
            9 => Self::Withdrawal(codec::read_withdrawal(r)?),
            10 => Self::Payouts(codec::read_payouts(r)?),
            11 => Self::Ticks(codec::read_ticks(r)?),
            12 => Self::TicksAccepted(r.list(TICKS_MAX, |r| {
                Some((ChannelTag(r.array()?), r.u32()?, r.u32()?))
            })?),
            13 => Self::InvoiceWanted {
                id: r.array()?,
                token: r.array()?,
                amount: r.amount()?,
            },
            14 => Self::Invoice {
                id: r.array()?,
                point: r.array()?,
                account: r.array()?,
                expires: r.u64()?,
            },
            22 => Self::Relay(codec::read_relay(r)?),
            15 => Self::Cheque(Box::new((codec::read_book(r)?, codec::read_cheque(r)?))),
            16 => Self::ChequeAccepted { hash: r.array()? },
            17 => Self::Fork(Box::new((
                codec::read_book(r)?,
                codec::read_cheque(r)?,
                codec::read_cheque(r)?,
            ))),
            18 => Self::Watch(Box::new(codec::read_watch(r)?)),
            19 => Self::Watching { state: r.array()? },
            20 => Self::Bring {
                id: r.array()?,
                contract: r.u8()?,
                fee: r.amount()?,
                call: r.sized(CALL_BYTES_MAX)?,
            },
            21 => Self::Brought {
                id: r.array()?,
                taken: r.flag()?,
            },
            _ => return Some(None),
        }))
    }
}

#[cfg(test)]
mod tests;
