//! What a caller hears of an operation, in the words of the contract.

use std::time::Duration;

use fastmcp_protocol::Raw;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{IN_PROGRESS, KEY_CONFLICT};
use crate::{
    call::{CanConfirm, Completed, DoneBefore, TokenMeta},
    confirm::Refusal,
    error::{Code, Error},
    state::{
        machine::Status,
        operation::{OperationId, Report, Stored},
        ticket::Lost,
    },
};

/// A result as stored for replays, by [`keep`].
#[derive(Deserialize)]
struct Kept<'a> {
    #[serde(borrow)]
    result: &'a RawValue,
    token_meta: TokenMeta,
}

/// A refusal to hand out or redeem a ticket, in the words of the contract.
pub(super) fn refused(refusal: Refusal) -> Error {
    let conflict = |message: String| Error::new(Code::Conflict, message);
    let text = refusal.to_string();
    match refusal {
        Refusal::Unknown | Refusal::ChangedArguments => {
            Error::new(Code::Unauthorized, format!("Invalid token: {text}"))
        }
        Refusal::OtherCaller => Error::denied(text),
        Refusal::Expired { operation_id } => conflict(format!("Confirmation has expired: {text}"))
            .with_detail("operation_id", operation_id.as_str())
            .with_detail("status", "expired"),
        Refusal::AwaitsApproval { operation_id } => conflict(text)
            .with_detail("operation_id", operation_id.as_str())
            .with_detail("reason", "awaits_approval"),
        Refusal::KeyConflict { operation_id } => conflict(KEY_CONFLICT.to_owned())
            .with_detail("operation_id", operation_id.as_str())
            .with_detail("reason", "idempotency_conflict"),
        Refusal::TooManyPending { .. } => {
            Error::new(Code::RateLimited, text).with_retry_after(Duration::from_secs(60))
        }
        Refusal::State(error) => away(error),
        _ => conflict(text),
    }
}

/// What became of an operation that takes no confirmation any more.
pub(super) fn settled(report: &Report) -> Error {
    let message = match (report.status, &report.detail) {
        (Status::Declined | Status::Cancelled, Some(detail)) => {
            format!("Confirmation was refused: {detail}")
        }
        (status, _) => format!("Confirmation was used: operation is {status}"),
    };
    Error::new(Code::Conflict, message)
        .with_detail("operation_id", report.operation_id.as_str())
        .with_detail("status", report.status.as_str())
        .with_detail("result", kept_result(report).unwrap_or(Value::Null))
}

/// The same to one who did not say which arguments it means, and about whom nothing was decided: not what came of it.
pub(super) fn too_late(report: &Report) -> Error {
    let message = format!("Nothing waits any more: operation is {}", report.status);
    Error::new(Code::Conflict, message)
        .with_detail("operation_id", report.operation_id.as_str())
        .with_detail("status", report.status.as_str())
}

/// To a client that has to confirm and cannot be asked.
pub(super) fn cannot_be_asked(why: CanConfirm) -> Error {
    let why = match why {
        CanConfirm::WithoutSession => {
            "this gateway keeps no sessions (FASTMCP_STATELESS_HTTP), so clients up to 2025-11-25 cannot be asked, whatever they declare; use a client of 2026-07-28"
        }
        _ => "this client cannot be asked; declare the capability `elicitation`",
    };
    let message = format!(
        "Confirmation required: {why}, or use POST /tools/{{toolId}}/invoke and /confirm; nothing was done"
    );
    Error::new(Code::Conflict, message).with_detail("reason", "confirmation_required")
}

/// To a client that says neither yes nor no.
pub(super) fn unanswered(operation_id: &OperationId) -> Error {
    Error::new(
        Code::Conflict,
        "The question was accepted without an answer: `confirm` takes `true` or `false`; nothing was done, and the operation waits still",
    )
    .with_detail("reason", "unanswered")
    .with_detail("operation_id", operation_id.as_str())
}

pub(super) fn in_progress(report: &Report) -> Error {
    Error::new(Code::Conflict, IN_PROGRESS)
        .with_detail("reason", "in_progress")
        .with_detail("operation_id", report.operation_id.as_str())
        .with_detail("status", report.status.as_str())
        .with_retry_after(Duration::from_secs(1))
}

pub(super) fn unknown_outcome(operation_id: &OperationId) -> Error {
    Error::new(
        Code::Conflict,
        "Nobody knows whether this call was done; it is refused until that is settled",
    )
    .with_detail("reason", "unknown_outcome")
    .with_detail("operation_id", operation_id.as_str())
    .with_detail("status", "unknown")
}

pub(super) fn keep(result: &Raw, token_meta: &TokenMeta) -> Result<Vec<u8>, serde_json::Error> {
    // What is JSON already is not read once more for being written.
    let result = result.as_str().as_bytes();
    let mut kept = Vec::with_capacity(result.len() + 128);
    kept.extend_from_slice(br#"{"result":"#);
    kept.extend_from_slice(result);
    kept.extend_from_slice(br#","token_meta":"#);
    serde_json::to_writer(&mut kept, token_meta)?;
    kept.push(b'}');
    Ok(kept)
}

pub(super) fn replay(report: &Report) -> Result<Completed, Error> {
    let bytes = match &report.result {
        Some(Stored::Bytes(bytes)) => bytes,
        kept => {
            let message = match kept {
                None => "The call was settled as done by an operator; its result is not known",
                Some(_) => "The call was done, but its result is too large to be kept",
            };
            return Err(Error::new(Code::Conflict, message)
                .with_detail("operation_id", report.operation_id.as_str())
                .with_detail("status", report.status.as_str()));
        }
    };
    let kept: Kept<'_> = serde_json::from_slice(bytes).map_err(Error::internal)?;
    Ok(Completed {
        result: Raw::parse(kept.result.get().to_owned()).map_err(Error::internal)?,
        token_meta: kept.token_meta,
        replay: true,
        operation_id: Some(report.operation_id.clone()),
    })
}

/// The result of an earlier call, as far as it is told to one who asks for the same again.
pub(super) fn told_result(report: &Report) -> Option<Raw> {
    let kept: Kept<'_> = serde_json::from_slice(report.result.as_ref()?.bytes()?).ok()?;
    let text = kept.result.get();
    (text.len() <= DoneBefore::MAX_RESULT_BYTES)
        .then(|| Raw::parse(text.to_owned()).ok())
        .flatten()
}

fn kept_result(report: &Report) -> Option<Value> {
    let kept: Kept<'_> = serde_json::from_slice(report.result.as_ref()?.bytes()?).ok()?;
    serde_json::from_str(kept.result.get()).ok()
}

pub(super) fn failed_before(report: &Report) -> Error {
    Error::new(Code::FailedDependency, "Provider invocation failed")
        .with_detail("operation_id", report.operation_id.as_str())
        .with_detail("status", report.status.as_str())
        .with_detail("detail", json!(report.detail))
}

pub(super) fn away(error: crate::state::StateError) -> Error {
    let Some(key) = error.missing_key() else {
        return Error::unavailable("State is unavailable; nothing was done", error);
    };
    let told = format!(
        "What is kept of this call is sealed with key `{key}`, which the gateway does not have any more; nothing was done. Ask its operator to put the key back"
    );
    Error::unavailable(told, error).with_detail("reason", "seal_key_missing")
}

pub(super) fn lost(lost: Lost) -> Error {
    match lost {
        Lost::State(error) => away(error),
        other => Error::new(
            Code::Conflict,
            "The operation is not held any more; nothing was done",
        )
        .with_log(other),
    }
}
