//! What a caller may ask for.

use serde::Serialize;

/// One of the actions that rules can name.
///
/// Not `non_exhaustive`: a new action is a new promise to everybody who writes policies, and every match must think of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Action {
    /// Calls a tool. Has a resource: the tool.
    #[serde(rename = "tools.invoke")]
    ToolsInvoke,
    /// Lists the catalogue. Has no resource.
    #[serde(rename = "catalog:list")]
    CatalogList,
    /// Registers a manifest. Has a resource: the tool that the manifest describes.
    #[serde(rename = "manifests.register")]
    ManifestsRegister,
    /// Approves a call that somebody else asked for. Has a resource: the tool of that call.
    #[serde(rename = "approvals.decide")]
    ApprovalsDecide,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [
        Self::ToolsInvoke,
        Self::CatalogList,
        Self::ManifestsRegister,
        Self::ApprovalsDecide,
    ];

    /// Returns the name that rules and audit records use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToolsInvoke => "tools.invoke",
            Self::CatalogList => "catalog:list",
            Self::ManifestsRegister => "manifests.register",
            Self::ApprovalsDecide => "approvals.decide",
        }
    }

    /// Returns the action of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Says whether a request for this action carries a resource.
    #[must_use]
    pub const fn has_resource(self) -> bool {
        match self {
            Self::ToolsInvoke | Self::ManifestsRegister | Self::ApprovalsDecide => true,
            Self::CatalogList => false,
        }
    }

    /// Says whether a request for this action is about a call of its resource, and carries that call's arguments.
    #[must_use]
    pub const fn is_of_a_call(self) -> bool {
        match self {
            Self::ToolsInvoke | Self::ApprovalsDecide => true,
            Self::CatalogList | Self::ManifestsRegister => false,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
