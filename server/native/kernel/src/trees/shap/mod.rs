//! Contributions of players to the sums of trees: Shapley values of the path-dependent game of TreeSHAP (Lundberg et
//! al., "From local explanations to global understanding with explainable AI for trees", 2020).
//!
//! A player is a column of the caller. In the game, a row walks down a tree; at a split of a player that is left out, it
//! takes both edges, each with its share of the split's cover. A leaf of value v is reached with the product, over the
//! players on its path, of o or z: o is 1 if the row takes all edges of the player's splits on the path, and 0 otherwise;
//! z is the product of those edges' shares. Splits of several values that belong to one player are one player's, so
//! that the values need not be added up afterwards, which would be another game.
//!
//! The Shapley value of player j for one leaf is an integral over t from 0 to 1,
//! v (oⱼ - zⱼ) ∫ ∏ (t oₖ + (1 - t) zₖ) dt, with the product over the other players k on the path: a polynomial whose degree is
//! the number of those. Gauss-Legendre quadrature with half as many nodes as there are players is exact.

mod covered;
mod gauss;
mod quadrature;
mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub(crate) use covered::{Covered, Covers};
pub(crate) use quadrature::Quadrature;
pub(crate) use tables::Tables;

/// The caller asked to stop.
#[derive(Debug)]
pub(crate) struct Stopped;

/// What is added to, of some rows: margins, [rows, margins], and contributions, [rows, margins, players].
#[derive(Debug)]
pub(crate) struct Sums<'a> {
    pub margins: &'a mut [f64],
    pub values: &'a mut [f64],
    pub margin_count: usize,
    pub player_count: usize,
}

impl Sums<'_> {
    /// The margins of a row.
    #[inline(always)]
    pub(crate) fn margins(&mut self, row: usize) -> &mut [f64] {
        &mut self.margins[row * self.margin_count..][..self.margin_count]
    }

    /// The contributions to a margin of a row.
    #[inline(always)]
    pub(crate) fn values(&mut self, row: usize, margin: usize) -> &mut [f64] {
        &mut self.values[(row * self.margin_count + margin) * self.player_count..][..self.player_count]
    }
}
