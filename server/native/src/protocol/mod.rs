//! What both sides of a connection agree on: protobuf, gRPC's framing and statuses, and the reasons of
//! the contract. This folder depends on no other.

pub(crate) mod framing;
pub(crate) mod otlp;
pub(crate) mod protobuf;
pub(crate) mod reasons;
pub(crate) mod status;
pub(crate) mod trace_context;
