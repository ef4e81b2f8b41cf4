//! What a server says without being asked.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use fastmcp_protocol::{
    Method, Notification, Raw,
    logging::{LogMessageParams, ProgressParams},
    meta::ProgressToken,
    subscription::{ResourceUpdatedParams, SubscriptionFilter},
};
use serde_json::Value;
use tokio::sync::broadcast;

/// Notifications that are kept for [`super::Client::take_notifications`]; the oldest go first.
const KEPT: usize = 1_024;
/// Changes that a slow listener may be behind by, before it is told that everything changed.
const CHANGES: usize = 256;

/// A notification that came from the server.
#[derive(Clone, Debug, PartialEq)]
pub struct Notified {
    /// The method.
    pub method: String,
    /// The parameters.
    pub params: Value,
}

/// How far a call is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// How far; grows with every message.
    pub progress: f64,
    /// How far it goes, where that is known.
    pub total: Option<f64>,
    /// What is being done, for people.
    pub message: Option<String>,
}

/// Something at the server is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// The list of tools.
    Tools,
    /// The list of prompts.
    Prompts,
    /// The lists of resources and of resource templates.
    Resources,
    /// The resource of this URI.
    Resource(String),
}

impl Change {
    /// The change that a notification tells of.
    pub(super) fn of(notification: &Notification) -> Option<Self> {
        match Method::parse(&notification.method)? {
            Method::NotificationToolsListChanged => Some(Self::Tools),
            Method::NotificationPromptsListChanged => Some(Self::Prompts),
            Method::NotificationResourcesListChanged => Some(Self::Resources),
            Method::NotificationResourcesUpdated => {
                let params: ResourceUpdatedParams<'_> =
                    notification.params.as_ref()?.decode().ok()?;
                Some(Self::Resource(params.uri.into_owned()))
            }
            _ => None,
        }
    }

    /// Whether `filter` asks for it; a resource may lie below the one that was subscribed to.
    ///
    /// Source: MCP 2026-07-28, basic/patterns/subscriptions.
    pub(super) fn wanted(&self, filter: &SubscriptionFilter) -> bool {
        match self {
            Self::Tools => filter.tools_list_changed,
            Self::Prompts => filter.prompts_list_changed,
            Self::Resources => filter.resources_list_changed,
            Self::Resource(uri) => filter
                .resource_subscriptions
                .iter()
                .any(|wanted| lies_below(uri, wanted)),
        }
    }

    /// Everything that `filter` asks for.
    pub(super) fn all(filter: &SubscriptionFilter) -> Vec<Self> {
        let lists = [
            (filter.tools_list_changed, Self::Tools),
            (filter.prompts_list_changed, Self::Prompts),
            (filter.resources_list_changed, Self::Resources),
        ];
        let resources = filter.resource_subscriptions.iter().cloned();
        lists
            .into_iter()
            .filter_map(|(wanted, change)| wanted.then_some(change))
            .chain(resources.map(Self::Resource))
            .collect()
    }
}

fn lies_below(uri: &str, above: &str) -> bool {
    uri.strip_prefix(above).is_some_and(|rest| {
        rest.is_empty() || above.ends_with('/') || rest.starts_with(['/', '?', '#'])
    })
}

pub(super) type OnLog = Arc<dyn Fn(&LogMessageParams) + Send + Sync>;
pub(super) type OnProgress = Arc<dyn Fn(&Progress) + Send + Sync>;
pub(super) type OnChange = Arc<dyn Fn(&Change) + Send + Sync>;
pub(super) type OnNotification = Arc<dyn Fn(&Notified) + Send + Sync>;

/// Who is told what a server says.
#[derive(Clone, Default)]
pub(super) struct Listeners {
    pub(super) log: Option<OnLog>,
    pub(super) progress: Option<OnProgress>,
    pub(super) change: Option<OnChange>,
    pub(super) any: Option<OnNotification>,
}

/// Tells listeners what the server says, and keeps the last of it.
pub(super) struct Notices {
    listeners: Listeners,
    kept: Mutex<VecDeque<Notified>>,
    changes: broadcast::Sender<Change>,
}

impl Notices {
    pub(super) fn new(listeners: Listeners) -> Self {
        Self {
            listeners,
            kept: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES),
        }
    }

    /// Whether somebody wants to hear of the progress of every call.
    pub(super) fn follows_progress(&self) -> bool {
        self.listeners.progress.is_some()
    }

    /// Changes as they are told of from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Says that something changed.
    pub(super) fn tell_change(&self, change: Change) {
        if let Some(listener) = &self.listeners.change {
            listener(&change);
        }
        // Nobody listening is no error.
        let _nobody = self.changes.send(change);
    }

    /// Passes on what is neither a change nor the progress of one call.
    pub(super) fn tell(&self, notification: &Notification) {
        if let (Some(listener), "notifications/message") =
            (&self.listeners.log, &*notification.method)
            && let Some(Ok(params)) = notification.params.as_ref().map(Raw::decode)
        {
            listener(&params);
        }
        let params = notification.params.as_ref();
        let notified = Notified {
            method: notification.method.to_string(),
            params: params.and_then(|p| p.decode().ok()).unwrap_or(Value::Null),
        };
        if let Some(listener) = &self.listeners.any {
            listener(&notified);
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(notified);
    }

    /// Says how far a call is.
    pub(super) fn tell_progress(&self, progress: &Progress) {
        if let Some(listener) = &self.listeners.progress {
            listener(progress);
        }
    }

    pub(super) fn take(&self) -> Vec<Notified> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.drain(..).collect()
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}

/// The progress that a notification tells of, and of which request.
pub(super) fn progress_of(notification: &Notification) -> Option<(ProgressToken, Progress)> {
    if notification.method != "notifications/progress" {
        return None;
    }
    let params: ProgressParams<'_> = notification.params.as_ref()?.decode().ok()?;
    let progress = Progress {
        progress: params.progress,
        total: params.total,
        message: params.message.map(std::borrow::Cow::into_owned),
    };
    Some((params.progress_token, progress))
}
