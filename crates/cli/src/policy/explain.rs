//! `fastmcp policy explain`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use fastmcp_policy::{Action, Context, PolicySet, Request, Resource, Subject, is_label};
use fastmcp_protocol::{
    Raw,
    args::{Args as ToolArgs, ArgsLimits},
};

use super::{Which, sandbox::Sandbox};
use crate::{Outcome, output};

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
/// Built-in tools are known with their scopes and tags, and with what the arguments demand beyond them. Other tools are
/// described by --provider, --needs, --tag, --tool-tenant and --read-only, which also add to what is known of built-in
/// ones.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp policy explain --sub agent-1 --role data-analyst --tool database:executeQuery --args '{\"query\": \"DROP TABLE orders\"}'
  fastmcp policy explain --sub agent-1 --role finance-write --tool ads:createCampaign --policy policies/
  fastmcp policy explain --sub agent-1 --role mcp-user --tool mcp:git:log --needs mcp.git --read-only
  fastmcp policy explain --sub agent-1 --role publisher --tool mail:send --tag external --label pii
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
    /// What is asked for
    #[arg(long, value_name = "ACTION", default_value = "tools.invoke")]
    action: ActionName,
    /// The tool, such as database:executeQuery
    #[arg(long, value_name = "ID")]
    tool: Option<String>,
    /// The arguments of the call, a JSON object
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
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
    /// The tool only reads
    #[arg(long)]
    read_only: bool,
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
        let args = self.args.as_deref().map(parse_args).transpose()?;
        let resource = match (&self.tool, action.has_resource()) {
            (Some(tool), true) => Some(self.resource(tool, args.as_ref())?),
            (None, true) => bail!("`{action}` is about a tool; name it with --tool"),
            (Some(_), false) => bail!("`{action}` is about no tool; leave --tool out"),
            (None, false) => None,
        };
        let mut subject = Subject::new(&self.sub)
            .tenant(&self.tenant)
            .roles(self.roles.iter().cloned());
        if !self.scopes.is_empty() {
            subject = subject.scopes(self.scopes.iter().cloned());
        }
        let arguments = args.as_ref().map(ToolArgs::to_value);
        let labels = self.labels.iter().cloned().collect();
        let mut context = Context::at(jiff::Timestamp::now()).labels(&labels);
        if let Some(arguments) = &arguments {
            context = context.arguments(arguments);
        }
        let explanation = set.explain(&Request {
            action,
            subject: &subject,
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

    fn resource(&self, tool: &str, args: Option<&ToolArgs>) -> anyhow::Result<Resource> {
        let built_in = Sandbox::open()?.resource(tool, args)?;
        let mut resource = built_in.unwrap_or_else(|| unknown_tool(tool));
        if let Some(provider) = &self.provider {
            resource.provider_id.clone_from(provider);
        }
        if let Some(tenant) = &self.tool_tenant {
            resource = resource.tenant(tenant);
        }
        resource.required_scopes.extend(self.needs.iter().cloned());
        resource.safety_tags.extend(self.tags.iter().cloned());
        resource.read_only |= self.read_only;
        Ok(resource)
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

fn parse_args(text: &str) -> anyhow::Result<ToolArgs> {
    const WRONG: &str = "`--args` is not a JSON object that a tool would take";
    let raw = Raw::parse(text.to_owned()).context(WRONG)?;
    ToolArgs::parse(Some(&raw), &ArgsLimits::default()).context(WRONG)
}
