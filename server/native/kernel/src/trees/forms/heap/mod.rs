//! Complete trees: all splits of a tree are compared at once, in one vector operation for 64 of them, and the leaf is
//! found by a descent over the bits of the result.

pub(crate) mod avx2;
pub(crate) mod avx512;
mod complete;
mod fields;
mod pick;
