use clap::Parser;

use super::*;

#[derive(Debug)]
struct Table;

impl FlagTable for Table {
    const FLAGS: &'static [Flag] = &[
        Flag::new("bind-port", Takes::Integer, "bindPort", "The port").short('p'),
        Flag::new("token", Takes::Text, "auth.token", "The token").short('t'),
        Flag::new("tls-only", Takes::Boolean, "transport.tls.force", "TLS"),
        Flag::new("domains", Takes::List, "domains", "Names").short('d'),
        Flag::new("metadatas", Takes::Map, "metadatas", "More"),
        Flag::new("allow-ports", Takes::Ports, "allowPorts", "Ports"),
    ];
}

#[derive(Debug, Parser)]
#[command(args_override_self = true)]
struct Arguments {
    #[command(flatten)]
    flags: FlagValues<Table>,
}

fn parse(words: &[&str]) -> Result<Settings, String> {
    let words = ["prog"].iter().chain(words);
    let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
    let mut settings = Settings::default();
    arguments.flags.add_to(&mut settings);
    Ok(settings)
}

/// The settings that these flags, keys and values make, with all flags known.
fn settings(set: &[(&str, &str, SettingValue)]) -> Settings {
    let mut settings = Settings::default();
    for flag in Table::FLAGS {
        settings.know_flag(flag.key(), flag.as_written());
    }
    for (flag, key, value) in set {
        settings.set(*key, value.clone(), *flag);
    }
    settings
}

#[track_caller]
fn check(words: &[&str], expect: &[(&str, &str, SettingValue)]) {
    assert_eq!(parse(words).unwrap(), settings(expect), "{words:?}");
}

#[test]
fn gos_forms_are_understood() {
    let port = [("--bind-port", "bindPort", 7001.into())];
    for words in [
        &["-p7001"][..],
        &["-p", "7001"],
        &["-p=7001"],
        &["--bind-port=7001"],
    ] {
        check(words, &port);
    }
    check(&["-p", "1", "-p", "7001"], &port);
    check(&[], &[]);
    let negative = [("--bind-port", "bindPort", SettingValue::Integer(-1))];
    check(&["-p", "-1"], &negative);
    let token = [("--token", "auth.token", "-x".into())];
    check(&["-t", "-x"], &token);
    check(&["--token=-x"], &token);
    for (words, value) in [
        (&["--tls-only"][..], true),
        (&["--tls-only=true"], true),
        (&["--tls-only=0"], false),
    ] {
        check(
            words,
            &[("--tls-only", "transport.tls.force", value.into())],
        );
    }
}

#[test]
fn lists_are_added_up() {
    let texts = |texts: &[&str]| {
        let texts: Vec<_> = texts.iter().map(|it| (*it).to_owned()).collect();
        [("--domains", "domains", SettingValue::from(texts))]
    };
    check(&["-d", "a,b", "-d=c"], &texts(&["a", "b", "c"]));
    check(&["-d", "\"a,b\",\"c\"\"d\""], &texts(&["a,b", "c\"d"]));
    check(&["-d", ""], &texts(&[]));
    let map = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let pairs: BTreeMap<_, _> = pairs.collect();
        [("--metadatas", "metadatas", SettingValue::from(pairs))]
    };
    check(&["--metadatas", "a=1,b=2"], &map(&[("a", "1"), ("b", "2")]));
    check(&["--metadatas", "a=1,2"], &map(&[("a", "1,2")]));
    check(
        &["--metadatas", "a=1", "--metadatas=b=2"],
        &map(&[("a", "1"), ("b", "2")]),
    );
}

#[test]
fn ports_become_entries() {
    let flag = "--allow-ports";
    check(
        &["--allow-ports", "1-10, 20"],
        &[
            (flag, "allowPorts[0].start", 1.into()),
            (flag, "allowPorts[0].end", 10.into()),
            (flag, "allowPorts[1].single", 20.into()),
        ],
    );
}

#[test]
fn a_value_of_another_kind_is_refused() {
    for (words, why) in [
        (&["-p", "x"][..], "--bind-port"),
        (&["--tls-only=maybe"], "must be true or false"),
        (&["--metadatas", "a"], "name=value"),
        (&["--metadatas", "a=1,b=2,c"], "name=value"),
        (&["--allow-ports", "1-"], "a port or a range"),
        (&["--allow-ports", ""], "a port or a range"),
        (&["-d", "\"a"], "no closing quote"),
    ] {
        let error = parse(words).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn what_was_given_is_shown_without_its_values() {
    let arguments = Arguments::try_parse_from(["prog", "-t", "secret"]).unwrap();
    assert_eq!(format!("{:?}", arguments.flags), "[\"token\"]");
}
