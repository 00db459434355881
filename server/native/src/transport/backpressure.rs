//! Backpressure on the calls of one connection: which of them get flow-control window while memory is short.
//!
//! Memory is short while a quota is under pressure (see `quota`). Then these rules hold:
//!
//! 1. Messages that have begun and are not whole stand in a queue, in the order in which they began.
//! 2. Only the first message of the queue gets window for the bytes that were read of it. So it can become
//!    whole, be answered, and free its memory. Then the next message is the first.
//! 3. The window for bytes of all other messages is withheld: it is opened once the message is the first,
//!    once it has left the queue, or once the pressure is over.
//!
//! So messages become whole one after the other, however many of them their clients begin.

use std::collections::VecDeque;

/// The queue of unfinished messages and the withheld window, each by the stream of its call.
#[derive(Default)]
pub(crate) struct Backpressure {
    /// The streams with an unfinished message, in the order in which the messages began.
    unfinished: VecDeque<i32>,
    /// Bytes that were read without opening the stream's window again. A stream has one entry at most, since
    /// its client may send one byte at a time.
    withheld: Vec<(i32, usize)>,
}

impl Backpressure {
    /// Puts a stream into the queue: a message on it has begun. A stream that waits already keeps its place.
    pub(crate) fn begin(&mut self, id: i32) {
        if !self.unfinished.contains(&id) {
            self.unfinished.push_back(id);
        }
    }

    /// Takes a stream out of the queue: its message is whole, or its call is over.
    pub(crate) fn end(&mut self, id: i32) {
        self.unfinished.retain(|&other| other != id);
    }

    /// Whether the other messages wait for the message on this stream. True for every stream while the
    /// queue is empty.
    pub(crate) fn is_first(&self, id: i32) -> bool {
        self.unfinished.front().is_none_or(|&first| first == id)
    }

    /// Withholds window for `bytes` that were read from a stream.
    pub(crate) fn withhold(&mut self, id: i32, bytes: usize) {
        match self.withheld.iter_mut().find(|(other, _)| *other == id) {
            Some((_, withheld)) => *withheld += bytes,
            None => self.withheld.push((id, bytes)),
        }
    }

    /// Takes out the streams whose window is to be opened now, with the bytes withheld from each: all
    /// streams without pressure, else those that rule 3 names.
    pub(crate) fn release(&mut self, pressed: bool) -> Vec<(i32, usize)> {
        let is_free = |this: &Self, id| !pressed || this.is_first(id) || !this.unfinished.contains(&id);
        let (released, withheld) = self.withheld.iter().partition(|&&(id, _)| is_free(self, id));
        self.withheld = withheld;
        released
    }

    /// Whether the window of some stream is withheld.
    pub(crate) fn is_withholding(&self) -> bool {
        !self.withheld.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_pressure_the_first_message_gets_window_and_then_the_next() {
        let mut backpressure = Backpressure::default();
        for id in [1, 3, 5, 3] {
            backpressure.begin(id);
            backpressure.withhold(id, 10);
        }
        assert_eq!(backpressure.release(true), [(1, 10)]);
        backpressure.end(1);
        assert_eq!(backpressure.release(true), [(3, 20)]);
        assert!(backpressure.is_withholding());
        assert_eq!(backpressure.release(false), [(5, 10)]);
        assert!(!backpressure.is_withholding());
    }

    #[test]
    fn a_call_has_one_entry_however_small_its_frames_are() {
        let mut backpressure = Backpressure::default();
        for id in [1, 3] {
            backpressure.begin(id);
        }
        for _ in 0..1000 {
            backpressure.withhold(3, 1);
        }
        assert_eq!(backpressure.withheld, [(3, 1000)]);
    }

    #[test]
    fn a_message_that_is_whole_gets_its_window_back() {
        let mut backpressure = Backpressure::default();
        backpressure.begin(1);
        backpressure.withhold(3, 10);
        assert_eq!(backpressure.release(true), [(3, 10)]);
    }
}
