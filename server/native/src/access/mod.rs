//! Who calls: credentials, and what they give to those who show them.

pub(crate) mod addresses;
pub(crate) mod bounded;
pub(crate) mod credential;
pub(crate) mod gate;
pub(crate) mod gcra;
pub(crate) mod grant;
pub(crate) mod meter;
pub(crate) mod meters;
pub(crate) mod principal;
pub(crate) mod questions;
pub(crate) mod rate;
pub(crate) mod refusal;
pub(crate) mod share;
pub(crate) mod table;
