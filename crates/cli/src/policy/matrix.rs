//! `fastmcp policy matrix`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use anyhow::Context as _;
use clap::Args;
use fastmcp_gateway::{catalog, manifest::Manifest};
use fastmcp_policy::{
    Action, Context, Outlook, Part, PolicySet, Request, Resource, Subject, Unknown, Verdict,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Which, check_roles, sandbox::Sandbox};
use crate::{Outcome, operations::Opened, output, surroundings::did_you_mean};

/// The largest file of manifests, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The name of the column for a caller without a role.
const NO_ROLE: &str = "(none)";

/// Print who may call what: every role by every tool
///
/// A cell says what becomes of a call by a caller who holds that role alone: `allow`, `deny`, or `confirm` with the consent
/// that it takes. `depends` says that it hangs on what the table does not know: the caller's name and claims, the
/// arguments, the client, the address, the time; the rules on which it hangs are listed below. What arguments demand
/// beyond the manifest (writing SQL, overwriting a file) is not in the table; `policy explain --args` tells it.
///
/// The tools are those that are registered with the gateway, or, where none was started yet, the built-in ones.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp policy matrix                                     the gateway's policy and tools
  fastmcp policy matrix --role data-analyst --role fs-reader+finance-write
  fastmcp policy matrix --policy policies/ --tenant acme --json
  curl -s localhost:8000/tool-catalog -H \"Authorization: Bearer $TOKEN\" >tools.json
  fastmcp policy matrix --manifests tools.json              the tools of another gateway")]
pub(super) struct Matrix {
    /// A column: a role, or several held together as in a+b; may be repeated [default: every role]
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A row: a tool; may be repeated [default: every tool]
    #[arg(long = "tool", value_name = "ID")]
    tools: Vec<String>,
    /// The callers' tenant
    #[arg(long, value_name = "NAME", default_value = Resource::PUBLIC)]
    tenant: String,
    /// Tools from a file: a JSON list of manifests, or what GET /tool-catalog answers
    #[arg(long, value_name = "FILE")]
    manifests: Option<PathBuf>,
    /// A policy file or folder [default: the gateway's own, or else the built-in policy]
    #[arg(long, value_name = "PATH")]
    policy: Option<PathBuf>,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    which: Which,
}

/// A file of manifests.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Manifests {
    Plain(Vec<Manifest>),
    Catalog { tools: Vec<Manifest> },
}

/// A column.
struct Column {
    name: String,
    subject: Subject,
}

impl Matrix {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let set = PolicySet::load(&self.which.sources(self.policy.as_ref())?, 1)?;
        let columns = self.columns(&set)?;
        let tools = self.rows()?;
        let now = Context::at(jiff::Timestamp::now());
        let unknown = Unknown::parts(Part::ALL);
        let rows: Vec<(Resource, Vec<Outlook>)> = tools
            .into_iter()
            .map(|tool| {
                let cells = columns.iter().map(|column| {
                    let request = Request {
                        action: Action::ToolsInvoke,
                        subject: &column.subject,
                        resource: Some(&tool),
                        context: &now,
                    };
                    set.outlook(&request, &unknown)
                });
                let cells = cells.collect();
                (tool, cells)
            })
            .collect();
        if self.json {
            output::say_json(&json!({
                "policy_version": &*set.version().hash,
                "tenant": self.tenant,
                "tools": rows.iter().map(|row| as_json(row, &columns)).collect::<Vec<_>>(),
            }))?;
        } else {
            output::say(&as_text(&rows, &columns))?;
        }
        Ok(Outcome::Passed)
    }

    fn columns(&self, set: &PolicySet) -> anyhow::Result<Vec<Column>> {
        let known: BTreeSet<&str> = set.roles().collect();
        let column = |name: &str, roles: Vec<&str>| Column {
            name: name.to_owned(),
            subject: Subject::new("somebody").tenant(&self.tenant).roles(roles),
        };
        if self.roles.is_empty() {
            let every = known.iter().map(|role| column(role, vec![role]));
            return Ok(every.chain([column(NO_ROLE, Vec::new())]).collect());
        }
        let named = self.roles.iter().map(|name| {
            let roles: Vec<_> = name.split('+').map(str::trim).collect();
            check_roles(set, roles.iter().copied())?;
            Ok(column(name, roles))
        });
        named.collect()
    }

    fn rows(&self) -> anyhow::Result<Vec<Resource>> {
        let mut tools = tools(self.manifests.as_ref(), &self.which, &self.tenant)?;
        if let Some(missing) = self.tools.iter().find(|id| !tools.contains_key(*id)) {
            anyhow::bail!(
                "tenant `{}` has no tool `{missing}`{}",
                self.tenant,
                did_you_mean(missing, tools.keys().map(String::as_str)),
            );
        }
        tools.retain(|id, _| self.tools.is_empty() || self.tools.contains(id));
        Ok(tools.values().map(catalog::resource).collect())
    }
}

/// The tools that exist for callers of a tenant: its own before the public ones of the same id.
pub(super) fn tools(
    file: Option<&PathBuf>,
    which: &Which,
    tenant: &str,
) -> anyhow::Result<BTreeMap<String, Manifest>> {
    let mut tools: BTreeMap<String, Manifest> = BTreeMap::new();
    for manifest in manifests(file, which)? {
        let own = manifest.tenant == tenant;
        if !own && manifest.tenant != Resource::PUBLIC {
            continue;
        }
        let id = manifest.tool_id.as_str().to_owned();
        if own || !tools.contains_key(&id) {
            tools.insert(id, manifest);
        }
    }
    Ok(tools)
}

/// The tools of a file of manifests, or those that are registered with the gateway, or, where none was started yet, the
/// built-in ones.
pub(super) fn manifests(file: Option<&PathBuf>, which: &Which) -> anyhow::Result<Vec<Manifest>> {
    if let Some(path) = file {
        let text = output::read_small(path, MAX_BYTES)?;
        let read = serde_json::from_slice(&text).with_context(|| {
            format!(
                "`{}` is no JSON list of manifests, nor what GET /tool-catalog answers",
                path.display()
            )
        })?;
        return Ok(match read {
            Manifests::Plain(manifests) | Manifests::Catalog { tools: manifests } => manifests,
        });
    }
    let place = &which.place;
    if Opened::exists(place)? {
        return Opened::with(place, Opened::manifests);
    }
    Ok(Sandbox::open()?.manifests())
}

/// A cell in one word.
fn word(outlook: &Outlook) -> String {
    match outlook.certain() {
        Some(Verdict::Confirm(level)) => format!("confirm:{level}"),
        Some(verdict) => verdict.to_string(),
        None => "depends".to_owned(),
    }
}

fn as_json((tool, cells): &(Resource, Vec<Outlook>), columns: &[Column]) -> Value {
    let roles: Vec<_> = columns
        .iter()
        .zip(cells)
        .map(|(column, outlook)| {
            json!({
                "roles": column.subject.roles,
                "cell": word(outlook),
                "verdicts": outlook.verdicts,
                "rules": outlook.rules,
                "depends_on": outlook.open,
            })
        })
        .collect();
    json!({"toolId": tool.tool_id, "tenant": tool.tenant, "roles": roles})
}

fn as_text(rows: &[(Resource, Vec<Outlook>)], columns: &[Column]) -> String {
    let head = std::iter::once("TOOL".to_owned()).chain(columns.iter().map(|c| c.name.clone()));
    let lines = rows.iter().map(|(tool, cells)| {
        let id = output::printable(&tool.tool_id);
        std::iter::once(id).chain(cells.iter().map(word)).collect()
    });
    let table: Vec<Vec<String>> = std::iter::once(head.collect()).chain(lines).collect();
    let mut text = output::table(&table);
    let open = rows.iter().flat_map(|(tool, cells)| {
        let depends = columns
            .iter()
            .zip(cells)
            .filter(|(_, cell)| cell.certain().is_none());
        depends.map(|(column, cell)| {
            let verdicts: Vec<_> = cell.verdicts.iter().map(ToString::to_string).collect();
            let rules: Vec<_> = cell.open.iter().map(String::as_str).collect();
            format!(
                "\n{} for {}: {}, depending on {}",
                output::printable(&tool.tool_id),
                column.name,
                verdicts.join(" or "),
                rules.join(", "),
            )
        })
    });
    let open: String = open.collect();
    if !open.is_empty() {
        text.push('\n');
        text.push_str(&open);
    }
    text
}
