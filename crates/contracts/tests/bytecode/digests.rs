//! Digests of every typed struct against vectors of an independent library (`testdata/digests.mjs`).

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::Eip712Domain;
use serde_json::Value;
use smartmesh_contracts::typed::{
    SolStruct, Verifier, channels, chequebook, conditions, digest, token,
};

const VECTORS: &str = include_str!("../../testdata/digests.json");

/// Members of one vector's message.
struct Members<'a>(&'a Value);

impl Members<'_> {
    fn text(&self, name: &str) -> &str {
        self.0[name]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {name}"))
    }

    fn address(&self, name: &str) -> Address {
        self.text(name).parse().unwrap()
    }

    fn hash(&self, name: &str) -> B256 {
        self.text(name).parse().unwrap()
    }

    fn number<const BITS: usize, const LIMBS: usize>(
        &self,
        name: &str,
    ) -> alloy_primitives::Uint<BITS, LIMBS> {
        self.text(name).parse::<U256>().unwrap().to()
    }

    fn small<T: TryFrom<u64, Error: std::fmt::Debug>>(&self, name: &str) -> T {
        T::try_from(self.text(name).parse::<u64>().unwrap()).unwrap()
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap()
    }
}

fn hashes(message: &impl SolStruct, domain: &Eip712Domain) -> (B256, B256) {
    (message.eip712_hash_struct(), digest(message, domain))
}

fn of_token(kind: &str, m: &Members<'_>, domain: &Eip712Domain) -> (B256, B256) {
    let (fee, nonce, deadline, value) = ("fee", "nonce", "deadline", "value");
    match kind {
        "Permit" => {
            let (owner, spender) = (m.address("owner"), m.address("spender"));
            let (value, nonce, deadline) = (m.number(value), m.number(nonce), m.number(deadline));
            hashes(
                &token::Permit {
                    owner,
                    spender,
                    value,
                    nonce,
                    deadline,
                },
                domain,
            )
        }
        "Transfer" => hashes(
            &token::Transfer {
                from: m.address("from"),
                to: m.address("to"),
                value: m.number(value),
                fee: m.number(fee),
                agent: m.address("agent"),
                nonce: m.number(nonce),
                deadline: m.number(deadline),
            },
            domain,
        ),
        "Approve" => hashes(
            &token::Approve {
                from: m.address("from"),
                spender: m.address("spender"),
                value: m.number(value),
                fee: m.number(fee),
                agent: m.address("agent"),
                nonce: m.number(nonce),
                deadline: m.number(deadline),
            },
            domain,
        ),
        "Deposit" => hashes(
            &token::Deposit {
                from: m.address("from"),
                target: m.address("target"),
                value: m.number(value),
                data: m.text("data").parse().unwrap(),
                fee: m.number(fee),
                agent: m.address("agent"),
                nonce: m.number(nonce),
                deadline: m.number(deadline),
            },
            domain,
        ),
        "Cancel" => hashes(
            &token::Cancel {
                from: m.address("from"),
                nonce: m.number(nonce),
                fee: m.number(fee),
                agent: m.address("agent"),
                deadline: m.number(deadline),
            },
            domain,
        ),
        other => panic!("unknown type {other}"),
    }
}

fn of_channels(kind: &str, m: &Members<'_>, domain: &Eip712Domain) -> (B256, B256) {
    match kind {
        "State" => hashes(
            &channels::State {
                channel: m.hash("channel"),
                epoch: m.small("epoch"),
                payer: m.address("payer"),
                seq: m.small("seq"),
                paid: m.number("paid"),
                root: m.hash("root"),
                locked: m.number("locked"),
                lastExpiry: m.number("lastExpiry"),
                tip: m.hash("tip"),
                unit: m.small("unit"),
                max: m.small("max"),
            },
            domain,
        ),
        "Withdraw" => hashes(
            &channels::Withdraw {
                channel: m.hash("channel"),
                epoch: m.small("epoch"),
                party: m.address("party"),
                amount: m.number("amount"),
                to: m.address("to"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                expiry: m.number("expiry"),
            },
            domain,
        ),
        "CoopClose" => hashes(
            &channels::CoopClose {
                channel: m.hash("channel"),
                epoch: m.small("epoch"),
                lowAmount: m.number("lowAmount"),
                highAmount: m.number("highAmount"),
                lowTo: m.address("lowTo"),
                highTo: m.address("highTo"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        "Close" => hashes(
            &channels::Close {
                channel: m.hash("channel"),
                epoch: m.small("epoch"),
                closer: m.address("closer"),
                unknown: m.flag("unknown"),
                own: m.hash("own"),
                partner: m.hash("partner"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        "Mandate" => hashes(
            &channels::Mandate {
                channel: m.hash("channel"),
                epoch: m.small("epoch"),
                party: m.address("party"),
                state: m.hash("state"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        "Release" => {
            let (channel, leaf) = (m.hash("channel"), m.hash("leaf"));
            hashes(
                &channels::Release {
                    channel,
                    epoch: m.small("epoch"),
                    payer: m.address("payer"),
                    leaf,
                },
                domain,
            )
        }
        "Deposit" => hashes(
            &channels::Deposit {
                owner: m.address("owner"),
                channel: m.hash("channel"),
                epoch: m.small("epoch"),
                high: m.flag("high"),
                amount: m.number("amount"),
                locatorLow: m.hash("locatorLow"),
                locatorHigh: m.hash("locatorHigh"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                nonce: m.number("nonce"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        other => panic!("unknown type {other}"),
    }
}

fn of_chequebook(kind: &str, m: &Members<'_>, domain: &Eip712Domain) -> (B256, B256) {
    let book = m.hash("book");
    match kind {
        "Cheque" => hashes(
            &chequebook::Cheque {
                book,
                index: m.small("index"),
                increment: m.number("increment"),
                total: m.number("total"),
                previous: m.hash("previous"),
                beneficiary: m.address("beneficiary"),
                cumulative: m.number("cumulative"),
            },
            domain,
        ),
        "CashOrder" => hashes(
            &chequebook::CashOrder {
                book,
                cheque: m.hash("cheque"),
                to: m.address("to"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        "Lock" => hashes(
            &chequebook::Lock {
                book,
                beneficiary: m.address("beneficiary"),
                amount: m.number("amount"),
                until: m.number("until"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        "Thaw" => hashes(
            &chequebook::Thaw {
                book,
                deadline: m.number("deadline"),
            },
            domain,
        ),
        "Withdraw" => hashes(
            &chequebook::Withdraw {
                book,
                to: m.address("to"),
                agent: m.address("agent"),
                fee: m.number("fee"),
                deadline: m.number("deadline"),
            },
            domain,
        ),
        other => panic!("unknown type {other}"),
    }
}

#[test]
fn digests_are_those_of_an_independent_library() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let mut seen = BTreeMap::new();
    for vector in &vectors {
        let (contract, kind) = (
            vector["contract"].as_str().unwrap(),
            vector["type"].as_str().unwrap(),
        );
        let at: Address = vector["verifyingContract"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        let chain_id = vector["chainId"].as_u64().unwrap();
        let members = Members(&vector["message"]);
        let (struct_hash, digest) = match contract {
            "Smt" => of_token(kind, &members, &Verifier::Smt.domain(chain_id, at)),
            "Channels" => of_channels(kind, &members, &Verifier::Channels.domain(chain_id, at)),
            "Chequebook" => {
                of_chequebook(kind, &members, &Verifier::Chequebook.domain(chain_id, at))
            }
            "Conditions" => {
                let receipt = conditions::Receipt {
                    message: members.hash("message"),
                };
                hashes(&receipt, &Verifier::Conditions.domain(chain_id, at))
            }
            other => panic!("unknown contract {other}"),
        };
        assert_eq!(
            struct_hash.to_string(),
            vector["structHash"].as_str().unwrap(),
            "{contract} {kind}"
        );
        assert_eq!(
            digest.to_string(),
            vector["digest"].as_str().unwrap(),
            "{contract} {kind}"
        );
        *seen.entry((contract, kind)).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 18, "a type has no vectors");
    assert!(seen.values().all(|count| *count == 20));
}
