//! Tests the gateway for clients that are `ssh -R` against a scripted SSH client: what it refuses, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{HostKeyFile, ServerConfig, SshGateway};
use mgrok_proto::auth::Secret;
use russh::client::{self, ChannelOpenHandle, Handle, Msg, Session};
use russh::keys::PublicKeyOrCertificate;
use russh::{Channel, ChannelMsg, ChannelOpenFailure};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::script::{LIMIT, RunningServer, plain_config, until_refused};

/// What an SSH client does with users who come to it.
#[derive(Clone, Copy)]
enum Service {
    /// Sends back what comes, and ends when the user does.
    Echo,
    /// Is down.
    Down,
    /// Sends without end.
    Endless,
}

struct Script(Service);

impl client::Handler for Script {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        _key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        Ok(true)
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _address: &str,
        _port: u32,
        _from: &str,
        _from_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let service = self.0;
        if matches!(service, Service::Down) {
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        reply.accept().await;
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(channel.into_stream());
            match service {
                Service::Endless => while write.write_all(&[7; 16_384]).await.is_ok() {},
                Service::Echo | Service::Down => {
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                    let _ = write.shutdown().await;
                }
            }
        });
        Ok(())
    }
}

/// A server with a gateway, and the directory of its host key.
struct Gateway {
    server: RunningServer,
    addr: SocketAddr,
    _directory: TempDir,
}

impl Gateway {
    async fn start(token: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let mut config = ServerConfig {
            bind_addr: "127.0.0.1".into(),
            ssh_gateway: Some(SshGateway {
                bind_port: 0,
                host_key: HostKeyFile::Kept(directory.path().join("key")),
                authorized_keys: None,
            }),
            ..plain_config()
        };
        config.auth.token = Secret::new(token);
        let server = RunningServer::start(config).await;
        Self {
            addr: server.ssh_addr.unwrap(),
            server,
            _directory: directory,
        }
    }

    /// An SSH client that was let in.
    async fn client(&self, service: Service) -> Handle<Script> {
        let config = Arc::new(client::Config::default());
        let connecting = client::connect(config, self.addr, Script(service));
        let mut client = timeout(LIMIT, connecting).await.unwrap().unwrap();
        assert!(client.authenticate_none("v0").await.unwrap().success());
        client
    }
}

/// Asks for a forward and runs `command`.
async fn run(client: &Handle<Script>, command: &str) -> Channel<Msg> {
    client.tcpip_forward("0.0.0.0", 80).await.unwrap();
    let terminal = client.channel_open_session().await.unwrap();
    terminal.exec(true, command).await.unwrap();
    terminal
}

/// What stands at the terminal when `until` does, or at its end.
async fn text(terminal: &mut Channel<Msg>, until: &str) -> String {
    let mut text = String::new();
    let read = async {
        while let Some(message) = terminal.wait().await {
            if let ChannelMsg::Data { data } = message {
                text.push_str(std::str::from_utf8(&data).unwrap());
            }
            if text.contains(until) {
                return;
            }
        }
    };
    timeout(LIMIT, read).await.unwrap();
    text
}

/// The port that a terminal says the proxy has.
async fn port(terminal: &mut Channel<Msg>) -> u16 {
    let text = text(terminal, "RemoteAddress: ").await;
    let (_, address) = text
        .split_once("RemoteAddress: :")
        .unwrap_or_else(|| panic!("{text}"));
    address.trim().parse().unwrap()
}

#[tokio::test]
async fn users_reach_the_service_of_an_ssh_client_and_ends_are_carried() {
    let gateway = Gateway::start("").await;
    let client = gateway.client(Service::Echo).await;
    let mut terminal = run(&client, "tcp -n echo -u ann").await;
    let port = port(&mut terminal).await;
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let data = vec![9; 3_000_000];
    let (mut read, mut write) = user.split();
    let mut back = Vec::new();
    let both = async {
        tokio::join!(
            async {
                write.write_all(&data).await.unwrap();
                write.shutdown().await.unwrap();
            },
            async { read.read_to_end(&mut back).await.unwrap() }
        )
    };
    timeout(LIMIT, both).await.unwrap();
    assert!(back == data, "{} bytes", back.len());
    drop((client, terminal));
    until_refused(port).await;
}

#[tokio::test]
async fn a_user_of_a_service_that_is_down_is_refused() {
    let gateway = Gateway::start("").await;
    let client = gateway.client(Service::Down).await;
    let mut terminal = run(&client, "tcp").await;
    let port = port(&mut terminal).await;
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let read = timeout(LIMIT, user.read(&mut [0])).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_user_who_takes_nothing_does_not_stop_the_others() {
    let gateway = Gateway::start("").await;
    let client = gateway.client(Service::Endless).await;
    let mut terminal = run(&client, "tcp").await;
    let port = port(&mut terminal).await;
    let idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    idle.readable().await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut taken = vec![0; 20_000_000];
    timeout(LIMIT, user.read_exact(&mut taken))
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn the_token_is_asked_for_where_no_key_is() {
    let gateway = Gateway::start("right").await;
    for (command, expect) in [
        (
            "tcp",
            "token in login doesn't match token from configuration",
        ),
        (
            "tcp --token wrong",
            "token in login doesn't match token from configuration",
        ),
        ("tcp --token right", "RemoteAddress: :"),
    ] {
        let client = gateway.client(Service::Echo).await;
        let mut terminal = run(&client, command).await;
        let text = text(&mut terminal, expect).await;
        assert!(text.contains(expect), "{command}: {text}");
    }
}

#[tokio::test]
async fn who_asks_for_nonsense_is_told_and_parted() {
    let gateway = Gateway::start("").await;
    for (command, expect) in [
        ("", "say what to publish"),
        ("telnet", "invalid proxy type: telnet"),
        (
            "tcp --remote_port 99999",
            "--remote-port: port number 99999",
        ),
        ("http", "custom"),
        ("tcp --help", "--remote-port PORT"),
        ("http -d a.example", "vhost"),
    ] {
        let client = gateway.client(Service::Echo).await;
        let mut terminal = run(&client, command).await;
        let text = text(&mut terminal, "\n").await;
        assert!(text.contains(expect), "{command:?}: {text}");
        let gone = async {
            while !client.is_closed() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LIMIT, gone).await.unwrap();
    }
    let client = gateway.client(Service::Echo).await;
    let mut terminal = run(&client, "tcp").await;
    port(&mut terminal).await;
}

#[tokio::test]
async fn only_one_terminal_and_one_forward_are_granted() {
    let gateway = Gateway::start("").await;
    let client = gateway.client(Service::Echo).await;
    let mut terminal = run(&client, "tcp").await;
    let port = port(&mut terminal).await;
    client.channel_open_session().await.unwrap_err();
    client
        .channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1)
        .await
        .unwrap_err();
    client.tcpip_forward("0.0.0.0", 81).await.unwrap_err();
    // Nothing came of it, and the first ones are as they were.
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.cancel_tcpip_forward("0.0.0.0", 80).await.unwrap();
    until_refused(port).await;
}

#[tokio::test]
async fn a_client_that_opens_a_thousand_channels_is_parted_and_nobody_else() {
    let gateway = Gateway::start("").await;
    let other = gateway.client(Service::Echo).await;
    let mut terminal = run(&other, "tcp").await;
    let port = port(&mut terminal).await;
    let client = gateway.client(Service::Echo).await;
    let mut opened = 0;
    for _ in 0..1_000 {
        match timeout(LIMIT, client.channel_open_session()).await.unwrap() {
            Ok(_) => opened += 1,
            Err(_) if client.is_closed() => break,
            Err(_) => {}
        }
    }
    assert_eq!(opened, 1);
    assert!(client.is_closed());
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
}

#[tokio::test]
async fn strangers_that_speak_no_ssh_are_parted() {
    let gateway = Gateway::start("").await;
    for opening in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-x\r\n\xff\xff\xff\xff\xff\xff\xff\xff",
        b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14aaaaaaaaaa",
    ] {
        let mut stranger = TcpStream::connect(gateway.addr).await.unwrap();
        stranger.write_all(opening).await.unwrap();
        let mut all = Vec::new();
        let read = timeout(LIMIT, stranger.read_to_end(&mut all))
            .await
            .unwrap();
        let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
        assert!(
            read.as_ref().is_ok() || read.as_ref().is_err_and(reset),
            "{read:?}"
        );
    }
}

#[tokio::test]
async fn who_is_let_in_and_says_nothing_is_parted() {
    let gateway = Gateway::start("").await;
    let client = gateway.client(Service::Echo).await;
    client.tcpip_forward("0.0.0.0", 80).await.unwrap();
    let gone = async {
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye() {
    let gateway = Gateway::start("").await;
    let client = gateway.client(Service::Echo).await;
    let mut terminal = run(&client, "tcp").await;
    port(&mut terminal).await;
    let stopped = gateway.server.stop();
    let said = text(&mut terminal, "ended this session").await;
    assert!(said.contains("the server has ended this session"), "{said}");
    timeout(LIMIT, stopped).await.unwrap().unwrap();
    assert!(timeout(LIMIT, client).await.is_ok());
}
