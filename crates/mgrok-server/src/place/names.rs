//! The names that a proxy asks for, and what they make of it: routes, and an address to show.

use mgrok_proto::message::NewProxy;

use crate::{
    routes::RouteKey,
    vhost::{Vhosts, http::HttpVhost, https::HttpsVhost, tcpmux::TcpMuxVhost},
};

/// Why names cannot be had. The texts are frp's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error("custom domain [{domain}] should not belong to subdomain host [{host}]")]
    BelowSubdomainHost { domain: String, host: String },
    #[error(
        "tcpmux with multiplexer httpconnect not supported because this feature is not enabled in server"
    )]
    NoTcpMux,
    #[error("type [{0}] not supported when vhost {0} port is not set")]
    NoVhost(&'static str),
    #[error("'.' and '*' are not supported in subdomain")]
    Subdomain,
    #[error("subdomain is not supported because this feature is not enabled in server")]
    SubdomainsOff,
    #[error("unknown multiplexer [{0}]")]
    Multiplexer(String),
}

/// The names of one proxy, as it spells them.
pub(super) struct Names(Vec<String>);

impl Vhosts {
    pub(super) fn http(&self) -> Result<&HttpVhost, NameError> {
        self.http.as_deref().ok_or(NameError::NoVhost("http"))
    }

    pub(super) fn https(&self) -> Result<&HttpsVhost, NameError> {
        self.https.as_deref().ok_or(NameError::NoVhost("https"))
    }

    pub(super) fn tcpmux(&self, multiplexer: &str) -> Result<&TcpMuxVhost, NameError> {
        if multiplexer != "httpconnect" {
            return Err(NameError::Multiplexer(multiplexer.to_owned()));
        }
        self.tcpmux.as_deref().ok_or(NameError::NoTcpMux)
    }

    /// Checks the names that `new` asks for.
    pub(super) fn names(&self, new: &NewProxy) -> Result<Names, NameError> {
        let host = &self.sub_domain_host;
        let mut names = Vec::new();
        for domain in new.custom_domains.iter().filter(|it| !it.is_empty()) {
            let is_below = |rest: &str| rest.ends_with('.');
            let lower = domain.to_ascii_lowercase();
            if !host.is_empty() && lower.strip_suffix(host.as_str()).is_some_and(is_below) {
                return Err(NameError::BelowSubdomainHost {
                    domain: domain.clone(),
                    host: host.clone(),
                });
            }
            names.push(domain.clone());
        }
        if !new.subdomain.is_empty() {
            if host.is_empty() {
                return Err(NameError::SubdomainsOff);
            }
            if new.subdomain.contains(['.', '*']) {
                return Err(NameError::Subdomain);
            }
            names.push(format!("{}.{host}", new.subdomain));
        }
        Ok(Names(names))
    }
}

impl Names {
    /// The routes of these names, each once; without a location, all paths lead there.
    pub(super) fn keys(
        &self,
        locations: &[String],
        user: &str,
    ) -> impl Iterator<Item = RouteKey> + use<> {
        let everywhere = [String::new()];
        let locations = if locations.is_empty() {
            &everywhere
        } else {
            locations
        };
        let keys: std::collections::BTreeSet<_> = self
            .0
            .iter()
            .flat_map(|name| {
                locations.iter().map(|location| RouteKey {
                    host: name.to_ascii_lowercase(),
                    location: location.clone(),
                    user: user.to_owned(),
                })
            })
            .collect();
        keys.into_iter()
    }

    /// What the client shows: each name as often as it has `locations`, with the `port` unless it is a usual one.
    // frp: the same (server/proxy/http.go#Run, pkg/util/util/util.go#CanonicalAddr)
    pub(super) fn remote_addr(&self, locations: usize, port: u16) -> String {
        let shown = |name: &String| match port {
            80 | 443 => name.clone(),
            port => format!("{name}:{port}"),
        };
        let each = |name| std::iter::repeat_n(shown(name), locations.max(1));
        let all: Vec<_> = self.0.iter().flat_map(each).collect();
        all.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vhosts() -> Vhosts {
        Vhosts {
            sub_domain_host: "example.com".to_owned(),
            ..Vhosts::default()
        }
    }

    fn new(domains: &[&str], subdomain: &str) -> NewProxy {
        NewProxy {
            custom_domains: domains.iter().map(|it| (*it).to_owned()).collect(),
            subdomain: subdomain.to_owned(),
            ..NewProxy::default()
        }
    }

    #[test]
    fn names_are_shown_as_spelled_and_routed_in_lower_case() {
        let names = vhosts().names(&new(&["A.test", "b.test"], "c")).unwrap();
        assert_eq!(
            names.remote_addr(1, 8080),
            "A.test:8080,b.test:8080,c.example.com:8080"
        );
        assert_eq!(names.remote_addr(1, 80), "A.test,b.test,c.example.com");
        assert_eq!(
            names.remote_addr(2, 443),
            "A.test,A.test,b.test,b.test,c.example.com,c.example.com"
        );
        let keys: Vec<_> = names
            .keys(&["/a".to_owned()], "u")
            .map(|key| key.to_string())
            .collect();
        assert_eq!(keys, ["a.test/a", "b.test/a", "c.example.com/a"]);
    }

    #[test]
    fn without_a_name_there_is_no_route() {
        let names = vhosts().names(&new(&[""], "")).unwrap();
        assert_eq!(names.remote_addr(1, 80), "");
        assert_eq!(names.keys(&[], "").count(), 0);
    }

    #[test]
    fn names_that_cannot_be_had() {
        #[track_caller]
        fn check(vhosts: &Vhosts, new: &NewProxy, expect: &str) {
            let refused = vhosts.names(new).err().map(|error| error.to_string());
            assert_eq!(refused.unwrap_or_default(), expect);
        }
        let on = vhosts();
        let below =
            "custom domain [A.Example.com] should not belong to subdomain host [example.com]";
        check(&on, &new(&["A.Example.com"], ""), below);
        check(&on, &new(&["example.com", "notexample.com"], ""), "");
        let dotted = "'.' and '*' are not supported in subdomain";
        check(&on, &new(&[], "a.b"), dotted);
        check(&on, &new(&[], "*"), dotted);
        let off = "subdomain is not supported because this feature is not enabled in server";
        check(&Vhosts::default(), &new(&[], "a"), off);
    }
}
