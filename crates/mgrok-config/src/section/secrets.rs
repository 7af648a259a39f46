//! Secrets, which a configuration may hold, or say where to get them: each key `X` of one has a `XSource` beside it.
//!
//! frp has this for `auth.token` alone.

use std::hash::{BuildHasher, RandomState};

use mgrok_proto::auth::Secret;

use super::Section;
use crate::value_source::{Program, ValueSource};

impl Section<'_> {
    /// A secret that stands under `key`, or comes from where `source` says.
    pub(crate) fn secret(&mut self, key: &'static str, source: &'static str) -> Option<Secret> {
        let text = self.text(key).map(Secret::new);
        if !self.has(source) {
            // It is a key all the same.
            self.section(source);
            return text;
        }
        if self.says(key) {
            // frp: the beginning of this wording
            let both = (self.full(key), self.full(source));
            let why = format!(
                "cannot specify both `{}` and `{}`: take one of them away",
                both.0, both.1
            );
            self.invalid(source, why);
        }
        let got = value_source(self.section(source));
        text.or(got)
    }

    /// Where to get a secret each time that one is needed, as `key` says. Nothing is fetched here.
    pub(crate) fn value_source(&mut self, key: &'static str) -> Option<ValueSource> {
        if !self.has(key) {
            // It is a key all the same.
            self.section(key);
            return None;
        }
        source_of(&mut self.section(key))
    }
}

fn value_source(mut section: Section<'_>) -> Option<Secret> {
    let source = source_of(&mut section)?;
    let options = section.report.options();
    if !options.resolves_sources || !section.report.reads_files() {
        return Some(placeholder());
    }
    if let ValueSource::File(path) = &source {
        section.report.note_secret(path);
    }
    match source.resolve() {
        Ok(secret) => Some(secret),
        Err(error) => {
            section.invalid("", error.to_string());
            None
        }
    }
}

/// What a section says of where a secret comes from, if it makes sense and is allowed.
fn source_of(section: &mut Section<'_>) -> Option<ValueSource> {
    let kind = section.choice("type", &["file", "exec"], |word| {
        // frp: the beginning of this wording
        format!("unsupported value source type: {}", word.escape_debug())
    });
    let file = section.section("file");
    let exec = section.section("exec");
    let source = match kind.as_deref() {
        Some("file") => from_file(file),
        Some(_) => from_program(exec),
        None => {
            if !section.says("type") && !section.is_flawed() {
                section.invalid("", "must have a `type`, \"file\" or \"exec\"");
            }
            file.abandon();
            exec.abandon();
            None
        }
    }?;
    if section.is_flawed() || !section.judged {
        return None;
    }
    let options = section.report.options();
    if matches!(source, ValueSource::Program(_)) && !options.allows_exec {
        // frp: the beginning of this wording
        section.invalid(
            "type",
            "unsafe feature \"TokenSourceExec\" is not enabled: whoever writes this file could have any program run, so start with \
             `--allow-unsafe TokenSourceExec` if that is meant",
        );
        return None;
    }
    Some(source)
}

fn from_file(mut section: Section<'_>) -> Option<ValueSource> {
    let path = section.text("path");
    if path.is_none() && !section.says("path") {
        // frp: the beginning of this wording
        section.invalid(
            "path",
            "file path cannot be empty: name the file with the secret",
        );
    }
    path.map(ValueSource::File)
}

fn from_program(mut section: Section<'_>) -> Option<ValueSource> {
    let command = section.text("command");
    if command.is_none() && !section.says("command") {
        // frp: this wording
        section.invalid("command", "exec command cannot be empty");
    }
    let args = section.texts("args");
    let mut env = Vec::new();
    let mut is_flawed = section.is_flawed();
    for mut variable in section.sections("env") {
        let name = variable.text("name").unwrap_or_default();
        let value = variable.text("value").unwrap_or_default();
        if name.is_empty() && !variable.says("name") {
            // frp: this wording
            variable.invalid("name", "exec env name cannot be empty");
        } else if name.contains(['=', '\0']) {
            // frp: this wording
            variable.invalid("name", "exec env name cannot contain '='");
        }
        is_flawed |= variable.is_flawed();
        env.push((name, value));
    }
    let command = command.filter(|_| !is_flawed)?;
    Some(ValueSource::Program(Program {
        command,
        args: args.into_iter().map(|item| item.text).collect(),
        env,
    }))
}

/// What stands for a secret that is not fetched: nobody knows it, so that it opens nothing if it should be used by mistake.
fn placeholder() -> Secret {
    let random = || RandomState::new().hash_one(0);
    Secret::new(format!("{:016x}{:016x}", random(), random()))
}

#[cfg(test)]
mod tests {
    use crate::LoadOptions;
    use crate::load::load_client;

    #[test]
    fn a_program_that_fails_is_told_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("client.toml");
        let text = "auth.tokenSource = { type = \"exec\", exec = { command = \"false\" } }\n";
        std::fs::write(&file, text).unwrap();
        let options = LoadOptions::default().allowing_exec(true);
        let error = load_client(&file, options).unwrap_err().to_string();
        assert!(error.contains("auth.tokenSource: "), "{error}");
    }
}
