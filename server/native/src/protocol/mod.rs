pub mod protobuf;
pub mod status;
