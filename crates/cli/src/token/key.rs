//! `fastmcp token key`: API keys for machines.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fastmcp_auth::api_key::{ApiKey, PREFIX};
use fastmcp_gateway::keys::{ApiKeyFile, ApiKeyLine, api_key_time};
use fastmcp_guard::{
    clock::{Clock as _, SystemClock},
    random::OsRandom,
};
use serde_json::json;

use crate::{Outcome, output, place::Place};

/// Make, list and revoke API keys: tokens for machines, kept as hashes
#[derive(Debug, Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
}

/// Make a key and print it alone: it is shown this once
///
/// The file API_KEYS_FILE keeps its hash; a running gateway takes it within a second. Clients send it as
/// `Authorization: Bearer fmk_...` or as `X-API-Key: fmk_...`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp token key create --sub ci --tenant acme --role data-analyst --expires-in 90d
  KEY=$(fastmcp token key create --sub reader --role data-admin --scope database.read)   narrower than its role")]
struct Create {
    /// Who calls
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// For whom: a key speaks for one tenant
    #[arg(long, value_name = "NAME", default_value = "public")]
    tenant: String,
    /// A role; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope that the roles give and the key keeps; may be repeated [default: all that the roles give]
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// How long it is good, such as 12h, 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = life)]
    expires_in: Option<Duration>,
    /// Client certificate (PEM) that callers have to show with it
    #[arg(long, value_name = "FILE")]
    client_cert: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// List the keys, without anything secret
#[derive(Debug, Args)]
struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// Revoke a key: a running gateway refuses it within a second
#[derive(Debug, Args)]
struct Revoke {
    /// The id of the key, as `list` shows it and as it stands between `fmk_` and the next `_`
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    place: Place,
}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            KeyCommand::Create(create) => create.run(),
            KeyCommand::List(list) => list.run(),
            KeyCommand::Revoke(revoke) => revoke.run(),
        }
    }
}

fn file(place: &Place) -> anyhow::Result<ApiKeyFile> {
    Ok(ApiKeyFile::new(&place.api_keys()?))
}

impl Create {
    fn run(self) -> anyhow::Result<Outcome> {
        let file = file(&self.place)?;
        let key = ApiKey::generate(&OsRandom)?;
        let now = SystemClock.now();
        let certificate = self.client_cert.as_deref().map(super::certificate);
        let line = ApiKeyLine {
            roles: self.roles,
            scopes: (!self.scopes.is_empty()).then_some(self.scopes),
            expires: self
                .expires_in
                .map(|life| api_key_time(now.saturating_add(life))),
            certificate: certificate
                .transpose()?
                .map(|found| found.as_str().to_owned()),
            ..ApiKeyLine::new(&key, &self.sub, &self.tenant, now)
        };
        file.add(line)?;
        output::say(key.expose())?;
        Ok(Outcome::Passed)
    }
}

impl List {
    fn run(self) -> anyhow::Result<Outcome> {
        let now = api_key_time(SystemClock.now());
        let keys = file(&self.place)?.lines()?;
        let state = |key: &ApiKeyLine| {
            if key.revoked.is_some() {
                "revoked"
            } else if key.expires.is_some_and(|end| now >= end) {
                "expired"
            } else {
                "good"
            }
        };
        if self.json {
            let keys: Vec<_> = keys
                .iter()
                .map(|key| {
                    json!({
                        "id": key.id, "state": state(key), "subject": key.subject, "tenant": key.tenant,
                        "roles": key.roles, "scopes": key.scopes, "created": key.created,
                        "expires": key.expires, "revoked": key.revoked, "certificate": key.certificate,
                    })
                })
                .collect();
            output::say_json(&keys)?;
            return Ok(Outcome::Passed);
        }
        let head = [
            "ID", "STATE", "SUBJECT", "TENANT", "ROLES", "CREATED", "EXPIRES",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for key in &keys {
            rows.push(vec![
                key.id.clone(),
                state(key).to_owned(),
                output::printable(&key.subject),
                output::printable(&key.tenant),
                output::printable(&key.roles.join(",")),
                key.created.to_string(),
                key.expires
                    .map_or_else(|| "-".to_owned(), |end| end.to_string()),
            ]);
        }
        output::say(&output::table(&rows))?;
        Ok(Outcome::Passed)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<Outcome> {
        if self.id.starts_with(PREFIX) {
            // A whole key on a command line stands in the history of the shell.
            bail!("that is a key, not its id; name what stands between `fmk_` and the next `_`");
        }
        let key = file(&self.place)?
            .revoke(&self.id, SystemClock.now())
            .context("nothing was revoked")?;
        output::say(&format!(
            "key `{}` of {} ({}) is revoked",
            key.id,
            output::printable(&key.subject),
            output::printable(&key.tenant)
        ))?;
        Ok(Outcome::Passed)
    }
}

/// Reads a time such as `90d`: whole seconds, 1 s to 10 years.
fn life(text: &str) -> Result<Duration, String> {
    let time = super::time(text, Duration::from_secs(3_650 * 24 * 3_600));
    time.ok_or_else(|| "use a time such as 12h, 90d or 1d 12h, at most 3650d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_are_read_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("12h", 43_200),
            ("90d", 7_776_000),
            ("1d 12h", 129_600),
            ("1.5h", 5_400),
        ] {
            assert_eq!(life(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0d",
            "10",
            "soon",
            "-1d",
            "3651d",
            "d",
            "1.5s",
            "1y",
            "9999999999999999999d",
            "1ü",
        ] {
            assert!(life(text).is_err(), "{text}");
        }
    }
}
