//! Up to 2025-11-25: sessions that `initialize` opens.
//!
//! Source: MCP 2025-11-25, basic/lifecycle and basic/transports.

mod ask;
mod stream;
mod task;

use std::{collections::hash_map::Entry, pin::pin, sync::Arc};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_protocol::{
    Era, ErrorCode, Message, Method, Notification, ProtocolVersion, Raw, Request, RequestId,
    Response, RpcError, app,
    header::SESSION_ID,
    initialize::InitializeParams,
    jsonrpc::{encode_error, encode_result},
    legacy,
    logging::{CancelledParams, SetLevelParams},
    resource,
    resource::{Resource, SubscribeParams},
};
use fastmcp_transport::{Call, Outlet, Reply};
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Asks, Kind, Payload},
    context::{Asking, Context, Declared, Earlier, Home, Known, Origin, Replay},
    engine::{
        Engine,
        session::{Opening, Session, lock},
    },
    error::{Error, Result},
    respond::Answer,
    router::{self, Viewer},
    session::{self, Exchange, Round, task::Plan},
};

pub(super) use stream::listen;

/// How often a gate may ask before a call counts as stuck.
const MAX_ROUNDS: usize = 10;

/// Answers one message; `version` is the revision that its headers name.
pub(super) fn answer(
    engine: Arc<Engine>,
    exchange: Exchange,
    version: Option<ProtocolVersion>,
    message: Message,
) -> Call {
    match message {
        Message::Request(request) => call(engine, exchange, version, request),
        Message::Notification(notification) => {
            session::ready(notify(&engine, &exchange, &notification))
        }
        Message::Response(response) => session::ready(respond(&engine, &exchange, response)),
    }
}

/// Finds the session that a message names: by header over HTTP, by connection elsewhere.
fn find(engine: &Engine, exchange: &Exchange) -> Found {
    let key = match exchange.peer.connection {
        Some(connection) => Some(format!("connection-{connection}")),
        None => exchange.peer.header(SESSION_ID).map(str::to_owned),
    };
    let Some(key) = key else {
        return Found::Unnamed;
    };
    let principal = exchange.caller.principal();
    match engine
        .sessions
        .get(&key, principal.as_str(), engine.clock().now())
    {
        Some(session) => Found::Session(session),
        None if exchange.peer.connection.is_some() => Found::Unnamed,
        None => Found::Unknown,
    }
}

enum Found {
    Session(Arc<Session>),
    /// No session is named: what needs none is served.
    Unnamed,
    /// A session is named that is not there, or is another caller's.
    Unknown,
}

/// Begins to answer one request.
fn call(
    engine: Arc<Engine>,
    mut exchange: Exchange,
    version: Option<ProtocolVersion>,
    request: Request,
) -> Call {
    let found = find(&engine, &exchange);
    let version = match &found {
        Found::Session(session) => session.version,
        _ => version
            .filter(|v| v.era() == Era::Legacy)
            .unwrap_or(ProtocolVersion::ASSUMED),
    };
    let session = match found {
        Found::Session(session) => Some(session),
        Found::Unnamed => None,
        // Who names a session that has ended may still begin anew.
        Found::Unknown if Method::parse(&request.method) == Some(Method::Initialize) => None,
        Found::Unknown => return session::ready(gone(&request.id)),
    };
    // A block, since it holds what it captured once; an `async fn` would hold its arguments twice.
    Box::pin(async move {
        let method =
            Method::parse(&request.method).filter(|m| m.is_legacy_request() && engine.serves(*m));
        let answer = Answer {
            id: &request.id,
            version,
            method,
            identity: &engine.identity,
            mask: engine.mask,
        };
        if method == Some(Method::Initialize) {
            return initialize(&engine, &exchange, &request, answer.id)
                .unwrap_or_else(|e| answer.error(None, &e));
        }
        let over_http = exchange.peer.connection.is_none();
        // Only within a session a call can be cancelled, and its stream be kept for later.
        let stream = session.as_ref().filter(|_| over_http).map(|session| {
            let kept = session
                .replay
                .stream(exchange.outlet.clone(), is_primed(version));
            exchange.outlet = kept.clone();
            (kept, exchange.cancel.clone())
        });
        let peek = Arc::clone(&exchange.peek);
        let work = pin!(dispatch(&engine, exchange, session, &request, answer));
        let reply = match session::survive(work).await {
            Ok(reply) => reply,
            Err(error) => session::failed(&engine, over_http, answer, peek.target.as_ref(), &error),
        };
        match stream {
            Some((outlet, cancel)) => settle(&outlet, &cancel, reply).await,
            None => reply,
        }
    })
}

/// Whether streams begin with an event without data: clients of older revisions stumble over it.
///
/// Source: MCP 2025-11-25, basic/transports (SEP-1699).
fn is_primed(version: ProtocolVersion) -> bool {
    version >= ProtocolVersion::V2025_11_25
}

/// Puts the answer where the client reads: at the end of the stream that has begun, if one has.
/// Who cancelled a call gets no answer.
async fn settle(outlet: &Outlet, cancel: &CancellationToken, reply: Reply) -> Reply {
    if cancel.is_cancelled() {
        outlet.abandon();
        return Reply::Accepted;
    }
    match reply {
        Reply::Message {
            status,
            body,
            session,
        } => match outlet.finish(body).await {
            Some(body) => Reply::Message {
                status,
                body,
                session,
            },
            None => Reply::Status(200),
        },
        other => other,
    }
}

fn gone(id: &RequestId) -> Reply {
    let error = RpcError::new(
        ErrorCode::INVALID_REQUEST,
        "session is unknown or has ended; initialize again",
    );
    Reply::Message {
        status: 404,
        body: encode_error(Some(id), &error).into(),
        session: None,
    }
}

fn initialize(
    engine: &Engine,
    exchange: &Exchange,
    request: &Request,
    id: &RequestId,
) -> Result<Reply> {
    let params: InitializeParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    let version = params.negotiate();
    let session = engine.sessions.open(Opening {
        connection: exchange.peer.connection,
        principal: exchange.caller.principal().as_str().to_owned(),
        version,
        capabilities: params.capabilities,
        client_info: params.client_info,
        now: engine.clock().now(),
    })?;
    let mut result = legacy::initialize_result(&engine.describe(), engine.identity.info(), version);
    if task::is_declared(engine, version) {
        result.capabilities.tasks = Some(legacy::task_capability(engine.tasks.lists()));
    }
    let text = encode_result(id, &serde_json::to_string(&result)?);
    Ok(Reply::Message {
        status: 200,
        body: text.into(),
        session: exchange
            .peer
            .connection
            .is_none()
            .then(|| ByteString::from(session.id.as_str())),
    })
}

async fn dispatch(
    engine: &Arc<Engine>,
    exchange: Exchange,
    session: Option<Arc<Session>>,
    request: &Request,
    answer: Answer<'_>,
) -> Result<Reply> {
    let page = |kind| {
        let shows_apps = || {
            session
                .as_ref()
                .is_some_and(|s| app::shows_apps(&s.capabilities))
        };
        let viewer = Viewer {
            caller: &exchange.caller,
            version: answer.version,
            shows_apps,
        };
        router::list(engine, viewer, kind, request).map(|body| answer.encoded(&body, None))
    };
    let Some(method) = answer.method else {
        return Ok(answer.rpc_error(&RpcError::method_not_found(&request.method)));
    };
    match method {
        Method::Ping => Ok(answer.empty()),
        Method::LoggingSetLevel => {
            let params: SetLevelParams =
                Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
            if let Some(session) = session {
                *lock(&session.log_level) = params.level;
            }
            Ok(answer.empty())
        }
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => subscribe(
            engine,
            &exchange.caller,
            session.as_deref(),
            method,
            request,
        )
        .map(|()| answer.empty()),
        Method::ToolsList => page(Kind::Tool),
        Method::ResourcesList => page(Kind::Resource),
        Method::ResourcesTemplatesList => page(Kind::Template),
        Method::PromptsList => page(Kind::Prompt),
        Method::SkillsList | Method::SkillsGet | Method::ResourcesDirectoryRead => {
            let render = |entry: &mut Resource| {
                *entry = legacy::resource(entry, answer.version).into_owned();
            };
            let body = router::skill::answer(engine, &exchange.caller, method, request, render)?;
            Ok(answer.encoded(&body, None))
        }
        Method::Complete => {
            let result = engine.complete(&exchange.caller, router::completion(request)?);
            let result = Box::pin(result).await?;
            Ok(answer.payload(Payload::Completion(result), None))
        }
        _ => {
            let _under_way = match &session {
                Some(session) => Some(UnderWay::enter(session, &request.id, &exchange.cancel)?),
                None => None,
            };
            let session = session.as_ref();
            if method.is_of_tasks() {
                let params = request.params.as_ref();
                return Box::pin(task::answer(engine, &exchange, session, params, answer)).await;
            }
            invoke(engine, exchange, session, request, answer).await
        }
    }
}

fn subscribe(
    engine: &Engine,
    caller: &Caller,
    session: Option<&Session>,
    method: Method,
    request: &Request,
) -> Result<()> {
    /// Subscriptions of one session.
    const MAX: usize = 1_024;
    let params: SubscribeParams<'_> =
        Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
    let session = session.ok_or_else(|| {
        Error::protocol(RpcError::invalid_params(
            "subscriptions need a session; initialize first",
        ))
    })?;
    let mut subscribed = lock(&session.subscribed);
    if method == Method::ResourcesUnsubscribe {
        subscribed.remove(params.uri.as_ref());
        return Ok(());
    }
    if !engine.shows(caller, &params.uri) {
        return Err(Error::protocol(resource::not_found(&params.uri)));
    }
    if subscribed.len() >= MAX {
        return Err(Error::protocol(RpcError::invalid_params(format!(
            "a session subscribes to at most {MAX} resources"
        ))));
    }
    subscribed.insert(params.uri.into_owned());
    Ok(())
}

/// Invokes a call; what a gate asks is asked on the open stream, and the call goes on with the answers.
async fn invoke(
    engine: &Arc<Engine>,
    exchange: Exchange,
    session: Option<&Arc<Session>>,
    request: &Request,
    answer: Answer<'_>,
) -> Result<Reply> {
    let Some(method) = answer.method else {
        return Ok(answer.rpc_error(&RpcError::method_not_found(&request.method)));
    };
    let mut earlier = Earlier::default();
    let mut origin = origin(engine, exchange, session, &request.id);
    for _ in 0..MAX_ROUNDS {
        let resolved = router::resolve(engine, &origin.caller, method, request, &origin.peek)?;
        let plan = match method {
            Method::ToolsCall => {
                task::plan(engine, &origin, session, answer.version, &resolved.target)?
            }
            _ => None,
        };
        let asked_by = |origin: &Origin| {
            session.map(|s| ask::OnStream::new(s, &origin.outlet, &origin.cancel, engine))
        };
        let replay = Replay::new(earlier);
        let asking = match asked_by(&origin) {
            Some(asker) => Asking::Await(Arc::new(asker), replay),
            None => Asking::Replay(replay),
        };
        let context = Context::new(origin, asking, plan.as_ref().map(Plan::promotion));
        let round = match plan {
            Some(plan) => {
                let invoked = session::task::invoke(engine, context.clone(), resolved, plan);
                Box::pin(invoked).await?
            }
            None => session::invoke(engine, &context, resolved).await?,
        };
        match round {
            Round::Complete(payload) => return Ok(answer.payload(payload, None)),
            Round::Task(record) => return answer.task(&record.shown().seed()),
            Round::Asked(Asks { requests, state }, remembered) => {
                let asker = asked_by(context.origin()).ok_or_else(|| {
                    Error::tool("this call asks for input, which needs a session; initialize first")
                })?;
                earlier = Earlier {
                    answers: Box::pin(asker.all(requests)).await?,
                    gate: state,
                    remembered,
                };
                origin = context.origin().clone();
            }
        }
    }
    Err(Error::internal(format!(
        "input was asked for in {MAX_ROUNDS} rounds already"
    )))
}

fn origin(
    engine: &Arc<Engine>,
    exchange: Exchange,
    session: Option<&Arc<Session>>,
    id: &RequestId,
) -> Origin {
    Origin {
        request_id: Some(id.clone()),
        caller: exchange.caller,
        peer: exchange.peer,
        peek: exchange.peek,
        declared: Declared::Before(session.map(|s| Arc::clone(s) as Arc<dyn Known>)),
        log_level: session.map(|s| *lock(&s.log_level)),
        outlet: exchange.outlet,
        cancel: exchange.cancel,
        home: Arc::clone(engine) as Arc<dyn Home>,
        operation: None,
    }
}

/// A request of the client while it is under way, so that it can be cancelled by its id.
struct UnderWay<'a> {
    session: &'a Session,
    id: RequestId,
}

impl<'a> UnderWay<'a> {
    /// Refuses an id that another request has which is not answered yet: whoever cancels one or
    /// reads the answer could not tell them apart.
    fn enter(session: &'a Session, id: &RequestId, cancel: &CancellationToken) -> Result<Self> {
        match lock(&session.under_way).entry(id.clone()) {
            Entry::Occupied(_) => Err(Error::protocol(RpcError::new(
                ErrorCode::INVALID_REQUEST,
                "a request with this id is under way in this session; give each an id of its own",
            ))),
            Entry::Vacant(entry) => {
                entry.insert(cancel.clone());
                Ok(Self {
                    session,
                    id: id.clone(),
                })
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.session.under_way).remove(&self.id);
    }
}

/// Takes note of a notification.
fn notify(engine: &Engine, exchange: &Exchange, notification: &Notification) -> Reply {
    let Found::Session(session) = find(engine, exchange) else {
        return match exchange.peer.header(SESSION_ID) {
            Some(_) => Reply::Status(404),
            None => Reply::Accepted,
        };
    };
    if Method::parse(&notification.method) == Some(Method::NotificationCancelled)
        && let Ok(params) = Raw::decode_params::<CancelledParams<'_>>(notification.params.as_ref())
        && let Some(id) = params.request_id
        && let Some(token) = lock(&session.under_way).get(&id)
    {
        token.cancel();
    }
    Reply::Accepted
}

/// Hands the client's answer to whoever asked.
fn respond(engine: &Engine, exchange: &Exchange, response: Response) -> Reply {
    let Found::Session(session) = find(engine, exchange) else {
        return Reply::Status(404);
    };
    let waiting = match response.id {
        Some(RequestId::Number(id)) => lock(&session.asked).remove(&id),
        _ => None,
    };
    match waiting {
        // The asker may have given up meanwhile.
        Some(waiting) => drop(waiting.send(response.outcome)),
        None => tracing::debug!(session = %session.id, "answer to nothing that was asked"),
    }
    Reply::Accepted
}

/// Ends a session.
pub(super) fn terminate(engine: &Engine, exchange: &Exchange) -> Reply {
    match find(engine, exchange) {
        Found::Session(session) => {
            engine.sessions.close(&session.id);
            Reply::Status(204)
        }
        Found::Unnamed => Reply::Status(400),
        Found::Unknown => Reply::Status(404),
    }
}
