//! How quinn-proto is set up: limits, seeded randomness, time from outside, and flows dressed as socket addresses.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::crypto::{AeadKey, CryptoError, HandshakeTokenKey, HmacKey};
use quinn_proto::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout,
    MtuDiscoveryConfig, ServerConfig, TimeSource, TransportConfig, VarInt,
};
use smartmesh_crypto::{Mac, Rng, Seed, TlsIdentity, verify_mac};
use smartmesh_types::{FlowId, Instant, NodeKey};

use crate::interface::SessionConfig;

/// The smallest packet size that QUIC may rely on (RFC 9000 §14); flows carry it on any path by fragmenting.
pub(crate) const PACKET_BYTES_MIN: u16 = 1_200;
/// The largest packet that is tried: flows fragment up to 16 KiB, and nothing is gained beyond.
pub(crate) const PACKET_BYTES_MAX: u16 = 16_384;
/// Bytes of our connection ids: enough that guessing one is hopeless, few enough not to weigh.
const CONNECTION_ID_BYTES: usize = 8;

/// Converts between our clock and the standard library's, whose instants quinn-proto speaks in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
    start: Instant,
}

impl Clock {
    pub(crate) fn new(origin: std::time::Instant, start: Instant) -> Self {
        Self { origin, start }
    }

    /// Our moment in the standard library's terms; moments before the start count as the start.
    pub(crate) fn to_std(self, instant: Instant) -> std::time::Instant {
        let since = instant.since(self.start);
        self.origin.checked_add(since).unwrap_or(self.origin)
    }

    /// Rounded up to the next microsecond, so that a timer asked for is due when it comes.
    pub(crate) fn to_ours(self, instant: std::time::Instant) -> Instant {
        let since = instant.saturating_duration_since(self.origin);
        self.start + since.saturating_add(Duration::from_nanos(999))
    }
}

/// The address under which quinn-proto knows a flow; never seen outside this crate.
pub(crate) fn address_of_flow(flow: FlowId) -> SocketAddr {
    let ip = Ipv6Addr::from((0xfd_u128 << 120) | u128::from(flow.0));
    SocketAddr::from((ip, 1))
}

/// The flow behind an address made by [`address_of_flow`].
pub(crate) fn flow_of_address(address: SocketAddr) -> FlowId {
    let bits = match address {
        SocketAddr::V6(v6) => v6.ip().to_bits(),
        SocketAddr::V4(_) => 0,
    };
    FlowId(u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0))
}

/// Everything quinn-proto needs that doesn't depend on the peer.
pub(crate) struct Quic {
    tls: TlsIdentity,
    limits: SessionConfig,
    ids: Arc<Mutex<Rng>>,
}

impl Quic {
    pub(crate) fn new(tls: TlsIdentity, limits: SessionConfig, seed: &Seed) -> Self {
        let ids = Arc::new(Mutex::new(seed.split("connection ids").rng()));
        Self { tls, limits, ids }
    }

    pub(crate) fn endpoint(&self, seed: &Seed) -> EndpointConfig {
        let reset = ResetKey(Mac::new(&seed.split("stateless reset").rng().bytes::<32>()));
        let mut config = EndpointConfig::new(Arc::new(reset));
        let ids = Arc::clone(&self.ids);
        config.cid_generator(move || Box::new(SeededIds(Arc::clone(&ids))));
        config.rng_seed(Some(seed.split("quinn-proto").rng().bytes()));
        config
            .max_udp_payload_size(PACKET_BYTES_MAX)
            .expect("16,384 is within QUIC's limits");
        config
    }

    pub(crate) fn client(&self, peer: NodeKey, mtu: usize, bits_per_second: u64) -> ClientConfig {
        let tls = QuicClientConfig::try_from(self.tls.client(peer))
            .expect("the provider has AES-128-GCM, which QUIC's first packets use");
        let mut config = ClientConfig::new(Arc::new(tls));
        let ids = Arc::clone(&self.ids);
        config.initial_dst_cid_provider(Arc::new(move || next_id(&ids)));
        config.token_store(Arc::new(quinn_proto::NoneTokenStore));
        config.transport_config(Arc::new(self.transport(mtu, bits_per_second)));
        config
    }

    pub(crate) fn server(&self, peer: NodeKey, mtu: usize, bits_per_second: u64) -> ServerConfig {
        let tls = QuicServerConfig::try_from(self.tls.server(peer))
            .expect("the provider has AES-128-GCM, which QUIC's first packets use");
        let mut config = ServerConfig::new(Arc::new(tls), Arc::new(NoTokens));
        config.migration(false);
        config.time_source(Arc::new(NoClock));
        config.validation_token.sent(0);
        config.transport_config(Arc::new(self.transport(mtu, bits_per_second)));
        config
    }

    fn transport(&self, mtu: usize, bits_per_second: u64) -> TransportConfig {
        let limits = &self.limits;
        let upper = u16::try_from(mtu)
            .unwrap_or(PACKET_BYTES_MAX)
            .clamp(PACKET_BYTES_MIN, PACKET_BYTES_MAX);
        let mut discovery = MtuDiscoveryConfig::default();
        discovery.upper_bound(upper);
        let idle = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let mut config = TransportConfig::default();
        config
            .max_concurrent_bidi_streams(VarInt::from_u32(limits.streams_max))
            .max_concurrent_uni_streams(VarInt::from_u32(limits.streams_max))
            .stream_receive_window(VarInt::from_u32(limits.stream_window_bytes))
            .receive_window(VarInt::from_u32(limits.session_window_bytes))
            .send_window(u64::from(limits.session_window_bytes))
            .datagram_receive_buffer_size(usize::try_from(limits.datagram_buffer_bytes).ok())
            .datagram_send_buffer_size(
                usize::try_from(limits.datagram_buffer_bytes).unwrap_or(usize::MAX),
            )
            .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(idle))))
            .keep_alive_interval(None)
            .initial_rtt(first_rtt(bits_per_second))
            .initial_mtu(PACKET_BYTES_MIN)
            .min_mtu(PACKET_BYTES_MIN)
            .mtu_discovery_config(Some(discovery))
            .allow_spin(false);
        config
    }
}

/// What to believe of the round trip before it is measured: the airtime of six full packets, within 0.1 to 3 seconds; RFC 9002's
/// own 333 ms would send everything twice on a path of 20 kbit/s, whose packets last half a second.
fn first_rtt(bits_per_second: u64) -> Duration {
    let bits = u64::from(PACKET_BYTES_MIN).saturating_mul(8 * 6);
    let millis = bits
        .saturating_mul(1_000)
        .checked_div(bits_per_second)
        .unwrap_or(u64::MAX);
    Duration::from_millis(millis.clamp(100, 3_000))
}

fn next_id(ids: &Mutex<Rng>) -> ConnectionId {
    let mut rng = ids.lock().unwrap_or_else(PoisonError::into_inner);
    ConnectionId::new(&rng.bytes::<CONNECTION_ID_BYTES>())
}

/// Connection ids from the core's seed; the lock is there because quinn-proto wants its generator shareable, and is never
/// contended.
struct SeededIds(Arc<Mutex<Rng>>);

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        next_id(&self.0)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Authenticates stateless resets (RFC 9000 §10.3).
struct ResetKey(Mac);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let signature = self.0.sign(&[data]);
        for (out, byte) in signature_out.iter_mut().zip(signature) {
            *out = byte;
        }
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        if verify_mac(&self.0.sign(&[data]), signature) {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// Address tokens are neither given nor taken: the flow below has proven the peer's address.
struct NoTokens;

impl HandshakeTokenKey for NoTokens {
    fn aead_from_hkdf(&self, _random_bytes: &[u8]) -> Box<dyn AeadKey> {
        Box::new(Self)
    }
}

impl AeadKey for NoTokens {
    fn seal(&self, _data: &mut Vec<u8>, _additional_data: &[u8]) -> Result<(), CryptoError> {
        Err(CryptoError)
    }

    fn open<'a>(
        &self,
        _data: &'a mut [u8],
        _additional_data: &[u8],
    ) -> Result<&'a mut [u8], CryptoError> {
        Err(CryptoError)
    }
}

/// Wall time is asked for with tokens only, and there are none.
struct NoClock;

impl TimeSource for NoClock {
    fn now(&self) -> std::time::SystemTime {
        UNIX_EPOCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_survives_the_way_through_a_socket_address() {
        for id in [0, 1, u64::MAX] {
            assert_eq!(flow_of_address(address_of_flow(FlowId(id))), FlowId(id));
        }
    }

    #[test]
    fn a_timer_converted_is_never_early() {
        #[expect(clippy::disallowed_methods, reason = "any moment will do as origin")]
        let origin = std::time::Instant::now();
        let clock = Clock::new(origin, Instant::from_millis(5));
        for nanos in [0, 1, 999, 1_000, 1_001] {
            let due = origin + Duration::from_nanos(nanos);
            assert!(clock.to_std(clock.to_ours(due)) >= due);
        }
    }

    #[test]
    fn thin_paths_get_patience() {
        assert_eq!(first_rtt(20_000), Duration::from_millis(2_880));
        assert_eq!(first_rtt(0), Duration::from_millis(3_000));
        assert_eq!(first_rtt(1_000_000_000), Duration::from_millis(100));
    }
}
