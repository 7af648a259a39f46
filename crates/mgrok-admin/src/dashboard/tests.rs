//! That the pages are whole: each file is served as what it is, and names only files that there are.

use std::collections::BTreeSet;

use http_body_util::BodyExt as _;

use super::*;

const ENDS: [Dashboard; 2] = [Dashboard::Server, Dashboard::Client];

fn files(dashboard: Dashboard) -> BTreeSet<String> {
    let common = CommonPages::iter().map(|it| format!("common/{it}"));
    let own: Vec<_> = match dashboard {
        Dashboard::Server => ServerPages::iter()
            .map(|it| format!("server/{it}"))
            .collect(),
        Dashboard::Client => ClientPages::iter()
            .map(|it| format!("client/{it}"))
            .collect(),
    };
    common.chain(own).collect()
}

fn text(dashboard: Dashboard, path: &str) -> String {
    let page = dashboard
        .embedded(path)
        .unwrap_or_else(|| panic!("no {path}"));
    String::from_utf8(page.bytes.to_vec()).unwrap()
}

/// What stands in `text` between `start` and the next `"`.
fn quoted<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(start)
        .skip(1)
        .filter_map(|it| it.split('"').next())
}

async fn get(
    dashboard: Dashboard,
    path: &str,
    dir: Option<&Path>,
    known: Option<&str>,
) -> (StatusCode, HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    if let Some(known) = known {
        headers.insert(header::IF_NONE_MATCH, known.parse().unwrap());
    }
    let response = dashboard
        .answer(path, dir.map(Path::to_path_buf), &headers)
        .await;
    let (parts, body) = response.into_parts();
    (
        parts.status,
        parts.headers,
        body.collect().await.unwrap().to_bytes(),
    )
}

#[tokio::test]
async fn every_file_is_served_as_what_it_is() {
    for dashboard in ENDS {
        let paths = files(dashboard);
        assert!(paths.len() > 10, "{paths:?}");
        for path in paths.iter().map(String::as_str).chain([""]) {
            let (status, headers, body) = get(dashboard, path, None, None).await;
            assert_eq!(status, StatusCode::OK, "{path}");
            let expect = match path.rsplit_once('.').map(|(_, end)| end) {
                None | Some("html") => "text/html; charset=utf-8",
                Some("js") => "text/javascript; charset=utf-8",
                Some("css") => "text/css; charset=utf-8",
                Some("svg") => "image/svg+xml",
                Some(_) => panic!("{path} is of a kind that no test knows"),
            };
            assert_eq!(headers[header::CONTENT_TYPE], expect, "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], "no-cache", "{path}");
            assert_eq!(
                headers[header::CONTENT_SECURITY_POLICY],
                OUR_POLICY,
                "{path}"
            );
            assert!(!body.is_empty(), "{path}");

            let etag = headers[header::ETAG].to_str().unwrap();
            let (status, headers, body) = get(dashboard, path, None, Some(etag)).await;
            assert_eq!(status, StatusCode::NOT_MODIFIED, "{path}");
            assert_eq!(headers[header::ETAG], etag, "{path}");
            assert!(body.is_empty(), "{path}");
            let list = format!("\"other\", W/{etag}");
            assert_eq!(
                get(dashboard, path, None, Some(&list)).await.0,
                StatusCode::NOT_MODIFIED
            );
            assert_eq!(
                get(dashboard, path, None, Some("\"other\"")).await.0,
                StatusCode::OK
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    for path in [
        "x",
        "common/x.js",
        "common",
        "common/",
        "client/main.js",
        "common/../server/main.js",
        "../Cargo.toml",
        "/etc/passwd",
    ] {
        let (status, ..) = get(Dashboard::Server, path, None, None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, ..) = get(Dashboard::Client, "server/main.js", None, None).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[test]
fn pages_name_only_files_that_there_are_and_all_of_them() {
    for dashboard in ENDS {
        let files = files(dashboard);
        let index = match dashboard {
            Dashboard::Server => "server/index.html",
            Dashboard::Client => "client/index.html",
        };
        let mut used = BTreeSet::from([index.to_owned(), "common/icon.svg".to_owned()]);
        let page = text(dashboard, "");
        let named: Vec<_> = quoted(&page, "href=\"")
            .chain(quoted(&page, "src=\""))
            .collect();
        assert!(named.len() >= 4, "{named:?}");
        let mut open: Vec<String> = named.into_iter().map(str::to_owned).collect();
        while let Some(path) = open.pop() {
            assert!(files.contains(&path), "{path} is named, but not there");
            if !used.insert(path.clone()) || !path.ends_with(".js") {
                continue;
            }
            let (folder, _) = path.split_once('/').unwrap();
            for name in quoted(&text(dashboard, &path), "} from \"") {
                open.push(match name.strip_prefix("../") {
                    Some(path) => path.to_owned(),
                    None => format!("{folder}/{}", name.strip_prefix("./").unwrap()),
                });
            }
        }
        assert_eq!(
            files.difference(&used).collect::<Vec<_>>(),
            [""; 0],
            "nothing uses these"
        );
    }
}

#[test]
fn nothing_stands_in_the_pages_that_their_policy_forbids_or_that_is_parsed_as_html() {
    for dashboard in ENDS {
        for path in files(dashboard) {
            let text = text(dashboard, &path);
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "style=\"",
                "<style",
                "onclick=\"",
                "https://",
                "//cdn",
            ] {
                assert!(!text.contains(forbidden), "{path} has {forbidden}");
            }
            let external = text.matches("http://").count();
            let allowed = match path.as_str() {
                // The name of SVG, and the line for a shell that asks the proxy again.
                "common/view.js" | "common/icon.svg" | "client/requests.js" => 1,
                _ => 0,
            };
            assert_eq!(external, allowed, "{path}");
        }
    }
}

#[tokio::test]
async fn a_directory_takes_the_place_of_the_pages_and_is_never_left() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.txt"), "secret").unwrap();
    let dir = outside.path().join("pages");
    fs::create_dir_all(dir.join("a")).unwrap();
    fs::write(dir.join("index.html"), "<p>own</p>").unwrap();
    fs::write(dir.join("a/b c.js"), "1").unwrap();

    let (status, headers, body) = get(Dashboard::Server, "", Some(&dir), None).await;
    assert_eq!((status, &*body), (StatusCode::OK, b"<p>own</p>".as_slice()));
    assert_eq!(headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
    let etag = headers[header::ETAG].to_str().unwrap();
    assert_eq!(
        get(Dashboard::Server, "", Some(&dir), Some(etag)).await.0,
        StatusCode::NOT_MODIFIED
    );
    assert_eq!(
        &*get(Dashboard::Server, "a/b c.js", Some(&dir), None).await.2,
        b"1"
    );

    let absolute = outside.path().join("secret.txt");
    for path in [
        "../secret.txt",
        "a/../../secret.txt",
        absolute.to_str().unwrap(),
        "..\\secret.txt",
        "a",
        "a/",
        "a//b c.js",
        "x",
        "common/main.js",
    ] {
        let (status, ..) = get(Dashboard::Server, path, Some(&dir), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&absolute, dir.join("link.txt")).unwrap();
        std::os::unix::fs::symlink(dir.join("index.html"), dir.join("within.html")).unwrap();
        assert_eq!(
            get(Dashboard::Server, "link.txt", Some(&dir), None).await.0,
            StatusCode::NOT_FOUND
        );
        assert_eq!(
            get(Dashboard::Server, "within.html", Some(&dir), None)
                .await
                .0,
            StatusCode::OK
        );
    }
}
