//! The rows of a prediction as the columns of its record.

use std::ops::Range;

use scorewire_spool::{Filler, Sizes};

use crate::encodings::message::Scores;
use crate::onnx::tensor::Texts;
use crate::protocol::reasons::ROW_REASONS;
use crate::rows::checks::RowError;
use crate::rows::coding::Rows;

const DOUBLE: usize = size_of::<f64>();
/// Bytes that a record takes for each text and each error beside what they say.
const TEXT_BYTES: usize = 4;
const ERROR_BYTES: usize = 8;

/// The rows of a prediction, as a record has them.
pub(crate) trait Columns {
    /// What a range of rows takes in a record.
    fn sizes(&self, part: Range<usize>) -> Sizes;

    /// Copies a range of rows into a record of their sizes.
    fn fill(&self, part: Range<usize>, filler: &mut Filler<'_>);
}

/// About how many bytes a record of these sizes has.
pub(super) fn bytes(sizes: &Sizes) -> usize {
    let texts = (sizes.texts + sizes.output_texts) * TEXT_BYTES + sizes.text_bytes + sizes.output_text_bytes;
    sizes.numbers + texts + sizes.output_numbers * DOUBLE + sizes.errors * ERROR_BYTES
}

/// The rows, outputs and errors of a prediction that this engine scored.
pub(super) struct Scored<'a> {
    scores: &'a Scores<'a>,
    rows: Rows<'a>,
    numbers_per_row: usize,
    texts_per_row: usize,
    /// The texts of the outputs of texts, in their order; `None` where there are none.
    output_texts: Vec<Option<Texts>>,
    reasons: &'a [u16; ROW_REASONS],
}

impl<'a> Scored<'a> {
    /// `reasons`: the number of each reason for which a row is refused.
    pub(super) fn new(scores: &'a Scores<'a>, reasons: &'a [u16; ROW_REASONS]) -> Self {
        let texts = scores.outputs.iter().enumerate().filter(|(_, output)| output.texts);
        // A text that is not UTF-8 has failed the call, unless the caller has not asked for the output.
        let read = |(i, _): (usize, _)| scores.binding.and_then(|binding| binding.outputs()[i].texts().ok());
        Self {
            scores,
            rows: Rows::of(&scores.decoded.request, scores.data),
            numbers_per_row: scores.coder.number_count,
            texts_per_row: scores.coder.text_count,
            output_texts: texts.map(read).collect(),
            reasons,
        }
    }

    fn texts(&self, part: &Range<usize>) -> impl Iterator<Item = &'a [u8]> {
        let (Rows { texts, data, .. }, count) = (self.rows, self.texts_per_row);
        texts[part.start * count..part.end * count].iter().map(move |text| text.of(data))
    }

    fn errors(&self, part: &Range<usize>) -> &'a [RowError] {
        let before = |row: usize| self.scores.errors.partition_point(|error| (error.row as usize) < row);
        &self.scores.errors[before(part.start)..before(part.end)]
    }

    /// Calls `take` with the texts of a range of rows: all of the first output of texts, then of the next one.
    /// A row with an error has empty texts.
    fn for_each_output_text(&self, part: &Range<usize>, mut take: impl FnMut(&[u8])) {
        let scores = self.scores;
        let outputs = scores.outputs.iter().filter(|output| output.texts);
        for (output, texts) in outputs.zip(&self.output_texts) {
            let mut errors = self.errors(part).iter().map(|error| error.row as usize).peekable();
            // Outputs are only there for the rows without an error.
            let mut next = part.start - self.errors(&(0..part.start)).len();
            for row in part.clone() {
                let scored = errors.next_if_eq(&row).is_none();
                for i in next * output.width..(next + 1) * output.width {
                    let text = texts.as_ref().filter(|_| scored).map_or("", |texts| texts.get(i));
                    take(text.as_bytes());
                }
                next += usize::from(scored);
            }
        }
    }
}

impl Columns for Scored<'_> {
    fn sizes(&self, part: Range<usize>) -> Sizes {
        let count = part.len();
        let mut sizes = Sizes {
            numbers: count * self.numbers_per_row * DOUBLE,
            texts: count * self.texts_per_row,
            text_bytes: self.texts(&part).map(<[u8]>::len).sum(),
            errors: self.errors(&part).len(),
            ..Sizes::default()
        };
        for output in self.scores.outputs {
            match output.texts {
                true => sizes.output_texts += count * output.width,
                false => sizes.output_numbers += count * output.width,
            }
        }
        if sizes.output_texts > 0 {
            self.for_each_output_text(&part, |text| sizes.output_text_bytes += text.len());
        }
        sizes
    }

    fn fill(&self, part: Range<usize>, filler: &mut Filler<'_>) {
        let width = self.numbers_per_row * DOUBLE;
        filler.numbers(&self.rows.numbers[part.start * width..part.end * width]);
        self.texts(&part).for_each(|text| filler.text(text));
        for (i, output) in self.scores.outputs.iter().enumerate().filter(|(_, output)| !output.texts) {
            let mut missing = part.len() * output.width;
            let copied = self.scores.for_each_number(i, part.clone(), |value| {
                filler.outputs([value]);
                missing -= 1;
            });
            // A number that is not exact has failed the call, unless the caller has not asked for the output.
            if copied.is_err() {
                filler.outputs(std::iter::repeat_n(f64::NAN, missing));
            }
        }
        if !self.output_texts.is_empty() {
            self.for_each_output_text(&part, |text| filler.output_text(text));
        }
        for error in self.errors(&part) {
            let row = error.row as usize - part.start;
            filler.error(row as u32, self.reasons[error.reason()], error.check() as u16);
        }
    }
}
