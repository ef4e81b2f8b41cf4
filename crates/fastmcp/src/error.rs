//! What goes wrong in a handler.

mod named;
mod structured;

use std::{borrow::Cow, fmt};

use fastmcp_protocol::{ErrorCode, RpcError};
use serde_json::{Value, json};

pub use named::{
    DisabledError, NotFoundError, PromptError, ResourceError, ToolError, ValidationError,
};
pub use structured::{ErrorCategory, ErrorSeverity, McpError};

/// The result of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call ended without a result.
///
/// Made from any error by `?`: what has a name here ([`ToolError`], [`ValidationError`], [`McpError`] ...) is
/// shown as its name says, the rest is internal.
///
/// It is not a [`std::error::Error`] itself: then `?` could not take every other error, since a type may
/// convert from itself only as it is. Where one is wanted, `?` and `into` box it:
/// `Box<dyn std::error::Error + Send + Sync>`.
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    data: Option<Box<Value>>,
    /// All scopes that the caller needs, where it lacks one.
    scopes: Vec<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    report: Option<Box<structured::Report>>,
}

/// What kind of failure an [`Error`] is, and so who is told what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The handler refuses, with a text for the client.
    Tool,
    /// The arguments do not fit.
    Validation,
    /// There is no such component, or not for this caller.
    NotFound,
    /// The caller lacks a scope or role.
    Forbidden,
    /// The request is not wanted any more.
    Cancelled,
    /// It took too long.
    Timeout,
    /// The user said no, or went away.
    Declined,
    /// A capability is needed that the client did not declare.
    MissingCapability,
    /// The request itself is wrong: a JSON-RPC error with its own code.
    Protocol(ErrorCode),
    /// Anything else; the text is for the log.
    Internal,
}

impl Error {
    fn of(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            data: None,
            scopes: Vec::new(),
            source: None,
            report: None,
        }
    }

    /// A failure that the client is shown.
    pub fn tool(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Tool, message)
    }

    /// Arguments that do not fit; the client is shown why.
    pub fn validation(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Validation, message)
    }

    /// No such component for this caller.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::NotFound, message)
    }

    /// The caller may not.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Forbidden, message)
    }

    /// The caller lacks one of `needed`, the scopes of what it wants to do. Over HTTP it is told them
    /// all, so that it can get a token that has them.
    ///
    /// Source: MCP 2026-07-28, basic/authorization, "Scope Challenge Handling".
    #[must_use]
    pub fn insufficient_scope(needed: &[String]) -> Self {
        Self {
            scopes: needed.to_vec(),
            ..Self::of(
                ErrorKind::Forbidden,
                format!("scope `{}` is needed", needed.join(" ")),
            )
        }
    }

    /// The scopes of [`Self::insufficient_scope`].
    #[must_use]
    pub fn needed_scopes(&self) -> &[String] {
        &self.scopes
    }

    /// The request is not wanted any more.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::of(ErrorKind::Cancelled, "request was cancelled")
    }

    /// It took too long.
    #[must_use]
    pub fn timeout() -> Self {
        Self::of(ErrorKind::Timeout, "operation timed out, please try again")
    }

    /// The user said no or went away.
    pub fn declined(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Declined, message)
    }

    /// The client did not declare what is needed. `required` is a `ClientCapabilities` object.
    ///
    /// Source: MCP 2026-07-28, basic, "Capabilities".
    #[must_use]
    pub fn missing_capability(required: &Value) -> Self {
        Self {
            data: Some(Box::new(json!({"requiredCapabilities": required}))),
            ..Self::of(
                ErrorKind::MissingCapability,
                "the client did not declare a capability that is needed here",
            )
        }
    }

    /// A JSON-RPC error.
    #[must_use]
    pub fn protocol(error: RpcError) -> Self {
        Self {
            data: error.data,
            ..Self::of(ErrorKind::Protocol(error.code), error.message.to_string())
        }
    }

    /// An internal failure; `message` is for the log.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::of(ErrorKind::Internal, message)
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The text, whoever it is for.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What a program can act on.
    #[must_use]
    pub fn data(&self) -> Option<&Value> {
        self.data.as_deref()
    }

    /// Adds what a program can act on.
    #[must_use]
    pub fn with_data(mut self, data: Value) -> Self {
        self.data = Some(Box::new(data));
        self
    }

    /// Says where it went wrong, before what it says already.
    #[must_use]
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.message = format!("{place}: {}", self.message).into();
        self
    }

    /// The error behind this one.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// The text for the client: the message, or a sentence without details for internal failures
    /// where `mask` is set.
    #[must_use]
    pub fn shown(&self, mask: bool) -> Cow<'_, str> {
        match self.kind {
            ErrorKind::Internal if mask => Cow::Borrowed("an internal error occurred"),
            _ => Cow::Borrowed(&self.message),
        }
    }
}

impl<E> From<E> for Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    fn from(error: E) -> Self {
        let error: Box<dyn std::error::Error + Send + Sync> = Box::new(error);
        named::known(error).unwrap_or_else(|other| {
            Self::of(ErrorKind::Internal, other.to_string()).with_source(other)
        })
    }
}

/// An [`Error`] as one of the standard library's.
struct Boxed(Error);

impl std::error::Error for Boxed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source().map(|source| source as _)
    }
}

impl fmt::Display for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Boxed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl From<Error> for Box<dyn std::error::Error + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl From<Error> for Box<dyn std::error::Error> {
    fn from(error: Error) -> Self {
        Box::new(Boxed(error))
    }
}

impl Error {
    fn with_source(mut self, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        self.source = Some(source);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    /// What a program prints whose `main` returns the error: its text. `{:#?}` shows all of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(&self.message);
        }
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("message", &self.message)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_error_is_shown_and_others_are_masked() {
        fn refuse() -> Result<()> {
            Err(ToolError::new("division by zero"))?
        }
        fn fail() -> Result<i64> {
            Ok("x".parse::<i64>()?)
        }
        assert_eq!(refuse().unwrap_err().shown(true), "division by zero");
        let internal = fail().unwrap_err();
        assert_eq!(internal.shown(true), "an internal error occurred");
        assert_eq!(internal.shown(false), "invalid digit found in string");
    }

    #[test]
    fn names_say_who_is_shown_what() {
        let of = |error: Error| (error.kind(), error.shown(true).into_owned());
        let tool = |text: &str| (ErrorKind::Tool, text.to_owned());
        assert_eq!(of(ResourceError::new("a").into()), tool("a"));
        assert_eq!(of(PromptError::new("b").into()), tool("b"));
        assert_eq!(
            of(ValidationError::new("c").into()),
            (ErrorKind::Validation, "c".to_owned())
        );
        for gone in [
            Error::from(NotFoundError::new("d")),
            DisabledError::new("d").into(),
        ] {
            assert_eq!(of(gone), (ErrorKind::NotFound, "d".to_owned()));
        }
        let rpc = RpcError::invalid_params("e");
        assert_eq!(
            Error::from(rpc).kind(),
            ErrorKind::Protocol(ErrorCode::INVALID_PARAMS)
        );
    }

    #[test]
    fn a_structured_error_keeps_its_details_from_clients() {
        let error = McpError::new("Input data is required", ErrorCategory::Validation)
            .severity(ErrorSeverity::High)
            .detail("provided_data", json!({}));
        let error = Error::from(error);
        assert_eq!(error.kind(), ErrorKind::Validation);
        assert_eq!(error.shown(true), "Input data is required");
        assert_eq!(
            error.shown_data(true),
            Some(json!({"category": "validation", "severity": "high"}))
        );
        assert_eq!(
            error.shown_data(false),
            Some(
                json!({"category": "validation", "severity": "high", "details": {"provided_data": {}}})
            )
        );
        let denied = McpError::new("no", ErrorCategory::Authorization);
        let denied = Error::from(denied);
        assert_eq!(denied.kind(), ErrorKind::Forbidden);
        assert_eq!(denied.severity(), Some(ErrorSeverity::Medium));
        assert_eq!(
            denied.category().map(ErrorCategory::as_str),
            Some("authorization")
        );
    }

    #[test]
    fn an_error_becomes_one_of_the_standard_library() {
        fn standard() -> std::result::Result<(), Box<dyn std::error::Error>> {
            let parsed: Result<i64> = "x".parse::<i64>().map_err(Error::from);
            parsed?;
            Ok(())
        }
        let error = standard().unwrap_err();
        assert_eq!(error.to_string(), "invalid digit found in string");
        assert!(error.source().is_some());
    }
}
