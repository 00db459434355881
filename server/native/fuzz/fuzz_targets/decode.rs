//! `cargo +nightly fuzz run decode`: decodes arbitrary bytes as a request.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    scorewire_native::fuzzing::decode(data);
});
