//! An ensemble that is ready to be scored, in the forms that were the fastest for it.

use std::fmt;

use crate::trees::choice::Chosen;
use crate::trees::coded::Codings;
use crate::trees::element::{Element, Real};
use crate::trees::ensemble::Ensemble;
use crate::trees::forms::{self, BLOCK_ROWS, FormName};
use crate::trees::processor::Processor;
use crate::trees::scratch::Scratch;
use crate::values::{Values, ValuesMut};

/// The forms of an ensemble. Rows are of its type `input`, sums of its type `sum`.
pub struct Trees {
    features: usize,
    targets: usize,
    forms: Forms,
}

enum Forms {
    Single(Chosen<f32, f32>),
    Mixed(Chosen<f32, f64>),
    Double(Chosen<f64, f64>),
}

impl Trees {
    /// Makes the forms, and chooses among them by measurement, for each number of rows; with `only`, takes that form.
    /// They use no more than the instructions of `processor`.
    ///
    /// # Errors
    /// The ensemble is not valid, or `only` does not take it, or this processor does not have the instructions.
    pub(crate) fn with(
        ensemble: &Ensemble,
        only: Option<FormName>,
        processor: Processor,
    ) -> Result<Self, String> {
        ensemble.check()?;
        if processor > Processor::detected() {
            return Err(format!("this processor is not of the kind {processor}"));
        }
        let forms = match (ensemble.input, ensemble.sum) {
            (Real::F32, Real::F32) => Forms::Single(choose(ensemble, only, processor)?),
            (Real::F32, Real::F64) => Forms::Mixed(choose(ensemble, only, processor)?),
            (Real::F64, Real::F64) => Forms::Double(choose(ensemble, only, processor)?),
            (Real::F64, Real::F32) => return Err("sums of floats over doubles are not taken".into()),
        };
        Ok(Self { features: ensemble.features, targets: ensemble.base.len(), forms })
    }

    /// Values of a row, and sums of a row.
    pub fn widths(&self) -> (usize, usize) {
        (self.features, self.targets)
    }

    /// The forms, each with the greatest number of rows that it scores, in ascending order.
    pub fn forms(&self) -> Vec<(FormName, usize)> {
        match &self.forms {
            Forms::Single(chosen) => chosen.ends(),
            Forms::Mixed(chosen) => chosen.ends(),
            Forms::Double(chosen) => chosen.ends(),
        }
    }

    /// The bytes that the forms hold.
    pub fn bytes(&self) -> usize {
        match &self.forms {
            Forms::Single(chosen) => chosen.bytes(),
            Forms::Mixed(chosen) => chosen.bytes(),
            Forms::Double(chosen) => chosen.bytes(),
        }
    }

    /// Writes the sums of rows, row by row.
    ///
    /// # Panics
    /// The types are not the ensemble's, or the lengths are not those of the same number of rows.
    pub fn score(&self, rows: Values<'_>, sums: ValuesMut<'_>, scratch: &mut Scratch) {
        match (&self.forms, rows, sums) {
            (Forms::Single(chosen), Values::F32(rows), ValuesMut::F32(sums)) => {
                self.run(chosen, rows, sums, scratch)
            }
            (Forms::Mixed(chosen), Values::F32(rows), ValuesMut::F64(sums)) => {
                self.run(chosen, rows, sums, scratch)
            }
            (Forms::Double(chosen), Values::F64(rows), ValuesMut::F64(sums)) => {
                self.run(chosen, rows, sums, scratch)
            }
            _ => panic!("the values are not of the types of the ensemble"),
        }
    }

    fn run<I: Element, S: Element>(
        &self,
        chosen: &Chosen<I, S>,
        rows: &[I],
        sums: &mut [S],
        scratch: &mut Scratch,
    ) {
        let (features, targets) = (self.features, self.targets);
        let count = rows.len() / features;
        assert_eq!((rows.len(), sums.len()), (count * features, count * targets));
        let blocks = rows.chunks(BLOCK_ROWS * features).zip(sums.chunks_mut(BLOCK_ROWS * targets));
        for (rows, sums) in blocks {
            chosen.form(rows.len() / features).score(rows, sums, scratch);
        }
    }
}

fn choose<I: Element, S: Element>(
    ensemble: &Ensemble,
    only: Option<FormName>,
    processor: Processor,
) -> Result<Chosen<I, S>, String> {
    let Some(name) = only else { return Ok(Chosen::fastest(ensemble, processor)) };
    let refused = || format!("the form {name} does not take these trees on this processor");
    Ok(Chosen::only(forms::make(name, &Codings::new(ensemble), processor).ok_or_else(refused)?))
}

impl fmt::Display for Trees {
    /// Which form scores how many rows, and the memory of all: "heap up to 32 rows, then slices; 1.4 MB".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", by_rows(&self.forms()), memory_text(self.bytes()))
    }
}

/// The same of several ensembles; `None` if there is no ensemble.
pub(crate) fn describe(all: &[&Trees]) -> Option<String> {
    let [first, others @ ..] = all else { return None };
    if others.is_empty() {
        return Some(first.to_string());
    }
    let forms = if others.iter().all(|trees| trees.forms() == first.forms()) {
        by_rows(&first.forms())
    } else {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in all.iter().flat_map(|trees| trees.forms()) {
            if !names.contains(&name.to_string()) {
                names.push(name.to_string());
            }
        }
        names.join(", ")
    };
    let bytes = all.iter().map(|trees| trees.bytes()).sum();
    Some(format!("{} ensembles: {forms}; {}", all.len(), memory_text(bytes)))
}

fn by_rows(forms: &[(FormName, usize)]) -> String {
    let each = forms.iter().enumerate().map(|(i, (name, end))| match (i, *end) {
        (0, usize::MAX) => name.to_string(),
        (0, end) => format!("{name} up to {end} rows"),
        (_, usize::MAX) => format!(", then {name}"),
        (_, end) => format!(", {name} up to {end}"),
    });
    each.collect()
}

pub(crate) fn memory_text(bytes: usize) -> String {
    if bytes < 100_000 {
        format!("{} kB", bytes.div_ceil(1000))
    } else {
        format!("{:.1} MB", bytes as f64 / 1e6)
    }
}

impl fmt::Debug for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trees").field(&self.to_string()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trees::testing::{self, Shape};

    #[test]
    fn calls_of_any_size_have_the_bits_of_the_naive_form() {
        let ensemble = testing::ensemble(Shape { targets: 3, ..Shape::default() }, 5);
        let made = |only| Trees::with(&ensemble, only, Processor::detected()).expect("valid");
        let (chosen, naive) = (made(None), made(Some(FormName::Naive)));
        let mut scratch = Scratch::default();
        for count in [0, 1, 2, 3, 40, 400, 511, 512, 513, 1024, 1500] {
            let rows = testing::hard_rows::<f32>(&ensemble, count, 7);
            let (mut found, mut wanted) = (vec![1.0; count * 3], vec![0.0; count * 3]);
            chosen.score(Values::F32(&rows), ValuesMut::F32(&mut found), &mut scratch);
            naive.score(Values::F32(&rows), ValuesMut::F32(&mut wanted), &mut scratch);
            let bits = |sums: Vec<f32>| sums.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            assert_eq!(bits(found), bits(wanted));
        }
    }

    #[test]
    fn it_says_what_scores_and_what_it_holds() {
        let ensemble = testing::ensemble(Shape::default(), 5);
        let trees = Trees::with(&ensemble, Some(FormName::Descent), Processor::Plain).expect("valid");
        assert_eq!(trees.forms(), [(FormName::Descent, usize::MAX)]);
        assert_eq!(trees.to_string(), format!("descent; {}", memory_text(trees.bytes())));
        assert_eq!(memory_text(1_449_000), "1.4 MB");
        assert_eq!(memory_text(4_200), "5 kB");
    }

    #[test]
    fn forms_are_told_by_rows() {
        let forms = [(FormName::Heap, 32), (FormName::Slices, usize::MAX)];
        assert_eq!(by_rows(&forms), "heap up to 32 rows, then slices");
        let forms = [(FormName::Deep, 8), (FormName::Masks, 128), (FormName::Slices, usize::MAX)];
        assert_eq!(by_rows(&forms), "deep up to 8 rows, masks up to 128, then slices");
    }

    #[test]
    fn several_ensembles_are_told_together() {
        let ensemble = testing::ensemble(Shape::default(), 5);
        let made = |name| Trees::with(&ensemble, Some(name), Processor::Plain).expect("valid");
        let (descent, words) = (made(FormName::Descent), made(FormName::Words));
        assert_eq!(describe(&[]), None);
        assert_eq!(describe(&[&descent]), Some(descent.to_string()));
        let twice = memory_text(2 * descent.bytes());
        assert_eq!(describe(&[&descent, &descent]), Some(format!("2 ensembles: descent; {twice}")));
        let both = memory_text(descent.bytes() + words.bytes());
        assert_eq!(describe(&[&descent, &words]), Some(format!("2 ensembles: descent, words; {both}")));
    }

    #[test]
    fn a_form_that_does_not_take_the_trees_is_an_error() {
        let ensemble = testing::ensemble(Shape { one_set_in: 1, ..Shape::default() }, 5);
        assert!(Trees::with(&ensemble, Some(FormName::Heap), Processor::Plain).is_err());
    }
}
