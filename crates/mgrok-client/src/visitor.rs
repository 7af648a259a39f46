//! Visitors: listeners on this machine to private services of other clients.
//!
//! They belong to the client, not to a session: a listener stays open from one session to the next, and a user who connects
//! in between waits a while for the next session. Configuration is always applied as a difference to what
//! there is, start-up being the difference to nothing.
//!
//! A user arrives at a visitor's own listener or is handed over by another visitor. [`AcceptUser::enter`] takes both.

mod context;
mod listener;
mod target;
mod user;

mod table;

mod network;
mod stcp;
mod sudp;
#[cfg(test)]
pub(crate) mod tests;
mod xtcp;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mgrok_config::{VisitorConfig, VisitorKind, VisitorPlugin};
use mgrok_net::tcp;
use mgrok_net::udp::UdpSocket;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, Span, debug, error_span, info, warn};

pub(crate) use self::context::VisitorContext;
use self::stcp::Stcp;
pub use self::table::ListenerWatch;
pub(crate) use self::table::Table;
use self::target::Target;
use self::user::{AcceptUser, User, UserCount};
use self::xtcp::Xtcp;
use crate::describe;
use crate::shared_span::SharedSpan;

/// The most users of a listener that wait for a connection to the service. Others stay in the listener's backlog until a permit is free.
/// A user holds one for 20 s at worst, and usually for a moment.
const MAX_WAITING: usize = 1024;

/// Listeners that are open before their visitors start, by the visitors' names.
pub(crate) type Listeners = BTreeMap<String, Listener>;

/// The open listener of a visitor.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Why a visitor cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("the visitor [{name}] cannot listen on {host}, port {port}")]
pub struct ListenError {
    name: String,
    host: String,
    port: u16,
    source: io::Error,
}

/// The one owner of a client's visitors. Dropping it closes their listeners.
#[derive(Debug)]
pub(crate) struct Visitors {
    running: BTreeMap<Arc<str>, Running>,
    table: watch::Sender<Table>,
    context: Arc<VisitorContext>,
}

/// A visitor as its owner sees it.
#[derive(Debug)]
struct Running {
    config: VisitorConfig,
    /// Closes the listener, or stops trying to open it.
    stop: DropGuard,
    /// The task of the listener or of what stands in for one; `None` if there is none.
    listener: Option<JoinHandle<()>>,
}

impl Visitors {
    /// No visitors yet. `table` is where they will be seen.
    pub(crate) fn new(context: VisitorContext, table: watch::Sender<Table>) -> Self {
        Self {
            running: BTreeMap::new(),
            table,
            context: Arc::new(context),
        }
    }

    /// Opens the listeners of those `configs` that are new or have changed, ahead of [`apply_bound`](Self::apply_bound). A port that a
    /// visitor holds which is closed then is left to that, and so is one that two of them ask for: the second waits until it is free.
    pub(crate) async fn bind(&self, configs: &[VisitorConfig]) -> Result<Listeners, ListenError> {
        let wanted = by_name(configs);
        let mut freed = BTreeSet::new();
        for name in self.obsolete(&wanted) {
            freed.extend(self.running.get(&name).and_then(|it| it.config.bind_port));
        }
        let is_same = |name: &str, config: &VisitorConfig| {
            let running = self.running.get(name);
            running.is_some_and(|it| it.config == *config)
        };
        let kept = wanted.iter().filter(|(name, it)| is_same(name, it));
        let kept = kept.filter_map(|(_, it)| it.bind_port);
        let mut held: BTreeSet<u16> = kept.chain(freed).collect();
        let mut listeners = Listeners::default();
        for (name, config) in wanted {
            let Some(port) = config.bind_port else {
                continue;
            };
            if is_same(name, config) || (port != 0 && !held.insert(port)) {
                continue;
            }
            let host = &config.bind_addr;
            let bound = match config.kind {
                VisitorKind::Sudp => UdpSocket::bind(host, port).await.map(Listener::Udp),
                VisitorKind::Stcp | VisitorKind::Xtcp(_) => {
                    tcp::bind(host, port).await.map(Listener::Tcp)
                }
            };
            let listener = bound.map_err(|source| ListenError {
                name: name.to_owned(),
                host: host.clone(),
                port,
                source,
            })?;
            listeners.insert(name.to_owned(), listener);
        }
        Ok(listeners)
    }

    /// As [`apply_bound`](Self::apply_bound), without listeners that are open already.
    pub(crate) async fn apply(&mut self, configs: &[VisitorConfig]) {
        self.apply_bound(configs, Listeners::default()).await;
    }

    /// Makes `configs` the visitors there are, with these `listeners`. Those that did not change are left alone. The listeners of the
    /// others are closed when this is done; new ones that are not among `listeners` may still be about to open.
    pub(crate) async fn apply_bound(
        &mut self,
        configs: &[VisitorConfig],
        mut listeners: Listeners,
    ) {
        let wanted = by_name(configs);
        let obsolete = self.obsolete(&wanted);
        if !obsolete.is_empty() {
            info!("visitor removed: [{}]", obsolete.join(" "));
        }
        // First, as a new visitor may have the listener of an old one.
        self.close(obsolete).await;

        let fresh: Vec<(&str, &VisitorConfig)> = wanted
            .into_iter()
            .filter(|(name, _)| !self.running.contains_key(*name))
            .collect();
        if !fresh.is_empty() {
            let names: Vec<&str> = fresh.iter().map(|(name, _)| *name).collect();
            info!("visitor added: [{}]", names.join(" "));
        }
        for (name, config) in fresh {
            let listener = listeners.remove(name);
            self.start(name.into(), config, listener);
        }
    }

    /// Closes all visitors.
    pub(crate) async fn close_all(&mut self) {
        let all = self.running.keys().cloned().collect();
        self.close(all).await;
    }

    /// Those that are not among `wanted`, or differ there.
    fn obsolete(&self, wanted: &BTreeMap<&str, &VisitorConfig>) -> Vec<Arc<str>> {
        self.running
            .iter()
            .filter(|(name, running)| wanted.get(&***name) != Some(&&running.config))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Closes the listeners of the visitors `names`, and forgets them. Their users may stay.
    async fn close(&mut self, names: Vec<Arc<str>>) {
        let mut closing = Vec::new();
        for name in &names {
            if let Some(Running { stop, listener, .. }) = self.running.remove(name) {
                drop(stop);
                closing.extend(listener);
            }
        }
        for listener in closing {
            // An error says that the task panicked; what it held is free then too.
            let _ = listener.await;
        }
        self.table.send_if_modified(|table| {
            table.remove(&names);
            !names.is_empty()
        });
    }

    /// Starts the visitor of `config`, which must not be there.
    fn start(&mut self, name: Arc<str>, config: &VisitorConfig, listener: Option<Listener>) {
        let stop = self.context.stopping.child_token();
        let span = error_span!(parent: None, "visitor", %name);
        let listener = self.open(&name, config, listener, &stop, &span);
        let running = Running {
            config: config.clone(),
            stop: stop.drop_guard(),
            listener,
        };
        self.running.insert(name, running);
    }

    fn open(
        &self,
        name: &Arc<str>,
        config: &VisitorConfig,
        listener: Option<Listener>,
        stop: &CancellationToken,
        span: &Span,
    ) -> Option<JoinHandle<()>> {
        let context = &self.context;
        let target = Target::new(config, context);
        let (host, port) = (config.bind_addr.clone(), config.bind_port);
        match &config.kind {
            VisitorKind::Stcp => {
                let service = Service::Stcp(Box::new(Stcp::new(target)));
                let visitor = Visitor::new(name, context, service);
                self.open_tcp(visitor, config, listener, stop, span)
            }
            VisitorKind::Sudp => {
                let users = UserCount::default();
                self.enlist(name, None, users.clone());
                let Some(port) = port else {
                    span.in_scope(|| warn!("start error: a sudp visitor needs bindPort"));
                    return None;
                };
                let (table, context) = (self.table.clone(), context.clone());
                let (name, config) = (name.clone(), config.clone());
                Some(self.spawn(stop, span, async move {
                    let socket = match listener {
                        Some(Listener::Udp(socket)) => socket,
                        Some(Listener::Tcp(_)) | None => {
                            let on_error = |error| {
                                table.send_modify(|table| table.set_error(&name, error));
                            };
                            listener::open(&host, port, UdpSocket::bind, on_error).await
                        }
                    };
                    let addr = socket.local_addr().ok();
                    table.send_modify(|table| table.set_listener(&name, addr));
                    listener::log_started(&describe::listener(&config, &context.user, addr));
                    let packet_size = context.udp_packet_size;
                    sudp::run(&socket, || target.open_datagrams(), packet_size, &users).await;
                }))
            }
            VisitorKind::Xtcp(xtcp) => {
                let xtcp = Arc::new(Xtcp::new(config, xtcp, context, self.table.subscribe()));
                let keeper = xtcp.clone();
                self.spawn(stop, span, async move { keeper.keep_tunnel().await });
                let service = Service::Xtcp(xtcp);
                let visitor = Visitor::new(name, context, service);
                self.open_tcp(visitor, config, listener, stop, span)
            }
        }
    }

    /// Puts `visitor` where others find it, and opens its listener if it has one.
    fn open_tcp(
        &self,
        visitor: Visitor,
        config: &VisitorConfig,
        listener: Option<Listener>,
        stop: &CancellationToken,
        span: &Span,
    ) -> Option<JoinHandle<()>> {
        let visitor = Arc::new(visitor);
        let users = visitor.users.clone();
        self.enlist(&visitor.name, Some(visitor.clone()), users);
        if let Some(VisitorPlugin::VirtualNet { destination }) = config.plugin {
            self.connect_network(&visitor, destination, stop, span);
        }
        let Some(port) = config.bind_port else {
            let listener = describe::listener(config, &self.context.user, None);
            span.in_scope(|| listener::log_started(&listener));
            return None;
        };
        let (table, config) = (self.table.clone(), config.clone());
        let user = self.context.user.clone();
        Some(self.spawn(stop, span, async move {
            let listener = match listener {
                Some(Listener::Tcp(listener)) => listener,
                Some(Listener::Udp(_)) | None => {
                    let on_error = |error| {
                        table.send_modify(|table| table.set_error(&visitor.name, error));
                    };
                    listener::open(&config.bind_addr, port, tcp::bind, on_error).await
                }
            };
            let addr = listener.local_addr().ok();
            table.send_modify(|table| table.set_listener(&visitor.name, addr));
            listener::log_started(&describe::listener(&config, &user, addr));
            visitor.let_in(&listener).await;
        }))
    }

    /// Makes `visitor` the way to an address of the virtual network.
    fn connect_network(
        &self,
        visitor: &Arc<Visitor>,
        destination: IpAddr,
        stop: &CancellationToken,
        span: &Span,
    ) {
        let Some(network) = self.context.virtual_net.clone() else {
            let error = "the client has no virtual network: set `virtualNet.address`";
            span.in_scope(|| warn!("start error: {error}"));
            let name = &visitor.name;
            self.table
                .send_modify(|table| table.set_error(name, error.to_owned()));
            return;
        };
        let (visitor, context) = (visitor.clone(), self.context.clone());
        self.spawn(stop, span, async move {
            network::keep_connected(&network, destination, visitor, &context).await;
        });
    }

    fn enlist(&self, name: &Arc<str>, visitor: Option<Arc<Visitor>>, users: UserCount) {
        let visitor = visitor.map(|it| it as Arc<dyn AcceptUser>);
        self.table
            .send_modify(|table| table.insert(name.clone(), visitor, users));
    }

    /// Starts the task of a listener, which ends when `stop` is cancelled.
    fn spawn(
        &self,
        stop: &CancellationToken,
        span: &Span,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let stop = stop.clone();
        let task = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = task => {}
            }
        };
        self.context.tasks.spawn(task.instrument(span.clone()))
    }
}

/// Of several with one name the last counts.
fn by_name(configs: &[VisitorConfig]) -> BTreeMap<&str, &VisitorConfig> {
    configs.iter().map(|it| (it.name.as_str(), it)).collect()
}

/// A visitor whose users are connections. Shared by them, and unchanged for its life: another configuration is another
/// visitor.
#[derive(Debug)]
struct Visitor {
    name: Arc<str>,
    service: Service,
    users: UserCount,
    /// The span of its users in the log.
    span: SharedSpan,
    context: Arc<VisitorContext>,
}

/// How the service is reached.
#[derive(Debug)]
enum Service {
    Stcp(Box<Stcp>),
    Xtcp(Arc<Xtcp>),
}

impl Visitor {
    fn new(name: &Arc<str>, context: &Arc<VisitorContext>, service: Service) -> Self {
        Self {
            name: name.clone(),
            service,
            users: UserCount::default(),
            span: SharedSpan::default(),
            context: context.clone(),
        }
    }

    async fn serve(self: Arc<Self>, user: User) {
        let served = async {
            match &self.service {
                Service::Stcp(stcp) => stcp.serve(user, &self.users).await,
                Service::Xtcp(xtcp) => xtcp.serve(user, &self.users).await,
            }
        };
        tokio::select! {
            () = served => {}
            () = self.context.tasks.is_cut() => {}
        }
    }

    /// Accepts the users of the listener, for ever.
    async fn let_in(self: &Arc<Self>, listener: &TcpListener) {
        let permits = Arc::new(Semaphore::new(MAX_WAITING));
        // The semaphore is never closed.
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let (stream, from) = tcp::accept(listener).await;
            debug!(source = %from, "get a user connection [{from}]");
            self.clone().enter(User {
                conn: stream.into(),
                from,
                counted: self.context.tasks.user(),
                permit,
            });
        }
    }
}

impl AcceptUser for Visitor {
    fn enter(self: Arc<Self>, user: User) {
        let span = {
            let sessions = self.context.sessions.borrow();
            let session = sessions.first().and_then(|it| it.span().id());
            let name = &self.name;
            self.span.within(
                session,
                |parent| error_span!(parent: parent, "visitor", %name),
            )
        };
        let context = self.context.clone();
        context.tasks.spawn(self.serve(user).instrument(span));
    }
}
