//! `health`: whether the program that runs with a file serves users. An image without a shell has nothing else to ask with.
//!
//! Not by hyper: a request and the first line of its answer need no more than the standard library.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use mgrok_config::WebServer;

/// How long all of it may take. Docker waits for 30 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How much of an answer is read: a status and a reason.
const MAX_ANSWER: u64 = 64 * 1024;

/// Asks the admin port of the program that runs on this host whether users can be served, and returns what it says.
///
/// # Errors
/// If it does not answer in time, or says that they cannot.
pub fn ask(admin: &WebServer) -> anyhow::Result<String> {
    let deadline = Instant::now() + TIMEOUT;
    let (mut stream, addr) = connect(&admin.addr, admin.port, deadline)?;
    let answer = exchange(&mut stream, deadline)
        .with_context(|| format!("the admin port at {addr} does not answer"))?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(format!("{addr} says that users can be served")),
        "503" => bail!("{addr} says that users cannot be served: {}", body.trim()),
        _ => bail!("what answers at {addr} is no admin port of mgrok"),
    }
}

/// Whether something accepts connections at a port of this host.
///
/// # Errors
/// If nothing does.
pub fn accepts(host: &str, port: u16) -> anyhow::Result<String> {
    let (_, addr) = connect(host, port, Instant::now() + TIMEOUT)?;
    Ok(format!("{addr} accepts connections"))
}

fn connect(host: &str, port: u16, deadline: Instant) -> anyhow::Result<(TcpStream, SocketAddr)> {
    let host = match host {
        // Where it listens on every address.
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let mut addrs = (host, port).to_socket_addrs()?;
    let addr = addrs.next().context("its host has no address")?;
    let stream = TcpStream::connect_timeout(&addr, left(deadline)?)
        .with_context(|| format!("nothing listens at {addr}"))?;
    Ok((stream, addr))
}

fn exchange(stream: &mut TcpStream, deadline: Instant) -> anyhow::Result<String> {
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.set_read_timeout(Some(left(deadline)?))?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The time until then.
fn left(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        bail!("it takes longer than {} s", TIMEOUT.as_secs());
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one request with a text.
    fn admin(answer: &'static str) -> WebServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /readyz "));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        WebServer {
            addr: "0.0.0.0".to_owned(),
            port,
            ..WebServer::default()
        }
    }

    #[test]
    fn the_admin_port_says_whether_users_are_served() {
        let well = admin("HTTP/1.1 200 OK\r\n\r\n{\"ready\":true}\n");
        assert!(ask(&well).unwrap().contains("can be served"));
        let unwell = admin(
            "HTTP/1.1 503 Service Unavailable\r\n\r\n{\"ready\":false,\"reason\":\"no session\"}\n",
        );
        let error = ask(&unwell).unwrap_err().to_string();
        assert!(error.contains("no session"), "{error}");
        let other = admin("SSH-2.0-OpenSSH\r\n");
        let error = ask(&other).unwrap_err().to_string();
        assert!(error.contains("no admin port"), "{error}");
    }

    #[test]
    fn a_port_where_nothing_listens_is_told() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        accepts("127.0.0.1", port).unwrap();
        drop(listener);
        let error = accepts("127.0.0.1", port).unwrap_err().to_string();
        assert!(error.contains("nothing listens"), "{error}");
    }
}
