//! What a server has: snapshots of its components.
//!
//! A snapshot never changes; a change makes a new one and swaps it in. Lists are encoded once per
//! snapshot, revision and class of callers.

mod filter;
mod moved;
mod sight;
mod source;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytestring::ByteString;
use fastmcp_protocol::{ProtocolVersion, RpcError, tool::TaskSupport};
use serde_json::{Map, Value};
use tokio::sync::broadcast;

use crate::{
    call::{Changes, Told},
    component::{Component, Version},
    error::Result,
    gate::Class,
};

pub use crate::call::{Change, Kind};
pub use filter::Filter;
pub(crate) use filter::{Rules, Verdict};
pub(crate) use sight::Sight;
pub use source::{Duplicates, ProviderState, ProviderStatus, SourceId};
pub(crate) use source::{Entry, Linked, Shape, Sources, State, without_duplicates};

/// Encoded pages that are kept per snapshot, and bytes of them: callers choose offsets as they like.
const MAX_PAGES: usize = 4_096;
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;

/// The components of a server.
#[derive(Debug)]
pub struct Registry {
    snapshot: ArcSwap<Snapshot>,
    sources: Mutex<Sources>,
    changes: Changes,
}

impl Registry {
    /// Creates a registry.
    ///
    /// # Errors
    ///
    /// When two components of one kind have the same key and no extension tells them apart.
    pub fn new(components: Vec<Component>) -> Result<Self> {
        Self::of(Sources::own(components, Duplicates::Error))
    }

    /// Creates a registry of what there is.
    pub(crate) fn of(mut sources: Sources) -> Result<Self> {
        Ok(Self {
            snapshot: ArcSwap::from_pointee(Snapshot::new(&mut sources)?),
            sources: Mutex::new(sources),
            changes: Changes::new(),
        })
    }

    /// What is there now.
    #[must_use]
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Changes the server's own components and tells subscribers; whether anything is not what it was.
    ///
    /// # Errors
    ///
    /// As [`Self::new`]; then nothing is changed.
    pub fn edit(&self, change: impl FnOnce(&mut Vec<Arc<Component>>)) -> Result<bool> {
        self.rearrange(|sources| {
            change(&mut sources.own);
            Ok(())
        })
        .map(|(changed, ())| changed)
    }

    /// Changes what there is, tells subscribers and whoever shows it; whether anything is not what it was.
    /// Nothing is changed when something fails.
    pub(crate) fn rearrange<T>(
        &self,
        change: impl FnOnce(&mut Sources) -> Result<T>,
    ) -> Result<(bool, T)> {
        let mut guard = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sources = guard.clone();
        let made = change(&mut sources)?;
        let after = Arc::new(Snapshot::new(&mut sources)?);
        let before = self.snapshot.swap(Arc::clone(&after));
        *guard = sources;
        drop(guard);
        let mut changed = false;
        for kind in [Kind::Tool, Kind::Resource, Kind::Template, Kind::Prompt] {
            if before.hashes(kind).ne(after.hashes(kind)) {
                changed = true;
                let moved = moved::between(&before, &after, kind);
                self.changes.tell_here(Change::List(kind), moved);
            }
        }
        self.changes.components_changed();
        Ok((changed, made))
    }

    /// Tells subscribers of a change.
    pub fn notify(&self, change: Change) {
        self.changes.tell(change);
    }

    pub(crate) fn changes(&self) -> Changes {
        self.changes.clone()
    }

    /// How the sources beside the server's own components are.
    pub(crate) fn statuses(&self) -> Vec<ProviderStatus> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.statuses()
    }

    /// Whether what `other` has is shown here, directly or through others, or is what is here.
    pub(crate) fn shows(&self, other: &Self) -> bool {
        let linked: Vec<_> = {
            let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
            sources.linked().cloned().collect()
        };
        std::ptr::eq(self, other) || linked.iter().any(|link| link.registry().shows(other))
    }

    /// Hears of changes from now on, and what they are about.
    pub(crate) fn hear(&self) -> broadcast::Receiver<Told> {
        self.changes.hear()
    }

    /// Hears of changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

/// The components at one moment.
#[derive(Debug)]
pub struct Snapshot {
    components: Vec<Arc<Component>>,
    index: Index,
    /// Whether a tool runs as a task.
    tasks: bool,
    has_skills: bool,
    has_apps: bool,
    has_app_only: bool,
    completes: bool,
    /// Whether components may come that are not there yet.
    open: bool,
    linked: Vec<Arc<dyn Linked>>,
    /// Whether something has a version.
    versions: bool,
    has_checks: bool,
    pages: Mutex<Pages>,
}

/// The components by kind and key.
#[derive(Debug, Default)]
struct Index {
    tools: Keys,
    resources: Keys,
    templates: Keys,
    prompts: Keys,
}

type Keys = HashMap<String, Vec<Arc<Component>>>;

impl Index {
    const fn of(&self, kind: Kind) -> &Keys {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
            Kind::Prompt => &self.prompts,
        }
    }

    const fn of_mut(&mut self, kind: Kind) -> &mut Keys {
        match kind {
            Kind::Tool => &mut self.tools,
            Kind::Resource => &mut self.resources,
            Kind::Template => &mut self.templates,
            Kind::Prompt => &mut self.prompts,
        }
    }
}

impl Index {
    /// Puts the highest version of each name first.
    fn highest_first(&mut self) {
        for keys in [
            &mut self.tools,
            &mut self.resources,
            &mut self.templates,
            &mut self.prompts,
        ] {
            for same in keys.values_mut() {
                same.sort_by(|one, other| other.version().cmp(&one.version()));
            }
        }
    }
}

/// Pages that were encoded once.
#[derive(Debug, Default)]
struct Pages {
    encoded: HashMap<PageKey, ByteString>,
    bytes: usize,
}

impl Pages {
    fn keep(&mut self, key: PageKey, page: ByteString) {
        let key_bytes = key.allowed.as_ref().map_or(0, Vec::len);
        let bytes = key_bytes + page.len();
        if self.encoded.len() >= MAX_PAGES || self.bytes + bytes > MAX_PAGE_BYTES {
            *self = Self::default();
        }
        self.bytes += bytes;
        if let Some(before) = self.encoded.insert(key, page) {
            self.bytes -= key_bytes + before.len();
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PageKey {
    pub(crate) kind: Kind,
    pub(crate) class: Class,
    /// Which components checks allow the caller, in their order; none where nothing is checked. What a list
    /// shows follows from this and the class alone, whatever the checks look at.
    pub(crate) allowed: Option<Vec<bool>>,
    pub(crate) version: ProtocolVersion,
    pub(crate) offset: usize,
    /// Whether the client shows documents of MCP Apps.
    pub(crate) apps: bool,
}

impl Snapshot {
    fn new(sources: &mut Sources) -> Result<Self> {
        let components = sources.settle()?;
        let mut index = Index::default();
        for component in &components {
            index
                .of_mut(component.kind())
                .entry(component.key().to_owned())
                .or_default()
                .push(Arc::clone(component));
        }
        let versions = components.iter().any(|c| c.version().is_some());
        if versions {
            index.highest_first();
        }
        let tasks = components
            .iter()
            .any(|c| c.task_support() != TaskSupport::Forbidden);
        Ok(Self {
            has_apps: components.iter().any(|c| c.is_of_app()),
            has_app_only: components.iter().any(|c| c.is_app_only()),
            completes: components.iter().any(|c| c.completes()),
            open: sources.is_open(),
            versions,
            linked: sources.linked().cloned().collect(),
            has_checks: components.iter().any(|c| !c.checks().is_empty()),
            has_skills: components.iter().any(|c| c.skill().is_some()),
            components,
            index,
            tasks,
            pages: Mutex::default(),
        })
    }

    fn hashes(&self, kind: Kind) -> impl Iterator<Item = [u8; 32]> {
        self.of_kind(kind).map(|c| c.definition_hash())
    }

    /// The components of one kind, in the order of their registration.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Arc<Component>> {
        self.all().filter(move |c| c.kind() == kind)
    }

    /// Every component, in the order of their registration.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Component>> {
        self.components.iter().filter(|c| !c.is_disabled())
    }

    /// The components of one kind, and last those that rules hide.
    pub(crate) fn every(&self, kind: Kind) -> impl Iterator<Item = &Arc<Component>> {
        self.components.iter().filter(move |c| c.kind() == kind)
    }

    /// Whether there is a component of `kind` named `key`, whoever may see it.
    pub(crate) fn knows(&self, kind: Kind, key: &str) -> bool {
        self.index.of(kind).contains_key(key)
    }

    /// Whether there is a component of `kind`.
    #[must_use]
    pub fn has(&self, kind: Kind) -> bool {
        self.of_kind(kind).next().is_some()
    }

    /// Whether there is a component of `kind`, shown or hidden, or there may come one.
    pub(crate) fn may_have(&self, kind: Kind) -> bool {
        self.open || !self.index.of(kind).is_empty()
    }

    /// Whether arguments of something that is here are completed by what belongs to it.
    pub(crate) const fn completes(&self) -> bool {
        self.completes
    }

    /// The servers that stand behind what is here.
    pub(crate) fn linked(&self) -> &[Arc<dyn Linked>] {
        &self.linked
    }

    /// Whether a tool runs as a task.
    #[must_use]
    pub const fn has_tasks(&self) -> bool {
        self.tasks
    }

    /// Whether something belongs to MCP Apps.
    pub(crate) const fn has_apps(&self) -> bool {
        self.has_apps
    }

    /// Whether a tool is for documents of MCP Apps alone.
    pub(crate) const fn has_app_only(&self) -> bool {
        self.has_app_only
    }

    /// Whether a component decides itself who may use it.
    pub(crate) const fn has_checks(&self) -> bool {
        self.has_checks
    }

    /// Whether one of the resources is the manifest of a skill.
    pub(crate) const fn has_skills(&self) -> bool {
        self.has_skills
    }

    /// Of several versions of one name, the highest.
    pub(crate) fn highest<'a>(
        &self,
        components: Vec<&'a Arc<Component>>,
    ) -> Vec<&'a Arc<Component>> {
        if !self.versions {
            return components;
        }
        let mut best: HashMap<&str, &Version> = HashMap::new();
        for (key, version) in components
            .iter()
            .filter_map(|c| Some((c.key(), c.version()?)))
        {
            let slot = best.entry(key).or_insert(version);
            *slot = (*slot).max(version);
        }
        let is_best = |c: &&Arc<Component>| {
            let version = c.version();
            version.is_none_or(|version| best.get(c.key()) == Some(&version))
        };
        components.into_iter().filter(is_best).collect()
    }

    /// The component of `kind` named `key` that exists for who looks.
    pub(crate) fn find(&self, sight: &Sight<'_>, kind: Kind, key: &str) -> Option<Arc<Component>> {
        let named = self.index.of(kind).get(key)?;
        let mut there = named.iter().filter(|c| sight.exists(c));
        if !self.versions || named.len() == 1 {
            return there.next().cloned();
        }
        // The highest that the caller's lists show, as they show it.
        let highest = there.clone().next();
        there.find(|c| sight.visible(c)).or(highest).cloned()
    }

    /// As [`Self::find`], of one version.
    pub(crate) fn find_version(
        &self,
        sight: &Sight<'_>,
        (kind, key): (Kind, &str),
        version: &Version,
    ) -> Option<Arc<Component>> {
        let named = self.index.of(kind).get(key)?;
        let mut there = named.iter().filter(|c| sight.exists(c));
        there.find(|c| c.version() == Some(version)).cloned()
    }

    /// The resource or template that answers `uri`, with the template's parameters.
    pub(crate) fn find_resource(
        &self,
        sight: &Sight<'_>,
        uri: &str,
    ) -> Option<(Arc<Component>, Map<String, Value>)> {
        if let Some(resource) = self.find(sight, Kind::Resource, uri) {
            return Some((resource, Map::new()));
        }
        let (component, params) = self.every(Kind::Template).find_map(|component| {
            let params = component.template()?.matches(uri)?;
            sight.exists(component).then_some((component, params))
        })?;
        if component.version().is_none() {
            return Some((Arc::clone(component), params));
        }
        Some((self.find(sight, Kind::Template, component.key())?, params))
    }

    /// As [`Self::find_resource`], of one version.
    pub(crate) fn find_resource_version(
        &self,
        sight: &Sight<'_>,
        uri: &str,
        version: &Version,
    ) -> Option<Arc<Component>> {
        let resource = self.find_version(sight, (Kind::Resource, uri), version);
        resource.or_else(|| {
            let (template, _) = self.find_resource(sight, uri)?;
            self.find_version(sight, (Kind::Template, template.key()), version)
        })
    }

    /// Whether another component than `component` has its name.
    fn has_rival(&self, component: &Arc<Component>) -> bool {
        let named = self.index.of(component.kind()).get(component.key());
        named.is_some_and(|all| all.iter().any(|other| !Arc::ptr_eq(other, component)))
    }

    /// The page that was encoded before, or what `encode` makes of the visible components.
    pub(crate) fn page(
        &self,
        key: PageKey,
        encode: impl FnOnce() -> Result<ByteString>,
    ) -> Result<ByteString> {
        if let Some(page) = self.lock().encoded.get(&key) {
            return Ok(page.clone());
        }
        let page = encode()?;
        self.lock().keep(key, page.clone());
        Ok(page)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An opaque cursor for a page.
pub(crate) fn cursor(offset: usize) -> String {
    URL_SAFE_NO_PAD.encode(format!("o{offset}"))
}

/// The offset in a cursor of ours.
pub(crate) fn offset(cursor: Option<&str>) -> std::result::Result<usize, RpcError> {
    let Some(cursor) = cursor else { return Ok(0) };
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix('o')?.parse().ok())
        .filter(|offset| *offset > 0)
        .ok_or_else(|| RpcError::invalid_params("`cursor` is not one of this server"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_pages_are_bounded_in_number_and_bytes() {
        let key = |offset| PageKey {
            kind: Kind::Tool,
            class: Class::default(),
            allowed: None,
            version: ProtocolVersion::LATEST,
            apps: false,
            offset,
        };
        let mut pages = Pages::default();
        for offset in 0..100_000 {
            pages.keep(key(offset), "x".repeat(100).into());
            assert!(pages.encoded.len() <= MAX_PAGES);
        }
        let large = ByteString::from("x".repeat(MAX_PAGE_BYTES / 4));
        for offset in 0..10 {
            pages.keep(key(offset), large.clone());
            pages.keep(key(offset), large.clone());
            let bytes: usize = pages.encoded.values().map(|page| page.len()).sum();
            assert!(bytes == pages.bytes && bytes <= MAX_PAGE_BYTES, "{bytes}");
        }
    }

    #[test]
    fn cursors_are_our_own() {
        assert_eq!(offset(None), Ok(0));
        assert_eq!(offset(Some(&cursor(50))), Ok(50));
        for wrong in ["", "x", "bzA", &cursor(0)] {
            assert!(offset(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
