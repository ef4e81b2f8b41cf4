//! What becomes of errors.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fastmcp_protocol::{ErrorCode, Method, RpcError};

use super::{Middleware, MiddlewareContext, Next, Response, logging::kind_name};
use crate::error::{Error, ErrorKind, Result};

type Callback = Arc<dyn Fn(&Error, &MiddlewareContext) + Send + Sync>;

/// Logs errors, counts them, tells somebody of them, and decides what clients hear.
///
/// Masks or shows the text of internal errors where it is told to; else
/// [`FastMcp::mask_error_details`](crate::FastMcp::mask_error_details) decides. Errors that are made for
/// clients pass as they are. Clones are one layer with one set of statistics.
///
/// ```
/// use fastmcp::{middleware::ErrorHandlingMiddleware, prelude::*};
///
/// let errors = ErrorHandlingMiddleware::new()
///     .mask_errors(true)
///     .error_callback(|error, context| eprintln!("{}: {error}", context.method()));
/// let server = FastMcp::new("careful").middleware(errors.clone());
/// assert!(errors.statistics().is_empty());
/// ```
#[derive(Clone, Default)]
pub struct ErrorHandlingMiddleware {
    include_traceback: bool,
    transform_errors: bool,
    mask_errors: Option<bool>,
    callback: Option<Callback>,
    statistics: Arc<Mutex<BTreeMap<(&'static str, &'static str), u64>>>,
}

impl ErrorHandlingMiddleware {
    /// Logs and counts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the causes behind an error are logged with it. Default: they are not.
    #[must_use]
    pub const fn include_traceback(mut self, include: bool) -> Self {
        self.include_traceback = include;
        self
    }

    /// Whether internal errors are told as "An internal error occurred" (true) or as they are (false).
    /// Default: as the server is set.
    #[must_use]
    pub const fn mask_errors(mut self, mask: bool) -> Self {
        self.mask_errors = Some(mask);
        self
    }

    /// Whether errors become JSON-RPC errors with the codes of FastMCP, those of tools as well, instead of
    /// a result that says `isError`. Default: they do not, so that models read what went wrong.
    #[must_use]
    pub const fn transform_errors(mut self, transform: bool) -> Self {
        self.transform_errors = transform;
        self
    }

    /// Tells `callback` of each error. It must not block.
    #[must_use]
    pub fn error_callback(
        mut self,
        callback: impl Fn(&Error, &MiddlewareContext) + Send + Sync + 'static,
    ) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// How many errors there were, by kind and method (`"tool:tools/call"`). Methods that nobody knows
    /// count as `other`.
    #[must_use]
    pub fn statistics(&self) -> BTreeMap<String, u64> {
        let counts = self.lock();
        counts
            .iter()
            .map(|((kind, method), count)| (format!("{kind}:{method}"), *count))
            .collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(&'static str, &'static str), u64>> {
        self.statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, method: &str, error: &Error) {
        let kind = kind_name(error.kind());
        // Clients choose names of methods as they like; only those that are known are kept.
        let known = Method::parse(method).map_or("other", Method::as_str);
        *self.lock().entry((kind, known)).or_default() += 1;
        let causes = self.include_traceback.then(|| causes(error));
        if error.kind() == ErrorKind::Internal {
            tracing::error!(method, error_type = kind, error = error.message(), causes);
        } else {
            tracing::warn!(method, error_type = kind, error = error.message(), causes);
        }
    }

    fn told(&self, error: Error) -> Error {
        let error = match (self.mask_errors, error.kind()) {
            (Some(true), ErrorKind::Internal) => Error::tool("An internal error occurred"),
            (Some(false), ErrorKind::Internal) => {
                Error::tool(format!("Internal error: {}", error.message()))
            }
            _ => error,
        };
        if self.transform_errors {
            transformed(error)
        } else {
            error
        }
    }
}

/// What stands behind an error, from the nearest.
fn causes(error: &Error) -> String {
    let mut causes = Vec::new();
    let mut cause = error
        .source()
        .map(|source| source as &dyn std::error::Error);
    while let Some(source) = cause {
        causes.push(source.to_string());
        cause = source.source();
    }
    causes.join(": ")
}

/// The JSON-RPC error that FastMCP makes of such an error.
fn transformed(error: Error) -> Error {
    let (code, message) = match error.kind() {
        ErrorKind::Validation => (
            ErrorCode::INVALID_PARAMS,
            format!("Invalid params: {}", error.message()),
        ),
        ErrorKind::NotFound => (
            ErrorCode(-32001),
            format!("Resource not found: {}", error.message()),
        ),
        ErrorKind::Forbidden => (
            ErrorCode(-32000),
            format!("Permission denied: {}", error.message()),
        ),
        ErrorKind::Timeout => (
            ErrorCode(-32000),
            format!("Request timeout: {}", error.message()),
        ),
        ErrorKind::Tool | ErrorKind::Internal => (
            ErrorCode::INTERNAL_ERROR,
            format!("Internal error: {}", error.shown(true)),
        ),
        _ => return error,
    };
    Error::protocol(RpcError::new(code, message))
}

impl fmt::Debug for ErrorHandlingMiddleware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorHandlingMiddleware")
            .field("include_traceback", &self.include_traceback)
            .field("transform_errors", &self.transform_errors)
            .field("mask_errors", &self.mask_errors)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl Middleware for ErrorHandlingMiddleware {
    async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        let told = self
            .callback
            .as_ref()
            .map(|callback| (callback, context.clone()));
        let method = context.method().to_owned();
        match next.run(context).await {
            Ok(response) => Ok(response),
            Err(error) => {
                self.note(&method, &error);
                if let Some((callback, context)) = told {
                    callback(&error, &context);
                }
                Err(self.told(error))
            }
        }
    }
}

/// A decorator for one component: errors are logged, and internal ones are told without details.
#[must_use]
pub fn handle_mcp_error() -> ErrorHandlingMiddleware {
    ErrorHandlingMiddleware::new().mask_errors(true)
}
