//! Tests logins, announcements of proxies, and reconnects.

use std::collections::BTreeMap;

use mgrok_client::ProxyPhase;
use mgrok_config::AccessList;
use mgrok_proto::auth::{Secret, verify};
use mgrok_proto::message::Message;

use crate::server::{
    RUN_ID, Running, Server, accept_proxy, answer_proxy, echo, echo_service, new_proxy, recv,
    tcp_proxy,
};

#[tokio::test]
async fn a_client_logs_in_and_announces_its_proxies() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.user = "ada".to_owned();
    config.transport.pool_count = 2;
    let local = "127.0.0.1:22".parse().unwrap();
    config.proxies = vec![tcp_proxy("ssh", local), tcp_proxy("web", local)];
    let server_addr = config.servers[0].host.clone();
    let mut client = Running::start(config);

    let (mut control, login) = server.control().await;
    assert_eq!((login.user.as_str(), login.run_id.as_str()), ("ada", ""));
    assert_eq!(login.pool_count, 2);
    let token = Secret::new("secret");
    let key = login.privilege_key.expose();
    assert!(verify(&token, login.timestamp, key));

    let ssh = new_proxy(&mut control).await;
    assert_eq!(
        (ssh.proxy_name.as_str(), ssh.remote_port),
        ("ada.ssh", 6000)
    );
    assert_eq!(new_proxy(&mut control).await.proxy_name, "ada.web");
    client.wait_for("ssh", ProxyPhase::WaitStart).await;
    accept_proxy(&mut control, "ada.ssh").await;
    client.wait_for("ssh", ProxyPhase::Running).await;
    let status = client.status.proxy("ssh").unwrap();
    assert_eq!(status.remote_addr, Some(format!("{server_addr}:6000")));

    answer_proxy(&mut control, "ada.web", "", "port already used").await;
    client.wait_for("web", ProxyPhase::StartError).await;
    let web = client.status.proxies().remove("web").unwrap();
    assert_eq!(web.error.as_deref(), Some("port already used"));
}

#[tokio::test]
async fn a_client_comes_back_as_itself_and_its_users_stay() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let mut client = Running::start(config);

    let mut control = server.control_with_proxy().await;
    let mut user = server.user(&mut control, "echo").await;
    echo(&mut user, "before").await;
    drop(control);

    let (mut control, login) = server.control().await;
    assert_eq!(login.run_id, RUN_ID);
    // Without multiplexing, the user has a connection of its own.
    echo(&mut user, "after").await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "echo");
    accept_proxy(&mut control, "echo").await;
    client.wait_for("echo", ProxyPhase::Running).await;
    let mut another = server.user(&mut control, "echo").await;
    echo(&mut another, "another").await;
}

#[tokio::test]
async fn proxies_change_while_the_client_runs() {
    let server = Server::bind().await;
    let mut config = server.config();
    let local = "127.0.0.1:22".parse().unwrap();
    let (same, mut changed) = (tcp_proxy("same", local), tcp_proxy("changed", local));
    config.proxies = vec![tcp_proxy("gone", local), same.clone(), changed.clone()];
    let mut client = Running::start(config);

    let (mut control, _) = server.control().await;
    for name in ["changed", "gone", "same"] {
        assert_eq!(new_proxy(&mut control).await.proxy_name, name);
        accept_proxy(&mut control, name).await;
        client.wait_for(name, ProxyPhase::Running).await;
    }
    changed.use_compression = true;
    client.proxies.apply(vec![changed, same]);
    for name in ["changed", "gone"] {
        match recv(&mut control).await {
            Message::CloseProxy(closed) => assert_eq!(closed.proxy_name, name),
            other => panic!("{} instead of CloseProxy", other.name()),
        }
    }
    let again = new_proxy(&mut control).await;
    assert_eq!(again.proxy_name, "changed");
    assert!(again.use_compression);
    let phases: BTreeMap<_, _> = client.status.proxies();
    assert_eq!(phases.keys().collect::<Vec<_>>(), ["changed", "same"]);
    assert_eq!(phases["same"].phase, ProxyPhase::Running);
}

#[tokio::test]
async fn a_proxy_that_does_not_fit_into_a_message_is_alone_with_it() {
    let server = Server::bind().await;
    let mut config = server.config();
    let local = "127.0.0.1:22".parse().unwrap();
    let mut long = tcp_proxy("long", local);
    long.metadatas.insert("key".to_owned(), "x".repeat(11_000));
    config.proxies = vec![long, tcp_proxy("short", local)];
    let mut client = Running::start(config);

    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "short");
    client.wait_for("long", ProxyPhase::StartError).await;
    let error = client.status.proxy("long").unwrap().error.unwrap();
    assert!(error.contains("limit of 10240"), "{error}");
    assert!(error.contains("shorten the proxy's annotations"), "{error}");
}

#[tokio::test]
async fn a_proxy_that_the_server_would_not_guard_is_not_announced() {
    let server = Server::bind().await;
    let mut config = server.config();
    let local = "127.0.0.1:22".parse().unwrap();
    let mut guarded = tcp_proxy("guarded", local);
    guarded.access = AccessList::parse(&["192.0.2.0/24".to_owned()], &[]).unwrap();
    config.proxies = vec![guarded, tcp_proxy("open", local)];
    let mut client = Running::start(config);

    // It agrees to nothing, as frps.
    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "open");
    client.wait_for("guarded", ProxyPhase::StartError).await;
    let error = client.status.proxy("guarded").unwrap().error.unwrap();
    assert!(error.contains("remove `access`"), "{error}");
}

#[tokio::test]
async fn thousands_of_proxies_are_announced_in_turns() {
    let server = Server::bind().await;
    let mut config = server.config();
    let local = "127.0.0.1:22".parse().unwrap();
    config.proxies = (0..2000)
        .map(|it| tcp_proxy(&format!("p{it:04}"), local))
        .collect();
    let mut client = Running::start(config);

    let (mut control, _) = server.control().await;
    for _ in 0..2000 {
        let name = new_proxy(&mut control).await.proxy_name;
        accept_proxy(&mut control, &name).await;
    }
    client.wait_for("p1999", ProxyPhase::Running).await;
}
