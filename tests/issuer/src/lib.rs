//! An OpenID Connect provider that can misbehave, for tests: discovery, keys, and tokens for client credentials. It shares no code with
//! mgrok.

#![allow(
    clippy::unwrap_used,
    reason = "for tests, in which a panic is how to fail"
)]

mod key;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

pub use key::Key;

/// Whom tokens are for, unless a test wants another.
pub const AUDIENCE: &str = "tunnel";
/// Of whom they are, likewise.
pub const SUBJECT: &str = "client-1";
/// The credentials that it knows.
pub const CLIENT: (&str, &str) = ("client-1", "p:ss wörd/+");

/// How it behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mood {
    /// It accepts connections and closes them.
    Away,
    /// It answers with more than anybody wants to read.
    Endless,
    /// It answers with an error.
    Failing,
    /// It never answers.
    Hanging,
    /// As it should.
    Well,
}

/// The provider. Dropping it ends it.
#[derive(Debug)]
pub struct Issuer {
    addr: SocketAddr,
    url: String,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct State {
    url: String,
    mood: Mood,
    key: Key,
    /// What it tells as its keys, if not the one that it signs with.
    shown_keys: Option<Value>,
    algorithms: Value,
    /// What the answer to a token request says of its life; `None` leaves that out.
    expires_in: Option<Value>,
    subject: String,
    /// Whether it looks for credentials among the parameters only.
    wants_params: bool,
    key_requests: usize,
    token_requests: Vec<String>,
}

impl Issuer {
    /// One that speaks HTTP on a free port.
    pub async fn start() -> Self {
        Self::serve(None).await
    }

    /// One that speaks TLS with this certificate and its key, in DER, which should be for `localhost`.
    pub async fn start_tls(
        certificate: rustls::pki_types::CertificateDer<'static>,
        key: rustls::pki_types::PrivateKeyDer<'static>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self::serve(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn serve(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let url = match &tls {
            None => format!("http://{addr}"),
            Some(_) => format!("https://localhost:{}", addr.port()),
        };
        let state = Arc::new(Mutex::new(State {
            url: url.clone(),
            mood: Mood::Well,
            key: Key::es256("k1"),
            shown_keys: None,
            algorithms: json!(["RS256", "PS256", "ES256", "EdDSA"]),
            expires_in: Some(json!(3600)),
            subject: SUBJECT.to_owned(),
            wants_params: false,
            key_requests: 0,
            token_requests: Vec::new(),
        }));
        let of_task = state.clone();
        let task = tokio::spawn(async move {
            let mut conns = JoinSet::new();
            loop {
                let (conn, _) = listener.accept().await.unwrap();
                let (state, tls) = (of_task.clone(), tls.clone());
                conns.spawn(async move {
                    match tls {
                        None => answer(conn, &state).await,
                        Some(tls) => {
                            if let Ok(conn) = tls.accept(conn).await {
                                answer(conn, &state).await;
                            }
                        }
                    }
                });
            }
        });
        Self {
            addr,
            url,
            state,
            task,
        }
    }

    /// What it is called, and where its documents are.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it gives tokens.
    pub fn token_endpoint(&self) -> String {
        format!("{}/token", self.url)
    }

    /// Has it behave so from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.state().mood = mood;
    }

    /// Has it sign with `key` from now on, and tell that one alone.
    pub fn set_key(&self, key: Key) {
        let mut state = self.state();
        state.key = key;
        state.shown_keys = None;
    }

    /// Has it tell these keys, whatever it signs with.
    pub fn show_keys(&self, keys: Value) {
        self.state().shown_keys = Some(keys);
    }

    /// Has it say that it signs so.
    pub fn set_algorithms(&self, algorithms: Value) {
        self.state().algorithms = algorithms;
    }

    /// Has its answers say that tokens live for so long; `None` says nothing.
    pub fn set_expires_in(&self, expires_in: Option<Value>) {
        self.state().expires_in = expires_in;
    }

    /// Has it issue tokens of another subject.
    pub fn set_subject(&self, subject: &str) {
        subject.clone_into(&mut self.state().subject);
    }

    /// Has it look for credentials among the parameters only.
    pub fn want_params(&self) {
        self.state().wants_params = true;
    }

    /// How often it was asked for its keys.
    pub fn key_requests(&self) -> usize {
        self.state().key_requests
    }

    /// The bodies of the requests for tokens that it has granted.
    pub fn token_requests(&self) -> Vec<String> {
        self.state().token_requests.clone()
    }

    /// A token with the claims that it puts into all, as changed by `change`.
    pub fn token(&self, change: impl FnOnce(&mut Value)) -> String {
        let state = self.state();
        let mut claims = state.claims();
        change(&mut claims);
        state.key.sign(&claims)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The Unix time in seconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or(Duration::ZERO).as_secs()
}

impl State {
    fn claims(&self) -> Value {
        json!({
            "iss": self.url,
            "sub": self.subject,
            "aud": AUDIENCE,
            "iat": now(),
            "exp": now() + 3600,
        })
    }

    /// Status and body of the answer to a request.
    fn respond(&mut self, head: &str, body: &str) -> (u16, Value) {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            "/.well-known/openid-configuration" => {
                let url = &self.url;
                let document = json!({
                    "issuer": url,
                    "token_endpoint": format!("{url}/token"),
                    "jwks_uri": format!("{url}/keys"),
                    "id_token_signing_alg_values_supported": self.algorithms,
                });
                (200, document)
            }
            "/keys" => {
                self.key_requests += 1;
                let keys = self.shown_keys.clone();
                let keys = keys.unwrap_or_else(|| json!([self.key.public()]));
                (200, json!({ "keys": keys }))
            }
            "/token" => self.grant(head, body),
            _ => (404, json!({})),
        }
    }

    fn grant(&mut self, head: &str, body: &str) -> (u16, Value) {
        let (id, secret) = CLIENT;
        let encoded = |text: &str| {
            text.bytes().fold(String::new(), |mut all, byte| {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => all.push(byte.into()),
                    b' ' => all.push('+'),
                    _ => write!(all, "%{byte:02X}").unwrap(),
                }
                all
            })
        };
        let pair = format!("{}:{}", encoded(id), encoded(secret));
        let basic = format!("authorization: basic {}", STANDARD.encode(pair));
        let has_basic = head.lines().any(|it| it.eq_ignore_ascii_case(&basic));
        let params = format!("client_id={id}&client_secret={}", encoded(secret));
        let is_known = match self.wants_params {
            true => body.contains(&params),
            false => has_basic,
        };
        if !is_known {
            let why = json!({
                "error": "invalid_client",
                "error_description": format!("not with {body} and {secret}"),
            });
            return (401, why);
        }
        self.token_requests.push(body.to_owned());
        let mut answer = json!({
            "access_token": self.key.sign(&self.claims()),
            "token_type": "Bearer",
        });
        if let Some(expires_in) = &self.expires_in {
            answer["expires_in"] = expires_in.clone();
        }
        (200, answer)
    }
}

/// Answers one request.
async fn answer(mut conn: impl AsyncRead + AsyncWrite + Unpin, state: &Mutex<State>) {
    let Some((head, body)) = request(&mut conn).await else {
        return;
    };
    let mood = state.lock().unwrap().mood;
    let (status, body) = match mood {
        Mood::Away => return,
        Mood::Hanging => return std::future::pending().await,
        Mood::Failing => (
            503,
            json!({ "error": "temporarily_unavailable" }).to_string(),
        ),
        Mood::Endless => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n";
            let mut sent = conn.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                sent = conn.write_all(&[b' '; 4096]).await;
            }
            return;
        }
        Mood::Well => {
            let (status, body) = state.lock().unwrap().respond(&head, &body);
            (status, body.to_string())
        }
    };
    let answer = format!(
        "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    // Whoever asks may have left.
    let _ = conn.write_all(answer.as_bytes()).await;
    let _ = conn.shutdown().await;
}

/// Head and body of one request; `None` if it never comes.
async fn request(conn: &mut (impl AsyncRead + Unpin)) -> Option<(String, String)> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_length = name.eq_ignore_ascii_case("content-length");
                is_length.then(|| value.trim().parse().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        if conn.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

/// Passes tunnels of `CONNECT` on; returns where it is. It ends with the runtime.
pub async fn connect_proxy() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut user, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (head, _) = request(&mut user).await?;
                let target = head.split(' ').nth(1)?;
                let mut server = TcpStream::connect(target).await.ok()?;
                user.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
                tokio::io::copy_bidirectional(&mut user, &mut server)
                    .await
                    .ok()
            });
        }
    });
    addr
}

/// A part of a token.
fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token whose signature is `signature`, whatever its header says.
pub fn unsigned(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let (header, claims) = (header.to_string(), claims.to_string());
    format!("{}.{}.{}", part(header), part(claims), part(signature))
}
