pub mod limit;
pub mod runtime;
