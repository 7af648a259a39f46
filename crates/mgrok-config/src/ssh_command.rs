//! From the command that an SSH client asks for to the proxy that it means: `tcp --remote_port 9090`.
//!
//! The flags are those of the client's program that describe a proxy, and are checked as those are.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use mgrok_proto::auth::Secret;

use crate::flag::{Flag, Takes, parse_list, parse_map};
use crate::load::{LoadError, load_client_from_settings_alone};
use crate::proxy::ProxyConfig;
use crate::proxy_flags::{EVERY_PROXY, HTTP, HTTPS, IDENTITY, PORT, PRIVATE, TCPMUX};
use crate::settings::{SettingValue, Settings};

/// The longest command, in bytes. All flags of a proxy with a hundred names fit.
const MAX_LEN: usize = 8 * 1024;

/// The types of proxies that there are for SSH clients, with their own flags.
// frp: these, in this order
const TYPES: [(&str, &[Flag]); 5] = [
    ("tcp", PORT),
    ("http", HTTP),
    ("https", HTTPS),
    ("tcpmux", TCPMUX),
    ("stcp", PRIVATE),
];

/// What an SSH client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct SshCommand {
    /// Whose proxy it is, if it says so; else empty.
    pub user: String,
    /// A name of the client that the server keeps unique; empty is none.
    pub client_id: String,
    /// What it knows of the server; empty if it says nothing.
    pub token: Secret,
    /// The proxy. Its local service is the SSH client's matter.
    pub proxy: ProxyConfig,
}

/// Why there is no proxy. What the client wrote is escaped in the texts.
#[derive(Debug, thiserror::Error)]
pub enum SshCommandError {
    /// The client wants to know what it can say: this.
    #[error("{0}")]
    Help(String),
    /// The command is wrong.
    #[error("{0}")]
    Wrong(String),
}

impl SshCommand {
    /// Reads `command`. A proxy that it gives no name is called by its type and `id`.
    ///
    /// # Errors
    /// The text for the client, if it asks for help or the command is wrong.
    pub fn read(command: &str, id: &str) -> Result<Self, SshCommandError> {
        let wrong = SshCommandError::Wrong;
        if command.len() > MAX_LEN {
            return Err(wrong(format!("the command has more than {MAX_LEN} bytes")));
        }
        // frp: words end at a single space, and nothing is quoted (pkg/ssh/server.go#parseClientAndProxyConfigurer)
        let mut words = command.split(' ');
        let kind = words.next().unwrap_or_default().trim();
        let Some((kind, own)) = TYPES.into_iter().find(|(name, _)| *name == kind) else {
            let types = TYPES.map(|(name, _)| name).join(" ");
            let kind = kind.escape_debug();
            return Err(wrong(format!(
                "invalid proxy type: {kind}, support types: [{types}]"
            )));
        };
        let tables = [EVERY_PROXY, own, IDENTITY];
        let mut settings = Settings::default();
        settings.set("proxies[0].type", kind, kind);
        let name = format!("sshtunnel-{kind}-{id}");
        settings.set("proxies[0].name", name, "--proxy-name");
        for flag in tables.into_iter().flatten() {
            settings.know_flag(flag.key(), flag.as_written());
        }
        for (flag, value) in given(words, &tables)?.into_values() {
            let is_empty = matches!(&value, SettingValue::Text(text) if text.is_empty());
            if !is_empty {
                settings.set(flag.key(), value, flag.as_written());
            }
        }
        let loaded = load_client_from_settings_alone(&settings).map_err(|error| match error {
            LoadError::Mistakes(mistakes) => {
                let lines = mistakes.to_string();
                wrong(lines.lines().collect::<Vec<_>>().join("; "))
            }
            other => wrong(other.to_string()),
        })?;
        let config = loaded.config;
        let mut proxies = config.proxies.into_iter();
        let proxy = proxies.next();
        Ok(Self {
            user: config.user,
            client_id: config.client_id,
            token: config.auth.token,
            proxy: proxy.ok_or_else(|| wrong("there is no proxy".to_owned()))?,
        })
    }
}

/// Flags by their names, with what they are set to.
type Given = BTreeMap<&'static str, (&'static Flag, SettingValue)>;

/// Reads flags as Go's programs do. Words that are none are passed over.
// frp: the same (pflag), with these words
fn given<'a>(
    mut words: impl Iterator<Item = &'a str>,
    tables: &[&'static [Flag]],
) -> Result<Given, SshCommandError> {
    let flags = || tables.iter().copied().flatten();
    let wrong = |why: String| Err(SshCommandError::Wrong(why));
    let mut given = Given::new();
    while let Some(word) = words.next() {
        let (flag, value, shown) = match word.strip_prefix('-') {
            None | Some("") => continue,
            Some("-") => break,
            Some(rest) => match rest.strip_prefix('-') {
                Some(long) => {
                    let (name, value) = match long.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (long, None),
                    };
                    if name.is_empty() || name.starts_with('-') {
                        return wrong(format!("bad flag syntax: {}", word.escape_debug()));
                    }
                    let name = name.replace('_', "-");
                    let shown = format!("--{}", name.escape_debug());
                    match flags().find(|flag| flag.long() == name) {
                        Some(flag) => (flag, value, shown),
                        None if name == "help" => return Err(help(tables)),
                        None => return wrong(format!("unknown flag: {shown}")),
                    }
                }
                None => {
                    let mut letters = rest.chars();
                    let short = letters.next();
                    let value = letters.as_str();
                    let value = value.strip_prefix('=').unwrap_or(value);
                    let letter = short.map(char::escape_debug).into_iter().flatten();
                    let shown = format!(
                        "'{}' in {}",
                        letter.collect::<String>(),
                        word.escape_debug()
                    );
                    match flags().find(|flag| flag.short_name() == short) {
                        Some(flag) => (flag, (rest.len() > 1).then_some(value), shown),
                        None if short == Some('h') => return Err(help(tables)),
                        None => return wrong(format!("unknown shorthand flag: {shown}")),
                    }
                }
            },
        };
        let Some(value) = value.or_else(|| words.next()) else {
            return wrong(format!("flag needs an argument: {shown}"));
        };
        if let Err(why) = add(&mut given, flag, value) {
            let (value, name) = (value.escape_debug(), flag.as_written());
            return wrong(format!(
                "invalid argument \"{value}\" for \"{name}\" flag: {why}"
            ));
        }
    }
    Ok(given)
}

/// Takes note that `flag` is set to `value`.
fn add(given: &mut Given, flag: &'static Flag, value: &str) -> Result<(), String> {
    let before = given.remove(flag.long()).map(|(_, value)| value);
    let value = match flag.takes() {
        Takes::Text => SettingValue::from(value),
        Takes::Integer => match value.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => return Err("it must be a number".to_owned()),
        },
        Takes::List => {
            let mut texts = match before {
                Some(SettingValue::Texts(texts)) => texts,
                _ => Vec::new(),
            };
            texts.extend(parse_list(value)?);
            texts.into()
        }
        Takes::Map => {
            let mut pairs = match before {
                Some(SettingValue::Map(pairs)) => pairs,
                _ => BTreeMap::new(),
            };
            pairs.extend(parse_map(value)?);
            pairs.into()
        }
        Takes::Boolean | Takes::Ports => return Err("it is not for SSH clients".to_owned()),
    };
    given.insert(flag.long(), (flag, value));
    Ok(())
}

/// What can be said.
fn help(tables: &[&'static [Flag]]) -> SshCommandError {
    let types = TYPES.map(|(name, _)| name).join("|");
    let mut text =
        format!("Usage:\n  ssh -R 80:HOST:PORT v0@SERVER -p PORT {types} [flags]\n\nFlags:\n");
    let rows = tables.iter().copied().flatten().map(|flag| {
        let short = flag.short_name().map(|short| format!("-{short},"));
        let short = short.unwrap_or_default();
        let name = format!("{short:3} {} {}", flag.as_written(), flag.value_name());
        (name, flag.help())
    });
    let rows: Vec<_> = rows.collect();
    let width = rows.iter().map(|(name, _)| name.chars().count()).max();
    let width = width.unwrap_or_default();
    for (name, what) in rows {
        // A text takes all that is written to it.
        let _ = writeln!(text, "  {name:width$}   {what}");
    }
    SshCommandError::Help(text)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::{prop_assert, proptest};

    use super::*;
    use crate::proxy::{Domains, HttpProxy, Private, ProxyKind, TcpMuxProxy};

    #[track_caller]
    fn read(command: &str) -> SshCommand {
        SshCommand::read(command, "0a1b2c3d").unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    #[track_caller]
    fn wrong(command: &str) -> String {
        match SshCommand::read(command, "0a1b2c3d") {
            Err(SshCommandError::Wrong(why)) => why,
            other => panic!("{command}: {other:?}"),
        }
    }

    fn domains(name: &str) -> Domains {
        Domains {
            custom: vec![name.to_owned()],
            subdomain: String::new(),
        }
    }

    #[test]
    fn a_type_alone_is_a_proxy_with_a_name_of_its_own() {
        let command = read("tcp");
        assert_eq!(command.proxy.name, "sshtunnel-tcp-0a1b2c3d");
        assert_eq!(command.proxy.kind, ProxyKind::Tcp { remote_port: 0 });
        assert!(command.user.is_empty() && command.client_id.is_empty());
        assert!(command.token.expose().is_empty());
    }

    #[test]
    fn flags_have_the_forms_of_gos_programs() {
        let expect = ProxyKind::Tcp { remote_port: 9090 };
        for flag in [
            "--remote_port 9090",
            "--remote-port=9090",
            "-r 9090",
            "-r9090",
            "-r=9090",
            "  -r 1 --remote-port 9090  stray",
        ] {
            assert_eq!(read(&format!("tcp {flag}")).proxy.kind, expect, "{flag}");
        }
        let command = read("tcp -n ssh -u ada --client-id laptop -t secret -- --nonsense");
        assert_eq!(command.proxy.name, "ssh");
        assert_eq!(
            (command.user.as_str(), command.client_id.as_str()),
            ("ada", "laptop")
        );
        assert_eq!(command.token.expose(), "secret");
    }

    #[test]
    fn every_type_has_its_own_flags() {
        let http = read("http -d a.example,b.example --http_user u --http_pwd p --locations /x");
        let ProxyKind::Http(HttpProxy {
            domains: of,
            user,
            locations,
            ..
        }) = http.proxy.kind
        else {
            panic!("not http");
        };
        assert_eq!(of.custom, ["a.example", "b.example"]);
        assert_eq!((user.as_str(), locations), ("u", vec!["/x".to_owned()]));
        let https = read("https --custom-domain test.example.com").proxy.kind;
        assert_eq!(https, ProxyKind::Https(domains("test.example.com")));
        let mux = read("tcpmux --mux=httpconnect --custom-domain test.example.com")
            .proxy
            .kind;
        let expect = TcpMuxProxy {
            domains: domains("test.example.com"),
            ..TcpMuxProxy::default()
        };
        assert_eq!(mux, ProxyKind::TcpMux(expect));
        let stcp = read("stcp -n stcp-test --sk=abcdefg --allow-users=\"*\"")
            .proxy
            .kind;
        let expect = Private {
            secret_key: "abcdefg".into(),
            allow_users: vec!["*".to_owned()],
        };
        assert_eq!(stcp, ProxyKind::Stcp(expect));
        let maps = read("tcp --metadatas a=1,b=2 --metadatas c=3 --annotations d=4").proxy;
        assert_eq!((maps.metadatas.len(), maps.annotations.len()), (3, 1));
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let types = "support types: [tcp http https tcpmux stcp]";
        for (command, expect) in [
            ("udp", format!("invalid proxy type: udp, {types}")),
            ("", format!("invalid proxy type: , {types}")),
            (
                "t\u{1b}[2Jcp",
                format!("invalid proxy type: t\\u{{1b}}[2Jcp, {types}"),
            ),
            (
                "tcp --remote_prot 1",
                "unknown flag: --remote-prot".to_owned(),
            ),
            (
                "tcp --local_port 1",
                "unknown flag: --local-port".to_owned(),
            ),
            ("tcp -x", "unknown shorthand flag: 'x' in -x".to_owned()),
            ("tcp --=1", "bad flag syntax: --=1".to_owned()),
            ("tcp ---r=1", "bad flag syntax: ---r=1".to_owned()),
            ("tcp -r", "flag needs an argument: 'r' in -r".to_owned()),
            ("tcp --user", "flag needs an argument: --user".to_owned()),
            (
                "tcp -r ssh",
                "invalid argument \"ssh\" for \"--remote-port\" flag: it must be a number"
                    .to_owned(),
            ),
            (
                "tcp -r 70000",
                "--remote-port: port number 70000 must be in the range 0..65535".to_owned(),
            ),
        ] {
            assert_eq!(wrong(command), expect, "{command}");
        }
        // frp lets it pass, and nothing is published then.
        assert!(wrong("http").contains("custom"), "{}", wrong("http"));
        let long = format!("tcp -n {}", "a".repeat(MAX_LEN));
        assert_eq!(wrong(&long), "the command has more than 8192 bytes");
        for command in ["http -d a..b,c..d --sd a.b", "stcp --allow-users \"a"] {
            assert_eq!(wrong(command).lines().count(), 1, "{command}");
        }
    }

    #[test]
    fn help_names_the_flags_of_the_type() {
        for command in ["tcp --help", "tcp -h", "tcp -r 1 --help"] {
            let Err(SshCommandError::Help(text)) = SshCommand::read(command, "0") else {
                panic!("no help: {command}");
            };
            assert!(text.contains("  -r, --remote-port PORT"), "{text}");
            assert!(text.contains("      --client-id NAME"), "{text}");
            assert!(!text.contains("--custom-domain"), "{text}");
        }
    }

    proptest! {
        /// What is wrong is shown at terminals and in logs.
        #[test]
        fn any_command_is_a_proxy_or_has_a_text_without_control_characters(
            kind in "tcp|http|https|tcpmux|stcp|.{0,4}",
            words in vec("(--?(n|r|d|sk|sd|mux|proxy_name|user|client-id|allow-users|metadatas|locations|help)(=|=?\"?.{0,6}))|.{0,8}", 0..6),
        ) {
            let command = format!("{kind} {}", words.join(" "));
            match SshCommand::read(&command, "0a1b2c3d") {
                Ok(read) => {
                    let announced = read.proxy.announcement(&read.user);
                    prop_assert!(announced.proxy_name.ends_with(&read.proxy.name));
                }
                Err(SshCommandError::Help(text)) => prop_assert!(text.contains("--proxy-name")),
                Err(SshCommandError::Wrong(why)) => {
                    prop_assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
                }
            }
        }
    }
}
