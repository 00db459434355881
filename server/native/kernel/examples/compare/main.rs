//! The kernel beside onnxruntime and the library that trained a model: CPU time of the thread, in alternated rounds, as
//! lines of JSON. `python -m tests.bench.kernels` trains the models, and makes tables of the lines.
//!
//! Rows differ from call to call, thousands of them: with one row repeated, the processor learns its path through the
//! trees, and code with branches looks several times faster than it is.

mod clock;
mod kernel;
mod libraries;
mod onnxruntime;
mod rows;

use std::path::PathBuf;

use scorewire_kernel::program::Options;
use scorewire_kernel::trees::{FormName, Processor};

use crate::clock::cpu;
use crate::kernel::{Alone, Compiled};
use crate::libraries::{LightGbm, XgBoost};
use crate::onnxruntime::{Library, Session};
use crate::rows::Table;

const HELP: &str = "\
Usage: compare --onnxruntime LIBRARY --margin GRAPH --bundle GRAPH --empty GRAPH --rows FILE --features 30
               [--xgboost LIBRARY --model FILE | --lightgbm LIBRARY --model FILE]
               [--sizes 1,8,64,1000] [--rounds 15] [--round-us 2000]

Prints the nanoseconds of CPU time a row that the kernel, onnxruntime and the library take, as lines of JSON.

  --margin    a graph of trees only, whose output is their sums
  --bundle    the graph of the bundle
  --empty     a graph with the same input that does nothing
  --rows      doubles, lowest byte first, row by row
  --round-us  the least CPU time of a round: several calls, or one that takes longer
";

pub(crate) type Fallible<T> = Result<T, String>;

/// What is measured.
pub(crate) trait Subject {
    /// Scores `count` rows from the row `first` on, a multiple of `count`.
    fn call(&mut self, first: usize, count: usize);

    /// The sums of all rows, where they are known to have the library's bits.
    fn margins(&mut self) -> Option<Vec<f64>> {
        None
    }
}

/// A subject, what a line tells of it, and its times: nanoseconds a row, by size of the calls and round.
struct Measured<'t> {
    /// Members of a JSON object.
    about: String,
    subject: Box<dyn Subject + 't>,
    times: Vec<Vec<f64>>,
}

struct Arguments {
    onnxruntime: PathBuf,
    margin: PathBuf,
    bundle: PathBuf,
    empty: PathBuf,
    rows: PathBuf,
    features: usize,
    xgboost: Option<PathBuf>,
    lightgbm: Option<PathBuf>,
    model: PathBuf,
    sizes: Vec<usize>,
    rounds: usize,
    round: f64,
}

impl Arguments {
    fn parse(mut given: impl Iterator<Item = String>) -> Fallible<Self> {
        let mut read = Self {
            onnxruntime: PathBuf::new(),
            margin: PathBuf::new(),
            bundle: PathBuf::new(),
            empty: PathBuf::new(),
            rows: PathBuf::new(),
            features: 0,
            xgboost: None,
            lightgbm: None,
            model: PathBuf::new(),
            sizes: vec![1, 8, 64, 1000],
            rounds: 15,
            round: 2e-3,
        };
        while let Some(name) = given.next() {
            let value = given.next().ok_or(format!("{name} has no value"))?;
            match name.as_str() {
                "--onnxruntime" => read.onnxruntime = value.into(),
                "--margin" => read.margin = value.into(),
                "--bundle" => read.bundle = value.into(),
                "--empty" => read.empty = value.into(),
                "--rows" => read.rows = value.into(),
                "--features" => read.features = number(&value)?,
                "--xgboost" => read.xgboost = Some(value.into()),
                "--lightgbm" => read.lightgbm = Some(value.into()),
                "--model" => read.model = value.into(),
                "--sizes" => read.sizes = value.split(',').map(number).collect::<Fallible<_>>()?,
                "--rounds" => read.rounds = number(&value)?,
                "--round-us" => read.round = number(&value)? as f64 * 1e-6,
                _ => return Err(format!("there is no option {name}")),
            }
        }
        if read.features == 0 {
            return Err("--features is missing".into());
        }
        Ok(read)
    }
}

fn number(text: &str) -> Fallible<usize> {
    text.parse().ok().filter(|number| *number > 0).ok_or(format!("{text} is no number from 1 on"))
}

fn read(path: &PathBuf) -> Fallible<Vec<u8>> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// The resident memory of this process in bytes, now and at most; zeros where it is not known.
fn resident() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0_usize)
    };
    (kilobytes("VmRSS:") * 1024, kilobytes("VmHWM:") * 1024)
}

/// Forms with the processors that they use the instructions of.
fn forms() -> impl Iterator<Item = (FormName, Processor)> {
    let of = |name: FormName| {
        let is_for_all = matches!(name, FormName::Descent | FormName::Words);
        let with = move |processor: &Processor| *processor == name.processor() || is_for_all;
        Processor::here().filter(with).map(move |processor| (name, processor))
    };
    FormName::ALL.into_iter().flat_map(of)
}

fn compare(arguments: &Arguments) -> Fallible<()> {
    let table = Table::read(&arguments.rows, arguments.features)?;
    if arguments.sizes.iter().any(|size| *size > table.count) {
        return Err(format!("--sizes has a call of more rows than the {} of --rows", table.count));
    }
    let bundle = read(&arguments.bundle)?;
    let (before, (begin, clock)) = (resident(), (cpu(), std::time::Instant::now()));
    let served = Compiled::new(&bundle, Options::default(), &table)?;
    let (load, clock, after) = (cpu() - begin, clock.elapsed().as_secs_f64(), resident());
    let bytes: usize = served.program.trees().map(|trees| trees.bytes()).sum();
    let chosen: Vec<_> = served.program.trees().map(ToString::to_string).collect();
    println!(
        "{{\"processor\": \"{}\", \"graph_bytes\": {}, \"trees_bytes\": {bytes}, \"resident_bytes\": {}, \
         \"peak_bytes\": {}, \"load_seconds\": {load}, \"load_clock_seconds\": {clock}, \"forms\": \"{}\"}}",
        Processor::detected(),
        bundle.len(),
        after.0.saturating_sub(before.0),
        after.1.saturating_sub(before.0),
        chosen.join(" and "),
    );

    let mut all: Vec<Measured<'_>> = Vec::new();
    let mut add = |about, subject| {
        all.push(Measured { about, subject, times: vec![Vec::new(); arguments.sizes.len()] });
    };
    let library = Library::load(&arguments.onnxruntime)?;
    for (name, path) in
        [("trees", &arguments.margin), ("bundle", &arguments.bundle), ("empty", &arguments.empty)]
    {
        let graph = read(path)?;
        let begin = cpu();
        let program = Compiled::new(&graph, Options::default(), &table)?;
        let (ports, load) = ((program.program.inputs(), program.program.outputs()), cpu() - begin);
        let begin = cpu();
        let mut session = Session::open(library, &graph, ports, &table)?;
        let opened = cpu() - begin;
        arguments.sizes.iter().try_for_each(|size| session.prepare(*size))?;
        let about = |runs_on: &str, load: f64| {
            format!("\"runs_on\": \"{runs_on}\", \"graph\": \"{name}\", \"load_seconds\": {load}")
        };
        add(about("onnxruntime", opened), Box::new(session));
        if name != "empty" {
            add(about("kernel", load), Box::new(program));
        }
    }
    let margin = read(&arguments.margin)?;
    let mut add_form = |form: Option<FormName>, processor: Processor| {
        let begin = cpu();
        let Some(alone) = Alone::new(&margin, Options { form, processor: Some(processor) }, &table) else {
            return;
        };
        let (load, name) = (cpu() - begin, form.map_or("chosen".into(), |form| form.to_string()));
        let about = format!(
            "\"runs_on\": \"kernel\", \"form\": \"{name}\", \"processor\": \"{processor}\", \"load_seconds\": {load}, \
             \"bytes\": {}",
            alone.bytes()
        );
        add(about, Box::new(alone));
    };
    Processor::here().for_each(|processor| add_form(None, processor));
    forms().for_each(|(form, processor)| add_form(Some(form), processor));
    if let Some(path) = &arguments.xgboost {
        let about = "\"runs_on\": \"XGBoost\"".into();
        add(about, Box::new(XgBoost::open(path, &arguments.model, &table)?));
    }
    if let Some(path) = &arguments.lightgbm {
        let about = "\"runs_on\": \"LightGBM\"".into();
        add(about, Box::new(LightGbm::open(path, &arguments.model, &table)?));
    }

    prove(&mut all)?;
    measure(&mut all, &table, arguments);
    for Measured { about, times, .. } in &all {
        for (size, times) in arguments.sizes.iter().zip(times) {
            println!("{{{about}, \"rows\": {size}, \"ns_per_row\": {times:?}}}");
        }
    }
    Ok(())
}

/// Checks that all that sums as the library does has the bits of the last subject, which is the library where it is
/// known.
fn prove(all: &mut [Measured<'_>]) -> Fallible<()> {
    let bits = |sums: Vec<f64>| sums.into_iter().map(f64::to_bits).collect::<Vec<_>>();
    let Some((last, others)) = all.split_last_mut() else { return Ok(()) };
    let wanted = last.subject.margins().map(bits).ok_or("the last subject gives no sums")?;
    for other in others.iter_mut().filter(|other| !other.about.contains("\"bundle\"")) {
        let Some(found) = other.subject.margins().map(bits) else { continue };
        let differences = found.iter().zip(&wanted).filter(|(one, other)| one != other).count();
        if found.len() != wanted.len() || differences > 0 {
            return Err(format!("{}: {differences} sums differ from those of {}", other.about, last.about));
        }
    }
    Ok(())
}

/// Measures all subjects in each round, in an order that is reversed in the next.
fn measure(all: &mut [Measured<'_>], table: &Table, arguments: &Arguments) {
    for (size, &count) in arguments.sizes.iter().enumerate() {
        let mut first = 0;
        for round in 0..arguments.rounds {
            for i in 0..all.len() {
                let place = if round % 2 == 0 { i } else { all.len() - 1 - i };
                let (begin, mut done) = (cpu(), 0);
                let spent = loop {
                    if first + count > table.count {
                        first = 0;
                    }
                    all[place].subject.call(first, count);
                    (first, done) = (first + count, done + count);
                    // A look at the clock costs as much as a few small trees.
                    if done % 64.max(count) == 0 {
                        let spent = cpu() - begin;
                        if spent >= arguments.round {
                            break spent;
                        }
                    }
                };
                all[place].times[size].push(spent * 1e9 / done as f64);
            }
        }
        eprintln!("calls of {count} rows: measured");
    }
}

fn main() {
    let told = Arguments::parse(std::env::args().skip(1));
    if let Err(wrong) = told.and_then(|arguments| compare(&arguments)) {
        eprintln!("{wrong}\n\n{HELP}");
        std::process::exit(2);
    }
}
