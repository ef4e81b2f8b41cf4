//! What clients of the MCP door ask beside calls: the list of tools. It is decided and recorded as at the REST door.

use std::sync::Arc;

use fastmcp::{
    Context, Error as FrameworkError, Result,
    middleware::{Message, Middleware, MiddlewareContext, Next, Response},
};
use fastmcp_guard::random::Random;

use super::{client, corr_id};
use crate::{
    call::{Call, CanConfirm, Presented},
    error::{Code, Error},
    pipeline::Pipeline,
};

/// A layer around lists.
pub(super) struct Look {
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) random: Arc<dyn Random>,
}

/// A call that does not come to its gate, for its record.
pub(super) fn bare(context: &Context, random: &dyn Random, tool: &str) -> Call {
    Call {
        caller: context.caller().clone(),
        corr_id: corr_id(context, random),
        tool_id: tool.chars().take(160).collect(),
        args: None,
        client: client(context),
        session: context.session_id().map(str::to_owned),
        idempotency_key: None,
        presented: Presented::Nothing,
        can_confirm: CanConfirm::Undeclared,
        can_attach: false,
        cancel: context.cancellation().clone(),
    }
}

impl Middleware for Look {
    async fn on_list(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
        if matches!(context.message, Message::ListTools(_)) {
            let call = bare(context.fastmcp_context(), &*self.random, "");
            let admitted = Box::pin(self.pipeline.admit_listing(&call)).await;
            admitted.map_err(|error| refused(&error))?;
        }
        next.run(context).await
    }
}

pub(super) fn refused(error: &Error) -> FrameworkError {
    let message = error.message().to_owned();
    match error.code() {
        Code::Forbidden => FrameworkError::forbidden(message),
        _ => FrameworkError::validation(message),
    }
}
