//! A file of expected decisions, as it is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read as _,
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use fastmcp_policy::{Action, Subject, Verdict, is_label};
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, Spanned};

use crate::output;

/// The longest file, in bytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;
/// The most tests of one file.
const MAX_TESTS: usize = 10_000;
/// The version of the format.
const VERSION: u64 = 1;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expected {
    version: u64,
    #[serde(default)]
    callers: BTreeMap<String, Caller>,
    /// Tools that are not built in, by id.
    #[serde(default)]
    pub(super) tools: BTreeMap<String, Tool>,
    tests: Vec<Spanned<Case>>,
}

/// Who asks.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Caller {
    sub: String,
    #[serde(default = "public")]
    tenant: Option<String>,
    #[serde(default)]
    roles: BTreeSet<String>,
    #[serde(default)]
    scopes: Option<BTreeSet<String>>,
    #[serde(default)]
    claims: Map<String, Value>,
}

/// A tool that is not built in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool {
    pub(super) provider: Option<String>,
    pub(super) tenant: Option<String>,
    #[serde(default)]
    pub(super) required_scopes: BTreeSet<String>,
    #[serde(default)]
    pub(super) safety_tags: BTreeSet<String>,
    pub(super) classification: Option<String>,
    #[serde(default)]
    pub(super) read_only: bool,
}

/// One test.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: Option<String>,
    caller: Named,
    #[serde(default)]
    action: Option<String>,
    pub(super) tool: Option<String>,
    pub(super) arguments: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) context: Circumstances,
    expect: String,
    /// Rules that must be among those that decided.
    #[serde(default)]
    rule: OneOrMany,
    /// Why it is denied, by the name of the reason.
    pub(super) because: Option<Because>,
    /// Whether the call must run under a ticket, at most once.
    pub(super) once: Option<bool>,
}

/// The circumstances.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Circumstances {
    pub(super) time: Option<jiff::Timestamp>,
    pub(super) client: Option<String>,
    pub(super) ip: Option<IpAddr>,
    pub(super) corr_id: Option<String>,
    /// What the caller has read.
    #[serde(default)]
    pub(super) labels: BTreeSet<String>,
}

/// A name under `callers`, or a caller in full.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Named {
    Name(String),
    Whole(Box<Caller>),
}

/// A rule, or several.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    None,
    One(String),
    Many(Vec<String>),
}

/// Why something is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Because {
    NoRuleAllows,
    RuleDenies,
    MissingScope,
    RuleFailed,
    Undecidable,
    TooLarge,
}

fn public() -> Option<String> {
    Some(fastmcp_policy::Resource::PUBLIC.to_owned())
}

impl Expected {
    /// Reads a file and checks what can be checked without a policy.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
            .with_context(|| format!("`{}` cannot be read", path.display()))?;
        if text.len() as u64 > MAX_BYTES {
            bail!("`{}` is larger than {MAX_BYTES} bytes", path.display());
        }
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: 64,
                max_nodes: 400_000,
                max_documents: 1,
                max_aliases: 1_000,
            },
            duplicate_keys: DuplicateKeyPolicy::Error,
            merge_keys: MergeKeyPolicy::Error,
            strict_booleans: true,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        let read: Self = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| anyhow::anyhow!("{}", unreadable(&error)))?;
        if read.version != VERSION {
            bail!("`version` must be {VERSION}, not {}", read.version);
        }
        if read.tests.is_empty() || read.tests.len() > MAX_TESTS {
            bail!("`tests` must hold 1 to {MAX_TESTS} tests");
        }
        for (line, case) in read.cases() {
            let checked = case
                .verdict()
                .and_then(|_| case.action())
                .and_then(|_| read.caller(case))
                .and_then(|_| case.check());
            checked.with_context(|| format!("line {line}"))?;
        }
        Ok(read)
    }

    /// The tests, each with its line.
    pub(super) fn cases(&self) -> impl Iterator<Item = (u64, &Case)> {
        self.tests
            .iter()
            .map(|case| (case.referenced.line(), &case.value))
    }

    /// Who asks in a test.
    pub(super) fn caller(&self, case: &Case) -> anyhow::Result<Subject> {
        let caller = match &case.caller {
            Named::Whole(caller) => caller,
            Named::Name(name) => self
                .callers
                .get(name)
                .with_context(|| format!("caller `{name}` is not among `callers`"))?,
        };
        let mut subject = Subject::new(&caller.sub).roles(caller.roles.iter().cloned());
        subject.tenant.clone_from(&caller.tenant);
        subject.scopes.clone_from(&caller.scopes);
        subject.claims = Arc::new(caller.claims.clone());
        Ok(subject)
    }

    /// The rules that some test names.
    pub(super) fn rules(&self) -> impl Iterator<Item = (u64, &str)> {
        self.cases()
            .flat_map(|(line, case)| case.rules().iter().map(move |rule| (line, rule.as_str())))
    }
}

impl Case {
    pub(super) fn action(&self) -> anyhow::Result<Action> {
        let name = self.action.as_deref().unwrap_or("tools.invoke");
        Action::ALL
            .into_iter()
            .find(|action| action.name() == name)
            .with_context(|| {
                format!(
                    "`action` is `tools.invoke`, `catalog:list`, `manifests.register` or `approvals.decide`, not `{name}`"
                )
            })
    }

    pub(super) fn verdict(&self) -> anyhow::Result<Verdict> {
        Verdict::parse(&self.expect).with_context(|| {
            format!(
                "`expect` is `allow`, `deny`, `confirm`, `confirm:person` or `confirm:other_person`, not `{}`",
                self.expect
            )
        })
    }

    pub(super) fn rules(&self) -> &[String] {
        match &self.rule {
            OneOrMany::None => &[],
            OneOrMany::One(rule) => std::slice::from_ref(rule),
            OneOrMany::Many(rules) => rules,
        }
    }

    /// What a person calls the test.
    pub(super) fn title(&self) -> String {
        let tool = self.tool.as_deref().unwrap_or_default();
        let title = || {
            let action = self.action.as_deref().unwrap_or("tools.invoke");
            format!("{action} {tool}: {}", self.expect)
        };
        self.name.clone().unwrap_or_else(title)
    }

    fn check(&self) -> anyhow::Result<()> {
        let action = self.action()?;
        match (&self.tool, action.has_resource()) {
            (None, true) => bail!("`{action}` is about a tool; name it with `tool`"),
            (Some(_), false) => bail!("`{action}` is about no tool; leave `tool` out"),
            _ => {}
        }
        if let Some(wrong) = self.context.labels.iter().find(|label| !is_label(label)) {
            bail!(
                "`labels`: `{wrong}` is not a label: 1 to 64 of `a-z`, `0-9`, `_`, `.`, `-` and `:`"
            );
        }
        let denies = self.verdict()? == Verdict::Deny;
        if self.because.is_some() && !denies {
            bail!(
                "`because` says why something is denied, and `expect` is `{}`",
                self.expect
            );
        }
        if self.once.is_some() && denies {
            bail!("`once` is about calls that are allowed, and `expect` is `deny`");
        }
        Ok(())
    }
}

fn unreadable(error: &serde_saphyr::Error) -> String {
    match error {
        serde_saphyr::Error::DuplicateMappingKey {
            key: Some(key),
            location,
        } => format!(
            "line {}: the key `{key}` stands here a second time",
            location.line()
        ),
        other => output::one_line(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_wrongly_is_refused_with_its_line() {
        let refused = |case: &str| {
            let text = format!("version: 1\ncallers: {{ann: {{sub: ann}}}}\ntests:\n  - {case}\n");
            output::told(&Expected::parse(&text).unwrap_err())
        };
        for (case, expected) in [
            (
                "{caller: bob, tool: a:b, expect: deny}",
                "line 4: caller `bob` is not among `callers`",
            ),
            (
                "{caller: ann, tool: a:b, expect: perhaps}",
                "line 4: `expect` is `allow`, `deny`",
            ),
            (
                "{caller: ann, expect: deny}",
                "line 4: `tools.invoke` is about a tool",
            ),
            (
                "{caller: ann, tool: a:b, action: catalog:list, expect: allow}",
                "line 4: `catalog:list` is about no tool",
            ),
            (
                "{caller: ann, tool: a:b, context: {labels: [PII]}, expect: deny}",
                "line 4: `labels`: `PII` is not a label",
            ),
            (
                "{caller: ann, tool: a:b, action: call, expect: allow}",
                "line 4: `action` is `tools.invoke`",
            ),
            (
                "{caller: ann, tool: a:b, expect: allow, because: missing_scope}",
                "line 4: `because` says why",
            ),
            (
                "{caller: ann, tool: a:b, expect: deny, once: true}",
                "line 4: `once` is about calls",
            ),
            ("{caller: ann, tool: a:b, expect: deny, rol: x}", "rol"),
            (
                "{caller: ann, tool: a:b, expect: deny, tool: a:c}",
                "line 4: the key `tool` stands here a second time",
            ),
        ] {
            let said = refused(case);
            assert!(said.contains(expected), "{case}: {said}");
        }
        let said = output::told(&Expected::parse("version: 2\ntests: []\n").unwrap_err());
        assert!(said.contains("`version` must be 1"), "{said}");
    }
}
