//! A call of a method of the hot path.

use std::sync::Arc;
use std::time::Instant;

use crate::access::grant::Grant;
use crate::access::principal::{OpenCall, Principal};
use crate::encodings::methods::Method;
use crate::encodings::typed_schema::TypedTarget;
use crate::predict::tracing::Trace;
use crate::rows::request::Request;
use crate::transport::context::{CallContext, Peer};

/// A prediction call, which has one message or, in a stream, many.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub method: &'static Method,
    /// Of a typed call: which versions its rows are for.
    pub typed: Option<Arc<TypedTarget>>,
    pub peer: Arc<Peer>,
    /// The earliest time at which the call can have arrived.
    pub received: Instant,
    /// When the caller stops waiting, or the stream is ended.
    pub deadline: Option<Instant>,
    /// Who calls. `None`: everybody may call.
    pub grant: Option<Arc<Grant>>,
    /// Counts the call as open where its principal has a limit of open calls.
    pub open: OpenCall,
    /// `None`: the call is not traced.
    pub trace: Option<Arc<Trace>>,
}

impl Call {
    /// The call of a context.
    pub(crate) fn new(
        context: &CallContext<'_>,
        method: &'static Method,
        typed: Option<Arc<TypedTarget>>,
        grant: Option<Arc<Grant>>,
        trace: Option<Arc<Trace>>,
    ) -> Self {
        let CallContext { peer, received, deadline, .. } = *context;
        if let (Some(trace), Some(grant)) = (&trace, &grant) {
            trace.identified(&grant.principal.name);
        }
        let open = OpenCall::default();
        Self { method, typed, peer: Arc::clone(peer), received, deadline, grant, open, trace }
    }

    /// The routing key of a message of the call, which was read to `request`; "" where there is none.
    #[inline]
    pub(crate) fn routing_key<'a>(&'a self, request: &Request, message: &'a [u8]) -> &'a str {
        match &self.typed {
            None => request.routing_key.text(message),
            Some(typed) => &typed.routing_key,
        }
    }

    /// What is to be explained in the answer to a message of the call, which was read to `request`: how many columns,
    /// and of which output. `None` where nothing is.
    #[inline]
    pub(crate) fn explain<'a>(&'a self, request: &Request, message: &'a [u8]) -> Option<(u32, &'a str)> {
        match &self.typed {
            None => request.explain.map(|explain| (explain.top_k, explain.output.text(message))),
            Some(typed) => typed.explain.as_ref().map(|(top_k, output)| (*top_k, &**output)),
        }
    }

    /// Who calls; `None`: everybody may call.
    #[inline]
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.grant.as_ref().map(|grant| &*grant.principal)
    }

    /// The name of who calls; "": everybody may call.
    #[inline]
    pub(crate) fn principal_name(&self) -> &str {
        self.principal().map_or("", |principal| &principal.name)
    }

    /// Whether the deadline has passed at a time.
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// Whether half of the time that the caller gave has passed at a time. Where calls come faster than
    /// they are answered, one that waits longer is answered when nobody wants the answer any more. Streams
    /// are never stale: their deadline is that of all messages.
    pub(crate) fn is_stale(&self, at: Instant) -> bool {
        let Some(deadline) = self.deadline.filter(|_| !self.method.streams) else { return false };
        at.saturating_duration_since(self.received) > deadline.saturating_duration_since(at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::encodings::methods::METHODS;

    #[test]
    fn a_call_is_stale_once_it_has_waited_for_half_of_its_time() {
        let received = Instant::now();
        let at = |ms| received + Duration::from_millis(ms);
        let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), None));
        let call = |method: &'static Method, deadline| Call {
            method,
            typed: None,
            peer: Arc::clone(&peer),
            received,
            deadline,
            grant: None,
            open: OpenCall::default(),
            trace: None,
        };
        let [unary, stream] = ["Predict", "PredictStream"]
            .map(|name| METHODS.iter().find(|method| method.name == name).unwrap());
        let one = call(unary, Some(at(100)));
        let stale = [0, 50, 51, 100, 200].map(|ms| one.is_stale(at(ms)));
        assert_eq!(stale, [false, false, true, true, true]);
        for call in [call(unary, None), call(stream, Some(at(100)))] {
            assert!(!call.is_stale(at(1000)));
        }
    }
}
