//! From the name to a connection: DNS, routes, ports, outbound proxies, UDP.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::sync::Arc;

use mgrok_lab::dns::Dns;
use mgrok_lab::outbound::ConnectProxy;
use mgrok_lab::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use crate::arranged::{blames, examine, file, is_good, server, skips_login, text, word};

/// Where nobody listens.
fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], ports::free()).into()
}

/// Answers everybody who connects with `answer`, once they have said something if that is `None`.
async fn port_that_says(answer: &'static str, at_once: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut conn, _)) = listener.accept().await {
            tokio::spawn(async move {
                if !at_once {
                    let _ = conn.read(&mut [0; 1024]).await;
                }
                let _ = conn.write_all(answer.as_bytes()).await;
                let _ = conn.shutdown().await;
            });
        }
    });
    addr
}

const BAD_REQUEST: &str =
    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn everything_works() {
    let server = server("").await;
    let report = examine(&file(server.addr, "")).await;
    is_good(&report);
    for check in ["dns", "route", "tcp", "tls", "mux", "wire", "login"] {
        assert_eq!(word(&report, check), "ok", "{}", text(&report));
    }
    // Nobody has checked the certificate.
    assert_eq!(word(&report, "certificate"), "warning");
    assert!(
        text(&report).contains("pinnedSha256 = \""),
        "{}",
        text(&report)
    );
}

#[tokio::test]
async fn a_name_that_nobody_knows() {
    let dns = Dns::knowing(&[]).await;
    let settings = format!("serverAddr = \"no.test\"\ndnsServer = \"{}\"", dns.addr());
    let report = examine(&file(nobody(), &settings)).await;
    blames(&report, "dns", "cannot resolve `no.test`");
    skips_login(&report, "dns");
    for check in ["route", "tcp", "tls", "certificate", "mux", "wire"] {
        assert_eq!(word(&report, check), "skipped", "{}", text(&report));
    }
}

#[tokio::test]
async fn a_dns_server_that_does_not_answer() {
    let dns = Dns::silent().await;
    let settings = format!("serverAddr = \"a.test\"\ndnsServer = \"{}\"", dns.addr());
    let report = examine(&file(nobody(), &settings)).await;
    blames(&report, "dns", "dnsServer");
    skips_login(&report, "dns");
}

#[tokio::test]
async fn an_address_of_ipv6_only_without_a_way_there() {
    // A host with IPv6 has a way to the one, and nobody to the other without saying on which of its networks it is.
    let has_no_way = |ip: &Ipv6Addr| {
        let socket = StdUdpSocket::bind("[::]:0");
        socket.and_then(|it| it.connect((*ip, 9))).is_err()
    };
    let both = ["2001:db8::1", "fe80::1"].map(|it| it.parse().unwrap());
    let ip = both.into_iter().find(has_no_way).unwrap();
    let dns = Dns::knowing(&[("six.test", IpAddr::V6(ip))]).await;
    let settings = format!("serverAddr = \"six.test\"\ndnsServer = \"{}\"", dns.addr());
    let report = examine(&file(nobody(), &settings)).await;
    blames(&report, "route", "IPv6 only");
    skips_login(&report, "route");
}

#[tokio::test]
async fn a_port_that_is_closed() {
    let report = examine(&file(nobody(), "")).await;
    blames(&report, "tcp", "start mgroks");
    skips_login(&report, "tcp");
}

#[tokio::test]
async fn an_address_of_our_own_that_is_not_ours() {
    let server = server("").await;
    let settings = "transport.connectServerLocalIP = \"192.0.2.77\"";
    let report = examine(&file(server.addr, settings)).await;
    blames(&report, "tcp", "connectServerLocalIP");
}

#[tokio::test]
async fn a_port_that_accepts_and_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let report = examine(&file(listener.local_addr().unwrap(), "")).await;
    blames(&report, "tls", "says nothing");
    skips_login(&report, "tls");
}

#[tokio::test]
async fn an_http_server_in_place_of_the_server() {
    let addr = port_that_says(BAD_REQUEST, false).await;
    let report = examine(&file(addr, "")).await;
    blames(
        &report,
        "tls",
        "an HTTP server is there, which says `HTTP/1.1 400 Bad Request`",
    );
    let report = examine(&file(addr, "transport.tls.enable = false")).await;
    blames(&report, "login", "an HTTP server is there");
}

#[tokio::test]
async fn an_ssh_server_in_place_of_the_server() {
    let addr = port_that_says("SSH-2.0-test\r\n", true).await;
    let report = examine(&file(addr, "")).await;
    blames(&report, "tls", "an SSH server is there");
}

#[tokio::test]
async fn a_port_without_websocket() {
    let addr = port_that_says(BAD_REQUEST, false).await;
    let report = examine(&file(addr, "transport.protocol = \"websocket\"")).await;
    blames(&report, "websocket", "passes WebSocket on");
    skips_login(&report, "websocket");
}

#[tokio::test]
async fn websocket_works_within_tls_and_around_it() {
    let server = server("").await;
    for protocol in ["websocket", "wss"] {
        let settings = format!("transport.protocol = \"{protocol}\"");
        let report = examine(&file(server.addr, &settings)).await;
        is_good(&report);
        assert_eq!(word(&report, "websocket"), "ok");
    }
}

#[tokio::test]
async fn an_outbound_proxy_that_is_down() {
    let server = server("").await;
    let url = format!(
        "transport.proxyURL = \"http://ann:pr0xy-s3cret@{}\"",
        nobody()
    );
    let report = examine(&file(server.addr, &url)).await;
    blames(&report, "proxy", "cannot reach the outbound proxy");
    skips_login(&report, "proxy");
}

#[tokio::test]
async fn an_outbound_proxy_that_wants_credentials() {
    let server = server("").await;
    let proxy = ConnectProxy::for_user("ann:pr0xy-s3cret").await;
    let url = format!("transport.proxyURL = \"http://{}\"", proxy.addr());
    let report = examine(&file(server.addr, &url)).await;
    blames(&report, "proxy", "the user and the password");
    let url = format!("transport.proxyURL = \"{}\"", proxy.url());
    is_good(&examine(&file(server.addr, &url)).await);
}

/// The settings of a client that uses this transport of UDP.
fn by(protocol: &str) -> String {
    format!("transport.protocol = \"{protocol}\"")
}

#[tokio::test]
async fn a_port_of_udp_that_is_closed() {
    for protocol in ["quic", "kcp"] {
        let report = examine(&file(nobody(), &by(protocol))).await;
        blames(
            &report,
            "udp",
            &format!("set {protocol}BindPort at the server"),
        );
        skips_login(&report, "udp");
    }
}

#[tokio::test]
async fn udp_that_is_swallowed() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    for protocol in ["quic", "kcp"] {
        let report = examine(&file(addr, &by(protocol))).await;
        blames(&report, "udp", "nothing comes back over UDP");
        skips_login(&report, "udp");
    }
}

#[tokio::test]
async fn udp_that_gets_through() {
    let [quic, kcp] = ports::several();
    let server = server(&format!("quicBindPort = {quic}\nkcpBindPort = {kcp}")).await;
    let report = examine(&file(server.quic.unwrap(), &by("quic"))).await;
    is_good(&report);
    assert_eq!(word(&report, "mtu"), "ok", "{}", text(&report));
    let report = examine(&file(server.kcp.unwrap(), &by("kcp"))).await;
    is_good(&report);
    assert_eq!(word(&report, "mtu"), "ok", "{}", text(&report));
    let plain = format!("{}\ntransport.tls.enable = false", by("kcp"));
    is_good(&examine(&file(server.kcp.unwrap(), &plain)).await);
}

/// A way to `to` by UDP that swallows what has more than `largest` bytes, and does not say so.
async fn narrow(to: SocketAddr, largest: usize) -> SocketAddr {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let addr = near.local_addr().unwrap();
    tokio::spawn(async move {
        let mut users: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut datagram = [0; 2048];
        while let Ok((len, from)) = near.recv_from(&mut datagram).await {
            if let Entry::Vacant(newcomer) = users.entry(from) {
                let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                far.connect(to).await.unwrap();
                newcomer.insert(far.clone());
                let near = near.clone();
                tokio::spawn(async move {
                    let mut datagram = [0; 2048];
                    while let Ok(len) = far.recv(&mut datagram).await {
                        let _ = near.send_to(&datagram[..len], from).await;
                    }
                });
            }
            if len <= largest {
                let _ = users[&from].send(&datagram[..len]).await;
            }
        }
    });
    addr
}

#[tokio::test]
async fn a_way_that_swallows_the_large_packets_of_kcp() {
    let server = server(&format!("kcpBindPort = {}", ports::free())).await;
    let way = narrow(server.kcp.unwrap(), 1300).await;
    for tls in ["true", "false"] {
        let settings = format!("{}\ntransport.tls.enable = {tls}", by("kcp"));
        let report = examine(&file(way, &settings)).await;
        blames(
            &report,
            "mtu",
            "those of 1358 bytes, which KCP sends, do not",
        );
        skips_login(&report, "mtu");
        assert_eq!(word(&report, "udp"), "ok", "{}", text(&report));
    }
    let way = narrow(server.kcp.unwrap(), 1358).await;
    is_good(&examine(&file(way, &by("kcp"))).await);
}

#[tokio::test]
async fn where_one_transport_is_enough_the_others_are_only_warned_of() {
    let server = server("").await;
    let report = examine(&file(server.addr, &by("auto"))).await;
    is_good(&report);
    assert_eq!(word(&report, "udp"), "warning");
    assert_eq!(word(&report, "tcp"), "ok");
    let report = examine(&file(nobody(), &by("auto"))).await;
    assert_eq!(report.exit_code(), 1);
    assert_eq!(word(&report, "udp"), "failed");
    assert_eq!(word(&report, "tcp"), "failed");
}

#[tokio::test]
async fn each_of_several_servers_has_its_lines() {
    let (one, two) = (server("").await, server("").await);
    let all = format!(
        "serverAddrs = [\"{}\", \"{}\", \"{}\"]\nauth.token = \"{}\"\n",
        one.addr,
        nobody(),
        two.addr,
        crate::arranged::TOKEN
    );
    let report = examine(&all).await;
    is_good(&report);
    let logins: Vec<_> = report
        .rows
        .iter()
        .filter(|it| it.check == "login")
        .collect();
    assert_eq!(logins.len(), 3, "{}", text(&report));
    let report = examine(&(all + "connectAll = true\n")).await;
    blames(&report, "tcp", "start mgroks");
}
