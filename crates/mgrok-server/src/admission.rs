//! Who may come to a proxy, or log in, by the address that it comes from. Every way to a proxy asks here, and nowhere else.
//!
//! A decision goes by the lists of the current policy and those that the proxy was started with, so that a reload counts for whoever
//! comes next, and leaves alone who is there.

use std::net::{IpAddr, SocketAddr};

use mgrok_config::AccessList;
use mgrok_net::udp;

use crate::policy::{CurrentPolicy, Policy};

/// Says who may come to one proxy.
#[derive(Debug)]
pub(crate) struct Admission {
    policy: CurrentPolicy,
    public: Public,
    own: AccessList,
}

/// Who comes to a proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Public {
    /// Users, to its public endpoint.
    Users,
    /// Clients of visitors.
    Visitors,
}

/// Why somebody may not come.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Denied {
    /// The server's list keeps it out.
    #[error("{addr} is kept out by {list} of the server")]
    Server { list: &'static str, addr: IpAddr },
    /// The proxy's list keeps it out.
    #[error("{0} is kept out by access of the proxy")]
    Proxy(IpAddr),
}

impl Admission {
    /// Of a proxy to which `public` come, and which lets those come that are in `own`.
    pub(crate) fn new(policy: &CurrentPolicy, public: Public, own: AccessList) -> Self {
        Self {
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
        match self.own.admits(addr) {
            true => Ok(()),
            false => Err(Denied::Proxy(addr)),
        }
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
        self.own.is_open() && self.of_server(&self.policy.now()).0.is_open()
    }

    fn admits(&self, user: SocketAddr) -> bool {
        self.check(user.ip()).is_ok()
    }
}

/// Whether a client may log in from `addr`.
pub(crate) fn check_login(policy: &Policy, addr: IpAddr) -> Result<(), Denied> {
    let addr = addr.to_canonical();
    match policy.config.access.logins.admits(addr) {
        true => Ok(()),
        false => Err(Denied::Server {
            list: "access.logins",
            addr,
        }),
    }
}

#[cfg(test)]
mod tests {
    use mgrok_config::{ServerAccess, ServerConfig};

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
        let admission = |public| Admission::new(&policy, public, only("10.1.0.0/16"));
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
        let admission = Admission::new(&policy, Public::Users, AccessList::default());
        let addr = "192.0.2.1".parse().unwrap();
        assert!(admission.check(addr).is_err());
        assert!(!udp::Admission::is_open(&admission));
        policy.replace(Policy::new(ServerConfig::default(), None).unwrap().into());
        assert_eq!(admission.check(addr), Ok(()));
        assert!(udp::Admission::is_open(&admission));
    }

    #[test]
    fn logins_have_a_list_of_their_own() {
        let policy = Policy::new(config("10.0.0.0/8"), None).unwrap();
        assert_eq!(check_login(&policy, "192.0.2.9".parse().unwrap()), Ok(()));
        let denied = check_login(&policy, "10.0.0.1".parse().unwrap()).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "10.0.0.1 is kept out by access.logins of the server"
        );
    }
}
