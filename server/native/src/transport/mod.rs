//! Connections: sockets, TLS, HTTP/2 and gRPC's headers, and the limits on what clients may hold.

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
pub(crate) mod stream;
pub(crate) mod tls;
pub(crate) mod trailers;
