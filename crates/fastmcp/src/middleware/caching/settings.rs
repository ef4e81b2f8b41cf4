//! What is kept for how long, and how often that helped.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::component::{Component, Definition};

/// How long lists are kept.
const LIST_TTL: Duration = Duration::from_secs(300);
/// How long results are kept.
const RESULT_TTL: Duration = Duration::from_secs(3_600);
/// The shortest time that stores know.
const MIN_TTL: Duration = Duration::from_millis(1);

macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident($ttl:expr, $default:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name {
            pub(super) ttl: Duration,
            pub(super) enabled: bool,
        }

        impl $name {
            #[doc = concat!("Kept for ", $default, ".")]
            #[must_use]
            pub const fn new() -> Self {
                Self { ttl: $ttl, enabled: true }
            }

            #[doc = concat!("How long; at least 1 ms. Default ", $default, ".")]
            #[must_use]
            pub fn ttl(mut self, ttl: Duration) -> Self {
                self.ttl = ttl.max(MIN_TTL);
                self
            }

            /// Whether at all. Default: yes.
            #[must_use]
            pub const fn enabled(mut self, enabled: bool) -> Self {
                self.enabled = enabled;
                self
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }
    )*};
}

settings! {
    /// How lists of tools are kept.
    ListToolsSettings(LIST_TTL, "5 min");
    /// How lists of resources are kept.
    ListResourcesSettings(LIST_TTL, "5 min");
    /// How lists of resource templates are kept.
    ListResourceTemplatesSettings(LIST_TTL, "5 min");
    /// How lists of prompts are kept.
    ListPromptsSettings(LIST_TTL, "5 min");
    /// How contents of resources are kept.
    ReadResourceSettings(RESULT_TTL, "1 h");
    /// How prompts are kept.
    GetPromptSettings(RESULT_TTL, "1 h");
}

impl ReadResourceSettings {
    pub(super) fn keeps(&self, component: Option<&Component>) -> bool {
        self.enabled && component.is_some()
    }
}

impl GetPromptSettings {
    pub(super) fn keeps(&self, component: Option<&Component>) -> bool {
        self.enabled && component.is_some()
    }
}

/// How results of tools are kept.
#[derive(Clone, Debug)]
pub struct CallToolSettings {
    pub(super) ttl: Duration,
    enabled: bool,
    included: Option<BTreeSet<String>>,
    excluded: BTreeSet<String>,
}

impl Default for CallToolSettings {
    fn default() -> Self {
        Self::new()
    }
}

impl CallToolSettings {
    /// Kept for 1 h, where the tool is marked read-only.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            ttl: RESULT_TTL,
            enabled: true,
            included: None,
            excluded: BTreeSet::new(),
        }
    }

    /// How long; at least 1 ms. Default 1 h.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl.max(MIN_TTL);
        self
    }

    /// Whether at all. Default: yes.
    #[must_use]
    pub const fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Keeps results of these tools alone, whether or not they are marked read-only. A tool that does
    /// something does it once, for all calls that are answered from here.
    #[must_use]
    pub fn included_tools<I, S>(mut self, tools: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.included = Some(tools.into_iter().map(Into::into).collect());
        self
    }

    /// Keeps no results of these tools.
    #[must_use]
    pub fn excluded_tools<I, S>(mut self, tools: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        self.excluded = tools.into_iter().map(Into::into).collect();
        self
    }

    pub(super) fn keeps(&self, component: Option<&Component>) -> bool {
        let Some(component) = component.filter(|_| self.enabled) else {
            return false;
        };
        let named = match &self.included {
            Some(included) => included.contains(component.key()),
            None => matches!(component.definition(), Definition::Tool(t) if t.is_read_only()),
        };
        named && !self.excluded.contains(component.key())
    }
}

/// How often answers of one kind were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// So often they were.
    pub hits: u64,
    /// So often they were not.
    pub misses: u64,
}

/// How often answers were found, by their kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatistics {
    /// Lists of tools.
    pub list_tools: Counts,
    /// Lists of resources.
    pub list_resources: Counts,
    /// Lists of resource templates.
    pub list_resource_templates: Counts,
    /// Lists of prompts.
    pub list_prompts: Counts,
    /// Results of tools.
    pub call_tool: Counts,
    /// Contents of resources.
    pub read_resource: Counts,
    /// Prompts.
    pub get_prompt: Counts,
}

impl CacheStatistics {
    fn all(&self) -> [Counts; 7] {
        [
            self.list_tools,
            self.list_resources,
            self.list_resource_templates,
            self.list_prompts,
            self.call_tool,
            self.read_resource,
            self.get_prompt,
        ]
    }

    /// How often an answer was found.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.all().iter().map(|counts| counts.hits).sum()
    }

    /// How often an answer was looked for and not found.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.all().iter().map(|counts| counts.misses).sum()
    }
}

/// Counts of one kind.
#[derive(Debug, Default)]
pub(super) struct Counter {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Counter {
    pub(super) fn count(&self, hit: bool) {
        let counted = if hit { &self.hits } else { &self.misses };
        counted.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> Counts {
        Counts {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
        }
    }
}

/// Counts of every kind.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) list_tools: Counter,
    pub(super) list_resources: Counter,
    pub(super) list_resource_templates: Counter,
    pub(super) list_prompts: Counter,
    pub(super) call_tool: Counter,
    pub(super) read_resource: Counter,
    pub(super) get_prompt: Counter,
}

impl Counters {
    pub(super) fn read(&self) -> CacheStatistics {
        CacheStatistics {
            list_tools: self.list_tools.read(),
            list_resources: self.list_resources.read(),
            list_resource_templates: self.list_resource_templates.read(),
            list_prompts: self.list_prompts.read(),
            call_tool: self.call_tool.read(),
            read_resource: self.read_resource.read(),
            get_prompt: self.get_prompt.read(),
        }
    }
}
