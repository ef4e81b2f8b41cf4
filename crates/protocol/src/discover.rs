//! What a server says about itself, and what its lists and results have in common.
//!
//! Source: MCP 2026-07-28, server/discover, server/utilities/{pagination,caching}.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, de};
use serde_json::value::RawValue;

use crate::{
    capability::ServerCapabilities,
    content::Meta,
    raw::{self, Raw},
    wire::CacheScope,
};

/// The result of `server/discover`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscoverResult {
    /// The revisions that are served. Names that this crate does not know are kept.
    pub supported_versions: Vec<String>,
    /// What the server can do.
    #[serde(deserialize_with = "raw::from_object")]
    pub capabilities: ServerCapabilities,
    /// How to use the server, for the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PaginatedParams<'a> {
    /// Where the page starts; opaque, and an empty one is a cursor too.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub cursor: Option<Cow<'a, str>>,
}

/// The members that any result may have, read without the rest of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultEnvelope<'a> {
    /// What kind of result this is; see [`Self::kind`].
    #[serde(default, borrow, deserialize_with = "raw::optional_text")]
    pub result_type: Option<Cow<'a, str>>,
    /// For how many milliseconds the result may be reused; see [`Self::fresh_ms`].
    #[serde(default, borrow)]
    ttl_ms: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "raw::optional_text")]
    cache_scope: Option<Cow<'a, str>>,
    /// Where the next page of a list starts.
    #[serde(default, borrow, deserialize_with = "raw::optional_text")]
    pub next_cursor: Option<Cow<'a, str>>,
    /// `_meta`, an object, as sent.
    #[serde(
        rename = "_meta",
        default,
        borrow,
        deserialize_with = "raw::optional_object"
    )]
    pub meta: Option<&'a RawValue>,
}

/// The kind of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResultKind<'a> {
    /// What was asked for; also where a legacy server names no kind.
    Complete,
    /// A question first; see [`crate::mrtr::InputRequired`].
    InputRequired,
    /// The kind of an extension, an error for a client that did not declare it.
    Other(&'a str),
}

impl<'a> ResultEnvelope<'a> {
    /// Reads the members of `result`.
    ///
    /// # Errors
    ///
    /// When `result` is not an object, or one of the members is of the wrong type.
    pub fn peek(result: &'a Raw) -> Result<Self, serde_json::Error> {
        if result.is_object() {
            result.decode()
        } else {
            Err(de::Error::custom("a result must be an object"))
        }
    }

    /// Whether `result` begins by saying that it is complete, as those of modern servers do: nothing else need be read
    /// to know its kind.
    #[must_use]
    pub fn begins_complete(result: &Raw) -> bool {
        let rest = result.as_str().strip_prefix(r#"{"resultType":"complete""#);
        rest.is_some_and(|rest| rest.starts_with([',', '}']))
    }

    /// The kind of the result.
    #[must_use]
    pub fn kind(&self) -> ResultKind<'_> {
        match self.result_type.as_deref() {
            None | Some("complete") => ResultKind::Complete,
            Some("input_required") => ResultKind::InputRequired,
            Some(other) => ResultKind::Other(other),
        }
    }

    /// For how many milliseconds the result may be reused; 0 where nothing, something negative or
    /// something other than a whole number is said. Source: MCP 2026-07-28, server/utilities/caching.
    #[must_use]
    pub fn fresh_ms(&self) -> u64 {
        self.ttl_ms
            .and_then(|ttl| ttl.get().parse().ok())
            .unwrap_or(0)
    }

    /// Who may share the result; only the caller, where nothing or something unknown is said.
    #[must_use]
    pub fn scope(&self) -> CacheScope {
        match self.cache_scope.as_deref() {
            Some("public") => CacheScope::Public,
            _ => CacheScope::Private,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelope_reads_what_it_knows() {
        let raw = Raw::parse(
            r#"{"tools":[],"resultType":"complete","ttlMs":300000,"cacheScope":"public","nextCursor":"","_meta":{"a":1}}"#,
        )
        .unwrap();
        let envelope = ResultEnvelope::peek(&raw).unwrap();
        assert_eq!(envelope.kind(), ResultKind::Complete);
        assert_eq!(
            (envelope.fresh_ms(), envelope.scope()),
            (300_000, CacheScope::Public)
        );
        assert_eq!(envelope.next_cursor.as_deref(), Some(""));
        assert_eq!(envelope.meta.unwrap().get(), r#"{"a":1}"#);
    }

    #[test]
    fn doubtful_hints_mean_do_not_cache() {
        for (text, ms) in [
            ("{}", 0),
            (r#"{"ttlMs":-5}"#, 0),
            (r#"{"ttlMs":1.5}"#, 0),
            (r#"{"ttlMs":"9"}"#, 0),
            (r#"{"ttlMs":7}"#, 7),
        ] {
            let raw = Raw::parse(text).unwrap();
            let envelope = ResultEnvelope::peek(&raw).unwrap();
            assert_eq!(
                (envelope.fresh_ms(), envelope.scope()),
                (ms, CacheScope::Private),
                "{text}"
            );
        }
    }

    #[test]
    fn kinds_that_are_not_known_are_told() {
        let kind = |text: &str| {
            let raw = Raw::parse(text.to_owned()).unwrap();
            format!("{:?}", ResultEnvelope::peek(&raw).unwrap().kind())
        };
        assert_eq!(kind("{}"), "Complete");
        assert_eq!(kind(r#"{"resultType":"input_required"}"#), "InputRequired");
        assert_eq!(kind(r#"{"resultType":"task"}"#), r#"Other("task")"#);
        assert!(ResultEnvelope::peek(&Raw::parse("[]").unwrap()).is_err());
        assert!(ResultEnvelope::peek(&Raw::parse(r#"{"resultType":1}"#).unwrap()).is_err());
    }
}
