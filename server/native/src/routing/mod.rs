pub mod snapshot;
pub mod split;
