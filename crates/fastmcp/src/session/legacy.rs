//! Up to 2025-11-25: sessions that `initialize` opens.
//!
//! Source: MCP 2025-11-25, basic/lifecycle and basic/transports.

mod ask;
mod store;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_guard::clock::Timestamp;
use fastmcp_protocol::{
    Method, Notification, ProtocolVersion, Raw, Request, RequestId, Response, RpcError,
    capability::ClientCapabilities,
    header::SESSION_ID,
    initialize::InitializeParams,
    logging::{CancelledParams, LoggingLevel, SetLevelParams},
    meta::{Implementation, Peek},
    resource::SubscribeParams,
};
use fastmcp_transport::{Outlet, Peer, Reply};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    component::Kind,
    context::{Asking, Origin, Replay},
    error::{Error, Result},
    gate::{Asks, Outcome, Payload},
    respond::Answer,
    router,
    server::Engine,
    session::{self, listen::Stream},
};

pub(crate) use store::Sessions;

/// How often a gate may ask before a call counts as stuck.
const MAX_ROUNDS: usize = 10;

/// What a legacy client agreed on with us.
#[derive(Debug)]
pub(crate) struct Session {
    id: String,
    principal: String,
    version: ProtocolVersion,
    capabilities: ClientCapabilities,
    client_info: Implementation,
    log_level: Mutex<LoggingLevel>,
    listening: AtomicBool,
    last_used: AtomicU64,
    next_id: AtomicI64,
    /// Our requests that the client has not answered yet.
    asked: Mutex<HashMap<i64, oneshot::Sender<std::result::Result<Raw, RpcError>>>>,
    /// Its requests that we have not answered yet.
    under_way: Mutex<HashMap<RequestId, CancellationToken>>,
    subscribed: Mutex<HashSet<String>>,
    closed: CancellationToken,
}

impl Session {
    fn wants(&self, method: Method, uri: Option<&str>) -> bool {
        match (method, uri) {
            (Method::NotificationResourcesUpdated, Some(uri)) => {
                lock(&self.subscribed).contains(uri)
            }
            _ => true,
        }
    }

    fn touch(&self, now: Timestamp) {
        self.last_used.store(now.millis(), Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One message and where its answer goes.
pub(crate) struct Exchange {
    pub(crate) caller: Caller,
    pub(crate) peer: Arc<Peer>,
    pub(crate) outlet: Outlet,
    pub(crate) cancel: CancellationToken,
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) peek: Peek,
}

impl Exchange {
    /// The session that the message names: by header over HTTP, by connection elsewhere.
    fn session(&self, engine: &Engine) -> Found {
        let key = match self.peer.connection {
            Some(connection) => Some(format!("connection-{connection}")),
            None => self.peer.header(SESSION_ID).map(str::to_owned),
        };
        let Some(key) = key else {
            return Found::Unnamed;
        };
        match engine
            .sessions()
            .get(&key, self.caller.principal().as_str(), engine.clock().now())
        {
            Some(session) => Found::Session(session),
            None if self.peer.connection.is_some() => Found::Unnamed,
            None => Found::Unknown,
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

/// Answers one request.
pub(crate) async fn call(engine: &Arc<Engine>, exchange: Exchange, request: Request) -> Reply {
    let id = request.id.clone();
    let found = exchange.session(engine);
    let version = match &found {
        Found::Session(session) => session.version,
        _ => exchange
            .version
            .filter(|v| v.era() == fastmcp_protocol::Era::Legacy)
            .unwrap_or(ProtocolVersion::ASSUMED),
    };
    let method =
        Method::parse(&request.method).filter(|m| m.is_legacy_request() && engine.serves(*m));
    let answer = Answer {
        id: &id,
        version,
        method,
        identity: engine.identity(),
        mask: engine.masks(),
    };
    let Some(method) = method else {
        return answer.rpc_error(&RpcError::method_not_found(&request.method));
    };
    if method == Method::Initialize {
        return initialize(engine, &exchange, &request, &id)
            .unwrap_or_else(|e| answer.error(None, &e));
    }
    let session = match found {
        Found::Session(session) => Some(session),
        Found::Unnamed => None,
        Found::Unknown => return gone(&id),
    };
    let target = exchange.peek.target.clone();
    match dispatch(engine, exchange, session, method, &request, &answer).await {
        Ok(reply) => reply,
        Err(error) => answer.error(target.as_ref(), &error),
    }
}

fn gone(id: &RequestId) -> Reply {
    let error = RpcError::new(
        fastmcp_protocol::ErrorCode::INVALID_REQUEST,
        "session is unknown or has ended; initialize again",
    );
    Reply::Message {
        status: 404,
        body: fastmcp_protocol::jsonrpc::encode_error(Some(id), &error).into(),
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
    let session = engine.sessions().open(store::Opening {
        connection: exchange.peer.connection,
        principal: exchange.caller.principal().as_str().to_owned(),
        version,
        capabilities: params.capabilities,
        client_info: params.client_info,
        now: engine.clock().now(),
    })?;
    let result = fastmcp_protocol::legacy::initialize_result(
        &engine.describe(),
        engine.identity().info(),
        version,
    );
    let text = fastmcp_protocol::jsonrpc::encode_result(id, &serde_json::to_string(&result)?);
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
    method: Method,
    request: &Request,
    answer: &Answer<'_>,
) -> Result<Reply> {
    let caller = exchange.caller.clone();
    let page = |kind| {
        router::list(engine, &caller, kind, answer.version, request)
            .map(|body| answer.encoded(&body, None))
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
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            subscribe(engine, &caller, session.as_deref(), method, request).map(|()| answer.empty())
        }
        Method::ToolsList => page(Kind::Tool),
        Method::ResourcesList => page(Kind::Resource),
        Method::ResourcesTemplatesList => page(Kind::Template),
        Method::PromptsList => page(Kind::Prompt),
        Method::Complete => {
            let result = engine.complete(&caller, router::completion(request)?)?;
            Ok(answer.payload(Payload::Completion(result), None))
        }
        _ => {
            let _under_way = session
                .as_ref()
                .map(|s| UnderWay::enter(s, &request.id, &exchange.cancel));
            let payload = invoke(engine, exchange, session.as_ref(), method, request).await?;
            Ok(answer.payload(payload, None))
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
    if engine
        .registry()
        .snapshot()
        .find_resource(engine.gate(), caller, &params.uri)
        .is_none()
    {
        return Err(Error::protocol(fastmcp_protocol::resource::not_found(
            &params.uri,
        )));
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
    engine: &Engine,
    exchange: Exchange,
    session: Option<&Arc<Session>>,
    method: Method,
    request: &Request,
) -> Result<Payload> {
    let mut gate_state = None;
    let mut answers = fastmcp_protocol::mrtr::InputResponses::default();
    for _ in 0..MAX_ROUNDS {
        let origin = origin(&exchange, session, &request.id);
        let resolved = session::resolve(engine, &origin, method, request)?;
        let replay = Replay::new(answers.clone(), gate_state.take());
        let asking = match session {
            Some(session) => {
                Asking::Await(Arc::new(ask::OnStream::new(session, &exchange)), replay)
            }
            None => Asking::Replay(replay),
        };
        match session::invoke(engine, origin, asking, resolved).await? {
            Outcome::Complete(payload) => return Ok(payload),
            Outcome::InputRequired(Asks { requests, state }) => {
                let session = session.ok_or_else(|| {
                    Error::tool("this call asks for input, which needs a session; initialize first")
                })?;
                answers = ask::all(session, &exchange, requests).await?;
                gate_state = state;
            }
        }
    }
    Err(Error::internal(format!(
        "input was asked for in {MAX_ROUNDS} rounds already"
    )))
}

fn origin(exchange: &Exchange, session: Option<&Arc<Session>>, id: &RequestId) -> Origin {
    Origin {
        request_id: Some(id.clone()),
        caller: exchange.caller.clone(),
        peer: Arc::clone(&exchange.peer),
        meta: exchange.peek.meta.clone(),
        capabilities: Some(session.map(|s| s.capabilities.clone()).unwrap_or_default()),
        client_info: session.map(|s| s.client_info.clone()),
        log_level: session.map(|s| *lock(&s.log_level)),
        session_id: session.map(|s| s.id.clone()),
        outlet: exchange.outlet.clone(),
        cancel: exchange.cancel.clone(),
    }
}

/// A request of the client while it is under way, so that it can be cancelled by its id.
struct UnderWay<'a> {
    session: &'a Session,
    id: RequestId,
}

impl<'a> UnderWay<'a> {
    fn enter(session: &'a Session, id: &RequestId, cancel: &CancellationToken) -> Self {
        lock(&session.under_way).insert(id.clone(), cancel.clone());
        Self {
            session,
            id: id.clone(),
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.session.under_way).remove(&self.id);
    }
}

/// Takes note of a notification.
pub(crate) fn notify(engine: &Engine, exchange: &Exchange, notification: &Notification) -> Reply {
    let Found::Session(session) = exchange.session(engine) else {
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
pub(crate) fn respond(engine: &Engine, exchange: &Exchange, response: Response) -> Reply {
    let Found::Session(session) = exchange.session(engine) else {
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

/// Serves the stream on which a legacy server speaks without being asked.
pub(crate) async fn listen(engine: &Arc<Engine>, exchange: Exchange) -> Reply {
    let changes = engine.registry().subscribe();
    let session = match exchange.session(engine) {
        Found::Session(session) => Some(session),
        Found::Unnamed if exchange.peer.connection.is_some() => None,
        Found::Unnamed => return Reply::Status(405),
        Found::Unknown => return Reply::Status(404),
    };
    let _listening = match &session {
        Some(session) => match Listening::enter(session) {
            Some(listening) => Some(listening),
            // One stream per session, so that each message goes out on exactly one.
            None => return Reply::Status(409),
        },
        None => None,
    };
    let closed = session
        .as_ref()
        .map(|s| s.closed.clone())
        .unwrap_or_default();
    let stream = Stream {
        outlet: exchange.outlet.clone(),
        cancel: exchange.cancel.clone(),
        shutdown: engine.shutdown().clone(),
        tag: None,
    };
    // The response's headers go out with the first frame; an empty one says only where to resume.
    if exchange
        .outlet
        .send(fastmcp_transport::Frame::message(""))
        .await
        .is_err()
    {
        return Reply::Status(200);
    }
    let wants = |method: Method, uri: Option<&str>| match &session {
        Some(session) => session.wants(method, uri),
        None => match exchange.session(engine) {
            Found::Session(session) => session.wants(method, uri),
            _ => false,
        },
    };
    tokio::select! {
        () = closed.cancelled() => {}
        () = stream.run(changes, wants) => {}
    }
    Reply::Status(200)
}

struct Listening<'a>(&'a Session);

impl<'a> Listening<'a> {
    fn enter(session: &'a Session) -> Option<Self> {
        (!session.listening.swap(true, Ordering::AcqRel)).then_some(Self(session))
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.listening.store(false, Ordering::Release);
    }
}

/// Ends a session.
pub(crate) fn terminate(engine: &Engine, exchange: &Exchange) -> Reply {
    match exchange.session(engine) {
        Found::Session(session) => {
            engine.sessions().close(&session.id);
            Reply::Status(204)
        }
        Found::Unnamed => Reply::Status(400),
        Found::Unknown => Reply::Status(404),
    }
}
