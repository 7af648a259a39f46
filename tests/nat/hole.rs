//! A server, a client that publishes and one that visits, each in its network.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use mgrok_lab::{
    Client, Ended, Peer, Proxy, Server, Visitor,
    service::{self, Service},
    stun::{Manners, Stun},
    traffic, within,
};

use crate::{
    Ends,
    network::{Nat, Network, PUBLIC, SERVER_PORT},
};

/// How long finding a way may take: what suits two NATs is a list of up to 19 ways, and in what a failure costs are
/// 10 s up to 45.
const LIMIT: Duration = Duration::from_secs(240);

/// How often to look, and how often a user tries anew.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the server may receive for its own needs while much passes it by.
const SMALL_TALK: u64 = 50_000;

/// One combination.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) ends: Ends,
    /// The owner's and the guest's.
    pub(crate) nats: [Nat; 2],
    /// Inside the hole.
    pub(crate) protocol: &'static str,
}

/// A combination that runs.
pub(crate) struct Hole {
    case: Case,
    // In the order in which they are dropped: who needs others goes first.
    guest: Client,
    _owner: Client,
    server: Option<Server>,
    _stun: Stun,
    _echo: Service,
    network: Network,
    listener: SocketAddr,
}

impl Case {
    /// Whether everything that it needs is here; says, once, what is not.
    pub(crate) fn is_possible(self) -> bool {
        let Ends {
            server,
            owner,
            guest,
        } = self.ends;
        let needs_frp = [server, owner, guest].contains(&Peer::Frp);
        Network::is_possible() && (!needs_frp || mgrok_lab::frp_is_here())
    }
}

impl Hole {
    /// Starts everything. `settings` are lines of the visitor's table.
    pub(crate) async fn with(case: Case, settings: &str) -> Self {
        let Ends {
            server,
            owner,
            guest,
        } = case.ends;
        let network = Network::new(case.nats).unwrap();
        let public = &network.public;
        let stun = public.run(Stun::with(PUBLIC, Manners::default())).await;
        let addr = SocketAddr::from((PUBLIC[0], SERVER_PORT));
        let server = public
            .run(Server::start_at(server, addr, "log.level = \"debug\""))
            .await;
        let echo = network.owner.run(service::tcp_echo()).await;

        let for_both = format!(
            "natHoleStunServer = \"{}\"\nlog.level = \"debug\"",
            stun.addr()
        );
        let secret = "secretKey = \"abc\"";
        let proxies = ["xtcp", "stcp"].map(|kind| Proxy::new(kind, kind, echo.addr()).with(secret));
        let visitor = Visitor::new("xtcp", "guest", "xtcp")
            .with(secret)
            .with(&format!("protocol = \"{}\"\n{settings}", case.protocol));
        let detour = Visitor {
            bind_port: -1,
            ..Visitor::new("stcp", "detour", "stcp").with(secret)
        };
        let listener = SocketAddr::from((Ipv4Addr::LOCALHOST, visitor.listener().port()));
        let settings = for_both.clone();
        let owner = network
            .owner
            .run(async move { Client::start(owner, addr, &settings, &proxies).await })
            .await;
        let visitors = [visitor, detour];
        let guest = network
            .guest
            .run(async move {
                Client::start_with_visitors(guest, addr, &for_both, &[], &visitors).await
            })
            .await;
        Self {
            case,
            guest,
            _owner: owner,
            server: Some(server),
            _stun: stun,
            _echo: echo,
            network,
            listener,
        }
    }

    /// Waits until users get through, and the server has heard of it. Returns how many attempts it took.
    pub(crate) async fn is_punched(&self) -> usize {
        let listener = self.listener;
        let started = Instant::now();
        let user = async move {
            while traffic::try_tcp_echo(listener, 1).await.is_err() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let user = self.network.guest.run(user);
        within(LIMIT, "a way through the NATs", user).await;
        let took = started.elapsed();
        let log = self.server.as_ref().unwrap().log();
        let report = log.wait_for("report make hole success: true").await;
        let way = report.split_once("true, ").unwrap().1;
        let attempts = log.count("report make hole success");
        let Case {
            ends,
            nats,
            protocol,
        } = self.case;
        println!("{nats:?} {protocol} {ends:?}: {took:.1?}, {attempts} attempts, {way}");
        attempts
    }

    /// Whether a way was found so far.
    pub(crate) fn was_punched(&self) -> bool {
        let server = self.server.as_ref().unwrap();
        server.log().contains("report make hole success: true")
    }

    /// Ends the server.
    pub(crate) async fn server_stops(&mut self) {
        let server = self.server.take().unwrap();
        assert_eq!(server.stop().await, Ended::Well);
    }

    /// A user's bytes come back.
    pub(crate) async fn carries(&self, len: u64) {
        self.network
            .guest
            .run(traffic::tcp_echo(self.listener, len))
            .await;
    }

    /// A user's bytes come back, and the server sees none of them.
    pub(crate) async fn carries_past_the_server(&self, len: u64) {
        let before = self.network.server_bytes();
        self.carries(len).await;
        let seen = self.network.server_bytes() - before;
        assert!(seen < SMALL_TALK, "the server received {seen} bytes");
    }

    /// A user's bytes come back, and the server sees all of them.
    pub(crate) async fn carries_by_the_server(&self, len: u64) {
        let before = self.network.server_bytes();
        self.carries(len).await;
        let seen = self.network.server_bytes() - before;
        assert!(seen > len, "the server received {seen} bytes");
    }

    /// Waits for a line in the visiting client's log.
    pub(crate) async fn guest_says(&self, line: &str) {
        let log = self.guest.log();
        let said = async {
            while !log.contains(line) {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        within(LIMIT, line, said).await;
    }
}
