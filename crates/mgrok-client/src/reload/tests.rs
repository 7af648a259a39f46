use mgrok_config::ProxyKind;

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
        ..ReloadReport::default()
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
fn what_takes_effect_when_is_told() {
    assert_eq!(
        ReloadError::FixedKeys(vec!["user", "dnsServer"]).to_string(),
        "user, dnsServer cannot change while the client runs; restart it for that"
    );
    let report = ReloadReport {
        at_once: vec!["gracePeriod"],
        at_login: vec!["auth", "metadatas"],
        ..ReloadReport::default()
    };
    assert_eq!(
        report.to_string(),
        "0 proxies added, 0 changed, 0 removed; 0 visitors added, 0 changed, 0 removed; gracePeriod at once; \
         auth, metadatas with the next login"
    );
}
