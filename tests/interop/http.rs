//! HTTP/1.1 by hand, so that a test decides about every byte: users, and a website that shows what reached it.

use std::{io, net::SocketAddr};

use mgrok_lab::{
    PATIENCE,
    service::{self, Service},
    within,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

/// The header in which a [`site`] says its name.
const SITE: &str = "x-site";

/// A request or a response.
#[derive(Debug)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        let mut words = self.start.split(' ');
        words.nth(1).and_then(|it| it.parse().ok()).unwrap()
    }

    /// The [`site`] that this response is from.
    pub(crate) fn site(&self) -> Option<&str> {
        self.header(SITE)
    }

    /// The request that reached the [`site`] that this response is from.
    #[track_caller]
    pub(crate) fn seen(&self) -> Self {
        assert_eq!(self.status(), 200, "{self:?}");
        let end = self.body.windows(4).position(|it| it == b"\r\n\r\n");
        let (head, body) = self.body.split_at(end.unwrap());
        let head = std::str::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        Self {
            start: lines.next().unwrap().to_owned(),
            headers: lines.map(header).collect(),
            body: body[4..].to_vec(),
        }
    }

    /// For [`Self::seen`].
    fn show(&self) -> Vec<u8> {
        let mut shown = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            shown += &format!("{name}: {value}\r\n");
        }
        shown += "\r\n";
        [shown.as_bytes(), &self.body].concat()
    }
}

fn header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

/// One end of a connection.
pub(crate) struct Connection(pub(crate) BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn to(addr: SocketAddr) -> Self {
        Self::from(TcpStream::connect(addr).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// The next message; `None` at the end. A response to HEAD has no place here.
    pub(crate) async fn receive(&mut self) -> io::Result<Option<Message>> {
        let mut start = self.line().await?;
        if start.is_empty() {
            return Ok(None);
        }
        start.truncate(start.trim_end().len());
        let mut message = Message {
            start,
            headers: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let line = self.line().await?;
            match line.trim_end() {
                "" => break,
                line => message.headers.push(header(line)),
            }
        }
        if message.header("transfer-encoding").is_some() {
            message.body = self.chunks().await?;
        } else if let Some(len) = message.header("content-length") {
            message.body = self.bytes(len.parse().map_err(io::Error::other)?).await?;
        }
        Ok(Some(message))
    }

    /// Sends `request` and waits for the response.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Message {
        let response = async {
            self.send(request).await?;
            self.receive().await
        };
        let response = within(PATIENCE, "a response", response).await;
        response.unwrap().expect("no end before the response")
    }

    /// Sends back what comes.
    async fn echo(mut self) -> io::Result<()> {
        loop {
            let bytes = self.0.fill_buf().await?.to_vec();
            if bytes.is_empty() {
                return Ok(());
            }
            self.0.consume(bytes.len());
            self.0.write_all(&bytes).await?;
        }
    }

    /// With its end; empty when there is no more.
    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        Ok(line)
    }

    async fn bytes(&mut self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let len = usize::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
            body.extend(self.bytes(len).await?);
            self.line().await?;
            if len == 0 {
                return Ok(body);
            }
        }
    }
}

impl From<TcpStream> for Connection {
    fn from(stream: TcpStream) -> Self {
        // Small messages, each waited for.
        let _ = stream.set_nodelay(true);
        Self(BufReader::new(stream))
    }
}

/// Asks for a path at a host, on a connection of its own; `more` are lines of the header.
pub(crate) async fn get(port: SocketAddr, host: &str, path: &str, more: &[&str]) -> Message {
    let mut user = Connection::to(port).await;
    user.ask(&request("GET", host, path, more, b"")).await
}

/// A request with this body, if it is not empty.
pub(crate) fn request(method: &str, host: &str, path: &str, more: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n");
    for line in more {
        head += &format!("{line}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

/// A website. It answers every request with its name and what it saw, and a request to upgrade with an echo of all
/// that follows.
pub(crate) async fn site(name: &'static str) -> Service {
    service::tcp(async move |stream| {
        // Users who leave are no fault.
        let _ = answer(stream.into(), name).await;
    })
    .await
}

async fn answer(mut user: Connection, name: &str) -> io::Result<()> {
    while let Some(request) = user.receive().await? {
        if let Some(protocol) = request.header("upgrade") {
            let switch = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{SITE}: {name}\r\n\r\n"
            );
            user.send(switch.as_bytes()).await?;
            return user.echo().await;
        }
        let body = request.show();
        let head = format!(
            "HTTP/1.1 200 OK\r\n{SITE}: {name}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        user.send(&[head.as_bytes(), &body].concat()).await?;
    }
    Ok(())
}
