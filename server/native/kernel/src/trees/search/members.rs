//! Whether a value is in a set, in one look for the codes of categories.

use crate::trees::element::Element;

/// The largest whole number that is looked up by its bit.
const MOST: usize = 1 << 16;
/// The most bits for each member.
const EACH: usize = 1024;

/// A set of values.
#[derive(Debug, Clone)]
pub(crate) struct Members {
    /// A bit for each small whole number.
    bits: Vec<u64>,
    /// The other members, ascending.
    others: Vec<f64>,
}

impl Members {
    /// Of ascending values, without NaN and without -0.0.
    pub(crate) fn new(members: &[f64]) -> Self {
        // Sets of few members are small, also where those are large.
        let end = (EACH * members.len()).min(MOST) as f64;
        let is_small = |member: &f64| *member >= 0.0 && *member < end && member.trunc() == *member;
        let most = members.iter().rfind(|member| is_small(member));
        let mut bits = vec![0; most.map_or(0, |most| *most as usize / 64 + 1)];
        for member in members.iter().filter(|member| is_small(member)) {
            bits[*member as usize / 64] |= 1 << (*member as usize % 64);
        }
        Self { bits, others: members.iter().copied().filter(|member| !is_small(member)).collect() }
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.bits[..]) + size_of_val(&self.others[..])
    }

    /// Whether a value is a member; false for NaN.
    #[inline]
    pub(crate) fn contain<I: Element>(&self, value: I) -> bool {
        let value = value.double();
        // Numbers beyond the range become its end, and NaN 0.
        let whole = value as usize;
        if whole as f64 == value && whole < self.bits.len() * 64 {
            return self.bits[whole / 64] >> (whole % 64) & 1 == 1;
        }
        self.others.binary_search_by(|member| member.total_cmp(&value)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_members_and_no_others() {
        let listed = [-3.0, -0.5, 0.0, 1.0, 2.5, 63.0, 64.0, 65_535.0, 65_536.0, 1e300, f64::INFINITY];
        for members in [&listed[..], &[], &[2.5], &[5.0]] {
            let set = Members::new(members);
            for value in listed.into_iter().chain([-0.0, 3.0, 66.0, 0.25, f64::NEG_INFINITY, f64::NAN, 5.0]) {
                assert_eq!(set.contain(value), members.contains(&value), "{value} in {members:?}");
            }
            assert!(!set.contain(f32::NAN));
        }
    }

    #[test]
    fn a_set_of_few_large_numbers_is_small() {
        for member in [1023.0, 1024.0, 65_535.0, 1e18] {
            let set = Members::new(&[member]);
            assert!(set.bytes() <= 128 && set.contain(member), "{member}");
        }
    }
}
