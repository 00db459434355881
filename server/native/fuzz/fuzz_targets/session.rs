//! `cargo +nightly fuzz run session`: no bytes of a client's harm a session, whatever its calls do.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| scorewire_native::fuzzing::session(data));
