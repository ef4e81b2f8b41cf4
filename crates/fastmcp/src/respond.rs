//! Results and errors as wire bytes: the one place for both.

mod list;

use std::borrow::Cow;

use bytestring::ByteString;
use fastmcp_protocol::{
    Era, ErrorCode, Method, ProtocolVersion, Raw, RequestId, RpcError,
    content::Meta,
    jsonrpc::encode_error,
    legacy,
    meta::{Implementation, SERVER_INFO},
    ordered::Ordered,
    resource,
    task::{TASK, Task},
    tool::CallToolResult,
    wire::{CacheHint, ResultWriter, Written},
};
use fastmcp_transport::Reply;
use http::HeaderValue;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    call::{Payload, WRAPPED, marked},
    error::{Error, ErrorKind, Result},
    telemetry,
};

pub(crate) use list::encode_list;

/// What the server says of itself, encoded once.
#[derive(Debug)]
pub(crate) struct Identity {
    info: Implementation,
    meta: Encoded,
    meta_wrapped: Encoded,
}

/// A `_meta` as it is written, and as it is read.
#[derive(Debug)]
struct Encoded {
    text: String,
    read: Option<Meta>,
}

impl Encoded {
    fn new(meta: &Value) -> Self {
        let text = meta.to_string();
        Self {
            read: Meta::parse(text.clone()).ok(),
            text,
        }
    }
}

/// Bytes that a result is expected to have, so that most are written without growing the buffer.
const EXPECTED: usize = 512;

impl Identity {
    pub(crate) fn new(info: Implementation) -> Self {
        let wrapped = json!({"fastmcp": {"wrap_result": true}, SERVER_INFO: &info});
        Self {
            meta: Encoded::new(&json!({SERVER_INFO: &info})),
            meta_wrapped: Encoded::new(&wrapped),
            info,
        }
    }

    pub(crate) const fn info(&self) -> &Implementation {
        &self.info
    }
}

/// Where an answer goes.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) id: &'a RequestId,
    pub(crate) version: ProtocolVersion,
    pub(crate) method: Option<Method>,
    pub(crate) identity: &'a Identity,
    /// Whether internal failures are told without details.
    pub(crate) mask: bool,
    /// Whether it goes to a client of the same process, which need not read what is written here.
    pub(crate) in_process: bool,
}

impl Answer<'_> {
    /// A result that is encoded already, without `_meta`.
    pub(crate) fn encoded(&self, body: &str, cache: Option<CacheHint>) -> Reply {
        let writer = ResultWriter::new(self.id, body.len());
        Reply::ok(match self.version.era() {
            Era::Modern => writer
                .complete(cache)
                .meta(&self.identity.meta.text)
                .text(body),
            Era::Legacy => writer.text(body),
        })
    }

    /// An empty result.
    pub(crate) fn empty(&self) -> Reply {
        self.encoded("{}", None)
    }

    /// A result.
    pub(crate) fn payload(&self, payload: Payload, cache: Option<CacheHint>) -> Reply {
        match self.encode(payload, cache) {
            Ok(written) => Reply::written(written),
            Err(error) => self.rpc_error(&RpcError::internal(error.shown(self.mask).into_owned())),
        }
    }

    fn encode(&self, payload: Payload, cache: Option<CacheHint>) -> Result<Written> {
        let version = self.version;
        let text = match payload {
            Payload::Tool(result) => return self.tool(result, &self.identity.meta, None),
            Payload::Wrapped(result) => {
                return self.tool(result, &self.identity.meta_wrapped, Some(WRAPPED));
            }
            Payload::Resource(mut result) => {
                let meta = result.meta.take();
                match version.era() {
                    Era::Modern => self.typed(&result, meta, cache),
                    Era::Legacy => {
                        self.typed(&*legacy::read_resource_result(&result, version), meta, None)
                    }
                }
            }
            Payload::Prompt(mut result) => {
                let meta = result.meta.take();
                match version.era() {
                    Era::Modern => self.typed(&result, meta, None),
                    Era::Legacy => {
                        self.typed(&*legacy::get_prompt_result(&result, version), meta, None)
                    }
                }
            }
            Payload::Completion(mut result) => {
                let meta = result.meta.take();
                self.typed(&result, meta, None)
            }
            Payload::Raw(raw) => match (version.era(), self.method) {
                (Era::Modern, _) => self.raw(&raw, cache),
                // What older clients do not know is taken out, for which it has to be read.
                (Era::Legacy, Some(Method::ToolsCall)) => {
                    return self.encode(Payload::Tool(raw.decode()?), cache);
                }
                (Era::Legacy, Some(Method::ResourcesRead)) => {
                    return self.encode(Payload::Resource(raw.decode()?), cache);
                }
                (Era::Legacy, Some(Method::PromptsGet)) => {
                    return self.encode(Payload::Prompt(raw.decode()?), cache);
                }
                (Era::Legacy, _) => self.raw(&raw, cache),
            },
        };
        Ok(text?.into())
    }

    /// A result that is encoded already. Its members stay as they came, big numbers and all; only
    /// its own `_meta` is opened, to say in it whose result it is.
    fn raw(&self, raw: &Raw, cache: Option<CacheHint>) -> Result<ByteString> {
        #[derive(serde::Deserialize)]
        struct Own {
            #[serde(rename = "_meta", default)]
            meta: Option<Meta>,
        }
        if !raw.is_object() {
            return Err(Error::internal("an encoded result is no object"));
        }
        let own: Own = raw.decode()?;
        if own.meta.is_some() {
            let mut others = Ordered::new();
            for (name, value) in raw.decode::<Ordered<Raw>>()? {
                if name != "_meta" {
                    others.set(name, value);
                }
            }
            return self.typed(&others, own.meta, cache);
        }
        let writer = ResultWriter::new(self.id, raw.as_str().len());
        Ok(match self.version.era() {
            Era::Modern => writer
                .complete(cache)
                .meta(&self.identity.meta.text)
                .text(raw.as_str()),
            Era::Legacy => writer.text(raw.as_str()),
        })
    }

    /// The result of a tool; `plain` and `older` are the `_meta` of one that has none of its own.
    fn tool(
        &self,
        mut result: CallToolResult,
        plain: &Encoded,
        older: Option<&str>,
    ) -> Result<Written> {
        if result.is_error {
            telemetry::tool_failed();
        }
        let meta = result.meta.take();
        let writer = match (self.version.era(), older) {
            _ if meta.is_some() => self.begun(meta, None)?,
            (Era::Modern, _) => {
                let text = self
                    .writer()
                    .complete(None)
                    .meta(&plain.text)
                    .tool(&result)?;
                return Ok(match &plain.read {
                    Some(read) if self.in_process => Written::tool(text, result, read.clone()),
                    _ => text.into(),
                });
            }
            (Era::Legacy, Some(meta)) => self.writer().meta(meta),
            (Era::Legacy, None) => self.writer(),
        };
        let shown = match self.version.era() {
            Era::Modern => Cow::Borrowed(&result),
            Era::Legacy => legacy::call_tool_result(&result, self.version),
        };
        Ok(writer.tool(&shown)?.into())
    }

    fn writer(&self) -> ResultWriter {
        ResultWriter::new(self.id, EXPECTED)
    }

    /// Encodes `result`, whose own `_meta` was taken out.
    fn typed<T: Serialize>(
        &self,
        result: &T,
        meta: Option<Meta>,
        cache: Option<CacheHint>,
    ) -> Result<ByteString> {
        Ok(self.begun(meta, cache)?.body(result)?)
    }

    /// Begins a result whose own `_meta` is `meta`.
    fn begun(&self, meta: Option<Meta>, cache: Option<CacheHint>) -> Result<ResultWriter> {
        let writer = self.writer();
        Ok(match (self.version.era(), meta) {
            (Era::Modern, None) => writer.complete(cache).meta(&self.identity.meta.text),
            (Era::Modern, Some(meta)) => {
                let text = match meta.as_text() {
                    Some(text) => Cow::Borrowed(text),
                    None => Cow::Owned(serde_json::to_string(&meta)?),
                };
                let own = match meta.contains(SERVER_INFO) {
                    true => "{}",
                    false => &self.identity.meta.text,
                };
                writer.complete(cache).meta_and(&text, own)
            }
            (Era::Legacy, None) => writer,
            (Era::Legacy, Some(meta)) => writer.meta(&serde_json::to_string(&meta)?),
        })
    }

    /// A task in place of a result.
    pub(crate) fn task(&self, task: &Task) -> Result<Reply> {
        let body = match self.version.era() {
            Era::Modern => self
                .writer()
                .of_kind(TASK)
                .meta(&self.identity.meta.text)
                .body(task)?,
            Era::Legacy => {
                let task = legacy::Task::from(task.clone());
                self.writer().body(&legacy::CreateTaskResult { task })?
            }
        };
        Ok(Reply::ok(body))
    }

    /// The caller's token lacks a scope; `challenge` says which ones it takes.
    pub(crate) fn denied(&self, challenge: HeaderValue, error: &Error) -> Reply {
        let error = RpcError::new(ErrorCode::INVALID_REQUEST, error.message().to_owned());
        telemetry::failed(&error);
        Reply::Denied {
            challenge,
            body: encode_error(Some(self.id), &error).into(),
        }
    }

    /// An error of a call that addressed `target`.
    pub(crate) fn error(&self, target: Option<&ByteString>, error: &Error) -> Reply {
        match verdict(self.method, self.version.era(), self.mask, target, error) {
            Verdict::Rpc(error) => self.rpc_error(&error),
            Verdict::Tool(result) => self.payload(Payload::Tool(result), None),
        }
    }

    /// A JSON-RPC error. Which ones have a status of their own, the specification says.
    ///
    /// Source: MCP 2026-07-28, basic/transports/streamable-http.
    pub(crate) fn rpc_error(&self, error: &RpcError) -> Reply {
        telemetry::failed(error);
        let error = match self.version.era() {
            Era::Modern => Cow::Borrowed(error),
            Era::Legacy => legacy::error(error, self.method),
        };
        let status = match (self.version.era(), error.code) {
            (Era::Modern, ErrorCode::METHOD_NOT_FOUND) => 404,
            (
                Era::Modern,
                ErrorCode::MISSING_CAPABILITY
                | ErrorCode::UNSUPPORTED_VERSION
                | ErrorCode::HEADER_MISMATCH,
            ) => 400,
            _ => 200,
        };
        Reply::with_status(status, encode_error(Some(self.id), &error))
    }
}

/// What an error of a call is on the wire.
enum Verdict {
    /// A JSON-RPC error.
    Rpc(RpcError),
    /// The result of a tool that failed.
    Tool(CallToolResult),
}

fn verdict(
    method: Option<Method>,
    era: Era,
    mask: bool,
    target: Option<&ByteString>,
    error: &Error,
) -> Verdict {
    let with_data = |code| {
        let mut rpc = RpcError::new(code, error.message().to_owned());
        rpc.data = error.data().cloned().map(Box::new);
        Verdict::Rpc(rpc)
    };
    match (method, error.kind()) {
        (_, ErrorKind::Protocol(code)) => with_data(code),
        (_, ErrorKind::MissingCapability) if era == Era::Modern => {
            with_data(ErrorCode::MISSING_CAPABILITY)
        }
        (Some(Method::ResourcesRead), ErrorKind::NotFound) => {
            Verdict::Rpc(resource::not_found(target.map_or("", |t| t)))
        }
        (_, ErrorKind::NotFound) => {
            Verdict::Rpc(RpcError::invalid_params(error.message().to_owned()))
        }
        (Some(Method::ToolsCall), _) => Verdict::Tool(tool_error(mask, error)),
        (_, ErrorKind::Validation) => {
            Verdict::Rpc(RpcError::invalid_params(error.message().to_owned()))
        }
        _ => Verdict::Rpc(RpcError::internal(error.shown(mask).into_owned())),
    }
}

/// What went wrong in a tool is a result, so that the model can act on it.
///
/// Source: MCP 2026-07-28, server/tools, "Error Handling".
fn tool_error(mask: bool, error: &Error) -> CallToolResult {
    if error.kind() == ErrorKind::Internal {
        tracing::error!(error = error.message(), "tool failed");
    }
    error.log_report();
    let mut result = CallToolResult::error(error.shown(mask));
    result.structured_content = error
        .shown_data(mask)
        .filter(|d| d.is_object())
        .and_then(|d| Raw::of(&d).ok());
    result
}

/// What a call of a tool would have answered, in its canonical form: to be kept until a client looks.
pub(crate) fn settle(outcome: Result<Payload>, mask: bool) -> std::result::Result<Raw, RpcError> {
    let kept = match outcome {
        Ok(Payload::Tool(result)) => Raw::of(&result),
        Ok(Payload::Wrapped(mut result)) => {
            result.meta = Some(marked(result.meta.take()));
            Raw::of(&result)
        }
        Ok(Payload::Raw(raw)) if raw.is_object() => Ok(raw),
        Ok(_) => {
            return Err(RpcError::internal(
                "the call ended with no result of a tool",
            ));
        }
        Err(error) => match verdict(Some(Method::ToolsCall), Era::Modern, mask, None, &error) {
            Verdict::Rpc(error) => return Err(error),
            Verdict::Tool(result) => Raw::of(&result),
        },
    };
    kept.map_err(|error| {
        tracing::error!(%error, "result of a tool cannot be written");
        RpcError::internal("the result cannot be written")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: ProtocolVersion, payload: Payload) -> String {
        let identity = Identity::new(Implementation::new("s", "1"));
        let answer = Answer {
            id: &RequestId::Number(1),
            version,
            method: Some(Method::ToolsCall),
            identity: &identity,
            mask: true,
            in_process: false,
        };
        match answer.payload(payload, None) {
            Reply::Message { body, .. } => body.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn encoded_results_stay_as_they_came() {
        let raw = |text: &'static str| Payload::Raw(Raw::parse(text).unwrap());
        // What is read for older clients keeps its values too.
        let known =
            r#"{"content":[],"structuredContent":{"z":123456789012345678901234567890,"a":1.10}}"#;
        let plain = r#"{"z":123456789012345678901234567890,"a":1.10}"#;
        assert_eq!(
            written(ProtocolVersion::LATEST_LEGACY, raw(known)),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{known}}}"#)
        );
        assert_eq!(
            written(ProtocolVersion::LATEST, raw(plain)),
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"z":123456789012345678901234567890,"a":1.10}}"#
        );
        assert_eq!(
            written(
                ProtocolVersion::LATEST,
                raw(r#"{"z":1.10,"_meta":{"a":1}}"#)
            ),
            r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":{"a":1,"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}},"z":1.10}}"#
        );
        assert!(
            written(ProtocolVersion::LATEST, raw("[1]")).contains("an internal error occurred")
        );
    }
}
