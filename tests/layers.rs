//! The order of files: within a crate no two import each other, in a circle of whatever length, and where `lib.rs` lists its modules
//! lowest first, none imports one that comes later. The order of crates is the compiler's to check. And the walks that ARCHITECTURE.md lists go that way.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how tests fail"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A file by the path of its module: `["ingress", "tcp"]`; the root is empty.
type Module = Vec<String>;

/// Files that cannot be told apart in what they do, each with the reason.
const INHERENT: &[(&str, &[&str], &str)] = &[
    (
        "mgrok-http",
        &["body", "pool"],
        "a body gives its connection back to the pool when it is read, and the pool hands out bodies",
    ),
    (
        "mgrok-proto",
        &["record", "record/stream"],
        "a stream of records is opened by the algorithm whose sizes and errors it has",
    ),
    (
        "mgrok-net",
        &["resolver", "resolver/hosts", "resolver/lookups"],
        "lookups and the hosts file are two sources of one resolver",
    ),
    (
        "mgrok-config",
        &[
            "check",
            "check/client",
            "check/client_plugin",
            "check/client_transport",
            "check/oidc",
            "check/proxies",
            "check/server",
            "check/server_addrs",
            "check/server_hooks",
            "check/stored",
            "check/visitors",
        ],
        "a check of one section hands what is below it to the checks that all sections share",
    ),
];

fn sources(root: &Path, at: &Path, files: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(root, &path, files);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let module: Module = path
                .strip_prefix(root)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|it| it.to_str().unwrap().to_owned())
                .collect();
            if module.iter().any(|it| it == "tests") {
                continue;
            }
            let module = match module.as_slice() {
                [root] if root == "lib" || root == "main" => Vec::new(),
                _ => module,
            };
            files.insert(module, code(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// A file without its comments, its line ends and the tests at its end.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let begins_tests = line.starts_with("#[cfg(") && line.contains("test");
        if begins_tests && lines.peek().is_some_and(|it| it.contains("mod tests")) {
            break;
        }
        code.push_str(line.split("//").next().unwrap().trim());
        code.push(' ');
    }
    code
}

/// The paths that begin with `head` in `code`, each as its names, with all of a group.
fn paths(code: &str, head: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(head) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|it| it.is_alphanumeric() || it == '_' || it == ':') {
            continue;
        }
        let rest = &code[at + head.len()..];
        let end = rest.find(|it: char| !(it.is_alphanumeric() || it == '_' || it == ':'));
        let (names, after) = rest.split_at(end.unwrap_or(rest.len()));
        let names: Vec<String> = names
            .split("::")
            .filter(|it| !it.is_empty())
            .map(str::to_owned)
            .collect();
        if let Some(group) = after.strip_prefix('{') {
            let group = group.split(';').next().unwrap();
            for item in group.split(|it: char| !(it.is_alphanumeric() || it == '_' || it == ':')) {
                let mut path = names.clone();
                path.extend(
                    item.split("::")
                        .filter(|it| !it.is_empty())
                        .map(str::to_owned),
                );
                found.push(path);
            }
        }
        found.push(names);
    }
    found
}

/// The files of the crate that `module` imports.
fn imports(module: &Module, files: &BTreeMap<Module, String>) -> BTreeSet<Module> {
    let code = &files[module];
    let parent = &module[..module.len().saturating_sub(1)];
    let mut all = Vec::new();
    for (head, base) in [
        ("crate::", &[][..]),
        ("super::", parent),
        ("self::", module),
    ] {
        for path in paths(code, head) {
            let mut base = base.to_vec();
            let ups = path.iter().take_while(|it| *it == "super").count();
            base.truncate(base.len().saturating_sub(ups));
            base.extend(path.into_iter().skip(ups));
            all.push(base);
        }
    }
    all.into_iter()
        .filter_map(|mut path| {
            while !files.contains_key(&path) {
                path.pop()?;
            }
            Some(path)
        })
        .filter(|it| it != module && !it.is_empty())
        .collect()
}

/// What can be reached from `from`.
fn reachable(from: &Module, graph: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut seen = BTreeSet::new();
    let mut left: Vec<_> = graph[from].iter().collect();
    while let Some(module) = left.pop() {
        if seen.insert(module.clone()) {
            left.extend(&graph[module]);
        }
    }
    seen
}

fn check(name: &str, root: &Path) -> Vec<String> {
    let mut files = BTreeMap::new();
    sources(root, root, &mut files);
    let graph: BTreeMap<_, _> = files
        .keys()
        .map(|module| (module.clone(), imports(module, &files)))
        .collect();
    let mut faults = Vec::new();
    let is_inherent = |circle: &[String]| {
        INHERENT.iter().any(|(package, files, _)| {
            *package == name && circle.iter().all(|it| files.contains(&it.as_str()))
        })
    };
    for module in graph.keys().filter(|it| !it.is_empty()) {
        let circle: Vec<_> = reachable(module, &graph)
            .into_iter()
            .filter(|other| reachable(other, &graph).contains(module))
            .map(|it| it.join("/"))
            .collect();
        if !circle.is_empty() && circle[0] == module.join("/") && !is_inherent(&circle) {
            faults.push(format!("{name}: in a circle: {}", circle.join(", ")));
        }
    }
    let lib = fs::read_to_string(root.join("lib.rs")).unwrap_or_default();
    if lib.contains("Lowest layer first") {
        let order: Vec<_> = lib
            .lines()
            .filter_map(|line| line.rsplit_once("mod ")?.1.strip_suffix(';'))
            .collect();
        let rank = |module: &Module| order.iter().position(|it| *it == module[0]);
        for (module, imported) in graph.iter().filter(|(module, _)| !module.is_empty()) {
            for other in imported.iter().filter(|it| rank(it) > rank(module)) {
                let (module, other) = (module.join("/"), other.join("/"));
                faults.push(format!(
                    "{name}: {module} imports {other}, which is above it"
                ));
            }
        }
    }
    faults
}

#[test]
fn files_import_downwards_and_never_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut faults = Vec::new();
    let mut checked = 0;
    for package in fs::read_dir(root.join("crates")).unwrap() {
        let package = package.unwrap().path();
        let name = package.file_name().unwrap().to_str().unwrap().to_owned();
        faults.extend(check(&name, &package.join("src")));
        checked += 1;
    }
    assert!(checked > 10, "{checked} crates");
    assert_eq!(faults, [""; 0]);
}

#[test]
fn a_circle_and_an_import_from_above_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("lib.rs", "// Lowest layer first.\nmod a;\nmod b;\nmod c;\n");
    write("a.rs", "use crate::{b::B, std};\n// use crate::c::C;\n");
    write(
        "b.rs",
        "mod d;\nuse self::d::D;\n#[cfg(test)]\nmod tests { use crate::c::C; }\n",
    );
    write("b/d.rs", "use super::B;\n");
    write("c.rs", "use crate::a::A;\n");
    let faults = check("x", directory.path());
    assert_eq!(
        faults,
        [
            "x: in a circle: b, b/d",
            "x: a imports b, which is above it"
        ]
    );
}

/// The crates that walks lead through, highest first.
const CRATES: [&str; 6] = [
    "mgrok-server",
    "mgrok-client",
    "mgrok-http",
    "mgrok-net",
    "mgrok-mux",
    "mgrok-proto",
];

/// Where a file stands: how far down its crate is, and how far down its module is there.
fn depth(root: &Path, file: &str) -> Option<(usize, usize)> {
    let (package, module) = file.split_once('/')?;
    let source = root.join("crates").join(package).join("src");
    if !source.join(module).with_extension("rs").is_file() {
        return None;
    }
    let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
    let is_in_order = lib.to_lowercase().contains("lowest layer first")
        || lib.to_lowercase().contains("lowest first");
    let order: Vec<_> = lib
        .lines()
        .filter_map(|line| line.rsplit_once("mod ")?.1.strip_suffix(';'))
        .collect();
    let name = module.split('/').next()?;
    let rank = order.iter().rev().position(|it| *it == name)?;
    let package = CRATES.iter().position(|it| *it == package)?;
    Some((package, if is_in_order { rank } else { 0 }))
}

#[test]
fn the_walks_of_the_architecture_go_down_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let walks = text.split_once("\n## Walks\n").unwrap().1;
    let walks = walks.split("\n## ").next().unwrap();
    let mut walked = 0;
    for walk in walks.split("\n### ").skip(1) {
        let name = walk.lines().next().unwrap();
        let steps = walk.lines().filter_map(|it| it.strip_prefix("1. `"));
        let mut above = (0, 0);
        for file in steps.map(|it| it.split('`').next().unwrap()) {
            let depth = depth(root, file).unwrap_or_else(|| panic!("{name}: no file {file}"));
            assert!(depth >= above, "{name}: {file} is above the file before it");
            above = depth;
            walked += 1;
        }
    }
    assert!(walked > 50, "{walked} steps");
}
