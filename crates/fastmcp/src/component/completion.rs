//! Completing the arguments of prompts and resource templates.

use std::future::Future;

use fastmcp_auth::Caller;
use fastmcp_protocol::completion::{CompleteParams, Completion};
use futures_util::future::BoxFuture;

use crate::error::{Error, Result};

/// Finds the values for an argument that is being typed: an async function of the caller and of what
/// is asked, which returns values, the best first.
///
/// Source: MCP 2026-07-28, server/utilities/completion.
pub trait Complete: Send + Sync + 'static {
    /// Answers one question.
    fn complete(
        &self,
        caller: Caller,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<Completion>>;
}

impl<F, Fut, R> Complete for F
where
    F: Fn(Caller, CompleteParams<'static>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
    R: CompletionOutput,
{
    fn complete(
        &self,
        caller: Caller,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<Completion>> {
        let values = self(caller, params);
        Box::pin(async move { values.await.into_completion() })
    }
}

/// What a completion may return.
pub trait CompletionOutput {
    /// The values.
    ///
    /// # Errors
    ///
    /// When the value is an error.
    fn into_completion(self) -> Result<Completion>;
}

impl CompletionOutput for Completion {
    fn into_completion(self) -> Result<Completion> {
        Ok(self)
    }
}

impl CompletionOutput for Vec<String> {
    fn into_completion(self) -> Result<Completion> {
        Ok(Completion::new(self))
    }
}

impl<T: CompletionOutput, E: Into<Error>> CompletionOutput for std::result::Result<T, E> {
    fn into_completion(self) -> Result<Completion> {
        self.map_err(Into::into)?.into_completion()
    }
}
