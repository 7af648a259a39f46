//! One HTTP request, and as much of its answer as is wanted.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use httparse::Status;
use mgrok_config::WebServer;
use mgrok_net::conn::Conn;

/// The most bytes of an answer that are read: a head as services send it, or the status of many thousand proxies.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 256;

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// What its `Date` says.
    pub(super) date: Option<String>,
    pub(super) body: Vec<u8>,
}

/// What of an answer is waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wanted {
    Head,
    All,
}

/// Asks whoever is at the other end of `conn`, who is called `host`, for `path`. Nothing limits the time, so the caller has to.
pub(super) async fn get(
    conn: &mut Conn,
    host: &str,
    path: &str,
    login: Option<&WebServer>,
    wanted: Wanted,
) -> io::Result<Answer> {
    let authorization = match login {
        Some(login) if !login.user.is_empty() || !login.password.is_empty() => {
            let pair = format!("{}:{}", login.user, login.password.expose());
            format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
        }
        _ => String::new(),
    };
    // In 1.0 no answer comes in chunks, and the connection ends with it.
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: mgrok-doctor\r\nConnection: close\r\n{authorization}\r\n"
    );
    conn.send(Bytes::from(request)).await?;
    let mut read = Vec::new();
    loop {
        let head = head(&read)?;
        if let Some((mut answer, len)) = head
            && wanted == Wanted::Head
        {
            answer.body = read.split_off(len);
            return Ok(answer);
        }
        let chunk = conn.recv().await;
        match chunk {
            Ok(chunk) if !chunk.is_empty() => read.extend_from_slice(&chunk),
            // Whoever has said all may close as they like.
            Ok(_) | Err(_) if !read.is_empty() => break,
            Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) => return Err(error),
        }
        if read.len() > MAX_ANSWER {
            return Err(io::Error::other("the answer is too long"));
        }
    }
    let (mut answer, len) = head(&read)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    answer.body = read.split_off(len);
    Ok(answer)
}

/// The head of an answer and its length; `None` if it is not complete.
fn head(read: &[u8]) -> io::Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(read) {
        Ok(Status::Complete(len)) => len,
        Ok(Status::Partial) => return Ok(None),
        Err(error) => {
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    };
    let date = response
        .headers
        .iter()
        .find(|it| it.name.eq_ignore_ascii_case("date"));
    let answer = Answer {
        status: response.code.unwrap_or_default(),
        date: date.map(|it| String::from_utf8_lossy(it.value).into_owned()),
        body: Vec::new(),
    };
    Ok(Some((answer, len)))
}
