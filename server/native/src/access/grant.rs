//! Grants: what a valid credential gives to the calls that show it.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use crate::access::credential::{Credential, Kind, Shown};
use crate::access::principal::Principal;
use crate::access::table::Identity;

/// What a valid credential gives to the calls that show it.
pub(crate) struct Grant {
    pub principal: Arc<Principal>,
    /// When the credential ends. `None`: never.
    pub expires: Option<Instant>,
    /// The epoch of the table by which the credential was valid.
    pub(super) epoch: u64,
    /// What was shown, so that it can be checked again.
    pub(super) credential: Credential,
}

impl Grant {
    pub(super) fn new(identity: Identity, epoch: u64, credential: Credential) -> Arc<Self> {
        let Identity { principal, expires } = identity;
        Arc::new(Self { principal, expires, epoch, credential })
    }

    /// Whether the credential is valid at a time, as far as a table of this epoch says.
    #[inline]
    pub(super) fn holds(&self, epoch: u64, now: Instant) -> bool {
        self.epoch == epoch && self.expires.is_none_or(|expires| now < expires)
    }

    /// The bytes of the token that a call keeps with the grant.
    pub(crate) fn held_bytes(&self) -> usize {
        if self.credential.kind == Kind::Token { self.credential.value.len() } else { 0 }
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Grant").field(&self.principal.name).finish()
    }
}

#[cfg(test)]
impl Grant {
    /// The grant of a key that never ends.
    pub(crate) fn of(principal: Principal) -> Arc<Self> {
        let identity = Identity { principal: Arc::new(principal), expires: None };
        Self::new(identity, 0, Credential::of(Shown::Token(b"key")))
    }
}

/// The grant of the credential that a connection showed last. Most connections show one credential only, so
/// that most calls find their grant here, without a hash and without a lock.
#[derive(Default)]
pub(crate) struct Memo(RefCell<Option<Arc<Grant>>>);

impl Memo {
    /// The grant of what a call shows, if it is that of the call before, and holds.
    #[inline]
    pub(super) fn get(&self, shown: Shown<'_>, epoch: u64, now: Instant) -> Option<Arc<Grant>> {
        let last = self.0.borrow();
        let found = last.as_ref().filter(|last| last.holds(epoch, now) && last.credential.is(shown));
        found.map(Arc::clone)
    }

    /// Remembers the grant of a call.
    pub(super) fn set(&self, grant: &Arc<Grant>) {
        *self.0.borrow_mut() = Some(Arc::clone(grant));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_connection_remembers_its_last_credential_for_one_table_until_it_ends() {
        let principal = Arc::new(Principal::of("shop"));
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let identity = Identity { principal, expires: Some(now + hour) };
        let memo = Memo::default();
        let (one, other) = (Shown::Token(b"one"), Shown::Token(b"two"));
        assert!(memo.get(one, 3, now).is_none());
        memo.set(&Grant::new(identity, 3, Credential::of(one)));
        assert_eq!(memo.get(one, 3, now).unwrap().principal.name, "shop".into());
        assert!(memo.get(other, 3, now).is_none() && memo.get(one, 4, now).is_none());
        assert!(memo.get(one, 3, now + hour).is_none());
    }

    #[test]
    fn what_is_written_of_a_grant_has_no_credential() {
        let grant = Grant::of(Principal::of("shop"));
        assert_eq!(format!("{grant:?}"), "Grant(\"shop\")");
    }
}
