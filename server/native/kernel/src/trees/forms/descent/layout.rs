//! The order of a tree's nodes in memory.

use crate::trees::coded::CodedTree;
use crate::trees::ensemble::Child;
use crate::trees::forms::descent::{BOUND_BITS, LINE, Node};

/// Adds a tree's nodes below its root in the order of `layout`, and sets its root. `None` if a number is too large for a
/// node.
pub(super) fn grow<N: Node>(nodes: &mut Vec<N>, root: usize, tree: &CodedTree, zero: usize) -> Option<()> {
    let leaf = |leaf: u32, at: usize| {
        let vector = tree.leaves[leaf as usize];
        N::new(zero + (vector >> BOUND_BITS) as usize, vector as u16, at)
    };
    if tree.splits.is_empty() {
        nodes[root] = leaf(0, root)?;
        return Some(());
    }
    let (order, pairs, count) = layout(tree);
    let first = nodes.len();
    nodes.resize((first + 2 * count).next_multiple_of(2 * LINE), nodes[root]);
    let mut places = vec![root; tree.splits.len()];
    for at in order {
        let (split, left) = (&tree.splits[at as usize], first + 2 * pairs[at as usize]);
        let (copy, bound) = if split.missing_true { (0, split.bound + 1) } else { (1, split.bound) };
        nodes[places[at as usize]] = N::new(2 * split.column + copy, bound as u16, left)?;
        for (child, at) in [(split.on_true, left), (split.on_false, left + 1)] {
            match child {
                Child::Leaf(number) => nodes[at] = leaf(number, at)?,
                Child::Split(split) => places[split as usize] = at,
            }
        }
    }
    Some(())
}

/// Which pairs of children are next to each other: those that a descent comes to one after the other are in one cache
/// line, with four pairs. Returns the splits, parents before children, for each the number of its pair, and how many
/// pairs there are, with those that fill up lines.
fn layout(tree: &CodedTree) -> (Vec<u32>, Vec<usize>, usize) {
    const GAP: u32 = u32::MAX;
    let children = |at: u32| {
        let split = &tree.splits[at as usize];
        [split.on_true, split.on_false].into_iter().filter_map(|child| match child {
            Child::Split(at) => Some(at),
            Child::Leaf(_) => None,
        })
    };
    let mut order = vec![0];
    let mut next = 0;
    while next < order.len() {
        order.extend(children(order[next]));
        next += 1;
    }
    // The splits below each, with itself: the more there are, the more rows come there.
    let mut weights = vec![1_u32; tree.splits.len()];
    for at in order.iter().rev() {
        weights[*at as usize] += children(*at).map(|child| weights[child as usize]).sum::<u32>();
    }
    let mut pairs = vec![0; tree.splits.len()];
    let mut count = 0;
    let mut place = |block: &[u32]| {
        for at in block {
            if *at != GAP {
                pairs[*at as usize] = count;
            }
            count += 1;
        }
    };
    let mut open = vec![0];
    let mut partial: [Vec<[u32; LINE]>; LINE] = Default::default();
    let mut edge = Vec::new();
    while let Some(top) = open.pop() {
        let (mut block, mut taken) = ([GAP; LINE], 0);
        edge.push(top);
        while taken < LINE {
            let heaviest = (0..edge.len()).max_by_key(|i| weights[edge[*i] as usize]);
            let Some(heaviest) = heaviest else { break };
            let at = edge.swap_remove(heaviest);
            (block[taken], taken) = (at, taken + 1);
            edge.extend(children(at));
        }
        if taken == LINE {
            place(&block)
        } else {
            partial[taken].push(block)
        }
        open.append(&mut edge);
    }
    // Blocks of three and one make a line, then those of two, and of one.
    let [_, mut ones, twos, threes] = partial;
    for three in threes {
        place(&three[..3]);
        place(&ones.pop().map_or([GAP], |one| [one[0]]));
    }
    twos.iter().for_each(|two| place(&two[..2]));
    ones.iter().for_each(|one| place(&one[..1]));
    (order, pairs, count)
}
