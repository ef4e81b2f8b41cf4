//! Parameters that are written, and what a reader would find in them.
//!
//! A server of the same process need not read what its client wrote a moment ago.

use std::{ops::Range, sync::Arc};

use bytestring::ByteString;
use serde_json::Value;

use super::{
    CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION, Peek, ProgressToken, RequestMeta,
};
use crate::{
    jsonrpc::{push_json, push_number, push_str},
    raw::Raw,
};

/// What a client says of itself in the `_meta` of each request. Absent members are not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// The declared capabilities, the JSON text of an object.
    pub capabilities: Option<&'a str>,
    /// The client's name and version, the JSON text of an object.
    pub info: Option<&'a str>,
    /// The wanted log level.
    pub log_level: Option<&'static str>,
    /// The revision.
    pub version: Option<&'static str>,
}

/// The part of `_meta` that is the same in request after request: written once, and copied into each.
#[derive(Clone, Debug, Default)]
pub struct OwnMeta {
    /// Members as they stand in an object, without its braces.
    text: ByteString,
    /// What a reader would find there.
    found: Arc<RequestMeta>,
}

impl OwnMeta {
    /// Writes what is said.
    #[must_use]
    pub fn new(said: Said<'_>) -> Self {
        let mut text = String::with_capacity(256);
        let mut add = |name: &str, json: &str, quote: &str| {
            let comma = if text.is_empty() { "" } else { "," };
            text.extend([comma, "\"", name, "\":", quote]);
            let begin = text.len();
            text.extend([json, quote]);
            begin..begin + json.len()
        };
        let capabilities = said
            .capabilities
            .map(|json| add(CLIENT_CAPABILITIES, json, ""));
        let info = said.info.map(|json| add(CLIENT_INFO, json, ""));
        // Words of the protocol have nothing that is escaped.
        let log_level = said.log_level.map(|word| add(LOG_LEVEL, word, "\""));
        let version = said.version.map(|word| add(PROTOCOL_VERSION, word, "\""));
        let text = ByteString::from(text);
        let found = RequestMeta {
            client_capabilities: part(&text, capabilities).map(Raw::written),
            client_info: part(&text, info).map(Raw::written),
            log_level: part(&text, log_level),
            protocol_version: part(&text, version),
            ..RequestMeta::default()
        };
        Self {
            text,
            found: Arc::new(found),
        }
    }
}

fn part(whole: &ByteString, range: Option<Range<usize>>) -> Option<ByteString> {
    let part = whole.get(range?)?;
    Some(whole.slice_ref(part))
}

/// Writes the parameters of one request, and takes note of what [`read`](super::read) would find.
#[derive(Debug)]
pub struct ParamsWriter<'a> {
    method: &'a str,
    out: String,
    meta: Arc<RequestMeta>,
    progress_token: Option<ProgressToken>,
    target: Option<(&'a str, Range<usize>)>,
    arguments: Option<Range<usize>>,
    task: Option<Range<usize>>,
    continues: bool,
}

impl<'a> ParamsWriter<'a> {
    /// Begins with `_meta`: what `own` says, and where progress shall go.
    #[must_use]
    pub fn new(method: &'a str, own: &OwnMeta, progress_token: Option<i64>) -> Self {
        let mut out = String::with_capacity(own.text.len() + 256);
        out.push('{');
        if !own.text.is_empty() || progress_token.is_some() {
            out.push_str(r#""_meta":{"#);
            out.push_str(&own.text);
            if let Some(token) = progress_token {
                let comma = if own.text.is_empty() { "" } else { "," };
                out.extend([comma, r#""progressToken":"#]);
                push_number(&mut out, token);
            }
            out.push('}');
        }
        Self {
            method,
            out,
            meta: Arc::clone(&own.found),
            progress_token: progress_token.map(ProgressToken::Number),
            target: None,
            arguments: None,
            task: None,
            continues: false,
        }
    }

    /// Writes a member of the parameters other than `_meta`; each name once.
    ///
    /// # Errors
    ///
    /// When `value` cannot be written.
    pub fn member(&mut self, name: &str, value: &'a Value) -> Result<(), serde_json::Error> {
        if let Value::String(text) = value {
            self.text(name, text);
            return Ok(());
        }
        let begin = self.begin(name);
        push_json(&mut self.out, value)?;
        self.note(name, begin, value.is_null());
        Ok(())
    }

    /// As [`Self::member`], of a text.
    pub fn text(&mut self, name: &str, text: &'a str) {
        let begin = self.begin(name);
        push_str(&mut self.out, text);
        if name == target_of(self.method) {
            self.target = Some((text, begin..self.out.len()));
        } else {
            self.note(name, begin, false);
        }
    }

    /// Where the value of a member stands that begins.
    fn begin(&mut self, name: &str) -> usize {
        if self.out.len() > 1 {
            self.out.push(',');
        }
        push_str(&mut self.out, name);
        self.out.push(':');
        self.out.len()
    }

    fn note(&mut self, name: &str, begin: usize, is_null: bool) {
        let range = begin..self.out.len();
        match name {
            "arguments" if !is_null => self.arguments = Some(range),
            "task" if !is_null => self.task = Some(range),
            "inputResponses" | "requestState" => self.continues = true,
            _ => {}
        }
    }

    /// Ends the parameters.
    #[must_use]
    pub fn finish(mut self) -> (Raw, Peek) {
        self.out.push('}');
        let text = ByteString::from(self.out);
        let target = self.target.map(|(target, written)| {
            let between_quotes = written.start + 1..written.end - 1;
            // Unless something in it is escaped.
            part(&text, Some(between_quotes))
                .filter(|same| same == target)
                .unwrap_or_else(|| target.into())
        });
        let peek = Peek {
            meta: self.meta,
            progress_token: self.progress_token,
            target,
            arguments: part(&text, self.arguments).map(Raw::written),
            continues: self.continues,
            task: part(&text, self.task).map(Raw::written),
        };
        (Raw::written(text), peek)
    }
}

/// The member that says what a request of `method` is about.
pub(super) fn target_of(method: &str) -> &'static str {
    match method {
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => "taskId",
        _ => "name",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, json};

    use super::*;
    use crate::{
        RequestId,
        jsonrpc::{DEFAULT_DEPTH, Message, encode_call},
    };

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            (".{0,6}", any::<bool>()).prop_map(|(name, is)| json!({name: [is, "\"}"]})),
        ]
    }

    fn named() -> impl Strategy<Value = String> {
        prop_oneof![
            "name|uri|taskId|arguments|task|inputResponses|requestState".prop_map(String::from),
            ".{0,8}".prop_filter("it is written first", |name| name != "_meta"),
        ]
    }

    proptest! {
        #[test]
        fn what_is_noted_is_what_would_be_read(
            method in "tools/call|resources/read|tasks/get|prompts/get|other",
            members in proptest::collection::btree_map(named(), value(), 0..5),
            own in (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<Option<i64>>()),
        ) {
            let said = Said {
                capabilities: own.0.then_some(r#"{"roots":{}}"#),
                info: own.1.then_some(r#"{"name":"n","version":"1"}"#),
                log_level: own.2.then_some("info"),
                version: own.3.then_some("2026-07-28"),
            };
            let members: Map<String, Value> = members.into_iter().collect();
            let mut writer = ParamsWriter::new(&method, &OwnMeta::new(said), own.4);
            for (name, value) in &members {
                writer.member(name, value).unwrap();
            }
            let (params, noted) = writer.finish();
            let id = RequestId::Number(1);
            let text = encode_call(Some(&id), &method, Some(params.as_str()));
            let Ok(Message::Request(request)) = Message::parse(&text.into(), DEFAULT_DEPTH) else {
                panic!("not a request: {}", params.as_str());
            };
            let read = super::super::read(&request).unwrap();
            prop_assert_eq!(format!("{noted:?}"), format!("{read:?}"));
        }
    }
}
