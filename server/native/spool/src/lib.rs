//! Records of predictions: threads leave them in rings without waiting, and one thread writes them to a spool.
//!
//! The format of the spool is in docs/spool-format.md.

pub mod block;
mod blocks;
mod clock;
mod columns;
mod disk;
mod lane;
pub mod ledger;
mod little_endian;
pub mod reader;
mod record;
mod recorder;
mod ring;
mod segment;
mod shared;
mod source;
mod sources;
mod space;
mod spool;
mod texts;
#[cfg(test)]
mod vectors;

pub use lane::{Lane, Recording};
pub use ledger::{Count, WriterLedger};
pub use record::{Filler, Head, Sizes};
pub use recorder::{Counts, Options, Recorder};
pub use source::{Output, Source, Treatment};
pub use sources::DefinedSource;
