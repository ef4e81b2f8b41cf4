use std::{collections::BTreeMap, sync::Arc};

use fastmcp::seal::KeyRing;
use fastmcp_audit::{Filter, Log, Options, Signer, Status as Outcome, generate_key};
use fastmcp_guard::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::state::{
    Location,
    contract_tests::{Fixture, after, binding, owner, row},
    machine::{Claim, Event, Machine},
    operation::{Note, Row, Stepped},
};

/// A state and a log whose process was killed.
struct Bench {
    fixture: Fixture,
    folder: TempDir,
    key: Vec<u8>,
}

impl Bench {
    async fn new() -> Self {
        Self::over(Fixture::memory().await)
    }

    fn over(fixture: Fixture) -> Self {
        Self {
            fixture,
            folder: tempfile::tempdir().unwrap(),
            key: generate_key().unwrap().to_vec(),
        }
    }

    fn open(&self) -> Audit {
        let signer = Signer::for_instance("t", &self.key).unwrap();
        let log = Log::open(self.folder.path(), Options::new("t", signer)).unwrap();
        Audit::new(log, b"salt", Arc::new(SystemClock))
    }

    async fn row(&self, machine: Machine) -> Row {
        let row = row(binding(), machine, self.fixture.clock.now());
        self.fixture.create(&row).await;
        row
    }

    async fn claimed(&self) -> Row {
        let now = self.fixture.clock.now();
        let claimed = Machine::claimed(owner(), after(now, 50), after(now, 1_000));
        self.row(claimed).await
    }

    async fn reserved(&self) -> Row {
        let until = after(self.fixture.clock.now(), 1_000);
        self.row(Machine::reserved(until)).await
    }

    async fn step(&self, row: &Row, event: Event, note: Note) {
        let ledger = self.fixture.state.ledger();
        let stepped = ledger.step("acme", &row.id, event, note).await;
        assert!(
            matches!(stepped, Ok(Stepped::Moved(_) | Stepped::Held)),
            "{stepped:?}"
        );
    }

    async fn intend(&self, row: &Row, fence: u64) {
        let until = after(self.fixture.clock.now(), 60);
        let claim = claim(fence);
        self.step(row, Event::Intend { claim, until }, Note::default())
            .await;
    }

    async fn complete(&self, row: &Row, fence: u64) {
        let claim = claim(fence);
        self.step(row, Event::Complete { claim }, Note::default())
            .await;
    }

    async fn confirm(&self, row: &Row, by: &str) {
        let note = Note {
            confirmed_by: Some(by.to_owned()),
            ..Note::default()
        };
        self.step(row, Event::Confirm, note).await;
    }

    async fn decline(&self, row: &Row, by: &str) {
        let ledger = self.fixture.state.ledger();
        let said = format!("declined by {by}: no reason given");
        let note = ledger.detail(&row.id, &said).unwrap();
        self.step(row, Event::Decline, note).await;
    }

    /// A run that leaves `records` and is over.
    async fn before(&self, records: Vec<Draft>) {
        let audit = self.open();
        for record in records {
            audit.append(&record).await.unwrap();
        }
        audit.close_log().unwrap();
    }

    fn unfinished(&self, audit: &Audit) -> Unfinished {
        let ledger = self.fixture.state.ledger().clone();
        let folder = self.folder.path().to_owned();
        Unfinished::new(audit.clone(), ledger, folder, Duration::from_secs(45))
    }

    /// Starts twice, and looks once each; what is told then, by the name of the request.
    async fn restart(&self) -> BTreeMap<String, Outcome> {
        for _ in 0..2 {
            let audit = self.open();
            let mut unfinished = self.unfinished(&audit);
            unfinished.look(&CancellationToken::new()).await.unwrap();
            audit.close_log().unwrap();
        }
        self.told()
    }

    fn told(&self) -> BTreeMap<String, Outcome> {
        let filter = Filter {
            action: Some(RECOVERED.to_owned()),
            ..Filter::default()
        };
        let mut told = BTreeMap::new();
        for record in fastmcp_audit::read(self.folder.path(), filter).unwrap() {
            let record = record.unwrap();
            let twice = told.insert(record.corr_id.unwrap(), record.status);
            assert_eq!(twice, None, "told twice");
        }
        told
    }
}

fn claim(fence: u64) -> Claim {
    Claim {
        owner: owner(),
        fence,
    }
}

fn draft((corr_id, action): (&str, &str), phase: Phase, operation: &str) -> Draft {
    let mut draft = Draft::event(action, Outcome::Success);
    draft.phase = phase;
    draft.corr_id = Some(corr_id.to_owned());
    draft.operation_id = Some(operation.to_owned()).filter(|id| !id.is_empty());
    draft.tenant = Some("acme".to_owned());
    draft.sub = Some("alice".to_owned());
    draft
}

fn intent(corr_id: &str, action: &str, operation: &str) -> Draft {
    draft((corr_id, action), Phase::Intent, operation)
}

fn saying(mut draft: Draft, name: &'static str, value: &Value) -> Draft {
    draft.details.get_or_insert_default().put(name, value);
    draft
}

/// The intent of a call that holds the claim `fence`.
fn call(corr_id: &str, row: &Row, fence: u64) -> Draft {
    let intent = intent(corr_id, "tools.invoke", row.id.as_str());
    saying(intent, "claim", &json!(fence))
}

fn decision(corr_id: &str, row: &Row, word: &str) -> Draft {
    let intent = intent(corr_id, "approvals.decide", row.id.as_str());
    saying(intent, "decision", &json!(word))
}

fn by(mut draft: Draft, sub: &str) -> Draft {
    draft.sub = Some(sub.to_owned());
    draft
}

fn expected<const N: usize>(told: [(&str, Outcome); N]) -> BTreeMap<String, Outcome> {
    let told = told.map(|(name, status)| (name.to_owned(), status));
    BTreeMap::from(told)
}

const UNKEYED: &str = "019a9f3c-2f6b-7cc1-9d53-0a4be2a1c7d4";

#[tokio::test]
async fn an_intent_of_before_gets_its_outcome_once() {
    let bench = Bench::new().await;
    let (done, at_work) = (bench.claimed().await, bench.claimed().await);
    for row in [&done, &at_work] {
        bench.intend(row, 1).await;
    }
    bench.complete(&done, 1).await;
    let finished = "019a9f3c-2f6b-7cc1-9d53-0a4be2a1c7d5";
    bench
        .before(vec![
            call("done", &done, 1),
            call("at work", &at_work, 1),
            intent("unkeyed", "tools.invoke", UNKEYED),
            intent("finished", "tools.invoke", finished),
            draft(("finished", "tools.invoke"), Phase::Outcome, finished),
        ])
        .await;
    let told = [("done", Outcome::Success), ("unkeyed", Outcome::Unknown)];
    assert_eq!(bench.restart().await, expected(told));
}

#[tokio::test]
async fn who_is_refused_often_hides_no_intent_of_others() {
    let bench = Bench::new().await;
    let mut records = vec![intent("hidden", "tools.invoke", UNKEYED)];
    let refused = || draft(("flood", "tools.invoke"), Phase::Event, "");
    records.extend((0..100).map(|_| refused()));
    bench.before(records).await;
    let told = [("hidden", Outcome::Unknown)];
    assert_eq!(bench.restart().await, expected(told));
}

/// An operation has intents of several actions, and names of requests are chosen by callers.
#[tokio::test]
async fn an_outcome_is_that_of_its_own_intent() {
    let bench = Bench::new().await;
    let row = bench.reserved().await;
    bench.confirm(&row, "bob").await;
    let id = row.id.as_str();
    let register = |sub, phase| by(draft(("same", "manifests.register"), phase, ""), sub);
    bench
        .before(vec![
            by(decision("decided", &row, "approve"), "bob"),
            intent("called", "tools.invoke", id),
            draft(("called", "tools.invoke"), Phase::Outcome, id),
            register("alice", Phase::Intent),
            register("mallory", Phase::Intent),
            register("mallory", Phase::Outcome),
        ])
        .await;
    let told = [("decided", Outcome::Success), ("same", Outcome::Unknown)];
    assert_eq!(bench.restart().await, expected(told));
}

#[tokio::test]
async fn what_was_never_handed_to_the_state_was_not_done() {
    let bench = Bench::new().await;
    let (held, again) = (bench.claimed().await, bench.claimed().await);
    let undecided = bench.reserved().await;
    let event = Event::Release { claim: claim(1) };
    bench.step(&again, event, Note::default()).await;
    let event = Event::Claim {
        owner: owner(),
        until: after(bench.fixture.clock.now(), 50),
    };
    bench.step(&again, event, Note::default()).await;
    bench.intend(&again, 2).await;
    bench.complete(&again, 2).await;
    bench
        .before(vec![
            call("held", &held, 1),
            call("first", &again, 1),
            call("second", &again, 2),
            decision("undecided", &undecided, "approve"),
            intent("undeclined", "tools.decline", undecided.id.as_str()),
        ])
        .await;
    let told = [
        ("held", Outcome::Failed),
        ("first", Outcome::Failed),
        ("second", Outcome::Success),
        ("undecided", Outcome::Failed),
        ("undeclined", Outcome::Failed),
    ];
    assert_eq!(bench.restart().await, expected(told));
}

/// That the operation ended as somebody wanted does not say that it was that one's doing, nor that it is what was meant.
#[tokio::test]
async fn a_decision_succeeded_only_for_who_took_it() {
    let bench = Bench::new().await;
    let (approved, denied) = (bench.reserved().await, bench.reserved().await);
    bench.confirm(&approved, "bob").await;
    bench.decline(&denied, "bob").await;
    let event = Event::Claim {
        owner: owner(),
        until: after(bench.fixture.clock.now(), 50),
    };
    bench.step(&approved, event, Note::default()).await;
    bench.intend(&approved, 1).await;
    bench.complete(&approved, 1).await;
    bench
        .before(vec![
            by(decision("bob's yes", &approved, "approve"), "bob"),
            by(decision("eve's yes", &approved, "approve"), "eve"),
            by(decision("bob's no to it", &approved, "deny"), "bob"),
            intent("alice's no to it", "tools.decline", approved.id.as_str()),
            by(decision("bob's no", &denied, "deny"), "bob"),
            by(decision("bob's yes to it", &denied, "approve"), "bob"),
            by(decision("eve's no", &denied, "deny"), "eve"),
            intent("alice's no", "tools.decline", denied.id.as_str()),
        ])
        .await;
    let told = [
        ("bob's yes", Outcome::Success),
        ("eve's yes", Outcome::Failed),
        ("bob's no to it", Outcome::Failed),
        ("alice's no to it", Outcome::Failed),
        ("bob's no", Outcome::Success),
        ("bob's yes to it", Outcome::Failed),
        ("eve's no", Outcome::Failed),
        ("alice's no", Outcome::Failed),
    ];
    assert_eq!(bench.restart().await, expected(told));
}

#[tokio::test]
async fn what_cannot_be_told_holds_up_no_other_and_is_tried_again() {
    let state = tempfile::tempdir().unwrap();
    let file = state.path().join("state.db");
    let keys = Arc::new(KeyRing::ephemeral().unwrap());
    let bench = Bench::over(Fixture::open(Location::File(file.clone()), keys).await);
    let (odd, fine) = (bench.claimed().await, bench.claimed().await);
    for row in [&odd, &fine] {
        bench.intend(row, 1).await;
        bench.complete(row, 1).await;
    }
    let calls = vec![call("odd", &odd, 1), call("fine", &fine, 1)];
    bench.before(calls).await;
    let database = rusqlite::Connection::open(&file).unwrap();
    let moved = |to: i64| {
        let moved = "UPDATE operations SET updated_at = ?1 WHERE operation_id = ?2";
        database.execute(moved, (to, odd.id.as_str())).unwrap()
    };
    assert_eq!(moved(-1), 1);

    let (audit, shutdown) = (bench.open(), CancellationToken::new());
    let mut unfinished = bench.unfinished(&audit);
    let looked = unfinished.look(&shutdown).await;
    assert!(matches!(looked, Err(Untold::State(_))), "{looked:?}");
    assert_eq!(bench.told(), expected([("fine", Outcome::Success)]));
    assert_eq!(moved(1), 1);
    unfinished.look(&shutdown).await.unwrap();
    let told = [("fine", Outcome::Success), ("odd", Outcome::Success)];
    assert_eq!(bench.told(), expected(told));
    assert_eq!(unfinished.left.map(|left| left.len()), Some(0));
}
