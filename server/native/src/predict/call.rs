//! A call of a method of the hot path.

use std::sync::Arc;
use std::time::Instant;

use crate::encodings::methods::Method;
use crate::encodings::typed_schema::TypedTarget;
use crate::transport::context::CallContext;

/// A prediction call, which has one message or, in a stream, many.
#[derive(Debug, Clone)]
pub(crate) struct Call<'a> {
    pub context: CallContext<'a>,
    pub method: &'static Method,
    /// Of a typed call: which versions its rows are for.
    pub typed: Option<Arc<TypedTarget>>,
}

impl Call<'_> {
    /// A call that outlives the head that it came with.
    pub(crate) fn to_owned(&self) -> Call<'static> {
        Call { context: self.context.to_owned(), method: self.method, typed: self.typed.clone() }
    }

    /// Whether half of the time that the caller gave has passed at a time. Where calls come faster than
    /// they are answered, one that waits longer is answered when nobody wants the answer any more. Streams
    /// are never stale: their deadline is that of all messages.
    pub(crate) fn is_stale(&self, at: Instant) -> bool {
        let Some(deadline) = self.context.deadline.filter(|_| !self.method.streams) else { return false };
        at.saturating_duration_since(self.context.received) > deadline.saturating_duration_since(at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::encodings::methods::METHODS;
    use crate::transport::context::{Metadata, Peer};
    use crate::transport::headers::HeaderBlocks;

    #[test]
    fn a_call_is_stale_once_it_has_waited_for_half_of_its_time() {
        let received = Instant::now();
        let at = |ms| received + Duration::from_millis(ms);
        let peer = Arc::new(Peer { address: ([127, 0, 0, 1], 1).into(), certificate: None });
        let mut blocks = HeaderBlocks::default();
        blocks.begin();
        blocks.end(1, false);
        let (_, headers) = blocks.iter().next().unwrap();
        let call = |method: &'static Method, deadline| {
            let (path, peer) = ("".into(), Arc::clone(&peer));
            let metadata = Metadata::of(headers, &headers.grpc());
            Call { context: CallContext { path, metadata, peer, received, deadline }, method, typed: None }
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
