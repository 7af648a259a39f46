//! Which flag sets which key, as in frpc.

use mgrok_daemon::{Flag, FlagTable, Takes};

use Takes::{Boolean, Integer, List, Map, Text};

/// What says where the server is and who this client is.
#[derive(Debug)]
pub(crate) struct ClientFlags;

impl FlagTable for ClientFlags {
    // `mgrokc stcp visitor` takes them before and after `visitor`.
    const GLOBAL: bool = true;

    const FLAGS: &'static [Flag] = &[
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
        Flag::new("token", Text, "auth.token", "What the server wants to know").short('t'),
        Flag::new("user", Text, "user", "Whose proxies these are")
            .short('u')
            .value("NAME"),
        Flag::new(
            "client-id",
            Text,
            "clientID",
            "A name of this client that the server keeps unique",
        )
        .value("NAME"),
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
}

pub(crate) const PIN: &str = "transport.tls.pinnedSha256";

/// The flags of every proxy, and then those of some.
macro_rules! proxy_flags {
    ($(#[doc = $doc:literal] $table:ident = [$($flag:expr),* $(,)?];)*) => {$(
        #[doc = $doc]
        #[derive(Debug)]
        pub(crate) struct $table;

        impl FlagTable for $table {
            const FLAGS: &'static [Flag] = &[
                Flag::new("proxy-name", Text, "proxies[0].name", "What the proxy is called").short('n').value("NAME"),
                Flag::new("metadatas", Map, "proxies[0].metadatas", "Told to the server, for its plugins"),
                Flag::new("annotations", Map, "proxies[0].annotations", "Shown by the server"),
                Flag::new("local-ip", Text, "proxies[0].localIP", "Where the local service is [default: 127.0.0.1]").short('i').value("HOST"),
                Flag::new("local-port", Integer, "proxies[0].localPort", "The port of the local service").short('l').value("PORT"),
                Flag::new("ue", Boolean, "proxies[0].transport.useEncryption", "Encrypt what is carried"),
                Flag::new("uc", Boolean, "proxies[0].transport.useCompression", "Compress what is carried"),
                Flag::new("bandwidth-limit", Text, "proxies[0].transport.bandwidthLimit", "How much is carried a second, like 100KB or 1MB").value("AMOUNT"),
                Flag::new("bandwidth-limit-mode", Text, "proxies[0].transport.bandwidthLimitMode", "Who keeps the limit: client or server [default: client]").value("END"),
                $($flag),*
            ];
        }
    )*};
}

/// A name that users ask for.
const CUSTOM_DOMAIN: Flag = Flag::new(
    "custom-domain",
    List,
    "proxies[0].customDomains",
    "Names by which users reach the service",
)
.short('d')
.value("NAME,…");
const SUBDOMAIN: Flag = Flag::new(
    "sd",
    Text,
    "proxies[0].subdomain",
    "A name below the server's domain",
)
.value("NAME");
const HTTP_USER: Flag = Flag::new(
    "http-user",
    Text,
    "proxies[0].httpUser",
    "Whom users have to be, by HTTP",
)
.value("NAME");
const HTTP_PASSWORD: Flag = Flag::new(
    "http-pwd",
    Text,
    "proxies[0].httpPassword",
    "That user's password",
)
.value("PASSWORD");
const REMOTE_PORT: Flag = Flag::new(
    "remote-port",
    Integer,
    "proxies[0].remotePort",
    "The server's port for users [default: any]",
)
.short('r')
.value("PORT");
const SECRET_KEY: Flag = Flag::new(
    "sk",
    Text,
    "proxies[0].secretKey",
    "What visitors have to know",
)
.value("SECRET");
const ALLOW_USERS: Flag = Flag::new(
    "allow-users",
    List,
    "proxies[0].allowUsers",
    "Whose visitors are let in [default: this user's]",
)
.value("NAME,…");

proxy_flags! {
    /// `tcp` and `udp`.
    PortFlags = [REMOTE_PORT];
    /// `http`.
    HttpFlags = [
        CUSTOM_DOMAIN,
        SUBDOMAIN,
        Flag::new("locations", List, "proxies[0].locations", "Beginnings of the paths that are served [default: all]").value("PATH,…"),
        HTTP_USER,
        HTTP_PASSWORD,
        Flag::new("host-header-rewrite", Text, "proxies[0].hostHeaderRewrite", "What the service sees as Host").value("NAME"),
    ];
    /// `https`.
    HttpsFlags = [CUSTOM_DOMAIN, SUBDOMAIN];
    /// `tcpmux`.
    TcpMuxFlags = [
        CUSTOM_DOMAIN,
        SUBDOMAIN,
        Flag::new("mux", Text, "proxies[0].multiplexer", "How users ask for a name: httpconnect").value("NAME"),
        HTTP_USER,
        HTTP_PASSWORD,
    ];
    /// `stcp`, `sudp` and `xtcp`.
    PrivateFlags = [SECRET_KEY, ALLOW_USERS];
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
