//! `fastmcp labels`: what callers have read, looked at and taken back.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use fastmcp_gateway::{
    audit::rfc3339,
    state::{act::Act, label::Holder},
};
use fastmcp_guard::clock::{Clock as _, SystemClock};
use serde_json::{Map, json};

use crate::{
    Outcome,
    operations::{Opened, RECORDED_LATER, record, untold},
    output,
    place::Place,
};

/// Look at the labels that a caller carries for what it has read, and take them back
///
/// Labels come from manifests (`labels`, and the classification), rules read them as `context.labels`, and a caller
/// carries them for LABEL_TTL_SEC after it was last given such a result. These commands may be used while the gateway
/// runs.
#[derive(Debug, Args)]
pub(crate) struct Labels {
    #[command(subcommand)]
    command: LabelsCommand,
}

#[derive(Debug, Subcommand)]
enum LabelsCommand {
    Show(Show),
    Clear(Clear),
}

impl Labels {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        match self.command {
            LabelsCommand::Show(show) => Opened::with(&show.place, |opened| show.run(opened)),
            LabelsCommand::Clear(clear) => Opened::with(&clear.place, |opened| clear.run(opened)),
        }
    }
}

/// Which caller.
#[derive(Clone, Debug, Args)]
struct Whose {
    /// The caller's tenant
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// The caller: the subject of its tokens
    #[arg(long, value_name = "NAME")]
    sub: String,
}

impl Whose {
    /// Names are kept as hashes, so only who can name a caller can look.
    fn holder(&self) -> Holder {
        Holder::new(&self.tenant, &self.sub, None)
    }
}

/// Print what a caller carries, and until when
///
/// What a session of the older protocol carries beyond that is known to that session alone.
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    whose: Whose,
    /// Print a JSON object for each label
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

impl Show {
    fn run(&self, opened: &Opened) -> anyhow::Result<Outcome> {
        let holder = self.whose.holder();
        let mut carried = opened.wait(opened.labels().carried(holder, SystemClock.now()))?;
        carried.sort();
        if self.json {
            for one in carried {
                output::say_json(&json!({"label": one.label, "until": rfc3339(one.expires_at)}))?;
            }
            return Ok(Outcome::Passed);
        }
        let head = ["LABEL", "UNTIL"].map(str::to_owned).to_vec();
        let rows = carried
            .iter()
            .map(|one| vec![output::printable(&one.label), rfc3339(one.expires_at)]);
        let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
        output::say(&output::table(&rows))?;
        Ok(Outcome::Passed)
    }
}

/// Take from a caller all that it carries, in every session
///
/// What the caller asked for until now and still waits keeps the labels that it was asked with. The act becomes a record of
/// the audit log: where a running gateway holds that, within seconds, else at once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp labels show --tenant acme --sub agent-1
  fastmcp labels clear --tenant acme --sub agent-1 --by alice")]
struct Clear {
    #[command(flatten)]
    whose: Whose,
    /// Who takes them back
    #[arg(long, value_name = "NAME", default_value = "operator", value_parser = name)]
    by: String,
    #[command(flatten)]
    place: Place,
}

impl Clear {
    fn run(&self, opened: &Opened) -> anyhow::Result<Outcome> {
        // Held before anything changes: where the log cannot take the record for another reason, nothing is cleared.
        let log = opened.log().context("nothing was cleared")?;
        let untold = untold(self.act())?;
        let waits = log.is_none().then(|| untold.clone());
        let cleared = opened.wait(opened.labels().clear(self.whose.holder(), waits))?;
        let Whose { tenant, sub } = &self.whose;
        output::say(&format!(
            "`{}` of tenant `{}` carries nothing any more ({cleared} cleared)",
            output::printable(sub),
            output::printable(tenant)
        ))?;
        let Some(log) = log else {
            output::complain(RECORDED_LATER);
            return Ok(Outcome::Passed);
        };
        record(&log, &untold.counting(cleared))
            .context("labels are cleared, but the audit log took no record of it")?;
        Ok(Outcome::Passed)
    }

    fn act(&self) -> Act {
        Act {
            action: "labels.cleared".to_owned(),
            tenant: Some(self.whose.tenant.clone()),
            resource_type: "caller".to_owned(),
            resource_id: Some(self.whose.sub.clone()),
            details: Map::from_iter([("by".to_owned(), json!(self.by))]),
        }
    }
}

/// Reads a name: one line, not blank.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 128 || text.contains(char::is_control) {
        return Err("use one line of text, 1 to 128 bytes".to_owned());
    }
    Ok(text.to_owned())
}
