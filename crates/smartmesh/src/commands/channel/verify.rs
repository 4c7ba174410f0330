//! Judges a statement of a channel: who must get what, and whether anybody cheated. Needs no keys, no node and no chain.

use alloy_primitives::{Address, B256, Signature};
use anyhow::{Context, bail, ensure};
use serde::Serialize;
use smartmesh_api::{Amount, Party, Statement, StatementMessage};
use smartmesh_contracts::typed::{SolStruct, Verifier, channels::State, digest};
use smartmesh_contracts::{channel_id, hold_seconds};

/// What follows from a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Judgement {
    /// What the lower key must get.
    pub(super) low: Amount,
    /// What the higher key must get.
    pub(super) high: Amount,
    /// Locked in conditional payments whose outcome the statement does not tell; it counts for who locked it.
    pub(super) undecided: Amount,
    /// Who signed what contradicts its close or its own other message, and how.
    pub(super) cheats: Vec<Cheat>,
    /// Whether what was paid out is what must be; `None` if nothing was.
    pub(super) paid_right: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Cheat {
    pub(super) party: Party,
    pub(super) how: String,
}

struct Judged {
    payer: Party,
    state: State,
    hash: B256,
}

pub(super) fn judge(statement: &Statement) -> anyhow::Result<Judgement> {
    ensure!(
        statement.version == 1,
        "version {} is unknown",
        statement.version
    );
    let address = |text: &str, what: &str| {
        text.parse::<Address>()
            .with_context(|| format!("{what} is no account: {text}"))
    };
    let token = address(&statement.token, "the token")?;
    let contract = address(&statement.contract, "the contract")?;
    let low = address(&statement.low, "the lower key")?;
    let high = address(&statement.high, "the higher key")?;
    ensure!(low < high, "the lower key is not below the higher one");
    ensure!(
        hold_seconds(statement.terms).is_some(),
        "the terms are not in the table"
    );
    let id = channel_id(token, low, high, statement.terms);
    let domain = Verifier::Channels.domain(statement.chain_id, contract);
    let mut judged = Vec::new();
    for message in &statement.messages {
        let key = match message.payer {
            Party::Low => low,
            Party::High => high,
        };
        let state = state(message, id, statement.epoch, key)?;
        let signature: Signature = message
            .signature
            .parse()
            .with_context(|| format!("message {} has no signature", message.seq))?;
        let signer = signature.recover_address_from_prehash(&digest(&state, &domain));
        ensure!(
            signature.normalize_s().is_none() && signer.is_ok_and(|signer| signer == key),
            "message {} of {:?} is not signed by {key}",
            message.seq,
            message.payer
        );
        judged.push(Judged {
            payer: message.payer,
            hash: state.eip712_hash_struct(),
            state,
        });
    }
    let cheats = cheats(statement, &judged)?;
    let deposits =
        [&statement.low_deposit, &statement.high_deposit].map(|text| text.parse::<i128>());
    let [Ok(low_deposit), Ok(high_deposit)] = deposits else {
        bail!("a deposit is no number");
    };
    let total = low_deposit
        .checked_add(high_deposit)
        .and_then(|total| u128::try_from(total).ok());
    let total = total.context("the deposits do not add up")?;
    let newest = |payer| {
        let of_payer = judged.iter().filter(move |one| one.payer == payer);
        of_payer
            .max_by_key(|one| one.state.seq)
            .map(|one| &one.state)
    };
    let paid = |payer| newest(payer).map_or(0, |state| state.paid.to::<u128>());
    let locked = |payer| newest(payer).map_or(0, |state| state.locked.to::<u128>());
    // As the contract: low gets what its deposit and the balance of payments leave it, between nothing and everything.
    let share = low_deposit
        .saturating_sub_unsigned(paid(Party::Low))
        .saturating_add_unsigned(paid(Party::High));
    let mut share = u128::try_from(share).unwrap_or(0).min(total);
    let forfeits = |party| {
        let closer = statement
            .close
            .as_ref()
            .map(|close| (close.closer, close.unknown));
        closer == Some((party, false)) && cheats.iter().any(|cheat| cheat.party == party)
    };
    if forfeits(Party::Low) {
        share = 0;
    } else if forfeits(Party::High) {
        share = total;
    }
    let (low, high) = (Amount(share), Amount(total.saturating_sub(share)));
    Ok(Judgement {
        low,
        high,
        undecided: Amount(locked(Party::Low).saturating_add(locked(Party::High))),
        cheats,
        paid_right: statement
            .paid_out
            .map(|paid| (paid.low, paid.high) == (low, high)),
    })
}

fn state(
    message: &StatementMessage,
    channel: B256,
    epoch: u32,
    payer: Address,
) -> anyhow::Result<State> {
    let word = |text: &str| {
        text.parse::<B256>()
            .with_context(|| format!("message {} has a word that is none", message.seq))
    };
    let amount = |amount: Amount| {
        amount
            .0
            .try_into()
            .with_context(|| format!("message {} has an amount above 2^96", message.seq))
    };
    Ok(State {
        channel,
        epoch,
        payer,
        seq: message.seq,
        paid: amount(message.paid)?,
        root: word(&message.root)?,
        locked: amount(message.locked)?,
        lastExpiry: message
            .last_expiry
            .try_into()
            .context("an expiry above 2^40")?,
        tip: word(&message.tip)?,
        unit: message.unit,
        max: message.max,
    })
}

/// What a party signed that contradicts its close, or another message of its own.
fn cheats(statement: &Statement, judged: &[Judged]) -> anyhow::Result<Vec<Cheat>> {
    let mut cheats = Vec::new();
    if let Some(close) = statement.close.as_ref().filter(|close| !close.unknown) {
        let declared: B256 = close
            .own_state
            .parse()
            .context("the close declares no state")?;
        for one in judged.iter().filter(|one| one.payer == close.closer) {
            let State { seq, paid, .. } = &one.state;
            let how = if *seq > close.own_seq {
                format!(
                    "closed with message {}, but had signed message {seq}",
                    close.own_seq
                )
            } else if *seq == close.own_seq && one.hash != declared {
                format!("closed with another message {seq} than it had signed")
            } else if paid.to::<u128>() > close.own_paid.0 {
                format!(
                    "closed with {} SMT paid, but had signed {} SMT in message {seq}",
                    close.own_paid,
                    Amount(paid.to())
                )
            } else {
                continue;
            };
            cheats.push(Cheat {
                party: close.closer,
                how,
            });
        }
    }
    for (at, one) in judged.iter().enumerate() {
        let twin = judged.iter().skip(at.saturating_add(1)).any(|other| {
            other.payer == one.payer && other.state.seq == one.state.seq && other.hash != one.hash
        });
        if twin {
            cheats.push(Cheat {
                party: one.payer,
                how: format!(
                    "signed two different messages with the number {}",
                    one.state.seq
                ),
            });
        }
    }
    Ok(cheats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use smartmesh_api::{StatementClose, StatementPayout};
    use smartmesh_wallet::Key;

    const ZERO: &str = "0x0000000000000000000000000000000000000000000000000000000000000000";

    struct Test {
        statement: Statement,
        keys: [Key; 2],
    }

    fn test() -> Test {
        let mut keys = [1, 2].map(|n| Key::from_bytes(&[n; 32]).unwrap());
        keys.sort_by_key(Key::address);
        let address = |n: u8| Address::repeat_byte(n).to_string();
        let statement = Statement {
            version: 1,
            chain_id: 1,
            contract: address(8),
            token: address(9),
            low: keys[0].address().to_string(),
            high: keys[1].address().to_string(),
            terms: 0x0405,
            epoch: 3,
            low_deposit: "100".to_owned(),
            high_deposit: "50".to_owned(),
            messages: Vec::new(),
            close: None,
            paid_out: None,
        };
        Test { statement, keys }
    }

    impl Test {
        fn sign(&mut self, payer: Party, seq: u64, paid: u128) {
            let mut message = StatementMessage {
                payer,
                seq,
                paid: Amount(paid),
                root: ZERO.to_owned(),
                locked: Amount(0),
                last_expiry: 0,
                tip: ZERO.to_owned(),
                unit: 0,
                max: 0,
                signature: String::new(),
            };
            let key = match payer {
                Party::Low => &self.keys[0],
                Party::High => &self.keys[1],
            };
            let state = self.state(&message);
            let contract = self.statement.contract.parse().unwrap();
            let domain = Verifier::Channels.domain(1, contract);
            message.signature = key.sign_typed(&state, &domain).to_string();
            self.statement.messages.push(message);
        }

        fn state(&self, message: &StatementMessage) -> State {
            let [low, high] = self.keys.each_ref().map(Key::address);
            let token = self.statement.token.parse().unwrap();
            let id = channel_id(token, low, high, 0x0405);
            let payer = match message.payer {
                Party::Low => low,
                Party::High => high,
            };
            state(message, id, 3, payer).unwrap()
        }

        fn close(&mut self, closer: Party, unknown: bool, at: usize) {
            let message = &self.statement.messages[at];
            self.statement.close = Some(StatementClose {
                closer,
                unknown,
                own_seq: message.seq,
                own_paid: message.paid,
                own_state: self.state(message).eip712_hash_struct().to_string(),
            });
        }

        fn judged(&self) -> (u128, u128, usize) {
            let judgement = judge(&self.statement).unwrap();
            (judgement.low.0, judgement.high.0, judgement.cheats.len())
        }
    }

    #[test]
    fn an_honest_end_is_shared_by_the_newest_messages() {
        let mut test = test();
        test.sign(Party::Low, 1, 10);
        test.sign(Party::Low, 2, 60);
        test.sign(Party::High, 1, 5);
        test.close(Party::Low, false, 1);
        assert_eq!(test.judged(), (45, 105, 0));
        test.statement.paid_out = Some(StatementPayout {
            low: Amount(45),
            high: Amount(105),
        });
        assert_eq!(judge(&test.statement).unwrap().paid_right, Some(true));
        test.statement.paid_out = Some(StatementPayout {
            low: Amount(46),
            high: Amount(104),
        });
        assert_eq!(judge(&test.statement).unwrap().paid_right, Some(false));
    }

    #[test]
    fn an_old_close_costs_everything_unless_it_was_unknown() {
        let mut test = test();
        test.sign(Party::Low, 1, 10);
        test.sign(Party::Low, 2, 60);
        test.close(Party::Low, false, 0);
        assert_eq!(test.judged(), (0, 150, 1));
        test.close(Party::Low, true, 0);
        assert_eq!(test.judged(), (40, 110, 0));
        test.close(Party::Low, false, 1);
        test.sign(Party::Low, 2, 61);
        assert!(test.judged().2 > 0);
    }

    #[test]
    fn what_is_not_signed_is_refused() {
        let mut test = test();
        test.sign(Party::Low, 1, 10);
        let good = test.statement.clone();
        let mut refused = |change: &dyn Fn(&mut Statement)| {
            test.statement = good.clone();
            change(&mut test.statement);
            assert!(judge(&test.statement).is_err());
        };
        refused(&|one| one.messages[0].paid = Amount(11));
        refused(&|one| one.messages[0].payer = Party::High);
        refused(&|one| one.chain_id = 2);
        refused(&|one| one.epoch = 4);
        refused(&|one| one.contract = one.token.clone());
        refused(&|one| one.low_deposit = "-100".to_owned());
        refused(&|one| std::mem::swap(&mut one.low, &mut one.high));
        refused(&|one| one.version = 2);
    }
}
