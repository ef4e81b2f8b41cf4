//! Messages as the agreed revision wants them.

use bytestring::ByteString;
use fastmcp_protocol::{
    ProtocolVersion, RequestId,
    header::{self, encode},
    jsonrpc::encode_call,
    meta,
};
use fastmcp_transport::{Outgoing, WireKind};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::Agreed;
use crate::{
    client::{call::Call, link::Link},
    error::{Error, Result},
    telemetry::inherited,
};

/// The request that makes `call`.
///
/// # Errors
///
/// When a parameter cannot be written.
pub(in crate::client) fn dress(link: &Link, agreed: &Agreed, call: Call<'_>) -> Result<Outgoing> {
    let id = link.next_id();
    let mut params = call.params.clone();
    let meta = meta_of(link, agreed, call, id, params.remove("_meta"))?;
    if !meta.is_empty() {
        params.insert("_meta".to_owned(), Value::Object(meta));
    }
    let id = RequestId::Number(id);
    let body = encode_call(
        Some(&id),
        call.method,
        Some(&serde_json::to_string(&params)?),
    );
    let mut headers = headers(agreed);
    if agreed.is_stateless() && link.wire.kind() == WireKind::Http {
        mirror(link, call, &mut headers)?;
    }
    Ok(Outgoing {
        id: Some(id),
        method: call.method.into(),
        body: body.into(),
        headers,
        resumable: !agreed.is_stateless(),
    })
}

/// A notification.
pub(in crate::client) fn notification(
    agreed: &Agreed,
    method: &'static str,
    params: Option<&Value>,
) -> Outgoing {
    let params = params.map(Value::to_string);
    let mut headers = headers(agreed);
    if agreed.is_stateless() {
        headers.insert(header::METHOD, HeaderValue::from_static(method));
    }
    Outgoing {
        id: None,
        method: ByteString::from_static(method),
        body: encode_call(None, method, params.as_deref()).into(),
        headers,
        resumable: false,
    }
}

/// What tells a server that the answer to a request is not wanted any more; none where closing the
/// stream says so.
///
/// Source: MCP 2026-07-28, basic/patterns/cancellation; MCP 2025-11-25, basic/utilities/cancellation,
/// which does not let `initialize` be cancelled.
pub(in crate::client) fn cancellation(
    link: &Link,
    id: &RequestId,
    method: &str,
) -> Option<Outgoing> {
    let agreed = link.agreed.load();
    let closing_says_so =
        agreed.is_stateless() && matches!(link.wire.kind(), WireKind::Http | WireKind::Memory);
    if closing_says_so || method == "initialize" {
        return None;
    }
    let params = json!({"requestId": id, "reason": "the answer is not waited for any more"});
    Some(notification(
        &agreed,
        "notifications/cancelled",
        Some(&params),
    ))
}

/// The headers of every message: the revision, since 2025-06-18, and the session where there is one.
pub(super) fn headers(agreed: &Agreed) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if agreed.version >= ProtocolVersion::V2025_06_18 {
        headers.insert(
            header::PROTOCOL_VERSION,
            HeaderValue::from_static(agreed.version.as_str()),
        );
    }
    if let Some(session) = &agreed.session {
        headers.insert(header::SESSION_ID, session.clone());
    }
    headers
}

/// The request's `_meta`, over what the caller gave.
fn meta_of(
    link: &Link,
    agreed: &Agreed,
    call: Call<'_>,
    id: i64,
    given: Option<Value>,
) -> Result<Map<String, Value>> {
    let mut all = match given {
        None => Map::new(),
        Some(Value::Object(given)) => given,
        Some(_) => return Err(Error::validation("`_meta` must be an object")),
    };
    all.extend(call.options.meta.clone());
    if !all.contains_key("traceparent") {
        // Called for a request that is handled here: its trace goes on.
        all.extend(inherited().map(|(key, value)| (key.to_owned(), (&*value).into())));
    }
    let follows = call.options.on_progress.is_some()
        || link.config.progress
        || link.notices.follows_progress();
    if follows {
        all.insert("progressToken".to_owned(), id.into());
    }
    if agreed.is_stateless() {
        all.insert(
            meta::PROTOCOL_VERSION.to_owned(),
            agreed.version.as_str().into(),
        );
        let declared = call.options.capabilities.clone();
        let capabilities = declared.unwrap_or_else(|| link.capabilities());
        let capabilities = serde_json::to_value(capabilities)?;
        all.insert(meta::CLIENT_CAPABILITIES.to_owned(), capabilities);
        let info = serde_json::to_value(&link.config.info)?;
        all.insert(meta::CLIENT_INFO.to_owned(), info);
        if let Some(level) = *link.level() {
            all.insert(meta::LOG_LEVEL.to_owned(), level.as_str().into());
        }
    }
    Ok(all)
}

/// Adds the headers that mirror `call`.
///
/// Source: MCP 2026-07-28, basic/transports/streamable-http, "Headers".
fn mirror(link: &Link, call: Call<'_>, headers: &mut HeaderMap) -> Result<()> {
    put(headers, header::METHOD, call.method)?;
    let named = match call.method {
        "tools/call" | "prompts/get" => call.params.get("name"),
        "resources/read" => call.params.get("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => call.params.get("taskId"),
        _ => None,
    };
    let Some(name) = named.and_then(Value::as_str) else {
        return Ok(());
    };
    put(headers, header::NAME, name)?;
    let arguments = call.params.get("arguments").and_then(Value::as_object);
    if let ("tools/call", Some(arguments), Some(tool)) =
        (call.method, arguments, link.tools.get(name))
    {
        tool.mirror(arguments, headers);
    }
    Ok(())
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) -> Result<()> {
    let value = HeaderValue::try_from(encode(value).as_ref())?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}
