//! A signature is good for one content, one message type, one contract and one chain, and nothing else; and thefts of the past.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct};
use smartmesh_contracts::channels::{Channels, IChannels};
use smartmesh_contracts::chequebook::{Chequebook, IChequebook};
use smartmesh_contracts::conditions::Conditions;
use smartmesh_contracts::model::{Message, Pair, Side, Terms};
use smartmesh_contracts::token::SMT;
use smartmesh_contracts::typed::{self, Verifier};
use smartmesh_contracts::{ClosingRecord, SideRecord, book_id};

use crate::chain::{Account, CHAIN_ID, Chain, Failed, Receipt};

type Signature = (B256, B256);

fn u96(value: u128) -> alloy_primitives::Uint<96, 2> {
    U256::from(value).to()
}

fn u40(value: u64) -> alloy_primitives::Uint<40, 1> {
    U256::from(value).to()
}

fn seal((r, vs): Signature) -> IChannels::Signature {
    IChannels::Signature { r, vs }
}

fn endorse((r, vs): Signature) -> IChequebook::Signature {
    IChequebook::Signature { r, vs }
}

/// r, s, v as the token takes them.
fn long((r, mut vs): Signature) -> Bytes {
    let v = 27 + (vs.0[0] >> 7);
    vs.0[0] &= 0x7f;
    [r.as_slice(), vs.as_slice(), &[v]].concat().into()
}

fn digest_of(separator: B256, type_hash: B256, words: &[B256]) -> B256 {
    let body: Vec<u8> = std::iter::once(type_hash)
        .chain(words.iter().copied())
        .flat_map(|word| word.0)
        .collect();
    keccak256(
        [
            &[0x19, 0x01],
            separator.as_slice(),
            keccak256(body).as_slice(),
        ]
        .concat(),
    )
}

/// Type hashes of all that is signed anywhere.
fn type_hashes() -> Vec<B256> {
    fn of<T: SolStruct>() -> B256 {
        keccak256(T::eip712_root_type().as_bytes())
    }
    use typed::{channels as ch, chequebook as book, conditions, token};
    vec![
        of::<token::Permit>(),
        of::<token::Transfer>(),
        of::<token::Approve>(),
        of::<token::Deposit>(),
        of::<token::Cancel>(),
        of::<ch::State>(),
        of::<ch::Withdraw>(),
        of::<ch::CoopClose>(),
        of::<ch::Close>(),
        of::<ch::Mandate>(),
        of::<ch::Release>(),
        of::<ch::Deposit>(),
        of::<conditions::Receipt>(),
        of::<book::Cheque>(),
        of::<book::CashOrder>(),
        of::<book::Lock>(),
        of::<book::Thaw>(),
        of::<book::Withdraw>(),
    ]
}

/// What is played against one use of one signature.
struct Stage {
    chain: Chain,
    alice: Account,
    brandon: Account,
    terms: Terms,
    /// Pairs that were refused.
    pairs: usize,
}

impl Stage {
    /// Two parties with tokens and allowances, `low` < `high`, and an open channel.
    fn new() -> Self {
        let (one, two) = (Account::new(0x31), Account::new(0x32));
        let (alice, brandon) = if one.address < two.address {
            (one, two)
        } else {
            (two, one)
        };
        let mut chain = Chain::new(alice.address);
        let half = SMT::transferCall {
            to: brandon.address,
            value: U256::from(1_000_000),
        };
        chain.call(alice.address, chain.smt, &half).unwrap();
        for spender in [chain.channels, chain.chequebook] {
            for owner in [alice.address, brandon.address] {
                chain
                    .call(
                        owner,
                        chain.smt,
                        &SMT::approveCall {
                            spender,
                            value: U256::MAX,
                        },
                    )
                    .unwrap();
            }
        }
        let terms = Terms {
            token: chain.smt,
            low: alice.address,
            high: brandon.address,
            terms: 0x0400,
        };
        let mut stage = Self {
            chain,
            alice,
            brandon,
            terms,
            pairs: 0,
        };
        for (who, high) in [(stage.alice.address, false), (stage.brandon.address, true)] {
            let call = Channels::depositCall {
                c: stage.channel(),
                epoch: 0,
                high,
                amount: u96(10_000),
                locatorLow: B256::ZERO,
                locatorHigh: B256::ZERO,
            };
            stage.chain.call(who, stage.chain.channels, &call).unwrap();
        }
        stage
    }

    fn channel(&self) -> IChannels::Channel {
        let Terms {
            token,
            low,
            high,
            terms,
        } = self.terms;
        IChannels::Channel {
            token,
            low,
            high,
            terms,
        }
    }

    /// Tries every signature of `signer` on something else than `message`, and a stranger's on `message`: all must be
    /// refused. Then the right one, which must do: so nothing but the signature was wrong before.
    fn attack<T: SolStruct, C: SolCall>(
        &mut self,
        verifier: Verifier,
        message: &T,
        signer: &Account,
        to: Address,
        call: impl Fn(Signature) -> C,
    ) {
        let domain = self.chain.domain(verifier);
        let right = self.digests(verifier, message, &domain);
        let mut seen = BTreeSet::new();
        let submitter = Address::repeat_byte(0x77);
        for digest in right {
            assert!(seen.insert(digest), "one attack twice");
            let refused = self
                .chain
                .call(submitter, to, &call(signer.sign_digest(digest)));
            assert_refused(&refused);
            self.pairs += 1;
        }
        let stranger = Account::new(0x66);
        let digest = typed::digest(message, &domain);
        assert!(!seen.contains(&digest));
        let good = signer.sign_digest(digest);
        let flipped = (
            good.0,
            B256::from(U256::from_be_bytes(good.1.0) ^ (U256::from(1) << 255)),
        );
        for wrong in [
            stranger.sign_digest(digest),
            (B256::ZERO, B256::ZERO),
            flipped,
            (good.0, B256::ZERO),
        ] {
            assert_refused(&self.chain.call(submitter, to, &call(wrong)));
            self.pairs += 1;
        }
        self.chain.call(submitter, to, &call(good)).unwrap();
    }

    /// Digests near the right one: other chains, contracts and names, other types, and each member changed twice: by one
    /// bit, and to a value of the same kind that means somebody or something else.
    fn digests<T: SolStruct>(
        &self,
        verifier: Verifier,
        message: &T,
        domain: &Eip712Domain,
    ) -> Vec<B256> {
        let words: Vec<B256> = message
            .eip712_encode_data()
            .chunks(32)
            .map(B256::from_slice)
            .collect();
        let separator = domain.separator();
        let type_hash = keccak256(T::eip712_root_type().as_bytes());
        assert_eq!(
            digest_of(separator, type_hash, &words),
            typed::digest(message, domain)
        );
        let here = domain.verifying_contract.unwrap();
        let mut all = Vec::new();
        for chain in [1, 10, CHAIN_ID + 1] {
            all.push(digest_of(
                verifier.domain(chain, here).separator(),
                type_hash,
                &words,
            ));
        }
        let contracts = [
            self.chain.smt,
            self.chain.conditions,
            self.chain.channels,
            self.chain.chequebook,
        ];
        for at in contracts
            .into_iter()
            .filter(|at| *at != here)
            .chain([Address::ZERO])
        {
            all.push(digest_of(
                verifier.domain(CHAIN_ID, at).separator(),
                type_hash,
                &words,
            ));
        }
        for other in [
            Verifier::Smt,
            Verifier::Conditions,
            Verifier::Channels,
            Verifier::Chequebook,
        ] {
            if other != verifier {
                all.push(digest_of(
                    other.domain(CHAIN_ID, here).separator(),
                    type_hash,
                    &words,
                ));
            }
        }
        all.extend(
            type_hashes()
                .into_iter()
                .filter(|other| *other != type_hash)
                .map(|other| digest_of(separator, other, &words)),
        );
        let other_token = Terms {
            token: Address::repeat_byte(0x42),
            ..self.terms
        }
        .id();
        let other_hold = Terms {
            terms: 0x0401,
            ..self.terms
        }
        .id();
        for i in 0..words.len() {
            let mut changes =
                BTreeSet::from([B256::from(U256::from_be_bytes(words[i].0) ^ U256::from(1))]);
            if words[i] == self.terms.id() {
                changes.extend([other_token, other_hold]);
            } else if words[i] == self.alice.address.into_word() {
                changes.insert(self.brandon.address.into_word());
            } else if words[i] == self.brandon.address.into_word() {
                changes.insert(self.alice.address.into_word());
            } else {
                changes.insert(B256::repeat_byte(0x77));
            }
            for change in changes {
                let mut words = words.clone();
                words[i] = change;
                all.push(digest_of(separator, type_hash, &words));
            }
        }
        all
    }
}

fn assert_refused(outcome: &Result<Receipt, Failed>) {
    let reasons = [
        "BadSignature()",
        "BadAuthorization()",
        "NotFulfilled()",
        "ERC2612InvalidSigner(address,address)",
        "ECDSAInvalidSignature()",
    ];
    let Err(Failed::Reverted(data)) = outcome else {
        panic!("not refused: {outcome:?}")
    };
    assert!(
        reasons
            .iter()
            .any(|reason| data[..4] == keccak256(reason.as_bytes())[..4]),
        "refused for another reason: {data}"
    );
}

fn abi(message: &Message) -> IChannels::State {
    let state = message.typed(B256::ZERO, 0, Address::ZERO);
    IChannels::State {
        seq: state.seq,
        paid: state.paid,
        root: state.root,
        locked: state.locked,
        lastExpiry: state.lastExpiry,
        tip: state.tip,
        unit: state.unit,
        max: state.max,
    }
}

fn message(seq: u64, paid: u128) -> Message {
    Message {
        seq,
        paid,
        ..Message::default()
    }
}

/// Alice closes honestly with her message 1; Brandon has signed nothing.
fn closed(stage: &mut Stage) -> ClosingRecord {
    let call = Channels::closeCall {
        c: stage.channel(),
        closerHigh: false,
        own: abi(&message(1, 100)),
        partner: abi(&Message::default()),
        partnerSignature: seal((B256::ZERO, B256::ZERO)),
        mandate: Vec::new(),
    };
    stage
        .chain
        .call(stage.alice.address, stage.chain.channels, &call)
        .unwrap();
    let mut sides: [SideRecord; 2] = Default::default();
    let id = stage.terms.id();
    sides[0].seq = 1;
    sides[0].out = 100;
    sides[0].state = message(1, 100)
        .typed(id, 0, stage.alice.address)
        .eip712_hash_struct();
    sides[1].state = Message::default()
        .typed(id, 0, stage.brandon.address)
        .eip712_hash_struct();
    ClosingRecord {
        declared: 1,
        sides,
        deposits: [10_000; 2],
        ..ClosingRecord::default()
    }
}

fn channels_agreed() -> usize {
    let mut pairs = 0;
    for other in [Side::Low, Side::High] {
        let mut stage = Stage::new();
        let (c, to, domain) = (
            stage.channel(),
            stage.chain.channels,
            stage.chain.domain(Verifier::Channels),
        );
        let (alice, brandon) = (stage.alice.clone(), stage.brandon.clone());
        let signers = Pair {
            low: alice.clone(),
            high: brandon.clone(),
        };
        let (attacked, partner) = (signers.of(other), signers.of(other.other()));
        let deadline = u40(stage.chain.now + 100);
        let (channel, agent) = (stage.terms.id(), Address::repeat_byte(0x77));
        let order = typed::channels::Withdraw {
            channel,
            epoch: 0,
            party: alice.address,
            amount: u96(10),
            to: brandon.address,
            agent,
            fee: u96(1),
            expiry: deadline,
        };
        let good = partner.sign(&order, &domain);
        let both = |signature: Signature| match other {
            Side::Low => (seal(signature), seal(good)),
            Side::High => (seal(good), seal(signature)),
        };
        stage.attack(Verifier::Channels, &order, attacked, to, |signature| {
            let (low, high) = both(signature);
            let w = IChannels::Withdrawal {
                party: alice.address,
                amount: u96(10),
                to: brandon.address,
                agent,
                fee: u96(1),
                expiry: deadline,
            };
            Channels::withdrawCall {
                c: c.clone(),
                w,
                lowSignature: low,
                highSignature: high,
            }
        });
        let payouts = typed::channels::CoopClose {
            channel,
            epoch: 0,
            lowAmount: u96(9_000),
            highAmount: u96(10_989),
            lowTo: alice.address,
            highTo: brandon.address,
            agent,
            fee: u96(1),
            deadline,
        };
        let good = partner.sign(&payouts, &domain);
        let both = |signature: Signature| match other {
            Side::Low => (seal(signature), seal(good)),
            Side::High => (seal(good), seal(signature)),
        };
        stage.attack(Verifier::Channels, &payouts, attacked, to, |signature| {
            let (low, high) = both(signature);
            let p = IChannels::Payouts {
                lowAmount: u96(9_000),
                highAmount: u96(10_989),
                lowTo: alice.address,
                highTo: brandon.address,
                agent,
                fee: u96(1),
                deadline,
            };
            Channels::coopCloseCall {
                c: c.clone(),
                p,
                lowSignature: low,
                highSignature: high,
            }
        });
        pairs += stage.pairs;
    }
    pairs
}

fn channels_deposit_and_close() -> usize {
    let mut stage = Stage::new();
    let (c, to, domain) = (
        stage.channel(),
        stage.chain.channels,
        stage.chain.domain(Verifier::Channels),
    );
    let (alice, brandon, channel) = (stage.alice.clone(), stage.brandon.clone(), stage.terms.id());
    let (deadline, agent) = (u40(stage.chain.now + 100), Address::repeat_byte(0x77));
    let order = typed::channels::Deposit {
        owner: brandon.address,
        channel,
        epoch: 0,
        high: true,
        amount: u96(50),
        locatorLow: B256::repeat_byte(5),
        locatorHigh: B256::repeat_byte(6),
        agent,
        fee: u96(2),
        nonce: U256::from(1000),
        deadline,
    };
    stage.attack(Verifier::Channels, &order, &brandon, to, |signature| {
        Channels::depositForCall {
            c: c.clone(),
            epoch: 0,
            high: true,
            o: IChannels::DepositOrder {
                owner: brandon.address,
                amount: u96(50),
                agent,
                fee: u96(2),
                nonce: U256::from(1000),
                deadline,
            },
            ownerSignature: seal(signature),
            locatorLow: B256::repeat_byte(5),
            locatorHigh: B256::repeat_byte(6),
        }
    });
    let (own, partner) = (message(1, 100), message(4, 7));
    let partner_typed = partner.typed(channel, 0, brandon.address);
    let partner_signature = brandon.sign(&partner_typed, &domain);
    let close = typed::channels::Close {
        channel,
        epoch: 0,
        closer: alice.address,
        unknown: false,
        own: own.typed(channel, 0, alice.address).eip712_hash_struct(),
        partner: partner_typed.eip712_hash_struct(),
        agent,
        fee: u96(3),
        deadline,
    };
    stage.attack(Verifier::Channels, &close, &alice, to, |signature| {
        Channels::closeCall {
            c: c.clone(),
            closerHigh: false,
            own: abi(&own),
            partner: abi(&partner),
            partnerSignature: seal(partner_signature),
            mandate: vec![IChannels::Mandate {
                agent,
                fee: u96(3),
                deadline,
                signature: seal(signature),
            }],
        }
    });
    stage.pairs
}

fn channels_dispute() -> usize {
    let mut pairs = 0;
    let (deadline, agent) = (u40(1_800_010_000), Address::repeat_byte(0x77));
    let mandate = |signature: Signature| IChannels::Mandate {
        agent,
        fee: u96(3),
        deadline,
        signature: seal(signature),
    };
    // Which of the two signatures of an update and of a forfeit is attacked.
    for (forfeits, attacks_message) in [(false, true), (false, false), (true, true), (true, false)]
    {
        let mut stage = Stage::new();
        let record = closed(&mut stage);
        let (c, to, domain) = (
            stage.channel(),
            stage.chain.channels,
            stage.chain.domain(Verifier::Channels),
        );
        let (alice, brandon, channel) =
            (stage.alice.clone(), stage.brandon.clone(), stage.terms.id());
        let (payer, payee) = if forfeits {
            (&alice, &brandon)
        } else {
            (&brandon, &alice)
        };
        let shown = message(7, 70);
        let state = shown.typed(channel, 0, payer.address);
        let order = typed::channels::Mandate {
            channel,
            epoch: 0,
            party: payee.address,
            state: if forfeits {
                B256::ZERO
            } else {
                state.eip712_hash_struct()
            },
            agent,
            fee: u96(3),
            deadline,
        };
        let (good_state, good_order) = (payer.sign(&state, &domain), payee.sign(&order, &domain));
        let call = |signature: Signature| {
            let (of_state, of_order) = if attacks_message {
                (signature, good_order)
            } else {
                (good_state, signature)
            };
            (
                record.pack(),
                abi(&shown),
                seal(of_state),
                vec![mandate(of_order)],
            )
        };
        let update = |signature| {
            let (k, s, payer, mandate) = call(signature);
            Channels::updateCall {
                c: c.clone(),
                k,
                payerHigh: true,
                s,
                payerSignature: payer,
                mandate,
            }
        };
        let forfeit = |signature| {
            let (k, s, closer, mandate) = call(signature);
            Channels::forfeitCall {
                c: c.clone(),
                k,
                s,
                closerSignature: closer,
                mandate,
            }
        };
        match (forfeits, attacks_message) {
            (false, true) => stage.attack(Verifier::Channels, &state, payer, to, update),
            (false, false) => stage.attack(Verifier::Channels, &order, payee, to, update),
            (true, true) => stage.attack(Verifier::Channels, &state, payer, to, forfeit),
            (true, false) => stage.attack(Verifier::Channels, &order, payee, to, forfeit),
        }
        pairs += stage.pairs;
    }
    let mut stage = Stage::new();
    let (c, to, alice, brandon) = (
        stage.channel(),
        stage.chain.channels,
        stage.alice.clone(),
        stage.brandon.clone(),
    );
    let leaf = B256::repeat_byte(0x1e);
    let release = typed::channels::Release {
        channel: stage.terms.id(),
        epoch: 0,
        payer: alice.address,
        leaf,
    };
    stage.attack(Verifier::Channels, &release, &brandon, to, |signature| {
        Channels::voidLeafCall {
            c: c.clone(),
            epoch: 0,
            payerHigh: false,
            leaf,
            payeeSignature: seal(signature),
        }
    });
    pairs + stage.pairs
}

fn token_and_receipt() -> usize {
    let mut stage = Stage::new();
    let (alice, brandon, to) = (stage.alice.clone(), stage.brandon.clone(), stage.chain.smt);
    let (agent, deadline) = (
        Address::repeat_byte(0x77),
        U256::from(stage.chain.now + 100),
    );
    let (from, fee, value) = (alice.address, U256::from(2), U256::from(40));
    // Key 9, counter 0 and then 1, and so on.
    let nonce = |counter: u64| (U256::from(9) << 64) + U256::from(counter);
    let transfer = typed::token::Transfer {
        from,
        to: brandon.address,
        value,
        fee,
        agent,
        nonce: nonce(0),
        deadline,
    };
    stage.attack(Verifier::Smt, &transfer, &alice, to, |signature| {
        SMT::transferWithFeeCall {
            from,
            to: brandon.address,
            value,
            fee,
            agent,
            nonce: nonce(0),
            deadline,
            signature: long(signature),
        }
    });
    let spender = brandon.address;
    let approve = typed::token::Approve {
        from,
        spender,
        value,
        fee,
        agent,
        nonce: nonce(1),
        deadline,
    };
    stage.attack(Verifier::Smt, &approve, &alice, to, |signature| {
        SMT::approveWithFeeCall {
            from,
            spender,
            value,
            fee,
            agent,
            nonce: nonce(1),
            deadline,
            signature: long(signature),
        }
    });
    let target = stage.chain.channels;
    let parties = [stage.terms.low.as_slice(), stage.terms.high.as_slice()].concat();
    let data: Bytes = [parties.as_slice(), &[4, 0, 0, 0, 0, 0, 0]].concat().into();
    let deposit = typed::token::Deposit {
        from,
        target,
        value,
        data: data.clone(),
        fee,
        agent,
        nonce: nonce(2),
        deadline,
    };
    stage.attack(Verifier::Smt, &deposit, &alice, to, |signature| {
        SMT::depositWithFeeCall {
            from,
            target,
            value,
            data: data.clone(),
            fee,
            agent,
            nonce: nonce(2),
            deadline,
            signature: long(signature),
        }
    });
    let cancel = typed::token::Cancel {
        from,
        nonce: nonce(3),
        fee,
        agent,
        deadline,
    };
    stage.attack(Verifier::Smt, &cancel, &alice, to, |signature| {
        SMT::cancelWithFeeCall {
            from,
            nonce: nonce(3),
            fee,
            agent,
            deadline,
            signature: long(signature),
        }
    });
    let permit = typed::token::Permit {
        owner: from,
        spender,
        value,
        nonce: U256::ZERO,
        deadline,
    };
    stage.attack(Verifier::Smt, &permit, &alice, to, |(r, mut vs)| {
        let v = 27 + (vs.0[0] >> 7);
        vs.0[0] &= 0x7f;
        SMT::permitCall {
            owner: from,
            spender,
            value,
            deadline,
            v,
            r,
            s: vs,
        }
    });
    let receipt = typed::conditions::Receipt {
        message: B256::repeat_byte(0x4e),
    };
    let condition: Bytes = [&[5], brandon.address.as_slice(), receipt.message.as_slice()]
        .concat()
        .into();
    let registry = stage.chain.conditions;
    stage.attack(
        Verifier::Conditions,
        &receipt,
        &brandon,
        registry,
        |(r, vs)| Conditions::registerCall {
            condition: condition.clone(),
            witness: [r.as_slice(), vs.as_slice()].concat().into(),
        },
    );
    stage.pairs
}

fn chequebook() -> usize {
    let mut stage = Stage::new();
    let (owner, beneficiary, to) = (
        stage.alice.clone(),
        stage.brandon.clone(),
        stage.chain.chequebook,
    );
    let (issuer, agent) = (Account::new(0x33), Address::repeat_byte(0x77));
    let (token, cap, thaw) = (stage.chain.smt, 500, 86_400);
    let b = IChequebook::Book {
        token,
        owner: owner.address,
        issuer: issuer.address,
        cap: u96(cap),
        thaw: u40(thaw),
    };
    let book = book_id(token, owner.address, issuer.address, cap, thaw);
    let fund = Chequebook::fundCall {
        b: b.clone(),
        funds: u96(1000),
        bond: u96(500),
    };
    stage.chain.call(owner.address, to, &fund).unwrap();
    let cheque = |index: u64, cumulative: u128| typed::chequebook::Cheque {
        book,
        index,
        increment: u96(50),
        total: u96(cumulative),
        previous: B256::ZERO,
        beneficiary: beneficiary.address,
        cumulative: u96(cumulative),
    };
    let content = |cheque: &typed::chequebook::Cheque| IChequebook::Cheque {
        index: cheque.index,
        increment: cheque.increment,
        total: cheque.total,
        previous: cheque.previous,
        beneficiary: cheque.beneficiary,
        cumulative: cheque.cumulative,
    };
    let first = cheque(1, 50);
    stage.attack(Verifier::Chequebook, &first, &issuer, to, |signature| {
        Chequebook::cashCall {
            b: b.clone(),
            c: content(&first),
            s: endorse(signature),
        }
    });
    let deadline = u40(stage.chain.now + 3 * 86_400);
    let second = cheque(2, 100);
    let good = issuer.sign(&second, &stage.chain.domain(Verifier::Chequebook));
    let order = typed::chequebook::CashOrder {
        book,
        cheque: second.eip712_hash_struct(),
        to: beneficiary.address,
        agent,
        fee: u96(3),
        deadline,
    };
    stage.attack(
        Verifier::Chequebook,
        &order,
        &beneficiary,
        to,
        |signature| Chequebook::cashForCall {
            b: b.clone(),
            c: content(&second),
            s: endorse(good),
            o: IChequebook::CashOrder {
                to: beneficiary.address,
                agent,
                fee: u96(3),
                deadline,
                signature: endorse(signature),
            },
        },
    );
    let until = u40(stage.chain.now + 500);
    let lock = typed::chequebook::Lock {
        book,
        beneficiary: beneficiary.address,
        amount: u96(20),
        until,
        deadline,
    };
    stage.attack(Verifier::Chequebook, &lock, &issuer, to, |signature| {
        Chequebook::lockForCall {
            b: b.clone(),
            beneficiary: beneficiary.address,
            amount: u96(20),
            until,
            deadline,
            signature: endorse(signature),
        }
    });
    let order = typed::chequebook::Thaw { book, deadline };
    stage.attack(Verifier::Chequebook, &order, &owner, to, |signature| {
        Chequebook::startThawCall {
            b: b.clone(),
            deadline,
            signature: endorse(signature),
        }
    });
    stage.chain.now += thaw;
    let order = typed::chequebook::Withdraw {
        book,
        to: owner.address,
        agent,
        fee: u96(3),
        deadline,
    };
    stage.attack(Verifier::Chequebook, &order, &owner, to, |signature| {
        Chequebook::withdrawCall {
            b: b.clone(),
            to: owner.address,
            agent,
            fee: u96(3),
            deadline,
            signature: endorse(signature),
        }
    });
    stage.pairs
}

#[test]
fn a_signature_is_good_for_nothing_else() {
    let pairs = [
        ("withdraw, coopClose", channels_agreed()),
        ("depositFor, close", channels_deposit_and_close()),
        ("update, forfeit, voidLeaf", channels_dispute()),
        ("SMT, receipt", token_and_receipt()),
        ("chequebook", chequebook()),
    ];
    for (name, count) in pairs {
        println!("{count:>6} pairs refused: {name}");
    }
    let total: usize = pairs.iter().map(|(_, count)| count).sum();
    println!("{total:>6} pairs refused");
    assert!(total >= 500);
}

/// The sums of the token of 2018 wrapped: value + fee = 0 passed the balance check and paid both out.
#[test]
fn sums_that_wrapped_in_2018_are_refused() {
    let mut stage = Stage::new();
    let (alice, brandon) = (stage.alice.clone(), stage.brandon.clone());
    let domain = stage.chain.domain(Verifier::Smt);
    let deadline = U256::from(stage.chain.now + 100);
    let agent = Account::new(0x41).address;
    let low = (U256::from(7) << 252) + U256::from(1);
    let inputs = [
        ((U256::from(9) << 252) - U256::from(1), low),
        (
            (U256::from(1) << 255) - U256::from(1) + (U256::from(1) << 252),
            low,
        ),
        (U256::MAX, U256::from(1)),
        (U256::from(1), U256::MAX),
        (U256::from(1) << 255, U256::from(1) << 255),
    ];
    assert_eq!(inputs[0].0.wrapping_add(low), U256::ZERO);
    for (value, fee) in inputs {
        for (from, to) in [
            (&brandon, alice.address),
            (&alice, alice.address),
            (&alice, agent),
        ] {
            let before = [alice.address, brandon.address, agent]
                .map(|who| stage.chain.balance(stage.chain.smt, who));
            let order = typed::token::Transfer {
                from: from.address,
                to,
                value,
                fee,
                agent: Address::ZERO,
                nonce: U256::ZERO,
                deadline,
            };
            let call = SMT::transferWithFeeCall {
                from: from.address,
                to,
                value,
                fee,
                agent: Address::ZERO,
                nonce: U256::ZERO,
                deadline,
                signature: from.sign_long(&order, &domain),
            };
            let Err(Failed::Reverted(data)) = stage.chain.call(agent, stage.chain.smt, &call)
            else {
                panic!("{value} + {fee} went through");
            };
            let reason = keccak256("ERC20InsufficientBalance(address,uint256,uint256)");
            assert_eq!(data[..4], reason[..4]);
            let after = [alice.address, brandon.address, agent]
                .map(|who| stage.chain.balance(stage.chain.smt, who));
            assert_eq!(before, after);
        }
    }
    // The zero address as the payer, with a signature that recovers to it.
    let call = SMT::transferWithFeeCall {
        from: Address::ZERO,
        to: agent,
        value: U256::ZERO,
        fee: U256::ZERO,
        agent: Address::ZERO,
        nonce: U256::ZERO,
        deadline,
        signature: Bytes::from(vec![0; 65]),
    };
    assert_refused(&stage.chain.call(agent, stage.chain.smt, &call));
}

/// Whoever calls the callback is the token, so a thief that names a victim with an allowance moves nothing.
#[test]
fn a_callback_of_a_stranger_takes_nothing() {
    let mut stage = Stage::new();
    let thief = Account::new(0x44);
    let victim = stage.alice.address;
    let held = stage.chain.balance(stage.chain.smt, victim);
    let low = thief.address.min(stage.brandon.address);
    let high = thief.address.max(stage.brandon.address);
    let side = u8::from(high == thief.address);
    let data: Bytes = [low.as_slice(), high.as_slice(), &[4, 0, 0, 0, 0, 0, side]]
        .concat()
        .into();
    let call = Channels::onApprovalReceivedCall {
        owner: victim,
        value: U256::from(1000),
        data: data.clone(),
    };
    let refused = keccak256("TokenFailed()");
    for from in [thief.address, victim] {
        let Err(Failed::Reverted(reason)) = stage.chain.call(from, stage.chain.channels, &call)
        else {
            panic!("a stranger was taken for a token");
        };
        assert_eq!(reason[..4], refused[..4]);
    }
    // A contract that is no token of the victim's.
    let from = stage.chain.conditions;
    assert!(
        stage
            .chain
            .call_as_contract(from, stage.chain.channels, &call)
            .is_err()
    );
    let book = (
        thief.address,
        thief.address,
        U256::from(5),
        U256::from(86_400),
        U256::ZERO,
    );
    let data = alloy_sol_types::SolValue::abi_encode(&book).into();
    let call = Chequebook::onApprovalReceivedCall {
        owner: victim,
        value: U256::from(1000),
        data,
    };
    assert!(
        stage
            .chain
            .call(thief.address, stage.chain.chequebook, &call)
            .is_err()
    );
    assert!(
        stage
            .chain
            .call_as_contract(from, stage.chain.chequebook, &call)
            .is_err()
    );
    // The token itself lets only its caller deposit.
    let (target, value) = (stage.chain.channels, U256::from(1000));
    let data: Bytes = [low.as_slice(), high.as_slice(), &[4, 0, 0, 0, 0, 0, side]]
        .concat()
        .into();
    assert!(
        stage
            .chain
            .call(
                thief.address,
                stage.chain.smt,
                &SMT::depositToCall {
                    target,
                    value,
                    data
                }
            )
            .is_err()
    );
    assert_eq!(stage.chain.balance(stage.chain.smt, victim), held);
}
