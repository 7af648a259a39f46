//! Tests the server's certificate: which one each transport shows, and when it changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use mgrok_net::conn::Conn;
use mgrok_net::tls::{ClientTls, ClientTlsOptions, Fingerprint};
use mgrok_server::{Server, StartError};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tracing::Level;

use crate::line::{self, Line, Transport};
use crate::log::Log;
use crate::script::{LIMIT, RunningServer};
use crate::tcp_proxy;
use crate::transports::config;

/// The fingerprint to pin in the start-up line, or in the latest line about a change.
fn announced(log: &Log) -> String {
    let line = log.find(Level::INFO, "pinnedSha256").pop().unwrap();
    let (_, rest) = line.split_once("transport.tls.pinnedSha256 = \"").unwrap();
    rest[..64].to_owned()
}

pub(crate) async fn shown(server: &RunningServer) -> Fingerprint {
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let conn = line::tls(socket.into(), false).await;
    Fingerprint::of_other_end(&conn).unwrap()
}

async fn shown_by_quic(server: &RunningServer) -> Fingerprint {
    let quic = line::quic(server, ClientTlsOptions::default()).await;
    quic.unwrap().fingerprint().unwrap()
}

/// Writes a new certificate as renewal programs do: whole files, one after the other.
fn renew((certificate, key): &(PathBuf, PathBuf)) {
    let new_key = KeyPair::generate().unwrap();
    let new = CertificateParams::new(["example.com".to_owned()]).unwrap();
    let new = new.self_signed(&new_key).unwrap();
    for (path, content) in [(certificate, new.pem()), (key, new_key.serialize_pem())] {
        let unfinished = path.with_extension("new");
        std::fs::write(&unfinished, content).unwrap();
        std::fs::rename(unfinished, path).unwrap();
    }
}

fn paths(dir: &TempDir) -> (PathBuf, PathBuf) {
    (dir.path().join("server.crt"), dir.path().join("server.key"))
}

#[tokio::test]
async fn a_generated_certificate_is_the_same_on_all_transports_and_another_after_a_restart() {
    let log = Log::new();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let server = RunningServer::start(config(true)).await;
        let fingerprint = shown(&server).await;
        assert_eq!(shown_by_quic(&server).await, fingerprint);
        assert_eq!(announced(&log), fingerprint.to_string());
        let hint = log.find(Level::INFO, "autoGenCertPath");
        assert!(hint.last().unwrap().contains(&fingerprint.to_string()));
        server.stop().await.unwrap();
        seen.push(fingerprint);
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn a_kept_certificate_outlives_restarts() {
    let log = Log::new();
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("kept.pem");
    let mut config = config(true);
    config.transport.tls.auto_gen_cert_path = Some(path.clone());
    let mut seen = Vec::new();
    for _ in 0..2 {
        let server = RunningServer::start(config.clone()).await;
        let fingerprint = shown(&server).await;
        assert_eq!(shown_by_quic(&server).await, fingerprint);
        assert_eq!(announced(&log), fingerprint.to_string());
        server.stop().await.unwrap();
        seen.push(fingerprint);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(log.find(Level::INFO, "autoGenCertPath").is_empty());
    let files: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

async fn start_error(path: &Path) -> String {
    let mut config = config(true);
    config.transport.tls.auto_gen_cert_path = Some(path.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    match Server::from_listener(config, listener).await {
        Err(StartError::Tls(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_kept_is_named() {
    let dir = TempDir::new().unwrap();
    let nowhere = dir.path().join("nowhere/kept.pem");
    assert_eq!(
        start_error(&nowhere).await,
        format!("cannot write {}", nowhere.display())
    );
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    assert_eq!(
        start_error(&empty).await,
        format!("{}: no certificate in PEM form", empty.display())
    );
    assert_eq!(
        start_error(dir.path()).await,
        format!("cannot read {}", dir.path().display())
    );
}

/// Checks that a user and its work connection still exchange bytes.
async fn check_exchange(user: &mut TcpStream, work: &mut Conn) {
    user.write_all(b"ping").await.unwrap();
    assert_eq!(timeout(LIMIT, work.recv()).await.unwrap().unwrap(), "ping");
    work.send(Bytes::from_static(b"pong")).await.unwrap();
    let mut bytes = [0; 4];
    let read = timeout(LIMIT, user.read_exact(&mut bytes)).await;
    read.unwrap().unwrap();
}

#[tokio::test]
async fn renewed_certificates_are_shown_to_newcomers_and_others_stay() {
    let log = Log::new();
    let dir = TempDir::new().unwrap();
    let paths = paths(&dir);
    renew(&paths);
    let mut config = config(true);
    config.transport.tls.certificate = Some(paths.clone());
    let server = RunningServer::start(config).await;
    let before = shown(&server).await;
    assert_eq!(announced(&log), before.to_string());
    let mut users = Vec::new();
    for transport in [Transport::Wss, Transport::Quic] {
        let line = Line::new(&server, transport, true).await;
        let mut client = line.login("").await;
        let name = format!("{transport:?}");
        let port = client.start_proxy(tcp_proxy(&name, 0)).await.unwrap();
        let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, mut work) = client.work_conn_on(line.open_v1().await).await;
        check_exchange(&mut user, &mut work).await;
        users.push((user, work, client, line));
    }

    renew(&paths);
    let read_again = log.wait_for(Level::INFO, "were read again");
    timeout(LIMIT, read_again).await.unwrap();
    let after = shown(&server).await;
    assert_ne!(after, before);
    assert_eq!(shown_by_quic(&server).await, after);
    assert_eq!(announced(&log), after.to_string());
    for (user, work, _, _) in &mut users {
        check_exchange(user, work).await;
    }
    // A client that pins the old certificate refuses the new one.
    let pinning = ClientTls::new(ClientTlsOptions {
        server_name: "127.0.0.1".into(),
        pinned_sha256: Some(before.0),
        ..ClientTlsOptions::default()
    });
    let socket = TcpStream::connect(server.addr).await.unwrap();
    assert!(pinning.unwrap().connect(socket.into()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn unusable_files_are_logged_once_and_change_nothing() {
    /// Long enough for many checks of the files.
    const LONG: Duration = Duration::from_secs(60);
    let log = Log::new();
    let dir = TempDir::new().unwrap();
    let paths = paths(&dir);
    renew(&paths);
    let mut config = config(true);
    config.transport.tls.certificate = Some(paths.clone());
    let server = RunningServer::start(config).await;
    sleep(LONG).await;
    let first = announced(&log);
    let kept = std::fs::read(&paths.0).unwrap();

    std::fs::write(&paths.0, "no certificate").unwrap();
    sleep(LONG).await;
    assert_eq!(log.find(Level::WARN, "no certificate in PEM form").len(), 1);
    std::fs::remove_file(&paths.0).unwrap();
    sleep(LONG).await;
    assert_eq!(log.find(Level::WARN, "cannot read").len(), 1);
    // Restores the file, then makes the same mistake again.
    std::fs::write(&paths.0, &kept).unwrap();
    sleep(LONG).await;
    std::fs::remove_file(&paths.0).unwrap();
    sleep(LONG).await;
    assert_eq!(log.find(Level::WARN, "cannot read").len(), 2);
    assert_eq!(log.find(Level::INFO, "were read again").len(), 0);
    std::fs::write(&paths.0, &kept).unwrap();

    tokio::time::resume();
    assert_eq!(shown(&server).await.to_string(), first);
    assert_eq!(shown_by_quic(&server).await.to_string(), first);
}
