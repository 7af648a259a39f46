//! The doctor of the server.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use mgrok_config::{Strictness, load_server_from_str};
use mgrok_doctor::{Examination, MAX_TOTAL, Report};
use mgrok_issuer::{Issuer, Mood};
use mgrok_lab::certs::Authority;
use mgrok_lab::dns::Dns;
use mgrok_lab::{ports, service, within};
use mgrok_server::doctor;

use crate::arranged::{blames, is_good, text, word};

/// What the doctor says of a server with these settings, on ports of its own.
async fn examine(settings: &str, dns: Option<SocketAddr>) -> Report {
    let mut file = settings.to_owned();
    for (key, value) in [
        ("bindAddr", "\"127.0.0.1\"".to_owned()),
        ("bindPort", ports::free().to_string()),
        ("auth.token", "\"t0p-s3cret\"".to_owned()),
    ] {
        if !settings.contains(key) {
            file = format!("{key} = {value}\n{file}");
        }
    }
    let config = load_server_from_str(&file, "the test", Strictness::Strict).unwrap();
    let mut examination = Examination::new(|_| {});
    let examined = doctor::examine(&config.config, dns, &mut examination);
    within(MAX_TOTAL, "the doctor", examined).await;
    let report = examination.finish();
    assert!(!text(&report).contains("s3cret"), "{}", text(&report));
    for row in &report.rows {
        assert!(doctor::CHECKS.contains(&row.check), "{}", row.check);
    }
    report
}

#[tokio::test]
async fn a_server_that_can_start() {
    let [quic, kcp, admin] = ports::several();
    let settings = format!(
        "quicBindPort = {quic}\nkcpBindPort = {kcp}\nwebServer.port = {admin}\nwebServer.user = \"ann\"\nwebServer.password = \"s3cret\""
    );
    let report = examine(&settings, None).await;
    is_good(&report);
    let ports = report.rows.iter().filter(|it| it.check == "port");
    assert_eq!(ports.count(), 4, "{}", text(&report));
    assert_eq!(word(&report, "admin"), "ok");
    assert_eq!(word(&report, "token"), "ok");
    // What was looked at is free again.
    is_good(&examine(&settings, None).await);
}

#[tokio::test]
async fn the_buffers_of_the_kernel_matter_to_each_transport_of_udp() {
    for keys in [
        &["kcpBindPort"][..],
        &["quicBindPort"],
        &["kcpBindPort", "quicBindPort"],
        &[],
    ] {
        let settings = keys
            .iter()
            .map(|key| format!("{key} = {}\n", ports::free()));
        let report = examine(&settings.collect::<String>(), None).await;
        is_good(&report);
        let told = report.rows.iter().filter(|it| it.check == "buffers");
        let told: Vec<_> = told.map(|it| it.subject.as_str()).collect();
        let expect: Vec<_> = (!keys.is_empty())
            .then(|| keys.join(", "))
            .into_iter()
            .collect();
        assert_eq!(told, expect);
    }
}

#[tokio::test]
async fn a_port_that_another_program_has() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let report = examine(&format!("bindPort = {port}"), None).await;
    blames(
        &report,
        "port",
        &format!("(process {})", std::process::id()),
    );
}

#[tokio::test]
async fn a_port_of_udp_that_another_program_has() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    for key in ["quicBindPort", "kcpBindPort"] {
        let report = examine(&format!("{key} = {port}"), None).await;
        blames(
            &report,
            "port",
            &format!("(process {})", std::process::id()),
        );
    }
}

#[tokio::test]
async fn an_address_that_is_not_of_this_host() {
    let report = examine("bindAddr = \"192.0.2.77\"", None).await;
    blames(&report, "port", "192.0.2.77 is no address of this host");
}

#[tokio::test]
async fn a_certificate_without_its_key() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("a.test"), authority.sign("b.test"));
    let settings = format!(
        "transport.tls.certFile = {:?}\ntransport.tls.keyFile = {:?}",
        one.cert, other.key
    );
    blames(
        &examine(&settings, None).await,
        "certificate",
        "must be the key of the first certificate",
    );
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let authority = Authority::new();
    let settings = authority.sign_expired("a.test").settings();
    blames(
        &examine(&settings, None).await,
        "certificate",
        "it has expired at 2020-01-01",
    );
    let settings = authority.sign("a.test").settings();
    let report = examine(&settings, None).await;
    is_good(&report);
    assert!(text(&report).contains("is for a.test"), "{}", text(&report));
}

#[tokio::test]
async fn a_certificate_that_is_kept_is_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kept.pem");
    let settings = format!("transport.tls.autoGenCertPath = {path:?}");
    is_good(&examine(&settings, None).await);
    assert!(!path.exists());
    let settings = "transport.tls.autoGenCertPath = \"/nowhere/at/all/kept.pem\"";
    blames(
        &examine(settings, None).await,
        "certificate",
        "there is no directory /nowhere/at/all",
    );
}

#[tokio::test]
async fn a_domain_for_subdomains_that_does_not_resolve() {
    let dns = Dns::knowing(&[("tunnel.test", [127, 0, 0, 1].into())]).await;
    let settings = "subDomainHost = \"tunnel.test\"";
    let report = examine(settings, Some(dns.addr())).await;
    blames(&report, "sub_domain", "`*.tunnel.test`");
}

#[tokio::test]
async fn a_domain_for_subdomains_that_leads_here_or_elsewhere() {
    let here: IpAddr = [127, 0, 0, 1].into();
    let elsewhere: IpAddr = [192, 0, 2, 77].into();
    let dns = Dns::knowing(&[("*.here.test", here), ("*.there.test", elsewhere)]).await;
    for (host, expect) in [("here.test", "ok"), ("there.test", "warning")] {
        let report = examine(&format!("subDomainHost = \"{host}\""), Some(dns.addr())).await;
        is_good(&report);
        assert_eq!(word(&report, "sub_domain"), expect, "{}", text(&report));
    }
}

#[tokio::test]
async fn what_lets_strangers_in_is_warned_of() {
    let admin = ports::free();
    let report = examine(
        &format!("auth.token = \"\"\nwebServer.port = {admin}"),
        None,
    )
    .await;
    is_good(&report);
    assert_eq!(word(&report, "token"), "warning");
    assert_eq!(word(&report, "admin"), "warning");
}

#[tokio::test]
async fn a_plugin_that_cannot_be_reached() {
    let plugin = |port: u16| {
        format!(
            "\n[[httpPlugins]]\nname = \"gate\"\naddr = \"127.0.0.1:{port}\"\npath = \"/gate\"\nops = [\"Login\"]"
        )
    };
    let report = examine(&plugin(ports::free()), None).await;
    blames(&report, "plugin", "cannot connect to it");
    let there = service::silent().await;
    is_good(&examine(&plugin(there.addr().port()), None).await);
}

#[tokio::test]
async fn an_issuer_that_tells_its_keys() {
    let issuer = Issuer::start().await;
    let settings = format!(
        "auth.method = \"oidc\"\nauth.oidc.issuer = \"{}\"\nauth.oidc.audience = \"a\"",
        issuer.url()
    );
    let report = examine(&settings, None).await;
    is_good(&report);
    assert_eq!(word(&report, "issuer"), "ok");
    issuer.set_mood(Mood::Away);
    let report = examine(&settings, None).await;
    blames(&report, "issuer", "cannot get its discovery document");
}

#[tokio::test]
async fn a_list_of_which_a_part_has_no_effect() {
    let told = async |lists: &str| {
        let report = examine(lists, None).await;
        is_good(&report);
        (word(&report, "access"), text(&report))
    };
    let (outcome, _) = told("access.logins.allow = [\"10.0.0.0/8\"]").await;
    assert_eq!(outcome, "ok");
    for (lists, expect) in [
        (
            "access.users.deny = [\"0.0.0.0/0\", \"::/0\"]",
            "access.users: nobody may come",
        ),
        (
            "access.visitors.allow = [\"10.0.0.0/8\"]\naccess.visitors.deny = [\"192.0.2.1\"]",
            "access.visitors: 192.0.2.1/32 in deny keeps nobody out",
        ),
    ] {
        let (outcome, text) = told(lists).await;
        assert_eq!(outcome, "warning", "{text}");
        assert!(text.contains(expect), "{text}");
    }
}
