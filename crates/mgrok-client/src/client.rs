//! The client as a whole: what it has, how it starts and how it stops.

use std::panic::resume_unwind;
use std::sync::Arc;

use mgrok_admin::{AdminPort, BindError};
use mgrok_config::{ClientConfig, ProxyConfig, VisitorConfig};
use mgrok_net::resolver::Resolver;
use mgrok_proto::cipher::CipherKey;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info};

use crate::admin;
use crate::connect::{Connector, SetUpError};
use crate::handle::Sessions;
use crate::hole::Puncher;
use crate::progress::{Progress, ProgressWatch};
use crate::proxies::{Proxies, StatusWatch};
use crate::supervisor::{FirstLogins, LoginFailure, SessionSupervisor, SupervisorContext};
use crate::tasks::{TaskOwner, Tasks};
use crate::visitor::{self, ListenerWatch, Visitors};

/// Why a client cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin port cannot be opened.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// What the way to the server needs is of no use.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
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

/// Changes which proxies a [`Client`] has, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProxySet {
    wanted: watch::Sender<Vec<ProxyConfig>>,
}

impl ProxySet {
    /// Makes `proxies` the proxies of the client: those that are not among them are closed, new
    /// ones started, changed ones started anew, and the others left alone. Of several with one
    /// name the last counts.
    ///
    /// Takes effect soon after, or with the next login if there is no session.
    pub fn apply(&self, proxies: Vec<ProxyConfig>) {
        self.wanted.send_replace(proxies);
    }
}

/// Changes which visitors a [`Client`] has, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VisitorSet {
    wanted: watch::Sender<Vec<VisitorConfig>>,
}

impl VisitorSet {
    /// Makes `visitors` the visitors of the client: the listeners of those that are not among them are closed, new ones
    /// opened, and those that did not change left alone. Users who are in may stay. Of several with one name the last
    /// counts.
    ///
    /// Takes effect soon after, once the client runs.
    pub fn apply(&self, visitors: Vec<VisitorConfig>) {
        self.wanted.send_replace(visitors);
    }
}

/// A client, not yet running.
#[derive(Debug)]
pub struct Client {
    /// `None` if there is to be none, or if it is not open yet.
    admin: Option<AdminPort>,
    config: Arc<ClientConfig>,
    /// What each supervisor does.
    progress: Progress,
    /// Which servers each supervisor has: all of them, or one.
    supervisors: Vec<Published>,
    key: CipherKey,
    puncher: Puncher,
    /// The proxies that are to be, here being applied in a session at a time.
    wanted: watch::Sender<Vec<ProxyConfig>>,
    /// The visitors that are to be, likewise.
    wanted_visitors: watch::Sender<Vec<VisitorConfig>>,
    /// The visitors there are.
    visitors: watch::Sender<visitor::Table>,
    /// The sessions there are, for the visitors.
    sessions: watch::Sender<Sessions>,
}

/// What a supervisor will be made of.
#[derive(Debug)]
struct Published {
    connectors: Vec<Arc<Connector>>,
    proxies: Proxies,
}

impl Client {
    /// Makes a client of `config`. Connects nowhere yet, but reads the files that TLS needs.
    ///
    /// # Errors
    /// If those files cannot be used.
    pub fn new(mut config: ClientConfig) -> Result<Self, StartError> {
        let key = CipherKey::derive(&config.auth.token);
        let wanted = std::mem::take(&mut config.proxies);
        let wanted_visitors = std::mem::take(&mut config.visitors);
        // One for each purpose, so that a name which cannot be looked up holds up its own kind at most.
        let to_servers = Resolver::new(config.dns_server);
        let to_services = Resolver::new(config.dns_server);
        let mut connectors = Vec::new();
        for server in &config.servers {
            connectors.push(Connector::new(&config, server, &to_servers)?);
        }
        let groups = match config.connect_all {
            true => connectors.into_iter().map(|it| vec![it]).collect(),
            false => vec![connectors],
        };
        let supervisors: Vec<_> = groups
            .into_iter()
            .map(|connectors| Published {
                connectors,
                proxies: Proxies::new(
                    config.user.clone(),
                    String::new(),
                    key.clone(),
                    to_services.clone(),
                ),
            })
            .collect();
        Ok(Self {
            admin: None,
            progress: Progress::new(supervisors.len()),
            supervisors,
            wanted: watch::Sender::new(wanted),
            wanted_visitors: watch::Sender::new(wanted_visitors),
            visitors: watch::Sender::default(),
            puncher: Puncher::new(&config),
            sessions: watch::Sender::default(),
            key,
            config: Arc::new(config),
        })
    }

    /// Opens the admin port, if one is configured and not open yet. [`run`](Self::run) does so too;
    /// this is for whoever wants to know beforehand.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn open_admin_port(&mut self) -> Result<(), StartError> {
        if let (None, Some(web_server)) = (&self.admin, &self.config.web_server) {
            self.admin = Some(AdminPort::bind(web_server).await?);
        }
        Ok(())
    }

    /// Follows the client's proxies. They appear in it with the first login. If the client publishes on all servers at once, this
    /// is how they are on the first; [`statuses`](Self::statuses) has them all.
    pub fn status(&self) -> StatusWatch {
        match self.supervisors.first() {
            Some(first) => StatusWatch::new(first.proxies.watch()),
            None => StatusWatch::new(watch::Sender::default().subscribe()),
        }
    }

    /// Follows the client's proxies on each server that it publishes on at the same time: one, unless
    /// [`connect_all`](ClientConfig::connect_all).
    pub fn statuses(&self) -> Vec<StatusWatch> {
        let tables = self.supervisors.iter().map(|it| it.proxies.watch());
        tables.map(StatusWatch::new).collect()
    }

    /// Follows how the client is with its servers.
    pub fn progress(&self) -> ProgressWatch {
        let tables = self.supervisors.iter().map(|it| it.proxies.watch());
        self.progress.watch(tables.collect())
    }

    /// The way to change the client's proxies; at first they are those of its configuration.
    pub fn proxy_set(&self) -> ProxySet {
        ProxySet {
            wanted: self.wanted.clone(),
        }
    }

    /// Follows the listeners of the client's visitors. They open when the client runs, and stay open from one session to
    /// the next.
    pub fn listeners(&self) -> ListenerWatch {
        ListenerWatch::new(self.visitors.subscribe())
    }

    /// The way to change the client's visitors; at first they are those of its configuration.
    pub fn visitor_set(&self) -> VisitorSet {
        VisitorSet {
            wanted: self.wanted_visitors.clone(),
        }
    }

    /// Logs in and serves, again after every loss of the server, until `stop` is ready.
    ///
    /// Then the proxies are closed, and user connections may finish for
    /// [`grace_period`](ClientConfig::grace_period). Dropping the future cuts them at once.
    ///
    /// # Errors
    /// If the first login fails and [`login_fail_exit`](ClientConfig::login_fail_exit) is set, or
    /// the admin port cannot be opened.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<StopReport, ClientError> {
        self.open_admin_port().await?;
        let stopping = CancellationToken::new();
        let work = self.work(stopping.clone());
        tokio::pin!(work, stop);
        tokio::select! {
            ended = &mut work => return ended,
            () = &mut stop => stopping.cancel(),
        }
        work.await
    }

    async fn work(mut self, stopping: CancellationToken) -> Result<StopReport, ClientError> {
        let owner = TaskOwner::new();
        self.serve_admin_port(owner.tasks());
        let visitors = Visitors::new(
            visitor::VisitorContext {
                puncher: self.puncher.clone(),
                sessions: self.sessions.subscribe(),
                stopping: stopping.clone(),
                tasks: owner.tasks().clone(),
                udp_packet_size: self.config.udp_packet_size,
                user: self.config.user.clone(),
            },
            self.visitors.clone(),
        );
        let wanted = self.wanted_visitors.subscribe();
        owner.tasks().spawn(visitors.run(wanted));
        let cut = self.publish(owner.tasks(), &stopping).await;
        owner.finish().await;
        Ok(StopReport { cut: cut? })
    }

    /// Publishes until the client is stopped and the grace period is over; says how many user connections are left.
    async fn publish(
        &mut self,
        tasks: &Tasks,
        stopping: &CancellationToken,
    ) -> Result<usize, ClientError> {
        let number = self.supervisors.len();
        let context = SupervisorContext {
            config: self.config.clone(),
            first_logins: Arc::new(FirstLogins::new(number, self.config.login_fail_exit)),
            key: self.key.clone(),
            progress: self.progress.clone(),
            puncher: self.puncher.clone(),
            sessions: self.sessions.clone(),
            stopping: stopping.clone(),
            tasks: tasks.clone(),
        };
        let mut running = JoinSet::new();
        for (number, published) in self.supervisors.drain(..).enumerate() {
            let Published {
                connectors,
                proxies,
            } = published;
            let wanted = self.wanted.subscribe();
            let supervisor =
                SessionSupervisor::new(number, context.clone(), connectors, proxies, wanted);
            running.spawn(supervisor.run().in_current_span());
        }
        let mut cut = Ok(0);
        while let Some(ended) = running.join_next().await {
            match ended {
                // All wait for the same users.
                Ok(Ok(left)) => cut = cut.map(|cut: usize| cut.max(left)),
                Ok(Err(error)) => {
                    stopping.cancel();
                    cut = Err(ClientError::Login(error));
                }
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    // Nobody cancels them.
                    Err(_) => stopping.cancel(),
                },
            }
        }
        cut
    }

    /// Tells whoever asks how the client is, to its very end.
    fn serve_admin_port(&mut self, tasks: &Tasks) {
        let Some(port) = self.admin.take() else {
            return;
        };
        if let Ok(addr) = port.local_addr() {
            // frp: these words, which scripts look for (client/service.go)
            info!("admin server listen on {addr}");
        }
        let tables = self.supervisors.iter().map(|it| it.proxies.watch());
        let routes = admin::routes(tables.collect(), self.progress());
        tasks.spawn(port.run(routes, tasks.part()));
    }
}

#[cfg(test)]
mod tests;
