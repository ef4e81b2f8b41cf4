//! 2026-07-28 and later: every request stands alone.

use std::{pin::pin, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    Message, Method, Notification, ProtocolVersion, Raw, Request, RequestId, RpcError, app, header,
    jsonrpc::encode_result,
    logging::LoggingLevel,
    mrtr::{InputRequests, InputRequired, InputResponses},
    task::required_capabilities,
    tool::TaskSupport,
};
use fastmcp_transport::{Call, PeerKind, Reply};
use futures_util::{FutureExt as _, future::BoxFuture};

use crate::{
    call::{Input, Kind, Payload},
    context::{Asking, Begin, Context, Declared, Earlier, Home, Origin, Replay},
    engine::{Engine, task::Family},
    error::{Error, Result},
    gate::{Gate as _, Target},
    middleware::{Chain, Notification as Seen},
    respond::Answer,
    router::{self, Continued, Resolved, Viewer},
    session::{
        self, Exchange, Round,
        layered::{self, Desk},
        listen, state,
        task::{self, Plan},
    },
};

/// Answers one message. Notifications of modern clients over HTTP have nothing that matters, and
/// they answer nothing: nothing is asked of them.
pub(super) fn answer(
    engine: Arc<Engine>,
    exchange: Exchange,
    version: ProtocolVersion,
    message: Message,
) -> Call {
    match message {
        Message::Request(request) => {
            // A block, since it holds what it captured once; an `async fn` would hold its arguments twice.
            Box::pin(async move {
                let method = Method::parse(&request.method)
                    .filter(|m| m.is_modern_request() && engine.serves(*m));
                let answer = Answer {
                    id: &request.id,
                    version,
                    method,
                    identity: &engine.identity,
                    mask: engine.mask,
                    in_process: exchange.peer.kind == PeerKind::Memory,
                };
                let over_http = exchange.peer.kind == PeerKind::Http;
                let peek = Arc::clone(&exchange.peek);
                let layers = engine.chain(method);
                let worked = if let Some(chain) = layers {
                    let way = pin!(layers_of(&engine, chain, exchange, &request, answer));
                    session::survive(way).await
                } else {
                    let work = pin!(dispatch(&engine, exchange, &request, answer));
                    session::survive(work).await
                };
                match worked {
                    Ok(reply) => reply,
                    Err(error) => {
                        session::failed(&engine, over_http, answer, peek.target.as_ref(), &error)
                    }
                }
            })
        }
        Message::Notification(notification) => {
            tracing::debug!(method = %notification.method, "notification");
            if engine
                .layers
                .as_ref()
                .is_some_and(|l| l.notification().is_some())
            {
                return Box::pin(tell(engine, exchange, notification));
            }
            session::ready(Reply::Accepted)
        }
        Message::Response(_) => session::ready(Reply::Status(400)),
    }
}

/// Takes a notification through the layers, which are all that it is for.
async fn tell(engine: Arc<Engine>, exchange: Exchange, notification: Notification) -> Reply {
    let layers = engine.layers.as_ref();
    if let (Some(chain), Ok(origin)) = (
        layers.and_then(|l| l.notification()),
        origin(&engine, exchange, None),
    ) {
        let seen = Seen::new(notification.method, notification.params);
        layered::notify(&engine, chain, origin, seen, || {}).await;
    }
    Reply::Accepted
}

/// As [`dispatch`], through the layers around what is no call of a component.
fn layers_of<'a>(
    engine: &'a Arc<Engine>,
    chain: &'a Chain,
    exchange: Exchange,
    request: &'a Request,
    answer: Answer<'a>,
) -> BoxFuture<'a, Result<Reply>> {
    Box::pin(async move {
        let context = layered::context(origin(engine, exchange.clone(), Some(&request.id))?);
        let desk = Desk {
            engine,
            request,
            answer,
            caller: exchange.caller.clone(),
            rules: None,
            shows_apps: shows_apps(&exchange),
        };
        let plain = Box::new(move || dispatch(engine, exchange, request, answer).boxed());
        desk.run(chain, context, plain).await
    })
}

fn shows_apps(exchange: &Exchange) -> bool {
    let declared = exchange.peek.meta.client_capabilities.as_ref();
    declared
        .and_then(|raw| raw.decode().ok())
        .is_some_and(|client| app::shows_apps(&client))
}

async fn dispatch(
    engine: &Arc<Engine>,
    exchange: Exchange,
    request: &Request,
    answer: Answer<'_>,
) -> Result<Reply> {
    let page = |kind| {
        let viewer = Viewer {
            sight: engine.sight(&exchange.caller, None),
            version: answer.version,
            shows_apps: || shows_apps(&exchange),
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
            let sight = engine.sight(&exchange.caller, None);
            let body = router::skill::answer(engine, &sight, method, request, |_| {})?;
            Ok(answer.encoded(&body, Some(engine.cache_hints.of(Kind::Resource))))
        }
        Method::Complete => {
            let params = router::completion(request)?;
            let origin = origin(engine, exchange, Some(&request.id))?;
            let result = Box::pin(layered::complete(engine, origin, params)).await?;
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
    let resolved = match resolve(engine, &exchange, method, request) {
        Ok(resolved) => resolved,
        Err(error) => {
            let origin = origin(engine, exchange, Some(&request.id))?;
            let way = layered::refused(engine, method, origin, error);
            return Ok(answer.payload(Box::pin(way).await?, None));
        }
    };
    let Begun {
        context,
        resolved,
        plan,
        call,
        earlier,
    } = match begin(engine, exchange, method, request, resolved)? {
        Ok(begun) => begun,
        Err(unfit) => return Err(Box::pin(unfit.refuse(engine)).await),
    };
    let round = match plan {
        // What few calls need stands in a box of its own, lest every call carries it.
        Some(plan) => Box::pin(task::invoke(engine, context.clone(), resolved, plan)).await?,
        None => session::invoke(engine, &context, resolved).await?,
    };
    match round {
        Round::Task(record) => answer.task(&record.shown().seed()),
        Round::Complete(payload) => {
            let hint = || call.target.component().cache_hint();
            let cache = (method == Method::ResourcesRead).then(hint);
            Ok(answer.payload(payload, cache))
        }
        Round::Asked(asks, remembered) => {
            let earlier = earlier.map(|earlier| *earlier).unwrap_or_default();
            let known = Earlier {
                answers: settled(&earlier.answers, &asks.requests)?,
                gate: asks.state,
                remembered,
            };
            let sealed = earlier
                .next(known, engine.clock(), engine.answer_within)?
                .seal(&engine.key_ring, &call.binding(context.caller())?)?;
            input_required(answer.id, asks.requests, sealed)
        }
    }
}

fn resolve(
    engine: &Engine,
    exchange: &Exchange,
    method: Method,
    request: &Request,
) -> Result<Resolved> {
    let sight = engine.sight(&exchange.caller, None);
    router::resolve(engine, &sight, method, request, &exchange.peek)
}

/// A call that is about to run.
struct Begun {
    context: Context,
    resolved: Resolved,
    plan: Option<Plan>,
    call: Bound,
    earlier: Option<Box<state::State>>,
}

/// A call of something that is there, which is refused before its gate.
struct Unfit {
    context: Context,
    target: Target,
    input: Input,
    error: Error,
}

impl Unfit {
    /// Tells the gate, and returns what the client is told.
    async fn refuse(self, engine: &Engine) -> Error {
        let Self {
            context,
            target,
            input,
            error,
        } = self;
        engine.gate.refused(context, target, input, error).await
    }
}

/// Makes ready what a call runs with. Nothing here waits: what an `async fn` borrows once, it carries to its end.
fn begin(
    engine: &Arc<Engine>,
    exchange: Exchange,
    method: Method,
    request: &Request,
    mut resolved: Resolved,
) -> Result<Result<Begun, Box<Unfit>>> {
    let call = Bound {
        method,
        target: resolved.target.clone(),
        input: resolved.input.clone(),
    };
    let mut earlier = None;
    let plan = fit(engine, &exchange, &call, (&mut resolved, &mut earlier));
    let mut origin = origin(engine, exchange, Some(&request.id))?;
    let replay = match &earlier {
        Some(earlier) => {
            origin.operation.clone_from(&earlier.operation);
            Replay::new(earlier.known())
        }
        None => Replay::default(),
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            return Ok(Err(Box::new(Unfit {
                context: Context::new(origin, Asking::Replay(replay), None),
                target: call.target,
                input: call.input,
                error,
            })));
        }
    };
    let promotion = plan.as_ref().map(Plan::promotion);
    Ok(Ok(Begun {
        context: Context::new(origin, Asking::Replay(replay), promotion),
        resolved,
        plan,
        call,
        earlier,
    }))
}

/// Checks what a call brings along, and opens what it brings of an earlier round.
fn fit(
    engine: &Engine,
    exchange: &Exchange,
    call: &Bound,
    (resolved, earlier): (&mut Resolved, &mut Option<Box<state::State>>),
) -> Result<Option<Plan>> {
    mirrored(exchange, resolved)?;
    let plan = plan(exchange, call.method, resolved)?;
    // Few calls bring something from an earlier round; the others never pay for it.
    if let Some(continued) = resolved.continued.take() {
        let opened = earlier.insert(Box::new(call.open(engine, &exchange.caller, &continued)?));
        if continued.request_state.is_some() {
            opened.in_time(engine.clock())?;
        }
        for (key, value) in continued.responses.unwrap_or_default().iter() {
            opened.answers.answer(key, value)?;
        }
    }
    Ok(plan)
}

/// A call as the state between its rounds is bound to it.
struct Bound {
    method: Method,
    target: Target,
    input: Input,
}

impl Bound {
    /// Hashes arguments, which is for calls that ask.
    fn binding(&self, caller: &Caller) -> Result<Vec<u8>> {
        state::binding(caller, self.method, &self.target, &self.input)
    }

    /// What an earlier round left behind.
    fn open(
        &self,
        engine: &Engine,
        caller: &Caller,
        continued: &Continued,
    ) -> Result<state::State> {
        let Some(sealed) = &continued.request_state else {
            return Ok(state::State::default());
        };
        let binding = self.binding(caller)?;
        state::State::open(&engine.key_ring, &binding, sealed)
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

fn origin(engine: &Arc<Engine>, exchange: Exchange, id: Option<&RequestId>) -> Result<Origin> {
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
        request_id: id.cloned(),
        caller: exchange.caller,
        peer: exchange.peer,
        peek: exchange.peek,
        declared: Declared::Here,
        log_level,
        outlet: exchange.outlet,
        cancel: exchange.cancel,
        home: Arc::clone(engine) as Arc<dyn Home>,
        operation: None,
    })
}
