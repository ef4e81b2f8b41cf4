//! Why a call is refused or failed, in the words of the contract.

use std::{borrow::Cow, fmt, time::Duration};

use http::StatusCode;
use serde_json::{Map, Value, json};

/// The codes of the contract. Each has one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// No credential, or one that does not verify.
    Unauthorized,
    /// The policy denies.
    Forbidden,
    /// No such tool for this caller.
    NotFound,
    /// The operation is in a state that does not allow this.
    Conflict,
    /// The arguments do not fit.
    ValidationError,
    /// Too many calls.
    RateLimited,
    /// The provider failed.
    FailedDependency,
    /// A part of the gateway is away.
    Unavailable,
    /// The body is too large.
    PayloadTooLarge,
    /// The gateway failed.
    Internal,
}

impl Code {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::ValidationError => "VALIDATION_ERROR",
            Self::RateLimited => "RATE_LIMITED",
            Self::FailedDependency => "FAILED_DEPENDENCY",
            Self::Unavailable => "UNAVAILABLE",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::ValidationError => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::FailedDependency => StatusCode::BAD_GATEWAY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal or failure.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    code: Code,
    message: Cow<'static, str>,
    details: Map<String, Value>,
    retry_after: Option<Duration>,
    log: Option<String>,
    step_up: Vec<String>,
}

impl Error {
    /// Creates an error with a message for the caller.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            code,
            message: message.into(),
            details: Map::new(),
            retry_after: None,
            log: None,
            step_up: Vec::new(),
        }))
    }

    /// No such tool for this caller: the answer for foreign tools too.
    #[must_use]
    pub fn tool_not_found() -> Self {
        Self::new(Code::NotFound, "Tool manifest not found")
    }

    /// The policy denies; `reason` says why.
    pub fn denied(reason: impl fmt::Display) -> Self {
        Self::new(Code::Forbidden, format!("Access denied: {reason}"))
    }

    /// The arguments do not fit.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::ValidationError, message)
    }

    /// A part of the gateway is away; `log` is not for the caller.
    pub fn unavailable(message: impl Into<Cow<'static, str>>, log: impl fmt::Display) -> Self {
        Self::new(Code::Unavailable, message).with_log(log)
    }

    /// The gateway failed; `log` is not for the caller.
    pub fn internal(log: impl fmt::Display) -> Self {
        Self::new(Code::Internal, "Internal error").with_log(log)
    }

    /// Adds a member to the details.
    #[must_use]
    pub fn with_detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.details.insert(name.to_owned(), value.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// Says with which scopes another token of the same caller would do.
    #[must_use]
    pub fn with_step_up(mut self, scopes: Vec<String>) -> Self {
        self.0.step_up = scopes;
        self
    }

    /// The scopes of [`Self::with_step_up`]; none where no other token would help.
    #[must_use]
    pub fn step_up(&self) -> &[String] {
        &self.0.step_up
    }

    /// Adds what only the log may know.
    #[must_use]
    pub fn with_log(mut self, log: impl fmt::Display) -> Self {
        self.0.log = Some(log.to_string());
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The details for the caller.
    #[must_use]
    pub fn details(&self) -> &Map<String, Value> {
        &self.0.details
    }

    /// When to try again, in whole seconds, rounded up.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.0.retry_after.map(|after| {
            u64::try_from(after.as_millis().div_ceil(1_000))
                .unwrap_or(u64::MAX)
                .max(1)
        })
    }

    /// What only the log may know.
    #[must_use]
    pub fn log(&self) -> Option<&str> {
        self.0.log.as_deref()
    }

    /// The error as both doors show it.
    #[must_use]
    pub fn to_json(&self, corr_id: &str) -> Value {
        let mut error = Map::new();
        error.insert("code".to_owned(), json!(self.0.code.as_str()));
        error.insert("message".to_owned(), json!(self.0.message));
        error.insert("corr_id".to_owned(), json!(corr_id));
        if !self.0.details.is_empty() {
            error.insert("details".to_owned(), Value::Object(self.0.details.clone()));
        }
        json!({"error": error})
    }
}

/// An error and what caused it, on one line: what to do often stands in the cause.
#[must_use]
pub fn told_of(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        told.push_str(": ");
        told.push_str(&cause.to_string());
        source = cause.source();
    }
    told
}
