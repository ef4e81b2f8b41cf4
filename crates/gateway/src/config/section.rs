//! The configuration, section by section.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use fastmcp_auth::Algorithm;
use fastmcp_guard::files::Limits;

use super::{
    Config, Issuer, Jwt, JwtKeys, LogFormat, Place, Transport, audit, callers, instance, issuer,
    limits::limits_of,
    parse::{self, Reject, number, printable, seconds, truth},
    reader::Reader,
};
use crate::{
    confirm::token::TokenBytes,
    limit::{self, rule::Rate},
    state::Location,
};

/// The file of limits in the data folder.
const LIMITS_FILE: &str = "limits.yml";
/// The file of the default policy in the data folder.
const POLICY_FILE: &str = "policies.yml";

/// Reads everything; `None` means that problems were noted.
pub(super) fn config(reader: &mut Reader<'_>, place: &Place<'_>) -> Option<Config> {
    refuse_promises(reader);
    let program = program(reader);
    let data_dir = data_dir(reader);
    for name in ["FASTMCP_CONFIG", "ENV_FILE"] {
        let _file = reader.read_if_set(name, |text| Ok(text.to_owned()));
    }
    let instance = instance(reader, place, &data_dir);
    let jwt = jwt(reader, program.as_ref().map(|program| program.bind.ip()));
    let limits = limits(reader, &data_dir);
    let api_keys_file = callers::api_keys(reader, &data_dir);
    let tls = callers::tls(reader);
    let approval_webhook = callers::approval_webhook(reader);
    let calls = calls(reader);
    let files = files(reader, &data_dir);
    let trail = audit::trail(reader);
    let door = door(reader);
    let (program, calls, files, door) = (program?, calls?, files?, door?);
    let (limits, limits_path) = limits?;
    Some(Config {
        server_name: program.server_name,
        app_name: program.app_name,
        server_version: program.server_version,
        transport: program.transport,
        bind: program.bind,
        log_level: program.log_level,
        log_format: program.log_format,
        jwt: jwt?,
        api_keys_file,
        approval_webhook: approval_webhook?,
        tls: tls?,
        confirm_ttl: calls.confirm_ttl,
        approval_ttl: calls.approval_ttl,
        action_token: calls.action_token,
        idempotency_ttl: calls.idempotency_ttl,
        label_ttl: calls.label_ttl,
        limits: limit::Settings {
            longest_call: calls.request_timeout,
            ..limits
        },
        limits_path,
        idempotency_wait: calls.idempotency_wait,
        request_timeout: calls.request_timeout,
        mask_errors: calls.mask_errors,
        catalog_tenant_default: calls.tenant,
        state: files.state,
        pool_size: files.pool_size,
        database_path: files.database,
        database_is_sample: files.database_is_sample,
        database_max_rows: files.database_max_rows,
        audit_dir: files.audit,
        audit_mode: files.audit_mode,
        trail: trail?,
        filesystem_root: files.root,
        filesystem_limits: files.limits,
        ads_path: data_dir.join("ads.db"),
        policy_path: files.policy,
        data_dir,
        allowed_hosts: door.hosts,
        allowed_origins: door.origins,
        trusted_proxies: door.proxies,
        max_sessions: door.sessions,
        stateless_http: door.stateless,
        shutdown_grace: door.grace,
        instance: instance?,
    })
}

/// The folder of everything that has no place of its own.
pub(super) fn data_dir(reader: &mut Reader<'_>) -> PathBuf {
    let default = reader.resolve(Path::new(super::DEFAULT_DATA_DIR));
    reader.path("FASTMCP_DATA_DIR", default)
}

/// How the program is called, listens and tells of itself.
struct Program {
    app_name: String,
    server_name: String,
    server_version: String,
    transport: Transport,
    bind: SocketAddr,
    log_level: String,
    log_format: LogFormat,
}

fn program(reader: &mut Reader<'_>) -> Option<Program> {
    let app_name = reader.read("APP_NAME", printable(128));
    let server_name = reader.read_if_set("SERVER_NAME", printable(128));
    let server_version = reader.read("SERVER_VERSION", printable(128));
    let transport = reader.read("TRANSPORT", parse::transport);
    let (host, port) = (
        reader.read("HOST", parse::host),
        reader.read("PORT", number(0..=u16::MAX)),
    );
    let (log_level, log_format) = (
        reader.read("LOG_LEVEL", parse::log_level),
        reader.read("LOG_FORMAT", parse::log_format),
    );
    let app_name = app_name?;
    let server_name = server_name?.unwrap_or_else(|| app_name.clone());
    reader.derived("SERVER_NAME", server_name.clone());
    Some(Program {
        app_name,
        server_name,
        server_version: server_version?,
        transport: transport?,
        bind: SocketAddr::new(host?, port?),
        log_level: log_level?,
        log_format: log_format?,
    })
}

/// What promises something that this version does not do, and would be dangerous to ignore.
fn refuse_promises(reader: &mut Reader<'_>) {
    match reader.read_if_set("ENABLE_AUTH", truth) {
        Some(Some(false)) => reader.problem("ENABLE_AUTH", "authentication cannot be switched off; remove it, and mint tokens with `fastmcp token mint`"),
        Some(Some(true)) => reader.warn("ENABLE_AUTH", "has no effect in this version: authentication is always on"),
        Some(None) | None => {}
    }
    let _sandbox = reader.read("ADS_PROVIDER_MODE", |text| match text {
        "sandbox" => Ok(()),
        _ => Err(Reject::Because("this version creates campaigns in its own sandbox only; set it to `sandbox` or remove it".to_owned())),
    });
}

pub(super) fn instance(
    reader: &mut Reader<'_>,
    place: &Place<'_>,
    data_dir: &Path,
) -> Option<String> {
    if let Some(named) = reader.read_if_set("FASTMCP_INSTANCE", parse::instance)? {
        return Some(named);
    }
    let found = match instance::kept(data_dir) {
        Ok(None) if place.keep => instance::keep(data_dir, place.random),
        found => found.map(Option::unwrap_or_default),
    };
    match found {
        Ok(name) => {
            reader.derived("FASTMCP_INSTANCE", name.clone());
            Some(name)
        }
        Err(fault) => {
            reader.problem("FASTMCP_INSTANCE", fault);
            None
        }
    }
}

fn jwt(reader: &mut Reader<'_>, host: Option<IpAddr>) -> Option<Jwt> {
    let issuer = jwt_issuer(reader);
    let audience = jwt_audience(reader);
    let algorithms = reader.read("JWT_ALG", parse::algorithms);
    let ttl = jwt_ttl(reader);
    let leeway = reader.read("JWT_LEEWAY_SEC", seconds(0..=900));
    let issuers = issuers(reader);
    let keys = jwt_keys(reader, host)?;
    let algorithms = algorithms?;
    if keys == JwtKeys::Development && !algorithms.contains(&Algorithm::Rs256) {
        reader.problem(
            "JWT_ALG",
            "development keys sign with RS256; add it, or set `JWT_JWKS_URL` or `JWT_JWKS_FILE`",
        );
    }
    Some(Jwt {
        issuer: issuer?,
        audience: audience?,
        algorithms,
        ttl: ttl?,
        leeway: leeway?,
        keys,
        issuers: issuers.0?,
        issuers_file: issuers.1,
    })
}

pub(super) fn jwt_issuer(reader: &mut Reader<'_>) -> Option<String> {
    reader.read("JWT_ISSUER", printable(1024))
}

pub(super) fn jwt_audience(reader: &mut Reader<'_>) -> Option<String> {
    reader.read("JWT_AUDIENCE", printable(1024))
}

/// How long a token lives that is made here.
pub(super) fn jwt_ttl(reader: &mut Reader<'_>) -> Option<std::time::Duration> {
    reader.read("JWT_TTL_MIN", |text| {
        number(1..=43_200_u64)(text).map(|m| std::time::Duration::from_secs(m * 60))
    })
}

/// Where the keys of `JWT_ISSUER` come from, for a gateway that listens at `host`.
pub(super) fn jwt_keys(reader: &mut Reader<'_>, host: Option<IpAddr>) -> Option<JwtKeys> {
    let file = reader.read_if_set("JWT_JWKS_FILE", |text| Ok(std::path::PathBuf::from(text)));
    let url = reader.read_if_set("JWT_JWKS_URL", parse::jwks_url);
    Some(match (file?, url?) {
        (None, None) if reader.is_set("JWT_ISSUERS_FILE") => JwtKeys::None,
        // Beyond loopback development keys would be refused, and API keys are enough.
        (None, None)
            if reader.is_set("API_KEYS_FILE") && host.is_some_and(|host| !host.is_loopback()) =>
        {
            JwtKeys::None
        }
        (None, None) => JwtKeys::Development,
        (None, Some(url)) => JwtKeys::Url(url),
        (Some(file), None) => {
            let file = reader.resolve(&file);
            if !file.is_file() {
                reader.problem("JWT_JWKS_FILE", "there is no such file; name one that holds a JWK Set, or remove it to use development keys");
            }
            JwtKeys::File(file)
        }
        (Some(_), Some(_)) => {
            reader.problem(
                "JWT_JWKS_URL",
                "`JWT_JWKS_FILE` is set as well; keys come from one place, so remove one of them",
            );
            return None;
        }
    })
}

/// The issuers, and the file that names them.
fn issuers(reader: &mut Reader<'_>) -> (Option<Vec<Issuer>>, Option<PathBuf>) {
    const NAME: &str = "JWT_ISSUERS_FILE";
    let file = match reader.read_if_set(NAME, |text| Ok(std::path::PathBuf::from(text))) {
        None => return (None, None),
        Some(None) => return (Some(Vec::new()), None),
        Some(Some(file)) => reader.resolve(&file),
    };
    let read = issuer::read(&file).map_err(|fault| reader.problem(NAME, fault));
    (read.ok(), Some(file))
}

struct Calls {
    confirm_ttl: std::time::Duration,
    approval_ttl: std::time::Duration,
    action_token: TokenBytes,
    idempotency_ttl: std::time::Duration,
    label_ttl: std::time::Duration,
    idempotency_wait: std::time::Duration,
    request_timeout: std::time::Duration,
    mask_errors: bool,
    tenant: String,
}

fn calls(reader: &mut Reader<'_>) -> Option<Calls> {
    let confirm_ttl = confirm_ttl(reader);
    let approval_ttl = approval_ttl(reader);
    let action_token = reader.read("ACTION_TOKEN_BYTES", |text| {
        TokenBytes::new(number(16..=64)(text)?).map_err(|_| Reject::Range)
    });
    let idempotency_ttl = idempotency_ttl(reader);
    let label_ttl = reader.read("LABEL_TTL_SEC", seconds(60..=2_592_000));
    let idempotency_wait = reader.read("IDEMPOTENCY_WAIT_SEC", seconds(0..=60));
    let request_timeout = reader.read("REQUEST_TIMEOUT", seconds(1..=3_600));
    let mask_errors = reader.read("MASK_ERRORS", truth);
    let tenant = reader.read("CATALOG_TENANT_DEFAULT", printable(128));
    Some(Calls {
        confirm_ttl: confirm_ttl?,
        approval_ttl: approval_ttl?,
        action_token: action_token?,
        idempotency_ttl: idempotency_ttl?,
        label_ttl: label_ttl?,
        idempotency_wait: idempotency_wait?,
        request_timeout: request_timeout?,
        mask_errors: mask_errors?,
        tenant: tenant?,
    })
}

pub(super) fn confirm_ttl(reader: &mut Reader<'_>) -> Option<std::time::Duration> {
    reader.read("CONFIRM_TTL_SEC", seconds(1..=604_800))
}

pub(super) fn approval_ttl(reader: &mut Reader<'_>) -> Option<std::time::Duration> {
    reader.read("APPROVAL_TTL_SEC", seconds(1..=604_800))
}

pub(super) fn idempotency_ttl(reader: &mut Reader<'_>) -> Option<std::time::Duration> {
    reader.read("IDEMPOTENCY_TTL_SEC", seconds(1..=31_536_000))
}

/// The limits, but for how long a call may take, and the file where those stand beside the default one.
fn limits(reader: &mut Reader<'_>, data_dir: &Path) -> Option<(limit::Settings, PathBuf)> {
    const FILE: &str = "RATE_LIMIT_FILE";
    let per_second = reader.read("RATE_LIMIT_DEFAULT_RPS", parse::calls_per_second);
    let burst = reader.read("RATE_BUCKET_BURST", |text| {
        NonZeroU32::new(number(1..=1_000_000)(text)?).ok_or(Reject::Range)
    });
    let is_named = reader.is_set(FILE);
    let path = reader.path(FILE, data_dir.join(LIMITS_FILE));
    let rules = match limits_of(&path) {
        Ok(None) if is_named => Err("there is no such file".to_owned()),
        read => read.map(Option::unwrap_or_default),
    };
    let rules = rules.map_err(|fault| {
        // Where it was named, its name is told already.
        let told = format!("`{}`: {fault}", path.display());
        reader.problem(FILE, if is_named { fault } else { told });
    });
    let rules = rules.ok();
    let fallback = reader.read("RATE_LIMIT_FALLBACK", parse::fallback);
    let redis = reader.read_if_set("REDIS_URL", parse::redis_url);
    let redis_authorities = callers::redis_authorities(reader);
    let settings = limit::Settings {
        rate: Rate {
            per_second: per_second?,
            burst: burst?,
        },
        rules: rules?,
        redis: redis?,
        redis_authorities: redis_authorities?,
        fallback: fallback?,
        longest_call: std::time::Duration::ZERO,
    };
    Some((settings, path))
}

struct Files {
    state: Location,
    pool_size: u32,
    database: std::path::PathBuf,
    database_is_sample: bool,
    database_max_rows: usize,
    audit: std::path::PathBuf,
    audit_mode: fastmcp_audit::Mode,
    root: std::path::PathBuf,
    limits: Limits,
    policy: std::path::PathBuf,
}

fn files(reader: &mut Reader<'_>, data_dir: &Path) -> Option<Files> {
    let state = state(reader, data_dir);
    let pool_size = reader.read("POOL_SIZE", number(1..=1_000));
    let database_is_sample = !reader.is_set("DATABASE_PATH");
    let database = reader.path("DATABASE_PATH", data_dir.join("sample.db"));
    let database_max_rows = reader.read("DATABASE_MAX_ROWS", number(1..=1_000_000));
    let audit = audit_dir(reader, data_dir);
    let audit_mode = reader.read("AUDIT_MODE", parse::audit_mode);
    let root = reader.path("FILESYSTEM_ROOT", data_dir.join("files"));
    let megabytes = reader.read("FILESYSTEM_MAX_FILE_MB", number(1..=1_024_u64));
    let max_depth = reader.read("FILESYSTEM_MAX_DEPTH", number(1..=64));
    let policy = policy(reader, data_dir);
    let limits = Limits {
        max_file_bytes: megabytes? * 1024 * 1024,
        max_depth: max_depth?,
        ..Limits::default()
    };
    Some(Files {
        state: state?,
        pool_size: pool_size?,
        database,
        database_is_sample,
        database_max_rows: database_max_rows?,
        audit,
        audit_mode: audit_mode?,
        root,
        limits,
        policy,
    })
}

/// The folder of the audit log.
pub(super) fn audit_dir(reader: &mut Reader<'_>, data_dir: &Path) -> PathBuf {
    reader.path("AUDIT_WORM_DIR", data_dir.join("audit"))
}

/// The file or folder of the policy. One that is named must be there: in its place nobody means the built-in one.
pub(super) fn policy(reader: &mut Reader<'_>, data_dir: &Path) -> PathBuf {
    const NAME: &str = "FASTMCP_POLICY";
    let path = reader.path(NAME, data_dir.join(POLICY_FILE));
    if reader.is_set(NAME) && !path.exists() {
        reader.problem(
            NAME,
            "there is no such file; name one that is there, or remove it to use `policies.yml` in the data folder",
        );
    }
    path
}

pub(super) fn state(reader: &mut Reader<'_>, data_dir: &Path) -> Option<Location> {
    let address = reader.read_if_set("DATABASE_URL", parse::postgres);
    let file = reader.read_if_set("SQLITE_URL", parse::sqlite_path);
    let (address, file) = (address?, file?);
    if let Some(address) = address {
        if file.is_some() {
            reader.warn(
                "SQLITE_URL",
                "has no effect: `DATABASE_URL` says where the state is",
            );
        }
        return Some(Location::Postgres(address));
    }
    let path = match file {
        Some(path) => reader.resolve(&path),
        None => data_dir.join("state.db"),
    };
    reader.derived("SQLITE_URL", path.display().to_string());
    Some(Location::File(path))
}

struct Door {
    hosts: Vec<String>,
    origins: Vec<String>,
    proxies: Vec<ipnet::IpNet>,
    sessions: usize,
    stateless: bool,
    grace: std::time::Duration,
}

fn door(reader: &mut Reader<'_>) -> Option<Door> {
    let hosts = reader.read_if_set("FASTMCP_ALLOWED_HOSTS", parse::hosts);
    let origins = reader.read_if_set("FASTMCP_ALLOWED_ORIGINS", parse::origins);
    let proxies = reader.read_if_set("FASTMCP_TRUSTED_PROXIES", parse::networks);
    let sessions = reader.read("FASTMCP_MAX_SESSIONS", number(1..=1_000_000));
    let stateless = reader.read("FASTMCP_STATELESS_HTTP", truth);
    let grace = reader.read("FASTMCP_SHUTDOWN_GRACE_SEC", seconds(0..=600));
    Some(Door {
        hosts: hosts?.unwrap_or_default(),
        origins: origins?.unwrap_or_default(),
        proxies: proxies?.unwrap_or_default(),
        sessions: sessions?,
        stateless: stateless?,
        grace: grace?,
    })
}
