//! The header blocks that a connection has received. Each finished block begins one call.
//!
//! All blocks lie in one buffer, one after the other, and the buffer is used again for the next calls, so
//! that a call allocates nothing for its headers. A read from the socket may end inside a block: that
//! unfinished block stays in the buffer until its rest comes, while the finished blocks before it are taken
//! out. Where the unfinished block begins is not stored. It begins behind the last finished block, so no
//! state that a read leaves behind can contradict the list of calls.

use std::ops::Range;

/// Capacity that the buffer keeps for the next calls.
const KEPT_BYTES: usize = 1 << 16;
const KEPT_FIELDS: usize = 1 << 11;

/// Where a field lies in the buffer: its name, and its value right behind it.
#[derive(Debug, Clone, Copy)]
struct FieldSpan {
    name_start: usize,
    value_start: usize,
    end: usize,
}

/// A finished block: the stream of its call, and which fields belong to it.
#[derive(Debug)]
struct Block {
    stream: i32,
    fields: Range<usize>,
    flaws: Flaws,
}

/// What is wrong with a block, some fields of which were not kept.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flaws {
    /// The block was longer than allowed.
    pub overlong: bool,
    /// There was an `authorization` whose value HTTP does not allow.
    pub authorization: bool,
}

/// The finished blocks in the order of their calls; behind them the fields of an unfinished block.
#[derive(Default)]
pub(crate) struct HeaderBlocks {
    bytes: Vec<u8>,
    fields: Vec<FieldSpan>,
    finished: Vec<Block>,
}

impl HeaderBlocks {
    /// The number of fields that belong to finished blocks.
    fn finished_fields(&self) -> usize {
        self.finished.last().map_or(0, |block| block.fields.end)
    }

    /// Begins a block. Fields of an earlier block that never ended are dropped.
    pub(crate) fn begin(&mut self) {
        self.fields.truncate(self.finished_fields());
        self.bytes.truncate(self.fields.last().map_or(0, |field| field.end));
    }

    /// Adds a field to the unfinished block.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        let value_start = name_start + name.len();
        self.fields.push(FieldSpan { name_start, value_start, end: self.bytes.len() });
    }

    /// Finishes the block: the call on `stream` has begun.
    pub(crate) fn end(&mut self, stream: i32, flaws: Flaws) {
        let fields = self.finished_fields()..self.fields.len();
        self.finished.push(Block { stream, fields, flaws });
    }

    /// Takes the finished blocks out. The unfinished block stays.
    pub(crate) fn take(&mut self) -> Self {
        let mut unfinished = Self::default();
        for FieldSpan { name_start, value_start, end } in self.fields.drain(self.finished_fields()..) {
            let (name, value) = (&self.bytes[name_start..value_start], &self.bytes[value_start..end]);
            unfinished.push(name, value);
        }
        std::mem::replace(self, unfinished)
    }

    /// Takes back the memory of blocks that were taken out, for the next calls. Where other fields have come since
    /// then, the memory is freed instead.
    pub(crate) fn give_back(&mut self, mut used: Self) {
        if self.finished.is_empty() && self.fields.is_empty() {
            used.clear();
            *self = used;
        }
    }

    /// The stream and the headers of each call, in the order in which the calls began.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i32, Headers<'_>)> {
        self.finished.iter().map(|block| {
            let fields = &self.fields[block.fields.clone()];
            (block.stream, Headers { bytes: &self.bytes, fields, flaws: block.flaws })
        })
    }

    fn clear(&mut self) {
        self.finished.clear();
        self.fields.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.fields.shrink_to(KEPT_FIELDS);
    }
}

/// The headers of one call, borrowed from the `HeaderBlocks` of its connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Headers<'a> {
    bytes: &'a [u8],
    fields: &'a [FieldSpan],
    flaws: Flaws,
}

impl<'a> Headers<'a> {
    /// Whether the block was longer than allowed. Some of its fields are missing then.
    pub(crate) fn is_overlong(self) -> bool {
        self.flaws.overlong
    }

    /// Copies the headers into `HeaderBlocks` of their own, where they are the only block, of stream 0.
    pub(crate) fn to_blocks(self) -> HeaderBlocks {
        let mut copy = HeaderBlocks::default();
        copy.begin();
        for (name, value) in self.fields() {
            copy.push(name, value);
        }
        copy.end(0, self.flaws);
        copy
    }

    /// The fields that gRPC defines, the traceparent and the authorization. Of a field of gRPC's that is sent
    /// twice, the first value counts.
    #[inline]
    pub(crate) fn grpc(self) -> GrpcHeaders<'a> {
        let mut grpc = GrpcHeaders::default();
        if self.flaws.authorization {
            grpc.authorization = Authorization::Unclear;
        }
        for (name, value) in self.fields() {
            let slot = match name {
                b":method" => &mut grpc.method,
                b":path" => &mut grpc.path,
                b"content-type" => &mut grpc.content_type,
                b"grpc-timeout" => &mut grpc.timeout,
                b"grpc-encoding" => &mut grpc.encoding,
                b"grpc-accept-encoding" => &mut grpc.accept_encoding,
                name if is_reserved(name) => continue,
                _ => {
                    grpc.metadata_bytes += name.len() + value.len();
                    if name == b"traceparent" {
                        grpc.traceparent = Some(value);
                    } else if name == b"authorization" {
                        grpc.authorization = grpc.authorization.and(value);
                    }
                    continue;
                }
            };
            slot.get_or_insert(value);
        }
        grpc
    }

    /// The caller's metadata: all fields but those of HTTP/2 and gRPC, in the order in which they came.
    pub(crate) fn metadata(self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        self.fields().filter(|(name, _)| !is_reserved(name))
    }

    /// The name and the value of each field, in the order in which the fields came.
    pub(crate) fn fields(self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        let Self { bytes, fields, .. } = self;
        fields
            .iter()
            .map(|field| (&bytes[field.name_start..field.value_start], &bytes[field.value_start..field.end]))
    }
}

/// Whether a field belongs to HTTP/2 or gRPC, and so not to the caller's metadata.
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

/// What came as `authorization`, which is part of the metadata.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorization<'a> {
    #[default]
    Missing,
    Value(&'a [u8]),
    /// More than one, or one that HTTP does not allow.
    Unclear,
}

impl<'a> Authorization<'a> {
    /// This, and one more value.
    fn and(self, value: &'a [u8]) -> Self {
        if self == Self::Missing { Self::Value(value) } else { Self::Unclear }
    }
}

/// The header fields that gRPC defines for a request, as the caller sent them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct GrpcHeaders<'a> {
    pub method: Option<&'a [u8]>,
    pub path: Option<&'a [u8]>,
    pub content_type: Option<&'a [u8]>,
    pub timeout: Option<&'a [u8]>,
    pub encoding: Option<&'a [u8]>,
    pub accept_encoding: Option<&'a [u8]>,
    /// W3C's traceparent, which is part of the metadata. Of several, the last one counts, as in gRPC's core.
    pub traceparent: Option<&'a [u8]>,
    pub authorization: Authorization<'a>,
    /// The length of the caller's metadata: the bytes of all names and values.
    pub metadata_bytes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(blocks: &mut HeaderBlocks, fields: &[(&str, &str)]) {
        blocks.begin();
        for (name, value) in fields {
            blocks.push(name.as_bytes(), value.as_bytes());
        }
    }

    /// The stream of each call and its fields, as text.
    fn found(blocks: &HeaderBlocks) -> Vec<(i32, Vec<String>)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let field = |(name, value)| format!("{}={}", text(name), text(value));
        blocks.iter().map(|(stream, headers)| (stream, headers.fields().map(field).collect())).collect()
    }

    fn call(stream: i32, fields: &[&str]) -> (i32, Vec<String>) {
        (stream, fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn each_call_has_its_own_fields() {
        let mut blocks = HeaderBlocks::default();
        push(&mut blocks, &[("a", "1"), ("b", "2"), ("a", "3")]);
        blocks.end(1, Flaws::default());
        push(&mut blocks, &[("a", "4")]);
        blocks.end(3, Flaws { overlong: true, authorization: false });
        assert_eq!(found(&blocks), [call(1, &["a=1", "b=2", "a=3"]), call(3, &["a=4"])]);
        assert_eq!(
            blocks.iter().map(|(_, headers)| headers.is_overlong()).collect::<Vec<_>>(),
            [false, true]
        );
        blocks.clear();
        assert!(blocks.iter().next().is_none());
    }

    #[test]
    fn the_fields_of_grpc_are_found_and_the_first_value_counts() {
        let mut blocks = HeaderBlocks::default();
        let names =
            [":method", ":path", "content-type", "grpc-timeout", "grpc-encoding", "grpc-accept-encoding"];
        push(&mut blocks, &names.map(|name| (name, name)));
        for name in names.map(str::as_bytes) {
            blocks.push(name, b"again");
        }
        blocks.end(1, Flaws::default());
        push(&mut blocks, &[("other", "")]);
        blocks.end(3, Flaws::default());
        let values = |grpc: GrpcHeaders<'_>| {
            let GrpcHeaders { method, path, content_type, timeout, encoding, accept_encoding, .. } = grpc;
            let found = [method, path, content_type, timeout, encoding, accept_encoding];
            found.map(|value| value.map(<[u8]>::to_vec))
        };
        let found: Vec<_> = blocks.iter().map(|(_, headers)| values(headers.grpc())).collect();
        assert_eq!(found, [names.map(|name| Some(name.as_bytes().to_vec())), [const { None }; 6]]);
    }

    #[test]
    fn an_authorization_counts_where_it_is_the_only_one() {
        let read = |values: &[&str], flaw| {
            let mut blocks = HeaderBlocks::default();
            let fields: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
            push(&mut blocks, &fields);
            blocks.end(1, Flaws { overlong: false, authorization: flaw });
            let (_, headers) = blocks.iter().next().unwrap();
            // A copy says the same.
            let copy = headers.to_blocks();
            let [one, other] = [headers.grpc(), copy.iter().next().unwrap().1.grpc()];
            assert_eq!(one.authorization, other.authorization);
            match one.authorization {
                Authorization::Missing => Some(None),
                Authorization::Value(value) => Some(Some(value.to_vec())),
                Authorization::Unclear => None,
            }
        };
        assert_eq!(read(&[], false), Some(None));
        assert_eq!(read(&["Bearer a"], false), Some(Some(b"Bearer a".to_vec())));
        assert_eq!(read(&[""], false), Some(Some(Vec::new())));
        for (values, flaw) in [(&["Bearer a", "Bearer a"][..], false), (&[], true), (&["Bearer a"], true)] {
            assert_eq!(read(values, flaw), None, "{values:?} {flaw}");
        }
    }

    #[test]
    fn a_block_that_never_ended_leaves_nothing() {
        let mut blocks = HeaderBlocks::default();
        push(&mut blocks, &[("a", "1")]);
        blocks.end(1, Flaws::default());
        push(&mut blocks, &[("b", "lost")]);
        push(&mut blocks, &[("c", "2")]);
        blocks.end(5, Flaws::default());
        assert_eq!(found(&blocks), [call(1, &["a=1"]), call(5, &["c=2"])]);
    }

    /// A read may end anywhere in a block, also before its first field, and behind any number of calls.
    #[test]
    fn a_block_may_come_in_pieces() {
        for calls_before in 0..4 {
            for fields_before in 0..3 {
                let mut blocks = HeaderBlocks::default();
                for stream in 0..calls_before {
                    push(&mut blocks, &[("a", "1"), ("b", "2")]);
                    blocks.end(stream, Flaws::default());
                }
                let fields = [("c", "3"), ("d", "4")];
                push(&mut blocks, &fields[..fields_before]);
                let taken = blocks.take();
                assert_eq!(
                    found(&taken),
                    (0..calls_before).map(|i| call(i, &["a=1", "b=2"])).collect::<Vec<_>>()
                );
                blocks.give_back(taken);
                for (name, value) in &fields[fields_before..] {
                    blocks.push(name.as_bytes(), value.as_bytes());
                }
                blocks.end(9, Flaws::default());
                assert_eq!(found(&blocks), [call(9, &["c=3", "d=4"])]);
                let taken = blocks.take();
                blocks.give_back(taken);
                assert!(blocks.iter().next().is_none());
            }
        }
    }

    /// Calls may have begun since the blocks that are given back were taken out.
    #[test]
    fn what_is_given_back_late_replaces_nothing() {
        let mut blocks = HeaderBlocks::default();
        push(&mut blocks, &[("a", "1")]);
        blocks.end(1, Flaws::default());
        let taken = blocks.take();
        push(&mut blocks, &[]);
        blocks.end(3, Flaws::default());
        blocks.give_back(taken);
        assert_eq!(found(&blocks), [call(3, &[])]);
    }
}
