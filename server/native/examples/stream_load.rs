//! Load on one PredictStream: messages in turn, again and again, so many of them on their way at a time.
//!
//! `cargo run --release --example stream_load -- ADDRESS BODY MESSAGES WINDOW`, where BODY is a file
//! with one gRPC message or more. Prints the seconds that it took; ends with 1 if an answer is an error, or one
//! is missing.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{self, ResponseFuture};
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request};
use tokio::net::TcpStream;

/// The head of a gRPC message: a flag and the length.
const HEAD: usize = 5;
/// The first byte of field 1, a varint, and of field 2, a message: a PredictStreamResponse with scores.
const CORRELATION_ID: u8 = 0x08;
const RESPONSE: u8 = 0x12;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, body, messages, window] = arguments.as_slice() else {
        return Err("ADDRESS BODY MESSAGES WINDOW".into());
    };
    let mut turns = Turns::new(&std::fs::read(body)?).ok_or("BODY has no whole messages")?;
    let (messages, window): (usize, usize) = (messages.parse()?, window.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let (mut client, connection) = client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(8 << 20)
            .handshake::<_, Bytes>(socket)
            .await?;
        let connection = tokio::spawn(connection);
        let request = Request::post(format!("http://{address}/scorewire.v1.PredictionService/PredictStream"))
            .header("content-type", HeaderValue::from_static("application/grpc"))
            .header("te", HeaderValue::from_static("trailers"))
            .body(())?;
        let begin = Instant::now();
        let (response, sender) = client.send_request(request, false)?;
        let answered = exchange(response, sender, &mut turns, messages, window).await?;
        println!("{}", begin.elapsed().as_secs_f64());
        connection.abort();
        Ok(if answered == messages { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Sends the messages, and counts the answers that have scores.
async fn exchange(
    response: ResponseFuture,
    mut sender: SendStream<Bytes>,
    turns: &mut Turns,
    messages: usize,
    window: usize,
) -> Result<usize, Box<dyn Error>> {
    let mut sent = window.min(messages);
    send(&mut sender, turns.take(sent), sent == messages).await?;
    let mut answers: RecvStream = response.await?.into_body();
    let mut inbox = BytesMut::new();
    let (mut seen, mut answered) = (0, 0);
    while let Some(chunk) = answers.data().await {
        let chunk = chunk?;
        answers.flow_control().release_capacity(chunk.len())?;
        inbox.extend_from_slice(&chunk);
        while let Some(scored) = take(&mut inbox) {
            seen += 1;
            answered += usize::from(scored);
        }
        let more = (seen + window).min(messages) - sent;
        if more > 0 {
            sent += more;
            send(&mut sender, turns.take(more), sent == messages).await?;
        }
    }
    Ok(answered)
}

/// The messages of a file, which are sent in turn.
struct Turns {
    messages: Vec<Vec<u8>>,
    next: usize,
}

impl Turns {
    /// None where the bytes are not whole messages, one at least.
    fn new(mut bytes: &[u8]) -> Option<Self> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes.get(1..HEAD)?.try_into().ok()?) as usize;
            messages.push(bytes.get(..HEAD + length)?.to_vec());
            bytes = &bytes[HEAD + length..];
        }
        (!messages.is_empty()).then_some(Self { messages, next: 0 })
    }

    /// The bytes of so many.
    fn take(&mut self, count: usize) -> Bytes {
        let start = self.next;
        self.next = (start + count) % self.messages.len();
        (start..start + count).flat_map(|i| &self.messages[i % self.messages.len()]).copied().collect()
    }
}

/// Sends messages, as the peer has room for them.
async fn send(sender: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), Box<dyn Error>> {
    while !bytes.is_empty() {
        sender.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|cx| sender.poll_capacity(cx)).await.ok_or("the stream ended")??;
        let part = bytes.split_to(room.min(bytes.len()));
        let last = end && bytes.is_empty();
        sender.send_data(part, last)?;
    }
    Ok(())
}

/// Takes an answer off the front, if all of it is there; whether it has scores.
fn take(inbox: &mut BytesMut) -> Option<bool> {
    let head = inbox.get(..HEAD)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if inbox.len() < HEAD + length {
        return None;
    }
    inbox.advance(HEAD);
    let answer = inbox.split_to(length);
    // The correlation id is 0 and left out, or stands first.
    let kind = if answer.first() == Some(&CORRELATION_ID) {
        answer[1..].iter().position(|byte| byte & 0x80 == 0).map(|end| answer[end + 2])
    } else {
        answer.first().copied()
    };
    Some(kind == Some(RESPONSE))
}
