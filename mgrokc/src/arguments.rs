//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mgrok_daemon::{
    AdminArguments, CommonArguments, CompletionArguments, DoctorArguments, FlagTable, FlagValues,
    Ignored, ManArguments,
};

use crate::flags::{
    ClientFlags, HttpFlags, HttpsFlags, PortFlags, PrivateFlags, TcpMuxFlags, VisitorFlags,
};
use crate::{init, nathole, quick};

/// All that can be said to the client's program.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) common: CommonArguments,

    /// Run a client for each file in this directory and below, instead of for one file
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) config_dir: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish a TCP service: `mgrokc tcp 22 --server example.com`
    Tcp(Quick<PortFlags>),

    /// Publish a UDP service: `mgrokc udp 53 --server example.com`
    Udp(Quick<PortFlags>),

    /// Publish a web service by name: `mgrokc http 3000 --server example.com`
    Http(Web),

    /// Publish a web service that speaks TLS, by name
    Https(Quick<HttpsFlags>),

    /// Publish a TCP service by name, for users who ask by CONNECT
    Tcpmux(Proxy<TcpMuxFlags>),

    /// Publish a TCP service for visitors, or be such a visitor
    Stcp(Private),

    /// Publish a UDP service for visitors, or be such a visitor
    Sudp(Private),

    /// Publish a TCP service for visitors, past the server, or be such a visitor
    Xtcp(Private),

    /// Write a file to start with
    Init(init::Arguments),

    /// Say whether a configuration file can be used, without using it
    Verify(Ignored),

    /// Find out which layer fails: file, network, TLS, login, local services, public ports
    Doctor(DoctorArguments),

    /// Have the client that runs with this file read it again
    Reload(AdminArguments),

    /// Show the proxies of the client that runs with this file
    Status(AdminArguments),

    /// Stop the client that runs with this file
    Stop(AdminArguments),

    /// Say whether the client that runs with this file serves users, for a container's health check
    Health(Ignored),

    /// Look into the ways past the server
    Nathole(nathole::Arguments),

    /// Print a script that completes commands and flags in a shell
    Completion(CompletionArguments),

    /// Print the manual page
    Man(ManArguments),
}

/// A proxy without a file.
#[derive(Args, Debug)]
pub(crate) struct Proxy<T: FlagTable> {
    #[command(flatten, next_help_heading = "Server")]
    pub(crate) client: FlagValues<ClientFlags>,

    #[command(flatten, next_help_heading = "Proxy")]
    pub(crate) proxy: FlagValues<T>,

    #[command(flatten)]
    _ignored: Ignored,
}

/// A proxy without a file, or the visitor of one.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct Private {
    #[command(flatten, next_help_heading = "Server")]
    pub(crate) client: FlagValues<ClientFlags>,

    #[command(flatten, next_help_heading = "Proxy")]
    pub(crate) proxy: FlagValues<PrivateFlags>,

    #[command(subcommand)]
    pub(crate) visitor: Option<VisitorCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum VisitorCommand {
    /// Let users of this host in to a service that another client publishes for visitors
    Visitor(FlagValues<VisitorFlags>),
}

/// A proxy without a file, which may be a quick tunnel.
#[derive(Args, Debug)]
pub(crate) struct Quick<T: FlagTable> {
    #[command(flatten)]
    pub(crate) quick: quick::Arguments,

    #[command(flatten, next_help_heading = "Server")]
    pub(crate) client: FlagValues<ClientFlags>,

    #[command(flatten, next_help_heading = "Proxy")]
    pub(crate) proxy: FlagValues<T>,
}

/// A web service without a file.
#[derive(Args, Debug)]
pub(crate) struct Web {
    #[command(flatten)]
    pub(crate) quick: Quick<HttpFlags>,

    #[command(flatten, next_help_heading = "Requests")]
    pub(crate) view: quick::ViewArguments,
}

impl AsRef<CommonArguments> for Arguments {
    fn as_ref(&self) -> &CommonArguments {
        &self.common
    }
}
