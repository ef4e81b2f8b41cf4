//! A folder that is looked at again and again.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use fastmcp_guard::{
    clock::Timestamp,
    files::{Entry, EntryKind},
};
use tokio::{task::spawn_blocking, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{Contents, Folder, Print, beneath, resource::uri};
use crate::{
    call::Change,
    component::Component,
    error::Result,
    registry::{ProviderState, Registry, SourceId, State},
    server::{Engine, Server},
};

/// How long after a change a file may change again without its time telling: what file systems count in.
const SETTLES_MS: u64 = 2_000;

impl Folder {
    /// Shows what the folder holds in `server`, and what it holds later, until the server ends or what is
    /// shown is taken away with [`Server::unmount`]. Subscribers are told of changes of the lists and of
    /// resources. While the folder cannot be read, what was read last stays.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read now.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, nothing is shown.
    pub async fn follow(self, server: &Server) -> Result<SourceId> {
        let folder = Arc::new(self);
        let contents = scan(&folder).await?;
        contents.log();
        let (print, components) = (contents.print, shared(contents.components));
        let registry = server.registry();
        let (_, id) = registry.rearrange(|sources| {
            let state = State::new(ProviderState::Ready);
            let id = sources.attach("folder", state, CancellationToken::new(), None);
            sources.publish(id, components);
            Ok(id)
        })?;
        let (engine, ends) = (Arc::downgrade(server.door()), server.shutdown().clone());
        server.spawn(async move {
            tokio::select! {
                () = look(&folder, &engine, id, print) => {}
                () = ends.cancelled() => {}
            }
        });
        Ok(id)
    }
}

/// Looks for changes until what is shown was taken away, or nobody has the server any more.
async fn look(folder: &Arc<Folder>, engine: &Weak<Engine>, id: SourceId, mut print: Print) {
    let mut ticks = tokio::time::interval(folder.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is at once.
    ticks.tick().await;
    let mut away = false;
    let mut unsettled = true;
    loop {
        ticks.tick().await;
        let Some(engine) = engine.upgrade().filter(|e| e.registry.has_source(id)) else {
            return;
        };
        let now = engine.clock().now();
        let found = entries(folder).await;
        let changed = found.as_ref().is_ok_and(|found| *found != print);
        let read = match found {
            Ok(_) if !changed && !unsettled => continue,
            Ok(_) => scan(folder).await,
            Err(error) => Err(error),
        };
        match read {
            Ok(contents) => {
                away = false;
                unsettled = contents.print.iter().any(|entry| is_fresh(entry, now));
                if changed {
                    contents.log();
                }
                show(folder, &engine.registry, id, &mut print, contents);
            }
            Err(error) if !away => {
                away = true;
                tracing::warn!(%error, "a folder cannot be read; what was read last stays");
            }
            Err(_) => {}
        }
    }
}

/// Whether a file may have changed since without its time telling.
fn is_fresh(entry: &Entry, now: Timestamp) -> bool {
    let modified = entry.modified.map_or(0, Timestamp::millis);
    modified.saturating_add(SETTLES_MS) > now.millis()
}

/// Shows what was read, and tells of resources that are not what they were.
fn show(folder: &Folder, registry: &Registry, id: SourceId, print: &mut Print, contents: Contents) {
    let changed = changed(folder, print, &contents.print);
    *print = contents.print;
    let components = shared(contents.components);
    let shown = registry.rearrange(|sources| {
        sources.publish(id, components);
        Ok(())
    });
    if let Err(error) = shown {
        tracing::warn!(%error, "what a folder holds cannot be shown; what was read last stays");
        return;
    }
    for uri in changed {
        registry.notify(Change::Resource(uri));
    }
}

/// The URIs of files that were there before and are not what they were.
fn changed(folder: &Folder, before: &[Entry], after: &[Entry]) -> Vec<String> {
    let before: HashMap<&str, &Entry> = before.iter().map(|e| (e.path.as_str(), e)).collect();
    let files = after.iter().filter(|entry| entry.kind == EntryKind::File);
    let changed = files.filter(|e| before.get(e.path.as_str()).is_some_and(|b| b != e));
    changed
        .filter_map(|entry| Some(uri(folder, beneath(&folder.resources, &entry.path)?)))
        .collect()
}

async fn scan(folder: &Arc<Folder>) -> Result<Contents> {
    let folder = Arc::clone(folder);
    spawn_blocking(move || folder.read()).await?
}

async fn entries(folder: &Arc<Folder>) -> Result<Print> {
    let folder = Arc::clone(folder);
    spawn_blocking(move || folder.print()).await?
}

fn shared(components: Vec<Component>) -> Vec<Arc<Component>> {
    components.into_iter().map(Arc::new).collect()
}
