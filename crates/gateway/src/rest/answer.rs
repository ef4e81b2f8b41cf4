//! What a call ends with, or waits for.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::reply;
use crate::{
    call::{Call, Done, DoneBefore},
    error::Error,
};

/// The answer to a call that was made or confirmed.
pub(super) fn of(call: &Call, done: Done) -> Result<Response, Error> {
    match done {
        Done::Complete(done) => reply::completed(call, &done),
        Done::Pending(pending) => {
            let mut body = json!({
                "requires_confirmation": true,
                "action_token": pending.action_token,
                "expires_at": pending.expires_at,
                "operation_id": pending.operation_id.as_str(),
            });
            let members = [
                ("done_before", pending.done_before.as_ref().map(done_before)),
                (
                    "requires_approval",
                    pending.approval.map(|level| json!(level.name())),
                ),
                (
                    "approval",
                    pending
                        .approval
                        .map(|_| json!(format!("/approvals/{}", pending.operation_id))),
                ),
            ];
            if let Some(body) = body.as_object_mut() {
                let there = members
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.to_owned(), value?)));
                body.extend(there);
            }
            Ok(reply::json(StatusCode::ACCEPTED, &body))
        }
    }
}

/// The same call of a short while ago.
fn done_before(before: &DoneBefore) -> Value {
    let mut told = json!({"operation_id": before.operation_id.as_str(), "at": before.at});
    let result = before
        .result
        .as_ref()
        .and_then(|r| r.decode::<Value>().ok());
    if let (Some(told), Some(result)) = (told.as_object_mut(), result) {
        told.insert("result".to_owned(), result);
    }
    told
}
