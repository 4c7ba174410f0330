use proptest::prelude::*;

use super::*;

fn any_header() -> impl Strategy<Value = BundleHeader> {
    let priority = prop_oneof![
        Just(Priority::Sos),
        Just(Priority::Message),
        Just(Priority::File)
    ];
    (
        priority,
        any::<[u8; 8]>(),
        any::<[u8; 16]>(),
        any::<u64>(),
        any::<u32>(),
        0..=65_536u32,
        any::<[[u8; 32]; 2]>(),
    )
        .prop_map(
            |(priority, nonce, hint, expires, life_secs, size, [payload_hash, commitment])| {
                BundleHeader {
                    priority,
                    nonce,
                    hint,
                    expires: UnixTime::from_secs(expires),
                    life_secs,
                    size,
                    payload_hash,
                    commitment,
                }
            },
        )
}

fn any_message() -> impl Strategy<Value = BundleMessage> {
    let ids =
        || prop::collection::vec(any::<[u8; 8]>().prop_map(ShortId), 0..64).prop_map(ShortIds);
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    let id = any::<[u8; 32]>;
    let offered =
        (bytes(), any::<u32>(), any::<u8>()).prop_map(|(header, age_secs, copies)| Offered {
            header,
            age_secs,
            copies,
        });
    prop_oneof![
        (any::<u32>(), any::<[u8; 8]>(), bytes()).prop_map(|(utility, held, vaccines)| {
            BundleMessage::Hello {
                utility,
                held,
                vaccines,
            }
        }),
        (any::<u8>(), bytes()).prop_map(|(held, buckets)| BundleMessage::Need { held, buckets }),
        (ids(), ids()).prop_map(|(spray, wait)| BundleMessage::Have { spray, wait }),
        ids().prop_map(|ids| BundleMessage::VaccineIds { ids }),
        ids().prop_map(|ids| BundleMessage::VaccineAsk { ids }),
        bytes().prop_map(|list| BundleMessage::Vaccines { list }),
        ids().prop_map(|ids| BundleMessage::Ask { ids }),
        prop::collection::vec(offered, 0..5).prop_map(|bundles| BundleMessage::Offer { bundles }),
        id().prop_map(|id| BundleMessage::Gone { id }),
        (id(), any::<[u32; 2]>()).prop_map(|(id, [offset, length])| BundleMessage::Pull {
            id,
            offset,
            length
        }),
        (id(), any::<u32>(), bytes()).prop_map(|(id, offset, bytes)| BundleMessage::Piece {
            id,
            offset,
            bytes
        }),
        id().prop_map(|id| BundleMessage::Ready { id }),
        (id(), any::<u8>(), any::<u32>()).prop_map(|(id, copies, age_secs)| BundleMessage::Grant {
            id,
            copies,
            age_secs
        }),
        id().prop_map(|id| BundleMessage::Taken { id }),
        any::<u32>().prop_map(|utility| BundleMessage::Utility { utility }),
    ]
}

proptest! {
    #[test]
    fn headers_round_trip(header in any_header()) {
        prop_assert_eq!(BundleHeader::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn messages_round_trip(message in any_message()) {
        prop_assert_eq!(BundleMessage::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn offers_and_vaccines_round_trip(
        tag in prop::collection::vec(any::<u8>(), 0..=32),
        entries in prop::collection::vec(any::<([u8; 8], [u8; 16], [u8; 8])>(), 0..30),
        vaccines in prop::collection::vec(any::<([u8; 32], [u8; 32], u64, u32)>(), 0..10),
    ) {
        let entries = entries.into_iter().map(|(nonce, hint, id)| OfferEntry { nonce, hint, id: ShortId(id) }).collect();
        let offer = MailOffer { tag, entries };
        prop_assert_eq!(MailOffer::decode(&offer.encode()), Ok(offer));
        let vaccines: Vec<Vaccine> = vaccines
            .into_iter()
            .map(|(core, receipt, expires, life_secs)| Vaccine { core, receipt, expires: UnixTime::from_secs(expires), life_secs })
            .collect();
        let bytes: Vec<u8> = vaccines.iter().flat_map(Vaccine::encode).collect();
        prop_assert_eq!(Vaccine::decode_list(&bytes), Ok(vaccines));
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(message) = BundleMessage::decode(&bytes) {
            prop_assert_eq!(BundleMessage::decode(&message.encode()), Ok(message));
        }
        if let Ok(header) = BundleHeader::decode(&bytes) {
            prop_assert_eq!(&header.encode()[..], &bytes[..HEADER_BYTES]);
        }
        if let Ok(offer) = MailOffer::decode(&bytes) {
            prop_assert_eq!(offer.encode(), bytes.clone());
        }
        if let Ok(vaccine) = Vaccine::decode(&bytes) {
            prop_assert_eq!(&vaccine.encode()[..], &bytes[..VACCINE_BYTES]);
        }
    }
}

#[test]
fn limits_hold() {
    let long = vec![0; BUNDLE_MESSAGE_BYTES_MAX + 1];
    assert_eq!(
        BundleMessage::decode(&long),
        Err(BundleDecodeError::TooLong(long.len()))
    );
    assert_eq!(
        MailOffer::decode(&long),
        Err(BundleDecodeError::TooLong(long.len()))
    );
    assert_eq!(
        Vaccine::decode_list(&long),
        Err(BundleDecodeError::TooLong(long.len()))
    );
    assert_eq!(
        MailOffer::decode(&[33]),
        Err(BundleDecodeError::TooLong(33))
    );
    let mut header = [0; HEADER_BYTES];
    assert_eq!(
        BundleHeader::decode(&header),
        Err(BundleDecodeError::Version(0))
    );
    header[0] = 1;
    header[1] = 9;
    assert_eq!(
        BundleHeader::decode(&header),
        Err(BundleDecodeError::Priority(9))
    );
    header[1] = 1;
    header[38..42].copy_from_slice(&65_537u32.to_be_bytes());
    assert_eq!(
        BundleHeader::decode(&header),
        Err(BundleDecodeError::Payload(65_537))
    );
}
