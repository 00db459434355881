//! The context of a call: all that is known of it besides its messages. It is made once, when the call begins.

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
    /// The client's certificate in DER: its identity under TLS. `None` without TLS, or where the server does
    /// not ask clients for a certificate.
    pub certificate: Option<Bytes>,
}

/// The metadata of a call: all header fields but those of HTTP/2 and gRPC, in the order in which they came.
///
/// Metadata borrows from the headers of the call, so that a call that is answered at once copies nothing.
/// `to_owned` copies it, in one allocation, for a call that outlives its headers.
#[derive(Debug, Clone)]
pub(crate) struct Metadata<'a> {
    entries: MetadataEntries<'a>,
    bytes: usize,
}

#[derive(Debug, Clone)]
enum MetadataEntries<'a> {
    Borrowed(Headers<'a>),
    /// For each entry: the length of its name and of its value, four bytes each; its name; its value.
    Owned(Box<[u8]>),
}

impl<'a> Metadata<'a> {
    /// The metadata among these headers. `grpc` was read from the same headers.
    pub(crate) fn of(headers: Headers<'a>, grpc: &GrpcHeaders<'_>) -> Self {
        Self { entries: MetadataEntries::Borrowed(headers), bytes: grpc.metadata_bytes }
    }

    /// The length of all names and values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The name and the value of each entry, in the order in which the entries came.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let (borrowed, owned) = match &self.entries {
            MetadataEntries::Borrowed(headers) => (Some(headers.metadata()), None),
            MetadataEntries::Owned(bytes) => (None, Some(read(bytes))),
        };
        borrowed.into_iter().flatten().chain(owned.into_iter().flatten())
    }

    /// The last value that was sent for a name.
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

/// Reads the entries of `MetadataEntries::Owned`.
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
    /// The path of the method: "/package.Service/Method".
    pub path: Cow<'a, str>,
    pub metadata: Metadata<'a>,
    pub peer: Arc<Peer>,
    /// The earliest time at which the call can have arrived.
    pub received: Instant,
    /// When the caller stops waiting. `None`: the caller sets no deadline.
    pub deadline: Option<Instant>,
}

impl CallContext<'_> {
    /// A copy for a call that outlives its headers.
    pub(crate) fn to_owned(&self) -> CallContext<'static> {
        CallContext {
            path: Cow::Owned(self.path.clone().into_owned()),
            metadata: self.metadata.to_owned(),
            peer: Arc::clone(&self.peer),
            received: self.received,
            deadline: self.deadline,
        }
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Seconds until the deadline; 0 once it has passed, `None` without a deadline.
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
    fn metadata_is_what_the_caller_added_to_the_headers() {
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
