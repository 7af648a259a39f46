use hyper::Request;
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_host(host: &str, expect: &str) {
    assert_eq!(host_name(host), expect, "{host}");
}

#[test]
fn host_names_are_without_port_dot_and_case() {
    check_host("", "");
    check_host("a.test", "a.test");
    check_host("A.Test:80", "a.test");
    check_host("a.test.", "a.test");
    check_host("a.test.:80", "a.test");
    check_host("a.test..", "a.test.");
    check_host("a.test:", "a.test");
    check_host("1.2.3.4:80", "1.2.3.4");
    check_host("[::1]:80", "::1");
    check_host("[::A]", "::a");
    check_host("::1", "::1");
    check_host("*.a.test", "*.a.test");
    assert!(matches!(host_name("a.test:80"), Cow::Borrowed("a.test")));
}

#[test]
fn what_can_be_connected_to() {
    for (authority, expect) in [
        ("a.test", Some(("a.test", 80))),
        ("a.test:", Some(("a.test", 80))),
        ("a.test:8080", Some(("a.test", 8080))),
        ("[::1]:443", Some(("::1", 443))),
        ("[::1]", Some(("::1", 80))),
        ("a.test:0", None),
        ("a.test:65536", None),
        ("a.test:+1", None),
        (":80", None),
        ("", None),
    ] {
        assert_eq!(host_and_port(authority, Some(80)), expect, "{authority}");
    }
    assert_eq!(host_and_port("a.test", None), None);
}

#[track_caller]
fn check_path(path: &str, expect: &[u8]) {
    assert_eq!(&*decode_path(path), expect, "{path}");
}

#[test]
fn paths_are_decoded_once() {
    check_path("/", b"/");
    check_path("/a%2Fb%2fc", b"/a/b/c");
    check_path("/%41%ff", b"/A\xff");
    check_path("/%2541", b"/%41");
    check_path("/%", b"/%");
    check_path("/%4", b"/%4");
    check_path("/%zz%41", b"/%zzA");
    check_path("/%+1", b"/%+1");
    check_path("/a+b", b"/a+b");
}

/// A request with this method and target and these headers.
fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// `user:pass` and `other:pass`.
const USER: &str = "Basic dXNlcjpwYXNz";
const OTHER: &str = "Basic b3RoZXI6cGFzcw==";

#[track_caller]
fn check_users(request: &Request<()>, user: &str, proved: Option<&str>) {
    let target = RequestTarget::of(request);
    assert_eq!(target.user, user);
    assert_eq!(target.credentials.map(|it| it.user).as_deref(), proved);
}

#[test]
fn an_ordinary_request_is_addressed_by_its_host() {
    let request = request(
        "GET",
        "/A%20b?q",
        &[("host", "A.test:80"), ("authorization", USER)],
    );
    let target = RequestTarget::of(&request);
    assert_eq!(target.host, "a.test");
    assert_eq!(&*target.path, b"/A b");
    assert!(!target.is_proxy_style);
    check_users(&request, "user", Some("user"));
}

#[test]
fn a_whole_url_is_addressed_as_a_proxy() {
    let request = request("GET", "http://B.test:80/p", &[("host", "b.test")]);
    let target = RequestTarget::of(&request);
    assert_eq!((&*target.host, &*target.path), ("b.test", &b"/p"[..]));
    assert!(target.is_proxy_style);
}

#[test]
fn connect_has_a_host_and_no_path() {
    let request = request("CONNECT", "b.test:443", &[]);
    let target = RequestTarget::of(&request);
    assert_eq!((&*target.host, &*target.path), ("b.test", &b""[..]));
    assert!(target.is_proxy_style);
}

#[test]
fn the_user_of_an_origin_proves_nothing_to_a_proxy() {
    let proxied = |headers: &[(&str, &str)]| request("GET", "http://a/", headers);
    let (own, proxy) = ("authorization", "proxy-authorization");
    check_users(&proxied(&[]), "", None);
    check_users(&proxied(&[(proxy, USER)]), "user", Some("user"));
    check_users(
        &proxied(&[(own, OTHER), (proxy, USER)]),
        "user",
        Some("user"),
    );
    check_users(&proxied(&[(own, OTHER)]), "other", None);
    check_users(&proxied(&[(own, OTHER), (proxy, "Bearer x")]), "", None);
    check_users(&request("GET", "/", &[(proxy, USER)]), "", None);
}

proptest! {
    #[test]
    fn any_host_has_a_name_that_is_its_own_name(host in "\\PC*") {
        let name = host_name(&host).into_owned();
        prop_assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
        prop_assert!(name.len() <= host.len());
    }

    #[test]
    fn a_plain_host_keeps_its_name_with_any_port(
        name in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){0,3}",
        port in any::<u16>(),
    ) {
        let upper = name.to_uppercase();
        let (with_port, with_dot) = (format!("{upper}:{port}"), format!("{upper}.:{port}"));
        prop_assert_eq!(host_name(&with_port), name.as_str());
        prop_assert_eq!(host_name(&with_dot), name.as_str());
    }

    #[test]
    fn an_escaped_path_decodes_to_what_was_escaped(bytes in any::<Vec<u8>>()) {
        let escaped: String = bytes.iter().map(|byte| format!("%{byte:02x}")).collect();
        prop_assert_eq!(&*decode_path(&escaped), &bytes[..]);
    }

    #[test]
    fn any_path_decodes(path in "[%0-9a-fA-F/x]*") {
        prop_assert!(decode_path(&path).len() <= path.len());
    }
}
