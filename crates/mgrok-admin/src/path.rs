//! One way to write a path.

/// `path` without empty parts and steps up or to the same place; a `/` at the end stays.
// frp: the same (Go's `path.Clean`, as its router uses it)
pub(crate) fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && !clean.ends_with('/') {
        clean.push('/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expect) in [
            ("/", "/"),
            ("//", "/"),
            ("/..", "/"),
            ("/api/status", "/api/status"),
            ("/api/status/", "/api/status/"),
            ("//api//status", "/api/status"),
            ("/api/./status", "/api/status"),
            ("/static/../api/status", "/api/status"),
            ("/static/../../../api/", "/api/"),
            ("/api/.", "/api"),
            ("/api/..", "/"),
            ("/a..b/...", "/a..b/..."),
            ("//evil.example.com/..//x", "/x"),
        ] {
            assert_eq!(clean(path), expect, "{path}");
            assert_eq!(clean(expect), expect, "a clean path is clean");
        }
    }
}
