//! What Go's `encoding/json` accepts, refuses and writes, case by case. Each expectation was checked against Go itself.

use mgrok_proto::message::{Message, Pong};

use crate::{decode, encode, frame};

/// Reads `body` as the message of this type; it must then be written as `expected`, or be refused.
#[track_caller]
fn check(type_byte: u8, body: impl AsRef<[u8]>, expected: Option<&str>) {
    let body = body.as_ref();
    let message = decode(&frame(type_byte, body));
    let written = message.map(|message| {
        let written = encode(&message)[9..].to_vec();
        String::from_utf8(written).unwrap()
    });
    assert_eq!(
        written.ok().as_deref(),
        expected,
        "{}",
        String::from_utf8_lossy(body)
    );
}

const PONG: u8 = b'4';
const PING: u8 = b'h';
const START: u8 = b's';
const PROXY: u8 = b'p';
const LOGIN: u8 = b'o';
const PACKET: u8 = b'u';
const HOLE: u8 = b'm';

#[test]
fn names() {
    check(PONG, r#"{"ERROR":"e"}"#, Some(r#"{"error":"e"}"#));
    check(PONG, r#"{"eRRoR":"e"}"#, Some(r#"{"error":"e"}"#));
    check(PONG, r#"{"\u0065rror":"e"}"#, Some(r#"{"error":"e"}"#));
    check(PONG, r#"{"erro":"e","errors":"e","":"e"}"#, Some("{}"));
    check(
        PONG,
        r#"{"x":{"error":"e"},"y":[1,2.5e9,null,true]}"#,
        Some("{}"),
    );
    check(PONG, r#"{"x":1e999,"error":"e"}"#, Some(r#"{"error":"e"}"#));
    check(
        PONG,
        r#"{"error":"a","Error":"b"}"#,
        Some(r#"{"error":"b"}"#),
    );
    check(PONG, r#"{error:"e"}"#, None);
    check(
        LOGIN,
        r#"{"client_spec":{"TYPE":"t"}}"#,
        Some(r#"{"client_spec":{"type":"t"}}"#),
    );
}

#[test]
fn null_leaves_a_value_as_it_was() {
    check(PONG, "null", Some("{}"));
    check(PONG, r#"{"error":null}"#, Some("{}"));
    check(
        PONG,
        r#"{"error":"e","error":null}"#,
        Some(r#"{"error":"e"}"#),
    );
    check(START, r#"{"src_port":null}"#, Some("{}"));
    check(
        LOGIN,
        r#"{"client_spec":null,"metas":null}"#,
        Some(r#"{"client_spec":{}}"#),
    );
    check(
        LOGIN,
        r#"{"metas":{"a":null}}"#,
        Some(r#"{"metas":{"a":""},"client_spec":{}}"#),
    );
    check(
        PROXY,
        r#"{"use_encryption":null,"custom_domains":null}"#,
        Some("{}"),
    );
    check(
        PROXY,
        r#"{"custom_domains":["a",null]}"#,
        Some(r#"{"custom_domains":["a",""]}"#),
    );
    check(PACKET, r#"{"c":null,"r":null}"#, Some("{}"));
    check(
        HOLE,
        r#"{"detect_behavior":{"candidate_ports":[null,{"from":1}]}}"#,
        Some(r#"{"detect_behavior":{"candidate_ports":[{},{"from":1}]}}"#),
    );
}

#[test]
fn white_space_and_what_follows() {
    check(
        PONG,
        " \t\r\n{ \"error\" : \"e\" } \n",
        Some(r#"{"error":"e"}"#),
    );
    check(PONG, "{}{}", None);
    check(PONG, "{} x", None);
    check(PONG, "{},", None);
    check(PONG, "{}\0", None);
    check(PONG, "\u{feff}{}", None);
    check(PONG, "", None);
    check(PONG, " ", None);
    check(PONG, r#"{"error":"e",}"#, None);
    check(PONG, r#"{"error":"e""#, None);
    check(PONG, "{'error':'e'}", None);
    check(PONG, "{}//", None);
}

#[test]
fn integers_are_plain_and_within_range() {
    check(
        START,
        r#"{"src_port":65535}"#,
        Some(r#"{"src_port":65535}"#),
    );
    check(START, r#"{"src_port":65536}"#, None);
    check(START, r#"{"src_port":70000}"#, None);
    check(START, r#"{"src_port":-1}"#, None);
    check(START, r#"{"src_port":1.0}"#, None);
    check(START, r#"{"src_port":1.5}"#, None);
    check(START, r#"{"src_port":1e2}"#, None);
    check(START, r#"{"src_port":01}"#, None);
    check(START, r#"{"src_port":+1}"#, None);
    check(START, r#"{"src_port":"1"}"#, None);
    check(START, r#"{"src_port":true}"#, None);
    check(
        PING,
        r#"{"timestamp":-9223372036854775808}"#,
        Some(r#"{"timestamp":-9223372036854775808}"#),
    );
    check(
        PING,
        r#"{"timestamp":9223372036854775807}"#,
        Some(r#"{"timestamp":9223372036854775807}"#),
    );
    check(PING, r#"{"timestamp":9223372036854775808}"#, None);
    check(PING, r#"{"timestamp":99999999999999999999999}"#, None);
    check(
        PROXY,
        r#"{"remote_port":70000}"#,
        Some(r#"{"remote_port":70000}"#),
    );
}

#[test]
fn types_do_not_convert() {
    check(PONG, r#"{"error":1}"#, None);
    check(PONG, r#"{"error":true}"#, None);
    check(PONG, r#"{"error":[]}"#, None);
    check(PONG, r#"{"error":{}}"#, None);
    check(PONG, "[]", None);
    check(PONG, r#"["e"]"#, None);
    check(PONG, r#""e""#, None);
    check(PONG, "5", None);
    check(PROXY, r#"{"use_encryption":1}"#, None);
    check(PROXY, r#"{"use_encryption":"true"}"#, None);
    check(PROXY, r#"{"custom_domains":"a"}"#, None);
    check(PROXY, r#"{"custom_domains":{}}"#, None);
    check(PROXY, r#"{"custom_domains":[1]}"#, None);
    check(PROXY, r#"{"metas":[]}"#, None);
    check(PROXY, r#"{"metas":{"a":1}}"#, None);
    check(LOGIN, r#"{"client_spec":[]}"#, None);
    check(LOGIN, r#"{"client_spec":"x"}"#, None);
}

#[test]
fn empty_is_left_out() {
    check(
        PROXY,
        r#"{"custom_domains":[],"metas":{},"remote_port":0,"sk":"","use_encryption":false}"#,
        Some("{}"),
    );
    check(
        PROXY,
        r#"{"custom_domains":[""],"metas":{"":""}}"#,
        Some(r#"{"metas":{"":""},"custom_domains":[""]}"#),
    );
}

#[test]
fn maps_are_sorted_and_keep_the_case_of_their_keys() {
    check(
        PROXY,
        r#"{"metas":{"b":"1","B":"2","a":"3","\u00e9":"4","a":"5"}}"#,
        Some(r#"{"metas":{"B":"2","a":"5","b":"1","é":"4"}}"#),
    );
}

#[test]
fn strings_are_written_safe_for_html() {
    check(
        PONG,
        "{\"error\":\"<a href='x'>&\u{2028}\u{2029}é\u{1f600}/\u{7f}\"}",
        Some("{\"error\":\"\\u003ca href='x'\\u003e\\u0026\\u2028\\u2029é\u{1f600}/\u{7f}\"}"),
    );
    check(
        PONG,
        r#"{"error":"\"\\\/\b\f\n\r\t\u0000\u001f\u007f"}"#,
        Some("{\"error\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u001f\u{7f}\"}"),
    );
    check(
        PROXY,
        r#"{"metas":{"<":"&"}}"#,
        Some(r#"{"metas":{"\u003c":"\u0026"}}"#),
    );
}

#[test]
fn broken_text_is_repaired() {
    #[track_caller]
    fn check_repaired(text: &[u8], expected: &str) {
        let body = [br#"{"error":""#, text, br#""}"#].concat();
        let expected = Message::from(Pong {
            error: expected.into(),
        });
        assert_eq!(decode(&frame(PONG, body)).unwrap(), expected);
    }
    check_repaired(b"a\xffb", "a\u{fffd}b");
    check_repaired(b"\xe2\x82", "\u{fffd}\u{fffd}");
    check_repaired(b"\xf0\x9f\x98x", "\u{fffd}\u{fffd}\u{fffd}x");
    check_repaired(br"\ud83d\ude00", "\u{1f600}");
    check(PONG, b"{\"error\":\"a\nb\"}", None);
    check(PONG, b"{\"error\":\"\\x\"}", None);
    check(PONG, b"{\"error\":\"\\u12\"}", None);
    check(PONG, b"{\"er\xffror\":\"x\"}", Some("{}"));
}

#[test]
fn content_is_padded_base64() {
    check(PACKET, r#"{"c":"aGk="}"#, Some(r#"{"c":"aGk="}"#));
    check(PACKET, r#"{"c":"aG\r\nk=\n"}"#, Some(r#"{"c":"aGk="}"#));
    check(PACKET, r#"{"c":"aGk\n="}"#, Some(r#"{"c":"aGk="}"#));
    check(PACKET, r#"{"c":"aGl="}"#, Some(r#"{"c":"aGk="}"#));
    check(PACKET, r#"{"c":"\/w=="}"#, Some(r#"{"c":"/w=="}"#));
    check(PACKET, r#"{"c":""}"#, Some("{}"));
    check(PACKET, r#"{"c":"aGk"}"#, None);
    check(PACKET, r#"{"c":"aGk=="}"#, None);
    check(PACKET, r#"{"c":"aGk=aGk="}"#, None);
    check(PACKET, r#"{"c":"aG k="}"#, None);
    check(PACKET, r#"{"c":"_w=="}"#, None);
    check(PACKET, r#"{"c":"a"}"#, None);
    check(PACKET, r#"{"c":"===="}"#, None);
    check(PACKET, r#"{"c":5}"#, None);
}

#[test]
fn addresses() {
    #[track_caller]
    fn check_user(user: &str, expected: Option<&str>) {
        let expected = expected.map(|user| format!(r#"{{"r":{user}}}"#));
        check(PACKET, format!(r#"{{"r":{user}}}"#), expected.as_deref());
    }
    check_user("{}", Some(r#"{"IP":"","Port":0,"Zone":""}"#));
    check_user(
        r#"{"ip":"1.2.3.4","port":5}"#,
        Some(r#"{"IP":"1.2.3.4","Port":5,"Zone":""}"#),
    );
    check_user(
        r#"{"IP":"","Port":5}"#,
        Some(r#"{"IP":"","Port":5,"Zone":""}"#),
    );
    check_user(r#"{"IP":null}"#, Some(r#"{"IP":"","Port":0,"Zone":""}"#));
    check_user(
        r#"{"IP":"::ffff:1.2.3.4"}"#,
        Some(r#"{"IP":"1.2.3.4","Port":0,"Zone":""}"#),
    );
    check_user(
        r#"{"IP":"::1.2.3.4"}"#,
        Some(r#"{"IP":"::102:304","Port":0,"Zone":""}"#),
    );
    check_user(
        r#"{"IP":"2001:DB8:0:0:1:0:0:1"}"#,
        Some(r#"{"IP":"2001:db8::1:0:0:1","Port":0,"Zone":""}"#),
    );
    check_user(
        r#"{"IP":"2001:db8:0:1:1:1:1:1"}"#,
        Some(r#"{"IP":"2001:db8:0:1:1:1:1:1","Port":0,"Zone":""}"#),
    );
    check_user(
        r#"{"IP":"::","Port":70000,"Zone":"eth0"}"#,
        Some(r#"{"IP":"::","Port":70000,"Zone":"eth0"}"#),
    );
    check_user(r#"{"IP":"1.2.3"}"#, None);
    check_user(r#"{"IP":"1.2.3.04"}"#, None);
    check_user(r#"{"IP":"1.2.3.4 "}"#, None);
    check_user(r#"{"IP":"1.2.3.256"}"#, None);
    check_user(r#"{"IP":"fe80::1%eth0"}"#, None);
    check_user(r#"{"IP":"host"}"#, None);
    check_user(r#"{"IP":5}"#, None);
    check_user(r#"{"Port":"5"}"#, None);
    check_user(r#"{"Port":1.5}"#, None);
    check_user(r#""1.2.3.4:5""#, None);
}
