//! The two hellos as they are written.

use bytes::Bytes;

use crate::go_json::object;

object! {
    /// What a client tells ahead of its login.
    pub struct ClientHello {
        /// How it came here.
        pub bootstrap: Bootstrap,
        /// What the server may choose from.
        pub capabilities: Capabilities,
        /// Names of [`Extension`](super::Extension)s; frp has no such member and ignores it.
        pub extensions: Vec<String> as "mgrokExtensions",
    }
}

object! {
    /// How a client reached the server. Told, not checked.
    pub struct Bootstrap {
        /// `transport.protocol` of the client: `tcp`, `kcp`, `quic`, `websocket` or `wss`.
        pub transport: String,
        /// Whether there is TLS below, be it that of QUIC or of wss.
        pub tls: bool,
        /// Whether this is one of many streams of a connection.
        pub tcp_mux: bool as "tcpMux",
    }
}

object! {
    /// What a client can do.
    pub struct Capabilities {
        /// As regards messages.
        pub message: MessageCapabilities,
        /// As regards encryption.
        pub crypto: CryptoCapabilities,
    }
}

object! {
    /// How a client can write messages.
    pub struct MessageCapabilities {
        /// Names of codecs; there is only `json`.
        pub codecs: Vec<String>,
        /// Names of other codecs that datagrams may have on work and visitor connections, of which there is `binary-v1`. frp before
        /// 0.71.0 has no such member and ignores it.
        pub udp_packet_codecs: Vec<String> as "udpPacketCodecs",
    }
}

object! {
    /// How a client can encrypt.
    pub struct CryptoCapabilities {
        /// Names of algorithms, in the order of the client's preference.
        pub algorithms: Vec<String>,
        /// Makes the keys of this connection different from those of any other; 32 bytes.
        pub client_random: Bytes as "clientRandom",
    }
}

object! {
    /// What the server answers.
    pub struct ServerHello {
        /// What it chose.
        pub selected: Selected,
        /// Why there is nothing to choose; empty on success.
        pub error: String,
        /// Names of those extensions that both ends have; frp has no such member.
        pub extensions: Vec<String> as "mgrokExtensions",
    }
}

object! {
    /// What the server chose.
    pub struct Selected {
        /// As regards messages.
        pub message: SelectedMessage,
        /// As regards encryption; empty when the server refuses.
        pub crypto: SelectedCrypto,
    }
}

object! {
    /// How messages are written.
    pub struct SelectedMessage {
        /// The name of the codec.
        pub codec: String,
        /// The name of the codec that datagrams have; empty if it is that one.
        pub udp_packet_codec: String as "udpPacketCodec",
    }
}

object! {
    /// How the control connection is encrypted.
    pub struct SelectedCrypto {
        /// The name of the algorithm.
        pub algorithm: String,
        /// The server's part in making the keys different; 32 bytes.
        pub server_random: Bytes as "serverRandom",
    }
}
