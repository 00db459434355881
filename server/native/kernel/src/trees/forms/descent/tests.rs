use super::*;
use crate::trees::coded::Question;
use crate::trees::ensemble::Ensemble;
use crate::trees::testing::{self, Calls, Shape};

fn made<I: Element, S: Element, N: Node>(ensemble: &Ensemble) -> Descent<I, S, N> {
    let form = Descent::new(&Codings::new(ensemble), Processor::detected());
    form.expect("the nodes are large enough")
}

fn check<I: Element, S: Element, N: Node + 'static>(ensemble: &Ensemble, seed: u64) {
    Calls::<I, S>::new(ensemble, seed).assert_same_bits(&made::<I, S, N>(ensemble));
}

#[test]
fn wide_nodes_lead_to_the_same_leaves() {
    let usual = Shape { trees: 12, one_set_in: 5, ..Shape::default() };
    let shapes =
        [usual, Shape { depth: 30, leaves: 300, ..usual }, Shape { targets: 3, vectors: true, ..usual }];
    for (seed, shape) in (1..).zip(shapes) {
        check::<f32, f32, Wide>(&testing::ensemble(shape, seed), seed);
    }
}

#[test]
fn a_node_is_wide_where_its_column_has_more_than_16_bits() {
    let (most, one_more) = (usize::from(u16::MAX), usize::from(u16::MAX) + 1);
    assert!(Narrow::new(most, 1, 2).is_some_and(|node| node.column() == most));
    assert!(Narrow::new(one_more, 1, 2).is_none());
    let wide = Wide::new(one_more, 3, 4).expect("there is room");
    assert_eq!((wide.column(), wide.bound(), wide.left()), (one_more, 3, 4));
}

#[test]
fn sparse_leaves_add_their_entries_in_order() {
    let shapes = [(7, 6, 40), (8, 30, 300)];
    for (seed, depth, leaves) in shapes {
        let ensemble = testing::sparse(Shape { targets: 9, depth, leaves, ..Shape::default() }, 3, seed);
        assert!(matches!(Leaves::<f32>::new(&Codings::new(&ensemble)), Leaves::Sparse { .. }));
        check::<f32, f32, Narrow>(&ensemble, seed);
        check::<f32, f32, Wide>(&ensemble, seed);
    }
}

#[test]
fn more_vectors_than_a_bound_can_number_are_numbered_by_columns_too() {
    let usual = Shape { features: 3, ..Shape::default() };
    let shallow = Shape { trees: 320, depth: 8, leaves: 256, ..usual };
    let deep = Shape { trees: 7, depth: 40, leaves: 12_000, ..usual };
    for (seed, shape) in [(1, shallow), (2, deep)] {
        let ensemble = testing::ensemble(shape, seed);
        assert!(ensemble.vectors.len() > 1 << BOUND_BITS, "{}", ensemble.vectors.len());
        check::<f32, f32, Narrow>(&ensemble, seed);
        check::<f32, f32, Wide>(&ensemble, seed);
    }
}

#[test]
fn nodes_that_are_near_and_far_lead_to_the_same_leaves() {
    let deep = Shape { depth: 30, leaves: 300, ..Shape::default() };
    for (seed, trees, is_far) in [(1, 2, false), (2, 30, true)] {
        let ensemble = testing::ensemble(Shape { trees, ..deep }, seed);
        let form = made::<f32, f32, Narrow>(&ensemble);
        assert_eq!((form.is_deep, form.is_far()), (true, is_far));
        check::<f32, f32, Narrow>(&ensemble, seed);
        check::<f32, f32, Wide>(&ensemble, seed);
    }
}

#[test]
fn a_feature_with_more_thresholds_than_a_column_has_two() {
    let shape =
        Shape { trees: 40, depth: 40, leaves: 3000, features: 1, thresholds: 70_000, ..Shape::default() };
    let ensemble = testing::ensemble(shape, 1);
    let codings = Codings::new(&ensemble);
    let columns = codings.coded(coded::MOST_IN_16_BITS).columns.iter();
    assert_eq!(columns.filter(|column| matches!(column.question, Question::Thresholds(_))).count(), 2);
    check::<f32, f32, Narrow>(&ensemble, 1);
}
