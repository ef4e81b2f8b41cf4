//! `fastmcp policy simulate`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp_audit::{Filter, Phase, Record, read};
use fastmcp_gateway::config::policy_sources;
use fastmcp_policy::{
    Action, Context, Outlook, Part, PolicySet, Request, Resource, Subject, Unknown, Verdict,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Outcome, audit, output, place::Place};

/// The most different changes that are told apart; those beyond are counted.
const MAX_CHANGES: usize = 100_000;
/// Where the log cuts long names.
const CUT: char = '…';

/// Replay the recorded decisions under another policy: who gains, who loses, who is asked
///
/// Every decision in the audit log is made again, with the caller, the tool and the circumstances of then, and compared with
/// what was decided. The log holds arguments as digests alone: a decision that hangs on their values is counted as such,
/// with the rules on which it hangs. Records of the confirming half of a call are not counted again.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp policy simulate policies-new/                            over the gateway's own log
  fastmcp policy simulate new.yml --log /srv/a/audit --log /srv/b/audit --since 2026-11-01 --until 24h
  fastmcp policy simulate new.yml --json | jq '.changes[] | select(.change == \"loses\")'")]
pub(super) struct Simulate {
    /// The candidate: a policy file or folder
    #[arg(value_name = "CANDIDATE")]
    candidate: PathBuf,
    /// A folder of an audit log; may be repeated [default: the gateway's own]
    #[arg(long = "log", value_name = "DIR")]
    logs: Vec<PathBuf>,
    /// Records of this time or later: 2026-11-20T09:00:00Z, 2026-11-20 (UTC), or 30m, 24h, 7d ago
    #[arg(long, value_name = "TIME", value_parser = audit::moment)]
    since: Option<jiff::Timestamp>,
    /// Records before this time
    #[arg(long, value_name = "TIME", value_parser = audit::moment)]
    until: Option<jiff::Timestamp>,
    /// Records of this tenant
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The most changes to print
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    limit: usize,
    /// Print a JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What the candidate does to a recorded decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// It was allowed and would be refused.
    Loses,
    /// It was refused and would be allowed.
    Gains,
    /// It went on by itself and would be asked about.
    Asked,
    /// It was asked about and would be asked of somebody else: the client, a person, another person.
    AskedOfAnother,
    /// It was asked about and would go on by itself.
    NotAsked,
    /// It hangs on what the log does not hold.
    Undecided,
}

impl Change {
    const ALL: [Self; 6] = [
        Self::Loses,
        Self::Gains,
        Self::Asked,
        Self::AskedOfAnother,
        Self::NotAsked,
        Self::Undecided,
    ];

    /// `None`: nothing changes.
    fn between(was: Verdict, becomes: Verdict) -> Option<Self> {
        match (was, becomes) {
            _ if was == becomes => None,
            (_, Verdict::Deny) => Some(Self::Loses),
            (Verdict::Deny, _) => Some(Self::Gains),
            (_, Verdict::Allow) => Some(Self::NotAsked),
            (Verdict::Allow, _) => Some(Self::Asked),
            _ => Some(Self::AskedOfAnother),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Loses => "loses",
            Self::Gains => "gains",
            Self::Asked => "asked",
            Self::AskedOfAnother => "asked of another",
            Self::NotAsked => "not asked",
            Self::Undecided => "undecided",
        }
    }
}

/// Decisions that change in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    change: Change,
    tenant: Option<String>,
    sub: Option<String>,
    what: String,
    was: Verdict,
    becomes: BTreeSet<Verdict>,
    rules: BTreeSet<String>,
}

/// How many, and where the first of them stands.
#[derive(Clone, Copy, Debug)]
struct Tally {
    calls: u64,
    first_seq: u64,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    replayed: u64,
    unchanged: u64,
    totals: BTreeMap<Change, u64>,
    groups: BTreeMap<Group, Tally>,
    beyond: u64,
    /// Records of an older form, or whose attributes were taken out.
    without_attributes: u64,
    /// Refused before the policy was asked.
    never_decided: u64,
    confirmations: u64,
    first: Option<jiff::Timestamp>,
    last: Option<jiff::Timestamp>,
}

/// What rules read, as the log holds it.
#[derive(Debug, Deserialize)]
struct Attributes {
    roles: BTreeSet<String>,
    scopes: Option<BTreeSet<String>>,
    /// Absent: no claim is known. A claim that is null was looked for and not there.
    claims: Option<BTreeMap<String, Option<BTreeSet<String>>>>,
    client: Option<String>,
    /// Absent: no rule of the time read what the caller had read.
    labels: Option<BTreeSet<String>>,
    provider_id: Option<String>,
    resource_tenant: Option<String>,
    #[serde(default)]
    safety_tags: BTreeSet<String>,
    #[serde(default)]
    required_scopes: BTreeSet<String>,
    classification: Option<String>,
    #[serde(default)]
    read_only: bool,
}

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let set = PolicySet::load(&policy_sources(&self.candidate)?, 1)
            .context("candidate cannot be used")?;
        let logs = if self.logs.is_empty() {
            vec![self.place.audit()?.audit_dir]
        } else {
            self.logs.clone()
        };
        let mut found = Found::default();
        for folder in &logs {
            if !folder.is_dir() {
                bail!(
                    "there is no audit log in `{}`; name its folder with --log",
                    folder.display()
                );
            }
            let filter = Filter {
                since: self.since,
                until: self.until,
                tenant: self.tenant.clone(),
                ..Filter::default()
            };
            for record in read(folder, filter)? {
                found.add(&set, &record?);
            }
        }
        if self.json {
            output::say_json(&found.json(&set, self.limit))?;
        } else {
            output::say(&found.text(self.limit))?;
        }
        Ok(Outcome::Passed)
    }
}

impl Found {
    fn add(&mut self, set: &PolicySet, record: &Record) {
        if record.phase == Phase::Outcome {
            return; // Its intent was counted.
        }
        if record.action == "tools.confirm" {
            self.confirmations += 1;
            return;
        }
        let Some(action) = Action::ALL.into_iter().find(|a| a.name() == record.action) else {
            return;
        };
        if record.policy_decision.is_none() {
            self.never_decided += 1;
            return;
        }
        let Some((was, outlook)) = replay(set, action, record) else {
            self.without_attributes += 1;
            return;
        };
        self.replayed += 1;
        self.first = Some(self.first.map_or(record.ts, |first| first.min(record.ts)));
        self.last = self.last.max(Some(record.ts));
        let change = match outlook.certain() {
            Some(becomes) => Change::between(was, becomes),
            None => Some(Change::Undecided),
        };
        let Some(change) = change else {
            self.unchanged += 1;
            return;
        };
        *self.totals.entry(change).or_default() += 1;
        let group = Group {
            change,
            tenant: record.tenant.clone(),
            sub: record.sub.clone(),
            what: record
                .tool_id
                .clone()
                .unwrap_or_else(|| record.action.clone()),
            was,
            becomes: outlook.verdicts,
            rules: if change == Change::Undecided {
                outlook.open
            } else {
                outlook.rules
            },
        };
        if let Some(tally) = self.groups.get_mut(&group) {
            tally.calls += 1;
        } else if self.groups.len() < MAX_CHANGES {
            let first_seq = record.seq;
            self.groups.insert(
                group,
                Tally {
                    calls: 1,
                    first_seq,
                },
            );
        } else {
            self.beyond += 1;
        }
    }

    /// The changes, the most frequent of each kind first.
    fn sorted(&self) -> Vec<(&Group, Tally)> {
        let mut groups: Vec<_> = self.groups.iter().map(|(g, t)| (g, *t)).collect();
        groups.sort_by(|a, b| {
            a.0.change
                .cmp(&b.0.change)
                .then(b.1.calls.cmp(&a.1.calls))
                .then(a.0.cmp(b.0))
        });
        groups
    }

    fn total(&self, change: Change) -> u64 {
        self.totals.get(&change).copied().unwrap_or_default()
    }

    fn json(&self, set: &PolicySet, limit: usize) -> Value {
        let changes: Vec<_> = self
            .sorted()
            .into_iter()
            .take(limit)
            .map(|(group, tally)| {
                json!({
                    "change": group.change,
                    "tenant": group.tenant,
                    "sub": group.sub,
                    "what": group.what,
                    "calls": tally.calls,
                    "first_seq": tally.first_seq,
                    "was": group.was,
                    "becomes": group.becomes,
                    "rules": group.rules,
                })
            })
            .collect();
        json!({
            "policy_version": &*set.version().hash,
            "from": self.first,
            "to": self.last,
            "replayed": self.replayed,
            "unchanged": self.unchanged,
            "loses": self.total(Change::Loses),
            "gains": self.total(Change::Gains),
            "asked": self.total(Change::Asked),
            "asked_of_another": self.total(Change::AskedOfAnother),
            "not_asked": self.total(Change::NotAsked),
            "undecided": self.total(Change::Undecided),
            "not_replayed": {
                "without_attributes": self.without_attributes,
                "never_decided": self.never_decided,
                "confirmations": self.confirmations,
            },
            "changes": changes,
            "changes_left_out": self.left_out(limit),
        })
    }

    /// How many groups are not printed; those beyond what is told apart count one by one.
    fn left_out(&self, limit: usize) -> u64 {
        let hidden = self.groups.len().saturating_sub(limit);
        u64::try_from(hidden)
            .unwrap_or(u64::MAX)
            .saturating_add(self.beyond)
    }

    fn text(&self, limit: usize) -> String {
        let mut lines = vec![match (self.first, self.last) {
            (Some(first), Some(last)) => {
                format!(
                    "{} decisions replayed, from {first} to {last}",
                    self.replayed
                )
            }
            _ => "no decision replayed".to_owned(),
        }];
        lines.push(format!("  {:<16} {}", "unchanged", self.unchanged));
        let totals =
            Change::ALL.map(|change| format!("  {:<16} {}", change.word(), self.total(change)));
        lines.extend(totals);
        let not = [
            (
                self.without_attributes,
                "whose records do not hold what rules read",
            ),
            (self.never_decided, "refused before the policy was asked"),
            (self.confirmations, "that confirm a call counted above"),
        ];
        lines.extend(
            not.into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, why)| format!("not replayed: {count} {why}")),
        );
        if self.total(Change::Undecided) > 0 {
            lines.push("undecided: the rules named read what the log does not hold, such as the values of arguments".to_owned());
        }
        if !self.groups.is_empty() {
            let head = [
                "CHANGE",
                "TENANT/SUBJECT",
                "WHAT",
                "CALLS",
                "WAS",
                "BECOMES",
                "RULES",
            ];
            let mut rows = vec![head.map(str::to_owned).to_vec()];
            rows.extend(
                self.sorted()
                    .into_iter()
                    .take(limit)
                    .map(|(g, t)| row(g, t)),
            );
            lines.push(String::new());
            lines.push(output::table(&rows));
        }
        if self.left_out(limit) > 0 {
            lines.push(format!(
                "{} more changes; raise --limit",
                self.left_out(limit)
            ));
        }
        lines.join("\n")
    }
}

fn row(group: &Group, tally: Tally) -> Vec<String> {
    let text = |text: &Option<String>| {
        text.as_deref()
            .map_or_else(|| "-".to_owned(), output::printable)
    };
    let becomes: Vec<_> = group.becomes.iter().map(ToString::to_string).collect();
    let rules: Vec<_> = group.rules.iter().map(String::as_str).collect();
    vec![
        group.change.word().to_owned(),
        format!("{}/{}", text(&group.tenant), text(&group.sub)),
        output::printable(&group.what),
        tally.calls.to_string(),
        group.was.to_string(),
        becomes.join(" or "),
        if rules.is_empty() {
            "-".to_owned()
        } else {
            rules.join(", ")
        },
    ]
}

/// What was decided then, and what may be decided now. `None` where the record does not hold what rules read.
fn replay(set: &PolicySet, action: Action, record: &Record) -> Option<(Verdict, Outlook)> {
    let details = record.details.as_ref()?;
    let recorded = details.get("attributes")?;
    let attributes: Attributes = serde_json::from_value(recorded.clone()).ok()?;
    let obligations: Vec<String> =
        serde_json::from_value(details.get("obligations")?.clone()).ok()?;
    let was = match record.policy_decision.as_deref()? {
        "deny" => Verdict::Deny,
        "allow" => obligations
            .iter()
            .find_map(|duty| Verdict::parse(duty))
            .unwrap_or(Verdict::Allow),
        _ => return None,
    };
    let mut unknown = vec![Part::Arguments];
    let mut name = |text: Option<&str>, part| {
        if text.is_none_or(|text| text.ends_with(CUT)) {
            unknown.push(part);
        }
    };
    name(record.sub.as_deref(), Part::Sub);
    name(record.corr_id.as_deref(), Part::CorrId);
    match (recorded.get("client"), attributes.client.as_deref()) {
        (Some(_), None) => {}
        (_, client) => name(client, Part::Client),
    }
    if attributes.labels.is_none() {
        unknown.push(Part::Labels);
    }
    let known_claims: Vec<_> = attributes
        .claims
        .iter()
        .flatten()
        .map(|(path, _)| path.clone())
        .collect();
    unknown.push(Part::Claims);
    let unknown = Unknown::parts(unknown).but_claims(known_claims);

    let subject = subject(record, &attributes);
    let resource = match (action.has_resource(), &attributes.provider_id) {
        (true, Some(provider)) => Some(resource(record.tool_id.as_deref()?, provider, &attributes)),
        (true, None) => return None,
        (false, _) => None,
    };
    let mut context = Context::at(record.ts);
    context.client = attributes.client.as_deref();
    context.corr_id = record.corr_id.as_deref();
    context.labels = attributes.labels.as_ref();
    context.ip = match &record.ip_address {
        Some(text) => Some(text.parse::<IpAddr>().ok()?),
        None => None,
    };
    let outlook = set.outlook(
        &Request {
            action,
            subject: &subject,
            resource: resource.as_ref(),
            context: &context,
        },
        &unknown,
    );
    Some((was, outlook))
}

fn subject(record: &Record, attributes: &Attributes) -> Subject {
    let mut subject = Subject::new(record.sub.as_deref().unwrap_or_default())
        .roles(attributes.roles.iter().cloned());
    subject.tenant.clone_from(&record.tenant);
    subject.scopes.clone_from(&attributes.scopes);
    for (path, seen) in attributes.claims.iter().flatten() {
        // A path is one name here; rules read it the same.
        if let Some(texts) = seen {
            Arc::make_mut(&mut subject.claims).insert(path.clone(), json!(texts));
        }
    }
    subject
}

fn resource(tool: &str, provider: &str, attributes: &Attributes) -> Resource {
    let mut resource = Resource::new(tool, provider)
        .safety_tags(attributes.safety_tags.iter().cloned())
        .required_scopes(attributes.required_scopes.iter().cloned())
        .read_only(attributes.read_only);
    resource.tenant.clone_from(&attributes.resource_tenant);
    resource
        .classification
        .clone_from(&attributes.classification);
    resource
}

#[cfg(test)]
mod tests {
    use fastmcp_policy::ConsentLevel;

    use super::*;

    #[test]
    fn changes_are_named_from_the_callers_side() {
        let person = Verdict::Confirm(ConsentLevel::Person);
        let client = Verdict::Confirm(ConsentLevel::Client);
        let other = Verdict::Confirm(ConsentLevel::OtherPerson);
        for (was, becomes, expected) in [
            (Verdict::Allow, Verdict::Allow, None),
            (Verdict::Allow, Verdict::Deny, Some(Change::Loses)),
            (person, Verdict::Deny, Some(Change::Loses)),
            (Verdict::Deny, client, Some(Change::Gains)),
            (Verdict::Allow, client, Some(Change::Asked)),
            (client, person, Some(Change::AskedOfAnother)),
            (person, client, Some(Change::AskedOfAnother)),
            (other, person, Some(Change::AskedOfAnother)),
            (client, Verdict::Allow, Some(Change::NotAsked)),
        ] {
            assert_eq!(Change::between(was, becomes), expected, "{was} {becomes}");
        }
    }
}
