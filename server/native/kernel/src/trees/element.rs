//! The two types of numbers in which ensembles compute.

/// The type of a row's values, or of a sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Real {
    F32,
    F64,
}

impl Real {
    /// The greatest number of this type that is at most `value`; NaN stays.
    pub(crate) fn floor(self, value: f64) -> f64 {
        match self {
            Self::F64 => value,
            Self::F32 => {
                let rounded = value as f32;
                if f64::from(rounded) > value { f64::from(rounded.next_down()) } else { f64::from(rounded) }
            }
        }
    }

    /// The greatest number of this type that is less than a number of this type; -inf and NaN stay.
    pub(crate) fn below(self, value: f64) -> f64 {
        match self {
            Self::F64 => value.next_down(),
            Self::F32 => f64::from((value as f32).next_down()),
        }
    }
}

/// `f32` or `f64`.
///
/// # Safety
/// `REAL` names the type itself: memory is read by it.
pub(crate) unsafe trait Element:
    Copy + PartialOrd + Default + Send + Sync + std::fmt::Debug + std::ops::AddAssign + 'static
{
    const NAN: Self;
    const REAL: Real;

    /// The number of this type nearest to a value.
    fn of(value: f64) -> Self;

    /// The same number.
    fn double(self) -> f64;
}

// SAFETY: `REAL` names it.
unsafe impl Element for f32 {
    const NAN: Self = f32::NAN;
    const REAL: Real = Real::F32;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn double(self) -> f64 {
        f64::from(self)
    }
}

// SAFETY: `REAL` names it.
unsafe impl Element for f64 {
    const NAN: Self = f64::NAN;
    const REAL: Real = Real::F64;

    #[inline(always)]
    fn of(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn double(self) -> f64 {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_of_a_double_is_a_float_at_most_as_great() {
        assert_eq!(Real::F32.floor(0.1), f64::from(0.1_f32.next_down()));
        assert_eq!(Real::F32.floor(0.5), 0.5);
        assert_eq!(Real::F32.floor(1e300), f64::from(f32::MAX));
        assert_eq!(Real::F32.floor(f64::INFINITY), f64::INFINITY);
        assert_eq!(Real::F32.floor(-1e300), f64::NEG_INFINITY);
        assert_eq!(Real::F32.floor(-1e-300), f64::from(-f32::from_bits(1)));
        assert_eq!(Real::F32.floor(1e-300), 0.0);
        assert!(Real::F32.floor(f64::NAN).is_nan());
    }

    #[test]
    fn the_number_below_is_of_the_type() {
        assert_eq!(Real::F32.below(0.0), f64::from(-f32::from_bits(1)));
        assert_eq!(Real::F32.below(-0.0), f64::from(-f32::from_bits(1)));
        assert_eq!(Real::F64.below(1.0), 1.0 - f64::EPSILON / 2.0);
        assert_eq!(Real::F32.below(f64::INFINITY), f64::from(f32::MAX));
        assert_eq!(Real::F64.below(f64::NEG_INFINITY), f64::NEG_INFINITY);
    }
}
