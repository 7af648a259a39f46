//! Tests that rows appear and disappear, whatever ends them, and that readers see it.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use mgrok_config::Auth;
use mgrok_proto::hello::Extension;
use mgrok_proto::{Negotiated, WireVersion};

use super::takeover::SIGN_OF_LIFE;
use super::*;
use crate::keys::Keys;

fn identity(run_id: &str, client_id: &str) -> Identity {
    Identity {
        run_id: RunId::from(run_id),
        client: Arc::new(ClientInfo {
            user: "u".into(),
            client_id: client_id.into(),
            version: "0.70.1".into(),
            wire_protocol: "v1",
            hostname: "laptop".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            addr: "192.0.2.1:7".parse().unwrap(),
        }),
        metas: BTreeMap::new(),
        keys: Arc::new(Keys::new(&Auth::default(), None, None)),
        negotiated: Negotiated::new(WireVersion::V1, "0.70.1", &[]),
        links: Arc::default(),
        migrates: false,
        proved: false,
        signed_at: 0,
        subject: None,
    }
}

/// What is told of a client of [`identity`] that has no name of its own.
fn started(run_id: RunId) -> Change {
    let key = format!("u.{}", run_id.as_str());
    Change::SessionStarted { run_id, key }
}

/// As [`started`].
fn ended(run_id: RunId) -> Change {
    let key = format!("u.{}", run_id.as_str());
    Change::SessionEnded { run_id, key }
}

#[tokio::test]
async fn nobody_takes_the_session_of_another_subject() {
    let directory = Directory::default();
    let of = |subject: &str| Identity {
        subject: Some(subject.into()),
        proved: true,
        ..identity("r", "")
    };
    let row = directory.claim(of("a"), work_conns()).await.unwrap();
    let refused = directory.claim(of("b"), work_conns()).await.unwrap_err();
    assert!(matches!(refused, ClaimError::OtherSubject), "{refused}");
    assert!(!row.stop().is_cancelled());
    assert!(matches!(
        directory.check(&of("b")),
        Err(ClaimError::OtherSubject)
    ));
    directory.check(&of("a")).unwrap();
}

/// As [`identity`], signed at `signed_at`.
fn later(signed_at: i64) -> Identity {
    Identity {
        signed_at,
        ..identity("r", "")
    }
}

fn work_conns() -> mpsc::Sender<Conn> {
    mpsc::channel(1).0
}

async fn claim(directory: &Directory, identity: Identity) -> SessionRow {
    directory.claim(identity, work_conns()).await.unwrap()
}

/// A login that waits for the session that it replaces.
fn claiming(
    directory: &Directory,
    identity: Identity,
) -> tokio::task::JoinHandle<Result<SessionRow, ClaimError>> {
    let directory = directory.clone();
    tokio::spawn(async move { directory.claim(identity, work_conns()).await })
}

#[tokio::test]
async fn a_newcomer_waits_until_the_old_session_is_gone() {
    let directory = Directory::default();
    let old = claim(&directory, identity("r", "")).await;
    let newcomer = claiming(&directory, later(1));
    old.stop().cancelled().await;
    assert!(
        !newcomer.is_finished(),
        "the old session still holds things"
    );
    drop(old);
    let new = newcomer.await.unwrap().unwrap();
    assert!(directory.session(&RunId::from("r")).is_some());
    drop(new);
    assert!(directory.session(&RunId::from("r")).is_none());
}

#[tokio::test]
async fn a_session_moves_only_if_both_logins_said_so() {
    let (knows, does_not) = (&[Extension::CAN_MIGRATE][..], &[][..]);
    for (before, migrates, cause) in [
        (knows, true, StopCause::Moved),
        (knows, false, StopCause::Replaced),
        (does_not, true, StopCause::Replaced),
    ] {
        let directory = Directory::default();
        let before = Identity {
            negotiated: Negotiated::new(WireVersion::V2, "0.70.1", before),
            ..identity("r", "")
        };
        let after = Identity {
            migrates,
            ..later(1)
        };
        let old = claim(&directory, before).await;
        let newcomer = claiming(&directory, after);
        old.stop().cancelled().await;
        assert_eq!(old.stop_cause(), Some(cause));
        drop(old);
        assert_eq!(newcomer.await.unwrap().unwrap().stop_cause(), None);
    }
}

#[tokio::test]
async fn of_three_logins_the_last_one_wins() {
    let directory = Directory::default();
    let mut feed = directory.subscribe();
    let first = claim(&directory, identity("r", "")).await;
    let second = claiming(&directory, later(1));
    first.stop().cancelled().await;
    let third = claiming(&directory, later(2));
    while directory.sessions.claims() < 3 {
        tokio::task::yield_now().await;
    }
    drop(first);
    assert!(matches!(second.await.unwrap(), Err(ClaimError::Replaced)));
    drop(third.await.unwrap().unwrap());
    let run_id = || RunId::from("r");
    for expect in [
        started(run_id()),
        ended(run_id()),
        started(run_id()),
        ended(run_id()),
    ] {
        assert_eq!(feed.next().await, Some(Ok(expect)));
    }
}

#[tokio::test]
async fn a_login_sent_again_does_not_end_a_session_whose_client_answers() {
    let directory = Directory::default();
    let live = claim(&directory, later(7)).await;
    for replayed in [later(7), later(6)] {
        let answering = async {
            live.asked_for_life().await;
            live.heard(false);
            pending().await
        };
        let refused = tokio::select! {
            refused = directory.claim(replayed, work_conns()) => refused.unwrap_err(),
            () = answering => unreachable!("it is pending"),
        };
        assert!(matches!(refused, ClaimError::StillThere), "{refused}");
    }
    assert!(!live.stop().is_cancelled());
    assert!(directory.is_online(&RunId::from("r")));
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_clock_went_back_has_its_place_when_nobody_else_answers() {
    let directory = Directory::default();
    let dead = claim(&directory, later(7)).await;
    let began = tokio::time::Instant::now();
    let newcomer = claiming(&directory, later(3));
    dead.stop().cancelled().await;
    assert_eq!(began.elapsed().as_secs(), SIGN_OF_LIFE.as_secs());
    drop(dead);
    newcomer.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_proof_ends_a_session_that_has_proved_itself() {
    let directory = Directory::default();
    let live = claim(&directory, later(7)).await;
    live.heard(true);
    let waiting = claiming(&directory, later(8));
    live.asked_for_life().await;
    assert!(!live.stop().is_cancelled());
    waiting.abort();
    let proved = Identity {
        proved: true,
        ..later(3)
    };
    let _newcomer = claiming(&directory, proved);
    live.stop().cancelled().await;
}

#[tokio::test]
async fn a_client_id_is_online_once_per_user() {
    let directory = Directory::default();
    let _first = claim(&directory, identity("a", "id")).await;
    let refused = directory.claim(identity("b", "id"), work_conns()).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "client_id [id] for user [u] is already online"
    );
    let mut other = identity("b", "id");
    let client = ClientInfo::clone(&other.client);
    other.client = Arc::new(ClientInfo {
        user: "v".into(),
        ..client
    });
    claim(&directory, other).await;
}

#[tokio::test]
async fn a_client_that_takes_another_name_frees_the_one_before() {
    let directory = Directory::default();
    let before = claim(&directory, identity("r", "before")).await;
    let newcomer = claiming(
        &directory,
        Identity {
            signed_at: 1,
            ..identity("r", "after")
        },
    );
    before.stop().cancelled().await;
    drop(before);
    let _after = newcomer.await.unwrap().unwrap();
    assert_eq!(online(&directory), ["after"]);
    assert_eq!(directory.sessions().len(), 2, "the old name is remembered");
    claim(&directory, identity("s", "before")).await;
}

fn online(directory: &Directory) -> Vec<String> {
    let sessions = directory.sessions();
    let online = sessions.iter().filter(|it| it.is_online());
    online.map(|it| it.client.client_id.clone()).collect()
}

#[tokio::test]
async fn only_holders_of_a_name_are_remembered() {
    let directory = Directory::default();
    let named = claim(&directory, identity("1", "laptop")).await;
    let nameless = claim(&directory, identity("2", "")).await;
    assert_eq!(directory.sessions().len(), 2);
    let first = directory.sessions()[0].first_connected_at;
    drop((named, nameless));
    assert_eq!(online(&directory), [""; 0]);
    let sessions = directory.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].client.client_id, "laptop");
    assert!(sessions[0].run_id.is_none() && sessions[0].disconnected_at.is_some());
    let _again = claim(&directory, identity("3", "laptop")).await;
    let sessions = directory.sessions();
    assert_eq!(sessions.len(), 1);
    assert!(sessions[0].first_connected_at <= first + Duration::from_secs(1));
    assert!(sessions[0].last_connected_at >= sessions[0].first_connected_at);
}

#[tokio::test]
async fn the_end_of_an_older_session_does_not_end_the_younger() {
    let directory = Directory::default();
    let older = claim(&directory, identity("r", "laptop")).await;
    let younger = claiming(
        &directory,
        Identity {
            signed_at: 1,
            ..identity("r", "laptop")
        },
    );
    older.stop().cancelled().await;
    drop(older);
    let younger = younger.await.unwrap().unwrap();
    assert_eq!(online(&directory), ["laptop"]);
    assert_eq!(directory.sessions().len(), 1);
    drop(younger);
    assert_eq!(online(&directory), [""; 0]);
}

#[tokio::test]
async fn a_session_that_never_started_is_not_reported() {
    let directory = Directory::default();
    let first = claim(&directory, identity("r", "")).await;
    let mut feed = directory.subscribe();
    let waiting = claiming(&directory, later(1));
    first.stop().cancelled().await;
    waiting.abort();
    waiting.await.unwrap_err();
    drop(first);
    let run_id = RunId::from("r");
    assert_eq!(feed.next().await, Some(Ok(ended(run_id.clone()))));
    drop(claim(&directory, identity("s", "")).await);
    assert!(matches!(
        feed.next().await,
        Some(Ok(Change::SessionStarted { run_id: other, .. })) if other != run_id
    ));
}

#[test]
fn a_name_is_free_again_when_its_row_is_dropped() {
    let directory = Directory::default();
    let take = |user: &str| {
        let holder = Holder {
            proxy: "ssh".into(),
            user: user.into(),
        };
        directory.take_name(ProxySpec {
            holder,
            kind: "tcp",
            run_id: RunId::from("r"),
            client_id: "".into(),
            settings: Arc::default(),
        })
    };
    let row = take("ann").unwrap();
    assert_eq!(take("ann").unwrap_err().to_string(), "your proxy [ssh]");
    assert_eq!(
        take("eve").unwrap_err().to_string(),
        "another client's proxy"
    );
    assert!(directory.proxies().is_empty(), "it has not started");
    row.start(":22");
    assert_eq!(&*directory.proxy("ssh").unwrap().remote_addr, ":22");
    drop(row);
    assert!(directory.proxies().is_empty());
    take("eve").unwrap();
}

fn user(row: &ProxyRow) -> ConnectionRow {
    let from = "192.0.2.1:7".parse().unwrap();
    row.entry().add_connection(from, Waker::noop().clone())
}

#[test]
fn a_proxy_is_listed_until_its_last_user_has_left() {
    let directory = Directory::default();
    let proxy = directory.proxy_for_test("ssh");
    let user = user(&proxy);
    drop(proxy);
    assert!(directory.proxy("ssh").is_none(), "it has stopped");
    let successor = directory.proxy_for_test("ssh");
    let listed: BTreeSet<_> = directory
        .proxies()
        .iter()
        .map(|it| (it.is_running, it.connections))
        .collect();
    assert_eq!(listed, [(false, 1), (true, 0)].into());
    assert_eq!(directory.close_connections_of("ssh", "test", "test"), 1);
    drop(user);
    assert_eq!(directory.proxies().len(), 1);
    drop(successor);
    assert!(directory.proxies().is_empty());
}

#[tokio::test]
async fn no_row_is_left_behind_by_a_task_that_panics_or_is_cancelled() {
    let directory = Directory::default();
    let proxy = directory.proxy_for_test("ssh");
    let entry = proxy.entry().clone();
    let from = "192.0.2.1:7".parse().unwrap();
    let panics = tokio::spawn({
        let entry = entry.clone();
        async move {
            let row = entry.open_connection(from).await;
            row.traffic().sent.fetch_add(3, Ordering::Relaxed);
            panic!("as a bad stream would");
        }
    });
    let cancelled = tokio::spawn(async move {
        let _proxy = proxy;
        let row = entry.open_connection(from).await;
        row.traffic().sent.fetch_add(4, Ordering::Relaxed);
        pending::<()>().await
    });
    panics.await.unwrap_err();
    while directory.connections().iter().all(|it| it.sent != 4) {
        tokio::task::yield_now().await;
    }
    let info = directory.proxy("ssh").unwrap();
    assert_eq!((info.connections, info.sent), (1, 7));
    cancelled.abort();
    cancelled.await.unwrap_err();
    assert!(directory.connections().is_empty() && directory.proxies().is_empty());
}

#[tokio::test]
async fn a_connection_is_closed_and_its_neighbour_goes_on() {
    let directory = Directory::default();
    let proxy = directory.proxy_for_test("ssh");
    let from = "192.0.2.1:7".parse().unwrap();
    let serve = |entry: Arc<ProxyEntry>| {
        tokio::spawn(async move {
            let row = entry.open_connection(from).await;
            row.until_closed(Box::pin(pending::<()>())).await
        })
    };
    let users = [(); 2].map(|()| serve(proxy.entry().clone()));
    while directory.connections().len() < 2 {
        tokio::task::yield_now().await;
    }
    let first = directory
        .connections()
        .iter()
        .map(|it| it.id)
        .min()
        .unwrap();
    assert!(directory.close_connection(first, "test", "test"));
    let [closed, neighbour] = users;
    let (closed, neighbour) = tokio::select! {
        ended = closed => (ended, neighbour),
    };
    assert_eq!(closed.unwrap(), None);
    assert!(!neighbour.is_finished());
    assert!(!directory.close_connection(first, "test", "test"));
    assert_eq!(directory.close_connections_of("ssh", "test", "test"), 1);
    assert_eq!(neighbour.await.unwrap(), None);
}

#[tokio::test]
async fn a_disabled_name_stays_so_across_its_proxies() {
    let directory = Directory::default();
    assert_eq!(directory.disable_proxy("ssh", "test", "test"), Ok(false));
    let proxy = directory.proxy_for_test("ssh");
    assert_eq!(directory.disable_proxy("ssh", "test", "test"), Ok(true));
    assert!(proxy.entry().gate().is_closed());
    drop(proxy);
    let proxy = directory.proxy_for_test("ssh");
    assert!(directory.proxy("ssh").unwrap().is_disabled);
    assert_eq!(directory.disabled_proxies(), [Arc::from("ssh")]);
    let opened = proxy.entry().gate().opened();
    let mut opened = Box::pin(opened);
    tokio::select! {
        biased;
        () = &mut opened => unreachable!("it is closed"),
        () = std::future::ready(()) => {}
    }
    assert!(directory.enable_proxy("ssh", "test", "test"));
    opened.await;
    assert!(!directory.enable_proxy("ssh", "test", "test"));
}

/// A reader that subscribes and then takes a snapshot misses nothing, whenever it subscribes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribing_before_a_snapshot_leaves_no_gap() {
    let directory = Directory::default();
    let proxy = Arc::new(directory.proxy_for_test("ssh"));
    let writer = tokio::task::spawn_blocking({
        let proxy = proxy.clone();
        move || {
            let mut kept = Vec::new();
            for turn in 0..2_000 {
                let row = user(&proxy);
                if turn % 2 == 0 {
                    kept.push(row);
                }
            }
            kept
        }
    });
    let mut readers = Vec::new();
    while !writer.is_finished() {
        let feed = directory.subscribe();
        let known: BTreeSet<_> = directory.connections().iter().map(|it| it.id).collect();
        readers.push((feed, known));
        tokio::task::yield_now().await;
        if readers.len() > 200 {
            break;
        }
    }
    let kept = writer.await.unwrap();
    let expect: BTreeSet<_> = directory.connections().iter().map(|it| it.id).collect();
    assert_eq!(expect.len(), kept.len());
    // The last change, by which readers know that they have seen everything.
    drop(proxy);
    drop(kept);
    let count = readers.len();
    for (mut feed, mut known) in readers {
        let mut is_stopped = false;
        while !is_stopped {
            match feed.next().await.unwrap().unwrap() {
                Change::ConnectionOpened { id, .. } => drop(known.insert(id)),
                Change::ConnectionClosed { connection } => drop(known.remove(&connection.id)),
                Change::ProxyStopped { .. } => is_stopped = true,
                _ => {}
            }
        }
        assert_eq!(known, expect, "one of {count} readers");
    }
}

#[test]
fn what_users_have_moved_is_remembered_beyond_their_proxy() {
    let directory = Directory::default();
    let row = directory.proxy_for_test("ssh");
    let from = "192.0.2.1:7".parse().unwrap();
    let user = row.entry().add_connection(from, Waker::noop().clone());
    let look = || directory.statistics_of("ssh").unwrap();
    let mut expect = Moved::default();
    assert_eq!((look().today(), look().connections), (expect, 1));
    // What lives counts at once.
    user.traffic().received.fetch_add(5, Ordering::Relaxed);
    expect.received = 5;
    assert_eq!((look().today(), look().moved), (expect, expect));
    let running = look().running.unwrap();
    assert_eq!((running.received, look().stopped_at), (5, None));
    // One that stops keeps its users.
    drop(row);
    assert!(look().stopped_at.is_some() && look().running.is_none());
    assert_eq!(look().connections, 1);
    user.traffic().sent.fetch_add(7, Ordering::Relaxed);
    drop(user);
    expect.sent = 7;
    assert_eq!((look().today(), look().connections), (expect, 0));
    let totals = directory.totals();
    assert_eq!((totals.moved, totals.today), (expect, expect));
    assert_eq!(totals.proxies, BTreeMap::from([("tcp", 0)]));
    assert_eq!(directory.forget_stopped_proxies("ann", "test"), (1, 1));
    assert!(directory.statistics_of("ssh").is_none());
    assert_eq!(directory.totals().moved, expect);
}

#[tokio::test]
async fn while_the_server_drains_nobody_new_is_let_in() {
    let directory = Directory::default();
    let old = claim(&directory, identity("r", "")).await;
    let proxy = directory.proxy_for_test("ssh");
    directory.drain("ann", "test");
    assert!(directory.is_draining() && proxy.entry().turns_away());
    let refused = directory.claim(identity("s", ""), work_conns()).await;
    assert!(matches!(refused, Err(ClaimError::Draining)));
    // A client that is there may come by another way.
    let newcomer = claiming(&directory, later(1));
    old.stop().cancelled().await;
    drop(old);
    drop(newcomer.await.unwrap().unwrap());
    directory.resume("ann", "test");
    assert!(!directory.is_draining() && !proxy.entry().turns_away());
    drop(claim(&directory, identity("s", "")).await);
}

#[tokio::test]
async fn a_client_is_ended_by_its_key() {
    let directory = Directory::default();
    let named = claim(&directory, identity("r", "laptop")).await;
    let nameless = claim(&directory, identity("s", "")).await;
    assert!(!directory.end_client("laptop", "ann", "test"));
    assert!(directory.end_client("u.laptop", "ann", "test"));
    assert!(directory.end_client("u.s", "ann", "test"));
    assert_eq!(named.stop_cause(), Some(StopCause::Operator));
    assert_eq!(nameless.stop_cause(), Some(StopCause::Operator));
    drop(named);
    assert!(
        !directory.end_client("u.laptop", "ann", "test"),
        "it is gone"
    );
}

#[tokio::test]
async fn clients_that_left_are_forgotten_after_a_week() {
    let directory = Directory::default();
    drop(claim(&directory, identity("r", "laptop")).await);
    let left = directory
        .sessions()
        .first()
        .unwrap()
        .disconnected_at
        .unwrap();
    let week = Duration::from_hours(7 * 24);
    directory.sessions.forget_old(left + week);
    assert_eq!(directory.sessions().len(), 1);
    directory
        .sessions
        .forget_old(left + week + Duration::from_secs(1));
    assert_eq!(directory.sessions().len(), 0);
}
