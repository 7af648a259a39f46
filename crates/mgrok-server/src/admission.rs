//! Who may come to a proxy, or log in, by the address that it comes from. Every way to a proxy asks here, and nowhere else.
//!
//! A decision goes by the lists of the current policy and those that the proxy was started with, so that a reload counts for whoever
//! comes next, and leaves alone who is there.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mgrok_config::{AccessList, BanRules, ServerConfig, SourceLimits};
use mgrok_net::udp;

use crate::bans::{Guess, Scope};
use crate::metrics::UserRefusal;
use crate::policy::{CurrentPolicy, Policy};
use crate::source::Source;
use crate::source_limits::{Reached, SourceLimiter, Visit};

/// Says who may come to one proxy.
#[derive(Debug)]
pub(crate) struct Admission {
    policy: CurrentPolicy,
    public: Public,
    own: AccessList,
    limits: SourceLimits,
    limiter: SourceLimiter,
    /// What bans are of.
    scope: Scope,
}

/// Who comes to a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Public {
    /// Users, to its public endpoint.
    Users,
    /// Clients of visitors.
    Visitors,
}

/// Somebody is counted, until this is dropped.
#[derive(Debug)]
pub(crate) struct Visits {
    _common: Option<Visit>,
    _own: Option<Visit>,
}

/// Why somebody may not come.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Denied {
    /// It has guessed wrong too often.
    #[error("{addr} is banned for another {} s after too many wrong guesses", left.as_secs())]
    Banned { addr: IpAddr, left: Duration },
    /// The server's list keeps it out.
    #[error("{addr} is kept out by {list} of the server")]
    Server { list: &'static str, addr: IpAddr },
    /// The proxy's list keeps it out.
    #[error("{0} is kept out by access of the proxy")]
    Proxy(IpAddr),
    /// There are too many from there already.
    #[error("{0} has as many connections as it may")]
    TooMany(IpAddr),
    /// They come too fast.
    #[error("{0} makes more connections in a second than it may")]
    TooFast(IpAddr),
}

impl Denied {
    /// Whether that is only for a while.
    pub(crate) fn is_ban(&self) -> bool {
        matches!(self, Self::Banned { .. })
    }

    /// As what a user is counted that is not let in.
    pub(crate) fn refusal(&self) -> UserRefusal {
        match self {
            Self::Banned { .. } => UserRefusal::Banned,
            Self::Proxy(_) | Self::Server { .. } => UserRefusal::Denied,
            Self::TooFast(_) | Self::TooMany(_) => UserRefusal::SourceLimit,
        }
    }
}

impl Admission {
    /// Of the proxy `name` to which `public` come, and which lets those come that are in `own`, and of one source as many as `limits` say.
    pub(crate) fn new(
        policy: &CurrentPolicy,
        public: Public,
        own: AccessList,
        limits: SourceLimits,
        name: &Arc<str>,
    ) -> Self {
        Self {
            limits,
            limiter: SourceLimiter::default(),
            scope: Scope::Proxy(name.clone()),
            policy: policy.clone(),
            public,
            own,
        }
    }

    /// Whether somebody may come from `addr`.
    pub(crate) fn check(&self, addr: IpAddr) -> Result<(), Denied> {
        let addr = addr.to_canonical();
        let policy = self.policy.now();
        let (list, name) = self.of_server(&policy);
        if !list.admits(addr) {
            return Err(Denied::Server { list: name, addr });
        }
        if !self.own.admits(addr) {
            return Err(Denied::Proxy(addr));
        }
        check_ban(&self.policy, &policy, addr, &self.scope)
    }

    /// Lets somebody who comes from `addr` in, for as long as it holds the value. `None` is for whoever is not counted.
    pub(crate) fn enter(&self, addr: IpAddr) -> Result<Option<Visits>, Denied> {
        self.check(addr)?;
        let source = Source::of(addr);
        let reached = |reached| match reached {
            Reached::Connections => Denied::TooMany(addr.to_canonical()),
            Reached::Rate => Denied::TooFast(addr.to_canonical()),
        };
        let (limiter, limits) = self.limits_of_server();
        let common = limiter.enter(source, limits).map_err(reached)?;
        let own = self.limiter.enter(source, self.limits).map_err(reached)?;
        let is_counted = common.is_some() || own.is_some();
        Ok(is_counted.then_some(Visits {
            _common: common,
            _own: own,
        }))
    }

    fn limits_of_server(&self) -> (&SourceLimiter, SourceLimits) {
        let policy = self.policy.now();
        let access = &policy.config.access;
        match self.public {
            Public::Users => (self.policy.user_limiter(), access.user_limits),
            Public::Visitors => (self.policy.visitor_limiter(), access.visitor_limits),
        }
    }

    /// Notes what somebody who comes from `addr` has guessed, and whether it was right.
    pub(crate) fn note_guess(&self, addr: IpAddr, guess: Guess, is_right: bool) {
        note_guess(&self.policy, addr, &self.scope, guess, is_right);
    }

    fn of_server<'a>(&self, policy: &'a Policy) -> (&'a AccessList, &'static str) {
        let access = &policy.config.access;
        match self.public {
            Public::Users => (&access.users, "access.users"),
            Public::Visitors => (&access.visitors, "access.visitors"),
        }
    }
}

/// Of datagrams, whose senders are looked at when they write for the first time.
impl udp::Admission for Admission {
    fn is_open(&self) -> bool {
        self.own.is_open()
            && self.of_server(&self.policy.now()).0.is_open()
            && self.policy.bans().is_empty()
            && self.limits.is_open()
            && self.limits_of_server().1.is_open()
    }

    fn admit(&self, user: SocketAddr) -> Option<udp::Admitted> {
        let visits = self.enter(user.ip()).ok()?;
        Some(visits.map(|visits| Box::new(visits) as Box<_>))
    }
}

/// Whether a client may log in from `addr` by `policy`, which is the current one.
pub(crate) fn check_login(
    current: &CurrentPolicy,
    policy: &Policy,
    addr: IpAddr,
) -> Result<(), Denied> {
    let addr = addr.to_canonical();
    if !policy.config.access.logins.admits(addr) {
        let list = "access.logins";
        return Err(Denied::Server { list, addr });
    }
    check_ban(current, policy, addr, &Scope::Logins)
}

/// Notes that a login from `addr` was signed with another token.
pub(crate) fn note_wrong_token(current: &CurrentPolicy, addr: IpAddr) {
    note_guess(current, addr, &Scope::Logins, Guess::Token, false);
}

fn check_ban(
    current: &CurrentPolicy,
    policy: &Policy,
    addr: IpAddr,
    scope: &Scope,
) -> Result<(), Denied> {
    let Some(rules) = &policy.config.bans else {
        return Ok(());
    };
    match current.bans().until(addr, scope) {
        Some(until) if !is_exempt(&policy.config, rules, addr) => Err(Denied::Banned {
            addr,
            left: until.duration_since(SystemTime::now()).unwrap_or_default(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn note_guess(current: &CurrentPolicy, addr: IpAddr, scope: &Scope, guess: Guess, is_right: bool) {
    if is_right {
        return current.bans().succeeded(addr, scope);
    }
    let policy = current.now();
    if let Some(rules) = &policy.config.bans
        && !is_exempt(&policy.config, rules, addr)
    {
        current.bans().failed(addr, scope, guess, rules);
    }
}

/// Whether nobody is banned who comes from `addr`: this host, and what stands in front of the server for all its users.
fn is_exempt(config: &ServerConfig, rules: &BanRules, addr: IpAddr) -> bool {
    let fronts = [
        &rules.exempt,
        &config.accept_proxy_protocol_from,
        &config.vhost.trusted_proxies,
    ];
    let mut fronts = fronts.into_iter().flatten();
    addr.to_canonical().is_loopback() || fronts.any(|it| it.contains(addr))
}

#[cfg(test)]
mod tests {
    use mgrok_config::ServerAccess;

    use super::*;

    fn only(network: &str) -> AccessList {
        AccessList::parse(&[network.to_owned()], &[]).unwrap()
    }

    fn config(users: &str) -> ServerConfig {
        ServerConfig {
            access: ServerAccess {
                users: only(users),
                logins: only("192.0.2.0/24"),
                ..ServerAccess::default()
            },
            ..ServerConfig::default()
        }
    }

    #[test]
    fn both_lists_have_to_admit_an_address() {
        let policy = CurrentPolicy::of(config("10.0.0.0/8"));
        let admission = |public| {
            Admission::new(
                &policy,
                public,
                only("10.1.0.0/16"),
                SourceLimits::default(),
                &"p".into(),
            )
        };
        let check = |public, addr: &str| {
            let checked = admission(public).check(addr.parse().unwrap());
            checked.err().map(|denied| denied.to_string())
        };
        assert_eq!(check(Public::Users, "::ffff:10.1.2.3"), None);
        let proxy = "10.2.0.1 is kept out by access of the proxy";
        assert_eq!(check(Public::Users, "10.2.0.1").as_deref(), Some(proxy));
        let server = "192.0.2.1 is kept out by access.users of the server";
        assert_eq!(
            check(Public::Users, "::ffff:192.0.2.1").as_deref(),
            Some(server)
        );
        assert!(check(Public::Visitors, "192.0.2.1").is_some());
        assert_eq!(check(Public::Visitors, "10.1.0.1"), None);
    }

    #[test]
    fn a_reload_counts_for_whoever_comes_next() {
        let policy = CurrentPolicy::of(config("10.0.0.0/8"));
        let admission = Admission::new(
            &policy,
            Public::Users,
            AccessList::default(),
            SourceLimits::default(),
            &"p".into(),
        );
        let addr = "192.0.2.1".parse().unwrap();
        assert!(admission.check(addr).is_err());
        assert!(!udp::Admission::is_open(&admission));
        policy.replace(Policy::new(ServerConfig::default(), None).unwrap().into());
        assert_eq!(admission.check(addr), Ok(()));
        assert!(udp::Admission::is_open(&admission));
    }

    #[test]
    fn logins_have_a_list_of_their_own() {
        let current = CurrentPolicy::of(config("10.0.0.0/8"));
        let policy = current.now();
        assert_eq!(
            check_login(&current, &policy, "192.0.2.9".parse().unwrap()),
            Ok(())
        );
        let denied = check_login(&current, &policy, "10.0.0.1".parse().unwrap()).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "10.0.0.1 is kept out by access.logins of the server"
        );
    }

    #[test]
    fn who_guesses_is_kept_out_unless_it_stands_for_others() {
        let banning = ServerConfig {
            bans: Some(BanRules {
                exempt: vec!["198.51.100.0/24".parse().unwrap()],
                ..BanRules::new(2.try_into().unwrap())
            }),
            accept_proxy_protocol_from: vec!["203.0.113.1".parse().unwrap()],
            ..ServerConfig::default()
        };
        let policy = CurrentPolicy::of(banning.clone());
        let admission = Admission::new(
            &policy,
            Public::Users,
            AccessList::default(),
            SourceLimits::default(),
            &"p".into(),
        );
        let guess = |addr: &str| {
            let addr = addr.parse().unwrap();
            for _ in 0..9 {
                admission.note_guess(addr, Guess::HttpPassword, false);
                note_wrong_token(&policy, addr);
            }
            let login = check_login(&policy, &policy.now(), addr);
            assert_eq!(login.is_err(), admission.check(addr).is_err());
            admission.check(addr).err()
        };
        assert!(guess("192.0.2.1").is_some_and(|it| it.is_ban()));
        for exempt in ["127.0.0.9", "::1", "198.51.100.7", "::ffff:203.0.113.1"] {
            assert_eq!(guess(exempt), None, "{exempt}");
        }
        assert!(!udp::Admission::is_open(&admission));
        // Without the section nobody is kept out, and with it again the ban goes on.
        let addr = "192.0.2.1".parse().unwrap();
        policy.replace(Policy::new(ServerConfig::default(), None).unwrap().into());
        assert_eq!(admission.check(addr), Ok(()));
        policy.replace(Policy::new(banning, None).unwrap().into());
        assert!(admission.check(addr).is_err());
    }

    #[test]
    fn one_source_has_no_more_than_the_server_and_the_proxy_let_it() {
        let limits = |connections: u32| SourceLimits {
            connections: connections.try_into().ok(),
            ..SourceLimits::default()
        };
        let policy = CurrentPolicy::of(ServerConfig {
            access: ServerAccess {
                user_limits: limits(3),
                ..ServerAccess::default()
            },
            ..ServerConfig::default()
        });
        let proxy = |own| {
            let all = AccessList::default();
            Admission::new(&policy, Public::Users, all, limits(own), &"p".into())
        };
        let (narrow, wide) = (proxy(1), proxy(9));
        let addr = "192.0.2.1".parse().unwrap();
        let first = narrow.enter(addr).unwrap();
        assert_eq!(narrow.enter(addr).unwrap_err(), Denied::TooMany(addr));
        let _others = [wide.enter(addr).unwrap(), wide.enter(addr).unwrap()];
        assert_eq!(wide.enter(addr).unwrap_err(), Denied::TooMany(addr));
        assert!(wide.enter("192.0.2.2".parse().unwrap()).is_ok());
        drop(first);
        narrow.enter(addr).unwrap();
        assert!(!udp::Admission::is_open(&wide));
    }
}
