//! What the upstream has, as components of the proxy.

use std::{collections::HashSet, sync::Arc};

use fastmcp_auth::Caller;
use fastmcp_protocol::completion::{CompleteParams, CompleteResult, Reference};
use futures_util::future::BoxFuture;

use super::{forward::Upstream, lists};
use crate::{
    call::{Input, Outcome},
    client::{self, Subscription},
    component::{Behind, Component, Definition, UriTemplate},
    context::Context,
    error::Result,
    registry::{Change, Kind},
    server::{FastMcp, Server},
};

/// Tells clients of the proxy what the upstream is for, and completes by asking it.
pub(super) fn describe(upstream: &Arc<Upstream>, base: FastMcp) -> FastMcp {
    let base = match upstream.client.instructions() {
        Some(instructions) => base.instructions(instructions),
        None => base,
    };
    if upstream.client.server_capabilities().completions.is_none() {
        return base;
    }
    let upstream = Arc::clone(upstream);
    base.completion(move |_: Caller, params: CompleteParams<'static>| {
        let upstream = Arc::clone(&upstream);
        async move {
            let (argument, context) = (params.argument, params.context);
            upstream
                .client
                .complete(params.reference, &argument.name, &argument.value, context)
                .await
        }
    })
}

/// Hears of changes of the upstream's lists; nothing where it tells of none.
pub(super) async fn changes(upstream: &Upstream) -> Option<Subscription> {
    match upstream.client.subscribe(lists()).await {
        Ok(changes) => Some(changes),
        Err(error) => {
            tracing::info!(%error, "the upstream does not tell of changes; its lists are read once");
            None
        }
    }
}

/// Reads the upstream's lists anew whenever they change.
pub(super) async fn follow(upstream: &Arc<Upstream>, server: &Server, mut changes: Subscription) {
    while let Some(change) = changes.next().await {
        upstream.client.forget_answers();
        let read = components(upstream).await;
        let changed = read.and_then(|components| {
            server.registry().edit(|shown| {
                *shown = components.into_iter().map(Arc::new).collect();
            })
        });
        match changed {
            Ok(true) => {}
            // The upstream says that something changed: its clients hear it, whatever it was.
            Ok(false) => told(server, &change),
            Err(error) => {
                tracing::warn!(%error, "the upstream's lists cannot be read; the last ones stay");
            }
        }
    }
}

fn told(server: &Server, change: &client::Change) {
    let kinds: &[Kind] = match change {
        client::Change::Tools => &[Kind::Tool],
        client::Change::Prompts => &[Kind::Prompt],
        client::Change::Resources => &[Kind::Resource],
        client::Change::Resource(_) => &[],
    };
    for kind in kinds {
        server.registry().notify(Change::List(*kind));
    }
}

/// What a change of the upstream is to those who are shown its components.
pub(super) fn shown(change: client::Change) -> Change {
    match change {
        client::Change::Tools => Change::List(Kind::Tool),
        client::Change::Prompts => Change::List(Kind::Prompt),
        client::Change::Resources => Change::List(Kind::Resource),
        client::Change::Resource(uri) => Change::Resource(uri),
    }
}

/// Everything that the upstream has.
pub(super) async fn components(upstream: &Arc<Upstream>) -> Result<Vec<Component>> {
    let (client, has) = (&upstream.client, upstream.client.server_capabilities());
    let mut definitions = Vec::new();
    if has.tools.is_some() {
        definitions.extend(client.list_tools().await?.into_iter().map(|mut tool| {
            // Calls are forwarded as they are; a task of the upstream is not one of ours.
            tool.execution = None;
            Definition::Tool(tool)
        }));
    }
    if has.resources.is_some() {
        let resources = client.list_resources().await?;
        definitions.extend(resources.into_iter().map(Definition::Resource));
        let templates = client.list_resource_templates().await?;
        definitions.extend(templates.into_iter().map(Definition::Template));
    }
    if has.prompts.is_some() {
        let prompts = client.list_prompts().await?;
        definitions.extend(prompts.into_iter().map(Definition::Prompt));
    }
    let mut seen: HashSet<(Kind, String)> = HashSet::new();
    let components = definitions
        .into_iter()
        .filter_map(|definition| component(upstream, definition));
    Ok(components
        .filter(|component| {
            let new = seen.insert((component.kind(), component.key().to_owned()));
            if !new {
                tracing::warn!(
                    ?component,
                    "the upstream lists this twice; the first counts"
                );
            }
            new
        })
        .collect())
}

/// Completes arguments of a component by asking the upstream, which knows it by its own name.
struct Completes {
    upstream: Arc<Upstream>,
    reference: Reference<'static>,
}

impl Behind for Completes {
    fn exists(&self, _: &Caller) -> bool {
        true
    }

    fn visible(&self, _: &Caller) -> bool {
        true
    }

    fn stands_for(&self) -> Option<(usize, &Component)> {
        None
    }

    fn completes(&self) -> bool {
        true
    }

    fn complete(
        &self,
        _: Context,
        params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<CompleteResult>> {
        let (upstream, reference) = (Arc::clone(&self.upstream), self.reference.clone());
        Box::pin(async move {
            let (argument, context) = (params.argument, params.context);
            let completed =
                upstream
                    .client
                    .complete(reference, &argument.name, &argument.value, context);
            Ok(completed.await?.into())
        })
    }
}

/// What is completed of a component, where the upstream completes at all.
fn completes(upstream: &Arc<Upstream>, definition: &Definition) -> Option<Completes> {
    upstream.client.server_capabilities().completions.as_ref()?;
    let reference = match definition {
        Definition::Prompt(prompt) => Reference::Prompt {
            name: prompt.name.clone().into(),
        },
        Definition::Template(template) => Reference::Resource {
            uri: template.uri_template.clone().into(),
        },
        Definition::Tool(_) | Definition::Resource(_) => return None,
    };
    Some(Completes {
        upstream: Arc::clone(upstream),
        reference,
    })
}

fn component(upstream: &Arc<Upstream>, definition: Definition) -> Option<Component> {
    let completes = completes(upstream, &definition);
    let template = match &definition {
        Definition::Template(template) => match UriTemplate::parse(&template.uri_template) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                tracing::warn!(%error, "a template of the upstream is left out");
                return None;
            }
        },
        _ => None,
    };
    let (method, name) = match &definition {
        Definition::Tool(tool) => ("tools/call", tool.name.clone()),
        Definition::Prompt(prompt) => ("prompts/get", prompt.name.clone()),
        Definition::Resource(_) | Definition::Template(_) => ("resources/read", String::new()),
    };
    let upstream = Arc::clone(upstream);
    let handler = move |context: Context, input: Input| -> BoxFuture<'static, Result<Outcome>> {
        let (upstream, name) = (Arc::clone(&upstream), name.clone());
        Box::pin(async move { upstream.forward(method, &name, context, input).await })
    };
    let mut component = Component::new(definition, handler);
    if let Some(completes) = completes {
        component = component.with_behind(Arc::new(completes));
    }
    Some(match template {
        Some(template) => component.with_template(template),
        None => component,
    })
}
