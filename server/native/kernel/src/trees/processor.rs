//! What vectors a processor has.

use std::fmt;

/// The instructions that forms may use, each kind with those before it. Tests restrict forms to fewer than the
/// processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Processor {
    /// What every processor of the architecture has.
    Plain,
    /// x86-64 with `avx2`, `bmi1`, `bmi2`, `lzcnt` and `popcnt`.
    Avx2,
    /// The same with `avx512f`, `avx512bw`, `avx512cd`, `avx512dq`, `avx512vl`, `avx512vbmi`, `avx512vbmi2` and `gfni`:
    /// Intel's server processors since Ice Lake, and AMD's since Zen 4.
    Avx512,
}

impl Processor {
    const ALL: [Self; 3] = [Self::Plain, Self::Avx2, Self::Avx512];

    /// What this processor can stand for: each kind up to its own.
    pub fn here() -> impl Iterator<Item = Self> {
        let most = Self::detected();
        Self::ALL.into_iter().filter(move |each| *each <= most)
    }

    /// What this processor has.
    #[cfg(target_arch = "x86_64")]
    pub fn detected() -> Self {
        use std::arch::is_x86_feature_detected as has;
        if !(has!("avx2") && has!("bmi1") && has!("bmi2") && has!("lzcnt") && has!("popcnt")) {
            return Self::Plain;
        }
        let is_wide = has!("avx512f")
            && has!("avx512bw")
            && has!("avx512cd")
            && has!("avx512dq")
            && has!("avx512vl")
            && has!("avx512vbmi")
            && has!("avx512vbmi2")
            && has!("gfni");
        if is_wide { Self::Avx512 } else { Self::Avx2 }
    }

    /// What this processor has.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn detected() -> Self {
        Self::Plain
    }
}

impl fmt::Display for Processor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}
