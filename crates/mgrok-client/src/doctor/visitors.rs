//! The local ports of visitors: whether they can be had, and who has those that cannot.

use std::io;

use mgrok_config::{ClientConfig, VisitorConfig, VisitorKind};
use mgrok_doctor::{Examination, Fault, Occupant, Sound, Verdict, occupants};
use mgrok_net::error_chain::Chain;
use mgrok_net::tcp;
use mgrok_net::udp::UdpSocket;

use super::running::RunningClient;

/// What a client of ours is called in the list of processes.
const OURS: &str = "mgrokc";

/// Tries each of them. It is given back at once.
pub(super) async fn examine(
    config: &ClientConfig,
    running: &RunningClient,
    examination: &mut Examination<'_>,
) {
    for visitor in &config.visitors {
        let Some(port) = visitor.bind_port else {
            continue;
        };
        let subject = format!("visitor `{}` ({}:{port})", visitor.name, visitor.bind_addr);
        let _ = examination
            .check("visitor", &subject, Ok(()), async |()| {
                port_of(visitor, port, running).await
            })
            .await;
    }
}

async fn port_of(visitor: &VisitorConfig, port: u16, running: &RunningClient) -> Verdict<()> {
    let host = &visitor.bind_addr;
    let (bound, is_tcp) = match visitor.kind {
        VisitorKind::Stcp | VisitorKind::Xtcp(_) => (tcp::bind(host, port).await.map(drop), true),
        VisitorKind::Sudp => (UdpSocket::bind(host, port).await.map(drop), false),
    };
    let Err(error) = bound else {
        return match running {
            RunningClient::Found(_) => Ok(Sound::doubtful(
                (),
                "free, although a client runs",
                "have it read the file again: `mgrokc reload`, or SIGHUP",
            )),
            RunningClient::None | RunningClient::Unknown => Ok(Sound::good((), "free")),
        };
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => taken(&occupants(port, is_tcp), running.is_found()),
        io::ErrorKind::PermissionDenied => Err(Fault::new(
            format_args!("the system does not let this user have port {port}"),
            "choose a bindPort from 1024 on, or `setcap cap_net_bind_service=+ep mgrokc`",
        )),
        io::ErrorKind::AddrNotAvailable => Err(Fault::new(
            format_args!("{host} is no address of this host"),
            "set bindAddr to an address of this host, or leave it out",
        )),
        _ => Err(Fault::new(Chain(&error), "mend bindAddr")),
    }
}

/// `is_running` says whether a client of this file runs here.
fn taken(occupants: &[Occupant], is_running: bool) -> Verdict<()> {
    let list: Vec<_> = occupants.iter().map(ToString::to_string).collect();
    let list = list.join(", ");
    match occupants {
        [] if is_running => Ok(Sound::good(
            (),
            "taken, as it seems by the client of this file that runs",
        )),
        [] => Err(Fault::new(
            "somebody has it, and /proc does not tell who",
            "look as root: `ss -lntup`; all is well if it is the client of this file, which runs already",
        )),
        some if some.iter().all(|it| it.program == OURS) => Ok(Sound::good(
            (),
            format_args!("a client has it that runs already: {list}"),
        )),
        _ => Err(Fault::new(
            format_args!("taken by {list}"),
            "stop that program, or choose another bindPort",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_a_client_that_runs_is_well() {
        let by = |program: &str| Occupant {
            process: 7,
            program: program.to_owned(),
        };
        assert!(taken(&[by("mgrokc")], false).is_ok());
        assert!(taken(&[], true).is_ok());
        assert!(taken(&[], false).is_err());
        let fault = taken(&[by("postgres")], true).unwrap_err();
        assert_eq!(fault.cause, "taken by postgres (process 7)");
    }
}
