//! The two eras. Only these rooms know which one a client lives in.

mod layered;
mod legacy;
mod list;
mod listen;
mod modern;
mod state;
mod task;

use std::{
    future::{self, poll_fn},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_protocol::{Message, ProtocolVersion, http::Route, meta::Peek};
use fastmcp_transport::{Call, Inbound, Outlet, Peer, Reply, What};
use futures_util::FutureExt as _;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

pub(crate) use list::list;

use crate::{
    call::{Asks, Outcome, Payload},
    context::{self, Context},
    engine::{Engine, Invoked, task::Record},
    error::{Error, Result},
    respond::Answer,
    router::Resolved,
};

/// Who sent a message and where its answer goes. Handles alone: it is moved for every call.
#[derive(Clone)]
struct Exchange {
    caller: Caller,
    peer: Arc<Peer>,
    outlet: Outlet,
    cancel: CancellationToken,
    peek: Arc<Peek>,
}

/// Begins to answer what came in, by the rules of its era.
///
/// Futures of calls are copied by every move, so the path of a call has one box of its session, which
/// holds handles, and below it the box of its handler. What is decided at once has no future of its own,
/// and what few messages need, or is large, stands in a box of its own below that.
pub(crate) fn answer(engine: Arc<Engine>, caller: Caller, inbound: Inbound) -> Call {
    let Inbound {
        what,
        peer,
        outlet,
        cancel,
    } = inbound;
    let exchange = |peek| Exchange {
        caller,
        peer,
        outlet,
        cancel,
        peek,
    };
    match what {
        What::Message(message, Route::Modern { version, peek }) => {
            modern::answer(engine, exchange(peek), version, message)
        }
        What::Message(message, Route::Legacy { version, peek }) => {
            legacy::answer(engine, exchange(peek), version, message)
        }
        What::Listen { last_event_id } => {
            let exchange = exchange(Arc::default());
            Box::pin(async move { legacy::listen(&engine, exchange, last_event_id).await })
        }
        What::Terminate => ready(legacy::terminate(&engine, &exchange(Arc::default()))),
    }
}

/// A message, the revision that it is in, and what it says about itself.
pub(crate) fn introduced(what: &What) -> Option<(&Message, Option<ProtocolVersion>, &Peek)> {
    match what {
        What::Message(message, Route::Modern { version, peek }) => {
            Some((message, Some(*version), peek))
        }
        What::Message(message, Route::Legacy { version, peek }) => Some((message, *version, peek)),
        What::Listen { .. } | What::Terminate => None,
    }
}

/// An answer that waits for nothing.
fn ready(reply: Reply) -> Call {
    Box::pin(future::ready(reply))
}

/// The answer to a call that failed. Over HTTP, who lacks a scope is challenged to get it.
fn failed(
    engine: &Engine,
    over_http: bool,
    answer: Answer<'_>,
    target: Option<&ByteString>,
    error: &Error,
) -> Reply {
    match engine.step_up(error).filter(|_| over_http) {
        Some(challenge) => answer.denied(challenge, error),
        None => answer.error(target, error),
    }
}

/// Awaits `work`; a panic in it is its failure, so that the others who are served go on. It is pinned
/// where it was made: futures of calls are large, and every move copies one.
async fn survive<T>(work: Pin<&mut (impl Future<Output = Result<T>> + Send)>) -> Result<T> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(Error::internal("a handler panicked")))
}

/// How far a call came in one round.
enum Round {
    /// It is done.
    Complete(Payload),
    /// It goes on as a task, which stands in the store.
    Task(Box<Record>),
    /// It goes on once these are answered, with what was remembered so far.
    Asked(Asks, Map<String, Value>),
}

/// Invokes a resolved call and, where the handler asks and cannot be answered in this round, gives
/// back what it asks.
///
/// No `async fn`: the future would carry what was resolved twice, as its argument and as the handler's.
fn invoke<'a>(
    engine: &'a Engine,
    context: &'a Context,
    resolved: Resolved,
) -> impl Future<Output = Result<Round>> + Send + 'a {
    let Resolved {
        target,
        leaf,
        input,
        ..
    } = resolved;
    let call = engine.invoke(context.clone(), target, input, leaf);
    outcome(context, call)
}

/// Awaits a call until it has ended or asks.
async fn outcome(context: &Context, mut call: Invoked<'_>) -> Result<Round> {
    let mut current = Some(context.clone());
    let outcome = poll_fn(
        |cx| match context::with(&mut current, || call.poll_unpin(cx)) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            // Questions that were joined are all open by now, so they go out together.
            Poll::Pending if context.asking().replay().has_open() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        },
    )
    .await;
    let replay = context.asking().replay();
    let asks = match outcome.transpose()? {
        Some(Outcome::Complete(payload)) => return Ok(Round::Complete(payload)),
        Some(Outcome::InputRequired(asks)) => asks,
        None => Asks {
            requests: replay.take_open(),
            state: context.gate_state(),
        },
    };
    Ok(Round::Asked(asks, replay.remembered()))
}
