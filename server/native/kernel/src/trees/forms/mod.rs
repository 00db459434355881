//! The ways to score coded trees. All give the same bits.

#[cfg(target_arch = "x86_64")]
mod deep;
mod descent;
#[cfg(target_arch = "x86_64")]
mod heap;
mod leaves;
#[cfg(target_arch = "x86_64")]
mod masks;
pub(crate) mod naive;
#[cfg(target_arch = "x86_64")]
mod scalar;
mod sliced;

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::trees::coded::Codings;
use crate::trees::element::Element;
use crate::trees::forms::naive::Naive;
#[cfg(target_arch = "x86_64")]
use crate::trees::forms::sliced::slices::Slices;
use crate::trees::forms::sliced::words::Words;
use crate::trees::processor::Processor;
use crate::trees::scratch::Scratch;

/// The most rows that are scored at once, so that memory is bounded: larger calls are split.
pub(crate) const BLOCK_ROWS: usize = 512;

/// A way to score an ensemble's trees, made for one ensemble, whose rows are of `I` and whose sums are of `S`.
pub(crate) trait Form<I, S>: Send + Sync {
    /// Its name.
    fn name(&self) -> FormName;

    /// For how many rows in a call it is meant.
    fn rows(&self) -> RangeInclusive<usize> {
        1..=usize::MAX
    }

    /// The bytes that it holds.
    fn bytes(&self) -> usize;

    /// Writes the sums of rows: `rows` has the features of each row, and `sums` the targets of each. It takes any
    /// number of rows from 1 on, also other than it is meant for.
    fn score(&self, rows: &[I], sums: &mut [S], scratch: &mut Scratch);
}

/// The names of the forms, by which a setting asks for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormName {
    /// One split after the other, on the values themselves: what the other forms are tested against.
    Naive,
    /// Descent without branches over codes, any trees: many rows of a tree, or many trees of a row, at once.
    Descent,
    /// All splits of a complete tree of up to eight levels at once, with AVX-512.
    Heap,
    /// The same up to six levels, with AVX2.
    HeapAvx2,
    /// All splits of many trees of up to 256 leaves at once, each with the leaves that it rules out (AVX-512).
    Masks,
    /// All splits of the upper parts of many trees at once, then those of the subtrees below: few rows (AVX-512).
    Deep,
    /// Bit-sliced: each distinct split is one vector of bits over 512 rows (AVX-512).
    Slices,
    /// Bit-sliced in plain words, for every processor.
    Words,
}

impl FormName {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Naive,
        Self::Descent,
        Self::Heap,
        Self::HeapAvx2,
        Self::Masks,
        Self::Deep,
        Self::Slices,
        Self::Words,
    ];

    /// The processor that a form needs.
    pub fn processor(self) -> Processor {
        match self {
            Self::Naive | Self::Descent | Self::Words => Processor::Plain,
            Self::HeapAvx2 => Processor::Avx2,
            Self::Heap | Self::Masks | Self::Deep | Self::Slices => Processor::Avx512,
        }
    }
}

impl fmt::Display for FormName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Naive => "naive",
            Self::Descent => "descent",
            Self::Heap => "heap",
            Self::HeapAvx2 => "heap-avx2",
            Self::Masks => "masks",
            Self::Deep => "deep",
            Self::Slices => "slices",
            Self::Words => "words",
        })
    }
}

impl FromStr for FormName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|name| name.to_string() == text);
        named.ok_or_else(|| format!("there is no form {text:?} of trees"))
    }
}

/// Makes a form for an ensemble, with no more than the instructions of `processor`, which this processor has; `None` if
/// the form needs more, or does not take the ensemble.
pub(crate) fn make<I: Element, S: Element>(
    name: FormName,
    codings: &Codings<'_>,
    processor: Processor,
) -> Option<Box<dyn Form<I, S>>> {
    if processor < name.processor() {
        return None;
    }
    match name {
        FormName::Naive => Some(Box::new(Naive::new(codings.ensemble))),
        FormName::Descent => descent::make(codings, processor),
        FormName::Words => boxed(Words::new(codings, processor)),
        #[cfg(target_arch = "x86_64")]
        FormName::Heap => heap::avx512::make(codings),
        #[cfg(target_arch = "x86_64")]
        FormName::HeapAvx2 => heap::avx2::make(codings),
        #[cfg(target_arch = "x86_64")]
        FormName::Masks => masks::avx512::make(codings),
        #[cfg(target_arch = "x86_64")]
        FormName::Deep => deep::avx512::make(codings),
        #[cfg(target_arch = "x86_64")]
        FormName::Slices => boxed(Slices::new(codings)),
        #[cfg(not(target_arch = "x86_64"))]
        FormName::Heap | FormName::HeapAvx2 | FormName::Masks | FormName::Deep | FormName::Slices => None,
    }
}

fn boxed<I, S>(form: Option<impl Form<I, S> + 'static>) -> Option<Box<dyn Form<I, S>>> {
    form.map(|form| Box::new(form) as _)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::ensemble::Ensemble;
    use crate::trees::testing::{self, Calls, Shape};

    fn check<I: Element, S: Element>(shape: Shape, seed: u64) {
        let shape = Shape { input: I::REAL, sum: S::REAL, ..shape };
        check_one::<I, S>(&testing::ensemble(shape, seed), seed);
        let most = if seed.is_multiple_of(2) { 3 } else { 1 };
        check_one::<I, S>(&testing::sparse(shape, most, seed), seed);
    }

    fn check_one<I: Element, S: Element>(ensemble: &Ensemble, seed: u64) {
        let codings = Codings::new(ensemble);
        let calls = Calls::<I, S>::new(ensemble, seed);
        for processor in Processor::here() {
            // Forms for fewer instructions do not use AVX-512.
            let others = |name: &FormName| processor < Processor::Avx512 || name.processor() == processor;
            FormName::ALL
                .into_iter()
                .filter(others)
                .filter_map(|name| make::<I, S>(name, &codings, processor))
                .for_each(|form| calls.assert_same_bits(&*form));
        }
    }

    /// Ensembles of random shapes, also odd ones. The environment may name the first seed, `FUZZ_SEED`, and go on for
    /// `FUZZ_SECONDS`.
    #[test]
    fn all_forms_give_the_bits_of_the_naive_one_for_random_shapes() {
        const SEEDS: u64 = 12;
        let named = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
        let (begin, first) = (std::time::Instant::now(), named("FUZZ_SEED").unwrap_or(1));
        let goes_on = |seed: u64| match named("FUZZ_SECONDS") {
            Some(seconds) => begin.elapsed().as_secs() < seconds,
            None => seed < first + SEEDS,
        };
        for seed in (first..).take_while(|seed| goes_on(*seed)) {
            let mut random = testing::Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
            for _ in 0..8 {
                random.next();
            }
            let mut one_of = |choices: &[usize]| choices[random.below(choices.len())];
            let shape = Shape {
                trees: one_of(&[0, 1, 2, 7, 8, 9, 16, 17, 33, 70]),
                depth: one_of(&[0, 1, 2, 5, 6, 7, 8, 9, 30, 300]),
                leaves: one_of(&[1, 2, 3, 8, 9, 31, 32, 33, 64, 65, 128, 255, 256, 257, 600]),
                features: one_of(&[1, 2, 7, 31, 33, 64, 65, 129, 257, 66_000]),
                targets: one_of(&[1, 1, 1, 2, 3, 9]),
                vectors: one_of(&[0, 0, 1]) == 1,
                thresholds: one_of(&[1, 2, 15, 16, 50, 254, 255, 256, 271, 272, 4367, 4368]),
                one_set_in: one_of(&[0, 0, 1, 3, 9]),
                ..Shape::default()
            };
            // Rows of many values take long.
            let shape =
                if shape.features > 1000 { Shape { trees: shape.trees.min(2), ..shape } } else { shape };
            let kind = one_of(&[0, 1, 2]);
            println!("{seed}: {shape:?}, {kind}");
            match kind {
                0 => check::<f32, f32>(shape, seed),
                1 => check::<f32, f64>(shape, seed),
                _ => check::<f64, f64>(shape, seed),
            }
        }
    }

    #[test]
    fn all_forms_give_the_bits_of_the_naive_one() {
        let usual = Shape::default();
        let shapes = [
            usual,
            Shape { trees: 1, depth: 1, leaves: 2, features: 1, ..usual },
            Shape { trees: 67, depth: 8, leaves: 256, ..usual },
            Shape { trees: 33, depth: 30, leaves: 31, features: 20, ..usual },
            Shape { trees: 17, depth: 60, leaves: 127, features: 33, ..usual },
            Shape { trees: 9, depth: 40, leaves: 700, features: 70, ..usual },
            Shape { trees: 21, targets: 3, features: 12, ..usual },
            Shape { trees: 11, targets: 4, vectors: true, depth: 12, leaves: 100, ..usual },
            Shape { trees: 40, thresholds: 700, depth: 7, leaves: 100, features: 3, ..usual },
            Shape { trees: 20, one_set_in: 4, ..usual },
            Shape { trees: 35, depth: 200, leaves: 250, features: 33, ..usual },
            Shape { trees: 45, depth: 5, leaves: 20, features: 40, targets: 3, ..usual },
            Shape { trees: 0, ..usual },
        ];
        for (seed, shape) in (1..).zip(shapes) {
            check::<f32, f32>(shape, seed);
            check::<f32, f64>(shape, seed);
            check::<f64, f64>(shape, seed);
        }
    }
}
