//! What the builders of tools, resources and prompts have in common.

use std::sync::Arc;

use fastmcp_protocol::content::{Icon, Meta};

use super::{
    Around, Complete, Component, Definition, Handler, Marks, SharedCheck, Version, check_icons,
    completion::Completers,
};
use crate::{
    context::Needs,
    error::{Error, Result},
};

/// What every builder is told.
#[derive(Default)]
pub(crate) struct Basics {
    pub(crate) title: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) icons: Option<Vec<Icon>>,
    pub(crate) meta: Option<Meta>,
    pub(crate) scopes: Vec<String>,
    pub(crate) checks: Vec<SharedCheck>,
    pub(crate) tags: Vec<String>,
    pub(crate) needs: Needs,
    pub(crate) marks: Marks,
    pub(crate) version: Option<String>,
    pub(crate) around: Vec<Arc<dyn Around>>,
    /// What completes arguments, by their names.
    pub(crate) completers: Vec<(String, Arc<dyn Complete>)>,
}

impl Basics {
    /// Settles what clients are told, once it is sure that they may be told it.
    pub(crate) fn settle(&mut self) -> Result<()> {
        check_icons(self.icons.as_deref())?;
        self.marks.describe(&mut self.description, &mut self.meta);
        Ok(())
    }

    /// The component.
    pub(crate) fn component(
        self,
        definition: Definition,
        handler: impl Handler,
    ) -> Result<Component> {
        let component = Component::new(definition, handler)
            .with_required_scopes(self.scopes)
            .with_checks(self.checks)
            .with_around(self.around)
            .with_tags(self.tags)
            .with_needs(self.needs)
            .with_marks(self.marks)
            .with_completers(Completers::of(self.completers));
        Ok(match self.version {
            Some(version) => component.with_version(Version::parse(&version)?),
            None => component,
        })
    }
}

/// Puts what a builder was told into a definition of any kind.
macro_rules! tell {
    ($basics:expr => $definition:expr) => {
        $definition.title = $basics.title.take();
        $definition.description = $basics.description.take();
        $definition.icons = $basics.icons.take();
        $definition.meta = $basics.meta.take();
    };
}
pub(crate) use tell;

/// Says of which component what is wrong.
pub(crate) fn wrong(what: &str, key: &str, error: &Error) -> Error {
    Error::internal(format!("{what} `{key}`: {}", error.message()))
}

macro_rules! basics {
    ($($builder:ident: $what:literal)*) => {$(
        impl super::$builder {
            #[doc = concat!("Describes the ", $what, " for the model.")]
            #[must_use]
            pub fn description(mut self, text: impl Into<String>) -> Self {
                self.basics.description = Some(text.into());
                self
            }

            #[doc = concat!("Names the ", $what, " for people.")]
            #[must_use]
            pub fn title(mut self, text: impl Into<String>) -> Self {
                self.basics.title = Some(text.into());
                self
            }

            /// Shows clients an icon; may be repeated.
            #[must_use]
            pub fn icon(mut self, icon: Icon) -> Self {
                self.basics.icons.get_or_insert_default().push(icon);
                self
            }

            /// Sets `_meta`.
            #[must_use]
            pub fn meta(mut self, meta: Meta) -> Self {
                self.basics.meta = Some(meta);
                self
            }

            /// Names the values that the function must be handed by the server, which then cannot be built
            /// without them. The attributes name them by themselves.
            #[must_use]
            pub fn needs(mut self, name: impl FnOnce(&mut Needs)) -> Self {
                name(&mut self.basics.needs);
                self
            }

            /// Says that it is on its way out, and in a few words what to do instead: `use x`. Its description and
            /// `_meta` say so, calls are logged and counted: see [`Component::deprecation`].
            #[must_use]
            pub fn deprecated(mut self, note: impl Into<String>) -> Self {
                self.basics.marks.deprecated = Some(note.into());
                self
            }

            /// Makes it a part of a feature: it is there only on servers that
            /// [enable](crate::FastMcp::enable_feature) this.
            #[must_use]
            pub fn feature(mut self, name: impl Into<String>) -> Self {
                self.basics.marks.feature = Some(name.into());
                self
            }

            /// Adds a tag.
            #[must_use]
            pub fn tag(mut self, tag: impl Into<String>) -> Self {
                self.basics.tags.push(tag.into());
                self
            }

            /// Gives it a version; see [`Component::with_version`].
            #[must_use]
            pub fn version(mut self, version: impl Into<String>) -> Self {
                self.basics.version = Some(version.into());
                self
            }

            /// Lets only those use it whom `check` allows; may be repeated, then all must. See
            /// [`crate::authorize`].
            #[must_use]
            pub fn auth<F>(mut self, check: F) -> Self
            where
                F: Fn(&fastmcp_auth::Caller, &Component) -> super::Decision + Send + Sync + 'static,
            {
                self.basics.checks.push(Arc::new(check));
                self
            }

            /// Demands a scope of the caller.
            #[must_use]
            pub fn require_scope(mut self, scope: impl Into<String>) -> Self {
                self.basics.scopes.push(scope.into());
                self
            }

            /// Puts code around the handler, within what is around it already.
            pub(crate) fn around(mut self, around: Arc<dyn Around>) -> Self {
                self.basics.around.push(around);
                self
            }
        }
    )*};
}

basics! {
    ToolBuilder: "tool"
    ResourceBuilder: "resource"
    PromptBuilder: "prompt"
}
