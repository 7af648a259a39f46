use super::*;

#[track_caller]
fn check(keep_alive: &'static str, expect: Option<u64>) {
    let value = HeaderValue::from_static(keep_alive);
    let headers = HeaderMap::from_iter([(KEEP_ALIVE, value)]);
    let expect = expect.map(Duration::from_millis);
    assert_eq!(idle_time(&headers), expect, "{keep_alive}");
}

#[test]
fn a_connection_is_given_up_before_its_backend_closes_it() {
    check("timeout=5", Some(4_000));
    check("timeout=5, max=100", Some(4_000));
    check("max=100, Timeout = \"15\"", Some(14_000));
    check("timeout=1", Some(500));
    check("timeout=0", Some(0));
    check("max=3", None);
    check("timeout=soon", None);
    check("5", None);
}
