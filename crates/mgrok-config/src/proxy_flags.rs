//! The flags that describe a proxy without a file, as frp has them: on the command line of the client, and in the command of an SSH client.

use crate::flag::Flag;
use crate::flag::Takes::{Integer, List, Map, Text};

/// What any proxy takes, wherever its local service is.
pub const EVERY_PROXY: &[Flag] = &[
    Flag::new(
        "proxy-name",
        Text,
        "proxies[0].name",
        "What the proxy is called",
    )
    .short('n')
    .value("NAME"),
    Flag::new(
        "metadatas",
        Map,
        "proxies[0].metadatas",
        "Told to the server, for its plugins",
    ),
    Flag::new(
        "annotations",
        Map,
        "proxies[0].annotations",
        "Shown by the server",
    ),
];

/// Whose proxies these are, and what the server wants to know of them.
pub const IDENTITY: &[Flag] = &[
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
];

/// What `tcp` and `udp` proxies take.
pub const PORT: &[Flag] = &[REMOTE_PORT];

/// What `http` proxies take.
pub const HTTP: &[Flag] = &[
    CUSTOM_DOMAIN,
    SUBDOMAIN,
    Flag::new(
        "locations",
        List,
        "proxies[0].locations",
        "Beginnings of the paths that are served [default: all]",
    )
    .value("PATH,…"),
    HTTP_USER,
    HTTP_PASSWORD,
    Flag::new(
        "host-header-rewrite",
        Text,
        "proxies[0].hostHeaderRewrite",
        "What the service sees as Host",
    )
    .value("NAME"),
];

/// What `https` proxies take.
pub const HTTPS: &[Flag] = &[CUSTOM_DOMAIN, SUBDOMAIN];

/// What `tcpmux` proxies take.
pub const TCPMUX: &[Flag] = &[
    CUSTOM_DOMAIN,
    SUBDOMAIN,
    Flag::new(
        "mux",
        Text,
        "proxies[0].multiplexer",
        "How users ask for a name: httpconnect",
    )
    .value("NAME"),
    HTTP_USER,
    HTTP_PASSWORD,
];

/// What `stcp`, `sudp` and `xtcp` proxies take.
pub const PRIVATE: &[Flag] = &[SECRET_KEY, ALLOW_USERS];

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
