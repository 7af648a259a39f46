//! Local services, and the places at which they are published.

use std::net::{SocketAddr, TcpListener, UdpSocket};

use mgrok_client::Client;
use mgrok_config::{Strictness, load_client_from_str};
use mgrok_lab::{eventually, ports, service};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::arranged::{blames, examine, file, is_good, server, text, word};

/// A `[[proxies]]` table of this `kind`.
fn proxy(kind: &str, local: SocketAddr, more: &str) -> String {
    let port = local.port();
    format!("\n[[proxies]]\nname = \"it\"\ntype = \"{kind}\"\nlocalPort = {port}\n{more}\n")
}

fn nobody() -> SocketAddr {
    ([127, 0, 0, 1], ports::free()).into()
}

/// Runs the client of a file with an admin port, until that says that its proxies have got the answer `phase`.
async fn run(text: &str, admin: u16, phase: &str) -> AbortOnDropHandle<()> {
    let config = load_client_from_str(text, "the test", Strictness::Strict);
    let client = Client::new(config.unwrap().config).unwrap();
    let running = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = client.run(std::future::pending()).await;
    }));
    eventually("the client has its answer", async || {
        let mut conn = TcpStream::connect(("127.0.0.1", admin)).await.ok()?;
        let request =
            "GET /api/status HTTP/1.0\r\nAuthorization: Basic YW5uOmFkbTFuLXMzY3JldA==\r\n\r\n";
        conn.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        conn.read_to_string(&mut answer).await.ok()?;
        answer
            .contains(&format!("\"status\":\"{phase}\""))
            .then_some(())
    })
    .await;
    running
}

/// The settings of an admin port.
fn admin(port: u16) -> String {
    format!(
        "webServer.port = {port}\nwebServer.user = \"ann\"\nwebServer.password = \"adm1n-s3cret\"\n"
    )
}

#[tokio::test]
async fn a_local_service_that_is_down() {
    let server = server("").await;
    let settings = proxy("tcp", nobody(), "remotePort = 0");
    let report = examine(&file(server.addr, &settings)).await;
    blames(&report, "local", "start the service");
    assert_eq!(word(&report, "public"), "skipped");
}

#[tokio::test]
async fn a_local_service_of_udp_that_is_down() {
    let server = server("").await;
    let settings = proxy("udp", nobody(), "remotePort = 0");
    let report = examine(&file(server.addr, &settings)).await;
    blames(&report, "local", "nobody listens at UDP");
    let echo = service::udp_echo().await;
    let settings = proxy("udp", echo.addr(), "remotePort = 0");
    is_good(&examine(&file(server.addr, &settings)).await);
}

#[tokio::test]
async fn a_socket_that_is_not_there() {
    let server = server("").await;
    let plugin = "remotePort = 0\nplugin.type = \"unix_domain_socket\"\nplugin.unixPath = \"/nowhere/app.sock\"";
    let settings = proxy("tcp", nobody(), plugin);
    let report = examine(&file(server.addr, &settings)).await;
    blames(&report, "local", "/nowhere/app.sock");
}

#[tokio::test]
async fn a_port_of_a_visitor_that_another_program_has() {
    let server = server("").await;
    let visitor = |kind: &str, port: u16| {
        format!(
            "[[visitors]]\nname = \"it\"\ntype = \"{kind}\"\nserverName = \"there\"\nsecretKey = \"k\"\nbindPort = {port}"
        )
    };
    let process = format!("(process {})", std::process::id());
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let text = file(server.addr, &visitor("stcp", port));
    blames(&examine(&text).await, "visitor", &process);
    drop(tcp);
    is_good(&examine(&text).await);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    let text = file(server.addr, &visitor("sudp", port));
    blames(&examine(&text).await, "visitor", &process);
}

#[tokio::test]
async fn a_health_check_that_finds_a_service_ill() {
    let server = server("").await;
    let ill = service::tcp(async |mut conn: TcpStream| {
        let _ = conn.read(&mut [0; 1024]).await;
        let answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n";
        let _ = conn.write_all(answer).await;
    })
    .await;
    let check = "remotePort = 0\nhealthCheck.type = \"http\"\nhealthCheck.path = \"/health\"";
    let report = examine(&file(server.addr, &proxy("tcp", ill.addr(), check))).await;
    blames(&report, "health", "status 500");
    let report = examine(&file(server.addr, &proxy("tcp", nobody(), check))).await;
    blames(&report, "local", "start the service");
    assert_eq!(word(&report, "health"), "skipped");
}

#[tokio::test]
async fn a_public_port_that_works() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let [port, public] = ports::several();
    let settings = admin(port) + &proxy("tcp", echo.addr(), &format!("remotePort = {public}"));
    let text_of_file = file(server.addr, &settings);
    let _client = run(&text_of_file, port, "running").await;
    let report = examine(&text_of_file).await;
    is_good(&report);
    assert_eq!(word(&report, "admin"), "ok", "{}", text(&report));
    assert_eq!(word(&report, "public"), "ok", "{}", text(&report));
}

#[tokio::test]
async fn a_public_port_that_works_is_tried_without_an_admin_port_too() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let [port, public] = ports::several();
    let settings = proxy("tcp", echo.addr(), &format!("remotePort = {public}"));
    let without = file(server.addr, &settings);
    assert_eq!(word(&examine(&without).await, "public"), "skipped");
    let _client = run(
        &file(server.addr, &(admin(port) + &settings)),
        port,
        "running",
    )
    .await;
    assert_eq!(word(&examine(&without).await, "public"), "ok");
}

#[tokio::test]
async fn a_public_port_that_the_server_does_not_allow() {
    let server = server("allowPorts = [{ single = 1 }]").await;
    let echo = service::tcp_echo().await;
    let [port, public] = ports::several();
    let settings = admin(port) + &proxy("tcp", echo.addr(), &format!("remotePort = {public}"));
    let text = file(server.addr, &settings);
    let _client = run(&text, port, "start error").await;
    blames(&examine(&text).await, "public", "allowPorts");
}

#[tokio::test]
async fn a_public_port_that_cannot_be_reached() {
    // Where users are told to come, nobody listens, as behind a firewall that refuses.
    let server = server("proxyBindAddr = \"127.0.0.2\"").await;
    let echo = service::tcp_echo().await;
    let [port, public] = ports::several();
    let settings = admin(port) + &proxy("tcp", echo.addr(), &format!("remotePort = {public}"));
    let text = file(server.addr, &settings);
    let _client = run(&text, port, "running").await;
    blames(
        &examine(&text).await,
        "public",
        "open it in the server's firewall",
    );
}

#[tokio::test]
async fn a_public_port_that_does_not_come_out_at_the_local_side() {
    let server = server("").await;
    let [port, public] = ports::several();
    let settings = admin(port) + &proxy("tcp", nobody(), &format!("remotePort = {public}"));
    let text_of_file = file(server.addr, &settings);
    let _client = run(&text_of_file, port, "running").await;
    let report = examine(&text_of_file).await;
    assert_eq!(word(&report, "local"), "failed", "{}", text(&report));
    assert_eq!(word(&report, "public"), "failed", "{}", text(&report));
    assert!(
        text(&report).contains("closes the connection at once"),
        "{}",
        text(&report)
    );
}

#[tokio::test]
async fn a_proxy_that_the_client_does_not_have_yet() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let [port, public] = ports::several();
    let it = proxy("tcp", echo.addr(), &format!("remotePort = {public}"));
    let before = file(server.addr, &(admin(port) + &it));
    let _client = run(&before, port, "running").await;
    let other = proxy("tcp", echo.addr(), "remotePort = 0").replace("\"it\"", "\"new\"");
    let report = examine(&(before + &other)).await;
    blames(&report, "public", "the client that runs does not have it");
}

#[tokio::test]
async fn an_admin_port_that_somebody_else_has() {
    let server = server("").await;
    let ssh = service::greeting(b"SSH-2.0-test\r\n").await;
    let report = examine(&file(server.addr, &admin(ssh.addr().port()))).await;
    blames(&report, "admin", "no admin port of a client");
}

#[tokio::test]
async fn a_web_site_is_asked_for_by_its_name() {
    let vhost = ports::free();
    let server = server(&format!("vhostHTTPPort = {vhost}")).await;
    let site = service::tcp(async |mut conn: TcpStream| {
        let _ = conn.read(&mut [0; 1024]).await;
        let _ = conn
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await;
    })
    .await;
    let port = ports::free();
    let dns = mgrok_lab::dns::Dns::knowing(&[("site.test", [127, 0, 0, 1].into())]).await;
    let settings = format!("dnsServer = \"{}\"\n{}", dns.addr(), admin(port));
    let found = file(
        server.addr,
        &(settings.clone() + &proxy("http", site.addr(), "customDomains = [\"site.test\"]")),
    );
    let client = run(&found, port, "running").await;
    let report = examine(&found).await;
    is_good(&report);
    assert!(
        text(&report).contains("answers with status 200"),
        "{}",
        text(&report)
    );
    drop(client);

    let port = ports::free();
    let settings = format!("dnsServer = \"{}\"\n{}", dns.addr(), admin(port));
    let lost = file(
        server.addr,
        &(settings + &proxy("http", site.addr(), "customDomains = [\"lost.test\"]")),
    );
    let _client = run(&lost, port, "running").await;
    blames(
        &examine(&lost).await,
        "public",
        "the name must lead to the server",
    );
}

#[tokio::test]
async fn a_list_that_the_server_does_not_keep_to() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let list = "remotePort = 0\naccess.allow = [\"192.0.2.0/24\"]";
    let settings = proxy("tcp", echo.addr(), list);
    let kept = examine(&file(server.addr, &settings)).await;
    is_good(&kept);
    assert_eq!(word(&kept, "access"), "ok", "{}", text(&kept));
    let v1 = format!("transport.wireProtocol = \"v1\"\n{settings}");
    let report = examine(&file(server.addr, &v1)).await;
    blames(&report, "access", "transport.wireProtocol = \"auto\"");
    // Without a list nothing is to be kept to.
    let none = proxy("tcp", echo.addr(), "remotePort = 0");
    let none = format!("transport.wireProtocol = \"v1\"\n{none}");
    let report = examine(&file(server.addr, &none)).await;
    assert!(report.rows.iter().all(|it| it.check != "access"));
}

#[tokio::test]
async fn a_list_that_lets_nobody_come_and_one_that_leaves_this_host_out() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let [port, public] = ports::several();
    let list = "access.allow = [\"192.0.2.1\"]\naccess.deny = [\"192.0.2.0/24\"]";
    let list = format!("remotePort = {public}\n{list}");
    let settings = admin(port) + &proxy("tcp", echo.addr(), &list);
    let file = file(server.addr, &settings);
    let _client = run(&file, port, "running").await;
    let report = examine(&file).await;
    is_good(&report);
    let shown = text(&report);
    assert!(shown.contains("proxy `it`: nobody may come"), "{shown}");
    assert_eq!(word(&report, "public"), "warning", "{shown}");
    assert!(shown.contains("may leave this host out"), "{shown}");
}
