//! Every transport to the server, in both wire versions, with and without multiplexing.

use std::{net::SocketAddr, time::Duration};

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, certs::Authority, ports, service, traffic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

const TRANSPORTS: [&str; 5] = ["kcp", "quic", "tcp", "websocket", "wss"];

/// A server that can be reached by every transport.
struct AllTransports {
    server: Server,
    kcp: u16,
    quic: u16,
}

impl AllTransports {
    async fn start(settings: &str) -> Self {
        let [kcp, quic] = ports::several();
        let settings = format!("kcpBindPort = {kcp}\nquicBindPort = {quic}\n{settings}");
        let server = Server::start(Peer::Mgrok, &settings).await;
        Self { server, kcp, quic }
    }

    /// Where a transport ends.
    fn addr(&self, transport: &str) -> SocketAddr {
        let mut addr = self.server.addr();
        match transport {
            "kcp" => addr.set_port(self.kcp),
            "quic" => addr.set_port(self.quic),
            _ => {}
        }
        addr
    }

    /// A client that comes by `transport`, and publishes `proxies`.
    async fn client(&self, transport: &str, settings: &str, proxies: &[Proxy]) -> Client {
        let settings = format!("transport.protocol = {transport:?}\n{settings}");
        Client::start(Peer::Mgrok, self.addr(transport), &settings, proxies).await
    }

    /// What the log says of a client that comes by `transport` and gives up.
    async fn refusal(&self, transport: &str, settings: &str) -> String {
        let settings = format!("transport.protocol = {transport:?}\n{settings}");
        let mut client = Client::launch(Peer::Mgrok, self.addr(transport), &settings, &[]);
        assert_eq!(client.ended().await, Ended::Badly);
        client.log().tail()
    }
}

/// Users of tcp and of udp are served by every transport in `wire`.
async fn serves(mux: bool, wire: &str) {
    let mux = format!("transport.tcpMux = {mux}\n");
    let server = AllTransports::start(&mux).await;
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    for transport in TRANSPORTS {
        for tls in [true, false] {
            let proxies = [Proxy::tcp("tcp", tcp.addr()), Proxy::udp("udp", udp.addr())];
            let settings =
                format!("{mux}transport.wireProtocol = {wire:?}\ntransport.tls.enable = {tls}\n");
            let client = server.client(transport, &settings, &proxies).await;
            traffic::tcp_echo(proxies[0].public(), 300_000).await;
            traffic::udp_echo(proxies[1].public(), &[1, 0, 1_000, 1_500]).await;
            assert_eq!(client.stop().await, Ended::Well);
        }
    }
}

#[tokio::test]
async fn users_are_served_in_v1() {
    serves(true, "v1").await;
}

#[tokio::test]
async fn users_are_served_in_v1_without_multiplexing() {
    serves(false, "v1").await;
}

#[tokio::test]
async fn users_are_served_in_v2() {
    serves(true, "v2").await;
}

#[tokio::test]
async fn users_are_served_in_v2_without_multiplexing() {
    serves(false, "v2").await;
}

#[tokio::test]
async fn a_half_close_gets_through_between_two_ends_of_mgrok() {
    // Longer than a reply has where the end of one direction is that of both.
    const LATE: Duration = Duration::from_millis(1500);
    let late = service::tcp(async |mut stream: TcpStream| {
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        sleep(LATE).await;
        stream.write_all(&question).await.unwrap();
    })
    .await;
    let server = AllTransports::start("").await;
    for transport in TRANSPORTS {
        let proxy = Proxy::tcp("late", late.addr());
        let client = server
            .client(transport, "", std::slice::from_ref(&proxy))
            .await;
        let mut user = TcpStream::connect(proxy.public()).await.unwrap();
        user.write_all(b"question").await.unwrap();
        user.shutdown().await.unwrap();
        let mut answer = Vec::new();
        user.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"question", "{transport}");
        assert_eq!(client.stop().await, Ended::Well);
    }
}

#[tokio::test]
async fn a_server_that_nobody_checks_can_be_pinned_as_the_log_says() {
    let server = AllTransports::start("").await;
    for transport in TRANSPORTS {
        let client = server.client(transport, "", &[]).await;
        let line = client.log().wait_for("transport.tls.pinnedSha256 = ").await;
        let at = line.find("transport.tls.pinnedSha256").unwrap();
        let pinned = &line[at..];
        // Once, although each stream may be a connection.
        assert_eq!(client.log().count("transport.tls.pinnedSha256"), 1);
        drop(client);

        let client = server.client(transport, pinned, &[]).await;
        assert_eq!(client.log().count("is not verified"), 0);
        drop(client);
        let other = format!("transport.tls.pinnedSha256 = \"{}\"", "07".repeat(32));
        let refusal = server.refusal(transport, &other).await;
        assert!(
            refusal.contains(
                "the server's certificate is not accepted: it is not the one of \
                 transport.tls.pinnedSha256; somebody may be intercepting the connection"
            ),
            "{refusal}"
        );
    }
}

#[tokio::test]
async fn a_wrong_certificate_has_its_words() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = AllTransports::start(&authority.sign("tunnel.test").settings()).await;
    for transport in TRANSPORTS {
        for (trusted, name, words) in [
            (
                &other,
                "tunnel.test",
                "no authority of transport.tls.trustedCaFile has signed it: ",
            ),
            (
                &authority,
                "other.test",
                "set transport.tls.serverName to one that it is for: ",
            ),
        ] {
            let settings = format!(
                "transport.tls.trustedCaFile = {:?}\ntransport.tls.serverName = {name:?}",
                trusted.file()
            );
            let refusal = server.refusal(transport, &settings).await;
            assert!(refusal.contains(words), "{transport}: {refusal}");
        }
    }
}
