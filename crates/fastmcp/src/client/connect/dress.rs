//! Messages as the agreed revision wants them.

use bytestring::ByteString;
use fastmcp_protocol::{
    ProtocolVersion, RequestId,
    capability::ClientCapabilities,
    header::{self, encode},
    jsonrpc::encode_call,
    logging::LoggingLevel,
    meta::Implementation,
};
use fastmcp_transport::{Outgoing, WireKind};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
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
    let params = serde_json::to_string(&Dressed {
        params: call.params,
        meta: meta_of(link, agreed, call, id)?,
    })?;
    let id = RequestId::Number(id);
    let body = encode_call(Some(&id), call.method, Some(&params));
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

/// The parameters of a request as they are written: those of its call, with another `_meta`.
struct Dressed<'a> {
    params: &'a Map<String, Value>,
    meta: Meta<'a>,
}

impl Serialize for Dressed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        match &self.meta {
            Meta::Own(own) if own.is_empty() => {}
            Meta::Own(own) => map.serialize_entry("_meta", own)?,
            Meta::Merged(all) if all.is_empty() => {}
            Meta::Merged(all) => map.serialize_entry("_meta", all)?,
        }
        for (name, value) in self.params.iter().filter(|(name, _)| *name != "_meta") {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A request's `_meta`.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and none is kept"
)]
enum Meta<'a> {
    /// Nothing but what the protocol itself says, as of nearly every request: written as it is.
    Own(Own<'a>),
    /// That, over what the caller gave.
    Merged(Map<String, Value>),
}

/// What the protocol itself says in `_meta`.
#[derive(Default, Serialize)]
struct Own<'a> {
    #[serde(
        rename = "io.modelcontextprotocol/clientCapabilities",
        skip_serializing_if = "Option::is_none"
    )]
    capabilities: Option<ClientCapabilities>,
    #[serde(
        rename = "io.modelcontextprotocol/clientInfo",
        skip_serializing_if = "Option::is_none"
    )]
    info: Option<&'a Implementation>,
    #[serde(
        rename = "io.modelcontextprotocol/logLevel",
        skip_serializing_if = "Option::is_none"
    )]
    level: Option<&'static str>,
    #[serde(
        rename = "io.modelcontextprotocol/protocolVersion",
        skip_serializing_if = "Option::is_none"
    )]
    version: Option<&'static str>,
    #[serde(rename = "progressToken", skip_serializing_if = "Option::is_none")]
    progress_token: Option<i64>,
}

impl Own<'_> {
    const fn is_empty(&self) -> bool {
        self.progress_token.is_none() && self.version.is_none()
    }
}

/// The request's `_meta`, over what the caller gave.
fn meta_of<'a>(link: &'a Link, agreed: &Agreed, call: Call<'_>, id: i64) -> Result<Meta<'a>> {
    let follows = call.options.on_progress.is_some()
        || link.config.progress
        || link.notices.follows_progress();
    let mut own = Own {
        progress_token: follows.then_some(id),
        ..Own::default()
    };
    if agreed.is_stateless() {
        let declared = call.options.capabilities.clone();
        own.version = Some(agreed.version.as_str());
        own.capabilities = Some(declared.unwrap_or_else(|| {
            if call.method.starts_with("tasks/") {
                link.capabilities_with_tasks()
            } else {
                link.capabilities()
            }
        }));
        own.info = Some(&link.config.info);
        own.level = link.level().map(LoggingLevel::as_str);
    }
    // Called for a request that is handled here: its trace goes on.
    let mut trace: Vec<_> = match &link.config.trace {
        Some(write) => carried(write.current()).collect(),
        None => inherited().collect(),
    };
    let given = match call.params.get("_meta") {
        None if call.options.meta.is_empty() && trace.is_empty() => {
            return Ok(Meta::Own(own));
        }
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
    if let Value::Object(own) = serde_json::to_value(own)? {
        all.extend(own);
    }
    Ok(Meta::Merged(all))
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
