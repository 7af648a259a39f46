//! Reads the text of a configuration file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest text that is read: more than 100,000 proxies need, and little enough to keep a wrong path harmless.
const MAX_LEN: u64 = 16 * 1024 * 1024;

/// Why there is no text.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It is not UTF-8, but this.
    Encoding(String),
    Open(io::Error),
    Read(io::Error),
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<String, ReadError> {
    let file = File::open(path).map_err(ReadError::Open)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_LEN + 1).read_to_end(&mut bytes);
    match read {
        Ok(len) if len as u64 <= MAX_LEN => decode(bytes).map_err(ReadError::Encoding),
        Ok(_) => {
            let error = io::Error::new(io::ErrorKind::FileTooLarge, "more than 16 MiB");
            Err(ReadError::Read(error))
        }
        Err(error) => Err(ReadError::Read(error)),
    }
}

/// The text of a file, or what kind of text it is instead.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
    // With or without the mark in front: no configuration begins with a character of that number.
    let is_utf16 = match bytes.as_slice() {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, other, ..] | [other, 0, ..] => *other != 0,
        _ => false,
    };
    if is_utf16 {
        return Err("is text in UTF-16".to_owned());
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let before = error.as_bytes().iter().take(valid);
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not text in UTF-8")
    })
}
