//! The command line.

use clap::{ArgAction, Args, Parser, Subcommand};
use mgrok_daemon::{
    AdminArguments, CommonArguments, CompletionArguments, DoctorArguments, Flag, FlagTable,
    FlagValues, Ignored, ManArguments, Takes,
};

use crate::init;

/// All that can be said to the server's program.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: CommonArguments,

    #[command(flatten)]
    pub(crate) settings: SettingArguments,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What takes the place of a file.
#[derive(Args, Debug)]
#[command(next_help_heading = "Settings, if there is no file")]
pub(crate) struct SettingArguments {
    #[command(flatten)]
    pub(crate) flags: FlagValues<ServerFlags>,

    /// Serve the admin port by TLS, with --dashboard-tls-cert-file and --dashboard-tls-key-file
    // frp: it needs a value, whatever the value, and does nothing
    #[arg(
        long,
        global = true,
        action = ArgAction::Set,
        default_missing_value = "true",
        hide_possible_values = true,
        num_args = 0..=1,
        value_name = "BOOL",
    )]
    pub(crate) dashboard_tls_mode: Option<bool>,

    /// Listen on all addresses although nothing is set, so that whoever reaches this host may publish services on it
    #[arg(long, global = true)]
    pub(crate) insecure: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether a configuration file can be used, without using it
    Verify(Ignored),

    /// Find out whether this host has what the server needs: ports, certificates, limits, names
    Doctor(DoctorArguments),

    /// Write a file to start with, with a fresh token, and say what the clients need
    Init(init::Arguments),

    /// Have the server that runs with this file read it again
    Reload(AdminArguments),

    /// Show who is at the server that runs with this file, and what is published
    Status(AdminArguments),

    /// Stop the server that runs with this file: users may finish within its grace period
    Stop(AdminArguments),

    /// Say whether the server that runs with this file serves users, for a container's health check
    Health(Ignored),

    /// Print a script that completes commands and flags in a shell
    Completion(CompletionArguments),

    /// Print the manual page
    Man(ManArguments),
}

/// The flags of frps that set keys of its configuration.
#[derive(Debug)]
pub(crate) struct ServerFlags;

impl FlagTable for ServerFlags {
    const GLOBAL: bool = true;

    const FLAGS: &'static [Flag] = {
        use Takes::{Boolean, Integer, Ports, Text};
        &[
            Flag::new(
                "bind-addr",
                Text,
                "bindAddr",
                "Where clients arrive [default: all addresses]",
            )
            .value("IP"),
            Flag::new(
                "bind-port",
                Integer,
                "bindPort",
                "The port for clients [default: 7000]",
            )
            .short('p')
            .value("PORT"),
            Flag::new(
                "kcp-bind-port",
                Integer,
                "kcpBindPort",
                "The UDP port for clients that come by KCP",
            )
            .value("PORT"),
            Flag::new(
                "quic-bind-port",
                Integer,
                "quicBindPort",
                "The UDP port for clients that come by QUIC",
            )
            .value("PORT"),
            Flag::new(
                "proxy-bind-addr",
                Text,
                PROXY_BIND_ADDR,
                "Where users arrive [default: all addresses]",
            )
            .value("IP"),
            Flag::new(
                "vhost-http-port",
                Integer,
                "vhostHTTPPort",
                "The port for HTTP by name",
            )
            .value("PORT"),
            Flag::new(
                "vhost-https-port",
                Integer,
                "vhostHTTPSPort",
                "The port for HTTPS by name",
            )
            .value("PORT"),
            Flag::new(
                "vhost-http-timeout",
                Integer,
                "vhostHTTPTimeout",
                "How long a service may take to answer [default: 60]",
            )
            .value("SECONDS"),
            Flag::new(
                "dashboard-addr",
                Text,
                DASHBOARD_ADDR,
                "Where the admin port is [default: all addresses]",
            )
            .value("IP"),
            Flag::new("dashboard-port", Integer, DASHBOARD_PORT, "The admin port").value("PORT"),
            Flag::new(
                "dashboard-user",
                Text,
                DASHBOARD_USER,
                "The user of the admin port [default: admin]",
            )
            .value("NAME"),
            Flag::new(
                "dashboard-pwd",
                Text,
                DASHBOARD_PASSWORD,
                "Its password [default: admin]",
            )
            .value("PASSWORD"),
            Flag::new(
                "dashboard-tls-cert-file",
                Text,
                "webServer.tls.certFile",
                "The certificate of the admin port",
            )
            .value("FILE"),
            Flag::new(
                "dashboard-tls-key-file",
                Text,
                "webServer.tls.keyFile",
                "The key of that certificate",
            )
            .value("FILE"),
            Flag::new(
                "enable-prometheus",
                Boolean,
                "enablePrometheus",
                "Have metrics on the admin port",
            ),
            Flag::new(
                "log-file",
                Text,
                "log.to",
                "Where the log goes [default: console]",
            )
            .value("FILE"),
            Flag::new(
                "log-level",
                Text,
                "log.level",
                "What is logged: trace, debug, info, warn or error [default: info]",
            )
            .value("LEVEL"),
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
            Flag::new("token", Text, "auth.token", "What clients have to know").short('t'),
            Flag::new(
                "subdomain-host",
                Text,
                "subDomainHost",
                "The domain below which clients may have subdomains",
            )
            .value("NAME"),
            Flag::new(
                "allow-ports",
                Ports,
                "allowPorts",
                "The ports that clients may take [default: all]",
            ),
            Flag::new(
                "max-ports-per-client",
                Integer,
                "maxPortsPerClient",
                "How many ports a client may take",
            ),
            Flag::new(
                "tls-only",
                Boolean,
                "transport.tls.force",
                "Refuse clients without TLS",
            ),
        ]
    };
}

pub(crate) const PROXY_BIND_ADDR: &str = "proxyBindAddr";
pub(crate) const DASHBOARD_ADDR: &str = "webServer.addr";
pub(crate) const DASHBOARD_PASSWORD: &str = "webServer.password";
pub(crate) const DASHBOARD_PORT: &str = "webServer.port";
pub(crate) const DASHBOARD_USER: &str = "webServer.user";

impl AsRef<CommonArguments> for Arguments {
    fn as_ref(&self) -> &CommonArguments {
        &self.common
    }
}
