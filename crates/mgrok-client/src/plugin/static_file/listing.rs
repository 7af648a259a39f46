//! The page that shows what is in a directory.

use std::fmt::Write as _;
use std::fs::File;
use std::io;

use mgrok_http::escape_path;
use rustix::fs::{AtFlags, Dir, FileType, statat};

/// The most entries that are looked at and shown.
const MAX_ENTRIES: usize = 10_000;

/// The longest page, in bytes, but for its last line.
const MAX_PAGE: usize = 4 << 20;

/// Lists a directory, sorted by the bytes of the names. Blocks on the file system.
// frp: this page (Go's net/http/fs.go#dirList), which has no limit
pub(super) fn page(directory: &File) -> io::Result<String> {
    let mut entries = Vec::new();
    let mut is_whole = true;
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        if entries.len() == MAX_ENTRIES {
            is_whole = false;
            break;
        }
        let file_type = match entry.file_type() {
            // Some file systems do not say.
            FileType::Unknown => match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                Err(_gone) => continue,
            },
            known => known,
        };
        entries.push((name.to_owned(), file_type == FileType::Directory));
    }
    entries.sort_unstable();
    let mut page = String::from(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n",
    );
    for (name, is_directory) in &entries {
        if page.len() > MAX_PAGE {
            is_whole = false;
            break;
        }
        let slash = if *is_directory { "/" } else { "" };
        let link = escape_path(name.to_bytes());
        let shown = escape_html(&String::from_utf8_lossy(name.to_bytes()));
        // Writing to a string does not fail.
        let _ = writeln!(page, "<a href=\"{link}{slash}\">{shown}{slash}</a>");
    }
    if !is_whole {
        page.push_str("and more, which this page does not show\n");
    }
    page.push_str("</pre>\n");
    Ok(page)
}

/// A text that has no meaning in HTML.
fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for it in text.chars() {
        match it {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            it if it.is_control() => escaped.push(char::REPLACEMENT_CHARACTER),
            it => escaped.push(it),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn page_of(path: &std::path::Path) -> String {
        page(&File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn names_are_sorted_and_escaped() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b", "<script>alert('a&b')\"", "a:b?c#d%e", "new\nline", "ä"] {
            fs::write(directory.path().join(name), "").unwrap();
        }
        fs::create_dir(directory.path().join("C")).unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("elsewhere")).unwrap();
        let expect = "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n\
            <a href=\"%3Cscript%3Ealert%28%27a%26b%27%29%22\">&lt;script&gt;alert(&#39;a&amp;b&#39;)&#34;</a>\n\
            <a href=\"C/\">C/</a>\n\
            <a href=\"a%3Ab%3Fc%23d%25e\">a:b?c#d%e</a>\n\
            <a href=\"b\">b</a>\n\
            <a href=\"elsewhere\">elsewhere</a>\n\
            <a href=\"new%0Aline\">new\u{fffd}line</a>\n\
            <a href=\"%C3%A4\">ä</a>\n\
            </pre>\n";
        assert_eq!(page_of(directory.path()), expect);
    }

    #[test]
    fn a_page_has_an_end() {
        let directory = tempfile::tempdir().unwrap();
        for n in 0..=MAX_ENTRIES {
            fs::write(directory.path().join(n.to_string()), "").unwrap();
        }
        let page = page_of(directory.path());
        assert_eq!(page.matches("<a ").count(), MAX_ENTRIES);
        assert!(page.ends_with("and more, which this page does not show\n</pre>\n"));
    }
}
