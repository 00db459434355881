//! The bytes of many rows, place by place.

use std::arch::x86_64::*;

use crate::trees::scratch::Line;
use crate::trees::search::bytes::ByteCoder;

/// Where a vector takes each of its bytes from when blocks of `distance` bytes are exchanged with another's: the first
/// vector of a pair, and the second. Bytes of the second have numbers from 64 on.
const fn exchange(distance: usize) -> [Line; 2] {
    let mut from = [Line::ZERO; 2];
    let mut at = 0;
    while at < 64 {
        let is_first = at & distance == 0;
        from[0].0[at] = if is_first { at } else { 64 + at - distance } as u8;
        from[1].0[at] = if is_first { at + distance } else { 64 + at } as u8;
        at += 1;
    }
    from
}

static EXCHANGES: [[Line; 2]; 6] =
    [exchange(32), exchange(16), exchange(8), exchange(4), exchange(2), exchange(1)];

/// Writes the bytes of the tables of up to 64 rows for each of `count` lines: place by place, a byte for each row.
///
/// # Panics
/// `LINES` is not that of the coder, or a slice is too short.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vbmi2,popcnt,bmi1,bmi2,lzcnt")]
pub(super) fn write<const LINES: usize>(
    coder: &ByteCoder<f64>,
    rows: &[f64],
    features: usize,
    columns: &mut [Line],
    count: usize,
) {
    let columns = &mut columns[..LINES * 64 * count];
    for (line, rows) in rows.chunks(64 * features).enumerate() {
        let mut tables = [[_mm512_setzero_si512(); 64]; LINES];
        for (i, row) in rows.chunks_exact(features).enumerate() {
            let table = coder.table::<LINES>(row);
            for (tables, part) in tables.iter_mut().zip(table) {
                tables[i] = part;
            }
        }
        for (part, bytes) in tables.iter_mut().enumerate() {
            transpose(bytes);
            for (place, bytes) in bytes.iter().enumerate() {
                // SAFETY: a line is a vector.
                unsafe {
                    let column = &mut columns[(part * 64 + place) * count + line];
                    _mm512_store_si512((&raw mut *column).cast(), *bytes);
                }
            }
        }
    }
}

/// Exchanges rows and columns of 64 times 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn transpose(bytes: &mut [__m512i; 64]) {
    for (step, from) in EXCHANGES.iter().enumerate() {
        let distance = 32 >> step;
        // SAFETY: a line is a vector.
        let from = [0, 1].map(|i| unsafe { _mm512_load_si512((&raw const from[i]).cast()) });
        for first in (0..64).filter(|first| first & distance == 0) {
            let (one, other) = (bytes[first], bytes[first + distance]);
            bytes[first] = _mm512_permutex2var_epi8(one, from[0], other);
            bytes[first + distance] = _mm512_permutex2var_epi8(one, from[1], other);
        }
    }
}
