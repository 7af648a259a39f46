//! Who the users are: told to local services, and heard from balancers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, Visitor,
    certs::Authority,
    ports, service,
    service::Service,
    tls, traffic,
    web::{self, User, Web},
    within,
};
use mgrok_net::proxy_protocol::{self, Addresses, TransportProtocol, Version};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::mpsc,
};

use crate::named;

/// The address that the balancer of these tests connects from.
const BALANCER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A user far away, as a balancer tells of one.
const FAR: &str = "PROXY TCP4 192.0.2.7 203.0.113.1 4711 443\r\n";

/// The same, in the binary form.
fn far_v2() -> Vec<u8> {
    let mut header = bytes::BytesMut::new();
    let addresses = Addresses {
        source: "192.0.2.7:4711".parse().unwrap(),
        destination: "203.0.113.1:443".parse().unwrap(),
    };
    proxy_protocol::encode(Version::V2, TransportProtocol::Tcp, &addresses, &mut header);
    header.to_vec()
}

/// A service that tells the test how each connection begins, up to so many bytes, then sends everything back.
async fn opening(len: usize) -> (Service, mpsc::Receiver<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel(16);
    let service = service::tcp(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            let mut begins = vec![0; len];
            if stream.read_exact(&mut begins).await.is_ok() {
                let _ = sender.send(begins).await;
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            }
        }
    })
    .await;
    (service, receiver)
}

/// A service that tells the test the first line of each connection, then sends everything back.
async fn first_line() -> (Service, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel(16);
    let service = service::tcp(move |mut stream: TcpStream| {
        let sender = sender.clone();
        async move {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                match stream.read_u8().await {
                    Ok(byte) => line.push(byte),
                    Err(_) => return,
                }
            }
            let _ = sender
                .send(String::from_utf8_lossy(&line).into_owned())
                .await;
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    })
    .await;
    (service, receiver)
}

async fn next<T>(received: &mut mpsc::Receiver<T>) -> T {
    let next = within(PATIENCE, "the service is told", received.recv()).await;
    next.unwrap()
}

async fn connect_from(ip: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::V4(ip), 0).into()).unwrap();
    let stream = socket.connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A balancer in front of `to`, which says that all users are the one far away.
pub(crate) async fn balancer(to: SocketAddr, header: Vec<u8>) -> Service {
    service::tcp(move |mut near: TcpStream| {
        let header = header.clone();
        async move {
            let mut far = connect_from(BALANCER, to).await;
            if far.write_all(&header).await.is_ok() {
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            }
        }
    })
    .await
}

fn accepting(more: &str) -> String {
    format!("acceptProxyProtocolFrom = [\"{BALANCER}/32\", \"2001:db8::/32\"]\n{more}")
}

#[tokio::test]
async fn a_tcp_service_is_told_where_users_come_from_and_arrive() {
    let (local, mut lines) = first_line().await;
    let v1 = "transport.proxyProtocolVersion = \"v1\"";
    for more in [
        "",
        "transport.useEncryption = true\ntransport.useCompression = true",
    ] {
        let proxy = Proxy::tcp("tcp", local.addr()).with(v1).with(more);
        let tunnel = crate::Tunnel::with("", "", proxy).await;
        let mut user = TcpStream::connect(tunnel.public).await.unwrap();
        let from = user.local_addr().unwrap().port();
        let to = tunnel.public.port();
        let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n");
        // Before the user says anything.
        assert_eq!(next(&mut lines).await, expected);
        traffic::echo(&mut user, 1_000).await.unwrap();
    }

    let (local, mut begins) = opening(28).await;
    let proxy = Proxy::tcp("tcp", local.addr()).with("transport.proxyProtocolVersion = \"v2\"");
    let tunnel = crate::Tunnel::with("", "", proxy).await;
    let mut user = TcpStream::connect(tunnel.public).await.unwrap();
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    expected.extend(user.local_addr().unwrap().port().to_be_bytes());
    expected.extend(tunnel.public.port().to_be_bytes());
    assert_eq!(next(&mut begins).await, expected);
    traffic::echo(&mut user, 1_000).await.unwrap();
}

#[tokio::test]
async fn an_http_service_is_told_who_came_first_on_its_connection() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let local = listener.local_addr().unwrap();
    let proxy =
        named("http", "web", local, "a.test").with("transport.proxyProtocolVersion = \"v1\"");
    let shared = crate::Shared::with("vhostHTTPPort", "", &[proxy]).await;
    let mut user = User::of(shared.at).await;
    let from = user.stream().get_ref().local_addr().unwrap().port();
    user.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let accepted = within(PATIENCE, "a connection", listener.accept()).await;
    let (mut stream, _) = accepted.unwrap();
    // Where the user arrived is not told: others may follow on the connection.
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} 0\r\nGET / HTTP/1.1\r\n");
    let mut begins = vec![0; expected.len()];
    let read = stream.read_exact(&mut begins);
    within(PATIENCE, "a header", read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&begins), expected);
}

#[tokio::test]
async fn a_private_service_is_told_the_address_of_the_visitors_client() {
    let (local, mut lines) = first_line().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [Proxy::new("stcp", "s", local.addr())
        .with("secretKey = \"k\"\ntransport.proxyProtocolVersion = \"v1\"")];
    let visitors = [Visitor::new("stcp", "v", "s").with("secretKey = \"k\"")];
    let _host = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mark = server.log().mark();
    let addr = server.addr();
    let _guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
    let login = server
        .log()
        .wait_after(mark, "client login info: ip [")
        .await;
    let (_, from) = login.split_once("ip [127.0.0.1:").unwrap();
    let from = from.split(']').next().unwrap();
    let mut user = TcpStream::connect(visitors[0].listener()).await.unwrap();
    let to = addr.port();
    let expected = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n");
    assert_eq!(next(&mut lines).await, expected);
    traffic::echo(&mut user, 1_000).await.unwrap();
}

#[tokio::test]
async fn a_udp_service_is_told_once_for_each_user() {
    let local = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let proxy = Proxy::udp("udp", local.local_addr().unwrap())
        .with("transport.proxyProtocolVersion = \"v2\"");
    let tunnel = crate::Tunnel::with("", "", proxy).await;
    let mut buffer = [0; 2_000];
    for _ in 0..2 {
        let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        user.connect(tunnel.public).await.unwrap();
        let mut introduced = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
        introduced.extend(user.local_addr().unwrap().port().to_be_bytes());
        introduced.extend(local.local_addr().unwrap().port().to_be_bytes());
        introduced.extend(b"one");
        user.send(b"one").await.unwrap();
        let received = local.recv(&mut buffer);
        let len = within(PATIENCE, "a datagram", received).await.unwrap();
        assert_eq!(buffer[..len], introduced);
        user.send(b"two").await.unwrap();
        let received = local.recv(&mut buffer);
        let len = within(PATIENCE, "another", received).await.unwrap();
        assert_eq!(&buffer[..len], b"two");
    }
}

#[tokio::test]
async fn a_balancer_tells_who_the_users_of_every_port_are() {
    let (line, mut lines) = first_line().await;
    let web = Web::start("web").await;
    let [http, https, tcpmux] = ports::several();
    let settings = accepting(&format!(
        "vhostHTTPPort = {http}\nvhostHTTPSPort = {https}\ntcpmuxHTTPConnectPort = {tcpmux}"
    ));
    let server = Server::start(Peer::Mgrok, &settings).await;
    let v1 = "transport.proxyProtocolVersion = \"v1\"";
    let proxies = [
        Proxy::tcp("tcp", line.addr()).with(v1),
        named("https", "https", line.addr(), "a.test").with(v1),
        named("tcpmux", "tcpmux", line.addr(), "a.test")
            .with("multiplexer = \"httpconnect\"")
            .with(v1),
        named("http", "http", web.addr(), "a.test"),
        named("http", "told", line.addr(), "b.test").with(v1),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    for header in [FAR.as_bytes().to_vec(), far_v2()] {
        let user = async |port| {
            let mut stream = connect_from(BALANCER, at(port)).await;
            stream.write_all(&header).await.unwrap();
            User::on(stream)
        };
        let mark = server.log().mark();
        let mut tcp = user(proxies[0].remote_port).await;
        assert_eq!(next(&mut lines).await, FAR);
        traffic::echo(tcp.stream().get_mut(), 1_000).await.unwrap();
        let line = "[tcp] get a user connection [192.0.2.7:4711]";
        server.log().wait_after(mark, line).await;

        let mut mux = user(tcpmux).await;
        mux.send("CONNECT a.test:22 HTTP/1.1\r\n\r\n").await;
        assert_eq!(mux.head().await.status, 200);
        assert_eq!(next(&mut lines).await, FAR);

        // Its service does not speak TLS: how far it gets is enough here.
        let mut secure = user(https).await;
        let authority = Authority::new();
        let handshake = tls::connect_on(secure.stream(), &authority, "a.test");
        let (handshake, told) = tokio::join!(handshake, next(&mut lines));
        assert!(handshake.is_err());
        assert_eq!(told, FAR);

        let mut asking = user(http).await;
        let answer = asking.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert!(
            answer.shows("x-forwarded-for: 192.0.2.7"),
            "{}",
            answer.body
        );
        asking.send("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
        let told = next(&mut lines).await;
        assert_eq!(told, "PROXY TCP4 192.0.2.7 127.0.0.1 4711 0\r\n");
    }
}

#[tokio::test]
async fn clients_may_come_through_a_balancer() {
    let (line, mut lines) = first_line().await;
    for settings in ["", "transport.tcpMux = false"] {
        let server = Server::start(Peer::Mgrok, &accepting(settings)).await;
        let balancer = balancer(server.addr(), far_v2()).await;
        let proxies = [Proxy::new("stcp", "s", line.addr())
            .with("secretKey = \"k\"\ntransport.proxyProtocolVersion = \"v1\"")];
        let visitors = [Visitor::new("stcp", "v", "s").with("secretKey = \"k\"")];
        let at = balancer.addr();
        let _client =
            Client::start_with_visitors(Peer::Mgrok, at, settings, &proxies, &visitors).await;
        let login = "client login info: ip [192.0.2.7:4711]";
        server.log().wait_for(login).await;
        let mut user = TcpStream::connect(visitors[0].listener()).await.unwrap();
        assert_eq!(next(&mut lines).await, FAR);
        traffic::echo(&mut user, 1_000).await.unwrap();
    }
}

#[tokio::test]
async fn users_and_clients_behind_a_balancer_may_share_a_port() {
    let web = Web::start("web").await;
    let at = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let settings = accepting(&format!("vhostHTTPPort = {}", at.port()));
    let server = Server::start_at(Peer::Mgrok, at, &settings).await;
    let balancer = balancer(at, FAR.into()).await;
    let proxies = [named("http", "web", web.addr(), "a.test")];
    let _client = Client::start(Peer::Mgrok, balancer.addr(), "", &proxies).await;
    server.log().wait_for("ip [192.0.2.7:4711]").await;
    let answer = web::get(balancer.addr(), "a.test", "/").await;
    assert!(
        answer.shows("x-forwarded-for: 192.0.2.7"),
        "{}",
        answer.body
    );
    let answer = web::get(at, "a.test", "/").await;
    assert!(
        answer.shows("x-forwarded-for: 127.0.0.1"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn from_anybody_else_a_header_is_nothing_but_bytes() {
    let (line, mut lines) = first_line().await;
    let web = Web::start("web").await;
    let http = ports::free();
    let settings = accepting(&format!("vhostHTTPPort = {http}"));
    let server = Server::start(Peer::Mgrok, &settings).await;
    let proxies = [
        Proxy::tcp("tcp", line.addr()),
        named("http", "http", web.addr(), "a.test"),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mark = server.log().mark();
    let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
    user.write_all(FAR.as_bytes()).await.unwrap();
    assert_eq!(next(&mut lines).await, FAR, "the service got it");
    let line = "[tcp] get a user connection [127.0.0.1:";
    server.log().wait_after(mark, line).await;

    let at = SocketAddr::from(([127, 0, 0, 1], http));
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let answer = web::ask(at, &format!("{FAR}{request}")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(web.requests().len(), 0);

    let mut client = User::of(server.addr()).await;
    client.send(FAR).await;
    assert_eq!(client.rest().await, "");
    server.log().wait_for("not a client of this server").await;
}

#[tokio::test]
async fn a_balancer_without_a_header_is_refused_and_others_are_served() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, &accepting("")).await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let long = format!("PROXY TCP4 {}\r\n", "1".repeat(200));
    for begins in [
        "hello, is anybody there?\r\n",
        "PROXY TCP4 192.0.2.7\r\n",
        "PROXY TCP4 192.0.2.700 203.0.113.1 4711 443\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c",
        &long,
    ] {
        for to in [proxies[0].public(), server.addr()] {
            let mark = server.log().mark();
            let mut user = User::on(connect_from(BALANCER, to).await);
            user.send(begins).await;
            assert_eq!(user.rest().await, "", "{begins:?}");
            let why = "acceptProxyProtocolFrom lists its address, but it does not begin with";
            let heard = server.log().wait_after(mark, why).await;
            assert!(heard.contains("127.0.0.2:"), "{heard}");
        }
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
    }
    // One that says nothing yet delays nobody.
    let mut late = connect_from(BALANCER, proxies[0].public()).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
    for piece in FAR.as_bytes().chunks(3) {
        late.write_all(piece).await.unwrap();
    }
    traffic::echo(&mut late, 1_000).await.unwrap();
    // A balancer that looks whether anybody is there speaks for itself.
    let mut itself = connect_from(BALANCER, proxies[0].public()).await;
    let mark = server.log().mark();
    itself
        .write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")
        .await
        .unwrap();
    traffic::echo(&mut itself, 1_000).await.unwrap();
    let line = "[tcp] get a user connection [127.0.0.2:";
    server.log().wait_after(mark, line).await;
}
