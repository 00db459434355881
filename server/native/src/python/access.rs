//! Who may call, on its way from Python.

use std::collections::HashSet;
use std::sync::Arc;

use pyo3::prelude::*;

use crate::access::credential::Digest;
use crate::access::gate::{self, Gate, Paths};
use crate::access::principal::{Patterns, Principal};
use crate::access::rate::Rate;
use crate::access::table::Table;
use crate::bridge::events::Events;

/// Which paths need no credential, of which refusals are told, and which control methods are streams.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct AccessParts {
    open_paths: HashSet<String>,
    audited: HashSet<String>,
    streams: HashSet<String>,
}

impl AccessParts {
    pub(super) fn gate(self, events: &Arc<Events>) -> Gate {
        let Self { open_paths, audited, streams } = self;
        Gate::new(Paths { open: open_paths, audited, streams }, Arc::clone(events))
    }
}

/// One principal: its name; and the models that it may ask for predictions, as full names and beginnings.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct PrincipalParts {
    name: String,
    predict: (Vec<String>, Vec<String>),
}

impl PrincipalParts {
    fn principal(self) -> Principal {
        let (names, prefixes) = self.predict;
        Principal { name: self.name.into(), predict: Patterns { names, prefixes } }
    }
}

/// The principals; of each key the digest, the index of its principal and the seconds until it ends; and the
/// limit of failures.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct TableParts {
    principals: Vec<PrincipalParts>,
    keys: Vec<(Digest, usize, Option<f64>)>,
    failures: (f64, f64),
}

impl TableParts {
    pub(super) fn table(self) -> Table {
        let principals = self.principals.into_iter().map(|parts| Arc::new(parts.principal())).collect();
        let keys =
            self.keys.into_iter().map(|(digest, principal, left)| (digest, principal, gate::end(left)));
        let (per_second, burst) = self.failures;
        Table::new(principals, keys, Rate::new(per_second, burst))
    }
}
