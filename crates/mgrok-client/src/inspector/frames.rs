//! Counting frames of WebSocket as their bytes pass (RFC 6455, 5.2). Nothing is held back, and no payload is looked at.

/// Counts the frames of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrameCounter {
    /// The header that is being read: so many bytes of it are there.
    header: [u8; 14],
    len: usize,
    /// Bytes of the payload that have yet to pass.
    payload: u64,
}

impl FrameCounter {
    /// Takes the next bytes; returns how many frames have begun in them, by their whole headers.
    pub(crate) fn pass(&mut self, mut bytes: &[u8]) -> u64 {
        let mut frames = 0;
        loop {
            let skipped = self.payload.min(bytes.len() as u64);
            self.payload -= skipped;
            // Not more than there are.
            bytes = &bytes[skipped as usize..];
            let Some((&byte, rest)) = bytes.split_first() else {
                return frames;
            };
            bytes = rest;
            self.header[self.len] = byte;
            self.len += 1;
            if self.len >= 2 && self.len == header_len(self.header[1]) {
                self.payload = self.payload_len();
                self.len = 0;
                frames += 1;
            }
        }
    }

    fn payload_len(&self) -> u64 {
        let header = &self.header;
        match header[1] & 0x7f {
            126 => u16::from_be_bytes([header[2], header[3]]).into(),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&header[2..10]);
                u64::from_be_bytes(bytes)
            }
            len => len.into(),
        }
    }
}

/// How long a header is whose second byte is this one.
fn header_len(second: u8) -> usize {
    let len = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + len + mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(masked: bool, payload: usize) -> Vec<u8> {
        let mut frame = vec![0x82];
        let mask = if masked { 0x80 } else { 0 };
        match payload {
            0..126 => frame.push(mask | payload as u8),
            126..65_536 => {
                frame.push(mask | 126);
                frame.extend((payload as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend([1, 2, 3, 4]);
        }
        // Looks like headers, and is none.
        frame.extend(std::iter::repeat_n(0xff, payload));
        frame
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let sizes = [0, 1, 125, 126, 300, 65_535, 65_536, 70_000];
        let mut bytes = Vec::new();
        for size in sizes {
            bytes.extend(frame(true, size));
            bytes.extend(frame(false, size));
        }
        for piece in [1, 2, 3, 7, 1_000, bytes.len()] {
            let mut counter = FrameCounter::default();
            let frames: u64 = bytes.chunks(piece).map(|it| counter.pass(it)).sum();
            assert_eq!(frames, 2 * sizes.len() as u64, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_payload_of_any_length_is_no_trouble() {
        let mut counter = FrameCounter::default();
        assert_eq!(counter.pass(&[0x82, 127]), 0);
        assert_eq!(counter.pass(&[0xff; 8]), 1);
        assert_eq!(counter.pass(&[0; 4096]), 0);
    }
}
