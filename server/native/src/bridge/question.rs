//! What the control plane is asked about a prediction that failed: it has the words.

/// A prediction that failed for a reason that its request, or its answer, gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// What the method is counted as.
    pub method: &'static str,
    pub model: String,
    /// The major whose typed service was called.
    pub major: Option<u64>,
    pub version: String,
    /// The version that was to answer; empty where there is none.
    pub picked: String,
    pub schema_fingerprint: String,
    pub row_count: u32,
    pub number_count: usize,
    pub text_count: usize,
    pub problem: Problem,
}

/// What is wrong with a request, or with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The names, counts and the fingerprint of the question say what.
    Request,
    /// The bytes do not parse as a message of the version that was picked.
    Malformed,
    /// The only row is refused: a `RowError` without its row, as bytes.
    Row(Vec<u8>),
    /// The answer is longer than allowed: its bytes.
    TooLong(usize),
}
