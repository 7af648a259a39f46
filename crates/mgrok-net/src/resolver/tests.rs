//! Tests lookups at a small DNS server, over real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use std::time::Duration;

use tempfile::NamedTempFile;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::*;
use crate::tcp::{self, DialError, DialOptions, accept, bind, dial};

/// Query types.
const A: u16 = 1;
const AAAA: u16 = 28;
/// Response codes.
const NO_ERROR: u8 = 0;
const NO_SUCH_NAME: u8 = 3;

/// A DNS server that knows three names.
struct Dns {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Dns {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = socket.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let server = tokio::spawn(async move {
            let mut question = [0; 512];
            loop {
                let (len, from) = socket.recv_from(&mut question).await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                if let Some(answer) = answer(&question[..len]) {
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        Self {
            addr,
            asked,
            server,
        }
    }

    fn options(&self) -> DialOptions {
        DialOptions {
            timeout: Duration::from_secs(10),
            keepalive: None,
            local_ip: None,
            resolver: Resolver::new(Some(self.addr)),
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// The response to a query with one question; `None` to leave it unanswered.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::new();
    let mut at = 12;
    while message[at] != 0 {
        let end = at + 1 + usize::from(message[at]);
        name.push(String::from_utf8(message[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let question = &message[12..at + 5];
    let kind = u16::from_be_bytes([message[at + 1], message[at + 2]]);
    let (code, addrs): (u8, Vec<Vec<u8>>) = match (name.join(".").as_str(), kind) {
        ("both.test", A) => (NO_ERROR, vec![Ipv4Addr::LOCALHOST.octets().into()]),
        ("both.test", AAAA) => (NO_ERROR, vec![Ipv6Addr::LOCALHOST.octets().into()]),
        ("half.test", A) => (NO_ERROR, vec![Ipv4Addr::LOCALHOST.octets().into()]),
        ("half.test", AAAA) => return None,
        (name, _) if name.ends_with("silent.test") => return None,
        _ => (NO_SUCH_NAME, Vec::new()),
    };
    let mut answer = message[..2].to_vec();
    // Header of a recursive server's response: one question, and the number of records.
    answer.extend([0x81, 0x80 | code, 0, 1, 0, addrs.len() as u8, 0, 0, 0, 0]);
    answer.extend(question);
    for addr in addrs {
        // A pointer to the question's name; class IN, a TTL of one hour.
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0x0e, 0x10, 0, addr.len() as u8]);
        answer.extend(addr);
    }
    Some(answer)
}

#[tokio::test]
async fn names_are_looked_up_at_the_server_each_time() {
    let dns = Dns::start().await;
    let listener = bind("127.0.0.1", 0).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for lookups in 1..=2 {
        let options = dns.options();
        let (dialled, _) = tokio::join!(dial("both.test", port, &options), accept(&listener));
        assert!(dialled.unwrap().peer_addr().unwrap().is_ipv4());
        // One query for each family.
        assert_eq!(dns.asked.load(Ordering::Relaxed), lookups * 2);
    }
    let found = Resolver::new(Some(dns.addr)).lookup("both.test", 7).await;
    let expect: [SocketAddr; 2] = ["[::1]:7", "127.0.0.1:7"].map(|it| it.parse().unwrap());
    assert_eq!(found.unwrap(), expect);
}

#[tokio::test]
async fn addresses_and_names_of_the_hosts_file_are_not_asked_for() {
    let dns = Dns::start().await;
    let hosts = NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "192.0.2.1 box.test\n").unwrap();
    let resolver = Resolver::with_hosts(Some(dns.addr), hosts.path().to_owned());
    for (host, addr) in [
        ("127.0.0.1", "127.0.0.1:7"),
        ("::1", "[::1]:7"),
        ("[::1]", "[::1]:7"),
        ("fe80::1%1", "[fe80::1%1]:7"),
        ("[fe80::1%1]", "[fe80::1%1]:7"),
        ("Box.test.", "192.0.2.1:7"),
    ] {
        let found = resolver.lookup(host, 7).await.unwrap();
        assert_eq!(found, [addr.parse().unwrap()], "{host}");
    }
    let loopback: [SocketAddr; 2] = ["[::1]:7", "127.0.0.1:7"].map(|it| it.parse().unwrap());
    for host in ["localhost", "LocalHost."] {
        assert_eq!(resolver.lookup(host, 7).await.unwrap(), loopback, "{host}");
    }
    assert_eq!(dns.asked.load(Ordering::Relaxed), 0);
}

#[cfg(target_os = "linux")] // where the loopback interface has this name
#[tokio::test]
async fn a_zone_may_be_the_name_of_an_interface() {
    let resolver = Resolver::default();
    let found = resolver.lookup("fe80::1%lo", 7).await.unwrap();
    assert_eq!(found, ["[fe80::1%1]:7".parse().unwrap()]);
    resolver.lookup("fe80::1%nowhere", 7).await.unwrap_err();
}

/// Looks `name` up in a task of its own, which has joined the lookup when this returns.
async fn ask(
    resolver: &Resolver,
    name: &str,
) -> tokio::task::JoinHandle<io::Result<Vec<SocketAddr>>> {
    let (resolver, name) = (resolver.clone(), name.to_owned());
    let asking = tokio::spawn(async move { resolver.lookup(&name, 7).await });
    tokio::task::yield_now().await;
    asking
}

#[tokio::test]
async fn callers_for_one_name_share_one_lookup() {
    let dns = Dns::start().await;
    let resolver = Resolver::new(Some(dns.addr));
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let resolver = resolver.clone();
        asking.spawn(async move { resolver.lookup("both.test", 7).await });
    }
    for found in asking.join_all().await {
        assert_eq!(found.unwrap().len(), 2);
    }
    // One query for each family.
    assert_eq!(dns.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_name_that_hangs_keeps_no_other_waiting() {
    let dns = Dns::start().await;
    let resolver = Resolver::new(Some(dns.addr));
    let mut hanging = Vec::new();
    for _ in 0..500 {
        hanging.push(ask(&resolver, "silent.test").await);
    }
    assert_eq!(resolver.lookup("both.test", 7).await.unwrap().len(), 2);
    assert!(hanging.iter().all(|it| !it.is_finished()));
    for hanging in &hanging {
        hanging.abort();
    }
}

// The clock stands still as long as there is something to do, so that no lookup times out meanwhile.
#[tokio::test(start_paused = true)]
async fn a_cancelled_caller_leaves_nothing_in_the_queue() {
    let dns = Dns::start().await;
    let resolver = Resolver::new(Some(dns.addr));
    let mut hanging = Vec::new();
    for number in 0..lookups::MAX_LOOKUPS {
        hanging.push(ask(&resolver, &format!("{number}.silent.test")).await);
    }
    let mut queued = Vec::new();
    for number in 0..100 {
        queued.push(ask(&resolver, &format!("{number}.queued.silent.test")).await);
    }
    assert_eq!(resolver.lookups.len(), lookups::MAX_LOOKUPS + 100);
    // Hanging lookups hold all permits; a host that needs no lookup does not wait.
    assert!(!resolver.lookup("localhost", 7).await.unwrap().is_empty());
    for asking in queued {
        asking.abort();
        let _ = asking.await;
    }
    // Each lookup that was woken has had its turns by then.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(resolver.lookups.len(), lookups::MAX_LOOKUPS);
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_hangs_does_not_hold_up_a_later_one_for_ever() {
    let dns = Dns::start().await;
    let resolver = Resolver::new(Some(dns.addr));
    for (later, running) in [(0, 1), (1000, 1), (2100, 2), (100, 2)] {
        tokio::time::advance(Duration::from_millis(later)).await;
        let asking = ask(&resolver, "silent.test").await;
        assert_eq!(
            resolver.lookups.running("silent.test"),
            running,
            "{later} ms later"
        );
        asking.abort();
    }
}

#[tokio::test]
async fn a_name_that_the_server_does_not_know_cannot_be_dialled() {
    let dns = Dns::start().await;
    let error = dial("none.test", 7, &dns.options()).await.unwrap_err();
    assert!(matches!(error, DialError::Resolve { .. }), "{error:?}");
    assert!(dns.asked.load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn a_server_that_leaves_ipv6_unanswered_does_not_take_all_the_time() {
    let dns = Dns::start().await;
    let options = dns.options();
    let began = Instant::now();
    let found = tcp::Candidates::find("half.test", 7, &options).await;
    let addrs = async |addr| Ok::<_, DialError>(addr);
    let found = found.unwrap().first_that(addrs).await.unwrap();
    assert_eq!(found, "127.0.0.1:7".parse().unwrap());
    assert!(began.elapsed() < options.timeout / 2 + dns::ANSWER_TIMEOUT);
}

#[tokio::test]
async fn the_timeout_is_for_the_lookup_too() {
    let dns = Dns::start().await;
    let options = DialOptions {
        timeout: Duration::from_millis(100),
        ..dns.options()
    };
    let error = dial("silent.test", 7, &options).await.unwrap_err();
    assert!(matches!(error, DialError::Timeout { .. }), "{error:?}");
}
