//! `fastmcp doctor`: what is wrong with a set-up, and how to mend it.

use std::{io, net::TcpListener, path::Path};

use clap::Args;
use fastmcp_auth::JwkSet;
use fastmcp_gateway::{
    config::{Config, JwtKeys, policy_sources},
    keys::{Keys, SealFile, VERIFIER_FILE},
    limit::{Fallback, Settings},
    state::{Location, State},
};
use fastmcp_guard::clock::SystemClock;
use fastmcp_policy::{PolicySet, Sources};
use serde::Serialize;
use serde_json::json;

use crate::{
    Outcome, audit, keys,
    operations::{Opened, Sealed},
    output,
    place::Place,
};

/// Look for what is wrong with a set-up; changes nothing
///
/// Looks at configuration, data folder, keys, address, policy, limits, databases and audit log. Exits with 1 when something
/// would keep the gateway from starting, was tampered with, or is sealed with a key that is gone.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    place: Place,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    text: String,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let findings = self.look();
        let is_sound = findings
            .iter()
            .all(|finding| finding.verdict != Verdict::Fail);
        if self.json {
            output::say_json(&json!({"ok": is_sound, "findings": findings}))?;
        } else {
            let word = |verdict| match verdict {
                Verdict::Ok => "ok",
                Verdict::Warn => "WARN",
                Verdict::Fail => "FAIL",
            };
            let rows: Vec<_> = findings
                .iter()
                .map(|f| {
                    vec![
                        word(f.verdict).to_owned(),
                        f.check.to_owned(),
                        output::printable(&f.text),
                    ]
                })
                .collect();
            output::say(&output::table(&rows))?;
        }
        Ok(if is_sound {
            Outcome::Passed
        } else {
            Outcome::Failed
        })
    }

    fn look(&self) -> Vec<Finding> {
        let loaded = match self.place.preview(None) {
            Ok(loaded) => loaded,
            // Nothing else can be looked at without it.
            Err(errors) => {
                return errors
                    .problems()
                    .iter()
                    .map(|problem| fail("configuration", problem.to_string()))
                    .collect();
            }
        };
        let mut findings: Vec<_> = loaded
            .warnings
            .into_iter()
            .map(|warning| warn("configuration", warning))
            .collect();
        if findings.is_empty() {
            findings.push(ok("configuration", "is sound".to_owned()));
        }
        let config = &loaded.config;
        findings.extend([
            data_folder(&config.data_dir),
            key_files(&config.data_dir),
            token_keys(&config.jwt.keys),
            address(config),
        ]);
        findings.extend(policy(&config.policy_path));
        findings.extend(limits(&config.limits));
        findings.extend(state(&config.state));
        findings.extend(sealed(&self.place, &config.data_dir));
        findings.extend([database(config), audit_log(config)]);
        findings
    }
}

const fn ok(check: &'static str, text: String) -> Finding {
    Finding {
        check,
        verdict: Verdict::Ok,
        text,
    }
}

const fn warn(check: &'static str, text: String) -> Finding {
    Finding {
        check,
        verdict: Verdict::Warn,
        text,
    }
}

const fn fail(check: &'static str, text: String) -> Finding {
    Finding {
        check,
        verdict: Verdict::Fail,
        text,
    }
}

fn data_folder(path: &Path) -> Finding {
    const CHECK: &str = "data folder";
    let shown = path.display();
    match path.metadata() {
        Ok(metadata) if !metadata.is_dir() => fail(
            CHECK,
            format!("`{shown}` is not a folder; name another with --data-dir"),
        ),
        Ok(metadata) => match open_to_others(&metadata) {
            Some(mode) => warn(
                CHECK,
                format!("`{shown}` is open to others (mode {mode:04o}); run `chmod 700 {shown}`"),
            ),
            None => ok(CHECK, format!("`{shown}` is its owner's alone")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            ok(CHECK, format!("`{shown}` will be made at the first start"))
        }
        Err(error) => fail(CHECK, format!("`{shown}` cannot be looked at: {error}")),
    }
}

/// The mode, if others than the owner may do something.
#[cfg(unix)]
fn open_to_others(metadata: &std::fs::Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn open_to_others(_: &std::fs::Metadata) -> Option<u32> {
    None
}

fn key_files(data_dir: &Path) -> Finding {
    match Keys::inspect(data_dir) {
        Ok(found) if found.is_empty() => ok("keys", "will be made at the first start".to_owned()),
        Ok(found) => ok("keys", format!("its owner's alone: {} files", found.len())),
        Err(error) => fail("keys", output::told_of(&error)),
    }
}

/// Whether the keys are there that the state was sealed with, where there is a state.
fn sealed(place: &Place, data_dir: &Path) -> Option<Finding> {
    const CHECK: &str = "seal keys";
    let ids = match keys::ring(data_dir) {
        Ok(ring) => ring?.ids(),
        // The check of the keys has told it.
        Err(_) => return None,
    };
    let found = match Opened::sealed_with(place) {
        Ok(Sealed::Seen(found)) => found,
        // The check of the state has told it.
        Ok(Sealed::Unseen(_)) => return None,
        Err(error) => return Some(warn(CHECK, output::told(&error))),
    };
    let missing: Vec<_> = found
        .iter()
        .filter(|sealed| !ids.contains(&sealed.key))
        .map(|sealed| format!("`{}` ({} values)", sealed.key, sealed.values))
        .collect();
    let opens = ids
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ");
    Some(if missing.is_empty() {
        ok(
            CHECK,
            format!("all that the state keeps opens with {opens}"),
        )
    } else {
        let text = format!(
            "the state keeps what is sealed with {}, and `{}` does not hold that key; put the file back that does",
            missing.join(", "),
            SealFile::path_in(data_dir).display()
        );
        fail(CHECK, text)
    })
}

fn token_keys(keys: &JwtKeys) -> Finding {
    const CHECK: &str = "token keys";
    match keys {
        JwtKeys::Development => ok(CHECK, "development keys, for loopback alone".to_owned()),
        JwtKeys::None => ok(
            CHECK,
            "those of the issuers in JWT_ISSUERS_FILE, and API keys".to_owned(),
        ),
        JwtKeys::Url(url) => ok(CHECK, format!("fetched from {url}; not tried here")),
        JwtKeys::File(path) => {
            let parsed = std::fs::read(path).map_err(|error| error.to_string());
            match parsed
                .and_then(|bytes| JwkSet::parse(&bytes).map_err(|error| output::told_of(&error)))
            {
                Ok(set) => ok(CHECK, format!("{} in `{}`", set.len(), path.display())),
                Err(why) => fail(CHECK, format!("`{}`: {why}", path.display())),
            }
        }
    }
}

fn address(config: &Config) -> Finding {
    const CHECK: &str = "address";
    let bind = config.bind;
    if !bind.ip().is_loopback() && config.jwt.keys == JwtKeys::Development {
        let text = format!(
            "{bind} is beyond loopback, which development keys are not for; bind 127.0.0.1, or set JWT_JWKS_URL, JWT_JWKS_FILE, JWT_ISSUERS_FILE or API_KEYS_FILE"
        );
        return fail(CHECK, text);
    }
    match TcpListener::bind(bind) {
        Ok(_) => ok(CHECK, format!("{bind} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => warn(
            CHECK,
            format!(
                "{bind} is in use, by this gateway or another process; name another with --bind"
            ),
        ),
        Err(error) => fail(CHECK, format!("{bind} cannot be used: {error}")),
    }
}

fn policy(path: &Path) -> Vec<Finding> {
    const CHECK: &str = "policy";
    let (sources, name) = if path.exists() {
        (policy_sources(path), path.display().to_string())
    } else {
        (Ok(Sources::built_in()), "the built-in policy".to_owned())
    };
    let sources = match sources {
        Ok(sources) => sources,
        Err(error) => return vec![fail(CHECK, output::told_of(&error))],
    };
    match PolicySet::load(&sources, 1) {
        Ok(set) => {
            let sound = ok(
                CHECK,
                format!(
                    "{name}: {} roles, {} rules",
                    set.roles().count(),
                    set.rule_ids().len()
                ),
            );
            std::iter::once(sound)
                .chain(
                    set.notes()
                        .iter()
                        .map(|note| ok(CHECK, format!("note: {note}"))),
                )
                .collect()
        }
        Err(error) => error
            .problems()
            .iter()
            .map(|problem| fail(CHECK, problem.to_string()))
            .collect(),
    }
}

/// Each limit in force, and where it is counted.
fn limits(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "limits";
    let place = match (&settings.redis, settings.fallback) {
        (None, _) => "counted by each process for itself",
        (Some(_), Fallback::Memory) => {
            "counted in Redis, which is not tried here; by each process while it is away"
        }
        (Some(_), Fallback::Refuse) => {
            "counted in Redis, which is not tried here; calls are refused while it is away"
        }
    };
    let rules = settings.rules.in_force(settings.rate);
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| ok(CHECK, rule.to_string()))
        .collect();
    let none = rules
        .is_empty()
        .then(|| warn(CHECK, "none holds: calls are not limited".to_owned()));
    let place = ok(CHECK, place.to_owned());
    rules.into_iter().chain(none).chain([place]).collect()
}

/// By how many milliseconds the clocks of database and machine may differ.
const SKEW_MILLIS: u64 = 2_000;

fn state(location: &Location) -> Vec<Finding> {
    const CHECK: &str = "state";
    let looked = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| runtime.block_on(State::inspect(location, &SystemClock)));
    let sight = match looked {
        Ok(Ok(sight)) => sight,
        Ok(Err(error)) => return vec![fail(CHECK, output::told_of(&error))],
        Err(error) => return vec![fail(CHECK, format!("no runtime can be started: {error}"))],
    };
    let server = sight
        .server
        .as_ref()
        .map_or_else(String::new, |server| format!(", PostgreSQL {server}"));
    let found = match sight.schema {
        Some(version) if version > sight.known => fail(
            CHECK,
            format!(
                "`{location}` has a schema of version {version}, and this program knows versions up to {}; run a newer fastmcp",
                sight.known
            ),
        ),
        Some(version) if version < sight.known => ok(
            CHECK,
            format!(
                "`{location}`{server}, schema {version}; the next start brings it to {}",
                sight.known
            ),
        ),
        Some(version) => ok(CHECK, format!("`{location}`{server}, schema {version}")),
        None => ok(
            CHECK,
            format!("`{location}`{server} will be made at the first start"),
        ),
    };
    let unguarded = match location {
        Location::Postgres(address) if !address.is_guarded() => Some(warn(
            CHECK,
            "nobody checks whose server it is; add `sslmode=verify-full` to DATABASE_URL"
                .to_owned(),
        )),
        _ => None,
    };
    let skewed = sight
        .skew_millis
        .filter(|skew| skew.unsigned_abs() > SKEW_MILLIS)
        .map(|skew| {
            warn(
                CHECK,
                format!("the server's clock is {skew} ms ahead of this machine's; set one of them"),
            )
        });
    std::iter::once(found)
        .chain(unguarded)
        .chain(skewed)
        .collect()
}

fn database(config: &Config) -> Finding {
    const CHECK: &str = "database";
    let path = &config.database_path;
    match (path.is_file(), config.database_is_sample) {
        (true, _) => ok(CHECK, format!("`{}`", path.display())),
        (false, true) => ok(
            CHECK,
            "the sample will be made at the first start".to_owned(),
        ),
        (false, false) => fail(
            CHECK,
            format!(
                "there is no file `{}`; create it, or point DATABASE_PATH at another",
                path.display()
            ),
        ),
    }
}

fn audit_log(config: &Config) -> Finding {
    const CHECK: &str = "audit log";
    let folder = &config.audit_dir;
    let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    let key = config.data_dir.join(VERIFIER_FILE);
    // It is written when a log begins.
    if is_empty && key.exists() {
        let text = format!(
            "`{}` is empty, and `{}` says that there was a log: look where it is, before the next start begins another",
            folder.display(),
            key.display()
        );
        return warn(CHECK, text);
    }
    if is_empty {
        return ok(CHECK, "will begin at the first start".to_owned());
    }
    match audit::verify_with(folder, &key) {
        Ok(report) if report.signed => ok(
            CHECK,
            format!(
                "{} records are whole, the checkpoint is signed",
                report.records
            ),
        ),
        Ok(report) => warn(
            CHECK,
            format!(
                "{} records are whole; `{}` is missing, so nobody looked at the signature",
                report.records,
                key.display()
            ),
        ),
        Err(error) => fail(CHECK, output::told(&error)),
    }
}
