//! `fastmcp inspect`: everything that a server says of itself.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use fastmcp::{
    Client,
    protocol::{ProtocolVersion, capability::ServerCapabilities, meta::Implementation},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    Outcome,
    list::{Contents, Wanted},
    output::{self, printable},
    reach::{self, Reached},
    surroundings::Surroundings,
    target::Reach,
};

/// Show what a server is and has, or write its manifest
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp inspect                                      a summary of the package of this folder
  fastmcp inspect https://mcp.example.com/mcp --format mcp -o manifest.json
  fastmcp inspect --format fastmcp -- npx -y @modelcontextprotocol/server-everything

The formats: `mcp` (or `json`) is as the protocol writes it; `fastmcp` is the one of FastMCP in Python.
Targets: `fastmcp list --help`.")]
pub(crate) struct Inspect {
    /// Which server; without one it is the working folder
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Print the whole manifest, in this format
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Write it to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// As the protocol writes it
    #[value(alias = "json")]
    Mcp,
    /// As FastMCP in Python writes it
    Fastmcp,
}

/// A server as it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    protocol_version: ProtocolVersion,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    supported_versions: Vec<String>,
    server_info: Option<Implementation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    capabilities: ServerCapabilities,
    #[serde(flatten)]
    contents: Contents,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        reach::log("error", self.reach.verbose)?;
        let around = Surroundings::of_process()?;
        let found = self
            .reach
            .find(self.target.as_deref(), &self.command, &around)?;
        reach::run(|tasks| async move {
            let reached =
                Reached::to(found, &self.reach, &around, Client::builder(), &tasks).await?;
            let manifest = Box::pin(Manifest::of(&reached.client)).await;
            reached.close().await;
            self.write(&manifest?)
        })
    }

    fn write(&self, manifest: &Manifest) -> anyhow::Result<Outcome> {
        let text = match (self.format, &self.output) {
            (None, None) => manifest.summary(),
            (Some(Format::Fastmcp), _) => serde_json::to_string_pretty(&manifest.as_fastmcp()?)?,
            (Some(Format::Mcp) | None, _) => serde_json::to_string_pretty(manifest)?,
        };
        match &self.output {
            None => output::say(&text)?,
            Some(file) => {
                fs::write(file, text + "\n")
                    .with_context(|| format!("`{}` cannot be written", file.display()))?;
                output::complain(&format!("the manifest is in {}", file.display()));
            }
        }
        Ok(Outcome::Passed)
    }
}

impl Manifest {
    async fn of(client: &Client) -> anyhow::Result<Self> {
        let wanted = Wanted {
            tools: true,
            resources: true,
            prompts: true,
        };
        // Not every server can be asked again, and what it said in the beginning is known.
        let supported = client
            .discover()
            .await
            .map(|said| said.supported_versions)
            .unwrap_or_default();
        Ok(Self {
            protocol_version: client.protocol_version(),
            supported_versions: supported,
            server_info: client.server_info(),
            instructions: client.instructions(),
            capabilities: client.server_capabilities(),
            contents: Contents::of(client, wanted).await?,
        })
    }

    fn summary(&self) -> String {
        let info = self.server_info.as_ref();
        let text = |text: Option<&str>| printable(&output::one_line(text.unwrap_or("-")));
        let mut abilities: Vec<String> = serde_json::to_value(&self.capabilities)
            .ok()
            .and_then(|value| {
                value
                    .as_object()
                    .map(|members| members.keys().map(|key| printable(key)).collect())
            })
            .unwrap_or_default();
        abilities.sort();
        let count = |count: Option<usize>| count.unwrap_or_default().to_string();
        let contents = &self.contents;
        let rows = [
            ("Name", text(info.map(|info| info.name.as_str()))),
            ("Title", text(info.and_then(|info| info.title.as_deref()))),
            ("Version", text(info.map(|info| info.version.as_str()))),
            (
                "Website",
                text(info.and_then(|info| info.website_url.as_deref())),
            ),
            (
                "Description",
                text(info.and_then(|info| info.description.as_deref())),
            ),
            ("Instructions", text(self.instructions.as_deref())),
            ("Protocol", self.protocol_version.as_str().to_owned()),
            (
                "Offers",
                if abilities.is_empty() {
                    "-".to_owned()
                } else {
                    abilities.join(", ")
                },
            ),
            ("Tools", count(contents.tools.as_ref().map(Vec::len))),
            (
                "Resources",
                count(contents.resources.as_ref().map(Vec::len)),
            ),
            (
                "Templates",
                count(contents.resource_templates.as_ref().map(Vec::len)),
            ),
            ("Prompts", count(contents.prompts.as_ref().map(Vec::len))),
        ];
        let rows: Vec<_> = rows
            .into_iter()
            .filter(|(_, value)| value != "-")
            .map(|(name, value)| vec![name.to_owned(), value])
            .collect();
        output::table(&rows)
    }

    /// The manifest with the members and names that FastMCP in Python gives it.
    fn as_fastmcp(&self) -> anyhow::Result<Value> {
        let info = self.server_info.clone();
        let contents = &self.contents;
        let tools = contents.tools.as_deref().unwrap_or_default();
        let resources = contents.resources.as_deref().unwrap_or_default();
        let templates = contents.resource_templates.as_deref().unwrap_or_default();
        let prompts = contents.prompts.as_deref().unwrap_or_default();
        Ok(json!({
            "server": {
                "name": info.as_ref().map(|info| &info.name),
                "instructions": self.instructions,
                "version": info.as_ref().map(|info| &info.version),
                "website_url": info.as_ref().and_then(|info| info.website_url.as_ref()),
                "icons": info.as_ref().and_then(|info| info.icons.as_ref()),
                "generation": 2,
                "capabilities": self.capabilities,
            },
            "environment": {"fastmcp": env!("CARGO_PKG_VERSION"), "mcp": self.protocol_version},
            "tools": renamed(tools, "name")?,
            "prompts": renamed(prompts, "name")?,
            "resources": renamed(resources, "uri")?,
            "templates": renamed(templates, "uri_template")?,
        }))
    }
}

/// Components with the names of members as Python writes them, and the `key` that each goes by.
fn renamed<T: Serialize>(components: &[T], key: &str) -> anyhow::Result<Vec<Value>> {
    let one = |component: &T| {
        let value = serde_json::to_value(component)?;
        let mut members = Map::new();
        for (name, value) in value.as_object().into_iter().flatten() {
            let name = match name.as_str() {
                "_meta" => "meta".to_owned(),
                name => snake(name),
            };
            members.insert(name, value.clone());
        }
        members.insert(
            "key".to_owned(),
            members.get(key).cloned().unwrap_or_default(),
        );
        Ok(Value::Object(members))
    };
    components.iter().map(one).collect()
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 2);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_named_as_python_names_them() {
        let tool = json!({"name": "add", "inputSchema": {"type": "object", "maxProperties": 2}, "_meta": {"aB": 1}});
        assert_eq!(
            renamed(&[tool], "name").unwrap(),
            [
                json!({"name": "add", "key": "add", "input_schema": {"type": "object", "maxProperties": 2}, "meta": {"aB": 1}})
            ]
        );
    }
}
