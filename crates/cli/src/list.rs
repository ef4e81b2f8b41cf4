//! `fastmcp list`: what a server has.

use clap::Args;
use fastmcp::{
    Client,
    protocol::{
        prompt::Prompt,
        resource::{Resource, ResourceTemplate},
        tool::{JsonSchema, Tool},
    },
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    Outcome, output,
    output::printable,
    reach::{self, Reached, failed},
    surroundings::Surroundings,
    target::{GRAMMAR, Reach},
};

/// The widest description in a table, in characters; `--json` prints it whole.
const WIDEST: usize = 80;

/// List the tools, resources, templates and prompts of a server
///
/// Give `--tools`, `--resources` or `--prompts` for those alone.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{GRAMMAR}"))]
pub(crate) struct List {
    /// Which server; see below
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// The tools
    #[arg(long)]
    tools: bool,
    /// The resources and their templates
    #[arg(long)]
    resources: bool,
    /// The prompts
    #[arg(long)]
    prompts: bool,
    /// Show the schemas of arguments and results
    #[arg(long)]
    schema: bool,
    /// Print JSON, as the protocol writes it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

const EXAMPLES: &str = "\
Examples:
  fastmcp list                                         the package of this folder
  fastmcp list https://mcp.example.com/mcp --bearer-env TOKEN
  fastmcp list --tools --schema -- npx -y @modelcontextprotocol/server-everything
  fastmcp list mcp.json --json | jq -r '.tools[].name'
  fastmcp list cursor:github                           a server that Cursor has";

/// What a server has.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Contents {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tools: Option<Vec<Tool>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resources: Option<Vec<Resource>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource_templates: Option<Vec<ResourceTemplate>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompts: Option<Vec<Prompt>>,
}

/// What of it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub(crate) tools: bool,
    pub(crate) resources: bool,
    pub(crate) prompts: bool,
}

impl List {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        reach::log("error", self.reach.verbose)?;
        let around = Surroundings::of_process()?;
        let found = self
            .reach
            .find(self.target.as_deref(), &self.command, &around)?;
        let all = !(self.tools || self.resources || self.prompts);
        let wanted = Wanted {
            tools: all || self.tools,
            resources: all || self.resources,
            prompts: all || self.prompts,
        };
        reach::run(|tasks| async move {
            let reached =
                Reached::to(found, &self.reach, &around, Client::builder(), &tasks).await?;
            let contents = Contents::of(&reached.client, wanted).await;
            let server = reached.client.server_info();
            let revision = reached.client.protocol_version();
            reached.close().await;
            let contents = contents?;
            if self.json {
                let mut value = serde_json::to_value(&contents)?;
                if let Value::Object(members) = &mut value {
                    members.insert("serverInfo".to_owned(), serde_json::to_value(server)?);
                    members.insert("protocolVersion".to_owned(), json!(revision));
                }
                output::say_json(&value)?;
            } else {
                output::say(&contents.table(self.schema)?)?;
            }
            Ok(Outcome::Passed)
        })
    }
}

impl Contents {
    /// Asks for what is wanted, and of that for what the server says that it has.
    pub(crate) async fn of(client: &Client, wanted: Wanted) -> anyhow::Result<Self> {
        let can = client.server_capabilities();
        let mut contents = Self::default();
        if wanted.tools {
            let tools = if can.tools.is_some() {
                client.list_tools().await
            } else {
                Ok(Vec::new())
            };
            contents.tools =
                Some(tools.map_err(|error| failed("the tools cannot be listed", &error))?);
        }
        if wanted.resources {
            let (mut resources, mut templates) = (Vec::new(), Vec::new());
            if can.resources.is_some() {
                let listed = client.list_resources().await;
                resources =
                    listed.map_err(|error| failed("the resources cannot be listed", &error))?;
                // Servers that have no templates may not know the question.
                match client.list_resource_templates().await {
                    Ok(listed) => templates = listed,
                    Err(error) => tracing::warn!(%error, "the templates cannot be listed"),
                }
            }
            contents.resources = Some(resources);
            contents.resource_templates = Some(templates);
        }
        if wanted.prompts {
            let prompts = if can.prompts.is_some() {
                client.list_prompts().await
            } else {
                Ok(Vec::new())
            };
            contents.prompts =
                Some(prompts.map_err(|error| failed("the prompts cannot be listed", &error))?);
        }
        Ok(contents)
    }

    fn table(&self, with_schemas: bool) -> anyhow::Result<String> {
        const ADDRESSES: [&str; 4] = ["URI", "NAME", "TYPE", "DESCRIPTION"];
        const NAMES: [&str; 3] = ["NAME", "ARGUMENTS", "DESCRIPTION"];
        let mut parts = Vec::new();
        if let Some(tools) = &self.tools {
            parts.push(section(
                "Tools",
                &NAMES,
                tools.iter().map(tool_row).collect(),
            ));
            for tool in tools.iter().filter(|_| with_schemas) {
                parts.push(schemas(tool)?);
            }
        }
        if let Some(resources) = &self.resources {
            let rows = resources.iter().map(|one| {
                address_row(
                    &one.uri,
                    &one.name,
                    one.mime_type.as_deref(),
                    one.description.as_deref(),
                )
            });
            parts.push(section("Resources", &ADDRESSES, rows.collect()));
        }
        if let Some(templates) = &self.resource_templates {
            let rows = templates.iter().map(|one| {
                address_row(
                    &one.uri_template,
                    &one.name,
                    one.mime_type.as_deref(),
                    one.description.as_deref(),
                )
            });
            parts.push(section("Resource templates", &ADDRESSES, rows.collect()));
        }
        if let Some(prompts) = &self.prompts {
            parts.push(section(
                "Prompts",
                &NAMES,
                prompts.iter().map(prompt_row).collect(),
            ));
        }
        Ok(parts.join("\n\n"))
    }
}

fn tool_row(tool: &Tool) -> Vec<String> {
    let schema = tool.input_schema.to_value().unwrap_or_default();
    vec![
        printable(&tool.name),
        signature(&schema),
        brief(tool.description.as_deref()),
    ]
}

fn address_row(
    uri: &str,
    name: &str,
    kind: Option<&str>,
    description: Option<&str>,
) -> Vec<String> {
    vec![
        printable(uri),
        printable(name),
        printable(kind.unwrap_or("-")),
        brief(description),
    ]
}

fn prompt_row(prompt: &Prompt) -> Vec<String> {
    let arguments = prompt.arguments.as_deref().unwrap_or_default();
    let words: Vec<_> = arguments
        .iter()
        .map(|argument| {
            let mark = if argument.required == Some(true) {
                ""
            } else {
                "?"
            };
            format!("{}{mark}", printable(&argument.name))
        })
        .collect();
    let words = if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    };
    vec![
        printable(&prompt.name),
        words,
        brief(prompt.description.as_deref()),
    ]
}

fn section(title: &str, heads: &[&str], rows: Vec<Vec<String>>) -> String {
    if rows.is_empty() {
        return format!("{title}: none");
    }
    let count = rows.len();
    let head = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    format!("{title} ({count})\n{}", output::table(&rows))
}

fn schemas(tool: &Tool) -> anyhow::Result<String> {
    let pretty = |schema: &JsonSchema| -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(&schema.to_value()?)?)
    };
    let mut text = format!(
        "{}: arguments\n{}",
        printable(&tool.name),
        pretty(&tool.input_schema)?
    );
    if let Some(schema) = &tool.output_schema {
        text.push_str(&format!(
            "\n{}: result\n{}",
            printable(&tool.name),
            pretty(schema)?
        ));
    }
    Ok(text)
}

/// The beginning of a description, on one line.
pub(crate) fn brief(text: Option<&str>) -> String {
    let line = printable(&output::one_line(text.unwrap_or("-")));
    match line.char_indices().nth(WIDEST) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default().trim_end()),
        None if line.is_empty() => "-".to_owned(),
        None => line,
    }
}

/// The arguments of a tool on one line: `a: integer, note?: string`.
pub(crate) fn signature(schema: &Value) -> String {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return "-".to_owned();
    };
    // Those that must be given come first, in the order in which the schema names them.
    let first = required
        .iter()
        .filter_map(|name| Some((*name, properties.get(*name)?)));
    let rest = properties
        .iter()
        .map(|(name, property)| (name.as_str(), property));
    let rest = rest.filter(|(name, _)| !required.contains(name));
    let all: Vec<_> = first
        .chain(rest)
        .map(|(name, property)| {
            let mark = if required.contains(&name) { "" } else { "?" };
            format!("{}{mark}: {}", printable(name), kind(property, schema))
        })
        .collect();
    if all.is_empty() {
        "-".to_owned()
    } else {
        all.join(", ")
    }
}

/// The type of a property, in a word or two.
pub(crate) fn kind(property: &Value, root: &Value) -> String {
    let types = crate::call::arguments::types(property, root);
    let words: Vec<&str> = types.into_iter().filter(|word| *word != "null").collect();
    match words.as_slice() {
        [] => "any".to_owned(),
        words => printable(&words.join(" or ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_told_on_one_line() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"$ref": "#/$defs/Size"},
                "b": {"type": "integer"},
                "either": {"anyOf": [{"type": "string"}, {"type": "number"}]},
                "note": {"type": ["string", "null"]},
                "open": {}
            },
            "required": ["b", "a"],
            "$defs": {"Size": {"type": "string", "enum": ["s", "m"]}}
        });
        assert_eq!(
            signature(&schema),
            "b: integer, a: string, either?: string or number, note?: string, open?: any"
        );
        assert_eq!(signature(&json!({"type": "object"})), "-");
    }

    #[test]
    fn a_description_is_one_short_line_that_cannot_steer_the_terminal() {
        assert_eq!(brief(Some("first\n  second")), "first second");
        assert_eq!(brief(Some("a\u{1b}[2J")), "a\u{fffd}[2J");
        assert_eq!(brief(None), "-");
        assert_eq!(brief(Some(&"x".repeat(100))).chars().count(), WIDEST + 1);
    }
}
