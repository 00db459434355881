//! Questions to the control plane: whether a credential is valid.
//!
//! All calls that show one credential share one question. Its answer is waited for by those calls, but belongs to
//! none of them, so it is remembered also where all of them have gone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::access::credential::{Credential, Digest, Kind};
use crate::access::credential_error::CredentialError;
use crate::access::failure_limit::AddressKey;
use crate::access::grant::Grant;
use crate::access::table::Identity;
use crate::bridge::events::Events;
use crate::transport::context::Peer;

/// The most questions that are open for new calls; beyond that they are refused.
const CALL_QUESTIONS: usize = 256;
/// The most questions that are open for streams, whose credentials are checked again; the others wait.
const STREAM_QUESTIONS: usize = 64;

/// Who has a credential, and the epoch of the table that says so.
type Answer = Result<(Identity, u64), CredentialError>;

/// The place of a question among those that may be open.
pub(super) type Place = OwnedSemaphorePermit;

/// What becomes of a question that is not open.
pub(super) enum Entry {
    /// It was answered meanwhile: this is who has the credential.
    Answered(Identity),
    /// It may be asked: its place, and the address for which it counts as a failure.
    Place(Place, Option<AddressKey>),
}

/// A question that is open.
pub(super) struct Question {
    pub credential: Credential,
    peer: Arc<Peer>,
    /// The epoch of the table when the question was asked.
    pub epoch: u64,
    /// The address for which this counts as a failure as yet.
    pub charged: Option<AddressKey>,
    answer: watch::Sender<Option<Answer>>,
    _place: Place,
}

/// The questions that are open.
#[derive(Default)]
struct Open {
    questions: HashMap<u64, Question>,
    numbers: HashMap<(Kind, Digest), u64>,
}

/// The questions that are open, and how many there may be.
pub(super) struct Questions {
    events: Arc<Events>,
    open: Mutex<Open>,
    calls: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// A question that a call waits for.
pub(crate) struct Asked {
    answer: watch::Receiver<Option<Answer>>,
    credential: Credential,
}

impl Asked {
    /// Waits for the answer: the grant of the credential.
    ///
    /// # Errors
    /// `CredentialError`: the credential is not valid.
    pub(crate) async fn answer(mut self) -> Result<Arc<Grant>, CredentialError> {
        let answer = self.answer.wait_for(Option::is_some).await;
        // Without an answer, the engine has stopped.
        let (identity, epoch) =
            answer.ok().and_then(|answer| answer.clone()).unwrap_or(Err(CredentialError::Busy))?;
        Ok(Grant::new(identity, epoch, self.credential))
    }
}

impl Questions {
    pub(super) fn new(events: Arc<Events>) -> Self {
        let places = |most| Arc::new(Semaphore::new(most));
        Self {
            events,
            open: Mutex::default(),
            calls: places(CALL_QUESTIONS),
            streams: places(STREAM_QUESTIONS),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a call; `None` where all are taken.
    pub(super) fn place(&self) -> Option<Place> {
        Arc::clone(&self.calls).try_acquire_owned().ok()
    }

    /// A place for a stream, once there is one. `None`: never, since the engine has stopped.
    pub(super) async fn place_of_stream(&self) -> Option<Place> {
        Arc::clone(&self.streams).acquire_owned().await.ok()
    }

    /// Asks whether a credential is valid, unless that is being asked, or `enter` says that it has been answered.
    /// Nobody is answered while `enter` is called.
    ///
    /// # Errors
    /// `CredentialError`: the credential is not valid, or there is no place for a question.
    pub(super) fn ask(
        &self,
        credential: Credential,
        peer: &Arc<Peer>,
        epoch: u64,
        enter: impl FnOnce(&Credential) -> Result<Entry, CredentialError>,
    ) -> Result<Asked, CredentialError> {
        let mut open = self.open();
        let asked = open.numbers.get(&credential.identity()).and_then(|number| open.questions.get(number));
        if let Some(question) = asked {
            return Ok(Asked { answer: question.answer.subscribe(), credential });
        }
        let (place, charged) = match enter(&credential)? {
            Entry::Answered(identity) => {
                let (_, answer) = watch::channel(Some(Ok((identity, epoch))));
                return Ok(Asked { answer, credential });
            }
            Entry::Place(place, charged) => (place, charged),
        };
        let (sender, answer) = watch::channel(None);
        let question = Question {
            credential: credential.clone(),
            peer: Arc::clone(peer),
            epoch,
            charged,
            answer: sender,
            _place: place,
        };
        self.send(&mut open, question);
        Ok(Asked { answer, credential })
    }

    /// Sends a question. The control plane may answer it once nobody has locked the open ones.
    fn send(&self, open: &mut Open, question: Question) {
        let Credential { kind, ref value, .. } = question.credential;
        let number = self.events.verify(kind == Kind::Certificate, value.clone(), Arc::clone(&question.peer));
        open.numbers.insert(question.credential.identity(), number);
        open.questions.insert(number, question);
    }

    /// Answers a question, or asks it again where it was asked by an earlier table than that of `epoch`.
    /// `conclude` makes the answer, and remembers it: until then, nobody else asks the same.
    pub(super) fn answer(&self, number: u64, epoch: u64, conclude: impl FnOnce(&Question) -> Answer) {
        let mut open = self.open();
        let Some(question) = open.questions.remove(&number) else { return };
        if question.epoch == epoch {
            let answer = conclude(&question);
            open.numbers.remove(&question.credential.identity());
            question.answer.send_replace(Some(answer));
        } else {
            self.send(&mut open, Question { epoch, ..question });
        }
    }

    /// Forgets all questions: the control plane answers no more.
    pub(super) fn close(&self) {
        *self.open() = Open::default();
        self.streams.close();
    }

    /// The number of open questions.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.open().questions.len()
    }
}
