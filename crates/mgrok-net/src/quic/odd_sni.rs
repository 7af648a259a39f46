//! A TLS server that accepts clients whose server name is not a host name.
//!
//! rustls refuses a ClientHello whose server name is `192.0.2.1:443`, and has no option to accept it. So the name is
//! hidden from rustls: on the way there, the type of the extension that holds the name, `server_name`, is overwritten
//! with [`HIDDEN`], a type for private use that rustls ignores. But client and server must compute the same handshake
//! hash, and the client hashes the bytes that it sent. So the original type is restored where rustls hashes the hello:
//! the provider's cipher suites use a hash function that feeds `server_name` to the real one in place of [`HIDDEN`].
//!
//! **Invariant:** the hash covers the bytes that the client sent, because
//! 1. the type is changed in place, two bytes for two, so all lengths stay right;
//! 2. a hello that already has an extension [`HIDDEN`] is not changed, so there is at most one; the hash function
//!    changes that one nevertheless, and the handshake fails;
//! 3. rustls adds each message to the hash whole and unchanged, by one `update`, and only a ClientHello begins with
//!    byte 1. The two hellos around a HelloRetryRequest are added one by one, too;
//! 4. rustls hashes a hello in part only to resume a session, and resumption must not be offered.
//!
//! If a later rustls breaks 3, every handshake with an odd name fails, and so do the tests here. A mistake here lets
//! nobody in: whatever the hash is, the client compares it with its own.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{self, ExportKeyingMaterialError, Keys, UnsupportedVersion};
use quinn::crypto::{HeaderKey, KeyPair, PacketKey};
use quinn::{ConnectionId, Side};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::crypto::CryptoProvider;
use rustls::crypto::hash::{Context, Hash, HashAlgorithm, Output};
use rustls::pki_types::DnsName;
use rustls::{CipherSuiteCommon, SupportedCipherSuite, Tls13CipherSuite};

use crate::client_hello::{self, CLIENT_HELLO, MAX_HELLO, SERVER_NAME};

/// The extension type that replaces `server_name`: one for private use (RFC 8446, section 11), which rustls does not
/// know.
const HIDDEN: u16 = 0xff5e;

/// Hides the name in `hello`, one whole ClientHello, if rustls would refuse it. rustls finds any other fault of the
/// hello.
fn hide(hello: &mut [u8]) {
    let odd = match client_hello::server_name(hello) {
        Ok(Some(found)) if DnsName::try_from(found.name).is_err() => found.type_at,
        Ok(_) | Err(_) => return,
    };
    if hidden(hello).is_none()
        && let Some(kind) = hello.get_mut(odd..odd + 2)
    {
        kind.copy_from_slice(&HIDDEN.to_be_bytes());
    }
}

/// The offset in `message` of the type of a hidden name.
fn hidden(message: &[u8]) -> Option<usize> {
    if message.first() != Some(&CLIENT_HELLO) {
        return None;
    }
    let mut extensions = client_hello::extensions(message).ok()?.flatten();
    extensions
        .find(|extension| extension.kind == HIDDEN)
        .map(|extension| extension.at)
}

/// `base` with hash functions that restore hidden names. TLS 1.3 only.
pub(super) fn provider(base: CryptoProvider) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: SUITES.iter().map(SupportedCipherSuite::Tls13).collect(),
        ..base
    }
}

static HASHES: LazyLock<Vec<Revealing>> = LazyLock::new(|| {
    let hashes = real_suites().map(|suite| Revealing(suite.common.hash_provider));
    hashes.collect()
});

static SUITES: LazyLock<Vec<Tls13CipherSuite>> = LazyLock::new(|| {
    let suites = real_suites().zip(HASHES.iter());
    let suites = suites.map(|(suite, hash)| Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: suite.common.suite,
            hash_provider: hash,
            confidentiality_limit: suite.common.confidentiality_limit,
        },
        hkdf_provider: suite.hkdf_provider,
        aead_alg: suite.aead_alg,
        quic: suite.quic,
    });
    suites.collect()
});

fn real_suites() -> impl Iterator<Item = &'static Tls13CipherSuite> {
    let suites = rustls::crypto::aws_lc_rs::DEFAULT_CIPHER_SUITES.iter();
    suites.filter_map(|suite| suite.tls13())
}

/// A hash function that restores the names that were hidden from rustls.
struct Revealing(&'static dyn Hash);

impl Hash for Revealing {
    fn start(&self) -> Box<dyn Context> {
        Box::new(RevealingContext(self.0.start()))
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

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

struct RevealingContext(Box<dyn Context>);

impl Context for RevealingContext {
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
        let parts = hidden(data).and_then(|at| {
            let (before, rest) = data.split_at_checked(at)?;
            Some((before, rest.get(2..)?))
        });
        match parts {
            Some((before, after)) => {
                self.0.update(before);
                self.0.update(&SERVER_NAME.to_be_bytes());
                self.0.update(after);
            }
            None => self.0.update(data),
        }
    }
}

/// quinn's server, with odd names hidden from rustls. Its rustls must use [`provider`] and must not resume sessions.
pub(super) struct ServerConfig(Arc<QuicServerConfig>);

impl ServerConfig {
    pub(super) fn new(inner: QuicServerConfig) -> Self {
        Self(Arc::new(inner))
    }
}

impl crypto::ServerConfig for ServerConfig {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        Box::new(Session {
            inner: self.0.clone().start_session(version, params),
            hello: Vec::new(),
            past_hello: false,
        })
    }
}

struct Session {
    inner: Box<dyn crypto::Session>,
    /// The bytes of an incomplete hello: at most [`MAX_HELLO`] and a header.
    hello: Vec<u8>,
    /// Whether no further hello can follow.
    past_hello: bool,
}

/// Whether `start` is an incomplete ClientHello, which cannot be passed to rustls yet.
fn is_part_of_hello(start: &[u8]) -> bool {
    match start {
        [CLIENT_HELLO, high, middle, low, body @ ..] => {
            let len = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            len <= MAX_HELLO && body.len() < len
        }
        [] | [CLIENT_HELLO, ..] => true,
        [_, ..] => false,
    }
}

impl crypto::Session for Session {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        if self.past_hello {
            return self.inner.read_handshake(buf);
        }
        self.hello.extend_from_slice(buf);
        if is_part_of_hello(&self.hello) {
            return Ok(false);
        }
        let mut message = std::mem::take(&mut self.hello);
        // After a hello, there may be a second one, if we ask for it, and then other messages.
        self.past_hello = message.first() != Some(&CLIENT_HELLO);
        hide(&mut message);
        self.inner.read_handshake(&message)
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.inner.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

#[cfg(test)]
pub(super) mod tests;
