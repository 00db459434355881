//! The messages of a connection that have only begun, and the room that their clients do not get.

use std::collections::VecDeque;

/// Calls by their streams.
#[derive(Default)]
pub(crate) struct Backpressure {
    /// Those whose message has only begun, the first to begin first.
    unfinished: VecDeque<i32>,
    /// Bytes that were taken while their client's window was not opened again; one entry for a call, as
    /// a client may send a byte at a time.
    withheld: Vec<(i32, usize)>,
}

impl Backpressure {
    /// A message of a call has begun.
    pub(crate) fn begin(&mut self, id: i32) {
        if !self.unfinished.contains(&id) {
            self.unfinished.push_back(id);
        }
    }

    /// The message is whole, or the call is over.
    pub(crate) fn end(&mut self, id: i32) {
        self.unfinished.retain(|&other| other != id);
    }

    /// Whether the other messages wait for that of a call.
    pub(crate) fn is_first(&self, id: i32) -> bool {
        self.unfinished.front().is_none_or(|&first| first == id)
    }

    /// Does not open the window again by so many bytes.
    pub(crate) fn withhold(&mut self, id: i32, bytes: usize) {
        match self.withheld.iter_mut().find(|(other, _)| *other == id) {
            Some((_, withheld)) => *withheld += bytes,
            None => self.withheld.push((id, bytes)),
        }
    }

    /// What of the withheld is to be given now; all of it unless there is pressure.
    pub(crate) fn relieve(&mut self, pressed: bool) -> Vec<(i32, usize)> {
        let given = |this: &Self, id| !pressed || this.is_first(id) || !this.unfinished.contains(&id);
        let (now, later) = self.withheld.iter().partition(|&&(id, _)| given(self, id));
        self.withheld = later;
        now
    }

    /// Whether something is withheld.
    pub(crate) fn withholds(&self) -> bool {
        !self.withheld.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_pressure_the_first_message_gets_its_room_and_then_the_next() {
        let mut backpressure = Backpressure::default();
        for id in [1, 3, 5, 3] {
            backpressure.begin(id);
            backpressure.withhold(id, 10);
        }
        assert_eq!(backpressure.relieve(true), [(1, 10)]);
        backpressure.end(1);
        assert_eq!(backpressure.relieve(true), [(3, 20)]);
        assert!(backpressure.withholds());
        assert_eq!(backpressure.relieve(false), [(5, 10)]);
        assert!(!backpressure.withholds());
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
    fn a_message_that_is_whole_gives_its_room_back() {
        let mut backpressure = Backpressure::default();
        backpressure.begin(1);
        backpressure.withhold(3, 10);
        assert_eq!(backpressure.relieve(true), [(3, 10)]);
    }
}
