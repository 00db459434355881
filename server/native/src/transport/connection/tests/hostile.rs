//! Hostile clients, whose bytes are written by hand.

use h2::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::*;
use crate::transport::http2::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, WINDOW_UPDATE,
    frame, read_frames,
};

/// The longest payload that every server must accept.
const MAX_FRAME_BYTES: usize = 1 << 14;

/// Sends bytes, and returns the frames that come back until the connection ends, or for two seconds.
async fn exchange(options: ConnectionOptions, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut served = served(options, echo);
    let (mut reader, mut writer) = tokio::io::split(&mut served.client);
    let mut received = Vec::new();
    let write = async {
        // The server stops reading once it has ended the connection.
        let _ = writer.write_all(bytes).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let read = async {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::select! {
        () = async { tokio::join!(write, std::future::pending::<()>()); } => {}
        () = read => {}
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    frames(&received)
}

/// The type and the payload of each frame.
fn frames(bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    read_frames(bytes).into_iter().map(|(kind, _, payload)| (kind, payload)).collect()
}

/// A POST over http to the authority "h", by HPACK's static table. `end`: the request has no body.
pub(super) fn request(stream: u32, end: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | if end { END_STREAM } else { 0 }, stream, &[0x83, 0x84, 0x86, 0x01, 1, b'h'])
}

/// The error codes of all frames of a kind.
fn errors(frames: &[(u8, Vec<u8>)], kind: u8) -> Vec<u32> {
    let at = if kind == GOAWAY { 4 } else { 0 };
    let found = frames.iter().filter(|(one, _)| *one == kind);
    found.map(|(_, payload)| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())).collect()
}

#[test]
fn bytes_that_are_not_http_2_end_the_connection() {
    run(async {
        let frames = exchange(options(), b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
        assert!(frames.iter().all(|(kind, _)| *kind != HEADERS));
    });
}

#[test]
fn malformed_frames_end_the_connection() {
    run(async {
        let broken: [(&str, Vec<u8>); 6] = [
            (
                "a request without a method",
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x84, 0x86, 0x01, 1, b'h']),
            ),
            ("data without a stream", frame(DATA, 0, 0, b"x")),
            ("data of a stream that never began", frame(DATA, 0, 5, b"x")),
            ("headers that are no HPACK", frame(HEADERS, END_HEADERS, 1, &[0xff; 5])),
            ("a window beyond all bounds", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            ("data amid headers", [frame(HEADERS, 0, 1, &[0x83]), frame(DATA, 0, 1, b"x")].concat()),
        ];
        for (what, bytes) in broken {
            let frames = exchange(options(), &[PREFACE, &bytes].concat()).await;
            let errors = errors(&frames, GOAWAY);
            assert!(errors.len() == 1 && errors[0] != 0, "{what}: {errors:?}");
        }
    });
}

#[test]
fn a_client_that_opens_too_many_streams_is_refused() {
    run(async {
        let options = ConnectionOptions { max_streams: 3, ..options() };
        let bytes = [PREFACE.to_vec(), (0..5).flat_map(|i| request(2 * i + 1, false)).collect()].concat();
        let frames = exchange(options, &bytes).await;
        assert_eq!(errors(&frames, RST_STREAM), [u32::from(Reason::REFUSED_STREAM); 2]);
    });
}

/// The header block of a POST with a field of 4,000 bytes, which HPACK's dynamic table keeps.
fn long_field(value: &[u8]) -> Vec<u8> {
    [&[0x83, 0x84, 0x86, 0x01, 1, b'h', 0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &value.repeat(4_000)].concat()
}

/// A header block that does not end, in as many frames as it takes.
fn header_block(block: &[u8]) -> Vec<u8> {
    let mut frames: Vec<_> =
        block.chunks(MAX_FRAME_BYTES).map(|part| frame(CONTINUATION, 0, 1, part)).collect();
    frames[0][3] = HEADERS;
    frames.concat()
}

#[test]
fn headers_far_beyond_the_limit_end_the_connection_before_they_are_whole() {
    run(async {
        let again = [0x80 | 62];
        let trailers =
            [request(1, false), header_block(&[&long_field(b"v")[6..], &again.repeat(20)].concat())].concat();
        let bombs: [(&str, Vec<u8>); 5] = [
            ("one field again and again", header_block(&[long_field(b"v"), again.repeat(20)].concat())),
            (
                "a field that HTTP does not allow, again and again",
                header_block(&[long_field(b"\0"), again.repeat(20)].concat()),
            ),
            ("fields without end", header_block(&[&long_field(b"v")[..6], &[0x90].repeat(2_000)].concat())),
            (
                "one long field",
                header_block(
                    &[&long_field(b"v")[..], &[0, 1, b'y', 0x7f, 0xa1, 0x9b, 0x01], &[b'v'; 20_000]].concat(),
                ),
            ),
            ("trailers", trailers),
        ];
        for (what, bytes) in bombs {
            let options = options();
            let counts = Arc::clone(&options.counts);
            let frames = exchange(options, &[PREFACE, &bytes].concat()).await;
            assert_eq!(errors(&frames, GOAWAY), [u32::from(Reason::ENHANCE_YOUR_CALM)], "{what}");
            assert_eq!(counts.flooded_connections.load(Relaxed), 1, "{what}");
        }
    });
}

#[test]
fn headers_beyond_the_limit_end_their_call_only() {
    run(async {
        let (events, mut seen) = mpsc::unbounded_channel();
        let (mut client, server) = tokio::io::duplex(PIPE_BYTES);
        let (_phase, watched) = watch::channel(Phase::Serving);
        drop(spawn_local(async move {
            let begin = |calls: &mut dyn Iterator<Item = IncomingCall<'_>>, _: &mut Context<'_>| {
                calls.for_each(|incoming| events.send(incoming.headers.is_overlong()).unwrap());
            };
            serve(server, peer(), &options(), watched, begin).await;
        }));
        let long =
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[long_field(b"v"), vec![0x80 | 62; 2]].concat());
        client.write_all(&[PREFACE, &long, &request(3, true)].concat()).await.unwrap();
        assert_eq!((seen.recv().await, seen.recv().await), (Some(true), Some(false)));
    });
}

#[test]
fn a_client_is_told_that_its_connection_is_old() {
    run(async {
        let options = ConnectionOptions { max_age: Some(Duration::from_millis(100)), ..options() };
        let pong = frame(PING, ACK, 0, b"last\0\0\0\0");
        let mut served = served(options, echo);
        served.client.write_all(PREFACE).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        served.client.write_all(&pong).await.unwrap();
        let mut received = Vec::new();
        served.client.read_to_end(&mut received).await.unwrap();
        let goaways: Vec<_> = frames(&received).into_iter().filter(|(kind, _)| *kind == GOAWAY).collect();
        assert_eq!(goaways.len(), 2);
        assert_eq!(goaways[0].1, [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(goaways[1].1, [&[0; 8][..], b"max_age"].concat());
    });
}

#[test]
fn a_client_that_resets_calls_without_end_loses_its_connection() {
    run(async {
        let begun_and_reset =
            |i: u32| [request(2 * i + 1, false), frame(RST_STREAM, 0, 2 * i + 1, &[0, 0, 0, 8])].concat();
        let few = [PREFACE.to_vec(), (0..100).flat_map(begun_and_reset).collect()].concat();
        assert!(errors(&exchange(options(), &few).await, GOAWAY).is_empty());
        let many = [PREFACE.to_vec(), (0..5_000).flat_map(begun_and_reset).collect()].concat();
        let frames = exchange(options(), &many).await;
        assert_eq!(errors(&frames, GOAWAY), [u32::from(Reason::ENHANCE_YOUR_CALM)]);
    });
}

#[test]
fn a_flood_of_pings_that_reads_no_answers_is_held_back() {
    run(async {
        let mut served = served(options(), echo);
        served.client.write_all(PREFACE).await.unwrap();
        let pings = frame(PING, 0, 0, b"12345678").repeat(1_000);
        let flood = async {
            let mut written = 0;
            while served.client.write_all(&pings).await.is_ok() {
                written += pings.len();
            }
            written
        };
        // The flood stops once the pipe and the server's output buffer are full.
        let flooded = tokio::time::timeout(Duration::from_secs(1), flood).await;
        assert!(flooded.is_err() || served.done.is_finished());
    });
}
