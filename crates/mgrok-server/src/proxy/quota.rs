//! How much one client may publish: what its proxies cost the server, and where that ends.
//!
//! The bounds are far above what people have. They are there so that one client, by mistake or not, does not take the
//! memory of all.

use std::num::NonZeroU32;

use mgrok_proto::message::NewProxy;

/// The longest name of a proxy and of a group, in bytes.
const MAX_NAME_LEN: usize = 512;

/// How many proxies one client may have.
const MAX_PROXIES: usize = 16_384;

/// How many routes, names times locations, the proxies of one client may have together.
const MAX_ROUTES: usize = 65_536;

/// How many bytes of what the client says of its proxies are kept for it.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What one proxy costs, or all of a client.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cost {
    pub(crate) proxies: usize,
    /// Ports that it has to itself.
    pub(crate) ports: usize,
    pub(crate) routes: usize,
    /// Of the texts that are kept.
    pub(crate) bytes: usize,
}

/// Why a client may not publish more. The clients show the texts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuotaError {
    #[error(
        "the proxies of one client may say {MAX_BYTES} bytes of themselves; shorten allowUsers, headers or locations, or \
         use a second client"
    )]
    Bytes,
    #[error(
        "the name of a proxy or group may have at most {MAX_NAME_LEN} bytes, and this one has {0}"
    )]
    NameTooLong(usize),
    // frp: these words (server/control.go#RegisterProxy)
    #[error("exceed the max_ports_per_client")]
    Ports,
    #[error("one client may have at most {MAX_PROXIES} proxies; use a second client for more")]
    Proxies,
    #[error(
        "the proxies of one client may have at most {MAX_ROUTES} routes; use a second client for more"
    )]
    Routes,
}

impl Cost {
    /// What is known of the cost of `new` before it has its place. `has_port` says whether it is to have a port.
    pub(super) fn of(new: &NewProxy, has_port: bool) -> Self {
        let pairs = |map: &std::collections::BTreeMap<String, String>| {
            map.iter()
                .map(|(key, value)| key.len() + value.len())
                .sum::<usize>()
        };
        let texts = |list: &[String]| list.iter().map(String::len).sum::<usize>();
        let bytes = [
            new.proxy_name.len(),
            new.group.len(),
            new.group_key.expose().len(),
            new.sk.expose().len(),
            new.http_user.len(),
            new.http_pwd.expose().len(),
            new.host_header_rewrite.len(),
            new.route_by_http_user.len(),
            pairs(&new.headers),
            pairs(&new.response_headers),
            texts(&new.allow_users),
            // Not as texts, but as long as the longest of them or so.
            texts(&new.mgrok_allow_from),
            texts(&new.mgrok_deny_from),
            texts(&new.custom_domains) * new.locations.len().max(1),
            texts(&new.locations) * new.custom_domains.len().max(1),
        ];
        Self {
            proxies: 1,
            ports: usize::from(has_port),
            routes: 0,
            bytes: bytes.into_iter().fold(0, usize::saturating_add),
        }
    }

    /// Checks that one more of this cost may be added to `used`. `max_ports` is the operator's bound.
    pub(super) fn check(
        &self,
        used: &Self,
        max_ports: Option<NonZeroU32>,
    ) -> Result<(), QuotaError> {
        let all = used.plus(self);
        if all.proxies > MAX_PROXIES {
            return Err(QuotaError::Proxies);
        }
        if self.ports > 0 && max_ports.is_some_and(|max| all.ports > max.get() as usize) {
            return Err(QuotaError::Ports);
        }
        if all.routes > MAX_ROUTES {
            return Err(QuotaError::Routes);
        }
        if all.bytes > MAX_BYTES {
            return Err(QuotaError::Bytes);
        }
        Ok(())
    }

    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self {
            proxies: self.proxies + other.proxies,
            ports: self.ports + other.ports,
            routes: self.routes + other.routes,
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self {
            proxies: self.proxies.saturating_sub(other.proxies),
            ports: self.ports.saturating_sub(other.ports),
            routes: self.routes.saturating_sub(other.routes),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// Checks the names that are repeated in logs and answers.
pub(super) fn check_names(new: &NewProxy) -> Result<(), QuotaError> {
    let len = new.proxy_name.len().max(new.group.len());
    if len > MAX_NAME_LEN {
        return Err(QuotaError::NameTooLong(len));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(domains: usize, locations: usize) -> NewProxy {
        let texts = |count, len| vec!["x".repeat(len); count];
        NewProxy {
            custom_domains: texts(domains, 10),
            locations: texts(locations, 5),
            ..NewProxy::default()
        }
    }

    #[test]
    fn the_text_of_every_route_counts() {
        assert_eq!(Cost::of(&new(3, 0), false).bytes, 30);
        assert_eq!(Cost::of(&new(3, 4), false).bytes, 3 * 4 * (10 + 5));
    }

    #[test]
    fn thousands_of_proxies_are_let_in_and_then_no_more() {
        let web = NewProxy {
            proxy_name: "customer-site-12345".to_owned(),
            custom_domains: vec!["customer-12345.example.com".to_owned(); 2],
            ..NewProxy::default()
        };
        let one = Cost {
            routes: 2,
            ..Cost::of(&web, false)
        };
        let mut used = Cost::default();
        while one.check(&used, None).is_ok() {
            used = used.plus(&one);
        }
        assert_eq!(used.proxies, MAX_PROXIES);
        used = used.minus(&one);
        one.check(&used, None).unwrap();
    }

    #[test]
    fn what_a_client_says_of_its_proxies_is_bounded_in_sum() {
        let talkative = NewProxy {
            allow_users: vec!["u".repeat(60_000)],
            ..NewProxy::default()
        };
        let one = Cost::of(&talkative, false);
        let mut used = Cost::default();
        while one.check(&used, None).is_ok() {
            used = used.plus(&one);
        }
        assert!(used.bytes <= MAX_BYTES && used.proxies < MAX_PROXIES);
    }

    #[test]
    fn ports_count_only_for_who_wants_one() {
        let max = NonZeroU32::new(1);
        let used = Cost {
            ports: 1,
            ..Cost::default()
        };
        let refused = Cost::of(&new(0, 0), true).check(&used, max);
        assert_eq!(
            refused.unwrap_err().to_string(),
            "exceed the max_ports_per_client"
        );
        Cost::of(&new(0, 0), false).check(&used, max).unwrap();
    }

    #[test]
    fn a_name_has_a_longest_length() {
        let named = |len| NewProxy {
            proxy_name: "n".repeat(len),
            ..NewProxy::default()
        };
        check_names(&named(MAX_NAME_LEN)).unwrap();
        check_names(&named(MAX_NAME_LEN + 1)).unwrap_err();
    }
}
