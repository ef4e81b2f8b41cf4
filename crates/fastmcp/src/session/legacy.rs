//! Up to 2025-11-25: sessions that `initialize` opens.
//!
//! Source: MCP 2025-11-25, basic/lifecycle and basic/transports.

mod ask;
mod ping;
mod stream;
mod task;

use std::{borrow::Cow, collections::hash_map::Entry, pin::pin, sync::Arc};

use bytestring::ByteString;
use fastmcp_protocol::{
    Era, ErrorCode, Message, Method, Notification, ProtocolVersion, Raw, Request, RequestId,
    Response, RpcError, app,
    header::SESSION_ID,
    initialize::{InitializeParams, InitializeResult},
    jsonrpc::{encode_error, encode_result},
    legacy,
    logging::{CancelledParams, SetLevelParams},
    resource::Resource,
};
use fastmcp_transport::{Call, Door as _, Outlet, Reason, Reply, TurnedAway};
use futures_util::{FutureExt as _, future::BoxFuture};
use http::HeaderName;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Asks, Kind, Payload},
    context::{Asking, Context, Declared, Earlier, Home, Known, Origin, Replay},
    engine::{
        Engine,
        session::{Opening, Session, lock},
    },
    error::{Error, Result},
    middleware::{Chain, Notification as Seen},
    registry::Rules,
    respond::Answer,
    router::{self, Viewer},
    session::{
        self, Exchange, Round,
        layered::{self, Desk},
        task::Plan,
    },
};

pub(super) use stream::listen;

/// Read once, since it is looked for in every message.
static SESSION: HeaderName = HeaderName::from_static(SESSION_ID);

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
            if engine
                .layers
                .as_ref()
                .is_some_and(|l| l.notification().is_some())
            {
                return Box::pin(tell(engine, exchange, notification));
            }
            session::ready(notify(&engine, &exchange, &notification))
        }
        Message::Response(response) => session::ready(respond(&engine, &exchange, response)),
    }
}

/// Finds the session that a message names: by header over HTTP, by connection elsewhere.
fn find(engine: &Engine, exchange: &Exchange) -> Found {
    let key = match exchange.peer.connection {
        Some(connection) => Some(Cow::Owned(format!("connection-{connection}"))),
        None => exchange.peer.header(&SESSION).map(Cow::Borrowed),
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
        None => {
            if engine.sessions.is_anothers(&key, principal.as_str()) {
                let why = TurnedAway::new(Reason::Session, "the session is another caller's");
                engine.turned_away(&exchange.peer, Some(&exchange.caller), why);
            }
            Found::Unknown
        }
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
            in_process: false,
        };
        let layers = engine.chain(method);
        if method == Some(Method::Initialize) {
            let opened = match layers {
                Some(chain) => Box::pin(welcome(&engine, chain, &exchange, &request)).await,
                None => initialize(&engine, &exchange, &request),
            };
            return opened.unwrap_or_else(|e| answer.error(None, &e));
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
        let worked = if let Some(chain) = layers {
            let way = (exchange, session);
            let way = pin!(layers_of(&engine, chain, way, &request, answer));
            session::survive(way).await
        } else {
            let work = pin!(dispatch(&engine, exchange, session, &request, answer));
            session::survive(work).await
        };
        let reply = match worked {
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
            found,
        } => match outlet.finish(body).await {
            Some(body) => Reply::Message {
                status,
                body,
                session,
                found,
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
    Reply::with_status(404, encode_error(Some(id), &error))
}

fn initialize(engine: &Engine, exchange: &Exchange, request: &Request) -> Result<Reply> {
    let params = layered::initialize_params(request)?;
    let (session, result) = open(engine, exchange, params)?;
    welcomed(exchange, &request.id, session.as_ref(), &result)
}

/// Opens a session, where there are any.
fn open(
    engine: &Engine,
    exchange: &Exchange,
    params: InitializeParams<'_>,
) -> Result<(Option<Arc<Session>>, InitializeResult)> {
    let version = params.negotiate();
    let mut result = legacy::initialize_result(&engine.describe(), engine.identity.info(), version);
    if engine.stateless_http && exchange.peer.connection.is_none() {
        result.capabilities = legacy::without_session(result.capabilities);
        return Ok((None, result));
    }
    let session = engine.sessions.open(Opening {
        connection: exchange.peer.connection,
        principal: exchange.caller.principal().as_str().to_owned(),
        version,
        capabilities: params.capabilities,
        client_info: params.client_info,
        now: engine.clock().now(),
    })?;
    if task::is_declared(engine, version) {
        result.capabilities.tasks = Some(legacy::task_capability(engine.tasks.lists()));
    }
    Ok((Some(session), result))
}

fn welcomed(
    exchange: &Exchange,
    id: &RequestId,
    session: Option<&Arc<Session>>,
    result: &InitializeResult,
) -> Result<Reply> {
    let text = encode_result(id, &serde_json::to_string(result)?);
    Ok(Reply::Message {
        status: 200,
        body: text.into(),
        session: session
            .filter(|_| exchange.peer.connection.is_none())
            .map(|session| ByteString::from(session.id.as_str())),
        found: None,
    })
}

/// As [`initialize`], through the layers. A session that was opened before a layer refused it ends.
async fn welcome(
    engine: &Arc<Engine>,
    chain: &Chain,
    exchange: &Exchange,
    request: &Request,
) -> Result<Reply> {
    let params = layered::initialize_params(request)?;
    let origin = origin(engine, exchange.clone(), None, Some(&request.id));
    let opening = params.clone();
    let open = || open(engine, exchange, opening);
    let (session, result) = layered::initialize(engine, chain, origin, &params, open).await;
    let session = session.flatten();
    match result {
        Ok(result) => welcomed(exchange, &request.id, session.as_ref(), &result),
        Err(error) => {
            if let Some(session) = session {
                engine.sessions.close(&session.id);
            }
            Err(error)
        }
    }
}

/// As [`dispatch`], through the layers around what is no call of a component.
fn layers_of<'a>(
    engine: &'a Arc<Engine>,
    chain: &'a Chain,
    (exchange, session): (Exchange, Option<Arc<Session>>),
    request: &'a Request,
    answer: Answer<'a>,
) -> BoxFuture<'a, Result<Reply>> {
    Box::pin(async move {
        let origin = origin(
            engine,
            exchange.clone(),
            session.as_ref(),
            Some(&request.id),
        );
        let desk = Desk {
            engine,
            request,
            answer,
            caller: exchange.caller.clone(),
            rules: rules(session.as_ref()),
            shows_apps: session
                .as_ref()
                .is_some_and(|s| app::shows_apps(&s.capabilities)),
        };
        let plain = Box::new(move || dispatch(engine, exchange, session, request, answer).boxed());
        desk.run(chain, layered::context(origin), plain).await
    })
}

/// As [`notify`], through the layers.
async fn tell(engine: Arc<Engine>, exchange: Exchange, notification: Notification) -> Reply {
    let chain = engine.layers.as_ref().and_then(|l| l.notification());
    let session = match find(&engine, &exchange) {
        Found::Session(session) => Some(session),
        Found::Unnamed if engine.stateless_http => None,
        _ => return notify(&engine, &exchange, &notification),
    };
    let Some(chain) = chain else {
        return notify(&engine, &exchange, &notification);
    };
    let origin = origin(&engine, exchange.clone(), session.as_ref(), None);
    let seen = Seen::new(notification.method.clone(), notification.params.clone());
    let take = || drop(notify(&engine, &exchange, &notification));
    layered::notify(&engine, chain, origin, seen, take).await;
    Reply::Accepted
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
            sight: engine.sight(&exchange.caller, rules(session.as_ref())),
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
        Method::LoggingSetLevel if session.is_none() && engine.stateless_http => {
            Ok(answer.rpc_error(&RpcError::method_not_found(&request.method)))
        }
        Method::LoggingSetLevel => {
            let params: SetLevelParams =
                Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)?;
            if let Some(session) = session {
                *lock(&session.log_level) = params.level;
            }
            Ok(answer.empty())
        }
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => stream::subscribe(
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
            let sight = engine.sight(&exchange.caller, rules(session.as_ref()));
            let body = router::skill::answer(engine, &sight, method, request, render)?;
            Ok(answer.encoded(&body, None))
        }
        Method::Complete => {
            let params = router::completion(request)?;
            let origin = origin(engine, exchange, session.as_ref(), Some(&request.id));
            let result = Box::pin(layered::complete(engine, origin, params)).await?;
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
    let mut origin = origin(engine, exchange, session, Some(&request.id));
    for _ in 0..MAX_ROUNDS {
        let sight = engine.sight(&origin.caller, rules(session));
        let found = router::resolve(engine, &sight, method, request, &origin.peek);
        let resolved = match found {
            Ok(resolved) => resolved,
            Err(error) => {
                let way = layered::refused(engine, method, origin, error);
                return Ok(answer.payload(Box::pin(way).await?, None));
            }
        };
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
                    Error::tool(if engine.stateless_http {
                        "this call asks for input, which this server asks of newer clients only"
                    } else {
                        "this call asks for input, which needs a session; initialize first"
                    })
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

/// What a session shows and hides in place of the server.
fn rules(session: Option<&Arc<Session>>) -> Option<Arc<Rules>> {
    session?.visibility.rules()
}

fn origin(
    engine: &Arc<Engine>,
    exchange: Exchange,
    session: Option<&Arc<Session>>,
    id: Option<&RequestId>,
) -> Origin {
    Origin {
        request_id: id.cloned(),
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
        return match exchange.peer.header(&SESSION) {
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
