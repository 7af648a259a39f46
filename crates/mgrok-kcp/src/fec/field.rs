//! Arithmetic in GF(2^8), as far as the erasure code needs it. Addition is `^`.

#[cfg(target_arch = "x86_64")]
mod avx2;

use super::{DATA_SHARDS, PARITY_SHARDS};

/// The field's polynomial, 0x11d, without its highest power.
const POLYNOMIAL: u8 = 0x1d;

/// What each parity shard takes of each data shard.
///
/// kcp-go makes the matrix out of a Vandermonde matrix, row r of which evaluates a polynomial at
/// r, times the inverse of its upper square. So row r of the product evaluates at r the
/// polynomial whose values at 0..10 are the data: its entries are Lagrange's.
pub(super) const PARITY: [[u8; DATA_SHARDS]; PARITY_SHARDS] = parity_matrix();

const fn parity_matrix() -> [[u8; DATA_SHARDS]; PARITY_SHARDS] {
    let mut matrix = [[1; DATA_SHARDS]; PARITY_SHARDS];
    let mut row = 0;
    while row < PARITY_SHARDS {
        let at = (DATA_SHARDS + row) as u8;
        let mut column = 0;
        while column < DATA_SHARDS {
            let mut other = 0;
            while other < DATA_SHARDS {
                if other != column {
                    let factor = mul(at ^ other as u8, inverse(column as u8 ^ other as u8));
                    matrix[row][column] = mul(matrix[row][column], factor);
                }
                other += 1;
            }
            column += 1;
        }
        row += 1;
    }
    matrix
}

/// The product of `a` and `b`.
pub(super) const fn mul(a: u8, b: u8) -> u8 {
    let mut power = a;
    let mut product = 0;
    let mut bit = 0;
    while bit < 8 {
        if b >> bit & 1 == 1 {
            product ^= power;
        }
        power = double(power);
        bit += 1;
    }
    product
}

/// What gives 1 when multiplied by `a`; 0 for 0.
pub(super) const fn inverse(a: u8) -> u8 {
    // The nonzero elements are a group of 255, so a^254 is the inverse: the product of the powers 2, 4, … 128. The compiler works
    // this out at every build, and takes seconds for 254 multiplications in place of these.
    let mut power = a;
    let mut result = 1;
    let mut count = 0;
    while count < 7 {
        power = mul(power, power);
        result = mul(result, power);
        count += 1;
    }
    result
}

const fn double(a: u8) -> u8 {
    // All bits if the highest one is set, none otherwise.
    let carry = (a as i8 >> 7) as u8;
    (a << 1) ^ (carry & POLYNOMIAL)
}

/// The multiples of one factor: those of the numbers below 16, and those of 16 times these. The product with a byte is the sum of one
/// of each.
#[derive(Clone, Copy)]
struct Multiples {
    low: [u8; 16],
    high: [u8; 16],
}

/// At each factor its multiples.
static MULTIPLES: [Multiples; 256] = multiples();

const fn multiples() -> [Multiples; 256] {
    let mut all = [Multiples {
        low: [0; 16],
        high: [0; 16],
    }; 256];
    let mut factor = 0;
    while factor < 256 {
        let (low, sixteen_times) = nibbles(factor as u8);
        let (high, _) = nibbles(sixteen_times);
        all[factor] = Multiples { low, high };
        factor += 1;
    }
    all
}

/// The products of `factor` with the numbers below 16, and with 16.
const fn nibbles(factor: u8) -> ([u8; 16], u8) {
    let mut products = [0; 16];
    let mut power = factor;
    let mut bit = 1;
    while bit < 16 {
        let mut below = 0;
        while below < bit {
            products[bit + below] = products[below] ^ power;
            below += 1;
        }
        power = double(power);
        bit *= 2;
    }
    (products, power)
}

impl Multiples {
    fn of(&self, byte: u8) -> u8 {
        self.low[usize::from(byte & 0x0f)] ^ self.high[usize::from(byte >> 4)]
    }
}

/// Adds `factor` times `source` to the front of `sum`, which is at least as long.
pub(super) fn add_multiple(sum: &mut [u8], source: &[u8], factor: u8) {
    add_multiples([sum], source, [factor]);
}

/// Adds multiples of `source` to the fronts of `sums`, which are at least as long, one for each factor.
pub(super) fn add_multiples<const N: usize>(
    mut sums: [&mut [u8]; N],
    source: &[u8],
    factors: [u8; N],
) {
    let multiples = factors.map(|factor| &MULTIPLES[usize::from(factor)]);
    #[cfg(target_arch = "x86_64")]
    let done = avx2::add_multiples(&mut sums, source, multiples);
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    let done = done + add_words(&mut sums, source, factors, done);
    for (sum, multiples) in sums.iter_mut().zip(multiples) {
        for (sum, &source) in sum[done..].iter_mut().zip(&source[done..]) {
            *sum ^= multiples.of(source);
        }
    }
}

/// The same from the byte `from` on, as far as there are whole words, without special instructions. Returns how many bytes that were.
fn add_words<const N: usize>(
    sums: &mut [&mut [u8]; N],
    source: &[u8],
    factors: [u8; N],
    from: usize,
) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;

    let all = factors.iter().fold(0, |all, factor| all | factor);
    let (words, _) = source[from..].as_chunks::<8>();
    let mut sums = sums
        .each_mut()
        .map(|sum| sum[from..].as_chunks_mut::<8>().0);
    for (at, word) in words.iter().enumerate() {
        let mut power = u64::from_ne_bytes(*word);
        let mut products = [0; N];
        for bit in 0..8 {
            for (product, factor) in products.iter_mut().zip(factors) {
                // All bits if this one is set, none otherwise.
                let wanted = 0u64.wrapping_sub(u64::from(factor >> bit & 1));
                *product ^= power & wanted;
            }
            if all >> bit <= 1 {
                break;
            }
            let carries = (power >> 7 & ONES) * u64::from(POLYNOMIAL);
            power = (power & (0x7f * ONES)) << 1 ^ carries;
        }
        for (sum, product) in sums.iter_mut().zip(products) {
            let sum = &mut sum[at];
            *sum = (u64::from_ne_bytes(*sum) ^ product).to_ne_bytes();
        }
    }
    words.len() * 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parity_matrix_is_that_of_kcp_go() {
        // Parity of unit vectors by klauspost/reedsolomon 1.12, New(10, 3).
        let golden = [
            [0x81, 0x96, 0xaf, 0xb8, 0xd2, 0xc4, 0xfe, 0xe8, 0x03, 0x02],
            [0x96, 0x81, 0xb8, 0xaf, 0xc4, 0xd2, 0xe8, 0xfe, 0x02, 0x03],
            [0xbf, 0xd6, 0x62, 0x0a, 0x06, 0x6f, 0xdf, 0xb7, 0x05, 0x04],
        ];
        assert_eq!(PARITY, golden);
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        assert!((1..=255).all(|a| mul(a, inverse(a)) == 1));
    }

    #[test]
    fn multiples_of_slices_are_those_of_their_bytes() {
        let source: Vec<u8> = (0..200).map(|i: u8| i.wrapping_mul(37)).collect();
        for factor in 0..=255 {
            let mut sum = vec![0xa5; 210];
            add_multiple(&mut sum, &source, factor);
            for (at, sum) in sum.iter().enumerate() {
                let source = source.get(at).copied().unwrap_or(0);
                assert_eq!(*sum, 0xa5 ^ mul(source, factor));
            }
        }
    }

    #[test]
    fn all_ways_to_multiply_slices_agree() {
        let source: Vec<u8> = (0..=255).collect();
        for factors in PARITY[0].map(|factor| [factor, factor.rotate_left(1), !factor]) {
            let mut by_words = [[0; 256]; 3];
            let sums = &mut by_words.each_mut().map(|sum| &mut sum[..]);
            assert_eq!(add_words(sums, &source, factors, 0), 256);
            let mut sums = [[0; 256]; 3];
            add_multiples(sums.each_mut().map(|sum| &mut sum[..]), &source, factors);
            assert_eq!(sums, by_words);
        }
    }
}
