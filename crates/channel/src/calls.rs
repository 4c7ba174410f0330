//! What this side signs, and the calls that carry it: EIP-712 digests and ABI data from our own values.

use alloy_primitives::{Address as Account, B256, U256, keccak256};
use alloy_sol_types::SolCall;
use smartmesh_contracts::ClosingRecord;
use smartmesh_contracts::channels::{Channels as Abi, IChannels};
use smartmesh_contracts::conditions::Conditions as ConditionsAbi;
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::typed::token::Transfer;
use smartmesh_contracts::typed::{SolStruct, Verifier, channels as typed, digest};
use smartmesh_crypto::{AccountKey, CompactSignature, signed_by};
use smartmesh_types::Address;
use smartmesh_wire::payment::{Introduction, Payouts, SignatureBytes, State, Withdrawal};

use crate::channel::{Channel, ChannelId, SignedState, Terms};
use crate::config::Chain;

/// Signs with the channel key, for one contract on one chain.
#[derive(Clone, Debug)]
pub(crate) struct Signer {
    key: AccountKey,
    pub(crate) me: Account,
    separator: B256,
}

/// Who may submit, for what, until when; an agent of zero is anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agency {
    pub(crate) agent: Account,
    pub(crate) fee: u128,
    pub(crate) deadline: u64,
}

pub(crate) type U96 = alloy_primitives::Uint<96, 2>;
type U40 = alloy_primitives::Uint<40, 1>;

fn u96(value: u128) -> U96 {
    U256::from(value).wrapping_to()
}

fn u40(value: u64) -> U40 {
    U256::from(value).wrapping_to()
}

impl Signer {
    pub(crate) fn new(key: AccountKey, chain: &Chain) -> Self {
        let me = Account::from(key.address());
        let separator = Verifier::Channels
            .domain(chain.chain_id, chain.channels)
            .separator();
        Self { key, me, separator }
    }

    fn digest(&self, message: &impl SolStruct) -> [u8; 32] {
        let mut bytes = [0; 66];
        let (head, tail) = bytes.split_at_mut(34);
        let (magic, separator) = head.split_at_mut(2);
        magic.copy_from_slice(&[0x19, 0x01]);
        separator.copy_from_slice(self.separator.as_slice());
        tail.copy_from_slice(message.eip712_hash_struct().as_slice());
        keccak256(bytes).0
    }

    pub(crate) fn sign(&self, message: &impl SolStruct) -> SignatureBytes {
        self.key.sign(&self.digest(message)).0
    }

    pub(crate) fn is_by(
        &self,
        account: Account,
        message: &impl SolStruct,
        signature: &SignatureBytes,
    ) -> bool {
        let signature = CompactSignature(*signature);
        signed_by(account.0.0, &self.digest(message), &signature)
    }

    /// A secret that only this key can compute again.
    pub(crate) fn secret(&self, name: &[u8]) -> [u8; 32] {
        smartmesh_crypto::hmac_sha256(&self.key.reveal(), &[b"smartmesh invoice", name])
    }

    pub(crate) fn sign_introduction(
        &self,
        introduction: &Introduction,
        from: Address,
        to: Address,
    ) -> SignatureBytes {
        self.key.sign(&introduced(introduction, from, to)).0
    }

    pub(crate) fn is_introduced(introduction: &Introduction, from: Address, to: Address) -> bool {
        let digest = introduced(introduction, from, to);
        let signature = CompactSignature(introduction.signature);
        signed_by(introduction.account, &digest, &signature)
    }

    /// Signs an order to whoever submits for this side.
    pub(crate) fn sign_mandate(
        &self,
        channel: &Channel,
        state: B256,
        agency: &Agency,
    ) -> SignatureBytes {
        self.sign(&typed_mandate(channel, state, agency))
    }

    /// The same as the calls take it.
    pub(crate) fn mandate(
        &self,
        channel: &Channel,
        state: B256,
        agency: &Agency,
    ) -> IChannels::Mandate {
        mandate_of(agency, &self.sign_mandate(channel, state, agency))
    }

    /// Posts what is newest in both directions.
    pub(crate) fn close(&self, channel: &Channel, unknown: bool, agency: &Agency) -> Vec<u8> {
        let own = channel.out.state;
        let partner = channel.inc.newest;
        let hash = |state: &State, payer| {
            typed_state(channel.id, channel.epoch, payer, state).eip712_hash_struct()
        };
        let partner_state = channel.inc.state();
        let order = self.sign(&typed::Close {
            channel: channel.id.0,
            epoch: channel.epoch,
            closer: self.me,
            unknown,
            own: hash(&own, channel.me()),
            partner: hash(&partner_state, channel.partner()),
            agent: agency.agent,
            fee: u96(agency.fee),
            deadline: u40(agency.deadline),
        });
        let (c, closer_high) = (abi_channel(&channel.terms), channel.is_high());
        let partner_signature = abi_signature(&partner.map_or([0; 64], |signed| signed.signature));
        let mandate = vec![mandate_of(agency, &order)];
        if unknown {
            Abi::closeUnknownCall {
                c,
                closerHigh: closer_high,
                own: abi_state(&own),
                partner: abi_state(&partner_state),
                partnerSignature: partner_signature,
                mandate,
            }
            .abi_encode()
        } else {
            Abi::closeCall {
                c,
                closerHigh: closer_high,
                own: abi_state(&own),
                partner: abi_state(&partner_state),
                partnerSignature: partner_signature,
                mandate,
            }
            .abi_encode()
        }
    }

    /// Claims locks of the partner's message that counts.
    pub(crate) fn unlock(
        &self,
        channel: &Channel,
        record: &ClosingRecord,
        claims: Vec<IChannels::Claim>,
        proof: (u8, Vec<B256>),
        agency: &Agency,
    ) -> Vec<u8> {
        Abi::unlockCall {
            c: abi_channel(&channel.terms),
            k: record.pack(),
            payerHigh: !channel.is_high(),
            s: abi_state(&channel.inc.state()),
            claims,
            depth: U256::from(proof.0),
            proof: proof.1,
            mandate: vec![self.mandate(channel, B256::ZERO, agency)],
        }
        .abi_encode()
    }

    /// Moves tokens of the channel key to the wallet by a signed transfer.
    pub(crate) fn sweep(
        &self,
        token: (u64, Account),
        to: Account,
        value: u128,
        nonce: U256,
        agency: &Agency,
    ) -> Vec<u8> {
        let (chain_id, token) = token;
        let order = Transfer {
            from: self.me,
            to,
            value: U256::from(value),
            fee: U256::from(agency.fee),
            agent: agency.agent,
            nonce,
            deadline: U256::from(agency.deadline),
        };
        let digest = digest(&order, &Verifier::Smt.domain(chain_id, token));
        let (r, mut vs) = self.key.sign(&digest.0).r_and_vs();
        // The token takes 65 bytes: r, s, v.
        let [top, ..] = &mut vs;
        let v = 27_u8.saturating_add(*top >> 7);
        *top &= 0x7f;
        SMT::transferWithFeeCall {
            from: order.from,
            to: order.to,
            value: order.value,
            fee: order.fee,
            agent: order.agent,
            nonce: order.nonce,
            deadline: order.deadline,
            signature: [&r[..], &vs, &[v]].concat().into(),
        }
        .abi_encode()
    }

    /// Claims ticks of the partner's message that counts.
    pub(crate) fn redeem(
        &self,
        channel: &Channel,
        record: &ClosingRecord,
        agency: &Agency,
    ) -> Vec<u8> {
        Abi::redeemCall {
            c: abi_channel(&channel.terms),
            k: record.pack(),
            payerHigh: !channel.is_high(),
            s: abi_state(&channel.inc.state()),
            preimage: channel.inc.preimage.into(),
            n: channel.inc.ticks,
            mandate: vec![self.mandate(channel, B256::ZERO, agency)],
        }
        .abi_encode()
    }
}

/// Tagged hash of an introduction; the two mesh addresses bind it to the two phones that meet.
fn introduced(introduction: &Introduction, from: Address, to: Address) -> [u8; 32] {
    let m = introduction;
    let mut bytes = b"SmartMesh channel introduction v1".to_vec();
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(m.chain_id.to_be_bytes());
    bytes.extend(m.contract);
    bytes.extend(m.token);
    bytes.extend(m.account);
    bytes.extend(m.terms.to_be_bytes());
    bytes.extend(m.locator);
    bytes.extend(m.reach.to_be_bytes());
    bytes.extend(m.fee.0.to_be_bytes());
    bytes.extend(m.fee.1.to_be_bytes());
    bytes.extend(m.reserve.to_be_bytes());
    keccak256(bytes).0
}

pub(crate) fn mandate_of(agency: &Agency, signature: &SignatureBytes) -> IChannels::Mandate {
    IChannels::Mandate {
        agent: agency.agent,
        fee: u96(agency.fee),
        deadline: u40(agency.deadline),
        signature: abi_signature(signature),
    }
}

/// The struct that a payer signs.
pub(crate) fn typed_state(
    channel: ChannelId,
    epoch: u32,
    payer: Account,
    state: &State,
) -> typed::State {
    typed::State {
        channel: channel.0,
        epoch,
        payer,
        seq: state.seq,
        paid: u96(state.paid),
        root: state.root.into(),
        locked: u96(state.locked),
        lastExpiry: u40(state.last_expiry),
        tip: state.tip.into(),
        unit: state.unit,
        max: state.max,
    }
}

/// The hash under which a closing record keeps a message; that of none is of the empty state.
pub(crate) fn state_hash(channel: &Channel, payer: Account, state: &State) -> B256 {
    typed_state(channel.id, channel.epoch, payer, state).eip712_hash_struct()
}

pub(crate) fn typed_withdrawal(
    channel: &Channel,
    order: &Withdrawal,
    party: Account,
) -> typed::Withdraw {
    typed::Withdraw {
        channel: channel.id.0,
        epoch: channel.epoch,
        party,
        amount: u96(order.amount),
        to: order.to.into(),
        agent: order.agent.into(),
        fee: u96(order.fee),
        expiry: u40(order.expiry),
    }
}

pub(crate) fn typed_payouts(channel: &Channel, order: &Payouts) -> typed::CoopClose {
    typed::CoopClose {
        channel: channel.id.0,
        epoch: channel.epoch,
        lowAmount: u96(order.amounts.0),
        highAmount: u96(order.amounts.1),
        lowTo: order.to.0.into(),
        highTo: order.to.1.into(),
        agent: order.agent.into(),
        fee: u96(order.fee),
        deadline: u40(order.deadline),
    }
}

pub(crate) fn typed_release(channel: &Channel, payer: Account, leaf: B256) -> typed::Release {
    typed::Release {
        channel: channel.id.0,
        epoch: channel.epoch,
        payer,
        leaf,
    }
}

pub(crate) fn abi_channel(terms: &Terms) -> IChannels::Channel {
    IChannels::Channel {
        token: terms.token,
        low: terms.low,
        high: terms.high,
        terms: terms.terms,
    }
}

pub(crate) fn abi_state(state: &State) -> IChannels::State {
    IChannels::State {
        seq: state.seq,
        paid: u96(state.paid),
        root: state.root.into(),
        locked: u96(state.locked),
        lastExpiry: u40(state.last_expiry),
        tip: state.tip.into(),
        unit: state.unit,
        max: state.max,
    }
}

fn abi_signature(signature: &SignatureBytes) -> IChannels::Signature {
    let (r, vs) = CompactSignature(*signature).r_and_vs();
    IChannels::Signature {
        r: r.into(),
        vs: vs.into(),
    }
}

/// The order to whoever submits for a party; `state` is the message of an update, zero otherwise.
pub(crate) fn typed_mandate(channel: &Channel, state: B256, agency: &Agency) -> typed::Mandate {
    typed::Mandate {
        channel: channel.id.0,
        epoch: channel.epoch,
        party: channel.me(),
        state,
        agent: agency.agent,
        fee: u96(agency.fee),
        deadline: u40(agency.deadline),
    }
}

/// Shows a message of the closer that contradicts its close.
pub(crate) fn forfeit(
    channel: &Channel,
    record: &ClosingRecord,
    shown: &SignedState,
    mandate: IChannels::Mandate,
) -> Vec<u8> {
    Abi::forfeitCall {
        c: abi_channel(&channel.terms),
        k: record.pack(),
        s: abi_state(&shown.state),
        closerSignature: abi_signature(&shown.signature),
        mandate: vec![mandate],
    }
    .abi_encode()
}

/// Puts a message of the partner in place.
pub(crate) fn update(
    channel: &Channel,
    record: &ClosingRecord,
    shown: &SignedState,
    mandate: IChannels::Mandate,
) -> Vec<u8> {
    Abi::updateCall {
        c: abi_channel(&channel.terms),
        k: record.pack(),
        payerHigh: !channel.is_high(),
        s: abi_state(&shown.state),
        payerSignature: abi_signature(&shown.signature),
        mandate: vec![mandate],
    }
    .abi_encode()
}

/// Takes out; the signatures are low's and high's.
pub(crate) fn withdraw(
    channel: &Channel,
    order: &Withdrawal,
    party: Account,
    signatures: (&SignatureBytes, &SignatureBytes),
) -> Vec<u8> {
    Abi::withdrawCall {
        c: abi_channel(&channel.terms),
        w: IChannels::Withdrawal {
            party,
            amount: u96(order.amount),
            to: order.to.into(),
            agent: order.agent.into(),
            fee: u96(order.fee),
            expiry: u40(order.expiry),
        },
        lowSignature: abi_signature(signatures.0),
        highSignature: abi_signature(signatures.1),
    }
    .abi_encode()
}

/// Ends by agreement; the signatures are low's and high's.
pub(crate) fn close_together(
    channel: &Channel,
    order: &Payouts,
    signatures: (&SignatureBytes, &SignatureBytes),
) -> Vec<u8> {
    Abi::coopCloseCall {
        c: abi_channel(&channel.terms),
        p: IChannels::Payouts {
            lowAmount: u96(order.amounts.0),
            highAmount: u96(order.amounts.1),
            lowTo: order.to.0.into(),
            highTo: order.to.1.into(),
            agent: order.agent.into(),
            fee: u96(order.fee),
            deadline: u40(order.deadline),
        },
        lowSignature: abi_signature(signatures.0),
        highSignature: abi_signature(signatures.1),
    }
    .abi_encode()
}

pub(crate) fn settle(terms: &Terms, record: &ClosingRecord) -> Vec<u8> {
    Abi::settleCall {
        c: abi_channel(terms),
        k: record.pack(),
    }
    .abi_encode()
}

/// Makes a lock's secret known.
pub(crate) fn register(condition: &[u8], secret: &[u8; 32]) -> Vec<u8> {
    if condition.first() == Some(&1) {
        ConditionsAbi::registerSecretCall {
            secret: B256::from(*secret),
        }
        .abi_encode()
    } else {
        ConditionsAbi::registerCall {
            condition: condition.to_vec().into(),
            witness: secret.to_vec().into(),
        }
        .abi_encode()
    }
}

/// Makes a payee's release known.
pub(crate) fn void_leaf(channel: &Channel, leaf: B256, signature: &SignatureBytes) -> Vec<u8> {
    Abi::voidLeafCall {
        c: abi_channel(&channel.terms),
        epoch: channel.epoch,
        payerHigh: channel.is_high(),
        leaf,
        payeeSignature: abi_signature(signature),
    }
    .abi_encode()
}

/// One claim of an unlock.
pub(crate) fn claim(index: u8, lock: &crate::locks::Lock, witness: Vec<u8>) -> IChannels::Claim {
    IChannels::Claim {
        index,
        id: lock.added.id,
        amount: u96(lock.added.amount),
        expiry: u40(lock.added.expiry),
        condition: lock.added.condition.clone().into(),
        witness: witness.into(),
    }
}

/// Data of the token's callback (docs/contracts.md, "Rules, by function"): with locators when it opens.
pub(crate) fn deposit_data(channel: &Channel, opens: bool) -> Vec<u8> {
    let terms = &channel.terms;
    let mut data = [terms.low.as_slice(), terms.high.as_slice()].concat();
    data.extend(terms.terms.to_be_bytes());
    data.extend(channel.epoch.to_be_bytes());
    data.push(u8::from(channel.is_high()));
    if opens {
        data.extend(channel.locators.0);
        data.extend(channel.locators.1);
    }
    data
}
