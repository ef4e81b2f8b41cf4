//! What the gateway is told: defaults, then `fastmcp.yaml`, then `.env`, then the environment, then flags.
//!
//! [`load`] is the one place in the gateway that reads configuration, and it does so once: everything behind it takes
//! the [`Config`], whose fields are checked. The environment comes in as an argument. Each known name stands in the
//! table of [`variable`]; what nobody knows is refused (in `fastmcp.yaml`) or warned about (elsewhere), and what has no
//! effect in this version is warned about or, where it promises security, refused.

mod audit;
mod callers;
mod error;
mod instance;
mod issuer;
mod layer;
mod limits;
mod parse;
pub mod part;
mod policy;
mod reader;
mod section;
pub mod variable;
mod yaml;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use fastmcp_guard::random::{OsRandom, Random};

pub use self::{
    error::{Errors, Problem},
    issuer::{Claims, Issuer, Keeping, Proof},
    layer::{Setting, Source},
    limits::limits_of,
    policy::{PolicyFileError, policy_sources},
};
use crate::confirm::token::TokenBytes;

/// The folder of everything that has no place of its own.
pub const DEFAULT_DATA_DIR: &str = ".fastmcp";
/// The configuration file that is read where none is named.
pub const DEFAULT_CONFIG_FILE: &str = "fastmcp.yaml";
/// The environment file that is read where none is named.
pub const DEFAULT_ENV_FILE: &str = ".env";

/// The configuration of a gateway. [`variable::VARIABLES`] lists each name with its range and default.
#[derive(Clone, Debug)]
pub struct Config {
    /// `APP_NAME`: the name of the application.
    pub app_name: String,
    /// `SERVER_NAME`: the name that MCP clients see; the application's by default.
    pub server_name: String,
    /// `SERVER_VERSION`: the version that clients see; this program's by default.
    pub server_version: String,
    /// `TRANSPORT`: how clients reach the gateway where no flag says so.
    pub transport: Transport,
    /// `HOST` and `PORT`: the address to listen at.
    pub bind: SocketAddr,
    /// `LOG_LEVEL`: `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// `LOG_FORMAT`: the form of log lines.
    pub log_format: LogFormat,
    /// `FASTMCP_DATA_DIR`: where keys, state and audit lie unless they are given places of their own.
    pub data_dir: PathBuf,
    /// Whose tokens are taken.
    pub jwt: Jwt,
    /// `API_KEYS_FILE`: the hashes of API keys.
    pub api_keys_file: PathBuf,
    /// `APPROVAL_WEBHOOK_URL` and `APPROVAL_WEBHOOK_SECRET_FILE`: who hears of calls that wait for a person.
    pub approval_webhook: Option<WebhookConfig>,
    /// `TLS_CERT_FILE`, `TLS_KEY_FILE`, `TLS_CLIENT_CA_FILE` and `REQUIRE_MTLS`: how the gateway speaks TLS, if it does.
    pub tls: Option<crate::tls::TlsFiles>,
    /// `CONFIRM_TTL_SEC`: how long a confirmation may take.
    pub confirm_ttl: Duration,
    /// `APPROVAL_TTL_SEC`: how long a call waits for a person's approval, and an approved one for its caller.
    pub approval_ttl: Duration,
    /// `ACTION_TOKEN_BYTES`: how many random bytes an action token has.
    pub action_token: TokenBytes,
    /// `IDEMPOTENCY_TTL_SEC`: how long a result is replayed.
    pub idempotency_ttl: Duration,
    /// `LABEL_TTL_SEC`: how long a caller carries the labels of what it has read.
    pub label_ttl: Duration,
    /// `RATE_LIMIT_DEFAULT_RPS`, `RATE_BUCKET_BURST`, `RATE_LIMIT_FILE`, `RATE_LIMIT_FALLBACK` and `REDIS_URL`: how
    /// often and how much callers may.
    pub limits: crate::limit::Settings,
    /// `RATE_LIMIT_FILE`: where the limits beside the default one stand. The file need not exist if nobody named it.
    pub limits_path: PathBuf,
    /// `IDEMPOTENCY_WAIT_SEC`: how long a call waits for the one that runs under its key.
    pub idempotency_wait: Duration,
    /// `DATABASE_URL` or `SQLITE_URL`: where the state lies.
    pub state: crate::state::Location,
    /// `POOL_SIZE`: the most connections to PostgreSQL.
    pub pool_size: u32,
    /// `DATABASE_PATH`: the database that the database tools work on.
    pub database_path: PathBuf,
    /// Whether that is the sample database, which is made where it is missing.
    pub database_is_sample: bool,
    /// `DATABASE_MAX_ROWS`: the most rows of a result.
    pub database_max_rows: usize,
    /// `AUDIT_WORM_DIR`: the folder of the audit log.
    pub audit_dir: PathBuf,
    /// `AUDIT_MODE`: whether a call waits until its record is durable.
    pub audit_mode: fastmcp_audit::Mode,
    /// What else becomes of the records.
    pub trail: Trail,
    /// `FILESYSTEM_ROOT`: the folder that the file tools work in.
    pub filesystem_root: PathBuf,
    /// `FILESYSTEM_MAX_FILE_MB` and `FILESYSTEM_MAX_DEPTH`: what they may touch there.
    pub filesystem_limits: fastmcp_guard::files::Limits,
    /// The file of the ads sandbox.
    pub ads_path: PathBuf,
    /// `REQUEST_TIMEOUT`: how long a tool may take.
    pub request_timeout: Duration,
    /// `MASK_ERRORS`: whether details of inner failures are kept from callers.
    pub mask_errors: bool,
    /// `FASTMCP_ALLOWED_HOSTS`: names under which the gateway may be addressed, beside those of loopback.
    pub allowed_hosts: Vec<String>,
    /// `FASTMCP_ALLOWED_ORIGINS`: origins whose pages may call, beside those of loopback.
    pub allowed_origins: Vec<String>,
    /// `FASTMCP_POLICY`: a policy file, or a folder of `*.yml` and `*.cedar` files.
    pub policy_path: PathBuf,
    /// `CATALOG_TENANT_DEFAULT`: the tenant of callers at standard input and of manifests that name none.
    pub catalog_tenant_default: String,
    /// `FASTMCP_INSTANCE`: the name of this replica, the same after each start. Empty only out of [`preview`], before the
    /// first start.
    pub instance: String,
    /// `FASTMCP_MAX_SESSIONS`: how many sessions clients up to 2025-11-25 may have open.
    pub max_sessions: usize,
    /// `FASTMCP_STATELESS_HTTP`: whether clients up to 2025-11-25 do without sessions, so that any replica can answer them.
    pub stateless_http: bool,
    /// `FASTMCP_SHUTDOWN_GRACE_SEC`: how long running calls may take to finish at shutdown.
    pub shutdown_grace: Duration,
    /// `FASTMCP_TRUSTED_PROXIES`: proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

/// What becomes of the records of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trail {
    /// `AUDIT_SEGMENT_MB`: after how many bytes a file is followed by another of the same day.
    pub segment_bytes: u64,
    /// `AUDIT_REDACT`: names whose values are secret, beside those that always are.
    pub redact: Vec<String>,
    /// `AUDIT_ARGUMENTS`: arguments whose values are recorded.
    pub arguments: Vec<crate::audit::Recorded>,
    /// `AUDIT_RETENTION_DAYS` and `AUDIT_ARCHIVE_DIR`: how long records stay, and where they go then. Without: for ever.
    pub retention: Option<fastmcp_audit::Retention>,
    /// `AUDIT_PEERS_DIR` and `AUDIT_PEERS_INTERVAL_SEC`: where replicas leave their checkpoints for each other.
    pub peers: Option<crate::audit::peers::Peers>,
    /// `AUDIT_SYSLOG_URL`, `AUDIT_OTLP_URL`, `AUDIT_HTTP_URL`: who else is told.
    pub sinks: Vec<crate::audit::export::Sink>,
    /// `AUDIT_EXPORT_QUEUE`: how many records wait for each of them.
    pub queue: usize,
}

/// An address that hears of calls that wait for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookConfig {
    /// Where.
    pub url: url::Url,
    /// The file with the secret that signs what it is sent.
    pub secret_file: PathBuf,
}

/// How clients reach the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Over HTTP: both doors.
    Http,
    /// Over standard input and output: MCP, for one local client.
    Stdio,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whose tokens are taken.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// `JWT_ISSUER`: the `iss` of tokens, compared exactly.
    pub issuer: String,
    /// `JWT_AUDIENCE`: the `aud` of tokens, compared exactly.
    pub audience: String,
    /// `JWT_ALG`: the algorithms that are allowed.
    pub algorithms: Vec<fastmcp_auth::Algorithm>,
    /// `JWT_TTL_MIN`: how long a token lives that `fastmcp token mint` makes.
    pub ttl: Duration,
    /// `JWT_LEEWAY_SEC`: how far the clocks of issuer and gateway may differ.
    pub leeway: Duration,
    /// `JWT_JWKS_FILE` or `JWT_JWKS_URL`: the keys that check signatures of `JWT_ISSUER`.
    pub keys: JwtKeys,
    /// `JWT_ISSUERS_FILE`: the issuers beside it.
    pub issuers: Vec<Issuer>,
    /// Where that file is, which is read again when it changes.
    pub issuers_file: Option<PathBuf>,
}

impl Jwt {
    /// The same, with the issuers that the file names now. Blocks on the disk.
    pub(crate) fn again(&self) -> Result<Self, String> {
        let mut again = self.clone();
        if let Some(file) = &self.issuers_file {
            again.issuers = issuer::read(file)?;
        }
        Ok(again)
    }
}

/// Where the keys come from that check signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwtKeys {
    /// Keys that the gateway made for itself; for loopback alone.
    Development,
    /// A JWK Set in a file.
    File(PathBuf),
    /// A JWK Set at an address.
    Url(url::Url),
    /// None: the issuers of `JWT_ISSUERS_FILE` and API keys are all that there is.
    None,
}

/// What the command line says; it beats everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--bind`.
    pub bind: Option<SocketAddr>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// A configuration and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What holds.
    pub config: Config,
    /// What the operator should know: unknown names, settings without effect.
    pub warnings: Vec<String>,
    /// Each setting with its value, secrets left out, and where it comes from.
    pub settings: Vec<Setting>,
}

/// Reads the configuration from the working folder, the environment (`vars`) and the command line.
///
/// Makes the data folder and the instance's name in it where they are missing, so that the next start bears the same
/// name. Blocks on the disk.
///
/// # Errors
///
/// [`Errors`] with everything that is wrong at once: which name, its value (not of secrets), what it takes, and where
/// it was set.
pub fn load(vars: impl Iterator<Item = (String, String)>, flags: &Flags) -> Result<Loaded, Errors> {
    load_in(
        &Place {
            folder: Path::new(""),
            random: &OsRandom,
            keep: true,
        },
        vars,
        flags,
    )
}

/// As [`load`], but leaves the disk as it is: for commands that only look.
///
/// [`Config::instance`] is empty where nobody has started a gateway yet; such a configuration cannot be served.
///
/// # Errors
///
/// As [`load`].
pub fn preview(
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Loaded, Errors> {
    load_in(
        &Place {
            folder: Path::new(""),
            random: &OsRandom,
            keep: false,
        },
        vars,
        flags,
    )
}

/// Where configuration is read.
struct Place<'a> {
    /// The working folder, to which relative paths belong. Empty: the process's own.
    folder: &'a Path,
    random: &'a dyn Random,
    /// Whether what must stay the same may be written.
    keep: bool,
}

fn load_in(
    place: &Place<'_>,
    vars: impl Iterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Loaded, Errors> {
    let layers = layer::collect(place.folder, vars, flags);
    let mut reader = reader::Reader::new(layers, place.folder);
    let config = section::config(&mut reader, place);
    let (settings, warnings, problems) = reader.finish();
    match config {
        Some(config) if problems.is_empty() => Ok(Loaded {
            config,
            warnings,
            settings,
        }),
        _ => Err(Errors::new(problems)),
    }
}

#[cfg(test)]
mod tests;
