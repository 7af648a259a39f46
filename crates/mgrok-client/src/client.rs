//! The client as a whole: its parts, its start and its stop.

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mgrok_admin::{AdminPort, AdminRequests, OpenError, Routes};
use mgrok_config::{ClientConfig, LoadOptions};
use mgrok_net::access_log::AccessLog;
use mgrok_net::resolver::Resolver;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info};

use crate::admin;
use crate::admin::config::ConfigFile;
use crate::admin::events::Watched;
use crate::admin::lists::Lists;
use crate::admin::state::Told;
use crate::connect::SetUpError;
use crate::exposition::{self, Exposed};
use crate::handle::Sessions;
use crate::hole::Puncher;
use crate::metrics::Metrics;
use crate::observer::{Observer, UserEvents};
use crate::operator::Operator;
use crate::progress::{Progress, ProgressWatch};
use crate::proxies::{Proxies, StatusWatch};
use crate::reload::{ProxySet, Reloader, Reloads, VisitorSet, Wanted};
use crate::session_status::SessionStatuses;
use crate::settings::LoginSettings;
use crate::store::{StoreChanges, StoreHandle};
use crate::supervisor::{FirstLogins, LoginFailure, SessionSupervisor, SupervisorContext};
use crate::tasks::{TaskOwner, Tasks};
use crate::users::Users;
use crate::virtual_net::{DeviceError, VirtualNetwork};
use crate::visitor::{self, ListenerWatch, Visitors};

/// Why a client cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin port cannot be opened.
    #[error(transparent)]
    Admin(#[from] OpenError),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The device of the virtual network cannot be made.
    #[error("virtual network")]
    VirtualNet(#[from] DeviceError),
}

/// Why a client that ran has ended although nobody stopped it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The first login failed, and `loginFailExit` says that there shall be no other.
    // frp: these words, which the program prints (client/service.go#Run)
    #[error(
        "login to the server failed: {0}. With loginFailExit enabled, no additional retries will \
         be attempted"
    )]
    Login(LoginFailure),
    /// It could not even start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// How a client ended that was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopReport {
    /// User connections that had not finished when the grace period was over.
    pub cut: usize,
}

/// A client, not yet running.
#[derive(Debug)]
pub struct Client {
    /// `None` if none is configured, or it is not open yet.
    admin: Option<AdminPort>,
    config: Arc<ClientConfig>,
    /// Where what only the program can do is asked for; `None` if the program does not.
    program: Option<(Operator, ConfigFile)>,
    /// What the program has read its configuration from, if it says so.
    file: Option<PathBuf>,
    /// What each supervisor does.
    progress: Progress,
    session_statuses: SessionStatuses,
    /// Who is connected to the services.
    users: Users,
    /// The proxies of each supervisor.
    supervisors: Vec<Proxies>,
    settings: watch::Sender<Arc<LoginSettings>>,
    metrics: Arc<Metrics>,
    puncher: Puncher,
    reloader: Reloader,
    reloads: Reloads,
    store: StoreHandle,
    wanted: Wanted,
    /// `None` if there is none.
    virtual_net: Option<VirtualNetwork>,
    /// The visitors there are.
    visitors: watch::Sender<visitor::Table>,
    /// The sessions there are, for the visitors.
    sessions: watch::Sender<Sessions>,
}

impl Client {
    /// Makes a client of `config`. Connects nowhere yet, but reads the files that TLS needs.
    ///
    /// # Errors
    /// If those files cannot be used.
    pub fn new(mut config: ClientConfig) -> Result<Self, StartError> {
        let wanted = Wanted::default();
        // A start is a reload from nothing.
        let proxies = std::mem::take(&mut config.proxies);
        wanted.replace(Some(proxies), Some(std::mem::take(&mut config.visitors)));
        // One resolver for each purpose, so that an unresolvable name delays only lookups of its kind.
        let to_servers = Resolver::new(config.dns_server);
        let to_services = Resolver::new(config.dns_server);
        let metrics = Arc::new(Metrics::default());
        let users = Users::default();
        let (store, changes) = StoreChanges::new(config.store.take());
        let settings = Arc::new(LoginSettings::new(config, &to_servers)?);
        let config = settings.config.clone();
        let virtual_net = config
            .virtual_net
            .map(|net| VirtualNetwork::new(net, metrics.dropped_packets.clone()));
        let new_proxies = |_| {
            let (user, key) = (config.user.clone(), settings.key.clone());
            let proxies = Proxies::new(user, String::new(), key, to_services.clone());
            let mut proxies = proxies
                .with_users(users.clone())
                .within(virtual_net.clone());
            proxies.count_in(metrics.clone());
            proxies
        };
        let supervisors: Vec<_> = settings.connectors.iter().map(new_proxies).collect();
        let settings = watch::Sender::new(settings);
        let (reloader, reloads) =
            Reloads::new(settings.clone(), to_servers, changes, wanted.clone());
        Ok(Self {
            admin: None,
            program: None,
            file: None,
            progress: Progress::new(supervisors.len()),
            session_statuses: SessionStatuses::new(supervisors.len()),
            users,
            supervisors,
            reloader,
            reloads,
            store,
            wanted,
            virtual_net,
            visitors: watch::Sender::default(),
            puncher: Puncher::new(&config, metrics.muxes.clone()),
            sessions: watch::Sender::default(),
            settings,
            metrics,
            config,
        })
    }

    /// Opens the admin port, if one is configured and not open yet. [`run`](Self::run) does so too;
    /// call this to learn of an error beforehand.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn open_admin_port(&mut self) -> Result<(), StartError> {
        if let (None, Some(web_server)) = (&self.admin, &self.config.web_server) {
            self.admin = Some(AdminPort::bind(web_server).await?);
        }
        Ok(())
    }

    /// Whether the admin port is open.
    pub fn has_admin_port(&self) -> bool {
        self.admin.is_some()
    }

    /// Has the admin port, which has to be open, answer `routes` too, for what the program knows and the client does not: its log, for
    /// example.
    pub fn add_admin_routes(&mut self, routes: Routes) {
        if let Some(admin) = &mut self.admin {
            admin.add_routes(routes);
        }
    }

    /// Has the admin port take requests for what only the program can do: it has read its configuration from `file`, with these options, and
    /// may read it again or stop. Without this call the admin port has no routes for that.
    pub fn admin_requests(&mut self, file: &Path, options: LoadOptions) -> AdminRequests {
        let (operator, requests) = Operator::new();
        self.program = Some((operator, ConfigFile::new(file, options)));
        self.file = Some(file.to_owned());
        requests
    }

    /// Where the ends of user connections are noted, and of requests where they are inspected or observed.
    pub fn access_log(&self) -> AccessLog {
        self.users.access_log().clone()
    }

    /// Has users of proxies of type `tcp`, `http`, `https`, `tcpmux`, `stcp`, `udp` and `sudp` told as they come and go, and of `http` proxies without
    /// a plugin each request, for which the client reads and writes HTTP itself instead of passing bytes.
    pub fn observe_users(&mut self) -> UserEvents {
        let (observer, events) = Observer::new();
        self.users.observe_by(observer);
        events
    }

    /// Follows the client's proxies. They appear in it with the first login. If the client publishes on all servers at once, this
    /// is how they are on the first; [`statuses`](Self::statuses) has them all.
    pub fn status(&self) -> StatusWatch {
        match self.supervisors.first() {
            Some(first) => StatusWatch::new(first.watch()),
            None => StatusWatch::new(watch::Sender::default().subscribe()),
        }
    }

    /// Follows the client's proxies on each server that it publishes on at the same time: one, unless
    /// [`connect_all`](ClientConfig::connect_all).
    pub fn statuses(&self) -> Vec<StatusWatch> {
        let tables = self.supervisors.iter().map(Proxies::watch);
        tables.map(StatusWatch::new).collect()
    }

    /// Follows how the client is with its servers.
    pub fn progress(&self) -> ProgressWatch {
        let tables = self.supervisors.iter().map(Proxies::watch);
        self.progress.watch(tables.collect())
    }

    /// Gives the client another configuration while it runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Changes the client's proxies; at first they are those of its configuration.
    pub fn proxy_set(&self) -> ProxySet {
        self.wanted.proxy_set()
    }

    /// Follows the listeners of the client's visitors. They open when the client runs, and stay open from one session to
    /// the next.
    pub fn listeners(&self) -> ListenerWatch {
        ListenerWatch::new(self.visitors.subscribe())
    }

    /// Changes the client's visitors; at first they are those of its configuration.
    pub fn visitor_set(&self) -> VisitorSet {
        self.wanted.visitor_set()
    }

    /// Logs in and serves, again after every loss of the server, until `stop` is ready.
    ///
    /// Then the proxies are closed, and user connections may finish for
    /// [`grace_period`](ClientConfig::grace_period). Dropping the future cuts them at once.
    ///
    /// # Errors
    /// If the first login fails and [`login_fail_exit`](ClientConfig::login_fail_exit) is set, or
    /// the admin port cannot be opened or the device of the virtual network not made.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<StopReport, ClientError> {
        self.open_admin_port().await?;
        if let Some(network) = &self.virtual_net {
            network.open().map_err(StartError::from)?;
        }
        let stopping = CancellationToken::new();
        let work = self.work(stopping.clone());
        tokio::pin!(work, stop);
        tokio::select! {
            ended = &mut work => return ended,
            () = &mut stop => stopping.cancel(),
        }
        work.await
    }

    async fn work(self, stopping: CancellationToken) -> Result<StopReport, ClientError> {
        let owner = TaskOwner::new();
        let Self {
            admin,
            config,
            program,
            file,
            progress,
            session_statuses,
            users,
            supervisors,
            settings,
            metrics,
            puncher,
            reloader: _,
            reloads,
            store,
            wanted,
            virtual_net,
            visitors,
            sessions,
        } = self;
        let admin_access = admin.as_ref().map(AdminPort::access);
        if let Some(port) = admin {
            let tables: Vec<_> = supervisors.iter().map(Proxies::watch).collect();
            let progress = progress.watch(tables.clone());
            let sessions = session_statuses.watch();
            let exposed = Exposed {
                metrics: metrics.clone(),
                progress: progress.clone(),
                sessions: sessions.clone(),
                tables: tables.clone(),
            };
            let told = Told {
                file,
                settings: settings.subscribe(),
                store: store.clone(),
                sessions: sessions.clone(),
            };
            let watched = Watched {
                users: users.clone(),
                tables: tables.clone(),
                sessions,
                progress: progress.clone(),
            };
            let lists = Lists {
                tables,
                users,
                visitors: wanted.visitors(),
                listeners: visitors.subscribe(),
                store,
            };
            let routes = admin::routes(lists, progress, program);
            let routes = admin::add_watched(routes, told, watched);
            let web_server = config.web_server.clone().unwrap_or_default();
            let routes = exposition::add_to(routes, &web_server, exposed);
            serve_admin_port(port, routes, owner.tasks());
        }
        let visitors = Visitors::new(
            visitor::VisitorContext {
                puncher: puncher.clone(),
                sessions: sessions.subscribe(),
                stopping: stopping.clone(),
                tasks: owner.tasks().clone(),
                udp_packet_size: config.udp_packet_size,
                user: config.user.clone(),
                virtual_net: virtual_net.clone(),
            },
            visitors,
        );
        let tasks = owner.tasks();
        if let Some(network) = virtual_net {
            let stopping = stopping.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = network.run() => {}
                    () = stopping.cancelled() => {}
                }
                // It would not come to an end by itself, as users do.
                network.close();
            });
        }
        let reloads = reloads.run(visitors, admin_access, stopping.clone(), tasks.clone());
        tasks.spawn(reloads);
        let context = SupervisorContext {
            first_logins: Arc::new(FirstLogins::new(supervisors.len(), config.login_fail_exit)),
            config,
            key: settings.borrow().key.clone(),
            credentials: settings.borrow().credentials.clone(),
            metrics,
            progress,
            puncher,
            session_statuses,
            sessions,
            stopping,
            tasks: tasks.clone(),
        };
        let cut = publish(supervisors, &context, &wanted, &settings).await;
        owner.finish().await;
        Ok(StopReport { cut: cut? })
    }
}

/// Publishes until the client is stopped and the grace period is over; returns how many user connections are left.
async fn publish(
    supervisors: Vec<Proxies>,
    context: &SupervisorContext,
    wanted: &Wanted,
    settings: &watch::Sender<Arc<LoginSettings>>,
) -> Result<usize, ClientError> {
    let mut running = JoinSet::new();
    for (number, proxies) in supervisors.into_iter().enumerate() {
        let (wanted, settings) = (wanted.proxies(), settings.subscribe());
        let supervisor = SessionSupervisor::new(number, context.clone(), proxies, wanted, settings);
        running.spawn(supervisor.run().in_current_span());
    }
    let mut cut = Ok(0);
    while let Some(ended) = running.join_next().await {
        match ended {
            // All supervisors wait for the same users.
            Ok(Ok(left)) => cut = cut.map(|cut: usize| cut.max(left)),
            Ok(Err(error)) => {
                context.stopping.cancel();
                cut = Err(ClientError::Login(error));
            }
            Err(error) => match error.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // Nobody cancels them.
                Err(_) => context.stopping.cancel(),
            },
        }
    }
    cut
}

/// Answers on the admin port to the very end of the client.
fn serve_admin_port(port: AdminPort, routes: Routes, tasks: &Tasks) {
    if let Ok(addr) = port.local_addr() {
        // frp: these words, which scripts look for (client/service.go)
        info!("admin server listen on {addr}");
    }
    tasks.spawn(port.run(routes, tasks.part()));
}

#[cfg(test)]
mod tests;
