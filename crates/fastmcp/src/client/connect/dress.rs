//! Messages as the agreed revision wants them.

use std::sync::Arc;

use bytestring::ByteString;
use fastmcp_protocol::{
    Method, ProtocolVersion, Raw, RequestId,
    capability::ClientCapabilities,
    header::{self, encode},
    logging::LoggingLevel,
    meta::{OwnMeta, ParamsWriter, Peek, Said},
};
use fastmcp_transport::{Body, Outgoing, WireKind};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Agreed;
use crate::{
    client::{call::Call, link::Link},
    error::{Error, Result},
    telemetry::{carried, inherited},
};

/// The request that makes `call`.
///
/// # Errors
///
/// When a parameter cannot be written.
pub(in crate::client) fn dress(link: &Link, agreed: &Agreed, call: Call<'_>) -> Result<Outgoing> {
    let id = link.next_id();
    let body = body_of(link, agreed, call, id)?;
    let id = RequestId::Number(id);
    let headers = match link.wire.kind() {
        // It passes them over, and a map of them costs as much as half of the message.
        WireKind::Memory => HeaderMap::new(),
        WireKind::Http if agreed.is_stateless() => {
            let mut headers = headers(agreed);
            mirror(link, call, &mut headers)?;
            headers
        }
        _ => headers(agreed),
    };
    Ok(Outgoing {
        id: Some(id),
        method: word(call.method),
        body,
        headers,
        resumable: !agreed.is_stateless(),
    })
}

/// A method as a message has it: the word of the protocol, where it is one.
fn word(method: &str) -> ByteString {
    Method::parse(method).map_or_else(
        || method.into(),
        |known| ByteString::from_static(known.as_str()),
    )
}

/// A notification.
pub(in crate::client) fn notification(
    agreed: &Agreed,
    method: &'static str,
    params: Option<Raw>,
) -> Outgoing {
    let mut headers = headers(agreed);
    if agreed.is_stateless() {
        headers.insert(header::METHOD, HeaderValue::from_static(method));
    }
    Outgoing {
        id: None,
        method: ByteString::from_static(method),
        body: Body::Call { params, peek: None },
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
    let params = Raw::of(&params).ok();
    Some(notification(&agreed, "notifications/cancelled", params))
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

/// The call with its `_meta`: what the protocol itself says there, over what the caller gave.
fn body_of(link: &Link, agreed: &Agreed, call: Call<'_>, id: i64) -> Result<Body> {
    let follows = call.options.on_progress.is_some()
        || link.config.progress
        || link.notices.follows_progress();
    let token = follows.then_some(id);
    let own = own_meta(link, agreed, call)?;
    match given(link, call)? {
        None => {
            let (params, peek) = written(call, &own, token)?;
            let (params, peek) = (Some(params), Some(Arc::new(peek)));
            Ok(Body::Call { params, peek })
        }
        Some(mut meta) => {
            let (ours, _) = ParamsWriter::new(call.method, &own, token).finish();
            let ours: Ours = ours.decode()?;
            meta.extend(ours.meta);
            let mut params = call.params.to_map();
            params.insert("_meta".to_owned(), Value::Object(meta));
            let params = Some(Raw::of(&params)?);
            Ok(Body::Call { params, peek: None })
        }
    }
}

/// What this client says of itself on the call: the same on nearly all.
fn own_meta(link: &Link, agreed: &Agreed, call: Call<'_>) -> Result<Arc<OwnMeta>> {
    let write = |declared: &ClientCapabilities| {
        if !agreed.is_stateless() {
            return Ok(OwnMeta::default());
        }
        let declared = serde_json::to_string(declared)?;
        Ok(OwnMeta::new(Said {
            capabilities: Some(&declared),
            info: Some(&link.info),
            log_level: link.level().map(LoggingLevel::as_str),
            version: Some(agreed.version.as_str()),
        }))
    };
    match &call.options.capabilities {
        Some(declared) => write(declared).map(Arc::new),
        None if call.method.starts_with("tasks/") => {
            write(&link.capabilities_with_tasks()).map(Arc::new)
        }
        None => link.said(agreed.version, || write(&link.capabilities())),
    }
}

/// The members that are ours among those of `_meta`.
#[derive(Deserialize)]
struct Ours {
    #[serde(rename = "_meta", default)]
    meta: Map<String, Value>,
}

fn written(call: Call<'_>, own: &OwnMeta, token: Option<i64>) -> Result<(Raw, Peek)> {
    let mut writer = ParamsWriter::new(call.method, own, token);
    if let Some((name, arguments)) = &call.params.tool {
        writer.member("arguments", arguments)?;
        writer.text("name", name);
    }
    let others = call.params.others.iter();
    for (name, value) in others.filter(|(name, _)| *name != "_meta") {
        writer.member(name, value)?;
    }
    Ok(writer.finish())
}

/// The `_meta` that the caller gave, and the trace that goes on; nothing for nearly every call.
fn given(link: &Link, call: Call<'_>) -> Result<Option<Map<String, Value>>> {
    // Called for a request that is handled here: its trace goes on.
    let mut trace: Vec<_> = match &link.config.trace {
        Some(write) => carried(write.current()).collect(),
        None => inherited().collect(),
    };
    let given = match call.params.others.get("_meta") {
        None if call.options.meta.is_empty() && trace.is_empty() => return Ok(None),
        None => Map::new(),
        Some(Value::Object(given)) => given.clone(),
        Some(_) => return Err(Error::validation("`_meta` must be an object")),
    };
    let mut all = given;
    all.extend(call.options.meta.clone());
    if !all.contains_key("traceparent") {
        let members = trace.drain(..);
        all.extend(members.map(|(key, value)| (key.to_owned(), (&*value).into())));
    }
    Ok(Some(all))
}

/// Adds the headers that mirror `call`.
///
/// Source: MCP 2026-07-28, basic/transports/streamable-http, "Headers".
fn mirror(link: &Link, call: Call<'_>, headers: &mut HeaderMap) -> Result<()> {
    put(headers, header::METHOD, call.method)?;
    let named = match call.method {
        "tools/call" | "prompts/get" => call.params.target("name"),
        "resources/read" => call.params.target("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => call.params.target("taskId"),
        _ => None,
    };
    let Some(name) = named else {
        return Ok(());
    };
    put(headers, header::NAME, name)?;
    if let ("tools/call", Some(arguments), Some(tool)) =
        (call.method, call.params.arguments(), link.tools.get(name))
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
