//! Who may call, on its way from Python.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use pyo3::prelude::*;

use crate::access::credential::Digest;
use crate::access::gate::{self, Gate, Paths};
use crate::access::meter::{CAUSE_NAMES, Cause};
use crate::access::meters::Meters;
use crate::access::principal::{Limits, Patterns, Principal, weight};
use crate::access::rate::Rate;
use crate::access::table::Table;
use crate::bridge::events::Events;

/// The paths of which refusals are told, and those of control methods that are streams.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct AccessParts {
    audited: HashSet<String>,
    streams: HashSet<String>,
}

impl AccessParts {
    pub(super) fn gate(self, events: &Arc<Events>) -> Gate {
        let Self { audited, streams } = self;
        Gate::new(Paths { audited, streams }, Arc::clone(events))
    }
}

/// One principal: its name; the models that it may ask for predictions, as full names and beginnings; and its
/// limits, of which rates are so many a second and a burst.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PrincipalParts {
    name: String,
    predict: (Vec<String>, Vec<String>),
    calls: Option<(f64, f64)>,
    rows: Option<(f64, f64)>,
    in_flight: Option<usize>,
    share: f64,
}

impl PrincipalParts {
    fn principal(self, meters: &Meters) -> Principal {
        let (names, prefixes) = self.predict;
        let rate = |(per_second, burst)| Rate::new(per_second, burst);
        let (calls, rows) = (self.calls.map(rate), self.rows.map(rate));
        let limits = Limits { calls, rows, in_flight: self.in_flight, weight: weight(self.share) };
        meters.principal(self.name.into(), Patterns::new(names, prefixes), limits)
    }
}

/// The name of a principal, its calls and rows, and its refused calls by cause.
pub(super) type PrincipalSums = (String, u64, u64, Vec<(&'static str, u64)>);

/// What the principals of a table have done.
pub(super) fn principal_sums(table: &Table) -> Vec<PrincipalSums> {
    let sums = |principal: &Arc<Principal>| {
        let (calls, rows, refused) = principal.meter.counts();
        (principal.name.to_string(), calls, rows, CAUSE_NAMES.into_iter().zip(refused).collect())
    };
    table.principals().map(sums).collect()
}

/// Takes the rows of a message that Python answers; gives the seconds to wait if there are none left.
pub(super) fn charge_rows(table: &Table, name: &str, rows: u32) -> Option<f64> {
    let principal = table.principal(name)?;
    let taken = principal.take_rows(principal.meter.python(), Instant::now(), rows);
    taken.err().map(|wait| wait.as_secs_f64())
}

/// Counts a message that Python has refused for a missing right.
pub(super) fn count_denied(table: &Table, name: &str) {
    if let Some(principal) = table.principal(name) {
        principal.meter.refuse(principal.meter.python(), Cause::Denied);
    }
}

/// The principals; of each key the digest, the index of its principal and the seconds until it ends; the limit of
/// failures; and the paths that need no credential.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct TableParts {
    principals: Vec<PrincipalParts>,
    keys: Vec<(Digest, usize, Option<f64>)>,
    failures: (f64, f64),
    open_paths: HashSet<String>,
}

impl TableParts {
    pub(super) fn table(self, meters: &Meters) -> Table {
        meters.sweep();
        let principals = self.principals.into_iter().map(|parts| Arc::new(parts.principal(meters))).collect();
        let keys =
            self.keys.into_iter().map(|(digest, principal, left)| (digest, principal, gate::end(left)));
        let (per_second, burst) = self.failures;
        Table::new(principals, keys, Rate::new(per_second, burst), self.open_paths)
    }
}
