//! How a call begins: what it is, whether it is admitted, and who goes on with it.

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::spawn_local;

use crate::access::credential_error::CredentialError;
use crate::access::gate::Admission;
use crate::access::grant::{Grant, Memo};
use crate::access::principal::Principal;
use crate::access::questions::Asked;
use crate::bridge::events::Refusal;
use crate::calls::request_messages::{CallError, RequestMessages};
use crate::calls::unary::Unary;
use crate::calls::{Worker, forward, stream, typed_paths, unary};
use crate::encodings::methods::{Method, fixed_method};
use crate::encodings::typed_schema::{TypedService, TypedTarget};
use crate::predict::call::Call;
use crate::predict::outcome::Tally;
use crate::protocol::status::{self, RpcError};
use crate::transport::connection::IncomingCall;
use crate::transport::context::{CallContext, Metadata, Peer};
use crate::transport::grpc::{self, DeliveryError, MessageCompression, Responder};
use crate::transport::headers::{Authorization, GrpcHeaders, HeaderBlocks, Headers};
use crate::transport::stream::RequestBody;

/// By which typed calls name what their rows do not.
const VERSION: &str = "scorewire-version";
const ROUTING_KEY: &str = "scorewire-routing-key";
const EXPLAIN: &str = "scorewire-explain";
const EXPLAIN_OUTPUT: &str = "scorewire-explain-output";

thread_local! {
    /// The memory for calls that are answered together. It is empty between them.
    static TOGETHER: RefCell<Vec<Unary>> = RefCell::default();
}

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
    memo: &Memo,
    calls: impl Iterator<Item = IncomingCall<'a>>,
    cx: &mut Context<'_>,
) {
    let mut together = TOGETHER.take();
    together.extend(calls.filter_map(|call| begin_one(worker, memo, call, None, cx)));
    unary::answer(worker, &mut together);
    TOGETHER.set(together);
}

/// What the control plane has said of a call's credential, or why the call ended before.
type Answer = Result<Result<Arc<Grant>, CredentialError>, DeliveryError>;

/// What every call passes before a message of it is read: predictions and control calls, unary and streams.
///
/// Whatever may refuse a call by its method, its metadata or its peer belongs here. Who calls comes first, so that
/// callers without a credential learn nothing else, such as which methods there are. `answer` is there if the
/// control plane was asked about the credential.
fn admit(
    worker: &Worker,
    memo: &Memo,
    handler: Option<&Handler>,
    context: &CallContext<'_>,
    authorization: Authorization<'_>,
    answer: Option<Answer>,
) -> Admitted {
    let Some(gate) = &worker.gate else { return Admitted::GoesOn(None) };
    if matches!(handler, Some(Handler::Control)) && gate.is_open(context.path) {
        return Admitted::GoesOn(None);
    }
    let admission = match answer {
        None => gate.admit(memo, authorization, context.peer, context.received),
        Some(Ok(Ok(grant))) => Admission::Known(grant),
        Some(Ok(Err(cause))) => Admission::Refused(cause),
        Some(Err(error)) => return Admitted::Ends(error.into()),
    };
    match admission {
        Admission::Known(grant) => Admitted::GoesOn(Some(grant)),
        Admission::Ask(asked) => Admitted::Asks(asked),
        Admission::Refused(cause) => {
            let busy = cause == CredentialError::Busy;
            let refusal = if busy { Refusal::TooManyInFlight } else { Refusal::Unauthenticated };
            gate.tell(context.path, context.peer, None, refusal);
            Admitted::Ends(worker.refusal(gate, cause).into())
        }
    }
}

/// Whether a call is admitted.
enum Admitted {
    /// The call goes on, with who makes it.
    GoesOn(Option<Arc<Grant>>),
    /// The control plane is asked who makes it.
    Asks(Asked),
    Ends(CallError),
}

/// Begins a call as far as its kind allows; gives back what can be answered at once.
fn begin_one(
    worker: &Arc<Worker>,
    memo: &Memo,
    call: IncomingCall<'_>,
    answer: Option<Answer>,
    cx: &mut Context<'_>,
) -> Option<Unary> {
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
    let handler = find_handler(worker, &grpc);
    let context = CallContext {
        path: text(grpc.path.unwrap_or_default()),
        metadata: Metadata::of(headers, &grpc),
        peer,
        received,
        deadline: None,
    };
    let grant = match admit(worker, memo, handler.as_ref(), &context, grpc.authorization, answer) {
        Admitted::GoesOn(grant) => grant,
        Admitted::Asks(asked) => {
            match reserve(&mut body, grpc.metadata_bytes) {
                Ok(()) => {
                    let call = HeldCall::new(headers, body, responder, received, peer);
                    drop(spawn_local(wait_for_answer(Arc::clone(worker), call, asked)));
                }
                Err(error) => forward::end(Err(error), responder),
            }
            return None;
        }
        Admitted::Ends(error) => {
            turn_away(worker, handler, &context, &grpc, error, responder);
            return None;
        }
    };
    if let Some(grant) = &grant
        && !may_know(worker, &grant.principal, handler.as_ref(), context.path)
    {
        let error = worker.errors().permission_denied.clone().into();
        turn_away(worker, handler, &context, &grpc, error, responder);
        return None;
    }
    let Some(handler) = handler else {
        let loading = &worker.predictor.loading;
        if loading.is_on() {
            let call = HeldCall::new(headers, body, responder, received, peer);
            drop(spawn_local(wait_for_method(Arc::clone(worker), call)));
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
    let context = CallContext { deadline, ..context };
    let in_time = if context.is_expired() { Err(DeliveryError::Expired.into()) } else { Ok(()) };
    let max_message_bytes = worker.predictor.scorer.limits.max_message_bytes;
    let inflates = if gzip { grant.clone() } else { None };
    let messages = |body, unary| RequestMessages::new(body, max_message_bytes, gzip, inflates, unary);
    let (method, typed) = match handler {
        Handler::Prediction(method) => (method, None),
        Handler::Typed(method, service) => {
            let told = |name: &str| text(context.metadata.last(name).unwrap_or_default()).to_owned();
            let (version, routing_key) = (told(VERSION), told(ROUTING_KEY));
            let explain =
                context.metadata.last(EXPLAIN).map(|count| (column_count(count), told(EXPLAIN_OUTPUT)));
            (method, Some(Arc::new(TypedTarget { service, version, routing_key, explain })))
        }
        Handler::Control => {
            let principal = grant.as_ref().map(|grant| &*grant.principal);
            let admitted = in_time.and_then(|()| reserve(&mut body, grpc.metadata_bytes));
            match admitted.and_then(|()| Ok(worker.take_control(principal)?)) {
                Ok(open) => {
                    let principal = grant.as_ref().map(|grant| Arc::clone(&grant.principal.name));
                    let (context, messages) = (context.to_owned_context(principal), messages(body, false));
                    forward::begin(worker, context, (grant, open), messages, responder);
                }
                Err(error) => {
                    if let (CallError::Failed(_), Some(gate)) = (&error, &worker.gate) {
                        gate.tell(context.path, context.peer, principal, Refusal::CallerLimit);
                    }
                    forward::end(Err(error), responder);
                }
            }
            return None;
        }
    };
    let tracer = worker.predictor.tracer.as_ref();
    let trace = tracer.and_then(|tracer| tracer.begin(grpc.traceparent, &context, method.streams));
    // A stream keeps its token, so that it can be checked again.
    let held = grant.as_ref().filter(|_| method.streams).map_or(0, |grant| grant.held_bytes());
    let admitted = in_time.and_then(|()| reserve(&mut body, held));
    let mut call = Call::new(&context, method, typed, grant, trace);
    match admitted.and_then(|()| Ok(worker.open(call.principal())?)) {
        Ok(open) => call.open = open,
        Err(CallError::Failed(error)) => {
            worker.fail(&call, &Tally::Unrouted, &error, responder);
            return None;
        }
        Err(error) => {
            worker.end(&call, &Tally::Unrouted, error, responder);
            return None;
        }
    }
    if !method.streams {
        return unary::begin(worker, call, messages(body, true), responder, cx);
    }
    stream::begin(worker, call, messages(body, false), responder);
    None
}

/// How many columns a caller wants to be explained: a number of at most 18 digits, or any other text for all, which
/// is 0.
fn column_count(count: &[u8]) -> u32 {
    let is_number = count.len() <= 18 && count.iter().all(u8::is_ascii_digit);
    let number = if is_number { text(count).parse::<u64>().unwrap_or(0) } else { 0 };
    number.min(u64::from(u32::MAX)) as u32
}

/// Whether a principal may know whether there is a method: that of a typed service tells that there is its model.
fn may_know(worker: &Worker, principal: &Principal, handler: Option<&Handler>, path: &str) -> bool {
    let may = |model: &str| principal.may_predict(worker.index, model);
    match handler {
        Some(Handler::Typed(_, service)) => may(&service.model),
        Some(Handler::Prediction(_) | Handler::Control) => true,
        None => typed_paths::model(path).is_none_or(|model| may(&model)),
    }
}

/// Ends a call that is not admitted.
fn turn_away(
    worker: &Worker,
    handler: Option<Handler>,
    context: &CallContext<'_>,
    grpc: &GrpcHeaders<'_>,
    error: CallError,
    responder: Responder,
) {
    let Some(Handler::Prediction(method) | Handler::Typed(method, _)) = handler else {
        return forward::end(Err(error), responder);
    };
    let tracer = worker.predictor.tracer.as_ref();
    let trace = tracer.and_then(|tracer| tracer.begin(grpc.traceparent, context, method.streams));
    let call = Call::new(context, method, None, None, trace);
    match error {
        CallError::Failed(error) => worker.fail(&call, &Tally::Unrouted, &error, responder),
        error @ CallError::Delivery(_) => worker.end(&call, &Tally::Unrouted, error, responder),
    }
}

/// Reserves bytes of the metadata: all of it while the call waits to be admitted, and as long as the call lasts if
/// the control plane gets it; else what the call keeps of it.
///
/// # Errors
/// `CallError`: the quota of bytes does not allow them.
fn reserve(body: &mut RequestBody, bytes: usize) -> Result<(), CallError> {
    let fits = body.reserve_metadata(bytes);
    if fits { Ok(()) } else { Err(DeliveryError::Full.into()) }
}

/// Who answers the calls of a path; `None` where nobody does.
fn find_handler(worker: &Worker, grpc: &GrpcHeaders<'_>) -> Option<Handler> {
    let path = grpc.path.unwrap_or_default();
    let known = fixed_method(path).map(Handler::Prediction);
    let found = known.or_else(|| {
        let snapshot = worker.predictor.snapshot.load();
        snapshot.typed_method(path).map(|(method, service)| Handler::Typed(method, Arc::clone(service)))
    });
    found.or_else(|| worker.control.contains(text(path)).then_some(Handler::Control))
}

/// A call that waits before it begins.
struct HeldCall {
    /// The headers of this call only.
    blocks: HeaderBlocks,
    body: RequestBody,
    responder: Responder,
    received: Instant,
    peer: Arc<Peer>,
}

impl HeldCall {
    fn new(
        headers: Headers<'_>,
        body: RequestBody,
        responder: Responder,
        received: Instant,
        peer: &Arc<Peer>,
    ) -> Self {
        Self { blocks: headers.to_blocks(), body, responder, received, peer: Arc::clone(peer) }
    }

    /// When the caller stops waiting. A time that cannot be read is refused when the call begins.
    fn deadline(&self) -> Option<Instant> {
        let (_, headers) = self.blocks.iter().next()?;
        deadline(&headers.grpc(), self.received).unwrap_or_default()
    }

    /// Begins the call, with what the control plane has said of its credential if it was asked.
    async fn begin(self, worker: &Arc<Worker>, answer: Option<Answer>) {
        let Self { blocks, body, responder, received, peer } = self;
        let writer = responder.into_writer();
        let call = blocks.iter().next();
        let call = call.map(|(_, headers)| IncomingCall { headers, body, writer, received, peer: &peer });
        let mut held = call.zip(Some(answer));
        std::future::poll_fn(|cx| {
            let begun =
                held.take().and_then(|(call, answer)| begin_one(worker, &Memo::default(), call, answer, cx));
            unary::answer(worker, &mut begun.into_iter().collect());
            Poll::Ready(())
        })
        .await;
    }
}

/// Begins a call once the control plane has said who makes it.
async fn wait_for_answer(worker: Arc<Worker>, mut call: HeldCall, asked: Asked) {
    let deadline = call.deadline();
    let answer = call.responder.wait_for(deadline, asked.answer()).await;
    call.begin(&worker, Some(answer)).await;
}

/// Begins a call of a method that may be of a model that is still to be loaded.
async fn wait_for_method(worker: Arc<Worker>, mut call: HeldCall) {
    let (loading, deadline) = (&worker.predictor.loading, call.deadline());
    loop {
        let changed = loading.changed();
        let found = call.blocks.iter().any(|(_, headers)| find_handler(&worker, &headers.grpc()).is_some());
        if !loading.is_on() || found {
            break;
        }
        match call.responder.wait_for(deadline, changed).await {
            Ok(()) => {}
            Err(DeliveryError::Expired) => return call.responder.finish(Some(&worker.errors().expired)),
            Err(DeliveryError::Reset | DeliveryError::Full) => return,
        }
    }
    call.begin(&worker, None).await;
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
