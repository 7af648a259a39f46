//! AES-128 in CFB mode with 128-bit feedback, for streams: the cipher of frp's v1 control connections and of `useEncryption`.
//!
//! A crate of its own, so that a development build can optimise it alone: its generic parts are compiled here, and every byte of a
//! test with encryption passes through them.
//!
//! A direction is one endless stream: the feedback register runs on across calls, wherever the bytes happen to be cut. The
//! whole blocks of a call go through the cipher in bulk, which lets decryption work on many of them at once; only the bytes
//! that complete a block of an earlier call, and those that begin one for a later call, are done by hand.
//!
//! There is no integrity and no end marker in this format. Both are TLS's business.

use std::fmt;

use aes::{
    Aes128,
    cipher::{
        Array, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
        consts::U16, inout::InOutBuf,
    },
};

/// Bytes of the initialization vector that the writer of a direction sends, in clear, ahead of its first encrypted byte.
pub const IV_LEN: usize = BLOCK_LEN;

/// Bytes of a key.
pub const KEY_LEN: usize = 16;

const BLOCK_LEN: usize = 16;

type Block = Array<u8, U16>;

/// A key, made ready for use.
#[derive(Clone)]
pub struct Key(Aes128);

impl Key {
    /// Expands a key of 128 bits.
    pub fn new(key: [u8; KEY_LEN]) -> Self {
        Self(Aes128::new(&key.into()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Encrypts one direction of a connection.
#[derive(Debug)]
pub struct Encryptor(Feedback);

impl Encryptor {
    /// Starts a direction; `iv` must be new for each and must reach the other side first.
    pub fn new(key: &Key, iv: [u8; IV_LEN]) -> Self {
        Self(Feedback::new(key, iv))
    }

    /// Encrypts the next bytes of the stream where they are.
    pub fn apply(&mut self, data: &mut [u8]) {
        self.run(data.into());
    }

    /// Encrypts the next bytes of the stream from `input` to `out`.
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn apply_to(&mut self, input: &[u8], out: &mut [u8]) {
        self.run(pair(input, out));
    }

    fn run(&mut self, data: InOutBuf<'_, '_, u8>) {
        let Self(feedback) = self;
        let head = feedback.head_len(data.len());
        let (head, rest) = data.split_at(head);
        feedback.bytes(head, Direction::Encrypt);
        let (mut blocks, tail) = rest.into_chunks::<U16>();
        if !blocks.is_empty() {
            cfb_mode::Encryptor::inner_iv_init(&feedback.aes, &feedback.register)
                .encrypt_blocks_inout(blocks.reborrow());
            if let Some(last) = blocks.get_out().last() {
                feedback.register = *last;
            }
        }
        feedback.bytes(tail, Direction::Encrypt);
    }
}

/// Decrypts one direction of a connection.
#[derive(Debug)]
pub struct Decryptor(Feedback);

impl Decryptor {
    /// Starts a direction with the vector that the other side sent.
    pub fn new(key: &Key, iv: [u8; IV_LEN]) -> Self {
        Self(Feedback::new(key, iv))
    }

    /// Decrypts the next bytes of the stream where they are.
    pub fn apply(&mut self, data: &mut [u8]) {
        self.run(data.into());
    }

    /// Decrypts the next bytes of the stream from `input` to `out`.
    ///
    /// # Panics
    /// If the two differ in length.
    pub fn apply_to(&mut self, input: &[u8], out: &mut [u8]) {
        self.run(pair(input, out));
    }

    fn run(&mut self, data: InOutBuf<'_, '_, u8>) {
        let Self(feedback) = self;
        let head = feedback.head_len(data.len());
        let (head, rest) = data.split_at(head);
        feedback.bytes(head, Direction::Decrypt);
        let (blocks, tail) = rest.into_chunks::<U16>();
        // Taken before it is overwritten: input and output may be the same bytes.
        if let Some(last) = blocks.get_in().last().copied() {
            cfb_mode::Decryptor::inner_iv_init(&feedback.aes, &feedback.register)
                .decrypt_blocks_inout(blocks);
            feedback.register = last;
        }
        feedback.bytes(tail, Direction::Decrypt);
    }
}

/// What one direction remembers between calls.
struct Feedback {
    aes: Aes128,
    /// The last whole block of ciphertext (at first the vector). While a block is under way: its ciphertext as far as it
    /// is known, and what the cipher made of the block before it in the rest.
    register: Block,
    /// How many bytes of the block under way are done, 0 if none is.
    done: usize,
}

/// Which of the two texts a byte goes in as. The feedback is always the ciphertext.
#[derive(Clone, Copy)]
enum Direction {
    Decrypt,
    Encrypt,
}

impl Feedback {
    fn new(key: &Key, iv: [u8; IV_LEN]) -> Self {
        Self {
            aes: key.0.clone(),
            register: iv.into(),
            done: 0,
        }
    }

    /// How many of the next `len` bytes belong to the block under way.
    fn head_len(&self, len: usize) -> usize {
        match self.done {
            0 => 0,
            done => len.min(BLOCK_LEN - done),
        }
    }

    /// Does bytes that stay within one block.
    fn bytes(&mut self, mut data: InOutBuf<'_, '_, u8>, direction: Direction) {
        if data.is_empty() {
            return;
        }
        if self.done == 0 {
            self.aes.encrypt_block(&mut self.register);
        }
        let len = data.len();
        let register = &mut self.register[self.done..self.done + len];
        match direction {
            Direction::Decrypt => {
                for (index, stream) in register.iter_mut().enumerate() {
                    let coded = data.get_in()[index];
                    data.get_out()[index] = coded ^ *stream;
                    *stream = coded;
                }
            }
            Direction::Encrypt => {
                for (index, stream) in register.iter_mut().enumerate() {
                    *stream ^= data.get_in()[index];
                    data.get_out()[index] = *stream;
                }
            }
        }
        self.done = (self.done + len) % BLOCK_LEN;
    }
}

impl fmt::Debug for Feedback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feedback")
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::expect_used,
    reason = "a caller's mistake that no input can cause; documented under Panics"
)]
fn pair<'inp, 'out>(input: &'inp [u8], out: &'out mut [u8]) -> InOutBuf<'inp, 'out, u8> {
    InOutBuf::new(input, out).expect("input and output are of the same length")
}
