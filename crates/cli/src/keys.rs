//! `fastmcp keys`: the keys that seal what the gateway keeps.

mod standing;

use std::path::Path;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use fastmcp::seal::KeyId;
use fastmcp_gateway::{
    keys::{Keys as Secrets, SealFile, SealKeys},
    state::act::{Act, Untold},
};
use serde_json::{Value, json};

use crate::{
    Outcome,
    operations::{Opened, RECORDED_LATER, name, open_log, record, untold},
    output,
    place::Place,
};
use standing::{Standing, look};

/// Rotate the keys that seal what the gateway keeps
///
/// Arguments, results, action tokens and sign-ins are sealed with the first key of `keys/seal.key` and opened with any of
/// them. A running gateway takes the file up within seconds. One gateway rotates with `keys rotate`. Replicas rotate in
/// steps: `keys add` on one, copy the file to all of them, then `keys use` on each; so none seals what another cannot open.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    List(List),
    /// Add a new key and seal with it from here on
    ///
    /// What older keys sealed still opens. Where replicas share the keys, `keys add` and `keys use` do the same in two steps.
    Rotate(Change),
    /// Add a new key that opens only
    ///
    /// It seals from when `keys use` names it: first give every replica the file.
    Add(Change),
    Use(UseKey),
    Retire(Retire),
}

impl Keys {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            KeysCommand::List(list) => list.run(),
            KeysCommand::Rotate(change) => change.rotate(),
            KeysCommand::Add(change) => change.add(),
            KeysCommand::Use(used) => used.run(),
            KeysCommand::Retire(retire) => retire.run(),
        }
    }
}

/// Print the keys, what the state keeps under each, and when an older one may go
///
/// Keys are named by the beginning of their SHA-256; the keys themselves are never shown. `missing` is what the state was
/// sealed with and the file does not hold. Where the state is not seen from here, `-` stands for its values, and no key may
/// go.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp keys list
  fastmcp keys rotate --by alice
  fastmcp keys retire --old           once nothing needs the older ones")]
struct List {
    /// Print a JSON object for each key
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    who: Who,
}

/// Have another key of the file seal from here on
#[derive(Debug, Args)]
struct UseKey {
    /// The key's name
    #[arg(value_name = "KEY", value_parser = id)]
    key: KeyId,
    #[command(flatten)]
    who: Who,
}

/// Remove older keys that nothing needs any more
///
/// Refuses while the state keeps what a key sealed, and until what clients carry has expired (CONFIRM_TTL_SEC,
/// APPROVAL_TTL_SEC, and eight hours of a sign-in, from when the key sealed last). Refuses as well where the state is not
/// seen: run it with the gateway's own DATABASE_URL, SQLITE_URL or data folder. Where replicas share the keys, see first
/// that every one of them seals with the new one.
#[derive(Debug, Args)]
struct Retire {
    /// Names of keys
    #[arg(value_name = "KEY", value_parser = id, required_unless_present = "old", conflicts_with = "old")]
    keys: Vec<KeyId>,
    /// Every key that may go
    #[arg(long)]
    old: bool,
    /// Even if something needs it, which then opens never again
    #[arg(long, conflicts_with = "old")]
    force: bool,
    #[command(flatten)]
    who: Who,
}

/// Who changes keys, and where.
#[derive(Debug, Args)]
struct Who {
    /// Who does it, for the record
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = name)]
    by: String,
    #[command(flatten)]
    place: Place,
}

fn id(text: &str) -> Result<KeyId, String> {
    KeyId::parse(text)
        .ok_or_else(|| "use the eight digits that `fastmcp keys list` shows".to_owned())
}

impl List {
    fn run(self) -> anyhow::Result<Outcome> {
        let standings = look(&self.place)?;
        if self.json {
            for standing in &standings {
                output::say(&standing.json().to_string())?;
            }
            return Ok(Outcome::Passed);
        }
        let head = ["KEY", "USE", "VALUES", "MAY GO"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(standings.iter().map(Standing::row));
        output::say(&output::table(&rows))?;
        Ok(Outcome::Passed)
    }
}

impl Change {
    fn rotate(&self) -> anyhow::Result<Outcome> {
        let key = self.who.change("rotate", |file| Ok(file.rotate()?))?;
        told(&format!(
            "key `{key}` seals from here on; the older ones open what they sealed. `fastmcp keys list` says when they may go"
        ))
    }

    fn add(&self) -> anyhow::Result<Outcome> {
        let key = self.who.change("add", |file| Ok(file.add()?))?;
        told(&format!(
            "key `{key}` opens. Once every replica has this file, run `fastmcp keys use {key}` on each"
        ))
    }
}

impl UseKey {
    fn run(&self) -> anyhow::Result<Outcome> {
        let key = self.key;
        self.who.change("use", |file| Ok(file.seal_with(key)?))?;
        told(&format!(
            "key `{key}` seals from here on; the others open what they sealed"
        ))
    }
}

impl Retire {
    fn run(&self) -> anyhow::Result<Outcome> {
        let standings = look(&self.who.place);
        let keys = match standings {
            Ok(standings) if self.old => {
                if let Some(why) = standings.iter().find_map(Standing::unseen) {
                    bail!("nothing was removed: {why}");
                }
                let free = standings.iter().filter(|standing| standing.may_go());
                free.map(|standing| standing.key).collect()
            }
            Ok(standings) => {
                if !self.force {
                    refuse_needed(&self.keys, &standings)?;
                }
                self.keys.clone()
            }
            Err(_) if self.force => self.keys.clone(),
            Err(error) => return Err(error.context("nothing was removed")),
        };
        if keys.is_empty() {
            output::say("no key may go yet; `fastmcp keys list` says why")?;
            return Ok(Outcome::Passed);
        }
        self.who.change("retire", |file| Ok(file.remove(&keys)?))?;
        let names: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
        told(&format!("removed: {}", names.join(", ")))
    }
}

fn refuse_needed(keys: &[KeyId], standings: &[Standing]) -> anyhow::Result<()> {
    for key in keys {
        let standing = standings.iter().find(|standing| standing.key == *key);
        if let Some(standing) = standing.filter(|standing| !standing.may_go()) {
            bail!(
                "nothing was removed: key `{key}` may not go ({}); --force removes it all the same, and what it sealed opens never again",
                standing.why()
            );
        }
    }
    Ok(())
}

/// The seal keys of the gateway with this data folder; `None` where it has none yet.
pub(crate) fn ring(data_dir: &Path) -> anyhow::Result<Option<SealKeys>> {
    let file = SealFile::existing(data_dir)?;
    Ok(file.map(|file| file.keys()).transpose()?)
}

fn file(data_dir: &Path) -> anyhow::Result<SealFile> {
    SealFile::existing(data_dir)?.with_context(|| {
        format!(
            "there is no `{}`; name the gateway's data folder with --data-dir, or start the gateway once, which makes it",
            SealFile::path_in(data_dir).display()
        )
    })
}

impl Who {
    /// Changes the keys, and records that in the audit log; where a running gateway holds it, that one does.
    fn change<T>(
        &self,
        what: &str,
        change: impl FnOnce(&SealFile) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let config = self.place.audit()?;
        let file = file(&config.data_dir)?;
        let before = file.keys()?.ids();
        // Held before anything changes: where the log cannot take the record for another reason, nothing is changed.
        let log = match Secrets::open(&config.data_dir) {
            Ok(keys) if !config.instance.is_empty() => open_log(&config, &keys),
            // Nobody has started a gateway here, so there is no log.
            Ok(_) => Ok(None),
            Err(error) => Err(error.into()),
        };
        let log = log.context("nothing was changed")?;
        let left_to_state =
            log.is_none() && Opened::exists(&self.place).context("nothing was changed")?;
        let changed = change(&file);
        let closing = match (&log, &changed) {
            (Some(log), Ok(_)) => self.told(what, &before, &file, |untold| record(log, &untold)),
            (Some(log), Err(_)) => Ok(log.close()?),
            (None, Ok(_)) if left_to_state => {
                let left = self.told(what, &before, &file, |untold| {
                    Opened::with(&self.place, |opened| opened.leave(untold))
                });
                left.inspect(|()| output::complain(RECORDED_LATER))
            }
            (None, _) => Ok(()),
        };
        let changed = changed.context("nothing was changed")?;
        closing.context("keys are changed, but the audit log took no record of who did it")?;
        Ok(changed)
    }

    /// Has `tell` tell of the change.
    fn told(
        &self,
        what: &str,
        before: &[KeyId],
        file: &SealFile,
        tell: impl FnOnce(Untold) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let shown = |keys: &[KeyId]| -> Value { keys.iter().map(ToString::to_string).collect() };
        let details = [
            ("by", json!(self.by)),
            ("change", json!(what)),
            ("keys", shown(&file.keys()?.ids())),
            ("before", shown(before)),
        ];
        let details = details.map(|(name, value)| (name.to_owned(), value));
        tell(untold(Act {
            action: "seal_keys.changed".to_owned(),
            tenant: None,
            resource_type: "seal_keys".to_owned(),
            resource_id: None,
            details: details.into_iter().collect(),
        })?)
    }
}

fn told(text: &str) -> anyhow::Result<Outcome> {
    output::say(text)?;
    Ok(Outcome::Passed)
}
