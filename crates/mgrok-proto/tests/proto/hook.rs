//! What plugins are asked and what they answer, byte by byte.

use std::collections::BTreeMap;

use mgrok_proto::{
    hook::{Answer, Client, ClientContent, Content, LoginContent, NewUserConn},
    message::{CloseProxy, Login, NewProxy, NewWorkConn, Ping},
};
use proptest::prelude::*;

fn client() -> Client {
    Client {
        user: "ann".into(),
        metas: BTreeMap::from([("a".into(), "1".into())]),
        run_id: "0123456789abcdef".into(),
    }
}

#[track_caller]
fn check<M>(client: Client, message: M, expected: &str)
where
    ClientContent<M>: Content,
{
    let content = ClientContent { client, message };
    let request = content.request();
    assert_eq!(str::from_utf8(&request).unwrap(), expected);
}

#[test]
fn a_login_comes_with_an_address() {
    let content = LoginContent {
        login: Login {
            version: "0.70.1".into(),
            hostname: "h".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            user: "ann".into(),
            privilege_key: "<key>".into(),
            timestamp: 7,
            metas: client().metas,
            pool_count: 1,
            ..Login::default()
        },
        client_address: "192.0.2.1:4242".into(),
    };
    assert_eq!(
        str::from_utf8(&content.request()).unwrap(),
        "{\"version\":\"0.1.0\",\"op\":\"Login\",\"content\":{\
         \"version\":\"0.70.1\",\"hostname\":\"h\",\"os\":\"linux\",\"arch\":\"amd64\",\"user\":\"ann\",\
         \"privilege_key\":\"\\u003ckey\\u003e\",\"timestamp\":7,\"metas\":{\"a\":\"1\"},\"client_spec\":{},\
         \"pool_count\":1,\"client_address\":\"192.0.2.1:4242\"}}"
    );
}

#[test]
fn everything_else_comes_with_its_client() {
    check(
        client(),
        NewProxy {
            proxy_name: "ann.ssh".into(),
            proxy_type: "tcp".into(),
            remote_port: 6000,
            ..NewProxy::default()
        },
        "{\"version\":\"0.1.0\",\"op\":\"NewProxy\",\"content\":{\
         \"user\":{\"user\":\"ann\",\"metas\":{\"a\":\"1\"},\"run_id\":\"0123456789abcdef\"},\
         \"proxy_name\":\"ann.ssh\",\"proxy_type\":\"tcp\",\"remote_port\":6000}}",
    );
    check(
        Client::default(),
        CloseProxy {
            proxy_name: "ssh".into(),
        },
        "{\"version\":\"0.1.0\",\"op\":\"CloseProxy\",\"content\":{\
         \"user\":{\"user\":\"\",\"metas\":null,\"run_id\":\"\"},\"proxy_name\":\"ssh\"}}",
    );
    check(
        Client::default(),
        Ping {
            privilege_key: "k".into(),
            timestamp: 7,
        },
        "{\"version\":\"0.1.0\",\"op\":\"Ping\",\"content\":{\
         \"user\":{\"user\":\"\",\"metas\":null,\"run_id\":\"\"},\"privilege_key\":\"k\",\"timestamp\":7}}",
    );
    check(
        Client::default(),
        NewWorkConn {
            run_id: "r".into(),
            ..NewWorkConn::default()
        },
        "{\"version\":\"0.1.0\",\"op\":\"NewWorkConn\",\"content\":{\
         \"user\":{\"user\":\"\",\"metas\":null,\"run_id\":\"\"},\"run_id\":\"r\"}}",
    );
    check(
        Client::default(),
        NewUserConn::default(),
        "{\"version\":\"0.1.0\",\"op\":\"NewUserConn\",\"content\":{\
         \"user\":{\"user\":\"\",\"metas\":null,\"run_id\":\"\"},\
         \"proxy_name\":\"\",\"proxy_type\":\"\",\"remote_addr\":\"\"}}",
    );
}

type Answered = Answer<ClientContent<NewProxy>>;

fn answered(json: &str) -> Option<Answered> {
    ClientContent::answer(json.as_bytes()).ok()
}

#[test]
fn a_refusal_says_why() {
    let answer = answered(r#"{"reject":true,"Reject_Reason":"full","more":[{}]}"#).unwrap();
    assert!(answer.reject);
    assert_eq!(answer.reject_reason, "full");
}

#[test]
fn a_changed_content_is_all_there_is() {
    let json = r#"{"content":{"user":{"user":"bob"},"proxy_name":"a","remote_port":7}}"#;
    let content = answered(json).unwrap().content.unwrap();
    assert_eq!(content.client.user, "bob");
    assert_eq!(content.message.proxy_name, "a");
    assert_eq!(content.message.remote_port, 7);
    assert_eq!(content.message.proxy_type, "");
    let json = r#"{"content":{"proxy_name":"a","client_address":"b","user":"u"}}"#;
    let login = LoginContent::answer(json.as_bytes()).unwrap().content;
    assert_eq!(login.unwrap().login.user, "u");
}

#[test]
fn no_content_is_none_and_an_empty_one_is_empty() {
    for json in ["{}", "null", r#"{"content":null}"#, r#"{"unchange":true}"#] {
        assert_eq!(answered(json).unwrap().content, None, "{json}");
    }
    let empty = answered(r#"{"content":{}}"#).unwrap();
    assert_eq!(empty.content, Some(ClientContent::default()));
}

#[test]
fn what_has_another_kind_is_no_answer() {
    for json in [
        r#"{"unchange":"false"}"#,
        r#"{"reject":1}"#,
        r#"{"content":[]}"#,
        r#"{"content":{"remote_port":"7"}}"#,
        r#"{"reject":false} x"#,
        "<html>",
        "[]",
        "",
    ] {
        assert_eq!(answered(json), None, "{json}");
    }
}

proptest! {
    #[test]
    fn no_answer_is_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
        let _ = LoginContent::answer(&bytes);
        let answer = br#"{"reject":false,"reject_reason":"","unchange":false,"content":{"user":{"metas":{"a":"b"}},"remote_port":7}}"#;
        let mut mixed = answer[..cut.min(answer.len())].to_vec();
        mixed.extend_from_slice(&bytes);
        let _ = ClientContent::<NewProxy>::answer(&mixed);
    }
}
