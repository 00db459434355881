//! A connection over a pipe: a client of another make on its other end, or bytes by hand.

use std::cell::{Cell, RefCell};
use std::future::Future;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::*;
use crate::session::{Field, Fields};

const HEAD: &[Field] = &[Field::fixed(":status", "200")];
const TRAILERS: &[Field] = &[Field::fixed("grpc-status", "0")];
const WINDOW: usize = 1 << 20;
const PIPE_BYTES: usize = 1 << 16;
const OPTIONS: Options = Options { max_streams: 100, max_age: None };
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
// Of frames: some types, and the length of their head.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const FRAME_HEAD: usize = 9;

/// A server behind a pipe, and the way to end it.
struct Served {
    client: DuplexStream,
    phase: watch::Sender<Phase>,
    done: tokio::task::JoinHandle<()>,
}

fn served<F: Future<Output = ()> + 'static>(
    options: Options,
    mut call: impl FnMut(Body, Answer) -> F + 'static,
) -> Served {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let (phase, watched) = watch::channel(Phase::Serving);
    let done = spawn_local(async move {
        let begin = |begun: &mut dyn Iterator<Item = Call<'_>>, _: &mut Context<'_>| {
            begun.for_each(|begun| drop(spawn_local(call(begun.body, begun.answer))));
        };
        serve(server, &options, watched, begin).await;
    });
    Served { client, phase, done }
}

async fn next(body: &mut Body) -> Option<Bytes> {
    std::future::poll_fn(|cx| body.poll_data(cx)).await.ok().flatten()
}

async fn send(answer: &Answer, data: Bytes) -> bool {
    let room = std::future::poll_fn(|cx| answer.poll_room(cx)).await.is_ok();
    if room {
        answer.data(HEAD, data);
    }
    room
}

async fn echo(mut body: Body, answer: Answer) {
    while let Some(data) = next(&mut body).await {
        if !send(&answer, data).await {
            return;
        }
    }
    answer.end(HEAD, Fields::Borrowed(TRAILERS));
}

/// A client; its window is small where it is given.
async fn client(io: DuplexStream, window: u32) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(8 << 20)
        .handshake::<_, Bytes>(io)
        .await
        .unwrap();
    drop(spawn_local(async move { drop(connection.await) }));
    sender.ready().await.unwrap()
}

fn post() -> Request<()> {
    Request::post("http://host/path").body(()).unwrap()
}

/// Sends as there is room.
async fn send_all(sender: &mut SendStream<Bytes>, data: &mut Bytes, end: bool) {
    while !data.is_empty() {
        sender.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await.unwrap().unwrap();
        let part = data.split_to(room.min(data.len()));
        sender.send_data(part, end && data.is_empty()).unwrap();
    }
}

/// All of a body, and the status in its trailers.
async fn read(response: Response<RecvStream>) -> Result<(Vec<u8>, String), h2::Error> {
    let mut body = response.into_body();
    let mut data = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        data.extend_from_slice(&chunk);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok((data, trailers["grpc-status"].to_str().unwrap().to_owned()))
}

fn run(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

#[test]
fn many_unary_calls_are_answered_on_one_connection() {
    run(async {
        let served = served(OPTIONS, echo);
        let mut client = client(served.client, 1 << 20).await;
        let mut answers = Vec::new();
        for number in 0..100_u8 {
            let (response, mut body) = client.send_request(post(), false).unwrap();
            body.send_data(Bytes::from(vec![number; 1 + 100 * usize::from(number)]), true).unwrap();
            answers.push((number, response));
        }
        for (number, response) in answers {
            let (data, status) = read(response.await.unwrap()).await.unwrap();
            assert_eq!(data, vec![number; 1 + 100 * usize::from(number)]);
            assert_eq!(status, "0");
        }
        drop(client);
        served.done.await.unwrap();
    });
}

#[test]
fn a_stream_goes_both_ways_at_once() {
    run(async {
        let served = served(OPTIONS, echo);
        let mut client = client(served.client, 1 << 20).await;
        let (response, mut sender) = client.send_request(post(), false).unwrap();
        sender.send_data(Bytes::from_static(b"0"), false).unwrap();
        let response = response.await.unwrap();
        let mut body = response.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "0");
        for number in 1..50_u32 {
            let data = Bytes::from(number.to_string());
            sender.send_data(data.clone(), number == 49).unwrap();
            assert_eq!(body.data().await.unwrap().unwrap(), data);
        }
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn a_call_that_is_cancelled_is_told_and_the_others_go_on() {
    run(async {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut first = true;
        let served = served(OPTIONS, move |body, answer| {
            let (tell, first) = (tell.clone(), std::mem::take(&mut first));
            async move {
                if !first {
                    return echo(body, answer).await;
                }
                tell.send("begun").unwrap();
                std::future::poll_fn(|cx| answer.poll_gone(cx)).await;
                tell.send("gone").unwrap();
            }
        });
        let mut client = client(served.client, 1 << 20).await;
        let (_response, mut cancelled) = client.send_request(post(), false).unwrap();
        cancelled.send_data(Bytes::from_static(b"lost"), false).unwrap();
        assert_eq!(told.recv().await, Some("begun"));
        let (response, mut body) = client.ready().await.unwrap().send_request(post(), false).unwrap();
        cancelled.send_reset(Reason::CANCEL);
        assert_eq!(told.recv().await, Some("gone"));
        body.send_data(Bytes::from_static(b"kept"), true).unwrap();
        assert_eq!(read(response.await.unwrap()).await.unwrap().0, b"kept");
    });
}

#[test]
fn an_answer_waits_for_a_client_that_does_not_read() {
    run(async {
        let given = Rc::new(Cell::new(0));
        let counted = Rc::clone(&given);
        let served = served(OPTIONS, move |_, answer| {
            let given = Rc::clone(&counted);
            async move {
                for number in 0..100 {
                    assert!(send(&answer, Bytes::from(vec![number; 1000])).await);
                    given.set(given.get() + 1);
                }
                answer.end(HEAD, Fields::Borrowed(TRAILERS));
            }
        });
        let mut client = client(served.client, 2500).await;
        let (response, _body) = client.send_request(post(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut data = body.data().await.unwrap().unwrap().to_vec();
        // Its window takes two and a half, one waits; nothing more is given meanwhile.
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(given.get(), 3);
        body.flow_control().release_capacity(data.len()).unwrap();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.unwrap();
            body.flow_control().release_capacity(chunk.len()).unwrap();
            data.extend_from_slice(&chunk);
        }
        assert_eq!(data, (0..100).flat_map(|number| [number; 1000]).collect::<Vec<_>>());
        assert_eq!(given.get(), 100);
    });
}

#[test]
fn a_client_waits_for_a_call_that_does_not_read() {
    run(async {
        let (go, gone) = oneshot::channel::<()>();
        let gone = RefCell::new(Some(gone));
        let served = served(OPTIONS, move |body, answer| {
            let gone = gone.borrow_mut().take();
            async move {
                if let Some(gone) = gone {
                    gone.await.unwrap();
                }
                echo(body, answer).await;
            }
        });
        let mut client = client(served.client, 4 << 20).await;
        let (response, mut sender) = client.send_request(post(), false).unwrap();
        let sent = Bytes::from(vec![7; 2 * WINDOW]);
        let (mut first, mut rest) = (sent.slice(..WINDOW), sent.slice(WINDOW..));
        send_all(&mut sender, &mut first, false).await;
        let blocked = send_all(&mut sender, &mut rest, true);
        assert!(tokio::time::timeout(Duration::from_secs(1), blocked).await.is_err());
        assert_eq!(rest.len(), WINDOW);
        // Another call still has room on the connection.
        let (other, mut body) = client.clone().ready().await.unwrap().send_request(post(), false).unwrap();
        body.send_data(Bytes::from_static(b"other"), true).unwrap();
        assert_eq!(read(other.await.unwrap()).await.unwrap().0, b"other");
        go.send(()).unwrap();
        drop(spawn_local(async move { send_all(&mut sender, &mut rest, true).await }));
        assert_eq!(read(response.await.unwrap()).await.unwrap().0.len(), 2 * WINDOW);
    });
}

#[test]
fn what_no_call_reads_does_not_use_the_connection_up() {
    run(async {
        let served = served(OPTIONS, |_, answer| async move {
            answer.refuse(&[Field::fixed(":status", "415")]);
        });
        let mut client = client(served.client, 1 << 20).await;
        // Together they are more than the connection's window.
        for _ in 0..20 {
            let (response, mut sender) = client.send_request(post(), false).unwrap();
            let _ = sender.send_data(Bytes::from(vec![7; WINDOW]), true);
            assert_eq!(response.await.unwrap().status(), 415);
            client = client.ready().await.unwrap();
        }
    });
}

#[test]
fn a_call_that_is_answered_early_is_stopped_without_an_error() {
    run(async {
        let served = served(OPTIONS, |_, answer| async move {
            answer.end(HEAD, Fields::Borrowed(TRAILERS));
        });
        let mut client = client(served.client, 1 << 20).await;
        let (response, mut sender) = client.send_request(post(), false).unwrap();
        assert_eq!(read(response.await.unwrap()).await.unwrap().1, "0");
        let reason = std::future::poll_fn(|cx| sender.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::NO_ERROR);
    });
}

#[test]
fn an_answer_that_is_dropped_breaks_the_call_off() {
    run(async {
        let served = served(OPTIONS, |_, answer| async move { drop(answer) });
        let mut client = client(served.client, 1 << 20).await;
        let (response, _body) = client.send_request(post(), true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::CANCEL));
    });
}

#[test]
fn fields_that_are_long_are_sent_and_those_that_are_too_long_end_the_call() {
    run(async {
        let length = Rc::new(Cell::new(100_000));
        let told = Rc::clone(&length);
        let served = served(OPTIONS, move |_, answer| {
            let field = Field { name: "grpc-message", value: "x".repeat(told.get()).into() };
            async move { answer.refuse(&[Field::fixed(":status", "200"), field]) }
        });
        let mut client = client(served.client, 1 << 20).await;
        let (response, _body) = client.send_request(post(), true).unwrap();
        assert_eq!(response.await.unwrap().headers()["grpc-message"].len(), 100_000);
        length.set(2_000_000);
        let (response, _body) = client.send_request(post(), true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::CANCEL));
    });
}

#[test]
fn a_connection_that_closes_ends_with_its_last_call() {
    run(async {
        let served = served(OPTIONS, echo);
        let mut client = client(served.client, 1 << 20).await;
        let (response, mut sender) = client.send_request(post(), false).unwrap();
        sender.send_data(Bytes::from_static(b"before"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "before");
        served.phase.send_replace(Phase::Closing);
        while client.send_request(post(), true).is_ok() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sender.send_data(Bytes::from_static(b"after"), true).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "after");
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        served.done.await.unwrap();
    });
}

#[test]
fn an_old_connection_ends() {
    run(async {
        let options = Options { max_age: Some(Duration::from_secs(30)), ..OPTIONS };
        let served = served(options, echo);
        let _client = client(served.client, 1 << 20).await;
        served.done.await.unwrap();
    });
}

#[test]
fn a_client_that_does_not_greet_is_left() {
    run(async {
        let served = served(OPTIONS, echo);
        served.done.await.unwrap();
        drop(served.client);
    });
}

#[test]
fn a_client_that_does_not_answer_pings_is_left() {
    run(async {
        let mut served = served(OPTIONS, echo);
        served.client.write_all(GREETING).await.unwrap();
        served.done.await.unwrap();
    });
}

/// A call that waits is told that its caller is gone, however the task of its connection ends.
#[test]
fn a_connection_whose_task_ends_at_once_leaves_no_call_behind() {
    for panics in [false, true] {
        run(async move {
            let (tell, mut told) = mpsc::unbounded_channel();
            let mut calls = 0;
            let served = served(OPTIONS, move |_, answer| {
                calls += 1;
                assert!(calls < 3, "the third call is a fault");
                let tell = tell.clone();
                async move {
                    std::future::poll_fn(|cx| answer.poll_gone(cx)).await;
                    tell.send(()).unwrap();
                }
            });
            let mut client = client(served.client, 1 << 20).await;
            let mut open = Vec::new();
            for _ in 0..2 + u8::from(panics) {
                open.push(client.send_request(post(), false).unwrap());
                client = client.ready().await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            if !panics {
                served.done.abort();
            }
            assert_eq!((told.recv().await, told.recv().await), (Some(()), Some(())));
            // Nothing holds the session any more: what could tell more is gone with it.
            assert_eq!(told.recv().await, None);
            assert_eq!(served.done.await.unwrap_err().is_panic(), panics);
            for (response, _) in open {
                assert!(response.await.is_err());
            }
        });
    }
}

/// Sends bytes, and returns the frames that come back until the server ends, or has no more to say.
async fn exchange(options: Options, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut served = served(options, echo);
    let (mut reader, mut writer) = tokio::io::split(&mut served.client);
    let mut told = Vec::new();
    let write = async {
        // A server that has had enough does not read on.
        let _ = writer.write_all(bytes).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    };
    let read = async {
        let mut room = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut room).await {
            told.extend_from_slice(&room[..count]);
        }
    };
    tokio::select! {
        () = async { tokio::join!(write, std::future::pending::<()>()); } => {}
        () = read => {}
        () = tokio::time::sleep(Duration::from_secs(2)) => {}
    }
    let mut frames = Vec::new();
    let mut rest = &told[..];
    while let Some((head, payload)) = rest.split_at_checked(FRAME_HEAD) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        frames.push((head[3], payload[..length].to_vec()));
        rest = &payload[length..];
    }
    frames
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// POST / over http to h, in the words of HPACK's static table; it ends where it is said to.
fn request(stream: u32, end: bool) -> Vec<u8> {
    frame(HEADERS, 4 | u8::from(end), stream, &[0x83, 0x84, 0x86, 0x01, 1, b'h'])
}

fn errors(frames: &[(u8, Vec<u8>)], kind: u8) -> Vec<u32> {
    let at = if kind == GOAWAY { 4 } else { 0 };
    let told = frames.iter().filter(|(one, _)| *one == kind);
    told.map(|(_, payload)| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())).collect()
}

#[test]
fn what_is_no_http_2_ends_the_connection() {
    run(async {
        let frames = exchange(OPTIONS, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").await;
        assert!(frames.iter().all(|(kind, _)| *kind != HEADERS));
    });
}

#[test]
fn malformed_frames_end_the_connection() {
    run(async {
        let broken: [(&str, Vec<u8>); 6] = [
            ("a request without a method", frame(HEADERS, 5, 1, &[0x84, 0x86, 0x01, 1, b'h'])),
            ("data without a stream", frame(0, 0, 0, b"x")),
            ("data of a stream that never began", frame(0, 0, 5, b"x")),
            ("headers that are no HPACK", frame(HEADERS, 4, 1, &[0xff; 5])),
            ("a window beyond all bounds", frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
            ("data amid headers", [frame(HEADERS, 0, 1, &[0x83]), frame(0, 0, 1, b"x")].concat()),
        ];
        for (what, bytes) in broken {
            let frames = exchange(OPTIONS, &[GREETING, &bytes].concat()).await;
            let errors = errors(&frames, GOAWAY);
            assert!(errors.len() == 1 && errors[0] != 0, "{what}: {errors:?}");
        }
    });
}

#[test]
fn a_client_that_opens_too_many_streams_is_refused() {
    run(async {
        let options = Options { max_streams: 3, ..OPTIONS };
        let bytes = [GREETING.to_vec(), (0..5).flat_map(|i| request(2 * i + 1, false)).collect()].concat();
        let frames = exchange(options, &bytes).await;
        assert_eq!(errors(&frames, RST_STREAM), [u32::from(Reason::REFUSED_STREAM); 2]);
    });
}

#[test]
fn a_client_that_resets_without_end_is_left() {
    run(async {
        let begun_and_reset =
            |i: u32| [request(2 * i + 1, false), frame(RST_STREAM, 0, 2 * i + 1, &[0, 0, 0, 8])].concat();
        let few = [GREETING.to_vec(), (0..100).flat_map(begun_and_reset).collect()].concat();
        assert!(errors(&exchange(OPTIONS, &few).await, GOAWAY).is_empty());
        let many = [GREETING.to_vec(), (0..5_000).flat_map(begun_and_reset).collect()].concat();
        assert_eq!(errors(&exchange(OPTIONS, &many).await, GOAWAY).len(), 1);
    });
}

#[test]
fn a_flood_of_pings_that_reads_no_answers_is_held_back() {
    run(async {
        let mut served = served(OPTIONS, echo);
        served.client.write_all(GREETING).await.unwrap();
        let pings = frame(6, 0, 0, b"12345678").repeat(1_000);
        let flood = async {
            let mut written = 0;
            while served.client.write_all(&pings).await.is_ok() {
                written += pings.len();
            }
            written
        };
        // It comes to a stop once the pipe and the server's room are full.
        let flooded = tokio::time::timeout(Duration::from_secs(1), flood).await;
        assert!(flooded.is_err() || served.done.is_finished());
    });
}
