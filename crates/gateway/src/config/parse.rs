//! Texts to values. What a text must be stands in the table of variables.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::RangeInclusive,
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use fastmcp_auth::Algorithm;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::{LogFormat, Transport};
use crate::limit::Fallback;
use crate::state::{Address, InvalidAddress};

/// The most entries of a list.
const MAX_ENTRIES: usize = 64;

/// Why a text is no value of a setting.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reject {
    /// It is not what the table says.
    Range,
    /// Something else, and what to do about it.
    Because(String),
}

fn because(why: impl Into<String>) -> Reject {
    Reject::Because(why.into())
}

pub(super) fn number<T: FromStr + PartialOrd>(
    range: RangeInclusive<T>,
) -> impl FnOnce(&str) -> Result<T, Reject> {
    move |text| {
        text.parse()
            .ok()
            .filter(|number| range.contains(number))
            .ok_or(Reject::Range)
    }
}

pub(super) fn seconds(range: RangeInclusive<u64>) -> impl FnOnce(&str) -> Result<Duration, Reject> {
    move |text| number(range)(text).map(Duration::from_secs)
}

pub(super) fn printable(most: usize) -> impl FnOnce(&str) -> Result<String, Reject> {
    move |text| {
        let fits =
            !text.is_empty() && text.chars().count() <= most && !text.contains(char::is_control);
        if fits {
            Ok(text.to_owned())
        } else {
            Err(Reject::Range)
        }
    }
}

pub(super) fn truth(text: &str) -> Result<bool, Reject> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(Reject::Range),
    }
}

pub(super) fn transport(text: &str) -> Result<Transport, Reject> {
    match text.to_ascii_lowercase().as_str() {
        "http" | "streamable-http" => Ok(Transport::Http),
        "stdio" => Ok(Transport::Stdio),
        "sse" => Err(because(
            "the transport of HTTP with two endpoints was replaced by Streamable HTTP; use `http`",
        )),
        _ => Err(Reject::Range),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, Reject> {
    let level = match text.to_ascii_lowercase().as_str() {
        "off" => "off",
        // Python's names are taken too: configurations move here from there.
        "error" | "critical" => "error",
        "warn" | "warning" => "warn",
        "info" => "info",
        "debug" => "debug",
        "trace" => "trace",
        _ => return Err(Reject::Range),
    };
    Ok(level.to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, Reject> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Reject::Range),
    }
}

pub(super) fn host(text: &str) -> Result<IpAddr, Reject> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse().map_err(|_| Reject::Range)
}

pub(super) fn instance(text: &str) -> Result<String, Reject> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:/-".contains(c);
    let fits = (1..=128).contains(&text.len()) && text.chars().all(plain);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Reject::Range)
    }
}

pub(super) fn audit_mode(text: &str) -> Result<fastmcp_audit::Mode, Reject> {
    match text.to_ascii_lowercase().as_str() {
        "strict" => Ok(fastmcp_audit::Mode::Strict),
        "buffered" => Ok(fastmcp_audit::Mode::Buffered),
        _ => Err(Reject::Range),
    }
}

pub(super) fn calls_per_second(text: &str) -> Result<f64, Reject> {
    text.parse::<f64>()
        .ok()
        .filter(|rate| rate.is_finite() && *rate > 0.0 && *rate <= 1_000_000.0)
        .ok_or(Reject::Range)
}

pub(super) fn fallback(text: &str) -> Result<Fallback, Reject> {
    match text {
        "memory" => Ok(Fallback::Memory),
        "refuse" => Ok(Fallback::Refuse),
        _ => Err(Reject::Range),
    }
}

pub(super) fn redis_url(text: &str) -> Result<SecretString, Reject> {
    let url = Url::parse(text).map_err(|_| Reject::Range)?;
    let is_number = |path: &str| {
        path.trim_start_matches('/')
            .chars()
            .all(|c| c.is_ascii_digit())
    };
    match url.scheme() {
        // What the driver takes behind `#` is to check no certificate.
        "redis" | "rediss" if url.fragment().is_some() => Err(Reject::Range),
        "redis" | "rediss" if url.has_host() && is_number(url.path()) => {
            Ok(SecretString::from(text))
        }
        _ => Err(Reject::Range),
    }
}

/// The entries of a list; entries that are empty are passed over.
fn list<T>(text: &str, parse: impl Fn(&str) -> Result<T, Reject>) -> Result<Vec<T>, Reject> {
    let entries: Vec<T> = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(parse)
        .collect::<Result<_, _>>()?;
    if entries.len() > MAX_ENTRIES {
        Err(Reject::Range)
    } else {
        Ok(entries)
    }
}

pub(super) fn algorithms(text: &str) -> Result<Vec<Algorithm>, Reject> {
    let named = list(text, |name| {
        // The library names its own field first, which is not the operator's.
        name.parse::<Algorithm>()
            .map_err(|error| because(error.to_string().trim_start_matches("`algorithms`: ")))
    })?;
    let mut unique: Vec<Algorithm> = Vec::new();
    named.into_iter().for_each(|algorithm| {
        if !unique.contains(&algorithm) {
            unique.push(algorithm);
        }
    });
    if unique.is_empty() {
        Err(Reject::Range)
    } else {
        Ok(unique)
    }
}

pub(super) fn hosts(text: &str) -> Result<Vec<String>, Reject> {
    list(text, |host| {
        let fits = host.len() <= 255
            && host.is_ascii()
            && url::Host::parse(host.rsplit_once(':').map_or(host, |(name, _)| name)).is_ok();
        // A bracketed IPv6 address has colons of its own.
        let fits = fits || (host.starts_with('[') && url::Host::parse(host).is_ok());
        if fits {
            Ok(host.to_ascii_lowercase())
        } else {
            Err(because(format!(
                "`{}` is no host name; write it without scheme and path",
                brief(host)
            )))
        }
    })
}

pub(super) fn origins(text: &str) -> Result<Vec<String>, Reject> {
    list(text, |text| {
        let url = Url::parse(text)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| {
            url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
        });
        let wrong = || {
            because(format!(
                "`{}` is no origin; write scheme, host and port alone, such as https://app.example.com",
                brief(text)
            ))
        };
        Ok(url.ok_or_else(wrong)?.origin().ascii_serialization())
    })
}

pub(super) fn networks(text: &str) -> Result<Vec<IpNet>, Reject> {
    list(text, |text| {
        let network = text
            .parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map_err(|_| {
            because(format!(
                "`{}` is neither an IP address nor a network such as 10.0.0.0/8",
                brief(text)
            ))
        })
    })
}

fn brief(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}

pub(super) fn jwks_url(text: &str) -> Result<Url, Reject> {
    let url = Url::parse(text).map_err(|_| Reject::Range)?;
    let is_loopback = match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let fits = match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback,
        _ => false,
    };
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    if fits && !has_credentials {
        Ok(url)
    } else {
        Err(Reject::Range)
    }
}

/// The database that `DATABASE_URL` names. What is wrong with it is said without repeating it.
pub(super) fn postgres(text: &str) -> Result<Address, Reject> {
    Address::parse(text).map_err(|error| match error {
        InvalidAddress::Form if text.starts_with("sqlite:") => {
            because("it takes an address of PostgreSQL; name a SQLite file with `SQLITE_URL`")
        }
        error => because(error.to_string()),
    })
}

/// The file that `SQLITE_URL` names.
///
/// `sqlite:///./a.db` is relative (SQLAlchemy and the platform's documents mean it so), `sqlite:////a.db` absolute, and
/// `sqlite:///srv/a.db` absolute as in any URL. What SQLAlchemy and URLs read differently in a single component is
/// refused rather than guessed.
pub(super) fn sqlite_path(text: &str) -> Result<PathBuf, Reject> {
    let Some(rest) = text.strip_prefix("sqlite:") else {
        return if text.contains("://") || text == ":memory:" {
            Err(not_a_file(text))
        } else {
            Ok(PathBuf::from(text))
        };
    };
    if rest.contains(['?', '#']) || rest.contains(":memory:") {
        return Err(not_a_file(text));
    }
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(path)
            if path.starts_with("/./") || path.starts_with("/../") || path.starts_with("//") =>
        {
            path.get(1..).unwrap_or_default()
        }
        Some(path) if path.starts_with("./") || path.starts_with("../") => path,
        Some(path) if path.starts_with('/') && path.matches('/').count() > 1 => path,
        Some(path) => {
            let name = brief(path.trim_start_matches('/'));
            return Err(because(format!(
                "it can be read as relative and as absolute; write `sqlite:///./{name}` for a file in the working folder or `sqlite:////{name}` for one at the root"
            )));
        }
    };
    if path.is_empty() || path.ends_with('/') {
        Err(Reject::Range)
    } else {
        Ok(PathBuf::from(path))
    }
}

fn not_a_file(text: &str) -> Reject {
    if text.contains("memory") {
        return because("state in memory would forget which operations were done; name a file");
    }
    Reject::Range
}
