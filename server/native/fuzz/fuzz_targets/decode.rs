//! `cargo +nightly fuzz run decode`: no bytes make the decoder panic, and what it reads is whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scorewire_native::protocol::protobuf::Request;

fuzz_target!(|data: &[u8]| {
    let (mut used, mut fresh) = (Request::default(), Request::default());
    // What an earlier message left behind must not show.
    let _ = used.decode_stream(data);
    let read = used.decode(data);
    assert_eq!(read, fresh.decode(data));
    if read.is_ok() {
        assert_eq!(used, fresh);
        assert_eq!(used.numbers(data).len() % 8, 0);
        for text in used.texts.iter().chain([&used.model, &used.version, &used.schema_fingerprint]) {
            assert!(std::str::from_utf8(text.of(data)).is_ok());
        }
    }
});
