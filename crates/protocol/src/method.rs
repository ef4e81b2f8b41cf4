//! The methods of both eras.

use std::fmt;

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A method that this crate knows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Method { $($(#[$doc])* $name),* }

        impl Method {
            /// The method named `text`.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            /// The method's name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

methods! {
    /// Completes an argument.
    Complete = "completion/complete",
    /// Describes the server. Modern.
    Discover = "server/discover",
    /// Asks the user; a request of the server.
    ElicitationCreate = "elicitation/create",
    /// Opens a session. Legacy.
    Initialize = "initialize",
    /// Sets the session's log level. Legacy.
    LoggingSetLevel = "logging/setLevel",
    /// A request is no longer wanted.
    NotificationCancelled = "notifications/cancelled",
    /// An elicitation by URL is done. Legacy.
    NotificationElicitationComplete = "notifications/elicitation/complete",
    /// The client is ready. Legacy.
    NotificationInitialized = "notifications/initialized",
    /// A log message.
    NotificationMessage = "notifications/message",
    /// Progress of a request.
    NotificationProgress = "notifications/progress",
    /// The list of prompts changed.
    NotificationPromptsListChanged = "notifications/prompts/list_changed",
    /// The list of resources changed.
    NotificationResourcesListChanged = "notifications/resources/list_changed",
    /// A resource changed.
    NotificationResourcesUpdated = "notifications/resources/updated",
    /// The client's roots changed. Legacy.
    NotificationRootsListChanged = "notifications/roots/list_changed",
    /// A subscription is open. Modern.
    NotificationSubscriptionsAcknowledged = "notifications/subscriptions/acknowledged",
    /// A task changed. Modern, of an extension.
    NotificationTasks = "notifications/tasks",
    /// A task's status changed. Legacy.
    NotificationTasksStatus = "notifications/tasks/status",
    /// The list of tools changed.
    NotificationToolsListChanged = "notifications/tools/list_changed",
    /// Are you there? Legacy.
    Ping = "ping",
    /// Renders a prompt.
    PromptsGet = "prompts/get",
    /// Lists prompts.
    PromptsList = "prompts/list",
    /// Lists a folder. Extension: skills.
    ResourcesDirectoryRead = "resources/directory/read",
    /// Lists resources.
    ResourcesList = "resources/list",
    /// Reads a resource.
    ResourcesRead = "resources/read",
    /// Subscribes to a resource. Legacy.
    ResourcesSubscribe = "resources/subscribe",
    /// Lists resource templates.
    ResourcesTemplatesList = "resources/templates/list",
    /// Ends a subscription to a resource. Legacy.
    ResourcesUnsubscribe = "resources/unsubscribe",
    /// Lists the client's roots; a request of the server.
    RootsList = "roots/list",
    /// Asks the client's model; a request of the server.
    SamplingCreateMessage = "sampling/createMessage",
    /// Describes a skill. Extension: skills.
    SkillsGet = "skills/get",
    /// Lists skills. Extension: skills.
    SkillsList = "skills/list",
    /// Opens a stream of change notifications. Modern.
    SubscriptionsListen = "subscriptions/listen",
    /// Calls off a task.
    TasksCancel = "tasks/cancel",
    /// Looks at a task.
    TasksGet = "tasks/get",
    /// Lists the caller's tasks. Legacy.
    TasksList = "tasks/list",
    /// Waits for the result of a task. Legacy.
    TasksResult = "tasks/result",
    /// Answers what a task asks. Modern, of an extension.
    TasksUpdate = "tasks/update",
    /// Calls a tool.
    ToolsCall = "tools/call",
    /// Lists tools.
    ToolsList = "tools/list",
}

impl Method {
    /// Whether a modern client may call this method.
    ///
    /// Source: MCP 2026-07-28, schema, `ClientRequest`; SEP-2640 for the methods of skills and SEP-2663
    /// for those of tasks.
    #[must_use]
    pub const fn is_modern_request(self) -> bool {
        matches!(
            self,
            Self::Complete
                | Self::Discover
                | Self::PromptsGet
                | Self::PromptsList
                | Self::ResourcesDirectoryRead
                | Self::ResourcesList
                | Self::ResourcesRead
                | Self::ResourcesTemplatesList
                | Self::SkillsGet
                | Self::SkillsList
                | Self::SubscriptionsListen
                | Self::TasksCancel
                | Self::TasksGet
                | Self::TasksUpdate
                | Self::ToolsCall
                | Self::ToolsList
        )
    }

    /// Whether the method is about tasks.
    #[must_use]
    pub const fn is_of_tasks(self) -> bool {
        matches!(
            self,
            Self::TasksCancel
                | Self::TasksGet
                | Self::TasksList
                | Self::TasksResult
                | Self::TasksUpdate
        )
    }

    /// Whether a legacy client may call this method.
    ///
    /// Source: MCP 2025-11-25, schema, `ClientRequest`; SEP-2640.
    #[must_use]
    pub const fn is_legacy_request(self) -> bool {
        matches!(
            self,
            Self::Complete
                | Self::Initialize
                | Self::LoggingSetLevel
                | Self::Ping
                | Self::PromptsGet
                | Self::PromptsList
                | Self::ResourcesDirectoryRead
                | Self::ResourcesList
                | Self::ResourcesRead
                | Self::ResourcesSubscribe
                | Self::ResourcesTemplatesList
                | Self::ResourcesUnsubscribe
                | Self::SkillsGet
                | Self::SkillsList
                | Self::TasksCancel
                | Self::TasksGet
                | Self::TasksList
                | Self::TasksResult
                | Self::ToolsCall
                | Self::ToolsList
        )
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
