//! Servers within servers.
//!
//! An import copies what a server has at that moment, once. A mount shows what it has from moment to
//! moment, and calls go through its own gate and middleware after those of the server that shows it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use fastmcp_auth::Caller;
use fastmcp_protocol::completion::{CompleteParams, CompleteResult, Reference};
use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::{
    call::{Change, Follow, Input, Kind, Outcome},
    component::{Behind, Component, Definition, Handler},
    context::{Context, Home},
    engine::Engine,
    error::{Error, Result},
    gate::{Class, Leaf, Target},
    registry::{Entry, Linked, ProviderState, Registry, SourceId, State},
    session,
    transform::Namespace,
};

/// Held while a server is mounted, so that two do not become each other's part at once.
static MOUNTING: Mutex<()> = Mutex::new(());

/// Copies of what `server` has now.
pub(crate) fn copies(
    server: &Arc<Engine>,
    namespace: Option<&Namespace>,
) -> Result<Vec<Component>> {
    let snapshot = server.registry.snapshot();
    let copied = snapshot.all().map(|component| {
        let copy = match namespace {
            Some(namespace) => namespace.dress(component)?,
            None => Component::clone(component),
        };
        Ok(with_state_of(server, copy).into_import())
    });
    copied.collect()
}

/// The component with the state of the server that it came from, where it takes any.
fn with_state_of(server: &Arc<Engine>, component: Component) -> Component {
    if component.needs().is_empty() {
        return component;
    }
    let (home, code) = (Arc::clone(server), component.code());
    let component = component.completed_at(&(Arc::clone(server) as Arc<dyn Home>));
    let handler = move |context: Context, input: Input| {
        let context = context.at(Arc::clone(&home) as Arc<dyn Home>);
        code.call(context, input)
    };
    component
        .with_handler(handler)
        .with_needs(crate::context::Needs::default())
}

/// Shows in `parent` what `child` has, from now on.
///
/// # Errors
///
/// When `parent` is part of `child`, or what the child has cannot be shown.
pub(crate) fn mount(
    parent: &Arc<Engine>,
    child: &Arc<Engine>,
    namespace: Option<Namespace>,
) -> Result<SourceId> {
    let _one_at_a_time = MOUNTING.lock().unwrap_or_else(PoisonError::into_inner);
    if child.registry.shows(&parent.registry) {
        return Err(Error::internal(format!(
            "server `{}` cannot be mounted in `{}`, which is part of it",
            child.identity.info().name,
            parent.identity.info().name
        )));
    }
    let mount = Arc::new(Mount {
        parent: Arc::downgrade(parent),
        child: Arc::clone(child),
        namespace,
        source: OnceLock::new(),
        shown: Mutex::default(),
    });
    // Before the child is read, so that no change falls in between.
    let follower: Arc<dyn Follow> = Arc::clone(&mount) as _;
    child.registry.changes().follow(&follower);
    let (_, id) = parent.registry.rearrange(|sources| {
        let linked: Arc<dyn Linked> = Arc::clone(&mount) as _;
        let id = sources.attach(
            &child.identity.info().name,
            State::new(ProviderState::Ready),
            CancellationToken::new(),
            Some(linked),
        );
        let _first = mount.source.set(id);
        sources.publish(id, mount.components());
        Ok(id)
    })?;
    Ok(id)
}

/// One server in another.
#[derive(Debug)]
struct Mount {
    parent: Weak<Engine>,
    child: Arc<Engine>,
    namespace: Option<Namespace>,
    source: OnceLock<SourceId>,
    /// What stands for which component of the child, by its address: a change of one leaves the others as
    /// they were.
    shown: Mutex<HashMap<usize, Shown>>,
}

#[derive(Debug)]
struct Shown {
    /// Held, so that nothing else comes to stand at its address.
    theirs: Arc<Component>,
    ours: Arc<Component>,
}

impl Mount {
    /// What the child has, as it shows here.
    fn components(&self) -> Vec<Arc<Component>> {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::take(&mut *shown);
        let snapshot = self.child.registry.snapshot();
        for theirs in snapshot.all() {
            let address = Arc::as_ptr(theirs).addr();
            let ours = match before.get(&address) {
                Some(known) if Arc::ptr_eq(&known.theirs, theirs) => Ok(Arc::clone(&known.ours)),
                _ => self.dress(theirs).map(Arc::new),
            };
            match ours {
                Ok(ours) => {
                    let theirs = Arc::clone(theirs);
                    shown.insert(address, Shown { theirs, ours });
                }
                Err(error) => tracing::warn!(component = ?theirs, %error, "left out of a mount"),
            }
        }
        let in_order = snapshot.all().filter_map(|theirs| {
            let shown = shown.get(&Arc::as_ptr(theirs).addr())?;
            Some(Arc::clone(&shown.ours))
        });
        in_order.collect()
    }

    fn dress(&self, theirs: &Arc<Component>) -> Result<Component> {
        let passes = Arc::new(Passed {
            link: self.id(),
            server: Arc::clone(&self.child),
            component: Arc::clone(theirs),
        });
        let linked = theirs
            .with_handler(Arc::clone(&passes) as Arc<dyn Handler>)
            // The child puts its layers and its limit around the call; twice would count it twice.
            .with_around(Vec::new())
            .with_timeout(None)
            // Where a task begins, the child says once its gate has let the call through.
            .with_begins_task(true)
            .with_behind(passes);
        match &self.namespace {
            Some(namespace) => namespace.dress(&linked),
            None => Ok(linked),
        }
    }
}

impl Follow for Mount {
    fn components_changed(&self) {
        let (Some(parent), Some(id)) = (self.parent.upgrade(), self.source.get()) else {
            return;
        };
        // Read under the parent's lock, so that whoever writes last has read last.
        let published = parent.registry.rearrange(|sources| {
            sources.publish(*id, self.components());
            Ok(())
        });
        if let Err(error) = published {
            tracing::warn!(%error, "changes of a mounted server cannot be shown; what was there stays");
        }
    }

    fn told(&self, change: &Change) {
        let Some(parent) = self.parent.upgrade() else {
            return;
        };
        parent.registry.notify(match (change, &self.namespace) {
            (Change::Resource(uri), Some(namespace)) => {
                Change::Resource(namespace.outward(uri).into_owned())
            }
            (change, _) => change.clone(),
        });
    }
}

impl Linked for Mount {
    fn class(&self, caller: &Caller) -> Class {
        self.child.class(caller)
    }

    fn is_checked(&self) -> bool {
        self.child.is_checked(&self.child.registry.snapshot())
    }

    fn registry(&self) -> &Registry {
        &self.child.registry
    }

    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn is_layered(&self, kind: Kind) -> bool {
        self.child.is_layered(kind)
    }

    fn list(&self, context: Context, kind: Kind, apps: bool) -> BoxFuture<'_, Result<Vec<Entry>>> {
        let context = context.at(Arc::clone(&self.child) as Arc<dyn Home>);
        Box::pin(session::list(&self.child, context, kind, apps))
    }

    fn dressed(&self, definition: &Definition) -> Definition {
        match &self.namespace {
            Some(namespace) => namespace.definition(definition),
            None => definition.clone(),
        }
    }
}

/// A component of another server: calls go through that server's gate and middleware.
struct Passed {
    /// The mount that shows it.
    link: usize,
    server: Arc<Engine>,
    component: Arc<Component>,
}

impl Handler for Passed {
    fn call(&self, context: Context, input: Input) -> BoxFuture<'static, Result<Outcome>> {
        let (server, component) = (Arc::clone(&self.server), Arc::clone(&self.component));
        Box::pin(async move {
            server.life.start(&server.tracker).await?;
            let context = context.at(Arc::clone(&server) as Arc<dyn Home>);
            let target = Target {
                component: Arc::clone(&component),
            };
            let leaf = Leaf::passed_on(component);
            server.invoke(context, target, input, leaf).await
        })
    }
}

impl Behind for Passed {
    fn exists(&self, caller: &Caller) -> bool {
        self.server.sight(caller, None).exists(&self.component)
    }

    fn visible(&self, caller: &Caller) -> bool {
        self.server.sight(caller, None).visible(&self.component)
    }

    fn stands_for(&self) -> Option<(usize, &Component)> {
        Some((self.link, &self.component))
    }

    fn completes(&self) -> bool {
        self.server.completes()
    }

    fn complete(
        &self,
        context: Context,
        mut params: CompleteParams<'static>,
    ) -> BoxFuture<'static, Result<CompleteResult>> {
        let (server, component) = (Arc::clone(&self.server), Arc::clone(&self.component));
        Box::pin(async move {
            let name = component.key().to_owned().into();
            params.reference = match component.kind() {
                Kind::Prompt => Reference::Prompt { name },
                _ => Reference::Resource { uri: name },
            };
            let context = context.at(Arc::clone(&server) as Arc<dyn Home>);
            server.complete(context, params).await
        })
    }
}
