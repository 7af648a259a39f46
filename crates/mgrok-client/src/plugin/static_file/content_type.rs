//! What a file holds, by the end of its name or by its first bytes.

/// How many bytes of a file are looked at if its name does not tell.
pub(super) const LOOK: u64 = 512;

/// Ends of names, with what they stand for. A table of the system's is not asked, so that the same file is the same everywhere.
const TYPES: [(&str, &str); 59] = [
    ("7z", "application/x-7z-compressed"),
    ("aac", "audio/aac"),
    ("apk", "application/vnd.android.package-archive"),
    ("avif", "image/avif"),
    ("avi", "video/x-msvideo"),
    ("bmp", "image/bmp"),
    ("bz2", "application/x-bzip2"),
    ("cjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("csv", "text/csv; charset=utf-8"),
    ("deb", "application/vnd.debian.binary-package"),
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("eot", "application/vnd.ms-fontobject"),
    ("epub", "application/epub+zip"),
    ("flac", "audio/flac"),
    ("gif", "image/gif"),
    ("gz", "application/gzip"),
    ("htm", "text/html; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("ics", "text/calendar; charset=utf-8"),
    ("iso", "application/x-iso9660-image"),
    ("jar", "application/java-archive"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("jsonld", "application/ld+json"),
    ("md", "text/markdown; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("mkv", "video/x-matroska"),
    ("mov", "video/quicktime"),
    ("mp3", "audio/mpeg"),
    ("mp4", "video/mp4"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ogg", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("png", "image/png"),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("rar", "application/vnd.rar"),
    ("svg", "image/svg+xml"),
    ("tar", "application/x-tar"),
    ("tif", "image/tiff"),
    ("tiff", "image/tiff"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("wav", "audio/wav"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
    ("xml", "text/xml; charset=utf-8"),
];

/// Also for `zip`, `xz` and all else whose bytes are no text.
const BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain; charset=utf-8";

/// By the end of a name; `None` if it does not tell.
pub(super) fn by_name(name: &[u8]) -> Option<&'static str> {
    let dot = name.iter().rposition(|&byte| byte == b'.')?;
    let end = std::str::from_utf8(&name[dot + 1..]).ok()?;
    let mut types = TYPES.iter();
    let (_, found) = types.find(|(it, _)| it.eq_ignore_ascii_case(end))?;
    Some(found)
}

/// By the first bytes: text, or not. What looks like HTML is text all the same, since its name does not say that browsers are to run it.
pub(super) fn by_content(first: &[u8]) -> &'static str {
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f);
    match first.iter().any(is_binary) {
        true => BYTES,
        false => TEXT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_tell() {
        assert_eq!(by_name(b"a.tar.GZ"), Some("application/gzip"));
        assert_eq!(by_name(b"index.html"), Some("text/html; charset=utf-8"));
        for name in ["Makefile", "a.", "", "a.\u{e4}", "html"] {
            assert_eq!(by_name(name.as_bytes()), None, "{name}");
        }
        assert!(by_name(b"a.\xff").is_none());
    }

    #[test]
    fn what_bytes_tell() {
        assert_eq!(by_content("Grüße\r\n\tall".as_bytes()), TEXT);
        assert_eq!(by_content(b"<html>"), TEXT);
        assert_eq!(by_content(b""), TEXT);
        assert_eq!(by_content(b"\x7fELF"), BYTES);
        assert_eq!(by_content(b"PK\x03\x04"), BYTES);
    }
}
