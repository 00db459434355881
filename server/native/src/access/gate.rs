//! The gate: it finds out who calls.
//!
//! What a call shows is looked for in this order:
//!
//! 1. the last credential of the connection (see `Memo`);
//! 2. the API keys of the table;
//! 3. the credentials that were verified, which are remembered until they end or the table is replaced;
//! 4. the control plane, which is asked once for each credential.
//!
//! Each table has an epoch. What was found by an earlier table counts no more, but for one thing: a credential that
//! was valid then may be asked about however many others of its address were not.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::access::bounded::Bounded;
use crate::access::credential::{Credential, Digest, Kind, Shown};
use crate::access::credential_error::{CredentialError, RefusalCounts};
use crate::access::failure_limit::{AddressKey, FailureLimit};
use crate::access::grant::{Grant, Memo};
use crate::access::principal::Principal;
use crate::access::questions::{Asked, Entry, Place, Questions};
use crate::access::table::{Identity, Table};
use crate::bridge::events::{Events, Refusal, RefusedCall};
use crate::transport::context::Peer;
use crate::transport::headers::Authorization;

/// The credentials that are remembered. Only valid ones are, so a flood of others makes none forgotten.
const REMEMBERED: usize = 1 << 16;

/// Which paths are treated in which way.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// The paths whose refusals are told to the control plane.
    pub audited: HashSet<String>,
    /// The methods of the control plane that are streams.
    pub streams: HashSet<String>,
}

/// What becomes of a call for its credential.
pub(crate) enum Admission {
    Known(Arc<Grant>),
    Refused(CredentialError),
    /// The control plane has to say.
    Ask(Asked),
}

/// What is known of a credential.
enum Found {
    Valid(Identity),
    Invalid(CredentialError),
    Unknown {
        /// Whether it was valid by an earlier table.
        verified: bool,
    },
}

/// A credential that the control plane verified.
struct Verified {
    identity: Identity,
    epoch: u64,
}

/// Finds out who calls.
pub(crate) struct Gate {
    pub paths: Paths,
    pub refusals: RefusalCounts,
    table: ArcSwap<Table>,
    /// The epoch of the table. It follows the table, so what is found by it is never older.
    epoch: AtomicU64,
    /// The same, for those who wait for the next one.
    epochs: watch::Sender<u64>,
    remembered: Mutex<Bounded<(Kind, Digest), Verified>>,
    failures: Mutex<FailureLimit>,
    questions: Questions,
    events: Arc<Events>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When something ends that has so many seconds left; `None`: never.
pub(crate) fn end(seconds_left: Option<f64>) -> Option<Instant> {
    let now = Instant::now();
    let left = seconds_left?;
    if left > 0.0 { now.checked_add(Duration::try_from_secs_f64(left).ok()?) } else { Some(now) }
}

impl Gate {
    /// A gate that lets nobody in before it has a table.
    pub(crate) fn new(paths: Paths, events: Arc<Events>) -> Self {
        Self {
            paths,
            refusals: RefusalCounts::default(),
            table: ArcSwap::from_pointee(Table::empty()),
            epoch: AtomicU64::new(0),
            epochs: watch::Sender::new(0),
            remembered: Mutex::new(Bounded::new(REMEMBERED)),
            failures: Mutex::new(FailureLimit::new()),
            questions: Questions::new(Arc::clone(&events)),
            events,
        }
    }

    /// The table.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Lets callers in by this table from now on.
    pub(crate) fn use_table(&self, mut table: Table) {
        let failures = table.failures;
        let mut before = None;
        self.epochs.send_modify(|epoch| {
            *epoch += 1;
            table.epoch = *epoch;
            before = Some(self.table.swap(Arc::new(table)));
            self.epoch.store(*epoch, Release);
        });
        if before.is_some_and(|before| before.failures != failures) {
            // A time that was counted by another rate may be far away.
            *locked(&self.failures) = FailureLimit::new();
        }
    }

    /// Whether a method of the control plane needs no credential.
    pub(crate) fn is_open(&self, path: &str) -> bool {
        self.table.load().open_paths.contains(path)
    }

    /// Finds out who makes a call, which was received at this time.
    #[inline]
    pub(crate) fn admit(
        &self,
        memo: &Memo,
        authorization: Authorization<'_>,
        peer: &Arc<Peer>,
        received: Instant,
    ) -> Admission {
        let shown = match Shown::of(authorization, peer) {
            Ok(shown) => shown,
            Err(cause) => return Admission::Refused(cause),
        };
        match memo.get(shown, self.epoch.load(Relaxed), received) {
            Some(grant) => Admission::Known(grant),
            None => self.look_up(memo, shown, peer, received),
        }
    }

    #[cold]
    fn look_up(&self, memo: &Memo, shown: Shown<'_>, peer: &Arc<Peer>, received: Instant) -> Admission {
        let credential = Credential::of(shown);
        let table = self.table.load();
        // A call that has waited for its model was received long ago.
        match self.find(&table, &credential, received.max(Instant::now())) {
            Found::Valid(identity) => {
                let grant = Grant::new(identity, table.epoch, credential);
                memo.set(&grant);
                return Admission::Known(grant);
            }
            Found::Invalid(cause) => return Admission::Refused(cause),
            Found::Unknown { .. } => {}
        }
        match self.ask(&table, credential, peer) {
            Ok(asked) => Admission::Ask(asked),
            Err(cause) => Admission::Refused(cause),
        }
    }

    /// Asks about the credential of a call.
    fn ask(&self, table: &Table, credential: Credential, peer: &Arc<Peer>) -> Result<Asked, CredentialError> {
        self.ask_unless_found(table, credential, peer, |verified| {
            let place = self.questions.place().ok_or(CredentialError::Busy)?;
            let key = (!verified).then(|| AddressKey::of(peer.address.ip()));
            match key {
                Some(key) if !locked(&self.failures).take(key, &table.failures) => {
                    Err(CredentialError::Address)
                }
                _ => Ok((place, key)),
            }
        })
    }

    /// Asks about a credential, unless it is known by now: the question may have been answered since it was last
    /// looked for. `place` is told whether the credential was valid by an earlier table.
    fn ask_unless_found(
        &self,
        table: &Table,
        credential: Credential,
        peer: &Arc<Peer>,
        place: impl FnOnce(bool) -> Result<(Place, Option<AddressKey>), CredentialError>,
    ) -> Result<Asked, CredentialError> {
        self.questions.ask(credential, peer, table.epoch, |credential| {
            match self.find(table, credential, Instant::now()) {
                Found::Valid(identity) => Ok(Entry::Answered(identity)),
                Found::Invalid(cause) => Err(cause),
                Found::Unknown { verified } => {
                    place(verified).map(|(place, charged)| Entry::Place(place, charged))
                }
            }
        })
    }

    /// What is known of a credential without asking.
    fn find(&self, table: &Table, credential: &Credential, now: Instant) -> Found {
        if credential.kind == Kind::Token
            && let Some(identity) = table.key(&credential.digest)
        {
            let expired = identity.is_expired(now);
            return if expired {
                Found::Invalid(CredentialError::Expired)
            } else {
                Found::Valid(identity.clone())
            };
        }
        if !credential.can_be_verified() {
            return Found::Invalid(CredentialError::Unknown);
        }
        let mut remembered = locked(&self.remembered);
        match remembered.get(&credential.identity()) {
            None => Found::Unknown { verified: false },
            Some(Verified { identity, .. }) if identity.is_expired(now) => {
                remembered.remove(&credential.identity());
                Found::Unknown { verified: false }
            }
            Some(Verified { identity, epoch }) if *epoch == table.epoch => Found::Valid(identity.clone()),
            Some(_) => Found::Unknown { verified: true },
        }
    }

    /// Takes the control plane's answer to a question: the name of the principal and the seconds until the
    /// credential ends, or `None` where it is not valid.
    pub(crate) fn verified(&self, number: u64, found: Option<(&str, Option<f64>)>) {
        let table = self.table.load();
        self.questions.answer(number, table.epoch, |question| {
            let credential = &question.credential;
            let named = found.and_then(|(name, left)| Some((table.principal(name)?, left)));
            let mut remembered = locked(&self.remembered);
            let Some((principal, left)) = named else {
                remembered.remove(&credential.identity());
                return Err(match credential.kind {
                    Kind::Token => CredentialError::Token,
                    Kind::Certificate => CredentialError::Certificate,
                });
            };
            let identity = Identity { principal: Arc::clone(principal), expires: end(left) };
            let verified = Verified { identity: identity.clone(), epoch: table.epoch };
            remembered.insert(credential.identity(), verified);
            if let Some(key) = question.charged {
                locked(&self.failures).give_back(key, &table.failures);
            }
            Ok((identity, table.epoch))
        });
    }

    /// Whether a grant holds at a time, as far as is known. If not, it has to be renewed.
    #[inline]
    pub(crate) fn holds(&self, grant: &Grant, now: Instant) -> bool {
        grant.holds(self.epoch.load(Relaxed), now)
    }

    /// Waits until a grant has to be renewed: there is another table, or the credential has ended.
    pub(crate) async fn until_stale(&self, grant: &Grant) {
        let mut epochs = self.epochs.subscribe();
        let ended = async {
            match grant.expires {
                Some(expires) => tokio::time::sleep_until(expires.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = epochs.wait_for(|&epoch| epoch != grant.epoch) => {}
            () = ended => {}
        }
    }

    /// The grant of the same credential by the present table.
    ///
    /// # Errors
    /// `CredentialError`: the credential is not valid any more.
    pub(crate) async fn renew(&self, grant: &Grant, peer: &Arc<Peer>) -> Result<Arc<Grant>, CredentialError> {
        if grant.expires.is_some_and(|expires| Instant::now() >= expires) {
            return Err(CredentialError::Expired);
        }
        let credential = grant.credential.clone();
        let mut table = self.table.load_full();
        match self.find(&table, &credential, Instant::now()) {
            Found::Valid(identity) => return Ok(Grant::new(identity, table.epoch, credential)),
            Found::Invalid(cause) => return Err(cause),
            Found::Unknown { .. } => {}
        }
        let place = self.questions.place_of_stream().await.ok_or(CredentialError::Busy)?;
        // While this waited, the table may have been replaced, or another stream of the credential may have asked.
        table = self.table.load_full();
        self.ask_unless_found(&table, credential, peer, |_| Ok((place, None)))?.answer().await
    }

    /// Tells the control plane of a call that was refused, if it wants to know.
    pub(crate) fn tell(&self, path: &str, peer: &Arc<Peer>, principal: Option<&Principal>, refusal: Refusal) {
        if self.paths.audited.contains(path) {
            self.events.refused(|| RefusedCall {
                path: path.to_owned(),
                peer: Arc::clone(peer),
                principal: principal.map(|principal| Arc::clone(&principal.name)),
                refusal,
            });
        }
    }

    /// Forgets all questions: the control plane answers no more.
    pub(crate) fn close(&self) {
        self.questions.close();
    }
}

#[cfg(test)]
mod tests;
