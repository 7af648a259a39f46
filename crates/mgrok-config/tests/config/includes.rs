//! Files that include others, and feature gates.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::collections::BTreeSet;
use std::fs;

use mgrok_config::{ClientConfig, LoadError, Loaded, Strictness, load_client};

use super::{client, client_mistakes};

/// Files in a directory, of which the first is loaded.
struct Files(tempfile::TempDir);

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(directory)
    }

    fn load(&self, name: &str) -> Result<Loaded<ClientConfig>, LoadError> {
        load_client(&self.0.path().join(name), Strictness::Strict)
    }

    /// What is told, without the directory.
    fn told(&self, name: &str) -> Vec<String> {
        let text = match self.load(name) {
            Ok(loaded) => loaded.warnings.join("\n"),
            Err(error) => error.to_string(),
        };
        let at = format!("{}/", self.0.path().display());
        text.lines().map(|line| line.replace(&at, "")).collect()
    }
}

fn names(config: &ClientConfig) -> Vec<&str> {
    let proxies = config.proxies.iter().map(|it| it.name.as_str());
    let visitors = config.visitors.iter().map(|it| it.name.as_str());
    proxies.chain(visitors).collect()
}

const PROXY: &str = "[[proxies]]\nname = \"NAME\"\ntype = \"tcp\"\nlocalPort = 1\n";

fn proxy(name: &str) -> String {
    PROXY.replace("NAME", name)
}

#[test]
fn proxies_and_visitors_of_other_files_count() {
    let main = format!(
        "includes = [\"conf.d/*.toml\", \"conf.d/b*.yaml\", \"conf.d/*\"]\n{}",
        proxy("main")
    );
    let files = Files::new(&[
        ("main.toml", &main),
        ("conf.d/2.toml", &proxy("two")),
        (
            "conf.d/1.toml",
            &(proxy("{{ print \"o\" }}ne") + &proxy("uno")),
        ),
        (
            "conf.d/b.yaml",
            "visitors:\n- {name: v, type: stcp, serverName: x, secretKey: k, bindPort: 9000}\n",
        ),
        (
            "conf.d/c.json",
            "{\"proxies\": [{\"name\": \"c\", \"type\": \"tcp\", \"localPort\": 1}]}",
        ),
        ("conf.d/sub/d.toml", "nonsense"),
    ]);
    let loaded = files.load("main.toml").unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(
        names(&loaded.config),
        ["main", "one", "uno", "two", "c", "v"]
    );
}

#[test]
fn mistakes_name_the_included_file_and_its_numbers() {
    let main = format!("includes = [\"a.toml\"]\nstart = [\"b\"]\n{}", proxy("a"));
    let files = Files::new(&[
        ("main.toml", &main),
        (
            "a.toml",
            &format!(
                "bindPrt = 1\n{}x = 1\n{}localPort = 1",
                proxy("b"),
                proxy("a").replace("localPort = 1\n", "")
            ),
        ),
    ]);
    assert_eq!(
        files.told("main.toml"),
        [
            "a.toml:1:1: bindPrt: unknown field \"bindPrt\"",
            "a.toml:6:1: proxies[0].x: unknown field \"x\"",
            "a.toml:8:8: proxies[1].name: proxy name [a] is duplicated",
        ]
    );
    let files = Files::new(&[
        ("main.toml", "includes = [\"a.toml\", \"c.toml\"]\n"),
        ("a.toml", "serverPrt = 1\nproxies = 1"),
        ("c.toml", "a = ["),
    ]);
    let told = files.told("main.toml");
    assert_eq!(
        told[..2],
        [
            "a.toml:1:1: serverPrt: unknown field \"serverPrt\", did you mean \"serverPort\"?",
            "a.toml:2:11: proxies: must be a list of tables: write `[[proxies]]`, with two brackets on each side",
        ]
    );
    assert!(told[2].starts_with("c.toml:1:6: toml: "), "{told:?}");
}

#[test]
fn what_else_an_included_file_says_does_nothing() {
    let files = Files::new(&[
        (
            "main.toml",
            "includes = [\"inc/*.toml\", \"none*\"]\nuser = \"u\"",
        ),
        (
            "inc/a.toml",
            "user = \"w\"\nincludes = [\"b\"]\n[log]\nlevel = \"debug\"",
        ),
    ]);
    let loaded = files.load("main.toml").unwrap();
    assert_eq!(loaded.config.user, "u");
    let why = "does nothing in an included file, of which proxies and visitors are read";
    assert_eq!(
        files.told("main.toml"),
        [
            "main.toml:1:27: includes: \"none*\" matches no file".to_owned(),
            format!("inc/a.toml:1:1: user: {why}"),
            format!("inc/a.toml:2:1: includes: {why}"),
            format!("inc/a.toml:3:2: log: {why}"),
        ]
    );
}

#[test]
fn what_cannot_be_included() {
    let files = Files::new(&[("main.toml", "includes = [\"no/such/*.toml\", \"..\", 1]")]);
    assert_eq!(
        files.told("main.toml"),
        [
            "main.toml:1:13: includes: stat no/such: no such file or directory",
            "main.toml:1:31: includes: must name a file or a pattern of files, like \"conf.d/*.toml\", not \"..\"",
            "main.toml:1:37: includes[2]: must be a string, not an integer",
        ]
    );
}

#[test]
fn old_files_include_old_files() {
    let files = Files::new(&[
        (
            "main.ini",
            "[common]\nincludes = ./conf.d/*.ini\n[a]\nlocal_port = 1\n",
        ),
        (
            "conf.d/b.ini",
            "[b]\nlocal_port = x\n[range:c]\nlocal_port = 1-2\nremote_port = 1-2\n",
        ),
    ]);
    assert_eq!(
        files.told("main.ini"),
        ["conf.d/b.ini:2:14: b.local_port: must be a whole number, not \"x\""]
    );
    fs::write(
        files.0.path().join("conf.d/b.ini"),
        "[b]\nlocal_port = 1\n[range:c]\nlocal_port = 1-2\nremote_port = 1-2\n",
    )
    .unwrap();
    assert_eq!(
        names(&files.load("main.ini").unwrap().config),
        ["a", "b", "c_0", "c_1"]
    );
}

#[test]
fn feature_gates_are_known_by_name() {
    client("featureGates = { VirtualNet = true }");
    client("featureGates.VirtualNet = false");
    client_mistakes(
        "featureGates = { VirtualNt = true, Other = 1 }\nvirtualNet.address = \"100.86.0.1/24\"",
        &[
            "1:18: featureGates.VirtualNt: unknown field \"VirtualNt\", did you mean \"VirtualNet\"?",
            "1:36: featureGates.Other: unknown field \"Other\"",
            "2:22: virtualNet.address: VirtualNet feature is not enabled; enable it with `featureGates = { VirtualNet = true }`",
        ],
    );
}

#[test]
fn the_files_that_were_read_are_known_and_those_that_appear() {
    let main = "includes = [\"incl-*.toml\"]\nauth.tokenSource = { type = \"file\", file.path = \"SECRET\" }\n";
    let files = Files::new(&[("incl-a.toml", &proxy("a")), ("secret", "s")]);
    let path = |name: &str| files.0.path().join(name);
    let secret = path("secret");
    let main = main.replace("SECRET", secret.to_str().unwrap());
    fs::write(path("main.toml"), main).unwrap();
    let read = files.load("main.toml").unwrap().files;
    let mut expect = BTreeSet::from([path("incl-a.toml"), path("main.toml"), secret]);
    assert_eq!(read.as_read(), expect);
    assert_eq!(read.now(), expect);

    fs::write(path("incl-b.toml"), proxy("b")).unwrap();
    fs::write(path("incl-b.yaml"), "").unwrap();
    fs::remove_file(path("incl-a.toml")).unwrap();
    assert_eq!(read.as_read(), expect);
    expect.remove(&path("incl-a.toml"));
    expect.insert(path("incl-b.toml"));
    assert_eq!(read.now(), expect);
}
