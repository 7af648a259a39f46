//! The texts that a configuration comes from, laid end to end, so that one number says both which text and where in it.
//!
//! Compilers keep their source files this way. Each text gets a base offset when it is added; a position anywhere in the
//! configuration is that base plus an offset in the text. Flags of a command line are texts without lines.

use std::collections::BTreeMap;

use crate::legacy_keys::OldNames;
use crate::mistake::Position;
use crate::template::Origins;

/// All texts of one configuration.
#[derive(Default)]
pub(crate) struct SourceMap {
    sources: Vec<Source>,
    /// The base of the next text.
    next_base: usize,
}

/// Where something stands, in words that a person understands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Location<'a> {
    /// The file's name or the flag.
    pub(crate) origin: &'a str,
    /// `None` for flags, which have no lines.
    pub(crate) position: Option<Position>,
}

/// How many entries of each list stand ahead of those of an included file.
#[derive(Clone, Copy)]
pub(crate) struct Shift {
    pub(crate) proxies: usize,
    pub(crate) visitors: usize,
}

impl Shift {
    /// The key, with an entry's number in its own file instead of that among all.
    fn undo(self, key: String) -> String {
        for (list, ahead) in [("proxies[", self.proxies), ("visitors[", self.visitors)] {
            let parts = key.strip_prefix(list).and_then(|it| it.split_once(']'));
            if let Some((index, rest)) = parts
                && let Ok(index) = index.parse::<usize>()
            {
                return format!("{list}{}]{rest}", index.saturating_sub(ahead));
            }
        }
        key
    }
}

struct Source {
    base: usize,
    origin: String,
    kind: Kind,
    /// Of a text in frp's old format.
    old_names: Option<OldNames>,
    /// Of an included file.
    shift: Option<Shift>,
    /// Keys that nothing knows are no mistakes there.
    is_lenient: bool,
}

enum Kind {
    /// Settings without a place of their own, with the flags that would set those which are missing, by their keys in small letters.
    CommandLine(BTreeMap<String, String>),
    Flag,
    Text(Lines),
}

/// Finds lines and columns in a text.
struct Lines {
    text: String,
    starts: Vec<usize>,
    /// Where the pieces came from of the text that was made of this one and whose offsets count; `None` if it is this one.
    origins: Option<Origins>,
}

impl SourceMap {
    /// Adds a text and returns its base. `origin` is what messages call it.
    pub(crate) fn add_text(&mut self, origin: &str, text: String) -> usize {
        let len = text.len();
        self.add_rendered(origin, text, None, len)
    }

    /// As [`add_text`](Self::add_text), for a template, of which positions are counted in the text of `len` bytes that it became.
    pub(crate) fn add_template(
        &mut self,
        origin: &str,
        template: String,
        origins: Origins,
        len: usize,
    ) -> usize {
        self.add_rendered(origin, template, Some(origins), len)
    }

    fn add_rendered(
        &mut self,
        origin: &str,
        text: String,
        origins: Option<Origins>,
        len: usize,
    ) -> usize {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let starts = std::iter::once(0).chain(after_breaks).collect();
        self.add(
            origin,
            Kind::Text(Lines {
                text,
                starts,
                origins,
            }),
            len,
        )
    }

    /// Adds a flag and returns its position.
    pub(crate) fn add_flag(&mut self, flag: &str) -> usize {
        self.add(flag, Kind::Flag, 0)
    }

    /// Adds the place of settings that no flag gave. `flags` are those that could have, by their dotted keys.
    pub(crate) fn add_command_line<'a>(
        &mut self,
        flags: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> usize {
        let flags = flags.map(|(key, flag)| (key.to_ascii_lowercase(), flag.to_owned()));
        self.add("command line", Kind::CommandLine(flags.collect()), 0)
    }

    /// What `at` points to; `key` is the dotted key that it is about.
    pub(crate) fn locate(&self, at: usize, key: &str) -> Location<'_> {
        let source = self.source(at);
        let position = match &source.kind {
            Kind::CommandLine(flags) => {
                let origin = flags.get(&key.to_ascii_lowercase());
                return Location {
                    origin: origin.unwrap_or(&source.origin),
                    position: None,
                };
            }
            Kind::Flag => None,
            Kind::Text(lines) => Some(lines.position(at - source.base)),
        };
        Location {
            origin: &source.origin,
            position,
        }
    }

    /// From here on, keys of the text that begins at `base` are shown as they are written there.
    pub(crate) fn rename(&mut self, base: usize, names: OldNames) {
        let index = self.index(base);
        if let Some(source) = self.sources.get_mut(index) {
            source.old_names = Some(names);
        }
    }

    /// From here on, entries of lists in the text that begins at `base` have the numbers that they have there.
    pub(crate) fn shift(&mut self, base: usize, shift: Shift) {
        let index = self.index(base);
        if let Some(source) = self.sources.get_mut(index) {
            source.shift = Some(shift);
        }
    }

    /// From here on, keys of the text that begins at `base` that nothing knows are no mistakes.
    pub(crate) fn be_lenient(&mut self, base: usize) {
        let index = self.index(base);
        if let Some(source) = self.sources.get_mut(index) {
            source.is_lenient = true;
        }
    }

    /// Whether `at` is in a text whose unknown keys are no mistakes.
    pub(crate) fn is_lenient(&self, at: usize) -> bool {
        self.source(at).is_lenient
    }

    /// Whether `at` is in a text in frp's old format.
    pub(crate) fn is_old_format(&self, at: usize) -> bool {
        self.source(at).old_names.is_some()
    }

    /// The dotted `key`, which something at `at` is about, as it is written there.
    pub(crate) fn shown_key(&self, at: usize, key: String) -> String {
        let source = self.source(at);
        let key = match source.shift {
            Some(shift) => shift.undo(key),
            None => key,
        };
        let names = source.old_names.as_ref();
        names.and_then(|names| names.old_name(&key)).unwrap_or(key)
    }

    /// What messages call the text that was added first.
    pub(crate) fn first_origin(&self) -> &str {
        self.sources
            .first()
            .map_or("", |source| source.origin.as_str())
    }

    fn add(&mut self, origin: &str, kind: Kind, len: usize) -> usize {
        let base = self.next_base;
        // The end of a text is a position in it.
        self.next_base += len + 1;
        self.sources.push(Source {
            base,
            origin: origin.to_owned(),
            kind,
            old_names: None,
            shift: None,
            is_lenient: false,
        });
        base
    }

    fn source(&self, at: usize) -> &Source {
        &self.sources[self.index(at)]
    }

    fn index(&self, at: usize) -> usize {
        let after = self.sources.partition_point(|source| source.base <= at);
        after.saturating_sub(1)
    }
}

impl Lines {
    fn position(&self, at: usize) -> Position {
        let origins = self.origins.as_ref();
        let at = origins.map_or(at, |origins| origins.find(at));
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        let before = self.text.get(start..at).unwrap_or_default();
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(map: &SourceMap, at: usize) -> String {
        let Location { origin, position } = map.locate(at, "a.b");
        match position {
            Some(Position { line, column }) => format!("{origin}:{line}:{column}"),
            None => origin.to_owned(),
        }
    }

    #[test]
    fn one_number_finds_text_and_place() {
        let mut map = SourceMap::default();
        let first = map.add_text("first", "a\nbä".to_owned());
        let empty = map.add_text("empty", String::new());
        let flag = map.add_flag("--b");
        let none = map.add_command_line([("A.b", "--ab")].into_iter());
        let last = map.add_text("last", "\nx".to_owned());
        for (at, expect) in [
            (first, "first:1:1"),
            (first + 2, "first:2:1"),
            (first + 5, "first:2:3"),
            (empty, "empty:1:1"),
            (flag, "--b"),
            (none, "--ab"),
            (last, "last:1:1"),
            (last + 2, "last:2:2"),
        ] {
            assert_eq!(place(&map, at), expect);
        }
        assert_eq!(map.locate(none, "a").origin, "command line");
    }
}
