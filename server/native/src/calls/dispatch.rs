//! How a call begins: what it is, whether it is admitted, and who goes on with it.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::spawn_local;

use crate::calls::request_messages::{CallError, RequestMessages};
use crate::calls::unary::Unary;
use crate::calls::{Worker, forward, stream, unary};
use crate::encodings::methods::{Method, fixed_method};
use crate::encodings::typed_schema::{TypedService, TypedTarget};
use crate::predict::call::Call;
use crate::predict::outcome::Tally;
use crate::protocol::status::{self, RpcError};
use crate::transport::connection::IncomingCall;
use crate::transport::context::{CallContext, Metadata, Peer};
use crate::transport::grpc::{self, DeliveryError, MessageCompression, Responder};
use crate::transport::headers::{GrpcHeaders, HeaderBlocks};
use crate::transport::stream::RequestBody;

/// By which typed calls name what their rows do not.
const VERSION: &str = "scorewire-version";
const ROUTING_KEY: &str = "scorewire-routing-key";

/// Who answers a call.
enum Handler {
    /// The hot path.
    Prediction(&'static Method),
    /// The hot path, for a typed service.
    Typed(&'static Method, Arc<TypedService>),
    /// The control plane.
    Control,
}

/// Begins calls that came together. Predictions whose messages are here already are answered at
/// once; the rest goes on in tasks.
pub(crate) fn begin<'a>(
    worker: &Arc<Worker>,
    calls: impl Iterator<Item = IncomingCall<'a>>,
    cx: &mut Context<'_>,
) {
    unary::answer(worker, calls.filter_map(|call| begin_one(worker, call, cx)).collect());
}

/// What every call passes before a message of it is read: predictions and control calls, unary and streams.
///
/// Whatever may refuse a call by its method, its metadata or its peer belongs here.
///
/// # Errors
/// `CallError`: the call ends here, because its caller no longer waits.
fn admit(context: &CallContext<'_>) -> Result<(), CallError> {
    if context.is_expired() { Err(DeliveryError::Expired.into()) } else { Ok(()) }
}

/// Begins a call as far as its kind allows; gives back what can be answered at once.
fn begin_one(worker: &Arc<Worker>, call: IncomingCall<'_>, cx: &mut Context<'_>) -> Option<Unary> {
    let IncomingCall { headers, mut body, writer, received, peer } = call;
    let mut responder = Responder::new(writer);
    if headers.is_overlong() {
        let error = RpcError::plain(status::RESOURCE_EXHAUSTED, "Received metadata larger than max");
        responder.finish(Some(&error));
        return None;
    }
    let grpc = headers.grpc();
    let refused = if grpc.method != Some(b"POST") {
        Some("405")
    } else if !grpc::is_grpc(&grpc) {
        Some("415")
    } else {
        None
    };
    if let Some(status) = refused {
        responder.refuse(status);
        return None;
    }
    let Some((path, handler)) = find_handler(worker, &grpc) else {
        let loading = &worker.predictor.loading;
        if loading.is_on() {
            let (worker, peer) = (Arc::clone(worker), Arc::clone(peer));
            drop(spawn_local(wait_for_method(worker, headers.to_blocks(), body, responder, received, peer)));
        } else if loading.is_given_up() {
            responder.finish(Some(&worker.errors().draining));
        } else {
            responder.finish(Some(&RpcError::plain(status::UNIMPLEMENTED, "Method not found!")));
        }
        return None;
    };
    let gzip = match grpc::compression(&grpc) {
        Ok(MessageCompression::Identity) => false,
        Ok(MessageCompression::Gzip { accepted }) => {
            if accepted {
                responder.allow_gzip();
            }
            true
        }
        Err(error) => {
            responder.finish(Some(&error));
            return None;
        }
    };
    let deadline = match deadline(&grpc, received) {
        Ok(deadline) => deadline,
        Err(error) => {
            responder.finish(Some(&error));
            return None;
        }
    };
    let context = CallContext { path, metadata: Metadata::of(headers, &grpc), peer, received, deadline };
    let admitted = admit(&context);
    let max_message_bytes = worker.predictor.scorer.limits.max_message_bytes;
    let messages = |body, unary| RequestMessages::new(body, max_message_bytes, gzip, unary);
    let (method, typed) = match handler {
        Handler::Prediction(method) => (method, None),
        Handler::Typed(method, service) => {
            let told = |name: &str| text(context.metadata.last(name).unwrap_or_default()).to_owned();
            let (version, routing_key) = (told(VERSION), told(ROUTING_KEY));
            (method, Some(Arc::new(TypedTarget { service, version, routing_key })))
        }
        Handler::Control => {
            match admitted.and_then(|()| reserve(&mut body, &grpc)) {
                Ok(()) => {
                    forward::begin(worker, context.to_owned_context(), messages(body, false), responder)
                }
                Err(error) => forward::end(Err(error), responder),
            }
            return None;
        }
    };
    let tracer = worker.predictor.tracer.as_ref();
    let trace = tracer.and_then(|tracer| tracer.begin(grpc.traceparent, &context, method.streams));
    let call = Call::new(&context, method, typed, None, trace);
    match (admitted, method.streams) {
        (Ok(()), false) => return unary::begin(worker, call, messages(body, true), responder, cx),
        (Ok(()), true) => stream::begin(worker, call, messages(body, false), responder),
        (Err(error), _) => worker.end(&call, &Tally::Unrouted, error, responder),
    }
    None
}

/// Reserves the bytes of the metadata, which the control plane gets and may keep as long as the call lasts.
///
/// # Errors
/// `CallError`: the quota of bytes does not allow them.
fn reserve(body: &mut RequestBody, grpc: &GrpcHeaders<'_>) -> Result<(), CallError> {
    let fits = body.reserve_metadata(grpc.metadata_bytes);
    if fits { Ok(()) } else { Err(DeliveryError::Full.into()) }
}

/// Who answers the calls of a path; `None` where nobody does.
fn find_handler<'a>(worker: &Worker, grpc: &GrpcHeaders<'a>) -> Option<(&'a str, Handler)> {
    let path = grpc.path.unwrap_or_default();
    let known = fixed_method(path).map(Handler::Prediction);
    let found = known.or_else(|| {
        let snapshot = worker.predictor.snapshot.load();
        snapshot.typed_method(path).map(|(method, service)| Handler::Typed(method, Arc::clone(service)))
    });
    let path = text(path);
    let found = found.or_else(|| worker.control.contains(path).then_some(Handler::Control));
    found.map(|handler| (path, handler))
}

/// Begins a call of a method that may be of a model that is still to be loaded.
async fn wait_for_method(
    worker: Arc<Worker>,
    blocks: HeaderBlocks,
    body: RequestBody,
    mut responder: Responder,
    received: Instant,
    peer: Arc<Peer>,
) {
    let Some((_, headers)) = blocks.iter().next() else { return };
    let loading = &worker.predictor.loading;
    // One that cannot be read is refused when the call begins.
    let deadline = deadline(&headers.grpc(), received).unwrap_or_default();
    loop {
        let changed = loading.changed();
        if !loading.is_on() || find_handler(&worker, &headers.grpc()).is_some() {
            break;
        }
        match responder.wait_for(deadline, changed).await {
            Ok(()) => {}
            Err(DeliveryError::Expired) => return responder.finish(Some(&worker.errors().expired)),
            Err(DeliveryError::Reset | DeliveryError::Full) => return,
        }
    }
    let writer = responder.into_writer();
    let mut call = Some(IncomingCall { headers, body, writer, received, peer: &peer });
    std::future::poll_fn(|cx| {
        begin(&worker, call.take().into_iter(), cx);
        Poll::Ready(())
    })
    .await;
}

/// A header as text; "" where it is not UTF-8.
fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

/// When a call's time is over, if ever.
///
/// # Errors
/// `RpcError`: the caller's timeout cannot be read. The words are those of gRPC's core.
fn deadline(grpc: &GrpcHeaders<'_>, received: Instant) -> Result<Option<Instant>, RpcError> {
    let malformed = |_| RpcError::plain(status::INTERNAL, "Error parsing 'grpc-timeout' metadata");
    // A time beyond what the clock can say is no deadline.
    grpc::timeout(grpc).map_err(malformed).map(|timeout| received.checked_add(timeout?))
}
