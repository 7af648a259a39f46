//! Tests the states of proxies, with time under the test's control.

use std::num::NonZeroU32;

use mgrok_config::{HealthCheck, HealthCheckKind, ProxyKind};
use mgrok_proto::auth::Secret;

use super::*;

mod model;

fn config(name: &str) -> ProxyConfig {
    ProxyConfig::new(name, ProxyKind::Tcp { remote_port: 6000 }, 22)
}

/// Proxies with these names, of a user `ada`.
fn proxies(names: &[&str]) -> (Proxies, Instant) {
    let key = CipherKey::derive(&Secret::new("secret"));
    let mut proxies = Proxies::new(
        "ada".to_owned(),
        "example.com".to_owned(),
        key,
        Resolver::default(),
    );
    let configs: Vec<_> = names.iter().map(|it| config(it)).collect();
    let now = Instant::now();
    proxies.apply(&configs, now);
    (proxies, now)
}

/// The names announced now, as on the wire.
fn announced(proxies: &mut Proxies, now: Instant) -> Vec<String> {
    let sent = std::iter::from_fn(|| proxies.poll_send(now));
    sent.filter_map(|outgoing| match outgoing {
        Outgoing::Announce(_, announcement) => Some(announcement.proxy_name),
        Outgoing::Withdraw(..) => None,
    })
    .collect()
}

/// All names that are sent now, as on the wire, with a `-` in front of withdrawn ones.
fn sent(proxies: &mut Proxies, now: Instant) -> Vec<String> {
    std::iter::from_fn(|| proxies.poll_send(now))
        .map(|outgoing| match outgoing {
            Outgoing::Announce(_, announcement) => announcement.proxy_name,
            Outgoing::Withdraw(_, close) => format!("-{}", close.proxy_name),
        })
        .collect()
}

fn answer(name: &str, remote_addr: &str, error: &str) -> NewProxyResp {
    NewProxyResp {
        proxy_name: name.to_owned(),
        remote_addr: remote_addr.to_owned(),
        error: error.to_owned(),
    }
}

fn phase(proxies: &Proxies, name: &str) -> Option<ProxyPhase> {
    proxies.watch().borrow().status(name).map(|it| it.phase)
}

#[test]
fn a_proxy_is_announced_once_and_runs_when_the_server_says_so() {
    let (mut proxies, now) = proxies(&["ssh", "web"]);
    assert_eq!(announced(&mut proxies, now), [""; 0], "there is no session");
    assert_eq!(proxies.wake_at(now), None);

    proxies.begin_session(now);
    assert_eq!(proxies.wake_at(now), Some(now));
    assert_eq!(announced(&mut proxies, now), ["ada.ssh", "ada.web"]);
    assert_eq!(announced(&mut proxies, now), [""; 0]);
    assert!(proxies.watch().borrow().is_waiting("ssh"));

    let started = proxies.handle_answer(&answer("ada.ssh", ":6000", ""), now);
    assert_eq!(
        started,
        Answer::Started("ssh".into(), "example.com:6000".to_owned())
    );
    let table = proxies.watch();
    let table = table.borrow();
    assert!(table.running("ssh").is_some());
    assert!(table.running("web").is_none());
    let status = table.status("ssh").unwrap();
    assert_eq!(status.remote_addr.as_deref(), Some("example.com:6000"));
}

#[test]
fn an_unanswered_announcement_is_repeated() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    let later = now + ANSWER_TIMEOUT;
    assert_eq!(proxies.wake_at(now), Some(later));
    assert_eq!(
        announced(&mut proxies, later - Duration::from_millis(1)),
        [""; 0]
    );
    assert_eq!(sent(&mut proxies, later), ["-ada.ssh", "ada.ssh"]);
    // The first answer belongs to the announcement that was withdrawn since.
    let late = proxies.handle_answer(&answer("ada.ssh", ":1", ""), later);
    assert_eq!(late, Answer::Ignored);
    assert_eq!(phase(&proxies, "ssh"), Some(ProxyPhase::WaitStart));
    proxies.handle_answer(&answer("ada.ssh", ":2", ""), later);
    assert_eq!(phase(&proxies, "ssh"), Some(ProxyPhase::Running));
    assert_eq!(proxies.wake_at(now), None);
}

#[test]
fn a_refused_proxy_tries_again_later() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    let refused = answer("ada.ssh", "", "port already used");
    assert_eq!(
        proxies.handle_answer(&refused, now),
        Answer::Refused(
            "ssh".into(),
            "port already used".to_owned(),
            RETRY_AFTER_ERROR
        )
    );
    assert_eq!(phase(&proxies, "ssh"), Some(ProxyPhase::StartError));
    let later = now + RETRY_AFTER_ERROR;
    assert_eq!(proxies.wake_at(now), Some(later));
    assert_eq!(announced(&mut proxies, later), ["ada.ssh"]);
    proxies.handle_answer(&answer("ada.ssh", ":6000", ""), later);
    let status = proxies.watch().borrow().status("ssh").cloned().unwrap();
    assert_eq!((status.phase, status.error), (ProxyPhase::Running, None));
}

#[test]
fn a_proxy_that_is_not_ready_tries_again_later() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    proxies.handle_unready("ssh", "no certificate", now);
    let status = proxies.watch().borrow().status("ssh").cloned().unwrap();
    assert_eq!(status.phase, ProxyPhase::StartError);
    assert_eq!(status.error.as_deref(), Some("no certificate"));
    // The server was never told of the proxy, so nothing is withdrawn.
    proxies.apply(&[], now);
    assert_eq!(sent(&mut proxies, now), [""; 0]);

    proxies.apply(&[config("ssh")], now);
    announced(&mut proxies, now);
    proxies.handle_unready("ssh", "no certificate", now);
    let later = now + RETRY_AFTER_ERROR;
    assert_eq!(proxies.wake_at(now), Some(later));
    assert_eq!(announced(&mut proxies, later), ["ada.ssh"]);
}

#[test]
fn answers_for_others_are_ignored() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    for name in ["ssh", "bob.ssh", "ada.", "ada.web", "adassh", ""] {
        let stray = answer(name, ":1", "");
        assert_eq!(
            proxies.handle_answer(&stray, now),
            Answer::Ignored,
            "{name:?}"
        );
    }
    assert_eq!(phase(&proxies, "ssh"), Some(ProxyPhase::WaitStart));
}

#[test]
fn few_announcements_are_under_way_however_many_proxies_there_are() {
    let names: Vec<String> = (0..3 * MAX_UNANSWERED)
        .map(|it| format!("p{it:04}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut proxies, now) = proxies(&names);
    proxies.begin_session(now);
    let first = announced(&mut proxies, now);
    assert_eq!(first.len(), MAX_UNANSWERED);
    // Nothing happens before an answer arrives or an announcement must be repeated.
    assert_eq!(proxies.wake_at(now), Some(now + ANSWER_TIMEOUT));
    for name in &first[..10] {
        proxies.handle_answer(&answer(name, ":1", ""), now);
    }
    assert_eq!(proxies.wake_at(now), Some(now));
    assert_eq!(announced(&mut proxies, now).len(), 10);
    // Unanswered announcements are withdrawn, but their answers are still to come and count against the limit.
    let repeated = sent(&mut proxies, now + ANSWER_TIMEOUT);
    assert_eq!(repeated.len(), MAX_UNANSWERED);
    assert!(repeated.iter().all(|it| it.starts_with('-')));
    for name in &first[10..20] {
        proxies.handle_answer(&answer(name, ":1", ""), now);
    }
    assert_eq!(announced(&mut proxies, now + ANSWER_TIMEOUT).len(), 10);
}

#[test]
fn a_proxy_that_cannot_be_announced_does_not_block_others() {
    let (mut proxies, now) = proxies(&["long", "late"]);
    proxies.begin_session(now);
    let late = proxies.poll_send(now).unwrap();
    assert!(matches!(&late, Outgoing::Announce(name, _) if &**name == "late"));
    proxies.poll_send(now);
    proxies.handle_unsendable("long", "too long");
    proxies.handle_full(late, now);
    assert_eq!(phase(&proxies, "long"), Some(ProxyPhase::StartError));
    assert_eq!(phase(&proxies, "late"), Some(ProxyPhase::New));
    assert_eq!(proxies.wake_at(now), Some(now + RETRY_WHEN_FULL));
    assert_eq!(
        announced(&mut proxies, now + RETRY_AFTER_ERROR),
        ["ada.late"]
    );
}

#[test]
fn a_lost_session_starts_everything_anew() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    proxies.handle_answer(&answer("ada.ssh", ":6000", ""), now);
    proxies.end_session();
    assert_eq!(phase(&proxies, "ssh"), Some(ProxyPhase::New));
    assert_eq!(proxies.wake_at(now), None);
    proxies.begin_session(now);
    assert_eq!(announced(&mut proxies, now), ["ada.ssh"]);
}

#[test]
fn applying_again_touches_only_what_differs() {
    let (mut proxies, now) = proxies(&["gone", "changed", "same"]);
    proxies.begin_session(now);
    for name in announced(&mut proxies, now) {
        proxies.handle_answer(&answer(&name, ":6000", ""), now);
    }
    let before = proxies.watch().borrow().running("same").cloned().unwrap();

    let mut changed = config("changed");
    changed.local_port = 23;
    let wanted = [changed, config("new"), config("same")];
    let changes = proxies.apply(&wanted, now);
    assert_eq!(
        changes.added,
        ["changed".into(), "new".into()] as [Arc<str>; 2]
    );
    assert_eq!(
        changes.removed,
        ["changed".into(), "gone".into()] as [Arc<str>; 2]
    );
    assert_eq!(
        sent(&mut proxies, now),
        ["-ada.changed", "-ada.gone", "ada.changed", "ada.new"]
    );
    let after = proxies.watch().borrow().running("same").cloned().unwrap();
    assert!(Arc::ptr_eq(&before, &after));

    assert_eq!(proxies.apply(&wanted, now), Changes::default());
}

/// A proxy with a health check.
fn checked(name: &str) -> ProxyConfig {
    let mut config = config(name);
    config.health_check = Some(HealthCheck {
        kind: HealthCheckKind::Tcp,
        timeout: Duration::from_secs(3),
        max_failed: NonZeroU32::MIN,
        interval: Duration::from_secs(10),
    });
    config
}

#[test]
fn a_proxy_is_announced_while_it_is_healthy() {
    let (mut proxies, now) = proxies(&[]);
    proxies.begin_session(now);
    proxies.apply(&[checked("web")], now);
    let web = proxies.get("web").unwrap();
    assert_eq!(phase(&proxies, "web"), Some(ProxyPhase::CheckFailed));
    assert_eq!(announced(&mut proxies, now), [""; 0]);
    assert_eq!(proxies.wake_at(now), None);
    let more_of_it = proxies.handle_health(&web, false, now);
    assert_eq!(more_of_it, HealthChange::Ignored);

    let changed = proxies.handle_health(&web, true, now);
    assert_eq!(changed, HealthChange::Succeeded);
    assert_eq!(proxies.wake_at(now), Some(now));
    assert_eq!(phase(&proxies, "web"), Some(ProxyPhase::New));
    assert_eq!(announced(&mut proxies, now), ["ada.web"]);
    proxies.handle_answer(&answer("ada.web", ":6000", ""), now);
    let more_of_it = proxies.handle_health(&web, true, now);
    assert_eq!(more_of_it, HealthChange::Ignored);
    assert_eq!(phase(&proxies, "web"), Some(ProxyPhase::Running));

    let changed = proxies.handle_health(&web, false, now);
    assert_eq!(changed, HealthChange::Failed);
    assert_eq!(phase(&proxies, "web"), Some(ProxyPhase::CheckFailed));
    assert_eq!(proxies.wake_at(now), Some(now));
    assert_eq!(sent(&mut proxies, now), ["-ada.web"]);
    assert_eq!(proxies.wake_at(now), None);
    proxies.handle_health(&web, true, now);
    assert_eq!(announced(&mut proxies, now), ["ada.web"]);
}

#[test]
fn an_unhealthy_proxy_is_withdrawn_if_it_was_announced() {
    for (server_says, withdrawn) in [
        (None, &["-ada.web"][..]),
        (Some(""), &["-ada.web"]),
        (Some("port already used"), &[]),
    ] {
        let (mut proxies, now) = proxies(&[]);
        proxies.apply(&[checked("web")], now);
        let web = proxies.get("web").unwrap();
        proxies.begin_session(now);
        proxies.handle_health(&web, true, now);
        announced(&mut proxies, now);
        if let Some(error) = server_says {
            proxies.handle_answer(&answer("ada.web", ":6000", error), now);
        }
        let changed = proxies.handle_health(&web, false, now);
        assert_eq!(changed, HealthChange::Failed);
        assert_eq!(sent(&mut proxies, now), withdrawn);
        // Neither a late answer nor the end of a waiting time changes this.
        let late = answer("ada.web", ":6000", "");
        assert_eq!(proxies.handle_answer(&late, now), Answer::Ignored);
        assert_eq!(sent(&mut proxies, now + RETRY_AFTER_ERROR), [""; 0]);
        assert_eq!(phase(&proxies, "web"), Some(ProxyPhase::CheckFailed));
        assert_eq!(proxies.unanswered, 0);
        assert!(proxies.announcements.is_empty());
    }
}

#[test]
fn the_answer_before_a_health_flap_does_not_count_for_what_is_announced_after_it() {
    let (mut proxies, now) = proxies(&[]);
    proxies.apply(&[checked("web")], now);
    let web = proxies.get("web").unwrap();
    proxies.begin_session(now);
    proxies.handle_health(&web, true, now);
    assert_eq!(sent(&mut proxies, now), ["ada.web"]);
    proxies.handle_health(&web, false, now);
    proxies.handle_health(&web, true, now);
    assert_eq!(sent(&mut proxies, now), ["-ada.web", "ada.web"]);
    // The first announcement was withdrawn since, so its answer does not count.
    let first = proxies.handle_answer(&answer("ada.web", ":1", ""), now);
    assert_eq!(first, Answer::Ignored);
    let refused = answer("ada.web", "", "port already used");
    let second = proxies.handle_answer(&refused, now);
    assert!(matches!(second, Answer::Refused(..)), "{second:?}");
}

#[test]
fn a_repetition_for_which_there_is_no_room_is_made_up_for() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    assert_eq!(sent(&mut proxies, now), ["ada.ssh"]);
    let later = now + ANSWER_TIMEOUT;
    let withdrawal = proxies.poll_send(later).unwrap();
    proxies.handle_full(withdrawal, later);
    assert_eq!(sent(&mut proxies, later), [""; 0]);
    // The answer to the first announcement does not count any more.
    let first = proxies.handle_answer(&answer("ada.ssh", ":1", ""), later);
    assert_eq!(first, Answer::Ignored);
    let room = later + RETRY_WHEN_FULL;
    assert_eq!(proxies.wake_at(later), Some(room));
    assert_eq!(sent(&mut proxies, room), ["-ada.ssh", "ada.ssh"]);
    proxies.handle_answer(&answer("ada.ssh", ":2", ""), room);
    assert_eq!(phase(&proxies, "ssh"), Some(ProxyPhase::Running));
}

#[test]
fn thousands_of_withdrawals_wait_for_room_instead_of_ending_the_session() {
    let names: Vec<String> = (0..5_000).map(|it| format!("p{it:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut proxies, mut now) = proxies(&names);
    proxies.begin_session(now);
    loop {
        let announced = announced(&mut proxies, now);
        if announced.is_empty() {
            break;
        }
        for name in announced {
            proxies.handle_answer(&answer(&name, ":1", ""), now);
        }
    }
    proxies.apply(&[], now);
    let mut withdrawn = 0;
    while withdrawn < names.len() {
        for _ in 0..1_000 {
            withdrawn += usize::from(proxies.poll_send(now).is_some());
        }
        if let Some(beyond) = proxies.poll_send(now) {
            proxies.handle_full(beyond, now);
        }
        now += RETRY_WHEN_FULL;
    }
    assert!(proxies.announcements.is_empty() && proxies.withdrawals.is_empty());
}

#[test]
fn health_outlasts_the_session() {
    let (mut proxies, now) = proxies(&[]);
    proxies.apply(&[checked("well"), checked("ill"), config("any")], now);
    let well = proxies.get("well").unwrap();
    let change = proxies.handle_health(&well, true, now);
    assert_eq!(change, HealthChange::Succeeded);
    assert_eq!(proxies.wake_at(now), None, "there is no session");
    for _ in 0..2 {
        proxies.begin_session(now);
        assert_eq!(announced(&mut proxies, now), ["ada.any", "ada.well"]);
        proxies.end_session();
        assert_eq!(phase(&proxies, "well"), Some(ProxyPhase::New));
        assert_eq!(phase(&proxies, "ill"), Some(ProxyPhase::CheckFailed));
    }
    proxies.handle_health(&well, false, now);
    proxies.begin_session(now);
    assert_eq!(announced(&mut proxies, now), ["ada.any"]);
}

#[test]
fn a_changed_proxy_has_yet_to_show_its_health() {
    let (mut proxies, now) = proxies(&[]);
    proxies.begin_session(now);
    proxies.apply(&[checked("web")], now);
    let before = proxies.get("web").unwrap();
    proxies.handle_health(&before, true, now);
    announced(&mut proxies, now);

    let mut changed = checked("web");
    changed.local_port = 23;
    proxies.apply(&[changed], now);
    assert_eq!(sent(&mut proxies, now), ["-ada.web"]);
    assert_eq!(phase(&proxies, "web"), Some(ProxyPhase::CheckFailed));
    // The result of the old proxy's check does not count any more.
    let late = proxies.handle_health(&before, true, now);
    assert_eq!(late, HealthChange::Ignored);
    assert_eq!(announced(&mut proxies, now), [""; 0]);
    proxies.apply(&[], now);
    let late = proxies.handle_health(&before, false, now);
    assert_eq!(late, HealthChange::Ignored);
}

#[test]
fn a_removed_proxy_frees_its_place_and_ends_its_udp_turn() {
    let (mut proxies, now) = proxies(&["ssh"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    proxies.handle_answer(&answer("ada.ssh", ":6000", ""), now);
    let running = proxies.watch().borrow().running("ssh").cloned().unwrap();
    let first = running.next_udp_turn();
    let second = running.next_udp_turn();
    assert!(first.is_cancelled(), "a new turn ends the one before");
    assert!(!second.is_cancelled());
    proxies.apply(&[], now);
    assert!(second.is_cancelled());
    assert_eq!(sent(&mut proxies, now), ["-ada.ssh"]);
    assert_eq!(phase(&proxies, "ssh"), None);
    assert_eq!(proxies.wake_at(now), None);
}

#[test]
fn closing_withdraws_what_the_server_may_know() {
    let (mut proxies, now) = proxies(&["asked", "refused", "running"]);
    proxies.begin_session(now);
    announced(&mut proxies, now);
    proxies.handle_answer(&answer("ada.running", ":6000", ""), now);
    proxies.handle_answer(&answer("ada.refused", "", "no"), now);
    let withdrawn = proxies.withdraw_all();
    let mut withdrawn: Vec<_> = withdrawn.iter().map(|it| &*it.proxy_name).collect();
    withdrawn.sort_unstable();
    assert_eq!(withdrawn, ["ada.asked", "ada.running"]);
    proxies.close();
    assert_eq!(phase(&proxies, "running"), Some(ProxyPhase::Closed));
    assert_eq!(proxies.wake_at(now), None);
}

#[test]
fn public_addresses() {
    for (server_addr, answered, expect) in [
        ("example.com", ":6000", "example.com:6000"),
        ("::1", ":6000", "[::1]:6000"),
        ("[::1]", ":6000", "[::1]:6000"),
        (
            "example.com",
            "www.example.com:8080",
            "www.example.com:8080",
        ),
        ("example.com", "", ""),
    ] {
        assert_eq!(public_addr(server_addr, answered), expect);
    }
}
