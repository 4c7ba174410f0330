//! Routes of the zone, epochs and searches, as they pass between two neighbours.
//!
//! One body is a row of sections, so that everything due for a neighbour leaves in one message. All numbers are
//! big-endian; a section of unknown kind is skipped by its length, so that a later version may add some.
//!
//! ```text
//! body      = section, section, …                      at most 16,384 bytes and 64 sections
//! section   = kind 1 | length 2 | content
//!
//! 1 epoch       epoch 8
//! 2 updates     (tag 8 | hops 1 | seqno 1..5 | metric 1..5)*   seqno and metric in LEB128; metric in microseconds
//! 3 retractions (tag 8)*
//! 4 requests    (tag 8 | hops 1 | seqno 1..5)*                 RFC 8966 §3.8.1.2
//! 5 digest      digest 4 | count 2
//! 6 resync      empty: "send me everything again"
//! 7 full start  empty: what follows up to "full end" is all I advertise
//! 8 full end    empty
//! 9 search      token 8 | tag 8 | hops 1 | ring 1 | flags 1  flag bit 0: only the target itself answers
//! 10 answer     token 8 | hops 1 | metric 4
//! ```

use smartmesh_types::Tag;
use thiserror::Error;

/// The most bytes one body may have; checked before anything is parsed.
pub const ROUTE_BODY_BYTES_MAX: usize = 16_384;
/// The most sections one body may have; a sender needs at most 10.
pub const ROUTE_SECTIONS_MAX: usize = 64;
/// The most bytes one update takes: tag, hops, and the longest sequence number and metric.
pub const UPDATE_BYTES_MAX: usize = 19;
/// Bytes before each section's content.
pub const SECTION_HEADER_BYTES: usize = 3;

/// The random name of one search, 8 bytes; also names the path its answer leaves behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchToken(pub [u8; 8]);

impl std::fmt::Debug for SearchToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SearchToken({:016x})", u64::from_be_bytes(self.0))
    }
}

/// One destination as the sender can reach it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// The destination.
    pub tag: Tag,
    /// The destination's sequence number (RFC 8966 §2.5), but of 32 bits in plain order, not modulo 2^16.
    pub seqno: u32,
    /// Hops from the sender to the destination; 0 if the sender is the destination.
    pub hops: u8,
    /// Cost from the sender to the destination, in microseconds.
    pub metric: u32,
}

/// Asks the destination to raise its sequence number, or anybody on the way for a route at least as new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqnoRequest {
    /// The destination.
    pub tag: Tag,
    /// The sequence number wanted.
    pub seqno: u32,
    /// Hops this request has made.
    pub hops: u8,
}

/// A search for a destination outside the zone, spreading over one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchQuery {
    /// The search's name.
    pub token: SearchToken,
    /// Whom it looks for.
    pub tag: Tag,
    /// Hops it has made.
    pub hops: u8,
    /// Hops it may make.
    pub ring: u8,
    /// Who may answer.
    pub answerer: Answerer,
}

/// Who may answer a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answerer {
    /// Anybody with a route to the target.
    AnyRoute,
    /// Only the target.
    Target,
}

/// The answer to a search, going back the way the search came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchAnswer {
    /// The search's name.
    pub token: SearchToken,
    /// Hops from the sender of this answer to the target.
    pub hops: u8,
    /// Cost from the sender of this answer to the target, in microseconds.
    pub metric: u32,
}

/// One part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteSection {
    /// The epoch of destination tags that the sender is in.
    Epoch(u64),
    /// Routes new or changed.
    Updates(Vec<Update>),
    /// Routes lost.
    Retractions(Vec<Tag>),
    /// Newer sequence numbers wanted.
    Requests(Vec<SeqnoRequest>),
    /// What the sender believes the receiver to hold from it: the XOR of a hash of each route, and their number.
    Digest {
        /// XOR of the routes' hashes.
        digest: u32,
        /// Number of routes.
        count: u16,
    },
    /// Asks for everything again.
    Resync,
    /// What follows is everything.
    FullStart,
    /// That was everything.
    FullEnd,
    /// A search to answer or to pass on.
    Search(SearchQuery),
    /// An answer to a search.
    Answer(SearchAnswer),
}

/// Why a body was refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RouteDecodeError {
    /// Longer than [`ROUTE_BODY_BYTES_MAX`].
    #[error("route message of {0} bytes, at most 16384 are taken")]
    TooLong(usize),
    /// More than [`ROUTE_SECTIONS_MAX`] sections.
    #[error("route message of more than 64 sections")]
    TooManySections,
    /// It ends within a field.
    #[error("route message ends within a field")]
    Truncated,
    /// A number of more than 32 bits, or coded in more bytes than it needs.
    #[error("not a shortest LEB128 number of 32 bits")]
    BadNumber,
    /// A section longer than its fields.
    #[error("section {0} has bytes left over")]
    Leftover(u8),
}

/// The sections of a body, and how many were of unknown kind and skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteBody {
    /// Known sections, in order.
    pub sections: Vec<RouteSection>,
    /// Sections of a later version.
    pub skipped: usize,
}

/// Bytes that this number takes in LEB128.
pub const fn number_bytes(number: u32) -> usize {
    match number {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0x0fff_ffff => 4,
        0x1000_0000..=u32::MAX => 5,
    }
}

/// Writes a body. Content beyond 65,535 bytes in one section is cut at a whole entry; senders stay far below.
pub fn encode_route_body(sections: &[RouteSection]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut content = Vec::new();
    for section in sections {
        content.clear();
        let kind = write_content(section, &mut content);
        let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend(content.iter().take(usize::from(length)));
    }
    out
}

/// Reads a body.
///
/// # Errors
/// If it is too long, truncated, or a known section does not fill its length.
pub fn decode_route_body(mut body: &[u8]) -> Result<RouteBody, RouteDecodeError> {
    if body.len() > ROUTE_BODY_BYTES_MAX {
        return Err(RouteDecodeError::TooLong(body.len()));
    }
    let mut decoded = RouteBody::default();
    let mut seen = 0_usize;
    while !body.is_empty() {
        seen = seen.saturating_add(1);
        if seen > ROUTE_SECTIONS_MAX {
            return Err(RouteDecodeError::TooManySections);
        }
        let [kind] = take(&mut body)?;
        let length = usize::from(u16::from_be_bytes(take(&mut body)?));
        let (content, rest) = body
            .split_at_checked(length)
            .ok_or(RouteDecodeError::Truncated)?;
        body = rest;
        match read_content(kind, content)? {
            Some(section) => decoded.sections.push(section),
            None => decoded.skipped = decoded.skipped.saturating_add(1),
        }
    }
    Ok(decoded)
}

fn write_content(section: &RouteSection, out: &mut Vec<u8>) -> u8 {
    match section {
        RouteSection::Epoch(epoch) => {
            out.extend_from_slice(&epoch.to_be_bytes());
            1
        }
        RouteSection::Updates(updates) => {
            updates.iter().for_each(|update| write_update(update, out));
            2
        }
        RouteSection::Retractions(tags) => {
            tags.iter().for_each(|tag| out.extend_from_slice(&tag.0));
            3
        }
        RouteSection::Requests(requests) => {
            for request in requests {
                out.extend_from_slice(&request.tag.0);
                out.push(request.hops);
                write_number(request.seqno, out);
            }
            4
        }
        RouteSection::Digest { digest, count } => {
            out.extend_from_slice(&digest.to_be_bytes());
            out.extend_from_slice(&count.to_be_bytes());
            5
        }
        RouteSection::Resync => 6,
        RouteSection::FullStart => 7,
        RouteSection::FullEnd => 8,
        RouteSection::Search(query) => {
            out.extend_from_slice(&query.token.0);
            out.extend_from_slice(&query.tag.0);
            out.extend_from_slice(&[query.hops, query.ring]);
            out.push(match query.answerer {
                Answerer::AnyRoute => 0,
                Answerer::Target => 1,
            });
            9
        }
        RouteSection::Answer(answer) => {
            out.extend_from_slice(&answer.token.0);
            out.push(answer.hops);
            out.extend_from_slice(&answer.metric.to_be_bytes());
            10
        }
    }
}

fn write_update(update: &Update, out: &mut Vec<u8>) {
    out.extend_from_slice(&update.tag.0);
    out.push(update.hops);
    write_number(update.seqno, out);
    write_number(update.metric, out);
}

fn write_number(number: u32, out: &mut Vec<u8>) {
    let mut rest = number;
    loop {
        let [.., low] = (rest & 0x7f).to_be_bytes();
        rest = rest.wrapping_shr(7);
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn read_content(kind: u8, mut content: &[u8]) -> Result<Option<RouteSection>, RouteDecodeError> {
    let bytes = &mut content;
    let section = match kind {
        1 => RouteSection::Epoch(u64::from_be_bytes(take(bytes)?)),
        2 => RouteSection::Updates(read_all(bytes, read_update)?),
        3 => RouteSection::Retractions(read_all(bytes, |bytes| take(bytes).map(Tag))?),
        4 => RouteSection::Requests(read_all(bytes, read_request)?),
        5 => RouteSection::Digest {
            digest: u32::from_be_bytes(take(bytes)?),
            count: u16::from_be_bytes(take(bytes)?),
        },
        6 => RouteSection::Resync,
        7 => RouteSection::FullStart,
        8 => RouteSection::FullEnd,
        9 => RouteSection::Search(read_query(bytes)?),
        10 => RouteSection::Answer(SearchAnswer {
            token: SearchToken(take(bytes)?),
            hops: byte(bytes)?,
            metric: u32::from_be_bytes(take(bytes)?),
        }),
        _ => return Ok(None),
    };
    if content.is_empty() {
        Ok(Some(section))
    } else {
        Err(RouteDecodeError::Leftover(kind))
    }
}

fn read_update(bytes: &mut &[u8]) -> Result<Update, RouteDecodeError> {
    Ok(Update {
        tag: Tag(take(bytes)?),
        hops: byte(bytes)?,
        seqno: read_number(bytes)?,
        metric: read_number(bytes)?,
    })
}

fn read_request(bytes: &mut &[u8]) -> Result<SeqnoRequest, RouteDecodeError> {
    Ok(SeqnoRequest {
        tag: Tag(take(bytes)?),
        hops: byte(bytes)?,
        seqno: read_number(bytes)?,
    })
}

fn read_query(bytes: &mut &[u8]) -> Result<SearchQuery, RouteDecodeError> {
    Ok(SearchQuery {
        token: SearchToken(take(bytes)?),
        tag: Tag(take(bytes)?),
        hops: byte(bytes)?,
        ring: byte(bytes)?,
        answerer: if byte(bytes)? & 1 == 0 {
            Answerer::AnyRoute
        } else {
            Answerer::Target
        },
    })
}

fn read_number(bytes: &mut &[u8]) -> Result<u32, RouteDecodeError> {
    let mut number = 0_u64;
    for shift in [0_u32, 7, 14, 21, 28] {
        let next = byte(bytes)?;
        number |= u64::from(next & 0x7f).wrapping_shl(shift);
        if next & 0x80 == 0 {
            if next == 0 && shift > 0 {
                return Err(RouteDecodeError::BadNumber);
            }
            return u32::try_from(number).map_err(|_| RouteDecodeError::BadNumber);
        }
    }
    Err(RouteDecodeError::BadNumber)
}

fn read_all<T>(
    bytes: &mut &[u8],
    read: impl Fn(&mut &[u8]) -> Result<T, RouteDecodeError>,
) -> Result<Vec<T>, RouteDecodeError> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        all.push(read(bytes)?);
    }
    Ok(all)
}

fn byte(bytes: &mut &[u8]) -> Result<u8, RouteDecodeError> {
    take::<1>(bytes).map(|[byte]| byte)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], RouteDecodeError> {
    let (head, rest) = bytes
        .split_first_chunk()
        .ok_or(RouteDecodeError::Truncated)?;
    *bytes = rest;
    Ok(*head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag() -> impl Strategy<Value = Tag> {
        any::<[u8; 8]>().prop_map(Tag)
    }

    fn update() -> impl Strategy<Value = Update> {
        (tag(), any::<u32>(), any::<u8>(), any::<u32>(), 0_u32..32).prop_map(
            |(tag, seqno, hops, metric, shift)| Update {
                tag,
                seqno: seqno >> shift,
                hops,
                metric: metric >> shift,
            },
        )
    }

    fn request() -> impl Strategy<Value = SeqnoRequest> {
        (tag(), any::<u32>(), any::<u8>()).prop_map(|(tag, seqno, hops)| SeqnoRequest {
            tag,
            seqno,
            hops,
        })
    }

    fn query() -> impl Strategy<Value = SearchQuery> {
        (
            any::<[u8; 8]>(),
            tag(),
            any::<u8>(),
            any::<u8>(),
            any::<bool>(),
        )
            .prop_map(|(token, tag, hops, ring, only)| SearchQuery {
                token: SearchToken(token),
                tag,
                hops,
                ring,
                answerer: if only {
                    Answerer::Target
                } else {
                    Answerer::AnyRoute
                },
            })
    }

    fn section() -> impl Strategy<Value = RouteSection> {
        prop_oneof![
            any::<u64>().prop_map(RouteSection::Epoch),
            prop::collection::vec(update(), 0..20).prop_map(RouteSection::Updates),
            prop::collection::vec(tag(), 0..20).prop_map(RouteSection::Retractions),
            prop::collection::vec(request(), 0..20).prop_map(RouteSection::Requests),
            (any::<u32>(), any::<u16>())
                .prop_map(|(digest, count)| RouteSection::Digest { digest, count }),
            Just(RouteSection::Resync),
            Just(RouteSection::FullStart),
            Just(RouteSection::FullEnd),
            query().prop_map(RouteSection::Search),
            (any::<[u8; 8]>(), any::<u8>(), any::<u32>()).prop_map(|(token, hops, metric)| {
                RouteSection::Answer(SearchAnswer {
                    token: SearchToken(token),
                    hops,
                    metric,
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn sections_round_trip(sections in prop::collection::vec(section(), 0..12)) {
            let decoded = decode_route_body(&encode_route_body(&sections)).unwrap();
            prop_assert_eq!(decoded.sections, sections);
            prop_assert_eq!(decoded.skipped, 0);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_what_is_read_can_be_written(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            if let Ok(body) = decode_route_body(&bytes) {
                let again = decode_route_body(&encode_route_body(&body.sections)).unwrap();
                prop_assert_eq!(again.sections, body.sections);
            }
        }

        #[test]
        fn an_update_takes_the_bytes_it_says(update in update()) {
            let body = encode_route_body(&[RouteSection::Updates(vec![update])]);
            let bytes = 9_usize
                .saturating_add(number_bytes(update.seqno))
                .saturating_add(number_bytes(update.metric));
            prop_assert_eq!(body.len(), bytes.saturating_add(SECTION_HEADER_BYTES));
            prop_assert!(bytes <= UPDATE_BYTES_MAX);
        }
    }

    #[test]
    fn bad_bodies_are_refused_with_the_reason() {
        let check = |bytes: &[u8], error| assert_eq!(decode_route_body(bytes), Err(error));
        check(&[1, 0, 8, 0], RouteDecodeError::Truncated);
        check(&[6, 0, 1, 0], RouteDecodeError::Leftover(6));
        check(&[0; 16_385], RouteDecodeError::TooLong(16_385));
        check(&[6, 0, 0].repeat(65), RouteDecodeError::TooManySections);
        let mut long = vec![2, 0, 15];
        long.extend([0; 10]);
        long.extend([0xff, 0xff, 0xff, 0xff, 0x7f]);
        check(&long, RouteDecodeError::BadNumber);
    }

    #[test]
    fn a_section_of_a_later_version_is_skipped() {
        let decoded = decode_route_body(&[200, 0, 2, 9, 9, 6, 0, 0]).unwrap();
        assert_eq!(decoded.sections, [RouteSection::Resync]);
        assert_eq!(decoded.skipped, 1);
    }
}
