//! Files that are wrong, each with what is told about it.
//!
//! `broken/<number>-<program>-<what>.<format>` is a file, and `.expected` beside it is what the loader says. With `UPDATE_EXPECTED=1` in
//! the environment the latter are written anew, to be read before they are kept.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use mgrok_config::{Environment, Strictness, load_client_in, load_server_in};

#[test]
fn each_gets_its_line_its_place_and_advice() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/broken");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".expected"))
        .collect();
    names.sort();
    assert!(names.len() >= 100, "only {} files", names.len());

    let mut wrong = String::new();
    for name in &names {
        let path = directory.join(name);
        let told = told(name, &fs::read_to_string(&path).unwrap()) + "\n";
        let expected = directory.join(format!("{name}.expected"));
        if env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
            continue;
        }
        let expect = fs::read_to_string(&expected).unwrap_or_default();
        for line in expect.lines().filter(|line| !told.contains(line)) {
            writeln!(wrong, "- {line}").unwrap();
        }
        for line in told.lines().filter(|line| !expect.contains(line)) {
            writeln!(wrong, "+ {line}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

/// What the loader says about a file, which must be something.
fn told(name: &str, text: &str) -> String {
    let variables = [("PORT", "7001"), ("NAME", "web")];
    let environment = Environment {
        http_proxy: None,
        variables: variables
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect(),
    };
    let program = name.split('-').nth(1);
    let error = if program == Some("server") {
        load_server_in(&environment, text, name, Strictness::Strict).err()
    } else {
        load_client_in(&environment, text, name, Strictness::Strict).err()
    };
    match error {
        Some(error) => error.to_string(),
        None => panic!("{name} is not broken"),
    }
}
