//! What users see who mean a service that is not there, or that cannot be reached.

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

/// Our own page where a service cannot be reached.
const UNREACHABLE: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width\">
<title>Bad gateway</title>
<style>
body { font-family: sans-serif; max-width: 36em; margin: 4em auto; padding: 0 1em; line-height: 1.5; }
</style>
</head>
<body>
<h1>The service does not answer</h1>
<p>This address is published, but the service behind it gave no answer. If it is yours, check that it runs and listens
where its client expects it; the client's log says what went wrong.</p>
</body>
</html>
";

/// A page of the operator's, or ours.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The operator's own; `None` is ours.
    file: Option<PathBuf>,
    /// The key that names the file.
    key: &'static str,
    ours: &'static str,
}

impl Page {
    /// The page where there is no service.
    pub(crate) fn not_found(file: Option<PathBuf>) -> Self {
        Self {
            file,
            key: "custom404Page",
            ours: NOT_FOUND,
        }
    }

    /// The page where a service cannot be reached.
    pub(crate) fn unreachable(file: Option<PathBuf>) -> Self {
        Self {
            file,
            key: "custom502Page",
            ours: UNREACHABLE,
        }
    }

    /// The page as it is now. A file that cannot be read is told in the log, and ours stands in for it.
    pub(crate) async fn text(&self) -> Bytes {
        let ours = Bytes::from_static(self.ours.as_bytes());
        let Some(file) = &self.file else {
            return ours;
        };
        match read(file).await {
            Ok(page) => page,
            Err(error) => {
                // Strangers ask for it.
                warn!(
                    source = self.key,
                    "cannot read {} {}: {error}",
                    self.key,
                    file.display()
                );
                ours
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
        let page = Page::not_found(Some(file.clone()));
        assert_eq!(page.text().await, NOT_FOUND, "not there");
        for text in ["one", "two"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(page.text().await, text);
        }
        std::fs::write(&file, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert_eq!(page.text().await, NOT_FOUND, "too long");
    }
}
