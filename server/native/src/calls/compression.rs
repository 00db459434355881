//! Answers in gzip.

use std::time::Instant;

use tokio::sync::oneshot;

use crate::access::principal::Principal;
use crate::calls::Worker;
use crate::transport::grpc::{DeliveryError, Responder};
use crate::transport::gzip;

/// An answer as it is sent to a message that came in gzip or not; a long one is compressed in a thread, in the turn of
/// the principal that called.
pub(crate) async fn compress(
    worker: &Worker,
    principal: Option<&Principal>,
    deadline: Option<Instant>,
    compressed: bool,
    answer: Vec<u8>,
    responder: &mut Responder,
) -> Result<Vec<u8>, DeliveryError> {
    if !compressed || !responder.allows_gzip() || !gzip::is_worthwhile(&answer) {
        return Ok(answer);
    }
    if answer.len() <= gzip::INLINE_BYTES {
        return Ok(gzip::deflate(answer));
    }
    let (sender, deflated) = oneshot::channel();
    worker.pool.run(principal, move || {
        if !sender.is_closed() {
            let _ = sender.send(gzip::deflate(answer));
        }
    });
    // The threads end only with the server.
    responder.wait_for(deadline, deflated).await?.map_err(|_| DeliveryError::Reset)
}
