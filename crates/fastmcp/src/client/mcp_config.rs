//! Which servers a client has, as the file says that many clients read: `mcpServers`.

use std::{collections::BTreeMap, fmt, path::Path, time::Duration};

use fastmcp_transport::StdioWireConfig;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::{Map, Value};
use url::Url;

use crate::error::{Error, Result};

/// The most bytes of a configuration.
const MAX_BYTES: usize = 1024 * 1024;
/// The most servers of one.
const MAX_SERVERS: usize = 256;
/// The longest name of a server.
const MAX_NAME: usize = 64;
/// The most arguments, variables or headers of one server.
const MAX_PARTS: usize = 1_024;
/// The longest time that a server may be given, in milliseconds: a day.
const MAX_TIMEOUT_MS: u64 = 24 * 60 * 60 * 1_000;

/// The servers of a client, as `mcpServers` names them.
///
/// ```json
/// {
///   "mcpServers": {
///     "weather": {"url": "https://weather.example.com/mcp", "headers": {"X-Key": "secret"}},
///     "files": {"command": "npx", "args": ["-y", "server-files"], "env": {"ROOT": "/data"}, "cwd": "/tmp"}
///   }
/// }
/// ```
///
/// A server is a process (`command`, `args`, `env`, `cwd`) or an address (`url`, `headers`, `auth` with a bearer
/// token). `transport`, or `type`, is `stdio`, `http` (`streamable-http` is the same) or `sse`; without it an address is
/// tried as `http`, then as `sse`. `timeout` is how long the server may be silent, in milliseconds. One with
/// `"disabled": true` is left out. What other clients write there besides is passed over.
///
/// The order is that of their names. Values of variables and headers are not shown by `Debug`.
///
/// ```
/// use fastmcp::client::McpConfig;
///
/// let text = r#"{"mcpServers": {"files": {"command": "server", "args": ["--root", 1]}}}"#;
/// let error = McpConfig::parse(text).unwrap_err();
/// assert_eq!(error.message(), "server `files`: `args[1]`: give a text");
/// ```
#[derive(Clone, Debug, Default)]
pub struct McpConfig {
    servers: BTreeMap<String, McpServer>,
}

/// How a server is reached.
#[derive(Clone)]
#[non_exhaustive]
pub enum McpServer {
    /// It is a process of this machine.
    Process {
        /// What is started, in which environment and folder.
        command: StdioWireConfig,
        /// How long it may be silent; as the builder says where nothing is said.
        timeout: Option<Duration>,
    },
    /// It is somewhere else.
    Remote {
        /// Where.
        url: String,
        /// Headers of every request.
        headers: HeaderMap,
        /// How messages go there.
        transport: Remote,
        /// How long it may be silent; as the builder says where nothing is said.
        timeout: Option<Duration>,
    },
}

/// How messages go to an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remote {
    /// Streamable HTTP, and HTTP with SSE where that is what is there.
    #[default]
    Either,
    /// HTTP with SSE, as 2024-11-05 had it.
    Sse,
}

impl fmt::Debug for McpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { command, timeout } => f
                .debug_struct("Process")
                .field("command", command)
                .field("timeout", timeout)
                .finish(),
            // The address may hold a key in its query, and the values of headers are secrets.
            Self::Remote {
                url,
                headers,
                transport,
                timeout,
            } => f
                .debug_struct("Remote")
                .field("url", &url.split(['?', '#']).next())
                .field("headers", &headers.keys().collect::<Vec<_>>())
                .field("transport", transport)
                .field("timeout", timeout)
                .finish(),
        }
    }
}

impl McpConfig {
    /// No servers, to [add](Self::server) some.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the text of a configuration.
    ///
    /// # Errors
    ///
    /// When it is no JSON, has no `mcpServers`, or a server is unfit: the message names the server and the field, and
    /// what to give.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > MAX_BYTES {
            return Err(Error::validation(format!(
                "the configuration has {} bytes; {MAX_BYTES} are read at most",
                text.len()
            )));
        }
        let value: Value = serde_json::from_str(text)
            .map_err(|error| Error::validation(format!("the configuration is no JSON: {error}")))?;
        Self::from_value(value)
    }

    /// Reads a configuration that is JSON already.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`].
    pub fn from_value(mut value: Value) -> Result<Self> {
        let Some(Value::Object(servers)) = value.get_mut("mcpServers").map(Value::take) else {
            return Err(Error::validation(
                "`mcpServers`: give an object with a member for each server",
            ));
        };
        let mut config = Self::new();
        for (name, server) in servers {
            let disabled = server.get("disabled") == Some(&Value::Bool(true));
            let server = read(server).map_err(|error| error.within(&place(&name)))?;
            if !disabled {
                config = config.server(name, server)?;
            }
        }
        Ok(config)
    }

    /// Reads the file of a configuration. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Self::parse`], and when the file cannot be read.
    pub fn open(file: impl AsRef<Path>) -> Result<Self> {
        let file = file.as_ref();
        let within = |error: Error| error.within(&format!("`{}`", file.display()));
        let size = std::fs::metadata(file)
            .map_err(|error| within(Error::validation(error.to_string())))?
            .len();
        if usize::try_from(size).map_or(true, |size| size > MAX_BYTES) {
            return Err(within(Error::validation(format!(
                "it has {size} bytes; {MAX_BYTES} are read at most"
            ))));
        }
        let text = std::fs::read_to_string(file)
            .map_err(|error| within(Error::validation(error.to_string())))?;
        Self::parse(&text).map_err(within)
    }

    /// Adds a server.
    ///
    /// # Errors
    ///
    /// When the name is unfit or taken: tools are called `NAME_TOOL`, so it has 1 to 64 letters, digits, `_`, `-` and
    /// `.`. And when there are 256 already.
    pub fn server(mut self, name: impl Into<String>, server: McpServer) -> Result<Self> {
        let name = name.into();
        check_name(&name)?;
        let refuse = |why: &str| Err(Error::validation(format!("{}: {why}", place(&name))));
        if self.servers.contains_key(&name) {
            return refuse("it is there already; give each a name of its own");
        }
        if self.servers.len() >= MAX_SERVERS {
            return refuse("there are 256 already, which is the most");
        }
        self.servers.insert(name, server);
        Ok(self)
    }

    /// The servers with their names.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &McpServer)> {
        let all = self.servers.iter();
        all.map(|(name, server)| (name.as_str(), server))
    }

    /// Gives every process those of `variables` that each program needs, such as `PATH`; see
    /// [`StdioWireConfig::inherit`]. A program hands in its own (`std::env::vars_os()`); what a server was given by name
    /// stays.
    #[must_use]
    pub fn inherit(
        mut self,
        variables: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Self {
        let variables: Vec<_> = variables.into_iter().collect();
        for server in self.servers.values_mut() {
            if let McpServer::Process { command, .. } = server {
                *command = command.clone().inherit(variables.iter().cloned());
            }
        }
        self
    }
}

impl McpServer {
    /// A process.
    #[must_use]
    pub const fn process(command: StdioWireConfig) -> Self {
        Self::Process {
            command,
            timeout: None,
        }
    }

    /// An address.
    ///
    /// # Errors
    ///
    /// When it is no `http` or `https` URL.
    pub fn remote(url: impl Into<String>) -> Result<Self> {
        Ok(Self::Remote {
            url: checked_url(&url.into())?,
            headers: HeaderMap::new(),
            transport: Remote::Either,
            timeout: None,
        })
    }
}

/// Refuses names that no tool's name can begin with.
pub(super) fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::validation(format!(
        "{}: use 1 to {MAX_NAME} letters, digits, `_`, `-` and `.` for its name",
        place(name)
    )))
}

/// A server as messages name it.
pub(super) fn place(name: &str) -> String {
    let shown: String = name.chars().take(MAX_NAME).collect();
    format!("server `{}`", shown.escape_debug())
}

/// What a configuration says a server is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Process,
    Remote(Remote),
}

fn read(server: Value) -> Result<McpServer> {
    let Value::Object(server) = server else {
        return Err(Error::validation("give an object"));
    };
    let fields = Fields(server);
    let timeout = fields.timeout()?;
    match fields.kind()? {
        Kind::Process => {
            fields.refuse(&["url", "headers", "auth"], "a process")?;
            let program = fields.text("command")?.unwrap_or_default();
            if program.is_empty() || program.contains('\0') {
                return Err(Error::validation("`command`: give the program to start"));
            }
            let mut command = StdioWireConfig::new(program, fields.texts("args")?);
            for (name, value) in fields.pairs("env")? {
                if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                    let shown: String = name.chars().take(MAX_NAME).collect();
                    return Err(Error::validation(format!(
                        "`env.{}`: this is no variable that a process can have",
                        shown.escape_debug()
                    )));
                }
                command = command.env(name, value);
            }
            if let Some(folder) = fields.text("cwd")? {
                command = command.directory(folder);
            }
            Ok(McpServer::Process { command, timeout })
        }
        Kind::Remote(transport) => {
            fields.refuse(&["command", "args", "env", "cwd"], "an address")?;
            let url = fields.text("url")?.unwrap_or_default();
            Ok(McpServer::Remote {
                url: checked_url(url).map_err(|error| error.within("`url`"))?,
                headers: fields.headers()?,
                transport,
                timeout,
            })
        }
    }
}

fn checked_url(url: &str) -> Result<String> {
    // What is wrong is not shown: a URL may hold a key.
    let unfit = || Error::validation("give an `http` or `https` URL, such as `https://host/mcp`");
    let parsed = Url::parse(url).map_err(|_| unfit())?;
    if matches!(parsed.scheme(), "http" | "https") && parsed.has_host() {
        Ok(parsed.into())
    } else {
        Err(unfit())
    }
}

/// The members of one server.
struct Fields(Map<String, Value>);

impl Fields {
    fn kind(&self) -> Result<Kind> {
        let (command, url) = (self.0.contains_key("command"), self.0.contains_key("url"));
        let said = match self.text("transport")? {
            Some(said) => Some(("transport", said)),
            None => self.text("type")?.map(|said| ("type", said)),
        };
        let kind = match said {
            None if command && url => {
                return Err(Error::validation(
                    "`command` and `url`: give one of them, or say which by `transport`",
                ));
            }
            None if command => Kind::Process,
            None if url => Kind::Remote(Remote::Either),
            None => {
                return Err(Error::validation(
                    "give `command`, the program to start, or `url`, where the server is",
                ));
            }
            Some((_, "stdio")) => Kind::Process,
            Some((_, "http" | "streamable-http" | "streamableHttp")) => {
                Kind::Remote(Remote::Either)
            }
            Some((_, "sse")) => Kind::Remote(Remote::Sse),
            Some((field, _)) => {
                return Err(Error::validation(format!(
                    "`{field}`: give `stdio`, `http` or `sse`"
                )));
            }
        };
        Ok(kind)
    }

    /// Refuses fields that have no meaning for `what`, rather than to pass over what somebody meant.
    fn refuse(&self, fields: &[&str], what: &str) -> Result<()> {
        match fields.iter().find(|field| self.0.contains_key(**field)) {
            Some(field) => Err(Error::validation(format!(
                "`{field}`: {what} has none; leave it out"
            ))),
            None => Ok(()),
        }
    }

    fn text(&self, field: &str) -> Result<Option<&str>> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Error::validation(format!("`{field}`: give a text"))),
        }
    }

    fn texts(&self, field: &str) -> Result<Vec<String>> {
        let all = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(all)) if all.len() <= MAX_PARTS => all,
            Some(_) => {
                return Err(Error::validation(format!(
                    "`{field}`: give a list of at most {MAX_PARTS} texts"
                )));
            }
        };
        let text = |(at, value): (usize, &Value)| match value.as_str() {
            Some(text) if !text.contains('\0') => Ok(text.to_owned()),
            _ => Err(Error::validation(format!("`{field}[{at}]`: give a text"))),
        };
        all.iter().enumerate().map(text).collect()
    }

    fn pairs(&self, field: &str) -> Result<BTreeMap<&str, &str>> {
        let all = match self.0.get(field) {
            None | Some(Value::Null) => return Ok(BTreeMap::new()),
            Some(Value::Object(all)) if all.len() <= MAX_PARTS => all,
            Some(_) => {
                return Err(Error::validation(format!(
                    "`{field}`: give an object of at most {MAX_PARTS} texts"
                )));
            }
        };
        let pair = |(name, value): (&'_ String, &'_ Value)| -> Result<()> {
            if value.is_string() {
                return Ok(());
            }
            let shown: String = name.chars().take(MAX_NAME).collect();
            Err(Error::validation(format!(
                "`{field}.{}`: give a text",
                shown.escape_debug()
            )))
        };
        all.iter().try_for_each(pair)?;
        let texts = all.iter();
        Ok(texts
            .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
            .collect())
    }

    fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in self.pairs("headers")? {
            let shown: String = name.chars().take(MAX_NAME).collect();
            let unfit = |why: &str| {
                let shown = shown.escape_debug();
                Error::validation(format!("`headers.{shown}`: {why}"))
            };
            let name = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| unfit("this is no name of a header"))?;
            let mut value =
                HeaderValue::from_str(value).map_err(|_| unfit("give visible ASCII characters"))?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        match self.text("auth")? {
            None => {}
            Some("oauth") => {
                return Err(Error::validation(
                    "`auth`: somebody has to log in: connect this server with `ClientBuilder::oauth`, and add it by \
                     `ClientGroup::with`",
                ));
            }
            Some(token) => {
                let mut value =
                    HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
                        Error::validation("`auth`: give a token that a header can hold")
                    })?;
                value.set_sensitive(true);
                headers.insert(header::AUTHORIZATION, value);
            }
        }
        Ok(headers)
    }

    fn timeout(&self) -> Result<Option<Duration>> {
        match self.0.get("timeout") {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_u64() {
                Some(millis @ 1..=MAX_TIMEOUT_MS) => Ok(Some(Duration::from_millis(millis))),
                _ => Err(Error::validation(format!(
                    "`timeout`: give 1 to {MAX_TIMEOUT_MS} milliseconds"
                ))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn processes_and_addresses_are_read() {
        let config = McpConfig::parse(
            r#"{"theme": "dark", "mcpServers": {
                "z-files": {"command": "npx", "args": ["-y", "x"], "env": {"TOKEN": "hunter2"}, "cwd": "/tmp",
                            "timeout": 1500, "alwaysAllow": []},
                "weather": {"url": "https://weather.example/mcp?key=hunter2", "type": "streamable-http",
                            "headers": {"X-Key": "hunter2"}, "auth": "hunter2"},
                "older": {"transport": "sse", "url": "http://127.0.0.1:1/sse"},
                "off": {"command": "x", "disabled": true}
            }}"#,
        )
        .unwrap();
        let names: Vec<_> = config.servers().map(|(name, _)| name).collect();
        assert_eq!(names, ["older", "weather", "z-files"]);
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        let server = |wanted: &str| {
            let mut all = config.servers();
            all.find(|(name, _)| *name == wanted).unwrap().1.clone()
        };
        let McpServer::Process { command, timeout } = server("z-files") else {
            panic!("a process")
        };
        assert_eq!(
            (command.program.to_str(), command.args.len()),
            (Some("npx"), 2)
        );
        assert_eq!(command.directory.as_deref(), Some(Path::new("/tmp")));
        assert_eq!(timeout, Some(Duration::from_millis(1_500)));
        let McpServer::Remote {
            headers, transport, ..
        } = server("weather")
        else {
            panic!("an address")
        };
        assert_eq!(transport, Remote::Either);
        assert_eq!(headers["x-key"], "hunter2");
        assert_eq!(headers["authorization"], "Bearer hunter2");
        let McpServer::Remote { transport, .. } = server("older") else {
            panic!("an address")
        };
        assert_eq!(transport, Remote::Sse);

        let path = [
            ("PATH".into(), "/bin".into()),
            ("SECRET".into(), "x".into()),
        ];
        let config = config.inherit(path);
        let Some((_, McpServer::Process { command, .. })) =
            config.servers().find(|(name, _)| *name == "z-files")
        else {
            panic!("a process")
        };
        let variables: Vec<_> = command
            .env
            .keys()
            .filter_map(|name| name.to_str())
            .collect();
        assert_eq!(variables, ["PATH", "TOKEN"]);
    }

    fn refused(server: &Value) -> String {
        let config = json!({"mcpServers": {"one": server}});
        let error = McpConfig::from_value(config).unwrap_err();
        let message = error.message();
        assert!(message.starts_with("server `one`"), "{message}");
        message.to_owned()
    }

    #[test]
    fn unfit_processes_are_refused_by_server_and_field() {
        for (server, why) in [
            (json!("npx"), "server `one`: give an object"),
            (json!({}), "server `one`: give `command`"),
            (json!({"command": ""}), "`command`: give the program"),
            (json!({"command": 7}), "`one`: `command`: give a text"),
            (json!({"command": "x", "args": "y"}), "`args`: give a list"),
            (json!({"command": "x", "args": ["y", 1]}), "`args[1]`: give"),
            (json!({"command": "x", "env": {"A": 1}}), "`env.A`: give a"),
            (
                json!({"command": "x", "env": {"A=B": ""}}),
                "`env.A=B`: this",
            ),
            (json!({"command": "x", "cwd": 1}), "`cwd`: give a text"),
            (
                json!({"command": "x", "headers": {}}),
                "`headers`: a process",
            ),
        ] {
            let message = refused(&server);
            assert!(message.contains(why), "{server}: {message}");
        }
    }

    #[test]
    fn unfit_addresses_are_refused_by_server_and_field() {
        let with = |field: &str, value: Value| {
            let mut server = json!({"url": "http://y"});
            server[field] = value;
            server
        };
        for (server, why) in [
            (with("command", json!("x")), "`command` and `url`"),
            (
                json!({"command": "x", "type": "http"}),
                "`command`: an address",
            ),
            (with("url", json!("y")), "`url`: give an `http`"),
            (with("url", json!("ftp://y/")), "`url`: give an `http`"),
            (with("type", json!("carrier")), "`type`: give `stdio`"),
            (
                with("headers", json!({"a b": ""})),
                "`headers.a b`: this is",
            ),
            (with("headers", json!({"a": "\n"})), "`headers.a`: give"),
            (
                with("auth", json!("oauth")),
                "`auth`: somebody has to log in",
            ),
            (with("timeout", json!(0)), "`timeout`: give 1 to"),
            (with("timeout", json!("5")), "`timeout`: give 1 to"),
        ] {
            let message = refused(&server);
            assert!(message.contains(why), "{server}: {message}");
        }
    }

    #[test]
    fn unfit_configurations_are_refused() {
        for (text, why) in [
            ("", "no JSON"),
            ("[]", "`mcpServers`"),
            (r#"{"mcpServers": []}"#, "`mcpServers`"),
            (
                r#"{"mcpServers": {"a b": {"command": "x"}}}"#,
                "server `a b`: use 1",
            ),
        ] {
            let error = McpConfig::parse(text).unwrap_err();
            assert!(error.message().contains(why), "{text}: {error}");
        }
        let long = " ".repeat(MAX_BYTES + 1);
        let error = McpConfig::parse(&long).unwrap_err();
        assert!(error.message().contains("at most"));
        let one = || McpServer::remote("http://127.0.0.1:1").unwrap();
        let config = McpConfig::new().server("a", one()).unwrap();
        let twice = config.server("a", one()).unwrap_err();
        assert!(twice.message().contains("there already"));
        let none = McpConfig::open("/none/at/all.json").unwrap_err();
        assert!(none.message().contains("all.json"));
    }
}
