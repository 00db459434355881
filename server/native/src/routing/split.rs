//! Which version of a split answers a call: weighted rendezvous hashing.
//!
//! The same as `engine/split.py`, to the bit, so that both engines send a key to the same version. That module
//! explains the method. The control plane gives the seeds.

use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};

const LN_2: f64 = std::f64::consts::LN_2;
/// Terms of the series of artanh. At 1/3 the next term is below the last bit of a double.
const TERMS: u32 = 17;
const DIGEST_BYTES: usize = 8;
/// The point of "scorewire.records": with it a key's place in the sample does not depend on its side of a split.
const RECORDS_SEED: u64 = 0xA7D8_805E_6036_A25A;

/// The point of a routing key.
pub(crate) fn point_of(routing_key: &str) -> u64 {
    let digest = blake2b_simd::Params::new().hash_length(DIGEST_BYTES).hash(routing_key.as_bytes());
    let mut bytes = [0; DIGEST_BYTES];
    bytes.copy_from_slice(digest.as_bytes());
    u64::from_le_bytes(bytes)
}

/// A random point, for a call without a routing key.
pub(crate) fn random_point() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish());
    }
    STATE.with(|state| {
        // SplitMix64: steps of the golden ratio, mixed.
        let next = state.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        state.set(next);
        mix(next)
    })
}

/// True with probability `share`.
pub(crate) fn drawn(share: f64) -> bool {
    share >= 1.0 || unit(random_point()) < share
}

/// How often `drawn` would be false before it is true: geometrically distributed. `share` is above 0.
#[cold]
pub(crate) fn failures(share: f64) -> u64 {
    // A conversion to integers saturates. ln(1 - share) is -inf for 1, and never 0.
    (unit(random_point()).ln() / (-share).ln_1p()) as u64
}

/// Whether the predictions of a routing key are among the share of keys whose predictions are recorded. A key
/// that is in a share is in every larger share.
pub(crate) fn samples(routing_key: &str, share: f64) -> bool {
    share >= 1.0 || unit(mix(point_of(routing_key) ^ RECORDS_SEED)) < share
}

/// The index of the target that a point falls to. Targets are seeds and weights.
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

/// One of 2^52 evenly spaced numbers in (0, 1), each exact.
fn unit(x: u64) -> f64 {
    ((x >> 12) as f64 + 0.5) * (1.0 / (1_u64 << 52) as f64)
}

/// -ln(u) for u in (0, 1). Unlike libm's it is the same to the bit on every machine.
fn minus_ln(u: f64) -> f64 {
    // u is never subnormal, so its bits hold the mantissa, here in [0.5, 1), and the exponent.
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
        // The same keys and versions as in the tests of engine/split.py.
        assert_eq!(point_of("customer-17"), 0x113A_D135_4B54_08DC);
        let seeds = [point_of("repurchase/1.0.0"), point_of("repurchase/1.1.0")];
        let found: String = (0..64)
            .map(|i| pick(point_of(&format!("key-{i}")), seeds.into_iter().zip([90, 10])).to_string())
            .collect();
        assert_eq!(found, "1000000000000000000000001000000001000001000100001000000000000101");
    }

    #[test]
    fn the_same_keys_are_recorded_everywhere() {
        // The same keys as in the tests of engine/split.py.
        assert_eq!(RECORDS_SEED, point_of("scorewire.records"));
        let kept = |share| -> String {
            (0..64).map(|i| if samples(&format!("key-{i}"), share) { '1' } else { '0' }).collect()
        };
        assert_eq!(kept(0.1), "1000100000000001000010000000000000001000010000000000100000000000");
        assert_eq!(kept(0.5), "1101100000101101010110000001001111001000110101011101100101011000");
        assert_eq!((kept(0.0), kept(1.0)), ("0".repeat(64), "1".repeat(64)));
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
