//! Which flag sets which key, as in frpc.

use mgrok_config::join_flags;
use mgrok_config::proxy_flags::{EVERY_PROXY, HTTP, HTTPS, IDENTITY, PORT, PRIVATE, TCPMUX};
use mgrok_daemon::{Flag, FlagTable, Takes};

use Takes::{Boolean, Integer, Text};

/// What says where the server is and who this client is.
#[derive(Debug)]
pub(crate) struct ClientFlags;

impl FlagTable for ClientFlags {
    // `mgrokc stcp visitor` takes them before and after `visitor`.
    const GLOBAL: bool = true;

    const FLAGS: &'static [Flag] = &{
        const N: usize = SERVER.len() + IDENTITY.len() + REST.len();
        join_flags::<N>(&[SERVER, IDENTITY, REST])
    };
}

/// Where the server is.
const SERVER: &[Flag] = &[
    Flag::new(
        "server-addr",
        Text,
        "serverAddr",
        "Where the server is [default: 127.0.0.1]",
    )
    .short('s')
    .value("HOST"),
    Flag::new(
        "server-port",
        Integer,
        "serverPort",
        "The server's port for clients [default: 7000]",
    )
    .short('P')
    .value("PORT"),
    Flag::new(
        "protocol",
        Text,
        "transport.protocol",
        "What carries everything: tcp, kcp, quic, websocket, wss or auto [default: tcp]",
    )
    .short('p')
    .value("NAME"),
];

/// The log, and what else there is.
const REST: &[Flag] = &[
    Flag::new(
        "log-level",
        Text,
        "log.level",
        "What is logged: trace, debug, info, warn or error",
    )
    .value("LEVEL"),
    Flag::new(
        "log-file",
        Text,
        "log.to",
        "Where the log goes [default: console]",
    )
    .value("FILE"),
    Flag::new(
        "log-max-days",
        Integer,
        "log.maxDays",
        "How long log files are kept [default: 3]",
    )
    .value("DAYS"),
    Flag::new(
        "disable-log-color",
        Boolean,
        "log.disablePrintColor",
        "Log without colours",
    ),
    Flag::new(
        "tls-enable",
        Boolean,
        "transport.tls.enable",
        "Encrypt the connection to the server [default: true]",
    ),
    Flag::new(
        "tls-server-name",
        Text,
        "transport.tls.serverName",
        "The name in the server's certificate",
    )
    .value("NAME"),
    Flag::new(
        "pin",
        Text,
        PIN,
        "The SHA-256 fingerprint of the server's certificate",
    )
    .value("HEX"),
    Flag::new(
        "trust-system-roots",
        Boolean,
        "transport.tls.trustSystemRoots",
        "Verify the server's certificate by the authorities that the system trusts",
    ),
    Flag::new(
        "dns-server",
        Text,
        "dnsServer",
        "Who looks up names [default: the system]",
    )
    .value("IP"),
];

pub(crate) const PIN: &str = "transport.tls.pinnedSha256";

/// The flags of every proxy, and then those of some.
macro_rules! proxy_flags {
    ($(#[doc = $doc:literal] $table:ident = $flags:expr;)*) => {$(
        #[doc = $doc]
        #[derive(Debug)]
        pub(crate) struct $table;

        impl FlagTable for $table {
            const FLAGS: &'static [Flag] = &{
                const N: usize = EVERY_PROXY.len() + LOCAL_SERVICE.len() + $flags.len();
                join_flags::<N>(&[EVERY_PROXY, LOCAL_SERVICE, $flags])
            };
        }
    )*};
}

/// Where a proxy's local service is, and how it is reached.
const LOCAL_SERVICE: &[Flag] = &[
    Flag::new(
        "local-ip",
        Text,
        "proxies[0].localIP",
        "Where the local service is [default: 127.0.0.1]",
    )
    .short('i')
    .value("HOST"),
    Flag::new(
        "local-port",
        Integer,
        "proxies[0].localPort",
        "The port of the local service",
    )
    .short('l')
    .value("PORT"),
    Flag::new(
        "ue",
        Boolean,
        "proxies[0].transport.useEncryption",
        "Encrypt what is carried",
    ),
    Flag::new(
        "uc",
        Boolean,
        "proxies[0].transport.useCompression",
        "Compress what is carried",
    ),
    Flag::new(
        "bandwidth-limit",
        Text,
        "proxies[0].transport.bandwidthLimit",
        "How much is carried a second, like 100KB or 1MB",
    )
    .value("AMOUNT"),
    Flag::new(
        "bandwidth-limit-mode",
        Text,
        "proxies[0].transport.bandwidthLimitMode",
        "Who keeps the limit: client or server [default: client]",
    )
    .value("END"),
];

proxy_flags! {
    /// `tcp` and `udp`.
    PortFlags = PORT;
    /// `http`.
    HttpFlags = HTTP;
    /// `https`.
    HttpsFlags = HTTPS;
    /// `tcpmux`.
    TcpMuxFlags = TCPMUX;
    /// `stcp`, `sudp` and `xtcp`.
    PrivateFlags = PRIVATE;
}

/// The flags of every visitor.
#[derive(Debug)]
pub(crate) struct VisitorFlags;

impl FlagTable for VisitorFlags {
    const FLAGS: &'static [Flag] = &[
        Flag::new(
            "visitor-name",
            Text,
            "visitors[0].name",
            "What the visitor is called",
        )
        .short('n')
        .value("NAME"),
        Flag::new(
            "ue",
            Boolean,
            "visitors[0].transport.useEncryption",
            "Encrypt what is carried",
        ),
        Flag::new(
            "uc",
            Boolean,
            "visitors[0].transport.useCompression",
            "Compress what is carried",
        ),
        Flag::new(
            "sk",
            Text,
            "visitors[0].secretKey",
            "The secret of the service",
        )
        .value("SECRET"),
        Flag::new(
            "server-name",
            Text,
            "visitors[0].serverName",
            "What the service's proxy is called",
        )
        .value("NAME"),
        Flag::new(
            "server-user",
            Text,
            "visitors[0].serverUser",
            "Whose proxy it is [default: this user's]",
        )
        .value("NAME"),
        Flag::new(
            "bind-addr",
            Text,
            "visitors[0].bindAddr",
            "Where users of this host come in [default: 127.0.0.1]",
        )
        .value("IP"),
        Flag::new(
            "bind-port",
            Integer,
            "visitors[0].bindPort",
            "The port for them",
        )
        .value("PORT"),
    ];
}
