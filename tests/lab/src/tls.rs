//! Services and users that speak TLS.

use std::{net::SocketAddr, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::{
    certs::{Authority, Certificate},
    service::{self, Service},
};

/// A service that greets with `greeting` and a line feed, then sends everything back.
///
/// # Panics
/// When the certificate cannot be used, or no port can be bound.
pub async fn echo(certificate: &Certificate, greeting: &'static str) -> Service {
    let acceptor = acceptor(certificate);
    service::tcp(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                return;
            };
            let _ = stream.write_all(greeting.as_bytes()).await;
            let _ = stream.write_all(b"\n").await;
            let _ = stream.flush().await;
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() || stream.flush().await.is_err()
                {
                    return;
                }
            }
        }
    })
    .await
}

/// What stands in front of a server, takes TLS off its connections and hands them on, as web servers do.
///
/// # Panics
/// When the certificate cannot be used, or no port can be bound.
pub async fn terminator(certificate: &Certificate, target: SocketAddr) -> Service {
    let acceptor = acceptor(certificate);
    service::tcp(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let _ = stream.set_nodelay(true);
            let Ok(mut near) = acceptor.accept(stream).await else {
                return;
            };
            let Ok(mut far) = TcpStream::connect(target).await else {
                return;
            };
            let _ = far.set_nodelay(true);
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        }
    })
    .await
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(&certificate.cert).unwrap();
    let chain = chain.collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).unwrap();
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A user who trusts only `authority`, and asks for `name`: a domain, or an address, which is not told to the server.
///
/// # Errors
/// What the handshake says: that of a server with another certificate fails.
///
/// # Panics
/// When nobody listens.
pub async fn connect(
    to: SocketAddr,
    authority: &Authority,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    connect_on(stream, authority, name).await
}

/// As [`connect`], on a connection there is.
///
/// # Errors
/// As [`connect`].
///
/// # Panics
/// When the authority's file cannot be read.
pub async fn connect_on<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    authority: &Authority,
    name: &str,
) -> std::io::Result<TlsStream<S>> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(authority.file()).unwrap();
    roots.add(certificate).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}
