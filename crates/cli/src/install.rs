//! `fastmcp install`: a server is given to a client.

mod edit;
mod entry;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use self::edit::Edited;
use crate::{
    Outcome, configured,
    configured::Client,
    definition::{Definition, Process},
    output::{self, Usage, printable},
    reach,
    shell::quoted,
    surroundings::Surroundings,
    target::{Reach, Servers, plain_name},
};

/// Give a server to a client: write it into the client's file
///
/// What else is in the file stays as it is, comments too. The file before is kept beside it. A package is built optimised,
/// and the client starts its binary.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp install claude-desktop                       the package of this folder
  fastmcp install cursor . --workspace . --dry-run     show what would be written into .cursor/mcp.json
  fastmcp install vscode https://mcp.example.com/mcp --header 'X-Key: ${KEY}'
  fastmcp install claude-code --name weather --env API_KEY --workspace . -- npx -y weather-server
  fastmcp install mcp-json > mcp.json                  for any other client
  fastmcp install stdio                                the command alone

Targets: `fastmcp list --help`.")]
pub(crate) struct Install {
    /// Who gets it: a client, or standard output
    #[arg(value_name = "CLIENT")]
    receiver: Receiver,
    /// Which server; without one it is the working folder
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// What the client calls it [default: what it calls itself]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Write the file of the project in this folder, in place of your own
    #[arg(long, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Write this file
    #[arg(long, value_name = "FILE", conflicts_with = "workspace")]
    config_path: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Replace a server of the same name
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Receiver {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    #[value(name = "vscode")]
    VsCode,
    GeminiCli,
    Goose,
    /// Print `mcpServers`
    McpJson,
    /// Print the command
    Stdio,
}

impl Receiver {
    const fn client(self) -> Option<Client> {
        match self {
            Self::ClaudeDesktop => Some(Client::ClaudeDesktop),
            Self::ClaudeCode => Some(Client::ClaudeCode),
            Self::Cursor => Some(Client::Cursor),
            Self::VsCode => Some(Client::VsCode),
            Self::GeminiCli => Some(Client::GeminiCli),
            Self::Goose => Some(Client::Goose),
            Self::McpJson | Self::Stdio => None,
        }
    }
}

impl Install {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        reach::log("error", self.reach.verbose)?;
        let around = Surroundings::of_process()?;
        let found = self
            .reach
            .find(self.target.as_deref(), &self.command, &around)?;
        let Servers::One(mut definition) = found.servers else {
            return Err(Usage::new(
                "the file has several servers; name one: --config FILE NAME",
            ));
        };
        let file = match self.receiver.client() {
            Some(client) => Some((client, self.file(client, &around)?)),
            None => None,
        };
        // A file of a project is shared, and its clients fill variables in; elsewhere nobody does.
        if self.workspace.is_none() {
            definition = definition.expanded(&around).map_err(anyhow::Error::msg)?;
        }
        let (definition, own_name) = built(definition, found.name)?;
        let definition = from_anywhere(definition, &around);
        let name = match self.name {
            Some(name) if plain_name(&name) == name => name,
            Some(name) => {
                let shown = printable(&name);
                return Err(Usage::new(format!(
                    "--name: `{shown}`: use 1 to 64 letters, digits, `_`, `-` and `.`"
                )));
            }
            None => plain_name(own_name.as_deref().unwrap_or("server")),
        };
        let Some((client, file)) = file else {
            return print(self.receiver, &name, &definition);
        };
        let entry = entry::of(client, &name, &definition, self.workspace.is_some())?;
        let change = Change {
            client,
            file,
            name,
            entry,
            force: self.force,
        };
        if self.dry_run {
            change.show()
        } else {
            change.make()
        }
    }

    fn file(&self, client: Client, around: &Surroundings) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.config_path {
            return Ok(around.absolute(file));
        }
        if let Some(folder) = &self.workspace {
            let folder = around.absolute(folder);
            if !folder.is_dir() {
                return Err(Usage::new(format!(
                    "--workspace: `{}` is no folder",
                    folder.display()
                )));
            }
            return client.project_file(&folder).ok_or_else(|| {
                Usage::new(format!(
                    "{} has no file for one project; leave out --workspace",
                    client.name()
                ))
            });
        }
        let file = client
            .own_file(around)
            .context("your own folder is not known; name the file with --config-path")?;
        if !file.parent().is_some_and(Path::is_dir) {
            bail!(
                "{} is not set up here: there is no `{}`; name the file with --config-path if it is elsewhere",
                client.name(),
                file.parent().unwrap_or(&file).display()
            );
        }
        Ok(file)
    }
}

/// A package as the binary that is built of it.
fn built(
    definition: Definition,
    name: Option<String>,
) -> anyhow::Result<(Definition, Option<String>)> {
    let Definition::Project(mut project) = definition else {
        return Ok((definition, name));
    };
    project.release = true;
    let folder = project.folder.clone();
    let (mut process, package) = reach::run(|_| async move {
        let package = project.name().await?;
        Ok((project.build().await?, package))
    })?;
    // Where no folder was named, any will do.
    process.folder = folder;
    Ok((Definition::Process(process), name.or(Some(package))))
}

/// With a program that is found from any folder.
fn from_anywhere(definition: Definition, around: &Surroundings) -> Definition {
    match definition {
        Definition::Process(process) if process.program.contains(['/', '\\']) => {
            let program = around.absolute(Path::new(&process.program));
            Definition::Process(Process {
                program: program.to_string_lossy().into_owned(),
                ..process
            })
        }
        other => other,
    }
}

fn print(receiver: Receiver, name: &str, definition: &Definition) -> anyhow::Result<Outcome> {
    let entry = definition
        .entry()
        .context("it has no form that a client reads")?;
    if receiver == Receiver::McpJson {
        output::say_json(&json!({"mcpServers": {name: entry}}))?;
        return Ok(Outcome::Passed);
    }
    let process = entry::as_process(definition)?;
    let variables = process
        .env
        .iter()
        .map(|(name, value)| format!("{name}={}", quoted(value)));
    let words = std::iter::once(&process.program)
        .chain(&process.args)
        .map(|word| quoted(word));
    output::say(&variables.chain(words).collect::<Vec<_>>().join(" "))?;
    Ok(Outcome::Passed)
}

/// A change of a client's file.
struct Change {
    client: Client,
    file: PathBuf,
    name: String,
    entry: Map<String, Value>,
    force: bool,
}

impl Change {
    fn edited(&self, entry: &Map<String, Value>) -> anyhow::Result<(String, Edited)> {
        let within =
            |why: String| anyhow::anyhow!("`{}`: {why}; it is left as it is", self.file.display());
        let before = configured::read_text(&self.file)
            .map_err(within)?
            .unwrap_or_default();
        let edit = if self.client == Client::Goose {
            edit::yaml
        } else {
            edit::json
        };
        let edited =
            edit(&before, self.client.member(), &self.name, entry, self.force).map_err(within)?;
        Ok((before, edited))
    }

    fn show(&self) -> anyhow::Result<Outcome> {
        let (before, edited) = self.edited(&self.entry)?;
        if edited == Edited::Same {
            output::say("nothing would change")?;
            return Ok(Outcome::Passed);
        }
        let member = self.client.member();
        let mut told = format!("{}\n@@ {member} @@", self.file.display());
        if edit::has(&before, self.client == Client::Goose, (member, &self.name)) {
            told.push_str("\n- (the server of that name that is there now)");
        }
        told.push('\n');
        told.push_str(&added(&self.name, &entry::without_values(&self.entry))?);
        output::say(&told)?;
        Ok(Outcome::Passed)
    }

    fn make(&self) -> anyhow::Result<Outcome> {
        let (before, edited) = self.edited(&self.entry)?;
        let Edited::Text(after) = edited else {
            output::say(&format!(
                "`{}` is in {} already",
                self.name,
                self.file.display()
            ))?;
            return Ok(Outcome::Passed);
        };
        let kept = replace(&self.file, &before, &after)?;
        let mut told = format!(
            "`{}` is in {} now; start {} anew",
            self.name,
            self.file.display(),
            self.client.name()
        );
        if let Some(kept) = kept {
            told.push_str(&format!("\nwhat was there before is in {}", kept.display()));
        }
        output::say(&told)?;
        Ok(Outcome::Passed)
    }
}

/// Replaces the file as a whole, and keeps the one before; whoever reads it sees the one or the other.
fn replace(file: &Path, before: &str, after: &str) -> anyhow::Result<Option<PathBuf>> {
    // A link stays one: what it leads to is replaced.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().context("the file has no folder")?;
    let cannot = |what: &str| format!("`{}` cannot be {what}", file.display());
    fs::create_dir_all(folder).with_context(|| cannot("made"))?;
    let mut fresh = NamedTempFile::new_in(folder).with_context(|| cannot("written"))?;
    fresh
        .write_all(after.as_bytes())
        .and_then(|()| fresh.as_file().sync_all())
        .with_context(|| cannot("written"))?;
    let kept = match fs::metadata(&file) {
        Ok(metadata) => {
            let mut name = file.file_name().unwrap_or_default().to_owned();
            name.push(".bak");
            let kept = file.with_file_name(name);
            // With its rights, since it may hold secrets, and in place of whatever has that name: a link there must not lead
            // elsewhere.
            keep(&file, folder, &kept, &metadata)
                .with_context(|| format!("`{}` cannot be kept", file.display()))?;
            fresh
                .as_file()
                .set_permissions(metadata.permissions())
                .with_context(|| cannot("written"))?;
            Some(kept)
        }
        // A new one is for its owner alone, as temporary files are.
        Err(_) => None,
    };
    // Clients write their files too: what came meanwhile must not be lost.
    if configured::read_text(&file)
        .ok()
        .flatten()
        .unwrap_or_default()
        != before
    {
        bail!(
            "`{}` was changed by somebody else just now; try again",
            file.display()
        );
    }
    fresh.persist(&file).with_context(|| cannot("replaced"))?;
    Ok(kept)
}

fn keep(file: &Path, folder: &Path, kept: &Path, metadata: &fs::Metadata) -> std::io::Result<()> {
    let mut copy = NamedTempFile::new_in(folder)?;
    copy.write_all(&fs::read(file)?)?;
    copy.as_file().set_permissions(metadata.permissions())?;
    copy.persist(kept)?;
    Ok(())
}

/// What a file gets, and nothing of what is there: it may hold secrets, on whichever lines.
fn added(name: &str, entry: &Map<String, Value>) -> anyhow::Result<String> {
    let entry = serde_json::to_string_pretty(entry)?;
    let text = format!("{}: {entry}", Value::from(name));
    let lines = text.lines().map(|line| format!("+ {}", printable(line)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_added_is_shown() {
        let entry = json!({"command": "x\u{1b}[2J"});
        let shown = added("new", entry.as_object().unwrap()).unwrap();
        assert_eq!(shown.lines().next(), Some("+ \"new\": {"));
        assert!(shown.contains("+   \"command\": "), "{shown}");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
    }

    #[test]
    fn the_file_before_is_kept_and_a_change_of_another_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/mcp.json");
        assert_eq!(replace(&file, "", "one").unwrap(), None);
        let kept = replace(&file, "one", "two").unwrap().unwrap();
        assert_eq!(
            (
                fs::read_to_string(&file).unwrap(),
                fs::read_to_string(kept).unwrap()
            ),
            ("two".to_owned(), "one".to_owned())
        );
        let error = replace(&file, "one", "three").unwrap_err();
        assert!(error.to_string().contains("somebody else"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
    }
}
