//! A tool as it was when a call of it was asked for.
//!
//! An operation outlives what it was asked of: its tool may be registered anew, with other tags and labels, or be one that
//! this replica does not know. What rules read of it, and what its result is about, is therefore kept with the operation.

use std::{borrow::Cow, collections::BTreeSet};

use fastmcp_policy::{PolicySet, Resource};
use serde::{Deserialize, Serialize};

use super::labels;
use crate::manifest::{Classification, Label, Manifest};

/// A tool as it was when a call of it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastTool<'a> {
    resource: Cow<'a, Resource>,
    classification: Classification,
    labels: Cow<'a, BTreeSet<Label>>,
}

/// The form in which it is kept. What is unknown of it does not read: who knows less must not judge.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept<'a> {
    tool_id: Cow<'a, str>,
    provider_id: Cow<'a, str>,
    tenant: Option<Cow<'a, str>>,
    safety_tags: Cow<'a, BTreeSet<String>>,
    required_scopes: Cow<'a, BTreeSet<String>>,
    classification: Classification,
    read_only: bool,
    labels: Cow<'a, BTreeSet<Label>>,
}

impl<'a> PastTool<'a> {
    /// The tool of `manifest` as policy saw it: `resource` is what it was judged by, with what the arguments demanded.
    #[must_use]
    pub fn of(manifest: &'a Manifest, resource: &'a Resource) -> Self {
        Self {
            resource: Cow::Borrowed(resource),
            classification: manifest.classification,
            labels: Cow::Borrowed(&manifest.labels),
        }
    }

    /// Reads what [`Self::to_text`] wrote; `None` for anything else, and for operations from before it was kept.
    #[must_use]
    pub fn read(text: &str) -> Option<PastTool<'static>> {
        let kept: Kept<'_> = serde_json::from_str(text).ok()?;
        let mut resource = Resource::new(kept.tool_id, kept.provider_id)
            .safety_tags(kept.safety_tags.into_owned())
            .required_scopes(kept.required_scopes.into_owned())
            .classification(kept.classification.as_str())
            .read_only(kept.read_only);
        resource.tenant = kept.tenant.map(Cow::into_owned);
        Some(PastTool {
            resource: Cow::Owned(resource),
            classification: kept.classification,
            labels: Cow::Owned(kept.labels.into_owned()),
        })
    }

    /// As an operation keeps it.
    ///
    /// # Errors
    ///
    /// When it has no JSON form, which does not happen.
    pub fn to_text(&self) -> Result<String, serde_json::Error> {
        let resource = &self.resource;
        serde_json::to_string(&Kept {
            tool_id: Cow::Borrowed(&resource.tool_id),
            provider_id: Cow::Borrowed(&resource.provider_id),
            tenant: resource.tenant.as_deref().map(Cow::Borrowed),
            safety_tags: Cow::Borrowed(&resource.safety_tags),
            required_scopes: Cow::Borrowed(&resource.required_scopes),
            classification: self.classification,
            read_only: resource.read_only,
            labels: Cow::Borrowed(self.labels.as_ref()),
        })
    }

    /// As policy saw it, with what the arguments demanded.
    #[must_use]
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The labels of its results, as far as they are kept under `policy`.
    #[must_use]
    pub fn labels(&self, policy: &PolicySet) -> BTreeSet<String> {
        labels(&self.labels, self.classification, policy)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kept() -> Value {
        json!({
            "tool_id": "crm:merge",
            "provider_id": "crm",
            "tenant": "acme",
            "safety_tags": ["destructive"],
            "required_scopes": ["crm.write"],
            "classification": "secret",
            "read_only": false,
            "labels": ["pii"],
        })
    }

    #[test]
    fn it_is_read_as_it_was_kept() {
        let past = PastTool::read(&kept().to_string()).unwrap();
        let resource = Resource::new("crm:merge", "crm")
            .tenant("acme")
            .safety_tags(["destructive"])
            .required_scopes(["crm.write"])
            .classification("secret");
        assert_eq!(*past.resource(), resource);
        let again: Value = serde_json::from_str(&past.to_text().unwrap()).unwrap();
        assert_eq!(again, kept());
    }

    #[test]
    fn what_is_not_understood_is_not_guessed_at() {
        for text in ["", "{}", "null"] {
            assert_eq!(PastTool::read(text), None, "{text}");
        }
        let mut newer = kept();
        newer["reviewed"] = json!(true);
        assert_eq!(PastTool::read(&newer.to_string()), None);
        let mut less = kept();
        less.as_object_mut().unwrap().remove("safety_tags");
        assert_eq!(PastTool::read(&less.to_string()), None);
    }
}
