//! How a v2 control connection begins: the client says what it can do, the server chooses, and both derive keys from what was said.
//!
//! ```text
//! client                                    server
//! Offer::new, Offer::encode  ── hello ──▶   answer
//! (Login follows at once)    ◀── hello ──   Answer::encode
//! Offer::agree                              Answer::outcome
//! Agreement::keys, once LoginResp is there  Agreement::keys, once LoginResp is on its way
//! ```
//!
//! The hellos travel in clear, and nothing about them can be trusted until a record could be opened with the keys: they depend on
//! each byte of both hellos, and on the token.

mod json;

use aws_lc_rs::rand;
use bytes::{Bytes, BytesMut};

pub use self::json::{
    Bootstrap, Capabilities, ClientHello, CryptoCapabilities, MessageCapabilities, Selected,
    SelectedCrypto, SelectedMessage, ServerHello,
};
use crate::{
    auth::Secret,
    go_json,
    record::{Algorithm, RecordKeys},
    v2::{FrameType, MAX_PAYLOAD_LEN, header},
};

/// Bytes that each end adds at random.
pub const RANDOM_LEN: usize = 32;

/// The one way to write messages.
const CODEC: &str = "json";

/// Something that two ends do only if both say in their hellos that they can.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Extension(&'static str);

impl Extension {
    /// The server keeps users and visitors out of a proxy as its `mgrok_allow_from`, `mgrok_deny_from`, `mgrok_connections_per_source` and
    /// `mgrok_rate_per_source` say.
    pub const ACCESS: Self = Self::new("access");
    /// Members of a group share users as their `mgrok_strategy` and `mgrok_weight` say.
    pub const BALANCING: Self = Self::new("balancing");
    /// A work connection may be spread over several connections of its session. Needs [`LINKS`](Self::LINKS) and
    /// [`HALF_CLOSE`](Self::HALF_CLOSE).
    pub const BOND: Self = Self::new("bond");
    /// Datagrams on work and visitor connections have frp's binary codec ([`udp::binary_v1`](crate::udp)). This one is frp's, and has a
    /// place of its own in the hellos; all others are between two ends of mgrok.
    // frp: since 0.71.0 (pkg/proto/wire/wire.go#UDPPacketCodecBinary)
    pub const BINARY_PACKETS: Self = Self::new("binary-v1");
    /// Datagrams on work and visitor connections have a framing of mgrok's own.
    pub const DATAGRAMS: Self = Self::new("datagrams");
    /// The end of one direction of a connection is carried on, and leaves the other be.
    pub const HALF_CLOSE: Self = Self::new("half-close");
    /// Silence means death sooner than frp's keys say: see [`liveness`](crate::liveness). Not on offer where the operator has set such
    /// a key.
    pub const LIVENESS: Self = Self::new("liveness");
    /// A login that takes the place of no session, but adds its connection to the live one of its run id. Only in hellos of such logins,
    /// and only if that session agreed on [`LINKS`](Self::LINKS).
    pub const LINK: Self = Self::new("link");
    /// A session may have more connections than its first, each of which begins with a login with [`LINK`](Self::LINK).
    pub const LINKS: Self = Self::new("links");
    /// A login that takes the place of a live session by another transport: the users of that stay where they are until they end.
    /// All else of it ends as if it were replaced, but its connection is left to the client to close.
    /// Only in hellos of such logins, and only if the live session agreed on [`CAN_MIGRATE`](Self::CAN_MIGRATE).
    pub const MIGRATE: Self = Self::new("move");
    /// Sessions can be moved by a login with [`MIGRATE`](Self::MIGRATE).
    pub const CAN_MIGRATE: Self = Self::new("moves");
    /// The client proves ahead of the answer to its login that it knows the token, and what follows the hellos is sealed. Only in hellos
    /// of logins with a run id.
    pub const PROOF: Self = Self::new("proof");
    /// Datagrams of a work connection that is a stream of QUIC may travel as datagrams of that QUIC connection. Needs
    /// [`DATAGRAMS`](Self::DATAGRAMS).
    pub const QUIC_DATAGRAMS: Self = Self::new("quic-datagrams");
    /// The server opens work connections itself, as streams of a multiplexed connection that begin with `StartWorkConn`.
    pub const SERVER_STREAMS: Self = Self::new("server-streams");

    /// An extension with a name of its own, which travels in every hello. What it means must never change.
    pub const fn new(name: &'static str) -> Self {
        Self(name)
    }

    /// What hellos call it.
    pub fn name(self) -> &'static str {
        self.0
    }

    fn is_packet_codec(self) -> bool {
        self == Self::BINARY_PACKETS
    }
}

/// What both ends will do.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// How the control connection is encrypted.
    pub algorithm: Algorithm,
    /// What both ends have.
    pub extensions: Vec<Extension>,
    client_hello: Bytes,
    server_hello: Bytes,
}

impl Agreement {
    /// The keys of the control connection, given the token of the operator.
    pub fn keys(&self, token: &Secret) -> RecordKeys {
        RecordKeys::derive(
            self.algorithm,
            token,
            &self.client_hello,
            &self.server_hello,
        )
    }
}

/// A client's hello, before the server's is there.
#[derive(Clone, Debug)]
pub struct Offer {
    algorithms: Vec<Algorithm>,
    extensions: Vec<Extension>,
    payload: Bytes,
}

impl Offer {
    /// Offers `algorithms`, the best first, and `extensions`. Each connection needs an offer of its own.
    pub fn new(bootstrap: Bootstrap, algorithms: &[Algorithm], extensions: &[Extension]) -> Self {
        Self::with_random(bootstrap, algorithms, extensions, random())
    }

    /// As [`Self::new`], for whoever has random bytes already.
    pub fn with_random(
        bootstrap: Bootstrap,
        algorithms: &[Algorithm],
        extensions: &[Extension],
        random: [u8; RANDOM_LEN],
    ) -> Self {
        let hello = ClientHello {
            bootstrap,
            capabilities: Capabilities {
                message: MessageCapabilities {
                    codecs: vec![CODEC.into()],
                    udp_packet_codecs: packet_codecs(extensions).map(str::to_owned).collect(),
                },
                crypto: CryptoCapabilities {
                    algorithms: algorithms.iter().map(|it| it.name().into()).collect(),
                    client_random: Bytes::copy_from_slice(&random),
                },
            },
            extensions: names(extensions),
        };
        Self {
            algorithms: algorithms.to_vec(),
            extensions: extensions.to_vec(),
            payload: payload(&hello),
        }
    }

    /// Appends the hello as one frame, which follows on [`MAGIC`](crate::v2::MAGIC).
    pub fn encode(&self, out: &mut BytesMut) {
        put_frame(FrameType::ClientHello, &self.payload, out);
    }

    /// Reads the server's hello: `server_hello` is the payload of its frame.
    ///
    /// # Errors
    /// If the server refuses, or chose what was not on offer.
    pub fn agree(&self, server_hello: Bytes) -> Result<Agreement, AgreeError> {
        let hello: ServerHello = go_json::read(&server_hello).map_err(AgreeError::Malformed)?;
        let Selected { message, crypto } = hello.selected;
        if !hello.error.is_empty() {
            return Err(AgreeError::Refused(hello.error));
        }
        if message.codec != CODEC {
            return Err(AgreeError::Codec(message.codec));
        }
        let chosen = message.udp_packet_codec;
        if !chosen.is_empty() && !packet_codecs(&self.extensions).any(|name| name == chosen) {
            return Err(AgreeError::PacketCodec(chosen));
        }
        let algorithm = Algorithm::from_name(&crypto.algorithm)
            .filter(|algorithm| self.algorithms.contains(algorithm))
            .ok_or(AgreeError::Algorithm(crypto.algorithm))?;
        if crypto.server_random.len() != RANDOM_LEN {
            return Err(AgreeError::Random {
                len: crypto.server_random.len(),
            });
        }
        Ok(Agreement {
            algorithm,
            extensions: common(&self.extensions, &hello.extensions, &[chosen]),
            client_hello: self.payload.clone(),
            server_hello,
        })
    }
}

/// Why client and server do not agree, as the client sees it. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum AgreeError {
    /// The server chose an algorithm that is not known, or was not on offer.
    #[error("the server chose the crypto algorithm `{0}`, which was not offered")]
    Algorithm(String),
    /// The server chose another way to write messages.
    #[error("the server chose the message codec `{0}`, which was not offered")]
    Codec(String),
    /// The server's hello is not the JSON of one.
    #[error("malformed hello of the server")]
    Malformed(#[source] serde_json::Error),
    /// The server chose a codec of datagrams that was not on offer.
    #[error("the server chose the UDP packet codec `{0}`, which was not offered")]
    PacketCodec(String),
    /// The server's part in the keys is missing, or has a wrong length.
    #[error("the server's random value has {len} bytes instead of {RANDOM_LEN}")]
    Random {
        /// Bytes of it.
        len: usize,
    },
    /// The server found nothing that it can do.
    #[error("the server refuses: {0}")]
    Refused(String),
}

/// The server's hello.
#[derive(Debug)]
pub struct Answer {
    /// What the client is told. If this is a refusal, the connection is to be closed behind it.
    pub outcome: Result<Agreement, Refusal>,
    payload: Bytes,
}

/// Why the server goes no further with a client. The texts are frp's, and the client's user sees them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// No algorithm that the server knows.
    #[error("no supported crypto algorithm")]
    Algorithm,
    /// No way to write messages that the server knows.
    #[error("unsupported message codec")]
    Codec,
    /// The client's part in the keys is missing, or has a wrong length.
    #[error("invalid crypto client random length {len}, want {RANDOM_LEN}")]
    Random {
        /// Bytes of it.
        len: usize,
    },
}

/// A client's hello that is not the JSON of one. It gets no answer.
#[derive(Debug, thiserror::Error)]
#[error("malformed hello of the client")]
pub struct MalformedHello(#[source] serde_json::Error);

/// Answers a client's hello: `client_hello` is the payload of its frame. The client's order decides between algorithms; of
/// `extensions`, those that the client has as well are agreed on.
///
/// # Errors
/// If the hello cannot be read; there is no answer to that.
pub fn answer(client_hello: Bytes, extensions: &[Extension]) -> Result<Answer, MalformedHello> {
    answer_with_random(client_hello, extensions, random())
}

/// As [`answer`], for whoever has random bytes already.
///
/// # Errors
/// As [`answer`].
pub fn answer_with_random(
    client_hello: Bytes,
    extensions: &[Extension],
    random: [u8; RANDOM_LEN],
) -> Result<Answer, MalformedHello> {
    let hello: ClientHello = go_json::read(&client_hello).map_err(MalformedHello)?;
    let mut answer = ServerHello::default();
    // frp: names its codec even when it refuses (server/service.go).
    answer.selected.message.codec = CODEC.into();
    Ok(match choose(&hello.capabilities) {
        Err(refusal) => {
            answer.error = refusal.to_string();
            Answer {
                outcome: Err(refusal),
                payload: payload(&answer),
            }
        }
        Ok(algorithm) => {
            let offered = &hello.capabilities.message.udp_packet_codecs;
            let extensions = common(extensions, &hello.extensions, offered);
            let chosen = packet_codecs(&extensions).next().unwrap_or_default();
            answer.selected.message.udp_packet_codec = chosen.into();
            answer.selected.crypto = SelectedCrypto {
                algorithm: algorithm.name().into(),
                server_random: Bytes::copy_from_slice(&random),
            };
            answer.extensions = names(&extensions);
            let payload = payload(&answer);
            Answer {
                outcome: Ok(Agreement {
                    algorithm,
                    extensions,
                    client_hello,
                    server_hello: payload.clone(),
                }),
                payload,
            }
        }
    })
}

impl Answer {
    /// Appends the hello as one frame.
    pub fn encode(&self, out: &mut BytesMut) {
        put_frame(FrameType::ServerHello, &self.payload, out);
    }
}

/// The first of the client's algorithms that we have; all checks in frp's order, as only the first refusal is told.
fn choose(capabilities: &Capabilities) -> Result<Algorithm, Refusal> {
    let Capabilities { message, crypto } = capabilities;
    if !message.codecs.iter().any(|codec| codec == CODEC) {
        return Err(Refusal::Codec);
    }
    if crypto.client_random.len() != RANDOM_LEN {
        return Err(Refusal::Random {
            len: crypto.client_random.len(),
        });
    }
    crypto
        .algorithms
        .iter()
        .find_map(|name| Algorithm::from_name(name))
        .ok_or(Refusal::Algorithm)
}

/// Those of `ours` that the other end named, each at its place.
fn common(ours: &[Extension], theirs: &[String], packet_codecs: &[String]) -> Vec<Extension> {
    let named = |extension: Extension| {
        let theirs = if extension.is_packet_codec() {
            packet_codecs
        } else {
            theirs
        };
        theirs.iter().any(|name| name == extension.name())
    };
    ours.iter().copied().filter(|&it| named(it)).collect()
}

/// What is named as an extension.
fn names(extensions: &[Extension]) -> Vec<String> {
    let ours = extensions.iter().filter(|it| !it.is_packet_codec());
    ours.map(|it| it.name().into()).collect()
}

/// What is named as a codec of datagrams.
fn packet_codecs(extensions: &[Extension]) -> impl Iterator<Item = &'static str> {
    let codecs = extensions.iter().filter(|it| it.is_packet_codec());
    codecs.map(|it| it.name())
}

fn payload(hello: &impl go_json::Object) -> Bytes {
    let mut payload = BytesMut::new();
    go_json::write(hello, &mut payload);
    payload.freeze()
}

fn put_frame(frame_type: FrameType, payload: &[u8], out: &mut BytesMut) {
    debug_assert!(
        payload.len() <= MAX_PAYLOAD_LEN,
        "a hello holds a few short names"
    );
    out.extend_from_slice(&header(frame_type, payload.len()));
    out.extend_from_slice(payload);
}

#[expect(
    clippy::expect_used,
    reason = "a system without randomness must not encrypt"
)]
fn random() -> [u8; RANDOM_LEN] {
    let mut random = [0; RANDOM_LEN];
    rand::fill(&mut random).expect("the system's random generator works");
    random
}
