//! What a server is told from outside: read once when the program starts, checked whole, never changed.
//!
//! Nothing here reads the environment or a file: a binary hands over its variables.
//!
//! ```
//! use fastmcp::config::{ServerConfig, dotenv};
//!
//! # fn example() -> Result<(), fastmcp::config::ConfigError> {
//! // Later pairs win: defaults of a file, then the variables of the process, as `std::env::vars()` gives them.
//! let file = dotenv("MCP_SERVER_NAME=\"DevServer\"\nCACHE_TTL=60\n")?;
//! let process = [("CACHE_TTL".to_owned(), "300".to_owned())];
//! let config = ServerConfig::from_vars(file.into_iter().chain(process))?;
//! assert_eq!(config.name, "DevServer");
//! assert_eq!(config.cache_ttl.as_secs(), 300);
//! # Ok(())
//! # }
//! # example().unwrap();
//! ```

mod dotenv;
mod logging;
mod read;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use fastmcp_transport::http::HttpConfig;
use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{
    middleware::StandardSettings,
    server::{FastMcp, Transport},
};

pub use dotenv::dotenv;
pub use logging::{LogFormat, LogOutput, Logging};

/// The ports that may be served. Source: the architecture document, "Configuration Strategy".
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65535;
const DAY: Duration = Duration::from_secs(86_400);

/// The settings of a server. Each field names its variable, or several of which the first that is set counts; an
/// empty one counts as not set.
///
/// Source: the architecture document, Pattern 4 and "Configuration Strategy"; the best practices, "Configuration Management Pattern".
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// `MCP_SERVER_NAME`, `SERVER_NAME`: 1 to 128 characters. Default `FastMCP Server`.
    pub name: String,
    /// `MCP_VERSION`, `SERVER_VERSION`: 1 to 64 characters. Default `1.0.0`.
    pub version: String,
    /// `DEBUG`. Default false.
    pub debug: bool,
    /// `MCP_LOG_LEVEL`, `LOG_LEVEL`: `OFF`, `ERROR`, `WARNING`, `INFO`, `DEBUG` or `TRACE`. Default `INFO`, with
    /// [`Self::debug`] `DEBUG`.
    pub log_level: LevelFilter,
    /// `MCP_TRANSPORT`, `TRANSPORT`: whether Streamable HTTP is served (`http`) or standard input and output
    /// (`stdio`). Default `stdio`.
    pub http: bool,
    /// `MCP_HTTP_HOST`, `MCP_HOST`, `HOST`: the address to serve, or `localhost`. Default `127.0.0.1`.
    pub host: IpAddr,
    /// `MCP_HTTP_PORT`, `MCP_PORT`, `PORT`: 1024 to 65535 where HTTP is served. Default 8000.
    pub port: u16,
    /// `MCP_ALLOWED_HOSTS`: names under which the server may be addressed over HTTP besides those of loopback,
    /// with commas between them. Default none.
    pub allowed_hosts: Vec<String>,
    /// `RATE_LIMIT`: requests per second, above 0. Default 10.
    pub rate_limit: f64,
    /// `CACHE_TTL`: seconds, at most a day. Default 300.
    pub cache_ttl: Duration,
    /// `POOL_SIZE`: connections of a pool, 1 to 10,000. Default 20.
    pub connection_pool_size: u32,
    /// `REQUEST_TIMEOUT`: seconds that a call over HTTP may take, 1 to a day. Default 30.
    pub request_timeout: Duration,
    /// `API_ENDPOINT`: an address of `http:` or `https:` that names no user. Default none.
    pub api_endpoint: Option<Url>,
    /// `API_TIMEOUT`: seconds that a call of that may take, 1 to a day. Default 30.
    pub api_timeout: Duration,
    /// `DATABASE_URL`. Default none.
    pub database_url: Option<SecretString>,
    /// `REDIS_URL`. Default none.
    pub redis_url: Option<SecretString>,
    /// `OPENAI_API_KEY`. Default none.
    pub openai_api_key: Option<SecretString>,
    /// `ANTHROPIC_API_KEY`. Default none.
    pub anthropic_api_key: Option<SecretString>,
    /// `AUTH_SECRET`: needed where [`Self::enable_auth`] is set. Default none.
    pub auth_secret: Option<SecretString>,
    /// `ENABLE_CACHING`. Default true.
    pub enable_caching: bool,
    /// `ENABLE_AUTH`. Default false.
    pub enable_auth: bool,
    /// `ENABLE_EXPERIMENTAL`. Default false.
    pub enable_experimental: bool,
    /// `MASK_ERRORS`: whether internal errors are told without details. Default true.
    pub mask_errors: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            name: "FastMCP Server".to_owned(),
            version: "1.0.0".to_owned(),
            debug: false,
            log_level: LevelFilter::INFO,
            http: false,
            host: Ipv4Addr::LOCALHOST.into(),
            port: 8000,
            allowed_hosts: Vec::new(),
            rate_limit: 10.0,
            cache_ttl: Duration::from_secs(300),
            connection_pool_size: 20,
            request_timeout: Duration::from_secs(30),
            api_endpoint: None,
            api_timeout: Duration::from_secs(30),
            database_url: None,
            redis_url: None,
            openai_api_key: None,
            anthropic_api_key: None,
            auth_secret: None,
            enable_caching: true,
            enable_auth: false,
            enable_experimental: false,
            mask_errors: true,
        }
    }
}

impl From<&ServerConfig> for StandardSettings {
    fn from(config: &ServerConfig) -> Self {
        Self {
            rate_limit: config.rate_limit,
            cache_ttl: config.enable_caching.then_some(config.cache_ttl),
        }
    }
}

impl ServerConfig {
    /// Reads variables; later pairs win. Those that are no settings of a server are left alone.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once, values that cannot be read and what [`Self::validate`] says.
    pub fn from_vars<K, V>(vars: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let (config, mut problems) = read::config(vars);
        // What could not be read is wrong once, not once more as the default in its place.
        for problem in config.problems() {
            if problems
                .iter()
                .all(|known| known.variable != problem.variable)
            {
                problems.push(problem);
            }
        }
        ConfigError::none(problems)?;
        Ok(config)
    }

    /// Reads the text of a `.env` file; see [`dotenv`].
    ///
    /// # Errors
    ///
    /// As [`dotenv`] and [`Self::from_vars`].
    pub fn from_dotenv(text: &str) -> Result<Self, ConfigError> {
        Self::from_vars(dotenv(text)?)
    }

    /// Checks settings that were made or changed by hand.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, at once.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::none(self.problems())
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |fits: bool, variable: &'static str, message: &str| {
            if !fits {
                problems.push(Problem::new(variable, message));
            }
        };
        let plain = |text: &str, most: usize| {
            (1..=most).contains(&text.chars().count()) && !text.contains(char::is_control)
        };
        let seconds = |time: Duration| (Duration::from_secs(1)..=DAY).contains(&time);
        check(
            plain(&self.name, 128),
            "MCP_SERVER_NAME",
            "must have 1 to 128 characters",
        );
        check(
            plain(&self.version, 64),
            "MCP_VERSION",
            "must have 1 to 64 characters",
        );
        check(
            !self.http || PORTS.contains(&self.port),
            "MCP_HTTP_PORT",
            &format!(
                "(or `PORT`) must be a number from 1024 to 65535; it is {}",
                self.port
            ),
        );
        check(
            self.rate_limit.is_finite() && self.rate_limit > 0.0,
            "RATE_LIMIT",
            &format!("must be a number above 0; it is {}", self.rate_limit),
        );
        check(
            self.cache_ttl <= DAY,
            "CACHE_TTL",
            "must be a number of seconds from 0 to 86400",
        );
        check(
            (1..=10_000).contains(&self.connection_pool_size),
            "POOL_SIZE",
            &format!(
                "must be a number from 1 to 10000; it is {}",
                self.connection_pool_size
            ),
        );
        let day = "must be a number of seconds from 1 to 86400";
        check(seconds(self.request_timeout), "REQUEST_TIMEOUT", day);
        check(seconds(self.api_timeout), "API_TIMEOUT", day);
        check(
            !self.enable_auth || self.auth_secret.is_some(),
            "AUTH_SECRET",
            "must be set where `ENABLE_AUTH` is",
        );
        problems
    }

    /// Begins a server that is as these settings say.
    #[must_use]
    pub fn server(&self) -> FastMcp {
        FastMcp::new(&self.name)
            .version(&self.version)
            .mask_error_details(self.mask_errors)
    }

    /// By which door the server is reached.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        if self.http {
            Transport::Http(SocketAddr::new(self.host, self.port))
        } else {
            Transport::Stdio
        }
    }

    /// How the endpoint behaves over HTTP.
    #[must_use]
    pub fn http_config(&self) -> HttpConfig {
        let mut config = HttpConfig::default();
        config.limits.call_timeout = self.request_timeout;
        let named =
            |hosts: fastmcp_transport::http::AllowedHosts, name: &String| hosts.allow_host(name);
        config.hosts = self.allowed_hosts.iter().fold(config.hosts, named);
        config
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

/// What is wrong with one setting. It never has the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    variable: String,
    message: String,
}

impl Problem {
    pub(super) fn new(variable: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            message: message.into(),
        }
    }

    /// The variable, or the line of a file.
    #[must_use]
    pub fn variable(&self) -> &str {
        &self.variable
    }

    /// What it must be.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl ConfigError {
    fn none(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }

    /// What is wrong, setting by setting.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is wrong")?;
        for Problem { variable, message } in &self.problems {
            write!(f, "\n  `{variable}` {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
