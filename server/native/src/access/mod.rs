//! Who calls: credentials, and what they give to those who show them.

pub(crate) mod gcra;
pub(crate) mod grant;
pub(crate) mod meter;
pub(crate) mod principal;
pub(crate) mod rate;
pub(crate) mod share;
