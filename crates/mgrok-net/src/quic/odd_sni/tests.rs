//! A client that sends a server name that is not a host name. rustls has no option for that, so the client uses the
//! same trick: it sends and hashes another name than rustls knows.

use proptest::collection::vec;
use proptest::prelude::*;
use quinn::ConnectError;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::crypto::{ClientConfig as _, ServerConfig as _};
use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::kx_group;

use super::*;
use crate::tls::{self, AnyCertificate, ServerTlsOptions};

/// The name that rustls believes to send.
pub(in crate::quic) const KNOWN: &str = "server-name.test";
/// The name that the client really sends, of the same length.
const ODD: &str = "192.0.2.100:4433";

const VERSION: u32 = 1;

fn replace(bytes: &mut [u8], old: &str, new: &str) {
    assert_eq!(old.len(), new.len());
    let found = bytes
        .windows(old.len())
        .position(|window| window == old.as_bytes());
    if let Some(at) = found {
        bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    }
}

/// A hash function that replaces the known name by the odd one.
struct Planting(&'static dyn Hash);

impl Hash for Planting {
    fn start(&self) -> Box<dyn Context> {
        Box::new(PlantingContext(self.0.start()))
    }

    fn hash(&self, data: &[u8]) -> Output {
        self.0.hash(data)
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn algorithm(&self) -> HashAlgorithm {
        self.0.algorithm()
    }
}

struct PlantingContext(Box<dyn Context>);

impl Context for PlantingContext {
    fn fork_finish(&self) -> Output {
        self.0.fork_finish()
    }

    fn fork(&self) -> Box<dyn Context> {
        Box::new(Self(self.0.fork()))
    }

    fn finish(self: Box<Self>) -> Output {
        self.0.finish()
    }

    fn update(&mut self, data: &[u8]) {
        let mut data = data.to_vec();
        replace(&mut data, KNOWN, ODD);
        self.0.update(&data);
    }
}

/// A client whose server name is odd.
pub(in crate::quic) struct OddClient(Arc<QuicClientConfig>);

impl OddClient {
    pub(in crate::quic) fn new(groups: &[&'static dyn SupportedKxGroup]) -> Self {
        let suites = real_suites().map(|suite| {
            let hash = Box::leak(Box::new(Planting(suite.common.hash_provider)));
            let suite = Tls13CipherSuite {
                common: CipherSuiteCommon {
                    suite: suite.common.suite,
                    hash_provider: hash,
                    confidentiality_limit: suite.common.confidentiality_limit,
                },
                ..*suite
            };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))
        });
        let mut provider = CryptoProvider {
            cipher_suites: suites.collect(),
            ..(*tls::provider()).clone()
        };
        if !groups.is_empty() {
            provider.kx_groups = groups.to_vec();
        }
        Self(Arc::new(plain_client(provider)))
    }
}

fn plain_client(provider: CryptoProvider) -> QuicClientConfig {
    let provider = Arc::new(provider);
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(AnyCertificate::new(&provider))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"frp".to_vec()];
    config.try_into().unwrap()
}

impl crypto::ClientConfig for OddClient {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        _server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        let inner = self.0.clone().start_session(version, KNOWN, params)?;
        Ok(Box::new(OddSession(inner)))
    }
}

struct OddSession(Box<dyn crypto::Session>);

impl crypto::Session for OddSession {
    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        let start = buf.len();
        let keys = self.0.write_handshake(buf);
        replace(&mut buf[start..], KNOWN, ODD);
        keys
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.0.read_handshake(buf)
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.0.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.0.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.0.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.0.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.0.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.0.transport_parameters()
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.0.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.0.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.0.export_keying_material(output, label, context)
    }
}

fn server_config(provider: CryptoProvider) -> QuicServerConfig {
    let tls = ServerTlsOptions::default();
    let mut config = tls::server_config(&tls, Arc::new(provider)).unwrap();
    config.alpn_protocols = vec![b"frp".to_vec()];
    config.send_tls13_tickets = 0;
    config.try_into().unwrap()
}

fn server(groups: &[&'static dyn SupportedKxGroup]) -> Box<dyn crypto::Session> {
    let mut provider = provider((*tls::provider()).clone());
    if !groups.is_empty() {
        provider.kx_groups = groups.to_vec();
    }
    Arc::new(ServerConfig::new(server_config(provider))).start_session(VERSION, &params())
}

fn client(groups: &[&'static dyn SupportedKxGroup]) -> Box<dyn crypto::Session> {
    let client = Arc::new(OddClient::new(groups));
    client.start_session(VERSION, "any", &params()).unwrap()
}

fn ordinary_client() -> Box<dyn crypto::Session> {
    Arc::new(plain_client((*tls::provider()).clone()))
        .start_session(VERSION, KNOWN, &params())
        .unwrap()
}

fn params() -> TransportParameters {
    TransportParameters::read(Side::Client, &mut &[][..]).unwrap()
}

/// All messages that `session` has to send, one part per key.
fn flight(session: &mut dyn crypto::Session) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    loop {
        let mut part = Vec::new();
        let keys = session.write_handshake(&mut part);
        if !part.is_empty() {
            parts.push(part);
        }
        if keys.is_none() {
            return parts;
        }
    }
}

/// The first flight of a client with an odd server name.
fn odd_hello() -> Vec<u8> {
    flight(&mut *client(&[])).concat()
}

/// Carries all messages between the ends in pieces of `piece` bytes. Returns the number of flights.
fn shake_hands(
    client: &mut dyn crypto::Session,
    server: &mut dyn crypto::Session,
    piece: usize,
) -> Result<usize, TransportError> {
    for flights in 0.. {
        let (from, to) = match flights % 2 {
            0 => (&mut *client, &mut *server),
            _ => (&mut *server, &mut *client),
        };
        let parts = flight(from);
        if parts.is_empty() {
            assert!(!client.is_handshaking() && !server.is_handshaking());
            return Ok(flights);
        }
        for piece in parts.iter().flat_map(|part| part.chunks(piece)) {
            to.read_handshake(piece)?;
        }
    }
    unreachable!()
}

/// Checks that the handshake succeeds and both ends have the same keys.
#[track_caller]
fn check_shakes(mut client: Box<dyn crypto::Session>, mut server: Box<dyn crypto::Session>) {
    shake_hands(&mut *client, &mut *server, usize::MAX).unwrap();
    let key = |session: &dyn crypto::Session| {
        let mut key = [0; 32];
        session
            .export_keying_material(&mut key, b"test", b"")
            .unwrap();
        key
    };
    assert_eq!(key(&*client), key(&*server));
}

#[test]
fn a_client_may_name_an_address_and_a_port() {
    check_shakes(client(&[]), server(&[]));
}

#[test]
fn a_hello_may_come_in_any_pieces() {
    for piece in [1, 2, 3, 7, 100, 1000] {
        let flights = shake_hands(&mut *client(&[]), &mut *server(&[]), piece).unwrap();
        assert_eq!(flights, 3, "in pieces of {piece}");
    }
}

#[test]
fn rustls_alone_refuses_such_a_client() {
    let config = Arc::new(server_config((*tls::provider()).clone()));
    let mut server = config.start_session(VERSION, &params());
    let error = shake_hands(&mut *client(&[]), &mut *server, usize::MAX).unwrap_err();
    assert!(
        error.reason.contains("ServerNameMustContainOneHostName"),
        "{error}"
    );
}

#[test]
fn without_the_right_hash_the_handshake_fails() {
    // The name is hidden from rustls, but rustls hashes the changed bytes.
    let config = ServerConfig::new(server_config((*tls::provider()).clone()));
    let mut server = Arc::new(config).start_session(VERSION, &params());
    shake_hands(&mut *client(&[]), &mut *server, usize::MAX).unwrap_err();
}

#[test]
fn a_client_that_must_try_again_names_it_twice() {
    let groups = [kx_group::SECP256R1, kx_group::X25519];
    let server_groups = [kx_group::X25519];
    let flights = |client: &mut dyn crypto::Session, piece| {
        shake_hands(client, &mut *server(&server_groups), piece).unwrap()
    };
    for piece in [1, 100, usize::MAX] {
        // Five flights: hello, retry, hello, answer, finished.
        assert_eq!(flights(&mut *client(&groups), piece), 5);
    }
    check_shakes(client(&groups), server(&server_groups));
}

#[test]
fn a_proper_name_is_left_alone() {
    let mut server = server(&[]);
    shake_hands(&mut *ordinary_client(), &mut *server, usize::MAX).unwrap();
    let data = server.handshake_data().unwrap();
    let data = data.downcast_ref::<crypto::rustls::HandshakeData>();
    assert_eq!(data.unwrap().server_name.as_deref(), Some(KNOWN));
}

#[test]
fn hiding_changes_two_bytes_and_the_hash_none() {
    let original = odd_hello();
    let mut changed = original.clone();
    hide(&mut changed);
    let at = hidden(&changed).unwrap();
    assert_eq!(hidden(&original), None);
    assert_eq!(original[at..at + 2], [0, 0]);
    assert!(original[..at] == changed[..at] && original[at + 2..] == changed[at + 2..]);

    for hash in HASHES.iter() {
        let mut context = hash.start();
        context.update(&changed);
        let mut forked = context.fork();
        context.update(b"\x02 more");
        forked.update(b"\x02 more");
        let real = hash.0.hash(&[&original[..], b"\x02 more"].concat());
        assert_eq!(context.fork_finish().as_ref(), real.as_ref());
        assert_eq!(context.finish().as_ref(), real.as_ref());
        assert_eq!(forked.finish().as_ref(), real.as_ref());
    }
}

#[test]
fn a_hello_that_hides_something_itself_is_left_alone() {
    let mut hello = odd_hello();
    hide(&mut hello);
    // Appends another list of names after the hidden one.
    let list = [0, 0, 0, 6, 0, 4, 0, 0, 1, b':'];
    hello.extend(list);
    let added = u32::try_from(list.len()).unwrap();
    let len = u32::from_be_bytes([0, hello[1], hello[2], hello[3]]) + added;
    hello[1..4].copy_from_slice(&len.to_be_bytes()[1..]);
    // After the header: version, random, an empty session id, the suites and one compression method.
    let at = 4 + 34 + 1;
    let suites = usize::from(u16::from_be_bytes([hello[at], hello[at + 1]]));
    let at = at + 2 + suites + 2;
    let extensions = u16::from_be_bytes([hello[at], hello[at + 1]]) + added as u16;
    hello[at..at + 2].copy_from_slice(&extensions.to_be_bytes());
    assert_eq!(
        client_hello::server_name(&hello).unwrap().unwrap().name,
        ":"
    );

    let before = hello.clone();
    hide(&mut hello);
    assert!(hello == before);
}

#[test]
fn no_more_is_kept_than_a_hello() {
    assert!(is_part_of_hello(&[]));
    assert!(is_part_of_hello(&[CLIENT_HELLO, 1, 0]));
    assert!(is_part_of_hello(&[CLIENT_HELLO, 0, 0, 2, 3]));
    assert!(!is_part_of_hello(&[CLIENT_HELLO, 0, 0, 2, 3, 4]));
    assert!(!is_part_of_hello(&[CLIENT_HELLO, 1, 0, 1]));
    assert!(!is_part_of_hello(&[11]));
}

proptest! {
    #[test]
    fn nothing_that_arrives_panics(mut bytes in vec(any::<u8>(), 0..200), piece in 1_usize..100) {
        bytes.insert(0, CLIENT_HELLO);
        hidden(&bytes);
        let mut server = server(&[]);
        for piece in bytes.chunks(piece) {
            if server.read_handshake(piece).is_err() {
                break;
            }
        }
        hide(&mut bytes);
    }
}
