//! `mgrokc nathole discover`: how this host looks from outside, to see whether there will be ways past the server.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4};

use clap::{Args, Subcommand};
use mgrok_config::{ClientConfig, LoadError, Loaded};
use mgrok_nat::prepare::prepare;
use mgrok_net::resolver::Resolver;

/// What follows `nathole`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The STUN server to ask [default: natHoleStunServer of the configuration file]
    #[arg(long, global = true, value_name = "HOST:PORT", value_parser = parse_server)]
    nat_hole_stun_server: Option<String>,

    /// The address to ask from [default: any free port]
    #[arg(short = 'l', long, global = true, value_name = "[IP]:PORT", value_parser = parse_local)]
    nat_hole_local_addr: Option<SocketAddrV4>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say which kind of NAT this host is behind
    Discover,
}

/// Does it.
///
/// # Errors
/// What stands in the way, in words that begin as frp's do.
pub(crate) fn run(
    arguments: &Arguments,
    load: impl FnOnce() -> Result<Loaded<ClientConfig>, LoadError>,
) -> anyhow::Result<()> {
    let Command::Discover = arguments.command;
    let (server, resolver) = match &arguments.nat_hole_stun_server {
        Some(server) => (server.clone(), Resolver::default()),
        None => {
            let config = config_of(load());
            let resolver = Resolver::new(config.dns_server);
            (config.nat_hole_stun_server, resolver)
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let prepared = runtime.block_on(prepare(&server, arguments.nat_hole_local_addr, &resolver));
    // A script that has closed the pipe wants the exit code only.
    let _ = write!(io::stdout(), "{}", prepared?.report(&server));
    Ok(())
}

/// What names the server. The question can be asked before there is a configuration.
fn config_of(loaded: Result<Loaded<ClientConfig>, LoadError>) -> ClientConfig {
    match loaded {
        Ok(Loaded { config, .. }) => config,
        Err(error) => {
            let missing = matches!(&error, LoadError::Open { error, .. } if error.kind() == io::ErrorKind::NotFound);
            // frp: silent (cmd/frpc/sub/nathole.go#natholeDiscoveryCmd)
            if !missing {
                let _ = writeln!(io::stderr(), "WARNING: not used: {error}");
            }
            ClientConfig::default()
        }
    }
}

fn parse_server(text: &str) -> Result<String, &'static str> {
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("must be a host and its port, like stun.example.com:3478"),
    }
}

/// frp: without an IP it is any.
fn parse_local(text: &str) -> Result<SocketAddrV4, &'static str> {
    let parsed = match text.strip_prefix(':') {
        Some(port) => port
            .parse()
            .ok()
            .map(|port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)),
        None => text.parse().ok(),
    };
    parsed.ok_or("must be an IPv4 address and a port, like 192.0.2.1:5000 or :5000")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mgrok_config::{Strictness, load_client, load_client_from_str};

    use super::*;

    #[test]
    fn without_a_file_that_can_be_used_it_is_the_default() {
        let default = ClientConfig::default().nat_hole_stun_server;
        let server_of = |loaded| config_of(loaded).nat_hole_stun_server;
        let missing = load_client(Path::new(""), Strictness::Strict);
        assert_eq!(server_of(missing), default);
        let load = |text| load_client_from_str(text, "the test", Strictness::Strict);
        assert_eq!(server_of(load("natHoleStunServer = 1")), default);
        let good = load("natHoleStunServer = \"192.0.2.1:3478\"");
        assert_eq!(server_of(good), "192.0.2.1:3478");
    }

    #[test]
    fn a_local_address_may_lack_its_ip() {
        let parse = |text| parse_local(text).map(|addr| addr.to_string());
        assert_eq!(parse("192.0.2.1:5000").unwrap(), "192.0.2.1:5000");
        assert_eq!(parse(":5000").unwrap(), "0.0.0.0:5000");
        for wrong in ["", ":", "5000", "192.0.2.1", "[::1]:5000", ":65536"] {
            parse(wrong).unwrap_err();
        }
    }

    #[test]
    fn a_server_is_a_host_and_a_port() {
        parse_server("stun.example.com:3478").unwrap();
        for wrong in ["", ":3478", "stun.example.com", "stun.example.com:x"] {
            parse_server(wrong).unwrap_err();
        }
    }
}
