//! A TLS service that says its name, and users who ask for a name.

use std::{io, net::SocketAddr};

use mgrok_lab::{
    PATIENCE,
    service::{self, Service},
    traffic, within,
};
use mgrok_net::{
    conn::Conn,
    tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
};

/// Speaks TLS, says its name on a line, then sends everything back.
pub(crate) async fn site(name: &'static str) -> Service {
    let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
    service::tcp(move |stream| {
        let tls = tls.clone();
        async move {
            // Users who leave are no fault.
            let _ = answer(stream, &tls, name).await;
        }
    })
    .await
}

async fn answer(stream: TcpStream, tls: &ServerTls, name: &str) -> io::Result<()> {
    let mut user = tls.accept(stream.into()).await?;
    user.send(format!("{name}\n").into()).await?;
    loop {
        let bytes = user.recv().await?;
        if bytes.is_empty() {
            return Ok(());
        }
        user.send(bytes).await?;
    }
}

/// Somebody who has asked for a name, and was answered.
pub(crate) struct User {
    conn: BufReader<Conn>,
    /// Who answered.
    pub(crate) site: String,
}

impl User {
    /// # Panics
    /// When nobody answers.
    pub(crate) async fn of(port: SocketAddr, name: &str) -> Self {
        let connected = within(PATIENCE, "a TLS service answers", connect(port, name)).await;
        connected.unwrap_or_else(|error| panic!("nobody answers to {name}: {error}"))
    }

    /// Sends `len` bytes and reads them back.
    ///
    /// # Panics
    /// When they are not the same, or do not come.
    pub(crate) async fn echo(self, len: u64) {
        let (mut from, mut to) = tokio::io::split(self.conn);
        let seed = fastrand::u64(..);
        let both = async {
            tokio::try_join!(
                traffic::send(&mut to, seed, len),
                traffic::receive(&mut from, seed, len)
            )
        };
        within(PATIENCE, "bytes come back", both).await.unwrap();
    }
}

/// What somebody who asks for a name is refused with.
pub(crate) async fn refusal(port: SocketAddr, name: &str) -> io::Error {
    let connected = within(PATIENCE, "a refusal", connect(port, name)).await;
    connected.err().expect("nobody has this name")
}

async fn connect(port: SocketAddr, name: &str) -> io::Result<User> {
    let tls = ClientTls::new(ClientTlsOptions {
        server_name: name.to_owned(),
        ..ClientTlsOptions::default()
    });
    let stream = TcpStream::connect(port).await?;
    let conn = tls.unwrap().connect(stream.into()).await?;
    let mut conn = BufReader::new(conn);
    let mut site = String::new();
    if conn.read_line(&mut site).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    site.truncate(site.trim_end().len());
    Ok(User { conn, site })
}
