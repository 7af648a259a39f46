use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(line: &[u8], expect: Option<&str>) {
    let got = for_hyper(line).map(|(line, _)| String::from_utf8(line).unwrap());
    assert_eq!(got.as_deref(), expect, "{}", line.escape_ascii());
}

#[test]
fn only_what_hyper_refuses_is_escaped() {
    check(b"GET / HTTP/1.1\r\n", None);
    check(b"GET /{a}|b^c?{d}[e] HTTP/1.1\r\n", None);
    check("GET /\u{e9} HTTP/1.1\r\n".as_bytes(), None);
    check(
        b"GET /<a>`?\"b\"#c HTTP/1.1\r\n",
        Some("GET /%3Ca%3E%60?%22b%22%23c HTTP/1.1\r\n"),
    );
    check(b"GET /\xe9%41 HTTP/1.0\n", Some("GET /%E9%41 HTTP/1.0\n"));
    check(
        b"GET http://a/< HTTP/1.1\r\n",
        Some("GET http://a/%3C HTTP/1.1\r\n"),
    );
}

#[test]
fn what_is_no_request_line_stays_as_it_is() {
    check(b"X: <a> b\r\n", None);
    check(b" < HTTP/1.1\r\n", None);
    check(b"GET <\r\n", None);
    check(b"GET  < HTTP/1.1\r\n", None);
    check(b"GET /< /b HTTP/1.1\r\n", None);
    check(b"\r\n", None);
}

#[test]
fn a_request_begins_with_a_method() {
    for line in [
        &b"G"[..],
        b"",
        b"GET",
        b"GET ",
        b"BREW-2 /<\xff",
        b"\r\nGET",
    ] {
        assert!(may_begin(line), "{}", line.escape_ascii());
    }
    for line in [&b"\x16\x03\x01"[..], b"G@T", b"SSH-2.0\x00", b"\xe9 /"] {
        assert!(!may_begin(line), "{}", line.escape_ascii());
    }
}

#[test]
fn the_target_is_put_back_behind_another_host() {
    let (_, target) = for_hyper(b"GET http://a/<?< HTTP/1.1\r\n").unwrap();
    let target = target
        .of_path(&Uri::from_static("http://a/%3C?%3C"))
        .unwrap();
    let head = b"GET http://inner:81/%3C?%3C HTTP/1.1\r\nHost: inner:81\r\n\r\n";
    let (line, len) = target.put_back(head).unwrap();
    assert_eq!(line, "GET http://inner:81/<?< HTTP/1.1\r\n");
    assert_eq!(&head[len..], b"Host: inner:81\r\n\r\n");
}

#[test]
fn a_target_of_another_request_is_not_put_back() {
    let (_, target) = for_hyper(b"GET /< HTTP/1.1\r\n").unwrap();
    assert_eq!(target.clone().of_path(&Uri::from_static("/other")), None);
    assert_eq!(target.put_back(b"GET /other HTTP/1.1\r\n\r\n"), None);
    assert_eq!(target.put_back(b"GET /%3C HTT"), None);
}

proptest! {
    #[test]
    fn any_target_comes_back_as_it_was(path in proptest::collection::vec(0x21_u8..=0xff, 0..40)) {
        let line = [b"GET /", &path[..], b" HTTP/1.1\r\n"].concat();
        if let Some((shown, target)) = for_hyper(&line) {
            prop_assert!(std::str::from_utf8(&shown).is_ok());
            let (back, len) = target.put_back(&shown).unwrap();
            prop_assert_eq!(len, shown.len());
            prop_assert_eq!(&back[..], &line[..]);
        }
    }
}
