//! The headers of calls that have begun: flat, and used again for the next ones.

use std::ops::Range;

/// Room that is kept for the next calls.
const KEPT_BYTES: usize = 1 << 16;
const KEPT_PLACES: usize = 1 << 11;

/// A field: where its name begins, its value begins, and its value ends.
#[derive(Debug, Clone, Copy)]
struct FieldPlace(usize, usize, usize);

/// The calls that have begun since the last look, in their order, each with its headers; behind them
/// the fields of a head that has not ended. Where those begin follows from the calls alone: what a read
/// leaves behind cannot contradict them.
#[derive(Default)]
pub(crate) struct HeaderBlocks {
    bytes: Vec<u8>,
    places: Vec<FieldPlace>,
    calls: Vec<(i32, Range<usize>, bool)>,
}

impl HeaderBlocks {
    /// How many fields belong to calls.
    fn whole(&self) -> usize {
        self.calls.last().map_or(0, |(_, places, _)| places.end)
    }

    /// A head begins. What is left of one that never ended is dropped.
    pub(crate) fn begin(&mut self) {
        self.places.truncate(self.whole());
        self.bytes.truncate(self.places.last().map_or(0, |place| place.2));
    }

    /// A field of that head.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.places.push(FieldPlace(start, start + name.len(), self.bytes.len()));
    }

    /// That head is whole: the call has begun. It is overlong where fields of it were not kept.
    pub(crate) fn end(&mut self, stream: i32, overlong: bool) {
        self.calls.push((stream, self.whole()..self.places.len(), overlong));
    }

    /// Takes the calls out. A head that has not ended stays.
    pub(crate) fn take(&mut self) -> Self {
        let mut rest = Self::default();
        for FieldPlace(start, middle, end) in self.places.drain(self.whole()..) {
            let start_then = rest.bytes.len();
            rest.bytes.extend_from_slice(&self.bytes[start..end]);
            rest.places.push(FieldPlace(start_then, start_then + middle - start, rest.bytes.len()));
        }
        std::mem::replace(self, rest)
    }

    /// Uses the room of calls that were taken out for the next ones.
    pub(crate) fn give_back(&mut self, mut used: Self) {
        if self.calls.is_empty() && self.places.is_empty() {
            used.clear();
            *self = used;
        }
    }

    /// Each call's stream, and its head.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, Headers<'_>)> {
        self.calls.iter().map(|(stream, places, overlong)| {
            let places = &self.places[places.clone()];
            (*stream, Headers { bytes: &self.bytes, places, overlong: *overlong })
        })
    }

    fn clear(&mut self) {
        self.calls.clear();
        self.places.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.places.shrink_to(KEPT_PLACES);
    }
}

/// The headers that a call began with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers<'a> {
    bytes: &'a [u8],
    places: &'a [FieldPlace],
    overlong: bool,
}

impl<'a> Headers<'a> {
    /// Whether it is longer than allowed; then some of its fields are missing.
    pub(crate) fn is_overlong(self) -> bool {
        self.overlong
    }

    /// A copy, as of the only call that has begun.
    pub(crate) fn to_blocks(self) -> HeaderBlocks {
        let mut copy = HeaderBlocks::default();
        copy.begin();
        for place in self.places {
            copy.push(&self.bytes[place.0..place.1], &self.bytes[place.1..place.2]);
        }
        copy.end(0, self.overlong);
        copy
    }

    /// The fields that say what a call is; one that is there twice has its first value.
    #[inline]
    pub(crate) fn grpc(self) -> GrpcHeaders<'a> {
        let mut grpc = GrpcHeaders::default();
        for (name, value) in self.fields() {
            let place = match name {
                b":method" => &mut grpc.method,
                b":path" => &mut grpc.path,
                b"content-type" => &mut grpc.content_type,
                b"grpc-timeout" => &mut grpc.timeout,
                b"grpc-encoding" => &mut grpc.encoding,
                b"grpc-accept-encoding" => &mut grpc.accept_encoding,
                name if is_reserved(name) => continue,
                _ => {
                    grpc.metadata_bytes += name.len() + value.len();
                    continue;
                }
            };
            place.get_or_insert(value);
        }
        grpc
    }

    /// The fields that the caller added to those of HTTP/2 and gRPC, in their order.
    pub(crate) fn metadata(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.fields().filter(|(name, _)| !is_reserved(name))
    }

    /// The fields in their order.
    pub(crate) fn fields(self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        let Self { bytes, places, .. } = self;
        places.iter().map(|place| (&bytes[place.0..place.1], &bytes[place.1..place.2]))
    }
}

/// Whether a field belongs to HTTP/2 or gRPC, and not to the caller's metadata.
#[inline]
fn is_reserved(name: &[u8]) -> bool {
    match name.first() {
        Some(b':') => true,
        Some(b'g') => name.starts_with(b"grpc-"),
        Some(b't') => name == b"te",
        Some(b'c') => name == b"content-type",
        _ => false,
    }
}

/// What the head of a gRPC call says of it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct GrpcHeaders<'a> {
    pub method: Option<&'a [u8]>,
    pub path: Option<&'a [u8]>,
    pub content_type: Option<&'a [u8]>,
    pub timeout: Option<&'a [u8]>,
    pub encoding: Option<&'a [u8]>,
    pub accept_encoding: Option<&'a [u8]>,
    /// The bytes of the names and values of the caller's metadata.
    pub metadata_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(begun: &mut HeaderBlocks, fields: &[(&str, &str)]) {
        begun.begin();
        for (name, value) in fields {
            begun.push(name.as_bytes(), value.as_bytes());
        }
    }

    /// Each call's stream and the fields of its head, as text.
    fn found(begun: &HeaderBlocks) -> Vec<(i32, Vec<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let field = |(name, value)| format!("{}={}", text(name), text(value));
        begun.iter().map(|(stream, head)| (stream, head.fields().map(field).collect())).collect()
    }

    fn call(stream: i32, fields: &[&str]) -> (i32, Vec<String>) {
        (stream, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn each_call_has_its_own_fields() {
        let mut begun = HeaderBlocks::default();
        push(&mut begun, &[("a", "1"), ("b", "2"), ("a", "3")]);
        begun.end(1, false);
        push(&mut begun, &[("a", "4")]);
        begun.end(3, true);
        assert_eq!(found(&begun), [call(1, &["a=1", "b=2", "a=3"]), call(3, &["a=4"])]);
        assert_eq!(begun.iter().map(|(_, head)| head.is_overlong()).collect::<Vec<_>>(), [false, true]);
        begun.clear();
        assert!(begun.iter().next().is_none());
    }

    #[test]
    fn a_head_says_what_its_call_is_and_the_first_value_counts() {
        let mut begun = HeaderBlocks::default();
        let names =
            [":method", ":path", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"];
        push(&mut begun, &names.map(|name| (name, name)));
        for name in names.map(str::as_bytes) {
            begun.push(name, b"again");
        }
        begun.end(1, false);
        push(&mut begun, &[("other", "")]);
        begun.end(3, false);
        let values = |grpc: GrpcHeaders<'_>| {
            let GrpcHeaders { method, path, content_type, timeout, encoding, accept_encoding, .. } = grpc;
            let found = [method, path, content_type, timeout, encoding, accept_encoding];
            found.map(|value| value.map(<[u8]>::to_vec))
        };
        let found: Vec<_> = begun.iter().map(|(_, head)| values(head.grpc())).collect();
        assert_eq!(found, [names.map(|name| Some(name.as_bytes().to_vec())), [const { None }; 6]]);
    }

    #[test]
    fn a_head_that_never_ended_leaves_nothing() {
        let mut begun = HeaderBlocks::default();
        push(&mut begun, &[("a", "1")]);
        begun.end(1, false);
        push(&mut begun, &[("b", "lost")]);
        push(&mut begun, &[("c", "2")]);
        begun.end(5, false);
        assert_eq!(found(&begun), [call(1, &["a=1"]), call(5, &["c=2"])]);
    }

    /// A read may end anywhere in a head: before its first field, too, and behind any number of calls.
    #[test]
    fn a_head_may_come_in_pieces() {
        for calls_before in 0..4 {
            for fields_before in 0..3 {
                let mut begun = HeaderBlocks::default();
                for stream in 0..calls_before {
                    push(&mut begun, &[("a", "1"), ("b", "2")]);
                    begun.end(stream, false);
                }
                let fields = [("c", "3"), ("d", "4")];
                push(&mut begun, &fields[..fields_before]);
                let taken = begun.take();
                assert_eq!(
                    found(&taken),
                    (0..calls_before).map(|i| call(i, &["a=1", "b=2"])).collect::<Vec<_>>()
                );
                begun.give_back(taken);
                for (name, value) in &fields[fields_before..] {
                    begun.push(name.as_bytes(), value.as_bytes());
                }
                begun.end(9, false);
                assert_eq!(found(&begun), [call(9, &["c=3", "d=4"])]);
                let taken = begun.take();
                begun.give_back(taken);
                assert!(begun.iter().next().is_none());
            }
        }
    }

    /// The calls that are given back may be older than calls that have begun meanwhile.
    #[test]
    fn what_is_given_back_late_replaces_nothing() {
        let mut begun = HeaderBlocks::default();
        push(&mut begun, &[("a", "1")]);
        begun.end(1, false);
        let taken = begun.take();
        push(&mut begun, &[]);
        begun.end(3, false);
        begun.give_back(taken);
        assert_eq!(found(&begun), [call(3, &[])]);
    }
}
