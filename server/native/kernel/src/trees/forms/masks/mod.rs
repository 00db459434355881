//! All splits of many trees at once, each with the leaves that it rules out: trees of any shape.
//!
//! The leaves of a tree are numbered so that those of the smaller side of each split come before those of the other
//! side. Where a row goes to the other side, they are ruled out, and the first leaf that is left is the row's
//! (QuickScorer, Lucchese et al., 2015). Each leaf is a bit. The smaller side of most splits has few leaves, so that a
//! byte of bits depends on few splits, about ten: bytes are asked for, and not trees.

pub(crate) mod avx512;
pub(crate) mod exclusions;
pub(crate) mod order;
