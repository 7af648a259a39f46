//! Multiples of slices, 32 bytes at a time.
#![expect(
    unsafe_code,
    reason = "vectors are loaded from and stored to memory through pointers"
)]
//!
//! How it holds: every pointer is that of a slice of 32 bytes (or of 16, for a table) that was made in the line before, and
//! loads and stores need no alignment. Whoever calls has asked whether the processor has AVX2.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256,
    _mm256_loadu_si256, _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_srli_epi64,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use super::Multiples;

/// Bytes of a vector.
const LANES: usize = 32;

/// Adds multiples of `source` to the fronts of `sums`, as far as there are whole vectors. Returns how many bytes that were.
pub(super) fn add_multiples<const N: usize>(
    sums: &mut [&mut [u8]; N],
    source: &[u8],
    multiples: [&Multiples; N],
) -> usize {
    if !is_x86_feature_detected!("avx2") {
        return 0;
    }
    // SAFETY: the processor has it.
    unsafe { add(sums, source, multiples) }
}

#[target_feature(enable = "avx2")]
fn add<const N: usize>(
    sums: &mut [&mut [u8]; N],
    source: &[u8],
    multiples: [&Multiples; N],
) -> usize {
    let low_bits = _mm256_set1_epi8(0x0f);
    let tables = multiples.map(|it| (table(&it.low), table(&it.high)));
    let (sources, _) = source.as_chunks::<LANES>();
    let mut pieces = sums.each_mut().map(|sum| sum.as_chunks_mut::<LANES>().0);
    for (at, source) in sources.iter().enumerate() {
        let source = load(source);
        let low = _mm256_and_si256(source, low_bits);
        let high = _mm256_and_si256(_mm256_srli_epi64::<4>(source), low_bits);
        for (sum, (of_low, of_high)) in pieces.iter_mut().zip(&tables) {
            let low = _mm256_shuffle_epi8(*of_low, low);
            let high = _mm256_shuffle_epi8(*of_high, high);
            let sum = &mut sum[at];
            let added = _mm256_xor_si256(load(sum), _mm256_xor_si256(low, high));
            let target: *mut __m256i = sum.as_mut_ptr().cast();
            // SAFETY: there are 32 bytes.
            unsafe { _mm256_storeu_si256(target, added) };
        }
    }
    sources.len() * LANES
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8; LANES]) -> __m256i {
    let source: *const __m256i = bytes.as_ptr().cast();
    // SAFETY: there are 32 bytes.
    unsafe { _mm256_loadu_si256(source) }
}

/// A table of 16 bytes, twice: shuffles do not cross the middle of a vector.
#[target_feature(enable = "avx2")]
fn table(bytes: &[u8; 16]) -> __m256i {
    let source: *const __m128i = bytes.as_ptr().cast();
    // SAFETY: there are 16 bytes.
    _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(source) })
}
