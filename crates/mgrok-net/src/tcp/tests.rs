use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::resolver::Resolver;

static OPTIONS: LazyLock<DialOptions> = LazyLock::new(|| DialOptions {
    timeout: Duration::from_secs(5),
    keepalive: Some(Duration::from_secs(30)),
    local_ip: None,
    resolver: Resolver::default(),
});

async fn dial_and_accept(listen_on: &str, dial_to: &str) -> (TcpStream, TcpStream, SocketAddr) {
    let listener = bind(listen_on, 0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (dialled, (accepted, from)) =
        tokio::join!(dial(dial_to, port, &OPTIONS), accept(&listener));
    (dialled.unwrap(), accepted, from)
}

#[tokio::test]
async fn any_address_serves_both_families() {
    for host in ["", "0.0.0.0", "::", "[::]"] {
        let (_, _, from) = dial_and_accept(host, "127.0.0.1").await;
        assert_eq!(from.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), "{host}");
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            let (_, _, from) = dial_and_accept(host, "[::1]").await;
            assert!(from.is_ipv6(), "{host}");
        }
    }
}

#[tokio::test]
async fn one_address_serves_only_itself() {
    let listener = bind("127.0.0.1", 0).await.unwrap();
    assert_eq!(listener.local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
}

#[tokio::test]
async fn a_name_can_be_bound_and_dialled() {
    dial_and_accept("localhost", "localhost").await;
}

#[tokio::test]
async fn accepted_and_dialled_sockets_are_probed_as_gos_are() {
    let (dialled, accepted, _) = dial_and_accept("127.0.0.1", "127.0.0.1").await;
    assert!(accepted.nodelay().unwrap() && dialled.nodelay().unwrap());
    let seconds = Duration::from_secs;
    set_keepalive(
        &dialled,
        dial::probes(([192, 0, 2, 1], 7).into(), Some(seconds(30))),
    );
    for (stream, idle) in [(&accepted, seconds(15)), (&dialled, seconds(30))] {
        let socket = SockRef::from(stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), idle);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), seconds(15));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 9);
    }
    set_keepalive(&accepted, None);
    assert!(!SockRef::from(&accepted).keepalive().unwrap());
}

#[tokio::test]
async fn who_is_in_the_same_system_is_not_probed() {
    let (dialled, _accepted, _) = dial_and_accept("127.0.0.1", "127.0.0.1").await;
    assert!(!SockRef::from(&dialled).keepalive().unwrap());
    for ip in ["127.0.0.9", "::1", "::ffff:127.0.0.1"] {
        let addr = SocketAddr::new(ip.parse().unwrap(), 7);
        assert_eq!(dial::probes(addr, Some(KEEPALIVE)), None, "{ip}");
    }
}

#[tokio::test]
async fn what_a_listener_accepts_inherits_its_keepalive() {
    let listener = bind("127.0.0.1", 0).await.unwrap();
    if !set_inherited_keepalive(&listener, Some(Duration::from_secs(77))) {
        return;
    }
    let port = listener.local_addr().unwrap().port();
    let (_dialled, (accepted, _)) =
        tokio::join!(dial("127.0.0.1", port, &OPTIONS), accept(&listener));
    let idle = SockRef::from(&accepted).tcp_keepalive_time().unwrap();
    assert_eq!(idle, Duration::from_secs(77));
}

#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is local
#[tokio::test]
async fn the_local_address_is_used() {
    let listener = bind("127.0.0.1", 0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let ip = IpAddr::from([127, 0, 0, 9]);
    let options = DialOptions {
        local_ip: Some(ip),
        ..OPTIONS.clone()
    };
    let (dialled, (_, from)) = tokio::join!(dial("localhost", port, &options), accept(&listener));
    assert_eq!(dialled.unwrap().local_addr().unwrap().ip(), ip);
    assert_eq!(from.ip(), ip);
}

#[tokio::test]
async fn errors_say_what_failed() {
    let refused = {
        let listener = bind("127.0.0.1", 0).await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let error = dial("127.0.0.1", refused, &OPTIONS).await.unwrap_err();
    assert!(matches!(error, DialError::Connect { .. }), "{error:?}");

    let elsewhere = DialOptions {
        // Reserved for documentation, so no host has this address.
        local_ip: Some(IpAddr::from([192, 0, 2, 1])),
        ..OPTIONS.clone()
    };
    let error = dial("127.0.0.1", refused, &elsewhere).await.unwrap_err();
    assert!(matches!(error, DialError::LocalIp { .. }), "{error:?}");

    let other_family = DialOptions {
        local_ip: Some("::1".parse().unwrap()),
        ..OPTIONS.clone()
    };
    let error = dial("127.0.0.1", refused, &other_family).await.unwrap_err();
    assert!(matches!(error, DialError::NoAddress { .. }), "{error:?}");

    let error = dial("no such host", refused, &OPTIONS).await.unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error:?}");
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let taken = bind("127.0.0.1", 0).await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = bind("127.0.0.1", port).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn candidates_are_tried_until_one_succeeds() {
    let listener = bind("localhost", 0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let find = async || {
        let found = Candidates::find("localhost", port, &OPTIONS).await;
        found.unwrap().ipv4_first()
    };
    let mut tried = Vec::new();
    let connected = find().await.first_that(|addr| {
        tried.push(addr);
        connect_or_refuse(addr, true)
    });
    assert_eq!(connected.await.unwrap().port(), port);
    assert!(tried[0].is_ipv4());
    assert_eq!(tried.len(), 1);

    let refused = find()
        .await
        .first_that(|addr| connect_or_refuse(addr, false));
    let error = refused.await.unwrap_err();
    assert!(matches!(error, DialError::Connect { .. }), "{error:?}");
}

fn connect_or_refuse(
    addr: SocketAddr,
    will_do: bool,
) -> std::future::Ready<Result<SocketAddr, DialError>> {
    let source = io::ErrorKind::ConnectionRefused.into();
    std::future::ready(match will_do {
        true => Ok(addr),
        false => Err(DialError::Connect { addr, source }),
    })
}

#[tokio::test(start_paused = true)]
async fn all_candidates_together_have_the_time_of_one() {
    let found = Candidates::find("127.0.0.1", 7, &OPTIONS).await.unwrap();
    let silent = found.first_that(|_| std::future::pending::<Result<(), DialError>>());
    let began = tokio::time::Instant::now();
    let error = silent.await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error:?}");
    assert!(began.elapsed() >= OPTIONS.timeout);
}

/// Options with which `localhost` has an address of each family, whatever the system's hosts file says.
fn two_addresses() -> DialOptions {
    DialOptions {
        resolver: Resolver::with_hosts(None, "/nowhere".into()),
        ..OPTIONS.clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_does_not_keep_the_next_one_waiting() {
    // The shortest timeout of a health check.
    let options = DialOptions {
        timeout: Duration::from_secs(1),
        ..two_addresses()
    };
    let found = Candidates::find("localhost", 7, &options).await.unwrap();
    let began = tokio::time::Instant::now();
    let connected = found.ipv4_first().first_that(async |addr| {
        if addr.is_ipv4() {
            std::future::pending::<()>().await;
        }
        Ok::<_, DialError>(addr)
    });
    assert!(connected.await.unwrap().is_ipv6());
    assert!(began.elapsed() < options.timeout / 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_address_may_still_be_the_one() {
    let options = two_addresses();
    let found = Candidates::find("localhost", 7, &options).await.unwrap();
    let connected = found.ipv4_first().first_that(async |addr| {
        if addr.is_ipv6() {
            return connect_or_refuse(addr, false).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        Ok(addr)
    });
    assert!(connected.await.unwrap().is_ipv4());
}

#[tokio::test]
async fn a_connection_with_itself_is_a_refusal() {
    let own = || {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    };
    let (socket, addr) = own();
    let itself = socket.connect(addr).await.unwrap();
    assert_eq!(itself.peer_addr().unwrap(), addr, "as the system has it");

    let (socket, addr) = own();
    let error = dial::connect_from(socket, addr, None).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn little_unsent_is_kept_where_many_streams_share_a_connection() {
    let (dialled, accepted, _) = dial_and_accept("127.0.0.1", "127.0.0.1").await;
    let of_system = SockRef::from(&dialled).tcp_notsent_lowat().unwrap();
    keep_little_unsent(&accepted);
    assert_eq!(
        SockRef::from(&accepted).tcp_notsent_lowat().unwrap(),
        UNSENT
    );
    assert_eq!(
        SockRef::from(&dialled).tcp_notsent_lowat().unwrap(),
        of_system
    );
}

#[tokio::test]
async fn several_paths_are_agreed_on_by_both_ends_or_not_used() {
    let can = has_multipath();
    let pair = async |listener: TcpListener, asks: bool| {
        let port = listener.local_addr().unwrap().port();
        let dial = async {
            match asks {
                true => dial_multipath("127.0.0.1", port, &OPTIONS).await,
                false => dial("127.0.0.1", port, &OPTIONS).await,
            }
        };
        let (dialled, (accepted, _)) = tokio::join!(dial, accept(&listener));
        (dialled.unwrap(), accepted)
    };
    for (listens, asks) in [(true, true), (true, false), (false, true)] {
        let listener = match listens {
            true => bind_multipath("127.0.0.1", 0).await.unwrap(),
            false => bind("127.0.0.1", 0).await.unwrap(),
        };
        let (mut here, mut there) = pair(listener, asks).await;
        let agreed = can && listens && asks;
        assert_eq!(
            (is_multipath(&here), is_multipath(&there)),
            (agreed, agreed)
        );
        // Options that such a socket refuses change nothing.
        for socket in [&here, &there] {
            assert!(socket.nodelay().unwrap());
            set_keepalive(socket, Some(KEEPALIVE));
            keep_little_unsent(socket);
            watch_closely(socket, Duration::from_secs(4), Duration::from_secs(11));
        }
        here.write_all(b"ping").await.unwrap();
        let mut bytes = [0; 4];
        there.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"ping");
    }
}
