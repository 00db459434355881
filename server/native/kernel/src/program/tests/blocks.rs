//! Rows are computed in blocks, between whose steps a run may be stopped.

use std::cell::Cell;

use crate::program::testing::{Answer, Graph, run_rows};
use crate::program::{Failure, Memory};
use crate::values::{Values, ValuesMut};

const DOUBLE: i64 = 11;

#[test]
fn many_rows_run_in_blocks() {
    let graph = Graph::over(DOUBLE, 2).node("Neg", "x", "a").node("Abs", "a", "y").output("y", DOUBLE, 2);
    let x: Vec<_> = (0..5000).map(f64::from).collect();
    let found = run_rows(&graph.compile().unwrap(), 2500, &[Values::F64(&x)], &mut Memory::default());
    assert_eq!(found, [Answer::F64(x)]);
}

#[test]
fn a_run_stops_between_blocks() {
    let graph = Graph::over(DOUBLE, 1).node("Neg", "x", "y").output("y", DOUBLE, 1);
    let program = graph.compile().unwrap();
    let (x, mut y) = (vec![1.0; 2000], vec![0.0; 2000]);
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 2;
    let outputs = &mut [ValuesMut::F64(&mut y)];
    let run = program.run(2000, &[Values::F64(&x)], outputs, &mut Memory::default(), &stop);
    assert_eq!((run, asked.get()), (Err(Failure::Stopped), 3));
    assert_eq!((y[1023], y[1024]), (-1.0, 0.0));
}

#[test]
fn a_run_stops_between_steps() {
    let graph = Graph::over(DOUBLE, 1).node("Neg", "x", "y").node("Exp", "x", "z");
    let program = graph.output("y", DOUBLE, 1).output("z", DOUBLE, 1).compile().unwrap();
    let (mut y, mut z) = ([0.0; 3], [0.0; 3]);
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 1;
    let outputs = &mut [ValuesMut::F64(&mut y), ValuesMut::F64(&mut z)];
    let run = program.run(3, &[Values::F64(&[1.0; 3])], outputs, &mut Memory::default(), &stop);
    assert_eq!((run, asked.get()), (Err(Failure::Stopped), 2));
    assert_eq!((y, z), ([-1.0; 3], [0.0; 3]));
}

/// How often a run of 512 rows of ones asks whether to stop.
fn times_asked(graph: &Graph, width: usize) -> usize {
    let (program, x) = (graph.compile().unwrap(), vec![1.0; 512 * width]);
    let mut y = vec![0.0; 512 * program.outputs()[0].width];
    let asked = Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == usize::MAX;
    let outputs = &mut [ValuesMut::F64(&mut y)];
    program.run(512, &[Values::F64(&x)], outputs, &mut Memory::default(), &stop).unwrap();
    asked.get()
}

#[test]
fn more_work_is_done_on_fewer_rows_at_once() {
    let mut chain = Graph::over(DOUBLE, 1);
    for i in 0..1 << 14 {
        let before = if i == 0 { "x".to_owned() } else { format!("c{}", i - 1) };
        chain = chain.node("Neg", &before, &format!("c{i}"));
    }
    assert_eq!(times_asked(&chain.output("c16383", DOUBLE, 1), 1), 2);
    let product = Graph::over(DOUBLE, 4096).doubles("weights", &[4096, 2], &[1.0; 8192]);
    let product = product.node("Neg", "x", "z").node("MatMul", "z weights", "y").output("y", DOUBLE, 2);
    assert_eq!(times_asked(&product, 4096), 4);
    let sums = Graph::over(DOUBLE, 1 << 15).integers("one", &[1]).node("ReduceSum", "x one", "y");
    assert_eq!(times_asked(&sums.output("y", DOUBLE, 1), 1 << 15), 4);
}

#[test]
fn no_rows_are_no_work() {
    let graph = Graph::over(DOUBLE, 1).node("Neg", "x", "y").output("y", DOUBLE, 1);
    assert_eq!(
        run_rows(&graph.compile().unwrap(), 0, &[Values::F64(&[])], &mut Memory::default()),
        [Answer::F64(vec![])]
    );
}
