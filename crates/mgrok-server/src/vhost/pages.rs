//! What users see who mean a service that is not there.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tracing::warn;

/// The longest page that is read from a file, in bytes.
const MAX_PAGE: u64 = 1024 * 1024;

/// Our own page.
const NOT_FOUND: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Not found</title>
<style>
body { font-family: sans-serif; max-width: 36em; margin: 4em auto; padding: 0 1em; line-height: 1.5; }
</style>
</head>
<body>
<h1>There is nothing here</h1>
<p>No service answers at this address at the moment. If it is yours, check that its client is connected and that
the name is spelled as it is published.</p>
</body>
</html>
";

/// The page for those who mean a service that is not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct NotFound {
    /// The operator's own page; `None` is ours.
    pub(crate) file: Option<PathBuf>,
}

impl NotFound {
    /// The page as it is now. A file that cannot be read is told in the log, and ours stands in for it.
    pub(crate) async fn page(&self) -> Bytes {
        let Some(file) = &self.file else {
            return Bytes::from_static(NOT_FOUND.as_bytes());
        };
        match read(file).await {
            Ok(page) => page,
            Err(error) => {
                warn!("cannot read custom404Page {}: {error}", file.display());
                Bytes::from_static(NOT_FOUND.as_bytes())
            }
        }
    }
}

async fn read(file: &Path) -> std::io::Result<Bytes> {
    use tokio::io::AsyncReadExt as _;

    let mut page = Vec::new();
    let file = tokio::fs::File::open(file).await?;
    file.take(MAX_PAGE + 1).read_to_end(&mut page).await?;
    if page.len() as u64 > MAX_PAGE {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            "it is longer than 1 MiB",
        ));
    }
    Ok(page.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_is_read_anew_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("page");
        let not_found = NotFound {
            file: Some(file.clone()),
        };
        assert_eq!(not_found.page().await, NOT_FOUND, "not there");
        for text in ["one", "two"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(not_found.page().await, text);
        }
        std::fs::write(&file, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert_eq!(not_found.page().await, NOT_FOUND, "too long");
    }
}
