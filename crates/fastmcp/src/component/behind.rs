//! Components that another server answers for.

use fastmcp_auth::Caller;
use fastmcp_protocol::completion::{CompleteParams, CompleteResult};
use futures_util::future::BoxFuture;

use super::Component;
use crate::{context::Context, error::Result};

/// The server behind a component that is shown here: it goes on deciding whom its components are for.
pub(crate) trait Behind: Send + Sync {
    /// Whether the component exists there for the caller.
    fn exists(&self, caller: &Caller) -> bool;

    /// Whether the caller's lists there show it.
    fn visible(&self, caller: &Caller) -> bool;

    /// The link to a server that is shown here, by its address, and the component there that this one stands for.
    fn stands_for(&self) -> Option<(usize, &Component)>;

    /// Whether the server completes its arguments.
    fn completes(&self) -> bool;

    /// Completes one of its arguments.
    fn complete(
        &self,
        context: Context,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<CompleteResult>>;
}
