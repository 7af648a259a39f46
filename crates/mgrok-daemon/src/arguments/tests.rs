use clap::Parser;

use super::*;

/// What a program might have.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    common: CommonArguments,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Eq, PartialEq, clap::Subcommand)]
enum Command {
    /// Sing
    Sing {
        #[arg(long)]
        how_loud: u8,
    },
    Verify,
}

fn parse_words(words: &[&str]) -> Result<Arguments, Answer> {
    let args = ["prog"].iter().chain(words).map(OsString::from);
    parse(command::<Arguments>("prog", "A program"), args)
}

#[track_caller]
fn check(words: &[&str], config: Option<&str>, strictness: Strictness, command: Option<Command>) {
    let arguments = parse_words(words).unwrap();
    let common = &arguments.common;
    assert_eq!(common.config(), config.map(PathBuf::from), "{words:?}");
    assert_eq!(common.options().strictness(), strictness, "{words:?}");
    assert_eq!(arguments.command, command, "{words:?}");
}

#[test]
fn files_and_commands() {
    use Strictness::Strict;
    check(&[], None, Strict, None);
    check(&["-c", "a"], Some("a"), Strict, None);
    check(&["-ca"], Some("a"), Strict, None);
    check(&["--config", "a"], Some("a"), Strict, None);
    check(&["--config=a_b"], Some("a_b"), Strict, None);
    check(&["-c", "a", "-c", "b"], Some("b"), Strict, None);
    check(&["-c", ""], Some(""), Strict, None);
    let verify = || Some(Command::Verify);
    check(&["verify"], None, Strict, verify());
    check(&["verify", "-c", "a"], Some("a"), Strict, verify());
    check(&["-c", "a", "verify"], Some("a"), Strict, verify());
    let sing = Some(Command::Sing { how_loud: 11 });
    let words = ["sing", "--how_loud=1", "-c", "a", "--how-loud=11"];
    check(&words, Some("a"), Strict, sing);
}

#[test]
fn yes_and_no_are_said_as_in_go() {
    use Strictness::{Lenient, Strict};
    for (words, strictness) in [
        (&["--strict-config"][..], Strict),
        (&["--strict_config"], Strict),
        (&["--strict-config=1"], Strict),
        (&["--strict_config=false"], Lenient),
        (&["--strict-config=F"], Lenient),
        (&["--strict-config=false", "--strict-config"], Strict),
    ] {
        check(words, None, strictness, None);
    }
    for (words, version) in [
        (&["-v"][..], true),
        (&["--version"], true),
        (&["--version=false"], false),
        (&[], false),
    ] {
        assert_eq!(parse_words(words).unwrap().common.version, version);
    }
}

#[test]
fn unsafe_features_are_allowed_by_name() {
    let options = |words| parse_words(words).unwrap().common.options();
    let plain = LoadOptions::new(Strictness::Strict);
    assert_eq!(options(&[]), plain);
    let words = ["verify", "--allow_unsafe", "TokenSourceExec"];
    assert_eq!(options(&words), plain.allowing_exec(true));
    check_wrong(&["--allow-unsafe=Everything"], "Everything");
}

#[track_caller]
fn check_wrong(words: &[&str], expect: &str) {
    let answer = parse_words(words).unwrap_err();
    assert!(answer.is_error);
    assert!(answer.text.contains(expect), "{}", answer.text);
}

#[test]
fn what_is_not_understood_is_refused() {
    check_wrong(&["--bind-port", "7000"], "--bind-port");
    check_wrong(&["veryfy"], "'verify'");
    check_wrong(&["--confg=a"], "'--config'");
    check_wrong(&["--strict-config=maybe"], "must be true or false");
    check_wrong(&["--strict-config", "false"], "false");
    check_wrong(&["-c"], "FILE");
}

#[test]
fn help_is_no_error() {
    for words in [["-h"], ["--help"], ["help"]] {
        let answer = parse_words(&words).unwrap_err();
        assert!(!answer.is_error);
        assert!(answer.text.contains("--strict-config"), "{}", answer.text);
    }
}
