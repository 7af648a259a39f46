//! Multipath TCP: the client has a second way to the server, past the router.
//!
//! ```text
//!   client 203.0.113.2 ── 203.0.113.1 server
//! ```

use mgrok_lab::{
    Client, PATIENCE, Peer::MgrokProgram as Mgrok, Proxy, Server, eventually, namespace::Namespace,
    service, traffic, within,
};
use tokio::net::TcpStream;

use crate::network::{Network, SERVER, server_addr};

/// Gives the client the second way, which its system may use for what begins on the first.
fn add_second_way(network: &Network) -> Result<(), String> {
    let Network { client, server, .. } = network;
    let enabled = client.command(&["cat", "/proc/sys/net/mptcp/enabled"], "")?;
    if enabled.trim() != "1" {
        return Err("net.mptcp.enabled is not 1".to_owned());
    }
    client.set("conf/all/rp_filter", "0")?;
    client.ip(&format!(
        "link add spare type veth peer name spare netns {}\n\
         address add 203.0.113.2/24 dev spare\n\
         link set spare up",
        server.name()
    ))?;
    server.ip("address add 203.0.113.1/24 dev spare\nlink set spare up")?;
    client.set("conf/spare/rp_filter", "0")?;
    client.ip("route add default via 203.0.113.1 dev spare table 2\n\
         rule add from 203.0.113.2 table 2\n\
         mptcp limits set subflow 2 add_addr_accepted 2\n\
         mptcp endpoint add 203.0.113.2 dev spare subflow")
}

/// How many further ways the system of `of` has taken.
fn joined(of: &Namespace) -> u64 {
    let table = of.command(&["cat", "/proc/net/netstat"], "").unwrap();
    let mut lines = table.lines().filter(|line| line.starts_with("MPTcpExt:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "MPJoinSynAckRx");
    found.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn users_stay_when_one_of_two_ways_is_lost() {
    let Some(network) = Network::new() else {
        return;
    };
    if let Err(why) = add_second_way(&network) {
        // Kernels may be built without it.
        println!("skipped: no multipath TCP here: {why}");
        return;
    }
    let server = network
        .server
        .run(Server::start_at(Mgrok, server_addr(), ""))
        .await;
    let echo = network.client.run(service::tcp_echo()).await;
    let public = 6000;
    let proxies = [Proxy::tcp("tcp", echo.addr()).at(public)];
    let settings = "transport.multipath = true";
    let client = async move { Client::start(Mgrok, server_addr(), settings, &proxies).await };
    let client = network.client.run(client).await;
    client.log().wait_for("over multipath TCP").await;
    let user = async move { TcpStream::connect((SERVER, public)).await };
    let mut user = network.server.run(user).await.unwrap();
    traffic::echo(&mut user, 100_000).await.unwrap();
    eventually("the second way is taken", async || {
        (joined(&network.client) > 0).then_some(())
    })
    .await;
    network.router.nft("add rule ip lab forward drop").unwrap();
    let echoed = traffic::echo(&mut user, 1_000_000);
    within(PATIENCE, "bytes on the other way", echoed)
        .await
        .unwrap();
    assert!(!client.log().contains("this ends the session"));
    assert!(!server.log().contains("client exit"));
}
