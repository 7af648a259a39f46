//! Dials through small proxies over sockets.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::resolver::Resolver;
use crate::testing::read_all;
use crate::tls::{ClientTlsOptions, ServerTls, ServerTlsOptions};

static OPTIONS: LazyLock<DialOptions> = LazyLock::new(|| DialOptions {
    timeout: Duration::from_secs(10),
    keepalive: None,
    local_ip: None,
    resolver: Resolver::default(),
});

/// The proxy at `addr`; `before` is the part of its URL before the host: `scheme://[user:password@]`.
fn proxy_at(before: &str, addr: SocketAddr) -> OutboundProxy {
    let (scheme, user_info) = before.split_once("://").unwrap();
    let scheme = match scheme {
        "http" => OutboundScheme::Http,
        "https" => OutboundScheme::Https,
        "ntlm" => OutboundScheme::Ntlm,
        "socks5" => OutboundScheme::Socks5,
        _ => panic!("{scheme}"),
    };
    let credentials = user_info.strip_suffix('@').map(|user_info| {
        let (user, password) = user_info.split_once(':').unwrap();
        OutboundCredentials {
            user: user.to_owned(),
            password: Secret::new(password),
        }
    });
    OutboundProxy::new(scheme, addr.ip().to_string(), addr.port(), credentials)
}

#[test]
fn passwords_are_not_shown() {
    let proxy = proxy_at("http://user:hunter2@", "192.0.2.1:80".parse().unwrap());
    assert_eq!(
        format!("{proxy:?}"),
        "OutboundProxy { url: http://192.0.2.1:80, credentials: Some(OutboundCredentials { user: \"user\", password: *** }) }"
    );
}

/// Dials `example.com:7000` through a proxy that `serve` plays. `before` is the part of its URL before the host.
async fn dial(
    before: &str,
    serve: impl AsyncFnOnce(&mut TcpStream),
) -> Result<Conn, OutboundError> {
    dial_to("example.com", before, OPTIONS.clone(), serve).await
}

async fn dial_to(
    host: &str,
    before: &str,
    options: DialOptions,
    serve: impl AsyncFnOnce(&mut TcpStream),
) -> Result<Conn, OutboundError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let proxy = proxy_at(before, addr);
    let (dialled, ()) = tokio::join!(
        async {
            let dialled = dial_through(&proxy, host, 7000, &options).await;
            // Errors name the proxy but not its password.
            if let Err(error) = &dialled
                && !matches!(error, OutboundError::Host { .. })
            {
                let text = with_causes(error);
                assert!(text.contains(&proxy.to_string()), "{text}");
                assert!(!text.contains("hunter2"), "{text}");
            }
            dialled
        },
        async {
            let (mut socket, _) = listener.accept().await.unwrap();
            serve(&mut socket).await;
        }
    );
    dialled
}

fn with_causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", with_causes(source)),
        None => error.to_string(),
    }
}

#[track_caller]
fn check_error(result: Result<Conn, OutboundError>, expect: &[&str]) {
    let error = with_causes(&result.unwrap_err());
    for part in expect {
        assert!(error.contains(part), "{error}");
    }
}

/// Reads a request up to its empty line.
async fn read_request(socket: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap()
}

async fn read_bytes(socket: &mut TcpStream, expect: &[u8]) {
    let mut bytes = vec![0; expect.len()];
    socket.read_exact(&mut bytes).await.unwrap();
    assert_eq!(bytes, expect);
}

/// Dials through a proxy that sends `answer` to any request.
async fn answer(before: &str, answer: &str) -> Result<Conn, OutboundError> {
    dial(before, async |socket| {
        read_request(socket).await;
        socket.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

#[tokio::test]
async fn http_is_asked_in_these_bytes() {
    for (before, credentials) in [
        ("http://", ""),
        // user:hunter2
        (
            "http://user:hunter2@",
            "Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n",
        ),
    ] {
        let mut conn = dial(before, async |socket| {
            assert_eq!(
                read_request(socket).await,
                format!(
                    "CONNECT example.com:7000 HTTP/1.1\r\nHost: example.com:7000\r\n\
                     User-Agent: Mozilla/5.0\r\n{credentials}\r\n"
                )
            );
            socket
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\nearly")
                .await
                .unwrap();
        })
        .await
        .unwrap();
        assert_eq!(read_all(&mut conn).await.unwrap(), b"early");
    }
    let v6 = dial_to("[::1]", "http://", OPTIONS.clone(), async |socket| {
        let request = read_request(socket).await;
        assert!(
            request.starts_with("CONNECT [::1]:7000 HTTP/1.1\r\n"),
            "{request}"
        );
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\n").await.unwrap();
    });
    v6.await.unwrap();
}

#[tokio::test]
async fn bytes_pass_both_ways() {
    for scheme in ["http://", "socks5://"] {
        let echo = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = echo.local_addr().unwrap();
        let addr = proxy.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut socket, _) = proxy.accept().await.unwrap();
            if scheme == "http://" {
                let request = read_request(&mut socket).await;
                assert!(request.starts_with(&format!("CONNECT {to} ")), "{request}");
                socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            } else {
                read_bytes(&mut socket, b"\x05\x01\x00").await;
                socket.write_all(b"\x05\x00").await.unwrap();
                read_bytes(&mut socket, b"\x05\x01\x00\x01\x7f\0\0\x01").await;
                read_bytes(&mut socket, &to.port().to_be_bytes()).await;
                socket.write_all(b"\x05\0\0\x01\0\0\0\0\0\0").await.unwrap();
            }
            let mut onward = TcpStream::connect(to).await.unwrap();
            let _ = copy_bidirectional(&mut socket, &mut onward).await;
        });
        let proxy = proxy_at(scheme, addr);
        let mut conn = dial_through(&proxy, "127.0.0.1", to.port(), &OPTIONS)
            .await
            .unwrap();
        let (mut onward, _) = echo.accept().await.unwrap();
        conn.send(Bytes::from_static(b"word")).await.unwrap();
        read_bytes(&mut onward, b"word").await;
        onward.write_all(b"answer").await.unwrap();
        drop(onward);
        assert_eq!(read_all(&mut conn).await.unwrap(), b"answer");
        drop(conn);
        serving.await.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_that_wants_credentials_is_an_error_with_advice() {
    let wants = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: NAME realm=\"x\"\r\n\r\n";
    let basic = wants.replace("NAME", "Basic");
    check_error(
        answer("http://", &basic).await,
        &[
            "`HTTP/1.1 407 Proxy Authentication Required`",
            "offers Basic",
            "put user and password into transport.proxyURL",
        ],
    );
    check_error(
        answer("http://u:hunter2@", &basic).await,
        &["check user and password"],
    );
    check_error(
        answer("http://u:hunter2@", &wants.replace("NAME", "NTLM")).await,
        &["offers NTLM", "try ntlm://"],
    );
}

#[tokio::test]
async fn refusals_and_garbage_are_errors() {
    check_error(
        answer("http://", "HTTP/1.1 403 Forbidden\x01\r\n\r\n").await,
        &["gave no answer in HTTP", "malformed"],
    );
    check_error(
        answer("http://", "HTTP/1.1 502 Bad Gateway\r\n\r\n").await,
        &["answered `HTTP/1.1 502 Bad Gateway` to CONNECT example.com:7000"],
    );
    check_error(
        answer("http://", "SSH-2.0-x\r\n").await,
        &[
            "\"SSH-2.0-x\\r\\n\" came instead of HTTP",
            "check scheme and port",
        ],
    );
    check_error(answer("http://", "").await, &["ended before the head"]);
    let endless = format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(20_000));
    check_error(
        answer("http://", &endless).await,
        &["more than the 16384 bytes"],
    );
    let proxy = proxy_at("http://", "127.0.0.1:1".parse().unwrap());
    check_error(
        dial_through(&proxy, "a\r\nb", 1, &OPTIONS).await,
        &[r"`a\r\nb` is no host"],
    );
}

#[tokio::test]
async fn a_silent_proxy_is_given_up() {
    let options = DialOptions {
        timeout: Duration::from_millis(200),
        ..OPTIONS.clone()
    };
    for scheme in ["http://", "https://", "socks5://", "ntlm://u:hunter2@"] {
        let dialled = dial_to("example.com", scheme, options.clone(), async |socket| {
            // Reads until the client closes.
            let _ = socket.read_to_end(&mut Vec::new()).await;
        })
        .await;
        // On a system without authorities, TLS cannot even begin.
        if !matches!(dialled, Err(OutboundError::Tls { .. })) {
            check_error(
                dialled,
                &["did not connect to example.com:7000 within 200ms"],
            );
        }
    }
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let proxy = proxy_at("http://u:hunter2@", addr);
    check_error(
        dial_through(&proxy, "example.com", 1, &OPTIONS).await,
        &[&format!(
            "cannot reach the outbound proxy http://{addr}: cannot connect"
        )],
    );
}

#[tokio::test]
async fn a_proxy_within_tls_must_show_a_good_certificate() {
    let dir = tempfile::TempDir::new().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let paths = (dir.path().join("crt"), dir.path().join("key"));
    std::fs::write(&paths.0, certificate.pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    let tls = ServerTls::new(ServerTlsOptions {
        certificate: Some(paths.clone()),
        ..ServerTlsOptions::default()
    })
    .unwrap();
    for (name, is_good) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let proxy = proxy_at("https://u:hunter2@", addr);
        // Used instead of the system's authorities.
        let trusting = ClientTls::new(ClientTlsOptions {
            trusted_ca: Some(paths.0.clone()),
            server_name: name.to_owned(),
            ..ClientTlsOptions::default()
        });
        proxy.tls.set(trusting.unwrap()).unwrap();
        let (dialled, ()) =
            tokio::join!(dial_through(&proxy, "example.com", 7000, &OPTIONS), async {
                let (socket, _) = listener.accept().await.unwrap();
                if let Ok(mut conn) = tls.accept(socket.into()).await {
                    let request = read_request(&mut conn).await;
                    assert!(request.contains("Basic dTpodW50ZXIy"), "{request}");
                    conn.write_all(b"HTTP/1.1 200 OK\r\n\r\nearly")
                        .await
                        .unwrap();
                    conn.close().await.unwrap();
                }
            });
        if is_good {
            assert_eq!(read_all(&mut dialled.unwrap()).await.unwrap(), b"early");
        } else {
            check_error(
                dialled,
                &["its certificate must be valid", "not valid for name"],
            );
        }
    }
}

/// Dials through a SOCKS proxy that alternately expects and sends these bytes.
async fn socks(
    before: &str,
    host: &str,
    exchange: &[(&[u8], &[u8])],
) -> Result<Conn, OutboundError> {
    dial_to(host, before, OPTIONS.clone(), async |socket| {
        for (request, answer) in exchange {
            read_bytes(socket, request).await;
            socket.write_all(answer).await.unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn socks_is_asked_in_these_bytes() {
    let hello: (&[u8], &[u8]) = (b"\x05\x01\x00", b"\x05\x00");
    let name = b"\x05\x01\x00\x03\x0bexample.com\x1b\x58";
    let answer = b"\x05\0\0\x03\x04name\0\x01early";
    let mut conn = socks("socks5://", "example.com", &[hello, (name, answer)])
        .await
        .unwrap();
    assert_eq!(read_all(&mut conn).await.unwrap(), b"early");

    let v4 = b"\x05\x01\x00\x01\x01\x02\x03\x04\x1b\x58";
    let answer = b"\x05\0\0\x01\x01\x02\x03\x04\0\x01early";
    let mut conn = socks("socks5://", "1.2.3.4", &[hello, (v4, answer)])
        .await
        .unwrap();
    assert_eq!(read_all(&mut conn).await.unwrap(), b"early");

    let v6 = b"\x05\x01\x00\x04\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x1b\x58";
    let answer = b"\x05\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01early";
    let mut conn = socks("socks5://", "[2001::1]", &[hello, (v6, answer)])
        .await
        .unwrap();
    assert_eq!(read_all(&mut conn).await.unwrap(), b"early");

    let exchange: [(&[u8], &[u8]); 3] = [
        (b"\x05\x02\x00\x02", b"\x05\x02"),
        (b"\x01\x04user\x07hunter2", b"\x01\x00"),
        (name, b"\x05\0\0\x01\0\0\0\0\0\0"),
    ];
    socks("socks5://user:hunter2@", "example.com", &exchange)
        .await
        .unwrap();
    // The proxy may also choose to require no credentials.
    let exchange = [(&b"\x05\x02\x00\x02"[..], &b"\x05\x00"[..]), exchange[2]];
    socks("socks5://user:hunter2@", "example.com", &exchange)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_refusal_of_socks_is_an_error() {
    let request = b"\x05\x01\x00\x03\x0bexample.com\x1b\x58";
    for (code, text) in [
        (1, "general failure (code 1)"),
        (2, "rules do not allow"),
        (3, "network is unreachable"),
        (4, "host is unreachable"),
        (5, "connection was refused"),
        (6, "time to live"),
        (7, "command CONNECT"),
        (8, "type of address"),
        (9, "unknown code 9"),
    ] {
        let refusal = [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
        let exchange: [(&[u8], &[u8]); 2] = [(b"\x05\x01\x00", b"\x05\x00"), (request, &refusal)];
        check_error(
            socks("socks5://", "example.com", &exchange).await,
            &["did not connect to example.com:7000", text],
        );
    }
    let refused = |answer: &'static [u8]| {
        let exchange: [(&[u8], &[u8]); 1] = [(b"\x05\x01\x00", answer)];
        async move { socks("socks5://", "example.com", &exchange).await }
    };
    check_error(
        refused(b"\x05\xff").await,
        &["wants credentials; put user and password"],
    );
    check_error(refused(b"\x05\x02").await, &["wants credentials"]);
    check_error(
        refused(b"HTTP/1.1 400 \r\n").await,
        &["does not speak SOCKS5", "0x48"],
    );
    check_error(refused(b"\x05").await, &["ended the connection"]);

    let offer = b"\x05\x02\x00\x02";
    let before = "socks5://user:hunter2@";
    check_error(
        socks(before, "example.com", &[(offer, b"\x05\xff")]).await,
        &["takes no user and password"],
    );
    let identify: (&[u8], &[u8]) = (b"\x01\x04user\x07hunter2", b"\x01\x01");
    check_error(
        socks(before, "example.com", &[(offer, b"\x05\x02"), identify]).await,
        &["does not accept user and password"],
    );
    check_error(
        socks(
            "socks5://",
            &"a".repeat(256),
            &[(b"\x05\x01\x00", b"\x05\x00")],
        )
        .await,
        &["more than 255 bytes"],
    );
}

/// The NTLM message in a request, under the scheme `name`.
fn ntlm_message(request: &str, name: &str) -> Option<Vec<u8>> {
    assert!(
        request.starts_with("CONNECT example.com:7000 HTTP/1.1\r\n"),
        "{request}"
    );
    let message = request
        .split(&format!("\r\nProxy-Authorization: {name} "))
        .nth(1)?;
    STANDARD.decode(message.split('\r').next().unwrap()).ok()
}

async fn ntlm_challenge(socket: &mut TcpStream, name: &str, body: &str) {
    let challenge = STANDARD.encode(ntlm::tests::CHALLENGE);
    let answer = format!(
        "HTTP/1.1 407 Authenticate\r\nProxy-Authenticate: Basic\r\n\
         Proxy-Authenticate: {name} {challenge}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn ntlm_proves_that_the_password_is_known() {
    for (password, body) in [
        ("Password", ""),
        ("Password", "a page"),
        ("wrong", "a page"),
    ] {
        let before = format!(r"ntlm://Domain\User:{password}@");
        let dialled = dial(&before, async |socket| {
            let first = read_request(socket).await;
            assert_eq!(ntlm_message(&first, "Negotiate").unwrap(), ntlm::NEGOTIATE);
            ntlm_challenge(socket, "Negotiate", body).await;
            let second = read_request(socket).await;
            let is_good = ntlm::tests::proves(&ntlm_message(&second, "Negotiate").unwrap());
            assert_eq!(is_good, password == "Password");
            let answer: &[u8] = match is_good {
                true => b"HTTP/1.1 200 OK\r\n\r\nearly",
                false => b"HTTP/1.1 407 No\r\nProxy-Authenticate: Negotiate\r\n\r\n",
            };
            socket.write_all(answer).await.unwrap();
        })
        .await;
        if password == "Password" {
            assert_eq!(read_all(&mut dialled.unwrap()).await.unwrap(), b"early");
        } else {
            check_error(
                dialled,
                &["`HTTP/1.1 407 No` (it offers Negotiate)", "check user"],
            );
        }
    }
}

#[tokio::test]
async fn ntlm_goes_by_its_other_name_too() {
    let dialled = dial("ntlm://Domain\\User:Password@", async |socket| {
        assert!(ntlm_message(&read_request(socket).await, "Negotiate").is_some());
        let offer = b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\nContent-Length: 3\r\n\r\nabc";
        socket.write_all(offer).await.unwrap();
        let first = ntlm_message(&read_request(socket).await, "NTLM").unwrap();
        assert_eq!(first, ntlm::NEGOTIATE);
        ntlm_challenge(socket, "NTLM", "").await;
        let second = ntlm_message(&read_request(socket).await, "NTLM").unwrap();
        assert!(ntlm::tests::proves(&second));
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    });
    dialled.await.unwrap();
}

#[tokio::test]
async fn ntlm_that_cannot_go_on_is_an_error() {
    let before = "ntlm://User:hunter2@";
    let wants = "HTTP/1.1 407 No\r\nProxy-Authenticate: ";
    let offer = |rest: &str| format!("{wants}{rest}\r\n\r\n");
    for (offer, expect) in [
        (offer("Basic realm=x"), "try http://"),
        (offer("Negotiate"), "check user and password"),
        (offer("Negotiate AAAA"), "its challenge is malformed"),
        (offer("Negotiate !"), "its challenge is malformed"),
        (
            offer("Negotiate AAAA\r\nConnection: close"),
            "ends the connection between",
        ),
        (
            offer("Negotiate AAAA\r\nTransfer-Encoding: chunked"),
            "unknown length",
        ),
        (
            offer("Negotiate AAAA\r\nContent-Length: 99999999"),
            "too long",
        ),
        (
            offer("Negotiate AAAA\r\nContent-Length: 9"),
            "ends the connection between",
        ),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n".to_owned(),
            "answered `HTTP/1.1 403 Forbidden` to CONNECT",
        ),
    ] {
        check_error(answer(before, &offer).await, &[expect]);
    }
    // A proxy that requires no authentication.
    answer(before, "HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
}
