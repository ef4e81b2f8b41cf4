//! Every name that the gateway knows, with what it takes and its default.
//!
//! In the environment and in `.env` the names are as they stand here; in `fastmcp.yaml` they are in lower case.

use std::borrow::Cow;

/// A name that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable {
    /// The name.
    pub name: &'static str,
    /// What it takes: range, unit, choices.
    pub takes: &'static str,
    /// The default as it would be written; `None` where there is none or it follows from other settings.
    pub default: Option<&'static str>,
    /// Whether its value must never be shown.
    pub secret: bool,
    /// Why it has no effect in this version, if it has none.
    pub idle: Option<&'static str>,
}

const fn with_default(name: &'static str, takes: &'static str, default: &'static str) -> Variable {
    Variable {
        name,
        takes,
        default: Some(default),
        secret: false,
        idle: None,
    }
}

const fn without_default(name: &'static str, takes: &'static str) -> Variable {
    Variable {
        name,
        takes,
        default: None,
        secret: false,
        idle: None,
    }
}

const fn idle(name: &'static str, why: &'static str) -> Variable {
    Variable {
        name,
        takes: "nothing in this version",
        default: None,
        secret: false,
        idle: Some(why),
    }
}

const fn secret(variable: Variable) -> Variable {
    Variable {
        secret: true,
        ..variable
    }
}

const NO_CACHE: &str = "results are never cached: a governed call is decided anew each time";
const NO_MCP: &str = "upstream MCP servers are not connected in this version";
const NO_PIPEDRIVE: &str = "the Pipedrive tools are not part of this version";

/// Every name, in the order in which `--print-config` shows them.
///
/// Beside these, `MCP_<NAME>_URL` and `PIPEDRIVE_*` are known and have no effect in this version.
pub const VARIABLES: &[Variable] = &[
    with_default("APP_NAME", "1 to 128 printable characters", "fastmcp"),
    without_default(
        "SERVER_NAME",
        "1 to 128 printable characters (default: APP_NAME)",
    ),
    with_default(
        "SERVER_VERSION",
        "1 to 128 printable characters",
        env!("CARGO_PKG_VERSION"),
    ),
    with_default("HOST", "an IP address or `localhost`", "127.0.0.1"),
    with_default("PORT", "0 to 65535; 0 takes any free port", "8000"),
    with_default("TRANSPORT", "`http` or `stdio`", "http"),
    with_default(
        "LOG_LEVEL",
        "`off`, `error`, `warn`, `info`, `debug` or `trace`",
        "info",
    ),
    with_default("LOG_FORMAT", "`text` or `json`", "text"),
    with_default("FASTMCP_DATA_DIR", "a folder", super::DEFAULT_DATA_DIR),
    without_default(
        "FASTMCP_CONFIG",
        "a YAML file; in the environment only (default: fastmcp.yaml where it exists)",
    ),
    without_default(
        "ENV_FILE",
        "a file of NAME=value lines; not within such a file itself (default: .env where it exists)",
    ),
    without_default(
        "FASTMCP_INSTANCE",
        "1 to 128 letters, digits or `.`, `_`, `:`, `/`, `-` (default: made at the first start and kept)",
    ),
    with_default(
        "JWT_ISSUER",
        "1 to 1024 printable characters",
        "https://idp.local",
    ),
    with_default("JWT_AUDIENCE", "1 to 1024 printable characters", "fastmcp"),
    with_default(
        "JWT_ALG",
        "a list of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA",
        "RS256,ES256",
    ),
    with_default("JWT_TTL_MIN", "1 to 43200 minutes", "10"),
    with_default("JWT_LEEWAY_SEC", "0 to 900 seconds", "300"),
    without_default("JWT_JWKS_FILE", "a file that holds a JWK Set"),
    without_default(
        "JWT_ISSUERS_FILE",
        "a YAML file that lists issuers, each with its tenants",
    ),
    without_default(
        "JWT_JWKS_URL",
        "an https address, or http on loopback, without user name and password",
    ),
    without_default(
        "API_KEYS_FILE",
        "a file that `fastmcp token key` writes; it need not be there (default: api-keys.jsonl in the data folder)",
    ),
    without_default("TLS_CERT_FILE", "a certificate chain in PEM"),
    without_default("TLS_KEY_FILE", "the private key of the certificate, in PEM"),
    without_default(
        "TLS_CLIENT_CA_FILE",
        "certificates in PEM of those who vouch for clients",
    ),
    with_default("REQUIRE_MTLS", "`true` or `false`", "false"),
    without_default("ENABLE_AUTH", "`true`: authentication is always on"),
    secret(idle(
        "AUTH_SECRET",
        "tokens are checked with public keys; see JWT_JWKS_URL and JWT_JWKS_FILE",
    )),
    with_default("CONFIRM_TTL_SEC", "1 to 604800 seconds", "300"),
    with_default("APPROVAL_TTL_SEC", "1 to 604800 seconds", "3600"),
    without_default(
        "APPROVAL_WEBHOOK_URL",
        "an https address, or http on loopback, without user name and password",
    ),
    without_default(
        "APPROVAL_WEBHOOK_SECRET_FILE",
        "a file with a secret of 32 to 1024 bytes",
    ),
    with_default("ACTION_TOKEN_BYTES", "16 to 64 bytes", "24"),
    with_default("IDEMPOTENCY_TTL_SEC", "1 to 31536000 seconds", "86400"),
    with_default("LABEL_TTL_SEC", "60 to 2592000 seconds", "28800"),
    with_default("IDEMPOTENCY_WAIT_SEC", "0 to 60 seconds", "0"),
    with_default(
        "RATE_LIMIT_DEFAULT_RPS",
        "more than 0, at most 1000000 calls a second; 0.5 is one in two seconds",
        "5",
    ),
    with_default("RATE_BUCKET_BURST", "1 to 1000000 calls", "10"),
    without_default(
        "RATE_LIMIT_FILE",
        "a YAML file of limits (default: limits.yml in the data folder where it exists)",
    ),
    with_default("RATE_LIMIT_FALLBACK", "`memory` or `refuse`", "memory"),
    secret(without_default(
        "REDIS_URL",
        "`redis://[[user]:password@]host[:port][/database]`, `rediss://` for TLS; default: each process counts limits alone",
    )),
    without_default(
        "REDIS_CA_FILE",
        "certificates in PEM, to one of which that of Redis must lead (default: Mozilla's roots)",
    ),
    without_default(
        "SQLITE_URL",
        "a path, `sqlite:///./relative/path` or `sqlite:////absolute/path`, without options",
    ),
    secret(without_default(
        "DATABASE_URL",
        "an address such as postgres://user:password@host:5432/database, for the state of several replicas",
    )),
    with_default("POOL_SIZE", "1 to 1000 connections to PostgreSQL", "10"),
    without_default("DATABASE_PATH", "an SQLite database (default: a sample)"),
    with_default("DATABASE_MAX_ROWS", "1 to 1000000 rows", "1000"),
    without_default("AUDIT_WORM_DIR", "a folder"),
    with_default("AUDIT_MODE", "`strict` or `buffered`", "strict"),
    with_default("AUDIT_SEGMENT_MB", "1 to 65536 megabytes", "256"),
    without_default(
        "AUDIT_REDACT",
        "a list of names whose values no record holds, at most 64",
    ),
    without_default(
        "AUDIT_ARGUMENTS",
        "a list of `tool.argument` whose values are recorded, such as `database:executeQuery.query` or `ads:*.*`, at most 64 (default: none, digests alone)",
    ),
    without_default(
        "AUDIT_RETENTION_DAYS",
        "1 to 36500 days (default: everything is kept)",
    ),
    without_default(
        "AUDIT_ARCHIVE_DIR",
        "a folder (default: what need not stay is removed)",
    ),
    without_default("AUDIT_PEERS_DIR", "a folder that all replicas share"),
    with_default("AUDIT_PEERS_INTERVAL_SEC", "1 to 3600 seconds", "10"),
    without_default(
        "AUDIT_SYSLOG_URL",
        "udp://host:port, tcp://host:port or unix:///path",
    ),
    without_default(
        "AUDIT_OTLP_URL",
        "an http or https address such as https://collector:4318/v1/logs, without user name and password",
    ),
    without_default("AUDIT_OTLP_TOKEN_FILE", "a file that holds a bearer token"),
    without_default(
        "AUDIT_HTTP_URL",
        "an http or https address, without user name and password",
    ),
    without_default("AUDIT_HTTP_TOKEN_FILE", "a file that holds a bearer token"),
    with_default("AUDIT_EXPORT_QUEUE", "1 to 1000000 records", "10000"),
    without_default("FILESYSTEM_ROOT", "a folder"),
    with_default("FILESYSTEM_MAX_FILE_MB", "1 to 1024 megabytes", "10"),
    with_default("FILESYSTEM_MAX_DEPTH", "1 to 64 parts of a path", "16"),
    with_default("ADS_PROVIDER_MODE", "`sandbox`", "sandbox"),
    with_default("REQUEST_TIMEOUT", "1 to 3600 seconds", "30"),
    with_default("MASK_ERRORS", "`true` or `false`", "true"),
    without_default(
        "FASTMCP_ALLOWED_HOSTS",
        "a list of host names without scheme and path, at most 64",
    ),
    without_default(
        "FASTMCP_ALLOWED_ORIGINS",
        "a list of origins such as https://app.example.com, at most 64",
    ),
    without_default(
        "FASTMCP_TRUSTED_PROXIES",
        "a list of IP addresses or networks such as 10.0.0.0/8, at most 64",
    ),
    without_default(
        "FASTMCP_POLICY",
        "a policy file, or a folder of *.yml and *.cedar files",
    ),
    with_default(
        "CATALOG_TENANT_DEFAULT",
        "1 to 128 printable characters",
        "public",
    ),
    with_default("FASTMCP_MAX_SESSIONS", "1 to 1000000 sessions", "10000"),
    with_default("FASTMCP_STATELESS_HTTP", "`true` or `false`", "false"),
    with_default("FASTMCP_SHUTDOWN_GRACE_SEC", "0 to 600 seconds", "10"),
    idle("CACHE_TTL", NO_CACHE),
    idle("ENABLE_CACHING", NO_CACHE),
    idle("MCP_DISCOVERY_RETRIES", NO_MCP),
    idle("MCP_DISCOVERY_BACKOFF_MS", NO_MCP),
    secret(idle("PIPEDRIVE_API_TOKEN", NO_PIPEDRIVE)),
    idle("PIPEDRIVE_COMPANY_DOMAIN", NO_PIPEDRIVE),
];

/// The variable of that name, if the gateway knows it.
#[must_use]
pub fn find(name: &str) -> Option<&'static Variable> {
    VARIABLES.iter().find(|variable| variable.name == name)
}

/// Why the name has no effect although it is known; `None` for one that has, or that nobody knows.
#[must_use]
pub fn idle_reason(name: &str) -> Option<&'static str> {
    if let Some(variable) = find(name) {
        return variable.idle;
    }
    let upstream = name
        .strip_prefix("MCP_")
        .and_then(|rest| rest.strip_suffix("_URL"));
    if upstream.is_some_and(|server| !server.is_empty()) {
        return Some(NO_MCP);
    }
    name.starts_with("PIPEDRIVE_").then_some(NO_PIPEDRIVE)
}

/// Whether the gateway knows the name.
#[must_use]
pub fn is_known(name: &str) -> bool {
    find(name).is_some() || idle_reason(name).is_some()
}

/// The known name that was probably meant.
#[must_use]
pub fn nearest(given: &str) -> Option<&'static str> {
    // Longer texts are nothing that a slip of the finger makes, and comparing costs the product of the lengths.
    if given.len() > 64 {
        return None;
    }
    let distance = |variable: &Variable| strsim::damerau_levenshtein(given, variable.name);
    let near = VARIABLES
        .iter()
        .map(|variable| (distance(variable), variable.name))
        .min()?;
    (near.0 <= (given.len().max(near.1.len()) / 3).max(1)).then_some(near.1)
}

/// The value as it may be shown: shortened, without control characters, secrets and passwords left out.
pub(super) fn shown<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    const MAX_CHARS: usize = 200;
    // Idle names that are not in the table are of other systems, whose addresses may hold credentials.
    if find(name).is_none_or(|variable| variable.secret) {
        return "[redacted]".into();
    }
    if let Ok(mut url) = url::Url::parse(value)
        && (url.password().is_some() || !url.username().is_empty())
        && url.set_username("redacted").is_ok()
        && url.set_password(None).is_ok()
    {
        return url.to_string().into();
    }
    if value.chars().count() <= MAX_CHARS && !value.contains(char::is_control) {
        return value.into();
    }
    value
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .take(MAX_CHARS)
        .collect()
}
