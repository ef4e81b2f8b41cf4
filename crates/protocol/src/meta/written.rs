//! Parameters that are written, and what a reader would find in them.
//!
//! A server of the same process need not read what its client wrote a moment ago.

use std::ops::Range;

use bytestring::ByteString;
use serde_json::Value;

use super::{
    CLIENT_CAPABILITIES, CLIENT_INFO, LOG_LEVEL, PROTOCOL_VERSION, Peek, ProgressToken, RequestMeta,
};
use crate::raw::Raw;

/// What the protocol itself says in the `_meta` of a request. Absent members are not written.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnMeta<'a> {
    /// The declared capabilities, the JSON text of an object.
    pub capabilities: Option<&'a str>,
    /// The client's name and version, the JSON text of an object.
    pub info: Option<&'a str>,
    /// The wanted log level.
    pub log_level: Option<&'static str>,
    /// The revision.
    pub version: Option<&'static str>,
    /// Where progress shall go.
    pub progress_token: Option<i64>,
}

/// Writes the parameters of one request, and takes note of what [`read`](super::read) would find.
#[derive(Debug)]
pub struct ParamsWriter<'a> {
    method: &'a str,
    out: Vec<u8>,
    own: OwnMeta<'a>,
    capabilities: Option<Range<usize>>,
    info: Option<Range<usize>>,
    target: Option<&'a str>,
    arguments: Option<Range<usize>>,
    task: Option<Range<usize>>,
    continues: bool,
}

impl<'a> ParamsWriter<'a> {
    /// Begins with `_meta`, where `own` says anything.
    #[must_use]
    pub fn new(method: &'a str, own: OwnMeta<'a>) -> Self {
        let mut writer = Self {
            method,
            out: Vec::with_capacity(512),
            own,
            capabilities: None,
            info: None,
            target: None,
            arguments: None,
            task: None,
            continues: false,
        };
        writer.out.push(b'{');
        writer.meta(own);
        writer
    }

    fn meta(&mut self, own: OwnMeta<'a>) {
        let begin = self.out.len();
        self.capabilities = own
            .capabilities
            .map(|json| self.own_member(begin, CLIENT_CAPABILITIES, json));
        self.info = own
            .info
            .map(|json| self.own_member(begin, CLIENT_INFO, json));
        for (name, word) in [(LOG_LEVEL, own.log_level), (PROTOCOL_VERSION, own.version)] {
            if let Some(word) = word {
                // Words of the protocol have nothing that is escaped.
                let range = self.own_member(begin, name, "\"");
                self.out.extend_from_slice(word.as_bytes());
                self.out.push(b'"');
                debug_assert!(range.end < self.out.len());
            }
        }
        if let Some(token) = own.progress_token {
            self.own_member(begin, "progressToken", &token.to_string());
        }
        if self.out.len() > begin {
            self.out.push(b'}');
        }
    }

    /// Writes one member of `_meta`, which starts at `begin`. Returns where its value stands.
    fn own_member(&mut self, begin: usize, name: &str, json: &str) -> Range<usize> {
        let opening: &[u8] = if self.out.len() == begin {
            br#""_meta":{""#
        } else {
            br#",""#
        };
        self.out.extend_from_slice(opening);
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(br#"":"#);
        let at = self.out.len();
        self.out.extend_from_slice(json.as_bytes());
        at..self.out.len()
    }

    /// Writes a member of the parameters other than `_meta`; each name once.
    ///
    /// # Errors
    ///
    /// When `value` cannot be written.
    pub fn member(&mut self, name: &str, value: &'a Value) -> Result<(), serde_json::Error> {
        if self.out.len() > 1 {
            self.out.push(b',');
        }
        serde_json::to_writer(&mut self.out, name)?;
        self.out.push(b':');
        let at = self.out.len();
        serde_json::to_writer(&mut self.out, value)?;
        let range = at..self.out.len();
        match name {
            "arguments" if !value.is_null() => self.arguments = Some(range),
            "task" if !value.is_null() => self.task = Some(range),
            "inputResponses" | "requestState" => self.continues = true,
            _ if name == target_of(self.method) => self.target = value.as_str(),
            _ => {}
        }
        Ok(())
    }

    /// Ends the parameters.
    ///
    /// # Errors
    ///
    /// When what was given as JSON is not even text.
    pub fn finish(mut self) -> Result<(Raw, Peek), serde_json::Error> {
        self.out.push(b'}');
        let raw = Raw::of_written(self.out)?;
        let text = raw.clone().into_inner();
        let part = |range: Option<Range<usize>>| {
            let text = range.and_then(|range| text.get(range).map(|part| text.slice_ref(part)));
            text.map(Raw::written)
        };
        let peek = Peek {
            meta: RequestMeta {
                protocol_version: self.own.version.map(ByteString::from_static),
                client_capabilities: part(self.capabilities),
                client_info: part(self.info),
                log_level: self.own.log_level.map(ByteString::from_static),
                progress_token: self.own.progress_token.map(ProgressToken::Number),
                ..RequestMeta::default()
            },
            target: self.target.map(ByteString::from),
            arguments: part(self.arguments),
            continues: self.continues,
            task: part(self.task),
        };
        Ok((raw, peek))
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
            let own = OwnMeta {
                capabilities: own.0.then_some(r#"{"roots":{}}"#),
                info: own.1.then_some(r#"{"name":"n","version":"1"}"#),
                log_level: own.2.then_some("info"),
                version: own.3.then_some("2026-07-28"),
                progress_token: own.4,
            };
            let members: Map<String, Value> = members.into_iter().collect();
            let mut writer = ParamsWriter::new(&method, own);
            for (name, value) in &members {
                writer.member(name, value).unwrap();
            }
            let (params, noted) = writer.finish().unwrap();
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
