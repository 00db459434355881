//! A connection over a pipe, with h2's client at the other end.

mod closing;
mod hostile;

use std::cell::{Cell, RefCell};
use std::future::Future;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use super::*;
use crate::transport::http2::exercise::PREFACE;
use crate::transport::http2::fields::{HeaderField, HeaderFields, InitialFields};

static INITIAL: InitialFields = InitialFields::new(const { &[HeaderField::fixed(":status", "200")] });
const TRAILERS: &[HeaderField] = &[HeaderField::fixed("grpc-status", "0")];
const CLOSING_TRAILERS: &[HeaderField] = &[HeaderField::fixed("grpc-status", "14")];
/// Longer than any test.
const GRACE: Duration = Duration::from_secs(600);
const WINDOW: usize = 1 << 20;
const PIPE_BYTES: usize = 1 << 16;

fn options() -> ConnectionOptions {
    ConnectionOptions {
        max_streams: 100,
        max_metadata_bytes: 1 << 12,
        max_age: None,
        max_age_grace: None,
        closing_fields: (&INITIAL, HeaderFields::Borrowed(CLOSING_TRAILERS)),
        max_idle: None,
        max_stall: None,
        max_bytes: 1 << 24,
        quota: Quota::new(1 << 26),
        counts: Arc::default(),
    }
}

/// Stands for the other end of a pipe, which has no address.
fn peer() -> Peer {
    Peer::new(([127, 0, 0, 1], 0).into(), None)
}

impl Unread for DuplexStream {
    /// A pipe does not know how many bytes wait.
    fn unread(&self) -> usize {
        0
    }
}

/// A connection that is served behind a pipe, and its client's end of the pipe.
struct Served {
    client: DuplexStream,
    phase: watch::Sender<Phase>,
    done: tokio::task::JoinHandle<()>,
}

fn served<F: Future<Output = ()> + 'static>(
    options: ConnectionOptions,
    mut call: impl FnMut(RequestBody, ResponseWriter) -> F + 'static,
) -> Served {
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let (phase, watched) = watch::channel(Phase::Serving);
    let done = spawn_local(async move {
        let begin = |calls: &mut dyn Iterator<Item = IncomingCall<'_>>, _: &mut Context<'_>| {
            calls.for_each(|incoming| drop(spawn_local(call(incoming.body, incoming.writer))));
        };
        serve(server, peer(), &options, watched, begin).await;
    });
    Served { client, phase, done }
}

async fn next(body: &mut RequestBody) -> Option<Bytes> {
    std::future::poll_fn(|cx| body.poll_data(cx)).await.ok().flatten()
}

async fn send(writer: &ResponseWriter, data: Bytes) -> bool {
    let is_open = std::future::poll_fn(|cx| writer.poll_capacity(cx)).await.is_ok();
    if is_open {
        writer.data(&INITIAL, data);
    }
    is_open
}

async fn echo(mut body: RequestBody, writer: ResponseWriter) {
    while let Some(data) = next(&mut body).await {
        if !send(&writer, data).await {
            return;
        }
    }
    writer.end(&INITIAL, HeaderFields::Borrowed(TRAILERS));
}

/// A client whose streams have this window.
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

/// Sends data as the window allows.
async fn send_all(sender: &mut SendStream<Bytes>, data: &mut Bytes, end: bool) {
    while !data.is_empty() {
        sender.reserve_capacity(data.len());
        let capacity = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await.unwrap().unwrap();
        let part = data.split_to(capacity.min(data.len()));
        sender.send_data(part, end && data.is_empty()).unwrap();
    }
}

/// Reads a response: its body, and the status in its trailers.
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
        let served = served(options(), echo);
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
        let served = served(options(), echo);
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
        let (events, mut seen) = mpsc::unbounded_channel();
        let mut first = true;
        let served = served(options(), move |body, writer| {
            let (events, first) = (events.clone(), std::mem::take(&mut first));
            async move {
                if !first {
                    return echo(body, writer).await;
                }
                events.send("begun").unwrap();
                std::future::poll_fn(|cx| writer.poll_reset(cx)).await;
                events.send("gone").unwrap();
            }
        });
        let mut client = client(served.client, 1 << 20).await;
        let (_response, mut cancelled) = client.send_request(post(), false).unwrap();
        cancelled.send_data(Bytes::from_static(b"lost"), false).unwrap();
        assert_eq!(seen.recv().await, Some("begun"));
        let (response, mut body) = client.ready().await.unwrap().send_request(post(), false).unwrap();
        cancelled.send_reset(Reason::CANCEL);
        assert_eq!(seen.recv().await, Some("gone"));
        body.send_data(Bytes::from_static(b"kept"), true).unwrap();
        assert_eq!(read(response.await.unwrap()).await.unwrap().0, b"kept");
    });
}

#[test]
fn an_answer_waits_for_a_client_that_does_not_read() {
    run(async {
        let given = Rc::new(Cell::new(0));
        let counted = Rc::clone(&given);
        let served = served(options(), move |_, writer| {
            let given = Rc::clone(&counted);
            async move {
                for number in 0..100 {
                    assert!(send(&writer, Bytes::from(vec![number; 1000])).await);
                    given.set(given.get() + 1);
                }
                writer.end(&INITIAL, HeaderFields::Borrowed(TRAILERS));
            }
        });
        let mut client = client(served.client, 2500).await;
        let (response, _body) = client.send_request(post(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut data = body.data().await.unwrap().unwrap().to_vec();
        // The window takes two and a half answers. The rest of the third waits, and no other is given.
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
        let served = served(options(), move |body, writer| {
            let gone = gone.borrow_mut().take();
            async move {
                if let Some(gone) = gone {
                    gone.await.unwrap();
                }
                echo(body, writer).await;
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
        // The connection still has window for another call.
        let (other, mut body) = client.clone().ready().await.unwrap().send_request(post(), false).unwrap();
        body.send_data(Bytes::from_static(b"other"), true).unwrap();
        assert_eq!(read(other.await.unwrap()).await.unwrap().0, b"other");
        go.send(()).unwrap();
        drop(spawn_local(async move { send_all(&mut sender, &mut rest, true).await }));
        assert_eq!(read(response.await.unwrap()).await.unwrap().0.len(), 2 * WINDOW);
    });
}

#[test]
fn data_that_no_call_reads_does_not_use_the_window_of_the_connection_up() {
    run(async {
        let served = served(options(), |_, writer| async move {
            writer.headers_only(&[HeaderField::fixed(":status", "415")]);
        });
        let mut client = client(served.client, 1 << 20).await;
        // Together the calls send more than the connection's window.
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
        let served = served(options(), |_, writer| async move {
            writer.end(&INITIAL, HeaderFields::Borrowed(TRAILERS));
        });
        let mut client = client(served.client, 1 << 20).await;
        let (response, mut sender) = client.send_request(post(), false).unwrap();
        assert_eq!(read(response.await.unwrap()).await.unwrap().1, "0");
        let reason = std::future::poll_fn(|cx| sender.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, Reason::NO_ERROR);
    });
}

#[test]
fn a_response_that_is_dropped_resets_the_stream() {
    run(async {
        let served = served(options(), |_, writer| async move { drop(writer) });
        let mut client = client(served.client, 1 << 20).await;
        let (response, _body) = client.send_request(post(), true).unwrap();
        assert_eq!(response.await.unwrap_err().reason(), Some(Reason::CANCEL));
    });
}

#[test]
fn fields_that_are_long_are_sent_and_those_that_are_too_long_end_the_call() {
    run(async {
        let length = Rc::new(Cell::new(100_000));
        let current = Rc::clone(&length);
        let served = served(options(), move |_, writer| {
            let field = HeaderField { name: "grpc-message", value: "x".repeat(current.get()).into() };
            async move { writer.headers_only(&[HeaderField::fixed(":status", "200"), field]) }
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
        let served = served(options(), echo);
        let mut client = client(served.client, 1 << 20).await;
        let (response, mut sender) = client.send_request(post(), false).unwrap();
        sender.send_data(Bytes::from_static(b"before"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "before");
        served.phase.send_replace(Phase::Closing(Instant::now() + GRACE));
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
fn old_connections_end_within_a_tenth_of_their_age_and_not_together() {
    run(async {
        let age = Duration::from_secs(30);
        let options = ConnectionOptions { max_age: Some(age), ..options() };
        let mut ends = Vec::new();
        for _ in 0..20 {
            let start = tokio::time::Instant::now();
            let served = served(options.clone(), echo);
            let _client = client(served.client, 1 << 20).await;
            served.done.await.unwrap();
            ends.push(start.elapsed());
        }
        let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
        assert!(*first >= age.mul_f64(0.9) && *last <= age.mul_f64(1.1) + Duration::from_secs(1), "{ends:?}");
        assert!(*last - *first > Duration::from_millis(1), "{ends:?}");
    });
}

#[test]
fn a_connection_without_a_preface_ends() {
    run(async {
        let served = served(options(), echo);
        served.done.await.unwrap();
        drop(served.client);
    });
}

#[test]
fn a_connection_whose_client_answers_no_pings_ends() {
    run(async {
        let mut served = served(options(), echo);
        served.client.write_all(PREFACE).await.unwrap();
        served.done.await.unwrap();
    });
}

/// A call that waits is woken, and finds its stream closed, however the task of its connection ends.
#[test]
fn a_connection_whose_task_ends_at_once_leaves_no_call_behind() {
    for panics in [false, true] {
        run(async move {
            let (events, mut seen) = mpsc::unbounded_channel();
            let mut calls = 0;
            let served = served(options(), move |_, writer| {
                calls += 1;
                assert!(calls < 3, "the third call panics");
                let events = events.clone();
                async move {
                    std::future::poll_fn(|cx| writer.poll_reset(cx)).await;
                    events.send(()).unwrap();
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
            assert_eq!((seen.recv().await, seen.recv().await), (Some(()), Some(())));
            // Nobody has the session any more: with it the last sender is gone.
            assert_eq!(seen.recv().await, None);
            assert_eq!(served.done.await.unwrap_err().is_panic(), panics);
            for (response, _) in open {
                assert!(response.await.is_err());
            }
        });
    }
}
