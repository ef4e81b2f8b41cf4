//! The words that a condition can be about: a closed list, two open corners, and how each is said in Cedar.

use std::fmt;

use crate::key::written;
use crate::schema::quoted;

/// Something of the request that a condition reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    Sub,
    SubjectTenant,
    Roles,
    Scopes,
    /// `subject.claims.<path>`: a claim of the token, always seen as a set of texts.
    Claim(String),
    ToolId,
    ProviderId,
    ResourceTenant,
    Public,
    SafetyTags,
    RequiredScopes,
    Classification,
    ReadOnly,
    Client,
    CorrId,
    Ip,
    Hour,
    Weekday,
    Time,
    /// What the caller has read: the labels of the results that it was given.
    Labels,
    /// `context.arguments.<path>`: an argument of the call, of whatever type it has.
    Argument(String),
}

/// What kind of values an attribute holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Set,
    Bool,
    /// A whole hour, 0 to 23.
    Hour,
    Weekday,
    Address,
    Time,
    Claim,
    Argument,
}

/// The days as `context.weekday` names them, Monday first.
pub(crate) const WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

pub(crate) const CLAIM: &str = "subject.claims.";
pub(crate) const ARGUMENT: &str = "context.arguments.";

/// The closed list, by name.
const NAMED: [(&str, Attribute); 19] = [
    ("subject.sub", Attribute::Sub),
    ("subject.tenant", Attribute::SubjectTenant),
    ("subject.roles", Attribute::Roles),
    ("subject.scopes", Attribute::Scopes),
    ("resource.toolId", Attribute::ToolId),
    ("resource.provider_id", Attribute::ProviderId),
    ("resource.tenant", Attribute::ResourceTenant),
    ("resource.public", Attribute::Public),
    ("resource.safety_tags", Attribute::SafetyTags),
    ("resource.required_scopes", Attribute::RequiredScopes),
    ("resource.classification", Attribute::Classification),
    ("resource.read_only", Attribute::ReadOnly),
    ("context.client", Attribute::Client),
    ("context.corr_id", Attribute::CorrId),
    ("context.ip", Attribute::Ip),
    ("context.hour", Attribute::Hour),
    ("context.weekday", Attribute::Weekday),
    ("context.time", Attribute::Time),
    ("context.labels", Attribute::Labels),
];

impl Attribute {
    /// Returns the attribute of the closed list that has this name.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, attribute)| attribute.clone())
    }

    /// Returns the attribute that a value names or nearly names, so that it must not be taken for plain text.
    pub(crate) fn meant(text: &str) -> Option<String> {
        if text.starts_with(CLAIM) || text.starts_with(ARGUMENT) {
            return Some(text.to_owned());
        }
        let text = text.to_ascii_lowercase();
        let room = text.split_once('.').map(|(room, _)| room)?;
        let near = NAMED.iter().filter_map(|(name, _)| {
            let distance = strsim::damerau_levenshtein(&text, &name.to_ascii_lowercase());
            (name.starts_with(room) && distance <= 2).then_some((distance, *name))
        });
        near.min().map(|(_, name)| name.to_owned())
    }

    /// Every name of the closed list, and how the open corners are written.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, _)| *name).chain([
            "action",
            "subject.claims.<name>",
            "context.arguments.<name>",
        ])
    }

    /// Says whether a text looks like the name of an attribute, valid or not.
    pub(crate) fn looks_like(text: &str) -> bool {
        ["subject.", "resource.", "context."]
            .iter()
            .any(|room| text.starts_with(room))
    }

    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::Sub
            | Self::SubjectTenant
            | Self::ToolId
            | Self::ProviderId
            | Self::ResourceTenant
            | Self::Classification
            | Self::Client
            | Self::CorrId => Kind::Text,
            Self::Roles | Self::Scopes | Self::SafetyTags | Self::RequiredScopes | Self::Labels => {
                Kind::Set
            }
            Self::Public | Self::ReadOnly => Kind::Bool,
            Self::Hour => Kind::Hour,
            Self::Weekday => Kind::Weekday,
            Self::Ip => Kind::Address,
            Self::Time => Kind::Time,
            Self::Claim(_) => Kind::Claim,
            Self::Argument(_) => Kind::Argument,
        }
    }

    /// Says whether the attribute belongs to the caller.
    pub(crate) const fn is_subject(&self) -> bool {
        matches!(
            self,
            Self::Sub | Self::SubjectTenant | Self::Roles | Self::Scopes | Self::Claim(_)
        )
    }

    /// Says whether the attribute belongs to the tool, so that only actions with a resource have it.
    pub(crate) const fn is_resource(&self) -> bool {
        matches!(
            self,
            Self::ToolId
                | Self::ProviderId
                | Self::ResourceTenant
                | Self::Public
                | Self::SafetyTags
                | Self::RequiredScopes
                | Self::Classification
                | Self::ReadOnly
        )
    }

    /// Returns the name of the context's attribute that is read, if it is one.
    pub(crate) const fn context_name(&self) -> Option<&'static str> {
        Some(match self {
            Self::Client => "client",
            Self::CorrId => "corr_id",
            Self::Ip => "ip",
            Self::Hour => "hour",
            Self::Weekday => "weekday",
            Self::Time => "time",
            Self::Labels => "labels",
            Self::Argument(_) => "arguments",
            _ => return None,
        })
    }

    /// Returns the Cedar expression that is true when the attribute is there; `None` if it always is.
    pub(crate) fn presence(&self) -> Option<String> {
        Some(match self {
            Self::SubjectTenant => "principal has tenant".to_owned(),
            Self::ResourceTenant => "resource has tenant".to_owned(),
            Self::Classification => "resource has classification".to_owned(),
            Self::Client => "context has client".to_owned(),
            Self::CorrId => "context has corr_id".to_owned(),
            Self::Ip => "context has ip".to_owned(),
            Self::Claim(path) => format!("principal.hasTag({})", quoted(path)),
            Self::Argument(_) => "context has arguments".to_owned(),
            _ => return None,
        })
    }

    /// Returns the Cedar expression that reads the attribute. Arguments have several, by type: see [`argument`].
    pub(crate) fn access(&self) -> String {
        match self {
            Self::Sub => "principal.sub".to_owned(),
            Self::SubjectTenant => "principal.tenant".to_owned(),
            Self::Roles => "principal.roles".to_owned(),
            Self::Scopes => "principal.scopes".to_owned(),
            Self::Claim(path) => format!("principal.getTag({})", quoted(path)),
            Self::Argument(path) => format!("context.arguments.text.getTag({})", quoted(path)),
            closed => closed.to_string(),
        }
    }
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim(path) => write!(f, "{CLAIM}{}", written(path)),
            Self::Argument(path) => write!(f, "{ARGUMENT}{}", written(path)),
            closed => f.write_str(
                NAMED
                    .iter()
                    .find(|(_, attribute)| attribute == closed)
                    .map_or("", |(name, _)| name),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        for (name, attribute) in &NAMED {
            assert_eq!(Attribute::from_name(name).as_ref(), Some(attribute));
            assert_eq!(&attribute.to_string(), name);
        }
        for wrong in ["subject.role", "resource.toolid", "context.arguments", ""] {
            assert_eq!(Attribute::from_name(wrong), None, "{wrong}");
        }
        for (text, meant) in [
            ("subject.tenant", Some("subject.tenant")),
            ("Subject.Tenent", Some("subject.tenant")),
            ("context.arguments.x", Some("context.arguments.x")),
            ("resource.read", None),
            ("resource.admin", None),
            ("subject", None),
        ] {
            assert_eq!(Attribute::meant(text).as_deref(), meant, "{text}");
        }
    }
}
