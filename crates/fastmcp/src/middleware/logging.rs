//! Messages in the log.

use std::{collections::BTreeSet, fmt};

use fastmcp_guard::redact::Redactor;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Level;

use super::{Message, Middleware, MiddlewareContext, Next, Response};
use crate::error::{Error, ErrorKind, Result};

/// Bytes of a payload that are written down unless told otherwise.
const MAX_PAYLOAD_LENGTH: usize = 1_000;

/// What both ways of logging have in common.
#[derive(Clone, Debug)]
struct Options {
    level: Level,
    include_payloads: bool,
    include_payload_length: bool,
    estimate_payload_tokens: bool,
    max_payload_length: usize,
    methods: Option<BTreeSet<String>>,
    redactor: Redactor,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            level: Level::INFO,
            include_payloads: false,
            include_payload_length: false,
            estimate_payload_tokens: false,
            max_payload_length: MAX_PAYLOAD_LENGTH,
            methods: None,
            redactor: Redactor::default(),
        }
    }
}

impl Options {
    fn wants(&self, method: &str) -> bool {
        self.methods.as_ref().is_none_or(|m| m.contains(method))
    }

    /// The payload as it may be written down: without secrets, and cut off where it is long.
    fn payload(&self, message: &Message) -> Option<String> {
        if !self.include_payloads {
            return None;
        }
        let mut value: Value = message.payload()?.decode().ok()?;
        self.redactor.redact(&mut value);
        let mut text = value.to_string();
        if text.len() > self.max_payload_length {
            text.truncate(text.floor_char_boundary(self.max_payload_length));
            text.push_str("...");
        }
        Some(text)
    }

    fn payload_length(&self, message: &Message) -> Option<usize> {
        let wanted = self.include_payload_length || self.estimate_payload_tokens;
        wanted.then(|| message.payload().map_or(0, |raw| raw.as_str().len()))
    }
}

/// An event at a level that is known at run time alone.
macro_rules! event {
    ($level:expr, $($rest:tt)*) => {
        match $level {
            Level::TRACE => tracing::trace!($($rest)*),
            Level::DEBUG => tracing::debug!($($rest)*),
            Level::INFO => tracing::info!($($rest)*),
            Level::WARN => tracing::warn!($($rest)*),
            Level::ERROR => tracing::error!($($rest)*),
        }
    };
}
pub(super) use event;

/// How an error is named in logs, counters and statistics.
pub(super) const fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Tool => "tool",
        ErrorKind::Validation => "validation",
        ErrorKind::NotFound => "not_found",
        ErrorKind::Forbidden => "forbidden",
        ErrorKind::Cancelled => "cancelled",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Declined => "declined",
        ErrorKind::MissingCapability => "missing_capability",
        ErrorKind::Protocol(_) => "protocol",
        ErrorKind::Internal => "internal",
    }
}

/// Milliseconds since `start`, with three decimals.
pub(super) fn millis(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

macro_rules! options {
    ($name:ident) => {
        impl $name {
            /// Logs at level info: methods and durations, no payloads.
            #[must_use]
            pub fn new() -> Self {
                Self::default()
            }

            /// The level of what goes well; what fails is logged as an error. Default info.
            #[must_use]
            pub const fn log_level(mut self, level: Level) -> Self {
                self.0.level = level;
                self
            }

            /// Whether arguments and parameters are logged, without what looks like a secret by its name or
            /// form ([`Redactor`]). Default: they are not.
            #[must_use]
            pub const fn include_payloads(mut self, include: bool) -> Self {
                self.0.include_payloads = include;
                self
            }

            /// Whether it is logged how many bytes the payload has. Default: it is not.
            #[must_use]
            pub const fn include_payload_length(mut self, include: bool) -> Self {
                self.0.include_payload_length = include;
                self
            }

            /// Whether it is logged how many tokens the payload has, at four bytes each. Default: it is not.
            #[must_use]
            pub const fn estimate_payload_tokens(mut self, estimate: bool) -> Self {
                self.0.estimate_payload_tokens = estimate;
                self
            }

            /// Bytes of a payload that are logged, at most. Default 1,000.
            #[must_use]
            pub const fn max_payload_length(mut self, bytes: usize) -> Self {
                self.0.max_payload_length = bytes;
                self
            }

            /// Logs these methods alone, for example `tools/call`. Default: all.
            #[must_use]
            pub fn methods<I, S>(mut self, methods: I) -> Self
            where
                I: IntoIterator<Item = S>,
                S: Into<String>,
            {
                self.0.methods = Some(methods.into_iter().map(Into::into).collect());
                self
            }

            /// What is taken out of payloads. Default: [`Redactor::default`].
            #[must_use]
            pub fn redactor(mut self, redactor: Redactor) -> Self {
                self.0.redactor = redactor;
                self
            }
        }
    };
}

/// Logs messages for people, through `tracing`.
///
/// ```
/// use fastmcp::{middleware::LoggingMiddleware, prelude::*};
///
/// let server = FastMcp::new("logged").middleware(LoggingMiddleware::new().include_payloads(true));
/// ```
#[derive(Clone, Debug, Default)]
pub struct LoggingMiddleware(Options);

options!(LoggingMiddleware);

/// Logs messages for programs, through `tracing`: everything is a field of its own, which a subscriber
/// writes as JSON.
///
/// Fields: `event` (`request_start`, `request_success`, `request_error`), `method`, `source`,
/// `message_type`, `target`, `subject`, `duration_ms`, `error`, `error_type`, `payload`,
/// `payload_length`, `payload_tokens`.
///
/// ```
/// use fastmcp::{middleware::StructuredLoggingMiddleware, prelude::*};
///
/// let logging = StructuredLoggingMiddleware::new().methods(["tools/call"]);
/// let server = FastMcp::new("logged").middleware(logging);
/// ```
#[derive(Clone, Debug, Default)]
pub struct StructuredLoggingMiddleware(Options);

options!(StructuredLoggingMiddleware);

/// What is said of the payload, in the end of a line.
struct Told<'a>(&'a Options, &'a Message);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options, message) = self;
        if let Some(target) = message.target() {
            write!(f, " `{target}`")?;
        }
        if let Some(length) = options.payload_length(message) {
            if options.include_payload_length {
                write!(f, " payload_length={length}")?;
            }
            if options.estimate_payload_tokens {
                write!(f, " payload_tokens={}", length / 4)?;
            }
        }
        match options.payload(message) {
            Some(payload) => write!(f, " payload={payload}"),
            None => Ok(()),
        }
    }
}

impl Middleware for LoggingMiddleware {
    #[expect(
        clippy::cognitive_complexity,
        reason = "the macros are complex, not what is written"
    )]
    async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let Self(options) = self;
        if !options.wants(context.method()) {
            return next.run(context).await;
        }
        let (source, start) = (context.source().as_str(), Instant::now());
        event!(
            options.level,
            "{} {} from {source}{}",
            context.message_type().as_str(),
            context.method(),
            Told(options, &context.message),
        );
        let method = context.method().to_owned();
        let answer = next.run(context).await;
        match &answer {
            Ok(_) => event!(options.level, "{method} completed in {} ms", millis(start)),
            Err(error) => tracing::error!("{method} failed in {} ms: {error}", millis(start)),
        }
        answer
    }
}

impl Middleware for StructuredLoggingMiddleware {
    #[expect(
        clippy::cognitive_complexity,
        reason = "the macros are complex, not what is written"
    )]
    async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let Self(options) = self;
        if !options.wants(context.method()) {
            return next.run(context).await;
        }
        let start = Instant::now();
        let (method, target) = (
            context.method().to_owned(),
            context.message.target().map(str::to_owned),
        );
        let target = target.as_deref();
        let length = options.payload_length(&context.message);
        event!(
            options.level,
            event = "request_start",
            method,
            source = context.source().as_str(),
            message_type = context.message_type().as_str(),
            target,
            subject = context.caller().subject(),
            payload = options.payload(&context.message),
            payload_length = length.filter(|_| options.include_payload_length),
            payload_tokens = length
                .filter(|_| options.estimate_payload_tokens)
                .map(|bytes| bytes / 4),
        );
        let answer = next.run(context).await;
        let duration_ms = millis(start);
        match &answer {
            Ok(_) => event!(
                options.level,
                event = "request_success",
                method,
                target,
                duration_ms,
            ),
            Err(error) => failed(&method, target, duration_ms, error),
        }
        answer
    }
}

fn failed(method: &str, target: Option<&str>, duration_ms: f64, error: &Error) {
    tracing::error!(
        event = "request_error",
        method,
        target,
        duration_ms,
        error_type = kind_name(error.kind()),
        error = error.message(),
    );
}

/// A decorator for one tool: its name, how long it took and how it went, as fields.
#[must_use]
pub fn log_tool_execution() -> StructuredLoggingMiddleware {
    StructuredLoggingMiddleware::new()
}
