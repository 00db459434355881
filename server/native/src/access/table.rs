//! What the access file says, as far as calls need it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use crate::access::credential::Digest;
use crate::access::principal::Principal;
use crate::access::rate::Rate;

/// Who a valid credential stands for.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub principal: Arc<Principal>,
    /// When the credential ends. `None`: never.
    pub expires: Option<Instant>,
}

impl Identity {
    /// Whether the credential has ended at a time.
    #[inline]
    pub(crate) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }
}

/// The principals, and their API keys.
pub(crate) struct Table {
    /// Tells which table it is: later ones have higher numbers.
    pub epoch: u64,
    principals: HashMap<Arc<str>, Arc<Principal>>,
    keys: HashMap<Digest, Identity, foldhash::fast::RandomState>,
    /// The limit of credentials of one address that are verified and fail.
    pub failures: Rate,
    /// The methods of the control plane that need no credential.
    pub open_paths: HashSet<String>,
}

impl Table {
    /// A table; each key has the index of its principal, and when it ends. Keys of no principal are left out.
    pub(crate) fn new(
        principals: Vec<Arc<Principal>>,
        keys: impl IntoIterator<Item = (Digest, usize, Option<Instant>)>,
        failures: Rate,
        open_paths: HashSet<String>,
    ) -> Self {
        let identity = |(digest, index, expires)| {
            let principal = Arc::clone(principals.get::<usize>(index)?);
            Some((digest, Identity { principal, expires }))
        };
        let keys = keys.into_iter().filter_map(identity).collect();
        let named = |principal: Arc<Principal>| (Arc::clone(&principal.name), principal);
        let principals = principals.into_iter().map(named).collect();
        Self { epoch: 0, keys, principals, failures, open_paths }
    }

    /// A table of nobody.
    pub(crate) fn empty() -> Self {
        Self::new(Vec::new(), [], Rate::new(1.0, 1.0), HashSet::new())
    }

    /// Who has an API key. This is not compared in constant time, and need not be: what a caller can steer is the
    /// key and not its SHA-256, so the time of the search tells nothing of another key.
    pub(crate) fn key(&self, digest: &Digest) -> Option<&Identity> {
        self.keys.get(digest)
    }

    /// All principals.
    pub(crate) fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.principals.values()
    }

    /// The principal of a name.
    pub(crate) fn principal(&self, name: &str) -> Option<&Arc<Principal>> {
        self.principals.get(name)
    }
}
