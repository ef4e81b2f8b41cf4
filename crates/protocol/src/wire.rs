//! Results as a modern client reads them.
//!
//! Canonical results carry none of the members that only the modern era has; they are put in front
//! of the others here, so that one serialised list serves both eras.

use std::fmt::Write as _;

use bytestring::ByteString;
use serde::{Serialize, ser::Error as _};

use crate::{
    content::{ContentBlock, Meta, TextContent},
    jsonrpc::{RequestId, push_response, push_str},
    tool::CallToolResult,
};

/// How long and for whom a result may be kept.
///
/// Source: MCP 2026-07-28, server/utilities/caching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheHint {
    /// Milliseconds for which the result is fresh; 0: not at all, the default.
    pub ttl_ms: u64,
    /// For whom.
    pub scope: CacheScope,
}

/// For whom a result may be kept.
///
/// Source: MCP 2026-07-28, schema, `CacheScope`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheScope {
    /// For everybody.
    Public,
    /// For one authorization context. The default, being the safe one.
    #[default]
    Private,
}

impl CacheScope {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// A response that was written in this process, and what a reader would find in it.
///
/// A client of the same process need not read what its server wrote a moment ago.
#[derive(Clone, Debug)]
pub struct Written {
    /// The JSON-RPC message.
    pub text: ByteString,
    /// The result, where it is of a tool and who wrote it says so.
    pub found: Option<Box<CallToolResult>>,
}

impl Written {
    /// Takes note of what was written: `result`, with `meta` as its `_meta`. Of what may be read as something else than it
    /// is, such as a block that was put together by hand, nothing is noted.
    #[must_use]
    pub fn tool(text: ByteString, result: CallToolResult, meta: Meta) -> Self {
        let is_plain = result.content.iter().all(|block| plain(block).is_some());
        let meta = Some(meta);
        let found = is_plain.then(|| Box::new(CallToolResult { meta, ..result }));
        Self { text, found }
    }
}

impl From<ByteString> for Written {
    fn from(text: ByteString) -> Self {
        Self { text, found: None }
    }
}

/// A response with a result, written into one buffer from the first brace to the last.
#[derive(Debug)]
pub struct ResultWriter {
    out: String,
    /// Whether the result has members already, so that those of the body follow a comma.
    begun: bool,
}

impl ResultWriter {
    /// Begins the answer to `id`; `capacity` is the size that the body is expected to have, in bytes.
    #[must_use]
    pub fn new(id: &RequestId, capacity: usize) -> Self {
        let mut out = String::with_capacity(capacity.saturating_add(256));
        push_response(&mut out, id);
        Self { out, begun: false }
    }

    /// Writes the members that every complete result of a modern server has.
    #[must_use]
    pub fn complete(mut self, cache: Option<CacheHint>) -> Self {
        push_complete(&mut self.out, cache);
        self.begun = true;
        self
    }

    /// Writes the kind of a result that is neither complete nor asks first: the word of an extension.
    #[must_use]
    pub fn of_kind(mut self, kind: &str) -> Self {
        self.out.push_str(r#"{"resultType":"#);
        push_str(&mut self.out, kind);
        self.begun = true;
        self
    }

    /// Writes `_meta`, whose JSON text is `meta`, for a body that has none of its own.
    #[must_use]
    pub fn meta(mut self, meta: &str) -> Self {
        self.out.push(if self.begun { ',' } else { '{' });
        self.out.push_str(r#""_meta":"#);
        self.out.push_str(meta);
        self.begun = true;
        self
    }

    /// As [`Self::meta`], with the members of `more`, the JSON text of another object, after those of `meta`; none of them
    /// is among those.
    #[must_use]
    pub fn meta_and(mut self, meta: &str, more: &str) -> Self {
        let more = more
            .trim_start()
            .strip_prefix('{')
            .unwrap_or("}")
            .trim_start();
        if more.starts_with('}') {
            return self.meta(meta);
        }
        let meta = meta.trim_end();
        self = self.meta(meta.strip_suffix('}').unwrap_or(meta));
        if !self.out.trim_end().ends_with('{') {
            self.out.push(',');
        }
        self.out.push_str(more);
        self
    }

    /// Ends with the members of `body`, which is written as a JSON object.
    ///
    /// # Errors
    ///
    /// When `body` cannot be written as a JSON object.
    pub fn body<T: Serialize + ?Sized>(self, body: &T) -> Result<ByteString, serde_json::Error> {
        let mut out = self.out.into_bytes();
        let at = out.len();
        serde_json::to_writer(&mut out, body)?;
        match out.get_mut(at..) {
            Some([b'{', b'}']) if self.begun => {
                out.truncate(at);
                out.push(b'}');
            }
            Some([first, ..]) if *first == b'{' => {
                if self.begun {
                    *first = b',';
                }
            }
            _ => return Err(serde_json::Error::custom("a result must be an object")),
        }
        out.push(b'}');
        ByteString::try_from(out).map_err(serde_json::Error::custom)
    }

    /// Ends with the members of what a tool returned, other than `_meta`: as [`Self::body`], for what most answers are.
    ///
    /// # Errors
    ///
    /// When a block cannot be written.
    pub fn tool(mut self, result: &CallToolResult) -> Result<ByteString, serde_json::Error> {
        self.out.push(if self.begun { ',' } else { '{' });
        self.out.push_str(r#""content":["#);
        for (place, block) in result.content.iter().enumerate() {
            if place > 0 {
                self.out.push(',');
            }
            push_block(&mut self.out, block)?;
        }
        self.out.push(']');
        if let Some(structured) = &result.structured_content {
            self.out.push_str(r#","structuredContent":"#);
            self.out.push_str(structured.as_str());
        }
        if result.is_error {
            self.out.push_str(r#","isError":true"#);
        }
        self.out.push_str("}}");
        Ok(self.out.into())
    }

    /// Ends with the members of `body`, the JSON text of an object.
    #[must_use]
    pub fn text(mut self, body: &str) -> ByteString {
        if self.begun {
            push_rest(&mut self.out, body);
        } else {
            self.out.push_str(body);
        }
        self.out.push('}');
        self.out.into()
    }
}

/// The text of a block that is nothing else.
const fn plain(block: &ContentBlock) -> Option<&String> {
    match block {
        ContentBlock::Text(TextContent {
            text,
            annotations: None,
            meta: None,
        }) => Some(text),
        _ => None,
    }
}

/// Writes a block of content. Nearly all are plain text.
fn push_block(out: &mut String, block: &ContentBlock) -> Result<(), serde_json::Error> {
    let Some(text) = plain(block) else {
        out.push_str(&serde_json::to_string(block)?);
        return Ok(());
    };
    out.push_str(r#"{"type":"text","text":"#);
    push_str(out, text);
    out.push('}');
    Ok(())
}

/// Puts the modern members in front of `body`, the JSON object of a complete result.
///
/// `meta` is the JSON text of the `_meta` member, for a body that has none of its own.
#[must_use]
pub fn complete(body: &str, cache: Option<CacheHint>, meta: Option<&str>) -> String {
    let mut out = String::with_capacity(body.len() + meta.map_or(0, str::len) + 96);
    push_complete(&mut out, cache);
    if let Some(meta) = meta {
        out.push_str(r#","_meta":"#);
        out.push_str(meta);
    }
    push_rest(&mut out, body);
    out
}

fn push_complete(out: &mut String, cache: Option<CacheHint>) {
    out.push_str(r#"{"resultType":"complete""#);
    if let Some(cache) = cache {
        let _infallible = write!(
            out,
            r#","ttlMs":{},"cacheScope":"{}""#,
            cache.ttl_ms,
            cache.scope.as_str()
        );
    }
}

/// Puts `_meta` in front of `body`, a JSON object that has none of its own.
#[must_use]
pub fn with_meta(body: &str, meta: &str) -> String {
    let mut out = String::with_capacity(body.len() + meta.len() + 16);
    out.push_str(r#"{"_meta":"#);
    out.push_str(meta);
    push_rest(&mut out, body);
    out
}

fn push_rest(out: &mut String, body: &str) {
    let inner = body.trim().strip_prefix('{').unwrap_or("}").trim_start();
    if !inner.starts_with('}') {
        out.push(',');
    }
    out.push_str(inner);
}

/// The `params` of a notification of progress.
///
/// Source: MCP 2026-07-28, schema, `ProgressNotificationParams`.
#[must_use]
pub fn progress(
    token: &crate::meta::ProgressToken,
    progress: f64,
    total: Option<f64>,
    message: Option<&str>,
) -> String {
    let mut out = format!(
        r#"{{"progressToken":{},"progress":{}"#,
        token.to_json(),
        number(progress)
    );
    if let Some(total) = total {
        out.push_str(r#","total":"#);
        out.push_str(&number(total));
    }
    if let Some(message) = message {
        out.push_str(r#","message":"#);
        push_str(&mut out, message);
    }
    out.push('}');
    out
}

/// A number without a needless fraction; JSON has no infinities, so they become the largest number.
fn number(value: f64) -> String {
    let value = if value.is_nan() {
        0.0
    } else {
        value.clamp(f64::MIN, f64::MAX)
    };
    serde_json::Number::from_f64(value).map_or_else(
        || "0".to_owned(),
        |n| {
            let text = n.to_string();
            text.strip_suffix(".0")
                .map_or_else(|| text.clone(), ToOwned::to_owned)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{content::Annotations, raw::Raw};

    #[test]
    fn modern_members_stand_in_front() {
        assert_eq!(complete("{}", None, None), r#"{"resultType":"complete"}"#);
        assert_eq!(
            complete(
                r#"{"tools":[]}"#,
                Some(CacheHint::default()),
                Some(r#"{"a":1}"#)
            ),
            r#"{"resultType":"complete","ttlMs":0,"cacheScope":"private","_meta":{"a":1},"tools":[]}"#
        );
    }

    #[test]
    fn two_halves_of_a_meta_are_one_object() {
        let id = RequestId::Number(1);
        let wrote = |meta: &str, more: &str| {
            let writer = ResultWriter::new(&id, 0).complete(None);
            writer.meta_and(meta, more).text("{}").to_string()
        };
        for (meta, more, both) in [
            (r#"{"a":1}"#, r#"{"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{ "a":1 } "#, r#" { "b":2}"#, r#"{ "a":1 ,"b":2}"#),
            ("{}", r#"{"b":2}"#, r#"{"b":2}"#),
            ("{ }", r#"{"b":2}"#, r#"{ "b":2}"#),
            (r#"{"a":1}"#, "{}", r#"{"a":1}"#),
            (r#"{"a":1}"#, "{ } ", r#"{"a":1}"#),
            (r#"{"a":{}}"#, r#"{"b":"}"}"#, r#"{"a":{},"b":"}"}"#),
        ] {
            let head = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","_meta":"#;
            assert_eq!(wrote(meta, more), format!("{head}{both}}}}}"));
        }
    }

    #[test]
    fn a_result_is_written_in_one_go() {
        let id = RequestId::Number(1);
        let writer = || ResultWriter::new(&id, 0);
        let body = serde_json::json!({"a": 1});
        let empty = serde_json::json!({});
        let head = r#"{"jsonrpc":"2.0","id":1,"result":"#;
        assert_eq!(
            writer().body(&body).unwrap(),
            format!(r#"{head}{{"a":1}}}}"#)
        );
        assert_eq!(writer().body(&empty).unwrap(), format!("{head}{{}}}}"));
        assert_eq!(writer().text("{}"), format!("{head}{{}}}}"));
        let modern = format!(r#"{head}{{"resultType":"complete","_meta":{{}}"#);
        assert_eq!(
            writer().complete(None).meta("{}").body(&body).unwrap(),
            format!(r#"{modern},"a":1}}}}"#)
        );
        assert_eq!(
            writer().complete(None).meta("{}").body(&empty).unwrap(),
            format!("{modern}}}}}")
        );
        assert_eq!(
            writer().complete(None).meta("{}").text(r#"{ "a":1}"#),
            format!(r#"{modern},"a":1}}}}"#)
        );
        assert_eq!(
            writer().meta("{}").text("{}"),
            format!(r#"{head}{{"_meta":{{}}}}}}"#)
        );
        assert!(writer().body(&[1]).is_err());
    }

    /// What is noted of a result is what a reader finds; of one with a block that is not plain, nothing is.
    fn is_found_as_noted(result: &CallToolResult) {
        let (id, meta) = (RequestId::Number(7), r#"{"a":{"b":1}}"#);
        let writer = ResultWriter::new(&id, 0).complete(None).meta(meta);
        let text = writer.tool(result).unwrap();
        let read = crate::jsonrpc::written_result(&text, &id).unwrap();
        let noted = Written::tool(text, result.clone(), Meta::parse(meta).unwrap());
        assert_eq!(
            noted.found.is_some(),
            result.content.iter().all(|b| plain(b).is_some())
        );
        if let Some(found) = noted.found {
            assert_eq!(*found, read.decode::<CallToolResult>().unwrap());
            assert_eq!(found.meta.unwrap().as_text(), Some(meta));
        }
    }

    fn is_written_the_same(result: &CallToolResult) {
        for writer in [
            || ResultWriter::new(&RequestId::Number(-1), 0),
            || ResultWriter::new(&RequestId::String("a\"".into()), 0).complete(None),
        ] {
            assert_eq!(
                writer().tool(result).unwrap(),
                writer().body(result).unwrap()
            );
        }
    }

    #[test]
    fn what_a_tool_returned_is_written_as_any_other_body() {
        let id = RequestId::Number(-1);
        let said = "plain, \"quoted\"\n\u{1}\\ \u{7f}ä\u{2028}";
        let long = format!("{}\"", "a".repeat(200));
        let mut marked = TextContent::new("x");
        marked.annotations = Some(Annotations::default());
        let all = [
            ContentBlock::text(said),
            ContentBlock::text(long),
            ContentBlock::Text(marked),
            ContentBlock::link("u", "n"),
            ContentBlock::Unknown(Raw::parse(r#"{"type": "new"}"#).unwrap()),
        ];
        for count in [0, 1, all.len()] {
            for structured in [None, Some("null"), Some(r#"{ "n":1.10}"#)] {
                for is_error in [false, true] {
                    let result = CallToolResult {
                        content: all.iter().take(count).cloned().collect(),
                        structured_content: structured.map(|text| Raw::parse(text).unwrap()),
                        is_error,
                        meta: None,
                    };
                    is_written_the_same(&result);
                    is_found_as_noted(&result);
                }
            }
        }
        let text = ResultWriter::new(&id, 0)
            .tool(&CallToolResult::text(said))
            .unwrap();
        let read = crate::jsonrpc::written_result(&text, &id).unwrap();
        assert_eq!(
            read.decode::<CallToolResult>().unwrap(),
            CallToolResult::text(said)
        );
    }

    #[test]
    fn meta_alone_stands_in_front() {
        assert_eq!(with_meta("{}", "{}"), r#"{"_meta":{}}"#);
        assert_eq!(with_meta(r#"{ "a":1}"#, "{}"), r#"{"_meta":{},"a":1}"#);
    }

    #[test]
    fn progress_is_written_as_a_number() {
        let token = crate::jsonrpc::RequestId::String("t".into());
        assert_eq!(
            progress(&token, 50.0, Some(100.5), Some("half")),
            r#"{"progressToken":"t","progress":50,"total":100.5,"message":"half"}"#
        );
    }
}
