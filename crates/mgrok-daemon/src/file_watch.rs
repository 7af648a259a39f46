//! Watching the files of the configuration, by looking at them.
//!
//! A look every two seconds costs nothing, and needs no service of the system that file systems of containers and networks lack. A file is told by what
//! its name leads to: Kubernetes replaces a directory by a link, and editors replace the file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::future::pending;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

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

/// What is watched, and what it looked like.
pub(crate) type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// What these files look like now.
pub(crate) fn stamps(files: Vec<PathBuf>) -> Stamps {
    let stamp = |path: PathBuf| {
        let stamp = Stamp::of(&path);
        (path, stamp)
    };
    files.into_iter().map(stamp).collect()
}

/// Calls `changed` each time that one of `files` has changed and all of them are there. A file that is added to them has changed when it
/// does not look any more as it is said to look there.
pub(crate) async fn run(
    mut files: watch::Receiver<Stamps>,
    mut changed: impl FnMut(),
) -> Infallible {
    let mut known = Stamps::new();
    loop {
        let listed = files.borrow_and_update().clone();
        let watched: Vec<_> = listed.keys().cloned().collect();
        known.retain(|path, _| listed.contains_key(path));
        for (path, stamp) in listed {
            known.entry(path).or_insert(stamp);
        }
        let has_new_list = async {
            if files.changed().await.is_err() {
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
async fn watch_these(watched: &[PathBuf], known: &mut Stamps, changed: &mut impl FnMut()) {
    if watched.is_empty() {
        return pending().await;
    }
    loop {
        sleep(LOOK).await;
        let mut seen = look(watched).await;
        if seen == *known {
            continue;
        }
        loop {
            sleep(SETTLING).await;
            let again = look(watched).await;
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

/// On a thread where it holds up nobody: the files may be on a network.
async fn look(files: &[PathBuf]) -> Stamps {
    let files = files.to_vec();
    // It does not panic, and it is not cancelled but with everything.
    spawn_blocking(|| stamps(files)).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tempfile::TempDir;

    use super::*;

    /// A directory with files that are watched.
    struct Lab {
        directory: TempDir,
        files: watch::Sender<Stamps>,
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
            self.files.send_replace(stamps(paths));
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
    async fn a_list_that_changes_forgets_no_change() {
        let lab = Lab::new();
        lab.write("a", "1");
        lab.write("b", "1");
        lab.watch(&["a"]);
        lab.changes(0).await;
        lab.write("a", "22");
        let both = vec![lab.path("a"), lab.path("b")];
        lab.files.send_replace(stamps(both));
        lab.changes(1).await;
        lab.write("b", "22");
        lab.changes(2).await;
        lab.watch(&[]);
        lab.write("b", "333");
        lab.changes(2).await;
    }
}
