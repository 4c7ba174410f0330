//! What goes into the core and what comes out.

use alloy_primitives::{Address as Account, U256};
use smartmesh_contracts::ContractEvent;
use smartmesh_types::{Address, RequestId};
use smartmesh_wire::payment::{PaymentMessage, Refusal};
use thiserror::Error;

use crate::channel::{ChannelId, Terms};

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// From a peer; the flow proves who.
    Received {
        /// Who sent it.
        from: Address,
        /// What it says.
        message: PaymentMessage,
    },
    /// There is a path to somebody, or their packets pass again.
    PathUp {
        /// Whom it leads to.
        peer: Address,
    },
    /// There is none any more.
    PathDown {
        /// Whom it led to.
        peer: Address,
    },
    /// The chain as verified, in chain order.
    Chain(ChainFact),
    /// A local request; answered by [`Event::Answer`] with the same id, or refused by the error of `handle`.
    Command(RequestId, Command),
    /// Nothing but time has passed.
    Tick,
}

/// What is new on the chain. After a start the logs are told again from [`crate::Channels::chain_cursor`] on.
#[derive(Clone, Debug)]
pub enum ChainFact {
    /// A log of one of our contracts; before the head of its block.
    Log {
        /// Number of its block.
        block: u64,
        /// Its place in the block.
        index: u32,
        /// The log.
        event: Box<ContractEvent>,
    },
    /// All logs up to this block have been told.
    Head {
        /// Its number.
        block: u64,
        /// Its timestamp, seconds.
        time: u64,
    },
    /// Blocks above this one are no longer part of the chain; what replaces them follows.
    Rollback {
        /// The last block that stays.
        to: u64,
    },
}

/// What a user asks for. Amounts are base units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Opens a channel: introduces itself, then deposits.
    Open {
        /// With whom.
        peer: Address,
        /// Token.
        token: Account,
        /// What this side puts in; zero if only the partner pays in.
        deposit: u128,
    },
    /// Puts more in.
    Deposit {
        /// Which channel.
        channel: ChannelId,
        /// How much.
        amount: u128,
    },
    /// Pays the partner.
    Pay {
        /// Which channel.
        channel: ChannelId,
        /// How much.
        amount: u128,
        /// A word for the payee, at most [`smartmesh_wire::payment::MEMO_BYTES_MAX`] bytes.
        memo: Vec<u8>,
    },
    /// Pays somebody over others with whom there are channels, by locks that open from the far end: all get their part or
    /// nobody does.
    PayOver {
        /// Relays in order, then the payee; at least one relay.
        hops: Vec<Hop>,
        /// Token.
        token: Account,
        /// What the payee gets.
        amount: u128,
    },
    /// Names a watchtower for all channels: it is given each newest message with orders to act on a close that denies it.
    NameTower {
        /// Who watches.
        peer: Address,
        /// The only account that may act; zero: anybody.
        agent: Account,
        /// What it earns if it acts, base units.
        fee: u128,
    },
    /// Asks an agent, who has the Internet, to bring a call to the chain for the fee in it.
    Bring {
        /// The agent.
        to: Address,
        /// A complete call, as [`Output::Submit`] gave it.
        call: ContractCall,
    },
    /// Takes out while the channel stays open, if the partner agrees.
    Withdraw {
        /// Which channel.
        channel: ChannelId,
        /// How much, with the agent's fee.
        amount: u128,
        /// Who gets it.
        to: Account,
        /// Who may submit; zero: anybody.
        agent: Account,
        /// What the submitter gets.
        fee: u128,
    },
    /// Ends the epoch by agreement.
    CloseTogether {
        /// Which channel.
        channel: ChannelId,
        /// Who may submit; zero: anybody.
        agent: Account,
        /// What the submitter gets.
        fee: u128,
    },
    /// Closes with the newest messages of both; the hold begins. A phone that forgot closes as unknown.
    Close {
        /// Which channel.
        channel: ChannelId,
        /// Who may submit; zero: anybody.
        agent: Account,
        /// What the submitter gets.
        fee: u128,
    },
    /// Closes as one that may have forgotten.
    CloseUnknown {
        /// Which channel.
        channel: ChannelId,
        /// Who may submit; zero: anybody.
        agent: Account,
        /// What the submitter gets.
        fee: u128,
    },
    /// Brings what settlements paid to the channel key home to the wallet's account. Settling and forfeiting pay the key
    /// itself, which has no ETH: this order needs none.
    Sweep {
        /// Token; only those with SMT's signed transfers.
        token: Account,
        /// What the channel key has there, base units.
        amount: u128,
        /// The token's next nonce of the channel key (192 bits of key, 64 of counter).
        nonce: U256,
        /// Who may submit; zero: anybody.
        agent: Account,
        /// What the submitter gets, out of `amount`.
        fee: u128,
    },
    /// Settles a closed channel whose time has come.
    Settle {
        /// Which channel.
        channel: ChannelId,
    },
}

/// One stop of a payment over several hops; the first has a channel with this phone, each next one with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Who.
    pub peer: Address,
    /// What it takes for relaying: base units, and millionths of the amount.
    pub fee: (u64, u32),
    /// Within how many seconds it says that it reaches the chain.
    pub reach: u32,
}

/// Why a command is refused; nothing has changed then.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CommandError {
    /// No such channel.
    #[error("there is no such channel")]
    UnknownChannel,
    /// There is one already.
    #[error("there is a channel with them already: deposit into it")]
    Exists,
    /// The partner has not been reached since this start.
    #[error("the other side has not been met since this start: come into reach of it first")]
    NotEstablished,
    /// The deposit is not confirmed, or the channel is not open.
    #[error("the channel is not open, or its deposit is not confirmed yet")]
    NotOpen,
    /// The channel is on its way to an end.
    #[error("the channel is closing")]
    Closing,
    /// This phone lost messages of this channel.
    #[error("this phone was restored and may have forgotten payments: end the channel instead")]
    Recovering,
    /// More than what can be spent.
    #[error("only {0} base units can be spent now")]
    TooMuch(u128),
    /// Zero, or not below 2^95.
    #[error("this amount is not possible")]
    Amount,
    /// A field is too long.
    #[error("{0} is too long")]
    TooLong(&'static str),
    /// A bounded table is full.
    #[error("too many {0}; try again when some are done")]
    Full(&'static str),
    /// An order for the same purpose is under way.
    #[error("an order is under way already; it ends by itself")]
    UnderWay,
    /// Conditional payments must end first.
    #[error("conditional payments are under way in this channel")]
    LocksPending,
    /// Not yet.
    #[error("this can be done only from {0} on (chain time)")]
    TooEarly(u64),
}

/// One of our contracts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Contract {
    /// The token.
    Token,
    /// Conditions and their registry.
    Conditions,
    /// Payment channels.
    Channels,
    /// Chequebooks.
    Chequebook,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Take out while open.
    Withdraw,
    /// End by agreement.
    CloseTogether,
    /// Post the newest messages.
    Close,
    /// Answer a close with a newer message of the partner.
    Update,
    /// Answer a lie: both deposits are ours.
    Forfeit,
    /// Claim locks of a closed channel.
    Unlock,
    /// Claim ticks of a closed channel.
    Redeem,
    /// End a closed channel.
    Settle,
    /// Make a secret known before its lock expires.
    Register,
    /// Make a release known.
    Void,
    /// Bring what was settled home to the wallet.
    Sweep,
    /// Somebody else's order, for a fee: try it before it is paid for.
    Agent,
}

/// Something to be done on the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractCall {
    /// From the wallet's account: hand tokens to the channels contract with this data (the token's `depositToCall`, or an
    /// allowance and the contract's `deposit`).
    Deposit {
        /// Which channel.
        channel: ChannelId,
        /// Which token.
        token: Account,
        /// Base units.
        amount: u128,
        /// Data of the token's callback, packed (docs/contracts.md, "Rules, by function").
        data: Vec<u8>,
    },
    /// Complete with every signature: anybody may submit it, unless an agent is named.
    Signed {
        /// About which channel; none for a sweep.
        channel: Option<ChannelId>,
        /// What for.
        purpose: Purpose,
        /// Which contract.
        contract: Contract,
        /// The call's data.
        data: Vec<u8>,
        /// The only account that may submit; zero: anybody.
        agent: Account,
        /// What the submitter gets, base units of the channel's token.
        fee: u128,
        /// Worth submitting before this block time only, seconds.
        deadline: u64,
    },
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Must be durable before any later output is carried out.
    Persist(Record),
    /// Find a path to somebody and report [`Input::PathUp`].
    OpenPath {
        /// To whom.
        to: Address,
    },
    /// Send along the path to somebody; losing it is allowed.
    Send {
        /// To whom.
        to: Address,
        /// What.
        message: PaymentMessage,
    },
    /// Bring to the chain; asked again until its effect is seen there.
    Submit(ContractCall),
    /// Tell the user.
    Event(Event),
}

/// One fact on disk: the newest value of a key, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Vec<u8>,
    /// The value, or `None` to remove the key.
    pub value: Option<Vec<u8>>,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Under way; events follow.
    Begun(ChannelId),
    /// The order is signed and asked for; nothing follows.
    Ordered,
    /// A payment over several hops: the first lock is signed; it ends by a given time at the latest.
    Locked {
        /// What this phone pays with all fees, base units.
        amount: u128,
        /// Seconds.
        until: u64,
    },
    /// The payee of a payment over several hops has it.
    Paid {
        /// What this phone paid with all fees, base units.
        amount: u128,
    },
    /// A payment over several hops will not happen; nothing was paid.
    NotPaid {
        /// Why.
        reason: Refusal,
    },
    /// The agent does not bring it.
    NotTaken,
    /// There will be no channel.
    NotOpened {
        /// Why, as the partner says.
        reason: Refusal,
    },
    /// Signed and on disk: from now on it may have arrived.
    Signed {
        /// In which channel.
        channel: ChannelId,
        /// Number of the message that covers it.
        seq: u64,
    },
    /// The partner has it on disk: final between the two, and on the chain whenever the partner closes.
    Arrived {
        /// In which channel.
        channel: ChannelId,
        /// Number of the message that covers it.
        seq: u64,
    },
    /// It will not happen; nothing was paid.
    Failed {
        /// In which channel.
        channel: ChannelId,
        /// Why, as the partner says.
        reason: Refusal,
    },
}

/// How an epoch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Settled or closed together: what this side and the partner got, base units.
    Shared {
        /// This side's.
        ours: u128,
        /// The partner's.
        theirs: u128,
    },
    /// The partner lied about the newest state: both deposits came here.
    Won(u128),
    /// This side was shown to have posted an old state.
    Lost(u128),
}

/// What the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command goes on; [`Answer::Arrived`] and [`Answer::Failed`] are final.
    Answer {
        /// Which.
        request: RequestId,
        /// How far it is.
        answer: Answer,
    },
    /// Somebody paid; it is on disk.
    Received {
        /// In which channel.
        channel: ChannelId,
        /// Who.
        from: Address,
        /// Base units.
        amount: u128,
        /// Number of the message.
        seq: u64,
        /// Their word.
        memo: Vec<u8>,
    },
    /// Somebody paid over several hops; it is certain.
    ReceivedOver {
        /// In which channel.
        channel: ChannelId,
        /// Base units.
        amount: u128,
    },
    /// A payment of others passed through; this phone keeps its fee.
    Relayed {
        /// Where it came in.
        channel: ChannelId,
        /// What this phone earned, base units.
        earned: u128,
    },
    /// A tower keeps the newest message of this channel.
    Watched(ChannelId),
    /// A channel's balances or phase changed.
    Changed(ChannelId),
    /// A payment waits because the partner does not take it now; it is offered again.
    Waiting {
        /// In which channel.
        channel: ChannelId,
        /// Why.
        reason: Refusal,
    },
    /// The partner showed that this phone forgot messages: the channel can only be ended now.
    Forgot(ChannelId),
    /// The partner signed two different messages with one number; it loses its deposit if it closes with either.
    Contradicted(ChannelId),
    /// A close appeared.
    Closed {
        /// Of which channel.
        channel: ChannelId,
        /// Whether this side closed.
        by_us: bool,
        /// Until when it can be answered, chain seconds.
        until: u64,
    },
    /// The epoch is over, beyond any reorganisation.
    Ended {
        /// Of which channel.
        channel: ChannelId,
        /// How.
        ending: Ending,
    },
}

/// Where a channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChannelPhase {
    /// Agreed; no deposit has been confirmed.
    Opening,
    /// Payments flow when the partner is met.
    Open,
    /// An order to end it is signed; this side pays no more.
    Ending,
    /// A close was posted; it can be answered until then.
    Challenge {
        /// Chain seconds.
        until: u64,
    },
    /// Locks can be claimed until then.
    Unlocking {
        /// Chain seconds.
        until: u64,
    },
    /// It can be settled.
    Settling,
    /// Paid out by the chain; a new deposit opens it again.
    Settled,
}

/// A channel as the user sees it; base units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Its id.
    pub id: ChannelId,
    /// Its parties and terms.
    pub terms: Terms,
    /// The partner on the mesh.
    pub peer: Address,
    /// Epoch.
    pub epoch: u32,
    /// Phase.
    pub phase: ChannelPhase,
    /// Whether this side may sign now.
    pub established: bool,
    /// Whether this phone forgot messages of it.
    pub recovering: bool,
    /// Confirmed deposit of this side.
    pub our_deposit: i128,
    /// Confirmed deposit of the partner.
    pub their_deposit: i128,
    /// Deposits of both, with those not confirmed.
    pub pending_total: i128,
    /// Paid to the partner, all in all.
    pub sent: u128,
    /// Of this, what the partner has not confirmed yet.
    pub unconfirmed: u128,
    /// Received, all in all.
    pub received: u128,
    /// Locked in payments to the partner that are not decided.
    pub locked_out: u128,
    /// Locked in payments to this side.
    pub locked_in: u128,
    /// What this side can pay now.
    pub spendable: u128,
    /// What this side would get if the channel ended now, undecided payments not counted.
    pub balance: u128,
    /// Set aside for withdrawals under way.
    pub reserved: u128,
}
