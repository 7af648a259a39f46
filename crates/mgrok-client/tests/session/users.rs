//! Tests the path of users from a work connection to the local service.

use std::num::NonZeroU64;

use mgrok_client::ProxyPhase;
use mgrok_config::{Bandwidth, BandwidthMode, ProxyProtocol};
use mgrok_net::conn::Conn;
use mgrok_net::layers::{Layers, Limiter};
use mgrok_net::proxy_protocol;
use mgrok_proto::auth::{Secret, verify};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::StartWorkConn;
use tokio::net::TcpListener;

use crate::server::{
    RUN_ID, Running, Server, accept_proxy, echo, echo_service, ended, new_proxy, start, tcp_proxy,
    within,
};

#[tokio::test]
async fn users_are_carried_both_ways() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.user = "ada".to_owned();
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let _client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    let (mut work, offer) = server.work_conn(&mut control).await;
    assert_eq!(offer.run_id, RUN_ID);
    assert_eq!(
        (offer.privilege_key, offer.timestamp),
        (Secret::default(), 0)
    );
    start(&mut work, "ada.echo").await;
    let mut first = work.into_conn();
    let mut second = server.user(&mut control, "ada.echo").await;
    echo(&mut first, "one").await;
    echo(&mut second, "two").await;
    echo(&mut first, &"long ".repeat(100_000)).await;
    drop(first);
    echo(&mut second, "three").await;
}

#[tokio::test]
async fn layers_lie_on_work_connections_as_announced() {
    let server = Server::bind().await;
    let mut config = server.config();
    let mut proxy = tcp_proxy("echo", echo_service().await);
    proxy.use_encryption = true;
    proxy.use_compression = true;
    proxy.bandwidth = Bandwidth::parse("10MB", BandwidthMode::Client).unwrap();
    config.proxies = vec![proxy];
    let _client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    let work = server.user(&mut control, "echo").await;
    let layers = Layers {
        encryption: Some(CipherKey::derive(&Secret::new("secret"))),
        compression: true,
        limit: Some(Limiter::new(NonZeroU64::MAX)),
    };
    echo(&mut layers.wrap(work), &"hello ".repeat(1000)).await;
}

#[tokio::test]
async fn the_local_service_gets_the_users_address_before_the_users_bytes() {
    let server = Server::bind().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config();
    let mut proxy = tcp_proxy("web", service.local_addr().unwrap());
    proxy.proxy_protocol = Some(ProxyProtocol::V2);
    // The header is for the service, and outside the encryption.
    proxy.use_encryption = true;
    config.proxies = vec![proxy];
    let _client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    let (mut work, _) = server.work_conn(&mut control).await;
    let start = StartWorkConn {
        proxy_name: "web".to_owned(),
        src_addr: "2001:db8::1".to_owned(),
        src_port: 4711,
        dst_addr: "2001:db8::2".to_owned(),
        dst_port: 6000,
        ..StartWorkConn::default()
    };
    work.send(&start.into()).await.unwrap();
    let mut local = Conn::from(within(service.accept()).await.unwrap().0);
    let user = within(proxy_protocol::read(&mut local)).await.unwrap();
    let user = user.unwrap();
    assert_eq!(user.source, "[2001:db8::1]:4711".parse().unwrap());
    assert_eq!(user.destination, "[2001:db8::2]:6000".parse().unwrap());

    let layers = Layers {
        encryption: Some(CipherKey::derive(&Secret::new("secret"))),
        ..Layers::default()
    };
    let mut far = layers.wrap(work.into_conn());
    far.send("from the user".into()).await.unwrap();
    assert_eq!(within(local.recv()).await.unwrap(), "from the user");
    local.send("for the user".into()).await.unwrap();
    assert_eq!(within(far.recv()).await.unwrap(), "for the user");
}

#[tokio::test]
async fn work_connections_are_signed_if_the_configuration_says_so() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.auth.new_work_conns = true;
    let _client = Running::start(config);

    let (mut control, _) = server.control().await;
    let (_work, offer) = server.work_conn(&mut control).await;
    let key = offer.privilege_key.expose();
    assert!(verify(&Secret::new("secret"), offer.timestamp, key));
}

#[tokio::test]
async fn a_work_connection_may_overtake_the_start_of_its_proxy() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let mut client = Running::start(config);

    let (mut control, _) = server.control().await;
    new_proxy(&mut control).await;
    client.wait_for("echo", ProxyPhase::WaitStart).await;
    let mut user = server.user(&mut control, "echo").await;
    accept_proxy(&mut control, "echo").await;
    echo(&mut user, "early").await;
}

#[tokio::test]
async fn work_connections_for_nothing_are_closed() {
    let server = Server::bind().await;
    let mut config = server.config();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed_port = nobody.local_addr().unwrap();
    drop(nobody);
    config.proxies = vec![tcp_proxy("down", closed_port)];
    let _client = Running::start(config);
    let mut control = server.control_with_proxy().await;

    // First no such proxy, then no local service, then a refusal by the server.
    ended(&mut server.user(&mut control, "other").await).await;
    ended(&mut server.user(&mut control, "down").await).await;
    let (mut work, _) = server.work_conn(&mut control).await;
    let refused = StartWorkConn {
        error: "work connection pool is full, discarding".to_owned(),
        ..StartWorkConn::default()
    };
    work.send(&refused.into()).await.unwrap();
    ended(&mut work.into_conn()).await;
}

#[tokio::test]
async fn waiting_work_connections_end_with_their_session() {
    let server = Server::bind().await;
    let _client = Running::start(server.config());
    let (mut control, _) = server.control().await;
    let (work, _) = server.work_conn(&mut control).await;
    drop(control);
    ended(&mut work.into_conn()).await;
}
