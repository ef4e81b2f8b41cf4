//! Fewer components.

use std::{fmt, sync::Arc};

use super::{Host, Transform};
use crate::{
    component::{Component, VersionSpec},
    error::Result,
    registry::Filter,
};

/// Keeps components of some versions.
///
/// ```
/// use fastmcp::{prelude::*, transform::VersionFilter};
///
/// # fn example() -> Result<()> {
/// let v1 = FastMcp::new("v1").transform(VersionFilter::new().lt("2.0")?);
/// # Ok(())
/// # }
/// # example().unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct VersionFilter {
    versions: VersionSpec,
    include_unversioned: bool,
}

impl Default for VersionFilter {
    fn default() -> Self {
        Self {
            versions: VersionSpec::new(),
            include_unversioned: true,
        }
    }
}

impl VersionFilter {
    /// Keeps every version.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps this version and later ones.
    ///
    /// # Errors
    ///
    /// When it is no version.
    pub fn gte(mut self, version: &str) -> Result<Self> {
        self.versions = self.versions.gte(version)?;
        Ok(self)
    }

    /// Keeps versions before this one.
    ///
    /// # Errors
    ///
    /// When it is no version.
    pub fn lt(mut self, version: &str) -> Result<Self> {
        self.versions = self.versions.lt(version)?;
        Ok(self)
    }

    /// Whether components without a version stay. Default: they do.
    #[must_use]
    pub const fn include_unversioned(mut self, include: bool) -> Self {
        self.include_unversioned = include;
        self
    }
}

impl Transform for VersionFilter {
    fn apply(&self, mut components: Vec<Arc<Component>>, _: &Host) -> Result<Vec<Arc<Component>>> {
        components.retain(|component| {
            component
                .version()
                .map_or(self.include_unversioned, |v| self.versions.matches(v))
        });
        Ok(components)
    }
}

/// Shows or hides components by what they are.
///
/// ```
/// use fastmcp::{prelude::*, registry::{Filter, Kind}, transform::Visibility};
///
/// let server = FastMcp::new("demo")
///     .transform(Visibility::hide(Filter::new().tag("internal")))
///     .transform(Visibility::by(|component| component.kind() != Kind::Prompt));
/// ```
#[derive(Clone)]
pub struct Visibility(Arc<dyn Fn(&Component) -> bool + Send + Sync>);

impl Visibility {
    /// Shows what `filter` means and nothing else.
    #[must_use]
    pub fn only(filter: Filter) -> Self {
        Self::by(move |component| filter.matches(component))
    }

    /// Hides what `filter` means.
    #[must_use]
    pub fn hide(filter: Filter) -> Self {
        Self::by(move |component| !filter.matches(component))
    }

    /// Shows what `shows` says yes to. Asked when components change, not when somebody calls: for what
    /// depends on the caller there are gates and checks.
    #[must_use]
    pub fn by(shows: impl Fn(&Component) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(shows))
    }
}

impl fmt::Debug for Visibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visibility").finish_non_exhaustive()
    }
}

impl Transform for Visibility {
    fn apply(&self, mut components: Vec<Arc<Component>>, _: &Host) -> Result<Vec<Arc<Component>>> {
        components.retain(|component| (self.0)(component));
        Ok(components)
    }
}
