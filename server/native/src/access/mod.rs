//! Who calls: credentials, and what they give to those who show them.

pub(crate) mod grant;
pub(crate) mod principal;
pub(crate) mod rate;
