//! 2026-07-28 and later: every request stands alone.

use std::sync::Arc;

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    Method, Notification, ProtocolVersion, Raw, Request, RequestId, RpcError,
    jsonrpc::encode_result, logging::LoggingLevel, meta::Peek, mrtr::InputRequired,
    wire::CacheHint,
};
use fastmcp_transport::{Outlet, Peer, Reply};
use tokio_util::sync::CancellationToken;

use crate::{
    component::Kind,
    context::{Asking, Origin, Replay},
    error::{Error, Result},
    gate::{Asks, Outcome},
    respond::Answer,
    router,
    server::Engine,
    session::{self, listen, state},
};

/// One request and where its answer goes.
pub(crate) struct Exchange {
    pub(crate) caller: Caller,
    pub(crate) peer: Arc<Peer>,
    pub(crate) outlet: Outlet,
    pub(crate) cancel: CancellationToken,
    pub(crate) version: ProtocolVersion,
    pub(crate) peek: Peek,
}

/// Answers one request.
pub(crate) async fn call(engine: &Arc<Engine>, exchange: Exchange, request: Request) -> Reply {
    let id = request.id.clone();
    let method =
        Method::parse(&request.method).filter(|m| m.is_modern_request() && engine.serves(*m));
    let answer = Answer {
        id: &id,
        version: exchange.version,
        method,
        identity: engine.identity(),
        mask: engine.masks(),
    };
    let Some(method) = method else {
        return answer.rpc_error(&RpcError::method_not_found(&request.method));
    };
    let target = exchange.peek.target.clone();
    match dispatch(engine, exchange, method, &request, &answer).await {
        Ok(reply) => reply,
        Err(error) => answer.error(target.as_ref(), &error),
    }
}

/// Takes note of a notification. Modern clients over HTTP have none that matters.
pub(crate) fn notify(notification: &Notification) -> Reply {
    tracing::debug!(method = %notification.method, "notification");
    Reply::Accepted
}

async fn dispatch(
    engine: &Arc<Engine>,
    exchange: Exchange,
    method: Method,
    request: &Request,
    answer: &Answer<'_>,
) -> Result<Reply> {
    let caller = exchange.caller.clone();
    let page = |kind| {
        router::list(engine, &caller, kind, exchange.version, request)
            .map(|body| answer.encoded(&body, Some(engine.cache_hint())))
    };
    match method {
        Method::Discover => discover(engine, answer),
        Method::ToolsList => page(Kind::Tool),
        Method::ResourcesList => page(Kind::Resource),
        Method::ResourcesTemplatesList => page(Kind::Template),
        Method::PromptsList => page(Kind::Prompt),
        Method::Complete => {
            let result = engine.complete(&caller, router::completion(request)?)?;
            Ok(answer.payload(crate::gate::Payload::Completion(result), None))
        }
        Method::SubscriptionsListen => {
            let params = Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
            Ok(listen::modern(engine, exchange, &request.id, params, answer).await)
        }
        _ => invoke(engine, exchange, method, request, answer).await,
    }
}

fn discover(engine: &Engine, answer: &Answer<'_>) -> Result<Reply> {
    Ok(answer.encoded(
        &serde_json::to_string(&engine.describe())?,
        Some(engine.cache_hint()),
    ))
}

async fn invoke(
    engine: &Engine,
    exchange: Exchange,
    method: Method,
    request: &Request,
    answer: &Answer<'_>,
) -> Result<Reply> {
    let origin = origin(exchange, &request.id)?;
    let caller = origin.caller.clone();
    let mut resolved = session::resolve(engine, &origin, method, request)?;
    let clock = engine.clock();
    // Hashing arguments is for calls that ask; the others never pay for it.
    let binding_of = |r: &router::Resolved| state::binding(&caller, method, &r.target, &r.input);
    let earlier = match resolved.request_state.take() {
        Some(sealed) => {
            state::State::open(engine.key_ring(), &binding_of(&resolved)?, &sealed, clock)?
        }
        None => state::State::default(),
    };
    let mut answers = earlier.answers.clone();
    for (key, value) in resolved.responses.take().unwrap_or_default().iter() {
        answers.answer(key, value)?;
    }
    let replay = Replay::new(answers.clone(), earlier.gate.clone());
    let (target, input) = (resolved.target.clone(), resolved.input.clone());
    match session::invoke(engine, origin, Asking::Replay(replay), resolved).await? {
        Outcome::Complete(payload) => {
            let cache = (method == Method::ResourcesRead).then(CacheHint::default);
            Ok(answer.payload(payload, cache))
        }
        Outcome::InputRequired(Asks {
            requests,
            state: gate,
        }) => {
            let binding = state::binding(&caller, method, &target, &input)?;
            let sealed = earlier
                .next(answers, gate, clock)?
                .seal(engine.key_ring(), &binding)?;
            input_required(answer.id, requests, sealed)
        }
    }
}

fn input_required(
    id: &RequestId,
    requests: fastmcp_protocol::mrtr::InputRequests,
    sealed: String,
) -> Result<Reply> {
    let result = InputRequired {
        input_requests: requests,
        request_state: Some(sealed),
        meta: None,
    };
    Ok(Reply::ok(encode_result(
        id,
        &serde_json::to_string(&result)?,
    )))
}

fn origin(exchange: Exchange, id: &RequestId) -> Result<Origin> {
    let log_level = exchange
        .peek
        .meta
        .log_level
        .as_deref()
        .map(|level| {
            LoggingLevel::parse(level).ok_or_else(|| {
                Error::protocol(RpcError::invalid_params(
                    "`_meta` names an unknown log level",
                ))
            })
        })
        .transpose()?;
    Ok(Origin {
        request_id: Some(id.clone()),
        caller: exchange.caller,
        peer: exchange.peer,
        meta: exchange.peek.meta,
        capabilities: None,
        client_info: None,
        log_level,
        session_id: None,
        outlet: exchange.outlet,
        cancel: exchange.cancel,
    })
}
