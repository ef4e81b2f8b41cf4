//! `fastmcp policy explain`.

use std::{net::IpAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use fastmcp_policy::{Action, Context, PolicySet, Request, Resource, Subject, is_label};
use fastmcp_protocol::{
    Raw,
    args::{Args as ToolArgs, ArgsLimits},
};
use serde_json::Value;

use super::{Which, check_roles, matrix, sandbox::Sandbox};
use crate::{Outcome, audit, output, surroundings::did_you_mean};

/// What the caller wants.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum ActionName {
    #[value(name = "tools.invoke")]
    Invoke,
    #[value(name = "catalog:list")]
    List,
    #[value(name = "manifests.register")]
    Register,
    #[value(name = "approvals.decide")]
    Approve,
}

impl From<ActionName> for Action {
    fn from(name: ActionName) -> Self {
        match name {
            ActionName::Invoke => Self::ToolsInvoke,
            ActionName::List => Self::CatalogList,
            ActionName::Register => Self::ManifestsRegister,
            ActionName::Approve => Self::ApprovalsDecide,
        }
    }
}

/// Say whether a caller may do something, and why: each rule that could match, each condition, each scope
///
/// The tools are those that are registered with the gateway, or, where none was started yet, the built-in ones, with
/// what the arguments of built-in providers demand beyond the manifest. Other tools are described by --provider, --needs,
/// --tag, --tool-tenant, --classification and --read-only, which also add to what is known of registered ones.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp policy explain --sub agent-1 --role data-analyst --tool database:executeQuery --args '{\"query\": \"DROP TABLE orders\"}'
  fastmcp policy explain --sub agent-1 --role finance-write --tool ads:createCampaign --policy policies/
  fastmcp policy explain --sub agent-1 --role mcp-user --tool mcp:git:log --needs mcp.git --read-only
  fastmcp policy explain --sub agent-1 --role publisher --tool mail:send --tag external --label pii
  fastmcp policy explain --sub agent-1 --role fs-writer --tool filesystem:readFile --ip 10.0.0.7 --time 2026-11-20T09:00:00Z \\
    --client cli --claims '{\"dept\": \"sales\"}'
  fastmcp policy explain --sub agent-1 --action catalog:list")]
pub(super) struct Explain {
    /// Who asks: the subject
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// For whom: the tenant
    #[arg(long, value_name = "NAME", default_value = "public")]
    tenant: String,
    /// A role of the caller; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A scope that the token itself carries, which narrows what the roles give; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// The token's other claims, a JSON object
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// What is asked for
    #[arg(long, value_name = "ACTION", default_value = "tools.invoke")]
    action: ActionName,
    /// The tool, such as database:executeQuery
    #[arg(long, value_name = "ID")]
    tool: Option<String>,
    /// The arguments of the call, a JSON object
    #[arg(long, value_name = "JSON", visible_alias = "arguments")]
    args: Option<String>,
    /// When: 2026-11-20T09:00:00Z, 2026-11-20 (UTC), or 30m, 24h, 7d ago [default: now]
    #[arg(long, value_name = "TIME", value_parser = audit::moment)]
    time: Option<jiff::Timestamp>,
    /// By which client program
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// From which address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Under which correlation id
    #[arg(long, value_name = "ID")]
    corr_id: Option<String>,
    /// A label of something that the caller has read, such as confidential; may be repeated
    #[arg(long = "label", value_name = "LABEL", value_parser = label)]
    labels: Vec<String>,
    /// The tool's provider [default: what stands before the colon]
    #[arg(long, value_name = "ID")]
    provider: Option<String>,
    /// A scope that the tool needs; may be repeated
    #[arg(long = "needs", value_name = "SCOPE")]
    needs: Vec<String>,
    /// A safety tag of the tool; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The tenant that the tool belongs to [default: public]
    #[arg(long, value_name = "NAME")]
    tool_tenant: Option<String>,
    /// The tool's data label
    #[arg(long, value_name = "LABEL", value_parser = ["public", "internal", "confidential", "secret"])]
    classification: Option<String>,
    /// The tool only reads
    #[arg(long)]
    read_only: bool,
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

impl Explain {
    pub(super) fn run(self) -> anyhow::Result<Outcome> {
        let action = Action::from(self.action);
        let set = PolicySet::load(&self.which.sources(self.policy.as_ref())?, 1)?;
        check_roles(&set, self.roles.iter().map(String::as_str))?;
        let args = object("--args", self.args.as_deref())?;
        let resource = match (&self.tool, action.has_resource()) {
            (Some(tool), true) => Some(self.resource(tool, action, args.as_ref())?),
            (None, true) => bail!("`{action}` is about a tool; name it with --tool"),
            (Some(_), false) => bail!("`{action}` is about no tool; leave --tool out"),
            (None, false) => None,
        };
        let arguments = args.as_ref().map(ToolArgs::to_value);
        let labels = self.labels.iter().cloned().collect();
        let time = self.time.unwrap_or_else(jiff::Timestamp::now);
        let mut context = Context::at(time).labels(&labels);
        context.client = self.client.as_deref();
        context.ip = self.ip;
        context.corr_id = self.corr_id.as_deref();
        context.arguments = arguments.as_ref();
        let explanation = set.explain(&Request {
            action,
            subject: &self.subject()?,
            resource: resource.as_ref(),
            context: &context,
        });
        if self.json {
            output::say_json(&explanation)?;
        } else {
            output::say(&explanation.to_string())?;
        }
        Ok(Outcome::Passed)
    }

    fn subject(&self) -> anyhow::Result<Subject> {
        let mut subject = Subject::new(&self.sub)
            .tenant(&self.tenant)
            .roles(self.roles.iter().cloned());
        if !self.scopes.is_empty() {
            subject = subject.scopes(self.scopes.iter().cloned());
        }
        let claims = object("--claims", self.claims.as_deref())?;
        if let Some(Value::Object(claims)) = claims.as_ref().map(ToolArgs::to_value) {
            subject.claims = Arc::new(claims);
        }
        Ok(subject)
    }

    fn resource(
        &self,
        tool: &str,
        action: Action,
        args: Option<&ToolArgs>,
    ) -> anyhow::Result<Resource> {
        let tools = matrix::tools(self.manifests.as_ref(), &self.which, &self.tenant)?;
        let mut resource = match tools.get(tool) {
            Some(manifest) => {
                // Only a call has arguments that demand something, and its approval.
                let args = args.filter(|_| action != Action::ManifestsRegister);
                Sandbox::open()?.resource_of(manifest, args)?
            }
            // What is registered need not be there yet.
            None if self.describes() || action == Action::ManifestsRegister => unknown_tool(tool),
            None => bail!(
                "tenant `{}` has no tool `{tool}`{}; one that is not registered is described by --provider, --needs, --tag, --tool-tenant, --classification or --read-only",
                self.tenant,
                did_you_mean(tool, tools.keys().map(String::as_str)),
            ),
        };
        if let Some(provider) = &self.provider {
            resource.provider_id.clone_from(provider);
        }
        if let Some(tenant) = &self.tool_tenant {
            resource = resource.tenant(tenant);
        }
        if let Some(label) = &self.classification {
            resource = resource.classification(label);
        }
        resource.required_scopes.extend(self.needs.iter().cloned());
        resource.safety_tags.extend(self.tags.iter().cloned());
        resource.read_only |= self.read_only;
        Ok(resource)
    }

    /// Whether something is said of the tool beyond its name.
    const fn describes(&self) -> bool {
        self.provider.is_some()
            || self.tool_tenant.is_some()
            || self.classification.is_some()
            || !self.needs.is_empty()
            || !self.tags.is_empty()
            || self.read_only
    }
}

/// A tool of which nothing is known but its id: a public one that writes.
pub(super) fn unknown_tool(tool: &str) -> Resource {
    let provider = tool.split_once(':').map_or(tool, |(provider, _)| provider);
    Resource::new(tool, provider).tenant(Resource::PUBLIC)
}

fn label(text: &str) -> Result<String, String> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a label is 1 to 64 of `a-z`, `0-9`, `_`, `.`, `-` and `:`".to_owned())
    }
}

/// Reads a JSON object, as strictly as the gateway reads arguments.
fn object(flag: &str, text: Option<&str>) -> anyhow::Result<Option<ToolArgs>> {
    let Some(text) = text else { return Ok(None) };
    let wrong = || format!("`{flag}` is not a JSON object that a gateway would take");
    let raw = Raw::parse(text.to_owned()).with_context(wrong)?;
    let read = ToolArgs::parse(Some(&raw), &ArgsLimits::default()).with_context(wrong)?;
    Ok(Some(read))
}
