//! Which version of a split answers a call: weighted rendezvous hashing.
//!
//! engine/split.py once more, to the bit; the words are there. Seeds come from the control plane.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

const LN_2: f64 = std::f64::consts::LN_2;
/// Of the series of artanh; at 1/3 the next term is below a double's last bit.
const TERMS: u32 = 17;
const DIGEST_BYTES: usize = 8;

/// Where a routing key stands.
pub(crate) fn point_of(routing_key: &str) -> u64 {
    let digest = blake2b_simd::Params::new().hash_length(DIGEST_BYTES).hash(routing_key.as_bytes());
    let mut bytes = [0; DIGEST_BYTES];
    bytes.copy_from_slice(digest.as_bytes());
    u64::from_le_bytes(bytes)
}

/// A place at random, for a call without a key.
pub(crate) fn random_point() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    STATE.with(|state| {
        // SplitMix64: the golden ratio's steps, mixed.
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        mix(next)
    })
}

/// Whether one call in so many is meant, at random.
pub(crate) fn drawn(share: f64) -> bool {
    share >= 1.0 || unit(random_point()) < share
}

/// The index of the target, of seed and weight, that a point falls to.
pub(crate) fn pick(point: u64, targets: impl Iterator<Item = (u64, u32)>) -> usize {
    let (mut best, mut least) = (0, f64::INFINITY);
    for (index, (seed, weight)) in targets.enumerate() {
        let cost = minus_ln(unit(mix(point ^ seed))) / f64::from(weight);
        if cost < least {
            (best, least) = (index, cost);
        }
    }
    best
}

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// One of 2^52 evenly spread numbers in (0, 1), none of them rounded.
fn unit(x: u64) -> f64 {
    ((x >> 12) as f64 + 0.5) * (1.0 / (1_u64 << 52) as f64)
}

/// -ln(u) of a number in (0, 1), the same to the bit everywhere, as libm's need not be.
fn minus_ln(u: f64) -> f64 {
    // u is no subnormal: mantissa in [0.5, 1) and exponent are in its bits.
    let bits = u.to_bits();
    let exponent = (bits >> 52) as i32 - 1022;
    let mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1022 << 52));
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let mut total = 0.0;
    for k in (0..=TERMS).rev() {
        total = total * square + 1.0 / f64::from(2 * k + 1);
    }
    -(f64::from(exponent) * LN_2 + 2.0 * s * total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_key_gets_the_same_version_everywhere() {
        // As in tests/scorewire_server/test_split.py.
        assert_eq!(point_of("customer-17"), 0x113A_D135_4B54_08DC);
        let seeds = [point_of("repurchase/1.0.0"), point_of("repurchase/1.1.0")];
        let found: String = (0..64)
            .map(|i| pick(point_of(&format!("key-{i}")), seeds.into_iter().zip([90, 10])).to_string())
            .collect();
        assert_eq!(found, "1000000000000000000000001000000001000001000100001000000000000101");
    }

    #[test]
    fn the_logarithm_is_a_good_one() {
        for i in 0..100_000 {
            let u = unit(mix(i));
            assert!((minus_ln(u) + u.ln()).abs() <= 1e-14 * u.ln().abs() + 1e-15, "{u}");
        }
    }

    #[test]
    fn points_at_random_follow_the_weights() {
        let second = (0..100_000).filter(|_| pick(random_point(), [(1, 90), (2, 10)].into_iter()) == 1);
        assert!((9_000..11_000).contains(&second.count()));
    }
}
