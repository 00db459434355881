//! What is known of a call besides its messages: made once, when the call begins.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::{BufMut, Bytes};

use crate::transport::headers::Headers;

/// Bytes that stand before each entry of `Metadata`: the lengths of its name and its value.
const LENGTHS_BYTES: usize = 8;

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
/// One allocation holds all entries. The limit of a head's bytes bounds it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata(Bytes);

/// Whether a field belongs to HTTP/2 or gRPC, and not to the caller's metadata.
fn is_reserved(name: &[u8]) -> bool {
    name.starts_with(b":") || name.starts_with(b"grpc-") || matches!(name, b"te" | b"content-type")
}

impl Metadata {
    /// The metadata of a head.
    pub(crate) fn of(headers: Headers<'_>) -> Self {
        let entries = || headers.fields().filter(|(name, _)| !is_reserved(name));
        let size = entries().map(|(name, value)| LENGTHS_BYTES + name.len() + value.len()).sum();
        let mut out = Vec::with_capacity(size);
        for (name, value) in entries() {
            out.put_u32_ne(name.len() as u32);
            out.put_u32_ne(value.len() as u32);
            out.put_slice(name);
            out.put_slice(value);
        }
        Self(out.into())
    }

    /// The names and values in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (name_length, after) = rest.split_first_chunk::<4>()?;
            let (value_length, after) = after.split_first_chunk::<4>()?;
            let (name, after) = after.split_at(u32::from_ne_bytes(*name_length) as usize);
            let (value, after) = after.split_at(u32::from_ne_bytes(*value_length) as usize);
            rest = after;
            Some((name, value))
        })
    }

    /// The last value of a name.
    pub(crate) fn last(&self, name: &str) -> Option<&[u8]> {
        self.iter().filter(|(found, _)| *found == name.as_bytes()).last().map(|(_, value)| value)
    }

    /// The bytes of memory that the metadata takes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// What is known of a call besides its messages.
#[derive(Debug, Clone)]
pub(crate) struct CallContext {
    /// The path of the method, as "/package.Service/Method".
    pub path: Cow<'static, str>,
    pub metadata: Metadata,
    pub peer: Arc<Peer>,
    /// The earliest time at which the call can have come.
    pub received: Instant,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
}

impl CallContext {
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
        let metadata = Metadata::of(headers);
        let found: Vec<_> = metadata.iter().collect();
        let wanted = fields[4..].iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        assert_eq!(found, wanted.collect::<Vec<_>>());
        assert_eq!((metadata.last("key"), metadata.last("other")), (Some(&b""[..]), None));
        assert_eq!(Metadata::default().iter().count(), 0);
    }
}
