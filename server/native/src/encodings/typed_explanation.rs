//! The explanation in a typed prediction: for each margin a message with a field for each feature, which has the
//! feature's own number.

use crate::encodings::message::ExplainedRows;
use crate::protocol::protobuf::{self, Kind};

/// What is the same in all explanations of one output.
pub(crate) struct TypedExplanation {
    /// The fields `output` and `link`.
    head: Vec<u8>,
    /// For each margin the fields `label` and `base`.
    margins: Vec<Vec<u8>>,
}

impl TypedExplanation {
    pub(crate) fn new(output: &str, link: &str, labels: &[String], base: &[f64]) -> Self {
        let mut head = Vec::new();
        protobuf::put_text_field(&mut head, 1, output.as_bytes());
        protobuf::put_text_field(&mut head, 2, link.as_bytes());
        let margin = |(i, base): (usize, &f64)| {
            let mut out = Vec::new();
            protobuf::put_text_field(&mut out, 1, labels.get(i).map_or(&[], |label| label.as_bytes()));
            put_double(&mut out, 2, *base);
            out
        };
        Self { head, margins: base.iter().enumerate().map(margin).collect() }
    }

    /// The message for a row, by its place among those that were scored. `fields` has the number of each column's
    /// field and the column, by number.
    pub(crate) fn encode(&self, rows: &ExplainedRows<'_>, scored: usize, fields: &[(u32, usize)]) -> Vec<u8> {
        let (columns, margins) = (fields.len(), self.margins.len());
        let ExplainedRows { explained, top_k, .. } = rows;
        let count = if *top_k == 0 { columns } else { columns.min(*top_k as usize) };
        let mut out = self.head.clone();
        let mut wanted = vec![None; columns];
        let (mut one, mut parts) = (Vec::new(), Vec::new());
        for (i, head) in self.margins.iter().enumerate() {
            let at = scored * margins + i;
            let values = &explained.values[at * count..][..count];
            if *top_k == 0 {
                wanted.iter_mut().zip(values).for_each(|(wanted, value)| *wanted = Some(*value));
            } else {
                wanted.fill(None);
                let chosen = &explained.chosen[at * count..][..count];
                chosen.iter().zip(values).for_each(|(&column, value)| wanted[column as usize] = Some(*value));
            }
            parts.clear();
            for &(number, column) in fields {
                if let Some(value) = wanted[column] {
                    put_double(&mut parts, number, value);
                }
            }
            one.clear();
            one.extend_from_slice(head);
            put_double(&mut one, 3, explained.margins[at]);
            protobuf::put_bytes_head(&mut one, 4, parts.len());
            one.extend_from_slice(&parts);
            protobuf::put_bytes_head(&mut out, 3, one.len());
            out.extend_from_slice(&one);
        }
        out
    }
}

fn put_double(out: &mut Vec<u8>, field: u32, value: f64) {
    protobuf::put_tag(out, field, Kind::Fixed64);
    out.extend_from_slice(&value.to_le_bytes());
}
