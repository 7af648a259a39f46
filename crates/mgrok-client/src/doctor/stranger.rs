//! Who is at a port that is not the server's.

use bytes::Bytes;
use mgrok_net::conn::Conn;
use tokio::time::{Duration, timeout};

/// How long whoever is there has to say something.
const TIME: Duration = Duration::from_millis(1500);

/// The most of it that is told.
const MAX_SHOWN: usize = 60;

/// What whoever is at the other end of `conn` says to a request in HTTP, which nearly everything answers somehow; `None` if nothing.
pub(super) async fn identify(mut conn: Conn) -> Option<String> {
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let said = async {
        conn.send(Bytes::from_static(request.as_bytes()))
            .await
            .ok()?;
        conn.recv().await.ok()
    };
    let said = timeout(TIME, said).await.ok()??;
    let line = said.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    if line.is_empty() {
        return None;
    }
    let shown = line[..line.len().min(MAX_SHOWN)].escape_ascii();
    Some(if line.starts_with(b"HTTP/") {
        format!("an HTTP server is there, which says `{shown}`")
    } else if line.starts_with(b"SSH-") {
        format!("an SSH server is there, which says `{shown}`")
    } else {
        format!("something else is there, which says `{shown}`")
    })
}
