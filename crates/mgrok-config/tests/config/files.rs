//! What happens before there is a text.

use std::fs;
use std::path::Path;

use mgrok_config::{LoadError, Strictness, load_client, load_server};

#[test]
fn a_file_is_named_in_its_mistakes() {
    let dir = tempfile::tempdir().unwrap();
    // The name does not matter for the format.
    let path = dir.path().join("config");
    fs::write(&path, "bindPort = 7001\n").unwrap();
    let loaded = load_server(&path, Strictness::Strict).unwrap();
    assert_eq!(loaded.config.bind_port, 7001);

    let error = load_client(&path, Strictness::Strict).unwrap_err();
    let expect = format!(
        "{}:1:1: bindPort: unknown field \"bindPort\"; it is a key of the server, `mgroks`, whose file is another",
        path.display()
    );
    assert_eq!(error.to_string(), expect);

    let loaded = load_client(&path, Strictness::Lenient).unwrap();
    assert_eq!(loaded.warnings, [expect]);
}

#[test]
fn a_byte_order_mark_is_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("server.toml");
    fs::write(&path, "\u{feff}bindPort = 7001\r\n").unwrap();
    let loaded = load_server(&path, Strictness::Strict).unwrap();
    assert_eq!(loaded.config.bind_port, 7001);
}

#[test]
fn files_that_cannot_be_read() {
    let error = load_server(Path::new("no/such.toml"), Strictness::Strict).unwrap_err();
    assert!(matches!(error, LoadError::Open { .. }));
    assert_eq!(
        error.to_string(),
        "open no/such.toml: no such file or directory"
    );

    let dir = tempfile::tempdir().unwrap();
    let error = load_server(dir.path(), Strictness::Strict).unwrap_err();
    assert!(matches!(
        error,
        LoadError::Read { .. } | LoadError::Open { .. }
    ));

    let path = dir.path().join("binary");
    fs::write(&path, b"bindPort = 7001 # \xff").unwrap();
    let error = load_server(&path, Strictness::Strict).unwrap_err();
    assert!(matches!(error, LoadError::Encoding { .. }));

    fs::write(&path, " ".repeat(16 * 1024 * 1024 + 1)).unwrap();
    let error = load_server(&path, Strictness::Strict).unwrap_err();
    assert!(error.to_string().ends_with("more than 16 MiB"), "{error}");
}
