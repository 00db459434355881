//! Who calls, what each may do, and how much of the server each may take.
//!
//! - A call shows a `credential`; the `gate` finds its `grant`: in the `table` of API keys, among those remembered
//!   (`bounded`), or by `questions` to the control plane, which `failure_limit` limits by address. Otherwise there is
//!   a `credential_error`.
//! - A grant names a `principal`, with rights and limits. Its `meter` has what it took: calls and rows by `rate`, open
//!   calls and places, and its `share` of an overloaded server. `meters` keeps them when the table is replaced.

pub(crate) mod bounded;
pub(crate) mod credential;
pub(crate) mod credential_error;
pub(crate) mod failure_limit;
pub(crate) mod gate;
pub(crate) mod grant;
pub(crate) mod meter;
pub(crate) mod meters;
pub(crate) mod principal;
pub(crate) mod questions;
pub(crate) mod rate;
pub(crate) mod share;
pub(crate) mod table;
