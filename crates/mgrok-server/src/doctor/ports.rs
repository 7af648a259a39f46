//! The server's own ports: whether they can be had, and who has those that cannot.

use std::io;

use mgrok_config::ServerConfig;
use mgrok_doctor::{Examination, Fault, Occupant, Sound, Verdict, occupants};
use mgrok_net::error_chain::Chain;

use crate::sockets::{SocketAddress, SocketKey, wanted};

/// What a server of ours is called in the list of processes.
const OURS: &str = "mgroks";

/// Tries each of them.
pub(super) async fn examine(config: &ServerConfig, examination: &mut Examination<'_>) {
    for (key, at) in wanted(config) {
        let (address_key, port_key) = key.config_keys();
        let kind = match key.is_tcp() {
            true => "TCP",
            false => "UDP",
        };
        let SocketAddress { host, port } = &at;
        let subject = format!("{port_key} ({kind} {host}:{port})");
        let _ = examination
            .check("port", &subject, Ok(()), async |()| {
                port_of(key, &at, address_key).await
            })
            .await;
    }
}

async fn port_of(key: SocketKey, at: &SocketAddress, address_key: &str) -> Verdict<()> {
    let Err(error) = key.try_bind(at).await else {
        return Ok(Sound::good((), "free"));
    };
    let SocketAddress { host, port } = at;
    match error.kind() {
        io::ErrorKind::AddrInUse => taken(&occupants(*port, key.is_tcp()), *port),
        io::ErrorKind::PermissionDenied => Err(Fault::new(
            format_args!("the system does not let this user have port {port}"),
            "allow it by AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or `setcap cap_net_bind_service=+ep mgroks`",
        )),
        io::ErrorKind::AddrNotAvailable => Err(Fault::new(
            format_args!("{host} is no address of this host"),
            format_args!("set {address_key} to an address of this host, or leave it out"),
        )),
        _ => Err(Fault::new(
            Chain(&error),
            format_args!("mend {address_key}"),
        )),
    }
}

fn taken(occupants: &[Occupant], port: u16) -> Verdict<()> {
    let list: Vec<_> = occupants.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    match occupants {
        [] => Err(Fault::new(
            format_args!("somebody has port {port}, and /proc does not tell who"),
            "look as root: `ss -lntup`; all is well if it is this server, which runs already",
        )),
        some if some.iter().all(|it| it.program == OURS) => Ok(Sound::good(
            (),
            format_args!("a server has it that runs already: {list}"),
        )),
        _ => Err(Fault::new(
            format_args!("taken by {list}"),
            "stop that program, or choose another port",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_server_that_runs_is_well() {
        let by = |program: &str| Occupant {
            process: 7,
            program: program.to_owned(),
        };
        assert!(taken(&[by("mgroks")], 80).is_ok());
        let fault = taken(&[by("nginx")], 80).unwrap_err();
        assert_eq!(fault.cause, "taken by nginx (process 7)");
        assert!(taken(&[], 80).is_err());
    }
}
