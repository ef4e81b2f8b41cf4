//! Components that are shown or not, by what they are.

use std::collections::BTreeSet;

use crate::{
    call::Kind,
    component::{Component, VersionSpec},
    error::{Error, Result},
};

/// The most rules that a server keeps.
const MAX_RULES: usize = 1_024;

/// Some of a server's components. What is not said does not matter; of several values, one must fit.
///
/// ```
/// use fastmcp::{prelude::*, registry::Filter};
///
/// /// Deletes everything.
/// #[tool(tags("admin"))]
/// async fn wipe() {}
///
/// # fn example() -> Result<()> {
/// let server = FastMcp::new("demo").tool(wipe).build()?;
/// server.disable(Filter::new().tag("admin"))?;
/// server.enable(Filter::new().name("wipe"))?;
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    kinds: Vec<Kind>,
    names: BTreeSet<String>,
    keys: BTreeSet<String>,
    tags: BTreeSet<String>,
    version: Option<VersionSpec>,
}

impl Filter {
    /// Every component.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Of this kind; may be repeated.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Of this name, URI or template; may be repeated.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.names.insert(name.into());
        self
    }

    /// Of this key: `tool:NAME`, `resource:URI`, `template:URI` or `prompt:NAME`, with `@VERSION` for one
    /// version; may be repeated.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.keys.insert(key.into());
        self
    }

    /// With this tag; may be repeated.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// With one of these tags.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Of one of these versions; what has no version is not meant.
    #[must_use]
    pub fn version(mut self, versions: VersionSpec) -> Self {
        self.version = Some(versions);
        self
    }

    /// Whether `component` is one of them.
    #[must_use]
    pub fn matches(&self, component: &Component) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&component.kind()))
            && (self.names.is_empty() || self.names.contains(component.key()))
            && (self.tags.is_empty() || !self.tags.is_disjoint(component.tags()))
            && self.has_key(component)
            && self.version.as_ref().is_none_or(|versions| {
                component
                    .version()
                    .is_some_and(|version| versions.matches(version))
            })
    }

    fn has_key(&self, component: &Component) -> bool {
        if self.keys.is_empty() {
            return true;
        }
        let kind = match component.kind() {
            Kind::Tool => "tool",
            Kind::Resource => "resource",
            Kind::Template => "template",
            Kind::Prompt => "prompt",
        };
        let key = format!("{kind}:{}", component.key());
        let of_version = component
            .version()
            .map(|version| self.keys.contains(&format!("{key}@{version}")));
        self.keys.contains(&key) || of_version.unwrap_or_default()
    }
}

/// What a rule does to the components that it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Enable,
    Disable,
}

/// Which components of a server are shown: the last rule that means one decides.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    rules: Vec<(Verdict, Filter)>,
    /// What was said of everything; of what no rule means it holds.
    rest: Option<Verdict>,
}

impl Rules {
    /// Adds a rule in place of the one that meant the same.
    pub(crate) fn add(&mut self, verdict: Verdict, filter: Filter) -> Result<()> {
        if filter == Filter::default() {
            // All there is: what was said before does not matter any more.
            self.rules.clear();
            self.rest = Some(verdict);
            return Ok(());
        }
        self.rules.retain(|(_, one)| *one != filter);
        if self.rules.len() >= MAX_RULES {
            return Err(Error::internal(format!(
                "more than {MAX_RULES} rules enable and disable components; use tags"
            )));
        }
        self.rules.push((verdict, filter));
        Ok(())
    }

    /// Shows what `filter` means and nothing else.
    pub(crate) fn only(&mut self, filter: Filter) -> Result<()> {
        self.add(Verdict::Disable, Filter::default())?;
        self.add(Verdict::Enable, filter)
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether nothing was said of anything.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.rest.is_none()
    }

    /// What they say of the component.
    pub(crate) fn decide(&self, component: &Component) -> Option<Verdict> {
        let mut last = self.rules.iter().rev();
        let decided = last.find(|(_, filter)| filter.matches(component));
        decided.map_or(self.rest, |(verdict, _)| Some(*verdict))
    }

    /// Whether the component is shown where nothing else decides.
    pub(crate) fn shows(&self, component: &Component) -> bool {
        self.decide(component) != Some(Verdict::Disable)
    }
}
