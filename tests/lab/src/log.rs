//! The captured output of a peer.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read},
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use crate::wait::{PATIENCE, in_time};

/// How many last lines a failure shows.
const SHOWN: usize = 60;

/// Everything a peer has printed so far. Clones share the lines.
#[derive(Clone)]
pub struct Log {
    name: Arc<str>,
    lines: Arc<Mutex<Vec<String>>>,
    count: Arc<watch::Sender<usize>>,
}

impl Log {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            lines: Arc::default(),
            count: Arc::new(watch::Sender::new(0)),
        }
    }

    pub(crate) fn push(&self, line: String) {
        let mut lines = self.lines.lock().unwrap();
        lines.push(line);
        self.count.send_replace(lines.len());
    }

    /// Copies `output` into the log, on a thread of its own, until it ends.
    pub(crate) fn follow(&self, output: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).split(b'\n');
            while let Some(Ok(line)) = lines.next() {
                log.push(String::from_utf8_lossy(&line).into_owned());
            }
        });
    }

    /// How many lines there are: a mark for [`Self::wait_after`].
    pub fn mark(&self) -> usize {
        self.lines.lock().unwrap().len()
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// How many lines contain `needle`.
    pub fn count(&self, needle: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.contains(needle)).count()
    }

    /// Whether a line contains `needle`.
    pub fn contains(&self, needle: &str) -> bool {
        self.count(needle) > 0
    }

    /// The first line that contains `needle`, as soon as there is one.
    ///
    /// # Panics
    /// When there is none within [`PATIENCE`].
    pub async fn wait_for(&self, needle: &str) -> String {
        self.wait_after(0, needle).await
    }

    /// As [`Self::wait_for`], but only lines after `mark` count.
    pub async fn wait_after(&self, mark: usize, needle: &str) -> String {
        match in_time(PATIENCE, self.first(mark, needle)).await {
            Some(line) => line,
            None => panic!("{}: no `{needle}` in the log of {}", self.tail(), self.name),
        }
    }

    /// Waits until a server says after `mark` that a client is gone, whether in order or not.
    ///
    /// # Panics
    /// When it does not within [`PATIENCE`].
    pub async fn client_gone(&self, mark: usize) {
        tokio::select! {
            _ = self.wait_after(mark, "client exit success") => {}
            _ = self.wait_after(mark, "client lost") => {}
        }
    }

    /// Waits until `times` lines after `mark` contain `needle`.
    ///
    /// # Panics
    /// When there are fewer within [`PATIENCE`].
    pub async fn wait_for_times(&self, mark: usize, needle: &str, times: usize) {
        let enough = async {
            let mut count = self.count.subscribe();
            loop {
                count.mark_unchanged();
                let lines = self.lines.lock().unwrap().clone();
                let found = lines.iter().skip(mark).filter(|line| line.contains(needle));
                if found.count() >= times {
                    return;
                }
                // Cannot fail: the sender is in `self`.
                let _ = count.changed().await;
            }
        };
        if in_time(PATIENCE, enough).await.is_none() {
            panic!(
                "{}: not {times} times `{needle}` in the log of {}",
                self.tail(),
                self.name
            );
        }
    }

    async fn first(&self, mark: usize, needle: &str) -> String {
        let mut count = self.count.subscribe();
        loop {
            count.mark_unchanged();
            if let Some(line) = self.find(mark, needle) {
                return line;
            }
            // Cannot fail: the sender is in `self`.
            let _ = count.changed().await;
        }
    }

    fn find(&self, mark: usize, needle: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        let mut after = lines.iter().skip(mark);
        after.find(|line| line.contains(needle)).cloned()
    }

    /// The last lines, for failure messages.
    pub fn tail(&self) -> String {
        let lines = self.lines.lock().unwrap();
        let mut text = format!("--- {} ---\n", self.name);
        for line in &lines[lines.len().saturating_sub(SHOWN)..] {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}
