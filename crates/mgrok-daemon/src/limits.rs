//! How many files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, warn};

/// Asks for as many open files as the process may have.
///
/// Each connection is an open file, and the usual limit of 1024 is there for programs that use
/// `select(2)`, which we are not.
pub(crate) fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return debug!(limit = Limit(current).as_text(), "open files are limited");
    }
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => debug!(
            from = Limit(current).as_text(),
            to = Limit(maximum).as_text(),
            "raised the limit of open files"
        ),
        Err(error) => warn!(
            limit = Limit(current).as_text(),
            %error,
            "cannot raise the limit of open files"
        ),
    }
}

/// A limit; `None` is no limit.
struct Limit(Option<u64>);

impl Limit {
    fn as_text(&self) -> String {
        self.0.map_or("none".into(), |it| it.to_string())
    }
}
