//! The client's `includes`: other files whose proxies and visitors count as if they stood in the first.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::environment::Variables;
use crate::file::{ReadError, read};
use crate::file_pattern::find;
use crate::io_reason::io_reason;
use crate::report::Report;
use crate::source::{self, Entry, Node, Role, Shift, Value};

/// How many files may be included.
const MAX_FILES: usize = 10_000;

/// How long they may be altogether: as long as one file may be.
const MAX_LEN: usize = 16 * 1024 * 1024;

/// The lists that are taken from an included file.
const LISTS: [&str; 2] = ["proxies", "visitors"];

/// Reads the files that `root` includes, adds their lists to its own, and returns what else is in them. `main` is the file of `root`.
pub(crate) fn include(
    report: &mut Report,
    root: &mut Vec<Entry>,
    main: &Path,
    variables: &Variables,
) -> Vec<Entry> {
    let mut rest = Vec::new();
    let mut seen: HashSet<PathBuf> = fs::canonicalize(main).into_iter().collect();
    let mut len = 0;
    let is_old = root
        .first()
        .is_some_and(|entry| report.sources_mut().is_old_format(entry.at));
    for (at, pattern) in patterns(root) {
        let wrong = |report: &Report, why: String| {
            report.invalid(at, "includes".to_owned(), why);
        };
        report.note_pattern(pattern.clone());
        let files = match find(&pattern, main) {
            Ok(files) if files.is_empty() => {
                let what = format!("{pattern:?} matches no file");
                report.warning(at, "includes".to_owned(), what);
                continue;
            }
            Ok(files) => files,
            Err(why) => {
                wrong(report, why);
                continue;
            }
        };
        report.note_included(&files);
        for file in files {
            let known = fs::canonicalize(&file).unwrap_or_else(|_| file.clone());
            if !seen.insert(known) {
                continue;
            }
            if seen.len() > MAX_FILES {
                wrong(
                    report,
                    format!("must not match more than {MAX_FILES} files"),
                );
                return rest;
            }
            let text = match read(&file) {
                Ok(text) => text,
                Err(error) => {
                    // frp: the beginning of this wording
                    let name = file.display();
                    wrong(
                        report,
                        format!(
                            "load additional config from {name} error: {}",
                            reason(&error)
                        ),
                    );
                    continue;
                }
            };
            len += text.len();
            if len > MAX_LEN {
                wrong(
                    report,
                    "must not match more than 16 MiB of files".to_owned(),
                );
                return rest;
            }
            let shift = Shift {
                proxies: count(root, "proxies"),
                visitors: count(root, "visitors"),
            };
            let origin = file.to_string_lossy();
            let text = source::Text {
                text: &text,
                origin: &origin,
                role: Role::Client,
                included: Some(shift),
                is_old,
            };
            let (entries, _) = source::read(report, text, variables);
            for entry in entries {
                match LISTS.iter().find(|it| entry.key.eq_ignore_ascii_case(it)) {
                    Some(list) => append(report, root, list, entry),
                    None => rest.push(entry),
                }
            }
        }
    }
    rest
}

fn reason(error: &ReadError) -> String {
    match error {
        ReadError::Encoding(what) => format!("{what}; save the file as UTF-8"),
        ReadError::Open(error) | ReadError::Read(error) => io_reason(error),
    }
}

/// What `includes` lists. Anything else there is told when the key is read.
fn patterns(root: &[Entry]) -> Vec<(usize, String)> {
    let includes = root
        .iter()
        .find(|entry| entry.key.eq_ignore_ascii_case("includes"));
    let Some(Value::List(nodes)) = includes.map(|entry| &entry.node.value) else {
        return Vec::new();
    };
    let texts = nodes.iter().filter_map(|node| match &node.value {
        Value::Text(text) if !text.is_empty() => Some((node.at, text.clone())),
        _ => None,
    });
    texts.collect()
}

fn count(root: &[Entry], list: &str) -> usize {
    let entry = root
        .iter()
        .find(|entry| entry.key.eq_ignore_ascii_case(list));
    match entry.map(|entry| &entry.node.value) {
        Some(Value::List(nodes)) => nodes.len(),
        Some(_) | None => 0,
    }
}

/// Adds the items of `entry` to the list of the same name.
fn append(report: &Report, root: &mut Vec<Entry>, list: &str, entry: Entry) {
    let Value::List(more) = entry.node.value else {
        let why =
            format!("must be a list of tables: write `[[{list}]]`, with two brackets on each side");
        report.invalid(entry.node.at, entry.key, why);
        return;
    };
    let known = root
        .iter_mut()
        .find(|known| known.key.eq_ignore_ascii_case(list));
    match known.map(|known| &mut known.node.value) {
        Some(Value::List(nodes)) => nodes.extend(more),
        // That it is no list is told when it is read.
        Some(_) => {}
        None => root.push(Entry {
            key: list.to_owned(),
            at: entry.at,
            node: Node {
                at: entry.node.at,
                value: Value::List(more),
            },
        }),
    }
}
