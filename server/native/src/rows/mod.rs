pub mod coding;
pub mod entries;
pub mod words;
