//! An outbound proxy that wants to know who asks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

use crate::service::{self, Service};

/// A proxy for `CONNECT` that lets in one user with one password.
pub struct ConnectProxy {
    service: Service,
    user_info: &'static str,
    tunnels: Arc<AtomicUsize>,
}

impl ConnectProxy {
    /// A proxy for `user_info`, which is written as `user:password`.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn for_user(user_info: &'static str) -> Self {
        let tunnels = Arc::new(AtomicUsize::new(0));
        let credentials = format!("Basic {}", BASE64_STANDARD.encode(user_info));
        let opened = tunnels.clone();
        let service =
            service::tcp(move |stream| serve(stream, credentials.clone(), opened.clone())).await;
        Self {
            service,
            user_info,
            tunnels,
        }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.service.addr()
    }

    /// The URL that gets through.
    pub fn url(&self) -> String {
        format!("http://{}@{}", self.user_info, self.addr())
    }

    /// How many tunnels it has opened.
    pub fn tunnels(&self) -> usize {
        self.tunnels.load(Ordering::Relaxed)
    }
}

async fn serve(stream: TcpStream, credentials: String, opened: Arc<AtomicUsize>) {
    let _ = stream.set_nodelay(true);
    let mut near = BufStream::new(stream);
    let Some((target, presented)) = request(&mut near).await else {
        return;
    };
    if presented.as_deref() != Some(&*credentials) {
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\n\
                      Proxy-Authenticate: Basic realm=\"lab\"\r\nContent-Length: 0\r\n\r\n";
        let _ = near.write_all(answer.as_bytes()).await;
        let _ = near.flush().await;
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let _ = far.set_nodelay(true);
    let _ = near.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
    let _ = near.flush().await;
    opened.fetch_add(1, Ordering::Relaxed);
    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
}

/// What the request asks for, and what it presents; `None` if it is none for a tunnel.
async fn request(from: &mut BufStream<TcpStream>) -> Option<(String, Option<String>)> {
    let mut line = String::new();
    from.read_line(&mut line).await.ok()?;
    let target = line.strip_prefix("CONNECT ")?.split(' ').next()?.to_owned();
    let mut presented = None;
    loop {
        line.clear();
        from.read_line(&mut line).await.ok()?;
        let (name, value) = match line.trim_end() {
            "" => return Some((target, presented)),
            header => header.split_once(':')?,
        };
        if name.eq_ignore_ascii_case("Proxy-Authorization") {
            presented = Some(value.trim().to_owned());
        }
    }
}
