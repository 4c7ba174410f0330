//! TLS 1.3 under QUIC: both ends show the Ed25519 key of their node as a raw public key (RFC 7250), and each end accepts
//! exactly one key, the one that the flow below has authenticated already.
//!
//! There are no certificates, names, tickets or early data. The key signs TLS's CertificateVerify, whose bytes begin with 64
//! spaces and TLS's own context (RFC 8446 §4.4.3), so such a signature can't pass for one made by `Identity::sign`.
//! rustls draws its key shares from aws-lc-rs itself: the only randomness of this crate that no seed decides.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error,
    PeerMisbehaved, ServerConfig, SignatureScheme,
};
use smartmesh_types::NodeKey;
use zeroize::Zeroizing;

use crate::Identity;

/// The application protocol named in the handshake (RFC 7301); another version of ours will have another name.
pub const TLS_PROTOCOL: &[u8] = b"smartmesh/1";

/// What DER puts before an Ed25519 public key in a SubjectPublicKeyInfo (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// What DER puts before an Ed25519 seed in a PKCS #8 key (RFC 8410 §7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// This node's side of every TLS handshake; made once, gives a configuration for each peer.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    key: Arc<CertifiedKey>,
    provider: Arc<CryptoProvider>,
}

impl TlsIdentity {
    /// Prepares the node's key for TLS.
    ///
    /// # Panics
    /// Never: any 32 bytes are an Ed25519 seed.
    pub fn new(identity: &Identity) -> Self {
        let mut pkcs8 = Zeroizing::new(Vec::with_capacity(48));
        pkcs8.extend_from_slice(&PKCS8_PREFIX);
        pkcs8.extend_from_slice(identity.secret());
        let signing = aws_lc_rs::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8.as_slice()))
            .expect("a fixed prefix and 32 bytes are a PKCS #8 Ed25519 key");
        let shown = CertificateDer::from(public_key_info(&identity.key()));
        let provider = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        Self {
            key: Arc::new(CertifiedKey::new(vec![shown], signing)),
            provider: Arc::new(provider),
        }
    }

    /// The configuration for a session that this node starts with this peer and nobody else.
    ///
    /// # Panics
    /// Never: the provider has TLS 1.3.
    pub fn client(&self, peer: NodeKey) -> ClientConfig {
        let verifier = Arc::new(ExactKey::new(peer, &self.provider));
        let resolver = AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.key));
        let mut config =
            ClientConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(NoClock))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("the provider has TLS 1.3 suites")
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![TLS_PROTOCOL.to_vec()];
        config.enable_sni = false;
        config.resumption = Resumption::disabled();
        config
    }

    /// The configuration for a session that this peer and nobody else starts with this node.
    ///
    /// # Panics
    /// Never: the provider has TLS 1.3.
    pub fn server(&self, peer: NodeKey) -> ServerConfig {
        let verifier = Arc::new(ExactKey::new(peer, &self.provider));
        let resolver = AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.key));
        let mut config =
            ServerConfig::builder_with_details(Arc::clone(&self.provider), Arc::new(NoClock))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .expect("the provider has TLS 1.3 suites")
                .with_client_cert_verifier(verifier)
                .with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![TLS_PROTOCOL.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }
}

/// The DER SubjectPublicKeyInfo of a node's key, 44 bytes (RFC 8410 §4).
fn public_key_info(key: &NodeKey) -> Vec<u8> {
    let mut info = Vec::with_capacity(44);
    info.extend_from_slice(&SPKI_PREFIX);
    info.extend_from_slice(&key.0);
    info
}

/// Raw keys have no dates, tickets are off: nothing asks for the time.
#[derive(Debug)]
struct NoClock;

impl TimeProvider for NoClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Accepts one key and no other.
#[derive(Debug)]
struct ExactKey {
    expected: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ExactKey {
    fn new(peer: NodeKey, provider: &Arc<CryptoProvider>) -> Self {
        Self {
            expected: public_key_info(&peer),
            provider: Arc::clone(provider),
        }
    }

    fn verify_key(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        if shown.as_ref() == self.expected {
            Ok(())
        } else {
            Err(Error::InvalidCertificate(
                CertificateError::ApplicationVerificationFailure,
            ))
        }
    }

    fn verify_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature_with_raw_key(
            message,
            &SubjectPublicKeyInfoDer::from(shown.as_ref()),
            signed,
            &self.provider.signature_verification_algorithms,
        )
    }
}

impl ServerCertVerifier for ExactKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verify_key(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for ExactKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify_key(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use rustls::quic::{ClientConnection, Connection, ServerConnection, Version};

    use super::*;

    fn identity(byte: u8) -> Identity {
        Identity::from_secret([byte; 32])
    }

    /// Runs a handshake: the client expects `server_key`, the server expects `client_key`.
    fn shake(server_key: NodeKey, client_key: NodeKey) -> Result<(), Error> {
        let (alice, bob) = (
            TlsIdentity::new(&identity(1)),
            TlsIdentity::new(&identity(2)),
        );
        let client = ClientConnection::new(
            Arc::new(alice.client(server_key)),
            Version::V1,
            "mesh".try_into().unwrap(),
            vec![],
        )?;
        let server = ServerConnection::new(Arc::new(bob.server(client_key)), Version::V1, vec![])?;
        let (mut client, mut server) = (Connection::Client(client), Connection::Server(server));
        for _ in 0..8 {
            for (from, to) in [(0, 1), (1, 0)] {
                let ends = [&mut client, &mut server];
                // One level of keys after the other, as QUIC does it.
                loop {
                    let mut bytes = Vec::new();
                    let change = ends[from].write_hs(&mut bytes);
                    if bytes.is_empty() && change.is_none() {
                        break;
                    }
                    ends[to].read_hs(&bytes)?;
                }
            }
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        assert_eq!(client.alpn_protocol(), Some(TLS_PROTOCOL));
        Ok(())
    }

    #[test]
    fn two_nodes_that_expect_each_other_agree() {
        assert_eq!(shake(identity(2).key(), identity(1).key()), Ok(()));
    }

    #[test]
    fn another_key_on_either_side_is_refused() {
        let refused = Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ));
        assert_eq!(shake(identity(3).key(), identity(1).key()), refused);
        assert_eq!(shake(identity(2).key(), identity(3).key()), refused);
    }
}
