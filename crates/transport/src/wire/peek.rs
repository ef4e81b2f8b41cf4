//! A glance at a message: whose answer it is. What it says is left to whoever gets it.

use std::borrow::Cow;

use fastmcp_protocol::RequestId;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// What a message is, as far as a wire must know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peek {
    /// A response, with the id that it answers where that can be read.
    Response(Option<RequestId>),
    /// A request or a notification.
    Other,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: Option<IgnoredAny>,
}

impl Peek {
    /// Looks at `text`; `None` where it is no JSON-RPC message.
    pub(super) fn of(text: &str) -> Option<Self> {
        let head: Head<'_> = serde_json::from_str(text).ok()?;
        if head.jsonrpc != "2.0" {
            return None;
        }
        if head.method.is_some() {
            return Some(Self::Other);
        }
        let id = head.id.and_then(|id| serde_json::from_str(id.get()).ok());
        Some(Self::Response(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_questions() {
        let response = |id| Some(Peek::Response(id));
        for (text, expected) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
                response(Some(RequestId::Number(1))),
            ),
            (
                r#"{"result":null,"id":"a\u0062","jsonrpc":"2.0"}"#,
                response(Some(RequestId::String("ab".into()))),
            ),
            (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, response(None)),
            (r#"{"jsonrpc":"2.0","error":{}}"#, response(None)),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#,
                Some(Peek::Other),
            ),
            (r#"{"jsonrpc":"2.0","method":"m"}"#, Some(Peek::Other)),
            (r#"{"jsonrpc":"1.0","id":1,"result":{}}"#, None),
            (r#"{"id":1,"result":{}}"#, None),
            (r#"{"jsonrpc":"2.0","id":1,"id":2}"#, None),
            ("[]", None),
            ("starting up", None),
        ] {
            assert_eq!(Peek::of(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_is_no_danger() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{}{}}}"#,
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        assert_eq!(
            Peek::of(&deep),
            Some(Peek::Response(Some(RequestId::Number(1))))
        );
    }
}
