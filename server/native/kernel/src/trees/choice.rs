//! The choice among forms by measurement, when an ensemble is loaded.
//!
//! Candidates are made one after the other, and score rows that are made of the ensemble's own thresholds, in calls of
//! some sizes. A candidate that is close to the fastest for no size is dropped before the next one is made. In the end,
//! those that are close are measured once more, in turn, and of all sets that have one of the fastest for each size, the
//! smallest is kept.
//!
//! Those that are likely to be the fastest come first. A candidate that was far behind the fastest in calls of some rows
//! is not measured in calls of more, and nothing is begun that is expected to end after 30 ms of measuring: what is not
//! measured is taken to score each row as fast as in the largest calls that were. Where there is only one candidate,
//! nothing is measured.

use std::time::{Duration, Instant};

use crate::trees::coded::Codings;
use crate::trees::element::Element;
use crate::trees::ensemble::Ensemble;
use crate::trees::forms::{self, Form, FormName};
use crate::trees::processor::Processor;
use crate::trees::sample::sample;
use crate::trees::scratch::Scratch;

/// The candidates, those first that are likely to be the fastest. The last one takes any trees.
const ORDER: [FormName; 7] = [
    FormName::Heap,
    FormName::Masks,
    FormName::Deep,
    FormName::Slices,
    FormName::HeapAvx2,
    FormName::Words,
    FormName::Descent,
];
/// The rows of the calls that are measured.
const SIZES: [usize; 6] = [1, 4, 16, 64, 256, 512];
/// For each size the largest calls that go to its form.
const ENDS: [usize; 6] = [2, 8, 32, 128, 384, usize::MAX];
/// A candidate is as good as the fastest up to this multiple of its time.
const TIE: f64 = 1.05;
/// The time to measure in, of all candidates; what holds them up does not count.
const LIMIT: Duration = Duration::from_millis(30);
/// Above this multiple of the fastest time, a call is not repeated, and the candidate is not measured with more rows:
/// no form catches up by such a factor.
const FAR: f64 = 8.0;
/// Up to this multiple of the fastest time, a candidate may turn out to be the fastest: it is measured again.
const CLOSE: f64 = 3.0;
/// How many times candidates that are close are measured again.
const AGAIN: usize = 2;
/// The least time of a measurement: one call, or several calls if one is shorter.
const UNIT: Duration = Duration::from_micros(20);
/// The measurements of a size and candidate, after the first call.
const REPEATS: u32 = 5;
/// The time for the repeats of a size and candidate, after the first.
const SHARE: Duration = Duration::from_micros(300);

/// The forms that were the fastest for an ensemble.
pub(crate) struct Chosen<I, S> {
    forms: Vec<Box<dyn Form<I, S>>>,
    /// Which form scores calls of each size.
    by_size: [usize; SIZES.len()],
}

impl<I: Element, S: Element> Chosen<I, S> {
    /// One form for all sizes.
    pub(crate) fn only(form: Box<dyn Form<I, S>>) -> Self {
        Self { forms: vec![form], by_size: [0; SIZES.len()] }
    }

    /// Those that are the fastest for an ensemble, with no more than the instructions of `processor`.
    pub(crate) fn fastest(ensemble: &Ensemble, processor: Processor) -> Self {
        let codings = Codings::new(ensemble);
        let begin = Instant::now();
        let clock = move || begin.elapsed();
        let mut trial = Trial::new(ensemble, &clock);
        // Which form is always faster. Where trees are full, the time of the heap is far below that of those for any trees.
        let better = |name| match name {
            FormName::HeapAvx2 => Some(FormName::Heap),
            FormName::Words => Some(FormName::Slices),
            FormName::Masks | FormName::Deep | FormName::Descent if codings.are_full() => {
                Some(FormName::Heap)
            }
            _ => None,
        };
        let mut made = Vec::new();
        for name in ORDER {
            if better(name).is_some_and(|better| made.contains(&better)) {
                continue;
            }
            if let Some(form) = forms::make(name, &codings, processor) {
                made.push(name);
                trial.enter(form);
            }
        }
        if !SIZES.iter().all(|size| trial.candidates.iter().any(|one| one.form.rows().contains(size))) {
            let naive = forms::make(FormName::Naive, &codings, processor);
            trial.enter(naive.expect("the naive form takes every ensemble"));
        }
        trial.end()
    }

    /// The form for calls of this number of rows.
    pub(crate) fn form(&self, rows: usize) -> &dyn Form<I, S> {
        &*self.forms[self.by_size[ENDS.partition_point(|end| *end < rows)]]
    }

    /// The forms, each with the greatest number of rows that it scores, in ascending order.
    pub(crate) fn ends(&self) -> Vec<(FormName, usize)> {
        let mut listed: Vec<(FormName, usize)> = Vec::new();
        for (form, end) in self.by_size.iter().zip(ENDS) {
            let name = self.forms[*form].name();
            match listed.last_mut() {
                Some((last, so_far)) if *last == name => *so_far = end,
                _ => listed.push((name, end)),
            }
        }
        listed
    }

    /// The bytes that the forms hold.
    pub(crate) fn bytes(&self) -> usize {
        self.forms.iter().map(|form| form.bytes()).sum()
    }
}

struct Candidate<I, S> {
    form: Box<dyn Form<I, S>>,
    /// Seconds a row for each size: the greatest number where it was not measured, infinite where the form is not meant
    /// for it.
    times: [f64; SIZES.len()],
    is_measured: bool,
}

/// Whether a time is at most a multiple of the least one. What was not measured may be the fastest only where nothing
/// was measured, and a form that is not meant for a size never is.
fn is_within(time: f64, best: f64, factor: f64) -> bool {
    time <= (best * factor).min(f64::MAX)
}

/// What is measured, and with what.
struct Trial<'a, I, S> {
    ensemble: &'a Ensemble,
    candidates: Vec<Candidate<I, S>>,
    rows: Vec<I>,
    sums: Vec<S>,
    scratch: Scratch,
    clock: &'a dyn Fn() -> Duration,
    spent: Duration,
}

impl<'a, I: Element, S: Element> Trial<'a, I, S> {
    fn new(ensemble: &'a Ensemble, clock: &'a dyn Fn() -> Duration) -> Self {
        let (rows, sums, scratch) = (Vec::new(), Vec::new(), Scratch::default());
        Self { ensemble, candidates: Vec::new(), rows, sums, scratch, clock, spent: Duration::ZERO }
    }

    /// Measures a candidate, and drops those that are not close to the fastest for any size. The first one is only
    /// measured when there is a second.
    fn enter(&mut self, form: Box<dyn Form<I, S>>) {
        self.candidates.push(Candidate { form, times: [f64::INFINITY; SIZES.len()], is_measured: false });
        if self.candidates.len() < 2 {
            return;
        }
        if self.rows.is_empty() {
            self.rows = sample(self.ensemble);
            let count = self.rows.len() / self.ensemble.features;
            self.sums = vec![S::default(); count * self.ensemble.base.len()];
        }
        for candidate in 0..self.candidates.len() {
            if !self.candidates[candidate].is_measured {
                self.measure(candidate);
            }
        }
        let best = self.best();
        self.candidates
            .retain(|one| one.times.iter().zip(best).any(|(time, best)| is_within(*time, best, CLOSE)));
    }

    /// The least time of each size.
    fn best(&self) -> [f64; SIZES.len()] {
        std::array::from_fn(|size| self.candidates.iter().map(|one| one.times[size]).fold(f64::MAX, f64::min))
    }

    /// Whether a call that is expected to take these seconds may be measured: it is made twice.
    fn is_time_left(&self, seconds: f64) -> bool {
        self.spent.as_secs_f64() + 2.0 * seconds <= LIMIT.as_secs_f64()
    }

    /// Measures a candidate that was not measured before.
    fn measure(&mut self, candidate: usize) {
        let count = self.rows.len() / self.ensemble.features;
        let best = self.best();
        self.candidates[candidate].is_measured = true;
        let mut last: Option<f64> = None;
        for (i, size) in SIZES.into_iter().enumerate() {
            if !self.candidates[candidate].form.rows().contains(&size) {
                continue;
            }
            let is_behind = last.is_some_and(|each| each > best[i] * FAR);
            self.candidates[candidate].times[i] =
                if size > count || is_behind || !self.is_time_left(last.unwrap_or(0.0) * size as f64) {
                    last.unwrap_or(f64::MAX)
                } else {
                    // The first call of all finds nothing in the caches.
                    let enough = if last.is_some() { best[i] * FAR } else { f64::INFINITY };
                    *last.insert(self.time(candidate, size, enough))
                };
        }
    }

    /// Measures those that are close to the fastest once more, in turn, since other work on the machine may have held up
    /// any of them.
    fn measure_again(&mut self) {
        let (first, count) = (self.best(), self.rows.len() / self.ensemble.features);
        for (i, size) in SIZES.into_iter().enumerate().filter(|(_, size)| *size <= count) {
            let is_close = |one: &Candidate<I, S>| is_within(one.times[i], first[i], CLOSE);
            let close: Vec<usize> =
                (0..self.candidates.len()).filter(|one| is_close(&self.candidates[*one])).collect();
            if close.len() < 2 {
                continue;
            }
            for candidate in close.repeat(AGAIN) {
                if !self.is_time_left(self.candidates[candidate].times[i] * size as f64) {
                    return;
                }
                let again = self.time(candidate, size, f64::INFINITY);
                let time = &mut self.candidates[candidate].times[i];
                *time = time.min(again);
            }
        }
    }

    /// The least seconds a row in calls of `size` rows. It is not repeated where it is more than `enough`.
    fn time(&mut self, candidate: usize, size: usize, enough: f64) -> f64 {
        let (features, targets) = (self.ensemble.features, self.ensemble.base.len());
        let count = self.rows.len() / features;
        let Self { candidates, rows, sums, scratch, clock, spent, .. } = self;
        let form = &candidates[candidate].form;
        let mut next = 0;
        let mut call = |calls: u32| {
            let begin = clock();
            for _ in 0..calls {
                let from = if next + size > count { 0 } else { next };
                let (rows, sums) = (&rows[from * features..], &mut sums[from * targets..]);
                form.score(&rows[..size * features], &mut sums[..size * targets], scratch);
                next = from + size;
            }
            clock() - begin
        };
        let first = call(1);
        let (mut least, mut total, mut made) = (first, first, 1);
        for _ in 0..REPEATS {
            if least.as_secs_f64() > enough * size as f64 {
                break;
            }
            let calls = (UNIT.as_nanos() / least.as_nanos().max(1)).clamp(1, 1000) as u32;
            let took = call(calls);
            (least, total, made) = (least.min(took / calls), total + took, made + calls);
            if total > SHARE {
                break;
            }
        }
        // Without the time for which something else ran.
        *spent += least * made;
        least.as_secs_f64() / size as f64
    }

    /// The smallest set that has one of the fastest for each size.
    fn end(mut self) -> Chosen<I, S> {
        self.measure_again();
        if self.candidates.len() == 1 {
            let only = self.candidates.into_iter().next();
            return Chosen::only(only.expect("there is one").form);
        }
        let best = self.best();
        let candidates = self.candidates;
        let is_in = |set: u32, i: usize| set >> i & 1 == 1;
        let is_fast = |set: u32| {
            (0..SIZES.len()).all(|size| {
                let mut those = candidates.iter().enumerate().filter(|(i, _)| is_in(set, *i));
                those.any(|(_, one)| is_within(one.times[size], best[size], TIE))
            })
        };
        let bytes = |set: &u32| -> usize {
            let those = candidates.iter().enumerate().filter(|(i, _)| is_in(*set, *i));
            those.map(|(_, one)| one.form.bytes()).sum()
        };
        let sets = 1..1_u32 << candidates.len();
        let set = sets.filter(|set| is_fast(*set)).min_by_key(bytes).expect("all of them have the fastest");
        let kept = candidates.into_iter().enumerate().filter(|(i, _)| is_in(set, *i)).map(|(_, one)| one);
        let kept: Vec<_> = kept.collect();
        let fastest = |size: usize| {
            let by_time = |a: &usize, b: &usize| kept[*a].times[size].total_cmp(&kept[*b].times[size]);
            (0..kept.len()).min_by(by_time).expect("some form is kept")
        };
        let by_size = std::array::from_fn(fastest);
        Chosen { forms: kept.into_iter().map(|one| one.form).collect(), by_size }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use super::*;
    use crate::trees::testing::{self, Calls, Shape};

    thread_local! {
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// A form that takes its time for each call and each row.
    struct Timed {
        name: FormName,
        bytes: usize,
        call: Duration,
        row: Duration,
        most: usize,
        /// The number of its first calls that take half a millisecond more.
        held_up: AtomicU32,
    }

    impl Form<f32, f32> for Timed {
        fn name(&self) -> FormName {
            self.name
        }

        fn rows(&self) -> std::ops::RangeInclusive<usize> {
            1..=self.most
        }

        fn bytes(&self) -> usize {
            self.bytes
        }

        fn score(&self, rows: &[f32], _: &mut [f32], _: &mut Scratch) {
            let count = rows.len() / Shape::default().features;
            let left = self.held_up.load(Relaxed);
            self.held_up.store(left.saturating_sub(1), Relaxed);
            let more = Duration::from_micros(if left > 0 { 500 } else { 0 });
            NOW.set(NOW.get() + self.call + self.row * count as u32 + more);
        }
    }

    fn chosen(forms: impl IntoIterator<Item = Timed>) -> Chosen<f32, f32> {
        let ensemble = testing::ensemble(Shape::default(), 1);
        let mut trial = Trial::new(&ensemble, &|| NOW.get());
        forms.into_iter().for_each(|sleeper| trial.enter(Box::new(sleeper)));
        trial.end()
    }

    fn timed(name: FormName, call: u64, row: u64) -> Timed {
        let (call, row) = (Duration::from_micros(call), Duration::from_micros(row));
        Timed { name, bytes: 1000, call, row, most: usize::MAX, held_up: AtomicU32::new(0) }
    }

    #[test]
    fn each_number_of_rows_has_the_fastest_form() {
        let found = chosen([
            timed(FormName::Descent, 10, 2),
            timed(FormName::Heap, 0, 1),
            timed(FormName::Slices, 4, 0),
        ]);
        assert_eq!(found.ends(), [(FormName::Heap, 8), (FormName::Slices, usize::MAX)]);
        assert_eq!(found.bytes(), 2000);
        assert_eq!(found.form(8).name(), FormName::Heap);
        assert_eq!(found.form(9).name(), FormName::Slices);
    }

    #[test]
    fn a_form_is_not_used_for_what_it_is_not_meant_for() {
        let short = Timed { most: 16, ..timed(FormName::Deep, 1, 1) };
        let found = chosen([timed(FormName::Descent, 4, 4), short]);
        assert_eq!(found.ends(), [(FormName::Deep, 32), (FormName::Descent, usize::MAX)]);
    }

    #[test]
    fn a_tie_goes_to_the_smaller() {
        let small = || Timed { bytes: 10, ..timed(FormName::Words, 50, 5) };
        let large = || timed(FormName::Slices, 50, 5);
        for found in [chosen([small(), large()]), chosen([large(), small()])] {
            assert_eq!(found.ends(), [(FormName::Words, usize::MAX)]);
        }
    }

    #[test]
    fn what_held_up_a_measurement_once_decides_nothing() {
        // The first two calls: at first, no more are measured of those that take so long.
        let held_up = Timed { held_up: AtomicU32::new(2), ..timed(FormName::Masks, 0, 1000) };
        let found = chosen([held_up, Timed { most: 1, ..timed(FormName::Heap, 0, 1200) }]);
        assert_eq!(found.form(1).name(), FormName::Masks);
    }

    #[test]
    fn the_time_to_measure_is_bounded() {
        let begin = NOW.get();
        let slow = |name| timed(name, 10_000, 1000);
        let names = [FormName::Descent, FormName::Heap, FormName::Masks, FormName::Deep, FormName::Slices];
        chosen(names.map(slow));
        let spent = NOW.get() - begin;
        assert!(spent < LIMIT + Duration::from_millis(100), "{spent:?}");
    }

    #[test]
    fn where_there_was_no_time_to_measure_a_form_is_chosen_that_is_meant_for_it() {
        let slow = |name| timed(name, 40_000, 0);
        let short = Timed { most: 64, bytes: 1, ..slow(FormName::Deep) };
        let found = chosen([short, slow(FormName::Descent), slow(FormName::Words)]);
        assert_eq!(found.ends(), [(FormName::Deep, 128), (FormName::Descent, usize::MAX)]);
    }

    #[test]
    fn a_form_that_is_far_behind_is_not_measured_with_more_rows() {
        let begin = NOW.get();
        let found = chosen([timed(FormName::Heap, 0, 1), timed(FormName::Descent, 0, 100)]);
        let spent = NOW.get() - begin;
        assert_eq!(found.ends(), [(FormName::Heap, usize::MAX)]);
        assert!(spent < Duration::from_millis(10), "{spent:?}");
    }

    #[test]
    fn what_is_chosen_gives_the_bits_of_the_naive_form() {
        for (seed, leaves) in [(1, 31), (2, 64), (3, 400)] {
            let ensemble = testing::ensemble(Shape { leaves, depth: 12, ..Shape::default() }, seed);
            let calls = Calls::<f32, f32>::new(&ensemble, seed);
            for processor in Processor::here() {
                let chosen = Chosen::fastest(&ensemble, processor);
                chosen.forms.iter().for_each(|form| calls.assert_same_bits(&**form));
            }
        }
    }
}
