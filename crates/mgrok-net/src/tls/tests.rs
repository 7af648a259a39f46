use std::future::Future;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::conn::Conn;
use crate::tcp;

/// A certificate like that of an frp server before 0.64, and worse: X.509 v1, valid only in the year 1, serial 1, no
/// subject. The file ends with its private key.
const YEAR_1: &str = include_str!("tests/x509_v1_year_1.pem");

/// An authority, and a directory for the certificates that it signs.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each authority has a name of its own, as in reality.
        let name = dir.path().to_string_lossy();
        params
            .distinguished_name
            .push(DnType::CommonName, name.into_owned());
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.dir.path().join("ca.crt"))
    }

    fn sign(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Some(self.write(name, &certificate.pem(), &key.serialize_pem()))
    }

    fn write(&self, name: &str, certificate: &str, key: &str) -> (PathBuf, PathBuf) {
        let paths = (
            self.dir.path().join(format!("{name}.crt")),
            self.dir.path().join(format!("{name}.key")),
        );
        std::fs::write(&paths.0, certificate).unwrap();
        std::fs::write(&paths.1, key).unwrap();
        paths
    }
}

fn client_options(server_name: &str) -> ClientTlsOptions {
    ClientTlsOptions {
        server_name: server_name.to_owned(),
        ..ClientTlsOptions::default()
    }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = tcp::bind("127.0.0.1", 0).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (client, (server, _)) = tokio::join!(TcpStream::connect(addr), tcp::accept(&listener));
    (client.unwrap(), server)
}

/// Performs the handshake, then sends a word in each direction. Returns the results of client and server.
async fn talk(
    server: ServerTlsOptions,
    client: ClientTlsOptions,
) -> (io::Result<()>, io::Result<()>) {
    let (server, client) = (
        ServerTls::new(server).unwrap(),
        ClientTls::new(client).unwrap(),
    );
    talk_once(&server, &client).await
}

async fn talk_once(server: &ServerTls, client: &ClientTls) -> (io::Result<()>, io::Result<()>) {
    let (client_socket, server_socket) = sockets().await;
    let client = async {
        let conn = client.connect(client_socket.into()).await?;
        exchange(conn).await
    };
    let server = async {
        let conn = server.accept(server_socket.into()).await?;
        exchange(conn).await
    };
    in_time(async { tokio::join!(client, server) }).await
}

async fn exchange(mut conn: Conn) -> io::Result<()> {
    conn.send(Bytes::from_static(b"word")).await?;
    let mut received = Vec::new();
    while received.len() < 4 {
        let chunk = conn.recv().await?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        received.extend_from_slice(&chunk);
    }
    assert_eq!(received, b"word");
    Ok(())
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap()
}

#[track_caller]
fn assert_good((client, server): (io::Result<()>, io::Result<()>)) {
    client.unwrap();
    server.unwrap();
}

#[tokio::test]
async fn by_default_any_certificate_is_accepted() {
    for name in ["localhost", "example.com", "127.0.0.1", "[::1]", "::1"] {
        assert_good(talk(ServerTlsOptions::default(), client_options(name)).await);
    }
}

#[tokio::test]
async fn an_extra_first_byte_is_accepted() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let client = ClientTls::new(ClientTlsOptions {
        custom_first_byte: true,
        ..client_options("localhost")
    })
    .unwrap();
    assert_good(talk_once(&server, &client).await);

    let (client_socket, mut server_socket) = sockets().await;
    let mut start = [0; 3];
    let (_, read) = in_time(async {
        tokio::join!(client.connect(client_socket.into()), async {
            let read = server_socket.read_exact(&mut start).await;
            drop(server_socket);
            read
        })
    })
    .await;
    read.unwrap();
    assert_eq!(start, [0x17, 0x16, 0x03]);
}

#[tokio::test]
async fn a_sniffed_connection_can_still_shake_hands() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    for custom_first_byte in [false, true] {
        let client = ClientTls::new(ClientTlsOptions {
            custom_first_byte,
            ..client_options("localhost")
        })
        .unwrap();
        let (client_socket, server_socket) = sockets().await;
        let accept = async {
            let mut conn = Conn::from(server_socket);
            let opening = crate::sniff::opening(&mut conn).await.unwrap();
            let consume_first = custom_first_byte;
            assert_eq!(opening, crate::sniff::Opening::Tls { consume_first });
            exchange(server.accept(conn).await?).await
        };
        let connect = async { exchange(client.connect(client_socket.into()).await?).await };
        assert_good(in_time(async { tokio::join!(connect, accept) }).await);
    }
}

#[tokio::test]
async fn a_server_knows_the_name_that_the_client_sent() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    for (called, known) in [
        ("Shop.test", Some("shop.test")),
        // An address is not sent as SNI.
        ("192.0.2.1", None),
    ] {
        let client = ClientTls::new(client_options(called)).unwrap();
        let (client_socket, server_socket) = sockets().await;
        let accept = server.accept(server_socket.into());
        let connect = client.connect(client_socket.into());
        let (user, accepted) = in_time(async { tokio::join!(connect, accept) }).await;
        assert_eq!(accepted.unwrap().server_name(), known);
        assert_eq!(user.unwrap().server_name(), None);
    }
}

#[tokio::test]
async fn clients_choose_among_the_protocols_that_are_offered() {
    let server = ServerTls::new(ServerTlsOptions {
        alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ..ServerTlsOptions::default()
    })
    .unwrap();
    for (asked, chosen) in [
        (&[&b"http/1.1"[..], b"h2"][..], Some(&b"h2"[..])),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let mut client = ClientTls::new(client_options("localhost")).unwrap();
        let config = Arc::make_mut(&mut client.config);
        config.alpn_protocols = asked.iter().map(|name| name.to_vec()).collect();
        let connector = tokio_rustls::TlsConnector::from(client.config.clone());
        let (client_socket, server_socket) = sockets().await;
        let accept = server.accept(server_socket.into());
        let connect = connector.connect(client.server_name.clone(), client_socket);
        let (user, accepted) = in_time(async { tokio::join!(connect, accept) }).await;
        assert_eq!(user.unwrap().get_ref().1.alpn_protocol(), chosen);
        accepted.unwrap();
    }

    let mut client = ClientTls::new(client_options("localhost")).unwrap();
    Arc::make_mut(&mut client.config).alpn_protocols = vec![b"smtp".to_vec()];
    talk_once(&server, &client).await.0.unwrap_err();
}

#[tokio::test]
async fn an_absurd_certificate_is_accepted_without_an_authority() {
    let authority = Authority::new();
    let server = || ServerTlsOptions {
        certificate: Some(authority.write("year1", YEAR_1, YEAR_1)),
        ..ServerTlsOptions::default()
    };
    assert_good(talk(server(), client_options("localhost")).await);
    let (client, _) = talk(
        server(),
        ClientTlsOptions {
            trusted_ca: authority.ca(),
            ..client_options("localhost")
        },
    )
    .await;
    client.unwrap_err();
}

#[tokio::test]
async fn the_server_must_be_who_it_should_be() {
    let (authority, other) = (Authority::new(), Authority::new());
    let talk = async |name: &str, ca: Option<PathBuf>| {
        let server = ServerTlsOptions {
            certificate: authority.sign("example.com"),
            ..ServerTlsOptions::default()
        };
        let client = ClientTlsOptions {
            trusted_ca: ca,
            ..client_options(name)
        };
        talk(server, client).await
    };
    assert_good(talk("example.com", authority.ca()).await);

    let error = talk("example.org", authority.ca()).await.0.unwrap_err();
    assert!(error.to_string().contains("not valid for name"), "{error}");
    let error = talk("example.com", other.ca()).await.0.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn only_the_pinned_certificate_is_accepted() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let pinning = |fingerprint: Fingerprint| {
        ClientTls::new(ClientTlsOptions {
            pinned_sha256: Some(fingerprint.0),
            ..client_options("localhost")
        })
        .unwrap()
    };
    assert_good(talk_once(&server, &pinning(server.fingerprint())).await);

    let mut other = server.fingerprint();
    other.0[31] ^= 1;
    let error = talk_once(&server, &pinning(other)).await.0.unwrap_err();
    let text = format!(
        "the server's certificate has the SHA-256 fingerprint {}, but {other} is pinned",
        server.fingerprint()
    );
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_pinned_certificate_is_nothing_without_its_key() {
    let authority = Authority::new();
    let paths = authority.sign("a").unwrap();
    let shown = files::certified_key(&paths, &provider()).unwrap();
    let theirs = files::certified_key(&authority.sign("b").unwrap(), &provider()).unwrap();
    let client = ClientTls::new(ClientTlsOptions {
        pinned_sha256: Some(Fingerprint::of(&shown.cert[0]).0),
        ..client_options("localhost")
    })
    .unwrap();
    for (key, is_good) in [(&shown.key, true), (&theirs.key, false)] {
        let stolen = rustls::sign::CertifiedKey::new(shown.cert.clone(), key.clone());
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (client_socket, server_socket) = sockets().await;
        let (connected, _) = in_time(async {
            tokio::join!(
                client.connect(client_socket.into()),
                acceptor.accept(server_socket)
            )
        })
        .await;
        match connected {
            Ok(_) => assert!(is_good),
            Err(error) => assert!(
                !is_good && error.to_string().contains("Signature"),
                "{error}"
            ),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_parsed_cannot_be_pinned() {
    let authority = Authority::new();
    let options = ServerTlsOptions {
        certificate: Some(authority.write("year1", YEAR_1, YEAR_1)),
        ..ServerTlsOptions::default()
    };
    let server = ServerTls::new(options.clone()).unwrap();
    // The fingerprint that openssl prints.
    let fingerprint = server.fingerprint().to_string();
    assert_eq!(
        fingerprint,
        "c447ca42e7bd92369b192e67c2d8c99d89a804aaed39b1b73729425eceb35dc7"
    );
    let client = ClientTlsOptions {
        pinned_sha256: Some(server.fingerprint().0),
        ..client_options("localhost")
    };
    talk(options, client).await.0.unwrap_err();
}

#[tokio::test]
async fn an_authority_must_agree_with_the_pin() {
    let (authority, other) = (Authority::new(), Authority::new());
    let options = ServerTlsOptions {
        certificate: authority.sign("example.com"),
        ..ServerTlsOptions::default()
    };
    let server = ServerTls::new(options).unwrap();
    for (ca, name, is_good) in [
        (authority.ca(), "example.com", true),
        (authority.ca(), "example.org", false),
        (other.ca(), "example.com", false),
        (None, "example.org", true),
    ] {
        let client = ClientTls::new(ClientTlsOptions {
            trusted_ca: ca,
            pinned_sha256: Some(server.fingerprint().0),
            ..client_options(name)
        });
        let (client, _) = talk_once(&server, &client.unwrap()).await;
        assert_eq!(client.is_ok(), is_good, "{name}");
    }
}

#[tokio::test]
async fn a_client_knows_the_fingerprint_that_it_saw() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let client = ClientTls::new(client_options("localhost")).unwrap();
    // The second connection resumes the first one's session.
    for _ in 0..2 {
        let (client_socket, server_socket) = sockets().await;
        let plain = Conn::from(client_socket);
        assert_eq!(Fingerprint::of_other_end(&plain), None);
        let connect = async {
            let conn = client.connect(plain).await?;
            let seen = Fingerprint::of_other_end(&conn);
            exchange(conn).await?;
            io::Result::Ok(seen)
        };
        let accept = async {
            let conn = server.accept(server_socket.into()).await?;
            let seen = Fingerprint::of_other_end(&conn);
            exchange(conn).await?;
            io::Result::Ok(seen)
        };
        let (near, far) = in_time(async { tokio::join!(connect, accept) }).await;
        assert_eq!(near.unwrap(), Some(server.fingerprint()));
        assert_eq!(far.unwrap(), None);
    }
}

#[tokio::test]
async fn a_reload_changes_what_new_connections_get() {
    let authority = Authority::new();
    let paths = authority.sign("example.com").unwrap();
    let server = ServerTls::new(ServerTlsOptions {
        certificate: Some(paths.clone()),
        ..ServerTlsOptions::default()
    })
    .unwrap();
    let first = server.fingerprint();
    let (client_socket, server_socket) = sockets().await;
    let client = ClientTls::new(client_options("localhost")).unwrap();
    let (near, far) = tokio::join!(
        client.connect(client_socket.into()),
        server.accept(server_socket.into())
    );
    assert!(!server.clone().reload().unwrap());

    // Only half of the new files is there: nothing changes, and the reload is tried again.
    std::fs::copy(&authority.sign("new").unwrap().0, &paths.0).unwrap();
    for _ in 0..2 {
        check_error(
            server.clone().reload(),
            &["example.com.crt", "does not go with"],
        );
        assert_eq!(server.fingerprint(), first);
        assert_good(talk_once(&server, &client).await);
    }
    std::fs::remove_file(&paths.0).unwrap();
    check_error(server.clone().reload(), &["cannot read", "example.com.crt"]);
    assert_good(talk_once(&server, &client).await);

    // Writes to the same files.
    authority.sign("example.com").unwrap();
    assert!(server.clone().reload().unwrap());
    assert!(!server.reload().unwrap());
    let second = server.fingerprint();
    assert_ne!(second, first);
    let pinning = ClientTls::new(ClientTlsOptions {
        pinned_sha256: Some(second.0),
        ..client_options("localhost")
    });
    assert_good(talk_once(&server, &pinning.unwrap()).await);

    // Existing connections stay.
    let (near, far) = (exchange(near.unwrap()), exchange(far.unwrap()));
    assert_good(in_time(async { tokio::join!(near, far) }).await);
}

#[tokio::test]
async fn a_reload_ends_the_trust_in_an_authority() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = ServerTls::new(ServerTlsOptions {
        trusted_ca: authority.ca(),
        ..ServerTlsOptions::default()
    })
    .unwrap();
    let fingerprint = server.fingerprint();
    let client = |authority: &Authority| {
        ClientTls::new(ClientTlsOptions {
            certificate: authority.sign("client"),
            ..client_options("localhost")
        })
        .unwrap()
    };
    let (ours, theirs) = (client(&authority), client(&other));
    // The client now has tickets, with which it need not show its certificate again.
    assert_good(talk_once(&server, &ours).await);
    std::fs::copy(other.ca().unwrap(), authority.ca().unwrap()).unwrap();
    assert!(server.reload().unwrap());
    talk_once(&server, &ours).await.1.unwrap_err();
    assert_good(talk_once(&server, &theirs).await);
    // The server's certificate has not changed.
    assert_eq!(server.fingerprint(), fingerprint);
}

#[tokio::test]
async fn the_server_may_be_known_by_its_address() {
    let authority = Authority::new();
    let server = ServerTlsOptions {
        certificate: authority.sign("127.0.0.1"),
        ..ServerTlsOptions::default()
    };
    let client = ClientTlsOptions {
        trusted_ca: authority.ca(),
        ..client_options("127.0.0.1")
    };
    assert_good(talk(server, client).await);
}

#[tokio::test]
async fn clients_must_show_a_certificate_where_one_is_asked_for() {
    let (authority, other) = (Authority::new(), Authority::new());
    let talk = async |certificate| {
        let server = ServerTlsOptions {
            trusted_ca: authority.ca(),
            ..ServerTlsOptions::default()
        };
        let client = ClientTlsOptions {
            certificate,
            ..client_options("localhost")
        };
        talk(server, client).await
    };
    assert_good(talk(authority.sign("client")).await);
    for refused in [None, other.sign("client")] {
        let (client, server) = talk(refused).await;
        client.unwrap_err();
        server.unwrap_err();
    }
}

#[tokio::test]
async fn a_second_handshake_resumes_the_first() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let client = ClientTls::new(client_options("localhost")).unwrap();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let (client_socket, server_socket) = sockets().await;
        let (conn, served) = in_time(async {
            tokio::join!(
                async {
                    let name = client.server_name.clone();
                    let connector = tokio_rustls::TlsConnector::from(client.config.clone());
                    let mut stream = connector.connect(name, client_socket).await.unwrap();
                    stream.write_all(b"word").await.unwrap();
                    // The tickets arrive before the answer.
                    stream.read_exact(&mut [0; 4]).await.unwrap();
                    stream
                },
                async { exchange(server.accept(server_socket.into()).await?).await }
            )
        })
        .await;
        served.unwrap();
        kinds.push(conn.get_ref().1.handshake_kind().unwrap());
    }
    assert_eq!(kinds[0], rustls::HandshakeKind::Full);
    assert_eq!(kinds[1], rustls::HandshakeKind::Resumed);
}

#[tokio::test]
async fn garbage_is_an_error() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff\xff",
        b"\x17\x17\x17\x17\x17\x17",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"",
    ];
    for bytes in garbage {
        let (mut peer, socket) = sockets().await;
        peer.write_all(bytes).await.unwrap();
        peer.shutdown().await.unwrap();
        let accepted = in_time(server.accept(socket.into())).await;
        assert!(accepted.is_err(), "{bytes:?}");
    }
}

#[tokio::test]
async fn a_silent_peer_is_left_to_the_deadline() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let client = ClientTls::new(client_options("localhost")).unwrap();
    let deadline = Duration::from_millis(50);
    let (_peer, socket) = sockets().await;
    let accepting = tokio::time::timeout(deadline, server.accept(socket.into()));
    accepting.await.unwrap_err();
    let (_peer, socket) = sockets().await;
    let connecting = tokio::time::timeout(deadline, client.connect(socket.into()));
    connecting.await.unwrap_err();
}

/// Checks the text that the operator reads, causes included.
#[track_caller]
fn check_error(result: Result<impl std::fmt::Debug, TlsError>, expect: &[&str]) {
    let error = with_causes(&result.unwrap_err());
    for part in expect {
        assert!(error.contains(part), "{error}");
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}

#[test]
fn errors_name_the_file_and_what_is_wrong_with_it() {
    let authority = Authority::new();
    let dir = authority.dir.path();
    let server = |certificate: &Path, key: &Path| {
        ServerTls::new(ServerTlsOptions {
            certificate: Some((certificate.to_owned(), key.to_owned())),
            ..ServerTlsOptions::default()
        })
    };
    let (certificate, key) = authority.sign("a").unwrap();
    let (_, other_key) = authority.sign("b").unwrap();
    let (none, empty, broken) = (dir.join("none"), dir.join("empty"), dir.join("broken"));
    std::fs::write(&empty, "no PEM in here\n").unwrap();
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\n%%%%\n-----END CERTIFICATE-----\n",
    )
    .unwrap();

    server(&certificate, &key).unwrap();
    check_error(
        server(&none, &key),
        &["cannot read", "none", "No such file"],
    );
    check_error(server(&certificate, &none), &["cannot read", "none"]);
    check_error(server(&empty, &key), &["empty: no certificate in PEM form"]);
    check_error(
        server(&certificate, &empty),
        &["empty: no private key in PEM form"],
    );
    check_error(
        server(&certificate, &certificate),
        &["a.crt: no private key"],
    );
    check_error(server(&broken, &key), &["broken: malformed PEM"]);
    check_error(
        server(&certificate, &other_key),
        &["a.crt", "does not go with", "b.key"],
    );

    let ca = |path: &Path| {
        ClientTls::new(ClientTlsOptions {
            trusted_ca: Some(path.to_owned()),
            ..client_options("localhost")
        })
    };
    check_error(ca(&none), &["cannot read", "none"]);
    check_error(ca(&empty), &["empty: no certificate in PEM form"]);
    std::fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    check_error(
        ca(&broken),
        &["broken: certificate 1 cannot be used as an authority"],
    );
    let verified = ClientTlsOptions {
        trusted_ca: authority.ca(),
        ..client_options("a b")
    };
    check_error(ClientTls::new(verified), &["serverName `a b`"]);
}

#[tokio::test]
async fn without_an_authority_every_name_is_accepted() {
    for name in ["a b", "fe80::1%eth0", "[fe80::1%eth0]", ""] {
        assert_good(talk(ServerTlsOptions::default(), client_options(name)).await);
    }
}

#[tokio::test]
async fn faults_of_a_certificate_are_distinguished() {
    let (authority, other) = (Authority::new(), Authority::new());
    let old = {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["old.test".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        let certificate = params.signed_by(&key, &authority.issuer).unwrap();
        authority.write("old.test", &certificate.pem(), &key.serialize_pem())
    };
    let trusting = |ca: &Authority, name: &str| ClientTlsOptions {
        trusted_ca: ca.ca(),
        ..client_options(name)
    };
    let pinning = ClientTlsOptions {
        pinned_sha256: Some([7; 32]),
        ..client_options("a.test")
    };
    for (certificate, client, fault) in [
        (
            Some(old),
            trusting(&authority, "old.test"),
            CertificateFault::Expired,
        ),
        (
            authority.sign("a.test"),
            trusting(&other, "a.test"),
            CertificateFault::Issuer,
        ),
        (
            authority.sign("a.test"),
            trusting(&authority, "b.test"),
            CertificateFault::Name,
        ),
        (
            authority.sign("a.test"),
            pinning,
            CertificateFault::NotPinned,
        ),
    ] {
        let server = ServerTlsOptions {
            certificate,
            ..ServerTlsOptions::default()
        };
        let error = talk(server, client).await.0.unwrap_err();
        assert_eq!(CertificateFault::of(&error), Some(fault), "{error}");
    }
}

#[tokio::test]
async fn a_client_reads_its_files_again_when_they_have_changed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let client = ClientTls::new(ClientTlsOptions {
        trusted_ca: authority.ca(),
        ..client_options("a.test")
    })
    .unwrap();
    assert!(client.reloaded().unwrap().is_none());
    let server = ServerTls::new(ServerTlsOptions {
        certificate: other.sign("a.test"),
        ..ServerTlsOptions::default()
    })
    .unwrap();
    assert!(talk_once(&server, &client).await.0.is_err());

    std::fs::write(authority.ca().unwrap(), "half of it").unwrap();
    check_error(client.reloaded().map(drop), &["ca.crt", "no certificate"]);
    std::fs::copy(other.ca().unwrap(), authority.ca().unwrap()).unwrap();
    let reloaded = client.reloaded().unwrap().unwrap();
    assert_good(talk_once(&server, &reloaded).await);
    assert!(reloaded.reloaded().unwrap().is_none());
    // Existing values keep the old settings.
    assert!(talk_once(&server, &client).await.0.is_err());
}
