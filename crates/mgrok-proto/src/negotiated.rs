//! How the two ends of a session speak, as they settled it at login.

use crate::{hello::Extension, udp::Framing, wire::WireVersion};

/// How one session speaks. Both ends come to the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Negotiated {
    /// How messages are framed on the control connection, and those that open streams.
    pub streams: WireVersion,
    /// How messages within the payload of work and visitor connections are framed.
    pub payload: WireVersion,
    /// Whether the end of one direction of a connection is carried on, and leaves the other be.
    pub half_close: bool,
    /// Whether a session can move to another transport, and leaves the users there are where they are.
    pub can_migrate: bool,
    /// Whether a session may have more connections than its first.
    pub links: bool,
    /// Whether a work connection may be spread over several of these.
    pub bond: bool,
    /// Whether the server opens work connections itself.
    pub server_streams: bool,
    /// Whether the server keeps users out of a proxy by their address, as the client wants it.
    pub access: bool,
    /// Whether members of a group share users as they say.
    pub balancing: bool,
    /// Whether silence means death sooner than frp's keys say.
    pub liveness: bool,
    /// Whether datagrams have mgrok's own framing.
    pub datagrams: bool,
    /// Whether datagrams have frp's binary codec, where they do not have mgrok's own framing.
    pub binary_packets: bool,
    /// Whether datagrams may travel as datagrams of QUIC.
    pub quic_datagrams: bool,
}

impl Negotiated {
    /// That of a session whose streams are of the version `streams`, with an end that says that it is of `version` of frp.
    /// `extensions` are those that both ends have, none in v1.
    pub fn new(streams: WireVersion, version: &str, extensions: &[Extension]) -> Self {
        let agreed = |extension| extensions.contains(&extension);
        Self {
            streams,
            payload: streams.of_payload(version),
            half_close: agreed(Extension::HALF_CLOSE),
            can_migrate: agreed(Extension::CAN_MIGRATE),
            links: agreed(Extension::LINKS),
            bond: [Extension::BOND, Extension::LINKS, Extension::HALF_CLOSE]
                .into_iter()
                .all(agreed),
            server_streams: agreed(Extension::SERVER_STREAMS),
            access: agreed(Extension::ACCESS),
            balancing: agreed(Extension::BALANCING),
            liveness: agreed(Extension::LIVENESS),
            datagrams: agreed(Extension::DATAGRAMS),
            binary_packets: agreed(Extension::BINARY_PACKETS),
            quic_datagrams: agreed(Extension::QUIC_DATAGRAMS),
        }
    }

    /// How datagrams are framed on work and visitor connections. This is the place where it is decided: mgrok's own framing before
    /// frp's binary codec, as it writes many datagrams of a user in one frame and can leave the stream for datagrams of
    /// QUIC, and that before frp's JSON.
    pub fn datagram_framing(&self) -> Framing {
        if self.datagrams {
            Framing::Binary
        } else if self.binary_packets {
            Framing::V2Binary
        } else {
            self.payload.into()
        }
    }
}
