//! Secrets that a file only says where to get.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::fs;

use mgrok_config::{
    ClientConfig, LoadError, LoadOptions, Loaded, OidcClient, ProxyKind, Strictness, load_client,
    load_server,
};

use super::{client_mistakes, server, server_mistakes};

/// Loads a client's file next to a file `secret`, which it names as `@`.
fn load(text: &str, secret: &str, options: LoadOptions) -> Result<Loaded<ClientConfig>, LoadError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, secret).unwrap();
    let main = directory.path().join("main.toml");
    fs::write(&main, text.replace('@', file.to_str().unwrap())).unwrap();
    load_client(&main, options)
}

fn told(text: &str, secret: &str, options: LoadOptions) -> Vec<String> {
    let error = load(text, secret, options).unwrap_err().to_string();
    let lines = error.lines().map(|line| {
        let (_, line) = line.split_once("main.toml:").unwrap();
        line.to_owned()
    });
    lines.collect()
}

const STRICT: Strictness = Strictness::Strict;

const ALL: &str = r#"
auth.method = "oidc"
auth.tokenSource = { type = "file", file.path = "@" }
auth.oidc.clientID = "a"
auth.oidc.clientSecretSource = { type = "file", file.path = "@" }
auth.oidc.tokenEndpointURL = "https://id.test/token"
[webServer]
port = 7400
user = "u"
passwordSource = { type = "file", file = { path = "@" } }
[[proxies]]
name = "a"
type = "http"
localPort = 80
subdomain = "a"
httpPasswordSource = { type = "file", file.path = "@" }
loadBalancer = { group = "g", groupKeySource = { type = "file", file.path = "@" } }
[[proxies]]
name = "b"
type = "stcp"
localPort = 80
secretKeySource = { type = "file", file.path = "@" }
[[visitors]]
name = "b"
type = "stcp"
serverName = "b"
bindPort = 9000
secretKeySource = { type = "file", file.path = "@" }
"#;

#[test]
fn every_secret_may_come_from_a_file() {
    let loaded = load(ALL, " s3cret \n", STRICT.into()).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    let ProxyKind::Http(http) = &config.proxies[0].kind else {
        panic!("{config:?}");
    };
    let ProxyKind::Stcp(private) = &config.proxies[1].kind else {
        panic!("{config:?}");
    };
    let Some(OidcClient::Credentials(credentials)) = &config.oidc else {
        panic!("{config:?}");
    };
    for secret in [
        &config.auth.token,
        &credentials.client_secret,
        &config.web_server.as_ref().unwrap().password,
        &http.password,
        &config.proxies[0].group.as_ref().unwrap().key,
        &private.secret_key,
        &config.visitors[0].secret_key,
    ] {
        assert_eq!(secret.expose(), "s3cret");
    }
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn verifying_does_not_read_secrets() {
    let text = ALL.replace('@', "/no/such/file");
    let options = LoadOptions::new(STRICT).without_sources();
    let loaded = load(&text, "", options).unwrap();
    // Not even of what an empty secret would mean.
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let other = load(&text, "", options).unwrap();
    // Nobody can know what stands in for them.
    assert_ne!(loaded.config.auth.token, other.config.auth.token);
    assert!(!loaded.config.auth.token.is_empty());
}

#[test]
fn files_that_do_not_help() {
    let text = "auth.tokenSource = { type = \"file\", file.path = \"@\" }";
    assert_eq!(
        told(text, " \n", STRICT.into()),
        ["1:20: auth.tokenSource: leads to a text with nothing in it"]
    );
    let text = text.replace('@', "/no/such/file");
    assert_eq!(
        told(&text, "", STRICT.into()),
        ["1:20: auth.tokenSource: failed to read file /no/such/file: no such file or directory"]
    );
}

#[test]
fn programs_run_only_when_that_is_allowed() {
    let text = r#"auth.tokenSource = { type = "exec", exec = { command = "/bin/sh", args = ["-c", "echo \" $A$B \""], env = [{ name = "A", value = "x" }, { name = "B", value = "y" }] } }"#;
    assert_eq!(
        told(text, "", STRICT.into()),
        [
            "1:29: auth.tokenSource.type: unsafe feature \"TokenSourceExec\" is not enabled: whoever writes this file could have any program run, so start with `--allow-unsafe TokenSourceExec` if that is meant"
        ]
    );
    let allowed = LoadOptions::new(STRICT).allowing_exec(true);
    let loaded = load(text, "", allowed).unwrap();
    assert_eq!(loaded.config.auth.token.expose(), "xy");

    let failing = text.replace("echo", "exit 3; echo");
    assert_eq!(
        told(&failing, "", allowed),
        ["1:20: auth.tokenSource: failed to execute command /bin/sh: exit status: 3"]
    );
    let absent = text.replace("/bin/sh", "/no/such/program");
    assert_eq!(
        told(&absent, "", allowed),
        [
            "1:20: auth.tokenSource: failed to execute command /no/such/program: no such file or directory"
        ]
    );
    let endless = text.replace("echo", "exec cat /dev/zero; echo");
    assert_eq!(
        told(&endless, "", allowed),
        [
            "1:20: auth.tokenSource: failed to execute command /bin/sh: it prints more than 65536 bytes, which no secret has"
        ]
    );
    // To verify a file never runs what it names.
    let options = allowed.without_sources();
    assert!(load(&absent, "", options).is_ok());
}

#[test]
fn mistakes() {
    server_mistakes(
        "auth = { token = \"a\", tokenSource = { type = \"file\", file.path = \"f\" } }",
        &[
            "1:37: auth.tokenSource: cannot specify both `auth.token` and `auth.tokenSource`: take one of them away",
        ],
    );
    for (source, expect) in [
        (
            "{ type = \"fil\" }",
            &[
                "1:29: auth.tokenSource.type: unsupported value source type: fil, did you mean \"file\"?",
            ][..],
        ),
        (
            "{}",
            &["1:20: auth.tokenSource: must have a `type`, \"file\" or \"exec\""],
        ),
        (
            "{ type = \"file\" }",
            &[
                "1:20: auth.tokenSource.file.path: file path cannot be empty: name the file with the secret",
            ],
        ),
        (
            "{ type = \"exec\" }",
            &["1:20: auth.tokenSource.exec.command: exec command cannot be empty"],
        ),
        (
            "{ type = \"file\", file = { pth = \"a\" } }",
            &[
                "1:44: auth.tokenSource.file.path: file path cannot be empty: name the file with the secret",
                "1:46: auth.tokenSource.file.pth: unknown field \"pth\", did you mean \"path\"?",
            ],
        ),
        (
            "{ type = \"exec\", exec = { command = \"c\", env = [{ value = \"v\" }, { name = \"a=b\" }] } }",
            &[
                "1:68: auth.tokenSource.exec.env[0].name: exec env name cannot be empty",
                "1:94: auth.tokenSource.exec.env[1].name: exec env name cannot contain '='",
            ],
        ),
    ] {
        server_mistakes(&format!("auth.tokenSource = {source}"), expect);
    }
    client_mistakes(
        "auth.oidc.tokenSource = { type = \"file\" }",
        &[
            "1:25: auth.oidc.tokenSource.file.path: file path cannot be empty: name the file with the secret",
        ],
    );
}

#[test]
fn a_text_alone_reads_no_files() {
    let config = server("auth.tokenSource = { type = \"file\", file.path = \"/no/such\" }");
    assert!(!config.auth.token.is_empty());
}

#[test]
fn a_server_has_them_too() {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("main.yaml");
    fs::write(directory.path().join("t"), "tok\n").unwrap();
    let path = directory.path().join("t");
    let text = format!(
        "auth:\n  tokenSource:\n    type: file\n    file:\n      path: {}\n",
        path.display()
    );
    fs::write(&main, text).unwrap();
    let loaded = load_server(&main, STRICT).unwrap();
    assert_eq!(loaded.config.auth.token.expose(), "tok");
}
