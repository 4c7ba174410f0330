//! The wallet, channels and payments.
//!
//! Whatever signs something is asked twice: with `preview` it only says what would happen ([`Preview`]), without it happens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Amount;

/// What this node knows of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Chain {
    /// No access was configured: payments over the mesh work, nothing can be deposited or settled.
    None,
    /// An endpoint was configured and has not answered yet, or has stopped to.
    Silent {
        /// EIP-155 chain id, if it was ever heard.
        chain_id: Option<u64>,
        /// The newest block ever heard of.
        block: u64,
        /// Its timestamp in Unix seconds.
        block_time: u64,
        /// Why.
        reason: String,
    },
    /// It answers.
    Online {
        /// EIP-155 chain id.
        chain_id: u64,
        /// The newest block.
        block: u64,
        /// Its timestamp in Unix seconds.
        block_time: u64,
        /// The newest block that counts: so many blocks below that a reorganisation is not expected.
        confirmed: u64,
    },
}

/// The wallet at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Wallet {
    /// Its account on the chain, `0x` and 40 hex digits.
    pub account: String,
    /// The key this installation signs with in channels, as an address.
    pub channel_key: String,
    /// The chain.
    pub chain: Chain,
    /// SMT of the account on the chain; `None` if the chain was never heard.
    pub on_chain: Option<Amount>,
    /// What this side owns in all open channels.
    pub in_channels: Amount,
    /// Of that, what it can pay at this moment.
    pub spendable: Amount,
    /// Wei of the account, as decimal digits; `None` if the chain was never heard.
    pub wei: Option<String>,
    /// What is uncertain, in words.
    pub notes: Vec<String>,
}

/// Where an amount went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoneyFlow {
    /// To this person.
    In,
    /// From this person.
    Out,
}

/// How a payment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// A transaction on the chain.
    Chain,
    /// In a channel with the payee.
    Channel,
    /// Over the channels of others.
    Hops,
    /// A cheque.
    Cheque,
}

/// One payment, deposit, withdrawal or settlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Movement {
    /// Names it: a transaction's hash or a payment's id.
    pub id: String,
    /// Unix seconds.
    pub at: u64,
    /// Direction.
    pub flow: MoneyFlow,
    /// Base units.
    pub amount: Amount,
    /// The fee this side paid, in SMT.
    pub fee: Amount,
    /// How it went.
    pub way: Way,
    /// With whom: a mesh address, or an account of the chain.
    pub peer: String,
    /// The local name of that peer.
    pub peer_name: Option<String>,
    /// What the payer wrote.
    pub memo: String,
    /// Where it is, in words: `final`, `waits for 3 confirmations`, `failed: …`.
    pub state: String,
    /// Whether nothing can change it any more.
    pub is_final: bool,
}

/// What a person sees before anything is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// What will be done, in a sentence.
    pub action: String,
    /// What this side gives, fees included.
    pub give: Amount,
    /// What the other side, or this side's account, gets.
    pub get: Amount,
    /// The fee in SMT.
    pub fee: Amount,
    /// The most it costs in wei, as decimal digits; `0` if nothing.
    pub wei_max: String,
    /// How it goes.
    pub way: Way,
    /// When it is final, in words.
    pub when_final: String,
    /// What else to know.
    pub notes: Vec<String>,
}

/// The answer to everything that signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signed {
    /// What was or would be done.
    pub preview: Preview,
    /// What became of it; `None` for a preview.
    pub done: Option<Done>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// Names it in [`Movement::id`], or a channel.
    pub id: String,
    /// Where it is, in words.
    pub state: String,
}

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChannelPhase {
    /// Agreed, and no deposit is confirmed yet.
    Opening,
    /// Payments flow.
    Open,
    /// Open, but this start has not heard of the partner yet: nothing is signed until then.
    Resuming,
    /// Somebody closed; the partner can still object.
    Closing,
    /// The time to object is over; locks can be claimed.
    Unlocking,
    /// Everybody can have it paid out.
    Settleable,
    /// Paid out.
    Settled,
}

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Channel {
    /// Its id, `0x` and 64 hex digits.
    pub id: String,
    /// Rises with each settlement.
    pub epoch: u32,
    /// The partner's mesh address.
    pub peer: String,
    /// Their local name.
    pub peer_name: Option<String>,
    /// The partner's key on the chain.
    pub peer_key: String,
    /// Where it is.
    pub phase: ChannelPhase,
    /// In words, with the next deadline.
    pub state: String,
    /// This side's deposit.
    pub deposit: Amount,
    /// The partner's deposit.
    pub peer_deposit: Amount,
    /// What this side has signed over to the partner, in all.
    pub paid: Amount,
    /// What the partner has signed over to this side, in all.
    pub received: Amount,
    /// What this side can pay now.
    pub spendable: Amount,
    /// Locked for payments on their way.
    pub locked: Amount,
    /// What this side would get if it were settled now.
    pub mine: Amount,
    /// Time to object after a close, in seconds.
    pub hold_seconds: u64,
    /// Unix seconds of the next deadline, if the channel is closing.
    pub deadline: Option<u64>,
}

/// Asks to pay somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Pay {
    /// A mesh address, a contact's name, a request (`SMARTMESH-PAY:…`), or an account of the chain.
    pub to: String,
    /// How much; a request may already say it.
    #[serde(default)]
    pub amount: Option<Amount>,
    /// What for; at most 256 bytes of UTF-8.
    #[serde(default)]
    pub memo: String,
    /// Only says what would happen.
    #[serde(default)]
    pub preview: bool,
}

/// Asks to open a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenChannel {
    /// With whom: a mesh address or a contact's name.
    pub with: String,
    /// This side's deposit.
    pub deposit: Amount,
    /// Only says what would happen.
    #[serde(default)]
    pub preview: bool,
}

/// Asks to move an amount into or out of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveFunds {
    /// How much.
    pub amount: Amount,
    /// Only says what would happen.
    #[serde(default)]
    pub preview: bool,
}

/// Asks to close or settle a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndChannel {
    /// Does not ask the partner to agree, or does not wait for it.
    #[serde(default)]
    pub alone: bool,
    /// Only says what would happen.
    #[serde(default)]
    pub preview: bool,
}

/// Asks for a text that somebody else can pay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestPayment {
    /// How much; the payer chooses if not given.
    #[serde(default)]
    pub amount: Option<Amount>,
    /// What for.
    #[serde(default)]
    pub memo: String,
}

/// A request as the payer gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PaymentRequest {
    /// `SMARTMESH-PAY:…`; in capitals, so that its QR code is small.
    pub text: String,
}

/// Whom else the chain's events concern: settings of agents and watchtowers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// Brings neighbours' signed requests to the chain for at least this fee; `None` for not.
    #[serde(default)]
    pub agent_fee: Option<Amount>,
    /// Watches the channels of others for at least this fee, paid if it has to act; `None` for not.
    #[serde(default)]
    pub tower_fee: Option<Amount>,
    /// Mesh addresses of those who watch our channels.
    #[serde(default)]
    pub towers: Vec<String>,
}

/// Asks to sign a payment for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Authorise {
    /// The account of the chain that gets it.
    pub to: String,
    /// How much it gets.
    pub amount: Amount,
    /// What whoever brings it to the chain gets.
    pub fee: Amount,
    /// The only account that may bring it; anybody if not given.
    #[serde(default)]
    pub agent: Option<String>,
    /// Only says what would happen.
    #[serde(default)]
    pub preview: bool,
}

/// A payment signed for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedPayment {
    /// What was or would be signed.
    pub preview: Preview,
    /// Hex digits that an agent submits; `None` for a preview.
    pub text: Option<String>,
}

/// Asks to bring a signed payment to the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitPayment {
    /// [`SignedPayment::text`].
    pub text: String,
    /// Only says what would happen.
    #[serde(default)]
    pub preview: bool,
}

/// The wallet's words. Whoever has them has the money.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Words {
    /// 12 to 24 words of BIP-39.
    pub words: String,
}

impl std::fmt::Debug for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Words")
    }
}
