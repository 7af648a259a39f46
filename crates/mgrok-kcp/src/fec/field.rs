//! Arithmetic in GF(2^8), as far as the erasure code needs it. Addition is `^`.

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
    // The nonzero elements are a group of 255: a^254 is it.
    let mut result = 1;
    let mut count = 0;
    while count < 254 {
        result = mul(result, a);
        count += 1;
    }
    result
}

const fn double(a: u8) -> u8 {
    // All bits if the highest one is set, none otherwise.
    let carry = (a as i8 >> 7) as u8;
    (a << 1) ^ (carry & POLYNOMIAL)
}

/// Adds `factor` times `source` to the front of `sum`, which is at least as long.
pub(super) fn add_multiple(sum: &mut [u8], source: &[u8], factor: u8) {
    add_multiples([sum], source, [factor]);
}

/// Adds multiples of `source` to the fronts of `sums`, which are at least as long, one for each factor. What `source` is doubled to
/// serves all of them.
pub(super) fn add_multiples<const N: usize>(
    mut sums: [&mut [u8]; N],
    source: &[u8],
    factors: [u8; N],
) {
    /// Bytes that are worked on together, for the sake of vector instructions.
    const LANES: usize = 64;

    let all = factors.iter().fold(0, |all, factor| all | factor);
    let mut sources = source.chunks_exact(LANES);
    let mut at = 0;
    for source in &mut sources {
        let mut power = [0; LANES];
        power.copy_from_slice(source);
        for bit in 0..8 {
            for (sum, factor) in sums.iter_mut().zip(factors) {
                if factor >> bit & 1 == 1 {
                    let sum = &mut sum[at..at + LANES];
                    sum.iter_mut().zip(power).for_each(|(sum, p)| *sum ^= p);
                }
            }
            if all >> bit <= 1 {
                break;
            }
            power.iter_mut().for_each(|p| *p = double(*p));
        }
        at += LANES;
    }
    for (sum, factor) in sums.iter_mut().zip(factors) {
        for (sum, source) in sum[at..].iter_mut().zip(sources.remainder()) {
            *sum ^= mul(*source, factor);
        }
    }
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
        for factor in [0, 1, 2, 0x80, 0xff] {
            let mut sum = vec![0xa5; 210];
            add_multiple(&mut sum, &source, factor);
            for (at, sum) in sum.iter().enumerate() {
                let source = source.get(at).copied().unwrap_or(0);
                assert_eq!(*sum, 0xa5 ^ mul(source, factor));
            }
        }
    }
}
