//! 2026-07-28 and later: every request stands alone.

use std::{pin::pin, sync::Arc};

use fastmcp_protocol::{
    Message, Method, ProtocolVersion, Raw, Request, RequestId, RpcError, app, header,
    jsonrpc::encode_result,
    logging::LoggingLevel,
    mrtr::{InputRequests, InputRequired, InputResponses},
    task::required_capabilities,
    tool::TaskSupport,
};
use fastmcp_transport::{PeerKind, Reply};

use crate::{
    call::{Kind, Payload},
    context::{Asking, Begin, Earlier, Home, Origin, Replay},
    engine::{Engine, task::Family},
    error::{Error, Result},
    respond::Answer,
    router::{self, Resolved, Viewer},
    session::{
        self, Exchange, Round, listen, state,
        task::{self, Plan},
    },
};

/// Answers one message. Notifications of modern clients over HTTP have nothing that matters, and
/// they answer nothing: nothing is asked of them.
pub(super) async fn answer(
    engine: &Arc<Engine>,
    exchange: Exchange,
    version: ProtocolVersion,
    message: Message,
) -> Reply {
    let request = match message {
        Message::Request(request) => request,
        Message::Notification(notification) => {
            tracing::debug!(method = %notification.method, "notification");
            return Reply::Accepted;
        }
        Message::Response(_) => return Reply::Status(400),
    };
    let method =
        Method::parse(&request.method).filter(|m| m.is_modern_request() && engine.serves(*m));
    let answer = Answer {
        id: &request.id,
        version,
        method,
        identity: &engine.identity,
        mask: engine.mask,
    };
    let target = exchange.peek.target.clone();
    let over_http = exchange.peer.kind == PeerKind::Http;
    let work = pin!(dispatch(engine, exchange, &request, answer));
    match session::survive(work).await {
        Ok(reply) => reply,
        Err(error) => session::failed(engine, over_http, answer, target.as_ref(), &error),
    }
}

async fn dispatch(
    engine: &Arc<Engine>,
    exchange: Exchange,
    request: &Request,
    answer: Answer<'_>,
) -> Result<Reply> {
    let page = |kind| {
        let shows_apps = || {
            let declared = exchange.peek.meta.client_capabilities.as_ref();
            declared
                .and_then(|raw| raw.decode().ok())
                .is_some_and(|client| app::shows_apps(&client))
        };
        let viewer = Viewer {
            caller: &exchange.caller,
            version: answer.version,
            shows_apps,
        };
        router::list(engine, viewer, kind, request)
            .map(|body| answer.encoded(&body, Some(engine.cache_hints.of(kind))))
    };
    let Some(method) = answer.method else {
        return Ok(answer.rpc_error(&RpcError::method_not_found(&request.method)));
    };
    match method {
        Method::Discover => {
            let described = serde_json::to_string(&engine.describe())?;
            Ok(answer.encoded(&described, Some(engine.cache_hints.discover)))
        }
        Method::ToolsList => page(Kind::Tool),
        Method::ResourcesList => page(Kind::Resource),
        Method::ResourcesTemplatesList => page(Kind::Template),
        Method::PromptsList => page(Kind::Prompt),
        Method::SkillsList | Method::SkillsGet | Method::ResourcesDirectoryRead => {
            let body = router::skill::answer(engine, &exchange.caller, method, request, |_| {})?;
            Ok(answer.encoded(&body, Some(engine.cache_hints.of(Kind::Resource))))
        }
        Method::Complete => {
            let result = engine.complete(&exchange.caller, router::completion(request)?);
            let result = Box::pin(result).await?;
            Ok(answer.payload(Payload::Completion(result), None))
        }
        Method::SubscriptionsListen => {
            let params = Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
            let listening = listen::modern(engine, exchange, &request.id, params, answer);
            Ok(Box::pin(listening).await)
        }
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => {
            let params = request.params.as_ref();
            Box::pin(task::answer(engine, &exchange, method, params, answer)).await
        }
        _ => invoke(engine, exchange, method, request, answer).await,
    }
}

async fn invoke(
    engine: &Arc<Engine>,
    exchange: Exchange,
    method: Method,
    request: &Request,
    answer: Answer<'_>,
) -> Result<Reply> {
    let mut resolved = router::resolve(engine, &exchange.caller, method, request, &exchange.peek)?;
    mirrored(&exchange, &resolved)?;
    let plan = plan(&exchange, method, &resolved)?;
    let mut origin = origin(engine, exchange, &request.id)?;
    let (caller, clock) = (origin.caller.clone(), engine.clock());
    // Hashing arguments is for calls that ask; the others never pay for it.
    let earlier = match resolved.request_state.take() {
        Some(sealed) => {
            let binding = state::binding(&caller, method, &resolved.target, &resolved.input)?;
            state::State::open(&engine.key_ring, &binding, &sealed, clock)?
        }
        None => state::State::default(),
    };
    let mut answers = earlier.answers.clone();
    for (key, value) in resolved.responses.take().unwrap_or_default().iter() {
        answers.answer(key, value)?;
    }
    let replay = Replay::new(Earlier {
        answers: answers.clone(),
        gate: earlier.gate.clone(),
        remembered: earlier.remembered.clone(),
    });
    let (target, input) = (resolved.target.clone(), resolved.input.clone());
    origin.operation.clone_from(&earlier.operation);
    let asking = Asking::Replay(replay);
    let round = match plan {
        // What few calls need stands in a box of its own, lest every call carries it.
        Some(plan) => Box::pin(task::invoke(engine, origin, asking, resolved, plan)).await?,
        None => session::invoke(engine, origin, asking, resolved).await?,
    };
    match round {
        Round::Task(record) => answer.task(&record.shown().seed()),
        Round::Complete(payload) => {
            let cache = (method == Method::ResourcesRead).then(|| target.component().cache_hint());
            Ok(answer.payload(payload, cache))
        }
        Round::Asked(asks, remembered) => {
            let binding = state::binding(&caller, method, &target, &input)?;
            let known = Earlier {
                answers: settled(&answers, &asks.requests)?,
                gate: asks.state,
                remembered,
            };
            let sealed = earlier
                .next(known, clock, engine.answer_within)?
                .seal(&engine.key_ring, &binding)?;
            input_required(answer.id, asks.requests, sealed)
        }
    }
}

/// The answers that count later: an answer that came before its question was asked does not.
fn settled(answers: &InputResponses, asked: &InputRequests) -> Result<InputResponses> {
    let mut settled = InputResponses::default();
    for (key, value) in answers.iter().filter(|(key, _)| asked.get(key).is_none()) {
        settled.answer(key, value)?;
    }
    Ok(settled)
}

/// Whether a call may become a task: the tool may be one, and the client says on this request that it
/// knows tasks.
///
/// Source: SEP-2663, "Capability Negotiation".
fn plan(exchange: &Exchange, method: Method, resolved: &Resolved) -> Result<Option<Plan>> {
    let component = resolved.target.component();
    let support = component.task_support();
    if method != Method::ToolsCall || support == TaskSupport::Forbidden {
        return Ok(None);
    }
    if !task::is_declared(&exchange.peek) {
        return match support {
            TaskSupport::Required => Err(Error::missing_capability(&required_capabilities())),
            _ => Ok(None),
        };
    }
    Ok(Some(Plan {
        family: Family::Extension,
        begin: if component.begins_task() {
            Begin::ByHandler
        } else {
            Begin::AtLeaf
        },
        ttl_ms: None,
        session: None,
        always: false,
    }))
}

/// Refuses a call over HTTP whose headers do not mirror the arguments that its tool marks.
fn mirrored(exchange: &Exchange, resolved: &Resolved) -> Result<()> {
    let marked = resolved.target.component().mirrored();
    if marked.is_empty() || exchange.peer.kind != PeerKind::Http {
        return Ok(());
    }
    let headers = |name: &str| {
        exchange
            .peer
            .headers
            .get_all(name)
            .iter()
            .map(|value| std::str::from_utf8(value.as_bytes()).ok())
            .collect()
    };
    header::check_params(marked, resolved.input.args.as_ref(), headers).map_err(Error::protocol)
}

fn input_required(id: &RequestId, requests: InputRequests, sealed: String) -> Result<Reply> {
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

fn origin(engine: &Arc<Engine>, exchange: Exchange, id: &RequestId) -> Result<Origin> {
    let unknown = || {
        Error::protocol(RpcError::invalid_params(
            "`_meta` names an unknown log level",
        ))
    };
    let log_level = match exchange.peek.meta.log_level.as_deref() {
        Some(level) => Some(LoggingLevel::parse(level).ok_or_else(unknown)?),
        None => None,
    };
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
        home: Arc::clone(engine) as Arc<dyn Home>,
        target: exchange.peek.target,
        args: exchange.peek.arguments,
        operation: None,
    })
}
