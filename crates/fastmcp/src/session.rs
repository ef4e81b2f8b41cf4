//! The two eras. Only these rooms know which one a client lives in.

pub(crate) mod legacy;
pub(crate) mod listen;
pub(crate) mod modern;
mod state;

use std::{future::poll_fn, pin::pin, task::Poll};

use fastmcp_protocol::{Method, Request};

use crate::{
    context::{Asking, Context, Origin},
    error::Result,
    gate::{Asks, Outcome},
    router::{self, Resolved},
    server::Engine,
};

/// Invokes a resolved call and, where the handler asks and cannot be answered in this round, gives
/// back what it asks.
pub(crate) async fn invoke(
    engine: &Engine,
    origin: Origin,
    asking: Asking,
    resolved: Resolved,
) -> Result<Outcome> {
    let context = Context::new(origin, asking);
    let Resolved {
        target,
        leaf,
        input,
        ..
    } = resolved;
    let mut call = pin!(engine.gate().invoke(context.clone(), target, input, leaf));
    let outcome = poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        // Questions that were joined are all open by now, so they go out together.
        Poll::Pending if context.asking().replay().has_open() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    })
    .await;
    match outcome {
        Some(outcome) => outcome,
        None => Ok(Outcome::InputRequired(Asks {
            requests: context.asking().replay().take_open(),
            state: context.gate_state(),
        })),
    }
}

/// Resolves a request that calls a component.
pub(crate) fn resolve(
    engine: &Engine,
    origin: &Origin,
    method: Method,
    request: &Request,
) -> Result<Resolved> {
    router::resolve(engine, &origin.caller, method, request)
}
