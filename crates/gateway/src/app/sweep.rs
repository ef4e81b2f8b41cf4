//! Looks after operations whose time is over, and records what was done without a log.
//!
//! An operation that was begun and has no outcome when its lease ends becomes `unknown`; that, and what commands do beside a
//! running gateway, waits in the state until a log has it. Replicas that look at the same moment may both record an act;
//! `details.act` tells that it is one.

use std::{collections::VecDeque, fmt, time::Duration};

use fastmcp_audit::{AuditError, Draft, Status as Outcome};
use tokio_util::sync::CancellationToken;

use crate::{
    audit::{Audit, rfc3339},
    label::Labels,
    pipeline::Pipeline,
    state::{
        State, StateError,
        act::{RECOVERED, Untold},
        machine::Status,
        operation::{OperationId, Report, Row},
    },
    telemetry::Telemetry,
};

/// How often leases and expired operations are looked after.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Rows of one sweep.
const SWEEP_ROWS: u32 = if cfg!(test) { 2 } else { 500 };

/// Why an outcome is recorded that was unknown.
const KNOWN: &str =
    "the outcome was recorded, or settled by an operator, after the lease of the call was over";
/// How many acts are remembered that a log has and the state keeps still.
const MOST_APPENDED: usize = 1_000;

/// Looks after operations.
pub(super) struct Sweeper {
    state: State,
    labels: Labels,
    audit: Audit,
    telemetry: Telemetry,
    /// Acts that the log has, where the state did not take that, the oldest first.
    appended: VecDeque<OperationId>,
}

impl Sweeper {
    pub(super) fn new(state: State, pipeline: &Pipeline) -> Self {
        Self {
            state,
            labels: pipeline.labels.clone(),
            audit: pipeline.audit.clone(),
            telemetry: pipeline.telemetry.clone(),
            appended: VecDeque::new(),
        }
    }

    /// Looks every few seconds, until `shutdown` fires.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(SWEEP_EVERY))
            .await
            .is_some()
        {
            self.look().await;
        }
    }

    async fn look(&mut self) {
        // What is known must not become unknown first.
        self.state.ledger().record_owed().await;
        let swept = self.state.ledger().sweep(SWEEP_ROWS).await;
        complain(swept.err(), "operations could not be looked after");
        match self.state.ledger().unsettled().await {
            Ok(operations) => self.telemetry.count_unsettled(operations),
            Err(error) => complain(Some(error), "operations could not be counted"),
        }
        self.audit.catch_up().await;
        let told = self.tell().await;
        complain(told.err(), "what was done is not recorded yet; tried again");
        let forgotten = self.labels.forget(SWEEP_ROWS).await;
        complain(forgotten.err(), "labels could not be looked after");
    }

    /// Records what no log has yet.
    async fn tell(&mut self) -> Result<(), NotTold> {
        let mut after = None;
        loop {
            let page = self.state.acts().untold(after, SWEEP_ROWS).await?;
            for id in page.unreadable {
                keep(&id, &NotTold::Unreadable);
            }
            for act in page.acts {
                match self.record(&act).await {
                    // Nothing makes it fit, and it must not stand in the way of others.
                    Err(error) if error.is_the_acts() => keep(act.id.as_str(), &error),
                    recorded => recorded?,
                }
            }
            if page.next.is_none() {
                return Ok(());
            }
            after = page.next;
        }
    }

    async fn record(&mut self, act: &Untold) -> Result<(), NotTold> {
        if !self.appended.contains(&act.id) {
            let draft = self.draft(act).await?.ok_or(NotTold::Unreadable)?;
            self.audit.append(&draft).await?;
            if draft.action == RECOVERED && draft.status == Outcome::Unknown {
                self.telemetry.doubted();
            }
            if self.appended.len() >= MOST_APPENDED {
                self.appended.pop_front();
            }
            self.appended.push_back(act.id.clone());
        }
        self.state.acts().told(act.id.clone()).await?;
        self.appended.retain(|id| *id != act.id);
        Ok(())
    }

    /// What the log keeps of an act; nothing where it cannot be read.
    async fn draft(&self, untold: &Untold) -> Result<Option<Draft>, StateError> {
        let draft = untold.draft();
        let recovered = untold.act.as_ref().filter(|act| act.action == RECOVERED);
        let id = recovered.and_then(|act| act.resource_id.as_deref());
        if let (Some(mut draft), Some(Ok(id))) = (draft.clone(), id.map(OperationId::parse))
            && let Some(row) = self.state.ledger().row(&id).await?
        {
            found(&row, &mut draft);
            return Ok(Some(draft));
        }
        Ok(draft)
    }
}

/// Why what was done is not recorded.
#[derive(Debug, thiserror::Error)]
enum NotTold {
    #[error("it cannot be read, which a newer version may have left")]
    Unreadable,
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl NotTold {
    /// Whether it is for what this one act is, and not for a trouble that passes.
    const fn is_the_acts(&self) -> bool {
        matches!(
            self,
            Self::Unreadable
                | Self::State(StateError::Corrupt { .. })
                | Self::Audit(AuditError::Draft { .. })
        )
    }
}

fn complain(error: Option<impl fmt::Display>, what: &'static str) {
    if let Some(error) = error {
        tracing::warn!(%error, "{what}");
    }
}

fn keep(act: &str, error: &NotTold) {
    tracing::error!(act, %error, "what was done cannot be recorded; it is kept");
}

/// What the log keeps of an outcome that nobody knew when its time was over, as it stands by now.
fn found(row: &Row, draft: &mut Draft) {
    let bound = &row.binding;
    let (status, reason) = match row.machine.status() {
        Status::Completed => (Outcome::Success, KNOWN),
        Status::Failed => (Outcome::Failed, KNOWN),
        _ => (Outcome::Unknown, Report::RECOVERED),
    };
    draft.status = status;
    draft.reason = Some(reason.to_owned());
    draft.tool_id = Some(bound.tool_id.as_str().to_owned());
    draft.sub = Some(bound.subject.clone());
    draft.tenant = Some(bound.tenant.clone());
    draft.policy_version = Some(
        row.redeemed_policy_version
            .clone()
            .unwrap_or_else(|| bound.policy_version.clone()),
    );
    let details = draft.details.get_or_insert_default();
    details.text("asked_at", &*rfc3339(row.created_at));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastmcp::seal::KeyRing;
    use fastmcp_audit::{Filter, Log, Options, Phase, Record, Signer, generate_key};
    use fastmcp_guard::clock::{Clock as _, SystemClock};

    use super::*;
    use crate::state::{
        Location,
        act::Act,
        contract_tests::{Fixture, START, after, binding, owner},
        ledger::End,
        machine::{Claim, Event, Machine, Settlement},
        operation::{Note, Stepped},
    };

    struct Bench {
        fixture: Fixture,
        folder: tempfile::TempDir,
    }

    impl Bench {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = Location::File(folder.path().join("state.db"));
            let keys = Arc::new(KeyRing::ephemeral().unwrap());
            Self {
                fixture: Fixture::open(file, keys).await,
                folder,
            }
        }

        fn sweeper(&self) -> Sweeper {
            let signer = Signer::for_instance("t", &generate_key().unwrap()).unwrap();
            let log = Log::open(self.log(), Options::new("t", signer)).unwrap();
            let state = self.fixture.state.clone();
            Sweeper {
                labels: Labels::new(state.clone(), Duration::from_secs(60)),
                state,
                audit: Audit::new(log, b"salt", Arc::new(SystemClock)),
                telemetry: Telemetry::new(),
                appended: VecDeque::new(),
            }
        }

        fn log(&self) -> std::path::PathBuf {
            self.folder.path().join("audit")
        }

        /// Past the state, as nobody should.
        fn database(&self) -> rusqlite::Connection {
            rusqlite::Connection::open(self.folder.path().join("state.db")).unwrap()
        }

        /// A call that acts until its lease is over, in a moment.
        async fn intended(&self) -> Row {
            let now = self.fixture.clock.now();
            let claimed = Machine::claimed(owner(), after(now, 50), after(now, 1_000));
            let row = crate::state::contract_tests::row(binding(), claimed, now);
            self.fixture.create(&row).await;
            let intend = Event::Intend {
                claim: claim(),
                until: after(now, 60),
            };
            self.step(&row, intend).await;
            row
        }

        async fn step(&self, row: &Row, event: Event) {
            let ledger = self.fixture.state.ledger();
            let moved = ledger.step("acme", &row.id, event, Note::default()).await;
            assert!(
                matches!(moved, Ok(Stepped::Moved(_) | Stepped::Held)),
                "{moved:?}"
            );
        }

        async fn leave(&self, number: u64, action: &str) {
            let act = Act {
                action: action.to_owned(),
                tenant: None,
                resource_type: "operation".to_owned(),
                resource_id: Some(format!("operation {number}")),
                details: serde_json::Map::new(),
            };
            let untold = Untold {
                id: OperationId::parse(&format!("00000000-0000-7000-8000-{number:012x}")).unwrap(),
                at: after(START, number),
                act: Some(act),
            };
            self.fixture.state.acts().leave(untold).await.unwrap();
        }

        fn told(&self, action: &str) -> Vec<Record> {
            let filter = Filter {
                action: Some(action.to_owned()),
                ..Filter::default()
            };
            let told = fastmcp_audit::read(&self.log(), filter).unwrap();
            told.map(|record| record.unwrap()).collect()
        }
    }

    fn claim() -> Claim {
        Claim {
            owner: owner(),
            fence: 1,
        }
    }

    /// The one that found it may have ended before the log had it; whoever looks next tells it.
    #[tokio::test]
    async fn what_recovery_found_is_told_by_whoever_looks_next_and_once() {
        let bench = Bench::new().await;
        let row = bench.intended().await;
        bench.fixture.pass(100);
        let swept = bench.fixture.state.ledger().sweep(10).await.unwrap();
        assert!(swept.recovered.unknown.contains(&row.id));

        let mut sweeper = bench.sweeper();
        sweeper.look().await;
        sweeper.look().await;
        drop(sweeper);
        let told = bench.told(RECOVERED);
        let [told] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(told.operation_id.as_deref(), Some(row.id.as_str()));
        assert_eq!(told.status, Outcome::Unknown);
    }

    #[tokio::test]
    async fn what_cannot_be_recorded_hides_nothing_behind_it() {
        let bench = Bench::new().await;
        for number in 1..=5 {
            bench.leave(number, "not an action \u{0}").await;
        }
        bench.leave(6, "thing.done").await;
        let odd = "INSERT INTO acts (id, at, act) VALUES (?1, -1, '')";
        let inserted = bench.database().execute(odd, ["x".repeat(36)]);
        assert_eq!(inserted.unwrap(), 1);
        bench.sweeper().look().await;
        assert_eq!(bench.told("thing.done").len(), 1);
    }

    /// An outcome that nobody knows stays one when the operation is kept no longer.
    #[tokio::test]
    async fn what_recovery_found_and_the_state_forgot_is_unknown() {
        let bench = Bench::new().await;
        bench.leave(1, RECOVERED).await;
        bench.sweeper().look().await;
        let told = bench.told(RECOVERED);
        let [told] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert_eq!(
            (told.phase, told.status, told.operation_id.as_deref()),
            (Phase::Outcome, Outcome::Unknown, Some("operation 1"))
        );
    }

    #[tokio::test]
    async fn what_the_log_has_is_not_recorded_again_while_the_state_cannot_be_written() {
        let bench = Bench::new().await;
        bench.leave(1, "thing.done").await;
        let (database, mut sweeper) = (bench.database(), bench.sweeper());
        let run = |sql: &str| database.execute_batch(sql).unwrap();
        run("CREATE TRIGGER kept BEFORE DELETE ON acts BEGIN SELECT RAISE(ABORT, 'kept'); END");
        for _ in 0..3 {
            sweeper.look().await;
        }
        assert_eq!(bench.told("thing.done").len(), 1);
        run("DROP TRIGGER kept");
        sweeper.look().await;
        let left = bench.fixture.state.acts().untold(None, 1).await.unwrap();
        assert_eq!((left.acts, sweeper.appended), (vec![], VecDeque::new()));
        assert_eq!(bench.told("thing.done").len(), 1);
    }

    fn complete() -> Event {
        Event::Complete { claim: claim() }
    }

    fn end(row: &Row) -> End {
        End {
            tenant: "acme".to_owned(),
            id: row.id.clone(),
            status: Status::Completed,
            event: complete(),
            note: Note::default(),
            until: START,
            not_told: None,
        }
    }

    /// It was done and recorded as that; only the state was away for too long.
    #[tokio::test]
    async fn what_ended_while_the_state_was_away_is_not_doubted() {
        let bench = Bench::new().await;
        let (owed, rival) = (bench.intended().await, bench.intended().await);
        let ledger = bench.fixture.state.ledger();
        drop(ledger.owing(end(&owed)));
        bench.fixture.pass(100);
        let mut sweeper = bench.sweeper();
        sweeper.look().await;
        assert_eq!(
            bench.fixture.status("acme", &owed.id).await,
            Status::Completed
        );
        let told = bench.told(RECOVERED);
        let told: Vec<_> = told.iter().map(|one| one.operation_id.as_deref()).collect();
        assert_eq!(told, [Some(rival.id.as_str())]);

        // The log hears of it where recovery was faster.
        drop(ledger.owing(end(&rival)));
        sweeper.look().await;
        sweeper.look().await;
        let told = bench.told(RECOVERED);
        let told: Vec<_> = told.iter().map(|one| one.status).collect();
        assert_eq!(told, [Outcome::Unknown, Outcome::Success]);
        let kept = bench.told(RECOVERED).pop().unwrap();
        assert_eq!(
            (kept.operation_id.as_deref(), kept.tenant.as_deref()),
            (Some(rival.id.as_str()), Some("acme"))
        );
    }

    /// It had stood still, and not the state: its first try ends what recovery has doubted.
    #[tokio::test]
    async fn who_comes_back_after_recovery_has_the_last_word() {
        let bench = Bench::new().await;
        let row = bench.intended().await;
        bench.fixture.pass(100);
        let mut sweeper = bench.sweeper();
        sweeper.look().await;
        let ledger = bench.fixture.state.ledger();
        ledger.end(end(&row)).await.unwrap();
        sweeper.look().await;
        let told = bench.told(RECOVERED);
        let told: Vec<_> = told.iter().map(|one| one.status).collect();
        assert_eq!(told, [Outcome::Unknown, Outcome::Success]);
    }

    #[tokio::test]
    async fn what_awaits_settlement_is_counted() {
        let bench = Bench::new().await;
        let rows = [bench.intended().await, bench.intended().await];
        let mut sweeper = bench.sweeper();
        let telemetry = sweeper.telemetry.clone();
        let is_told = |operations| {
            let line = format!("fastmcp_operations_unsettled {operations}");
            let rendered = telemetry.render(Duration::ZERO).unwrap();
            rendered.lines().any(|known| known == line)
        };
        sweeper.look().await;
        assert!(is_told(0), "they are at work");
        bench.fixture.pass(100);
        sweeper.look().await;
        assert!(is_told(2));
        bench
            .step(&rows[0], Event::Settle(Settlement::Failed))
            .await;
        sweeper.look().await;
        assert!(is_told(1));
    }

    #[tokio::test]
    async fn what_is_known_by_the_time_it_is_told_is_told_as_that() {
        let bench = Bench::new().await;
        let row = bench.intended().await;
        bench.fixture.pass(100);
        bench.fixture.state.ledger().sweep(10).await.unwrap();
        bench.step(&row, complete()).await;
        bench.sweeper().look().await;
        let told = bench.told(RECOVERED);
        let told: Vec<_> = told.iter().map(|one| one.status).collect();
        assert_eq!(told, [Outcome::Success]);
    }
}
