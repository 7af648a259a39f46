//! Users of HTTP services.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpStream,
    task::JoinSet,
};

use crate::wait::{PATIENCE, within};

/// A connection of a user, who writes requests as text and reads one answer after the other.
pub struct User<S = TcpStream> {
    stream: BufReader<S>,
}

/// What a user got.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// The lines of the head, the first one not among them.
    pub headers: Vec<String>,
    /// What came behind the head, its chunks put together.
    pub body: String,
    /// The lines behind the last chunk.
    pub trailers: Vec<String>,
}

impl Answer {
    /// The value of a header, whatever case its name is in; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut fields = self.headers.iter().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.trim())
    }

    /// Which [`Web`](super::Web) has answered; empty if none has.
    pub fn service(&self) -> &str {
        self.header("x-service")
    }

    /// Whether the request that the service got has this line.
    pub fn shows(&self, line: &str) -> bool {
        self.body.lines().any(|it| it == line)
    }
}

impl User {
    /// A user who has just connected.
    ///
    /// # Panics
    /// When nobody listens.
    pub async fn of(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> User<S> {
    /// A user on a connection there is.
    pub fn on(stream: S) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The connection, to be written to and read from.
    pub fn stream(&mut self) -> &mut BufReader<S> {
        &mut self.stream
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Sends text.
    ///
    /// # Panics
    /// When the connection does not take it.
    pub async fn send(&mut self, text: &str) {
        let sent = self.stream.write_all(text.as_bytes());
        within(PATIENCE, "a request is taken", sent).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Reads the next answer, to a request that was not `HEAD`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let body = self.body(&mut answer);
        within(PATIENCE, "the body of an answer", body).await;
        answer
    }

    /// Reads the head of the next answer alone. What it answers is no part of it.
    ///
    /// # Panics
    /// When there is none.
    pub async fn head(&mut self) -> Answer {
        let lines = within(PATIENCE, "the head of an answer", self.lines()).await;
        let (first, headers) = lines.split_first().expect("an answer, not the end");
        let status = first.strip_prefix("HTTP/1.1 ").unwrap_or_default();
        let status = status.get(..3).and_then(|digits| digits.parse().ok());
        Answer {
            status: status.unwrap_or_else(|| panic!("{first:?} begins no answer")),
            headers: headers.to_vec(),
            body: String::new(),
            trailers: Vec::new(),
        }
    }

    async fn body(&mut self, answer: &mut Answer) {
        let mut body = Vec::new();
        if answer.header("transfer-encoding") == "chunked" {
            loop {
                let size = self.line().await;
                let size = usize::from_str_radix(&size, 16).unwrap();
                if size == 0 {
                    break;
                }
                self.read(size, &mut body).await;
                assert_eq!(self.line().await, "", "the end of a chunk");
            }
            answer.trailers = self.lines().await;
        } else if let Ok(length) = answer.header("content-length").parse() {
            self.read(length, &mut body).await;
        } else if answer.status != 204 && answer.status != 304 {
            self.stream.read_to_end(&mut body).await.unwrap();
        }
        answer.body = String::from_utf8(body).unwrap();
    }

    async fn read(&mut self, len: usize, body: &mut Vec<u8>) {
        let start = body.len();
        body.resize(start + len, 0);
        self.stream.read_exact(&mut body[start..]).await.unwrap();
    }

    /// Lines up to an empty one, or to the end.
    async fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await;
            if line.is_empty() {
                return lines;
            }
            lines.push(line);
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).await.unwrap();
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// Reads what comes until the other side ends the connection, well or not.
    ///
    /// # Panics
    /// When it does not.
    pub async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let read = self.stream.read_to_end(&mut rest);
        let _ = within(PATIENCE, "the end of a connection", read).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// One request on a connection of its own, and the answer.
///
/// # Panics
/// When there is none.
pub async fn ask(to: SocketAddr, request: &str) -> Answer {
    User::of(to).await.ask(request).await
}

/// `GET` as a browser does it.
///
/// # Panics
/// When there is no answer.
pub async fn get(to: SocketAddr, host: &str, path: &str) -> Answer {
    ask(to, &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

/// Several `GET`s at once on one connection that speaks HTTP/2 from the first byte, and their answers in order.
///
/// # Panics
/// When one of them has no answer.
pub async fn get_by_http2(to: SocketAddr, urls: &[&str]) -> Vec<Answer> {
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // It ends with the requests, if not before, which they would notice.
        let _ = connection.await;
    });
    let ask = |url: &str| {
        let request = Request::get(url).body(Empty::<Bytes>::new()).unwrap();
        let mut sender = sender.clone();
        tokio::spawn(async move {
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let line =
                |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
                    format!("{name}: {}", value.to_str().unwrap())
                };
            Answer {
                status: head.status.as_u16(),
                headers: head.headers.iter().map(line).collect(),
                body: String::from_utf8(body.to_vec()).unwrap(),
                trailers: Vec::new(),
            }
        })
    };
    let asked: Vec<_> = urls.iter().map(|url| ask(url)).collect();
    let mut answers = Vec::new();
    for answer in asked {
        let answer = within(PATIENCE, "an answer by HTTP/2", answer).await;
        answers.push(answer.unwrap());
    }
    answers
}
