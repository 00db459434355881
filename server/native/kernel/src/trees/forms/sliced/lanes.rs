//! Vectors of bits, one for each row of a block.

/// A vector of bits.
pub(super) trait Lanes: Copy {
    /// A vector whose bits are all `bit`. This one is not read: that there is one shows that the processor has the
    /// instructions.
    fn all(self, bit: bool) -> Self;

    /// The bits that both have.
    fn and(self, other: Self) -> Self;

    /// The bits that one of them has.
    fn or(self, other: Self) -> Self;

    /// The bits of this one that the other has not.
    fn without(self, other: Self) -> Self;

    /// The bits of this one, and those that both others have.
    fn or_both(self, one: Self, other: Self) -> Self;

    /// Where this one has a bit, that of `one`, elsewhere that of `zero`.
    fn pick(self, zero: Self, one: Self) -> Self;

    /// Asks the processor to fetch what is at an address, if that pays for vectors as long as these.
    #[inline(always)]
    fn fetch(_: *const Self) {}
}

/// In plain words.
impl<const N: usize> Lanes for [u64; N] {
    #[inline(always)]
    fn all(self, bit: bool) -> Self {
        [if bit { u64::MAX } else { 0 }; N]
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] & other[i])
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] | other[i])
    }

    #[inline(always)]
    fn without(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] & !other[i])
    }

    #[inline(always)]
    fn or_both(self, one: Self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] | one[i] & other[i])
    }

    #[inline(always)]
    fn pick(self, zero: Self, one: Self) -> Self {
        std::array::from_fn(|i| zero[i] ^ self[i] & (zero[i] ^ one[i]))
    }
}
