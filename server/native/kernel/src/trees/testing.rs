//! Ensembles and rows for tests: random trees of every shape, and rows that are hard to score.

use crate::trees::element::{Element, Real};
use crate::trees::ensemble::{Child, Ensemble, Split, Test, Tree, Vectors};
use crate::trees::forms::Form;
use crate::trees::forms::naive::Naive;
use crate::trees::scratch::Scratch;

/// Random numbers, the same in each run (xorshift).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number from 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A number from -1 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// What random trees look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub trees: usize,
    /// The most splits between the root and a leaf.
    pub depth: usize,
    /// The most leaves of a tree.
    pub leaves: usize,
    pub features: usize,
    pub targets: usize,
    /// Whether each leaf adds to all targets; otherwise each tree adds to one.
    pub vectors: bool,
    /// The distinct thresholds of a feature, about.
    pub thresholds: usize,
    /// The share of splits that ask for a set is one in this number; 0 is no split.
    pub one_set_in: usize,
    pub input: Real,
    pub sum: Real,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            trees: 20,
            depth: 6,
            leaves: 64,
            features: 7,
            targets: 1,
            vectors: false,
            thresholds: 50,
            one_set_in: 0,
            input: Real::F32,
            sum: Real::F32,
        }
    }
}

fn round(value: f64, real: Real) -> f64 {
    match real {
        Real::F32 => f64::from(value as f32),
        Real::F64 => value,
    }
}

/// Thresholds and members that few tests of numbers expect.
const SPECIAL: [f64; 8] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f32::from_bits(1) as f64,
    f32::MAX as f64,
    f64::NAN,
    f64::MIN_POSITIVE,
];

/// What a leaf adds, or where a sum starts: some are zeros or denormals, and few are such that the sum is not finite.
fn value(random: &mut Random, most: f64, real: Real) -> f64 {
    const SMALL: [f64; 5] = [0.0, -0.0, 5e-324, 1e-45, -1e-45];
    const NOT_FINITE: [f64; 3] = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    let value = match random.below(400) {
        0 => NOT_FINITE[random.below(NOT_FINITE.len())],
        1..40 => SMALL[random.below(SMALL.len())],
        _ => random.unit() * most,
    };
    round(value, real)
}

/// The members of a set: mostly small whole numbers, as categories are.
fn members(random: &mut Random, input: Real) -> Vec<f64> {
    let member = |random: &mut Random| match random.below(24) {
        0 => random.unit() * 3.0,
        1 => -(random.below(12) as f64),
        2 => random.below(1 << 20) as f64,
        3 => 1e30,
        4 => SPECIAL[random.below(SPECIAL.len())],
        5 => f64::NAN,
        _ => random.below(12) as f64,
    };
    (0..random.below(6)).map(|_| round(member(random), input)).collect()
}

/// A random ensemble: some trees have one leaf, some splits are extreme, and both zeros and NaN are thresholds.
pub(crate) fn ensemble(shape: Shape, seed: u64) -> Ensemble {
    let mut random = Random(seed | 1);
    let pools: Vec<Vec<f64>> = (0..shape.features)
        .map(|_| {
            let mut pool: Vec<_> =
                (0..shape.thresholds).map(|_| round(random.unit() * 3.0, shape.input)).collect();
            pool.push(round(SPECIAL[random.below(SPECIAL.len())], shape.input));
            pool
        })
        .collect();
    let mut vectors = Vectors::default();
    let mut trees = Vec::new();
    for i in 0..shape.trees {
        let mut tree = Tree::default();
        // Leaves are split until there are enough. Each has its parent's place and its depth.
        let mut open: Vec<(Option<(usize, bool)>, usize)> = vec![(None, 0)];
        let mut closed = Vec::new();
        let wanted = if random.one_in(10) { 1 } else { shape.leaves };
        while let Some(at) = (!open.is_empty()).then(|| random.below(open.len())) {
            let (parent, depth) = open.swap_remove(at);
            if depth >= shape.depth || open.len() + closed.len() + 1 >= wanted {
                closed.push(parent);
                continue;
            }
            let feature = random.below(shape.features);
            let test = if shape.one_set_in > 0 && random.one_in(shape.one_set_in) {
                Test::In(members(&mut random, shape.input))
            } else {
                let threshold = pools[feature][random.below(pools[feature].len())];
                if random.one_in(2) { Test::AtMost(threshold) } else { Test::less(threshold, shape.input) }
            };
            let split = tree.splits.len();
            tree.splits.push(Split {
                feature: feature as u32,
                test,
                missing_true: random.one_in(2),
                on_true: Child::Leaf(0),
                on_false: Child::Leaf(0),
            });
            attach(&mut tree, parent, Child::Split(split as u32));
            open.extend([(Some((split, true)), depth + 1), (Some((split, false)), depth + 1)]);
        }
        for parent in closed {
            let leaf = tree.leaves.len();
            let targets =
                if shape.vectors { 0..shape.targets } else { i % shape.targets..i % shape.targets + 1 };
            let entries: Vec<_> =
                targets.map(|target| (target as u32, value(&mut random, 0.1, shape.sum))).collect();
            tree.leaves.push(vectors.push(entries));
            attach(&mut tree, parent, Child::Leaf(leaf as u32));
        }
        trees.push(tree);
    }
    let base = (0..shape.targets).map(|_| value(&mut random, 1.0, shape.sum)).collect();
    let made =
        Ensemble { input: shape.input, sum: shape.sum, features: shape.features, base, trees, vectors };
    made.check().expect("the random ensemble is valid");
    made
}

/// The same trees with leaves that have up to `most` entries, or nothing: some add twice to a target.
pub(crate) fn sparse(shape: Shape, most: usize, seed: u64) -> Ensemble {
    let (mut made, mut random) = (ensemble(shape, seed), Random(seed | 1));
    made.vectors = Vectors::default();
    for leaf in made.trees.iter_mut().flat_map(|tree| &mut tree.leaves) {
        let entries: Vec<_> = (0..random.below(most + 1))
            .map(|_| (random.below(shape.targets) as u32, value(&mut random, 1.0, shape.sum)))
            .collect();
        *leaf = made.vectors.push(entries);
    }
    made.check().expect("the ensemble is valid");
    made
}

fn attach(tree: &mut Tree, parent: Option<(usize, bool)>, child: Child) {
    if let Some((split, on_true)) = parent {
        let split = &mut tree.splits[split];
        *(if on_true { &mut split.on_true } else { &mut split.on_false }) = child;
    }
}

/// Rows that are hard to score: thresholds and members and the numbers beside them, infinities, zeros of both signs,
/// denormals and missing values.
pub(crate) fn hard_rows<I: Element>(ensemble: &Ensemble, count: usize, seed: u64) -> Vec<I> {
    let mut random = Random(seed | 1);
    let mut asked = vec![Vec::new(); ensemble.features];
    for split in ensemble.trees.iter().flat_map(|tree| &tree.splits) {
        match &split.test {
            Test::AtMost(threshold) => asked[split.feature as usize].push(*threshold),
            Test::In(members) => asked[split.feature as usize].extend(members),
        }
    }
    let special = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1e-45,
        -1e-45,
        5e-324,
        3.4e38,
        -3.4e38,
        1e-35,
    ];
    let mut rows = Vec::with_capacity(count * ensemble.features);
    for _ in 0..count {
        for asked in &asked {
            let value = if asked.is_empty() { 0.0 } else { asked[random.below(asked.len())] };
            rows.push(match random.below(16) {
                0..=3 => I::of(value),
                4..=5 => next(I::of(value), true),
                6..=7 => next(I::of(value), false),
                8..=9 => I::of(special[random.below(special.len())]),
                10 => I::NAN,
                11 => I::of(random.below(14) as f64),
                _ => I::of(random.unit() * 3.0),
            });
        }
    }
    rows
}

fn next<I: Element>(value: I, up: bool) -> I {
    match I::REAL {
        Real::F32 => {
            let value = value.double() as f32;
            I::of(f64::from(if up { value.next_up() } else { value.next_down() }))
        }
        Real::F64 => I::of(if up { value.double().next_up() } else { value.double().next_down() }),
    }
}

/// Calls of several sizes, of hard rows, with the sums of the naive form.
pub(crate) struct Calls<I, S> {
    targets: usize,
    calls: Vec<(Vec<I>, Vec<S>)>,
}

impl<I: Element, S: Element> Calls<I, S> {
    pub(crate) fn new(ensemble: &Ensemble, seed: u64) -> Self {
        assert_eq!((I::REAL, S::REAL), (ensemble.input, ensemble.sum));
        let (naive, targets) = (Naive::new(ensemble), ensemble.base.len());
        let counts = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 257, 511, 512, 513, 1100];
        let call = |count: usize| {
            let rows = hard_rows::<I>(ensemble, count, seed + count as u64);
            let mut sums = vec![S::default(); count * targets];
            naive.score(&rows, &mut sums, &mut Scratch::default());
            (rows, sums)
        };
        Self { targets, calls: counts.into_iter().map(call).collect() }
    }

    /// Checks that a form gives the bits of the naive one.
    ///
    /// # Panics
    /// A bit differs.
    pub(crate) fn assert_same_bits(&self, form: &dyn Form<I, S>) {
        let mut scratch = Scratch::default();
        let mut score = |rows: &[I], values: usize| {
            scratch.overwrite();
            let mut sums = vec![S::NAN; values];
            form.score(rows, &mut sums, &mut scratch);
            sums
        };
        // The largest call makes the memory as large as any call needs: memory that is new is all zeros.
        if let Some((rows, wanted)) = self.calls.last() {
            score(rows, wanted.len());
        }
        for (rows, wanted) in &self.calls {
            let count = wanted.len() / self.targets;
            for (i, (found, wanted)) in score(rows, wanted.len()).into_iter().zip(wanted).enumerate() {
                // Of two NaN, a sum may be either one, which may differ in sign.
                let is_nan = found.double().is_nan() && wanted.double().is_nan();
                let is_same = is_nan || found.double().to_bits() == wanted.double().to_bits();
                let row = i / self.targets;
                assert!(is_same, "{:?}: row {row} of {count}: {found:?} is not {wanted:?}", form.name());
            }
        }
    }
}
