//! A message that plugins or an issuer are asked about, while its session goes on with all else.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgrok_proto::message::{NewProxy, Ping};

use crate::hooks::{HookClient, HookError, Hooks};
use crate::keys::{Keys, ProofError, Subject};

/// The message of one session that plugins are asked about, if they are.
#[derive(Default)]
pub(super) struct PendingHook {
    asked: Option<Asked>,
}

struct Asked {
    since: Instant,
    answer: Pin<Box<dyn Future<Output = HookOutcome> + Send>>,
}

/// A message that plugins were asked about.
pub(super) enum HookOutcome {
    NewProxy(ProxyRequest, Result<Box<NewProxy>, HookError>),
    Ping(Result<(), PingError>),
}

/// Why a heartbeat does not count. Clients show the texts, which are frp's.
#[derive(Debug, thiserror::Error)]
pub(super) enum PingError {
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// What a client asked for, as it is told about it.
pub(super) struct ProxyRequest {
    pub(super) name: String,
    pub(super) kind: String,
}

impl PendingHook {
    /// Whether plugins are asked about a message. The next one has to wait then.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Asks about a proxy.
    pub(super) fn new_proxy(
        &mut self,
        hooks: Hooks,
        client: Arc<HookClient>,
        request: ProxyRequest,
        new: Box<NewProxy>,
    ) {
        self.ask(async move {
            let new = hooks.new_proxy(&client, *new).await;
            HookOutcome::NewProxy(request, new.map(Box::new))
        });
    }

    /// Asks plugins about a heartbeat, and then verifies it with `keys`, of a session whose login was of `subject`.
    pub(super) fn ping(
        &mut self,
        hooks: Hooks,
        client: Arc<HookClient>,
        keys: Arc<Keys>,
        subject: Subject,
        ping: Ping,
    ) {
        self.ask(async move {
            let verified = async {
                let ping = hooks.ping(&client, ping).await?;
                Ok(keys.verify_ping(&subject, &ping).await?)
            };
            HookOutcome::Ping(verified.await)
        });
    }

    /// What plugins have answered, and how long that took. Cancel-safe.
    pub(super) async fn answered(&mut self) -> (HookOutcome, Duration) {
        let Some(Asked { since, answer }) = &mut self.asked else {
            return pending().await;
        };
        let answered = (answer.await, since.elapsed());
        self.asked = None;
        answered
    }

    fn ask(&mut self, answer: impl Future<Output = HookOutcome> + Send + 'static) {
        self.asked = Some(Asked {
            since: Instant::now(),
            answer: Box::pin(answer),
        });
    }
}

impl ProxyRequest {
    pub(super) fn of(new: &NewProxy) -> Self {
        let kind = match new.proxy_type.as_str() {
            "" => "tcp",
            kind => kind,
        };
        Self {
            name: new.proxy_name.clone(),
            kind: kind.to_owned(),
        }
    }
}
