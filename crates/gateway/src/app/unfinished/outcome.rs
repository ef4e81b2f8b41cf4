//! What became of an intent, as far as the state knows it.

use fastmcp_audit::{Record, Status as Outcome};

use crate::{
    audit::bounded,
    state::{
        StateError,
        ledger::Ledger,
        machine::{State, Status},
        operation::{OperationId, Report, Row},
    },
};

/// Why an outcome is told late that the state knows.
const KNOWN: &str = "the gateway that did it was ended before it recorded how; the state knows it, or an operator settled it";
/// The same of what never began.
const NOT_DONE: &str = "the gateway was ended before it did this; nothing was done by it";

/// What is to be told of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// This, and why so late.
    Now(Outcome, &'static str),
    /// Recovery has yet to see it.
    Later,
    /// Recovery tells it.
    Elsewhere,
}

impl Told {
    const UNKNOWN: Self = Self::Now(Outcome::Unknown, Report::RECOVERED);
    const NOT_DONE: Self = Self::Now(Outcome::Failed, NOT_DONE);

    const fn done(is_done: bool) -> Self {
        if is_done {
            Self::Now(Outcome::Success, KNOWN)
        } else {
            Self::NOT_DONE
        }
    }
}

/// Whether `action` is a call of a tool, and no decision about one.
pub(super) fn is_call(action: &str) -> bool {
    matches!(action, "tools.invoke" | "tools.confirm")
}

/// What is to be told of `intent`, whose process is gone: what that did not hand to the state, it never did.
pub(super) async fn outcome(ledger: &Ledger, intent: &Record) -> Result<Told, StateError> {
    let id = intent.operation_id.as_deref().map(OperationId::parse);
    let Some(Ok(id)) = id else {
        return Ok(Told::UNKNOWN);
    };
    let Some(row) = ledger.row(&id).await? else {
        return Ok(Told::UNKNOWN);
    };
    let decision = said(intent, "decision").and_then(|said| said.as_str());
    match (intent.action.as_str(), decision) {
        (action, _) if is_call(action) => Ok(of_call(intent, &row)),
        ("approvals.decide", Some("approve")) => {
            let by = row.confirmed_by.as_deref().map(bounded);
            Ok(Told::done(by.is_some() && by == intent.sub))
        }
        ("approvals.decide", Some("deny")) | ("tools.decline", _) => of_no(ledger, intent, row),
        _ => Ok(Told::UNKNOWN),
    }
}

fn of_call(intent: &Record, row: &Row) -> Told {
    let claim = said(intent, "claim").and_then(serde_json::Value::as_u64);
    if claim.is_some_and(|claim| claim < row.machine.fence) {
        // What was intended is never claimed again.
        return Told::NOT_DONE;
    }
    match &row.machine.state {
        State::Completed => Told::Now(Outcome::Success, KNOWN),
        State::Failed(_) => Told::Now(Outcome::Failed, KNOWN),
        State::Unknown(_) if row.detail_sealed.is_some() => Told::Now(Outcome::Unknown, KNOWN),
        State::Unknown(_) => Told::Elsewhere,
        State::Intended(_) => Told::Later,
        State::Reserved
        | State::Confirmed
        | State::Claimed(_)
        | State::Declined
        | State::Expired
        | State::Cancelled => Told::NOT_DONE,
    }
}

/// Of a refusal of consent: it is in the row, in the words of who refused.
fn of_no(ledger: &Ledger, intent: &Record, mut row: Row) -> Result<Told, StateError> {
    // Its result is nothing to this.
    (row.result_sealed, row.result_bytes) = (None, None);
    let report = ledger.report_of(row)?;
    let words = match report.status {
        Status::Declined => "declined by ",
        Status::Cancelled if intent.action == "tools.decline" => "withdrawn: ",
        _ => return Ok(Told::NOT_DONE),
    };
    let detail = report.detail.unwrap_or_default();
    if detail == Report::DETAIL_GONE {
        return Ok(Told::UNKNOWN);
    }
    let who = intent.sub.as_deref().unwrap_or_default();
    let by = detail.strip_prefix(words);
    let is_theirs = by.is_some_and(|by| match who.strip_suffix('…') {
        // A long name is cut in the log.
        Some(begin) => by.starts_with(begin),
        None => {
            let rest = by.strip_prefix(who).filter(|_| !who.is_empty());
            rest.is_some_and(|rest| rest.starts_with(": ") || rest.starts_with(" put "))
        }
    });
    Ok(Told::done(is_theirs))
}

fn said<'a>(intent: &'a Record, name: &str) -> Option<&'a serde_json::Value> {
    intent.details.as_ref()?.get(name)
}
