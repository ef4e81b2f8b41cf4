//! The caller's own no.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::Response,
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Entered, Named, Rest, enter, json_body, named, reply};
use crate::error::Error;

/// What names the call: the token alone, since nothing is to be done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declined {
    action_token: Option<String>,
}

/// Withdraws a call that waits for its confirmation: it will not be done, and counts no longer as waiting.
#[utoipa::path(post, path = "/tools/{toolId}/decline", tag = "tools",
    params(("toolId" = String, Path, description = "As it was invoked"),
        ("X-Action-Token" = Option<String>, Header, description = "The token, where there is no body")),
    responses((status = 200, description = "`{toolId, operation_id, status: \"declined\"}`; the body of the request is `{action_token}`"),
        (status = 401, description = "Unknown token"), (status = 403, description = "Another caller's token"),
        (status = 409, description = "Expired, declined or used before: `details.status`")),
    security(("bearer" = [])))]
pub(super) async fn decline(
    State(rest): State<Arc<Rest>>,
    path: Named,
    request: Request,
) -> Response {
    enter(rest, request, async move |entered: Entered, body| {
        let tool_id = entered.fit(("", "tools.decline"), named(path)).await?;
        let read = token(&entered, &body);
        let token = entered.fit((&tool_id, "tools.decline"), read).await?;
        let call = entered.bare(&tool_id, None);
        let id = entered.rest.pipeline.decline(&call, &token).await?;
        let body = json!({"toolId": tool_id, "operation_id": id.as_str(), "status": "declined"});
        Ok(reply::json(StatusCode::OK, &body))
    })
    .await
}

fn token(entered: &Entered, body: &axum::body::Bytes) -> Result<String, Error> {
    let Declined { action_token } = json_body(body)?
        .decode()
        .map_err(|e| Error::invalid(format!("body: {e}; it takes `action_token` alone")))?;
    let header = entered.headers.get("x-action-token");
    let header = header.and_then(|value| value.to_str().ok());
    action_token
        .or_else(|| header.map(str::to_owned))
        .ok_or_else(|| Error::invalid("`action_token` is missing: put it into the body, or into the header X-Action-Token"))
}
