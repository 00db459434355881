//! Whether a message is let in, and may wait: what the caller's time, its principal and the server's limits say.

use std::time::Instant;

use bytes::Bytes;

use crate::access::share::Standing;
use crate::predict::budget::{Budget, Permit};
use crate::predict::call::Call;
use crate::predict::outcome::{Forwarded, Outcome, Pending};
use crate::predict::pipeline::{Predictor, Turn};
use crate::protocol::status::RpcError;
use crate::transport::arrivals;

impl Predictor {
    /// Lets a message in, which was taken up `now`, and takes it from the limit of its principal.
    ///
    /// # Errors
    /// `RpcError`: the answer would come too late, the principal has no call left, or it uses more than its
    /// share of this thread, which does not keep up.
    #[inline]
    pub(super) fn admit(
        &self,
        turn: &Turn<'_>,
        message: &Bytes,
        call: &Call,
        now: Instant,
    ) -> Result<(), RpcError> {
        let Some(principal) = call.principal() else {
            // A stream has one deadline for all its messages.
            let late = if call.method.streams { None } else { self.late(call, now, Standing::Fair) };
            return late.map_or(Ok(()), Err);
        };
        let (worker, errors) = (turn.worker, &self.scorer.errors);
        if !call.method.streams && call.is_expired(now) {
            return Err(errors.expired.clone());
        }
        let mut standing = Standing::Fair;
        if !turn.again {
            principal.charge_call(worker, now, message.len());
            let taken = principal.take_call(worker, now);
            taken.map_err(|wait| errors.caller_limit.with_retry(wait))?;
            standing = principal.standing(worker, now, arrivals::busy(now));
        }
        if standing == Standing::Above {
            principal.refuse_time(worker, now);
            return Err(errors.over_share.clone());
        }
        let late = if call.method.streams { None } else { self.late(call, now, standing) };
        late.map_or(Ok(()), Err)
    }

    /// The error of a call whose answer would come too late, if it would: work for it is lost. A principal that
    /// is below its share is not refused for a long wait: another one is above.
    #[inline]
    pub(super) fn late(&self, call: &Call, now: Instant, standing: Standing) -> Option<RpcError> {
        let deadline = call.deadline?;
        if now >= deadline {
            return Some(self.scorer.errors.expired.clone());
        }
        let overloaded = standing != Standing::Below && call.is_stale(now) && arrivals::is_behind(now);
        overloaded.then(|| self.scorer.errors.overloaded.clone())
    }

    /// Takes a place of the calls that wait.
    ///
    /// # Errors
    /// `RpcError`: all are taken, or the principal has its share of them.
    pub(super) fn enter(&self, worker: usize, call: &Call, now: Instant) -> Result<Permit, RpcError> {
        let in_flight = &self.budgets.in_flight;
        self.check_share(worker, call, now, in_flight)?;
        let permit = in_flight.enter_for(call.principal().map(|principal| &principal.meter));
        permit.ok_or_else(|| self.scorer.errors.too_many_in_flight.clone())
    }

    /// Checks that the principal has less than its share of the places of a budget.
    ///
    /// # Errors
    /// `RpcError`: it has its share.
    fn check_share(&self, worker: usize, call: &Call, now: Instant, budget: &Budget) -> Result<(), RpcError> {
        let Some(principal) = call.principal() else { return Ok(()) };
        if principal.may_wait(now, budget.used(), budget.limit) {
            return Ok(());
        }
        principal.refuse_place(worker);
        Err(self.scorer.errors.over_share.clone())
    }

    /// Forwards a message to the control plane; `in_flight` is there where it counts as such already.
    pub(super) fn forward(
        &self,
        worker: usize,
        path: &'static str,
        message: &Bytes,
        call: &Call,
        in_flight: Option<Permit>,
    ) -> Outcome {
        let (budget, now) = (&self.budgets.forwarded, Instant::now());
        if let Err(error) = self.check_share(worker, call, now, budget) {
            return Outcome::Failed(error);
        }
        let Some(forwarded) = budget.enter() else {
            return Outcome::Failed(self.scorer.errors.too_many_in_flight.clone());
        };
        match in_flight.map_or_else(|| self.enter(worker, call, now), Ok) {
            Ok(in_flight) => {
                let (message, permits) = (message.clone(), [forwarded, in_flight]);
                Outcome::Pending(Pending::Forward(Box::new(Forwarded { path, message, permits })))
            }
            Err(error) => Outcome::Failed(error),
        }
    }
}
