//! Variables to settings.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    time::Duration,
};

use secrecy::SecretString;
use tracing::level_filters::LevelFilter;
use url::Url;

use super::{Problem, ServerConfig};

/// The most characters of a value that a problem shows.
const SHOWN: usize = 64;
/// The most names of hosts.
const MAX_HOSTS: usize = 64;

/// Reads settings, the defaults where there is no variable or one that cannot be read, and says what is wrong.
pub(super) fn config<K, V>(vars: impl IntoIterator<Item = (K, V)>) -> (ServerConfig, Vec<Problem>)
where
    K: Into<String>,
    V: Into<String>,
{
    let mut vars = Vars {
        values: vars
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        problems: Vec::new(),
    };
    let mut config = ServerConfig::default();
    server(&mut vars, &mut config);
    performance(&mut vars, &mut config);
    services(&mut vars, &mut config);
    features(&mut vars, &mut config);
    (config, vars.problems)
}

fn server(vars: &mut Vars, config: &mut ServerConfig) {
    let text = |text: &str| Some(text.to_owned());
    let truth = "must be `true` or `false`";
    vars.read(
        &["MCP_SERVER_NAME", "SERVER_NAME"],
        "",
        text,
        &mut config.name,
    );
    vars.read(
        &["MCP_VERSION", "SERVER_VERSION"],
        "",
        text,
        &mut config.version,
    );
    vars.read(&["DEBUG"], truth, boolean, &mut config.debug);
    if config.debug {
        config.log_level = LevelFilter::DEBUG;
    }
    vars.read(
        &["MCP_LOG_LEVEL", "LOG_LEVEL"],
        "must be `OFF`, `ERROR`, `WARNING`, `INFO`, `DEBUG` or `TRACE`",
        level,
        &mut config.log_level,
    );
    vars.read(
        &["MCP_TRANSPORT", "TRANSPORT"],
        "must be `stdio` or `http`",
        transport,
        &mut config.http,
    );
    vars.read(
        &["MCP_HTTP_HOST", "MCP_HOST", "HOST"],
        "must be an IP address or `localhost`",
        host,
        &mut config.host,
    );
    vars.read(
        &["MCP_HTTP_PORT", "MCP_PORT", "PORT"],
        "must be a number from 1024 to 65535",
        number,
        &mut config.port,
    );
    vars.read(
        &["MCP_ALLOWED_HOSTS"],
        "must be at most 64 names of hosts with commas between them",
        hosts,
        &mut config.allowed_hosts,
    );
}

fn performance(vars: &mut Vars, config: &mut ServerConfig) {
    let above_zero = "must be a number above 0";
    vars.read(&["RATE_LIMIT"], above_zero, number, &mut config.rate_limit);
    let short = "must be a number of seconds from 0 to 86400";
    vars.read(&["CACHE_TTL"], short, seconds, &mut config.cache_ttl);
    let size = "must be a number from 1 to 10000";
    vars.read(
        &["POOL_SIZE"],
        size,
        number,
        &mut config.connection_pool_size,
    );
    let time = "must be a number of seconds from 1 to 86400";
    vars.read(
        &["REQUEST_TIMEOUT"],
        time,
        seconds,
        &mut config.request_timeout,
    );
    vars.read(&["API_TIMEOUT"], time, seconds, &mut config.api_timeout);
}

fn services(vars: &mut Vars, config: &mut ServerConfig) {
    if let Some(text) = vars.secret("API_ENDPOINT") {
        config.api_endpoint = address(&text);
        if config.api_endpoint.is_none() {
            // What was given may have a password in it.
            let must =
                "must be an address that begins with `http://` or `https://` and names no user";
            vars.problems.push(Problem::new("API_ENDPOINT", must));
        }
    }
    for (name, setting) in [
        ("DATABASE_URL", &mut config.database_url),
        ("REDIS_URL", &mut config.redis_url),
    ] {
        let Some(text) = vars.secret(name) else {
            continue;
        };
        if Url::parse(&text).is_err() {
            // Its value may have a password in it.
            vars.problems.push(Problem::new(name, "must be a URL"));
        }
        *setting = Some(SecretString::from(text));
    }
    for (name, setting) in [
        ("OPENAI_API_KEY", &mut config.openai_api_key),
        ("ANTHROPIC_API_KEY", &mut config.anthropic_api_key),
        ("AUTH_SECRET", &mut config.auth_secret),
    ] {
        *setting = vars.secret(name).map(SecretString::from);
    }
}

fn features(vars: &mut Vars, config: &mut ServerConfig) {
    for (name, setting) in [
        ("ENABLE_CACHING", &mut config.enable_caching),
        ("ENABLE_AUTH", &mut config.enable_auth),
        ("ENABLE_EXPERIMENTAL", &mut config.enable_experimental),
        ("MASK_ERRORS", &mut config.mask_errors),
    ] {
        vars.read(&[name], "must be `true` or `false`", boolean, setting);
    }
}

struct Vars {
    values: HashMap<String, String>,
    problems: Vec<Problem>,
}

impl Vars {
    /// Sets `setting` to the value of the first of `names` that has one.
    fn read<T>(
        &mut self,
        names: &[&'static str],
        must: &str,
        parse: impl FnOnce(&str) -> Option<T>,
        setting: &mut T,
    ) {
        let set = |name: &&str| self.values.get(*name).filter(|value| !value.is_empty());
        let Some((name, value)) = names.iter().find_map(|name| Some((name, set(name)?))) else {
            return;
        };
        match parse(value) {
            Some(value) => *setting = value,
            None => {
                let shown: String = value.chars().take(SHOWN).collect();
                self.problems.push(Problem::new(
                    *name,
                    format!("{must}; it is `{}`", shown.escape_debug()),
                ));
            }
        }
    }

    fn secret(&mut self, name: &str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn seconds(text: &str) -> Option<Duration> {
    number(text).map(Duration::from_secs)
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Python's names too.
fn level(text: &str) -> Option<LevelFilter> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Some(LevelFilter::OFF),
        "critical" | "error" => Some(LevelFilter::ERROR),
        "warning" | "warn" => Some(LevelFilter::WARN),
        "info" => Some(LevelFilter::INFO),
        "debug" => Some(LevelFilter::DEBUG),
        "trace" => Some(LevelFilter::TRACE),
        _ => None,
    }
}

fn transport(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "streamable-http" => Some(true),
        "stdio" => Some(false),
        _ => None,
    }
}

fn host(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(Ipv4Addr::LOCALHOST.into());
    }
    text.parse().ok()
}

fn hosts(text: &str) -> Option<Vec<String>> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let fits = |name: &String| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
        (1..=253).contains(&name.len()) && name.chars().all(known)
    };
    (names.len() <= MAX_HOSTS && names.iter().all(fits)).then_some(names)
}

fn address(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty() && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}
