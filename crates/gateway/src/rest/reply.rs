//! Answers as REST shows them: the one place where an error becomes a response.

use axum::{body::Body, response::Response};
use fastmcp::transport::http::Unread;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::{
    call::{Call, Completed, CorrId},
    door::CORRELATION_ID,
    error::{Code, Error},
};

pub(super) fn json(status: StatusCode, body: &Value) -> Response {
    text(status, body.to_string())
}

pub(super) fn text(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// A result: the provider's bytes as they came.
pub(super) fn completed(call: &Call, done: &Completed) -> Result<Response, Error> {
    let tool_id = serde_json::to_string(&call.tool_id).map_err(Error::internal)?;
    let token_meta = serde_json::to_string(&done.token_meta).map_err(Error::internal)?;
    // It is JSON already, and need not be read to be written.
    let result = done.result.as_str();
    let body = format!(r#"{{"toolId":{tool_id},"result":{result},"token_meta":{token_meta}}}"#);
    let mut response = text(StatusCode::OK, body);
    if done.replay {
        response.headers_mut().insert(
            HeaderName::from_static("x-idempotent-replay"),
            HeaderValue::from_static("true"),
        );
    }
    Ok(response)
}

pub(super) fn error(error: &Error, corr_id: &CorrId) -> Response {
    let response = json(error.code().status(), &error.to_json(corr_id.as_str()));
    noted(response, error, corr_id)
}

/// Logs the cause of an error, and says in the answer to it when to come again.
pub(super) fn noted(mut response: Response, error: &Error, corr_id: &CorrId) -> Response {
    if let Some(log) = error.log() {
        tracing::warn!(correlation_id = %corr_id, code = error.code().as_str(), cause = log, "request failed");
    }
    if let Some(seconds) = error.retry_after_seconds() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer to a request whose body did not come in.
pub(super) fn unread(unread: &Unread, corr_id: &CorrId) -> Response {
    let code = match unread {
        Unread::TooLarge(_) => Code::PayloadTooLarge,
        Unread::TooSlow(_) | Unread::Broken(_) => Code::ValidationError,
    };
    let mut response = error(&Error::new(code, format!("Request {unread}")), corr_id);
    // The contract has no code for the other two; their status tells them from arguments that do not fit.
    if let Ok(status) = StatusCode::from_u16(unread.status()) {
        *response.status_mut() = status;
    }
    response
}

/// An answer to a request that belongs to no route, under a status of its own.
pub(super) fn with_status(error: &Error, status: StatusCode, headers: &HeaderMap) -> Response {
    let corr_id = headers
        .get(CORRELATION_ID)
        .and_then(|v| v.to_str().ok())
        .unwrap_or_default();
    json(status, &error.to_json(corr_id))
}
