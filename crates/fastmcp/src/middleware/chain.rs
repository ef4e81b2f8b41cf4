//! The way of a message through the layers.

use std::{
    fmt,
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context as Waker, Poll},
};

use fastmcp_protocol::Method;
use futures_util::{TryFutureExt as _, future::BoxFuture};

use super::{
    layer::{Hook, Hooks, Layer},
    message::{Message, MiddlewareContext},
    response::{Operation, Response},
};
use crate::{
    call::{Asks, Kind, Outcome},
    context::Context,
    error::Result,
};

/// What is behind the last layer.
pub(crate) trait End<'a>: Send {
    /// Answers the message.
    fn run(self: Box<Self>, context: MiddlewareContext) -> BoxFuture<'a, Result<Response>>;

    /// The same once more, where answering twice has the effect of once.
    fn again(&self) -> Option<Box<dyn End<'a> + 'a>> {
        None
    }
}

/// What is still ahead of a message: the rest of its layers, the gate and the handler.
///
/// It is used up by [`Self::run`]: a message is handled at most once, unless [`Self::again`] says that
/// it may be handled twice.
pub struct Next<'a, M = Message> {
    steps: &'a [Step],
    end: Box<dyn End<'a> + 'a>,
    of: PhantomData<fn(M)>,
}

impl<'a, M: Operation> Next<'a, M> {
    /// Goes on with the message and waits for its answer.
    ///
    /// # Errors
    ///
    /// What the layers ahead, the gate or the handler return.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what is ahead stops where it awaits.
    pub async fn run(self, context: MiddlewareContext<M>) -> Result<M::Answer> {
        let (message, rest) = context.take();
        let response = go(self.steps, rest.with(message.widen()), self.end).await?;
        M::read(response)
    }

    /// The same way once more, for a layer that repeats what failed. There is none where doing it twice
    /// is not the same as doing it once: for tools that are not marked read-only or idempotent, and for
    /// what is neither a call nor a list.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        Some(Self {
            steps: self.steps,
            end: self.end.again()?,
            of: PhantomData,
        })
    }

    /// What a hook does that a layer does not have.
    pub(crate) fn pass(self, context: MiddlewareContext<M>) -> Passed<'a, M::Answer> {
        Passed(Box::pin(self.run(context)))
    }

    fn of<N>(self) -> Next<'a, N> {
        Next {
            steps: self.steps,
            end: self.end,
            of: PhantomData,
        }
    }
}

impl<M> fmt::Debug for Next<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("steps", &self.steps.len())
            .finish_non_exhaustive()
    }
}

/// The future of a hook that was left at its default. A hook whose future has another type is one that
/// a layer has: see [`Layer`].
pub struct Passed<'a, T>(BoxFuture<'a, Result<T>>);

impl<T> Future for Passed<'_, T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Waker<'_>) -> Poll<Result<T>> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Passed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passed")
    }
}

/// One hook of one layer.
#[derive(Clone, Debug)]
struct Step {
    layer: Layer,
    hook: Hook,
}

fn go<'a>(
    steps: &'a [Step],
    context: MiddlewareContext,
    end: Box<dyn End<'a> + 'a>,
) -> BoxFuture<'a, Result<Response>> {
    let Some((step, steps)) = steps.split_first() else {
        return end.run(context);
    };
    let next = Next {
        steps,
        end,
        of: PhantomData,
    };
    step.layer.call(step.hook, context, next)
}

/// Calls a hook for messages of one kind; others go on.
pub(super) fn hooked<'a, M: Operation, F>(
    context: MiddlewareContext,
    next: Next<'a>,
    hook: impl FnOnce(MiddlewareContext<M>, Next<'a, M>) -> F,
) -> BoxFuture<'a, Result<Response>>
where
    F: Future<Output = Result<M::Answer>> + Send + 'a,
{
    match M::narrow(context) {
        Ok(context) => Box::pin(hook(context, next.of()).map_ok(M::write)),
        Err(context) => go(next.steps, *context, next.end),
    }
}

/// The hooks that messages of one kind go through, from the outermost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    steps: Arc<[Step]>,
    is_typed: bool,
}

impl Chain {
    /// Picks the hooks of `layers` that are among `wanted`, which are in their order of nesting.
    pub(super) fn of(layers: &[Layer], wanted: &[Hook]) -> Self {
        let has = |layer: &Layer, hook: Hook| layer.hooks().has(hook);
        let steps = layers
            .iter()
            .flat_map(|layer| {
                let present = wanted.iter().filter(move |hook| has(layer, **hook));
                present.map(|hook| Step {
                    layer: layer.clone(),
                    hook: *hook,
                })
            })
            .collect::<Arc<[_]>>();
        Self {
            is_typed: steps.iter().any(|step| !step.hook.is_general()),
            steps,
        }
    }

    fn some(&self) -> Option<&Self> {
        (!self.steps.is_empty()).then_some(self)
    }

    /// Whether a hook among them looks into the answer.
    pub(crate) const fn is_typed(&self) -> bool {
        self.is_typed
    }

    /// Takes a message through all of them to `end`.
    pub(crate) fn run<'a>(
        &'a self,
        context: MiddlewareContext,
        end: Box<dyn End<'a> + 'a>,
    ) -> BoxFuture<'a, Result<Response>> {
        go(&self.steps, context, end)
    }
}

/// The chains of one server: one for each kind of messages.
#[derive(Debug)]
pub(crate) struct Chains {
    call_tool: Chain,
    read_resource: Chain,
    get_prompt: Chain,
    list_tools: Chain,
    list_resources: Chain,
    list_resource_templates: Chain,
    list_prompts: Chain,
    initialize: Chain,
    discover: Chain,
    request: Chain,
    notification: Chain,
}

impl Chains {
    /// Sorts the layers by their hooks; none where there is no layer with a hook.
    pub(crate) fn of(layers: &[Layer]) -> Option<Box<Self>> {
        let all = layers
            .iter()
            .fold(Hooks::default(), |all, layer| all | layer.hooks());
        if all.is_empty() {
            return None;
        }
        let request = |hook| Chain::of(layers, &[Hook::Message, Hook::Request, hook]);
        let list = |hook| Chain::of(layers, &[Hook::Message, Hook::Request, Hook::List, hook]);
        Some(Box::new(Self {
            call_tool: request(Hook::CallTool),
            read_resource: request(Hook::ReadResource),
            get_prompt: request(Hook::GetPrompt),
            list_tools: list(Hook::ListTools),
            list_resources: list(Hook::ListResources),
            list_resource_templates: list(Hook::ListResourceTemplates),
            list_prompts: list(Hook::ListPrompts),
            initialize: request(Hook::Initialize),
            discover: request(Hook::Discover),
            request: Chain::of(layers, &[Hook::Message, Hook::Request]),
            notification: Chain::of(layers, &[Hook::Message, Hook::Notification]),
        }))
    }

    /// The chain of calls of components of `kind`.
    pub(crate) fn call(&self, kind: Kind) -> Option<&Chain> {
        match kind {
            Kind::Tool => &self.call_tool,
            Kind::Resource | Kind::Template => &self.read_resource,
            Kind::Prompt => &self.get_prompt,
        }
        .some()
    }

    /// The chain of requests that are no calls of components; `None` is a method that is not served.
    pub(crate) fn request(&self, method: Option<Method>) -> Option<&Chain> {
        if let Some(kind) = method.and_then(Kind::listed_by) {
            return self.list(kind);
        }
        match method {
            Some(Method::ToolsCall | Method::ResourcesRead | Method::PromptsGet) => return None,
            Some(Method::Initialize) => &self.initialize,
            Some(Method::Discover) => &self.discover,
            _ => &self.request,
        }
        .some()
    }

    /// The chain of lists of `kind`.
    pub(crate) fn list(&self, kind: Kind) -> Option<&Chain> {
        match kind {
            Kind::Tool => &self.list_tools,
            Kind::Resource => &self.list_resources,
            Kind::Template => &self.list_resource_templates,
            Kind::Prompt => &self.list_prompts,
        }
        .some()
    }

    /// The chain of notifications.
    pub(crate) fn notification(&self) -> Option<&Chain> {
        self.notification.some()
    }
}

/// Awaits a call, and what it asks where only another round brings the answer: layers see a question
/// as the outcome that it is. What a handler calls itself goes on waiting, and its own call is what asks.
pub(crate) async fn asking(
    context: &Context,
    mut call: BoxFuture<'_, Result<Outcome>>,
) -> Result<Outcome> {
    if context.is_nested() {
        return call.await;
    }
    let replay = context.asking().replay();
    poll_fn(|cx| match call.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(outcome),
        // Questions that were joined are all open by now, so they go out together.
        Poll::Pending if replay.has_open() => Poll::Ready(Ok(Outcome::InputRequired(Asks {
            requests: replay.take_open(),
            state: context.gate_state(),
        }))),
        Poll::Pending => Poll::Pending,
    })
    .await
}
