//! Content that says by itself whether it is right: everybody knows what the bytes of a transfer are from its seed.

use std::{
    io::{self, Read, Write},
    sync::OnceLock,
};

/// A prime, so that bytes which are displaced by any power of two are not what they should be.
const LEN: usize = 1_000_003;

/// How much is written or read in one call.
const PIECE: usize = 64 << 10;

/// Noise, twice, so that a piece from any place is a slice.
fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut noise = vec![0; LEN];
        fastrand::Rng::with_seed(1).fill(&mut noise);
        noise.extend_from_within(..);
        noise
    })
}

/// What a transfer consists of, as far as it has gone.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    at: usize,
    left: usize,
}

/// Why a transfer came to no good end.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection failed.
    Io(io::Error),
    /// Bytes were wrong.
    Wrong,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Content {
    /// `len` bytes that `seed` names.
    pub(crate) fn new(seed: u64, len: usize) -> Self {
        Self {
            at: usize::try_from(seed % LEN as u64).unwrap(),
            left: len,
        }
    }

    /// The next piece.
    fn next(&mut self) -> &'static [u8] {
        let len = self.left.min(PIECE);
        let piece = &noise()[self.at..][..len];
        self.at = (self.at + len) % LEN;
        self.left -= len;
        piece
    }

    /// All of it, in one piece if it is short.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.left);
        while self.left > 0 {
            bytes.extend_from_slice(self.next());
        }
        bytes
    }

    /// Writes all that is left.
    pub(crate) fn write_to(mut self, to: &mut impl Write) -> io::Result<()> {
        while self.left > 0 {
            to.write_all(self.next())?;
        }
        Ok(())
    }

    /// Reads all that is left and compares, and says how much has arrived.
    pub(crate) fn read_from(mut self, from: &mut impl Read) -> Result<usize, Fault> {
        let mut room = vec![0; PIECE.min(self.left)];
        let len = self.left;
        while self.left > 0 {
            let expected = self.next();
            let room = &mut room[..expected.len()];
            from.read_exact(room)?;
            if room != expected {
                return Err(Fault::Wrong);
            }
        }
        Ok(len)
    }
}
