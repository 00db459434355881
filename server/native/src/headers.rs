//! The headers of calls that have begun: flat, and used again for the next ones.

use std::ops::Range;

/// What a field counts beside its name and value, as RFC 9113 has it.
const FIELD_OVERHEAD: usize = 32;
/// Room that is kept for the next calls.
const KEPT_BYTES: usize = 1 << 16;

/// A field: where its name begins, its value begins, and its value ends.
#[derive(Clone, Copy)]
struct Place(usize, usize, usize);

/// The calls that have begun since the last look, in their order, each with its headers.
#[derive(Default)]
pub struct Begun {
    bytes: Vec<u8>,
    places: Vec<Place>,
    calls: Vec<(i32, Range<usize>, bool)>,
    /// Where the fields of the head that is being received begin, and what it counts so far.
    open: usize,
    size: usize,
    overlong: bool,
}

impl Begun {
    /// A head begins. What is left of one that never ended is dropped.
    pub fn begin(&mut self) {
        self.open = self.calls.last().map_or(0, |(_, places, _)| places.end);
        self.places.truncate(self.open);
        self.bytes.truncate(self.places.last().map_or(0, |place| place.2));
        self.size = 0;
        self.overlong = false;
    }

    /// A field of that head. Those beyond the limit are not kept.
    pub fn push(&mut self, name: &[u8], value: &[u8], max_bytes: usize) {
        self.size += name.len() + value.len() + FIELD_OVERHEAD;
        self.overlong |= self.size > max_bytes;
        if self.overlong {
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.places.push(Place(start, start + name.len(), self.bytes.len()));
    }

    /// That head is whole: the call has begun.
    pub fn end(&mut self, stream: i32) {
        self.calls.push((stream, self.open..self.places.len(), self.overlong));
        self.size = 0;
    }

    /// Takes the calls out. A head that has not ended stays.
    pub fn take(&mut self) -> Self {
        let whole = self.calls.last().map_or(0, |(_, places, _)| places.end);
        let mut rest = Self { size: self.size, overlong: self.overlong, ..Self::default() };
        for Place(start, middle, end) in self.places.drain(whole..) {
            let start_then = rest.bytes.len();
            rest.bytes.extend_from_slice(&self.bytes[start..end]);
            rest.places.push(Place(start_then, start_then + middle - start, rest.bytes.len()));
        }
        std::mem::replace(self, rest)
    }

    /// Uses the room of calls that were taken out for the next ones.
    pub fn give_back(&mut self, mut used: Self) {
        if self.size == 0 {
            used.clear();
            *self = used;
        }
    }

    /// Each call's stream, and its head.
    pub fn iter(&self) -> impl Iterator<Item = (i32, Head<'_>)> {
        self.calls.iter().map(|(stream, places, overlong)| {
            let places = &self.places[places.clone()];
            (*stream, Head { bytes: &self.bytes, places, overlong: *overlong })
        })
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.places.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.places.shrink_to(KEPT_BYTES / FIELD_OVERHEAD);
    }
}

/// The headers that a call began with.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    bytes: &'a [u8],
    places: &'a [Place],
    overlong: bool,
}

impl<'a> Head<'a> {
    /// Whether it is longer than allowed; then some of its fields are missing.
    pub fn is_overlong(self) -> bool {
        self.overlong
    }

    /// The first value of a name.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next()
    }

    /// The last value of a name.
    pub fn last(self, name: &str) -> Option<&'a [u8]> {
        self.values(name).next_back()
    }

    fn values(self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let named = move |place: &&Place| &self.bytes[place.0..place.1] == name.as_bytes();
        self.places.iter().filter(named).map(move |place| &self.bytes[place.1..place.2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 200;

    fn push(begun: &mut Begun, fields: &[(&str, &str)]) {
        begun.begin();
        for (name, value) in fields {
            begun.push(name.as_bytes(), value.as_bytes(), MAX_BYTES);
        }
    }

    #[test]
    fn each_call_has_its_own_fields() {
        let mut begun = Begun::default();
        push(&mut begun, &[("a", "1"), ("b", "2"), ("a", "3")]);
        begun.end(1);
        push(&mut begun, &[("a", "4")]);
        begun.end(3);
        let heads: Vec<_> =
            begun.iter().map(|(stream, head)| (stream, head.get("a"), head.last("a"))).collect();
        assert_eq!(heads, [(1, Some(&b"1"[..]), Some(&b"3"[..])), (3, Some(b"4"), Some(b"4"))]);
        assert_eq!(begun.iter().next().and_then(|(_, head)| head.get("c")), None);
        begun.clear();
        assert!(begun.iter().next().is_none());
    }

    #[test]
    fn a_head_that_never_ended_leaves_nothing() {
        let mut begun = Begun::default();
        push(&mut begun, &[("a", "1")]);
        begun.end(1);
        push(&mut begun, &[("b", "lost")]);
        push(&mut begun, &[("c", "2")]);
        begun.end(5);
        let last = begun.iter().last().map(|(stream, head)| (stream, head.get("b"), head.get("c")));
        assert_eq!(last, Some((5, None, Some(&b"2"[..]))));
    }

    #[test]
    fn a_head_may_come_in_pieces() {
        let mut begun = Begun::default();
        push(&mut begun, &[("a", "1")]);
        begun.end(1);
        push(&mut begun, &[("b", "2")]);
        let taken = begun.take();
        assert_eq!(taken.iter().map(|(stream, _)| stream).collect::<Vec<_>>(), [1]);
        begun.give_back(taken);
        begun.push(b"c", b"3", MAX_BYTES);
        begun.end(3);
        let fields: Vec<_> = begun.iter().map(|(id, head)| (id, head.get("b"), head.get("c"))).collect();
        assert_eq!(fields, [(3, Some(&b"2"[..]), Some(&b"3"[..]))]);
        let taken = begun.take();
        begun.give_back(taken);
        assert!(begun.iter().next().is_none());
    }

    #[test]
    fn a_head_beyond_the_limit_says_so() {
        let mut begun = Begun::default();
        push(&mut begun, &[("a", "1"), ("b", &"x".repeat(MAX_BYTES)), ("c", "2")]);
        begun.end(1);
        push(&mut begun, &[("a", "1")]);
        begun.end(3);
        let told: Vec<_> = begun.iter().map(|(_, head)| (head.is_overlong(), head.get("c"))).collect();
        assert_eq!(told, [(true, None), (false, None)]);
    }
}
