//! `cargo +nightly fuzz run session`: no bytes of a client's harm a session, whatever its calls do.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scorewire_native::transport::http2::exercise::exercise;

fuzz_target!(|data: &[u8]| exercise(data));
