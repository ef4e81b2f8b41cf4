//! Calls of somebody else, passed on: nothing is kept, and nothing is answered on the way.

use std::sync::Arc;

use fastmcp_protocol::{
    Raw,
    discover::{ResultEnvelope, ResultKind},
    mrtr::InputRequired,
    tool::CallToolResult,
};
use serde_json::{Map, Value};

use super::{
    Client,
    call::{Call, CallOptions, Params},
    link::Link,
    round::{may_ask, unknown_result},
};
use crate::error::Result;

/// What a server answers to a call that is passed on.
#[derive(Debug)]
pub(crate) enum Step {
    /// The result.
    Complete(Raw),
    /// What it wants to know before it goes on.
    Asked(InputRequired),
}

impl Client {
    /// Sends one message for somebody else.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub(crate) async fn relay(
        self,
        method: &'static str,
        params: Map<String, Value>,
        options: CallOptions,
    ) -> Result<Step> {
        relay(&self.link, method, &params.into(), &options).await
    }
}

async fn relay(
    link: &Arc<Link>,
    method: &'static str,
    params: &Params<'_>,
    options: &CallOptions,
) -> Result<Step> {
    let call = Call {
        method,
        params,
        options,
    };
    let result = link.send(call).await?.result;
    let envelope = ResultEnvelope::peek(&result)?;
    let agreed = link.agreed.load_full();
    match agreed.kind(&envelope) {
        ResultKind::Complete if method == "tools/call" && !agreed.is_stateless() => {
            let result: CallToolResult = result.decode()?;
            Ok(Step::Complete(Raw::of(&agreed.canonical_result(result))?))
        }
        ResultKind::Complete => Ok(Step::Complete(result)),
        ResultKind::InputRequired if may_ask(method) => Ok(Step::Asked(result.decode()?)),
        ResultKind::InputRequired => Err(unknown_result(method, "input_required")),
        ResultKind::Other(other) => Err(unknown_result(method, other)),
        _ => Err(unknown_result(method, "of a later kind")),
    }
}
