//! Opening a listener, however long it takes.

use std::future::Future;
use std::io;
use std::time::Duration;

use tracing::{debug, info, warn};

/// The pause after a failure. The process that holds the port may be about to exit.
// frp: the same (client/visitor/visitor_manager.go#keepVisitorsRunning)
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// What the log says of a visitor that has started.
// frp: scripts look for these words (client/visitor/visitor_manager.go)
const STARTED: &str = "start visitor success";

/// Logs that a visitor has started, and where it listens.
pub(super) fn log_started(listener: &str) {
    info!("{STARTED}");
    info!("{listener}");
}

/// Binds to `host` and `port`, again until it works. Says why it does not whenever the reason is another one, also to `on_error`.
pub(super) async fn open<'a, T, F: Future<Output = io::Result<T>>>(
    host: &'a str,
    port: u16,
    bind: impl Fn(&'a str, u16) -> F,
    on_error: impl Fn(String),
) -> T {
    let mut reason = String::new();
    loop {
        let error = match bind(host, port).await {
            Ok(listener) => return listener,
            Err(error) => error.to_string(),
        };
        if error == reason {
            debug!("start error: {error}");
        } else {
            let what = format!("cannot listen on {host}, port {port}: {error}");
            warn!("start error: {what}; next attempt in {RETRY:?}");
            on_error(what);
            reason = error;
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use mgrok_net::tcp;
    use tokio::net::TcpListener;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_listener_whose_port_is_taken_opens_when_it_is_free() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let began = Instant::now();
        let attempts = Cell::new(0);
        let errors = Cell::new(0);
        let taken = Cell::new(Some(taken));
        let bind = |host, port| {
            attempts.set(attempts.get() + 1);
            if attempts.get() == 3 {
                taken.take();
            }
            tcp::bind(host, port)
        };
        let on_error = |_| errors.set(errors.get() + 1);
        let listener = open("127.0.0.1", port, bind, on_error).await;
        assert_eq!(listener.local_addr().unwrap().port(), port);
        assert_eq!(attempts.get(), 3);
        assert_eq!(errors.get(), 1);
        assert_eq!(began.elapsed().as_secs(), RETRY.as_secs() * 2);
    }
}
