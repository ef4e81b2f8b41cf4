//! The policies that can possibly match a request, and no others.
//!
//! What policies come to before the context is known is kept (see [`crate::settle`]), for each request of few: those of its slice. INVARIANT: a slice
//! leaves out only policies whose [`Reach`] excludes the request, and a reach rests only on attributes that every request has.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use cedar_policy::{Policy, PolicySet, PolicySetError};

use crate::action::Action;
use crate::cache::Cache;
use crate::compile::{Listing, Reach, Role, Unit};
use crate::decision::Reason;
use crate::reads::Reads;
use crate::settle::Left;

/// The most slices of one generation of the cache.
const SLICES_MAX: usize = 2_048;

/// What a slice is cut for. Names that no policy knows are all the same to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SliceKey {
    action: Action,
    tool: Option<String>,
    provider: Option<String>,
    roles: Vec<String>,
}

/// Policies, ready for Cedar.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) units: Vec<Arc<Unit>>,
    /// What is known of those that are left to Cedar.
    pub(crate) left: Option<Left>,
    pub(crate) reads: Reads,
    /// Made when it is asked for.
    listing: OnceLock<PolicySet>,
}

/// A slice from the cache.
pub(crate) type Cut = Arc<(SliceKey, Slice)>;

/// Every policy, by what its reach names first.
#[derive(Debug)]
pub(crate) struct Index {
    units: Vec<Arc<Unit>>,
    by_tool: HashMap<String, Vec<usize>>,
    by_provider: HashMap<String, Vec<usize>>,
    /// Those that name neither tool nor provider.
    open: Vec<usize>,
    tools: BTreeSet<String>,
    providers: BTreeSet<String>,
    roles: BTreeSet<String>,
    cut: Cache<SliceKey, Slice>,
}

impl Reach {
    fn admits(&self, key: &SliceKey) -> bool {
        let fits = |names: &Option<BTreeSet<String>>, name: &Option<String>| match (names, name) {
            (None, _) => true,
            (Some(names), Some(name)) => names.contains(name),
            (Some(_), None) => false,
        };
        self.actions.contains(&key.action)
            && fits(&self.tools, &key.tool)
            && fits(&self.providers, &key.provider)
            && self
                .roles
                .as_ref()
                .is_none_or(|roles| key.roles.iter().any(|role| roles.contains(role)))
    }
}

impl Index {
    pub(crate) fn new(units: Vec<Arc<Unit>>) -> Self {
        let mut index = Self {
            units: Vec::new(),
            by_tool: HashMap::new(),
            by_provider: HashMap::new(),
            open: Vec::new(),
            tools: BTreeSet::new(),
            providers: BTreeSet::new(),
            roles: BTreeSet::new(),
            cut: Cache::new(SLICES_MAX),
        };
        for (at, unit) in units.iter().enumerate() {
            index.enter(at, &unit.reach);
        }
        index.units = units;
        index
    }

    fn enter(&mut self, at: usize, reach: &Reach) {
        let known = |names: &Option<BTreeSet<String>>| names.clone().unwrap_or_default();
        self.tools.append(&mut known(&reach.tools));
        self.providers.append(&mut known(&reach.providers));
        self.roles.append(&mut known(&reach.roles));
        match (&reach.tools, &reach.providers) {
            (Some(tools), _) => tools
                .iter()
                .for_each(|tool| self.by_tool.entry(tool.clone()).or_default().push(at)),
            (None, Some(providers)) => {
                providers.iter().for_each(|provider| {
                    self.by_provider
                        .entry(provider.clone())
                        .or_default()
                        .push(at)
                });
            }
            (None, None) => self.open.push(at),
        }
    }

    /// Every policy.
    pub(crate) fn units(&self) -> &[Arc<Unit>] {
        &self.units
    }

    /// Returns the policies that can match a request of these parts. `tool` is the tool's id and its provider's.
    pub(crate) fn slice(
        &self,
        action: Action,
        tool: Option<(&str, &str)>,
        roles: &BTreeSet<String>,
    ) -> Result<Cut, Reason> {
        let provider = tool
            .map(|(_, provider)| provider)
            .filter(|provider| self.providers.contains(*provider));
        let tool = tool
            .map(|(tool, _)| tool)
            .filter(|tool| self.tools.contains(*tool));
        let roles: Vec<&str> = roles
            .iter()
            .map(String::as_str)
            .filter(|role| self.roles.contains(*role))
            .collect();
        let hash = self.cut.hash((action, tool, provider, &roles));
        let same = |key: &SliceKey| {
            key.action == action
                && key.tool.as_deref() == tool
                && key.provider.as_deref() == provider
                && key.roles == roles
        };
        if let Some(cut) = self.cut.find(hash, same) {
            return Ok(cut);
        }
        let key = SliceKey {
            action,
            tool: tool.map(str::to_owned),
            provider: provider.map(str::to_owned),
            roles: roles.into_iter().map(str::to_owned).collect(),
        };
        let slice = Slice::new(
            self.candidates(&key)
                .filter(|unit| unit.reach.admits(&key))
                .cloned()
                .collect(),
        )?;
        let cut = Arc::new((key, slice));
        self.cut.put(hash, Arc::clone(&cut));
        Ok(cut)
    }

    fn candidates(&self, key: &SliceKey) -> impl Iterator<Item = &Arc<Unit>> {
        let by_tool = key.tool.as_ref().and_then(|tool| self.by_tool.get(tool));
        let by_provider = key
            .provider
            .as_ref()
            .and_then(|provider| self.by_provider.get(provider));
        let named = by_tool.into_iter().chain(by_provider).flatten();
        self.open
            .iter()
            .chain(named)
            .filter_map(|at| self.units.get(*at))
    }
}

impl Slice {
    pub(crate) fn new(units: Vec<Arc<Unit>>) -> Result<Self, Reason> {
        let mut reads = Reads::default();
        units.iter().for_each(|unit| reads.add(&unit.reads));
        Ok(Self {
            left: Left::of(&units)?,
            reads,
            units,
            listing: OnceLock::new(),
        })
    }

    /// Returns the grants as a listing sees them; `None` where that does not differ.
    pub(crate) fn listing(&self) -> Result<Option<&PolicySet>, Reason> {
        if !self.reads.reads_arguments() {
            return Ok(None);
        }
        if let Some(listing) = self.listing.get() {
            return Ok(Some(listing));
        }
        let listing = listing(&self.units)?;
        Ok(Some(self.listing.get_or_init(|| listing)))
    }

    pub(crate) fn is_forbid(&self, id: &str) -> bool {
        self.units
            .iter()
            .any(|unit| unit.role == Role::Forbid && &*unit.id == id)
    }
}

fn listing(units: &[Arc<Unit>]) -> Result<PolicySet, Reason> {
    let grants = units.iter().filter(|unit| unit.role != Role::Oblige);
    let shown = grants.filter_map(|unit| match &unit.listing {
        Listing::Same => Some(unit.policy.clone()),
        Listing::Relaxed(policy) => Some(Policy::clone(policy)),
        Listing::Left => None,
    });
    PolicySet::from_policies(shown).map_err(clash)
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
pub(crate) fn clash(error: PolicySetError) -> Reason {
    Reason::Undecidable {
        what: format!("the policies do not fit together: {error}"),
    }
}
