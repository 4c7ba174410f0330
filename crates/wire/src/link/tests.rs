use proptest::prelude::*;

use super::*;

fn any_index() -> impl Strategy<Value = u32> {
    any::<u32>().prop_map(|n| n | SESSION_BIT)
}

fn any_versions() -> impl Strategy<Value = Versions> {
    (1_u8..=255, any::<u8>()).prop_map(|(min, more)| Versions {
        min,
        max: min.saturating_add(more),
    })
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(frame) = ClearFrame::decode(&bytes) {
            let again = frame.encode();
            prop_assert_eq!(ClearFrame::decode(&again), Ok(frame));
        }
        if let Ok(ack) = Acknowledgement::decode(&bytes) {
            prop_assert_eq!(Acknowledgement::decode(&ack.encode()), Ok(ack));
        }
        if let Ok((segment, rest)) = Segment::decode(&bytes) {
            let mut again = Vec::new();
            segment.encode(&mut again);
            again.extend_from_slice(rest);
            prop_assert_eq!(again, bytes.clone());
        }
        if let Ok(fragment) = Fragment::decode(&bytes) {
            let again = [&fragment.encode_header()[..], fragment.bytes].concat();
            prop_assert_eq!(again, bytes.clone());
        }
        if let Ok(message) = LinkMessage::decode(&bytes) {
            let again = message.encode();
            prop_assert_eq!(LinkMessage::decode(&again), Ok(message));
        }
        let _ = (Offer::decode(&bytes), decode_session_header(&bytes));
    }

    #[test]
    fn beacons_and_first_messages_round_trip(
        versions in any_versions(), links: u8, id: [u8; 8], to: [u8; 8], sender in any_index(), cookie: [u8; 16],
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let beacon = ClearFrame::Beacon(Beacon { versions, links, id: BeaconId(id) });
        let bytes = beacon.encode();
        prop_assert_eq!(ClearFrame::decode(&bytes), Ok(beacon));
        let first = ClearFrame::First(FirstMessage {
            version: versions.min, links, purpose: Purpose::Explore, sender, from: BeaconId(id), to: BeaconId(to), cookie,
            noise: &noise,
        });
        let bytes = first.encode();
        prop_assert_eq!(ClearFrame::decode(&bytes), Ok(first));
        let offer = Offer { versions, prefers_aes: true, links, frame_bytes: sender, id: BeaconId(id) };
        prop_assert_eq!(Offer::decode(&offer.encode()), Ok(offer));
    }

    #[test]
    fn replies_round_trip(
        receiver in any_index(), sender in any_index(), cookie: [u8; 16], versions in any_versions(),
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        for frame in [
            ClearFrame::Cookie { receiver, cookie },
            ClearFrame::Second { receiver, sender, noise: &noise },
            ClearFrame::Third { receiver, noise: &noise },
            ClearFrame::Versions { receiver, versions },
            ClearFrame::Busy { receiver },
        ] {
            let bytes = frame.encode();
        prop_assert_eq!(ClearFrame::decode(&bytes), Ok(frame));
        }
    }

    #[test]
    fn messages_of_the_own_stream_round_trip(
        receiver in any_index(), sender in any_index(), nonce: [u8; 8], token: [u8; 16], byte: u8,
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        ids in proptest::collection::vec(any::<[u8; 4]>(), 0..AROUND_MAX),
        hints in proptest::collection::vec(any::<[u8; 4]>(), 0..HINTS_MAX),
    ) {
        let signature = [byte; 64];
        for message in [
            LinkMessage::Renew { sender, noise: &noise },
            LinkMessage::Renewing { receiver, sender, noise: &noise },
            LinkMessage::Renewed { receiver, noise: &noise },
            LinkMessage::Around(ids),
            LinkMessage::Hints { nonce, hints },
            LinkMessage::Token(token),
            LinkMessage::Proof { token, signature },
            LinkMessage::Counterproof(signature),
        ] {
            let bytes = message.encode();
            prop_assert_eq!(LinkMessage::decode(&bytes), Ok(message));
        }
    }

    #[test]
    fn acknowledgements_round_trip(
        highest: u32, received: u16, delay: u16, links: u8, bitmap: Option<u64>, next: u16, later: u32, which in 0_usize..4,
    ) {
        let mut streams = [None; CONTROL_STREAMS];
        streams[which] = Some(StreamAck { next, later });
        let ack = Acknowledgement { highest, received, delay, links, bitmap, streams };
        prop_assert_eq!(Acknowledgement::decode(&ack.encode()), Ok(ack));
    }
}

#[test]
fn cut_frames_and_wrong_fields_are_refused() {
    let beacon = [1, 1, 1, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    assert!(ClearFrame::decode(&beacon).is_ok());
    assert_eq!(
        ClearFrame::decode(&beacon[..11]),
        Err(LinkDecodeError::Short)
    );
    assert_eq!(ClearFrame::decode(&[]), Err(LinkDecodeError::Short));
    assert_eq!(
        ClearFrame::decode(&[9; 20]),
        Err(LinkDecodeError::Unknown(9))
    );
    let no_version = [1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(ClearFrame::decode(&no_version), Err(LinkDecodeError::Field));
    let clear_index = [7, 0, 0, 0, 1, 2, 3, 4];
    assert_eq!(
        ClearFrame::decode(&clear_index),
        Err(LinkDecodeError::Field)
    );
    assert_eq!(
        decode_session_header(&[0x80; 27]),
        Err(LinkDecodeError::Short)
    );
    let too_many = [&[4][..], &[0; 4 * (AROUND_MAX + 1)]].concat();
    assert_eq!(LinkMessage::decode(&too_many), Err(LinkDecodeError::Field));
    assert_eq!(LinkMessage::decode(&[6; 16]), Err(LinkDecodeError::Short));
    assert_eq!(LinkMessage::decode(&[]), Err(LinkDecodeError::Short));
}
