use mgrok_config::{ProxyConfig, ProxyKind};
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use tokio::net::TcpListener;

use super::*;
use crate::tasks::TaskOwner;

fn check(kind: HealthCheckKind, max_failed: u32) -> HealthCheck {
    HealthCheck {
        kind,
        timeout: Duration::from_secs(20),
        max_failed: NonZeroU32::new(max_failed).unwrap(),
        interval: Duration::from_millis(10),
    }
}

fn proxy(check: HealthCheck, port: u16) -> (Arc<Proxy>, CancellationToken) {
    let mut config = ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 0 }, port);
    config.health_check = Some(check);
    let retired = CancellationToken::new();
    let key = CipherKey::derive(&Secret::default());
    (
        Arc::new(Proxy::new(
            config,
            &key,
            &Resolver::default(),
            retired.clone(),
        )),
        retired,
    )
}

/// The next report, which is about the only proxy.
async fn healthy(checks: &Checks) -> bool {
    let report = timeout(Duration::from_secs(20), async {
        loop {
            if let Some(report) = checks.take().pop() {
                return report;
            }
            checks.reported().await;
        }
    });
    report.await.unwrap().healthy
}

#[test]
fn failures_count_only_in_a_row() {
    let mut state = HealthState::new(NonZeroU32::new(2).unwrap());
    for (is_ok, expect) in [
        // Unhealthy at first, so failures are not reported.
        (false, None),
        (false, None),
        (false, None),
        (true, Some(true)),
        (true, None),
        (false, None),
        (true, None),
        (false, None),
        (false, Some(false)),
        (false, None),
        (true, Some(true)),
        (false, None),
        (false, Some(false)),
    ] {
        assert_eq!(state.handle_result(is_ok), expect);
    }
}

#[tokio::test]
async fn a_service_that_comes_and_goes_is_reported() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let owner = TaskOwner::new();
    let checks = Checks::new(owner.tasks().clone(), CancellationToken::new());
    let (proxy, _retired) = proxy(check(HealthCheckKind::Tcp, 3), addr.port());
    checks.start(proxy);
    assert!(healthy(&checks).await);
    drop(listener);
    assert!(!healthy(&checks).await);
    let _listener = TcpListener::bind(addr).await.unwrap();
    assert!(healthy(&checks).await);
    owner.finish().await;
}

#[tokio::test]
async fn only_the_last_report_waits_for_whoever_takes_it() {
    let (first, _retired) = proxy(check(HealthCheckKind::Tcp, 1), 80);
    let (second, _retired) = proxy(check(HealthCheckKind::Tcp, 1), 80);
    let owner = TaskOwner::new();
    let checks = Checks::new(owner.tasks().clone(), CancellationToken::new());
    for (proxy, healthy) in [(&first, true), (&second, true), (&first, false)] {
        checks.reports.report(proxy, healthy);
    }
    checks.reported().await;
    let taken: Vec<_> = checks.take().iter().map(|it| it.healthy).collect();
    assert_eq!(taken, [false, true]);
    assert!(checks.take().is_empty());
}

#[tokio::test]
async fn a_check_ends_with_its_proxy_or_the_client() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for stop_client in [false, true] {
        let owner = TaskOwner::new();
        let stop = CancellationToken::new();
        let checks = Checks::new(owner.tasks().clone(), stop.clone());
        let (proxy, retired) = proxy(check(HealthCheckKind::Tcp, 1), port);
        let task_has = Arc::downgrade(&proxy);
        checks.start(proxy);
        assert!(healthy(&checks).await);
        if stop_client {
            stop.cancel();
        } else {
            retired.cancel();
        }
        let ended = timeout(Duration::from_secs(20), async {
            while task_has.strong_count() > 0 {
                tokio::task::yield_now().await;
            }
        });
        ended.await.unwrap();
    }
}

#[tokio::test]
async fn a_proxy_without_a_port_is_not_checked() {
    let (with, _retired) = proxy(check(HealthCheckKind::Tcp, 1), 80);
    assert!(with.health_check().is_some());
    let (without, _retired) = proxy(check(HealthCheckKind::Tcp, 1), 0);
    assert!(without.health_check().is_none());
}

#[tokio::test]
async fn a_service_that_is_too_slow_is_not_well() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let http = HealthCheckKind::Http {
        path: "/".to_owned(),
        headers: Vec::new(),
    };
    let mut check = check(http, 1);
    check.timeout = Duration::from_millis(50);
    // The system accepts the connection, but nothing answers.
    let error = attempt(&check, "127.0.0.1", port, &Resolver::default())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no answer within 50ms");
    check.kind = HealthCheckKind::Tcp;
    attempt(&check, "127.0.0.1", port, &Resolver::default())
        .await
        .unwrap();
    drop(listener);
    let error = attempt(&check, "127.0.0.1", port, &Resolver::default())
        .await
        .unwrap_err();
    assert!(matches!(error, CheckError::Dial(_)), "{error}");
}
