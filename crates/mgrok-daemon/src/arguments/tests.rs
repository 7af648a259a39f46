use std::convert::Infallible;

use super::*;

fn parse_words<C: Subcommand>(words: &[&str]) -> Result<Request<C>, Answer> {
    let args = ["prog"].iter().chain(words).map(OsString::from);
    parse("prog", "A program", Some("./default.toml"), args)
}

#[track_caller]
fn check(words: &[&str], config: Option<&str>, strictness: Strictness, task: Task<Infallible>) {
    let expect = Request {
        config: config.map(PathBuf::from),
        strictness,
        task,
    };
    assert_eq!(parse_words(words).unwrap(), expect, "{words:?}");
}

#[test]
fn files_and_commands() {
    use Strictness::Strict;
    check(&[], Some("./default.toml"), Strict, Task::Run);
    check(&["-c", "a"], Some("a"), Strict, Task::Run);
    check(&["-ca"], Some("a"), Strict, Task::Run);
    check(&["--config", "a"], Some("a"), Strict, Task::Run);
    check(&["--config=a_b"], Some("a_b"), Strict, Task::Run);
    check(&["-c", "a", "-c", "b"], Some("b"), Strict, Task::Run);
    check(&["-c", ""], None, Strict, Task::Run);
    check(&["verify"], Some("./default.toml"), Strict, Task::Verify);
    check(&["verify", "-c", "a"], Some("a"), Strict, Task::Verify);
    check(&["-c", "a", "verify"], Some("a"), Strict, Task::Verify);
    check(
        &["verify", "-c", "a", "x", "y"],
        Some("a"),
        Strict,
        Task::Verify,
    );
    check(&["-v"], Some("./default.toml"), Strict, Task::Version);
    check(
        &["--version"],
        Some("./default.toml"),
        Strict,
        Task::Version,
    );
}

#[test]
fn strictness_is_said_as_in_go() {
    use Strictness::{Lenient, Strict};
    let file = Some("./default.toml");
    check(&["--strict-config"], file, Strict, Task::Run);
    check(&["--strict_config"], file, Strict, Task::Run);
    check(&["--strict-config=true"], file, Strict, Task::Run);
    check(&["--strict-config=1"], file, Strict, Task::Run);
    check(&["--strict_config=false"], file, Lenient, Task::Run);
    check(&["--strict-config=F"], file, Lenient, Task::Run);
    check(
        &["--strict-config=false", "verify"],
        file,
        Lenient,
        Task::Verify,
    );
    check(
        &["verify", "--strict-config=false"],
        file,
        Lenient,
        Task::Verify,
    );
    check(
        &["--strict-config=false", "--strict-config"],
        file,
        Strict,
        Task::Run,
    );
}

#[test]
fn without_a_default_there_is_no_file() {
    let request = parse::<Infallible>("prog", "A program", None, ["prog".into()]).unwrap();
    assert_eq!(request.config, None);
}

/// What only one program has.
#[derive(Debug, Eq, PartialEq, Subcommand)]
enum Own {
    /// Sing
    Sing {
        #[arg(long)]
        how_loud: u8,
    },
}

#[test]
fn a_program_has_commands_of_its_own() {
    for words in [
        ["-c", "a", "sing", "--how-loud=1", "--how_loud=11"],
        ["sing", "--how_loud=11", "-c", "a", "--strict-config"],
    ] {
        let request = parse_words::<Own>(&words).unwrap();
        assert_eq!(request.task, Task::Own(Own::Sing { how_loud: 11 }));
        assert_eq!(request.config, Some(PathBuf::from("a")));
    }
    let request = parse_words::<Own>(&["verify"]).unwrap();
    assert_eq!(request.task, Task::Verify);
    check_wrong(&["sing", "--how-loud=1"], "unrecognized subcommand");
    let answer = parse_words::<Own>(&["help"]).unwrap_err();
    assert!(answer.text.contains("Sing"), "{}", answer.text);
}

#[track_caller]
fn check_wrong(words: &[&str], expect: &str) {
    let answer = parse_words::<Infallible>(words).unwrap_err();
    assert!(answer.is_error);
    assert!(answer.text.contains(expect), "{}", answer.text);
}

#[test]
fn what_is_not_understood_is_refused() {
    check_wrong(&["--bind-port", "7000"], "--bind-port");
    check_wrong(&["--bind-port", "7000"], NOT_OURS);
    check_wrong(&["tcp", "--remote-port", "6000"], NOT_OURS);
    check_wrong(&["reload"], "reload");
    check_wrong(&["--strict-config=maybe"], "must be true or false");
    check_wrong(&["--strict-config", "false"], "false");
    check_wrong(&["-c"], "FILE");
}

#[test]
fn help_is_no_error() {
    for words in [["-h"], ["--help"], ["help"]] {
        let answer = parse_words::<Infallible>(&words).unwrap_err();
        assert!(!answer.is_error);
        assert!(
            answer.text.contains("[default: ./default.toml]"),
            "{}",
            answer.text
        );
    }
}
