//! What is known of a call besides its messages: made once, when the call begins.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::transport::headers::{GrpcHeaders, Headers};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    /// The certificate that the client showed, in DER: its identity under TLS. `None` where the server
    /// asks clients for none.
    pub certificate: Option<Bytes>,
}

/// The metadata that a caller sent: header fields but those of HTTP/2 and gRPC, in their order.
///
/// It is borrowed from the head that it came in, so that a call that is answered at once copies nothing.
/// `to_owned` copies it, in one allocation, for a call that outlives the head.
#[derive(Debug, Clone)]
pub(crate) struct Metadata<'a> {
    entries: MetadataEntries<'a>,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum MetadataEntries<'a> {
    Head(Headers<'a>),
    /// For each entry the lengths of its name and its value, four bytes each, and both of them.
    Owned(Box<[u8]>),
}

impl<'a> Metadata<'a> {
    /// The metadata of a head, of which `grpc` was read.
    pub(crate) fn of(headers: Headers<'a>, grpc: &GrpcHeaders<'_>) -> Self {
        Self { entries: MetadataEntries::Head(headers), bytes: grpc.metadata_bytes }
    }

    /// The bytes of all names and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The names and values in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (head, owned) = match &self.entries {
            MetadataEntries::Head(headers) => (Some(headers.metadata()), None),
            MetadataEntries::Owned(bytes) => (None, Some(read(bytes))),
        };
        head.into_iter().flatten().chain(owned.into_iter().flatten())
    }

    /// The last value of a name.
    pub(crate) fn last(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(found, _)| *found == name.as_bytes()).last().map(|(_, value)| value)
    }

    fn to_owned(&self) -> Metadata<'static> {
        let mut out = Vec::with_capacity(self.bytes);
        for (name, value) in self.iter() {
            out.extend_from_slice(&(name.len() as u32).to_ne_bytes());
            out.extend_from_slice(&(value.len() as u32).to_ne_bytes());
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
        Metadata { entries: MetadataEntries::Owned(out.into()), bytes: self.bytes }
    }
}

/// The entries of metadata that was copied.
fn read(mut rest: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    std::iter::from_fn(move || {
        let (name_length, after) = rest.split_first_chunk()?;
        let (value_length, after) = after.split_first_chunk()?;
        let (name, after) = after.split_at(u32::from_ne_bytes(*name_length) as usize);
        let (value, after) = after.split_at(u32::from_ne_bytes(*value_length) as usize);
        rest = after;
        Some((name, value))
    })
}

/// What is known of a call besides its messages.
#[derive(Debug, Clone)]
pub(crate) struct CallContext<'a> {
    /// The path of the method, as "/package.Service/Method".
    pub path: Cow<'a, str>,
    pub metadata: Metadata<'a>,
    pub peer: Arc<Peer>,
    /// The earliest time at which the call can have come.
    pub received: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

impl CallContext<'_> {
    /// The context of a call that outlives its head.
    pub(crate) fn to_owned(&self) -> CallContext<'static> {
        CallContext {
            path: Cow::Owned(self.path.clone().into_owned()),
            metadata: self.metadata.to_owned(),
            peer: Arc::clone(&self.peer),
            received: self.received,
            deadline: self.deadline,
        }
    }

    /// Whether the caller no longer waits.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Seconds until the deadline, 0 behind it; `None` without one.
    pub(crate) fn seconds_left(&self) -> Option<f64> {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        self.deadline.map(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::headers::HeaderBlocks;

    #[test]
    fn metadata_is_what_the_caller_added_to_the_head() {
        let mut blocks = HeaderBlocks::default();
        blocks.begin();
        let fields = [
            (":path", "/s/m"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("grpc-timeout", "1S"),
            ("user-agent", "test"),
            ("key", "first"),
            ("key", ""),
            ("raw-bin", "AAE"),
        ];
        for (name, value) in fields {
            blocks.push(name.as_bytes(), value.as_bytes());
        }
        blocks.end(1, false);
        let (_, headers) = blocks.iter().next().unwrap();
        let borrowed = Metadata::of(headers, &headers.grpc());
        let wanted: Vec<_> =
            fields[4..].iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        for metadata in [borrowed.to_owned(), borrowed] {
            assert_eq!(metadata.iter().collect::<Vec<_>>(), wanted);
            let bytes: usize = wanted.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert_eq!(metadata.bytes(), bytes);
            assert_eq!((metadata.last("key"), metadata.last("other")), (Some(&b""[..]), None));
        }
    }
}
