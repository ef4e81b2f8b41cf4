//! Which operation becomes what, and under which name.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt,
};

use http::Method;
use regex::{Regex, RegexBuilder};

use crate::error::{Error, Result};

/// The longest name that is made, in bytes.
const MAX_NAME: usize = 56;
/// The most memory that a pattern may take once it is compiled.
const MAX_PATTERN: usize = 1 << 20;

/// One operation of the document, as functions that decide about it see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path as the document writes it, `/pets/{id}`.
    pub path: String,
    /// The `operationId`.
    pub operation_id: Option<String>,
    /// The `summary`.
    pub summary: Option<String>,
    /// The `description`.
    pub description: Option<String>,
    /// The tags.
    pub tags: Vec<String>,
    /// Whether it is marked as deprecated.
    pub deprecated: bool,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What an operation becomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RouteKind {
    /// A tool.
    #[default]
    Tool,
    /// A resource with one URI: a `GET` that needs no parameters.
    Resource,
    /// Resources whose URIs carry the parameters of a `GET`.
    ResourceTemplate,
    /// Nothing.
    Exclude,
}

/// A rule: operations that fit all of it become `kind`. The first rule that fits decides; an operation that
/// fits none becomes a tool.
///
/// ```
/// use fastmcp::openapi::{RouteKind, RouteMap};
///
/// // Nothing of the administration, and what is read becomes resources.
/// let rules = [
///     RouteMap::new(RouteKind::Exclude).pattern("^/admin/"),
///     RouteMap::new(RouteKind::ResourceTemplate).methods(["GET"]).pattern(r"\{.*\}"),
///     RouteMap::new(RouteKind::Resource).methods(["GET"]),
/// ];
/// ```
#[derive(Clone, Debug)]
pub struct RouteMap {
    methods: Vec<String>,
    pattern: Option<String>,
    tags: BTreeSet<String>,
    kind: RouteKind,
    adds: BTreeSet<String>,
}

impl RouteMap {
    /// A rule that every operation fits.
    #[must_use]
    pub const fn new(kind: RouteKind) -> Self {
        Self {
            methods: Vec::new(),
            pattern: None,
            tags: BTreeSet::new(),
            kind,
            adds: BTreeSet::new(),
        }
    }

    /// Fits these methods alone, in any case. Default: all.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.methods.extend(methods.into_iter().map(Into::into));
        self
    }

    /// Fits paths in which this regular expression is found. Default: all.
    #[must_use]
    pub fn pattern(mut self, pattern: impl Into<String>) -> Self {
        self.pattern = Some(pattern.into());
        self
    }

    /// Fits operations that have all of these tags. Default: all.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tags.extend(tags.into_iter().map(Into::into));
        self
    }

    /// Gives what comes of it these tags besides its own.
    #[must_use]
    pub fn add_tags(mut self, tags: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.adds.extend(tags.into_iter().map(Into::into));
        self
    }
}

/// A rule that is ready to be asked.
#[derive(Debug)]
pub(super) struct Rule {
    map: RouteMap,
    pattern: Option<Regex>,
}

impl Rule {
    pub(super) fn compile(map: RouteMap) -> Result<Self> {
        let compiled = map
            .pattern
            .as_deref()
            .map(|p| RegexBuilder::new(p).size_limit(MAX_PATTERN).build());
        let pattern = compiled.transpose().map_err(|e| {
            Error::internal(format!(
                "route map: `pattern` is no regular expression: {e}"
            ))
        })?;
        Ok(Self { map, pattern })
    }

    fn fits(&self, route: &Route) -> bool {
        let map = &self.map;
        let method = map.methods.is_empty()
            || map
                .methods
                .iter()
                .any(|m| m.eq_ignore_ascii_case(route.method.as_str()));
        let path = self
            .pattern
            .as_ref()
            .is_none_or(|p| p.is_match(&route.path));
        method && path && map.tags.iter().all(|tag| route.tags.contains(tag))
    }
}

/// What the first rule that fits says, and the tags that it adds.
pub(super) fn decide<'r>(
    rules: &'r [Rule],
    route: &Route,
) -> (RouteKind, Option<&'r BTreeSet<String>>) {
    match rules.iter().find(|rule| rule.fits(route)) {
        Some(rule) => (rule.map.kind, Some(&rule.map.adds)),
        None => (RouteKind::Tool, None),
    }
}

/// Names that were given out, by kind.
#[derive(Debug, Default)]
pub(super) struct Names {
    chosen: BTreeMap<String, String>,
    taken: HashSet<(RouteKind, String)>,
}

impl Names {
    pub(super) fn new(chosen: BTreeMap<String, String>) -> Self {
        Self {
            chosen,
            taken: HashSet::new(),
        }
    }

    /// A name for what `route` becomes: the chosen one, or its `operationId` up to `__`, or its summary, or
    /// its method and path; in letters, digits and `_`, and no other's.
    pub(super) fn name(&mut self, route: &Route, kind: RouteKind) -> String {
        let id = route.operation_id.as_deref();
        let chosen = id.and_then(|id| self.chosen.get(id)).map(String::as_str);
        let before = id.and_then(|id| id.split("__").next());
        let by_path = format!("{}_{}", route.method.as_str().to_lowercase(), route.path);
        let candidates = [chosen, before, id, route.summary.as_deref(), Some(&by_path)];
        let mut names = candidates.into_iter().flatten().map(slug);
        let name = names
            .find(|name| !name.is_empty())
            .unwrap_or_else(|| "operation".to_owned());
        free(&name, MAX_NAME, |name| {
            self.taken.insert((kind, name.to_owned()))
        })
    }
}

/// The text in letters, digits and `_` alone.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        if out.len() >= MAX_NAME {
            break;
        }
    }
    out.truncate(out.trim_end_matches('_').len());
    out
}

/// `name`, or `name_2` and so on, at most `max` bytes, the first that `take` takes.
pub(super) fn free(name: &str, max: usize, mut take: impl FnMut(&str) -> bool) -> String {
    let mut candidate: String = name.chars().take(max).collect();
    let mut number = 2_u32;
    while !take(&candidate) {
        let end = format!("_{number}");
        let room = max.saturating_sub(end.len());
        candidate = name.chars().take(room).chain(end.chars()).collect();
        number += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Method, path: &str, id: Option<&str>, tags: &[&str]) -> Route {
        Route {
            method,
            path: path.to_owned(),
            operation_id: id.map(str::to_owned),
            summary: None,
            description: None,
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            deprecated: false,
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules: Vec<Rule> = [
            RouteMap::new(RouteKind::Exclude).tags(["internal"]),
            RouteMap::new(RouteKind::ResourceTemplate)
                .methods(["get"])
                .pattern(r"\{.*\}")
                .add_tags(["read"]),
            RouteMap::new(RouteKind::Resource).methods(["GET"]),
        ]
        .into_iter()
        .map(|map| Rule::compile(map).unwrap())
        .collect();
        let kind = |route: &Route| decide(&rules, route).0;
        assert_eq!(
            kind(&route(Method::GET, "/a", None, &["internal", "x"])),
            RouteKind::Exclude
        );
        let template = route(Method::GET, "/a/{b}", None, &[]);
        assert_eq!(kind(&template), RouteKind::ResourceTemplate);
        assert!(decide(&rules, &template).1.unwrap().contains("read"));
        assert_eq!(
            kind(&route(Method::GET, "/a", None, &["x"])),
            RouteKind::Resource
        );
        assert_eq!(
            kind(&route(Method::POST, "/a/{b}", None, &[])),
            RouteKind::Tool
        );
        let wrong = Rule::compile(RouteMap::new(RouteKind::Tool).pattern("("));
        assert!(wrong.unwrap_err().message().contains("`pattern`"));
    }

    #[test]
    fn names_are_short_plain_and_unique() {
        let mut names = Names::new([("listAll".to_owned(), "everything".to_owned())].into());
        let mut name = |id: Option<&str>| {
            let route = route(Method::GET, "/pets/{petId}/toys", id, &[]);
            names.name(&route, RouteKind::Tool)
        };
        assert_eq!(name(Some("listPets")), "listPets");
        assert_eq!(name(Some("listPets")), "listPets_2");
        assert_eq!(name(Some("read_items__get")), "read_items");
        assert_eq!(name(Some("__odd")), "odd");
        assert_eq!(name(Some("repos/list-for org.v2")), "repos_list_for_org_v2");
        assert_eq!(name(Some("listAll")), "everything");
        assert_eq!(name(None), "get_pets_petId_toys");
        assert_eq!(name(Some("ペット")), "get_pets_petId_toys_2");
        let long = "x".repeat(80);
        assert_eq!(name(Some(&long)).len(), 56);
        let second = name(Some(&long));
        assert!(second.len() == 56 && second.ends_with("x_2"), "{second}");
    }
}
