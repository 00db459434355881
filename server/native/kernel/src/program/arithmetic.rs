//! What operators do to numbers.
//!
//! Sums, products and comparisons are those of IEEE 754. Exponentials and logarithms are the C library's, which XGBoost
//! and LightGBM call too.

/// Functions of a number; of whole numbers only the first three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unary {
    Neg,
    Abs,
    Sign,
    Exp,
    Log,
    /// log(1 + x)
    Log1p,
    Sqrt,
    Reciprocal,
    Floor,
    Ceil,
    /// To the nearest whole number, halves to the even one.
    Round,
    Tanh,
    Sigmoid,
    Relu,
}

/// Functions of two numbers; of whole numbers all but the last three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Binary {
    Add,
    Sub,
    Mul,
    Min,
    Max,
    Div,
    /// What remains of a division, with the sign of the first.
    Remainder,
    Pow,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// What becomes of several numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reduction {
    Sum,
    Mean,
    Min,
    Max,
    SumOfSquares,
    SumOfMagnitudes,
    /// The root of the sum of squares.
    Norm,
}

/// Numbers that add and compare.
pub(crate) trait Number: Copy + Default + PartialOrd {
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// The smaller one; NaN if one is NaN.
    fn least(self, other: Self) -> Self;
    /// The greater one; NaN if one is NaN.
    fn most(self, other: Self) -> Self;
    fn negated(self) -> Self;
    fn magnitude(self) -> Self;
    fn sign(self) -> Self;
}

/// `f32` and `f64`.
pub(crate) trait Fraction: Number {
    const ONE: Self;
    fn over(self, other: Self) -> Self;
    fn remainder(self, other: Self) -> Self;
    fn power(self, other: Self) -> Self;
    fn exp(self) -> Self;
    fn log(self) -> Self;
    fn log1p(self) -> Self;
    fn tanh(self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round(self) -> Self;
    /// The number nearest to a double.
    fn of(value: f64) -> Self;
    /// The whole number towards 0.
    fn whole(self) -> i64;
    /// The shares that softmax gives, in place.
    fn softmax(group: &mut [Self]);
}

macro_rules! fraction {
    ($type:ty, $one:literal, $wide:ty) => {
        impl Number for $type {
            #[inline(always)]
            fn plus(self, other: Self) -> Self {
                self + other
            }
            #[inline(always)]
            fn minus(self, other: Self) -> Self {
                self - other
            }
            #[inline(always)]
            fn times(self, other: Self) -> Self {
                self * other
            }
            #[inline(always)]
            fn least(self, other: Self) -> Self {
                if other < self || other.is_nan() { other } else { self }
            }
            #[inline(always)]
            fn most(self, other: Self) -> Self {
                if other > self || other.is_nan() { other } else { self }
            }
            #[inline(always)]
            fn negated(self) -> Self {
                -self
            }
            #[inline(always)]
            fn magnitude(self) -> Self {
                self.abs()
            }
            #[inline(always)]
            fn sign(self) -> Self {
                if self > 0.0 {
                    1.0
                } else if self < 0.0 {
                    -1.0
                } else {
                    self + 0.0
                }
            }
        }

        impl Fraction for $type {
            const ONE: Self = $one;
            #[inline(always)]
            fn over(self, other: Self) -> Self {
                self / other
            }
            #[inline(always)]
            fn remainder(self, other: Self) -> Self {
                self % other
            }
            #[inline(always)]
            fn power(self, other: Self) -> Self {
                self.powf(other)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                <$type>::exp(self)
            }
            #[inline(always)]
            fn log(self) -> Self {
                self.ln()
            }
            #[inline(always)]
            fn log1p(self) -> Self {
                self.ln_1p()
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                <$type>::tanh(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                <$type>::sqrt(self)
            }
            #[inline(always)]
            fn floor(self) -> Self {
                <$type>::floor(self)
            }
            #[inline(always)]
            fn ceil(self) -> Self {
                <$type>::ceil(self)
            }
            #[inline(always)]
            fn round(self) -> Self {
                self.round_ties_even()
            }
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $type
            }
            /// What is none, or too large, becomes what the processor makes of it, as in C.
            #[inline(always)]
            fn whole(self) -> i64 {
                const END: $type = (1_u64 << 63) as $type;
                if cfg!(target_arch = "x86_64") && !(-END..END).contains(&self) {
                    i64::MIN
                } else {
                    self as i64
                }
            }
            /// As XGBoost computes it of floats, and LightGBM of doubles: from the greatest number, with a sum in
            /// double.
            fn softmax(group: &mut [Self]) {
                let greatest = group.iter().copied().fold(<$type>::NEG_INFINITY, <$type>::max);
                let mut sum: $wide = 0.0;
                for value in group.iter_mut() {
                    *value = Fraction::exp(*value - greatest);
                    sum += <$wide>::from(*value);
                }
                for value in group {
                    *value /= sum as $type;
                }
            }
        }
    };
}

fraction!(f32, 1.0, f64);
fraction!(f64, 1.0, f64);

impl Number for i64 {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        self.wrapping_sub(other)
    }
    #[inline(always)]
    fn times(self, other: Self) -> Self {
        self.wrapping_mul(other)
    }
    #[inline(always)]
    fn least(self, other: Self) -> Self {
        self.min(other)
    }
    #[inline(always)]
    fn most(self, other: Self) -> Self {
        self.max(other)
    }
    #[inline(always)]
    fn negated(self) -> Self {
        self.wrapping_neg()
    }
    #[inline(always)]
    fn magnitude(self) -> Self {
        self.wrapping_abs()
    }
    #[inline(always)]
    fn sign(self) -> Self {
        self.signum()
    }
}

/// 1 / (1 + exp(-x))
#[inline(always)]
pub(crate) fn sigmoid<T: Fraction>(value: T) -> T {
    T::ONE.over(T::ONE.plus(value.negated().exp()))
}
