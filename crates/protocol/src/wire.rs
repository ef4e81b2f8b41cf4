//! Results as a modern client reads them.
//!
//! Canonical results carry none of the members that only the modern era has; they are put in front
//! of the others here, so that one serialised list serves both eras.

use serde::Serialize;

use crate::jsonrpc::push_str;

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

/// Puts the modern members in front of `body`, the JSON object of a complete result.
///
/// `meta` is the JSON text of the `_meta` member, for a body that has none of its own.
#[must_use]
pub fn complete(body: &str, cache: Option<CacheHint>, meta: Option<&str>) -> String {
    let mut out = String::with_capacity(body.len() + meta.map_or(0, str::len) + 96);
    out.push_str(r#"{"resultType":"complete""#);
    if let Some(cache) = cache {
        use std::fmt::Write as _;
        let _infallible = write!(
            out,
            r#","ttlMs":{},"cacheScope":"{}""#,
            cache.ttl_ms,
            cache.scope.as_str()
        );
    }
    push_meta_and_rest(&mut out, body, meta);
    out
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

fn push_meta_and_rest(out: &mut String, body: &str, meta: Option<&str>) {
    if let Some(meta) = meta {
        out.push_str(r#","_meta":"#);
        out.push_str(meta);
    }
    push_rest(out, body);
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
