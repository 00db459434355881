//! Both methods against the definition, and against each other.

use crate::trees::element::Real;
use crate::trees::ensemble::Child;
use crate::trees::processor::Processor;
use crate::trees::scratch::Scratch;
use crate::trees::shap::testing::{by_sets, by_sizes, covered};
use crate::trees::shap::{Covered, Covers, Quadrature, Stopped, Sums, Tables};
use crate::trees::testing::{Shape, hard_rows};

/// A method with its ensemble.
enum Method {
    Quadrature(Box<Quadrature>),
    Tables(Box<Tables>),
}

impl Method {
    fn quadrature(covered: &Covered, processor: Processor) -> Self {
        let made = Quadrature::new(covered, 1.0, 0, processor);
        Self::Quadrature(Box::new(made.expect("the paths are short")))
    }

    fn tables(covered: &Covered, processor: Processor) -> Self {
        let made = Tables::new(covered, 1.0, 0, processor, usize::MAX);
        Self::Tables(Box::new(made.expect("the trees are shallow")))
    }

    fn add(
        &self,
        rows: &[f64],
        sums: &mut Sums<'_>,
        scratch: &mut Scratch,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        match self {
            Self::Quadrature(quadrature) => quadrature.add(rows, sums, scratch, is_stopped),
            Self::Tables(tables) => tables.add(rows, sums, scratch, is_stopped),
        }
    }

    /// Margins and contributions of rows.
    fn explain(&self, covered: &Covered, rows: &[f64], players: usize) -> (Vec<f64>, Vec<f64>) {
        let (count, targets) = (rows.len() / covered.ensemble.features, covered.ensemble.base.len());
        let (mut margins, mut values) = (vec![0.0; count * targets], vec![0.0; count * targets * players]);
        let mut sums =
            Sums { margins: &mut margins, values: &mut values, margin_count: targets, player_count: players };
        let mut scratch = Scratch::default();
        scratch.lines(1 << 16);
        scratch.overwrite();
        self.add(rows, &mut sums, &mut scratch, &|| false).expect("it is not stopped");
        (margins, values)
    }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[track_caller]
fn assert_close(found: &[f64], wanted: &[f64], most: f64) {
    assert_eq!(found.len(), wanted.len());
    for (i, (found, wanted)) in found.iter().zip(wanted).enumerate() {
        assert!((found - wanted).abs() <= most, "{i}: {found} is not {wanted}");
    }
}

/// What floats of the leaves' size may be wrong by.
fn float_error(covered: &Covered) -> f64 {
    let ensemble = &covered.ensemble;
    let largest = |tree: &crate::trees::ensemble::Tree| {
        let values = tree.leaves.iter().flat_map(|leaf| ensemble.vectors.entries(*leaf));
        values.map(|(_, value)| value.abs()).fold(0.0, f64::max)
    };
    ensemble.trees.iter().map(largest).sum::<f64>() * 1e-6
}

#[track_caller]
fn assert_additive(covered: &Covered, (margins, values): &(Vec<f64>, Vec<f64>), players: usize) {
    let base = covered.expected();
    for (i, (margin, values)) in margins.iter().zip(values.chunks_exact(players)).enumerate() {
        let size = values.iter().map(|value| value.abs()).sum::<f64>().max(margin.abs());
        let rest = margin - base[i % base.len()] - values.iter().sum::<f64>();
        assert!(rest.abs() <= 1e-12 * size.max(base[i % base.len()].abs()), "{i}: {rest} of {size}");
    }
}

/// Shapes with at most eight players: players with several values, sets, several targets, stumps.
fn small_shapes() -> Vec<(Shape, usize)> {
    let usual = Shape { trees: 6, leaves: 20, input: Real::F64, sum: Real::F64, ..Shape::default() };
    vec![
        (usual, 7),
        (Shape { features: 12, ..usual }, 5),
        (Shape { one_set_in: 3, ..usual }, 8),
        (Shape { targets: 3, ..usual }, 4),
        (Shape { targets: 2, vectors: true, depth: 9, ..usual }, 8),
        (Shape { depth: 1, leaves: 2, trees: 20, ..usual }, 3),
        (Shape { depth: 30, leaves: 31, features: 3, ..usual }, 2),
        (Shape { depth: 12, leaves: 40, features: 20, ..usual }, 1),
        (Shape { input: Real::F32, sum: Real::F32, features: 8, ..usual }, 8),
    ]
}

#[test]
fn contributions_are_shapley_values() {
    for (seed, (shape, players)) in (1..).zip(small_shapes()) {
        let covered = covered(shape, players, seed);
        let method = Method::quadrature(&covered, Processor::detected());
        let rows = hard_rows::<f64>(&covered.ensemble, 12, seed);
        let found = method.explain(&covered, &rows, players);
        let (targets, mut wanted) = (shape.targets, (Vec::new(), Vec::new()));
        for row in rows.chunks_exact(shape.features) {
            let (margins, values) = by_sizes(&covered, row, players);
            assert_close(&by_sets(&covered, row, players), &values, 1e-12);
            wanted.0.extend(margins);
            wanted.1.extend(values);
        }
        assert_eq!(found.0.len(), 12 * targets);
        assert_close(&found.0, &wanted.0, 1e-12);
        assert_close(&found.1, &wanted.1, 1e-12);
        assert_additive(&covered, &found, players);
        if shape.depth <= 6 && !shape.vectors {
            let found = Method::tables(&covered, Processor::detected()).explain(&covered, &rows, players);
            assert_close(&found.0, &wanted.0, 1e-12);
            assert_close(&found.1, &wanted.1, float_error(&covered));
            assert_additive(&covered, &found, players);
        }
    }
}

#[test]
fn deep_trees_with_many_players_are_exact() {
    let usual = Shape { trees: 4, input: Real::F64, sum: Real::F64, ..Shape::default() };
    for (seed, shape, players) in [
        (1, Shape { depth: 40, leaves: 150, features: 30, ..usual }, 30),
        (2, Shape { depth: 300, leaves: 301, features: 90, trees: 2, ..usual }, 90),
        (3, Shape { depth: 25, leaves: 90, features: 60, targets: 3, vectors: true, ..usual }, 20),
        (4, Shape { depth: 12, leaves: 60, features: 40, targets: 2, trees: 40, ..usual }, 40),
    ] {
        let covered = covered(shape, players, seed);
        let method = Method::quadrature(&covered, Processor::detected());
        let rows = hard_rows::<f64>(&covered.ensemble, 5, seed);
        let found = method.explain(&covered, &rows, players);
        for (i, row) in rows.chunks_exact(shape.features).enumerate() {
            let (margins, values) = by_sizes(&covered, row, players);
            assert_close(&found.0[i * shape.targets..][..shape.targets], &margins, 1e-12);
            assert_close(&found.1[i * values.len()..][..values.len()], &values, 1e-12);
        }
        assert_additive(&covered, &found, players);
    }
}

/// The stack of a thread would not do for a call for each level.
#[test]
fn a_chain_of_many_splits_is_explained() {
    const SPLITS: usize = 100_000;
    let shape = Shape { features: 3, trees: 1, leaves: 2, depth: 1, input: Real::F64, ..Shape::default() };
    let mut covered = covered(Shape { sum: Real::F64, ..shape }, 3, 5);
    let mut split = (0..).find_map(|seed| covered_split(shape, seed)).expect("some tree has a split");
    let ensemble = &mut covered.ensemble;
    let vector = ensemble.vectors.push([(0, 1.0)]);
    let tree = &mut ensemble.trees[0];
    tree.leaves = vec![vector; SPLITS + 1];
    tree.splits.clear();
    for at in 0..SPLITS as u32 {
        let next = if at as usize + 1 == SPLITS { Child::Leaf(at + 1) } else { Child::Split(at + 1) };
        (split.feature, split.on_true, split.on_false) = (at % 3, Child::Leaf(at), next);
        tree.splits.push(split.clone());
    }
    let covers = Covers {
        splits: (0..SPLITS).map(|at| (SPLITS + 1 - at) as f64).collect(),
        leaves: vec![1.0; SPLITS + 1],
    };
    let covered = Covered::new(covered.ensemble, vec![0, 1, 2], 3, &[covers]).expect("it is valid");
    let found = Method::quadrature(&covered, Processor::detected()).explain(&covered, &[0.0; 3], 3);
    // All leaves are alike.
    assert_close(&found.1, &[0.0; 3], 1e-9);
}

fn covered_split(shape: Shape, seed: u64) -> Option<crate::trees::ensemble::Split> {
    crate::trees::testing::ensemble(shape, seed).trees[0].splits.first().cloned()
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_on_every_processor() {
    let usual = Shape { trees: 21, features: 9, input: Real::F64, sum: Real::F64, ..Shape::default() };
    for (seed, shape) in [
        (1, usual),
        (2, Shape { targets: 3, ..usual }),
        (3, Shape { depth: 4, leaves: 9, one_set_in: 4, ..usual }),
        (4, Shape { features: 130, trees: 40, ..usual }),
        (5, Shape { features: 300, trees: 200, ..usual }),
    ] {
        let players = shape.features.min(11);
        let covered = covered(shape, players, seed);
        let makers: [fn(&Covered, Processor) -> Method; 2] = [Method::quadrature, Method::tables];
        for make in makers {
            let rows = hard_rows::<f64>(&covered.ensemble, 1100, seed);
            let mut wanted: Option<(Vec<u64>, Vec<u64>)> = None;
            for processor in Processor::here() {
                let method = make(&covered, processor);
                for count in [1, 47, 48, 63, 200, 1100] {
                    let mut found = (Vec::new(), Vec::new());
                    for rows in rows[..220 * shape.features].chunks(count * shape.features) {
                        let (margins, values) = method.explain(&covered, rows, players);
                        found.0.extend(bits(&margins));
                        found.1.extend(bits(&values));
                    }
                    let wanted = wanted.get_or_insert_with(|| found.clone());
                    assert!(*wanted == found, "{shape:?} {processor}: {count} rows");
                }
            }
            // Blocks of all rows.
            let method = make(&covered, Processor::detected());
            let (margins, values) = method.explain(&covered, &rows, players);
            let wanted = wanted.expect("there is a processor");
            assert_eq!(bits(&margins)[..wanted.0.len()], wanted.0);
            assert_eq!(bits(&values)[..wanted.1.len()], wanted.1);
        }
    }
}

#[test]
fn nothing_is_added_after_a_stop() {
    let covered = covered(Shape { trees: 100, ..Shape::default() }, 7, 1);
    let rows = hard_rows::<f64>(&covered.ensemble, 70, 1);
    for method in [
        Method::quadrature(&covered, Processor::detected()),
        Method::tables(&covered, Processor::detected()),
        Method::tables(&covered, Processor::Plain),
    ] {
        let asked = std::cell::Cell::new(0);
        let is_stopped = || asked.replace(asked.get() + 1) == 3;
        let (mut margins, mut values) = (vec![0.0; 70], vec![0.0; 70 * 7]);
        let mut sums = Sums { margins: &mut margins, values: &mut values, margin_count: 1, player_count: 7 };
        assert!(method.add(&rows, &mut sums, &mut Scratch::default(), &is_stopped).is_err());
        assert_eq!(asked.get(), 4);
    }
}

#[test]
fn tables_are_not_made_where_they_do_not_fit() {
    let usual = Shape { trees: 12, ..Shape::default() };
    let made = |shape: Shape, scale: f64, most: usize| {
        Tables::new(&covered(shape, 7, 1), scale, 0, Processor::detected(), most)
    };
    let tables = made(usual, 1.0, usize::MAX).expect("they fit");
    let trees = &covered(usual, 7, 1).ensemble.trees;
    let count = trees.iter().filter(|tree| !tree.splits.is_empty()).count();
    assert!((count * (64 << 10)..count * (70 << 10)).contains(&tables.bytes()));
    assert!(made(usual, 1.0, count * (64 << 10)).is_none());
    assert!(made(Shape { depth: 7, leaves: 90, ..usual }, 1.0, usize::MAX).is_none());
    assert!(made(Shape { targets: 2, vectors: true, ..usual }, 1.0, usize::MAX).is_none());
    assert!(made(usual, 1e40, usize::MAX).is_none());
    assert!(made(usual, 1e-40, usize::MAX).is_none());
}

#[test]
fn wrong_covers_are_refused() {
    let covered = covered(Shape { trees: 1, ..Shape::default() }, 7, 4);
    let tree = &covered.ensemble.trees[0];
    assert!(!tree.splits.is_empty());
    let good = Covers { splits: vec![1.0; tree.splits.len()], leaves: vec![1.0; tree.leaves.len()] };
    let told = |change: &dyn Fn(&mut Covers), players: Vec<u32>| {
        let mut covers = good.clone();
        change(&mut covers);
        Covered::new(covered.ensemble.clone(), players, 7, &[covers]).map(|_| ()).unwrap_err()
    };
    assert!(Covered::new(covered.ensemble.clone(), vec![0; 7], 7, std::slice::from_ref(&good)).is_ok());
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(told(&|covers| covers.leaves[0] = wrong, vec![0; 7]), "a cover is negative or not finite");
        assert_eq!(told(&|covers| covers.splits[0] = wrong, vec![0; 7]), "a cover is negative or not finite");
    }
    assert!(told(&|covers| covers.leaves[0] = 1e9, vec![0; 7]).contains("far greater"));
    assert_eq!(told(&|_| (), vec![7; 7]), "a split reads a column without a feature");
    let mut other = covered.ensemble.clone();
    other.trees[0].leaves[0] = other.vectors.push([(0, f64::NAN)]);
    assert!(Covered::new(other, vec![0; 7], 7, &[good]).unwrap_err().contains("leaf is not finite"));
}
