//! A glance at a message: whose answer it is. What it says is left to whoever gets it.

use std::borrow::Cow;

use fastmcp_protocol::RequestId;
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a message is, as far as a wire must know.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peek {
    /// A response, with the id that it answers where that can be read.
    Response(Option<RequestId>),
    /// News of the progress of a request.
    Progress(RequestId),
    /// What a subscription tells, which is an open request.
    Subscribed(RequestId),
    /// A request, or another notification.
    Other,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfWhat<'a> {
    #[serde(borrow)]
    progress_token: &'a RawValue,
}

#[derive(Deserialize)]
struct OfWhich<'a> {
    #[serde(borrow, rename = "_meta")]
    meta: OfSubscription<'a>,
}

#[derive(Deserialize)]
struct OfSubscription<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/subscriptionId")]
    id: &'a RawValue,
}

/// Stands in the parameters of what a subscription tells. Source: MCP 2026-07-28, basic/patterns/subscriptions.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// The method of news of progress, as it is written.
const PROGRESS: &str = r#""notifications/progress""#;

impl Peek {
    /// Looks at `text`; `None` where it is no JSON-RPC message.
    pub(super) fn of(text: &str) -> Option<Self> {
        let head: Head<'_> = serde_json::from_str(text).ok()?;
        if head.jsonrpc != "2.0" {
            return None;
        }
        if let Some(method) = head.method {
            let params = head.params.filter(|_| head.id.is_none());
            let of = if method.get() == PROGRESS {
                params.and_then(request_of).map(Self::Progress)
            } else {
                params.and_then(subscription_of).map(Self::Subscribed)
            };
            return Some(of.unwrap_or(Self::Other));
        }
        let id = head.id.and_then(|id| serde_json::from_str(id.get()).ok());
        Some(Self::Response(id))
    }
}

/// The request whose progress `params` tell of.
fn request_of(params: &RawValue) -> Option<RequestId> {
    let of: OfWhat<'_> = serde_json::from_str(params.get()).ok()?;
    serde_json::from_str(of.progress_token.get()).ok()
}

/// The subscription that tells `params`.
fn subscription_of(params: &RawValue) -> Option<RequestId> {
    // Few messages have one: most are not read a second time.
    if !params.get().contains(SUBSCRIPTION) {
        return None;
    }
    let of: OfWhich<'_> = serde_json::from_str(params.get()).ok()?;
    serde_json::from_str(of.meta.id.get()).ok()
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
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1,"progressToken":7}}"#,
                Some(Peek::Progress(RequestId::Number(7))),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}"#,
                Some(Peek::Other),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":"7"}"#,
                Some(Peek::Other),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"notifications/progress","params":{"progressToken":7}}"#,
                Some(Peek::Other),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"n","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
                Some(Peek::Subscribed(RequestId::Number(7))),
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"n","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}}"#,
                Some(Peek::Other),
            ),
            (
                r#"{"jsonrpc":"2.0","method":"n","params":{"io.modelcontextprotocol/subscriptionId":7}}"#,
                Some(Peek::Other),
            ),
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
