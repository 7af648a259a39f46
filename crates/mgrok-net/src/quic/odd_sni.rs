//! A TLS server that takes clients which call it by something that is no host name.
//!
//! rustls refuses a ClientHello whose server name is `192.0.2.1:443`, and has no option for it. So the
//! name is hidden from it: on its way to rustls, the type of the extension that holds it, `server_name`,
//! is overwritten with [`HIDDEN`], a type for private use, which rustls passes over. The client, though,
//! hashes what it sent, and both hashes must be equal. So where rustls hashes the hello, the type is
//! put back: the cipher suites are those of the provider, with a hash function in them that feeds
//! `server_name` to the real one in place of [`HIDDEN`].
//!
//! **Invariant:** what is hashed is what the client sent. It holds because
//! 1. the type is changed in place, two bytes for two, so that all lengths stay right;
//! 2. a hello that has an extension [`HIDDEN`] of its own is not changed, so that there is at most one;
//!    it is then changed in the hash alone, and the handshake fails;
//! 3. rustls adds each message to the hash whole and as it came, by one `update`, and of all messages only
//!    a ClientHello begins with byte 1. So do both hellos around a HelloRetryRequest, each in its turn;
//! 4. a hello is hashed otherwise, cut off, only to resume a session, which must not be offered.
//!
//! Should a later rustls break 3, no handshake with an odd name succeeds and the tests here fail. Nobody
//! is let in by a mistake here: whatever the hash, the client compares it with its own.

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

/// The type of extension that stands for `server_name`: one for private use (RFC 8446, section 11), which rustls
/// does not know.
const HIDDEN: u16 = 0xff5e;

/// Hides the name in `hello`, one whole ClientHello, if it is odd. Whatever else is wrong with the
/// hello is left for rustls to find.
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

/// Where in `message` the type of a hidden name is.
fn hidden(message: &[u8]) -> Option<usize> {
    if message.first() != Some(&CLIENT_HELLO) {
        return None;
    }
    let mut extensions = client_hello::extensions(message).ok()?.flatten();
    extensions
        .find(|extension| extension.kind == HIDDEN)
        .map(|extension| extension.at)
}

/// `base` with hash functions that see hidden names. TLS 1.3 only.
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

/// A hash function that sees the names that rustls does not.
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

/// quinn's server, which hides odd names from rustls. Its rustls must have been given [`provider`] and must
/// not resume sessions.
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
    /// What has arrived of a hello that is not complete: at most [`MAX_HELLO`] and a header.
    hello: Vec<u8>,
    /// No hello will follow.
    past_hello: bool,
}

/// Whether `start` is the beginning of a ClientHello that rustls cannot be given yet.
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
        // A hello may be followed by a second one, if we ask for it, and then by other messages.
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
