//! Calls that go through layers.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context as Waker, Poll},
};

use futures_util::future::BoxFuture;

use super::Engine;
use crate::{
    call::{Input, Outcome},
    context::Context,
    error::Result,
    gate::{Gate as _, Leaf, Target},
    middleware::{Chain, End, Message, MiddlewareContext, Response, asking, method_of},
};

/// A call under way. It is no `async` block: that would be one more box around each call.
pub(crate) enum Invoked<'a> {
    /// Through layers.
    Layered(BoxFuture<'a, Result<Response>>),
    /// Straight to the gate.
    Plain(BoxFuture<'a, Result<Outcome>>),
}

impl Future for Invoked<'_> {
    type Output = Result<Outcome>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Waker<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Layered(answer) => {
                let answer = answer.as_mut().poll(cx);
                answer.map(|answer| answer?.into_outcome())
            }
            Self::Plain(call) => call.as_mut().poll(cx),
        }
    }
}

/// Puts a resolved call through `chain`, and then through the gate.
pub(super) fn invoke<'a>(
    engine: &'a Engine,
    chain: &'a Chain,
    context: Context,
    target: Target,
    (input, leaf): (Input, Leaf),
) -> BoxFuture<'a, Result<Response>> {
    let message = Message::call(Arc::clone(&target.component), input);
    let method = method_of(target.component().kind());
    let context = MiddlewareContext::request(message, method, context, engine.clock.now());
    let end = Box::new(Call {
        engine,
        target,
        leaf,
        is_repeated: false,
    });
    chain.run(context, end)
}

/// A call behind the last layer.
struct Call<'a> {
    engine: &'a Engine,
    target: Target,
    leaf: Leaf,
    is_repeated: bool,
}

impl<'a> End<'a> for Call<'a> {
    fn run(self: Box<Self>, context: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
        let (message, context) = context.into_parts();
        if self.is_repeated {
            context.restart();
        }
        let Self {
            engine,
            target,
            leaf,
            ..
        } = *self;
        let input = message.into_input();
        // Begun here, so that the future does not carry what the call takes with it.
        let call = engine.gate.invoke(context.clone(), target, input, leaf);
        Box::pin(async move { Ok(Response::Call(asking(&context, call).await?)) })
    }

    fn again(&self) -> Option<Box<dyn End<'a> + 'a>> {
        let leaf = self.leaf.again()?;
        Some(Box::new(Self {
            engine: self.engine,
            target: self.target.clone(),
            leaf,
            is_repeated: true,
        }))
    }
}
