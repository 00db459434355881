//! Contributions of the caller's columns to the sums of trees: exact Shapley values of path-dependent TreeSHAP.
//!
//! For each row and margin, the base and the contributions add up to the margin.

use crate::program::onnx::Model;
use crate::program::{self, Failure, Unsupported};
use crate::trees::shap::{Covered, Covers, Quadrature, Stopped, Sums, Tables};
use crate::trees::{Processor, Scratch, memory_text};
use crate::values::Values;

/// Rows whose values are doubles at once.
const BLOCK_ROWS: usize = 1024;
/// The most bytes of all tables: with more, their cache lines are fetched from memory, which takes longer than computing.
const MOST_TABLE_BYTES: usize = 16 << 20;

/// A sum of trees: a node TreeEnsemble of a model.
#[derive(Debug, Clone, Copy)]
pub struct Term<'a> {
    /// The name of the node's output.
    pub ensemble: &'a str,
    /// For each column of the node's input the caller's column that it is computed from; the number of the caller's
    /// columns where no split reads it.
    pub features: &'a [u32],
    /// For each of the node's nodes the weight of the training rows that reached it, in the order of ONNX.
    pub node_covers: &'a [f64],
    /// The same for each of its leaves.
    pub leaf_covers: &'a [f64],
    /// What the sums are multiplied by.
    pub scale: f64,
    /// The margin that the first target counts towards; the next target counts towards the next margin.
    pub first_margin: usize,
}

/// Memory for the contributions of rows, of one thread.
#[derive(Debug, Default)]
pub struct Memory {
    scratch: Scratch,
    /// Values of rows that were floats.
    doubles: Vec<f64>,
}

impl Memory {
    /// Frees it where it holds more bytes than `most`.
    pub fn release(&mut self, most: usize) {
        if self.scratch.bytes() + size_of_val(&self.doubles[..]) > most {
            *self = Self::default();
        }
    }
}

/// Makes contributions to margins that are sums of terms. Many threads may use it at once, each with its own memory.
pub struct Contributions {
    features: usize,
    margins: usize,
    base: Vec<f64>,
    terms: Vec<Explained>,
}

/// A term that is ready.
struct Explained {
    width: usize,
    is_double: bool,
    method: Method,
}

enum Method {
    Tables(Box<Tables>),
    Quadrature(Box<Quadrature>),
}

/// Which method is taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Choice {
    /// No more than the instructions of this kind of processor; `None` is all that this processor has.
    pub processor: Option<Processor>,
    /// Whether no tables are made.
    pub only_quadrature: bool,
}

impl Explained {
    fn bytes(&self) -> usize {
        match &self.method {
            Method::Tables(tables) => tables.bytes(),
            Method::Quadrature(quadrature) => quadrature.bytes(),
        }
    }
}

impl Contributions {
    /// Reads the terms' trees from the bytes of a model in ONNX. `features` is the number of the caller's columns, and
    /// `margins` that of the sums of a row.
    ///
    /// # Errors
    /// `Unsupported`: the model cannot be read, or a term is not of its trees: no node has the output; the covers have
    /// other lengths than its nodes and leaves, or are negative, not finite, or far above those of their parents; a split
    /// reads a column without a feature, or a column that there is not; a target counts towards a margin that there is
    /// not; the scale is not finite; or a path has more than 1,024 features.
    pub fn new(
        model: &[u8],
        terms: &[Term<'_>],
        features: usize,
        margins: usize,
    ) -> Result<Self, Unsupported> {
        Self::with(model, terms, features, margins, Choice::default())
    }

    /// The same by a choice of methods.
    pub(crate) fn with(
        model: &[u8],
        terms: &[Term<'_>],
        features: usize,
        margins: usize,
        choice: Choice,
    ) -> Result<Self, Unsupported> {
        let mut made = Self { features, margins, base: vec![0.0; margins], terms: Vec::new() };
        if terms.is_empty() {
            return Ok(made);
        }
        let model = Model::read(model)?;
        for term in terms {
            made.push(&model, term, choice)?;
        }
        Ok(made)
    }

    fn push(&mut self, model: &Model<'_>, term: &Term<'_>, choice: Choice) -> Result<(), Unsupported> {
        let Term { ensemble, features, node_covers, leaf_covers, scale, first_margin } = *term;
        if !scale.is_finite() {
            return Err(Unsupported("the scale of a term is not finite".into()));
        }
        let (trees, origins) = program::named(model, ensemble, features.len(), [node_covers, leaf_covers])?;
        if first_margin.saturating_add(trees.base.len()) > self.margins {
            return Err(Unsupported("a target counts towards a margin that there is not".into()));
        }
        let covers: Vec<_> = origins
            .iter()
            .map(|origins| Covers {
                splits: origins.splits.iter().map(|at| node_covers[*at as usize]).collect(),
                leaves: origins.leaves.iter().map(|at| leaf_covers[*at as usize]).collect(),
            })
            .collect();
        let covered = Covered::new(trees, features.to_vec(), self.features, &covers).map_err(Unsupported)?;
        for (base, expected) in self.base[first_margin..].iter_mut().zip(covered.expected()) {
            *base += scale * expected;
        }
        let processor = choice.processor.unwrap_or_else(Processor::detected);
        let most =
            if choice.only_quadrature { 0 } else { MOST_TABLE_BYTES.saturating_sub(self.table_bytes()) };
        let method = match Tables::new(&covered, scale, first_margin, processor, most) {
            Some(tables) => Method::Tables(Box::new(tables)),
            None => {
                let quadrature = Quadrature::new(&covered, scale, first_margin, processor);
                Method::Quadrature(Box::new(quadrature.map_err(Unsupported)?))
            }
        };
        let is_double = covered.ensemble.is_double();
        self.terms.push(Explained { width: features.len(), is_double, method });
        Ok(())
    }

    /// For each margin what is expected over the covers: the contributions are the difference from it.
    pub fn base(&self) -> &[f64] {
        &self.base
    }

    /// The number of the caller's columns.
    pub fn features(&self) -> usize {
        self.features
    }

    /// The columns of each term's input.
    pub fn widths(&self) -> Vec<usize> {
        self.terms.iter().map(|term| term.width).collect()
    }

    /// For each term whether its trees read doubles; otherwise they read floats.
    pub fn doubles(&self) -> Vec<bool> {
        self.terms.iter().map(|term| term.is_double).collect()
    }

    /// How contributions are made, and the memory of that, for people: "tables, 6.9 MB", "quadrature of 4 nodes, 1.2 MB".
    pub fn description(&self) -> String {
        let nodes = self.terms.iter().filter_map(|term| match &term.method {
            Method::Tables(_) => None,
            Method::Quadrature(quadrature) => Some(quadrature.nodes()),
        });
        let nodes = nodes.max().map(|nodes| match nodes {
            0 => "no splits".into(),
            1 => "quadrature of 1 node".into(),
            _ => format!("quadrature of {nodes} nodes"),
        });
        let tables = (self.table_bytes() > 0).then(|| "tables".into());
        let methods: Vec<String> = [tables, nodes].into_iter().flatten().collect();
        if methods.is_empty() {
            return "no trees".into();
        }
        format!("{}, {}", methods.join(" and "), memory_text(self.bytes()))
    }

    /// The bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.terms.iter().map(Explained::bytes).sum()
    }

    fn table_bytes(&self) -> usize {
        let tables = self.terms.iter().filter(|term| matches!(term.method, Method::Tables(_)));
        tables.map(Explained::bytes).sum()
    }

    /// Adds the sums of the trees in double to `margins`, [rows, margins], and the contributions to `values`,
    /// [rows, margins, features]. There is one input for each term, [rows, columns], of the type that its trees read;
    /// floats also where they read doubles. `is_stopped` is asked every few trees of a block of rows.
    ///
    /// # Errors
    /// `Failure::Stopped`: `is_stopped` said so. Then margins and values have part of the sums.
    ///
    /// # Panics
    /// The types or lengths are others.
    pub fn add(
        &self,
        rows: usize,
        inputs: &[Values<'_>],
        margins: &mut [f64],
        values: &mut [f64],
        memory: &mut Memory,
        is_stopped: &dyn Fn() -> bool,
    ) -> Result<(), Failure> {
        let (margin_count, player_count) = (self.margins, self.features);
        assert_eq!(inputs.len(), self.terms.len(), "each term has an input");
        assert_eq!(
            (margins.len(), values.len()),
            (rows * margin_count, rows * margin_count * player_count),
            "the margins and the values have room for the rows"
        );
        for (term, input) in self.terms.iter().zip(inputs) {
            assert_eq!(input.len(), rows * term.width, "an input has the width of its term, times the rows");
            for first in (0..rows).step_by(BLOCK_ROWS) {
                let count = BLOCK_ROWS.min(rows - first);
                let range = first * term.width..(first + count) * term.width;
                let Memory { scratch, doubles } = &mut *memory;
                let block = match input {
                    Values::F32(floats) => {
                        doubles.clear();
                        doubles.extend(floats[range].iter().map(|value| f64::from(*value)));
                        &doubles[..]
                    }
                    Values::F64(values) if term.is_double => &values[range],
                    _ => panic!("an input is not of the type that the trees read"),
                };
                let of_margins = first * margin_count..(first + count) * margin_count;
                let of_values = of_margins.start * player_count..of_margins.end * player_count;
                let (margins, values) = (&mut margins[of_margins], &mut values[of_values]);
                let mut sums = Sums { margins, values, margin_count, player_count };
                let added = match &term.method {
                    Method::Tables(tables) => tables.add(block, &mut sums, scratch, is_stopped),
                    Method::Quadrature(quadrature) => quadrature.add(block, &mut sums, scratch, is_stopped),
                };
                added.map_err(|Stopped| Failure::Stopped)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Contributions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Contributions({})", self.description())
    }
}
