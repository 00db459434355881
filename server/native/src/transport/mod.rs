//! Connections: TLS, HTTP/2, gRPC's headers and framing, and the limits on the memory that clients may use.

pub(crate) mod arrivals;
pub(crate) mod backpressure;
pub(crate) mod connection;
pub(crate) mod connection_limits;
pub(crate) mod context;
pub(crate) mod grpc;
pub(crate) mod gzip;
pub(crate) mod headers;
pub(crate) mod http2;
pub(crate) mod messages;
pub(crate) mod quota;
pub(crate) mod spin;
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod trailers;
