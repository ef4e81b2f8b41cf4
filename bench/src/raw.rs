//! The endpoint as one would write it by hand for two tools, without a framework: the checks that
//! the revision demands, a borrowed envelope, a `match`, and the same answer byte for byte.
//!
//! It has none of what a framework has besides: no registry, schemas, sessions, context, limits of
//! calls, cancellation or streams. It is the floor that a framework is measured against.
//!
//! Source: MCP 2026-07-28 and 2025-11-25, basic/transports.

use std::{borrow::Cow, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalogue;

const MODERN: &str = "2026-07-28";
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// What goes back.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body, JSON.
    pub body: Vec<u8>,
}

/// A string that borrows where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Text<'a>,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: Text<'a>,
    #[serde(borrow)]
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct List<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: Meta<'a>,
}

#[derive(Default, Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Text<'a>>,
    #[serde(borrow, rename = "io.modelcontextprotocol/clientCapabilities")]
    capabilities: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Echo<'a> {
    #[serde(borrow)]
    message: Text<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    a: i64,
    b: i64,
}

#[derive(Serialize)]
struct Response<'a, T> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    result: Complete<'a, T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Complete<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    #[serde(rename = "_meta")]
    meta: AnswerMeta,
    content: [Content<'a>; 1],
    structured_content: Structured<T>,
}

#[derive(Serialize)]
struct AnswerMeta {
    fastmcp: Wrapped,
    #[serde(
        rename = "io.modelcontextprotocol/serverInfo",
        skip_serializing_if = "Option::is_none"
    )]
    server: Option<ServerInfo>,
}

#[derive(Serialize)]
struct Wrapped {
    wrap_result: bool,
}

#[derive(Serialize)]
struct ServerInfo {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
struct Content<'a> {
    r#type: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
struct Structured<T> {
    result: T,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a RawValue>,
    error: Fault,
}

#[derive(Serialize)]
struct Fault {
    code: i32,
    message: &'static str,
}

struct Refusal<'a> {
    status: StatusCode,
    id: Option<&'a RawValue>,
    fault: Fault,
}

const fn refusal(status: StatusCode, code: i32, message: &'static str) -> Refusal<'static> {
    Refusal {
        status,
        id: None,
        fault: Fault { code, message },
    }
}

const fn invalid(message: &'static str) -> Refusal<'static> {
    refusal(StatusCode::BAD_REQUEST, -32_600, message)
}

const fn bad_params(message: &'static str) -> Refusal<'static> {
    refusal(StatusCode::OK, -32_602, message)
}

const fn mismatch(message: &'static str) -> Refusal<'static> {
    refusal(StatusCode::BAD_REQUEST, -32_020, message)
}

/// Answers one POST at the endpoint.
#[must_use]
pub fn answer(headers: &HeaderMap, body: &[u8]) -> Answer {
    let refusal = match handle(headers, body) {
        Ok(body) => {
            return Answer {
                status: StatusCode::OK,
                body,
            };
        }
        Err(refusal) => refusal,
    };
    let failure = Failure {
        jsonrpc: "2.0",
        id: refusal.id,
        error: refusal.fault,
    };
    Answer {
        status: refusal.status,
        body: serde_json::to_vec(&failure).unwrap_or_default(),
    }
}

fn handle<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<Vec<u8>, Refusal<'a>> {
    addressed(headers)?;
    media(headers)?;
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|e| {
        if e.is_data() {
            invalid("body is not a JSON-RPC request")
        } else {
            refusal(StatusCode::BAD_REQUEST, -32_700, "body is not JSON")
        }
    })?;
    serve(headers, &envelope).map_err(|refusal| Refusal {
        id: Some(envelope.id),
        ..refusal
    })
}

fn serve(headers: &HeaderMap, envelope: &Envelope<'_>) -> Result<Vec<u8>, Refusal<'static>> {
    if envelope.jsonrpc.0 != "2.0" {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    if envelope.method.0 == "tools/list" {
        return list(headers, envelope);
    }
    let call: Call<'_> = serde_json::from_str(envelope.params.get())
        .map_err(|_| bad_params("`params` are not those of tools/call"))?;
    let modern = agreed(headers, &envelope.method.0, &call.meta, Some(&call.name.0))?;
    if envelope.method.0 != "tools/call" {
        return Err(refusal(
            StatusCode::NOT_FOUND,
            -32_601,
            "method is not known",
        ));
    }
    let arguments = call.arguments.map_or("{}", RawValue::get);
    match &*call.name.0 {
        "echo" => {
            let Echo { message } = serde_json::from_str(arguments)
                .map_err(|_| bad_params("echo takes `message`, a string"))?;
            write(modern, envelope.id, &message.0, &*message.0)
        }
        "add" => {
            let Add { a, b } = serde_json::from_str(arguments)
                .map_err(|_| bad_params("add takes `a` and `b`, integers"))?;
            let sum = a.checked_add(b).ok_or(bad_params("the sum is too large"))?;
            write(modern, envelope.id, &sum.to_string(), sum)
        }
        _ => Err(bad_params("tool is not known")),
    }
}

/// The list of the catalogue: its text is there already, and only the id is written anew.
fn list(headers: &HeaderMap, envelope: &Envelope<'_>) -> Result<Vec<u8>, Refusal<'static>> {
    static PAGE: LazyLock<String> = LazyLock::new(catalogue::page);
    let List { meta } = serde_json::from_str(envelope.params.get())
        .map_err(|_| bad_params("`params` are not those of tools/list"))?;
    let modern = agreed(headers, &envelope.method.0, &meta, None)?;
    let mut out = Vec::with_capacity(PAGE.len() + 256);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(envelope.id.get().as_bytes());
    out.extend_from_slice(br#","result":{"#);
    if modern {
        out.extend_from_slice(
            br#""resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"0.1.0"}},"#,
        );
    }
    out.extend_from_slice(PAGE.as_bytes());
    out.extend_from_slice(b"}}");
    Ok(out)
}

fn write<T: Serialize>(
    modern: bool,
    id: &RawValue,
    text: &str,
    value: T,
) -> Result<Vec<u8>, Refusal<'static>> {
    let response = Response {
        jsonrpc: "2.0",
        id,
        result: Complete {
            result_type: modern.then_some("complete"),
            meta: AnswerMeta {
                fastmcp: Wrapped { wrap_result: true },
                server: modern.then_some(ServerInfo {
                    name: "bench",
                    version: "0.1.0",
                }),
            },
            content: [Content {
                r#type: "text",
                text,
            }],
            structured_content: Structured { result: value },
        },
    };
    let mut out = Vec::with_capacity(384);
    serde_json::to_writer(&mut out, &response).map_err(|_| {
        refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            -32_603,
            "answer could not be written",
        )
    })?;
    Ok(out)
}

/// `Host` and `Origin` name this machine.
fn addressed(headers: &HeaderMap) -> Result<(), Refusal<'static>> {
    const FORBIDDEN: Refusal<'static> = refusal(
        StatusCode::FORBIDDEN,
        -32_600,
        "Host or Origin is not allowed here",
    );
    let host = single(headers, &header::HOST)
        .map_err(|_| FORBIDDEN)?
        .ok_or(FORBIDDEN)?;
    if !loopback(host) {
        return Err(FORBIDDEN);
    }
    let Some(origin) = single(headers, &header::ORIGIN).map_err(|_| FORBIDDEN)? else {
        return Ok(());
    };
    let host = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    if host.is_some_and(loopback) {
        Ok(())
    } else {
        Err(FORBIDDEN)
    }
}

fn loopback(host: &str) -> bool {
    let name = if host.starts_with('[') {
        host.split_inclusive(']').next().unwrap_or_default()
    } else {
        host.rsplit_once(':').map_or(host, |(name, _)| name)
    };
    ["localhost", "127.0.0.1", "[::1]"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// `Content-Type` and `Accept` are those of the transport.
fn media(headers: &HeaderMap) -> Result<(), Refusal<'static>> {
    let json = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.split(';').next())
        .is_some_and(|v| v.trim().eq_ignore_ascii_case("application/json"));
    if !json {
        return Err(refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            -32_600,
            "Content-Type must be application/json",
        ));
    }
    let (mut json, mut events) = (false, false);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let range = range.split(';').next().unwrap_or_default().trim();
            let any = range == "*/*";
            json |=
                any || range.eq_ignore_ascii_case("application/json") || range == "application/*";
            events |= any || range.eq_ignore_ascii_case("text/event-stream") || range == "text/*";
        }
    }
    if json && events {
        return Ok(());
    }
    Err(refusal(
        StatusCode::NOT_ACCEPTABLE,
        -32_600,
        "Accept must name application/json and text/event-stream",
    ))
}

/// Whether the request is modern; headers and body agree where it is.
fn agreed(
    headers: &HeaderMap,
    method: &str,
    meta: &Meta<'_>,
    name: Option<&str>,
) -> Result<bool, Refusal<'static>> {
    const UNSUPPORTED: Refusal<'static> = refusal(
        StatusCode::BAD_REQUEST,
        -32_022,
        "protocol version is not supported",
    );
    let version = single(headers, &PROTOCOL_VERSION)?;
    let Some(claimed) = &meta.version else {
        return match version {
            Some(MODERN) => Err(bad_params("params._meta lacks the protocol version")),
            Some(version) if !LEGACY.contains(&version) => Err(UNSUPPORTED),
            _ => Ok(false),
        };
    };
    if !meta.capabilities.is_some_and(|c| c.get().starts_with('{')) {
        return Err(bad_params("params._meta lacks the client's capabilities"));
    }
    let version = version.ok_or(mismatch("header MCP-Protocol-Version is missing"))?;
    if version != claimed.0 {
        return Err(mismatch(
            "MCP-Protocol-Version does not agree with the body",
        ));
    }
    if version != MODERN {
        return Err(UNSUPPORTED);
    }
    let pairs = [
        (
            METHOD,
            Some(method),
            "Mcp-Method is missing or does not agree",
        ),
        (NAME, name, "Mcp-Name is missing or does not agree"),
    ];
    for (header, body, message) in pairs {
        let Some(body) = body else { continue };
        let sent = single(headers, &header)?.ok_or(mismatch(message))?;
        if decoded(sent).is_none_or(|sent| sent != body) {
            return Err(mismatch(message));
        }
    }
    Ok(true)
}

/// A header value as it is meant: `=?base64?...?=` marks what plain ASCII could not carry.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value
        .strip_prefix("=?base64?")
        .and_then(|v| v.strip_suffix("?="))
    else {
        return Some(Cow::Borrowed(value));
    };
    String::from_utf8(STANDARD.decode(inner).ok()?)
        .ok()
        .map(Cow::Owned)
}

fn single<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h str>, Refusal<'static>> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|v| v.to_str()), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(mismatch("a header must be sent once, in visible ASCII")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = include_str!("../requests/modern-echo.http");

    fn send(edit: impl Fn(&str) -> String) -> (u16, String) {
        let request = edit(&format!("Host: localhost:1\n{REQUEST}"));
        let (head, body) = request.split_once("\n\n").unwrap();
        let mut headers = HeaderMap::new();
        for line in head.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        let answer = answer(&headers, body.as_bytes());
        (
            answer.status.as_u16(),
            String::from_utf8(answer.body).unwrap(),
        )
    }

    #[test]
    fn both_eras_are_answered() {
        let (status, body) = send(str::to_owned);
        assert_eq!(
            (status, body.as_str()),
            (
                200,
                r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"fastmcp":{"wrap_result":true},"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"0.1.0"}},"content":[{"type":"text","text":"hello, world"}],"structuredContent":{"result":"hello, world"}}}"#
            )
        );
        let legacy = include_str!("../requests/legacy-add.http");
        let (status, body) = send(|_| format!("Host: localhost\n{legacy}"));
        assert_eq!(
            (status, body.as_str()),
            (
                200,
                r#"{"jsonrpc":"2.0","id":1,"result":{"_meta":{"fastmcp":{"wrap_result":true}},"content":[{"type":"text","text":"8"}],"structuredContent":{"result":8}}}"#
            )
        );
    }

    #[test]
    fn the_list_holds_every_tool() {
        let lists = [
            include_str!("../requests/modern-tools.http"),
            include_str!("../requests/legacy-tools.http"),
        ];
        for list in lists {
            let (status, body) = send(|_| format!("Host: localhost\n{list}"));
            assert_eq!(status, 200, "{body}");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            let tools = body["result"]["tools"].as_array().unwrap();
            assert_eq!(tools.len(), catalogue::TOOLS);
        }
    }

    #[test]
    fn what_the_revision_demands_is_checked() {
        let cases = [
            ("localhost:1", "evil.test", 403, -32_600),
            ("Host:", "Origin: https://evil.test\nHost:", 403, -32_600),
            (
                "Content-Type: application/json",
                "Content-Type: text/plain",
                415,
                -32_600,
            ),
            (", text/event-stream", "", 406, -32_600),
            ("Mcp-Name: echo", "Mcp-Name: add", 400, -32_020),
            ("Mcp-Name: echo\n", "", 400, -32_020),
            (
                "Mcp-Name: echo",
                "Mcp-Name: echo\nMcp-Name: echo",
                400,
                -32_020,
            ),
            (
                "Mcp-Method: tools/call",
                "Mcp-Method: tools/list",
                400,
                -32_020,
            ),
            ("2026-07-28", "2099-01-01", 400, -32_022),
            ("\n\n{", "\n\n{{", 400, -32_700),
            (r#""jsonrpc":"2.0""#, r#""jsonrpc":"1.0""#, 400, -32_600),
            ("echo", "delete", 200, -32_602),
            (r#""message""#, r#""text""#, 200, -32_602),
        ];
        for (from, to, status, code) in cases {
            let (got, body) = send(|request| request.replace(from, to));
            assert_eq!(got, status, "{from} -> {to}: {body}");
            assert!(
                body.contains(&format!(r#""code":{code},"#)),
                "{from} -> {to}: {body}"
            );
        }
    }

    #[test]
    fn a_marked_name_is_decoded() {
        let (status, body) = send(|r| r.replace("Mcp-Name: echo", "Mcp-Name: =?base64?ZWNobw==?="));
        assert_eq!(status, 200, "{body}");
    }
}
