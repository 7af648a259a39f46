//! From this host to a link with a server, layer by layer.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::time::Duration;

use mgrok_doctor::{Examination, Fault, PATIENCE, Passed, Sound, Unmet, Verdict};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::kcp;
use mgrok_net::outbound::OutboundError;
use mgrok_net::quic::{Connection, QuicError};
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::DialError;
use mgrok_net::tls::ShownCertificate;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::certificate::{accepted, refused};
use super::stranger::identify;
use super::trial::Trial;
use crate::connect::{ConnectError, Dialler, Link, Transport};

/// How long a host has to say that nobody listens at a port of UDP.
const UNREACHABLE_TIME: Duration = Duration::from_millis(700);

/// How long larger and larger packets are tried.
const PACKET_TIME: Duration = Duration::from_millis(1500);
const PACKET_PAUSE: Duration = Duration::from_millis(50);
/// What every network must carry for QUIC (RFC 9000, section 14).
const SMALLEST_PACKET: u16 = 1200;
/// A packet of the usual size of networks, as far as it is tried.
const USUAL_PACKET: u16 = 1400;

/// The addresses of `host`, of both families.
pub(super) async fn dns(host: &str, port: u16, resolver: &Resolver) -> Verdict<Vec<SocketAddr>> {
    let remedy = "check the name in serverAddr, and the DNS of this host; dnsServer names another";
    match timeout(PATIENCE, resolver.lookup(host, port)).await {
        Ok(Ok(addrs)) if addrs.is_empty() => Err(Fault::new(
            format_args!("`{host}` stands for no address"),
            remedy,
        )),
        Ok(Ok(addrs)) => {
            let list = |is_v4: bool| {
                let of_family = addrs.iter().filter(|it| it.is_ipv4() == is_v4);
                let list: Vec<_> = of_family.map(|it| it.ip().to_string()).collect();
                match list.as_slice() {
                    [] => "none".to_owned(),
                    some => some.join(", "),
                }
            };
            let finding = format!("IPv4: {}; IPv6: {}", list(true), list(false));
            Ok(Sound::good(addrs, finding))
        }
        Ok(Err(error)) => Err(Fault::new(
            format_args!("cannot resolve `{host}`: {}", Chain(&error)),
            remedy,
        )),
        Err(_) => Err(Fault::new(
            format_args!(
                "nobody says what `{host}` is within {} s",
                PATIENCE.as_secs()
            ),
            "the DNS server does not answer: check that of this host, or dnsServer",
        )),
    }
}

/// Whether this host has a way to any of `addrs`. Nothing is sent for that.
pub(super) fn route(addrs: &[SocketAddr]) -> Verdict<()> {
    let has_way = |addr: &&SocketAddr| {
        let any: SocketAddr = match addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        StdUdpSocket::bind(any)
            .and_then(|socket| socket.connect(addr))
            .is_ok()
    };
    let (with, without): (Vec<_>, Vec<_>) = addrs.iter().partition(has_way);
    let list = |addrs: &[&SocketAddr]| {
        let list: Vec<_> = addrs.iter().map(|it| it.ip().to_string()).collect();
        list.join(", ")
    };
    if !with.is_empty() {
        let finding = match without.is_empty() {
            true => "there is a way to every address".to_owned(),
            false => format!(
                "there is a way to {}, and none to {}",
                list(&with),
                list(&without)
            ),
        };
        return Ok(Sound::good((), finding));
    }
    let remedy = match addrs.iter().all(SocketAddr::is_ipv6) {
        true => {
            "the server has an address of IPv6 only: give its name one of IPv4 (an A record), or this host IPv6"
        }
        false => "check the network of this host: it has no route there",
    };
    Err(Fault::new(
        format_args!("this host has no way to {}", list(&without)),
        remedy,
    ))
}

/// From here to a link over a transport of TCP.
pub(super) async fn tcp(
    trial: &Trial,
    need: Passed<()>,
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<Link> {
    let connector = match connector(trial, need, subject, examination) {
        Ok(connector) => connector,
        Err(unmet) => return skip_rest(trial, subject, unmet, examination),
    };
    let dialler = connector.dialler(trial.transport);
    let check = match trial.config.transport.proxy_url {
        Some(_) => "proxy",
        None => "tcp",
    };
    let dialled = examination
        .check(check, subject, Ok(()), async |()| dial(&dialler).await)
        .await;
    let conn = match dialled {
        Ok(conn) => conn,
        Err(unmet) => return skip_rest(trial, subject, unmet, examination),
    };
    let conn = match trial.transport {
        Transport::WebSocket => {
            let conn = upgrade(&dialler, Ok(conn), subject, examination).await;
            tls(trial, &dialler, conn, subject, examination).await
        }
        Transport::Wss => {
            let conn = tls(trial, &dialler, Ok(conn), subject, examination).await;
            upgrade(&dialler, conn, subject, examination).await
        }
        Transport::Kcp | Transport::Quic | Transport::Tcp => {
            tls(trial, &dialler, Ok(conn), subject, examination).await
        }
    };
    Ok(connector.carried_by(conn?, dialler))
}

fn connector(
    trial: &Trial,
    need: Passed<()>,
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<std::sync::Arc<crate::connect::Connector>> {
    need?;
    trial.connector().or_else(|error| {
        let fault = Fault::new(
            Chain(&error),
            "mend the files that transport.tls.certFile, keyFile and trustedCaFile name",
        );
        examination.note("tls", subject, Err(fault))
    })
}

/// Tells of the steps that cannot be taken.
fn skip_rest<T>(
    trial: &Trial,
    subject: &str,
    unmet: Unmet,
    examination: &mut Examination<'_>,
) -> Passed<T> {
    let has_tls = trial.config.transport.tls.is_some() || !trial.may_lack_tls();
    let is_web = matches!(trial.transport, Transport::WebSocket | Transport::Wss);
    let own = match (trial.transport.is_udp(), &trial.config.transport.proxy_url) {
        (true, _) => "udp",
        (false, Some(_)) => "proxy",
        (false, None) => "tcp",
    };
    let checks = [
        (own, true),
        ("websocket", is_web),
        ("tls", has_tls),
        ("certificate", has_tls),
    ];
    let left = checks
        .into_iter()
        .filter(|(check, is_there)| *is_there && *check != unmet.0);
    // That which failed is the first of them, or comes before them all.
    for (check, _) in left {
        if check == own && ["files", "tls"].contains(&unmet.0) {
            continue;
        }
        let _ = examination.skip::<()>(check, subject, unmet);
    }
    Err(unmet)
}

async fn dial(dialler: &Dialler) -> Verdict<Conn> {
    let began = Instant::now();
    match timeout(PATIENCE, dialler.dial()).await {
        Ok(Ok(conn)) => {
            let took = began.elapsed().as_millis();
            Ok(Sound::good(conn, format_args!("connected in {took} ms")))
        }
        Ok(Err(error)) => Err(Fault::new(Chain(&error), dial_remedy(&error))),
        Err(_) => Err(Fault::new(
            format_args!("no connection within {} s", PATIENCE.as_secs()),
            SILENT_PORT,
        )),
    }
}

const SILENT_PORT: &str = "a firewall or the cloud's security group swallows what is sent there, or the host is down: let the port through";

fn dial_remedy(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Dial(error) => tcp_remedy(error),
        ConnectError::Outbound(error) => match error {
            OutboundError::Dial { .. } | OutboundError::Head { .. } => {
                "check host, port and scheme of transport.proxyURL, and that the proxy runs"
            }
            OutboundError::Credentials { .. } | OutboundError::Ntlm { .. } => {
                "write the user and the password into transport.proxyURL, as in http://user:password@host:port"
            }
            OutboundError::Refused { .. } => {
                "the proxy must allow CONNECT to the server's host and port; many allow 443 only, which protocol = \"wss\" is for"
            }
            OutboundError::Tls { .. } | OutboundError::TlsHandshake { .. } => {
                "the proxy's certificate must be valid by the authorities of this system"
            }
            OutboundError::Host { .. }
            | OutboundError::Io { .. }
            | OutboundError::Socks { .. }
            | OutboundError::Timeout { .. } => {
                "check that the proxy reaches the server's host and port, and lets this host use it"
            }
        },
        _ => "check serverAddr and serverPort",
    }
}

fn tcp_remedy(error: &DialError) -> &'static str {
    match error {
        DialError::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            "nobody listens there: start mgroks, or check serverPort, which must be its bindPort"
        }
        DialError::Connect { .. } => "check the network of this host and the way to the server",
        DialError::LocalIp { .. } => {
            "transport.connectServerLocalIP must be an address of this host"
        }
        DialError::NoAddress { .. } => {
            "the server has no address of the family of transport.connectServerLocalIP"
        }
        DialError::Resolve { .. } => "check the name in serverAddr, and the DNS of this host",
        DialError::Timeout { .. } => SILENT_PORT,
    }
}

async fn upgrade(
    dialler: &Dialler,
    conn: Passed<Conn>,
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<Conn> {
    let check = examination.check("websocket", subject, conn, async |conn| {
        let remedy = "check that the port is the server's, and that what stands in front of it passes WebSocket on";
        match timeout(PATIENCE, dialler.upgrade(conn)).await {
            Ok(Ok(conn)) => Ok(Sound::good(conn, "the server takes WebSocket")),
            Ok(Err(error)) => Err(Fault::new(Chain(&error), remedy)),
            Err(_) => Err(Fault::new("no answer to the request for WebSocket", remedy)),
        }
    });
    check.await
}

/// Puts TLS on a connection, if it is to have it, and tells of the certificate.
async fn tls(
    trial: &Trial,
    dialler: &Dialler,
    conn: Passed<Conn>,
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<Conn> {
    if !dialler.has_tls() {
        return conn;
    }
    let conn = match conn {
        Ok(conn) => conn,
        Err(unmet) => {
            let _ = examination.skip::<()>("tls", subject, unmet);
            return examination.skip("certificate", subject, unmet);
        }
    };
    let tls = trial.config.transport.tls.as_ref();
    let failed = match timeout(PATIENCE, dialler.secure(conn)).await {
        Ok(Ok(conn)) => {
            let _ = examination.note(
                "tls",
                subject,
                Ok(Sound::good((), "both ends agree on TLS")),
            );
            if let Some(shown) = ShownCertificate::of_other_end(&conn) {
                examination.note("certificate", subject, accepted(&shown, tls))?;
            }
            return Ok(conn);
        }
        Ok(Err(ConnectError::Certificate { fault, .. })) => {
            let _ = examination.note("tls", subject, Ok(Sound::good((), "both ends speak TLS")));
            let shown = certificate_shown(trial).await;
            let name = name_asked_for(trial);
            let fault = refused(shown.as_ref(), fault, name, tls, trial.clock.as_ref());
            return examination.note("certificate", subject, Err(fault));
        }
        Ok(Err(error)) => Some(error),
        Err(_) => None,
    };
    let fault = tls_fault(trial, failed).await;
    let unmet = examination.note("tls", subject, Err(fault));
    if let Err(unmet) = unmet {
        let _ = examination.skip::<()>("certificate", subject, unmet);
    }
    unmet
}

/// The name that the certificate must be for.
fn name_asked_for(trial: &Trial) -> &str {
    let tls = trial.config.transport.tls.as_ref();
    let named = tls.and_then(|it| it.server_name.as_deref());
    named.unwrap_or(&trial.server.host)
}

/// Why there is no TLS, although there is a connection. `failed` is `None` if the other end says nothing.
async fn tls_fault(trial: &Trial, failed: Option<ConnectError>) -> Fault {
    if trial.may_lack_tls() {
        let plain = trial.with_other_tls();
        if plain.is_answered().await || plain.with_other_mux().is_answered().await {
            return Fault::new(
                "the server is there, and speaks without TLS only",
                "set transport.tls.enable = false here, or find out what takes TLS off the server's port",
            );
        }
    }
    if let Some(who) = who_is_there(trial).await {
        return Fault::new(
            format_args!("it is not the server: {who}"),
            "check serverAddr and serverPort: the port must be the bindPort of mgroks or frps",
        );
    }
    match failed {
        Some(error) => Fault::new(
            Chain(&error),
            "check that serverPort is the bindPort of mgroks or frps, and that nothing on the way looks into TLS",
        ),
        None => Fault::new(
            format_args!(
                "somebody accepts connections at that port, and says nothing for {} s",
                PATIENCE.as_secs()
            ),
            "check that serverPort is the bindPort of mgroks or frps; a port that a firewall or balancer accepts for is silent, too",
        ),
    }
}

/// Who is at the server's port, if they speak without TLS.
async fn who_is_there(trial: &Trial) -> Option<String> {
    let connector = trial.connector().ok()?;
    let dialler = connector.dialler(trial.transport);
    let conn = timeout(PATIENCE, dialler.dial()).await.ok()?.ok()?;
    identify(conn).await
}

/// The certificate that the server shows to those who take any.
async fn certificate_shown(trial: &Trial) -> Option<ShownCertificate> {
    let connector = trial.unverified().connector().ok()?;
    let dialler = connector.dialler(trial.transport);
    let seen = async {
        if trial.transport == Transport::Quic {
            let (connection, _endpoint) = dialler.quic().await.ok()?;
            let shown = connection.certificate();
            connection.close();
            return shown;
        }
        let conn = match trial.transport {
            Transport::Kcp => dialler.connect_first().await.ok()?,
            Transport::WebSocket => {
                let conn = dialler.dial().await.ok()?;
                let conn = dialler.upgrade(conn).await.ok()?;
                dialler.secure(conn).await.ok()?
            }
            Transport::Quic | Transport::Tcp | Transport::Wss => {
                let conn = dialler.dial().await.ok()?;
                dialler.secure(conn).await.ok()?
            }
        };
        ShownCertificate::of_other_end(&conn)
    };
    timeout(PATIENCE, Box::pin(seen)).await.ok()?
}

/// From here to a link over a transport of UDP.
pub(super) async fn udp(
    trial: &Trial,
    addrs: Passed<Vec<SocketAddr>>,
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<Link> {
    let need = addrs.as_ref().map(drop).map_err(|unmet| *unmet);
    let connector = match connector(trial, need, subject, examination) {
        Ok(connector) => connector,
        Err(unmet) => return skip_rest(trial, subject, unmet, examination),
    };
    let dialler = connector.dialler(trial.transport);
    let addrs = addrs.unwrap_or_default();
    if trial.transport == Transport::Kcp {
        let conn = kcp(trial, &dialler, &addrs, subject, examination).await?;
        return Ok(connector.carried_by(conn, dialler));
    }
    let (connection, endpoint) = match timeout(PATIENCE, Box::pin(dialler.quic())).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => {
            return udp_failed(trial, Some(error), &addrs, subject, examination).await;
        }
        Err(_) => return udp_failed(trial, None, &addrs, subject, examination).await,
    };
    let finding = format!(
        "datagrams come back, in {} ms",
        connection.round_trip().as_millis()
    );
    let _ = examination.note("udp", subject, Ok(Sound::good((), finding)));
    let _ = examination.note("tls", subject, Ok(Sound::good((), "that of QUIC")));
    if let Some(shown) = connection.certificate() {
        let tls = trial.config.transport.tls.as_ref();
        examination.note("certificate", subject, accepted(&shown, tls))?;
    }
    let _ = examination.note("mtu", subject, Ok(packets(&connection).await));
    Ok(Link::quic(connection, endpoint))
}

/// How large packets get there.
async fn packets(connection: &Connection) -> Sound<()> {
    let until = Instant::now() + PACKET_TIME;
    while connection.largest_packet() < USUAL_PACKET && Instant::now() < until {
        sleep(PACKET_PAUSE).await;
    }
    let size = connection.largest_packet();
    let finding = format!("packets of {size} bytes get there");
    match size {
        ..=SMALLEST_PACKET => Sound::doubtful(
            (),
            format_args!("{finding}, and larger ones do not"),
            "the way has a small MTU (a VPN, PPPoE): nothing breaks, but large datagrams of users travel in pieces",
        ),
        _ => Sound::good((), finding),
    }
}

/// A connection by KCP: first whether anybody answers, then what the way there carries, then TLS.
async fn kcp(
    trial: &Trial,
    dialler: &Dialler,
    addrs: &[SocketAddr],
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<Conn> {
    let Some(addr) = kcp_answers(addrs).await else {
        return udp_failed(trial, None, addrs, subject, examination).await;
    };
    let _ = examination.note("udp", subject, Ok(Sound::good((), "datagrams come back")));
    let size = kcp::LARGEST_DATAGRAM;
    let taken = timeout(PATIENCE, kcp::takes_largest(addr)).await;
    let verdict = match taken {
        Ok(Ok(())) => Ok(Sound::good(
            (),
            format_args!("packets of {size} bytes get there, the largest of KCP"),
        )),
        Ok(Err(_)) | Err(_) => Err(Fault::new(
            format_args!(
                "small packets get there, and those of {size} bytes, which KCP sends, do not"
            ),
            "the way has a small MTU (a VPN, PPPoE) and does not say so: use protocol = \"quic\", \"tcp\" or \"auto\", or give the network \
             interface of this host the MTU of the way, so that the system sends such packets in pieces",
        )),
    };
    if let Err(unmet) = examination.note("mtu", subject, verdict) {
        if dialler.has_tls() {
            let _ = examination.skip::<()>("tls", subject, unmet);
            let _ = examination.skip::<()>("certificate", subject, unmet);
        }
        return Err(unmet);
    }
    let conn = match timeout(PATIENCE, dialler.connect_first()).await {
        Ok(Ok(conn)) => conn,
        Ok(Err(error)) => return handshake_failed(trial, &error, subject, examination).await,
        Err(_) => {
            let silent = ConnectError::HandshakeTimeout { layer: "TLS" };
            return handshake_failed(trial, &silent, subject, examination).await;
        }
    };
    if dialler.has_tls() {
        let _ = examination.note(
            "tls",
            subject,
            Ok(Sound::good((), "both ends agree on TLS")),
        );
        if let Some(shown) = ShownCertificate::of_other_end(&conn) {
            let tls = trial.config.transport.tls.as_ref();
            examination.note("certificate", subject, accepted(&shown, tls))?;
        }
    }
    Ok(conn)
}

/// The first of `addrs` at which somebody speaks KCP.
async fn kcp_answers(addrs: &[SocketAddr]) -> Option<SocketAddr> {
    let mut asked = JoinSet::new();
    for addr in addrs.iter().copied() {
        asked.spawn(async move { kcp::answers(addr).await.is_ok().then_some(addr) });
    }
    let first = async {
        while let Some(answered) = asked.join_next().await {
            if let Ok(Some(addr)) = answered {
                return Some(addr);
            }
        }
        None
    };
    timeout(PATIENCE, first).await.ok()?
}

/// Tells why there is no link. `error` is `None` if nothing has come back.
async fn udp_failed<T>(
    trial: &Trial,
    error: Option<ConnectError>,
    addrs: &[SocketAddr],
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<T> {
    if let Some(
        error @ (ConnectError::Certificate { .. }
        | ConnectError::Tls(_)
        | ConnectError::Quic(QuicError::Handshake { .. })),
    ) = &error
    {
        let _ = examination.note("udp", subject, Ok(Sound::good((), "datagrams come back")));
        return handshake_failed(trial, error, subject, examination).await;
    }
    let transport = trial.transport;
    let fault = if is_closed(addrs).await {
        Fault::new(
            "nobody listens at that port of UDP: its host says so",
            format_args!("set {transport}BindPort at the server, to serverPort of this file"),
        )
    } else {
        let why = match &error {
            Some(ConnectError::Silent { .. } | ConnectError::Dial(DialError::Timeout { .. }))
            | None => format!(
                "nothing comes back over UDP within {} s",
                PATIENCE.as_secs()
            ),
            Some(error) => Chain(error).to_string(),
        };
        Fault::new(
            why,
            format_args!(
                "let UDP through to the server, in both directions, and check that its {transport}BindPort is this port; \
                 protocol = \"auto\" does without UDP where it is blocked"
            ),
        )
    };
    let unmet = match examination.note("udp", subject, Err(fault)) {
        Ok(never) => return Ok(never),
        Err(unmet) => unmet,
    };
    let _ = skip_rest::<()>(trial, subject, unmet, examination);
    examination.skip("mtu", subject, unmet)
}

/// Tells why the two ends do not come to terms, although datagrams come back.
async fn handshake_failed<T>(
    trial: &Trial,
    error: &ConnectError,
    subject: &str,
    examination: &mut Examination<'_>,
) -> Passed<T> {
    if let ConnectError::Certificate { fault, .. } = error {
        let _ = examination.note("tls", subject, Ok(Sound::good((), "both ends speak TLS")));
        let shown = certificate_shown(trial).await;
        let (tls, clock) = (trial.config.transport.tls.as_ref(), trial.clock.as_ref());
        let fault = refused(shown.as_ref(), *fault, name_asked_for(trial), tls, clock);
        return examination.note("certificate", subject, Err(fault));
    }
    let fault = Fault::new(
        Chain(error),
        "check certificates, authorities and transport.tls at both ends",
    );
    let unmet = examination.note("tls", subject, Err(fault));
    if let Err(unmet) = unmet {
        let _ = examination.skip::<()>("certificate", subject, unmet);
    }
    unmet
}

/// Whether the host of one of `addrs` says that nobody listens there, which it does in answer to a datagram.
pub(super) async fn is_closed(addrs: &[SocketAddr]) -> bool {
    for addr in addrs {
        let any: SocketAddr = match addr {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let asked = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(addr).await?;
            // It is empty, so that nobody takes it for anything.
            socket.send(&[]).await?;
            socket.recv(&mut [0; 1]).await
        };
        if let Ok(Err(error)) = timeout(UNREACHABLE_TIME, asked).await
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return true;
        }
    }
    false
}
