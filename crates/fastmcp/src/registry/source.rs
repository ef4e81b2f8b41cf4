//! Where the components of one server come from, and which of them count.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use fastmcp_auth::Caller;

use super::Registry;
use crate::{
    call::Kind,
    component::Component,
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

    /// What the other server has.
    fn registry(&self) -> &Registry;
}

/// Names what was mounted in one server, or another source of its components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u64);

/// A source beside the server's own components.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    id: SourceId,
    pub(crate) components: Vec<Arc<Component>>,
    /// The server behind it, where it is one.
    linked: Option<Arc<dyn Linked>>,
}

/// Everything that a snapshot is made of.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) duplicates: Duplicates,
    /// The server's own components.
    pub(crate) own: Vec<Arc<Component>>,
    others: Vec<Source>,
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

    /// Adds a source, which has nothing yet.
    pub(crate) fn attach(&mut self, linked: Option<Arc<dyn Linked>>) -> SourceId {
        self.last += 1;
        let id = SourceId(self.last);
        self.others.push(Source {
            id,
            components: Vec::new(),
            linked,
        });
        id
    }

    /// Takes a source away; whether it was there.
    pub(crate) fn detach(&mut self, id: SourceId) -> bool {
        let before = self.others.len();
        self.others.retain(|source| source.id != id);
        self.others.len() < before
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

    /// Whether components may come that are not there yet.
    pub(crate) const fn is_open(&self) -> bool {
        !self.others.is_empty()
    }

    /// What the server shows: its own components first, then those of the other sources in the order in
    /// which they were added. A name that is taken stays taken, so that whoever comes later never
    /// answers for somebody else.
    pub(crate) fn settle(&mut self) -> Result<Vec<Arc<Component>>> {
        let own = std::mem::take(&mut self.own);
        self.own = without_duplicates(&own, self.duplicates)?;
        if self.others.is_empty() {
            return Ok(self.own.clone());
        }
        let others = self.others.iter().flat_map(|source| &source.components);
        Ok(first_of_each(self.own.iter().chain(others).cloned()))
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

/// What makes two components the same.
type Identity<'a> = (Kind, &'a str);

fn identity(component: &Component) -> Identity<'_> {
    (component.kind(), component.key())
}

/// Leaves out what has the name of something before it. Components of sources with tenants share names;
/// the gate tells whose is whose.
fn first_of_each(components: impl Iterator<Item = Arc<Component>>) -> Vec<Arc<Component>> {
    let all: Vec<_> = components.collect();
    let mut seen = HashSet::with_capacity(all.len());
    let keep: Vec<bool> = all
        .iter()
        .map(|one| seen.insert(identity(one)) || one.is_extended())
        .collect();
    let shown = all.iter().zip(keep).filter(|(one, keep)| {
        if !keep {
            tracing::debug!(component = ?one, "another one of this name stands before it");
        }
        *keep
    });
    shown.map(|(one, _)| Arc::clone(one)).collect()
}

/// A server's own components, with those that share a name settled by `policy`.
fn without_duplicates(
    components: &[Arc<Component>],
    policy: Duplicates,
) -> Result<Vec<Arc<Component>>> {
    let mut at: HashMap<Identity<'_>, usize> = HashMap::with_capacity(components.len());
    // Where each component ends up standing: the place of the first of its name.
    let mut stands: Vec<Option<&Arc<Component>>> = Vec::with_capacity(components.len());
    for component in components {
        let next = stands.len();
        let place = *at.entry(identity(component)).or_insert(next);
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
    Ok(stands.into_iter().flatten().map(Arc::clone).collect())
}
