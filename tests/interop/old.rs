//! With an frp before 0.69, which knows only the first wire protocol.

use std::net::Ipv4Addr;

use mgrok_lab::{Client, Peer, Proxy, Server, ports, service, tap::Tap, traffic};

use crate::{
    Pair,
    transports::{self, MAGIC, Transport, V1},
};

/// Every transport to and from an old frp.
macro_rules! for_each_transport {
    ($($transport:ident = $Transport:ident),+ $(,)?) => {
        mod mgrok_serves_old_frp {
            $(#[tokio::test]
            #[cfg_attr(not(old_frp), ignore = "FRPS_OLD_BIN and FRPC_OLD_BIN do not name an frps and an frpc before 0.69")]
            async fn $transport() {
                super::travel(super::MGROK_SERVES_OLD_FRP, super::Transport::$Transport).await;
            })+
        }
        mod old_frp_serves_mgrok {
            $(#[tokio::test]
            #[cfg_attr(not(old_frp), ignore = "FRPS_OLD_BIN and FRPC_OLD_BIN do not name an frps and an frpc before 0.69")]
            async fn $transport() {
                super::travel(super::OLD_FRP_SERVES_MGROK, super::Transport::$Transport).await;
            })+
        }
    };
}

for_each_transport!(
    kcp = Kcp,
    quic = Quic,
    tcp = Tcp,
    websocket = WebSocket,
    wss = Wss,
);

const MGROK_SERVES_OLD_FRP: Pair = Pair {
    server: Peer::MgrokProgram,
    client: Peer::OldFrp,
};
const OLD_FRP_SERVES_MGROK: Pair = Pair {
    server: Peer::OldFrp,
    client: Peer::MgrokProgram,
};

async fn travel(pair: Pair, transport: Transport) {
    // Nobody need be told which wire protocol to speak.
    let wire = match (pair.server, transport) {
        // It takes long to find out.
        (Peer::OldFrp, Transport::Kcp) => V1,
        _ => "",
    };
    transports::travel(pair, transport, wire).await;
}

/// Every stream is a connection of its own, and can be read.
const BARE: &str = "transport.tcpMux = false\ntransport.tls.enable = false\nloginFailExit = false";

fn in_v2(tap: &Tap) -> usize {
    let openings = tap.openings();
    let in_v2 = openings.iter().filter(|it| it.starts_with(MAGIC));
    in_v2.count()
}

#[tokio::test]
#[cfg_attr(
    not(old_frp),
    ignore = "FRPS_OLD_BIN and FRPC_OLD_BIN do not name an frps and an frpc before 0.69"
)]
async fn auto_falls_back_to_v1_at_each_login() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start(Peer::OldFrp, "transport.tcpMux = false").await;
    let addr = server.addr();
    let tap = Tap::on(addr).await;
    let client = Client::start(Peer::MgrokProgram, tap.addr(), BARE, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 100_000).await;
    assert!(tap.openings()[0].starts_with(MAGIC));
    assert_eq!(in_v2(&tap), 1);

    let mark = client.log().mark();
    drop(server);
    let _server = Server::start_at(Peer::OldFrp, addr, "transport.tcpMux = false").await;
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 100_000).await;
    // Nothing in v1 proves that the server is old. It is said once.
    assert_eq!(in_v2(&tap), 2);
    assert_eq!(client.log().count("wire protocol v2, using v1"), 1);
}

#[tokio::test]
#[cfg_attr(
    not(old_frp),
    ignore = "FRPS_OLD_BIN and FRPC_OLD_BIN do not name an frps and an frpc before 0.69"
)]
async fn auto_falls_back_where_the_end_of_a_connection_is_silence() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let port = ports::free();
    let settings = format!("transport.tcpMux = false\nkcpBindPort = {port}");
    let _server = Server::start(Peer::OldFrp, &settings).await;
    let addr = (Ipv4Addr::LOCALHOST, port).into();
    let settings = format!("{BARE}\ntransport.protocol = \"kcp\"");
    let client = Client::start(Peer::MgrokProgram, addr, &settings, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 100_000).await;
    assert_eq!(client.log().count("wire protocol v2, using v1"), 1);
}

#[tokio::test]
#[cfg_attr(
    not(old_frp),
    ignore = "FRPS_OLD_BIN and FRPC_OLD_BIN do not name an frps and an frpc before 0.69"
)]
async fn v2_does_not_fall_back() {
    let server = Server::start(Peer::OldFrp, "transport.tcpMux = false").await;
    let tap = Tap::on(server.addr()).await;
    let settings = format!("{BARE}\ntransport.wireProtocol = \"v2\"");
    let client = Client::launch(Peer::MgrokProgram, tap.addr(), &settings, &[]);
    let key = "transport.wireProtocol";
    client.log().wait_for_times(0, key, 2).await;
    assert!(in_v2(&tap) >= 2);
    assert_eq!(in_v2(&tap), tap.openings().len());
}
