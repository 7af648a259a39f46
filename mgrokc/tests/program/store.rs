//! The store and the configuration behind the admin port, with what can go wrong while they are written.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, greeted_user};
use crate::reload::{proxy, service};
use crate::{EXE, client_in, config, free_port, start_server};

/// A client with a store.
struct Running {
    client: Process,
    directory: TempDir,
    admin: Admin,
}

/// Where its admin port is.
#[derive(Clone, Copy)]
struct Admin(u16);

/// An answer of it.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The version that it tells.
    fn version(&self) -> String {
        let lines = self.head.lines();
        let mut tags = lines.filter_map(|line| line.strip_prefix("etag: "));
        tags.next().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    #[track_caller]
    fn refused(&self, status: u16, why: &str) {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        // The routes of version 2 write it small.
        let told = body["Msg"].as_str().or(body["msg"].as_str()).unwrap();
        assert!(told.contains(why), "{told}");
    }
}

impl Admin {
    fn ask(self, request: &str, headers: &str, body: &str) -> Answer {
        self.try_ask(request, headers, body).unwrap()
    }

    /// `None` if the client ends meanwhile.
    fn try_ask(self, request: &str, headers: &str, body: &str) -> Option<Answer> {
        let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0)).ok()?;
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        conn.write_all(text.as_bytes()).ok()?;
        let mut answer = String::new();
        conn.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Answer {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    fn create(self, name: &str, local: u16, remote: u16) -> Answer {
        let definition = tcp(name, json!({ "localPort": local, "remotePort": remote }));
        self.ask("POST /api/store/proxies", "", &definition)
    }

    fn names(self) -> Vec<String> {
        let list = self.ask("GET /api/store/proxies", "", "").json();
        let names = list["proxies"].as_array().unwrap().iter();
        names
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect()
    }
}

/// A definition in JSON.
fn tcp(name: &str, block: Value) -> String {
    json!({ "name": name, "type": "tcp", "tcp": block }).to_string()
}

impl Running {
    fn new() -> Self {
        Self::with("", client_in)
    }

    fn with(more: &str, command: impl Fn(&std::path::Path) -> Command) -> Self {
        let (server, admin) = (start_server(), free_port());
        let directory = config(&format!(
            "serverAddr = \"127.0.0.1\"\nserverPort = {server}\nwebServer.port = {admin}\n\
             store.path = \"store/s.json\"\n{more}"
        ));
        let mut client = Process::start(&mut command(directory.path()));
        client.wait_for("login to server success");
        Self {
            client,
            directory,
            admin: Admin(admin),
        }
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store/s.json")
    }

    /// Kills the client, and starts it again.
    fn again(self) -> Self {
        let Self {
            client,
            directory,
            admin,
        } = self;
        drop(client);
        let mut client = Process::start(&mut client_in(directory.path()));
        client.wait_for("login to server success");
        Self {
            client,
            directory,
            admin,
        }
    }
}

fn at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[test]
fn a_stored_proxy_whose_port_another_has_is_refused_alone() {
    let mut running = Running::new();
    let (local, port) = (service(), free_port());
    assert_eq!(running.admin.create("web", local, port).status, 200);
    running.client.wait_for("[web] start proxy success");
    let mut user = greeted_user(at(port));

    let created = running.admin.create("second", local, port);
    assert_eq!(created.status, 200, "{created:?}");
    let refused = "[second] start error: port already used";
    running.client.wait_for(refused);
    let status = running.admin.ask("GET /api/status", "", "").json();
    let rows = status["tcp"].as_array().unwrap();
    let of = |name: &str| rows.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(of("web")["status"], "running", "{status}");
    assert_eq!(of("second")["status"], "start error", "{status}");
    // The user who was there stays, and others come.
    user.write_all(b"hello").unwrap();
    user.read_exact(&mut [0; 5]).unwrap();
    greeted_user(at(port));
}

#[test]
fn a_stored_proxy_carries_traffic_and_survives_a_restart_and_a_reload() {
    let mut running = Running::new();
    let (local, first, second) = (service(), free_port(), free_port());
    let created = running.admin.create("web", local, first);
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(created.json()["tcp"]["remotePort"], first);
    running
        .client
        .wait_for("store: created proxy \"web\", by 127.0.0.1:");
    greeted_user(at(first));
    running
        .admin
        .create("web", local, second)
        .refused(409, "conflict: already exists: proxy \"web\"");

    let mut running = running.again();
    greeted_user(at(first));
    let status = running.admin.ask("GET /api/status", "", "").json();
    assert_eq!(status["tcp"][0]["source"], "store", "{status}");
    let rows = running
        .admin
        .ask("GET /api/v2/proxies?source=store", "", "")
        .json();
    assert_eq!(rows["data"]["total"], 1, "{rows}");
    assert_eq!(rows["data"]["items"][0]["name"], "web");

    running.client.signal(Signal::HUP);
    running
        .client
        .wait_for("reloaded: 0 proxies added, 0 changed, 0 removed");
    let definition = tcp("web", json!({ "localPort": local, "remotePort": second }));
    let updated = running
        .admin
        .ask("PUT /api/store/proxies/web", "", &definition);
    assert_eq!(updated.status, 200, "{updated:?}");
    greeted_user(at(second));

    let deleted = running.admin.ask("DELETE /api/store/proxies/web", "", "");
    assert_eq!((deleted.status, &*deleted.body), (200, ""));
    let absent = running.admin.ask("GET /api/store/proxies/web", "", "");
    absent.refused(404, "not found: proxy \"web\"");
    let absent = running.admin.ask("DELETE /api/store/proxies/web", "", "");
    absent.refused(404, "not found: not found: proxy \"web\"");
    assert_eq!(fs::read_to_string(running.store()).unwrap(), "{}");
}

#[test]
fn a_disabled_entry_is_kept_and_does_not_run() {
    let running = Running::new();
    let definition = tcp("off", json!({ "localPort": 22, "enabled": false }));
    let created = running
        .admin
        .ask("POST /api/store/proxies", "", &definition);
    assert_eq!(created.json()["tcp"]["enabled"], false, "{created:?}");
    let rows = running.admin.ask("GET /api/v2/proxies", "", "").json();
    assert_eq!(rows["data"]["total"], 0, "{rows}");
    let shown = running.admin.ask("GET /api/proxy/off/config", "", "");
    assert_eq!(shown.json()["tcp"]["enabled"], false, "{shown:?}");
    assert_eq!(running.admin.names(), ["off"]);
}

#[test]
fn a_kill_while_the_store_is_written_leaves_one_version_or_the_other() {
    let mut running = Running::new();
    let large = "x".repeat(20_000);
    for _ in 0..5 {
        let admin = running.admin;
        let writer = thread::spawn({
            let large = large.clone();
            move || {
                for number in 0.. {
                    let name = format!("p{number}");
                    let block = json!({ "localPort": 22, "metadatas": { "large": large } });
                    if admin
                        .try_ask("POST /api/store/proxies", "", &tcp(&name, block))
                        .is_none()
                    {
                        return;
                    }
                }
            }
        });
        while running.admin.names().len() < 5 {
            thread::yield_now();
        }
        let store = running.store();
        running.client.signal(Signal::KILL);
        writer.join().unwrap();
        let text = fs::read_to_string(&store).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        let proxies = stored["proxies"].as_array().unwrap();
        let whole = |it: &Value| it["metadatas"]["large"] == large.as_str();
        assert!(proxies.iter().all(whole), "{} entries", proxies.len());
        let count = proxies.len();
        running = running.again();
        assert_eq!(running.admin.names().len(), count);
        for name in running.admin.names() {
            running
                .admin
                .ask(&format!("DELETE /api/store/proxies/{name}"), "", "");
        }
    }
}

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    // What cannot grow beyond 16 blocks of 512 bytes is as full as a disk. The signal of that would end the program.
    let limited = |directory: &std::path::Path| {
        let mut command = Command::new("sh");
        command.current_dir(directory);
        command.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\"", EXE]);
        command
    };
    let running = Running::with("", limited);
    let (local, remote) = (service(), free_port());
    assert_eq!(running.admin.create("small", local, remote).status, 200);
    let before = fs::read(running.store()).unwrap();
    let block = json!({ "localPort": 22, "metadatas": { "large": "x".repeat(50_000) } });
    let full = running
        .admin
        .ask("POST /api/store/proxies", "", &tcp("large", block));
    full.refused(500, "failed to persist: ");
    full.refused(500, "store/s.json cannot be written and is as it was");
    assert_eq!(fs::read(running.store()).unwrap(), before);
    assert_eq!(running.admin.names(), ["small"]);
    let left: Vec<_> = fs::read_dir(running.store().parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    greeted_user(at(remote));

    let text = fs::read_to_string(running.directory.path().join("client.toml")).unwrap();
    let longer = format!("{text}# {}\n", "x".repeat(50_000));
    let full = running.admin.ask("PUT /api/config", "", &longer);
    full.refused(500, "client.toml cannot be written and is as it was");
    let after = fs::read_to_string(running.directory.path().join("client.toml"));
    assert_eq!(after.unwrap(), text);
}

#[test]
fn of_two_editors_at_once_one_is_told_that_the_other_was_faster() {
    let running = Running::new();
    running.admin.create("web", 22, 0);
    let admin = running.admin;
    let both = |read: &str, write: &'static str, bodies: [String; 2]| {
        let version = admin.ask(read, "", "").version();
        let editors = bodies.map(|body| {
            let headers = format!("If-Match: {version}\r\n");
            thread::spawn(move || admin.ask(write, &headers, &body).status)
        });
        let mut statuses = editors.map(|it| it.join().unwrap());
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{write}");
        assert_ne!(admin.ask(read, "", "").version(), version);
    };
    let bodies = [80, 81].map(|port| tcp("web", json!({ "localPort": port })));
    both(
        "GET /api/store/proxies/web",
        "PUT /api/store/proxies/web",
        bodies,
    );
    let text = admin.ask("GET /api/config", "", "").body;
    let bodies = [1, 2].map(|number| format!("{text}# {number}\n"));
    both("GET /api/config", "PUT /api/config", bodies);
    let stale = admin.ask("DELETE /api/store/proxies/web", "If-Match: \"0\"\r\n", "");
    stale.refused(412, "read it again");
}

#[test]
fn wrong_bodies_change_nothing() {
    let running = Running::new();
    let post = |body: &str| running.admin.ask("POST /api/store/proxies", "", body);
    let huge = tcp("huge", json!({ "metadatas": { "a": "x".repeat(2 << 20) } }));
    post(&huge).refused(400, "length limit exceeded");
    for body in ["", "{", "nonsense", "[1, 2", "{\"name\": 1e999}"] {
        post(body).refused(400, "parse JSON error");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    post(&deep).refused(400, "parse JSON error");
    post(&tcp("a", json!({ "localPort": "22" }))).refused(
        400,
        "invalid argument: validation error: localPort: must be an integer, not a string",
    );
    post(&tcp("a", json!({ "lokalPort": 22 }))).refused(400, "did you mean \"localPort\"?");
    let other = running
        .admin
        .ask("PUT /api/store/proxies/b", "", &tcp("a", json!({})));
    other.refused(400, "proxy name in URL must match name in body");
    let checked = running.admin.ask(
        "POST /api/store/proxies?check=true",
        "",
        &tcp("a", json!({ "localPort": 22 })),
    );
    assert_eq!(checked.status, 200, "{checked:?}");
    assert_eq!(running.admin.names(), Vec::<String>::new());
    assert!(!running.store().exists());
}

#[test]
fn without_a_store_its_routes_say_so() {
    let (server, admin) = (start_server(), free_port());
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {server}\nwebServer.port = {admin}\n"
    ));
    let mut client = Process::start(&mut client_in(directory.path()));
    client.wait_for("admin server listen on");
    let answer = Admin(admin).ask("GET /api/store/proxies", "", "");
    answer.refused(404, "store API is disabled");
    let answer = Admin(admin).create("a", 1, 1);
    answer.refused(404, "store API is disabled");
}

#[test]
fn a_name_may_be_anything_and_harms_nobody() {
    let mut running = Running::new();
    for (name, in_path, in_log) in [
        (
            "<script>alert(1)</script>",
            "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
            "\"<script>alert(1)</script>\"",
        ),
        (
            "two\nlines\u{1b}[31m",
            "two%0Alines%1B[31m",
            r#""two\nlines\u{1b}[31m""#,
        ),
        ("..", "%2e%2e", "\"..\""),
    ] {
        let created = running.admin.create(name, 22, 0);
        assert_eq!(created.status, 200, "{created:?}");
        running
            .client
            .wait_for(&format!("store: created proxy {in_log}"));
        if name == ".." {
            // No path leads there, as in frp; a list does.
            assert!(running.admin.names().contains(&name.to_owned()));
            continue;
        }
        let path = format!("/api/store/proxies/{in_path}");
        let read = running.admin.ask(&format!("GET {path}"), "", "");
        assert_eq!(read.json()["name"], name, "{read:?}");
        assert_eq!(
            running.admin.ask(&format!("DELETE {path}"), "", "").status,
            200
        );
    }
}

#[test]
fn changes_and_reloads_at_once_lose_nothing() {
    let running = Running::new();
    let admin = running.admin;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                scope.spawn(move || {
                    for number in 0..10 {
                        let created = admin.create(&format!("p{writer}-{number}"), 22, 0);
                        assert_eq!(created.status, 200, "{created:?}");
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                let reloaded = admin.ask("GET /api/reload?strictConfig=true", "", "");
                assert_eq!(reloaded.status, 200, "{reloaded:?}");
                thread::sleep(Duration::from_millis(1));
            }
        });
        for writer in writers {
            writer.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(admin.names().len(), 40);
    let rows = admin
        .ask("GET /api/v2/proxies?pageSize=1&page=40", "", "")
        .json();
    assert_eq!(rows["data"]["total"], 40, "{rows}");
    assert_eq!(rows["data"]["items"][0]["name"], "p3-9");
    let rows = admin
        .ask("GET /api/v2/proxies?pageSize=2&sort=-name", "", "")
        .json();
    let [last, before] = [0, 1].map(|at| rows["data"]["items"][at]["name"].clone());
    assert_eq!([last, before], ["p3-9", "p3-8"]);
    for (query, why) in [
        ("sort=names", "sort must be one of name, type, source, "),
        ("page=0", "page must be a positive integer"),
        ("pageSize=201", "pageSize must be between 1 and 200"),
    ] {
        let refused = admin.ask(&format!("GET /api/v2/proxies?{query}"), "", "");
        refused.refused(400, why);
    }
    let stored = fs::read_to_string(running.store()).unwrap();
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["proxies"].as_array().unwrap().len(), 40);
}

#[test]
fn a_store_that_was_broken_by_hand_stops_the_reload_and_is_not_overwritten() {
    let running = Running::new();
    assert_eq!(running.admin.create("a", 22, 0).status, 200);
    fs::write(running.store(), "{ broken").unwrap();
    let reloaded = running.admin.ask("GET /api/reload", "", "");
    reloaded.refused(400, "s.json:1:3: json: ");
    let refused = running.admin.create("b", 22, 0);
    refused.refused(500, "nothing is written until it is mended: ");
    assert_eq!(fs::read_to_string(running.store()).unwrap(), "{ broken");
    let Running {
        client, directory, ..
    } = running;
    drop(client);
    let (code, text) = Process::start(&mut client_in(directory.path())).ended();
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("s.json:1:3: json: "), "{text}");
}

#[test]
fn a_visitor_whose_port_is_taken_is_not_stored() {
    let running = Running::new();
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let visitor = |port: u16| {
        let block = json!({ "serverName": "s", "secretKey": "k", "bindPort": port });
        json!({ "name": "v", "type": "stcp", "stcp": block }).to_string()
    };
    let refused = running
        .admin
        .ask("POST /api/store/visitors", "", &visitor(port));
    refused.refused(
        500,
        "apply config failed: failed to apply config: the visitor [v] cannot listen",
    );
    assert!(!running.store().exists());
    let free = free_port();
    let created = running
        .admin
        .ask("POST /api/store/visitors", "", &visitor(free));
    assert_eq!(created.status, 200, "{created:?}");
    TcpStream::connect(at(free)).unwrap();
    let rows = running.admin.ask("GET /api/v2/visitors", "", "").json();
    let expect = json!({
        "name": "v", "type": "stcp", "source": "store", "serverName": "s",
        "bindAddr": format!("127.0.0.1:{free}"), "status": "running", "error": "", "connections": 0,
    });
    assert_eq!(rows["data"]["items"][0], expect);
    let shown = running
        .admin
        .ask("GET /api/visitor/v/config", "", "")
        .json();
    assert_eq!(shown["stcp"]["bindAddr"], "127.0.0.1");
}

#[test]
fn a_configuration_is_checked_before_it_takes_the_place_of_the_file() {
    let running = Running::with(&proxy("kept", 22, 0), client_in);
    let file = running.directory.path().join("client.toml");
    let before = fs::read_to_string(&file).unwrap();
    let wrong = format!("{before}localPrt = 1\n[[proxies]]\nname = \"b\"\ntype = \"tpc\"\n");
    let refused = running.admin.ask("PUT /api/config", "", &wrong);
    refused.refused(400, "client.toml:10:1: proxies[0].localPrt: unknown field");
    refused.refused(
        400,
        "client.toml:13:8: proxies[1].type: unknown proxy type: tpc",
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), before);

    let checked = running
        .admin
        .ask("POST /api/v2/config/check", "", &wrong)
        .json();
    let errors = checked["data"]["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{checked}");
    assert_eq!(errors[1]["line"], 13);
    assert_eq!(errors[1]["column"], 8);
    assert_eq!(errors[1]["key"], "proxies[1].type");
    let message = errors[1]["message"].as_str().unwrap();
    assert!(message.starts_with("unknown proxy type: tpc"), "{message}");
    let checked = running
        .admin
        .ask("POST /api/v2/config/check", "", &before)
        .json();
    assert_eq!(checked["data"]["errors"], json!([]));

    let stale = running
        .admin
        .ask("PUT /api/config", "If-Match: \"0\"\r\n", &before);
    stale.refused(412, "read it again");
    let written = running
        .admin
        .ask("PUT /api/config?validate=false", "", &wrong);
    assert_eq!(written.status, 200, "{written:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), wrong);
    let read = running.admin.ask("GET /api/config", "", "");
    assert_eq!(read.version(), written.version());
}
