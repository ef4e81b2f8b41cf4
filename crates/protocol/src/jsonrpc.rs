//! JSON-RPC 2.0 messages as MCP uses them.
//!
//! One pass over the bytes finds the members of the envelope; `params`, `result` and `error.data`
//! stay as they came until a method asks for a type.

use std::{borrow::Cow, fmt};

use bytestring::ByteString;
use serde::{
    Deserialize, Serialize,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    error::{ErrorCode, RpcError},
    raw::Raw,
};

/// The depth to which a message may nest unless configured otherwise.
pub const DEFAULT_DEPTH: usize = 128;

/// The id of a request: a string or an integer, never null.
///
/// Source: MCP 2026-07-28, schema, `RequestId`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum RequestId {
    /// An integer that fits 64 bits.
    Number(i64),
    /// A string.
    String(ByteString),
}

impl RequestId {
    /// The id as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Self::Number(n) => n.to_string(),
            Self::String(s) => serde_json::Value::String(s.to_string()).to_string(),
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(n) => n.fmt(f),
            Self::String(s) => s.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = RequestId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an integer of 64 bits")
            }
            fn visit_i64<E: de::Error>(self, v: i64) -> Result<RequestId, E> {
                Ok(RequestId::Number(v))
            }
            fn visit_u64<E: de::Error>(self, v: u64) -> Result<RequestId, E> {
                i64::try_from(v)
                    .map(RequestId::Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(v), &self))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<RequestId, E> {
                Ok(RequestId::String(v.into()))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// A message, as read from a peer.
#[derive(Clone, Debug)]
pub enum Message {
    /// Wants an answer.
    Request(Request),
    /// Wants none.
    Notification(Notification),
    /// Answers a request of ours.
    Response(Response),
}

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The id that the answer must carry.
    pub id: RequestId,
    /// The method as sent.
    pub method: ByteString,
    /// The parameters as sent; an object where present.
    pub params: Option<Raw>,
}

/// A notification.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The method as sent.
    pub method: ByteString,
    /// The parameters as sent; an object where present.
    pub params: Option<Raw>,
}

/// An answer to a request of ours.
#[derive(Clone, Debug)]
pub struct Response {
    /// The id of the request; absent where the peer could not read it.
    pub id: Option<RequestId>,
    /// What came back.
    pub outcome: Result<Raw, RpcError>,
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct Malformed {
    /// The error to answer.
    pub error: RpcError,
    /// The request's id, where it could be read.
    pub id: Option<RequestId>,
}

impl Malformed {
    fn parse(message: impl fmt::Display) -> Self {
        Self {
            error: RpcError::new(
                ErrorCode::PARSE_ERROR,
                format!("body is not JSON: {message}"),
            ),
            id: None,
        }
    }

    fn invalid(message: impl Into<ByteString>, id: Option<RequestId>) -> Self {
        Self {
            error: RpcError::new(ErrorCode::INVALID_REQUEST, message),
            id,
        }
    }
}

impl Message {
    /// Reads one message.
    ///
    /// `depth` bounds the nesting of the whole text. Batches are refused: no revision that is
    /// served here has them except 2025-03-26, whose peers send single messages as well.
    ///
    /// # Errors
    ///
    /// [`Malformed`] with the code that JSON-RPC gives for it.
    pub fn parse(text: &ByteString, depth: usize) -> Result<Self, Malformed> {
        check_depth(text, depth)?;
        let envelope: Envelope<'_> = match serde_json::from_str(text) {
            Ok(envelope) => envelope,
            Err(error) if error.is_data() => {
                return Err(Malformed::invalid(
                    format!("body is not a JSON-RPC message: {error}"),
                    None,
                ));
            }
            Err(error) => return Err(Malformed::parse(error)),
        };
        envelope.classify(text)
    }

    /// A request, or a notification where `id` is none, that needs no reading: nobody wrote it.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`] of its text.
    pub fn call(
        id: Option<RequestId>,
        method: ByteString,
        params: Option<Raw>,
        depth: usize,
    ) -> Result<Self, Malformed> {
        if let Some(params) = &params {
            // The message around them is a level of its own.
            check_depth(params.as_str(), depth.saturating_sub(1))?;
            if !params.is_object() {
                return Err(Malformed::invalid("`params` must be an object", id));
            }
        }
        Ok(match id {
            Some(id) => Self::Request(Request { id, method, params }),
            None => Self::Notification(Notification { method, params }),
        })
    }
}

#[derive(Default)]
struct Envelope<'a> {
    version: Option<Cow<'a, str>>,
    id: Option<&'a RawValue>,
    method: Option<Cow<'a, str>>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn classify(self, text: &ByteString) -> Result<Message, Malformed> {
        let id = match self
            .id
            .map(|raw| serde_json::from_str(raw.get()))
            .transpose()
        {
            Ok(id) => id,
            Err(_) if self.error.is_some() && self.id.is_some_and(|id| id.get() == "null") => None,
            Err(_) => {
                return Err(Malformed::invalid(
                    "`id` must be a string or an integer of 64 bits",
                    None,
                ));
            }
        };
        if self.version.as_deref() != Some("2.0") {
            return Err(Malformed::invalid("`jsonrpc` must be \"2.0\"", id));
        }
        let answers = self.result.is_some() || self.error.is_some();
        match (self.method, answers) {
            (Some(_), true) => Err(Malformed::invalid(
                "a message has either `method` or `result` or `error`",
                id,
            )),
            (Some(method), false) => {
                let method = slice_str(text, method);
                let params = self.params.map(|raw| Raw::slice(text, raw));
                if params.as_ref().is_some_and(|p| !p.is_object()) {
                    return Err(Malformed::invalid("`params` must be an object", id));
                }
                Ok(match id {
                    Some(id) => Message::Request(Request { id, method, params }),
                    None => Message::Notification(Notification { method, params }),
                })
            }
            (None, true) => Self::response(text, id, self.result, self.error),
            (None, false) => Err(Malformed::invalid(
                "a message has one of `method`, `result` and `error`",
                id,
            )),
        }
    }

    fn response(
        text: &ByteString,
        id: Option<RequestId>,
        result: Option<&'a RawValue>,
        error: Option<&'a RawValue>,
    ) -> Result<Message, Malformed> {
        let outcome = match (result, error) {
            (Some(result), None) if id.is_some() => Ok(Raw::slice(text, result)),
            (None, Some(error)) => Err(serde_json::from_str(error.get()).map_err(|e| {
                Malformed::invalid(format!("`error` is not an error object: {e}"), id.clone())
            })?),
            (Some(_), None) => return Err(Malformed::invalid("a response needs an `id`", None)),
            _ => {
                return Err(Malformed::invalid(
                    "a response has either `result` or `error`",
                    id,
                ));
            }
        };
        Ok(Message::Response(Response { id, outcome }))
    }
}

pub(crate) fn slice_str(whole: &ByteString, part: Cow<'_, str>) -> ByteString {
    match part {
        Cow::Borrowed(text) => whole.slice_ref(text),
        Cow::Owned(text) => text.into(),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one JSON-RPC message, an object; batches are not served")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut e = Envelope::default();
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            match &*key {
                "jsonrpc" => once(&mut e.version, text(&mut map)?, "jsonrpc")?,
                "id" => once(&mut e.id, map.next_value()?, "id")?,
                "method" => once(&mut e.method, text(&mut map)?, "method")?,
                "params" => once(&mut e.params, map.next_value()?, "params")?,
                "result" => once(&mut e.result, map.next_value()?, "result")?,
                "error" => once(&mut e.error, map.next_value()?, "error")?,
                _ => drop(map.next_value::<de::IgnoredAny>()?),
            }
        }
        Ok(e)
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Cow<'de, str>, A::Error> {
    map.next_value::<Text<'de>>().map(|Text(text)| text)
}

/// Sets a member that a message has at most once.
fn once<T, E: de::Error>(slot: &mut Option<T>, value: T, name: &'static str) -> Result<(), E> {
    match slot.replace(value) {
        Some(_) => Err(E::duplicate_field(name)),
        None => Ok(()),
    }
}

/// A string that borrows where the text has no escapes.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: de::Error>(self, v: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: de::Error>(self, v: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// How many brackets open in `text`, those in strings included.
///
/// Counted in bytes, and without a check at each step, so that the compiler takes many steps at once: it
/// reads every message, and one byte after the other would cost as much as half of the parsing.
fn opening(text: &[u8]) -> usize {
    let count = |chunk: &[u8]| {
        let opens = |b: &u8| u8::from(*b | 0x20 == b'{');
        chunk.iter().map(opens).fold(0_u8, u8::wrapping_add)
    };
    // 255 bytes have at most 255 of them.
    text.chunks(255)
        .map(|chunk| usize::from(count(chunk)))
        .sum()
}

/// Refuses a text that nests deeper than `depth`, without recursion.
fn check_depth(text: &str, depth: usize) -> Result<(), Malformed> {
    // Few texts have more brackets than they may have levels, and counting those costs next to nothing.
    if opening(text.as_bytes()) <= depth {
        return Ok(());
    }
    let (mut level, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                level += 1;
                if level > depth {
                    return Err(Malformed::invalid(
                        format!("body nests deeper than {depth} levels"),
                        None,
                    ));
                }
            }
            b'}' | b']' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// The result in `text`, where it is the response to `id` as it is written here; without reading it, so only for what was
/// written in this process.
#[must_use]
pub fn written_result(text: &ByteString, id: &RequestId) -> Option<Raw> {
    let answers = text.strip_prefix(ANSWERS)?;
    let answer = match id {
        RequestId::Number(n) => answers.strip_prefix(itoa::Buffer::new().format(*n)),
        RequestId::String(_) => answers.strip_prefix(&*id.to_json()),
    };
    let result = answer?.strip_prefix(WITH)?.strip_suffix('}')?;
    Some(Raw::written(text.slice_ref(result)))
}

/// What a response begins with, before its id and after it.
const ANSWERS: &str = r#"{"jsonrpc":"2.0","id":"#;
const WITH: &str = r#","result":"#;

/// The beginning of a response to `id`, up to its result.
pub(crate) fn push_response(out: &mut String, id: &RequestId) {
    out.push_str(ANSWERS);
    push_id(out, id);
    out.push_str(WITH);
}

/// Writes a response that carries `result`, a JSON object.
#[must_use]
pub fn encode_result(id: &RequestId, result: &str) -> String {
    let mut out = String::with_capacity(result.len() + 48);
    push_response(&mut out, id);
    out.push_str(result);
    out.push('}');
    out
}

/// Writes a response that carries `error`; the id is left out where it could not be read.
#[must_use]
pub fn encode_error(id: Option<&RequestId>, error: &RpcError) -> String {
    let mut out = String::with_capacity(128);
    out.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        out.push_str(r#","id":"#);
        push_id(&mut out, id);
    }
    out.push_str(r#","error":"#);
    out.push_str(&serde_json::to_string(error).unwrap_or_else(|_| {
        r#"{"code":-32603,"message":"error could not be written"}"#.to_owned()
    }));
    out.push('}');
    out
}

/// Writes a notification, or a request where `id` is given.
#[must_use]
pub fn encode_call(id: Option<&RequestId>, method: &str, params: Option<&str>) -> String {
    let mut out = String::with_capacity(params.map_or(0, str::len) + 96);
    out.push_str(r#"{"jsonrpc":"2.0""#);
    if let Some(id) = id {
        out.push_str(r#","id":"#);
        push_id(&mut out, id);
    }
    out.push_str(r#","method":"#);
    push_str(&mut out, method);
    if let Some(params) = params {
        out.push_str(r#","params":"#);
        out.push_str(params);
    }
    out.push('}');
    out
}

pub(crate) fn push_id(out: &mut String, id: &RequestId) {
    match id {
        RequestId::Number(n) => push_number(out, *n),
        RequestId::String(s) => push_str(out, s),
    }
}

pub(crate) fn push_number(out: &mut String, number: i64) {
    out.push_str(itoa::Buffer::new().format(number));
}

/// Writes `value` at the end of `out`, which is empty where that fails.
pub(crate) fn push_json<T: Serialize + ?Sized>(
    out: &mut String,
    value: &T,
) -> Result<(), serde_json::Error> {
    let mut bytes = std::mem::take(out).into_bytes();
    serde_json::to_writer(&mut bytes, value)?;
    *out = String::from_utf8(bytes).map_err(serde::ser::Error::custom)?;
    Ok(())
}

/// Writes `text` as a JSON string.
pub(crate) fn push_str(out: &mut String, text: &str) {
    if is_plain(text.as_bytes()) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        let written = escaped(text).or_else(|| serde_json::to_string(text).ok());
        // There is no text that cannot be written.
        out.push_str(&written.unwrap_or_default());
    }
}

/// Writes a text that holds JSON, which has a quote every few letters; `None` where it has characters that are escaped by a name or number.
fn escaped(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len() + text.len() / 4 + 2);
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            0..0x20 => return None,
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    String::from_utf8(out).ok()
}

/// Whether a text is written as it is.
fn is_plain(text: &[u8]) -> bool {
    let is_plain = |b: &u8| (*b >= 0x20) & (*b != b'"') & (*b != b'\\');
    // Piece by piece without a way out, so that the compiler takes many steps at once.
    let plain = |piece: &[u8]| piece.iter().fold(true, |plain, b| plain & is_plain(b));
    text.chunks(64).all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, Malformed> {
        Message::parse(&ByteString::from(text.to_owned()), DEFAULT_DEPTH)
    }

    #[test]
    fn texts_are_escaped_as_serde_json_does() {
        let letters = [
            'a', 'é', '"', '\\', '/', '\n', '\u{1f}', '\u{7f}', '\u{2028}', '🦀',
        ];
        for length in 0..70 {
            for (at, letter) in (0..length).flat_map(|at| letters.map(|letter| (at, letter))) {
                let text: String = (0..length)
                    .map(|place| if place == at { letter } else { 'x' })
                    .collect();
                for text in [&text, &text.repeat(2), &text.replace('x', "\"")] {
                    let mut out = "before ".to_owned();
                    push_str(&mut out, text);
                    assert_eq!(
                        out,
                        format!("before {}", serde_json::to_string(text).unwrap())
                    );
                }
            }
        }
    }

    #[test]
    fn request_keeps_params_as_sent() {
        let text = r#"{"params":{"a": 1.10, "b":12345678901234567890123},"method":"x","id":"i","jsonrpc":"2.0"}"#;
        let Ok(Message::Request(request)) = parse(text) else {
            panic!("not a request")
        };
        assert_eq!(request.id, RequestId::String("i".into()));
        assert_eq!(
            request.params.unwrap().as_str(),
            r#"{"a": 1.10, "b":12345678901234567890123}"#
        );
    }

    #[test]
    fn malformed_bodies_get_the_code_of_json_rpc() {
        let code = |text: &str| parse(text).unwrap_err().error.code;
        assert_eq!(code("{"), ErrorCode::PARSE_ERROR);
        assert_eq!(code("[]"), ErrorCode::INVALID_REQUEST);
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1,"method":"x","params":[]}"#),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(
            code(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(
            code(&format!("{}{}", "[".repeat(129), "]".repeat(129))),
            ErrorCode::INVALID_REQUEST
        );
        assert_eq!(code("\u{feff}{}"), ErrorCode::PARSE_ERROR);
    }

    #[test]
    fn every_opening_bracket_counts() {
        for length in [0, 1, 254, 255, 256, 1_000] {
            for bracket in ["[", "{"] {
                assert_eq!(opening(bracket.repeat(length).as_bytes()), length);
            }
        }
        let others: Vec<u8> = (0..=255).filter(|b| !matches!(b, b'[' | b'{')).collect();
        assert_eq!(opening(&others), 0);
    }

    #[test]
    fn refusal_echoes_the_id_that_could_be_read() {
        let refusal = parse(r#"{"jsonrpc":"1.0","id":7,"method":"x"}"#).unwrap_err();
        assert_eq!(refusal.id, Some(RequestId::Number(7)));
        assert_eq!(
            encode_error(refusal.id.as_ref(), &refusal.error),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"`jsonrpc` must be \"2.0\""}}"#
        );
    }

    #[test]
    fn error_response_without_a_readable_id_is_read() {
        let text = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#;
        assert!(matches!(
            parse(text),
            Ok(Message::Response(Response {
                id: None,
                outcome: Err(_)
            }))
        ));
    }
}
