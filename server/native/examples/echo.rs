//! An empty gRPC server over h2, the usual HTTP/2 library of Rust. It answers every call with the call's own
//! message.
//!
//! Benchmarks compare the engine with this server, which does only what every server must do.
//! `cargo run --release --example echo -- PORT` prints the address, and serves on one thread until it is killed.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{self, SendResponse};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::net::{TcpListener, TcpStream};

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        println!("{}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            drop(tokio::spawn(async move {
                // An error of a connection concerns only its client.
                let _ = serve(socket).await;
            }));
        }
    })
}

async fn serve(socket: TcpStream) -> Result<(), h2::Error> {
    let mut connection = server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .max_concurrent_streams(1024)
        .handshake::<_, Bytes>(socket)
        .await?;
    while let Some(call) = connection.accept().await {
        let (request, responder) = call?;
        drop(tokio::spawn(async move {
            let _ = answer(request, responder).await;
        }));
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut responder: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut body = request.into_body();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let mut response = Response::new(());
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    let mut stream = responder.send_response(response, false)?;
    stream.send_data(Bytes::from(message), false)?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
