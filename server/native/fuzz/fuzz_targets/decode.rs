//! `cargo +nightly fuzz run decode`: no bytes make the decoder panic, and what it reads is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    scorewire_native::fuzzing::decode(data);
});
