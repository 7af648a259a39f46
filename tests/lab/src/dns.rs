//! A DNS server that says what a test wants.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

use tokio::{net::UdpSocket, task::JoinHandle};

/// The server; it ends when this is dropped.
pub struct Dns {
    addr: SocketAddr,
    server: JoinHandle<()>,
}

impl Dns {
    /// One that knows these names and no others; a name in front of which there is `*.` stands for all below it.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn knowing(names: &[(&str, IpAddr)]) -> Self {
        let names = names
            .iter()
            .map(|(name, ip)| ((*name).to_owned(), *ip))
            .collect();
        Self::start(Some(names)).await
    }

    /// One that answers nothing.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn silent() -> Self {
        Self::start(None).await
    }

    async fn start(names: Option<HashMap<String, IpAddr>>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let mut question = [0; 512];
            while let Ok((len, from)) = socket.recv_from(&mut question).await {
                if let Some(names) = &names {
                    let _ = socket.send_to(&answer(&question[..len], names), from).await;
                }
            }
        });
        Self { addr, server }
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The answer to a message with one question (RFC 1035, section 4.1).
fn answer(message: &[u8], names: &HashMap<String, IpAddr>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    let wildcard = || names.get(&format!("*.{}", labels.get(1..)?.join(".")));
    let known = names.get(&labels.join(".")).or_else(wildcard);
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    let data = match (known, kind) {
        (Some(IpAddr::V4(ip)), 1) => ip.octets().to_vec(),
        (Some(IpAddr::V6(ip)), 28) => ip.octets().to_vec(),
        _ => Vec::new(),
    };
    let mut answer = message[..2].to_vec();
    // An answer, recursion available; the name is there or not (3).
    answer.extend([0x81, if known.is_some() { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(!data.is_empty()), 0, 0, 0, 0]);
    answer.extend(&message[12..at + 5]);
    if !data.is_empty() {
        // The name of the question; its kind, IN, an hour to live.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0x0e, 0x10, 0, data.len() as u8]);
        answer.extend(data);
    }
    answer
}
