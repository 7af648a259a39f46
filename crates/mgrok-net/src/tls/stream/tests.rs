use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{
    ClientConfig, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, crypto::aws_lc_rs,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::super::handshake::shake_hands;
use super::super::{AnyCertificate, ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions};
use super::*;
use crate::testing::{memory_pair, pattern, read_all, tcp_pair};

const TLS12: &SupportedProtocolVersion = &rustls::version::TLS12;
const TLS13: &SupportedProtocolVersion = &rustls::version::TLS13;

/// An end that rustls protects by itself.
type Theirs = tokio_rustls::TlsStream<Conn>;

/// Which end is ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ours {
    Client,
    Server,
}

/// Hands shaken with rustls: our end, and theirs, which knows only `suite`.
async fn pair(
    ours: Ours,
    version: &'static SupportedProtocolVersion,
    suite: SupportedCipherSuite,
    (near, far): (Conn, Conn),
) -> (Conn, Theirs) {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![suite];
    let provider = Arc::new(provider);
    match ours {
        Ours::Client => {
            let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let secret = PrivatePkcs8KeyDer::from(key.signing_key.serialize_der());
            let config = ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![key.cert.der().clone()], secret.into())
                .unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
            let client = ClientTls::new(ClientTlsOptions::default()).unwrap();
            let (near, far) = tokio::join!(client.connect(near), acceptor.accept(far));
            (near.unwrap(), far.unwrap().into())
        }
        Ours::Server => {
            let config = ClientConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&[version])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(AnyCertificate::new(&provider))
                .with_no_client_auth();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
            let name = "localhost".try_into().unwrap();
            let (near, far) = tokio::join!(server.accept(near), connector.connect(name, far));
            (near.unwrap(), far.unwrap().into())
        }
    }
}

async fn pair13(ours: Ours) -> (Conn, Theirs) {
    let (near, far) = tcp_pair().await;
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    pair(ours, TLS13, suite, (near.into(), far.into())).await
}

/// The stream within.
fn within(conn: &mut Conn) -> &mut TlsStream {
    conn.tls_mut().unwrap()
}

async fn send_all(mut conn: impl AsyncWrite + Unpin, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        conn.write_all(piece).await.unwrap();
    }
    conn.flush().await.unwrap();
}

async fn receive(conn: &mut (impl AsyncRead + Unpin), len: usize) -> Vec<u8> {
    let mut received = vec![0; len];
    let reading = conn.read_exact(&mut received);
    tokio::time::timeout(Duration::from_secs(20), reading)
        .await
        .unwrap()
        .unwrap();
    received
}

/// Moves `len` bytes each way, one way after the other, in pieces of different sizes.
async fn exchange(ours: &mut Conn, theirs: &mut Theirs, len: usize) {
    let bytes = pattern(len);
    for piece in [len, 20_000, len / 3] {
        let (_, received) = tokio::join!(send_all(&mut *ours, &bytes, piece), receive(theirs, len));
        assert!(received == bytes);
        let (_, received) = tokio::join!(send_all(&mut *theirs, &bytes, piece), receive(ours, len));
        assert!(received == bytes);
    }
}

#[tokio::test]
async fn bytes_go_both_ways_in_every_suite() {
    let suites = aws_lc_rs::ALL_CIPHER_SUITES;
    assert!(suites.len() >= 9);
    for suite in suites {
        let version = if suite.tls13().is_some() {
            TLS13
        } else {
            TLS12
        };
        for ours in [Ours::Client, Ours::Server] {
            // Certificates that are generated are ECDSA.
            if format!("{:?}", suite.suite()).contains("_RSA_") {
                continue;
            }
            let (near, far) = tcp_pair().await;
            let (mut near, mut far) = pair(ours, version, *suite, (near.into(), far.into())).await;
            exchange(&mut near, &mut far, 300_000).await;
            near.close().await.unwrap();
            assert_eq!(far.read(&mut [0; 9]).await.unwrap(), 0);
            far.shutdown().await.unwrap();
            assert_eq!(read_all(&mut near).await.unwrap(), b"");
        }
    }
}

#[tokio::test]
async fn records_may_arrive_and_leave_in_small_pieces() {
    for piece in [1, 7, 1000, 20_000] {
        let conns = memory_pair(64 * 1024, piece);
        let suite = aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384;
        let (mut near, mut far) = pair(Ours::Server, TLS13, suite, conns).await;
        exchange(&mut near, &mut far, 20_000).await;
    }
}

#[tokio::test]
async fn what_comes_together_with_the_end_of_the_handshake_is_not_lost() {
    // Nothing is read before the client has sent its last message of the handshake and data, in one piece of memory.
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let client = ClientTls::new(ClientTlsOptions::default()).unwrap();
    for len in [1, 40_000] {
        let (near, far) = memory_pair(256 * 1024, 256 * 1024);
        let bytes = pattern(len);
        let client = async {
            let mut conn = client.connect(far).await.unwrap();
            conn.send(bytes.clone()).await.unwrap();
            conn.close().await.unwrap();
            conn
        };
        let (served, _conn) = tokio::join!(server.accept(near), client);
        assert!(read_all(&mut served.unwrap()).await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn the_peer_may_change_its_keys() {
    for ours in [Ours::Client, Ours::Server] {
        let (mut near, mut far) = pair13(ours).await;
        for _ in 0..3 {
            exchange(&mut near, &mut far, 50_000).await;
            match &mut far {
                Theirs::Client(stream) => stream.get_mut().1.refresh_traffic_keys().unwrap(),
                Theirs::Server(stream) => stream.get_mut().1.refresh_traffic_keys().unwrap(),
            }
        }
        exchange(&mut near, &mut far, 50_000).await;
    }
}

#[tokio::test]
async fn keys_that_were_used_enough_change() {
    for ours in [Ours::Client, Ours::Server] {
        let (mut near, mut far) = pair13(ours).await;
        within(&mut near).records_per_key = 3;
        exchange(&mut near, &mut far, 300_000).await;
        assert!(within(&mut near).sealer.sequence() <= 3);
    }
}

#[tokio::test]
async fn a_change_of_keys_that_is_asked_for_is_answered() {
    let (mut near, mut far) = pair13(Ours::Server).await;
    within(&mut near).owes_key_update = true;
    exchange(&mut near, &mut far, 50_000).await;
    assert!(!within(&mut near).owes_key_update);
}

#[tokio::test]
async fn keys_that_cannot_change_are_not_used_for_too_long() {
    let (near, far) = tcp_pair().await;
    let suite = aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let (mut near, _far) = pair(Ours::Client, TLS12, suite, (near.into(), far.into())).await;
    within(&mut near).records_per_key = 2;
    near.send(Bytes::from_static(b"x")).await.unwrap();
    let error = near.send(Bytes::from_static(b"x")).await.unwrap_err();
    assert!(error.to_string().contains("encrypt"), "{error}");
}

/// Sends `record` as it is from our end to theirs in place of a proper one, and returns what our other end makes of it.
async fn told(record: &[u8]) -> (io::Error, io::Error) {
    let (near, mut far) = pair13(Ours::Server).await;
    let mut near = near;
    let below = match &mut far {
        Theirs::Client(stream) => stream.get_mut().0,
        Theirs::Server(stream) => stream.get_mut().0,
    };
    below.write_all(record).await.unwrap();
    let ours = near.recv().await.unwrap_err();
    // Once is not enough to forget it.
    assert_eq!(near.recv().await.unwrap_err().to_string(), ours.to_string());
    near.close().await.unwrap();
    let theirs = tokio::time::timeout(Duration::from_secs(20), far.read(&mut [0; 9])).await;
    (ours, theirs.unwrap().unwrap_err())
}

#[tokio::test]
async fn records_that_are_not_as_they_should_be_end_the_connection_and_the_peer_is_told() {
    let forged = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
    let short = [23, 3, 3, 0, 3, 1, 2, 3];
    let long = [23, 3, 3, 0xff, 0xff];
    let foreign = *b"GET / HTTP/1.1\r\n";
    let plain_alert = [21, 3, 3, 0, 2, 1, 0];
    for (record, ours, alert) in [
        (&forged[..], "decrypt", "BadRecordMac"),
        (&short, "decrypt", "BadRecordMac"),
        (&long, "excess record size", "RecordOverflow"),
        (&foreign, "corrupt", "DecodeError"),
        (&plain_alert, "unexpected message", "UnexpectedMessage"),
    ] {
        let (found, heard) = told(record).await;
        assert_eq!(found.kind(), io::ErrorKind::InvalidData);
        assert!(found.to_string().contains(ours), "{found}");
        assert!(heard.to_string().contains(alert), "{heard}");
    }
}

/// A connection between two ends of ours whose server's end is returned as it is, to send what no proper one does.
async fn unruly(version: &'static SupportedProtocolVersion) -> (Conn, Conn) {
    let (near, far) = tcp_pair().await;
    let mut config =
        super::super::server_config(&ServerTlsOptions::default(), super::super::provider())
            .unwrap();
    config.enable_secret_extraction = true;
    let mut limited = ServerConfig::builder_with_provider(super::super::provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(config.cert_resolver.clone());
    limited.enable_secret_extraction = true;
    let side = rustls::server::UnbufferedServerConnection::new(Arc::new(limited)).unwrap();
    let client = ClientTls::new(ClientTlsOptions::default()).unwrap();
    let (near, far) = tokio::join!(
        client.connect(near.into()),
        shake_hands(Box::new(side), far.into(), BytesMut::new(), Vec::new())
    );
    (near.unwrap(), Conn::from(far.unwrap()))
}

#[tokio::test]
async fn a_server_may_ask_for_another_handshake_once_and_hears_no() {
    let (mut near, mut far) = unruly(TLS12).await;
    for _ in 0..2 {
        within(&mut far).queue(HANDSHAKE, &[0, 0, 0, 0]).unwrap();
        far.send(Bytes::from_static(b"data")).await.unwrap();
    }
    assert_eq!(near.recv().await.unwrap(), "data");
    let error = near.recv().await.unwrap_err();
    assert!(
        error.to_string().contains("TooManyRenegotiationRequests"),
        "{error}"
    );
}

#[tokio::test]
async fn handshake_messages_may_come_in_parts_but_not_with_data_in_between() {
    let (mut near, mut far) = unruly(TLS13).await;
    let stream = within(&mut far);
    for part in KEY_UPDATE.chunks(2) {
        stream.queue(HANDSHAKE, part).unwrap();
    }
    let keys = stream.session.next_sealing_keys().unwrap();
    stream.sealer = Protection::new(stream.version, keys).unwrap();
    far.send(Bytes::from_static(b"data")).await.unwrap();
    assert_eq!(near.recv().await.unwrap(), "data");

    within(&mut far).queue(HANDSHAKE, &KEY_UPDATE[..3]).unwrap();
    far.send(Bytes::from_static(b"data")).await.unwrap();
    let error = near.recv().await.unwrap_err();
    assert!(error.to_string().contains("Interleaved"), "{error}");
}

#[tokio::test]
async fn handshake_messages_that_nobody_expects_or_that_are_endless_are_refused() {
    for (message, found) in [
        (&[24, 0, 0, 1, 2][..], "InvalidKeyUpdate"),
        (&[24, 0, 0, 1, 0, 24], "PendingFragment"),
        (&[1, 0, 0, 1, 0], "unexpected handshake message"),
        (&[4, 0xff, 0xff, 0xff], "PayloadTooLarge"),
        (&[4, 0, 0, 1, 0], "corrupt"),
    ] {
        let (mut near, mut far) = unruly(TLS13).await;
        within(&mut far).queue(HANDSHAKE, message).unwrap();
        far.send(Bytes::from_static(b"data")).await.unwrap();
        let error = near.recv().await.unwrap_err();
        assert!(error.to_string().contains(found), "{message:?}: {error}");
    }
}

#[tokio::test]
async fn an_end_that_is_not_announced_is_an_error() {
    // A client that has read no tickets would reset the connection.
    let (mut near, far) = pair13(Ours::Client).await;
    drop(far);
    let error = near.recv().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn receiving_goes_on_after_we_have_closed() {
    let (mut near, mut far) = pair13(Ours::Client).await;
    near.close().await.unwrap();
    send_all(&mut far, &pattern(100_000), 5000).await;
    far.shutdown().await.unwrap();
    assert!(read_all(&mut near).await.unwrap() == pattern(100_000));
    near.send(Bytes::from_static(b"x")).await.unwrap_err();
}

#[tokio::test]
async fn a_connection_that_waits_owns_no_buffer() {
    let (mut near, mut far) = pair13(Ours::Server).await;
    exchange(&mut near, &mut far, 100_000).await;
    let stream = within(&mut near);
    assert!(stream.partial.is_empty() && stream.plain.is_empty() && stream.unsent.is_empty());
    assert_eq!(stream.message.capacity(), 0);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_sent_no_more_than_one_batch() {
    let (near, far) = memory_pair(1000, 1000);
    let suite = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let (mut near, _far) = pair(Ours::Server, TLS13, suite, (near, far)).await;
    let mut bytes = pattern(1_000_000);
    let accepted = std::future::poll_fn(|cx| {
        let before = bytes.len();
        assert!(near.poll_send(cx, &mut bytes).is_pending());
        Poll::Ready(before - bytes.len())
    });
    assert_eq!(accepted.await, RECORDS * MAX_PLAIN);
}

#[tokio::test]
async fn no_handshake_makes_this_end_panic() {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let mut hello = Vec::new();
    let client = ClientTls::new(ClientTlsOptions::default()).unwrap();
    let (near, mut far) = memory_pair(64 * 1024, 64 * 1024);
    {
        let mut connecting = pin!(client.connect(near));
        while hello.len() < 200 {
            tokio::select! {
                biased;
                _ = &mut connecting => unreachable!("nobody answers"),
                chunk = far.recv() => hello.extend_from_slice(&chunk.unwrap()),
            }
        }
    }
    for at in 0..hello.len() {
        for flipped in [1, 0x80, 0xff] {
            let mut damaged = hello.clone();
            damaged[at] ^= flipped;
            let (near, mut far) = memory_pair(64 * 1024, 64 * 1024);
            far.send(damaged.into()).await.unwrap();
            far.close().await.unwrap();
            server.accept(near).await.unwrap_err();
        }
    }
}
