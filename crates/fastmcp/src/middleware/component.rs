//! Layers around one component.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::{
    chain::{Chain, End, asking},
    layer::{Hook, IntoLayer, Layer},
    message::{
        CallTool, GetPrompt, ListPrompts, ListResourceTemplates, ListResources, ListTools, Message,
        MiddlewareContext, Named, ReadResource, Shown,
    },
    response::Response,
};
use crate::{
    call::{Input, Kind, Outcome},
    component::{Around, Component, Inside, PromptBuilder, ResourceBuilder, ToolBuilder},
    error::Result,
};

impl Message {
    /// The message of a call that was resolved.
    pub(crate) fn call(component: Arc<Component>, input: Input) -> Self {
        Self::named(component.kind(), Named::Found(component), input)
    }

    /// The message of a call.
    pub(crate) fn named(kind: Kind, named: Named, input: Input) -> Self {
        match kind {
            Kind::Tool => Self::CallTool(CallTool {
                named,
                arguments: input.args,
            }),
            Kind::Prompt => Self::GetPrompt(GetPrompt {
                named,
                arguments: input.args,
            }),
            Kind::Resource | Kind::Template => Self::ReadResource(ReadResource {
                named,
                uri: input.uri.unwrap_or_default(),
            }),
        }
    }

    /// A look at a list, and the name of its method on the wire.
    pub(crate) const fn list(kind: Kind, shown: Shown) -> (Self, &'static str) {
        match kind {
            Kind::Tool => (Self::ListTools(ListTools { shown }), "tools/list"),
            Kind::Resource => (
                Self::ListResources(ListResources { shown }),
                "resources/list",
            ),
            Kind::Template => (
                Self::ListResourceTemplates(ListResourceTemplates { shown }),
                "resources/templates/list",
            ),
            Kind::Prompt => (Self::ListPrompts(ListPrompts { shown }), "prompts/list"),
        }
    }

    /// What a list shows before layers look at it.
    pub(crate) fn into_shown(self) -> Option<Shown> {
        match self {
            Self::ListTools(list) => Some(list.shown),
            Self::ListResources(list) => Some(list.shown),
            Self::ListResourceTemplates(list) => Some(list.shown),
            Self::ListPrompts(list) => Some(list.shown),
            _ => None,
        }
    }

    /// What a handler is called with.
    pub(crate) fn into_input(self) -> Input {
        match self {
            Self::CallTool(call) => Input {
                args: call.arguments,
                uri: None,
            },
            Self::GetPrompt(get) => Input {
                args: get.arguments,
                uri: None,
            },
            Self::ReadResource(read) => Input {
                args: None,
                uri: Some(read.uri),
            },
            _ => Input::default(),
        }
    }
}

/// The name on the wire of what calls components of `kind`.
pub(crate) const fn method_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Tool => "tools/call",
        Kind::Resource | Kind::Template => "resources/read",
        Kind::Prompt => "prompts/get",
    }
}

/// One layer around one component.
struct Wrapped {
    tool: Chain,
    resource: Chain,
    prompt: Chain,
}

impl Wrapped {
    fn new(layer: &Layer) -> Self {
        let layers = std::slice::from_ref(layer);
        let chain = |hook| Chain::of(layers, &[Hook::Message, Hook::Request, hook]);
        Self {
            tool: chain(Hook::CallTool),
            resource: chain(Hook::ReadResource),
            prompt: chain(Hook::GetPrompt),
        }
    }
}

impl Around for Wrapped {
    fn call(&self, inside: Inside) -> BoxFuture<'static, Result<Outcome>> {
        let kind = inside.component.kind();
        let chain = match kind {
            Kind::Tool => self.tool.clone(),
            Kind::Resource | Kind::Template => self.resource.clone(),
            Kind::Prompt => self.prompt.clone(),
        };
        Box::pin(async move {
            let message = Message::call(Arc::clone(&inside.component), inside.input.clone());
            let now = inside.context.now();
            let context =
                MiddlewareContext::request(message, method_of(kind), inside.context.clone(), now);
            let end = Box::new(Handler {
                inside,
                is_repeated: false,
            });
            chain.run(context, end).await?.into_outcome()
        })
    }
}

/// The handler and the layers within.
struct Handler {
    inside: Inside,
    is_repeated: bool,
}

impl<'a> End<'a> for Handler {
    fn run(self: Box<Self>, context: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
        let (message, context) = context.into_parts();
        if self.is_repeated {
            context.restart();
        }
        let mut inside = self.inside;
        inside.input = message.into_input();
        Box::pin(async move { Ok(Response::Call(asking(&context, inside.run()).await?)) })
    }

    fn again(&self) -> Option<Box<dyn End<'a> + 'a>> {
        self.inside.component.is_repeatable().then(|| {
            Box::new(Self {
                inside: self.inside.clone(),
                is_repeated: true,
            }) as Box<dyn End<'a> + 'a>
        })
    }
}

macro_rules! layered {
    ($($builder:ident)*) => {$(
        impl $builder {
            /// Puts a layer around this component alone: of its hooks, those for messages, requests and
            /// calls of this kind. It runs within the gate and the server's layers, before arguments are
            /// decoded; the first is the outermost.
            #[must_use]
            pub fn middleware(self, layer: impl IntoLayer) -> Self {
                self.around(Arc::new(Wrapped::new(&layer.into_layer())))
            }
        }
    )*};
}

layered!(ToolBuilder ResourceBuilder PromptBuilder);
