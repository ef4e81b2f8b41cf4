//! Several servers as one.

use std::{cmp::Reverse, collections::HashMap, fmt, time::Duration};

use fastmcp_protocol::{ProtocolVersion, tool::Tool};
use futures_util::future::join_all;
use serde_json::Value;

use super::{
    CallOptions, CallResult, Client, ClientBuilder,
    mcp_config::{McpConfig, McpServer, Remote, check_name, place},
};
use crate::error::{Error, Result};

/// How long a server may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long one that was connected may take to say that it is there.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Several servers, each with its own revision, whose tools are called `SERVER_TOOL`.
///
/// A server that is away takes nobody down: [`Self::failures`] says which one it is and why, the others work, and
/// [`Self::reconnect`] tries it again.
///
/// ```
/// use fastmcp::{client::ClientGroup, prelude::*};
///
/// /// Adds.
/// #[tool]
/// async fn add(a: i64, b: i64) -> i64 {
///     a + b
/// }
///
/// # async fn example() -> Result<()> {
/// let server = FastMcp::new("calculator").tool(add).build()?;
/// let group = ClientGroup::new().with("math", Client::connect(&server).await?)?;
/// let found = group.list_tools().await;
/// assert_eq!(found.tools[0].name, "math_add");
/// let sum = group.call_tool("math_add", json!({"a": 2, "b": 3})).await?;
/// assert_eq!(sum.data::<i64>()?, 5);
/// # Ok(())
/// # }
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
/// ```
#[derive(Default)]
pub struct ClientGroup {
    members: Vec<Member>,
    builder: ClientBuilder,
}

/// One server of a group.
struct Member {
    name: String,
    /// How to connect again; none where it was connected already when it came.
    server: Option<McpServer>,
    client: Result<Client, Error>,
}

/// What the servers of a group have, and which could not say.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct GroupTools {
    /// The tools, by the names that the group calls them.
    pub tools: Vec<Tool>,
    /// The servers that are away or did not answer, and why.
    pub failures: Vec<GroupFailure>,
}

/// A server that is away, or did not answer.
#[derive(Debug)]
#[non_exhaustive]
pub struct GroupFailure {
    /// Its name in the group.
    pub server: String,
    /// Why; the message begins with the server's name.
    pub why: Error,
}

impl ClientGroup {
    /// A group of nobody, to add clients [with](Self::with).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects to every server of `config`, all at the same time; each has 30 s. Those that cannot be connected to are
    /// in [`Self::failures`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: processes that were started are ended.
    pub async fn connect(config: &McpConfig) -> Self {
        Self::connect_with(config, &ClientBuilder::default()).await
    }

    /// Connects as [`Self::connect`] does, with clients that `builder` describes: who answers questions, what is heard.
    ///
    /// Headers and credentials of the builder would go to every server: give each its own in the configuration.
    ///
    /// # Cancel safety
    ///
    /// As [`Self::connect`].
    pub async fn connect_with(config: &McpConfig, builder: &ClientBuilder) -> Self {
        let connecting = config.servers().map(|(name, server)| async move {
            Member {
                name: name.to_owned(),
                server: Some(server.clone()),
                client: connected(name, server, builder).await,
            }
        });
        Self {
            members: join_all(connecting).await,
            builder: builder.clone(),
        }
    }

    /// Adds a client that is connected already.
    ///
    /// # Errors
    ///
    /// When the name is unfit, see [`McpConfig::server`], or taken.
    pub fn with(mut self, name: impl Into<String>, client: Client) -> Result<Self> {
        let name = name.into();
        check_name(&name)?;
        if self.members.iter().any(|member| member.name == name) {
            return Err(Error::validation(format!(
                "{}: it is there already; give each a name of its own",
                place(&name)
            )));
        }
        self.members.push(Member {
            name,
            server: None,
            client: Ok(client),
        });
        Ok(self)
    }

    /// The names of all servers, those included that are away.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.name.as_str())
    }

    /// The client of a server, for everything but tools.
    ///
    /// # Errors
    ///
    /// When the group has no server of that name, or it is away: the message says why.
    pub fn client(&self, name: &str) -> Result<&Client> {
        match self.members.iter().find(|member| member.name == name) {
            Some(member) => member.reach(),
            None => Err(self.unknown("server", name)),
        }
    }

    /// The servers that could not be connected to, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Error)> {
        self.members
            .iter()
            .filter_map(|member| Some((member.name.as_str(), member.client.as_ref().err()?)))
    }

    /// The revision that each connected server speaks.
    pub fn protocol_versions(&self) -> impl Iterator<Item = (&str, ProtocolVersion)> {
        self.members.iter().filter_map(|member| {
            let client = member.client.as_ref().ok()?;
            Some((member.name.as_str(), client.protocol_version()))
        })
    }

    /// Connects again to the servers that are away, and to those that do not say within 10 s that they are there; all at
    /// the same time. Clients that came [connected](Self::with) are left as they are. Returns how many it connected to.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing is changed.
    pub async fn reconnect(&mut self) -> usize {
        let builder = &self.builder;
        let trying = self.members.iter().map(|member| async move {
            let server = member.server.as_ref()?;
            if let Ok(client) = &member.client
                && let Ok(Ok(())) = tokio::time::timeout(ANSWER_WITHIN, client.ping()).await
            {
                return None;
            }
            Some(connected(&member.name, server, builder).await)
        });
        let tried = join_all(trying).await;
        let mut connected = 0_usize;
        for (member, client) in self.members.iter_mut().zip(tried) {
            if let Some(client) = client {
                connected = connected.saturating_add(usize::from(client.is_ok()));
                member.client = client;
            }
        }
        connected
    }

    /// The tools of all servers, asked for at the same time.
    ///
    /// Where two tools would have one name, as `b_c` of server `a` and `c` of server `a_b`, that of the server with the
    /// longer name has it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn list_tools(&self) -> GroupTools {
        let listing = self.members.iter().map(|member| async move {
            let client = member.reach()?;
            let tools = client.list_tools().await;
            tools.map_err(|error| error.within(&place(&member.name)))
        });
        let (mut found, mut owners) = (GroupTools::default(), HashMap::new());
        let mut all = Vec::new();
        for (member, listed) in self.members.iter().zip(join_all(listing).await) {
            match listed {
                Ok(tools) => all.extend(tools.into_iter().map(|tool| (member, tool))),
                Err(why) => found.failures.push(GroupFailure {
                    server: member.name.clone(),
                    why,
                }),
            }
        }
        for (member, tool) in &mut all {
            tool.name = format!("{}_{}", member.name, tool.name);
            let owner = owners.entry(tool.name.clone()).or_insert(&member.name);
            if owner.len() < member.name.len() {
                *owner = &member.name;
            }
        }
        for (member, tool) in all {
            if owners.get(&tool.name) == Some(&&member.name) {
                found.tools.push(tool);
            } else {
                tracing::warn!(
                    server = member.name,
                    tool = tool.name,
                    "a tool's name is another server's"
                );
            }
        }
        found
    }

    /// The server of a tool, and what it calls the tool. Asks servers for their tools only where names of servers leave
    /// it open which one is meant.
    ///
    /// # Errors
    ///
    /// When no server's name begins the tool's, or the one that does is away.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn resolve_tool<'n>(&self, name: &'n str) -> Result<(&Client, &'n str)> {
        let mut fitting: Vec<(&Member, &str)> = self
            .members
            .iter()
            .filter_map(|member| {
                let tool = name.strip_prefix(member.name.as_str())?.strip_prefix('_')?;
                (!tool.is_empty()).then_some((member, tool))
            })
            .collect();
        fitting.sort_by_key(|(member, _)| Reverse(member.name.len()));
        let Some((first, others)) = fitting.split_first() else {
            return Err(self.unknown("tool", name));
        };
        if !others.is_empty() {
            for (member, tool) in &fitting {
                let client = member.reach()?;
                let tools = client.list_tools().await;
                let tools = tools.map_err(|error| error.within(&place(&member.name)))?;
                if tools.iter().any(|one| one.name == *tool) {
                    return Ok((client, tool));
                }
            }
        }
        Ok((first.0.reach()?, first.1))
    }

    /// Calls a tool by the name that the group gives it.
    ///
    /// # Errors
    ///
    /// As [`Self::resolve_tool`] and [`Client::call_tool`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn call_tool(&self, name: &str, arguments: Value) -> Result<CallResult> {
        let options = CallOptions::default();
        self.call_tool_with(name, arguments, &options).await
    }

    /// Calls a tool by the name that the group gives it, with `options` of its own.
    ///
    /// # Errors
    ///
    /// As [`Self::call_tool`].
    ///
    /// # Cancel safety
    ///
    /// Dropped, the call is cancelled.
    pub async fn call_tool_with(
        &self,
        name: &str,
        arguments: Value,
        options: &CallOptions,
    ) -> Result<CallResult> {
        let (client, tool) = self.resolve_tool(name).await?;
        client.call_tool_with(tool, arguments, options).await
    }

    /// Ends all connections, and the processes behind them.
    ///
    /// # Cancel safety
    ///
    /// Dropped, what is left is ended without a word.
    pub async fn close(self) {
        let clients = self.members.iter().filter_map(|m| m.client.as_ref().ok());
        join_all(clients.map(Client::close)).await;
    }

    fn unknown(&self, what: &str, name: &str) -> Error {
        let shown: String = name.chars().take(128).collect();
        let names: Vec<_> = self.names().take(16).collect();
        Error::not_found(format!(
            "the group has no {what} `{}`; its servers are: {}",
            shown.escape_debug(),
            names.join(", ")
        ))
    }
}

impl Member {
    fn reach(&self) -> Result<&Client> {
        self.client
            .as_ref()
            .map_err(|error| Error::tool(format!("{} (try `reconnect`)", error.message())))
    }
}

impl fmt::Debug for ClientGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = |member: &Member| match &member.client {
            Ok(_) => "connected".to_owned(),
            Err(error) => error.message().to_owned(),
        };
        let members = self.members.iter();
        f.debug_map()
            .entries(members.map(|member| (&member.name, state(member))))
            .finish()
    }
}

/// Connects to one server; what goes wrong names it.
async fn connected(name: &str, server: &McpServer, builder: &ClientBuilder) -> Result<Client> {
    let connecting = Box::pin(reached(server, builder.clone()));
    let outcome = match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::tool(format!(
            "it did not answer within {} s",
            CONNECT_WITHIN.as_secs()
        ))),
    };
    outcome.map_err(|error| {
        tracing::warn!(server = name, %error, "a server of the group cannot be connected to");
        error.within(&place(name))
    })
}

async fn reached(server: &McpServer, mut builder: ClientBuilder) -> Result<Client> {
    match server {
        McpServer::Process { command, timeout } => {
            if let Some(timeout) = timeout {
                builder = builder.timeout(*timeout);
            }
            builder.connect_command(command).await
        }
        McpServer::Remote {
            url,
            headers,
            transport,
            timeout,
        } => {
            if let Some(timeout) = timeout {
                builder = builder.timeout(*timeout);
            }
            let builder = builder.headers(headers);
            match transport {
                Remote::Either => builder.connect_url(url).await,
                Remote::Sse => builder.connect_sse(url).await,
            }
        }
    }
}
