//! Which service is meant by a name: host, path and user to a route.
//!
//! One table serves HTTP, HTTPS and tcpmux; the last two have no paths. The rules are frp's (PROTOCOL 10.1), so that
//! a configuration means the same on both. A lookup is a few look-ups in hash maps, however many hosts there are, and
//! allocates nothing.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Where routes are kept. Clones share them.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    table: Arc<RwLock<Table<T>>>,
}

/// What is to be matched for a route to be taken.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct RouteKey {
    /// A host in lower case; `*.` in front stands for any labels, `*` alone for every host.
    pub(crate) host: String,
    /// What paths begin with; empty for all of them.
    pub(crate) location: String,
    /// The user who is served; empty for everybody.
    pub(crate) user: String,
}

/// The route is taken. The text begins with frp's.
#[derive(Debug, thiserror::Error)]
#[error(
    "router config conflict: host [{}] location [{}] is taken by another proxy; choose another, or join its group",
    .0.host,
    .0.location
)]
pub(crate) struct Conflict(RouteKey);

/// One route in the table, which is taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct RouteLease<T> {
    routes: Routes<T>,
    key: RouteKey,
}

#[derive(Debug)]
struct Table<T> {
    exact: HashMap<String, Host<T>>,
    /// By what stands after `*.`.
    below: HashMap<String, Host<T>>,
    any: Host<T>,
}

/// The routes of one pattern of hosts, by user.
#[derive(Debug)]
struct Host<T> {
    by_user: HashMap<String, Vec<(String, T)>>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self {
            table: Arc::new(RwLock::new(Table {
                exact: HashMap::new(),
                below: HashMap::new(),
                any: Host::default(),
            })),
        }
    }
}

impl<T> Clone for Routes<T> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
        }
    }
}

impl<T: Clone> Routes<T> {
    /// Adds a route, unless there is one of the same key.
    pub(crate) fn add(&self, key: RouteKey, route: T) -> Result<RouteLease<T>, Conflict> {
        let mut table = self.write();
        let locations = table
            .host_mut(&key.host)
            .by_user
            .entry(key.user.clone())
            .or_default();
        // In descending order, so that the longest of several prefixes comes first.
        let index = locations.partition_point(|(location, _)| *location > key.location);
        if locations
            .get(index)
            .is_some_and(|(location, _)| *location == key.location)
        {
            drop(table);
            return Err(Conflict(key));
        }
        locations.insert(index, (key.location.clone(), route));
        Ok(RouteLease {
            routes: self.clone(),
            key,
        })
    }

    /// The route for a request to `host`, in lower case and without a port, for the decoded `path` by `user`.
    pub(crate) fn find(&self, host: &str, path: &[u8], user: &str) -> Option<T> {
        let table = self.read();
        let found = table
            .exact
            .get(host)
            .and_then(|routes| routes.find(path, user));
        if found.is_some() {
            return found.cloned();
        }
        // frp: a wildcard stands for names of three labels or more (pkg/util/vhost/vhost.go#getVhost), so that
        // `*.com` matches nothing.
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.')
            && parent.contains('.')
        {
            let found = table.below.get(parent);
            if let Some(route) = found.and_then(|routes| routes.find(path, user)) {
                return Some(route.clone());
            }
            rest = parent;
        }
        table.any.find(path, user).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Table<T>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Routes<T> {
    fn write(&self) -> RwLockWriteGuard<'_, Table<T>> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Table<T> {
    fn host_mut(&mut self, pattern: &str) -> &mut Host<T> {
        match pattern.strip_prefix('*') {
            Some("") => &mut self.any,
            Some(rest) => {
                let parent = rest.strip_prefix('.').unwrap_or(rest);
                self.below.entry(parent.to_owned()).or_default()
            }
            None => self.exact.entry(pattern.to_owned()).or_default(),
        }
    }

    /// Takes a route out. It is for the caller to drop it, when the table is free for others.
    fn remove(&mut self, key: &RouteKey) -> Option<T> {
        let host = self.host_mut(&key.host);
        let mut removed = None;
        if let Some(locations) = host.by_user.get_mut(&key.user) {
            // In descending order.
            let found = locations.binary_search_by(|(location, _)| key.location.cmp(location));
            removed = found.ok().map(|index| locations.remove(index).1);
            remove_if(&mut host.by_user, &key.user, Vec::is_empty);
        }
        match key.host.strip_prefix('*') {
            Some("") => {}
            Some(rest) => {
                let parent = rest.strip_prefix('.').unwrap_or(rest);
                remove_if(&mut self.below, parent, Host::is_empty);
            }
            None => remove_if(&mut self.exact, &key.host, Host::is_empty),
        }
        removed
    }
}

fn remove_if<K, Q, V>(map: &mut HashMap<K, V>, key: &Q, condition: impl Fn(&V) -> bool)
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ?Sized,
{
    if map.get(key).is_some_and(condition) {
        map.remove(key);
    }
}

impl<T> Host<T> {
    /// First among the routes of this user, then among those of everybody.
    fn find(&self, path: &[u8], user: &str) -> Option<&T> {
        let of = |user: &str| {
            let locations = self.by_user.get(user)?;
            let matching = locations
                .iter()
                .find(|(location, _)| path.starts_with(location.as_bytes()));
            matching.map(|(_, route)| route)
        };
        of(user).or_else(|| of("").filter(|_| !user.is_empty()))
    }

    fn is_empty(&self) -> bool {
        self.by_user.is_empty()
    }
}

impl<T> Default for Host<T> {
    fn default() -> Self {
        Self {
            by_user: HashMap::new(),
        }
    }
}

impl<T> Drop for RouteLease<T> {
    fn drop(&mut self) {
        let route = self.routes.write().remove(&self.key);
        // It may be the last that leads to a target with all its members.
        drop(route);
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(host: &str, location: &str, user: &str) -> RouteKey {
        RouteKey {
            host: host.to_owned(),
            location: location.to_owned(),
            user: user.to_owned(),
        }
    }

    /// A table whose routes are named after their keys.
    fn table(keys: &[(&str, &str, &str)]) -> (Routes<String>, Vec<RouteLease<String>>) {
        let routes = Routes::default();
        let leases = keys
            .iter()
            .map(|(host, location, user)| {
                let name = format!("{host}{location} {user}");
                routes
                    .add(key(host, location, user), name.trim().to_owned())
                    .unwrap()
            })
            .collect();
        (routes, leases)
    }

    #[track_caller]
    fn check(routes: &Routes<String>, (host, path, user): (&str, &str, &str), expect: &str) {
        let found = routes.find(host, path.as_bytes(), user).unwrap_or_default();
        assert_eq!(found, expect, "{host} {path} {user}");
    }

    #[test]
    fn the_most_specific_host_wins() {
        let (routes, _leases) = table(&[
            ("a.b.test", "", ""),
            ("*.b.test", "", ""),
            ("*.test.org", "", ""),
            ("*.org", "", ""),
        ]);
        check(&routes, ("a.b.test", "/", ""), "a.b.test");
        check(&routes, ("x.b.test", "/", ""), "*.b.test");
        check(&routes, ("x.y.b.test", "/", ""), "*.b.test");
        check(&routes, ("b.test", "/", ""), "");
        check(&routes, ("x.test.org", "/", ""), "*.test.org");
        check(&routes, ("test.org", "/", ""), "");
        check(&routes, ("", "/", ""), "");
    }

    #[test]
    fn one_star_is_for_all_that_is_left() {
        let (routes, _leases) = table(&[("*", "", ""), ("a.test", "", "")]);
        check(&routes, ("a.test", "/", ""), "a.test");
        check(&routes, ("b.test", "/", ""), "*");
        check(&routes, ("", "/", ""), "*");
    }

    #[test]
    fn the_longest_location_wins_and_need_not_end_at_a_slash() {
        let (routes, _leases) = table(&[
            ("a.test", "", ""),
            ("a.test", "/a", ""),
            ("a.test", "/a/b", ""),
            ("a.test", "/b", ""),
        ]);
        check(&routes, ("a.test", "/", ""), "a.test");
        check(&routes, ("a.test", "/abc", ""), "a.test/a");
        check(&routes, ("a.test", "/a/bc", ""), "a.test/a/b");
        check(&routes, ("a.test", "/A", ""), "a.test");
    }

    #[test]
    fn a_users_own_route_comes_first_on_each_host() {
        let (routes, _leases) = table(&[
            ("a.b.test", "/x", "ann"),
            ("a.b.test", "", ""),
            ("*.b.test", "", "ann"),
            ("*.b.test", "/only", ""),
        ]);
        check(&routes, ("a.b.test", "/x", "ann"), "a.b.test/x ann");
        check(&routes, ("a.b.test", "/y", "ann"), "a.b.test");
        check(&routes, ("a.b.test", "/x", "bob"), "a.b.test");
        check(&routes, ("c.b.test", "/y", "ann"), "*.b.test ann");
        check(&routes, ("c.b.test", "/y", "bob"), "");
    }

    #[test]
    fn a_host_without_a_matching_route_leaves_it_to_the_next() {
        let (routes, _leases) = table(&[("a.b.test", "/x", ""), ("*.b.test", "", "")]);
        check(&routes, ("a.b.test", "/y", ""), "*.b.test");
    }

    /// The least of several measurements, in nanoseconds for each lookup in a table of `hosts` hosts. Half of the
    /// names are in the table, the others fall to a wildcard.
    fn lookup_cost(hosts: usize) -> u128 {
        const LOOKUPS: usize = 1_000;
        let routes = Routes::default();
        let _leases: Vec<_> = (0..hosts)
            .map(|number| key(&format!("h{number}.b.test"), "", ""))
            .chain([key("*.b.test", "", "")])
            .map(|key| routes.add(key, ()).unwrap())
            .collect();
        let names: Vec<_> = (0..LOOKUPS)
            .map(|lookup| match lookup % 2 {
                0 => format!("h{}.b.test", lookup * (hosts / LOOKUPS).max(1) % hosts),
                _ => format!("x{lookup}.b.test"),
            })
            .collect();
        let measure = || {
            let start = std::time::Instant::now();
            for name in &names {
                assert!(routes.find(name, b"/", "").is_some(), "{name}");
            }
            start.elapsed().as_nanos() / LOOKUPS as u128
        };
        (0..20).map(|_| measure()).min().unwrap()
    }

    #[test]
    fn a_lookup_does_not_take_longer_the_more_hosts_there_are() {
        let costs = [1, 1_000, 100_000].map(lookup_cost);
        println!("ns per lookup among 1, 1,000 and 100,000 hosts: {costs:?}");
        // Memory that is not in the processor's cache takes a few times longer; a search would take
        // thousands of times longer.
        assert!(
            costs.iter().all(|&cost| cost < 30 * costs[0].max(20)),
            "{costs:?}"
        );
    }

    #[test]
    fn a_route_is_taken_until_its_lease_is_dropped() {
        let (routes, leases) = table(&[("a.test", "/x", ""), ("*.b.test", "", ""), ("*", "", "")]);
        for taken in [
            key("a.test", "/x", ""),
            key("*.b.test", "", ""),
            key("*", "", ""),
        ] {
            assert!(routes.add(taken.clone(), String::new()).is_err(), "{taken}");
        }
        routes
            .add(key("a.test", "/x", "ann"), String::new())
            .unwrap();
        drop(leases);
        let table = routes.read();
        assert!(table.exact.is_empty() && table.below.is_empty() && table.any.is_empty());
    }
}
