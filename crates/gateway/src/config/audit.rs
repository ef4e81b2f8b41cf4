//! The configuration of the audit log beyond its folder and mode.

use std::path::{Path, PathBuf};

use fastmcp_audit::Retention;
use url::{Host, Url};

use super::{
    Trail,
    parse::{Reject, number, seconds},
    reader::Reader,
};
use crate::audit::{
    Recorded,
    export::{Collector, Receiving, Sink},
    peers::Peers,
};

/// The port of syslog. Source: RFC 5426, 3.3; RFC 6587 names none for TCP.
const SYSLOG_PORT: u16 = 514;

/// Reads everything; `None` means that problems were noted.
pub(super) fn trail(reader: &mut Reader<'_>) -> Option<Trail> {
    let megabytes = reader.read("AUDIT_SEGMENT_MB", number(1..=65_536_u64));
    let redact = reader.read_if_set("AUDIT_REDACT", names);
    let arguments = reader.read_if_set("AUDIT_ARGUMENTS", recorded);
    let retention = retention(reader);
    let peers = peers(reader);
    let sinks = sinks(reader);
    let queue = reader.read("AUDIT_EXPORT_QUEUE", number(1..=1_000_000_usize));
    Some(Trail {
        segment_bytes: megabytes? << 20,
        redact: redact?.unwrap_or_default(),
        arguments: arguments?.unwrap_or_default(),
        retention: retention?,
        peers: peers?,
        sinks: sinks?,
        queue: queue?,
    })
}

/// Names whose values are secret.
fn names(text: &str) -> Result<Vec<String>, Reject> {
    let names: Vec<_> = text.split(',').map(|name| name.trim().to_owned()).collect();
    let fits = |name: &String| name.chars().any(char::is_alphanumeric) && name.len() <= 128;
    if names.len() <= 64 && names.iter().all(fits) {
        Ok(names)
    } else {
        Err(Reject::Range)
    }
}

/// Arguments whose values are recorded.
fn recorded(text: &str) -> Result<Vec<Recorded>, Reject> {
    let rules = text.split(',').map(|rule| Recorded::parse(rule.trim()));
    match rules.collect::<Option<Vec<_>>>() {
        Some(rules) if rules.len() <= 64 => Ok(rules),
        _ => Err(Reject::Range),
    }
}

/// A folder, where it was set.
fn folder(reader: &mut Reader<'_>, name: &'static str) -> Option<Option<PathBuf>> {
    let set = reader.read_if_set(name, |text| Ok(PathBuf::from(text)))?;
    let folder = set.map(|path| reader.resolve(&path));
    if let Some(folder) = &folder {
        reader.derived(name, folder.display().to_string());
    }
    Some(folder)
}

pub(super) fn retention(reader: &mut Reader<'_>) -> Option<Option<Retention>> {
    let days = reader.read_if_set("AUDIT_RETENTION_DAYS", number(1..=36_500_u32));
    let to = folder(reader, "AUDIT_ARCHIVE_DIR");
    let (days, to) = (days?, to?);
    if days.is_none() && to.is_some() {
        reader.warn(
            "AUDIT_ARCHIVE_DIR",
            "has no effect: everything is kept, because `AUDIT_RETENTION_DAYS` is not set",
        );
    }
    Some(days.map(|days| Retention { days, to }))
}

fn peers(reader: &mut Reader<'_>) -> Option<Option<Peers>> {
    let shared = folder(reader, "AUDIT_PEERS_DIR");
    let every = reader.read("AUDIT_PEERS_INTERVAL_SEC", seconds(1..=3_600));
    let (shared, every) = (shared?, every?);
    Some(shared.map(|folder| Peers { folder, every }))
}

fn sinks(reader: &mut Reader<'_>) -> Option<Vec<Sink>> {
    let syslog = reader.read_if_set("AUDIT_SYSLOG_URL", syslog);
    let otlp = collector(reader, "AUDIT_OTLP_URL", "AUDIT_OTLP_TOKEN_FILE");
    let http = collector(reader, "AUDIT_HTTP_URL", "AUDIT_HTTP_TOKEN_FILE");
    let sinks = [
        syslog?.map(Sink::Syslog),
        otlp?.map(Sink::Otlp),
        http?.map(Sink::Http),
    ];
    Some(sinks.into_iter().flatten().collect())
}

fn collector(
    reader: &mut Reader<'_>,
    address: &'static str,
    token: &'static str,
) -> Option<Option<Collector>> {
    let url = reader.read_if_set(address, endpoint);
    let token_file = folder(reader, token);
    let (url, token_file) = (url?, token_file?);
    let Some(url) = url else {
        if token_file.is_some() {
            reader.problem(
                token,
                format!("there is nobody to send it to; set `{address}` too, or remove it"),
            );
        }
        return Some(None);
    };
    if let Some(file) = &token_file {
        if !file.is_file() {
            reader.problem(
                token,
                "there is no such file; name one that holds a bearer token",
            );
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            reader.problem(
                address,
                "a token is not sent in the clear; use `https`, or remove the token file",
            );
        }
    }
    Some(Some(Collector { url, token_file }))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn endpoint(text: &str) -> Result<Url, Reject> {
    let url = Url::parse(text).map_err(|_| Reject::Range)?;
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let fits = matches!(url.scheme(), "http" | "https") && url.has_host();
    if fits && !has_credentials && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(Reject::Range)
    }
}

/// `udp://host:514`, `tcp://host:601` or `unix:///dev/log`.
fn syslog(text: &str) -> Result<Receiving, Reject> {
    let url = Url::parse(text).map_err(|_| Reject::Range)?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !is_bare {
        return Err(Reject::Range);
    }
    if url.scheme() == "unix" {
        let path = Path::new(url.path());
        let fits = url.host().is_none() && path.is_absolute() && path.file_name().is_some();
        return if fits {
            Ok(Receiving::Unix(path.to_owned()))
        } else {
            Err(Reject::Range)
        };
    }
    let host = match url.host() {
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(host) => host.to_string(),
        None => return Err(Reject::Range),
    };
    let port = url.port().unwrap_or(SYSLOG_PORT);
    match (url.scheme(), url.path()) {
        ("udp", "" | "/") => Ok(Receiving::Udp(host, port)),
        ("tcp", "" | "/") => Ok(Receiving::Tcp(host, port)),
        _ => Err(Reject::Range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslog_is_named_by_scheme_host_and_port() {
        let udp = |host: &str, port| Some(Receiving::Udp(host.to_owned(), port));
        assert_eq!(syslog("udp://logs.example").ok(), udp("logs.example", 514));
        assert_eq!(syslog("udp://[::1]:5514/").ok(), udp("::1", 5514));
        assert_eq!(
            syslog("tcp://10.0.0.1:601").ok(),
            Some(Receiving::Tcp("10.0.0.1".to_owned(), 601))
        );
        assert_eq!(
            syslog("unix:///dev/log").ok(),
            Some(Receiving::Unix("/dev/log".into()))
        );
        for wrong in [
            "logs.example:514",
            "udp://",
            "tls://logs.example",
            "udp://logs.example/x",
            "tcp://user@logs.example",
            "unix:///",
            "unix://host/dev/log",
            "udp://logs.example?x=1",
        ] {
            assert!(syslog(wrong).is_err(), "{wrong}");
        }
        for wrong in [
            "collector:4318",
            "ftp://c/",
            "https://u:p@c/",
            "https://c/#x",
        ] {
            assert!(endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
