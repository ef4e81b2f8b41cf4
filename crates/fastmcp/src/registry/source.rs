//! Where the components of one server come from, and which of them count.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fastmcp_auth::Caller;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Registry, filter::Rules};
use crate::{
    call::Kind,
    component::{Component, Definition, Version},
    context::Context,
    error::{Error, Result},
    gate::Class,
};

/// What happens when a server is given a component whose name it has already.
///
/// Components of one kind are the same when their name, URI or template is, and their version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicates {
    /// It is refused.
    #[default]
    Error,
    /// It replaces the one that was there, and that is logged.
    Warn,
    /// It replaces the one that was there.
    Replace,
    /// The one that was there stays.
    Ignore,
}

/// Another server whose components are shown here.
pub(crate) trait Linked: fmt::Debug + Send + Sync {
    /// Callers for whom the other server shows the same.
    fn class(&self, caller: &Caller) -> Class;

    /// Whether checks decide on what the other server shows.
    fn is_checked(&self) -> bool;

    /// What the other server has.
    fn registry(&self) -> &Registry;

    /// The address of the link, by which components that it shows name it.
    fn id(&self) -> usize;

    /// Whether layers look at the other server's list of `kind`, or at one that it shows itself.
    fn is_layered(&self, kind: Kind) -> bool;

    /// The other server's list of `kind` as its layers make it, by the names that it has there.
    fn list(&self, context: Context, kind: Kind, apps: bool) -> BoxFuture<'_, Result<Vec<Entry>>>;

    /// What clients are told of something of the other server, by its name here.
    fn dressed(&self, definition: &Definition) -> Definition;
}

/// An entry of a list: what clients are told, and the component behind it, where there is one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) component: Option<Arc<Component>>,
    pub(crate) definition: Definition,
}

impl Entry {
    pub(crate) fn of(component: Arc<Component>) -> Self {
        Self {
            definition: component.definition().clone(),
            component: Some(component),
        }
    }
}

/// What makes other components of those that a server has.
pub(crate) type Shape =
    Arc<dyn Fn(Vec<Arc<Component>>) -> Result<Vec<Arc<Component>>> + Send + Sync>;

/// Names what was mounted in one server, or another source of its components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u64);

/// How a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderState {
    /// It was not tried yet, or is for the first time.
    Starting,
    /// What it has is shown.
    Ready,
    /// It failed and is tried again; what it had before is shown.
    Failed {
        /// Why, for whoever runs the server.
        why: String,
        /// How often it failed in a row.
        attempts: u32,
    },
    /// It was stopped with its server.
    Stopped,
}

/// A source of a server, as [`Server::providers`](crate::Server::providers) shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderStatus {
    /// What it is taken away by.
    pub id: SourceId,
    /// What it calls itself.
    pub name: String,
    /// How it is.
    pub state: ProviderState,
    /// How many components it gives. A name that was taken before it came is not shown all the same.
    pub components: usize,
}

/// How a source is, where it is served and where that is shown.
#[derive(Clone, Debug)]
pub(crate) struct State(Arc<Mutex<ProviderState>>);

impl State {
    pub(crate) fn new(state: ProviderState) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn set(&self, state: ProviderState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn get(&self) -> ProviderState {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A source beside the server's own components.
#[derive(Clone, Debug)]
struct Source {
    id: SourceId,
    name: Arc<str>,
    state: State,
    /// Ends what serves it.
    stop: CancellationToken,
    components: Vec<Arc<Component>>,
    /// The server behind it, where it is one.
    linked: Option<Arc<dyn Linked>>,
}

/// Everything that a snapshot is made of.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    duplicates: Duplicates,
    /// The server's own components.
    pub(crate) own: Vec<Arc<Component>>,
    others: Vec<Source>,
    shapes: Vec<Shape>,
    /// What is enabled and disabled.
    pub(crate) rules: Rules,
    last: u64,
}

impl Sources {
    /// The components of a server's own, and what happens when two have one name.
    pub(crate) fn own(components: Vec<Component>, duplicates: Duplicates) -> Self {
        Self {
            duplicates,
            own: components.into_iter().map(Arc::new).collect(),
            ..Self::default()
        }
    }

    /// Puts everything that the server shows through these, in this order.
    pub(crate) fn with_shapes(mut self, shapes: Vec<Shape>, rules: Rules) -> Self {
        self.shapes = shapes;
        self.rules = rules;
        self
    }

    /// Adds a source, which has nothing yet. What serves it goes by `stop`.
    pub(crate) fn attach(
        &mut self,
        name: &str,
        state: State,
        stop: CancellationToken,
        linked: Option<Arc<dyn Linked>>,
    ) -> SourceId {
        self.last += 1;
        let id = SourceId(self.last);
        self.others.push(Source {
            id,
            name: name.into(),
            state,
            stop,
            components: Vec::new(),
            linked,
        });
        id
    }

    /// Takes a source away; what ends it, if it was there.
    pub(crate) fn detach(&mut self, id: SourceId) -> Option<CancellationToken> {
        let at = self.others.iter().position(|source| source.id == id)?;
        Some(self.others.remove(at).stop)
    }

    /// How the sources are.
    pub(crate) fn statuses(&self) -> Vec<ProviderStatus> {
        let status = |source: &Source| ProviderStatus {
            id: source.id,
            name: source.name.to_string(),
            state: source.state.get(),
            components: source.components.len(),
        };
        self.others.iter().map(status).collect()
    }

    /// Sets what a source has, if it is still there.
    pub(crate) fn publish(&mut self, id: SourceId, components: Vec<Arc<Component>>) {
        if let Some(source) = self.others.iter_mut().find(|source| source.id == id) {
            source.components = components;
        }
    }

    /// The servers that stand behind sources.
    pub(crate) fn linked(&self) -> impl Iterator<Item = &Arc<dyn Linked>> {
        self.others
            .iter()
            .filter_map(|source| source.linked.as_ref())
    }

    /// Whether components may come that are not there yet: there is a source beside the server's own, or was
    /// one, and clients know the lists already.
    pub(crate) const fn is_open(&self) -> bool {
        self.last > 0
    }

    /// What the server shows, and last what its rules hide: its own components first, then those of the other sources in the order in
    /// which they were added. A name that is taken stays taken, in whatever version, so that whoever comes
    /// later never answers for somebody else.
    pub(crate) fn settle(&mut self) -> Result<Vec<Arc<Component>>> {
        let own = std::mem::take(&mut self.own);
        self.own = without_duplicates(&own, self.duplicates)?;
        let mut shown = if self.others.is_empty() {
            self.own.clone()
        } else {
            let others = self.others.iter().map(|source| &source.components);
            first_of_each(std::iter::once(&self.own).chain(others))
        };
        for shape in &self.shapes {
            let shaped = shape(shown)?;
            shown = first_of_each(std::iter::once(&shaped));
        }
        let hidden: Vec<_> = shown
            .extract_if(.., |component| !self.rules.shows(component))
            .collect();
        tell_versions(&mut shown);
        // Nobody sees them but those whose session shows them.
        let hidden = hidden.iter().map(|c| Component::clone(c).into_disabled());
        shown.extend(hidden.map(Arc::new));
        Ok(shown)
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("own", &self.own.len())
            .field("others", &self.others)
            .finish_non_exhaustive()
    }
}

/// What clients call a component by.
type Name<'a> = (Kind, &'a str);

fn name(component: &Component) -> Name<'_> {
    (component.kind(), component.key())
}

/// Leaves out what has a name that a list before it has, and what its own list has twice. Components of
/// sources with tenants share names; the gate tells whose is whose.
fn first_of_each<'a>(lists: impl Iterator<Item = &'a Vec<Arc<Component>>>) -> Vec<Arc<Component>> {
    let mut owners: HashMap<Name<'a>, usize> = HashMap::new();
    let mut seen: HashSet<(Name<'a>, Option<&'a Version>)> = HashSet::new();
    let mut shown = Vec::new();
    for (list, components) in lists.enumerate() {
        for component in components {
            let is_first = *owners.entry(name(component)).or_insert(list) == list
                && seen.insert((name(component), component.version()));
            if is_first || component.is_extended() {
                shown.push(Arc::clone(component));
            } else {
                tracing::debug!(?component, "another one of this name stands before it");
            }
        }
    }
    shown
}

/// Tells clients which versions there are of what has several.
fn tell_versions(shown: &mut [Arc<Component>]) {
    let mut versions: HashMap<(Kind, String), Vec<Version>> = HashMap::new();
    for component in &*shown {
        if let Some(version) = component.version() {
            let of_name = (component.kind(), component.key().to_owned());
            versions.entry(of_name).or_default().push(version.clone());
        }
    }
    versions.retain(|_, all| all.len() > 1);
    versions
        .values_mut()
        .for_each(|all| all.sort_unstable_by_key(|version| Reverse(version.clone())));
    if versions.is_empty() {
        return;
    }
    for component in shown {
        let of_name = (component.kind(), component.key().to_owned());
        if let Some(all) = versions.get(&of_name) {
            let all: Vec<_> = all.iter().map(Version::as_str).collect();
            let mut told = Component::clone(component);
            told.tell("versions", json!(all));
            *component = Arc::new(told);
        }
    }
}

/// Components with those that share a name and a version settled by `policy`.
pub(crate) fn without_duplicates(
    components: &[Arc<Component>],
    policy: Duplicates,
) -> Result<Vec<Arc<Component>>> {
    let mut at: HashMap<(Name<'_>, Option<&Version>), usize> =
        HashMap::with_capacity(components.len());
    // Where each component ends up standing: the place of the first of its name.
    let mut stands: Vec<Option<&Arc<Component>>> = Vec::with_capacity(components.len());
    for component in components {
        let next = stands.len();
        let identity = (name(component), component.version());
        let place = *at.entry(identity).or_insert(next);
        // Components of sources with tenants share names; the gate tells whose is whose.
        if place == next || component.is_extended() {
            stands.push(Some(component));
            continue;
        }
        let Some(slot) = stands.get_mut(place) else {
            continue;
        };
        let both_imported = component.is_import() && slot.is_some_and(|one| one.is_import());
        match policy {
            // The most recent import of a name counts.
            _ if both_imported => *slot = Some(component),
            Duplicates::Ignore => {}
            Duplicates::Replace => *slot = Some(component),
            Duplicates::Warn => {
                tracing::warn!(?component, "registered again; the new one counts");
                *slot = Some(component);
            }
            Duplicates::Error => {
                return Err(Error::internal(format!(
                    "{:?} `{}` is registered twice; rename one of them, or say with `on_duplicate` \
                     which one counts",
                    component.kind(),
                    component.key()
                )));
            }
        }
    }
    let versioned = at.keys().filter(|(_, version)| version.is_some());
    if let Some(((kind, key), _)) = versioned
        .into_iter()
        .find(|(name, _)| at.contains_key(&(*name, None)))
    {
        return Err(Error::internal(format!(
            "{kind:?} `{key}` is registered with a version and without one; give both a version"
        )));
    }
    Ok(stands.into_iter().flatten().map(Arc::clone).collect())
}
