//! A version's part of the message `Contributions`: what the columns of rows contribute to the margins of an output.

use crate::encodings::message::{ExplainedRows, Scores};
use crate::protocol::protobuf;

const DOUBLE: usize = 8;
/// Bytes of a place and, beside the text, of a name.
const PLACE: usize = 2;
const NAME: usize = 4;

/// What is the same in all contributions to one output.
pub(crate) struct ContributionsSchema {
    /// The fields `output`, `link` and `labels`.
    head: Vec<u8>,
    /// For each of the caller's columns its name in the field `columns`.
    columns: Vec<Vec<u8>>,
    /// The field `base`.
    base: Vec<u8>,
    margins: usize,
    /// About how many bytes the names of all columns take.
    name_bytes: usize,
}

impl ContributionsSchema {
    pub(crate) fn new(output: &str, link: &str, labels: &[String], columns: &[String], base: &[f64]) -> Self {
        let mut head = [protobuf::text_field(1, output), protobuf::text_field(2, link)].concat();
        for label in labels {
            // A label may be "".
            protobuf::put_bytes_head(&mut head, 3, label.len());
            head.extend_from_slice(label.as_bytes());
        }
        let mut packed = Vec::new();
        put_doubles(&mut packed, 5, base.iter().copied(), base.len());
        Self {
            head,
            columns: columns.iter().map(|name| protobuf::text_field(4, name)).collect(),
            base: packed,
            margins: base.len(),
            name_bytes: columns.iter().map(|name| name.len() + NAME).sum(),
        }
    }

    /// About how many bytes the message for so many rows takes.
    pub(crate) fn expected_bytes(&self, rows: usize, top_k: u32) -> usize {
        let columns = self.columns.len();
        let each = match top_k as usize {
            0 => columns * DOUBLE,
            count => count.min(columns) * (DOUBLE + PLACE),
        };
        rows.saturating_mul(self.margins).saturating_mul(DOUBLE + each).saturating_add(self.name_bytes)
    }

    /// The message for the rows of an answer.
    pub(crate) fn encode(&self, scores: &Scores<'_>, rows: &ExplainedRows<'_>) -> Vec<u8> {
        let ExplainedRows { explained, top_k, .. } = *rows;
        let (columns, margins) = (self.columns.len(), self.margins);
        let count = if top_k == 0 { columns } else { columns.min(top_k as usize) };
        let cells = scores.row_count() * margins;
        // A row with an error has no numbers, and the first columns.
        let (refused, firsts) = (vec![f64::NAN; count], (0..count as u32).collect::<Vec<_>>());
        // For each row and margin its place among those of the rows that were scored.
        let each_cell = || {
            scores
                .scored_rows()
                .flat_map(move |row| (0..margins).map(move |margin| row.map(|row| row * margins + margin)))
        };
        let values =
            |at: Option<usize>| at.map_or(&refused[..], |at| &explained.values[at * count..][..count]);
        let chosen =
            |at: Option<usize>| at.map_or(&firsts[..], |at| &explained.chosen[at * count..][..count]);
        let mut is_used = vec![top_k == 0; columns];
        if top_k > 0 {
            each_cell().flat_map(chosen).for_each(|&column| is_used[column as usize] = true);
        }
        let mut out = self.head.clone();
        let used = self.columns.iter().zip(&is_used).filter(|(_, is_used)| **is_used);
        used.for_each(|(name, _)| out.extend_from_slice(name));
        out.extend_from_slice(&self.base);
        let of_margin = |at: Option<usize>| at.map_or(f64::NAN, |at| explained.margins[at]);
        put_doubles(&mut out, 6, each_cell().map(of_margin), cells);
        put_doubles(&mut out, 7, each_cell().flat_map(|at| values(at).iter().copied()), cells * count);
        if top_k > 0 {
            put_places(&mut out, &is_used, each_cell().flat_map(chosen));
        }
        out
    }
}

/// Writes the field `places`: for each column its place among those that are used.
fn put_places<'a>(out: &mut Vec<u8>, is_used: &[bool], columns: impl Iterator<Item = &'a u32>) {
    let mut used = 0_u64;
    let place = |&is_used: &bool| {
        used += u64::from(is_used);
        used.saturating_sub(1)
    };
    let places = is_used.iter().map(place).collect::<Vec<_>>();
    let mut packed = Vec::new();
    columns.for_each(|&column| protobuf::put_varint(&mut packed, places[column as usize]));
    protobuf::put_bytes_head(out, 8, packed.len());
    out.extend_from_slice(&packed);
}

/// Writes a packed field of so many doubles.
fn put_doubles(out: &mut Vec<u8>, field: u32, values: impl Iterator<Item = f64>, count: usize) {
    protobuf::put_bytes_head(out, field, count * DOUBLE);
    values.for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encodings::message::ExplainedRows;
    use crate::encodings::tests::RefusedRows;
    use crate::protocol::protobuf::{Kind, Reader};
    use crate::rows::explainer::{Explained, strongest};

    fn schema() -> ContributionsSchema {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        ContributionsSchema::new(
            "p",
            "softmax",
            &texts(&["no", "yes"]),
            &texts(&["a", "b", "c"]),
            &[0.5, -0.5],
        )
    }

    /// The message for two rows, of which the first has an error.
    fn message(top_k: u32) -> Vec<u8> {
        let rows = RefusedRows::new(2);
        let all = [[0.1, -3.0, 0.2], [0.0, 0.25, -0.25]];
        let mut explained = Explained { margins: vec![1.0, 2.0], ..Explained::default() };
        for of_margin in all {
            let mut order = vec![0, 1, 2];
            if top_k > 0 {
                strongest(&of_margin, top_k as usize, &mut order);
                explained.chosen.extend_from_slice(&order);
            }
            explained.values.extend(order.iter().map(|&column| of_margin[column as usize]));
        }
        let explained = ExplainedRows { index: 0, explained: &explained, top_k };
        let refused = rows.scores();
        let scores = Scores { errors: &refused.errors[..1], kept: &[1], ..refused };
        schema().encode(&scores, &explained)
    }

    fn fields(message: &[u8], wanted: u32) -> Vec<&[u8]> {
        let mut reader = Reader::new(message, 0..message.len()).unwrap();
        let mut found = Vec::new();
        while let Some((field, kind)) = reader.tag().unwrap() {
            assert_eq!(kind, Kind::Bytes);
            let bytes = reader.bytes().unwrap().of(message);
            if field == wanted {
                found.push(bytes);
            }
        }
        found
    }

    fn doubles(message: &[u8], field: u32) -> Vec<f64> {
        let [packed] = fields(message, field)[..] else { panic!("the field is not there once") };
        packed.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()
    }

    #[test]
    fn all_columns_are_in_schema_order_and_a_row_with_an_error_has_no_numbers() {
        let message = message(0);
        assert_eq!(fields(&message, 1), [b"p"]);
        assert_eq!(fields(&message, 2), [b"softmax"]);
        assert_eq!(fields(&message, 3), [&b"no"[..], b"yes"]);
        assert_eq!(fields(&message, 4), [b"a", b"b", b"c"]);
        assert_eq!(doubles(&message, 5), [0.5, -0.5]);
        let (margins, values) = (doubles(&message, 6), doubles(&message, 7));
        assert!(margins[..2].iter().chain(&values[..6]).all(|value| value.is_nan()));
        assert_eq!(margins[2..], [1.0, 2.0]);
        assert_eq!(values[6..], [0.1, -3.0, 0.2, 0.0, 0.25, -0.25]);
        assert!(fields(&message, 8).is_empty());
    }

    #[test]
    fn the_strongest_columns_are_named_by_their_places() {
        let message = message(1);
        assert_eq!(fields(&message, 4), [b"a", b"b"]);
        let values = doubles(&message, 7);
        assert!(values[..2].iter().all(|value| value.is_nan()));
        assert_eq!(values[2..], [-3.0, 0.25]);
        assert_eq!(fields(&message, 8), [[0, 0, 1, 1]]);
    }

    #[test]
    fn a_message_takes_about_the_bytes_that_are_expected() {
        for top_k in [0, 1, 2, 3, 9, u32::MAX] {
            let (found, expected) = (message(top_k).len(), schema().expected_bytes(2, top_k));
            assert!(found.abs_diff(expected) < 64, "{found} {expected}");
        }
        assert_eq!(schema().expected_bytes(usize::MAX / 2, 1), usize::MAX);
    }
}
