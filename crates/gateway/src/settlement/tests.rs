//! One record of each settlement, wherever whoever puts it there and whoever records it are interrupted.

use std::sync::Arc;

use fastmcp::seal::KeyRing;
use fastmcp_audit::{Log, Options, Record, Signer, generate_key};
use fastmcp_guard::clock::SystemClock;
use tempfile::TempDir;

use super::*;
use crate::{
    once::{Begin, Once},
    state::{
        Location,
        contract_tests::{Fixture, binding, key},
        machine::Settlement,
    },
};

struct Beside {
    folder: TempDir,
    location: Location,
    fixture: Fixture,
    secret: Vec<u8>,
    outbox: Outbox,
}

impl Beside {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::File(folder.path().join("state.db"));
        let keys = Arc::new(KeyRing::ephemeral().unwrap());
        Self {
            outbox: Outbox::of(folder.path()),
            fixture: Fixture::open(location.clone(), keys).await,
            folder,
            location,
            secret: generate_key().unwrap().to_vec(),
        }
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("audit")
    }

    /// A gateway that has the log.
    fn recorder(&self) -> Recorder {
        let signer = Signer::for_instance("gw-1", &self.secret).unwrap();
        let log = Log::open(self.log(), Options::new("gw-1", signer)).unwrap();
        let audit = Audit::new(log, b"salt", Arc::new(SystemClock));
        let ledger = self.fixture.state.ledger().clone();
        Recorder::new(self.outbox.clone(), audit, self.log(), ledger)
    }

    /// The same state, by a process whose ring has other keys.
    async fn with_other_keys(mut self) -> Self {
        let keys = Arc::new(KeyRing::ephemeral().unwrap());
        self.fixture.state.close().await;
        self.fixture = Fixture::open(self.location.clone(), keys).await;
        self
    }

    /// An operation of which nobody knows whether it happened.
    async fn unknown(&self, name: &str) -> Report {
        let ledger = self.fixture.state.ledger();
        let begun = Once::new(ledger.clone())
            .begin(&binding(), &key(name))
            .await;
        let Begin::Run(ticket) = begun.unwrap() else {
            panic!("the key is new")
        };
        let id = ticket.operation_id().clone();
        let acting = ticket.intend(Duration::from_secs(10)).await.unwrap();
        acting.unknown("timed out").await.unwrap();
        let report = ledger.report(&binding().tenant, &id).await.unwrap();
        report.unwrap()
    }

    async fn settle(&self, settled: &Settled) {
        let id = OperationId::parse(&settled.operation_id).unwrap();
        let how = match settled.settled_as.as_str() {
            "completed" => Settlement::Completed,
            _ => Settlement::Failed,
        };
        let detail = format!("{} (before: timed out)", settled.said());
        let ledger = self.fixture.state.ledger();
        ledger.settle(&id, how, &detail).await.unwrap();
    }

    fn records(&self) -> Vec<Record> {
        let filter = Filter {
            action: Some(ACTION.to_owned()),
            ..Filter::default()
        };
        let records = fastmcp_audit::read(&self.log(), filter).unwrap();
        records.collect::<Result<_, _>>().unwrap()
    }

    fn waiting(&self) -> usize {
        self.outbox.waiting().unwrap().settled.len()
    }

    fn an_hour_passes(&self, settled: &Settled) {
        let path = self.outbox.path(&settled.operation_id);
        let hour_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(hour_ago).unwrap();
    }
}

fn said(report: &Report, status: Status) -> Settled {
    let at = Timestamp::from_unix_seconds(1_700_000_000);
    Settled::new(report, status, "alice", "found it", at)
}

#[tokio::test]
async fn what_waits_is_recorded_once_it_is_true_and_once() {
    let beside = Beside::new().await;
    let settled = said(&beside.unknown("k").await, Status::Completed);
    let recorder = beside.recorder();
    recorder.look().await.unwrap();
    let held = beside.outbox.put(&settled).unwrap();
    let rival = Settled {
        by: "bob".to_owned(),
        ..settled.clone()
    };
    let refused = beside.outbox.put(&rival).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    recorder.look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (0, 1));
    beside.settle(&settled).await;
    drop(held);
    for _ in 0..2 {
        recorder.look().await.unwrap();
        assert_eq!((beside.records().len(), beside.waiting()), (1, 0));
    }
    let record = &beside.records()[0];
    assert_eq!(record.operation_id.as_ref(), Some(&settled.operation_id));
    assert_eq!(record.reason.as_deref(), Some("found it"));
}

#[tokio::test]
async fn a_settlement_that_another_one_was_faster_than_leaves_no_record() {
    let beside = Beside::new().await;
    let report = beside.unknown("k").await;
    let settled = said(&report, Status::Completed);
    let _held = beside.outbox.put(&settled).unwrap();
    beside.settle(&said(&report, Status::Failed)).await;
    beside.recorder().look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (0, 0));
}

#[tokio::test]
async fn killed_at_any_point_there_is_one_record() {
    let beside = Beside::new().await;
    // Before the record: it was only said that one begins.
    let before = said(&beside.unknown("before").await, Status::Completed);
    // After the record: it was not taken away any more.
    let after = said(&beside.unknown("after").await, Status::Failed);
    // Of the command, with the log in its hands, before the state changed.
    let never = said(&beside.unknown("never").await, Status::Failed);
    let recorder = beside.recorder();
    let size = recorder.audit.health().size;
    for settled in [&before, &after] {
        let _held = beside
            .outbox
            .put(&settled.clone().beginning_at(size))
            .unwrap();
        beside.settle(settled).await;
    }
    let _held = beside
        .outbox
        .put(&never.clone().beginning_at(size))
        .unwrap();
    recorder.audit.append(&after.draft()).await.unwrap();
    recorder.audit.close_log().unwrap();
    drop(recorder);

    let recorder = beside.recorder();
    for _ in 0..2 {
        recorder.look().await.unwrap();
        let mut named: Vec<_> = beside
            .records()
            .into_iter()
            .map(|r| r.operation_id)
            .collect();
        named.sort();
        let mut expected = [before.operation_id.clone(), after.operation_id.clone()].map(Some);
        expected.sort();
        assert_eq!(named, expected);
        assert_eq!(beside.waiting(), 1, "nobody settled the third");
    }
    beside.settle(&never).await;
    recorder.look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (3, 0));
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_keeps_nobody_waiting() {
    let beside = Beside::new().await;
    let settled = said(&beside.unknown("k").await, Status::Completed);
    let _held = beside.outbox.put(&settled).unwrap();
    beside.settle(&settled).await;
    let folder = beside.folder.path().join(FOLDER);
    fs::write(folder.join("broken.json"), "{").unwrap();
    fs::write(
        folder.join("other.json"),
        serde_json::to_vec(&settled).unwrap(),
    )
    .unwrap();
    beside.recorder().look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (1, 0));
    for kept in ["broken.unreadable", "other.unreadable"] {
        assert!(folder.join(kept).exists(), "{kept}");
    }
}

#[tokio::test]
async fn what_the_state_keeps_under_a_key_that_is_gone_is_recorded_and_says_so() {
    let beside = Beside::new().await;
    let report = beside.unknown("k").await;
    let settled = said(&report, Status::Completed);
    drop(beside.outbox.put(&settled).unwrap());
    beside.settle(&settled).await;
    let beside = beside.with_other_keys().await;
    let recorder = beside.recorder();
    for _ in 0..2 {
        recorder.look().await.unwrap();
        assert_eq!((beside.records().len(), beside.waiting()), (1, 0));
    }
    let details = beside.records()[0].details.clone().unwrap();
    assert_eq!(details["settled_as"], "completed");
    let why = details["unconfirmed"].as_str().unwrap();
    assert!(why.contains("sealed with a key that is gone"), "{why}");
}

#[tokio::test]
async fn a_settlement_that_takes_long_is_recorded_when_it_happens() {
    let beside = Beside::new().await;
    let settled = said(&beside.unknown("k").await, Status::Completed);
    let held = beside.outbox.put(&settled).unwrap();
    // Whoever settles was stopped for an hour.
    beside.an_hour_passes(&settled);
    let recorder = beside.recorder();
    recorder.look().await.unwrap();
    // Nor does a rival take its place.
    let refused = beside.outbox.put(&settled).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
    let id = OperationId::parse(&settled.operation_id).unwrap();
    assert!(beside.outbox.left(&id).unwrap().is_none());
    assert_eq!((beside.records().len(), beside.waiting()), (0, 1));
    beside.settle(&settled).await;
    drop(held);
    recorder.look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (1, 0));
}

#[tokio::test]
async fn a_settlement_of_somebody_who_ended_before_it_happened_is_taken_away() {
    let beside = Beside::new().await;
    let settled = said(&beside.unknown("k").await, Status::Completed);
    drop(beside.outbox.put(&settled).unwrap());
    // What was sent to the state may be on its way.
    beside.recorder().look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (0, 1));
    beside.an_hour_passes(&settled);
    beside.recorder().look().await.unwrap();
    assert_eq!((beside.records().len(), beside.waiting()), (0, 0));
    // Without a gateway, whoever comes next does so.
    drop(beside.outbox.put(&settled).unwrap());
    beside.an_hour_passes(&settled);
    let id = OperationId::parse(&settled.operation_id).unwrap();
    let left = beside.outbox.left(&id).unwrap().unwrap();
    assert!(beside.outbox.left(&id).unwrap().is_none(), "one at a time");
    left.remove().unwrap();
    assert_eq!(beside.waiting(), 0);
}
