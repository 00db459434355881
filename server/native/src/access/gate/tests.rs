use std::collections::HashSet;
use std::pin::{Pin, pin};
use std::task::Poll;

use super::*;
use crate::access::principal::Principal;
use crate::access::rate::Rate;
use crate::bridge::events::Event;

const KEY: &str = "scorewire_1_aa";
const HOUR: Duration = Duration::from_secs(3600);

/// A gate with a table, and one connection to it.
struct Door {
    gate: Gate,
    events: Arc<Events>,
    memo: Memo,
    peer: Arc<Peer>,
    now: Instant,
}

/// A table of the principal "shop", with these keys.
fn table(keys: &[(&str, Option<Instant>)], burst: f64) -> Table {
    let digest = |key: &str| Credential::of(Shown::Token(key.as_bytes())).digest;
    let keys = keys.iter().map(|&(key, expires)| (digest(key), 0, expires));
    Table::new(vec![Arc::new(Principal::of("shop"))], keys, Rate::new(1e-3, burst), HashSet::new())
}

impl Door {
    fn new(table: Table) -> Self {
        let events = Arc::new(Events::new().unwrap());
        let gate = Gate::new(Paths::default(), Arc::clone(&events));
        gate.use_table(table);
        let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), None));
        Self { gate, events, memo: Memo::default(), peer, now: Instant::now() }
    }

    fn admit(&self, token: &str) -> Admission {
        let value = format!("Bearer {token}");
        self.gate.admit(&self.memo, Authorization::Value(value.as_bytes()), &self.peer, self.now)
    }

    fn grant(&self, token: &str) -> Arc<Grant> {
        let Admission::Known(grant) = self.admit(token) else { panic!("{token} is not known") };
        grant
    }

    fn cause(&self, token: &str) -> CredentialError {
        let Admission::Refused(cause) = self.admit(token) else { panic!("{token} is not refused") };
        cause
    }

    fn ask(&self, token: &str) -> Asked {
        let Admission::Ask(asked) = self.admit(token) else { panic!("{token} is not asked about") };
        asked
    }

    /// The questions since the last time: their numbers and the tokens.
    fn questions(&self) -> Vec<(u64, String)> {
        let question = |event| match event {
            Event::Verify { id, value, .. } => Some((id, String::from_utf8(value.to_vec()).unwrap())),
            _ => None,
        };
        self.events.take().into_iter().filter_map(question).collect()
    }

    /// Answers the only question since the last time.
    fn answer(&self, found: Option<(&str, Option<f64>)>) {
        let questions = self.questions();
        assert_eq!(questions.len(), 1);
        self.gate.verified(questions[0].0, found);
    }

    /// The grant of a token that the control plane verifies.
    async fn verified(&self, token: &str, left: Option<f64>) -> Arc<Grant> {
        let asked = self.ask(token);
        self.answer(Some(("shop", left)));
        asked.answer().await.unwrap()
    }
}

/// Whether a future is done after all that could go on has.
async fn is_done<T>(mut future: Pin<&mut impl Future<Output = T>>) -> bool {
    tokio::task::yield_now().await;
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}

#[test]
fn keys_are_found_without_a_question_and_once_for_each_connection() {
    let door = Door::new(table(&[(KEY, None), ("ended", Some(Instant::now())), ("a.b.c", None)], 1.0));
    let grant = door.grant(KEY);
    assert_eq!(&*grant.principal.name, "shop");
    assert!(Arc::ptr_eq(&grant, &door.grant(KEY)));
    // A key may look like a JWT.
    door.grant("a.b.c");
    assert!(!Arc::ptr_eq(&grant, &door.grant(KEY)));
    assert_eq!((door.cause("ended"), door.cause("other"), door.cause("")), {
        (CredentialError::Expired, CredentialError::Unknown, CredentialError::Malformed)
    });
    assert!(door.questions().is_empty());
}

#[test]
fn a_call_that_was_received_before_its_key_ended_is_refused_if_it_comes_later() {
    let mut door = Door::new(table(&[(KEY, Some(Instant::now()))], 1.0));
    door.now -= HOUR;
    assert_eq!(door.cause(KEY), CredentialError::Expired);
}

#[test]
fn an_address_begins_anew_when_the_limit_of_failures_changes() {
    let door = Door::new(table(&[], 1.0));
    let table_again = || table(&[], 1.0);
    door.ask("a.b.c");
    assert_eq!(door.cause("d.b.c"), CredentialError::Address);
    door.gate.use_table(table_again());
    assert_eq!(door.cause("d.b.c"), CredentialError::Address);
    door.gate.use_table(table(&[], 2.0));
    door.ask("d.b.c");
    door.ask("e.b.c");
    assert_eq!(door.cause("f.b.c"), CredentialError::Address);
}

#[test]
fn nobody_is_let_in_before_there_is_a_table() {
    let events = Arc::new(Events::new().unwrap());
    let gate = Gate::new(Paths::default(), events);
    let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), None));
    let value = Authorization::Value(b"Bearer x");
    let admitted = gate.admit(&Memo::default(), value, &peer, Instant::now());
    assert!(matches!(admitted, Admission::Refused(CredentialError::Unknown)) && !gate.is_open("/s/m"));
}

#[tokio::test]
async fn a_token_is_asked_about_once_and_remembered_until_it_ends() {
    let mut door = Door::new(table(&[], 1.0));
    let asked = [door.ask("a.b.c"), door.ask("a.b.c"), door.ask("a.b.c")];
    door.answer(Some(("shop", Some(60.0))));
    for asked in asked {
        assert_eq!(&*asked.answer().await.unwrap().principal.name, "shop");
    }
    let grant = door.grant("a.b.c");
    assert!(door.questions().is_empty() && grant.expires.is_some());
    // Another connection knows it, too, and each forgets it when it ends.
    door.memo = Memo::default();
    door.grant("a.b.c");
    door.now += HOUR;
    let asked = door.ask("a.b.c");
    door.answer(None);
    assert_eq!(asked.answer().await.unwrap_err(), CredentialError::Token);
}

#[tokio::test]
async fn what_is_answered_after_it_was_looked_for_is_not_asked_again() {
    let door = Door::new(table(&[], 1.0));
    let (table, credential) = (door.gate.table(), Credential::of(Shown::Token(b"a.b.c")));
    let found = door.gate.find(&table, &credential, door.now);
    assert!(matches!(found, Found::Unknown { verified: false }));
    door.verified("a.b.c", None).await;
    let asked = door.gate.ask(&table, credential, &door.peer).unwrap();
    assert_eq!(&*asked.answer().await.unwrap().principal.name, "shop");
    assert!(door.questions().is_empty() && door.gate.questions.count() == 0);
}

#[tokio::test]
async fn what_is_not_valid_is_not_remembered() {
    let door = Door::new(table(&[], 10.0));
    for found in [None, Some(("unknown", None))] {
        let asked = door.ask("a.b.c");
        door.answer(found);
        assert_eq!(asked.answer().await.unwrap_err(), CredentialError::Token);
    }
    let peer = Arc::new(Peer::new(([127, 0, 0, 1], 1).into(), Some(bytes::Bytes::from_static(b"a.b.c"))));
    let Admission::Ask(asked) = door.gate.admit(&door.memo, Authorization::Missing, &peer, door.now) else {
        panic!("a certificate was not asked about")
    };
    door.answer(None);
    assert_eq!(asked.answer().await.unwrap_err(), CredentialError::Certificate);
    assert_eq!(door.gate.questions.count(), 0);
}

#[tokio::test]
async fn an_answer_counts_for_the_table_by_which_it_was_asked() {
    let door = Door::new(table(&[], 1.0));
    let asked = door.ask("a.b.c");
    let first = door.questions();
    door.gate.use_table(table(&[], 1.0));
    // It is asked again, whatever the answer is, and nobody else asks meanwhile.
    door.gate.verified(first[0].0, Some(("shop", None)));
    let other = door.ask("a.b.c");
    door.answer(Some(("shop", None)));
    assert!(asked.answer().await.is_ok() && other.answer().await.is_ok());
    door.grant("a.b.c");
    // Answers that nobody waits for change nothing.
    door.gate.verified(first[0].0, None);
    door.gate.verified(0, None);
    door.grant("a.b.c");
}

#[test]
fn the_open_questions_of_calls_are_bounded() {
    let door = Door::new(table(&[], 1e6));
    let asked: Vec<_> = (0..256).map(|number| door.ask(&format!("{number}.b.c"))).collect();
    assert_eq!(door.cause("one.more.call"), CredentialError::Busy);
    // Calls that share a question need no place.
    door.ask("0.b.c");
    drop(asked);
    // A question is open until it is answered, though nobody waits for it.
    assert_eq!(door.cause("one.more.call"), CredentialError::Busy);
    for (number, _) in door.questions() {
        door.gate.verified(number, None);
    }
    door.ask("one.more.call");
    assert_eq!(door.gate.questions.count(), 1);
}

#[tokio::test]
async fn an_address_may_fail_as_often_as_its_limit_says() {
    let door = Door::new(table(&[], 2.0));
    // What is valid does not count, however much there is of it.
    for number in 0..10 {
        door.verified(&format!("{number}.b.c"), None).await;
    }
    let asked = [door.ask("x.y.1"), door.ask("x.y.2")];
    // They count while they are asked about.
    assert_eq!(door.cause("x.y.3"), CredentialError::Address);
    for (number, _) in door.questions() {
        door.gate.verified(number, None);
    }
    for asked in asked {
        assert_eq!(asked.answer().await.unwrap_err(), CredentialError::Token);
    }
    assert_eq!(
        (door.cause("x.y.1"), door.cause("new.b.c")),
        (CredentialError::Address, CredentialError::Address)
    );
    // What was valid by an earlier table passes, until it fails.
    door.grant("1.b.c");
    door.gate.use_table(table(&[], 2.0));
    door.verified("1.b.c", None).await;
    let asked = door.ask("2.b.c");
    door.answer(None);
    assert_eq!(asked.answer().await.unwrap_err(), CredentialError::Token);
    assert_eq!(door.cause("2.b.c"), CredentialError::Address);
}

#[tokio::test]
async fn a_grant_is_stale_with_the_next_table_and_renewed_by_it() {
    let door = Door::new(table(&[(KEY, None)], 1.0));
    let grant = door.grant(KEY);
    let mut stale = pin!(door.gate.until_stale(&grant));
    assert!(door.gate.holds(&grant, door.now) && !is_done(stale.as_mut()).await);
    door.gate.use_table(table(&[(KEY, None)], 1.0));
    assert!(!door.gate.holds(&grant, door.now) && is_done(stale.as_mut()).await);
    let renewed = door.gate.renew(&grant, &door.peer).await.unwrap();
    assert!(door.gate.holds(&renewed, door.now));
    door.gate.use_table(table(&[], 1.0));
    assert_eq!(door.gate.renew(&renewed, &door.peer).await.unwrap_err(), CredentialError::Unknown);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_stale_when_it_ends() {
    let door = Door::new(table(&[(KEY, Some(Instant::now() + HOUR))], 1.0));
    let grant = door.grant(KEY);
    assert!(door.gate.holds(&grant, door.now) && !door.gate.holds(&grant, door.now + HOUR));
    door.gate.until_stale(&grant).await;
    let ended = Door::new(table(&[("old", Some(door.now))], 1.0));
    assert_eq!(ended.cause("old"), CredentialError::Expired);
}

#[tokio::test]
async fn tokens_of_streams_are_asked_about_some_at_a_time_and_whatever_their_address_did() {
    let door = Door::new(table(&[], 1.0));
    let mut grants = Vec::new();
    for number in 0..100 {
        grants.push(door.verified(&format!("{number}.b.c"), None).await);
    }
    door.ask("x.y.z");
    assert_eq!(door.cause("x.y.y"), CredentialError::Address);
    door.answer(None);
    door.gate.use_table(table(&[], 1.0));
    let mut renewals: Vec<_> =
        grants.iter().map(|grant| Box::pin(door.gate.renew(grant, &door.peer))).collect();
    // Two streams of one token share a question.
    renewals.push(Box::pin(door.gate.renew(&grants[0], &door.peer)));
    let mut most = 0;
    let mut renewed = vec![false; renewals.len()];
    while renewed.iter().any(|renewed| !renewed) {
        for (renewal, renewed) in renewals.iter_mut().zip(&mut renewed) {
            let ended = std::future::poll_fn(|cx| match renewed {
                true => Poll::Ready(true),
                false => Poll::Ready(renewal.as_mut().poll(cx).map(|grant| grant.unwrap()).is_ready()),
            });
            *renewed = ended.await;
        }
        most = most.max(door.gate.questions.count());
        // A task of tokio that never lets others run gets nothing more.
        tokio::task::yield_now().await;
        for (number, _) in door.questions() {
            door.gate.verified(number, Some(("shop", None)));
        }
    }
    assert_eq!((most, door.gate.questions.count()), (64, 0));
    // Calls have places of their own.
    door.grant("0.b.c");
}

#[tokio::test]
async fn a_stopped_engine_answers_nobody() {
    let door = Door::new(table(&[], 1.0));
    let grant = door.verified("a.b.c", None).await;
    door.gate.use_table(table(&[], 1.0));
    let asked = door.ask("a.b.c");
    door.gate.close();
    assert!(asked.answer().await.is_err() && door.gate.renew(&grant, &door.peer).await.is_err());
}
