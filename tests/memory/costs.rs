//! What each thing that users do takes of either end: allocations, calls of the system, and waits, which are wakeups.
//!
//! The bounds have some room above what is measured, since how much comes at a time is for the kernel and the other threads to say. Where
//! one is exceeded, the message says what there was. A change that makes one of them better should lower it.

use std::net::SocketAddr;

use mgrok_lab::{PATIENCE, ports, service, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::runtime::Builder;
use tokio::time::{Duration, sleep, timeout};

use crate::calls::Calls;
use crate::ends::{ENDS, start};
use crate::{ALLOCATOR, ALONE};

/// How often each is measured. The least counts: what else happens can only add to it.
const ROUNDS: usize = 3;

/// What is moved in one go of bulk.
const BULK: usize = 4 << 20;

/// How much of it users and services write and read at a time.
const PIECE: usize = 64 << 10;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The most that one of these may cost, each the server's and then the client's.
struct Most {
    what: &'static str,
    /// How many of them are done at a time, and what is measured divided by.
    times: usize,
    allocations: [f64; 2],
    calls: [f64; 2],
    waits: [f64; 2],
}

/// One message there and one back on a connection that is there: 4.0 calls, to read from the user and write to the link, and the other way; 2.1
/// waits, one for either (3.1 when a message went to the link by another task); and 2.0 allocations.
const PING: Most = Most {
    what: "a ping",
    times: 50,
    allocations: [2.25, 2.25],
    calls: [4.5, 4.5],
    waits: [2.75, 2.75],
};

/// One there and one back, alone: as a ping. It was up to 3.1 waits when a socket was woken by the room that its own datagrams left behind.
const DATAGRAM: Most = Most {
    what: "a datagram",
    times: 50,
    allocations: [2.25, 2.25],
    calls: [4.5, 4.5],
    waits: [2.75, 2.75],
};

/// On connections that are kept: as a ping, and 20 more allocations, which are hyper's for the most part (`mgrok-http` counts them alone).
const REQUEST: Most = Most {
    what: "an HTTP request",
    times: 50,
    allocations: [23.0, 2.25],
    calls: [4.5, 4.5],
    waits: [2.75, 2.75],
};

/// From the connection to its end, with a byte there and back: 28 and 27 allocations, for its task, its stream, its rows and the
/// message about it (35 when the client was asked for each stream); 14.4 and 21.3 calls, of which half are about sockets; 3.5 to 4.5 waits.
const USER: Most = Most {
    what: "a user",
    times: 20,
    allocations: [31.0, 31.0],
    calls: [17.0, 24.0],
    waits: [7.0, 7.0],
};

/// 35 calls at either end, of some 64 KiB from a connection and to one, and 5 and 10 allocations. How much comes at a time decides, which is why
/// there is much room; of waits there were 1 to 3, as both ends are always busy here.
const MIB_UP: Most = Most {
    what: "a MiB from a user",
    times: BULK >> 20,
    allocations: [30.0, 45.0],
    calls: [75.0, 75.0],
    waits: [30.0, 30.0],
};

/// The same the other way.
const MIB_DOWN: Most = Most {
    what: "a MiB to a user",
    times: BULK >> 20,
    allocations: [45.0, 30.0],
    calls: [75.0, 75.0],
    waits: [30.0, 30.0],
};

/// Plain, without multiplexing, the bytes never come to the program: there were no calls but those that splice, which are not counted. A
/// direction that copied and went back to splicing in the midst of it would take four for its four MiB.
const MIB_UP_PLAIN: Most = Most {
    what: "a MiB from a user, plain",
    times: BULK >> 20,
    allocations: [1.0, 1.0],
    calls: [1.0, 1.0],
    waits: [10.0, 10.0],
};

/// The same the other way.
const MIB_DOWN_PLAIN: Most = Most {
    what: "a MiB to a user, plain",
    times: BULK >> 20,
    allocations: [1.0, 1.0],
    calls: [1.0, 1.0],
    waits: [10.0, 10.0],
};

/// The most bytes that calls of an end may move between the system and the program for a MiB that is plain, of the 2 MiB that it would be if
/// all were copied: as many as two slabs of 64 KiB, read and written once in four MiB.
const MOVED_PLAIN: usize = 64 << 10;

/// What something has cost an end.
struct Cost {
    allocations: usize,
    calls: Calls,
}

/// What all ends have done so far.
fn counts() -> [Cost; 2] {
    ENDS.map(|end| Cost {
        allocations: ALLOCATOR.calls_of(end as usize),
        calls: Calls::of(end as usize),
    })
}

/// What was measured, in words.
#[derive(Default)]
struct Costs {
    all: Vec<String>,
    /// What was more than it may be.
    too_much: Vec<String>,
}

impl Costs {
    /// Has `run` do it in rounds, and compares the least with `most`. How many bytes each end has moved at the least.
    async fn measure(&mut self, most: &Most, mut run: impl AsyncFnMut(usize)) -> [usize; 2] {
        // What the first ones bring about is not theirs.
        run(most.times).await;
        let mut rounds = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let before = counts();
            run(most.times).await;
            rounds.push([before, counts()]);
        }
        [0, 1].map(|end| {
            let costs = rounds.iter().map(|[before, after]| Cost {
                allocations: after[end].allocations - before[end].allocations,
                calls: after[end].calls.since(&before[end].calls),
            });
            let costs: Vec<_> = costs.collect();
            let of = |what: fn(&Cost) -> usize| costs.iter().map(what).min().unwrap_or(0);
            for (unit, count, most_of_it) in [
                (
                    "allocations",
                    of(|it| it.allocations),
                    most.allocations[end],
                ),
                ("calls", of(|it| it.calls.all()), most.calls[end]),
                ("waits", of(|it| it.calls.waits()), most.waits[end]),
            ] {
                let each = count as f64 / most.times as f64;
                let said = format!(
                    "{} costs the {:?} {each:.2} {unit}, of {most_of_it}",
                    most.what, ENDS[end]
                );
                self.all.push(said.clone());
                if each > most_of_it {
                    let calls = costs.iter().map(|it| format!("\n    {}", it.calls));
                    self.too_much.push(said + &calls.collect::<String>());
                }
            }
            of(|it| it.calls.bytes)
        })
    }
}

/// A service that takes and gives what it is asked for: [`BULK`] bytes after a `u`, then answered with a byte, or sent after a `d`.
async fn bulk() -> service::Service {
    service::tcp(async |mut stream: TcpStream| {
        let (mut room, mut what) = (vec![0; PIECE], [0]);
        while stream.read_exact(&mut what).await.is_ok() {
            for _ in 0..BULK / PIECE {
                let moved = match what {
                    [b'd'] => stream.write_all(&room).await,
                    _ => stream.read_exact(&mut room).await.map(drop),
                };
                if moved.is_err() {
                    return;
                }
            }
            if what == *b"u" && stream.write_all(b".").await.is_err() {
                return;
            }
        }
    })
    .await
}

/// A service that answers every request, which comes in one piece.
async fn web() -> service::Service {
    service::tcp(async |mut stream: TcpStream| {
        let mut room = [0; 2048];
        while let Ok(1..) = stream.read(&mut room).await {
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// A user who has had an answer of `len` bytes that begins so, as soon as somebody can have one.
async fn first_user(public: SocketAddr, ask: &[u8], len: usize, begins: &[u8]) -> TcpStream {
    let attempt = async || -> std::io::Result<TcpStream> {
        let mut user = TcpStream::connect(public).await?;
        user.set_nodelay(true)?;
        user.write_all(ask).await?;
        let mut answer = vec![0; len];
        user.read_exact(&mut answer).await?;
        if !answer.starts_with(begins) {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        Ok(user)
    };
    let coming = async {
        loop {
            match attempt().await {
                Ok(user) => return user,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    within(PATIENCE, "a user", coming).await
}

async fn ping(user: &mut TcpStream) {
    user.write_all(&[7; 64]).await.unwrap();
    user.read_exact(&mut [0; 64]).await.unwrap();
}

async fn move_up(user: &mut TcpStream, piece: &[u8]) {
    user.write_all(b"u").await.unwrap();
    for _ in 0..BULK / PIECE {
        user.write_all(piece).await.unwrap();
    }
    user.read_exact(&mut [0]).await.unwrap();
}

async fn move_down(user: &mut TcpStream, piece: &mut [u8]) {
    user.write_all(b"d").await.unwrap();
    for _ in 0..BULK / PIECE {
        user.read_exact(piece).await.unwrap();
    }
}

/// A user of a UDP port, and one datagram there and back, sent again as long as it is lost.
async fn datagram(user: &UdpSocket) {
    let mut room = [0; 512];
    let exchange = async {
        loop {
            user.send(&[7; 512]).await.unwrap();
            // An error is about an earlier one for which nobody was there.
            if let Ok(Ok(512)) = timeout(Duration::from_secs(1), user.recv(&mut room)).await {
                return;
            }
        }
    };
    within(PATIENCE, "a datagram", exchange).await;
}

/// Where users come, and what publishes a service there.
fn published(kind: &str, service: &service::Service) -> (SocketAddr, String) {
    let (port, local) = (ports::free(), service.addr().port());
    let toml = format!(
        "[[proxies]]\nname = '{kind} {local}'\ntype = '{kind}'\nlocalPort = {local}\nremotePort = {port}\n"
    );
    (SocketAddr::from(([127, 0, 0, 1], port)), toml)
}

#[test]
fn what_users_do_costs_no_more_than_it_did() {
    let tests = Builder::new_current_thread().enable_all().build().unwrap();
    tests.block_on(async {
        let _alone = ALONE.lock().await;
        let mut costs = Costs::default();
        by_default(&mut costs).await;
        plain(&mut costs).await;
        println!("{}", costs.all.join("\n"));
        assert!(costs.too_much.is_empty(), "{}", costs.too_much.join("\n"));
    });
}

/// With TLS and multiplexing.
async fn by_default(costs: &mut Costs) {
    let (echo, udp, web) = (
        service::tcp_echo().await,
        service::udp_echo().await,
        web().await,
    );
    let bulk = bulk().await;
    let (echo_at, echo_toml) = published("tcp", &echo);
    let (bulk_at, bulk_toml) = published("tcp", &bulk);
    let (udp_at, udp_toml) = published("udp", &udp);
    let http = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let web_toml = format!(
        "[[proxies]]\nname = 'web'\ntype = 'http'\nlocalPort = {}\ncustomDomains = ['a']\n",
        web.addr().port()
    );
    let ends = start(
        &format!("vhostHTTPPort = {}", http.port()),
        &[echo_toml, bulk_toml, udp_toml, web_toml].concat(),
    );

    let mut user = first_user(echo_at, b"?", 1, b"?").await;
    costs
        .measure(&PING, async |times| {
            for _ in 0..times {
                ping(&mut user).await;
            }
        })
        .await;
    costs
        .measure(&USER, async |times| {
            for _ in 0..times {
                drop(first_user(echo_at, b"?", 1, b"?").await);
            }
        })
        .await;
    let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    user.connect(udp_at).await.unwrap();
    costs
        .measure(&DATAGRAM, async |times| {
            for _ in 0..times {
                datagram(&user).await;
            }
        })
        .await;
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: somebody\r\n\r\n";
    let mut user = first_user(http, request, 12, b"HTTP/1.1 200").await;
    read_answer(&mut user).await;
    costs
        .measure(&REQUEST, async |times| {
            for _ in 0..times {
                user.write_all(request).await.unwrap();
                read_answer(&mut user).await;
            }
        })
        .await;
    let mut user = first_user(bulk_at, b"d", BULK, b"").await;
    let mut piece = vec![7; PIECE];
    costs
        .measure(&MIB_UP, async |_| move_up(&mut user, &piece).await)
        .await;
    costs
        .measure(&MIB_DOWN, async |_| move_down(&mut user, &mut piece).await)
        .await;
    for runtime in ends {
        runtime.shutdown_background();
    }
}

/// Without TLS and multiplexing.
async fn plain(costs: &mut Costs) {
    let bulk = bulk().await;
    let (bulk_at, bulk_toml) = published("tcp", &bulk);
    let ends = start(
        "transport.tcpMux = false",
        &format!("transport.tcpMux = false\ntransport.tls.enable = false\n{bulk_toml}"),
    );
    let mut user = first_user(bulk_at, b"d", BULK, b"").await;
    let mut piece = vec![7; PIECE];
    let up = costs
        .measure(&MIB_UP_PLAIN, async |_| move_up(&mut user, &piece).await)
        .await;
    let down = costs
        .measure(&MIB_DOWN_PLAIN, async |_| {
            move_down(&mut user, &mut piece).await;
        })
        .await;
    for moved in up.into_iter().chain(down) {
        let each = moved / MIB_UP_PLAIN.times;
        if each > MOVED_PLAIN {
            costs
                .too_much
                .push(format!("{each} bytes of a MiB come to the program"));
        }
    }
    for runtime in ends {
        runtime.shutdown_background();
    }
}

/// Reads to the end of an answer.
async fn read_answer(user: &mut TcpStream) {
    let (mut seen, mut len) = ([0; 1024], 0);
    while !seen[..len].ends_with(b"\r\n\r\nok") {
        let read = user.read(&mut seen[len..]).await.unwrap();
        assert_ne!(read, 0, "the connection ended");
        len += read;
    }
}
