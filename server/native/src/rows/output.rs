//! What a version answers.

/// One output of a version.
pub(crate) struct Output {
    pub name: String,
    /// Values of a row.
    pub width: usize,
    /// Whether its values are texts.
    pub texts: bool,
}
