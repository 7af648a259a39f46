//! Text from a program or from strangers on its way into a line: escaped, and no longer than there is room for.

use std::fmt;

/// How a form of lines writes what cannot stand for itself.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    /// Whether a byte may begin a character that has to be escaped.
    pub(crate) is_suspicious: fn(u8) -> bool,
    /// Appends what stands for a character; whether it has to be escaped at all.
    pub(crate) escape: fn(char, &mut String) -> bool,
}

/// Appends what is written to it, as long as there is room. An escape is written whole or not at all, and nothing follows what is left out.
pub(crate) struct Escaped<'a> {
    /// Bytes that were left out since there was no room.
    pub(crate) cut: usize,
    form: Form,
    pub(crate) out: &'a mut String,
    /// How many bytes may still be appended.
    pub(crate) room: usize,
}

impl<'a> Escaped<'a> {
    /// Appends to `out`, `room` bytes at most.
    pub(crate) fn new(out: &'a mut String, room: usize, form: Form) -> Self {
        Self {
            cut: 0,
            form,
            out,
            room,
        }
    }

    fn push(&mut self, character: char) {
        let before = self.out.len();
        if !(self.form.escape)(character, self.out) {
            self.out.push(character);
        }
        let len = self.out.len() - before;
        match self.room.checked_sub(len) {
            Some(room) => self.room = room,
            None => {
                self.out.truncate(before);
                self.cut += character.len_utf8();
            }
        }
    }
}

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.cut > 0 {
            self.cut += text.len();
        } else if text.len() <= self.room && !text.bytes().any(self.form.is_suspicious) {
            self.room -= text.len();
            self.out.push_str(text);
        } else {
            for (at, character) in text.char_indices() {
                if self.cut > 0 {
                    self.cut += text.len() - at;
                    break;
                }
                self.push(character);
            }
        }
        Ok(())
    }
}
