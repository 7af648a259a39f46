//! Every message with every member set, as frp writes it.

use mgrok_proto::message::Kind;
use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value};

/// Type byte, kind, body, in the order of v2 ids. Values differ from each other where their type allows, so that no two members can be mixed up.
pub(crate) const SAMPLES: [(u8, Kind, &str); 18] = [
    (
        b'o',
        Kind::Login,
        r#"{"version":"0.70.1","hostname":"h","os":"linux","arch":"amd64","user":"u","privilege_key":"k","timestamp":1700000000,"run_id":"r","client_id":"c","metas":{"a":"1","b":"2"},"client_spec":{"type":"ssh-tunnel","always_auth_pass":true},"pool_count":5}"#,
    ),
    (
        b'1',
        Kind::LoginResp,
        r#"{"version":"0.70.1","run_id":"r","error":"e"}"#,
    ),
    (
        b'p',
        Kind::NewProxy,
        r#"{"proxy_name":"n","proxy_type":"http","use_encryption":true,"use_compression":true,"bandwidth_limit":"10MB","bandwidth_limit_mode":"server","group":"g","group_key":"gk","metas":{"a":"1"},"annotations":{"b":"2"},"remote_port":70000,"custom_domains":["d1","d2"],"subdomain":"s","locations":["/l"],"http_user":"hu","http_pwd":"hp","host_header_rewrite":"hh","headers":{"c":"3"},"response_headers":{"d":"4"},"route_by_http_user":"rb","sk":"sk","allow_users":["*"],"multiplexer":"httpconnect"}"#,
    ),
    (
        b'2',
        Kind::NewProxyResp,
        r#"{"proxy_name":"n","remote_addr":":6000","error":"e"}"#,
    ),
    (b'c', Kind::CloseProxy, r#"{"proxy_name":"n"}"#),
    (
        b'w',
        Kind::NewWorkConn,
        r#"{"run_id":"r","privilege_key":"k","timestamp":-1}"#,
    ),
    (b'r', Kind::ReqWorkConn, "{}"),
    (
        b's',
        Kind::StartWorkConn,
        r#"{"proxy_name":"n","src_addr":"1.2.3.4","dst_addr":"5.6.7.8","src_port":65535,"dst_port":80,"error":"e"}"#,
    ),
    (
        b'v',
        Kind::NewVisitorConn,
        r#"{"run_id":"r","proxy_name":"n","sign_key":"s","timestamp":1,"use_encryption":true,"use_compression":true}"#,
    ),
    (
        b'3',
        Kind::NewVisitorConnResp,
        r#"{"proxy_name":"n","error":"e"}"#,
    ),
    (b'h', Kind::Ping, r#"{"privilege_key":"k","timestamp":1}"#),
    (b'4', Kind::Pong, r#"{"error":"e"}"#),
    (
        b'u',
        Kind::UdpPacket,
        r#"{"c":"aGk=","l":{"IP":"","Port":-1,"Zone":""},"r":{"IP":"fe80::1","Port":5353,"Zone":"eth0"}}"#,
    ),
    (
        b'i',
        Kind::NatHoleVisitor,
        r#"{"transaction_id":"t","proxy_name":"n","pre_check":true,"protocol":"quic","sign_key":"s","timestamp":1,"mapped_addrs":["1.2.3.4:5"],"assisted_addrs":["6.7.8.9:10"]}"#,
    ),
    (
        b'n',
        Kind::NatHoleClient,
        r#"{"transaction_id":"t","proxy_name":"n","sid":"s","mapped_addrs":["1.2.3.4:5"],"assisted_addrs":["6.7.8.9:10"]}"#,
    ),
    (
        b'm',
        Kind::NatHoleResp,
        r#"{"transaction_id":"t","sid":"s","protocol":"kcp","candidate_addrs":["1.2.3.4:5"],"assisted_addrs":["6.7.8.9:10"],"detect_behavior":{"role":"sender","mode":1,"ttl":2,"send_delay_ms":3,"read_timeout":4,"candidate_ports":[{"from":5,"to":6}],"send_random_ports":7,"listen_random_ports":8},"error":"e"}"#,
    ),
    (
        b'5',
        Kind::NatHoleSid,
        r#"{"transaction_id":"t","sid":"s","response":true,"nonce":"0"}"#,
    ),
    (b'6', Kind::NatHoleReport, r#"{"sid":"s","success":true}"#),
];

/// Any good body of any message, with its type byte. Made from the samples: some of the members, with other values.
pub(crate) fn any_body() -> impl Strategy<Value = (u8, String)> {
    prop::sample::select(&SAMPLES).prop_flat_map(|(type_byte, _, sample)| {
        let sample: Map<String, Value> = serde_json::from_str(sample).unwrap();
        any_object(sample).prop_map(move |body| (type_byte, body.to_string()))
    })
}

fn any_object(sample: Map<String, Value>) -> impl Strategy<Value = Value> {
    let members: Vec<_> = sample
        .into_iter()
        .map(|(name, value)| prop::option::of((Just(name.clone()), any_value(&name, value))))
        .collect();
    members.prop_map(|members| Value::Object(members.into_iter().flatten().collect()))
}

/// Any value of the type that `sample` has.
fn any_value(name: &str, sample: Value) -> BoxedStrategy<Value> {
    let text = prop_oneof![".{0,12}", "[<>&\u{2028}\u{2029}\"\\\\\u{0}-\u{1f}]{0,6}"];
    match (name, sample) {
        ("c", _) => prop::sample::select(vec!["", "AA==", "aGk=", "aGkh", "////"])
            .prop_map(Value::from)
            .boxed(),
        ("IP", _) => any::<Option<std::net::IpAddr>>()
            .prop_map(|ip| ip.map(|ip| ip.to_string()).unwrap_or_default().into())
            .boxed(),
        ("src_port" | "dst_port", _) => any::<u16>().prop_map(Value::from).boxed(),
        (_, Value::Bool(_)) => any::<bool>().prop_map(Value::from).boxed(),
        (_, Value::Number(_)) => any::<i64>().prop_map(Value::from).boxed(),
        (_, Value::String(_)) => text.prop_map(Value::from).boxed(),
        (_, Value::Array(elements)) => vec(any_value("", elements[0].clone()), 0..4)
            .prop_map(Value::from)
            .boxed(),
        ("metas" | "annotations" | "headers" | "response_headers", Value::Object(_)) => {
            prop::collection::btree_map("\\PC{0,4}", text.prop_map(Value::from), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
                .boxed()
        }
        (_, Value::Object(members)) => any_object(members).boxed(),
        (_, Value::Null) => unreachable!("no sample is null"),
    }
}
