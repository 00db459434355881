//! `cargo +nightly fuzz run session`: feeds arbitrary bytes to an HTTP/2 session, as its client.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| scorewire_native::fuzzing::session(data));
