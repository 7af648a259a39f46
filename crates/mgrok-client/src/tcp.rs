//! A user connection of a TCP proxy: from its work connection to the local service, or to a plugin.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mgrok_config::ProxyKind;
use mgrok_http::{Meter as _, UNREACHABLE_ANSWER, User};
use mgrok_net::access_log::AccessEnd;
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::proxy_protocol::{Addresses, TransportProtocol, encode};
use mgrok_net::relay::{HalfClose, Leg, relay};
use mgrok_proto::message::StartWorkConn;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::local::Local;
use crate::metrics::LocalDial;
use crate::plugin::{self, Plugin};
use crate::proxy::Proxy;
use crate::users::{NOBODY, UserRow};

/// How long a user may take to send a request and to read that there is no service.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A user and the connection to the local service.
struct Opened {
    row: UserRow,
    service: Conn,
    work: Conn,
    half_close: HalfClose,
}

impl Opened {
    /// The box is given back here: in an async function it would live on to the end.
    fn unbox(self: Box<Self>) -> Self {
        *self
    }
}

/// Connects the user of `start` to the local service or plugin of `proxy`. Ends when either side closes, or with half-close on
/// `work` when both have. After `stop`, plugins that read requests accept no more of them.
///
/// `start` and `work` are boxed because a future keeps room for its arguments to the end, and these are gone when the bytes begin to move.
pub(crate) async fn serve(
    proxy: &Proxy,
    start: Box<StartWorkConn>,
    work: Box<Conn>,
    half_close: HalfClose,
    stop: &CancellationToken,
) {
    // Boxed: HTTP and TLS need far more room than most users do.
    if let Some(plugin) = proxy.plugin() {
        return Box::pin(serve_by(plugin, proxy, &start, *work, half_close, stop)).await;
    }
    // Boxed, because it is over when the bytes begin to move.
    let opening = Box::pin(open(proxy, start, *work, half_close));
    if let Some(opened) = opening.await {
        carry(proxy, opened).await;
    }
}

/// Connects the user to the local service of `proxy`.
async fn open(
    proxy: &Proxy,
    start: Box<StartWorkConn>,
    work: Conn,
    half_close: HalfClose,
) -> Option<Box<Opened>> {
    let work = proxy.layers().wrap(work);
    connect(proxy, &start, work, proxy.local(), half_close).await
}

async fn serve_by(
    plugin: &Plugin,
    proxy: &Proxy,
    start: &StartWorkConn,
    work: Conn,
    half_close: HalfClose,
    stop: &CancellationToken,
) {
    proxy.metrics().plugin_users.inc();
    let work = proxy.layers().wrap(work);
    let from = source(start);
    let opened = match plugin {
        Plugin::Bridge(_) | Plugin::HttpProxy(_) | Plugin::StaticFile(_) => {
            let user = from.map_or_else(User::unknown, User::new);
            let user = user.with_half_close(half_close);
            let is_told = !plugin.tells_requests();
            let row = proxy.users().enter(from.unwrap_or(NOBODY), is_told).await;
            let row = Arc::new(row);
            let served = Box::pin(async {
                match plugin {
                    Plugin::Bridge(it) => it.serve(work, user, row.clone(), stop).await,
                    Plugin::HttpProxy(it) => plugin::serve(it, work, user, row.clone(), stop).await,
                    Plugin::StaticFile(it) => {
                        plugin::serve(it, work, user, row.clone(), stop).await
                    }
                    Plugin::Socks5(_)
                    | Plugin::Tls2Raw { .. }
                    | Plugin::UnixDomainSocket(_)
                    | Plugin::VirtualNet(_) => {}
                }
            });
            row.ended(match row.until_closed(served).await {
                Some(()) => AccessEnd::Closed,
                None => AccessEnd::Command,
            });
            return;
        }
        Plugin::Socks5(socks5) => match socks5.open(work, proxy.resolver()).await {
            Ok((work, service)) => Some(Box::new(Opened {
                row: proxy.users().enter(from.unwrap_or(NOBODY), true).await,
                service,
                work,
                half_close,
            })),
            Err(e) => {
                proxy.users().refused(from.unwrap_or(NOBODY));
                return debug!(
                    per_session = true,
                    "a user is not connected by SOCKS: {}",
                    Chain(&e)
                );
            }
        },
        Plugin::Tls2Raw { tls, local_addr } => match tls.accept(work).await {
            Ok(work) => connect(proxy, start, work, local_addr.into(), half_close).await,
            Err(e) => {
                return debug!(
                    per_session = true,
                    "a user does not get through TLS: {}",
                    Chain(&e)
                );
            }
        },
        Plugin::UnixDomainSocket(path) => {
            connect(proxy, start, work, Local::Unix(path), half_close).await
        }
        Plugin::VirtualNet(network) => {
            let Some(service) = network.host() else {
                return warn!(
                    per_session = true,
                    "the virtual network takes no more visitors"
                );
            };
            let opened = Box::new(Opened {
                row: proxy
                    .users()
                    .enter(source(start).unwrap_or(NOBODY), true)
                    .await,
                service,
                work,
                half_close,
            });
            // Who comes by it is a member of the network only as long as there is the proxy.
            tokio::select! {
                () = carry(proxy, opened) => {}
                () = proxy.is_retired() => {}
            }
            return;
        }
    };
    if let Some(opened) = opened {
        carry(proxy, opened).await;
    }
}

/// Copies between a user and a local service.
async fn carry(proxy: &Proxy, opened: Box<Opened>) {
    let Opened {
        row,
        service,
        work,
        half_close,
    } = opened.unbox();
    let relay = relay(service, work, half_close, row.traffic()).turned_round();
    match row.until_closed(relay).await {
        Some(end) => {
            row.ended(AccessEnd::of(&end, Leg::Tunnel));
            proxy.metrics().count_relay(&end);
            debug!(per_session = true, ?end, "user connection ended");
        }
        None => {
            row.ended(AccessEnd::Command);
            debug!(per_session = true, "user connection was closed by command");
        }
    }
}

/// Connects a user to a local service.
async fn connect(
    proxy: &Proxy,
    start: &StartWorkConn,
    work: Conn,
    local: Local<'_>,
    half_close: HalfClose,
) -> Option<Box<Opened>> {
    let from = source(start).unwrap_or(NOBODY);
    let (metrics, began) = (proxy.metrics(), Instant::now());
    let mut service = match local.connect(proxy.resolver()).await {
        Ok(conn) => {
            metrics.local_dial.observe(began.elapsed());
            metrics.local_dials.of(LocalDial::Ok).inc();
            conn
        }
        Err(e) => {
            metrics.local_dials.of(LocalDial::Failed).inc();
            error!(source = %local, "connect to local service [{local}] error: {}", Chain(&e));
            proxy.users().refused(from);
            if matches!(proxy.config().kind, ProxyKind::Http(_)) {
                answer_for_service(work).await;
            }
            return None;
        }
    };
    // Before the user has said anything: the service may be the one that speaks first.
    if let Some(introduction) = introduction(proxy, start)
        && let Err(e) = service.send(introduction).await
    {
        error!(source = %local, "write proxy protocol header to local conn error: {e}");
        proxy.users().refused(from);
        return None;
    }
    Some(Box::new(Opened {
        row: proxy.users().enter(from, true).await,
        service,
        work,
        half_close,
    }))
}

/// Answers the HTTP request on `work`, which the service cannot.
// frp: closes the connection, which its server takes for a service that is not there.
async fn answer_for_service(mut work: Conn) {
    let exchange = async {
        // An answer before the request would be none.
        if work.recv().await?.is_empty() {
            return Ok(());
        }
        let answer = Bytes::from_static(UNREACHABLE_ANSWER.as_bytes());
        work.send(answer).await?;
        work.close().await?;
        while !work.recv().await?.is_empty() {}
        std::io::Result::Ok(())
    };
    match timeout(ANSWER_TIME, exchange).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => debug!(per_session = true, "the user is not told: {e}"),
        Err(_elapsed) => debug!(
            per_session = true,
            "the user is not told within {ANSWER_TIME:?}"
        ),
    }
}

/// The PROXY protocol header for the local service; `None` if none is configured, or the user's address is not known.
fn introduction(proxy: &Proxy, start: &StartWorkConn) -> Option<Bytes> {
    let version = proxy.proxy_protocol()?;
    let Some(source) = source(start) else {
        debug!(
            per_session = true,
            "the server does not say who the user is"
        );
        return None;
    };
    let addresses = Addresses {
        source,
        // frp: the same, when a server cannot tell where the user arrived
        // (client/proxy/proxy.go#HandleTCPWorkConnection)
        destination: SocketAddr::new(
            ip(&start.dst_addr).unwrap_or(Ipv4Addr::LOCALHOST.into()),
            start.dst_port,
        ),
    };
    let mut header = BytesMut::new();
    encode(version, TransportProtocol::Tcp, &addresses, &mut header);
    Some(header.freeze())
}

/// Where the user comes from; `None` if the server does not say.
fn source(start: &StartWorkConn) -> Option<SocketAddr> {
    let ip = ip(&start.src_addr)?;
    (start.src_port != 0).then_some(SocketAddr::new(ip, start.src_port))
}

/// An address as Go writes it, without its zone, which means nothing on another host.
fn ip(text: &str) -> Option<IpAddr> {
    let zone_at = text.find('%').unwrap_or(text.len());
    text[..zone_at].parse().ok()
}

#[cfg(test)]
mod tests {
    use mgrok_config::{ProxyConfig, ProxyKind, ProxyProtocol};
    use mgrok_net::resolver::Resolver;
    use mgrok_proto::auth::Secret;
    use mgrok_proto::cipher::CipherKey;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[track_caller]
    fn check(src: (&str, u16), dst: (&str, u16), expect: Option<&str>) {
        let mut config = ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 0 }, 80);
        config.proxy_protocol = Some(ProxyProtocol::V1);
        let key = CipherKey::derive(&Secret::default());
        let proxy = Proxy::new(config, &key, &Resolver::default(), CancellationToken::new());
        let start = StartWorkConn {
            src_addr: src.0.to_owned(),
            src_port: src.1,
            dst_addr: dst.0.to_owned(),
            dst_port: dst.1,
            ..StartWorkConn::default()
        };
        let expect = expect.map(|it| format!("PROXY {it}\r\n").into());
        assert_eq!(introduction(&proxy, &start), expect);
    }

    #[test]
    fn users_are_introduced_as_far_as_they_are_known() {
        let known = ("192.0.2.1", 4711);
        let tcp4 = "TCP4 192.0.2.1 203.0.113.1 4711 6000";
        check(known, ("203.0.113.1", 6000), Some(tcp4));
        let http = "TCP4 192.0.2.1 127.0.0.1 4711 0";
        check(known, ("", 0), Some(http));
        let local = "TCP6 fe80::1 ::ffff:127.0.0.1 4711 0";
        check(("fe80::1%eth0", 4711), ("", 0), Some(local));
        check(("", 0), ("203.0.113.1", 6000), None);
        check(("192.0.2.1", 0), ("203.0.113.1", 6000), None);
        check(("nobody", 1), ("203.0.113.1", 6000), None);
    }
}
