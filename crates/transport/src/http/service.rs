//! The endpoint as a tower service.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use bytestring::ByteString;
use fastmcp_protocol::{
    ErrorCode, Message, RequestId, RpcError,
    header::{METHOD, NAME, PROTOCOL_VERSION, SESSION_ID},
    http::{Headers, Mirror, Refusal, route},
    jsonrpc::{Malformed, encode_error},
};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    door::{Denied, Door, Inbound, Reason, Reply, TurnedAway, What},
    exchange::{Exchange, Step},
    http::{
        Body,
        body::ShutOut,
        intake::{Intake, Unread},
        origin::{AllowedHosts, Forbidden},
        serve::RemoteAddr,
    },
    limits::Limits,
    outlet::Outlet,
    peer::{ClientCertificate, Peer},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
static HEADER_VERSION: HeaderName = HeaderName::from_static(PROTOCOL_VERSION);
static HEADER_METHOD: HeaderName = HeaderName::from_static(METHOD);
static HEADER_NAME: HeaderName = HeaderName::from_static(NAME);

/// How the endpoint behaves.
#[derive(Clone, Debug, Default)]
pub struct HttpConfig {
    /// What a peer may cost.
    pub limits: Limits,
    /// Under which names the server may be addressed.
    pub hosts: AllowedHosts,
    /// Whether answers are compressed for clients that accept it. Default: they are not.
    #[cfg(feature = "compression")]
    pub compression: Option<crate::http::Compression>,
}

/// The MCP endpoint: a tower service that mounts in any router. It looks at no path.
#[derive(Debug)]
pub struct HttpService<D> {
    inner: Arc<Inner<D>>,
    address: Option<SocketAddr>,
}

#[derive(Debug)]
struct Inner<D> {
    door: Arc<D>,
    config: HttpConfig,
    calls: Arc<Semaphore>,
    tracker: TaskTracker,
    shutdown: CancellationToken,
}

impl<D> Clone for HttpService<D> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            address: self.address,
        }
    }
}

impl<D: Door> HttpService<D> {
    /// Creates an endpoint for `door`. Calls whose client went away are finished by `tracker`;
    /// `shutdown` ends open streams.
    #[must_use]
    pub fn new(
        door: Arc<D>,
        config: HttpConfig,
        tracker: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let calls = Arc::new(Semaphore::new(config.limits.concurrent_calls));
        Self {
            inner: Arc::new(Inner {
                door,
                config,
                calls,
                tracker,
                shutdown,
            }),
            address: None,
        }
    }

    /// The same endpoint for one connection from `address`.
    #[must_use]
    pub fn from_address(&self, address: SocketAddr) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            address: Some(address),
        }
    }

    /// Begins to answer `request`.
    ///
    /// The future is made once for every call and copied by every move, so it is a block that holds what
    /// it captured once, and it holds handles: the head of the request is read before, what came in is
    /// handed on before the wait, and what few calls need stands in boxes.
    fn answer<B>(
        &self,
        request: Request<B>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static + use<D, B>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let inner = Arc::clone(&self.inner);
        let (mut parts, body) = request.into_parts();
        let intake = Intake::of(parts.version, &parts.headers);
        let named = inner.config.hosts.check(&parts.uri, &parts.headers);
        let address = self
            .address
            .or_else(|| parts.extensions.get::<RemoteAddr>().map(|a| a.0));
        let peer = Peer::http(std::mem::take(&mut parts.headers), address)
            .with_certificate(parts.extensions.remove::<ClientCertificate>());
        let peer = Arc::new(peer);
        let method = parts.method;
        async move {
            let (caller, permit) = match inner.enter(named, &peer, &method).await {
                Ok(entered) => entered,
                Err(refusal) => return Box::pin(intake.turn_away(body, *refusal)).await,
            };
            let (what, disconnect_cancels) = match method {
                Method::GET => (listen(&peer), false),
                Method::DELETE => (What::Terminate, false),
                // Nothing else was let in.
                _ => match intake.read(body, &inner.config.limits).await {
                    Ok(body) => match inner.parse(&peer.headers, body) {
                        Ok(parsed) => parsed,
                        Err(away) => return *inner.turn_away(&peer, Some(&caller), *away),
                    },
                    Err(unread) => {
                        let away = not_read(&unread);
                        return intake.closing(*inner.turn_away(&peer, Some(&caller), *away));
                    }
                },
            };
            let id = match &what {
                What::Message(Message::Request(request), _) => Some(request.id.clone()),
                _ => None,
            };
            let entered = Entered {
                peer: Arc::clone(&peer),
                caller: caller.clone(),
            };
            let mut exchange = inner
                .call(peer, caller, what)
                .cancel_on_drop(disconnect_cancels)
                .holding(permit);
            // Most calls are answered at the first look, and need no clock.
            match poll_fn(|cx| Poll::Ready(exchange.poll_next(cx))).await {
                Poll::Ready(step) => respond(&inner, step, exchange, entered),
                Poll::Pending => Box::pin(wait(&inner, exchange, entered, id)).await,
            }
        }
    }

    /// Ends when the server shuts down: long streams watch it.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.inner.shutdown
    }
}

impl<D: Door> Inner<D> {
    /// Decides by its head whether a request comes in.
    async fn enter(
        &self,
        named: Result<(), Forbidden>,
        peer: &Peer,
        method: &Method,
    ) -> Result<(D::Caller, OwnedSemaphorePermit), Box<Response<Body>>> {
        named.map_err(|e| {
            let error = RpcError::new(ErrorCode::INVALID_REQUEST, e.to_string());
            self.turn_away(peer, None, *refuse(403, Reason::Host, &error))
        })?;
        let caller = self
            .door
            .admit(peer)
            .await
            .map_err(|denied| Box::new(deny(denied)))?;
        let taken = Arc::clone(&self.calls).try_acquire_owned();
        let permit = taken
            .map_err(|_| busy())
            .and_then(|permit| fits(method, peer).map(|()| permit))
            .map_err(|away| self.turn_away(peer, Some(&caller), *away))?;
        Ok((caller, permit))
    }

    /// Tells the door of a refusal, and gives the answer.
    fn turn_away(
        &self,
        peer: &Peer,
        caller: Option<&D::Caller>,
        away: Away,
    ) -> Box<Response<Body>> {
        if let Some((reason, message)) = &away.told {
            let why = TurnedAway::new(*reason, message);
            self.door.turned_away(peer, caller, why);
        }
        Box::new(away.response)
    }

    /// Classifies the body of a POST; says too whether a disconnect cancels its call.
    fn parse(&self, headers: &HeaderMap, body: Bytes) -> Result<(What, bool), Box<Away>> {
        let text = ByteString::try_from(body).map_err(|_| {
            let error = RpcError::new(ErrorCode::PARSE_ERROR, "body is not UTF-8");
            refuse(400, Reason::Body, &error)
        })?;
        let depth = self.config.limits.json_depth;
        let message = Message::parse(&text, depth).map_err(|e| malformed(&e))?;
        let mirrored = Headers {
            version: single(headers, &HEADER_VERSION)?,
            method: single(headers, &HEADER_METHOD)?,
            name: single(headers, &HEADER_NAME)?,
        };
        let route =
            route(Mirror::Headers(mirrored), &message).map_err(|refusal| refused(&refusal))?;
        let disconnect_cancels = route.disconnect_cancels();
        Ok((What::Message(message, route), disconnect_cancels))
    }

    /// Hands what came in to who answers it.
    fn call(&self, peer: Arc<Peer>, caller: D::Caller, what: What) -> Exchange {
        let outlet = Outlet::new(self.config.limits.outlet_frames);
        let cancel = CancellationToken::new();
        let inbound = Inbound {
            what,
            peer,
            outlet: outlet.clone(),
            cancel: cancel.clone(),
        };
        let call = self.door.call(caller, inbound);
        Exchange::new(call, outlet, cancel, self.tracker.clone())
    }
}

/// An answer to what is no call.
#[derive(Debug)]
struct Away {
    response: Response<Body>,
    /// What the door is told of it, if anything.
    told: Option<(Reason, String)>,
}

impl Away {
    fn new(response: Response<Body>, reason: Reason, error: &RpcError) -> Box<Self> {
        Box::new(Self {
            response,
            told: Some((reason, error.message.to_string())),
        })
    }
}

/// Who was let in, and by which proof.
struct Entered<C> {
    peer: Arc<Peer>,
    caller: C,
}

/// Waits for the first thing that a call has to say.
async fn wait<D: Door>(
    inner: &Arc<Inner<D>>,
    mut exchange: Exchange,
    entered: Entered<D::Caller>,
    id: Option<RequestId>,
) -> Response<Body> {
    let limit = inner.config.limits.call_timeout;
    if let Ok(step) = tokio::time::timeout(limit, exchange.next()).await {
        return respond(inner, step, exchange, entered);
    }
    // Nobody waits for the answer any more, in either era: the call is told so.
    drop(exchange.cancel_on_drop(true));
    let error = RpcError::internal(format!("call took longer than {} s", limit.as_secs()));
    json(504, encode_error(id.as_ref(), &error).into())
}

fn respond<D: Door>(
    inner: &Arc<Inner<D>>,
    step: Step,
    exchange: Exchange,
    entered: Entered<D::Caller>,
) -> Response<Body> {
    match step {
        Step::Done(reply) => plain(reply),
        Step::Frame(frame) => {
            let shut_out = ShutOut(Box::pin(shut_out(Arc::clone(inner), entered)));
            let keep_alive = inner.config.limits.keep_alive;
            stream(Body::events(exchange, frame, keep_alive, shut_out))
        }
    }
}

/// Waits until who was let in would not be any more.
async fn shut_out<D: Door>(inner: Arc<Inner<D>>, entered: Entered<D::Caller>) {
    let Entered { peer, caller } = entered;
    loop {
        tokio::time::sleep(inner.config.limits.recheck).await;
        if !inner.door.still_admits(&peer, &caller).await {
            tracing::info!("stream ended: its caller is not let in any more");
            return;
        }
    }
}

impl<D, B> tower_service::Service<Request<B>> for HttpService<D>
where
    D: Door,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        #[cfg(feature = "compression")]
        if let Some(compression) = self.inner.config.compression {
            let mut accepted = HeaderMap::new();
            for value in request.headers().get_all(header::ACCEPT_ENCODING) {
                accepted.append(header::ACCEPT_ENCODING, value.clone());
            }
            let answer = self.answer(request);
            return Box::pin(async move { Ok(compression.apply(accepted, answer.await).await) });
        }
        Box::pin(self.answer(request).map(Ok))
    }
}

/// Whether `method` is served, and the headers are those that it needs.
fn fits(method: &Method, peer: &Peer) -> Result<(), Box<Away>> {
    match *method {
        Method::POST => acceptable(&peer.headers),
        Method::GET => listens(peer),
        Method::DELETE => Ok(()),
        _ => Err(Box::new(Away {
            response: not_allowed(),
            told: None,
        })),
    }
}

fn acceptable(headers: &HeaderMap) -> Result<(), Box<Away>> {
    /// What nearly every client sends, known at a glance.
    const USUAL: &str = "application/json, text/event-stream";
    let json = |value: &HeaderValue| {
        let value = value.to_str().unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        essence.eq_ignore_ascii_case("application/json")
    };
    let content_type = headers.get(header::CONTENT_TYPE);
    if !content_type.is_some_and(|value| value == JSON || json(value)) {
        let error = RpcError::new(
            ErrorCode::INVALID_REQUEST,
            "Content-Type must be application/json",
        );
        return Err(refuse(415, Reason::Headers, &error));
    }
    let (mut json, mut events, mut named) = (false, false, false);
    for ranges in headers.get_all(header::ACCEPT) {
        if ranges == USUAL {
            return Ok(());
        }
        named = true;
        for range in ranges.to_str().unwrap_or_default().split(',') {
            let range = range.split(';').next().unwrap_or_default().trim();
            let any = range == "*/*";
            json |=
                any || range.eq_ignore_ascii_case("application/json") || range == "application/*";
            events |= any || range.eq_ignore_ascii_case("text/event-stream") || range == "text/*";
        }
    }
    if !named || (json && events) {
        return Ok(());
    }
    let error = RpcError::new(
        ErrorCode::INVALID_REQUEST,
        "Accept must name application/json and text/event-stream",
    );
    Err(refuse(406, Reason::Headers, &error))
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Box<Away>> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) if value.to_str().is_ok() => Ok(value.to_str().ok()),
        _ => {
            let error = RpcError::new(
                ErrorCode::HEADER_MISMATCH,
                format!("header {name} must be sent once, in visible ASCII"),
            );
            Err(refuse(400, Reason::Headers, &error))
        }
    }
}

/// Whether a GET wants what a GET gives.
fn listens(peer: &Peer) -> Result<(), Box<Away>> {
    let wants = peer
        .header("accept")
        .is_some_and(|v| v.contains("text/event-stream") || v.contains("*/*"));
    if wants {
        return Ok(());
    }
    let error = RpcError::new(
        ErrorCode::INVALID_REQUEST,
        "Accept must name text/event-stream",
    );
    Err(refuse(406, Reason::Headers, &error))
}

fn listen(peer: &Peer) -> What {
    What::Listen {
        last_event_id: peer.header("last-event-id").map(Into::into),
    }
}

fn plain(reply: Reply) -> Response<Body> {
    match reply {
        Reply::Message {
            status,
            body,
            session,
            ..
        } => {
            let mut response = json(status, body);
            if let Some(session) = session.and_then(|s| HeaderValue::from_str(&s).ok()) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(SESSION_ID), session);
            }
            response
        }
        Reply::Denied { challenge, body } => {
            let mut response = json(403, body);
            let headers = response.headers_mut();
            headers.insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        Reply::Accepted => status_only(202),
        Reply::Status(405) => not_allowed(),
        Reply::Status(status) => status_only(status),
    }
}

fn stream(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENTS);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

fn json(status: u16, body: ByteString) -> Response<Body> {
    let mut response = Response::new(Body::full(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn status_only(status: u16) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn not_allowed() -> Response<Body> {
    let mut response = status_only(405);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
    response
}

fn refuse(status: u16, reason: Reason, error: &RpcError) -> Box<Away> {
    Away::new(
        json(status, encode_error(None, error).into()),
        reason,
        error,
    )
}

fn not_read(unread: &Unread) -> Box<Away> {
    let code = match unread {
        Unread::Broken(_) => ErrorCode::PARSE_ERROR,
        Unread::TooLarge(_) | Unread::TooSlow(_) => ErrorCode::INVALID_REQUEST,
    };
    let error = RpcError::new(code, unread.to_string());
    refuse(unread.status(), Reason::Body, &error)
}

fn busy() -> Box<Away> {
    let error = RpcError::internal("too many calls are under way; try again");
    let mut away = refuse(503, Reason::Busy, &error);
    let headers = away.response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    away
}

fn malformed(malformed: &Malformed) -> Box<Away> {
    let body = encode_error(malformed.id.as_ref(), &malformed.error);
    Away::new(json(400, body.into()), Reason::Body, &malformed.error)
}

fn refused(refusal: &Refusal) -> Box<Away> {
    let body = encode_error(refusal.id.as_ref(), &refusal.error);
    let response = json(refusal.status, body.into());
    Away::new(response, Reason::Headers, &refusal.error)
}

fn deny(denied: Denied) -> Response<Body> {
    let mut response = json(denied.status, encode_error(None, &denied.error).into());
    if let Some(challenge) = denied.challenge {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
