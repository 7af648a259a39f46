use hyper::Request;

use super::*;

/// The headers of an answer after the rules.
fn answered(headers: &[(&str, &str)], has_body: bool) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    Rules::default().apply_to_response(&mut map, has_body, None);
    map
}

#[test]
fn trailers_are_announced_where_there_can_be_some() {
    let announced = |headers, has_body| answered(headers, has_body).contains_key("trailer");
    assert!(announced(&[("trailer", "x")], true));
    assert!(!announced(&[("trailer", "x")], false));
    assert!(!announced(
        &[("trailer", "x"), ("content-length", "1")],
        true
    ));
}

#[test]
fn a_header_that_connection_names_is_removed() {
    let headers = answered(
        &[
            ("connection", "close, X-A ,, x b"),
            ("connection", "x-c"),
            ("x-a", "1"),
            ("x-c", "1"),
            ("x-d", "1"),
        ],
        false,
    );
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-d"]);
}

#[track_caller]
fn check_upgrade(connection: &str, protocol: &str, expect: Option<&str>) {
    let request = Request::builder()
        .header("connection", connection)
        .header("upgrade", protocol);
    let (head, ()) = request.body(()).unwrap().into_parts();
    let got = upgrade(&head);
    assert_eq!(
        got.as_ref().map(HeaderValue::as_bytes),
        expect.map(str::as_bytes)
    );
}

#[test]
fn an_upgrade_needs_both_headers_and_is_not_to_http2() {
    check_upgrade("Upgrade", "websocket", Some("websocket"));
    check_upgrade("keep-alive, upgrade", "a/1, b", Some("a/1, b"));
    check_upgrade("keep-alive", "websocket", None);
    check_upgrade("upgrades", "websocket", None);
    check_upgrade("upgrade", "", None);
    check_upgrade("upgrade", "h2c", None);
    check_upgrade("upgrade", "H2C", None);
    check_upgrade("upgrade", "websocket, h2c", None);
    check_upgrade("upgrade", "h", Some("h"));
}

#[test]
fn every_header_of_one_connection_is_seen_and_removed() {
    for name in &HOP_BY_HOP {
        let headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
        let seen: Vec<_> = Present::of(&headers).hop_by_hop().collect();
        assert_eq!(seen, [name]);
        assert!(
            answered(&[(name.as_str(), "x")], false).is_empty(),
            "{name}"
        );
    }
}
