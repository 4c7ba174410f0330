use proptest::prelude::*;

use super::*;

fn update(state: State) -> Update {
    Update {
        channel: ChannelTag([1; 6]),
        session: SessionTag([2; 4]),
        state,
        signature: [3; 64],
        changes: Vec::new(),
        memo: Vec::new(),
    }
}

fn full() -> State {
    State {
        seq: u64::MAX,
        paid: (1 << 96) - 1,
        root: [4; 32],
        locked: 5,
        last_expiry: (1 << 40) - 1,
        tip: [6; 32],
        unit: 7,
        max: 256,
    }
}

#[test]
fn a_direct_payment_fits_its_bounds() {
    let plain = State {
        seq: 9,
        paid: 10,
        ..State::default()
    };
    let bytes = PaymentMessage::Update(update(plain)).encode();
    assert_eq!(bytes.len(), PLAIN_UPDATE_BYTES);
    assert_eq!(PaymentMessage::Update(update(full())).encode().len(), 188);
}

fn messages() -> Vec<PaymentMessage> {
    let lock = AddedLock {
        id: 1,
        amount: 2,
        expiry: 3,
        condition: vec![4; 33],
        instructions: vec![5; 100],
    };
    let mut changed = update(full());
    changed.changes = vec![
        LockChange::Add(lock.clone()),
        LockChange::Remove(9, LockEnd::Released),
    ];
    changed.memo = b"bread".to_vec();
    let channel = ChannelTag([1; 6]);
    let (book, cheque) = (
        Book {
            token: [1; 20],
            owner: [2; 20],
            issuer: [3; 20],
            cap: 4,
            thaw: 5,
        },
        Cheque {
            book: [1; 32],
            index: 2,
            increment: 3,
            total: 4,
            previous: [5; 32],
            beneficiary: [6; 20],
            cumulative: 7,
            signature: [8; 64],
        },
    );
    vec![
        PaymentMessage::Introduction(Introduction {
            answer: true,
            chain_id: 1,
            contract: [2; 20],
            token: [3; 20],
            account: [4; 20],
            terms: 0x0405,
            locator: [5; 32],
            reach: 6,
            fee: (7, 8),
            reserve: 10,
            signature: [9; 64],
        }),
        PaymentMessage::Hello(Hello {
            channel,
            epoch: 1,
            nonce: [2; 8],
            echo: [3; 8],
            mine: 4,
            yours: 5,
            recovering: true,
        }),
        PaymentMessage::Update(update(State::default())),
        PaymentMessage::Update(changed),
        PaymentMessage::Accepted {
            channel,
            session: SessionTag([2; 4]),
            seq: 3,
        },
        PaymentMessage::Refused {
            channel,
            seq: 2,
            reason: Refusal::Overspent,
        },
        PaymentMessage::Restate(Restate {
            channel,
            whose: Whose::Yours,
            state: full(),
            signature: [1; 64],
            locks: vec![lock; 64],
        }),
        PaymentMessage::Claim {
            channel,
            lock: 1,
            secret: [2; 32],
        },
        PaymentMessage::Release {
            channel,
            lock: 1,
            signature: [2; 64],
            reason: Refusal::Other(200),
        },
        PaymentMessage::Withdrawal(Withdrawal {
            channel,
            answer: false,
            amount: 1,
            to: [2; 20],
            agent: [3; 20],
            fee: 4,
            expiry: 5,
            signature: [6; 64],
        }),
        PaymentMessage::Payouts(Payouts {
            channel,
            answer: true,
            amounts: (1, 2),
            to: ([3; 20], [4; 20]),
            agent: [5; 20],
            fee: 6,
            deadline: 7,
            signature: [8; 64],
        }),
        PaymentMessage::Ticks(vec![
            Tick {
                channel,
                anchor: 1,
                count: 2,
                preimage: [3; 32],
            };
            TICKS_MAX
        ]),
        PaymentMessage::TicksAccepted(vec![(channel, 1, 2)]),
        PaymentMessage::InvoiceWanted {
            id: [1; 8],
            token: [2; 20],
            amount: 3,
        },
        PaymentMessage::Invoice {
            id: [1; 8],
            point: [2; 33],
            account: [3; 20],
            expires: 4,
        },
        PaymentMessage::Relay(Relay {
            token: [1; 20],
            incoming: [2; 20],
            next: [3; 16],
            point: [4; 33],
            tweak: [5; 32],
            amount: 6,
            expiry: 7,
        }),
        PaymentMessage::Cheque(Box::new((book, cheque))),
        PaymentMessage::ChequeAccepted { hash: [1; 32] },
        PaymentMessage::Fork(Box::new((book, cheque, cheque))),
        PaymentMessage::Watch(Box::new(Watch {
            parties: ([1; 20], [2; 20], [3; 20]),
            terms: 4,
            epoch: 5,
            state: full(),
            signature: [6; 64],
            agent: [7; 20],
            fee: 8,
            deadline: 9,
            forfeit: [10; 64],
            update: [11; 64],
        })),
        PaymentMessage::Watching { state: [1; 32] },
        PaymentMessage::Bring {
            id: [1; 8],
            contract: 2,
            fee: 3,
            call: vec![4; 500],
        },
        PaymentMessage::Brought {
            id: [1; 8],
            taken: true,
        },
    ]
}

#[test]
fn messages_round_trip_and_have_one_form() {
    for message in messages() {
        let bytes = message.encode();
        assert!(bytes.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(PaymentMessage::decode(&bytes), Ok(message.clone()));
        let longer = [&bytes[..], &[0]].concat();
        assert!(PaymentMessage::decode(&longer).is_err(), "{message:?}");
        for cut in 0..bytes.len() {
            if let Ok(other) = PaymentMessage::decode(&bytes[..cut]) {
                assert_eq!(other.encode(), bytes[..cut]);
            }
        }
    }
}

#[test]
fn limits_hold_before_anything_is_kept() {
    assert_eq!(
        PaymentMessage::decode(&vec![2; MESSAGE_BYTES_MAX + 1]),
        Err(PaymentMessageError::Length(MESSAGE_BYTES_MAX + 1))
    );
    assert_eq!(
        PaymentMessage::decode(&[31]),
        Err(PaymentMessageError::Kind(31))
    );
    assert_eq!(
        PaymentMessage::decode(&[0x22, 0]),
        Err(PaymentMessageError::Kind(0x22))
    );
    // A 65th lock, an empty list.
    let mut restate = messages().swap_remove(6).encode();
    let count = 1 + 6 + 1 + 1 + 20 + 49 + 44 + 64;
    assert_eq!(restate[count], 64);
    restate[count] = 65;
    assert!(PaymentMessage::decode(&restate).is_err());
    assert!(PaymentMessage::decode(&[11]).is_err());
}

#[test]
fn refusals_keep_their_codes() {
    for code in 0..=u8::MAX {
        assert_eq!(Refusal::from_code(code).code(), code);
    }
}

proptest! {
    #[test]
    fn any_bytes_give_one_value_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..700), kind in 0_u8..32) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = kind | (*first & 0xe0);
        }
        if let Ok(message) = PaymentMessage::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes);
        }
    }
}
