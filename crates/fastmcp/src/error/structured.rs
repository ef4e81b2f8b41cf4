//! Errors that say what they are about and how bad they are.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{Error, ErrorKind};

/// What an error is about.
///
/// Source: the best practices, "Comprehensive Error Classification".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCategory {
    /// What was sent does not fit.
    Validation,
    /// Who is calling is not known.
    Authentication,
    /// Who is calling may not.
    Authorization,
    /// The network between here and there.
    Network,
    /// A database.
    Database,
    /// A service of somebody else.
    ExternalApi,
    /// Anything else of the machine or the program.
    System,
}

impl ErrorCategory {
    /// Its name on the wire and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Validation => "validation",
            Self::Authentication => "authentication",
            Self::Authorization => "authorization",
            Self::Network => "network",
            Self::Database => "database",
            Self::ExternalApi => "external_api",
            Self::System => "system",
        }
    }
}

/// How bad an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorSeverity {
    /// Part of every day.
    Low,
    /// Somebody should look when there is time.
    Medium,
    /// Somebody should look today.
    High,
    /// Somebody should look now.
    Critical,
}

impl ErrorSeverity {
    /// Its name on the wire and in logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// An error that says what it is about, how bad it is, and what helps to find its cause.
///
/// The client is shown the message, the category and the severity; the details are for the log, and are
/// shown only by servers that do not mask.
///
/// ```
/// use fastmcp::{ErrorCategory, ErrorSeverity, McpError, prelude::*};
///
/// /// Checks what was typed.
/// #[tool]
/// async fn validate_user_input(data: String) -> Result<String> {
///     if data.is_empty() {
///         return Err(McpError::new("Input data is required", ErrorCategory::Validation)
///             .severity(ErrorSeverity::Low)
///             .detail("provided_data", data)
///             .into());
///     }
///     Ok("Data processed successfully".to_owned())
/// }
/// ```
///
/// Source: the best practices, `MCPError`. The protocol's own errors are [`RpcError`](fastmcp_protocol::RpcError).
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct McpError {
    message: String,
    category: ErrorCategory,
    severity: ErrorSeverity,
    details: Map<String, Value>,
}

impl McpError {
    /// Creates an error of severity [`ErrorSeverity::Medium`].
    pub fn new(message: impl Into<String>, category: ErrorCategory) -> Self {
        Self {
            message: message.into(),
            category,
            severity: ErrorSeverity::Medium,
            details: Map::new(),
        }
    }

    /// Says how bad it is.
    #[must_use]
    pub const fn severity(mut self, severity: ErrorSeverity) -> Self {
        self.severity = severity;
        self
    }

    /// Adds what helps to find the cause. What cannot be represented as JSON is left out.
    #[must_use]
    pub fn detail(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        if let Ok(value) = serde_json::to_value(value) {
            self.details.insert(key.into(), value);
        }
        self
    }

    pub(super) fn into_error(self) -> Error {
        let kind = match self.category {
            ErrorCategory::Validation => ErrorKind::Validation,
            ErrorCategory::Authentication | ErrorCategory::Authorization => ErrorKind::Forbidden,
            _ => ErrorKind::Tool,
        };
        let data = json!({"category": self.category, "severity": self.severity});
        Error {
            report: Some(Box::new(Report {
                category: self.category,
                severity: self.severity,
                details: self.details,
            })),
            ..Error::of(kind, self.message).with_data(data)
        }
    }
}

/// What a structured error says beside its message.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Report {
    pub(super) category: ErrorCategory,
    pub(super) severity: ErrorSeverity,
    pub(super) details: Map<String, Value>,
}

impl Error {
    /// What it is about, where that was said.
    #[must_use]
    pub fn category(&self) -> Option<ErrorCategory> {
        Some(self.report.as_ref()?.category)
    }

    /// How bad it is, where that was said.
    #[must_use]
    pub fn severity(&self) -> Option<ErrorSeverity> {
        Some(self.report.as_ref()?.severity)
    }

    /// What helps to find the cause, for the log.
    #[must_use]
    pub fn details(&self) -> Option<&Map<String, Value>> {
        Some(&self.report.as_ref()?.details)
    }

    /// What a program of the client can act on; with the details where `mask` is not set.
    #[must_use]
    pub fn shown_data(&self, mask: bool) -> Option<Value> {
        let mut data = self.data().cloned()?;
        if let (false, Some(details), Some(object)) = (mask, self.details(), data.as_object_mut())
            && !details.is_empty()
        {
            object.insert("details".to_owned(), Value::Object(details.clone()));
        }
        Some(data)
    }

    /// Writes a structured error to the log, as bad as it is.
    #[expect(
        clippy::cognitive_complexity,
        reason = "the macros are complex, not what is written"
    )]
    pub(crate) fn log_report(&self) {
        let Some(report) = &self.report else { return };
        let (category, severity) = (report.category.as_str(), report.severity.as_str());
        let details = Value::Object(report.details.clone());
        match report.severity {
            ErrorSeverity::Low => {
                tracing::info!(category, severity, %details, error = self.message(), "call failed");
            }
            ErrorSeverity::Medium => {
                tracing::warn!(category, severity, %details, error = self.message(), "call failed");
            }
            ErrorSeverity::High | ErrorSeverity::Critical => {
                tracing::error!(category, severity, %details, error = self.message(), "call failed");
            }
        }
    }
}
