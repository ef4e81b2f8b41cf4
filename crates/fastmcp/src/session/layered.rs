//! Messages that are no calls of components, on their way through layers; and calls of what is not there.

use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::Poll,
};

use fastmcp_auth::Caller;
use fastmcp_protocol::{
    Method, Raw, Request, RpcError,
    discover::DiscoverResult,
    initialize::{InitializeParams, InitializeResult},
};
use fastmcp_transport::Reply;
use futures_util::future::BoxFuture;

use crate::{
    call::{Input, Kind, Outcome, Payload},
    component::Definition,
    context::{Asking, Context, Earlier, Origin, Replay},
    engine::Engine,
    error::{Error, Result},
    middleware::{
        Chain, Discover, End, Initialize, ListPrompts, ListResourceTemplates, ListResources,
        ListTools, Listed, Message, MiddlewareContext, Named, Notification, Response, Sealed,
        Shown,
    },
    respond::Answer,
    router::{self, Viewer},
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

/// Takes a message through a chain; a layer that asks the client is refused, for nobody would answer.
async fn through<'a>(
    chain: &'a Chain,
    context: MiddlewareContext,
    end: Box<dyn End<'a> + 'a>,
) -> Result<Response> {
    let own = context.fastmcp_context().clone();
    let mut way = chain.run(context, end);
    poll_fn(|cx| match way.as_mut().poll(cx) {
        Poll::Pending if own.asking().replay().has_open() => Poll::Ready(Err(Error::internal(
            "a layer asks the client something, which it may do about calls alone",
        ))),
        polled => polled,
    })
    .await
}

/// A request and what answers it.
#[derive(Clone)]
pub(super) struct Desk<'a> {
    pub(super) engine: &'a Arc<Engine>,
    pub(super) request: &'a Request,
    pub(super) answer: Answer<'a>,
    pub(super) caller: Caller,
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
        let message = self.message(chain.is_typed());
        let method = self.request.method.to_string();
        let now = self.engine.clock.now();
        let context = MiddlewareContext::request(message, method, context, now);
        let end = Box::new(Behind {
            desk: self.clone(),
            plain: Some(plain),
            is_typed: chain.is_typed(),
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
            true => router::shown(self.engine, &self.caller, kind, apps).into(),
            false => Arc::default(),
        };
        let shown = Shown { components, apps };
        match kind {
            Kind::Tool => Message::ListTools(ListTools { shown }),
            Kind::Resource => Message::ListResources(ListResources { shown }),
            Kind::Template => Message::ListResourceTemplates(ListResourceTemplates { shown }),
            Kind::Prompt => Message::ListPrompts(ListPrompts { shown }),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self.answer.method? {
            Method::ToolsList => Some(Kind::Tool),
            Method::ResourcesList => Some(Kind::Resource),
            Method::ResourcesTemplatesList => Some(Kind::Template),
            Method::PromptsList => Some(Kind::Prompt),
            _ => None,
        }
    }

    /// The page of a list that is kept, for layers that do not look into it.
    fn list(&self, kind: Kind) -> Result<Response> {
        let viewer = Viewer {
            caller: &self.caller,
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
        let (kind, definitions) = match response {
            Response::Sealed(Sealed(reply)) => return Ok(reply),
            Response::Raw(raw) => return Ok(self.answer.payload(Payload::Raw(raw), None)),
            Response::Nothing => return Ok(self.answer.empty()),
            Response::Discover(described) => return self.discovered(&described),
            Response::Tools(list) => (Kind::Tool, bare(list, Definition::Tool)),
            Response::Resources(list) => (Kind::Resource, bare(list, Definition::Resource)),
            Response::ResourceTemplates(list) => (Kind::Template, bare(list, Definition::Template)),
            Response::Prompts(list) => (Kind::Prompt, bare(list, Definition::Prompt)),
            _ => return Err(foreign()),
        };
        if self.kind() != Some(kind) {
            return Err(foreign());
        }
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

fn bare<T>(list: Vec<Listed<T>>, define: impl Fn(T) -> Definition) -> Vec<Definition> {
    list.into_iter().map(|l| define(l.definition)).collect()
}

/// A list as layers look into it.
fn entries(message: Message) -> Result<Response> {
    macro_rules! collect {
        ($list:ident, $variant:ident) => {
            $list
                .shown
                .components
                .iter()
                .filter_map(|component| match component.definition().clone() {
                    Definition::$variant(d) => Some(Listed::of(Arc::clone(component), d)),
                    _ => None,
                })
                .collect()
        };
    }
    Ok(match message {
        Message::ListTools(list) => Response::Tools(collect!(list, Tool)),
        Message::ListResources(list) => Response::Resources(collect!(list, Resource)),
        Message::ListResourceTemplates(list) => {
            Response::ResourceTemplates(collect!(list, Template))
        }
        Message::ListPrompts(list) => Response::Prompts(collect!(list, Prompt)),
        _ => return Err(foreign()),
    })
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
                    true => entries(context.message),
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

/// Takes a call of what is not there through the layers, if there are any: they may count it, or answer.
pub(super) async fn refused(
    engine: &Engine,
    method: Method,
    origin: Origin,
    error: Error,
) -> Result<Payload> {
    struct Missing(Error);
    impl<'a> End<'a> for Missing {
        fn run(self: Box<Self>, _: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
            Box::pin(async move { Err(self.0) })
        }
    }
    let (kind, uri) = match method {
        Method::ToolsCall => (Kind::Tool, None),
        Method::PromptsGet => (Kind::Prompt, None),
        _ => (Kind::Resource, origin.peek.target.clone()),
    };
    let layers = engine.layers.as_ref();
    let (Some(chain), Some(name)) = (
        layers.and_then(|l| l.call(kind)),
        origin.peek.target.clone(),
    ) else {
        return Err(error);
    };
    let input = Input {
        args: origin.peek.arguments.clone(),
        uri,
    };
    let message = Message::named(kind, Named::Unknown(name), input);
    let now = engine.clock.now();
    let context = MiddlewareContext::request(message, method.as_str(), context(origin), now);
    let answer = through(chain, context, Box::new(Missing(error))).await?;
    match answer.into_outcome()? {
        Outcome::Complete(payload) => Ok(payload),
        Outcome::InputRequired(_) => Err(foreign()),
    }
}

/// What `initialize` came with.
pub(super) fn initialize_params(request: &Request) -> Result<InitializeParams<'_>> {
    Raw::decode_params(request.params.as_ref()).map_err(Error::protocol)
}
