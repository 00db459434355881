//! Comparisons and indices of leaves, for all rows of a block at once.

use crate::trees::forms::sliced::comparisons::Comparison;
use crate::trees::forms::sliced::lanes::Lanes;
use crate::trees::forms::sliced::plan::{Indexed, MOST_LEVELS, ONES, Plan, RANKS, Way, ZEROS};

/// Compares a column's codes, given as planes with the lowest bit first; the code of missing values is 0.
#[inline(always)]
pub(super) fn compare<L: Lanes>(planes: &[L; 8], missing: L, asked: &[Comparison], slots: &mut [L]) {
    let (low, high) = (
        at_least(planes[0], planes[1], planes[2], planes[3]),
        at_least(planes[4], planes[5], planes[6], planes[7]),
    );
    let mut exactly = [missing.all(false); 16];
    for i in 0..16 {
        exactly[i] = high[i].without(high[i + 1]);
    }
    for (comparison, slot) in asked.iter().zip(slots) {
        let [above, same] = [usize::from(comparison.least >> 4), usize::from(comparison.least & 15)];
        let found = high[above + 1].or_both(exactly[above], low[same]);
        *slot = if comparison.missing_true { found } else { found.or(missing) };
    }
}

/// Of numbers of four bits, the lowest first: whether each is at least 0, 1, up to 16.
#[inline(always)]
fn at_least<L: Lanes>(first: L, second: L, third: L, fourth: L) -> [L; 17] {
    let of_two = |low: L, high: L| [low.all(true), high.or(low), high, high.and(low), low.all(false)];
    let (low, high) = (of_two(first, second), of_two(third, fourth));
    let mut all = [first.all(false); 17];
    for i in 0..16 {
        let exactly = high[i / 4].without(high[i / 4 + 1]);
        all[i] = high[i / 4 + 1].or_both(exactly, low[i % 4]);
    }
    all
}

/// Steps ahead of which a comparison is fetched: large ensembles have more of them than the second cache holds.
const AHEAD: usize = 24;

/// The index of each row's leaf, as planes with the lowest bit first.
///
/// # Safety
/// The tree is of the plan, and there are at least `plan.slots` slots.
#[inline(always)]
pub(super) unsafe fn index<L: Lanes>(
    plan: &Plan,
    tree: &Indexed,
    slots: &[L],
    ranks: &mut [L; RANKS],
) -> [L; 8] {
    debug_assert!(slots.len() >= plan.slots);
    match &tree.way {
        Way::Turns(start) => {
            let nodes =
                plan.nodes[*start..].first_chunk::<{ 1 << MOST_LEVELS }>().expect("nodes are filled up");
            // SAFETY: the plan has checked that there are such slots.
            search(tree.levels, |node| unsafe { *slots.get_unchecked(nodes[node] as usize) })
        }
        Way::Ranks { steps, start } => {
            ranks[ONES] = ranks[ONES].all(true);
            ranks[ZEROS] = ranks[ZEROS].all(false);
            let steps = &plan.steps[steps.clone()];
            for (at, step) in steps.iter().enumerate() {
                if let Some(later) = steps.get(at + AHEAD) {
                    L::fetch(slots.as_ptr().wrapping_add(later.slot as usize));
                }
                // SAFETY: the plan has checked that there are such slots and ranks.
                unsafe {
                    let low = *ranks.get_unchecked(usize::from(step.low));
                    let high = *ranks.get_unchecked(usize::from(step.high));
                    let asked = *slots.get_unchecked(step.slot as usize);
                    *ranks.get_unchecked_mut(usize::from(step.to)) = high.or_both(low, asked);
                }
            }
            // SAFETY: the plan has checked that there are such ranks.
            search(tree.levels, |node| unsafe { *ranks.get_unchecked(start + node) })
        }
    }
}

/// The turns from the root down a complete tree whose nodes `at` has.
#[inline(always)]
fn search<L: Lanes>(levels: usize, at: impl Fn(usize) -> L) -> [L; 8] {
    let first = at(1);
    let mut turns = [first.all(false); MOST_LEVELS];
    turns[0] = first;
    macro_rules! levels {
        ($($level:literal $pick:ident)*) => {
            $(if levels > $level { turns[$level] = $pick(&at, &turns, 0, 1); })*
        };
    }
    levels!(1 pick1 2 pick2 3 pick3 4 pick4 5 pick5 6 pick6 7 pick7);
    // Turn 0 is the highest bit.
    match levels {
        1 => reversed::<1, L>(&turns),
        2 => reversed::<2, L>(&turns),
        3 => reversed::<3, L>(&turns),
        4 => reversed::<4, L>(&turns),
        5 => reversed::<5, L>(&turns),
        6 => reversed::<6, L>(&turns),
        7 => reversed::<7, L>(&turns),
        _ => reversed::<8, L>(&turns),
    }
}

#[inline(always)]
fn reversed<const N: usize, L: Lanes>(turns: &[L; 8]) -> [L; 8] {
    let mut planes = [turns[0].all(false); 8];
    for i in 0..N {
        planes[i] = turns[N - 1 - i];
    }
    planes
}

#[inline(always)]
fn pick0<L: Lanes>(at: &impl Fn(usize) -> L, _: &[L; 8], _: usize, node: usize) -> L {
    at(node)
}

/// Functions that pick, below `node` of `level`, the node that the turns lead to: `pick3` the one three levels deeper.
macro_rules! picks {
    ($($name:ident $next:ident)*) => {
        $(#[inline(always)]
        fn $name<L: Lanes>(at: &impl Fn(usize) -> L, turns: &[L; 8], level: usize, node: usize) -> L {
            let zero = $next(at, turns, level + 1, 2 * node);
            turns[level].pick(zero, $next(at, turns, level + 1, 2 * node + 1))
        })*
    };
}

picks!(pick1 pick0 pick2 pick1 pick3 pick2 pick4 pick3 pick5 pick4 pick6 pick5 pick7 pick6);
