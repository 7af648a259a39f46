//! Completions and manual pages. The tests of both binaries use it.

use tempfile::TempDir;

use crate::EXE;
use crate::process::run;

#[test]
fn every_shell_has_its_script() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("fish", "complete -c"),
        ("zsh", "#compdef"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let ended = run(EXE, ["completion", shell]);
        assert!(ended.stdout.contains(part), "{ended:?}");
        assert!(ended.stdout.contains("strict-config"), "{ended:?}");
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
    assert_eq!(run(EXE, ["completion", "basic"]).code, Some(1));
}

#[test]
fn everything_is_written_into_a_directory() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("new");
    for command in ["completion", "man"] {
        let ended = run(EXE, [command.as_ref(), "--dir".as_ref(), path.as_os_str()]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
    }
    let files = std::fs::read_dir(&path).unwrap();
    let mut names: Vec<_> = files.map(|it| it.unwrap().file_name()).collect();
    names.sort();
    let pages = names
        .iter()
        .filter(|it| it.to_str().unwrap().ends_with(".1"));
    assert!(pages.count() > 3, "{names:?}");
    assert!(names.len() > 8, "{names:?}");
}

#[test]
fn the_manual_page_has_the_flags() {
    let ended = run(EXE, ["man"]);
    assert!(ended.stdout.contains(".TH "), "{ended:?}");
    assert!(ended.stdout.contains("strict\\-config"), "{ended:?}");
    assert_eq!(ended.code, Some(0));
}
