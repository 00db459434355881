//! Load on one PredictStream: sends MESSAGES messages, of which up to WINDOW wait for their answers at a time.
//!
//! `cargo run --release --example stream_load -- ADDRESS BODY MESSAGES WINDOW`. BODY is a file with one gRPC
//! message or more, each with its prefix; they are sent in turn. Prints the seconds from the first message to the
//! last answer. Exits with 1 if an answer is an error or missing.

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{self, ResponseFuture};
use h2::{RecvStream, SendStream};
use http::{HeaderValue, Request};
use tokio::net::TcpStream;

/// The prefix of a gRPC message: a flag, and the length in four bytes.
const PREFIX_BYTES: usize = 5;
/// The first byte of two fields of PredictStreamResponse: `correlation_id`, and the response with scores.
const CORRELATION_ID: u8 = 0x08;
const RESPONSE: u8 = 0x12;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, body, messages, window] = arguments.as_slice() else {
        return Err("ADDRESS BODY MESSAGES WINDOW".into());
    };
    let mut messages_in_turn = Messages::new(&std::fs::read(body)?).ok_or("BODY is not whole messages")?;
    let (count, window): (usize, usize) = (messages.parse()?, window.parse()?);
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
        let start = Instant::now();
        let (response, sender) = client.send_request(request, false)?;
        let answered = exchange(response, sender, &mut messages_in_turn, count, window).await?;
        println!("{}", start.elapsed().as_secs_f64());
        connection.abort();
        Ok(if answered == count { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// Sends `count` messages, and returns the number of answers that have scores.
async fn exchange(
    response: ResponseFuture,
    mut sender: SendStream<Bytes>,
    messages: &mut Messages,
    count: usize,
    window: usize,
) -> Result<usize, Box<dyn Error>> {
    let mut sent = window.min(count);
    send(&mut sender, messages.take(sent), sent == count).await?;
    let mut answers: RecvStream = response.await?.into_body();
    let mut received = BytesMut::new();
    let (mut seen, mut answered) = (0, 0);
    while let Some(chunk) = answers.data().await {
        let chunk = chunk?;
        answers.flow_control().release_capacity(chunk.len())?;
        received.extend_from_slice(&chunk);
        while let Some(has_scores) = take(&mut received) {
            seen += 1;
            answered += usize::from(has_scores);
        }
        let more = (seen + window).min(count) - sent;
        if more > 0 {
            sent += more;
            send(&mut sender, messages.take(more), sent == count).await?;
        }
    }
    Ok(answered)
}

/// The messages of a file, in turn.
struct Messages {
    messages: Vec<Vec<u8>>,
    next: usize,
}

impl Messages {
    /// Reads messages with their prefixes. `None`: the bytes are not whole messages, or there is no message.
    fn new(mut bytes: &[u8]) -> Option<Self> {
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes.get(1..PREFIX_BYTES)?.try_into().ok()?) as usize;
            messages.push(bytes.get(..PREFIX_BYTES + length)?.to_vec());
            bytes = &bytes[PREFIX_BYTES + length..];
        }
        (!messages.is_empty()).then_some(Self { messages, next: 0 })
    }

    /// The bytes of the next `count` messages.
    fn take(&mut self, count: usize) -> Bytes {
        let start = self.next;
        self.next = (start + count) % self.messages.len();
        (start..start + count).flat_map(|i| &self.messages[i % self.messages.len()]).copied().collect()
    }
}

/// Sends bytes as the server's window allows. `end`: they are the last.
async fn send(sender: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), Box<dyn Error>> {
    while !bytes.is_empty() {
        sender.reserve_capacity(bytes.len());
        let capacity =
            std::future::poll_fn(|cx| sender.poll_capacity(cx)).await.ok_or("the stream ended")??;
        let part = bytes.split_to(capacity.min(bytes.len()));
        let last = end && bytes.is_empty();
        sender.send_data(part, last)?;
    }
    Ok(())
}

/// Takes an answer off the front of the received bytes, and returns whether it has scores. `None`: no answer is
/// whole.
fn take(received: &mut BytesMut) -> Option<bool> {
    let prefix = received.get(..PREFIX_BYTES)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    if received.len() < PREFIX_BYTES + length {
        return None;
    }
    received.advance(PREFIX_BYTES);
    let answer = received.split_to(length);
    // The correlation id comes first, and is left out where it is 0.
    let kind = if answer.first() == Some(&CORRELATION_ID) {
        answer[1..].iter().position(|byte| byte & 0x80 == 0).map(|end| answer[end + 2])
    } else {
        answer.first().copied()
    };
    Some(kind == Some(RESPONSE))
}
