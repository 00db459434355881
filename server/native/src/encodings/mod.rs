//! The encodings of prediction calls: how messages are read, and answers and errors are written.
//!
//! A message is read in two steps. `decode` reads what needs no model: the names that lead to a version, and
//! the rows where they are positional. `decode_rows` reads the rest by the schema of the version that was
//! picked. A new encoding is a file with an `impl Encoding`, and a row for each of its methods in `methods`.

pub(crate) mod contributions;
pub(crate) mod elements;
pub(crate) mod encoding;
pub(crate) mod message;
pub(crate) mod methods;
pub(crate) mod positional;
pub(crate) mod positional_schema;
pub(crate) mod tensor_request;
pub(crate) mod tensor_schema;
pub(crate) mod tensors;
pub(crate) mod typed;
pub(crate) mod typed_explanation;
pub(crate) mod typed_schema;

#[cfg(test)]
pub(crate) mod tests;
