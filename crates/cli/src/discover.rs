//! `fastmcp discover`: the servers that clients on this machine have.

use clap::Args;
use serde_json::{Value, json};

use crate::{
    Outcome,
    configured::{self, Configured},
    output::{self, printable},
    surroundings::Surroundings,
};

/// List the servers that clients on this machine have
///
/// Looked at are the files of Claude Desktop, Claude Code, Cursor, VS Code, Gemini CLI and Goose, and those of the working
/// folder. Nothing is started. Values of variables and headers are not shown.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp discover
  fastmcp discover --source cursor --json
  fastmcp list github                                  a name is a target of other commands
  fastmcp call cursor:github search query=rust         of this client, where several have one of the name")]
pub(crate) struct Discover {
    /// Those of this client alone; may be repeated
    #[arg(long = "source", value_name = "CLIENT", value_parser = clap::builder::PossibleValuesParser::new(SOURCES))]
    sources: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const SOURCES: [&str; 7] = [
    "mcp.json",
    "claude-desktop",
    "claude-code",
    "cursor",
    "vscode",
    "gemini-cli",
    "goose",
];

impl Discover {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        let around = Surroundings::of_process()?;
        let all = configured::everything(&around);
        for (file, why) in &all.unread {
            output::complain(&format!(
                "`{}` is passed over: {}",
                file.display(),
                printable(why)
            ));
        }
        let wanted =
            |source: &str| self.sources.is_empty() || self.sources.iter().any(|one| one == source);
        let servers: Vec<_> = all
            .servers
            .iter()
            .filter(|server| wanted(server.source))
            .collect();
        if self.json {
            let servers: Vec<_> = servers.into_iter().map(json_of).collect();
            output::say_json(&json!({ "servers": servers }))?;
        } else if servers.is_empty() {
            output::say(
                "no client on this machine has a server; `fastmcp install` gives one to a client",
            )?;
        } else {
            let head = ["NAME", "SOURCE", "KIND", "SERVER", "CARRIES"]
                .map(str::to_owned)
                .to_vec();
            let rows: Vec<_> = std::iter::once(head)
                .chain(servers.into_iter().map(row_of))
                .collect();
            output::say(&output::table(&rows))?;
        }
        Ok(Outcome::Passed)
    }
}

fn json_of(server: &Configured) -> Value {
    let definition = server.definition.as_ref();
    json!({
        "name": server.name,
        "source": server.source,
        "file": server.file,
        "kind": definition.ok().map(|definition| definition.kind()),
        "server": definition.ok().map(|definition| definition.told()),
        "carries": definition.ok().map(|definition| definition.carried()),
        "disabled": server.is_disabled,
        "problem": definition.err(),
    })
}

fn row_of(server: &Configured) -> Vec<String> {
    let mark = if server.is_disabled { " (off)" } else { "" };
    let (kind, told, carried) = match &server.definition {
        Ok(definition) => (
            definition.kind(),
            definition.told(),
            definition.carried().join(", "),
        ),
        Err(why) => ("-", format!("cannot be used: {why}"), String::new()),
    };
    let carried = if carried.is_empty() {
        "-".to_owned()
    } else {
        carried
    };
    vec![
        format!("{}{mark}", printable(&server.name)),
        server.source.to_owned(),
        kind.to_owned(),
        printable(&told),
        printable(&carried),
    ]
}
