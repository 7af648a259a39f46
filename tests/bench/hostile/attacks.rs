//! What strangers do.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mgrok_net::{
    quic::{Endpoint, QuicClient, QuicOptions},
    tls::ClientTlsOptions,
};

use crate::target::Target;

/// How many forged packets are sent in a second.
const PACKETS_PER_SECOND: u32 = 5_000;

/// How many handshakes are left half done at a time.
const HALF_OPEN: usize = 3_000;

/// How many first packets of QUIC are recorded.
const INITIALS: usize = 2_048;

/// A kind of attack.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attack {
    /// First packets of KCP from everywhere, each of another session.
    Kcp,
    /// First packets of QUIC from everywhere.
    Quic,
    /// Two connections that open streams and reset them as fast as they can.
    Yamux,
    /// Connections that stop in the middle of their ClientHello.
    Tls,
    /// Bytes that mean nothing, in many forms.
    Garbage,
    /// Logins that were recorded, with all that followed.
    Replay,
    /// Users who come and go as fast as they can, by TCP, UDP and HTTP.
    Users,
}

/// Whether the attack is to end, and how often it was tried.
#[derive(Clone)]
struct Progress {
    stop: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
}

impl Attack {
    pub(crate) const ALL: [Self; 7] = [
        Self::Kcp,
        Self::Quic,
        Self::Yamux,
        Self::Tls,
        Self::Garbage,
        Self::Replay,
        Self::Users,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kcp => "forged kcp packets",
            Self::Quic => "forged quic packets",
            Self::Yamux => "yamux SYN and RST",
            Self::Tls => "half-open tls",
            Self::Garbage => "v1 and v2 garbage",
            Self::Replay => "replayed logins",
            Self::Users => "flooding users",
        }
    }

    /// By which transport somebody new should be able to come meanwhile.
    pub(crate) fn transport(self) -> &'static str {
        match self {
            Self::Kcp => "kcp",
            Self::Quic => "quic",
            Self::Yamux | Self::Tls | Self::Garbage | Self::Replay | Self::Users => "tcp",
        }
    }

    pub(crate) fn start(
        self,
        target: &Arc<Target>,
        stop: &Arc<AtomicBool>,
        attempts: &Arc<AtomicU64>,
    ) -> Vec<JoinHandle<()>> {
        let progress = Progress {
            stop: stop.clone(),
            attempts: attempts.clone(),
        };
        let spawn = |attack: fn(&Target, &Progress)| {
            let (target, progress) = (target.clone(), progress.clone());
            thread::spawn(move || attack(&target, &progress))
        };
        match self {
            Self::Kcp => vec![spawn(kcp)],
            Self::Quic => vec![spawn(quic)],
            Self::Yamux => vec![spawn(yamux), spawn(yamux)],
            Self::Tls => vec![spawn(tls)],
            Self::Garbage => vec![spawn(garbage), spawn(garbage)],
            Self::Replay => vec![spawn(replay), spawn(replay)],
            Self::Users => vec![
                spawn(tcp_users),
                spawn(tcp_users),
                spawn(udp_users),
                spawn(http_users),
            ],
        }
    }
}

impl Progress {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self, attempts: usize) {
        self.attempts.fetch_add(attempts as u64, Ordering::Relaxed);
    }

    /// Sends forged packets at their rate.
    fn pace(&self, mut send: impl FnMut()) {
        let begun = Instant::now();
        let mut sent = 0;
        while self.goes_on() {
            let due = (begun.elapsed().as_secs_f64() * f64::from(PACKETS_PER_SECOND)) as u32;
            while sent < due {
                send();
                self.count(1);
                sent += 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A socket at an address where nobody else is. All of 127.0.0.0/8 is this machine.
fn somewhere() -> Option<UdpSocket> {
    let [.., b, c, d] = fastrand::u32(..).to_be_bytes();
    UdpSocket::bind((Ipv4Addr::new(127, b.max(1), c, d.clamp(1, 254)), 0)).ok()
}

fn kcp(target: &Target, progress: &Progress) {
    progress.pace(|| {
        // A data packet of the error correction, with a segment that carries the beginning of a yamux stream.
        let mut packet = vec![0, 0, 0, 0, 0xf1, 0, 0x26, 0];
        packet.extend_from_slice(&fastrand::u32(1..).to_le_bytes());
        packet.extend_from_slice(&[0x51, 0, 0, 2, 0x17, 0, 0, 0]);
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&12_u32.to_le_bytes());
        packet.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 0, 0]);
        if let Some(socket) = somewhere() {
            let _ = socket.send_to(&packet, target.kcp);
        }
    });
}

fn quic(target: &Target, progress: &Progress) {
    let initials = initials();
    progress.pace(|| {
        let packet = &initials[fastrand::usize(..initials.len())];
        if let Some(socket) = somewhere() {
            let _ = socket.send_to(packet, target.quic);
        }
    });
}

/// First packets of clients that wait for an answer.
fn initials() -> Vec<Vec<u8>> {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let addr = silent.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut initials = Vec::new();
    runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::client(socket).unwrap();
        let tls = ClientTlsOptions {
            server_name: "localhost".to_owned(),
            ..ClientTlsOptions::default()
        };
        let client = QuicClient::new(tls, QuicOptions::default()).unwrap();
        let mut buffer = [0; 2048];
        while initials.len() < INITIALS {
            let first = Duration::from_millis(2);
            // It is the caller that waits in vain.
            let _ = tokio::time::timeout(first, endpoint.connect(addr, &client)).await;
            silent.set_nonblocking(true).unwrap();
            while let Ok(len) = silent.recv(&mut buffer) {
                // A long header: what follows it may be a goodbye.
                if buffer[0] & 0x80 != 0 && len >= 1_200 {
                    initials.push(buffer[..len].to_vec());
                }
            }
        }
        endpoint.close();
    });
    initials
}

fn yamux(target: &Target, progress: &Progress) {
    while progress.goes_on() {
        let Ok(mut stream) = TcpStream::connect(target.control) else {
            continue;
        };
        let mut sink = stream.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(1..) = sink.read(&mut buffer) {}
        });
        let mut id = 1_u32;
        while progress.goes_on() && id < u32::MAX - 4_000 {
            let mut frames = Vec::with_capacity(1_000 * 24);
            for _ in 0..1_000 {
                for flags in [1_u8, 8] {
                    frames.extend_from_slice(&[0, 1, 0, flags]);
                    frames.extend_from_slice(&id.to_be_bytes());
                    frames.extend_from_slice(&[0; 4]);
                }
                id += 2;
            }
            if stream.write_all(&frames).is_err() {
                break;
            }
            progress.count(1_000);
        }
        let _ = stream.shutdown(std::net::Shutdown::Both);
        let _ = reading.join();
    }
}

fn tls(target: &Target, progress: &Progress) {
    // A record of 512 bytes that holds a ClientHello, of which a part comes.
    let mut hello = vec![0x17, 0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend_from_slice(&[0x5a; 100]);
    let mut held = Vec::new();
    while progress.goes_on() {
        held.retain(|it: &TcpStream| {
            // Nothing comes but the end.
            matches!(it.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        });
        for _ in 0..50_usize.min(HALF_OPEN - held.len()) {
            if let Ok(mut stream) = TcpStream::connect(target.control) {
                let _ = stream.write_all(&hello);
                stream.set_nonblocking(true).unwrap();
                held.push(stream);
                progress.count(1);
            }
        }
        thread::sleep(Duration::from_millis(25));
    }
}

fn garbage(target: &Target, progress: &Progress) {
    let random = |len: usize| -> Vec<u8> { (0..len).map(|_| fastrand::u8(..)).collect() };
    while progress.goes_on() {
        let mut bytes = match fastrand::u8(..8) {
            0 => random(1_024),
            // A message of v1 that is too long, negative, or no JSON.
            1 => [&[b'o'][..], &i64::MAX.to_be_bytes(), &random(64)].concat(),
            2 => [&[b'o'][..], &(-1_i64).to_be_bytes(), &random(64)].concat(),
            3 => [&[b'o'][..], &10_000_i64.to_be_bytes(), &random(10_000)].concat(),
            // A frame of v2 that is none.
            4 => [mgrok_proto::v2::MAGIC, &random(512)].concat(),
            5 => {
                let hello = b"{\"capabilities\":{\"message\":{\"codecs\":[\"json\"]}}}";
                let len = u32::try_from(hello.len()).unwrap().to_be_bytes();
                [mgrok_proto::v2::MAGIC, b"\0\x01\0\0", &len[..], hello].concat()
            }
            // The same within a stream.
            6 => {
                let data = random(200);
                let mut frames = vec![0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 200];
                frames.extend_from_slice(&data);
                frames
            }
            _ => b"GET /~!frp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec(),
        };
        if fastrand::bool() {
            bytes.truncate(fastrand::usize(1..bytes.len()));
        }
        if let Ok(mut stream) = TcpStream::connect(target.control) {
            let _ = stream.write_all(&bytes);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(2)));
            let _ = stream.read(&mut [0; 512]);
        }
        progress.count(1);
    }
}

fn replay(target: &Target, progress: &Progress) {
    while progress.goes_on() {
        let recorded = target.recorded.lock().unwrap().clone();
        for bytes in recorded {
            let Ok(mut stream) = TcpStream::connect(target.control) else {
                continue;
            };
            let _ = stream.write_all(&bytes);
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            while let Ok(1..) = stream.read(&mut [0; 4096]) {}
            progress.count(1);
        }
    }
}

fn tcp_users(target: &Target, progress: &Progress) {
    while progress.goes_on() {
        if let Ok(mut stream) = TcpStream::connect(target.echo) {
            let _ = stream.write_all(b"flood");
        }
        progress.count(1);
    }
}

fn udp_users(target: &Target, progress: &Progress) {
    progress.pace(|| {
        if let Some(socket) = somewhere() {
            let _ = socket.send_to(b"flood", target.udp);
        }
    });
}

fn http_users(target: &Target, progress: &Progress) {
    let answered = |addr: SocketAddr, host: &str| {
        let mut stream = TcpStream::connect(addr).ok()?;
        write!(
            stream,
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        stream
            .set_read_timeout(Some(Duration::from_millis(5)))
            .ok()?;
        stream.read(&mut [0; 512]).ok()
    };
    while progress.goes_on() {
        let host = match fastrand::bool() {
            true => "web.test".to_owned(),
            false => format!("{}.test", fastrand::u32(..)),
        };
        let _ = answered(target.http, &host);
        progress.count(1);
    }
}
