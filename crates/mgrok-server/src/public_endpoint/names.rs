//! The names that a proxy asks for, and what they make of it: routes, and an address to show.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use mgrok_proto::message::NewProxy;

use crate::excerpt::Excerpt;
use crate::routes::RouteKey;
use crate::vhost::Vhosts;
use crate::vhost::http::HttpVhost;
use crate::vhost::https::HttpsVhost;
use crate::vhost::tcpmux::TcpMuxVhost;

/// How many routes one proxy may ask for, which are its names times its locations. A certificate rarely has more than a
/// hundred names.
const MAX_ROUTES: usize = 1_024;

/// The longest name, in bytes. DNS has none of more than 253.
const MAX_HOST_LEN: usize = 255;

/// The longest location, and the longest user by whom is routed, in bytes.
const MAX_LOCATION_LEN: usize = 1_024;

/// About how many bytes of names a client is shown. With all else the answer still fits into a message of v1.
const MAX_SHOWN_LEN: usize = 4_096;

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
    #[error("a {what} may have at most {limit} bytes, and one has {len}; shorten it")]
    TooLong {
        what: &'static str,
        limit: usize,
        len: usize,
    },
    #[error(
        "names times locations are {0} routes, and a proxy may have at most {MAX_ROUTES}; split it into several proxies"
    )]
    TooManyRoutes(usize),
    #[error("'.' and '*' are not supported in subdomain")]
    Subdomain,
    #[error("subdomain is not supported because this feature is not enabled in server")]
    SubdomainsOff,
    #[error("unknown multiplexer [{}]", Excerpt(.0))]
    Multiplexer(String),
}

/// The names of one proxy, as it spells them.
pub(super) struct Names(Vec<String>);

impl Vhosts {
    /// The HTTP port, and its number.
    pub(super) fn http(&self) -> Result<(&HttpVhost, u16), NameError> {
        let port = self.policy.now().config.vhost.http_port;
        let port = port.ok_or(NameError::NoVhost("http"))?;
        Ok((&self.http, port))
    }

    /// The HTTPS port, and its number.
    pub(super) fn https(&self) -> Result<(&HttpsVhost, u16), NameError> {
        let port = self.policy.now().config.vhost.https_port;
        let port = port.ok_or(NameError::NoVhost("https"))?;
        Ok((&self.https, port))
    }

    /// The tcpmux port, and its number.
    pub(super) fn tcpmux(&self, multiplexer: &str) -> Result<(&TcpMuxVhost, u16), NameError> {
        if multiplexer != "httpconnect" {
            return Err(NameError::Multiplexer(multiplexer.to_owned()));
        }
        let port = self.policy.now().config.vhost.tcpmux_port;
        let port = port.ok_or(NameError::NoTcpMux)?;
        Ok((&self.tcpmux, port))
    }

    /// Checks the names that `new` asks for.
    pub(super) fn names(&self, new: &NewProxy) -> Result<Names, NameError> {
        Names::of(new, &self.policy.now().config.vhost.sub_domain_host)
    }
}

impl Names {
    /// The names that `new` asks for. `host` is the domain below which subdomains are; empty is none.
    fn of(new: &NewProxy, host: &str) -> Result<Self, NameError> {
        check_len("subdomain", &new.subdomain, MAX_HOST_LEN)?;
        for domain in &new.custom_domains {
            check_len("domain", domain, MAX_HOST_LEN)?;
        }
        let mut names = Vec::new();
        for domain in new.custom_domains.iter().filter(|it| !it.is_empty()) {
            let is_below = |rest: &str| rest.ends_with('.');
            let lower = domain.to_ascii_lowercase();
            if !host.is_empty() && lower.strip_suffix(host).is_some_and(is_below) {
                return Err(NameError::BelowSubdomainHost {
                    domain: domain.clone(),
                    host: host.to_owned(),
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
        Ok(Self(names))
    }

    /// The routes of these names, each once; without a location, all paths lead there.
    pub(super) fn keys(
        &self,
        locations: &[String],
        user: &str,
    ) -> Result<BTreeSet<RouteKey>, NameError> {
        let count = self.0.len().saturating_mul(locations.len().max(1));
        if count > MAX_ROUTES {
            return Err(NameError::TooManyRoutes(count));
        }
        check_len("routeByHTTPUser", user, MAX_LOCATION_LEN)?;
        for location in locations {
            check_len("location", location, MAX_LOCATION_LEN)?;
        }
        let everywhere = [String::new()];
        let locations = if locations.is_empty() {
            &everywhere
        } else {
            locations
        };
        let of_name = |name: &String| {
            let host = name.to_ascii_lowercase();
            locations.iter().map(move |location| RouteKey {
                host: host.clone(),
                location: location.clone(),
                user: user.to_owned(),
            })
        };
        Ok(self.0.iter().flat_map(of_name).collect())
    }

    /// What the client shows: each name as often as it has `locations`, with the `port` unless it is a usual one; not all of them if
    /// they are very many.
    // frp: the same but for the bound (server/proxy/http.go#Run, pkg/util/util/util.go#CanonicalAddr)
    pub(super) fn remote_addr(&self, locations: usize, port: u16) -> String {
        let times = locations.max(1);
        let total = self.0.len().saturating_mul(times);
        let all = self
            .0
            .iter()
            .flat_map(|name| std::iter::repeat_n(name, times));
        let mut text = String::new();
        for (written, name) in all.enumerate() {
            if text.len() > MAX_SHOWN_LEN {
                // Writing to a string does not fail.
                let _ = write!(text, " and {} more", total - written);
                break;
            }
            if written > 0 {
                text.push(',');
            }
            text.push_str(name);
            if !matches!(port, 80 | 443) {
                let _ = write!(text, ":{port}");
            }
        }
        text
    }
}

fn check_len(what: &'static str, text: &str, limit: usize) -> Result<(), NameError> {
    let len = text.len();
    if len > limit {
        return Err(NameError::TooLong { what, limit, len });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "example.com";

    fn new(domains: &[&str], subdomain: &str) -> NewProxy {
        NewProxy {
            custom_domains: domains.iter().map(|it| (*it).to_owned()).collect(),
            subdomain: subdomain.to_owned(),
            ..NewProxy::default()
        }
    }

    #[test]
    fn names_are_shown_as_spelled_and_routed_in_lower_case() {
        let names = Names::of(&new(&["A.test", "b.test"], "c"), HOST).unwrap();
        assert_eq!(
            names.remote_addr(1, 8080),
            "A.test:8080,b.test:8080,c.example.com:8080"
        );
        assert_eq!(names.remote_addr(1, 80), "A.test,b.test,c.example.com");
        assert_eq!(
            names.remote_addr(2, 443),
            "A.test,A.test,b.test,b.test,c.example.com,c.example.com"
        );
        let keys = names.keys(&["/a".to_owned()], "u").unwrap();
        let keys: Vec<_> = keys.iter().map(RouteKey::to_string).collect();
        assert_eq!(keys, ["a.test/a", "b.test/a", "c.example.com/a"]);
    }

    #[test]
    fn without_a_name_there_is_no_route() {
        let names = Names::of(&new(&[""], ""), HOST).unwrap();
        assert_eq!(names.remote_addr(1, 80), "");
        assert!(names.keys(&[], "").unwrap().is_empty());
    }

    #[test]
    fn one_proxy_cannot_ask_for_the_product_of_two_long_lists() {
        let domains: Vec<_> = (0..3_000).map(|it| format!("d{it}.test")).collect();
        let domains: Vec<_> = domains.iter().map(String::as_str).collect();
        let locations: Vec<_> = (0..3_000).map(|it| format!("/{it}")).collect();
        let names = Names::of(&new(&domains, ""), HOST).unwrap();
        let refused = names.keys(&locations, "").unwrap_err().to_string();
        assert!(refused.contains("9000000 routes"), "{refused}");
        let shown = names.remote_addr(locations.len(), 8080);
        assert!(shown.len() < 2 * MAX_SHOWN_LEN, "{}", shown.len());
        assert!(shown.ends_with(" more"), "{shown}");
    }

    #[test]
    fn a_hundred_names_with_ten_locations_are_nothing_special() {
        let domains: Vec<_> = (0..100).map(|it| format!("d{it}.test")).collect();
        let domains: Vec<_> = domains.iter().map(String::as_str).collect();
        let locations: Vec<_> = (0..10).map(|it| format!("/{it}")).collect();
        let names = Names::of(&new(&domains, ""), HOST).unwrap();
        assert_eq!(names.keys(&locations, "").unwrap().len(), 1_000);
    }

    #[test]
    fn names_that_are_too_long_are_refused() {
        let long = "a".repeat(MAX_HOST_LEN + 1);
        assert!(Names::of(&new(&[&long], ""), HOST).is_err());
        assert!(Names::of(&new(&[], &long), HOST).is_err());
        let names = Names::of(&new(&["a.test"], ""), HOST).unwrap();
        let location = "/".repeat(MAX_LOCATION_LEN + 1);
        assert!(names.keys(&[location], "").is_err());
        let user = "u".repeat(MAX_LOCATION_LEN + 1);
        assert!(names.keys(&[], &user).is_err());
    }

    #[test]
    fn names_that_cannot_be_had() {
        #[track_caller]
        fn check(host: &str, new: &NewProxy, expect: &str) {
            let refused = Names::of(new, host).err().map(|error| error.to_string());
            assert_eq!(refused.unwrap_or_default(), expect);
        }
        let below =
            "custom domain [A.Example.com] should not belong to subdomain host [example.com]";
        check(HOST, &new(&["A.Example.com"], ""), below);
        check(HOST, &new(&["example.com", "notexample.com"], ""), "");
        let dotted = "'.' and '*' are not supported in subdomain";
        check(HOST, &new(&[], "a.b"), dotted);
        check(HOST, &new(&[], "*"), dotted);
        let off = "subdomain is not supported because this feature is not enabled in server";
        check("", &new(&[], "a"), off);
    }
}
