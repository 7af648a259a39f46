//! Tests a client over TLS and one multiplexed connection, which is the default.

use std::time::{Duration, Instant};

use mgrok_client::StopReport;
use mgrok_config::{ClientConfig, ClientTls, ClientTransport, WireProtocol};
use mgrok_mux::{Acceptor, Opener};
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_net::tls::{ServerTls, ServerTlsOptions};
use mgrok_proto::WireVersion;
use mgrok_proto::message::{Message, ReqWorkConn, StartWorkConn};

use crate::server::{
    Running, Server, accept_login, accept_proxy, answer_visit, echo, echo_service, ended,
    new_proxy, recv, serve_echo, start, stcp_visitor, tcp_proxy, within, work_conn,
};

/// The server's end of a session.
struct Session {
    control: MessageConn,
    acceptor: Acceptor,
    opener: Opener,
}

impl Session {
    async fn accept(server: &Server) -> Self {
        let tls = ServerTls::new(ServerTlsOptions::default());
        let conn = Conn::from(server.accept().await);
        let conn = within(tls.unwrap().accept(conn)).await.unwrap();
        let config = mgrok_mux::Config {
            // One test accepts no stream for a while.
            accept_backlog: 4096,
            ..mgrok_mux::Config::server()
        };
        let (opener, mut acceptor, driver) = mgrok_mux::session(conn, config);
        tokio::spawn(driver);
        let control = within(acceptor.accept()).await.unwrap().into();
        let mut control = MessageConn::new(control, WireVersion::V1);
        match recv(&mut control).await {
            Message::Login(_) => {}
            other => panic!("{} instead of Login", other.name()),
        }
        Self {
            control: accept_login(control).await,
            acceptor,
            opener,
        }
    }

    async fn accept_with_proxy(server: &Server) -> Self {
        let mut session = Self::accept(server).await;
        let announced = new_proxy(&mut session.control).await;
        accept_proxy(&mut session.control, &announced.proxy_name).await;
        session
    }

    async fn request(&mut self) {
        let request = ReqWorkConn::default().into();
        self.control.send(&request).await.unwrap();
    }

    async fn work_conn(&mut self) -> MessageConn {
        let stream = within(self.acceptor.accept()).await.unwrap();
        work_conn(stream.into()).await.0
    }

    async fn user(&mut self, proxy: &str) -> Conn {
        self.request().await;
        let mut work = self.work_conn().await;
        start(&mut work, proxy).await;
        work.into_conn()
    }
}

fn config(server: &Server) -> ClientConfig {
    ClientConfig {
        transport: ClientTransport {
            tcp_mux: true,
            tls: Some(ClientTls::default()),
            wire_protocol: WireProtocol::V1,
            ..ClientTransport::default()
        },
        ..server.config()
    }
}

#[tokio::test]
async fn visitors_have_streams_of_the_one_connection() {
    let server = Server::bind().await;
    let mut config = config(&server);
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);
    let mut session = Session::accept(&server).await;
    let mut user = client.enter("to-db").await;
    let stream = within(session.acceptor.accept()).await.unwrap();
    let mut conn = MessageConn::new(stream.into(), WireVersion::V1);
    let Message::NewVisitorConn(visit) = recv(&mut conn).await else {
        panic!("something else than NewVisitorConn");
    };
    serve_echo(answer_visit(conn, visit, "").await);
    echo(&mut user, "hello").await;
}

#[tokio::test]
async fn users_are_carried_over_one_connection() {
    let server = Server::bind().await;
    let mut config = config(&server);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let _client = Running::start(config);
    let mut session = Session::accept_with_proxy(&server).await;
    let mut first = session.user("echo").await;
    let mut second = session.user("echo").await;
    echo(&mut first, &"long ".repeat(200_000)).await;
    echo(&mut second, "short").await;
}

#[tokio::test]
async fn a_lost_connection_is_replaced_soon_and_its_users_end() {
    let server = Server::bind().await;
    let mut config = config(&server);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let _client = Running::start(config);
    let mut session = Session::accept_with_proxy(&server).await;
    let mut user = session.user("echo").await;
    echo(&mut user, "before").await;

    let lost_at = Instant::now();
    session.opener.close();
    ended(&mut user).await;
    let mut session = Session::accept_with_proxy(&server).await;
    assert!(lost_at.elapsed() < Duration::from_secs(2));
    let mut user = session.user("echo").await;
    echo(&mut user, "after").await;
}

#[tokio::test]
async fn the_end_of_the_control_stream_alone_ends_the_session() {
    let server = Server::bind().await;
    let _client = Running::start(config(&server));
    let mut session = Session::accept(&server).await;
    within(session.control.into_conn().close()).await.unwrap();
    // The client closes the connection as well.
    assert!(within(session.acceptor.accept()).await.is_none());
    Session::accept(&server).await;
}

#[tokio::test]
async fn users_are_counted_before_the_connection_ends() {
    let server = Server::bind().await;
    let mut config = config(&server);
    config.grace_period = Duration::from_millis(50);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let client = Running::start(config);
    let mut session = Session::accept_with_proxy(&server).await;
    let mut user = session.user("echo").await;
    echo(&mut user, "before").await;
    let report = within(client.stop()).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 1 });
    ended(&mut user).await;
}

/// A server that requests more work connections than the client opens at once gets the rest as earlier ones end.
#[tokio::test]
async fn a_flood_of_requests_is_bounded_and_not_forgotten() {
    const MAX_WAITING: usize = 1024;
    let server = Server::bind().await;
    let _client = Running::start(config(&server));
    let mut session = Session::accept(&server).await;
    let request = Message::from(ReqWorkConn::default());
    for _ in 0..MAX_WAITING + 3 {
        session.control.send(&request).await.unwrap();
    }
    let mut waiting = Vec::new();
    for _ in 0..MAX_WAITING {
        waiting.push(session.work_conn().await);
    }
    // An unbounded client would have opened the rest by now.
    let more = tokio::time::timeout(Duration::from_millis(100), session.acceptor.accept());
    assert!(more.await.is_err());
    let refused = Message::from(StartWorkConn {
        error: "full".to_owned(),
        ..StartWorkConn::default()
    });
    for mut work in waiting.drain(..3) {
        work.send(&refused).await.unwrap();
        ended(&mut work.into_conn()).await;
        session.work_conn().await;
    }
}
