//! The virtual network: `virtualNet`, and the plugins that connect it.

use std::net::IpAddr;

use mgrok_config::{Plugin, VisitorPlugin};

use super::{client, client_mistakes, client_warnings};

const ON: &str = "featureGates = { VirtualNet = true }\nvirtualNet.address = \"100.86.0.1/24\"\n";

fn proxy(kind: &str) -> String {
    let secret = match kind {
        "tcp" => "",
        _ => "secretKey = \"k\"\n",
    };
    format!("[[proxies]]\nname = \"p\"\ntype = \"{kind}\"\n{secret}plugin.type = \"virtual_net\"\n")
}

fn visitor(name: &str, kind: &str, destination: &str) -> String {
    format!(
        "[[visitors]]\nname = \"{name}\"\ntype = \"{kind}\"\nserverName = \"s\"\nbindPort = -1\n\
         [visitors.plugin]\ntype = \"virtual_net\"\ndestinationIP = \"{destination}\"\n"
    )
}

#[test]
fn every_key_arrives() {
    let config = client(&format!(
        "{ON}{}{}{}",
        proxy("xtcp"),
        visitor("a", "stcp", "100.86.0.2"),
        visitor("b", "xtcp", "::ffff:100.86.0.3")
    ));
    let net = config.virtual_net.unwrap();
    assert_eq!(net.addr(), "100.86.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(net.prefix_len(), 24);
    assert_eq!(net.to_string(), "100.86.0.1/24");
    assert_eq!(config.proxies[0].plugin, Some(Plugin::VirtualNet));
    let destinations = config.visitors.iter().map(|it| it.plugin.clone());
    let expect = ["100.86.0.2", "100.86.0.3"].map(|addr| {
        let destination = addr.parse().unwrap();
        Some(VisitorPlugin::VirtualNet { destination })
    });
    assert_eq!(destinations.collect::<Vec<_>>(), expect);
    let definition = config.visitors[0].definition();
    assert_eq!(
        definition["stcp"]["plugin"],
        serde_json::json!({ "type": "virtual_net", "destinationIP": "100.86.0.2" })
    );
    let definition = config.proxies[0].definition();
    assert_eq!(
        definition["xtcp"]["plugin"],
        serde_json::json!({ "type": "virtual_net" })
    );
}

#[test]
fn the_feature_gate_has_to_be_open() {
    let text = "virtualNet.address = \"fd00::1/64\"";
    let expect = "virtualNet.address: VirtualNet feature is not enabled; enable it with `featureGates = { VirtualNet = true }`";
    client_mistakes(text, &[&format!("1:22: {expect}")]);
    let text = format!("featureGates.VirtualNet = false\n{text}");
    client_mistakes(&text, &[&format!("2:22: {expect}")]);
}

#[test]
fn an_address_has_a_prefix() {
    for text in ["100.86.0.1", "100.86.0.1/33", "example.com/24", "/24"] {
        client_mistakes(
            &format!("featureGates.VirtualNet = true\nvirtualNet.address = \"{text}\""),
            &[&format!(
                "2:22: virtualNet.address: must be this client's address in the virtual network, with the length of its prefix, like \"100.86.0.1/24\", not \"{text}\""
            )],
        );
    }
}

#[test]
fn what_cannot_work_as_meant_is_warned_of() {
    let at_1 = |what: &str| format!("1:1: virtualNet: {what}");
    let at_2 = |what: &str| format!("2:1: virtualNet: {what}");
    let check = |text: &str, expect: &[String]| {
        let expect: Vec<&str> = expect.iter().map(String::as_str).collect();
        client_warnings(text, &expect);
    };
    let no_net = "which does not start without `virtualNet.address`";
    check(
        &proxy("stcp"),
        &[at_1(&format!(
            "the proxy \"p\" has the plugin `virtual_net`, {no_net}"
        ))],
    );
    check(
        &visitor("v", "stcp", "100.86.0.2"),
        &[at_1(&format!(
            "the visitor \"v\" has the plugin `virtual_net`, {no_net}"
        ))],
    );
    check(
        &format!("{ON}{}", proxy("tcp")),
        &[at_2(
            "the proxy \"p\" of type `tcp` lets anybody who gets to it into the virtual network: use `stcp` or `xtcp`, whose visitors know its `secretKey`",
        )],
    );
    check(
        &format!("{ON}{}", visitor("v", "stcp", "192.0.2.1")),
        &[at_2(
            "the visitor \"v\" leads to 192.0.2.1, which is not in 100.86.0.1/24: the system sends nothing there without a route of your own",
        )],
    );
    check(
        &format!("{ON}{}", visitor("v", "stcp", "100.86.0.1")),
        &[at_2(
            "the visitor \"v\" leads to 100.86.0.1, which is this client's own address, so that nothing takes this way",
        )],
    );
    check(
        &format!(
            "{ON}{}{}",
            visitor("v", "stcp", "100.86.0.2"),
            visitor("w", "xtcp", "100.86.0.2")
        ),
        &[at_2(
            "the visitors \"v\" and \"w\" both lead to 100.86.0.2: of the two, the one that connected last is used",
        )],
    );
    check(
        &format!(
            "{ON}{}transport.proxyProtocolVersion = \"v2\"\n",
            proxy("stcp")
        ),
        &[at_2(
            "the proxy \"p\" has `transport.proxyProtocolVersion`, which does nothing with the plugin `virtual_net`",
        )],
    );
    // Its proxies are yet to come.
    client(&format!("store.path = \"store.json\"\n{ON}"));
    check(
        ON,
        &[at_2(
            "no proxy or visitor in use has the plugin `virtual_net`, so that the virtual network has no other member",
        )],
    );
    client_warnings(
        "[[visitors]]\nname = \"v\"\ntype = \"sudp\"\nserverName = \"s\"\nbindPort = 1\nplugin = { type = \"virtual_net\", destinationIP = \"::1\" }",
        &["6:10: visitors[0].plugin: does nothing for visitors of type `sudp`"],
    );
}
