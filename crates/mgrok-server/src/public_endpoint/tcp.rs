//! A TCP port for users: accept, open a backend, relay.

use std::sync::{Arc, Mutex, PoisonError};

use mgrok_config::Strategy;
use mgrok_net::conn::Conn;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info};

use crate::accept::{self, AcceptContext, UserService};
use crate::backend::{self, Backend, PeerAddrs};
use crate::backend_set::BackendSet;
use crate::ports::TcpLease;

/// Serves users of a port by the backends that take turns there.
#[derive(Clone, Debug)]
struct PortService(Arc<BackendSet<Backend>>);

impl UserService for PortService {
    // Not an async function, whose future would hold the arguments beside what they are passed to.
    fn serve(self, user: Conn, addrs: PeerAddrs) -> impl Future<Output = ()> + Send + 'static {
        info!(source = %addrs.from, "get a user connection [{}]", addrs.from);
        let from = addrs.from.ip();
        backend::serve(user, addrs, "", self.0.in_turn(from))
    }
}

/// A leased port and those who serve its users. Users wait in its backlog until it is opened. `S` is what is given up when
/// the port is free again, and not before, whoever drops this and when.
#[derive(Debug)]
pub(super) struct Port<S> {
    number: u16,
    backends: Arc<BackendSet<Backend>>,
    accept_context: AcceptContext,
    stop: CancellationToken,
    state: Mutex<State<S>>,
}

#[derive(Debug)]
enum State<S> {
    Unopened(Held<S>),
    Open(JoinHandle<()>),
    Closed,
}

/// What the port is made of, in the order in which it is given back.
#[derive(Debug)]
struct Held<S> {
    lease: TcpLease,
    _slot: S,
}

impl<S: Send + Sync + 'static> Port<S> {
    pub(super) fn new(
        lease: TcpLease,
        slot: S,
        strategy: Strategy,
        accept_context: AcceptContext,
    ) -> Self {
        Self {
            number: lease.port(),
            backends: Arc::new(BackendSet::new(strategy)),
            accept_context,
            stop: CancellationToken::new(),
            state: Mutex::new(State::Unopened(Held { lease, _slot: slot })),
        }
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }

    pub(super) fn backends(&self) -> &Arc<BackendSet<Backend>> {
        &self.backends
    }

    /// Begins to accept users, unless that has begun.
    pub(super) fn open(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match std::mem::replace(&mut *state, State::Closed) {
            State::Unopened(held) => {
                let service = PortService(self.backends.clone());
                let context = self.accept_context.clone();
                let accepting = run(held, service, context, self.stop.clone());
                State::Open(self.accept_context.tasks.spawn(accepting.in_current_span()))
            }
            state @ (State::Open(_) | State::Closed) => state,
        };
    }

    /// Accepts nobody else; the port is free when this returns.
    pub(super) async fn close(mut self) {
        self.stop.cancel();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let state = std::mem::replace(state, State::Closed);
        if let State::Open(task) = state {
            // An error says that the task panicked; what it held is free then too.
            let _ = task.await;
        }
    }
}

impl<S> Drop for Port<S> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Accepts users at a port that is `held` until `stop` is cancelled.
async fn run<S>(
    held: Held<S>,
    service: PortService,
    context: AcceptContext,
    stop: CancellationToken,
) {
    accept::run(&held.lease.listener, service, context, stop).await;
}

#[cfg(test)]
mod tests {
    use mgrok_config::ServerConfig;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::client_addr::ClientAddrResolver;
    use crate::policy::CurrentPolicy;
    use crate::tasks::Tasks;

    /// A held user connection costs its task, so the task must be little more than its relay. It was 23 KiB when asking a
    /// plugin about a user was a part of it.
    #[tokio::test]
    async fn the_task_of_a_user_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let from = listener.local_addr().unwrap();
        let stream = TcpStream::connect(from).await.unwrap();
        let backends = Arc::new(BackendSet::new(Strategy::default()));
        let client_addrs = ClientAddrResolver::new(CurrentPolicy::of(ServerConfig::default()));
        let user = accept::user(stream, from, client_addrs, PortService(backends));
        let size = size_of_val(&Tasks::default().until_cut(user));
        assert!(size <= 768, "{size} bytes");
    }
}
