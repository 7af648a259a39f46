//! Entries that stand for a proxy per port.

use mgrok_config::ProxyKind;

use super::{client, client_mistakes, client_warnings};

fn entry(keys: &str) -> String {
    format!("[[proxies]]\nname = \"game\"\ntype = \"udp\"\n{keys}\n")
}

#[test]
fn each_port_is_a_proxy() {
    let config = client(&entry(
        "localPorts = \"6000-6001,6020\"\nremotePorts = \"7000-7001, 7020\"\nlocalIP = \"192.0.2.1\"\ntransport.useCompression = true",
    ));
    let found: Vec<_> = config
        .proxies
        .iter()
        .map(|it| {
            let is_alike = it.local_host == "192.0.2.1" && it.use_compression;
            (it.name.as_str(), it.local_port, it.kind.clone(), is_alike)
        })
        .collect();
    let udp = |remote_port| ProxyKind::Udp { remote_port };
    assert_eq!(
        found,
        [
            ("game-6000", 6000, udp(7000), true),
            ("game-6001", 6001, udp(7001), true),
            ("game-6020", 6020, udp(7020), true),
        ]
    );
}

#[test]
fn the_entry_is_started_by_its_name() {
    let text = entry("localPorts = \"1-2\"\nremotePorts = \"1-2\"");
    assert_eq!(
        client(&format!("start = [\"game\"]\n{text}")).proxies.len(),
        2
    );
    let other = "[[proxies]]\nname = \"b\"\ntype = \"tcp\"\nlocalPort = 1";
    let config = client(&format!("start = [\"b\"]\n{text}{other}"));
    assert_eq!(config.proxies.len(), 1);
}

#[test]
fn mistakes() {
    for (keys, expect) in [
        (
            "localPorts = \"1-3\"\nremotePorts = \"1-2\"",
            &["5:15: proxies[0].remotePorts: must name as many ports as `localPorts`: 2 are not 3"]
                [..],
        ),
        (
            "localPorts = \"1-3\"",
            &[
                "1:1: proxies[0]: must have `remotePorts`, because `localPorts` and `remotePorts` go together",
            ],
        ),
        (
            "localPorts = \"1\"\nremotePorts = \"1\"\nlocalPort = 1\nremotePort = 1",
            &[
                "4:14: proxies[0].localPorts: must not be set together with `localPort`",
                "5:15: proxies[0].remotePorts: must not be set together with `remotePort`",
            ],
        ),
        (
            "localPorts = \"3-1\"\nremotePorts = \"1,x\"",
            &[
                "4:14: proxies[0].localPorts: range number is invalid: a range must not end before it begins, not \"3-1\"",
                "5:15: proxies[0].remotePorts: range number is invalid: must be numbers and ranges, like \"6000-6010,6020\", not \"1,x\"",
            ],
        ),
        (
            "localPorts = \"0\"\nremotePorts = \"70000\"",
            &[
                "4:14: proxies[0].localPorts: port number 0 must be in the range 1..65535",
                "5:15: proxies[0].remotePorts: port number 70000 must be in the range 1..65535",
            ],
        ),
        (
            "localPorts = \"1,2,1\"\nremotePorts = \"1-10001\"",
            &[
                "4:14: proxies[0].localPorts: must not name 1 twice",
                "5:15: proxies[0].remotePorts: must not stand for more than 10000 numbers, not \"1-10001\"",
            ],
        ),
        (
            "localPorts = \"1\"\nremotePorts = \"1\"\nloadBalancer.group = \"g\"",
            &[
                "6:1: proxies[0].loadBalancer: cannot be used with `localPorts`: give each port a proxy of its own",
            ],
        ),
    ] {
        client_mistakes(&entry(keys), expect);
    }
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"stcp\"\nsecretKey = \"k\"\nlocalPorts = \"1\"",
        &["5:1: proxies[0].localPorts: unknown field \"localPorts\", did you mean \"localPort\"?"],
    );
}

#[test]
fn ports_and_names_conflict_as_those_of_single_proxies_do() {
    let text = entry("localPorts = \"1-2\"\nremotePorts = \"1-2\"");
    client_mistakes(
        &format!("{text}[[proxies]]\nname = \"game-2\"\ntype = \"tcp\"\nlocalPort = 1\n"),
        &["7:8: proxies[1].name: proxy name [game-2] is duplicated"],
    );
    client_warnings(
        &format!(
            "{text}[[proxies]]\nname = \"b\"\ntype = \"udp\"\nlocalPorts = \"8\"\nremotePorts = \"2\"\n"
        ),
        &[
            "10:15: proxies[1].remotePorts: 2 is the port of the proxy \"game-2\" already: choose another",
        ],
    );
}

#[test]
fn all_ranges_together_are_bounded() {
    let text = |name, from: u32| {
        let until = from + 5999;
        format!(
            "[[proxies]]\nname = \"{name}\"\ntype = \"tcp\"\nlocalPorts = \"{from}-{until}\"\nremotePorts = \"{from}-{until}\"\n"
        )
    };
    client_mistakes(
        &(text("a", 1) + &text("b", 10_000)),
        &[
            "9:14: proxies[1].localPorts: must not make it more than 10000 ports in the ranges of all proxies",
        ],
    );
}
