//! The desk over REST.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{Request, State},
    response::Response,
};
use fastmcp_protocol::Raw;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json, value::RawValue};

use super::{Entered, Named, Rest, enter, json_body, named, reply};
use crate::{
    approvals::{MAX_LISTED, Verdict},
    call::Call,
    error::{Code, Error},
    state::operation::OperationId,
};

/// Lists the calls that wait for a person's approval and that the caller may approve, its own too where another person has to.
#[utoipa::path(get, path = "/approvals", tag = "approvals", responses(
    (status = 200, description = "`{tenant, approvals: [{operation_id, status, toolId, sub, client, requires, approver_roles, digest, created_at, expires_at}]}`"),
    (status = 401, description = "UNAUTHORIZED"), (status = 403, description = "FORBIDDEN")), security(("bearer" = [])))]
pub(super) async fn list(State(rest): State<Arc<Rest>>, request: Request) -> Response {
    enter(rest, request, async |entered: Entered, _| {
        let call = entered.call("", None);
        let call = entered.fit(("", "approvals.list"), call).await?;
        let waiting = entered.rest.pipeline.approvals(&call, MAX_LISTED).await?;
        let approvals: Vec<_> = waiting
            .iter()
            .map(|one| Value::Object(one.to_json()))
            .collect();
        Ok(reply::json(
            StatusCode::OK,
            &json!({"tenant": entered.caller.tenant(), "approvals": approvals}),
        ))
    })
    .await
}

/// A call with its arguments as they are kept: a number that was read and written again might be another one.
#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    waiting: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a RawValue>,
}

/// Shows one such call with its exact arguments.
#[utoipa::path(get, path = "/approvals/{operationId}", tag = "approvals",
    params(("operationId" = String, Path, description = "As the list or the caller's answer names it")),
    responses((status = 200, description = "As in the list, with `arguments` while it is open"),
        (status = 403, description = "FORBIDDEN"), (status = 404, description = "NOT_FOUND")), security(("bearer" = [])))]
pub(super) async fn show(State(rest): State<Arc<Rest>>, path: Named, request: Request) -> Response {
    enter(rest, request, async move |entered: Entered, _| {
        let id = entered.fit(("", "approvals.show"), named(path)).await?;
        let read = entered
            .call("", None)
            .and_then(|call| Ok((call, parse(&id)?)));
        let (call, id) = entered.fit((&id, "approvals.show"), read).await?;
        let (waiting, args) = entered.rest.pipeline.approval(&call, &id).await?;
        let shown = Shown {
            waiting: waiting.to_json(),
            arguments: args
                .as_ref()
                .map(Raw::decode)
                .transpose()
                .map_err(Error::internal)?,
        };
        let body = serde_json::to_string(&shown).map_err(Error::internal)?;
        Ok(reply::text(StatusCode::OK, body))
    })
    .await
}

/// What a person says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    decision: Word,
    digest: Option<String>,
    note: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Approve,
    Deny,
}

/// Approves or denies exactly what was shown.
#[utoipa::path(post, path = "/approvals/{operationId}", tag = "approvals",
    params(("operationId" = String, Path, description = "As the list or the caller's answer names it")),
    responses((status = 200, description = "`{operation_id, status: \"confirmed\" | \"declined\", toolId, decided_by, ...}`; the body of the request is `{decision: \"approve\", digest, note?}` or `{decision: \"deny\", note?}`"),
        (status = 403, description = "FORBIDDEN, for the one who asked too where another person has to approve"), (status = 404, description = "NOT_FOUND"),
        (status = 409, description = "Decided, run or expired before (`details.status`), or `details.reason` is `digest_mismatch`"),
        (status = 422, description = "VALIDATION_ERROR")), security(("bearer" = [])))]
pub(super) async fn decide(
    State(rest): State<Arc<Rest>>,
    path: Named,
    request: Request,
) -> Response {
    enter(rest, request, async move |entered: Entered, body| {
        let id = entered.fit(("", "approvals.decide"), named(path)).await?;
        let read = decision(&entered, &body).and_then(|read| Ok((read, parse(&id)?)));
        let ((call, verdict, note), id) = entered.fit((&id, "approvals.decide"), read).await?;
        let pipeline = &entered.rest.pipeline;
        let decided = pipeline
            .decide(&call, &id, &verdict, note.as_deref())
            .await?;
        let mut body = decided.to_json();
        body.insert("decided_by".to_owned(), json!(entered.caller.subject()));
        Ok(reply::json(StatusCode::OK, &Value::Object(body)))
    })
    .await
}

/// What is decided, and with which note.
fn decision(entered: &Entered, body: &Bytes) -> Result<(Call, Verdict, Option<String>), Error> {
    let Decision {
        decision,
        digest,
        note,
    } = json_body(body)?
        .decode()
        .map_err(|e| Error::invalid(format!("body: {e}")))?;
    let verdict = match (decision, digest) {
        (Word::Approve, Some(digest)) => Verdict::Approve { digest },
        (Word::Approve, None) => {
            return Err(Error::invalid(
                "`digest` is missing: approve with the one that GET /approvals/{id} shows with the arguments",
            ));
        }
        (Word::Deny, _) => Verdict::Deny,
    };
    Ok((entered.call("", None)?, verdict, note))
}

pub(super) fn parse(id: &str) -> Result<OperationId, Error> {
    OperationId::parse(id).map_err(|_| Error::new(Code::NotFound, "Approval not found"))
}
