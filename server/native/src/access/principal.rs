//! Principals: who calls, by a name of the access file, with rights and limits.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::access::meter::{Cause, Meter};
use crate::access::rate::Rate;
use crate::access::share::{CALL_NS, Standing, add, window};

/// When a caller may try again that has as many calls open as it may. Nobody knows when one ends.
pub(crate) const RETRY_IN_FLIGHT: Duration = Duration::from_millis(50);

/// A set of models: their full names, and beginnings of names. An empty beginning stands for all models.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    /// In order.
    names: Vec<String>,
    prefixes: Vec<String>,
}

impl Patterns {
    pub(crate) fn new(mut names: Vec<String>, prefixes: Vec<String>) -> Self {
        names.sort_unstable();
        Self { names, prefixes }
    }

    /// Whether a model is in the set.
    pub(crate) fn has(&self, model: &str) -> bool {
        self.names.binary_search_by(|name| name.as_str().cmp(model)).is_ok()
            || self.prefixes.iter().any(|prefix| model.starts_with(prefix.as_str()))
    }
}

/// What a principal may take; `None` is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub calls: Option<Rate>,
    pub rows: Option<Rate>,
    /// Open calls.
    pub in_flight: Option<usize>,
    /// The weight in the share of an overloaded server, in thousandths.
    pub weight: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls: None, rows: None, in_flight: None, weight: weight(1.0) }
    }
}

/// A share in thousandths.
pub(crate) fn weight(share: f64) -> u32 {
    ((share * 1000.0).round() as u32).max(1)
}

/// Who calls.
pub(crate) struct Principal {
    pub name: Arc<str>,
    /// The models that the principal may ask for predictions.
    pub predict: Patterns,
    pub limits: Limits,
    pub meter: Arc<Meter>,
}

impl fmt::Debug for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Principal").field(&self.name).finish()
    }
}

impl Principal {
    /// Whether the principal may ask a model, which need not exist, for predictions. A refusal is counted.
    #[inline]
    pub(crate) fn may_predict(&self, worker: usize, model: &str) -> bool {
        let may = self.predict.has(model);
        if !may {
            self.meter.refuse(worker, Cause::Denied);
        }
        may
    }

    /// Takes a call: a unary one, a message of a stream of predictions, or one of the control plane.
    ///
    /// # Errors
    /// The time after which there is one.
    #[inline]
    pub(crate) fn take_call(&self, worker: usize, now: Instant) -> Result<(), Duration> {
        let meter = &*self.meter;
        let now_ns = meter.common.ns(now);
        meter.note(now_ns, self.limits.weight);
        if let Some(rate) = &self.limits.calls {
            let taken = meter.calls.0.take(rate, now_ns, 1.0);
            taken.map_err(|wait| self.limited(worker, Cause::Calls, wait))?;
        }
        add(&meter.shards[worker].calls, 1);
        Ok(())
    }

    /// Takes the rows of a message, if there are any left.
    ///
    /// # Errors
    /// The time after which there are.
    #[inline]
    pub(crate) fn take_rows(&self, worker: usize, now: Instant, rows: u32) -> Result<(), Duration> {
        let meter = &*self.meter;
        if let Some(rate) = &self.limits.rows {
            let taken = meter.rows.0.take(rate, meter.common.ns(now), f64::from(rows));
            taken.map_err(|wait| self.limited(worker, Cause::Rows, wait))?;
        }
        add(&meter.shards[worker].rows, rows.into());
        Ok(())
    }

    /// Gives back the rows of a message, since Python answers it and takes them again.
    pub(crate) fn give_back_rows(&self, worker: usize, rows: u32) {
        if let Some(rate) = &self.limits.rows {
            self.meter.rows.0.give_back(rate, f64::from(rows));
        }
        self.meter.shards[worker].rows.fetch_sub(rows.into(), Relaxed);
    }

    fn limited(&self, worker: usize, cause: Cause, wait_ns: u64) -> Duration {
        self.meter.refuse(worker, cause);
        Duration::from_nanos(wait_ns)
    }

    /// Counts a call as open, where the principal has a limit of open calls. A refusal uses the time of the thread,
    /// too.
    ///
    /// # Errors
    /// The time after which the caller may try again: as many are open as may be.
    #[inline]
    pub(crate) fn open(&self, worker: usize) -> Result<OpenCall, Duration> {
        let Some(most) = self.limits.in_flight else { return Ok(OpenCall(None)) };
        // Dropped, it counts the call as ended.
        let open = OpenCall(Some(Arc::clone(&self.meter)));
        if self.meter.open.0.fetch_add(1, Relaxed) < most {
            return Ok(open);
        }
        self.meter.refuse(worker, Cause::InFlight);
        self.charge_call(worker, Instant::now(), 0);
        Err(RETRY_IN_FLIGHT)
    }

    /// Notes that the principal has used the time of an I/O thread: for a call with a message of so many bytes.
    #[inline]
    pub(crate) fn charge_call(&self, worker: usize, now: Instant, bytes: usize) {
        // 4 bytes in a nanosecond: to receive, decrypt, copy and read them.
        self.charge(worker, now, CALL_NS + bytes as u64 / 4);
    }

    /// Notes that the principal has used so many nanoseconds of an I/O thread.
    #[inline]
    pub(crate) fn charge(&self, worker: usize, now: Instant, cost_ns: u64) {
        let (meter, thread) = (&*self.meter, &self.meter.common.threads[worker]);
        thread.charge(&meter.shards[worker].usage, self.limits.weight, meter.common.ns(now), cost_ns);
    }

    /// How the principal, which was charged for a call, stands on a thread that was not idle for `busy`. `Fair`
    /// where the thread keeps up.
    #[inline]
    pub(crate) fn standing(&self, worker: usize, now: Instant, busy: Duration) -> Standing {
        let (meter, thread) = (&*self.meter, &self.meter.common.threads[worker]);
        let now_ns = meter.common.ns(now);
        if !thread.is_behind(busy, now_ns) {
            return Standing::Fair;
        }
        thread.standing(&meter.shards[worker].usage, self.limits.weight, now_ns)
    }

    /// Counts a call as refused, since the principal is above its share of a thread.
    pub(crate) fn refuse_time(&self, worker: usize, now: Instant) {
        let common = &self.meter.common;
        common.threads[worker].refuse(common.ns(now));
        self.meter.refuse(worker, Cause::Share);
    }

    /// Whether the principal may have one more of `limit` places of calls that wait, of which `taken` are taken.
    pub(crate) fn may_wait(&self, now: Instant, taken: usize, limit: usize) -> bool {
        if 2 * taken <= limit {
            return true;
        }
        let weight = f64::from(self.limits.weight);
        let all = self.active_weight(now).max(weight);
        let most = (limit as f64 * weight / all) as usize;
        self.meter.places.0.load(Relaxed) < most.max(1)
    }

    /// How many of `waiting` tasks have their turn before one more of the principal's.
    pub(crate) fn tasks_before(&self, now: Instant, waiting: usize) -> usize {
        let turns = self.active_weight(now) / f64::from(self.limits.weight);
        let own = self.meter.places.0.load(Relaxed) + 1;
        waiting.min((own as f64 * turns) as usize)
    }

    fn active_weight(&self, now: Instant) -> f64 {
        let common = &self.meter.common;
        common.active.sum(window(common.ns(now)))
    }

    /// Counts a call as refused, since the principal has its share of places.
    pub(crate) fn refuse_place(&self, worker: usize) {
        self.meter.refuse(worker, Cause::Share);
    }
}

/// Counts a call as open as long as it lives, where the principal has a limit of open calls. A copy counts none.
#[derive(Default)]
pub(crate) struct OpenCall(Option<Arc<Meter>>);

impl Clone for OpenCall {
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl fmt::Debug for OpenCall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("OpenCall").field(&self.0.is_some()).finish()
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if let Some(meter) = &self.0 {
            meter.open.0.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::meters::Meters;

    fn principal(meters: &Meters, name: &str, limits: Limits) -> Principal {
        meters.principal(name.into(), Patterns::default(), limits)
    }

    #[test]
    fn a_right_is_for_a_name_or_for_all_names_with_a_beginning() {
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let patterns = |names: &[&str], prefixes: &[&str]| Patterns::new(texts(names), texts(prefixes));
        let meters = Meters::new(1, 1);
        let may = |predict, model| {
            meters.principal("shop".into(), predict, Limits::default()).may_predict(0, model)
        };
        assert!(["b", "a", "c"].iter().all(|name| may(patterns(&["c", "a", "b"], &[]), name)));
        assert!(may(patterns(&["churn"], &[]), "churn") && !may(patterns(&["churn"], &[]), "churn-2"));
        assert!(may(patterns(&[], &["game-"]), "game-x") && !may(patterns(&[], &["game-"]), "game"));
        assert!(may(patterns(&[], &[""]), "any") && !may(Patterns::default(), "any"));
    }

    #[test]
    fn a_call_is_open_until_it_ends_and_its_copies_are_not() {
        let limits = Limits { in_flight: Some(2), ..Limits::default() };
        let shop = principal(&Meters::new(1, 1), "shop", limits);
        let first = shop.open(0).unwrap();
        let copy = first.clone();
        let second = shop.open(0).unwrap();
        assert_eq!(shop.open(0).err(), Some(RETRY_IN_FLIGHT));
        drop(copy);
        assert!(shop.open(0).is_err());
        drop(first);
        assert!(shop.open(0).is_ok());
        drop(second);
        assert_eq!(
            (shop.meter.open.0.load(Relaxed), shop.meter.counts().2[Cause::InFlight as usize]),
            (0, 2)
        );
    }

    #[test]
    fn calls_that_are_refused_since_others_are_open_use_the_time_of_the_thread() {
        let meters = Meters::new(1, 1);
        let shop = principal(&meters, "shop", Limits { in_flight: Some(0), ..Limits::default() });
        let game = principal(&meters, "game", Limits::default());
        let (now, behind) = (Instant::now(), Duration::from_millis(100));
        game.charge_call(0, now, 0);
        (0..9).for_each(|_| assert!(shop.open(0).is_err()));
        assert_eq!(shop.standing(0, now, behind), Standing::Above);
        assert_eq!(game.standing(0, now, behind), Standing::Below);
    }

    #[test]
    fn rows_are_counted_and_taken_and_given_back() {
        let limits = Limits { rows: Some(Rate::new(1.0, 10.0)), ..Limits::default() };
        let shop = principal(&Meters::new(1, 1), "shop", limits);
        let now = Instant::now();
        assert_eq!(shop.take_rows(0, now, 30), Ok(()));
        assert!(shop.take_rows(0, now, 1).is_err_and(|wait| wait > Duration::from_secs(20)));
        shop.give_back_rows(0, 30);
        assert_eq!(shop.take_rows(0, now, 1), Ok(()));
        let (_, rows, refused) = shop.meter.counts();
        assert_eq!((rows, refused[Cause::Rows as usize]), (1, 1));
    }

    #[test]
    fn places_are_shared_by_weight_once_half_are_taken() {
        let meters = Meters::new(1, 1);
        let shop = principal(&meters, "shop", Limits { weight: weight(3.0), ..Limits::default() });
        let game = principal(&meters, "game", Limits::default());
        let now = Instant::now();
        let hold = |one: &Principal, count| one.meter.places.0.store(count, Relaxed);
        shop.take_call(0, now).unwrap();
        hold(&shop, 7);
        assert!(shop.may_wait(now, 7, 8) && shop.tasks_before(now, 7) == 7);
        game.take_call(0, now).unwrap();
        assert!(!shop.may_wait(now, 7, 8) && shop.may_wait(now, 4, 8));
        hold(&shop, 5);
        assert!(shop.may_wait(now, 7, 8));
        hold(&game, 1);
        assert!(game.may_wait(now, 7, 8));
        assert_eq!((game.tasks_before(now, 100), game.tasks_before(now, 3)), (8, 3));
        hold(&game, 2);
        assert!(!game.may_wait(now, 7, 8));
    }

    #[test]
    fn one_that_uses_more_than_its_share_is_refused_only_while_the_thread_is_behind() {
        let meters = Meters::new(1, 1);
        let [shop, game] = ["shop", "game"].map(|name| principal(&meters, name, Limits::default()));
        let (now, behind) = (Instant::now(), Duration::from_millis(100));
        (0..9).for_each(|_| shop.charge_call(0, now, 1000));
        game.charge_call(0, now, 1000);
        assert_eq!(shop.standing(0, now, Duration::from_millis(99)), Standing::Fair);
        assert_eq!(shop.standing(0, now, behind), Standing::Above);
        assert_eq!(game.standing(0, now, behind), Standing::Below);
        // Once somebody was refused, a shorter time is enough.
        shop.refuse_time(0, now);
        assert_eq!(shop.standing(0, now, Duration::from_millis(10)), Standing::Above);
        assert_eq!(shop.standing(0, now, Duration::from_millis(9)), Standing::Fair);
        assert_eq!(shop.meter.counts().2[Cause::Share as usize], 1);
    }
}
