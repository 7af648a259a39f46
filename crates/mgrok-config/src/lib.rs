//! From a configuration file, in frp's keys, to values that cannot be wrong.
//!
//! A text goes through three forms. `source` makes it a tree of values with their positions, whatever its format: TOML, YAML, JSON or
//! frp's old INI format, told apart by what is in the text, and filled in by `template` if it is one. Flags of a command line
//! ([`Settings`]) become the same tree. `section` reads that tree table by table and notes every mistake instead of stopping at the
//! first. `check` asks the sections for keys and builds the types that the server and the client work with. A key
//! that no check asks for is refused by name, never ignored.
//!
//! A position is one number: `source_map` lays all texts of a configuration end to end, with those that a client's file `includes`, and
//! finds text, line and column again, also through a template.
//!
//! A secret need not stand in a configuration: beside each key of one there is a `…Source` that names a file, or a program, which only
//! runs if [`LoadOptions`] allow it. They are read when a configuration is loaded from a file, and left alone by
//! [`LoadOptions::without_sources`], as for `verify`.
//!
//! ```
//! use mgrok_config::{Strictness, load_server_from_str};
//!
//! let text = "bindPort = 7001\nauth.token = \"a long random text\"";
//! let loaded = load_server_from_str(text, "server.toml", Strictness::Strict)?;
//! assert_eq!(loaded.config.bind_port, 7001);
//! assert!(loaded.config.allow_ports.is_unrestricted());
//!
//! let mistakes = load_server_from_str("bindPrt = 7001", "server.toml", Strictness::Strict).unwrap_err();
//! assert_eq!(
//!     mistakes.to_string(),
//!     "server.toml:1:1: bindPrt: unknown field \"bindPrt\", did you mean \"bindPort\"?",
//! );
//! # Ok::<(), mgrok_config::LoadError>(())
//! ```

// The types, then what reads a text into them; lower modules first.
mod annotations;
mod bandwidth;
mod domain;
mod header;
mod http_url;
mod inspect;
mod local_addr;
mod network;

mod access;
mod ban_rules;
mod port_set;
mod proxy_url;
mod server_hook;
mod virtual_net;

mod auth;
mod client_plugin;
mod log;
mod proxy;
mod quic;
mod visitor;
mod web_server;

mod io_reason;

mod file;

mod value_source;

mod oidc;

mod announcement;

mod flag;
mod options;
pub mod proxy_flags;
mod ssh_gateway;

mod server;
mod store;

mod client;

mod definition;

mod environment;

mod file_pattern;

mod config_files;

mod go_number;
mod legacy_keys;
mod mistake;
mod nearest;
mod number_ranges;
mod settings;
mod template;

mod value;

mod source_map;

mod report;

mod source;

mod includes;

mod section;

mod check;

mod liveness;
mod stored;

mod load;

mod keys;
mod ssh_command;

pub use access::{AccessList, AccessListError, AccessListFlaw, SourceLimits};
pub use annotations::{AnnotationError, check_annotations};
pub use announcement::wire_name;
pub use auth::Auth;
pub use ban_rules::BanRules;
pub use bandwidth::{Bandwidth, BandwidthError, BandwidthMode};
pub use client::{ClientConfig, ClientTls, ClientTransport, Protocol, ServerAddr, WireProtocol};
pub use client_plugin::{HttpsFront, Plugin, PluginCredentials, Website};
pub use config_files::ConfigFiles;
pub use environment::{Environment, Variables};
pub use flag::{Flag, Takes, join_flags, parse_list, parse_map};
pub use http_url::{HttpUrl, HttpUrlError};
pub use inspect::Inspect;
pub use keys::{Keys, client_keys, server_keys};
pub use liveness::LivenessKeys;
pub use load::{
    LoadError, Loaded, load_client, load_client_as, load_client_from_settings,
    load_client_from_str, load_client_in, load_server, load_server_from_settings,
    load_server_from_str, load_server_in,
};
pub use local_addr::LocalAddr;
pub use log::{AccessLog, Log, LogFormat, LogLevel, LogTarget};
pub use mistake::{Mistake, Mistakes, Position, Problem};
pub use network::{Network, NetworkError};
pub use oidc::{ClientCredentials, OidcClient, OidcServer};
pub use options::{LoadOptions, Strictness};
pub use port_set::PortSet;
pub use proxy::{
    Domains, Group, HealthCheck, HealthCheckKind, HttpProxy, Private, ProxyConfig, ProxyKind,
    ProxyProtocol, Strategy, StrategyError, TcpMuxProxy,
};
pub use proxy_url::{ProxyCredentials, ProxyScheme, ProxyUrl, ProxyUrlError};
pub use quic::Quic;
pub use server::{ServerAccess, ServerConfig, ServerTls, ServerTransport, Vhost};
pub use server_hook::{HttpPlugin, PluginScheme};
pub use settings::{SettingValue, Settings};
pub use ssh_command::{SshCommand, SshCommandError};
pub use ssh_gateway::{HostKeyFile, SshGateway};
pub use store::{Store, StoredEntry, StoredKind};
pub use stored::StoreError;

pub use value_source::{Program, ValueSource, ValueSourceError};
pub use virtual_net::{VirtualNet, VisitorPlugin};
pub use visitor::{TunnelProtocol, VisitorConfig, VisitorKind, XtcpVisitor};
pub use web_server::{WebServer, WebServerTls};
