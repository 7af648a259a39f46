//! Tests the lookup of local services' names, and that a lookup which hangs delays no others.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mgrok_client::ProxyPhase;
use mgrok_config::{
    HealthCheck, HealthCheckKind, LocalAddr, Plugin, ProxyConfig, ProxyKind, Website,
};
use mgrok_net::message::MessageConn;
use mgrok_proto::message::UdpPacket;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::task::AbortOnDropHandle;

use crate::server::{
    Running, Server, accept_proxy, echo, echo_service, ended, new_proxy, start, within,
};

/// A DNS server whose answers the test sets.
struct Dns {
    addr: SocketAddr,
    names: Arc<Mutex<HashMap<String, Ipv4Addr>>>,
    _server: AbortOnDropHandle<()>,
}

impl Dns {
    /// A server that leaves every query unanswered.
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let names = Arc::<Mutex<HashMap<String, Ipv4Addr>>>::default();
        let known = names.clone();
        let server = tokio::spawn(async move {
            let mut question = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut question).await.unwrap();
                let answer = answer(&question[..len], &known.lock().unwrap());
                if let Some(answer) = answer {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self {
            addr,
            names,
            _server: AbortOnDropHandle::new(server),
        }
    }

    fn set(&self, name: &str, addr: SocketAddr) {
        let IpAddr::V4(ip) = addr.ip() else {
            panic!("{addr} is not of IPv4");
        };
        self.names.lock().unwrap().insert(name.to_owned(), ip);
    }
}

/// The response to a query with one question (RFC 1035, section 4.1); `None` for an unknown name.
fn answer(message: &[u8], known: &HashMap<String, Ipv4Addr>) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let ip = known.get(&labels.join("."))?;
    let is_for_ipv4 = message[at + 1..at + 3] == [0, 1];
    let mut answer = message[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_for_ipv4), 0, 0, 0, 0]);
    answer.extend(&message[12..at + 5]);
    if is_for_ipv4 {
        // A pointer to the question's name; A, IN, a TTL of one hour.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0x0e, 0x10, 0, 4]);
        answer.extend(ip.octets());
    }
    Some(answer)
}

fn named(name: &str, kind: ProxyKind, host: &str, local: SocketAddr) -> ProxyConfig {
    let mut proxy = ProxyConfig::new(name, kind, local.port());
    proxy.local_host = host.to_owned();
    proxy
}

fn tcp(name: &str, host: &str, local: SocketAddr) -> ProxyConfig {
    named(name, ProxyKind::Tcp { remote_port: 6000 }, host, local)
}

#[tokio::test]
async fn local_services_and_their_health_checks_are_looked_up_at_the_dns_server() {
    let (server, dns) = (Server::bind().await, Dns::start().await);
    let service = echo_service().await;
    dns.set("db.test", service);
    let mut config = server.config();
    let mut proxy = tcp("db", "db.test", service);
    proxy.health_check = Some(HealthCheck {
        kind: HealthCheckKind::Tcp,
        timeout: Duration::from_secs(10),
        max_failed: NonZeroU32::MIN,
        interval: Duration::from_secs(10),
    });
    config.proxies = vec![proxy];
    config.dns_server = Some(dns.addr);
    let _client = Running::start(config);

    // The proxy is announced because its service was found.
    let mut control = server.control_with_proxy().await;
    echo(&mut server.user(&mut control, "db").await, "hello").await;
}

#[tokio::test]
async fn the_target_of_a_plugin_is_looked_up_at_the_dns_server() {
    let (server, dns) = (Server::bind().await, Dns::start().await);
    let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = site.local_addr().unwrap();
    dns.set("site.test", at);
    let mut config = server.config();
    let mut proxy = tcp("site", "127.0.0.1", at);
    proxy.plugin = Some(Plugin::Http2Http(Website {
        local_addr: LocalAddr {
            host: "site.test".to_owned(),
            port: at.port(),
        },
        host_header_rewrite: String::new(),
        request_headers: Default::default(),
    }));
    config.proxies = vec![proxy];
    config.dns_server = Some(dns.addr);
    let _client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    let mut user = server.user(&mut control, "site").await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    user.write_all(request).await.unwrap();
    user.flush().await.unwrap();
    let mut got = [0; 14];
    let (mut served, _) = within(site.accept()).await.unwrap();
    within(served.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"GET / HTTP/1.1");
}

#[tokio::test]
async fn users_of_a_name_that_hangs_hold_up_nobody_else() {
    let (server, dns) = (Server::bind().await, Dns::start().await);
    let service = echo_service().await;
    dns.set("good.test", service);
    let mut config = server.config();
    config.proxies = vec![
        tcp("hangs", "hangs.test", service),
        tcp("local", "localhost", service),
        tcp("named", "good.test", service),
    ];
    config.dns_server = Some(dns.addr);
    let _client = Running::start(config);

    let (mut control, _) = server.control().await;
    for _ in 0..3 {
        let announced = new_proxy(&mut control).await;
        accept_proxy(&mut control, &announced.proxy_name).await;
    }
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(server.user(&mut control, "hangs").await);
    }
    for name in ["local", "named"] {
        echo(&mut server.user(&mut control, name).await, "hello").await;
    }
    // Finally their connections are closed.
    for mut user in waiting {
        ended(&mut user).await;
    }
}

/// Sends a datagram of the user with this source port.
async fn send(work: &mut MessageConn, port: u16) {
    let packet = UdpPacket {
        content: b"hello".to_vec().into(),
        user: Some(SocketAddr::from(([192, 0, 2, 1], port)).into()),
        local: None,
    };
    work.send(&packet.into()).await.unwrap();
}

/// Whether the service soon receives a datagram.
async fn hears(service: &UdpSocket) -> bool {
    let mut datagram = [0; 100];
    let heard = tokio::time::timeout(Duration::from_millis(200), service.recv_from(&mut datagram));
    heard.await.is_ok()
}

#[tokio::test]
async fn users_of_a_udp_proxy_go_where_the_name_of_the_service_leads_by_now() {
    let (server, dns) = (Server::bind().await, Dns::start().await);
    let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = first.local_addr().unwrap();
    dns.set("svc.test", at);
    let mut config = server.config();
    let udp = ProxyKind::Udp { remote_port: 6000 };
    config.proxies = vec![named("udp", udp, "svc.test", at)];
    config.dns_server = Some(dns.addr);
    let _client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    let (mut work, _) = server.work_conn(&mut control).await;
    start(&mut work, "udp").await;
    send(&mut work, 1).await;
    // The first datagram waits for the lookup.
    within(first.recv_from(&mut [0; 100])).await.unwrap();

    let moved = SocketAddr::from(([127, 0, 0, 2], at.port()));
    let second = UdpSocket::bind(moved).await.unwrap();
    dns.set("svc.test", moved);
    let mut port = 1;
    let new_user = async {
        loop {
            port += 1;
            send(&mut work, port).await;
            if hears(&second).await {
                return;
            }
        }
    };
    within(new_user).await;
    // The new address is known by now, so the old user's datagrams go there too.
    while hears(&second).await {}
    send(&mut work, 1).await;
    within(second.recv_from(&mut [0; 100])).await.unwrap();
}

#[tokio::test]
async fn a_udp_service_that_cannot_be_looked_up_costs_no_work_connection() {
    let (server, dns) = (Server::bind().await, Dns::start().await);
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = service.local_addr().unwrap();
    let mut config = server.config();
    let udp = ProxyKind::Udp { remote_port: 6000 };
    config.proxies = vec![named("udp", udp, "svc.test", at)];
    config.dns_server = Some(dns.addr);
    let mut client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    client.wait_for("udp", ProxyPhase::Running).await;
    let (mut work, _) = server.work_conn(&mut control).await;
    start(&mut work, "udp").await;
    send(&mut work, 1).await;
    // Longer than a lookup takes.
    let ended = tokio::time::timeout(Duration::from_secs(6), work.recv()).await;
    assert!(ended.is_err(), "{ended:?}");
    dns.set("svc.test", at);
    let served = async {
        loop {
            send(&mut work, 1).await;
            if hears(&service).await {
                return;
            }
        }
    };
    within(served).await;
}
