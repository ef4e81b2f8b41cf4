//! From an answer of the API to what the caller is given.

use fastmcp_guard::http::{FetchError, Response};
use fastmcp_protocol::{
    Raw,
    content::{ContentBlock, ResourceContents},
    resource::ReadResourceResult,
    tool::CallToolResult,
};
use http::{StatusCode, header};
use serde_json::{Value, json};

use super::operation::{essence, is_json};
use crate::{
    call::{Outcome, Payload},
    error::{Error, Result},
    schema::Constraints,
};

/// The most characters that are repeated of what an API says went wrong.
const MAX_SUMMARY: usize = 300;

/// What a tool promises to return.
#[derive(Debug, Default)]
pub(super) enum Promise {
    /// Nothing in particular.
    #[default]
    Nothing,
    /// An object of this form.
    Object(Constraints),
    /// A value of this form, under `result`.
    Wrapped(Constraints),
}

/// The media type of an answer.
fn media_type(answer: &Response) -> Option<String> {
    let value = answer.headers.get(header::CONTENT_TYPE)?;
    value.to_str().ok().map(str::to_owned)
}

fn text(answer: &Response) -> Option<&str> {
    std::str::from_utf8(&answer.body).ok()
}

/// Refuses answers that tell of a failure, in a sentence for the caller. `secret` tells whether a text
/// repeats a credential.
pub(super) fn success(answer: &Response, secret: &dyn Fn(&str) -> bool) -> Result<()> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(redirected().with_data(json!({"status": status.as_u16()})));
    }
    let reason = status.canonical_reason().unwrap_or("error");
    let mut message = format!("the API answered {} {reason}", status.as_u16());
    if let Some(summary) = summary(answer).filter(|summary| !secret(summary)) {
        message.push_str(": ");
        message.push_str(&summary);
    }
    Err(Error::tool(message).with_data(json!({"status": status.as_u16()})))
}

fn redirected() -> Error {
    Error::tool("the API redirects elsewhere, which is not followed")
}

/// What the answer says went wrong: of JSON the few members that people write for people, of plain text its
/// beginning. Nothing of the headers.
fn summary(answer: &Response) -> Option<String> {
    let kind = media_type(answer)?;
    let said = if is_json(&kind) {
        let value: Value = serde_json::from_slice(&answer.body).ok()?;
        said(&value, 0)?
    } else if essence(&kind) == "text/plain" {
        text(answer)?.to_owned()
    } else {
        return None;
    };
    let words: Vec<&str> = said.split(|c: char| c.is_control() || c == ' ').collect();
    let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
    let mut said: String = words.join(" ");
    if let Some((at, _)) = said.char_indices().nth(MAX_SUMMARY) {
        said.truncate(at);
        said.push('…');
    }
    (!said.is_empty()).then_some(said)
}

/// Source: RFC 9457, section 3.1, and what APIs that do not know it use.
fn said(value: &Value, depth: usize) -> Option<String> {
    const MEMBERS: &[&str] = &[
        "detail",
        "message",
        "error_description",
        "title",
        "error",
        "errors",
        "msg",
        "reason",
    ];
    if depth > 3 {
        return None;
    }
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .take(3)
                .filter_map(|i| said(i, depth + 1))
                .collect();
            (!items.is_empty()).then(|| items.join("; "))
        }
        Value::Object(object) => MEMBERS
            .iter()
            .filter_map(|member| object.get(*member))
            .find_map(|value| said(value, depth + 1)),
        _ => None,
    }
}

/// A request that got no whole answer, in a sentence for the caller.
pub(super) fn failure(error: &FetchError, changes: bool) -> Error {
    tracing::warn!(%error, "a request to an API failed");
    let acted = if changes && error.may_have_been_sent() {
        "; it may have acted all the same"
    } else {
        ""
    };
    match error {
        FetchError::TooManyRedirects { .. } | FetchError::Redirect { .. } => redirected(),
        FetchError::Timeout { .. } => Error::tool(format!("the API did not answer in time{acted}")),
        FetchError::TooLarge { max_bytes, .. } => Error::tool(format!(
            "the API's answer has more than {max_bytes} bytes{acted}; ask for less"
        )),
        _ => Error::tool(format!("the API cannot be reached{acted}")),
    }
}

/// The outcome of a tool.
pub(super) fn of_tool(answer: &Response, promise: &Promise) -> Result<Outcome> {
    if answer.body.is_empty() || answer.status == StatusCode::NO_CONTENT {
        return match promise {
            Promise::Nothing => Ok(CallToolResult::default().into()),
            _ => Err(broken("is empty")),
        };
    }
    let kind = media_type(answer);
    if kind.as_deref().is_some_and(is_json) {
        let body = text(answer).ok_or_else(|| broken("is not UTF-8"))?;
        let value = Raw::parse(body.to_owned()).map_err(|_| broken("is not JSON"))?;
        return structured(&value, promise);
    }
    if !matches!(promise, Promise::Nothing) {
        return Err(broken("is not JSON"));
    }
    let kind = kind.unwrap_or_default();
    let plain = essence(&kind);
    let block = match (plain.split('/').next(), text(answer)) {
        (Some("image"), _) => ContentBlock::image(&answer.body, plain),
        (Some("audio"), _) => ContentBlock::audio(&answer.body, plain),
        (_, Some(text)) => ContentBlock::text(text),
        _ => {
            let contents = ResourceContents::blob("resource://answer", &answer.body);
            let contents = match plain.is_empty() {
                true => contents,
                false => contents.with_mime_type(plain),
            };
            ContentBlock::resource(contents)
        }
    };
    Ok(CallToolResult::new(vec![block]).into())
}

fn structured(value: &Raw, promise: &Promise) -> Result<Outcome> {
    let (constraints, wraps) = match promise {
        Promise::Nothing => (None, !value.is_object()),
        Promise::Object(constraints) => (Some(constraints), false),
        Promise::Wrapped(constraints) => (Some(constraints), true),
    };
    let under = if wraps {
        Raw::parse(format!("{{\"result\":{}}}", value.as_str()))?
    } else {
        value.clone()
    };
    if let Some(constraints) = constraints {
        constraints.check(under.as_str()).map_err(|error| {
            tracing::warn!(
                %error,
                "an API's answer is not what its document says; `validate_output(false)` lets it pass"
            );
            broken("is not what its description promises")
        })?;
    }
    let mut result = CallToolResult::text(value.as_str());
    result.structured_content = Some(under);
    Ok(Outcome::Complete(if wraps {
        Payload::Wrapped(result)
    } else {
        Payload::Tool(result)
    }))
}

fn broken(why: &str) -> Error {
    Error::tool(format!("the API's answer {why}"))
}

/// The outcome of a resource at `uri`.
pub(super) fn of_resource(answer: &Response, uri: &str) -> Outcome {
    let contents = match text(answer) {
        Some(text) => ResourceContents::text(uri, text),
        None => ResourceContents::blob(uri, &answer.body),
    };
    let contents = match media_type(answer) {
        Some(kind) => contents.with_mime_type(essence(&kind)),
        None => contents,
    };
    ReadResourceResult::new(contents).into()
}
