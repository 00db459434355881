//! Large trees in two looks: all splits of the upper part of many trees at once, as `masks` asks them, and then all
//! splits of the one subtree of up to eight leaves that a row comes to. So few of a tree's bytes are read.

pub(crate) mod avx512;
mod cut;
