//! The distinct answers to each call, and how often each came.
//!
//! Every answer is compared, byte by byte, with those that came before to the same call; the fields that tell
//! how long the server took are left out. So each distinct answer is judged once, by Python, beside the run or
//! after it. An answer beyond the bounds is handed over as it comes, and the run waits if Python is too slow.

use std::borrow::Cow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::protobuf::Fields;

/// The most distinct answers to one call that are kept, and the most bytes of all that are kept.
const MAX_DISTINCT: usize = 8;
const MAX_KEPT_BYTES: usize = 256 << 20;
/// The most answers, and about the most bytes, that wait for Python.
const MAX_WAITING: usize = 4096;
const MAX_WAITING_BYTES: usize = 64 << 20;

/// An answer that is new.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fresh {
    /// The index of the call.
    pub(crate) call: usize,
    /// Which of the distinct answers to the call this is; `None` for one beyond the bounds.
    pub(crate) distinct: Option<usize>,
    /// Whether an answer beyond the bounds belongs to the measured part.
    pub(crate) counts: bool,
    /// The answer without the fields that differ with each call.
    pub(crate) answer: Vec<u8>,
}

/// The answers on their way to Python.
#[derive(Default)]
pub(crate) struct FreshAnswers {
    waiting: Mutex<(Vec<Fresh>, usize, bool)>,
    taken: Condvar,
}

impl FreshAnswers {
    fn lock(&self) -> MutexGuard<'_, (Vec<Fresh>, usize, bool)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the answers that wait.
    pub(crate) fn take(&self) -> Vec<Fresh> {
        let mut waiting = self.lock();
        waiting.1 = 0;
        self.taken.notify_all();
        std::mem::take(&mut waiting.0)
    }

    /// Tells that nobody will take any more answers.
    pub(crate) fn close(&self) {
        self.lock().2 = true;
        self.taken.notify_all();
    }

    fn push(&self, fresh: Fresh) {
        let is_full = |(waiting, bytes, closed): &mut (Vec<Fresh>, usize, bool)| {
            !*closed && (waiting.len() >= MAX_WAITING || *bytes >= MAX_WAITING_BYTES)
        };
        let mut waiting = self.taken.wait_while(self.lock(), is_full).unwrap_or_else(PoisonError::into_inner);
        waiting.1 += fresh.answer.len();
        waiting.0.push(fresh);
    }
}

struct Known {
    answer: Box<[u8]>,
    count: u64,
}

/// The answers that are known.
pub(crate) struct Answers<'a> {
    known: Vec<Vec<Known>>,
    kept_bytes: usize,
    volatile_fields: Vec<u64>,
    fresh: &'a FreshAnswers,
}

impl<'a> Answers<'a> {
    pub(crate) fn new(calls: usize, volatile_fields: Vec<u64>, fresh: &'a FreshAnswers) -> Self {
        Self { known: (0..calls).map(|_| Vec::new()).collect(), kept_bytes: 0, volatile_fields, fresh }
    }

    /// Adds an answer to a call. `counts`: whether it belongs to the measured part.
    pub(crate) fn add(&mut self, call: usize, response: &[u8], counts: bool) {
        let answer = lasting(response, &self.volatile_fields);
        let known = &mut self.known[call];
        if let Some(same) = known.iter_mut().find(|known| *known.answer == *answer) {
            same.count += u64::from(counts);
            return;
        }
        let distinct = (known.len() < MAX_DISTINCT && self.kept_bytes + answer.len() <= MAX_KEPT_BYTES)
            .then_some(known.len());
        if distinct.is_some() {
            self.kept_bytes += answer.len();
            known.push(Known { answer: answer.clone().into(), count: u64::from(counts) });
        }
        self.fresh.push(Fresh { call, distinct, counts, answer: answer.into_owned() });
    }

    /// How often each distinct answer came: the call, which answer to it, and the count.
    pub(crate) fn counts(&self) -> Vec<(usize, usize, u64)> {
        let calls = self.known.iter().enumerate();
        let counts = calls.flat_map(|(call, known)| {
            known.iter().enumerate().map(move |(distinct, known)| (call, distinct, known.count))
        });
        counts.filter(|(_, _, count)| *count > 0).collect()
    }
}

/// A response without its volatile fields. Bytes that are no message stay as they are.
fn lasting<'a>(response: &'a [u8], volatile_fields: &[u64]) -> Cow<'a, [u8]> {
    // In the order of their numbers, which all writers use, the volatile fields are the last ones.
    let mut end = response.len();
    let mut pieces: Option<Vec<u8>> = None;
    for field in Fields::of(response) {
        let Some(field) = field else { return Cow::Borrowed(response) };
        if volatile_fields.contains(&field.number) {
            end = end.min(field.start);
        } else if let Some(pieces) = &mut pieces {
            pieces.extend_from_slice(&response[field.start..field.end]);
        } else if end < field.start {
            let mut kept = response[..end].to_vec();
            kept.extend_from_slice(&response[field.start..field.end]);
            pieces = Some(kept);
        }
    }
    pieces.map_or(Cow::Borrowed(&response[..end]), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1: "a", 6: 5, 7: 1
    const FIRST: &[u8] = b"\x0a\x01a\x30\x05\x38\x01";

    #[test]
    fn answers_that_differ_in_times_alone_are_the_same() {
        let fresh = FreshAnswers::default();
        let mut answers = Answers::new(2, vec![6, 7], &fresh);
        answers.add(1, FIRST, false);
        // Other times, no times, and times before the other fields.
        for same in [&b"\x0a\x01a\x30\x85\x05\x38\x02"[..], b"\x0a\x01a", b"\x30\x05\x0a\x01a"] {
            answers.add(1, same, true);
        }
        answers.add(1, b"\x0a\x01b\x30\x05", true);
        answers.add(0, FIRST, true);
        assert_eq!(answers.counts(), [(0, 0, 1), (1, 0, 3), (1, 1, 1)]);
        let told: Vec<_> =
            fresh.take().into_iter().map(|fresh| (fresh.call, fresh.distinct, fresh.answer)).collect();
        assert_eq!(
            told,
            [
                (1, Some(0), b"\x0a\x01a".to_vec()),
                (1, Some(1), b"\x0a\x01b".to_vec()),
                (0, Some(0), b"\x0a\x01a".to_vec())
            ]
        );
        assert!(fresh.take().is_empty());
    }

    #[test]
    fn a_volatile_field_between_others_is_left_out() {
        assert_eq!(
            *lasting(b"\x0a\x01a\x30\x05\x12\x01b\x30\x06\x1a\x01c", &[6]),
            *b"\x0a\x01a\x12\x01b\x1a\x01c"
        );
        assert_eq!(*lasting(b"\x0a\x09a", &[1]), *b"\x0a\x09a");
        assert_eq!(*lasting(b"", &[1]), *b"");
    }

    #[test]
    fn answers_beyond_the_bounds_are_handed_over_one_by_one() {
        let fresh = FreshAnswers::default();
        let mut answers = Answers::new(1, vec![], &fresh);
        for text in 0..MAX_DISTINCT as u8 + 2 {
            answers.add(0, &[0x08, text], true);
        }
        answers.add(0, &[0x08, MAX_DISTINCT as u8], false);
        let told: Vec<_> = fresh.take().iter().map(|fresh| (fresh.distinct, fresh.counts)).collect();
        assert_eq!(told[MAX_DISTINCT - 1..], [(Some(7), true), (None, true), (None, true), (None, false)]);
        assert_eq!(answers.counts().len(), MAX_DISTINCT);
    }

    #[test]
    fn a_run_waits_while_too_many_answers_wait_for_python() {
        let fresh = FreshAnswers::default();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| {
                let mut answers = Answers::new(1, vec![], &fresh);
                for number in 0..3 * MAX_WAITING as u32 {
                    let mut answer = vec![0x0d];
                    answer.extend_from_slice(&number.to_le_bytes());
                    answers.add(0, &answer, true);
                }
            });
            let mut taken = 0;
            while taken < 3 * MAX_WAITING {
                let some = fresh.take().len();
                assert!(some <= MAX_WAITING);
                taken += some;
            }
            run.join().unwrap();
        });
        fresh.close();
        let mut answers = Answers::new(1, vec![], &fresh);
        for number in 0..2 * MAX_WAITING as u32 {
            let mut answer = vec![0x0d];
            answer.extend_from_slice(&number.to_le_bytes());
            answers.add(0, &answer, true);
        }
    }
}
