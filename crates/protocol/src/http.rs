//! Which era a message belongs to, and whether its headers agree with its body.
//!
//! Pure functions: the transport calls them and turns a [`Refusal`] into a response.
//!
//! Source: MCP 2026-07-28, basic/transports/streamable-http and "Versioning and Compatibility".

use std::{borrow::Cow, sync::Arc};

use serde_json::json;

use crate::{
    error::{ErrorCode, RpcError},
    header,
    jsonrpc::{Message, Request, RequestId},
    meta::{self, Peek, RequestMeta},
    version::{Era, ProtocolVersion},
};

/// The mirrored headers of an HTTP request, undecoded. All absent on other transports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `MCP-Protocol-Version`.
    pub version: Option<&'a str>,
    /// `Mcp-Method`.
    pub method: Option<&'a str>,
    /// `Mcp-Name`.
    pub name: Option<&'a str>,
}

/// Why a message is not served, before any handler saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The error.
    pub error: RpcError,
    /// The request's id.
    pub id: Option<RequestId>,
}

/// Where a message belongs.
#[derive(Clone, Debug)]
pub enum Route {
    /// Stateless, described by its own `_meta`.
    Modern {
        /// The revision.
        version: ProtocolVersion,
        /// What the request says about itself; shared, since it goes far and every move would copy it.
        peek: Arc<Peek>,
    },
    /// Part of a session, or about to open one.
    Legacy {
        /// The revision that the headers name.
        version: Option<ProtocolVersion>,
        /// As above.
        peek: Arc<Peek>,
    },
}

impl Route {
    /// Whether a client that goes away says by that that it wants no answer.
    ///
    /// Source: MCP 2026-07-28, basic/transports/streamable-http, "Cancellation"; the opposite in MCP
    /// 2025-11-25, basic/transports, "Sending Messages to the Server".
    #[must_use]
    pub const fn disconnect_cancels(&self) -> bool {
        matches!(self, Self::Modern { .. })
    }
}

/// Where the headers of a transport come from.
#[derive(Clone, Copy, Debug)]
pub enum Mirror<'a> {
    /// HTTP: a modern request must carry the headers and they must agree.
    Headers(Headers<'a>),
    /// stdio and memory: there are none.
    None,
}

/// Decides where `message` belongs. Answers of the client and notifications are legacy, unless a
/// notification claims a modern revision.
///
/// # Errors
///
/// The [`Refusal`] of the first check that fails, in the order that the specification and the
/// official SDKs give.
pub fn route(mirror: Mirror<'_>, message: &Message) -> Result<Route, Refusal> {
    let peek = match message {
        Message::Request(request) => {
            meta::read(request).map_err(|error| refuse(request, 400, error))?
        }
        _ => Peek::default(),
    };
    route_read(mirror, message, Arc::new(peek))
}

/// As [`route`], of a message that was read already: `peek` is what [`meta::read`] finds in it.
///
/// # Errors
///
/// As [`route`].
pub fn route_read(
    mirror: Mirror<'_>,
    message: &Message,
    peek: Arc<Peek>,
) -> Result<Route, Refusal> {
    let headers = match mirror {
        Mirror::Headers(headers) => headers,
        Mirror::None => Headers::default(),
    };
    let Message::Request(request) = message else {
        return route_other(headers);
    };
    let header_era = headers.version.map(|v| ProtocolVersion::era_of(v.trim()));
    let claims = peek.meta.protocol_version.is_some();
    if request.method == "initialize" && !claims && header_era == Some(Era::Modern) {
        let error = RpcError::new(
            ErrorCode::HEADER_MISMATCH,
            "`initialize` belongs to legacy revisions, but MCP-Protocol-Version names a modern one",
        );
        return Err(refuse(request, 400, error));
    }
    if claims || (header_era == Some(Era::Modern) && request.method != "initialize") {
        return route_modern(mirror, request, peek);
    }
    let version = legacy_version(headers).map_err(|error| refuse(request, 400, error))?;
    Ok(Route::Legacy { version, peek })
}

fn route_other(headers: Headers<'_>) -> Result<Route, Refusal> {
    let named = headers.version.map(str::trim);
    if let Some(version) = named.and_then(ProtocolVersion::parse)
        && version.era() == Era::Modern
    {
        return Ok(Route::Modern {
            version,
            peek: Arc::default(),
        });
    }
    let version = legacy_version(headers).map_err(|error| Refusal {
        status: 400,
        error,
        id: None,
    })?;
    Ok(Route::Legacy {
        version,
        peek: Arc::default(),
    })
}

fn legacy_version(headers: Headers<'_>) -> Result<Option<ProtocolVersion>, RpcError> {
    let Some(named) = headers.version.map(str::trim) else {
        return Ok(None);
    };
    match ProtocolVersion::parse(named) {
        Some(version) => Ok(Some(version)),
        None => Err(unsupported(named)),
    }
}

fn route_modern(mirror: Mirror<'_>, request: &Request, peek: Arc<Peek>) -> Result<Route, Refusal> {
    let checked = required_meta(&peek.meta)
        .and_then(|claimed| match mirror {
            Mirror::Headers(headers) => headers_agree(headers, request, claimed).map(|()| claimed),
            Mirror::None => Ok(claimed),
        })
        .and_then(|claimed| {
            ProtocolVersion::of(Era::Modern)
                .find(|v| v.as_str() == claimed)
                .ok_or_else(|| unsupported(claimed))
        })
        .and_then(|version| match mirror {
            Mirror::Headers(headers) => headers_complete(headers, request, &peek).map(|()| version),
            Mirror::None => Ok(version),
        });
    match checked {
        Ok(version) => Ok(Route::Modern { version, peek }),
        Err(error) => Err(refuse(request, 400, error)),
    }
}

fn required_meta(meta: &RequestMeta) -> Result<&str, RpcError> {
    let mut missing = Vec::new();
    if meta.protocol_version.is_none() {
        missing.push(meta::PROTOCOL_VERSION);
    }
    if meta.client_capabilities.is_none() {
        missing.push(meta::CLIENT_CAPABILITIES);
    }
    match &meta.protocol_version {
        Some(version) if missing.is_empty() => Ok(version),
        _ => Err(RpcError::invalid_params(format!(
            "params._meta lacks {}",
            missing
                .iter()
                .map(|m| format!("`{m}`"))
                .collect::<Vec<_>>()
                .join(" and ")
        ))),
    }
}

/// What stands in headers agrees with the body.
fn headers_agree(headers: Headers<'_>, request: &Request, claimed: &str) -> Result<(), RpcError> {
    let pairs = [
        ("MCP-Protocol-Version", headers.version, claimed),
        ("Mcp-Method", headers.method, request.method.as_ref()),
    ];
    for (name, sent, body) in pairs {
        if let Some(sent) = sent {
            agree(name, sent, body)?;
        }
    }
    Ok(())
}

/// What must stand in headers does.
fn headers_complete(headers: Headers<'_>, request: &Request, peek: &Peek) -> Result<(), RpcError> {
    if headers.version.is_none() {
        return Err(missing_header("MCP-Protocol-Version"));
    }
    if headers.method.is_none() {
        return Err(missing_header("Mcp-Method"));
    }
    let named = matches!(
        request.method.as_ref(),
        "tools/call"
            | "prompts/get"
            | "resources/read"
            | "tasks/get"
            | "tasks/update"
            | "tasks/cancel"
    );
    match (headers.name, &peek.target) {
        (None, Some(_)) if named => Err(missing_header("Mcp-Name")),
        (Some(sent), Some(target)) if named => agree("Mcp-Name", sent, target),
        _ => Ok(()),
    }
}

fn agree(name: &str, sent: &str, body: &str) -> Result<(), RpcError> {
    let sent = header::decode(sent)
        .map_err(|e| RpcError::new(ErrorCode::HEADER_MISMATCH, format!("{name}: {e}")))?;
    if sent == body {
        return Ok(());
    }
    Err(RpcError::new(
        ErrorCode::HEADER_MISMATCH,
        format!(
            "{name} says `{}`, the body says `{}`",
            shorten(&sent),
            shorten(body)
        ),
    ))
}

fn shorten(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(128) {
        Some((at, _)) => Cow::Owned(format!("{}…", text.get(..at).unwrap_or_default())),
        None => Cow::Borrowed(text),
    }
}

fn missing_header(name: &str) -> RpcError {
    RpcError::new(
        ErrorCode::HEADER_MISMATCH,
        format!("header {name} is missing"),
    )
}

/// The error for a revision that is not served.
#[must_use]
pub fn unsupported(requested: &str) -> RpcError {
    let supported: Vec<_> = ProtocolVersion::of(Era::Modern)
        .map(ProtocolVersion::as_str)
        .collect();
    RpcError::new(
        ErrorCode::UNSUPPORTED_VERSION,
        format!("protocol version `{}` is not supported", shorten(requested)),
    )
    .with_data(json!({"supported": supported, "requested": requested}))
}

fn refuse(request: &Request, status: u16, error: RpcError) -> Refusal {
    Refusal {
        status,
        error,
        id: Some(request.id.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jsonrpc::DEFAULT_DEPTH;

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    const FULL: Headers<'_> = Headers {
        version: Some("2026-07-28"),
        method: Some("tools/call"),
        name: Some("add"),
    };

    fn call(params: &str) -> Message {
        request("tools/call", params)
    }

    fn request(method: &str, params: &str) -> Message {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        Message::parse(&text.into(), DEFAULT_DEPTH).unwrap()
    }

    fn code(headers: Headers<'_>, message: &Message) -> (u16, ErrorCode) {
        let refusal = route(Mirror::Headers(headers), message).unwrap_err();
        assert_eq!(refusal.id, Some(RequestId::Number(1)), "the id is echoed");
        (refusal.status, refusal.error.code)
    }

    #[test]
    fn a_claim_makes_a_request_modern() {
        let message = call(&format!(r#""name":"add",{META}"#));
        assert!(matches!(
            route(Mirror::Headers(FULL), &message),
            Ok(Route::Modern {
                version: ProtocolVersion::V2026_07_28,
                ..
            })
        ));
        assert!(matches!(
            route(Mirror::None, &message),
            Ok(Route::Modern { .. })
        ));
    }

    #[test]
    fn no_claim_is_legacy() {
        let message = call(r#""name":"add""#);
        assert!(matches!(
            route(Mirror::Headers(Headers::default()), &message),
            Ok(Route::Legacy { version: None, .. })
        ));
        let named = Headers {
            version: Some("2025-11-25"),
            ..Headers::default()
        };
        assert!(matches!(
            route(Mirror::Headers(named), &message),
            Ok(Route::Legacy {
                version: Some(ProtocolVersion::V2025_11_25),
                ..
            })
        ));
    }

    #[test]
    fn initialize_belongs_to_the_era_of_its_body() {
        let modern = request("initialize", META);
        let headers = Headers {
            version: Some("2026-07-28"),
            method: Some("initialize"),
            name: None,
        };
        assert!(matches!(
            route(Mirror::Headers(headers), &modern),
            Ok(Route::Modern { .. })
        ));
        let legacy = request("initialize", "");
        assert!(matches!(
            route(Mirror::None, &legacy),
            Ok(Route::Legacy { .. })
        ));
        assert_eq!(code(headers, &legacy), (400, ErrorCode::HEADER_MISMATCH));
    }

    #[test]
    fn refusals_come_in_the_order_of_the_ladder() {
        let modern_header = Headers {
            version: Some("2026-07-28"),
            ..Headers::default()
        };
        assert_eq!(
            code(modern_header, &call("")),
            (400, ErrorCode::INVALID_PARAMS)
        );
        let claim_only =
            call(r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#);
        assert_eq!(code(FULL, &claim_only), (400, ErrorCode::INVALID_PARAMS));
        let full = call(&format!(r#""name":"add",{META}"#));
        let other_version = Headers {
            version: Some("2025-11-25"),
            ..FULL
        };
        assert_eq!(
            code(other_version, &full),
            (400, ErrorCode::HEADER_MISMATCH)
        );
        let other_method = Headers {
            method: Some("tools/list"),
            ..FULL
        };
        assert_eq!(code(other_method, &full), (400, ErrorCode::HEADER_MISMATCH));
        let future = call(&format!(
            r#""name":"add",{}"#,
            META.replace("2026-07-28", "2099-01-01")
        ));
        let future_header = Headers {
            version: Some("2099-01-01"),
            ..FULL
        };
        assert_eq!(
            code(future_header, &future),
            (400, ErrorCode::UNSUPPORTED_VERSION)
        );
        let mut no_version = FULL;
        no_version.version = None;
        let mut no_method = FULL;
        no_method.method = None;
        let mut no_name = FULL;
        no_name.name = None;
        for missing in [no_version, no_method, no_name] {
            assert_eq!(code(missing, &full), (400, ErrorCode::HEADER_MISMATCH));
        }
        let other_name = Headers {
            name: Some("delete"),
            ..FULL
        };
        assert_eq!(code(other_name, &full), (400, ErrorCode::HEADER_MISMATCH));
        let marked = Headers {
            name: Some("=?base64?YWRk?="),
            ..FULL
        };
        assert!(route(Mirror::Headers(marked), &full).is_ok());
    }

    #[test]
    fn unsupported_version_names_what_is_supported() {
        let error = unsupported("2099-01-01");
        assert_eq!(
            *error.data.unwrap(),
            json!({"supported": ["2026-07-28"], "requested": "2099-01-01"})
        );
    }

    #[test]
    fn unknown_legacy_version_is_refused() {
        let headers = Headers {
            version: Some("1999-01-01"),
            ..Headers::default()
        };
        assert_eq!(code(headers, &request("ping", "")).0, 400);
    }
}
