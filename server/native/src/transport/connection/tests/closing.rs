//! The end of a connection when the engine closes: clients are told early, their last calls are answered, and the
//! end does not take longer than the grace.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::hostile::request;
use super::*;
use crate::transport::http2::frames::{ACK, FRAME_HEADER_BYTES, GOAWAY, HEADERS, PING, frame};

/// Reads frames up to the first frame of a kind, and returns its payload.
async fn read_until(reader: &mut (impl AsyncRead + Unpin), kind: u8) -> Vec<u8> {
    loop {
        let mut header = [0; FRAME_HEADER_BYTES];
        reader.read_exact(&mut header).await.unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize];
        reader.read_exact(&mut payload).await.unwrap();
        if header[3] == kind {
            return payload;
        }
    }
}

#[test]
fn a_call_that_comes_before_the_client_knows_of_the_end_is_answered() {
    run(async {
        let mut served = served(options(), echo);
        served.client.write_all(PREFACE).await.unwrap();
        served.phase.send_replace(Phase::Closing(Instant::now() + GRACE));
        let last_stream = |goaway: Vec<u8>| u32::from_be_bytes(goaway[..4].try_into().unwrap());
        assert_eq!(last_stream(read_until(&mut served.client, GOAWAY).await), u32::MAX >> 1);
        let ping = read_until(&mut served.client, PING).await;
        served.client.write_all(&request(1, true)).await.unwrap();
        read_until(&mut served.client, HEADERS).await;
        served.client.write_all(&frame(PING, ACK, 0, &ping)).await.unwrap();
        assert_eq!(last_stream(read_until(&mut served.client, GOAWAY).await), 1);
        assert_eq!(served.client.read(&mut [0; 1]).await.unwrap(), 0);
        served.done.await.unwrap();
    });
}

#[test]
fn a_connection_that_comes_when_the_engine_closes_is_told_and_answered() {
    run(async {
        let (client, server) = tokio::io::duplex(PIPE_BYTES);
        let (_phase, watched) = watch::channel(Phase::Closing(Instant::now() + GRACE));
        let begin = |calls: &mut dyn Iterator<Item = IncomingCall<'_>>, _: &mut Context<'_>| {
            calls.for_each(|incoming| drop(spawn_local(echo(incoming.body, incoming.writer))));
        };
        let done = spawn_local(async move { serve(server, peer(), &options(), watched, begin).await });
        let (mut reader, mut writer) = tokio::io::split(client);
        writer.write_all(&[PREFACE, &request(1, true)].concat()).await.unwrap();
        read_until(&mut reader, GOAWAY).await;
        let ping = read_until(&mut reader, PING).await;
        read_until(&mut reader, HEADERS).await;
        writer.write_all(&frame(PING, ACK, 0, &ping)).await.unwrap();
        done.await.unwrap();
    });
}

#[test]
fn calls_that_are_open_at_the_end_of_the_grace_are_told() {
    run(async {
        let hold = |mut body: RequestBody, writer: ResponseWriter| async move {
            if next(&mut body).await.is_some() {
                send(&writer, Bytes::from_static(b"begun")).await;
            }
            std::future::poll_fn(|cx| writer.poll_reset(cx)).await;
        };
        let served = served(options(), hold);
        let mut client = client(served.client, 1 << 20).await;
        let (silent, _) = client.send_request(post(), true).unwrap();
        let (response, mut body) = client.send_request(post(), false).unwrap();
        body.send_data(Bytes::from_static(b"begin"), false).unwrap();
        let mut response = response.await.unwrap().into_body();
        assert_eq!(response.data().await.unwrap().unwrap(), "begun");
        served.phase.send_replace(Phase::Closing(Instant::now() + Duration::from_secs(5)));
        assert_eq!(response.trailers().await.unwrap().unwrap()["grpc-status"], "14");
        assert_eq!(silent.await.unwrap().headers()["grpc-status"], "14");
        served.done.await.unwrap();
    });
}

#[test]
fn a_client_that_reads_nothing_does_not_outlive_the_grace() {
    run(async {
        let mut served = served(options(), |body, writer| async move {
            let _body = body;
            writer.data(&INITIAL, Bytes::from(vec![7; 1 << 20]));
            std::future::poll_fn(|cx| writer.poll_reset(cx)).await;
        });
        served.client.write_all(&[PREFACE, &request(1, false)].concat()).await.unwrap();
        served.phase.send_replace(Phase::Closing(Instant::now() + Duration::from_secs(5)));
        served.done.await.unwrap();
    });
}
