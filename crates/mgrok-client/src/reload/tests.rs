use std::time::Duration;

use mgrok_config::{ProxyKind, ServerAddr};
use mgrok_proto::auth::Secret;

use super::*;
use crate::visitor::tests::stcp;

fn proxy(name: &str, remote_port: u16) -> ProxyConfig {
    ProxyConfig::new(name, ProxyKind::Tcp { remote_port }, 22)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&it| it.to_owned()).collect()
}

#[test]
fn changes_are_found_by_name_and_configuration() {
    let wanted = Wanted::default();
    let all = vec![proxy("same", 1), proxy("changed", 2), proxy("removed", 3)];
    let start = wanted.replace(Some(all), Some(vec![stcp("db")]));
    assert_eq!(start.proxies.added, names(&["changed", "removed", "same"]));
    assert_eq!(start.visitors.added, names(&["db"]));

    let next = vec![proxy("added", 4), proxy("changed", 5), proxy("same", 1)];
    let report = wanted.replace(Some(next), Some(Vec::new()));
    let expect = ReloadReport {
        proxies: Changes {
            added: names(&["added"]),
            changed: names(&["changed"]),
            removed: names(&["removed"]),
        },
        visitors: Changes {
            removed: names(&["db"]),
            ..Changes::default()
        },
    };
    assert_eq!(report, expect);
    assert_eq!(
        report.to_string(),
        "1 proxies added, 1 changed, 1 removed; 0 visitors added, 0 changed, 1 removed"
    );
}

#[test]
fn the_last_of_several_proxies_with_one_name_counts() {
    let before = [proxy("twice", 1), proxy("twice", 2)];
    let changes = Changes::between(&before, &[proxy("twice", 2)], |it| &it.name);
    assert_eq!(changes, Changes::default());
}

#[test]
fn every_key_that_cannot_change_is_named() {
    let before = ClientConfig::default();
    assert_eq!(fixed_keys(&before, &before), [""; 0]);
    let mut next = ClientConfig {
        user: "ada".to_owned(),
        servers: vec![ServerAddr::new("example.com", 7000)],
        grace_period: before.grace_period + Duration::from_secs(1),
        proxies: vec![proxy("new", 1)],
        visitors: vec![stcp("new")],
        ..before.clone()
    };
    next.auth.token = Secret::new("another");
    next.transport.tls = None;
    let keys = fixed_keys(&before, &next);
    assert_eq!(
        keys,
        [
            "user",
            "serverAddr, serverPort or serverAddrs",
            "auth",
            "gracePeriod",
            "transport.tls"
        ]
    );
    assert_eq!(
        ReloadError::FixedKeys(vec!["user", "auth"]).to_string(),
        "user, auth cannot change while the client runs; restart it for that"
    );
}
