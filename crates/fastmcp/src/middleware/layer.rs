//! Layers without their types.

use std::{any::TypeId, fmt, ops::BitOr, sync::Arc};

use futures_util::future::BoxFuture;

use super::{
    Middleware,
    chain::{Next, Passed, hooked},
    message::MiddlewareContext,
    ping::PingMiddleware,
    response::{Operation, Response},
};
use crate::error::Result;

macro_rules! hooks {
    ($($(#[$doc:meta])* $name:ident: $method:ident($message:ident)),* $(,)?) => {
        /// A hook of a layer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(crate) enum Hook { $($(#[$doc])* $name),* }

        /// A [`Middleware`] behind a pointer.
        trait Erased: Send + Sync {
            fn call<'a>(
                &'a self,
                hook: Hook,
                context: MiddlewareContext,
                next: Next<'a>,
            ) -> BoxFuture<'a, Result<Response>>;
        }

        impl<T: Middleware> Erased for T {
            fn call<'a>(
                &'a self,
                hook: Hook,
                context: MiddlewareContext,
                next: Next<'a>,
            ) -> BoxFuture<'a, Result<Response>> {
                match hook {
                    $(Hook::$name => hooks!(@call $message self $method context next)),*
                }
            }
        }

        impl Hooks {
            /// The hooks that `T` implements: those whose future is not the default's.
            fn of<T: Middleware>() -> Self {
                let mut hooks = Self::default();
                $(if is_implemented::<T, _, _>(T::$method) {
                    hooks.0 |= 1 << Hook::$name as u16;
                })*
                hooks
            }
        }
    };
    (@call Message $self:ident $method:ident $context:ident $next:ident) => {
        Box::pin($self.$method($context, $next))
    };
    (@call $message:ident $self:ident $method:ident $context:ident $next:ident) => {
        hooked($context, $next, |context, next| $self.$method(context, next))
    };
}

hooks! {
    /// Every message.
    Message: on_message(Message),
    /// Every request.
    Request: on_request(Message),
    /// Every list.
    List: on_list(Message),
    /// Every notification.
    Notification: on_notification(Notification),
    /// `initialize`.
    Initialize: on_initialize(Initialize),
    /// `server/discover`.
    Discover: on_discover(Discover),
    /// `tools/call`.
    CallTool: on_call_tool(CallTool),
    /// `resources/read`.
    ReadResource: on_read_resource(ReadResource),
    /// `prompts/get`.
    GetPrompt: on_get_prompt(GetPrompt),
    /// `tools/list`.
    ListTools: on_list_tools(ListTools),
    /// `resources/list`.
    ListResources: on_list_resources(ListResources),
    /// `resources/templates/list`.
    ListResourceTemplates: on_list_resource_templates(ListResourceTemplates),
    /// `prompts/list`.
    ListPrompts: on_list_prompts(ListPrompts),
}

impl Hook {
    /// Whether it gets messages of more than one kind, and so does not look into them.
    pub(crate) const fn is_general(self) -> bool {
        matches!(self, Self::Message | Self::Request | Self::List)
    }
}

/// Whether a hook of `T` is its own: the default is told by the type of its future, which nobody else
/// can make.
fn is_implemented<T, M, F>(
    _: impl Fn(&'static T, MiddlewareContext<M>, Next<'static, M>) -> F,
) -> bool
where
    T: 'static,
    M: Operation,
    F: 'static,
{
    TypeId::of::<F>() != TypeId::of::<Passed<'static, M::Answer>>()
}

/// A set of hooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hooks(u16);

impl Hooks {
    pub(crate) const fn has(self, hook: Hook) -> bool {
        self.0 & (1 << hook as u16) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Hooks {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A [`Middleware`] of any type, with what is known of its hooks. Cheap to clone; clones are the same
/// layer.
#[derive(Clone)]
pub struct Layer {
    erased: Arc<dyn Erased>,
    hooks: Hooks,
    name: &'static str,
    ping: Option<PingMiddleware>,
}

impl Layer {
    /// A layer that is `middleware`.
    pub fn new<T: Middleware>(middleware: T) -> Self {
        Self::shared(Arc::new(middleware))
    }

    /// A layer that is `middleware`, which its owner goes on looking at.
    #[must_use]
    pub fn shared<T: Middleware>(middleware: Arc<T>) -> Self {
        Self {
            erased: middleware,
            hooks: Hooks::of::<T>(),
            name: std::any::type_name::<T>(),
            ping: None,
        }
    }

    /// The same, which also says how clients are pinged.
    pub(super) const fn with_ping(mut self, ping: PingMiddleware) -> Self {
        self.ping = Some(ping);
        self
    }

    /// How clients are pinged.
    pub(crate) const fn ping(&self) -> Option<PingMiddleware> {
        self.ping
    }

    pub(crate) const fn hooks(&self) -> Hooks {
        self.hooks
    }

    pub(super) fn call<'a>(
        &'a self,
        hook: Hook,
        context: MiddlewareContext,
        next: Next<'a>,
    ) -> BoxFuture<'a, Result<Response>> {
        self.erased.call(hook, context, next)
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layer")
            .field("name", &self.name)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}

/// Becomes a layer: a [`Middleware`], one in an `Arc` that its owner goes on looking at, or a [`Layer`].
pub trait IntoLayer {
    /// The layer.
    fn into_layer(self) -> Layer;
}

impl<T: Middleware> IntoLayer for T {
    fn into_layer(self) -> Layer {
        Layer::new(self)
    }
}

impl<T: Middleware> IntoLayer for Arc<T> {
    fn into_layer(self) -> Layer {
        Layer::shared(self)
    }
}

impl IntoLayer for Layer {
    fn into_layer(self) -> Layer {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::prelude::*;

    struct Nothing;

    impl Middleware for Nothing {}

    struct Some;

    impl Middleware for Some {
        async fn on_message(&self, context: MiddlewareContext, next: Next<'_>) -> Result<Response> {
            next.run(context).await
        }

        async fn on_list_prompts(
            &self,
            _: MiddlewareContext<ListPrompts>,
            _: Next<'_, ListPrompts>,
        ) -> Result<Vec<Listed<Prompt>>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn the_hooks_of_a_layer_are_those_that_it_implements() {
        assert!(Layer::new(Nothing).hooks().is_empty());
        let hooks = Arc::new(Some).into_layer().hooks();
        assert!(hooks.has(Hook::Message) && hooks.has(Hook::ListPrompts));
        assert!(!hooks.has(Hook::Request) && !hooks.has(Hook::CallTool));
        assert_eq!(hooks.0.count_ones(), 2);
    }
}
