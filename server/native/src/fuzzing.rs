//! What the fuzz targets run: the only public part of the crate. Tests run the same over the corpus.

use crate::rows::request::Request;
use crate::transport::http2::exercise::exercise;

/// Decodes bytes as a request; true where they are one. No bytes make the decoder panic, what it reads is
/// whole, and what an earlier message left behind does not show.
pub fn decode(data: &[u8]) -> bool {
    let (mut used, mut fresh) = (Request::default(), Request::default());
    let _ = used.decode_stream(data);
    let read = used.decode(data);
    assert_eq!(read, fresh.decode(data));
    if read.is_ok() {
        assert_eq!(used, fresh);
        assert_eq!(used.numbers(data).len() % size_of::<f64>(), 0);
        let explained = used.explain.as_ref().map(|explain| &explain.output);
        let names = [&used.model, &used.version, &used.schema_fingerprint].into_iter().chain(explained);
        for text in used.texts.iter().chain(names) {
            assert!(std::str::from_utf8(text.of(data)).is_ok());
        }
    }
    read.is_ok()
}

/// Feeds bytes to an HTTP/2 session as its client. No bytes harm it, whatever its calls do.
pub fn session(data: &[u8]) {
    exercise(data);
}
