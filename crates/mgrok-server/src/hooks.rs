//! Hooks: the operator's plugins are asked over HTTP before something happens.
//!
//! Those that want an operation are asked in the order of the configuration, each about what the one before left. One
//! that refuses or cannot be asked ends the matter. Where nobody wants an operation, asking costs a look at an empty list.
//!
//! Where this differs from frp: an answer has ten seconds and a limited size; an answer without `content`, or with
//! `null`, changes nothing (frp blanks everything, or crashes), while `"content": {}` still blanks; redirects are not
//! followed; proxies named by the environment are not used; a proxy cannot be renamed, since its client would not know
//! it; and a refusal without a reason gets one, since clients take an empty error for success.

mod plugin;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::HttpPlugin;
use mgrok_net::error_chain::Chain;
use mgrok_proto::RunId;
use mgrok_proto::hook::{Client, ClientContent, Content, LoginContent, NewUserConn, Op};
use mgrok_proto::message::{CloseProxy, Login, NewProxy, NewWorkConn, Ping};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tracing::{Instrument, Span, info, info_span, warn};

use self::plugin::{CALL_TIMEOUT, Plugin};
use crate::tasks::Tasks;

/// How many questions about the users of one client may be with plugins at once, and about its work connections. Those of
/// others have their turns in between.
const MAX_CALLS_PER_CLIENT: usize = 16;

/// The longest reason that is passed on, in bytes. Escaped, it still fits into a message.
const MAX_REASON_LEN: usize = 1_024;

/// All plugins of one server. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Hooks {
    plugins: Arc<[Plugin]>,
}

/// Why something must not happen. Clients show the texts, which are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    #[error("send {} request to plugin error", .0.name())]
    Failed(Op),
    #[error("{0}")]
    Rejected(String),
    #[error(
        "a plugin changed the name of proxy [{from}] to [{to}], which its client would not know"
    )]
    Renamed { from: String, to: String },
}

/// A plugin of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("httpPlugins: plugin [{name}] cannot be used")]
pub struct PluginError {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A client as plugins hear of it, with its share of their attention.
///
/// A session has one message at a time with plugins. What comes beside it has no such bound by itself: its users, and the work
/// connections that it offers.
#[derive(Debug)]
pub(crate) struct HookClient {
    client: Client,
    users: Semaphore,
    work_conns: Semaphore,
}

impl From<Client> for HookClient {
    fn from(client: Client) -> Self {
        Self {
            client,
            users: Semaphore::new(MAX_CALLS_PER_CLIENT),
            work_conns: Semaphore::new(MAX_CALLS_PER_CLIENT),
        }
    }
}

impl Deref for HookClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What is asked about each user of one proxy.
#[derive(Clone, Debug)]
pub(crate) struct UserHook {
    hooks: Hooks,
    client: Arc<HookClient>,
    proxy_name: String,
    proxy_type: String,
}

impl Hooks {
    /// Reads what TLS needs, and connects to nobody yet.
    pub(crate) fn new(plugins: &[HttpPlugin]) -> Result<Self, PluginError> {
        let plugin = |it: &HttpPlugin| {
            Plugin::new(it).map_err(|error| PluginError {
                name: it.name.clone(),
                source: error.into(),
            })
        };
        let plugins: Result<_, _> = plugins.iter().map(plugin).collect();
        Ok(Self { plugins: plugins? })
    }

    /// Tells the log who is asked.
    pub(crate) fn announce(&self) {
        for plugin in &*self.plugins {
            // frp: these words, which scripts look for (server/service.go#NewService)
            info!("plugin [{}] has been registered", plugin.name());
        }
    }

    /// Whether anybody wants to know of `op`.
    pub(crate) fn is_subscribed(&self, op: Op) -> bool {
        self.subscribers(op).next().is_some()
    }

    /// The longest that it may take to ask about `op`; nothing where nobody wants to know.
    pub(crate) fn patience(&self, op: Op) -> Duration {
        self.subscribers(op).map(|_| CALL_TIMEOUT).sum()
    }

    /// The login as it is to be, of a client that comes from `from`.
    pub(crate) async fn login(&self, login: Login, from: SocketAddr) -> Result<Login, HookError> {
        if !self.is_subscribed(Op::Login) {
            return Ok(login);
        }
        let content = LoginContent {
            login,
            client_address: canonical(from),
        };
        Ok(self.ask(content).await?.login)
    }

    /// The proxy as it is to be.
    pub(crate) async fn new_proxy(
        &self,
        client: &Client,
        new: NewProxy,
    ) -> Result<NewProxy, HookError> {
        let from = new.proxy_name.clone();
        // A plugin that was made for frp answers without what it does not know, which must not open what is to be closed.
        let allow_from = new.mgrok_allow_from.clone();
        let deny_from = new.mgrok_deny_from.clone();
        let limits = (new.mgrok_connections_per_source, new.mgrok_rate_per_source);
        let (strategy, weight) = (new.mgrok_strategy.clone(), new.mgrok_weight);
        let new = NewProxy {
            mgrok_allow_from: allow_from,
            mgrok_deny_from: deny_from,
            mgrok_connections_per_source: limits.0,
            mgrok_rate_per_source: limits.1,
            mgrok_strategy: strategy,
            mgrok_weight: weight,
            ..self.ask_about(client, new).await?
        };
        if new.proxy_name != from {
            let to = new.proxy_name;
            return Err(HookError::Renamed { from, to });
        }
        Ok(new)
    }

    /// The sign of life as it is to be.
    pub(crate) async fn ping(&self, client: &Client, ping: Ping) -> Result<Ping, HookError> {
        self.ask_about(client, ping).await
    }

    /// The offer of a work connection as it is to be.
    pub(crate) async fn new_work_conn(
        &self,
        client: &HookClient,
        new: NewWorkConn,
    ) -> Result<NewWorkConn, HookError> {
        let turn = turn(&client.work_conns, Op::NewWorkConn).await?;
        let new = self.ask_about(client, new).await;
        drop(turn);
        new
    }

    /// Tells that a proxy is gone, and waits for nobody.
    pub(crate) fn proxy_closed(&self, client: &Arc<HookClient>, proxy_name: String, tasks: &Tasks) {
        if !self.is_subscribed(Op::CloseProxy) {
            return;
        }
        let (hooks, client) = (self.clone(), client.clone());
        let tell = async move {
            let message = CloseProxy { proxy_name };
            let client = client.client.clone();
            hooks.tell(ClientContent { client, message }).await;
        };
        tasks.spawn(tell.in_current_span());
    }

    /// What asks about each user of a proxy; `None` if nobody wants to know.
    pub(crate) fn user_hook(
        &self,
        client: &Arc<HookClient>,
        proxy_name: &str,
        proxy_type: &str,
    ) -> Option<UserHook> {
        self.is_subscribed(Op::NewUserConn).then(|| UserHook {
            hooks: self.clone(),
            client: client.clone(),
            proxy_name: proxy_name.to_owned(),
            proxy_type: proxy_type.to_owned(),
        })
    }

    async fn ask_about<M>(&self, client: &Client, message: M) -> Result<M, HookError>
    where
        ClientContent<M>: Content,
    {
        if !self.is_subscribed(ClientContent::<M>::OP) {
            return Ok(message);
        }
        let client = client.clone();
        Ok(self.ask(ClientContent { client, message }).await?.message)
    }

    async fn ask<C: Content>(&self, mut content: C) -> Result<C, HookError> {
        let event = Event::new();
        for plugin in self.subscribers(C::OP) {
            let answer = plugin.call(&content, &event.id);
            let answer = match answer.instrument(event.span.clone()).await {
                Ok(answer) => answer,
                Err(error) => {
                    event.failed(C::OP, plugin, &error);
                    return Err(HookError::Failed(C::OP));
                }
            };
            if answer.reject {
                return Err(HookError::Rejected(reason(answer.reject_reason)));
            }
            if !answer.unchange
                && let Some(changed) = answer.content
            {
                content = changed;
            }
        }
        Ok(content)
    }

    /// Whatever one plugin makes of it is nothing to the others.
    async fn tell<C: Content>(&self, content: C) {
        let event = Event::new();
        for plugin in self.subscribers(C::OP) {
            let answer = plugin.call(&content, &event.id);
            if let Err(error) = answer.instrument(event.span.clone()).await {
                event.failed(C::OP, plugin, &error);
            }
        }
    }

    fn subscribers(&self, op: Op) -> impl Iterator<Item = &Plugin> {
        self.plugins.iter().filter(move |it| it.wants(op))
    }
}

impl UserHook {
    /// Whether a user who comes from `from` may come. What a plugin changes has no meaning.
    pub(crate) async fn admit(&self, from: SocketAddr) -> Result<(), HookError> {
        let content = ClientContent {
            client: self.client.client.clone(),
            message: NewUserConn {
                proxy_name: self.proxy_name.clone(),
                proxy_type: self.proxy_type.clone(),
                remote_addr: canonical(from),
            },
        };
        let _turn = turn(&self.client.users, Op::NewUserConn).await?;
        self.hooks.ask(content).await.map(drop)
    }
}

/// Connects to the plugin of `config`, and asks it nothing.
///
/// # Errors
/// It cannot be used or reached. Nothing but the dial limits the time.
pub(crate) async fn reach(
    config: &HttpPlugin,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Plugin::new(config)?.reach().await?;
    Ok(())
}

/// Waits for one of a client's turns, as long as for an answer at most.
async fn turn(turns: &Semaphore, op: Op) -> Result<Option<SemaphorePermit<'_>>, HookError> {
    match timeout(CALL_TIMEOUT, turns.acquire()).await {
        // Never closed, so that there is always a turn to come.
        Ok(turn) => Ok(turn.ok()),
        Err(_) => Err(HookError::Failed(op)),
    }
}

/// One thing that plugins are asked about, under one id.
struct Event {
    id: RunId,
    span: Span,
}

impl Event {
    fn new() -> Self {
        // frp: of the form of a run id (pkg/plugin/server/manager.go)
        let id = RunId::random();
        let span = info_span!("hook", reqid = id.as_str());
        Self { id, span }
    }

    // frp: these words and levels (pkg/plugin/server/manager.go)
    fn failed(&self, op: Op, plugin: &Plugin, error: &plugin::CallError) {
        let text = || {
            let (op, name, error) = (op.name(), plugin.name(), Chain(error));
            format!("send {op} request to plugin [{name}] error: {error}")
        };
        self.span.in_scope(|| match op {
            Op::NewUserConn => info!(source = plugin.name(), "{}", text()),
            Op::CloseProxy | Op::Login | Op::NewProxy | Op::NewWorkConn | Op::Ping => {
                warn!(source = plugin.name(), "{}", text());
            }
        });
    }
}

fn reason(mut text: String) -> String {
    if text.is_empty() {
        return "rejected by a plugin".to_owned();
    }
    text.truncate(text.floor_char_boundary(MAX_REASON_LEN));
    text
}

fn canonical(addr: SocketAddr) -> String {
    SocketAddr::new(addr.ip().to_canonical(), addr.port()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_never_empty_and_never_too_long() {
        assert_eq!(reason("full".to_owned()), "full");
        assert_eq!(reason(String::new()), "rejected by a plugin");
        let long = reason("ä".repeat(MAX_REASON_LEN) + "b");
        assert_eq!(long.len(), MAX_REASON_LEN);
        let odd = reason("a".to_owned() + &"ä".repeat(MAX_REASON_LEN));
        assert_eq!(odd.len(), MAX_REASON_LEN - 1);
    }

    #[test]
    fn without_plugins_nobody_is_asked() {
        let hooks = Hooks::new(&[]).unwrap();
        for op in Op::ALL {
            assert!(!hooks.is_subscribed(op));
            assert_eq!(hooks.patience(op), Duration::ZERO);
        }
        let client = Arc::new(HookClient::from(Client::default()));
        assert!(hooks.user_hook(&client, "p", "tcp").is_none());
    }

    #[test]
    fn addresses_are_written_as_users_know_them() {
        assert_eq!(
            canonical("[::ffff:192.0.2.1]:7".parse().unwrap()),
            "192.0.2.1:7"
        );
        assert_eq!(
            canonical("[2001:db8::1]:7".parse().unwrap()),
            "[2001:db8::1]:7"
        );
    }
}
