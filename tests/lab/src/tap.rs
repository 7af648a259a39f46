//! Looking at how connections begin.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::service::{self, Service};

/// Forwards TCP connections to one address, and keeps what each of them began with.
pub struct Tap {
    service: Service,
    openings: Openings,
}

type Openings = Arc<Mutex<Vec<Vec<u8>>>>;

impl Tap {
    /// A tap on the way to `target`.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn on(target: SocketAddr) -> Self {
        let openings = Openings::default();
        let heard = openings.clone();
        let service = service::tcp(move |near| forward(near, target, heard.clone())).await;
        Self { service, openings }
    }

    /// Where to connect instead of to the target.
    pub fn addr(&self) -> SocketAddr {
        self.service.addr()
    }

    /// The first bytes of every connection that the target accepted and that said something, in their order.
    ///
    /// # Panics
    /// Never in practice: only when a connection panicked.
    pub fn openings(&self) -> Vec<Vec<u8>> {
        self.openings.lock().unwrap().clone()
    }
}

async fn forward(mut near: TcpStream, target: SocketAddr, openings: Openings) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    let mut opening = vec![0; 4 * 1024];
    let Ok(len @ 1..) = near.read(&mut opening).await else {
        return;
    };
    opening.truncate(len);
    if far.write_all(&opening).await.is_ok() {
        openings.lock().unwrap().push(opening);
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}
