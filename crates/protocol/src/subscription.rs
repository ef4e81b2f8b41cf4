//! Notifications of change.
//!
//! A modern client opens a stream with `subscriptions/listen` and gets what it asked for there; a
//! legacy one gets list changes wherever there is a stream, and subscribes to resources one by one.
//!
//! Source: MCP 2026-07-28, basic/patterns/subscriptions.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{content::Meta, method::Method, raw::from_object};

/// The kinds of change that a client wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionFilter {
    /// The list of tools changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tools_list_changed: bool,
    /// The list of prompts changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub prompts_list_changed: bool,
    /// The list of resources changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resources_list_changed: bool,
    /// One of these resources changed, by URI.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_subscriptions: Vec<String>,
    /// One of these tasks changed, by id. Source: SEP-2663, "Task Status Notifications".
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub task_ids: Vec<String>,
}

impl SubscriptionFilter {
    /// Whether nothing is wanted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.tools_list_changed
            && !self.prompts_list_changed
            && !self.resources_list_changed
            && self.resource_subscriptions.is_empty()
            && self.task_ids.is_empty()
    }

    /// What is wanted here and offered there; of the resources, those for which `subscribes` holds.
    /// Tasks have owners, whom only a look at each of them shows, so none of them is among it.
    #[must_use]
    pub fn honoured(&self, offered: &Self, subscribes: impl Fn(&str) -> bool) -> Self {
        Self {
            tools_list_changed: self.tools_list_changed && offered.tools_list_changed,
            prompts_list_changed: self.prompts_list_changed && offered.prompts_list_changed,
            resources_list_changed: self.resources_list_changed && offered.resources_list_changed,
            resource_subscriptions: self
                .resource_subscriptions
                .iter()
                .filter(|uri| subscribes(uri))
                .cloned()
                .collect(),
            task_ids: Vec::new(),
        }
    }

    /// Whether a change is wanted; `uri` is the resource of a `notifications/resources/updated`.
    #[must_use]
    pub fn wants(&self, change: Method, uri: Option<&str>) -> bool {
        match change {
            Method::NotificationToolsListChanged => self.tools_list_changed,
            Method::NotificationPromptsListChanged => self.prompts_list_changed,
            Method::NotificationResourcesListChanged => self.resources_list_changed,
            Method::NotificationResourcesUpdated => uri.is_some_and(|uri| {
                self.resource_subscriptions
                    .iter()
                    .any(|wanted| wanted == uri)
            }),
            _ => false,
        }
    }
}

/// The parameters of `subscriptions/listen`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ListenParams {
    /// What the client wants to hear of.
    #[serde(deserialize_with = "from_object")]
    pub notifications: SubscriptionFilter,
}

/// The parameters of `notifications/subscriptions/acknowledged`, the first message of the stream.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct AcknowledgedParams {
    /// What the client will hear of.
    #[serde(deserialize_with = "from_object")]
    pub notifications: SubscriptionFilter,
    /// `_meta`, with the [subscription's id](crate::meta::SUBSCRIPTION_ID).
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

/// The parameters of `notifications/resources/updated`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct ResourceUpdatedParams<'a> {
    /// The resource's URI; may lie below the one that was subscribed to.
    #[serde(borrow)]
    pub uri: Cow<'a, str>,
    /// `_meta`.
    #[serde(rename = "_meta", default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Meta>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Raw;

    fn filter() -> SubscriptionFilter {
        SubscriptionFilter {
            tools_list_changed: true,
            resource_subscriptions: vec!["a:1".to_owned(), "a:2".to_owned()],
            ..SubscriptionFilter::default()
        }
    }

    #[test]
    fn only_what_is_wanted_is_written() {
        let text =
            r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["a:1","a:2"]}}"#;
        let params = ListenParams {
            notifications: filter(),
        };
        assert_eq!(serde_json::to_string(&params).unwrap(), text);
        assert_eq!(serde_json::from_str::<ListenParams>(text).unwrap(), params);
    }

    #[test]
    fn only_what_is_offered_is_honoured() {
        let offered = SubscriptionFilter {
            prompts_list_changed: true,
            ..SubscriptionFilter::default()
        };
        let honoured = filter().honoured(&offered, |uri| uri == "a:2");
        assert_eq!(honoured.resource_subscriptions, ["a:2"]);
        assert!(!honoured.tools_list_changed && !honoured.prompts_list_changed);
        assert!(filter().honoured(&offered, |_| false).is_empty());
    }

    #[test]
    fn changes_are_told_to_who_asked() {
        assert!(filter().wants(Method::NotificationToolsListChanged, None));
        assert!(!filter().wants(Method::NotificationPromptsListChanged, None));
        assert!(filter().wants(Method::NotificationResourcesUpdated, Some("a:1")));
        assert!(!filter().wants(Method::NotificationResourcesUpdated, Some("a:3")));
        assert!(!filter().wants(Method::NotificationMessage, None));
    }

    #[test]
    fn ill_typed_filters_are_refused_by_name() {
        let refusal = |text: &str| {
            let raw = Raw::parse(text.to_owned()).unwrap();
            Raw::decode_params::<ListenParams>(Some(&raw))
                .unwrap_err()
                .message
                .to_string()
        };
        assert_eq!(refusal("{}"), "`params`: missing field `notifications`");
        assert!(refusal(r#"{"notifications":[]}"#).starts_with("`params.notifications`"));
        assert!(
            refusal(r#"{"notifications":{"toolsListChanged":1}}"#)
                .starts_with("`params.notifications.toolsListChanged`")
        );
    }
}
