use std::fs;
use std::io::Read as _;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A directory with something beneath it, and something beside it that is nobody's business.
fn tree() -> (TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let root = outer.path().join("root");
    fs::create_dir_all(root.join("dir/deep")).unwrap();
    fs::write(root.join("dir/file"), "within").unwrap();
    fs::write(outer.path().join("secret"), "without").unwrap();
    symlink("file", root.join("dir/link")).unwrap();
    symlink("../file", root.join("dir/deep/up")).unwrap();
    symlink("../secret", root.join("out")).unwrap();
    symlink(outer.path().join("secret"), root.join("absolute")).unwrap();
    symlink("..", root.join("parent")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    (outer, root)
}

fn content(found: io::Result<Found>) -> Option<String> {
    match found {
        Ok(Found::File(mut file, _)) => {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            Some(text)
        }
        Ok(Found::Directory(..)) => Some("a directory".to_owned()),
        Err(_) => None,
    }
}

/// What is found without `openat2`.
fn walked(root: &Path, path: &str) -> Option<String> {
    let root = open(root, DIRECTORY, Mode::empty()).unwrap();
    let found = walk(root, path.trim_matches('/').as_bytes()).ok()?;
    let mut text = String::new();
    File::from(found).read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn nothing_is_found_elsewhere() {
    let (_outer, root) = tree();
    let find = |path: &str| content(find(&root, path.as_bytes()));
    for path in ["/", "/dir", "/dir/", "/dir/deep"] {
        assert_eq!(find(path).as_deref(), Some("a directory"), "{path}");
    }
    for path in ["/dir/file", "/dir/link", "/dir/deep/up"] {
        assert_eq!(find(path).as_deref(), Some("within"), "{path}");
    }
    let long = format!("/{}", "x".repeat(300));
    let longer = "/x".repeat(5000);
    for path in [
        "/out",
        "/absolute",
        "/parent",
        "/parent/secret",
        "/magic",
        "/magic/etc/passwd",
        "/loop",
        "/../secret",
        "/dir/../../secret",
        "/dir/file/",
        "/dir/file/x",
        "/dir\0/file",
        "//etc/passwd",
        &long,
        &longer,
        "/nothing",
    ] {
        // A slash behind a file is for the caller to see.
        let expect = (path == "/dir/file/").then_some("within");
        assert_eq!(find(path).as_deref(), expect, "{path:.40}");
    }
}

#[test]
fn nothing_is_found_elsewhere_on_old_systems() {
    let (_outer, root) = tree();
    assert_eq!(walked(&root, "/dir/file").as_deref(), Some("within"));
    for path in [
        "/dir/link",
        "/out",
        "/absolute",
        "/parent/secret",
        "/magic/etc/passwd",
        "/loop",
        "/../secret",
        "/dir/../../secret",
        "/dir//file",
    ] {
        assert_eq!(walked(&root, path), None, "{path}");
    }
}

#[test]
fn pipes_sockets_and_devices_are_not_opened() {
    let (_outer, root) = tree();
    let pipe = root.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    symlink("pipe", root.join("to-pipe")).unwrap();
    for path in ["/pipe", "/socket", "/to-pipe"] {
        let error = find(&root, path.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
        assert_eq!(walked(&root, path), None, "{path}");
    }
    // It would wait for whoever writes, if it was opened.
    let error = find(Path::new("/dev"), b"/null").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn a_root_may_be_a_link_and_may_be_gone() {
    let (outer, root) = tree();
    let link = outer.path().join("current");
    symlink(&root, &link).unwrap();
    assert_eq!(
        content(find(&link, b"/dir/file")).as_deref(),
        Some("within")
    );
    fs::remove_file(&link).unwrap();
    let error = find(&link, b"/dir/file").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
