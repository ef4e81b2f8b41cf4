//! Looks after operations whose time is over, and records what recovery found.
//!
//! An operation that was begun and has no outcome when its lease ends becomes `unknown`, by one conditional `UPDATE`: of all
//! replicas one moves it, and that one records it. What the log does not take is recorded with a later look.

use std::time::Duration;

use fastmcp_audit::{Draft, Object, Phase, Status as Outcome};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    audit::{Audit, rfc3339},
    label::Labels,
    pipeline::Pipeline,
    state::{
        StateError,
        ledger::{Ledger, Swept},
        operation::{OperationId, Report, Row},
    },
    telemetry::Telemetry,
};

/// The action of the record.
const ACTION: &str = "operations.recovered";
/// How often leases and expired operations are looked after.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Rows of one sweep.
const SWEEP_ROWS: u32 = 500;

/// Looks after operations.
pub(super) struct Sweeper {
    ledger: Ledger,
    labels: Labels,
    audit: Audit,
    telemetry: Telemetry,
    /// Found to be unknown, and not recorded yet.
    owed: Vec<OperationId>,
}

impl Sweeper {
    pub(super) fn new(ledger: Ledger, pipeline: &Pipeline) -> Self {
        Self {
            ledger,
            labels: pipeline.labels.clone(),
            audit: pipeline.audit.clone(),
            telemetry: pipeline.telemetry.clone(),
            owed: Vec::new(),
        }
    }

    /// Looks every few seconds, until `shutdown` fires.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        while shutdown
            .run_until_cancelled(tokio::time::sleep(SWEEP_EVERY))
            .await
            .is_some()
        {
            if let Err(error) = self.look().await {
                tracing::warn!(%error, "operations could not be looked after");
            }
            self.forget().await;
        }
    }

    async fn forget(&self) {
        if let Err(error) = self.labels.forget(SWEEP_ROWS).await {
            tracing::warn!(%error, "labels could not be looked after");
        }
    }

    async fn look(&mut self) -> Result<(), StateError> {
        let swept = self.ledger.sweep(SWEEP_ROWS).await?;
        if swept != Swept::default() {
            tracing::debug!(?swept, "operations looked after");
        }
        for id in swept.recovered.unknown {
            self.telemetry.doubted();
            self.owed.push(id);
        }
        self.record().await
    }

    /// Records what is owed, as far as the log takes it.
    async fn record(&mut self) -> Result<(), StateError> {
        while let Some(id) = self.owed.last() {
            if let Some(row) = self.ledger.row(id).await?
                && let Err(error) = self.audit.append(&draft(&row)).await
            {
                tracing::warn!(%error, operation = %id, "unknown outcome is not recorded yet; tried again");
                break;
            }
            self.owed.pop();
        }
        Ok(())
    }
}

/// What the log keeps of an outcome that nobody knows.
fn draft(row: &Row) -> Draft {
    let (id, bound) = (row.id.as_str(), &row.binding);
    let mut draft = Draft::event(ACTION, Outcome::Unknown);
    draft.phase = Phase::Outcome;
    draft.reason = Some(Report::RECOVERED.to_owned());
    draft.resource_type = Some("operation".to_owned());
    draft.resource_id = Some(id.to_owned());
    draft.operation_id = Some(id.to_owned());
    draft.tool_id = Some(bound.tool_id.as_str().to_owned());
    draft.sub = Some(bound.subject.clone());
    draft.tenant = Some(bound.tenant.clone());
    draft.policy_version = Some(
        row.redeemed_policy_version
            .clone()
            .unwrap_or_else(|| bound.policy_version.clone()),
    );
    draft.details = Some(Object::from_iter([(
        "asked_at",
        json!(rfc3339(row.created_at)),
    )]));
    draft
}
