//! The log as admin ports tell it, which is the same at both ends.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
};

use crate::PATIENCE;

/// The log of a program, as its admin port at this port tells it. The program knows `ann` with the password `pw`.
struct AdminLog {
    port: u16,
}

/// The lines of a log, as they come.
struct Lines(BufReader<TcpStream>);

/// The log of a program with this admin port is followed and its level set, for which it needs to be `info` in the program's file;
/// `said` is in a line that it has written. The user is `ann`, and the password `pw`. `reload` has the program read its file again.
///
/// # Panics
/// When something of it does not work.
pub fn is_followed_and_its_level_set(port: u16, said: &str, reload: impl FnOnce()) {
    let admin = AdminLog { port };
    let now = || admin.ask("GET /api/v2/log/level", "");
    assert!(now().contains(r#"{"level":"info"}"#), "{}", now());
    let mut lines = admin.follow();
    // What was written before somebody looked.
    lines.find("info", said);
    let set = admin.set_level("debug");
    assert!(set.contains(r#""data":{"level":"debug"}"#), "{set}");
    let by = "asked for by ann from 127.0.0.1:";
    lines.find("info", &format!("set the level of the log to debug, {by}"));
    let refused = admin.set_level("loud");
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    assert!(now().contains(r#"{"level":"debug"}"#), "{}", now());
    // The last line of a log that grows quieter tells of it.
    admin.set_level("error");
    lines.find("info", &format!("set the level of the log to error, {by}"));
    // A reload has what the file says count again.
    reload();
    assert!(now().contains(r#"{"level":"info"}"#), "{}", now());
}

impl AdminLog {
    fn connect(&self) -> TcpStream {
        let conn = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        conn.set_read_timeout(Some(PATIENCE)).unwrap();
        conn
    }

    fn ask(&self, request: &str, body: &str) -> String {
        let mut conn = self.connect();
        let length = body.len();
        // ann:pw
        let text = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnB3\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        conn.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer
    }

    fn set_level(&self, wanted: &str) -> String {
        let body = format!("{{\"level\":\"{wanted}\"}}");
        self.ask("PUT /api/v2/log/level", &body)
    }

    fn follow(&self) -> Lines {
        let mut conn = self.connect();
        let text = "GET /api/v2/log HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnB3\r\n\r\n";
        conn.write_all(text.as_bytes()).unwrap();
        Lines(BufReader::new(conn))
    }
}

impl Lines {
    /// Waits for a line of this level that has `text`.
    fn find(&mut self, level: &str, text: &str) {
        let level = format!("\"level\":\"{level}\"");
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "{text}");
            let data = line.strip_prefix("data: ").unwrap_or_default();
            if data.contains(&level) && data.contains(text) {
                return;
            }
        }
    }
}
