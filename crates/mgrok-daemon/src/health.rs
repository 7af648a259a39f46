//! `health`: whether the program that runs with a file serves users. An image without a shell has nothing else to ask with.

use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode};
use mgrok_config::WebServer;

use crate::admin_client::AdminClient;

/// How long all of it may take. Docker waits for 30 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the admin port of the program that runs on this host whether users can be served, and returns what it says.
///
/// # Errors
/// If it does not answer in time, or says that they cannot.
pub fn ask(admin: &WebServer) -> anyhow::Result<String> {
    let client = AdminClient::new(Some(admin.clone()), "program")?;
    let at = client.authority();
    let (status, body) = client.exchange(Method::GET, "/readyz", TIMEOUT)?;
    match status {
        StatusCode::OK => Ok(format!("{at} says that users can be served")),
        StatusCode::SERVICE_UNAVAILABLE => bail!(
            "{at} says that users cannot be served: {}",
            String::from_utf8_lossy(&body).trim().escape_debug()
        ),
        _ => bail!("what answers at {at} is no admin port of mgrok"),
    }
}

/// Whether something accepts connections at a port of this host.
///
/// # Errors
/// If nothing does.
pub fn accepts(host: &str, port: u16) -> anyhow::Result<String> {
    let host = match host {
        // Where it listens on every address.
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    };
    let mut addrs = (host, port).to_socket_addrs()?;
    let addr = addrs.next().context("its host has no address")?;
    TcpStream::connect_timeout(&addr, TIMEOUT)
        .with_context(|| format!("nothing listens at {addr}"))?;
    Ok(format!("{addr} accepts connections"))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
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
