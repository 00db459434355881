//! Measures contributions of trees for the bench `tests.bench.explanations`, which starts it, writes a line with a number
//! of rows for each round, and reads a line of JSON for it:
//!
//! `explain GRAPH NODE_COVERS LEAF_COVERS ROWS FEATURES SECONDS`
//!
//! The first line that it prints tells what was made. Files of covers and rows have doubles, lowest byte first.

#[path = "../compare/clock.rs"]
mod clock;

use std::io::BufRead;
use std::path::Path;

use scorewire_kernel::contributions::{Contributions, Memory, Term};
use scorewire_kernel::values::Values;

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Fallible<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [graph, nodes, leaves, rows, features, seconds] = &arguments[..] else {
        return Err("GRAPH NODE_COVERS LEAF_COVERS ROWS FEATURES SECONDS".into());
    };
    let (features, seconds): (usize, f64) = (features.parse()?, seconds.parse()?);
    let (graph, node_covers, leaf_covers) = (std::fs::read(graph)?, doubles(nodes)?, doubles(leaves)?);
    let owners: Vec<u32> = (0..features as u32).collect();
    let term = Term {
        ensemble: "margins",
        features: &owners,
        node_covers: &node_covers,
        leaf_covers: &leaf_covers,
        scale: 1.0,
        first_margin: 0,
    };
    let begin = clock::cpu();
    let made = Contributions::new(&graph, &[term], features, 1)?;
    let took = clock::cpu() - begin;
    println!(
        "{{\"load_seconds\": {took}, \"bytes\": {}, \"description\": \"{}\"}}",
        made.bytes(),
        made.description()
    );
    let rows = Rows::read(rows, features, made.doubles()[0])?;
    let mut memory = Memory::default();
    let mut next = 0;
    for line in std::io::stdin().lock().lines() {
        let count: usize = line?.trim().parse()?;
        let (mut margins, mut values) = (vec![0.0; count], vec![0.0; count * features]);
        let (mut calls, begin) = (0, clock::cpu());
        while calls == 0 || clock::cpu() - begin < seconds {
            if (next + 1) * count * features > rows.floats.len() {
                next = 0;
            }
            margins.fill(0.0);
            values.fill(0.0);
            let inputs = [rows.part(next * count * features..(next + 1) * count * features)];
            made.add(count, &inputs, &mut margins, &mut values, &mut memory, &|| false)?;
            (calls, next) = (calls + 1, next + 1);
        }
        let us = (clock::cpu() - begin) * 1e6 / (calls * count) as f64;
        println!("{{\"us_per_row\": {us}, \"sum\": {}}}", values.iter().sum::<f64>());
    }
    Ok(())
}

/// Rows of the type that the trees read.
struct Rows {
    is_double: bool,
    doubles: Vec<f64>,
    floats: Vec<f32>,
}

impl Rows {
    fn read(path: impl AsRef<Path>, features: usize, is_double: bool) -> Fallible<Self> {
        let doubles = doubles(path)?;
        if doubles.is_empty() || doubles.len() % features != 0 {
            return Err("the rows have another number of values".into());
        }
        let floats = doubles.iter().map(|value| *value as f32).collect();
        Ok(Self { is_double, doubles, floats })
    }

    fn part(&self, range: std::ops::Range<usize>) -> Values<'_> {
        if self.is_double { Values::F64(&self.doubles[range]) } else { Values::F32(&self.floats[range]) }
    }
}

fn doubles(path: impl AsRef<Path>) -> Fallible<Vec<f64>> {
    Ok(std::fs::read(path)?.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
}
