//! What a server tells about a request in flight: log messages, progress, and its end before time.
//!
//! Source: MCP 2026-07-28, server/utilities/logging (deprecated there), basic/utilities/{progress,cancellation}.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    content::Meta,
    jsonrpc::RequestId,
    meta::ProgressToken,
    raw::{self, Raw},
};

/// How severe a log message is, the least severe first. Source: RFC 5424 section 6.2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LoggingLevel {
    /// For whoever looks for a fault.
    Debug,
    /// Business as usual.
    Info,
    /// Usual, but worth noting.
    Notice,
    /// May become a fault.
    Warning,
    /// A fault.
    Error,
    /// A part has failed.
    Critical,
    /// Somebody must act at once.
    Alert,
    /// Nothing works.
    Emergency,
}

impl LoggingLevel {
    /// Every level, the least severe first.
    pub const ALL: &'static [Self] = &[
        Self::Debug,
        Self::Info,
        Self::Notice,
        Self::Warning,
        Self::Error,
        Self::Critical,
        Self::Alert,
        Self::Emergency,
    ];

    /// The level named `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|level| level.as_str() == text)
    }

    /// The level's name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
            Self::Alert => "alert",
            Self::Emergency => "emergency",
        }
    }
}

impl fmt::Display for LoggingLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The parameters of the legacy `logging/setLevel`.
///
/// Source: MCP 2025-11-25, server/utilities/logging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SetLevelParams {
    /// The least severe level that the session shall get.
    pub level: LoggingLevel,
}

/// The parameters of `notifications/message`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct LogMessageParams {
    /// How severe it is.
    pub level: LoggingLevel,
    /// Which part of the server says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
    /// What is said: any JSON value, as it came.
    pub data: Raw,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `notifications/progress`, as read; [`crate::wire::progress`] writes them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgressParams<'a> {
    /// Which request this is about.
    pub progress_token: ProgressToken,
    /// How far it is; grows with every message.
    pub progress: f64,
    /// How far it goes, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What is being done, for people.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub message: Option<Cow<'a, str>>,
}

/// The parameters of `notifications/cancelled`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CancelledParams<'a> {
    /// Which request is no longer wanted. 2025-11-25 lets it be absent, for tasks; it then ends nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// Why, for the log.
    #[serde(
        default,
        borrow,
        deserialize_with = "raw::optional_text",
        skip_serializing_if = "Option::is_none"
    )]
    pub reason: Option<Cow<'a, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_names_and_an_order() {
        for level in LoggingLevel::ALL {
            assert_eq!(LoggingLevel::parse(level.as_str()), Some(*level));
            assert_eq!(
                serde_json::to_string(level).unwrap(),
                format!("\"{level}\"")
            );
        }
        assert!(LoggingLevel::ALL.is_sorted());
        assert_eq!(LoggingLevel::parse("warn"), None);
    }

    #[test]
    fn an_unknown_level_is_refused_by_name() {
        let raw = Raw::parse(r#"{"level":"loud"}"#).unwrap();
        let error = Raw::decode_params::<SetLevelParams>(Some(&raw)).unwrap_err();
        assert!(
            error
                .message
                .starts_with("`params.level`: unknown variant `loud`"),
            "{error}"
        );
    }

    #[test]
    fn log_data_stays_as_it_came() {
        let text = r#"{"level":"info","data":{"n":1.10}}"#;
        let params: LogMessageParams = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&params).unwrap(), text);
    }

    #[test]
    fn progress_and_cancellation_are_read() {
        let raw = Raw::parse(r#"{"progressToken":7,"progress":50,"total":100.5,"message":"half"}"#)
            .unwrap();
        let params: ProgressParams<'_> = Raw::decode_params(Some(&raw)).unwrap();
        assert_eq!(params.progress_token, RequestId::Number(7));
        assert!(matches!(params.message, Some(Cow::Borrowed("half"))));
        let raw = Raw::parse(r#"{"requestId":"a","reason":"r"}"#).unwrap();
        let params: CancelledParams<'_> = Raw::decode_params(Some(&raw)).unwrap();
        assert_eq!(params.request_id, Some(RequestId::String("a".into())));
    }
}
