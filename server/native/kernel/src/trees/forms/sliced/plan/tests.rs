use super::*;
use crate::trees::ensemble::Vectors;
use crate::trees::forms::sliced::comparisons::MOST_SLOTS;
use crate::trees::testing::{self, Shape};

fn plan(ensemble: &Ensemble) -> Option<(Plan, Vec<Table>)> {
    Plan::new(&Codings::new(ensemble))
}

#[test]
fn a_part_asks_no_more_than_is_kept_at_once() {
    let shape = Shape { trees: 50, depth: 8, leaves: 100, features: 9, thresholds: 300, ..Shape::default() };
    let (plan, tables) = plan(&testing::ensemble(shape, 1)).expect("the trees suit the forms");
    let asked = |part: &Part| part.asked.iter().map(|(_, asked)| asked.len()).sum::<usize>();
    assert!(plan.parts.len() > 1);
    assert!(plan.parts.iter().all(|part| asked(part) <= MOST_SLOTS));
    assert_eq!(plan.slots, 1 + plan.parts.iter().map(asked).max().unwrap_or(0));
    let batches = plan.parts.iter().flat_map(|part| &part.batches);
    assert_eq!(batches.clone().map(|batch| batch.trees.len()).sum::<usize>(), 50);
    let added = batches.flat_map(|batch| &batch.runs).flat_map(|run| &run.adds).map(|(_, table)| *table);
    assert!(added.eq(0..tables.len()), "each table is added once, in the order of the trees");
}

#[test]
fn trees_whose_steps_are_mixed_have_ranks_of_their_own() {
    let shape = Shape { trees: 60, depth: 25, leaves: 31, ..Shape::default() };
    let (plan, _) = plan(&testing::ensemble(shape, 2)).expect("the trees suit the forms");
    let mut most = 0;
    for batch in plan.parts.iter().flat_map(|part| &part.batches) {
        let (mut end, mut written) = (0, vec![false; RANKS]);
        let mut mixed = 0;
        for tree in &batch.trees {
            let Way::Ranks { steps, start } = &tree.way else { continue };
            if *start == 0 {
                (end, mixed) = (0, 0);
                written.fill(false);
            }
            assert_eq!(*start, end, "the ranks of a tree begin where those of the one before it end");
            assert_eq!(steps.is_empty(), *start > 0, "the first tree has the steps of all");
            end = start + (1 << tree.levels);
            assert!(end <= MIXED);
            for step in &plan.steps[steps.clone()] {
                let is_known = |rank: u16| usize::from(rank) >= ONES || written[usize::from(rank)];
                assert!(is_known(step.low) && is_known(step.high), "a step reads what was written before");
                assert!(!std::mem::replace(&mut written[usize::from(step.to)], true));
            }
            mixed += 1;
            most = most.max(mixed);
        }
    }
    assert_eq!(most, 4);
}

/// Trees of 33 leaves, each of which adds to a target of its own.
fn of_many_targets(trees: usize) -> Ensemble {
    let shape = Shape { depth: 12, leaves: 33, targets: 33, ..Shape::default() };
    let mut made = testing::ensemble(Shape { trees, ..shape }, 3);
    made.vectors = Vectors::default();
    for tree in &mut made.trees {
        for (target, leaf) in tree.leaves.iter_mut().enumerate() {
            *leaf = made.vectors.push([(target as u32, 1.0)]);
        }
    }
    made
}

#[test]
fn tables_far_larger_than_the_ensemble_are_refused() {
    assert!(plan(&of_many_targets(40)).is_some());
    assert!(plan(&of_many_targets(120)).is_none());
    let stumps = Shape { trees: 5000, depth: 1, leaves: 2, ..Shape::default() };
    assert!(plan(&testing::ensemble(stumps, 4)).is_some(), "a table of a stump is not large");
}

#[test]
fn targets_are_few() {
    for (targets, is_taken) in [(MOST_TARGETS, true), (MOST_TARGETS + 1, false)] {
        let ensemble = testing::ensemble(Shape { targets, ..Shape::default() }, 5);
        assert_eq!(plan(&ensemble).is_some(), is_taken);
    }
}
