pub mod events;
pub mod panics;
