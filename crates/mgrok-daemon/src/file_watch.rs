//! Watching the files of the configuration, by looking at them.
//!
//! A look every two seconds costs nothing, and needs no service of the system that file systems of containers and networks lack. A file is told by what
//! its name leads to: Kubernetes replaces a directory by a link, and editors replace the file.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fs;
use std::future::pending;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mgrok_config::ConfigFiles;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(2);

/// How long files must stay as they are before they are taken to be whole: several of them are rarely written at once.
const SETTLING: Duration = Duration::from_millis(500);

/// What a file looks like from outside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
        })
    }
}

/// What files looked like.
pub(crate) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What these files look like now.
fn stamps(files: BTreeSet<PathBuf>) -> Stamps {
    let stamp = |path: PathBuf| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    };
    files.into_iter().map(stamp).collect()
}

/// What is watched: the files of a configuration, and what those looked like that were read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched {
    files: ConfigFiles,
    read: Stamps,
}

impl Watched {
    /// Watches these files, which were read a moment ago.
    pub(crate) fn new(files: ConfigFiles) -> Self {
        Self {
            read: stamps(files.as_read()),
            files,
        }
    }

    /// What there is to see now. On a thread where it holds up nobody: the files may be on a network.
    async fn look(&self) -> Stamps {
        let files = self.files.clone();
        // It does not panic, and it is not cancelled but with everything.
        let seen = spawn_blocking(move || stamps(files.now())).await;
        seen.unwrap_or_default()
    }
}

/// Calls `changed` each time that one of the files that are watched has changed, has appeared or is not wanted any more, and all of them
/// are there. A file that is added to them has changed when it does not look any more as it is said to look there.
pub(crate) async fn run(
    mut latest: watch::Receiver<Watched>,
    mut changed: impl FnMut(),
) -> Infallible {
    let mut known = Stamps::new();
    loop {
        let watched = latest.borrow_and_update().clone();
        known.retain(|path, _| watched.read.contains_key(path));
        for (path, stamp) in &watched.read {
            known.entry(path.clone()).or_insert(*stamp);
        }
        let has_new_list = async {
            if latest.changed().await.is_err() {
                // The list stays as it is.
                pending().await
            }
        };
        tokio::select! {
            () = has_new_list => {}
            () = watch_these(&watched, &mut known, &mut changed) => {}
        }
    }
}

/// Ends never if there is something to watch, and never if there is not.
async fn watch_these(watched: &Watched, known: &mut Stamps, changed: &mut impl FnMut()) {
    if watched.read.is_empty() {
        return pending().await;
    }
    loop {
        sleep(LOOK).await;
        let mut seen = watched.look().await;
        if seen == *known {
            continue;
        }
        loop {
            sleep(SETTLING).await;
            let again = watched.look().await;
            if again == seen && again.values().all(Option::is_some) {
                break;
            }
            seen = again;
        }
        if seen != *known {
            *known = seen;
            changed();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use mgrok_config::{Strictness, load_client};
    use tempfile::TempDir;

    use super::*;

    /// A directory with files that are watched.
    struct Lab {
        directory: TempDir,
        files: watch::Sender<Watched>,
        count: Arc<AtomicUsize>,
    }

    impl Lab {
        fn new() -> Self {
            Self {
                directory: TempDir::new().unwrap(),
                files: watch::Sender::default(),
                count: Arc::default(),
            }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).unwrap();
        }

        fn watch(&self, names: &[&str]) {
            let paths = names.iter().map(|name| self.path(name)).collect();
            self.watch_files(paths);
        }

        fn watch_files(&self, files: ConfigFiles) {
            self.files.send_replace(Watched::new(files));
            if self.files.receiver_count() == 0 {
                let count = self.count.clone();
                let files = self.files.subscribe();
                tokio::spawn(run(files, move || {
                    count.fetch_add(1, Ordering::Relaxed);
                }));
            }
        }

        /// There have been so many changes after some looks.
        #[track_caller]
        fn changes(&self, expect: usize) -> impl Future<Output = ()> {
            let place = std::panic::Location::caller();
            async move {
                sleep(3 * LOOK).await;
                assert_eq!(self.count.load(Ordering::Relaxed), expect, "{place}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_written_or_replaced_has_changed_once() {
        let lab = Lab::new();
        lab.write("a", "1");
        lab.watch(&["a"]);
        lab.write("a", "22");
        lab.changes(1).await;
        lab.write("new", "33");
        fs::rename(lab.path("new"), lab.path("a")).unwrap();
        lab.changes(2).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_leads_elsewhere_is_a_change() {
        let lab = Lab::new();
        for version in ["v1", "v2"] {
            fs::create_dir(lab.path(version)).unwrap();
            lab.write(&format!("{version}/a"), "same");
        }
        // As Kubernetes does it.
        symlink("v1", lab.path("data")).unwrap();
        symlink("data/a", lab.path("a")).unwrap();
        lab.watch(&["a"]);
        symlink("v2", lab.path("data.new")).unwrap();
        fs::rename(lab.path("data.new"), lab.path("data")).unwrap();
        lab.changes(1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_is_gone_is_waited_for() {
        let lab = Lab::new();
        lab.write("a", "1");
        lab.watch(&["a"]);
        fs::remove_file(lab.path("a")).unwrap();
        lab.changes(0).await;
        lab.write("a", "22");
        lab.changes(1).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_appears_for_what_is_included_is_a_change() {
        let lab = Lab::new();
        lab.write("main.toml", "includes = [\"watched-*.toml\"]");
        lab.write("watched-1.toml", "");
        let load = || load_client(&lab.path("main.toml"), Strictness::Strict).unwrap();
        lab.watch_files(load().files);
        lab.write("other.toml", "");
        lab.changes(0).await;
        lab.write("watched-2.toml", "");
        lab.changes(1).await;
        lab.watch_files(load().files);
        lab.write("watched-2.toml", "# changed");
        lab.changes(2).await;
        fs::remove_file(lab.path("watched-1.toml")).unwrap();
        lab.changes(3).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_changes_forgets_no_change() {
        let lab = Lab::new();
        lab.write("a", "1");
        lab.write("b", "1");
        lab.watch(&["a"]);
        lab.changes(0).await;
        lab.write("a", "22");
        lab.watch(&["a", "b"]);
        lab.changes(1).await;
        lab.write("b", "22");
        lab.changes(2).await;
        lab.watch(&[]);
        lab.write("b", "333");
        lab.changes(2).await;
    }
}
