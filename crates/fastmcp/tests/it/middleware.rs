//! Layers, over the in-memory transport.

mod builtin;
mod caching;
mod hooks;
mod logging;
mod mounted;
mod ping;

use std::sync::{Arc, Mutex};

use fastmcp::{middleware::prelude::*, prelude::*};

/// Writes down each hook that it is called at.
#[derive(Clone)]
pub(crate) struct Tracer {
    name: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Tracer {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            seen: Arc::default(),
        }
    }

    /// Another that writes into the same list.
    pub(crate) fn beside(&self, name: &'static str) -> Self {
        Self {
            name,
            seen: Arc::clone(&self.seen),
        }
    }

    fn note(&self, what: &str) {
        self.seen
            .lock()
            .unwrap()
            .push(format!("{}.{what}", self.name));
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

macro_rules! traced {
    ($($hook:ident($message:ty) -> $answer:ty;)*) => {
        impl Middleware for Tracer {
            $(async fn $hook(
                &self,
                context: MiddlewareContext<$message>,
                next: Next<'_, $message>,
            ) -> Result<$answer> {
                self.note(&format!("{} {}", stringify!($hook), context.method()));
                let answer = next.run(context).await;
                let end = if answer.is_ok() { "ok" } else { "failed" };
                self.note(&format!("{} {end}", stringify!($hook)));
                answer
            })*
        }
    };
}

traced! {
    on_message(Message) -> Response;
    on_request(Message) -> Response;
    on_list(Message) -> Response;
    on_notification(Notification) -> ();
    on_initialize(fastmcp::middleware::Initialize) -> fastmcp::protocol::initialize::InitializeResult;
    on_discover(fastmcp::middleware::Discover) -> fastmcp::protocol::discover::DiscoverResult;
    on_call_tool(CallTool) -> Outcome<CallToolResult>;
    on_read_resource(ReadResource) -> Outcome<ReadResourceResult>;
    on_get_prompt(GetPrompt) -> Outcome<GetPromptResult>;
    on_list_tools(ListTools) -> Vec<Listed<Tool>>;
    on_list_resources(ListResources) -> Vec<Listed<Resource>>;
    on_list_resource_templates(ListResourceTemplates) -> Vec<Listed<ResourceTemplate>>;
    on_list_prompts(ListPrompts) -> Vec<Listed<Prompt>>;
}
