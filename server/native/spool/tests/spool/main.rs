//! The crate as the engine uses it: from lanes to the bytes of segments, and what happens if these cannot be written.

mod bounds;
mod failures;
mod fixture;
mod segments;
mod treatments;
