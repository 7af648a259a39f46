//! Who may come to an SSH gateway: a file of public keys in the format of OpenSSH's `authorized_keys`.

use std::fs::File;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::Path;

use russh::keys::PublicKey;
use tracing::warn;

/// The longest file, in bytes: some 10,000 keys.
const MAX_LEN: u64 = 1024 * 1024;

/// Options of a line that narrow who may come with its key, and which this gateway does not understand. A key with one of them is not
/// let in. What a session may do, which all other options are about, is the same for everybody here.
const NARROWING: [&str; 5] = [
    "cert-authority",
    "expiry-time",
    "from",
    "principals",
    "verify-required",
];

/// The comment of `key` in the file at `path`, which may be empty; `None` if the key is not there. Lines that cannot be used are passed
/// over, and told in the log; `from` is whose login it is.
///
/// Blocks for as long as it takes to read a small file.
///
/// # Errors
/// The file cannot be read, or is too long.
pub(super) fn comment_of(
    key: &PublicKey,
    path: &Path,
    from: SocketAddr,
) -> io::Result<Option<String>> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(MAX_LEN + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_LEN {
        return Err(io::Error::other(format!(
            "it has more than {MAX_LEN} bytes"
        )));
    }
    Ok(find(key, &text, |line, why| {
        // Each login tells it again.
        warn!(
            source = %from,
            "sshTunnelGateway.authorizedKeysFile: line {line} of {} is not used: {why}",
            path.display()
        );
    }))
}

/// The comment of the last line with `key` in `text`, as in frp. `skip` is told of each line that cannot be used.
fn find(key: &PublicKey, text: &str, mut skip: impl FnMut(usize, &str)) -> Option<String> {
    let mut found = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (options, text) = match PublicKey::from_openssh(line) {
            Ok(_) => ("", line),
            Err(_) => split_unquoted(line, ' '),
        };
        let Ok(known) = PublicKey::from_openssh(text) else {
            skip(index + 1, "it is no public key");
            continue;
        };
        if let Some(name) = narrowing(options) {
            let why = format!("the option `{name}` is not supported; remove it, or the line");
            skip(index + 1, &why);
            continue;
        }
        if known.key_data() == key.key_data() {
            found = Some(known.comment().as_str_lossy().trim().to_owned());
        }
    }
    found
}

/// The first of `options` that narrows who may come.
fn narrowing(mut options: &str) -> Option<&'static str> {
    while !options.is_empty() {
        let (option, rest) = split_unquoted(options, ',');
        let name = option.split('=').next().unwrap_or_default();
        let mut narrowing = NARROWING.into_iter();
        if let Some(found) = narrowing.find(|it| it.eq_ignore_ascii_case(name)) {
            return Some(found);
        }
        options = rest;
    }
    None
}

/// What stands before the first `separator` of `text` that is in no quotes, and what behind it.
fn split_unquoted(text: &str, separator: char) -> (&str, &str) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' if !is_escaped => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                return (&text[..at], text[at + separator.len_utf8()..].trim_start());
            }
            _ => {}
        }
        is_escaped = character == '\\' && !is_escaped;
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ANN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIANN";

    fn key(index: u8) -> (PublicKey, String) {
        use russh::keys::PrivateKey;
        use russh::keys::ssh_key::private::Ed25519Keypair;
        let private = PrivateKey::from(Ed25519Keypair::from_seed(&[index; 32]));
        let public = private.public_key().clone();
        let line = public.to_openssh().unwrap();
        (public, line.trim().to_owned())
    }

    fn found(text: &str, key: &PublicKey) -> (Option<String>, Vec<usize>) {
        let mut skipped = Vec::new();
        let comment = find(key, text, |line, _| skipped.push(line));
        (comment, skipped)
    }

    #[test]
    fn a_key_is_found_with_its_comment() {
        let ((ann, ann_line), (bob, bob_line), (eve, _)) = (key(1), key(2), key(3));
        let text = format!("# who may come\n\n{ann_line} ann\r\n  {bob_line}\n");
        assert_eq!(found(&text, &ann), (Some("ann".to_owned()), vec![]));
        assert_eq!(found(&text, &bob), (Some(String::new()), vec![]));
        assert_eq!(found(&text, &eve), (None, vec![]));
        assert_eq!(found("", &ann), (None, vec![]));
    }

    #[test]
    fn a_line_that_cannot_be_read_keeps_nobody_else_out() {
        let ((ann, ann_line), (bob, bob_line)) = (key(1), key(2));
        let text = format!("{ANN} broken\nnonsense\n{bob_line} bob\nssh-ed25519\n{ann_line}");
        assert_eq!(found(&text, &bob), (Some("bob".to_owned()), vec![1, 2, 4]));
        assert_eq!(found(&text, &ann).0.as_deref(), Some(""));
    }

    #[test]
    fn a_key_with_an_option_that_narrows_it_is_not_let_in() {
        let (ann, line) = key(1);
        for option in [
            "from=\"192.0.2.0/24\"",
            "no-pty,expiry-time=\"20300101\"",
            "cert-authority",
            "FROM=\"10.0.0.1\"",
        ] {
            let (comment, skipped) = found(&format!("{option} {line} ann"), &ann);
            assert_eq!((comment, skipped), (None, vec![1]), "{option}");
        }
        let (comment, skipped) = found(&format!("restrict,command=\"x y\" {line} ann"), &ann);
        assert_eq!((comment.as_deref(), skipped), (Some("ann"), vec![]));
    }

    #[test]
    fn a_file_that_is_too_long_lets_nobody_in() {
        let (ann, line) = key(1);
        let from = "192.0.2.1:7".parse().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), format!("{line} ann\n")).unwrap();
        assert_eq!(
            comment_of(&ann, file.path(), from).unwrap().as_deref(),
            Some("ann")
        );
        let long = format!("{line} ann\n{}", "#".repeat(MAX_LEN as usize));
        fs::write(file.path(), long).unwrap();
        assert!(comment_of(&ann, file.path(), from).is_err());
        assert!(comment_of(&ann, &file.path().join("none"), from).is_err());
    }
}
