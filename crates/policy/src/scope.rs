//! Scopes: what roles give, what a token leaves of it, what a call needs.

use std::collections::BTreeSet;

use crate::action::Action;
use crate::request::Resource;

/// Enough to call a read-only tool.
pub(crate) const INVOKE_READ: &str = "tools.invoke:read";
/// Enough to call any tool.
pub(crate) const INVOKE_WRITE: &str = "tools.invoke:write";
/// Needed to register a manifest.
pub(crate) const REGISTER: &str = "manifests.register";
/// Needed to approve what others asked for.
pub(crate) const APPROVE: &str = "approvals.decide";

/// A set of scopes in which `<prefix>.*` stands for every scope that begins with `<prefix>.`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ScopeSet {
    listed: BTreeSet<String>,
}

impl ScopeSet {
    /// Says whether the set gives `scope`. A wildcard is given only by itself or by a wider one.
    pub(crate) fn covers(&self, scope: &str) -> bool {
        if self.listed.contains(scope)
            || (scope == INVOKE_READ && self.listed.contains(INVOKE_WRITE))
        {
            return true;
        }
        // `a.b.c` is covered by `a.b.*` and by `a.*`, never by a wildcard of its own full name.
        scope.match_indices('.').any(|(dot, _)| {
            scope
                .get(..=dot)
                .is_some_and(|prefix| self.has_wildcard(prefix, scope))
        })
    }

    /// Keeps what both sets give: delegation narrows, it never widens.
    pub(crate) fn narrow(&self, by: &Self) -> Self {
        let kept = self.listed.iter().filter(|scope| by.covers(scope));
        let asked = by.listed.iter().filter(|scope| self.covers(scope));
        kept.chain(asked).cloned().collect()
    }

    /// Adds everything that `other` lists.
    pub(crate) fn add(&mut self, other: &Self) {
        self.listed.extend(other.listed.iter().cloned());
    }

    /// Returns the scopes as they are written, wildcards included.
    pub(crate) fn listed(&self) -> &BTreeSet<String> {
        &self.listed
    }

    /// `prefix` ends with its dot.
    fn has_wildcard(&self, prefix: &str, scope: &str) -> bool {
        scope.len() > prefix.len() && self.listed.contains(&format!("{prefix}*"))
    }
}

impl FromIterator<String> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = String>>(scopes: I) -> Self {
        Self {
            listed: scopes.into_iter().collect(),
        }
    }
}

/// Says whether a scope may stand in a role: no spaces, and a `*` only as the whole last part.
pub(crate) fn is_well_formed(scope: &str) -> bool {
    let body = scope.strip_suffix(".*").unwrap_or(scope);
    !body.is_empty() && body.chars().all(|c| c.is_ascii_graphic() && c != '*')
}

/// Returns every scope that the request needs, in a stable order.
pub(crate) fn needed(action: Action, resource: Option<&Resource>) -> Vec<&str> {
    match (action, resource) {
        (Action::ToolsInvoke, Some(tool)) => {
            let call = if tool.read_only {
                INVOKE_READ
            } else {
                INVOKE_WRITE
            };
            tool.required_scopes
                .iter()
                .map(String::as_str)
                .chain([call])
                .collect()
        }
        (Action::ManifestsRegister, _) => vec![REGISTER],
        (Action::ApprovalsDecide, _) => vec![APPROVE],
        (Action::ToolsInvoke, None) | (Action::CatalogList, _) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(scopes: &[&str]) -> ScopeSet {
        scopes.iter().map(|scope| (*scope).to_owned()).collect()
    }

    #[test]
    fn wildcards_cover_by_prefix_up_to_a_dot() {
        let held = set(&["mcp.*", "ads.write"]);
        assert!(
            held.covers("mcp.git")
                && held.covers("mcp.git.read")
                && held.covers("mcp.*")
                && held.covers("mcp.git.*")
        );
        assert!(
            !held.covers("mcp")
                && !held.covers("mcp.")
                && !held.covers("mcpx.git")
                && !held.covers("ads.*")
        );
        assert!(!set(&["mcp.git"]).covers("mcp.*"));
    }

    #[test]
    fn write_includes_read_and_not_the_reverse() {
        assert!(set(&[INVOKE_WRITE]).covers(INVOKE_READ));
        assert!(!set(&[INVOKE_READ]).covers(INVOKE_WRITE));
    }

    #[test]
    fn narrowing_is_symmetric_over_wildcards_and_never_widens() {
        let (roles, token) = (
            set(&["mcp.*", "ads.write", INVOKE_WRITE]),
            set(&["mcp.git", "database.read", INVOKE_READ]),
        );
        assert_eq!(roles.narrow(&token), set(&["mcp.git", INVOKE_READ]));
        assert_eq!(token.narrow(&roles), roles.narrow(&token));
        assert_eq!(
            set(&["mcp.git"]).narrow(&set(&["mcp.*"])),
            set(&["mcp.git"])
        );
        assert_eq!(roles.narrow(&set(&[])), set(&[]));
    }

    #[test]
    fn malformed_scopes_are_told_apart() {
        for good in ["ads.write", "mcp.*", "tools.invoke:read", "a"] {
            assert!(is_well_formed(good), "{good}");
        }
        for bad in ["", "*", ".*", "mcp*", "mcp.*.read", "a b", "ä", "mcp.**"] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }
}
