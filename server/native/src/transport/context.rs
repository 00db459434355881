//! The context of a call: all that is known of it besides its messages. It is made once, when the call begins.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use crate::protocol::trace_context::OpenSpan;
use crate::transport::headers::{GrpcHeaders, Headers};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    /// The address without the port, as text.
    pub host: Box<str>,
    /// The client's certificate in DER: its identity under TLS. `None` without TLS, or where the server does
    /// not ask clients for a certificate.
    pub certificate: Option<Bytes>,
}

impl Peer {
    /// A peer. A socket for both families has IPv4 addresses within IPv6; here they are as their callers know them.
    pub(crate) fn new(address: SocketAddr, certificate: Option<Bytes>) -> Self {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Self { address, host: address.ip().to_string().into(), certificate }
    }
}

/// The metadata of a call: all header fields but those of HTTP/2 and gRPC, in the order in which they came.
/// It borrows from the headers, so that a call that is answered at once copies nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata<'a> {
    headers: Headers<'a>,
    bytes: usize,
}

impl<'a> Metadata<'a> {
    /// The metadata among these headers. `grpc` was read from the same headers.
    pub(crate) fn of(headers: Headers<'a>, grpc: &GrpcHeaders<'_>) -> Self {
        Self { headers, bytes: grpc.metadata_bytes }
    }

    /// The name and the value of each entry, in the order in which the entries came.
    pub(crate) fn iter(self) -> impl DoubleEndedIterator<Item = (&'a [u8], &'a [u8])> {
        self.headers.metadata()
    }

    /// The last value that was sent for a name.
    pub(crate) fn last(self, name: &str) -> Option<&'a [u8]> {
        self.iter().rfind(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// All entries in one block: for each the length of its name and of its value, four bytes each,
    /// little-endian; its name; its value.
    fn to_block(self) -> Box<[u8]> {
        let mut block = Vec::with_capacity(self.bytes);
        for (name, value) in self.iter() {
            block.extend_from_slice(&(name.len() as u32).to_le_bytes());
            block.extend_from_slice(&(value.len() as u32).to_le_bytes());
            block.extend_from_slice(name);
            block.extend_from_slice(value);
        }
        block.into()
    }
}

/// What is known of a call besides its messages, while its headers are there.
///
/// Whatever a later stage of the hot path needs of the metadata is taken from here when the call is admitted:
/// a stream may be open for hours, and must not keep what its caller once sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallContext<'a> {
    /// The path of the method: "/package.Service/Method".
    pub path: &'a str,
    pub metadata: Metadata<'a>,
    pub peer: &'a Arc<Peer>,
    /// The earliest time at which the call can have arrived.
    pub received: Instant,
    /// When the caller stops waiting. `None`: the caller sets no deadline.
    pub deadline: Option<Instant>,
}

impl CallContext<'_> {
    /// Whether the deadline has passed.
    pub(crate) fn is_expired(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// The context as the control plane gets it, with the name of who calls.
    pub(crate) fn to_owned_context(self, principal: Option<Arc<str>>) -> OwnedContext {
        OwnedContext {
            path: self.path.to_owned(),
            metadata: self.metadata.to_block(),
            peer: Arc::clone(self.peer),
            received: self.received,
            deadline: self.deadline,
            span: None,
            principal,
        }
    }
}

/// The context of a call that the control plane answers.
#[derive(Debug)]
pub(crate) struct OwnedContext {
    pub path: String,
    /// The entries of the metadata, as of `Metadata::to_block`.
    pub metadata: Box<[u8]>,
    pub peer: Arc<Peer>,
    pub received: Instant,
    pub deadline: Option<Instant>,
    /// Of a message of a traced prediction: the span, which the control plane ends if it comes to the message
    /// in time.
    pub span: Option<Arc<dyn OpenSpan>>,
    /// The name of who calls, if the engine found that out.
    pub principal: Option<Arc<str>>,
}

impl OwnedContext {
    /// Nanoseconds since the call arrived.
    pub(crate) fn age_ns(&self) -> u64 {
        self.received.elapsed().as_nanos() as u64
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
    use crate::transport::headers::{Flaws, HeaderBlocks};

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
        blocks.end(1, Flaws::default());
        let (_, headers) = blocks.iter().next().unwrap();
        let metadata = Metadata::of(headers, &headers.grpc());
        let wanted: Vec<_> =
            fields[4..].iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        assert_eq!(metadata.iter().collect::<Vec<_>>(), wanted);
        assert_eq!((metadata.last("key"), metadata.last("other")), (Some(&b""[..]), None));
        let entry = |name: &[u8], value: &[u8]| {
            let length = |text: &[u8]| (text.len() as u32).to_le_bytes();
            [&length(name)[..], &length(value), name, value].concat()
        };
        let block: Vec<_> = wanted.iter().flat_map(|(name, value)| entry(name, value)).collect();
        assert_eq!(metadata.to_block()[..], block);
    }
}
