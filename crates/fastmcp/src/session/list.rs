//! Lists, through the layers of the servers whose components they show.

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};

use crate::{
    call::Kind,
    component::Component,
    context::Context,
    engine::Engine,
    error::{Error, Result},
    middleware::{End, Message, MiddlewareContext, Response, Shown},
    registry::{Entry, Linked},
    router,
    session::survive,
};

/// How long the layers of a server that is shown here may take over their part of a list.
const PART_WITHIN: Duration = Duration::from_secs(30);

/// What a list shows, once the layers of servers that are shown here have seen their part of it, all at once.
pub(super) async fn entries(
    engine: &Engine,
    context: &Context,
    kind: Kind,
    shown: &Shown,
) -> Vec<Entry> {
    let links: Vec<_> = {
        let snapshot = engine.registry.snapshot();
        let linked = snapshot.linked().iter();
        linked.filter(|l| l.is_layered(kind)).cloned().collect()
    };
    let parts = links.iter().map(|link| async move {
        let part = part(&**link, context, kind, shown.apps).await;
        let part = part.unwrap_or_else(|error| {
            tracing::warn!(server = ?link, %error, "left out of a list: a layer of its own failed");
            Vec::new()
        });
        (&**link, part)
    });
    merged(&shown.components, &join_all(parts).await)
}

async fn part(link: &dyn Linked, context: &Context, kind: Kind, apps: bool) -> Result<Vec<Entry>> {
    let listing = pin!(link.list(context.clone(), kind, apps));
    tokio::time::timeout(PART_WITHIN, survive(listing))
        .await
        .unwrap_or_else(|_| Err(Error::internal("it took too long")))
}

/// What this server's list of `kind` is to a server that shows it: as its layers make it.
pub(crate) async fn list(
    engine: &Engine,
    context: Context,
    kind: Kind,
    apps: bool,
) -> Result<Vec<Entry>> {
    let components = router::shown(engine, &context.sight_of(engine), kind, apps).into();
    let shown = Shown { components, apps };
    let Some(chain) = engine.layers.as_ref().and_then(|l| l.list(kind)) else {
        return Ok(entries(engine, &context, kind, &shown).await);
    };
    let (message, method) = Message::list(kind, shown);
    let context = MiddlewareContext::request(message, method, context, engine.clock().now());
    let answer = chain.run(context, Box::new(Part { engine, kind })).await?;
    match answer.into_entries() {
        Some((listed, entries)) if listed == kind => Ok(entries),
        _ => Err(Error::internal(
            "a layer answered a list with something else",
        )),
    }
}

/// What is behind the last layer of a server that is shown by another one.
struct Part<'a> {
    engine: &'a Engine,
    kind: Kind,
}

impl<'a> End<'a> for Part<'a> {
    fn run(self: Box<Self>, context: MiddlewareContext) -> BoxFuture<'a, Result<Response>> {
        let Self { engine, kind } = *self;
        Box::pin(async move { answer(engine, kind, context).await })
    }

    fn again(&self) -> Option<Box<dyn End<'a> + 'a>> {
        Some(Box::new(Self { ..*self }))
    }
}

/// Answers a list behind the last layer of its server.
pub(super) async fn answer(
    engine: &Engine,
    kind: Kind,
    context: MiddlewareContext,
) -> Result<Response> {
    let (message, context) = context.into_parts();
    let shown = message
        .into_shown()
        .ok_or_else(|| Error::internal("a layer asked for something else than a list"))?;
    Ok(Response::list(
        kind,
        entries(engine, &context, kind, &shown).await,
    ))
}

/// Puts the parts in place of what they are parts of. What a part left out is left out; what it changed is told
/// as it is there, unless this server tells it differently anyway; what it added comes last.
fn merged(shown: &[Arc<Component>], parts: &[(&dyn Linked, Vec<Entry>)]) -> Vec<Entry> {
    let entry = |component: &Arc<Component>| {
        let ours = || Some(Entry::of(Arc::clone(component)));
        let Some((link, theirs)) = component.behind().and_then(|b| b.stands_for()) else {
            return ours();
        };
        let Some((link, part)) = parts.iter().find(|(one, _)| one.id() == link) else {
            return ours();
        };
        let is_same = |c: &Component| c.key() == theirs.key() && c.version() == theirs.version();
        let mut part = part.iter();
        let kept = part.find(|e| e.component.as_ref().is_some_and(|c| is_same(c)))?;
        let is_told_alike = || *component.definition() == link.dressed(theirs.definition());
        if kept.definition != *theirs.definition() && is_told_alike() {
            return Some(Entry {
                component: Some(Arc::clone(component)),
                definition: link.dressed(&kept.definition),
            });
        }
        ours()
    };
    let mut entries: Vec<_> = shown.iter().filter_map(entry).collect();
    for (link, part) in parts {
        for added in part.iter().filter(|entry| entry.component.is_none()) {
            let definition = link.dressed(&added.definition);
            // A name that is taken stays taken.
            if !entries
                .iter()
                .any(|e| e.definition.key() == definition.key())
            {
                entries.push(Entry {
                    component: None,
                    definition,
                });
            }
        }
    }
    entries
}
