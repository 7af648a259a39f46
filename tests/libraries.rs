//! The libraries that members use: each is in `workspace-hack`, and no member asks for features of its own, so that cargo compiles a
//! library once whichever member it compiles.

#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The lines of a table of a manifest.
fn table<'a>(manifest: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = manifest.lines().skip_while(move |line| *line != name);
    let lines = lines.skip(1).take_while(|line| !line.starts_with('['));
    lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// The names that such lines begin with, but those of members.
fn libraries<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    lines
        .map(|line| line.split([' ', '.']).next().unwrap())
        .filter(|name| !name.starts_with("mgrok") && *name != "workspace-hack")
        .collect()
}

#[test]
fn the_hack_has_every_library_of_the_workspace() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let hack = fs::read_to_string(root.join("tests/workspace-hack/Cargo.toml")).unwrap();
    let libraries_of_all = libraries(table(&workspace, "[workspace.dependencies]"));
    assert!(libraries_of_all.len() > 40, "{libraries_of_all:?}");
    assert_eq!(libraries(table(&hack, "[dependencies]")), libraries_of_all);
}

#[test]
fn members_ask_for_no_features_of_their_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap();
    let mut members: Vec<_> = crates.map(|it| it.unwrap().path()).collect();
    members.extend(
        [
            "mgroks",
            "mgrokc",
            "tests/golden",
            "tests/issuer",
            "tests/lab",
        ]
        .map(|it| root.join(it)),
    );
    let mut checked = 0;
    for member in members {
        let manifest = fs::read_to_string(member.join("Cargo.toml")).unwrap();
        let has_hack = table(&manifest, "[dev-dependencies]")
            .any(|line| line == "workspace-hack.workspace = true");
        assert!(has_hack, "{}", member.display());
        for name in ["[dependencies]", "[dev-dependencies]"] {
            for line in table(&manifest, name).filter(|line| !line.starts_with("mgrok")) {
                checked += 1;
                let allowed = line.ends_with(".workspace = true")
                    || line == r#"tokio = { workspace = true, features = ["test-util"] }"#
                    || line.ends_with("= { workspace = true, optional = true }");
                assert!(allowed, "{}: {line}", member.display());
            }
        }
    }
    assert!(checked > 100, "{checked} dependencies");
}
