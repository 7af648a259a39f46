//! Base64 as Go's `base64.StdEncoding` reads and writes it, as fast as this processor can.

use std::sync::LazyLock;

use base64::{
    DecodeError, DecodeSliceError, Engine,
    engine::{DecodePaddingMode, GeneralPurposeConfig},
};

/// frp: standard alphabet, padding required, bits beyond the last byte ignored.
const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
    .with_decode_allow_trailing_bits(true);

#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
))]
static ENGINE: LazyLock<base64::engine::Simd> =
    LazyLock::new(|| base64::engine::Simd::standard(CONFIG));

#[cfg(not(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon")
)))]
static ENGINE: LazyLock<base64::engine::GeneralPurpose> =
    LazyLock::new(|| base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG));

/// Characters that `len` bytes become.
pub(crate) const fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

/// Writes `bytes` into `out`, which has [`encoded_len`] bytes.
#[expect(
    clippy::expect_used,
    reason = "a mistake of this crate, whatever the input"
)]
pub(crate) fn encode(bytes: &[u8], out: &mut [u8]) {
    ENGINE
        .encode_slice(bytes, out)
        .expect("four characters for every three bytes are enough");
}

/// Most bytes that `len` characters can stand for.
pub(crate) const fn decoded_len(len: usize) -> usize {
    len.div_ceil(4) * 3
}

/// Reads `text` into the beginning of `out`, which has [`decoded_len`] bytes, and says how many bytes it is.
#[expect(
    clippy::expect_used,
    reason = "a mistake of this crate, whatever the input"
)]
pub(crate) fn decode(text: &[u8], out: &mut [u8]) -> Result<usize, DecodeError> {
    ENGINE.decode_slice(text, out).map_err(|error| {
        match error {
            DecodeSliceError::DecodeError(error) => Some(error),
            DecodeSliceError::OutputSliceTooSmall => None,
        }
        .expect("three bytes for every four characters are enough")
    })
}
