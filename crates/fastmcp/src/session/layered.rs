//! Messages that are no calls of components, on their way through layers; and calls of what is not there.

use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};

use bytestring::ByteString;
use fastmcp_auth::Caller;
use fastmcp_protocol::{
    Method, Raw, Request, RpcError,
    completion::{CompleteParams, CompleteResult},
    discover::DiscoverResult,
    initialize::{InitializeParams, InitializeResult},
};
use fastmcp_transport::Reply;
use futures_util::future::BoxFuture;

use crate::{
    call::{Input, Kind, Outcome, Payload},
    context::{Asking, Context, Earlier, Origin, Replay},
    engine::Engine,
    error::{Error, Result},
    gate::Gate as _,
    middleware::{
        Chain, Discover, End, Initialize, Message, MiddlewareContext, Named, Notification,
        Response, Sealed, Shown,
    },
    registry::{Rules, Sight},
    respond::Answer,
    router::{self, Viewer},
    session::list,
};

/// Answers a request without layers.
pub(super) type Plain<'a> = Box<dyn FnOnce() -> BoxFuture<'a, Result<Reply>> + Send + 'a>;

/// A context for layers around what is no call: nothing is asked in it.
pub(super) fn context(origin: Origin) -> Context {
    Context::new(
        origin,
        Asking::Replay(Replay::new(Earlier::default())),
        None,
    )
}

/// Takes a message through a chain.
async fn through<'a>(
    chain: &'a Chain,
    context: MiddlewareContext,
    end: Box<dyn End<'a> + 'a>,
) -> Result<Response> {
    let own = context.fastmcp_context().clone();
    unasked(&own, "a layer", chain.run(context, end)).await
}

/// Awaits what is no call; who asks the client something there is refused, for nobody would answer.
async fn unasked<T>(context: &Context, who: &str, mut work: BoxFuture<'_, Result<T>>) -> Result<T> {
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Pending if context.asking().replay().has_open() => Poll::Ready(Err(Error::internal(
            format!("{who} asks the client something, which it may do about calls alone"),
        ))),
        polled => polled,
    })
    .await
}

/// Completes an argument.
pub(super) async fn complete(
    engine: &Engine,
    origin: Origin,
    params: CompleteParams<'static>,
) -> Result<CompleteResult> {
    let context = context(origin);
    let work = context
        .clone()
        .scope(engine.complete(context.clone(), params));
    unasked(&context, "a completion", Box::pin(work)).await
}

/// A request and what answers it.
#[derive(Clone)]
pub(super) struct Desk<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) request: &'a Request,
    pub(super) answer: Answer<'a>,
    pub(super) caller: Caller,
    /// What their session shows and hides in place of the server.
    pub(super) rules: Option<Arc<Rules>>,
    /// Whether the client shows documents of MCP Apps.
    pub(super) shows_apps: bool,
}

impl<'a> Desk<'a> {
    /// Answers through `chain`.
    pub(super) async fn run(
        self,
        chain: &'a Chain,
        context: Context,
        plain: Plain<'a>,
    ) -> Result<Reply> {
        let shows_layered = |kind| self.engine.shows_layered(kind);
        let is_typed = chain.is_typed() || self.kind().is_some_and(shows_layered);
        let message = self.message(is_typed);
        let method = self.request.method.to_string();
        let now = self.engine.clock.now();
        let context = MiddlewareContext::request(message, method, context, now);
        let end = Box::new(Behind {
            desk: self.clone(),
            plain: Some(plain),
            is_typed,
        });
        let response = through(chain, context, end).await?;
        self.reply(response)
    }

    fn message(&self, is_typed: bool) -> Message {
        let Some(kind) = self.kind() else {
            return match self.answer.method {
                Some(Method::Discover) => Message::Discover(Discover::default()),
                _ => Message::Other(self.request.params.clone()),
            };
        };
        let apps = self.shows_apps;
        let components = match is_typed {
            true => router::shown(self.engine, &self.sight(), kind, apps).into(),
            false => Arc::default(),
        };
        Message::list(kind, Shown { components, apps }).0
    }

    fn kind(&self) -> Option<Kind> {
        self.answer.method.and_then(Kind::listed_by)
    }

    fn sight(&self) -> Sight<'_> {
        self.engine.sight(&self.caller, self.rules.clone())
    }

    /// The page of a list that is kept, for layers that do not look into it.
    fn list(&self, kind: Kind) -> Result<Response> {
        let viewer = Viewer {
            sight: self.sight(),
            version: self.answer.version,
            shows_apps: || self.shows_apps,
        };
        let body = router::list(self.engine, viewer, kind, self.request)?;
        let hint = self.engine.cache_hints.of(kind);
        Ok(Response::Sealed(Sealed(
            self.answer.encoded(&body, Some(hint)),
        )))
    }

    fn reply(&self, response: Response) -> Result<Reply> {
        let (kind, entries) = match response {
            Response::Sealed(Sealed(reply)) => return Ok(reply),
            Response::Raw(raw) => return Ok(self.answer.payload(Payload::Raw(raw), None)),
            Response::Nothing => return Ok(self.answer.empty()),
            Response::Discover(described) => return self.discovered(&described),
            list => list.into_entries().ok_or_else(foreign)?,
        };
        if self.kind() != Some(kind) {
            return Err(foreign());
        }
        let definitions: Vec<_> = entries.into_iter().map(|e| e.definition).collect();
        let version = self.answer.version;
        let body = router::page(self.engine, version, kind, self.request, &definitions)?;
        let hint = self.engine.cache_hints.of(kind);
        Ok(self.answer.encoded(&body, Some(hint)))
    }

    fn discovered(&self, described: &DiscoverResult) -> Result<Reply> {
        if self.answer.method != Some(Method::Discover) {
            return Err(foreign());
        }
        let text = serde_json::to_string(described)?;
        let hint = self.engine.cache_hints.discover;
        Ok(self.answer.encoded(&text, Some(hint)))
    }
}

fn foreign() -> Error {
    Error::internal("a layer answered with what belongs to another method")
}

/// What answers a request behind the last layer.
struct Behind<'a> {
    desk: Desk<'a>,
    plain: Option<Plain<'a>>,
    is_typed: bool,
}

impl<'a> End<'a> for Behind<'a> {
    fn run(self: Box<Self>, context: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
        Box::pin(async move {
            if let Some(kind) = self.desk.kind() {
                return match self.is_typed {
                    true => list::answer(self.desk.engine, kind, context).await,
                    false => self.desk.list(kind),
                };
            }
            if self.desk.answer.method == Some(Method::Discover) {
                return Ok(Response::Discover(Box::new(self.desk.engine.describe())));
            }
            match self.plain {
                Some(plain) if self.desk.answer.method.is_some() => {
                    Ok(Response::Sealed(Sealed(plain().await?)))
                }
                _ => Err(Error::protocol(RpcError::method_not_found(
                    &self.desk.request.method,
                ))),
            }
        })
    }

    fn again(&self) -> Option<Box<dyn End<'a> + 'a>> {
        let repeats =
            self.desk.kind().is_some() || self.desk.answer.method == Some(Method::Discover);
        repeats.then(|| {
            Box::new(Self {
                desk: self.desk.clone(),
                plain: None,
                is_typed: self.is_typed,
            }) as Box<dyn End<'a> + 'a>
        })
    }
}

/// Takes a notification through the layers, if there are any, and to `take`.
pub(super) async fn notify<'a>(
    engine: &'a Engine,
    chain: &'a Chain,
    origin: Origin,
    notification: Notification,
    take: impl FnOnce() + Send + 'a,
) {
    struct Taken<F>(F);
    impl<'a, F: FnOnce() + Send + 'a> End<'a> for Taken<F> {
        fn run(self: Box<Self>, _: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
            Box::pin(async move {
                (self.0)();
                Ok(Response::Nothing)
            })
        }
    }
    let context =
        MiddlewareContext::notification(notification, context(origin), engine.clock.now());
    if let Err(error) = through(chain, context, Box::new(Taken(take))).await {
        tracing::debug!(error = error.message(), "a layer refused a notification");
    }
}

/// Takes `initialize` through the layers to `open`, and gives back what `open` opened and its answer.
pub(super) async fn initialize<'a, S: Send + Sync + 'static>(
    engine: &'a Engine,
    chain: &'a Chain,
    origin: Origin,
    params: &InitializeParams<'_>,
    open: impl FnOnce() -> Result<(S, InitializeResult)> + Send + 'a,
) -> (Option<S>, Result<InitializeResult>) {
    struct Opened<F, S>(F, Arc<OnceLock<S>>);
    impl<'a, F, S> End<'a> for Opened<F, S>
    where
        F: FnOnce() -> Result<(S, InitializeResult)> + Send + 'a,
        S: Send + Sync + 'static,
    {
        fn run(self: Box<Self>, _: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
            Box::pin(async move {
                let (session, result) = (self.0)()?;
                // It runs once, so the place is free.
                drop(self.1.set(session));
                Ok(Response::Initialize(Box::new(result)))
            })
        }
    }
    let message = Message::Initialize(Box::new(Initialize::of(params)));
    let method = Method::Initialize.as_str();
    let context = MiddlewareContext::request(message, method, context(origin), engine.clock.now());
    let opened = Arc::new(OnceLock::new());
    let end = Box::new(Opened(open, Arc::clone(&opened)));
    let result = match through(chain, context, end).await {
        Ok(Response::Initialize(result)) => Ok(*result),
        Ok(_) => Err(foreign()),
        Err(error) => Err(error),
    };
    let session = Arc::into_inner(opened).and_then(OnceLock::into_inner);
    (session, result)
}

/// Takes a call of what is not there through the layers, if there are any, and to the gate: they may count it, or answer.
pub(super) async fn refused(
    engine: &Engine,
    method: Method,
    origin: Origin,
    error: Error,
) -> Result<Payload> {
    struct Missing<'a>(&'a Engine, Kind, ByteString, Error);
    impl<'a> End<'a> for Missing<'a> {
        fn run(self: Box<Self>, context: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
            let Self(engine, kind, name, error) = *self;
            let (_, context) = context.into_parts();
            Box::pin(async move { Err(engine.gate.unknown(context, kind, &name, error).await) })
        }
    }
    let (kind, uri) = match method {
        Method::ToolsCall => (Kind::Tool, None),
        Method::PromptsGet => (Kind::Prompt, None),
        _ => (Kind::Resource, origin.peek.target.clone()),
    };
    let Some(name) = origin.peek.target.clone() else {
        return Err(error);
    };
    let layers = engine.layers.as_ref();
    let Some(chain) = layers.and_then(|l| l.call(kind)) else {
        let context = context(origin);
        let told = engine.gate.unknown(context.clone(), kind, &name, error);
        let told = Box::pin(async move { Err(told.await) });
        return unasked(&context, "a gate", told).await;
    };
    let end = Box::new(Missing(engine, kind, name.clone(), error));
    let input = Input {
        args: origin.peek.arguments.clone(),
        uri,
    };
    let message = Message::named(kind, Named::Unknown(name), input);
    let now = engine.clock.now();
    let context = MiddlewareContext::request(message, method.as_str(), context(origin), now);
    let answer = through(chain, context, end).await?;
    match answer.into_outcome()? {
        Outcome::Complete(payload) => Ok(payload),
        Outcome::InputRequired(_) => Err(foreign()),
    }
}

/// What `initialize` came with.
pub(super) fn initialize_params(request: &Request) -> Result<InitializeParams<'_>> {
    Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)
}
