//! What a server answers to proxies that no client of either make would ask for, and where it says that proxies are.

use std::net::SocketAddr;

use mgrok_lab::{PATIENCE, Peer, Server, ports, within};
use mgrok_net::{conn::Conn, layers, message::MessageConn};
use mgrok_proto::{
    WireVersion,
    auth::{self, Secret},
    cipher::CipherKey,
    message::{Login, Message, NewProxy, NewProxyResp},
};
use tokio::net::TcpStream;

/// One test for each make of server.
macro_rules! for_each_server {
    ($($scenario:ident),+ $(,)?) => {
        mod mgrok {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(mgrok_lab::Peer::Mgrok).await;
            })+
        }
        mod frp {
            $(#[tokio::test]
            #[ignore = "checks the scenarios, not mgrok"]
            async fn $scenario() {
                super::$scenario(mgrok_lab::Peer::Frp).await;
            })+
        }
    };
}

for_each_server!(proxies_that_cannot_be_hear_why, proxies_hear_where_they_are,);

/// A client in all but its proxies.
struct Session {
    control: MessageConn,
}

impl Session {
    async fn login(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.unwrap();
        let mut conn = MessageConn::new(Conn::from(stream), WireVersion::V1);
        let login = Login {
            privilege_key: auth::sign(&Secret::default(), 1).into(),
            timestamp: 1,
            ..Login::default()
        };
        conn.send(&login.into()).await.unwrap();
        match conn.recv().await.unwrap() {
            Some(Message::LoginResp(answer)) => assert_eq!(answer.error, ""),
            other => panic!("expected the answer to a login, not {other:?}"),
        }
        let key = CipherKey::derive(&Secret::default());
        let control = layers::encrypt(conn.into_conn(), &key);
        Self {
            control: MessageConn::new(control, WireVersion::V1),
        }
    }

    async fn ask(&mut self, new: NewProxy) -> NewProxyResp {
        self.control.send(&new.into()).await.unwrap();
        let answer = async {
            loop {
                match self.control.recv().await.unwrap() {
                    Some(Message::NewProxyResp(answer)) => return answer,
                    Some(_) => {}
                    None => panic!("the server ended the session"),
                }
            }
        };
        within(PATIENCE, "an answer", answer).await
    }
}

/// The three ports of `server`, which takes names below `sub.test`.
async fn server(peer: Peer) -> (Server, [u16; 3]) {
    let [http, https, tcpmux] = ports::several();
    let settings = format!(
        "subDomainHost = \"sub.test\"\nvhostHTTPPort = {http}\nvhostHTTPSPort = {https}\n\
         tcpmuxHTTPConnectPort = {tcpmux}\ntransport.tcpMux = false"
    );
    (Server::start(peer, &settings).await, [http, https, tcpmux])
}

fn new(kind: &str, name: &str) -> NewProxy {
    NewProxy {
        proxy_name: name.to_owned(),
        proxy_type: kind.to_owned(),
        ..NewProxy::default()
    }
}

fn domains(names: &[&str]) -> Vec<String> {
    names.iter().map(|&it| it.to_owned()).collect()
}

async fn proxies_that_cannot_be_hear_why(peer: Peer) {
    let (server, _) = server(peer).await;
    let mut session = Session::login(server.addr()).await;
    let subdomain = |kind, subdomain: &str| NewProxy {
        subdomain: subdomain.to_owned(),
        multiplexer: "httpconnect".to_owned(),
        ..new(kind, "x")
    };
    let multiplexer = |multiplexer: &str| NewProxy {
        multiplexer: multiplexer.to_owned(),
        custom_domains: domains(&["a.test"]),
        ..new("tcpmux", "x")
    };
    let dotted = "'.' and '*' are not supported in subdomain";
    for (new, expect) in [
        (new("other", "x"), "unknown proxy type: other"),
        (multiplexer(""), "unknown multiplexer []"),
        (multiplexer("other"), "unknown multiplexer [other]"),
        (subdomain("http", "a.b"), dotted),
        (subdomain("https", "*"), dotted),
        (subdomain("tcpmux", "a."), dotted),
    ] {
        let answer = session.ask(new).await;
        assert_eq!(answer.error, expect);
        assert_eq!(answer.remote_addr, "");
        assert_eq!(answer.proxy_name, "x");
    }
}

async fn proxies_hear_where_they_are(peer: Peer) {
    let (server, [http, https, tcpmux]) = server(peer).await;
    let mut session = Session::login(server.addr()).await;
    let named = |kind, name, locations: &[&str]| NewProxy {
        custom_domains: domains(&["A.test", "b.test"]),
        subdomain: "c".to_owned(),
        locations: domains(locations),
        multiplexer: "httpconnect".to_owned(),
        ..new(kind, name)
    };
    let everywhere = |port: u16| format!("A.test:{port},b.test:{port},c.sub.test:{port}");
    let twice = format!(
        "A.test:{http},A.test:{http},b.test:{http},b.test:{http},c.sub.test:{http},c.sub.test:{http}"
    );
    let port = ports::free();
    let at_port = |kind, name| NewProxy {
        remote_port: port.into(),
        ..new(kind, name)
    };
    for (new, expect) in [
        (at_port("tcp", "tcp"), format!(":{port}")),
        (at_port("udp", "udp"), format!(":{port}")),
        (named("http", "http", &[]), everywhere(http)),
        (named("http", "paths", &["/a", "/b"]), twice),
        (named("https", "https", &[]), everywhere(https)),
        (named("tcpmux", "tcpmux", &[]), everywhere(tcpmux)),
        (new("http", "nowhere"), String::new()),
        (new("stcp", "stcp"), String::new()),
        (new("sudp", "sudp"), String::new()),
        (new("xtcp", "xtcp"), String::new()),
    ] {
        let answer = session.ask(new).await;
        assert_eq!(answer.error, "", "{}", answer.proxy_name);
        assert_eq!(answer.remote_addr, expect, "{}", answer.proxy_name);
    }
}
