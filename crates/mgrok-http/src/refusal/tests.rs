use hyper::Request;
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check_host(host: &str, expect: bool) {
    assert_eq!(is_host(host), expect, "{host:?}");
}

#[test]
fn hosts_are_names_or_addresses_with_or_without_port() {
    for host in [
        "a",
        "a.b",
        "a_b",
        "xn--a",
        "1.2.3.4",
        "a:80",
        "a:",
        "[::1]",
        "[::1]:8",
        "[::1.2.3.4]",
        "a.",
        "%41",
    ] {
        check_host(host, true);
    }
    for host in [
        "",
        ":",
        ":80",
        "a:b",
        "a:80:80",
        "::1",
        "[",
        "[]",
        "[]:1",
        "[::1",
        "[::1]1",
        "[::1%eth0]",
        "a@b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "a b",
        "a\tb",
        "\u{e9}",
        "<a>",
        "\"a\"",
        "a]",
    ] {
        check_host(host, false);
    }
}

/// Translates an HTTP/2 request with these cookies.
fn translated(uri: &str, cookies: &[&str]) -> Result<Parts, Refusal> {
    let mut request = Request::builder().uri(uri).version(Version::HTTP_2);
    for cookie in cookies {
        request = request.header("cookie", *cookie);
    }
    let (mut head, ()) = request.body(()).unwrap().into_parts();
    translate(&mut head).map(|()| head)
}

#[test]
fn http2_becomes_http1() {
    let head = translated("http://a:1/p?q", &["a=1", "b=2", "c=3"]).unwrap();
    assert_eq!(head.uri, "/p?q");
    assert_eq!(head.headers["host"], "a:1");
    assert_eq!(head.headers["cookie"], "a=1; b=2; c=3");
    assert_eq!(
        translated("http://u@a/", &[]).unwrap_err(),
        Refusal::InvalidHost
    );
    assert_eq!(translated("/", &[]).unwrap_err(), Refusal::NoHost);
}

proptest! {
    /// The router's name and a backend's reading of the host must not part.
    #[test]
    fn a_host_that_passes_has_no_delimiters(host in "[ -~]{1,12}") {
        if is_host(&host) {
            let name = host_name(&host);
            prop_assert!(!name.contains(|it: char| "/?#@\\ \"<>[]".contains(it)), "{}", host);
        }
    }

    #[test]
    fn a_host_agrees_with_itself_in_any_case(host in "[a-z.]{1,9}(:[0-9]{1,4})?") {
        prop_assert!(agree(&host, &host.to_uppercase()));
    }
}
