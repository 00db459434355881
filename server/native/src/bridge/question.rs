//! The question that the engine asks the control plane about a failed prediction: how to word its error.

/// A prediction that failed because of its request, or of the length of its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The name under which the method is counted.
    pub method: &'static str,
    pub model: String,
    /// The major version whose typed service was called; `None` for methods that are not typed.
    pub major: Option<u64>,
    /// The version as the request names it.
    pub version: String,
    /// The version that was to answer; empty where no version was found.
    pub picked: String,
    pub schema_fingerprint: String,
    /// The output that is to be explained, "" for any; `None` for none.
    pub explain: Option<String>,
    pub row_count: u32,
    pub number_count: usize,
    pub text_count: usize,
    pub problem: Problem,
}

/// What is wrong with the request, or with its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The other fields of the question say what is wrong.
    Request,
    /// The bytes do not parse as a message of the version that was to answer.
    Malformed,
    /// The only row of the request is refused: the bytes of its `RowError`, without the number of the row.
    Row(Vec<u8>),
    /// The response is longer than allowed: its length in bytes.
    TooLong(usize),
}
