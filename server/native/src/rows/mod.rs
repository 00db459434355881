//! Rows: out of requests, through a version's coding, into a run of its graph.

pub(crate) mod checks;
pub(crate) mod coding;
pub(crate) mod entries;
pub(crate) mod explainer;
pub(crate) mod microbatch;
pub(crate) mod output;
pub(crate) mod request;
pub(crate) mod runner;
pub(crate) mod vocabulary;
pub(crate) mod words;
