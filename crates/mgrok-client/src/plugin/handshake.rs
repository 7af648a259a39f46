//! TLS handshakes of plugins, within a time limit.

use std::io;
use std::time::Duration;

use mgrok_net::conn::Conn;
use tokio::time::timeout;

/// How long a user or a website may take for a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Waits for a handshake, at most for [`HANDSHAKE_TIME`].
pub(super) async fn in_time(handshake: impl Future<Output = io::Result<Conn>>) -> io::Result<Conn> {
    match timeout(HANDSHAKE_TIME, handshake).await {
        Ok(done) => done,
        Err(_elapsed) => {
            let why = format!("no TLS handshake within {HANDSHAKE_TIME:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
    }
}
