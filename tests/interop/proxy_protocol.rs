//! Local services hear who their users are.

use std::net::SocketAddr;

use bytes::Bytes;
use mgrok_lab::{
    Client, PATIENCE, Proxy, Server, Visitor, eventually, ports,
    service::{self, Service},
    within,
};
use mgrok_net::{
    conn::Conn,
    proxy_protocol::{self, Addresses},
};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::mpsc,
};

use crate::Pair;

for_each_pair!(
    a_service_hears_who_connected,
    a_website_hears_who_asked,
    a_private_service_hears_where_its_visitor_is,
    a_service_hears_who_sent_the_first_datagram,
);

const VERSIONS: [&str; 2] = ["v1", "v2"];

/// What came ahead of a user's bytes.
#[derive(Debug)]
struct Introduction {
    version: &'static str,
    addresses: Option<Addresses>,
}

fn version(first: &[u8]) -> &'static str {
    match first {
        [b'P', ..] => "v1",
        [b'\r', ..] => "v2",
        other => panic!("{other:?} is not the begin of a PROXY protocol header"),
    }
}

/// A service that tells of the users' introductions, then sends back what they send.
async fn introduced() -> (Service, mpsc::UnboundedReceiver<Introduction>) {
    let (tell, told) = mpsc::unbounded_channel();
    let service = service::tcp(move |stream| {
        let tell = tell.clone();
        async move {
            let mut user = Conn::from(stream);
            let first = user.recv().await.unwrap();
            let version = version(&first);
            user.unread(first);
            let addresses = proxy_protocol::read(&mut user).await.unwrap();
            let _ = tell.send(Introduction { version, addresses });
            while let Ok(bytes) = user.recv().await {
                if bytes.is_empty() || user.send(bytes).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (service, told)
}

async fn next(told: &mut mpsc::UnboundedReceiver<Introduction>) -> Introduction {
    within(PATIENCE, "an introduction", told.recv())
        .await
        .unwrap()
}

/// Connects, and sees a byte there and back; the user's address.
async fn knock(listener: SocketAddr) -> (Conn, SocketAddr) {
    let stream = TcpStream::connect(listener).await.unwrap();
    let from = stream.local_addr().unwrap();
    let mut user = Conn::from(stream);
    let back = async {
        user.send(Bytes::from_static(b"x")).await?;
        user.recv().await
    };
    assert_eq!(within(PATIENCE, "a byte", back).await.unwrap(), "x");
    (user, from)
}

fn with_version(proxy: Proxy, version: &str) -> Proxy {
    proxy.with(&format!("transport.proxyProtocolVersion = \"{version}\""))
}

async fn a_service_hears_who_connected(pair: Pair) {
    let server = Server::start(pair.server, "").await;
    let (service, mut told) = introduced().await;
    let layers = "transport.useEncryption = true\ntransport.useCompression = true";
    for more in ["", layers] {
        let proxies = VERSIONS.map(|version| {
            let proxy = Proxy::tcp(version, service.addr());
            with_version(proxy, version).with(more)
        });
        let mark = server.log().mark();
        let client = Client::start(pair.client, server.addr(), "", &proxies).await;
        for (proxy, version) in proxies.iter().zip(VERSIONS) {
            let (_user, source) = knock(proxy.public()).await;
            let introduction = next(&mut told).await;
            assert_eq!(introduction.version, version);
            let addresses = introduction.addresses.unwrap();
            assert_eq!(addresses.source, source);
            assert_eq!(addresses.destination, proxy.public());
        }
        client.stop().await;
        server.log().wait_after(mark, "client exit success").await;
    }
}

async fn a_website_hears_who_asked(pair: Pair) {
    let port = ports::free();
    let web = SocketAddr::from(([127, 0, 0, 1], port));
    let server = Server::start(pair.server, &format!("vhostHTTPPort = {port}")).await;
    let (service, mut told) = introduced().await;
    let proxies = VERSIONS.map(|version| {
        let proxy = Proxy::new("http", version, service.addr());
        with_version(proxy, version).with(&format!("customDomains = [\"{version}.test\"]"))
    });
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for version in VERSIONS {
        let stream = TcpStream::connect(web).await.unwrap();
        let source = stream.local_addr().unwrap();
        let mut user = Conn::from(stream);
        let request = format!("GET / HTTP/1.1\r\nHost: {version}.test\r\n\r\n");
        user.send(request.into()).await.unwrap();
        let introduction = next(&mut told).await;
        assert_eq!(introduction.version, version);
        // Where the user arrived is not told, as the connection will be used for others, too.
        assert_eq!(introduction.addresses.unwrap().source, source);
    }
}

async fn a_private_service_hears_where_its_visitor_is(pair: Pair) {
    let server = Server::start(pair.server, "").await;
    let (service, mut told) = introduced().await;
    let key = "secretKey = \"key\"";
    let proxies = VERSIONS.map(|version| {
        with_version(Proxy::new("stcp", version, service.addr()), version).with(key)
    });
    let visitors =
        VERSIONS.map(|version| Visitor::new("stcp", format!("to-{version}"), version).with(key));
    let _client =
        Client::start_with_visitors(pair.client, server.addr(), "", &proxies, &visitors).await;
    for (visitor, version) in visitors.iter().zip(VERSIONS) {
        let (_user, from) = knock(visitor.listener()).await;
        let introduction = next(&mut told).await;
        assert_eq!(introduction.version, version);
        // It is not the user's address but that of the visitor's client, which the server sees.
        let addresses = introduction.addresses.unwrap();
        assert_eq!(addresses.destination, server.addr());
        assert_eq!(addresses.source.ip(), from.ip());
        assert_ne!(addresses.source, from);
    }
}

async fn a_service_hears_who_sent_the_first_datagram(pair: Pair) {
    let server = Server::start(pair.server, "").await;
    let service = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let local = service.local_addr().unwrap();
    let proxies = VERSIONS.map(|version| with_version(Proxy::udp(version, local), version));
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (proxy, version) in proxies.iter().zip(VERSIONS) {
        let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        user.connect(proxy.public()).await.unwrap();
        let mut buffer = [0; 1_500];
        // The first ones may be lost, while the server has no work connection yet.
        let first = eventually("a datagram arrives", async || {
            user.send(b"hello").await.unwrap();
            let arrival = service.recv_from(&mut buffer);
            let arrival = tokio::time::timeout(std::time::Duration::from_millis(300), arrival);
            let (len, _) = arrival.await.ok()?.unwrap();
            Some(buffer[..len].to_vec())
        })
        .await;
        let header = proxy_protocol::parse(&first).unwrap().unwrap();
        assert_eq!(self::version(&first), version);
        assert_eq!(&first[header.len..], b"hello");
        match version {
            // It has no word for datagrams.
            "v1" => {
                assert_eq!(header.addresses, None);
                assert!(first.starts_with(b"PROXY UNKNOWN"));
            }
            _ => assert_eq!(header.addresses.unwrap().source, user.local_addr().unwrap()),
        }
        user.send(b"again").await.unwrap();
        let next = async {
            loop {
                let (len, _) = service.recv_from(&mut buffer).await.unwrap();
                if &buffer[..len] != b"hello" {
                    return buffer[..len].to_vec();
                }
            }
        };
        // Without a header: the service knows by now who that is.
        assert_eq!(within(PATIENCE, "a datagram", next).await, b"again");
    }
}
