//! `fastmcp call`: a tool is called, a resource read, a prompt rendered.

pub(crate) mod arguments;
mod ask;
mod show;

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp::{
    Client,
    client::{CallOptions, ClientBuilder, Progress},
    protocol::logging::{LogMessageParams, LoggingLevel},
};
use serde_json::{Map, Value};

use self::{ask::Desk, show::Shown};
use crate::{
    Outcome, list,
    output::{self, Usage, printable},
    reach::{self, Reached, failed},
    surroundings::{Surroundings, did_you_mean},
    target::Reach,
};

/// The most bytes of arguments.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// Call a tool, read a resource or render a prompt
///
/// Arguments are typed by the tool's schema: `count=3` is a number where the tool wants one. `name:=JSON` is taken as it
/// is. Lists take `name=one name=two` or JSON. What the server asks meanwhile is asked at the terminal.
#[derive(Debug, Args)]
#[command(
    override_usage = "fastmcp call [OPTIONS] [TARGET] TOOL [NAME=VALUE]... [-- COMMAND ARGS...]\n       \
                      fastmcp call [OPTIONS] [TARGET] --resource URI\n       \
                      fastmcp call [OPTIONS] [TARGET] --prompt NAME [NAME=VALUE]...",
    after_help = AFTER_HELP
)]
pub(crate) struct Call {
    /// The target, where it is not the working folder; the tool; its arguments
    #[arg(value_name = "TARGET TOOL NAME=VALUE")]
    words: Vec<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Read this resource; one with `://` in place of the tool does the same
    #[arg(long, value_name = "URI", conflicts_with = "prompt")]
    resource: Option<String>,
    /// Render this prompt
    #[arg(long, value_name = "NAME")]
    prompt: Option<String>,
    /// All arguments as a JSON object; NAME=VALUE goes on top
    #[arg(long, value_name = "JSON", conflicts_with = "args_file")]
    json_args: Option<String>,
    /// A file that holds them; `-` is standard input
    #[arg(long, value_name = "FILE")]
    args_file: Option<PathBuf>,
    /// Answer a question of the server; without it somebody has to be at the terminal
    #[arg(long = "elicit", value_name = "NAME=VALUE")]
    elicit: Vec<String>,
    /// Print the whole result as JSON, as the protocol writes it
    #[arg(long)]
    json: bool,
    /// Keep images, sounds and binary contents in this folder
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    #[command(flatten)]
    reach: Reach,
}

const AFTER_HELP: &str = "\
Examples:
  fastmcp call add a=2 b=3                             a tool of the package of this folder
  fastmcp call https://mcp.example.com/mcp search query=rust limit=5 --json
  fastmcp call weather forecast 'place:={\"city\": \"Oslo\"}'  a server that a client has
  fastmcp call . import --args-file rows.json
  fastmcp call . --resource config://app
  fastmcp call . --prompt review code=main style=short
  fastmcp call echo message=hi -- npx -y @modelcontextprotocol/server-everything

Exit codes: 0 done, 1 the tool or the call failed, 2 wrong usage or arguments that do not fit. Targets: `fastmcp list --help`.";

/// What is asked of the server.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    Tool(String),
    Resource(String),
    Prompt(String),
}

/// The words of the command line, sorted.
#[derive(Debug, PartialEq, Eq)]
struct Sorted {
    target: Option<String>,
    wish: Wish,
    arguments: Vec<String>,
}

impl Call {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        reach::log("error", self.reach.verbose)?;
        let around = Surroundings::of_process()?;
        let sorted = self.sort()?;
        let given = self.given()?;
        let found = self
            .reach
            .find(sorted.target.as_deref(), &self.command, &around)?;
        if let Some(folder) = &self.output_dir {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("`{}` cannot be made", folder.display()))?;
        }
        let desk = Arc::new(Desk::new(self.elicit.clone()));
        reach::run(|tasks| async move {
            let builder = listening(&desk);
            let reached = Reached::to(found, &self.reach, &around, builder, &tasks).await?;
            let name = reached.client.server_info().map(|info| info.name);
            desk.asks_for(name.as_deref().unwrap_or("the server"));
            let shown = Box::pin(self.ask(&reached.client, &sorted, given)).await;
            reached.close().await;
            for refusal in desk.refusals() {
                output::complain(&refusal);
            }
            let shown = shown?;
            shown.print(self.json, self.output_dir.as_deref())?;
            Ok(if shown.is_failure() {
                Outcome::Failed
            } else {
                Outcome::Passed
            })
        })
    }

    fn sort(&self) -> anyhow::Result<Sorted> {
        let begins = self
            .words
            .iter()
            .position(|word| is_argument(word))
            .unwrap_or(self.words.len());
        let (plain, arguments) = self.words.split_at(begins);
        let has_command = !self.command.is_empty();
        let named = match (&self.resource, &self.prompt) {
            (Some(uri), _) => Some(Wish::Resource(uri.clone())),
            (_, Some(name)) => Some(Wish::Prompt(name.clone())),
            _ => None,
        };
        let (target, wish) = match (named, plain) {
            (Some(wish), []) => (None, wish),
            (Some(wish), [target]) if !has_command => (Some(target.clone()), wish),
            (None, [tool]) if !tool.starts_with("http://") && !tool.starts_with("https://") => {
                (None, wish(tool))
            }
            (None, [target, tool]) if !has_command => (Some(target.clone()), wish(tool)),
            (None, [] | [_]) => {
                return Err(Usage::new(
                    "say which tool is called: fastmcp call [TARGET] TOOL [NAME=VALUE]...",
                ));
            }
            (_, more) => {
                let last = more.last().map(|word| printable(word)).unwrap_or_default();
                return Err(Usage::new(format!(
                    "`{last}` is one word too many; arguments are given as NAME=VALUE"
                )));
            }
        };
        if let Some(stray) = arguments.iter().find(|word| !is_argument(word)) {
            return Err(Usage::new(format!(
                "`{}`: give arguments as NAME=VALUE",
                printable(stray)
            )));
        }
        Ok(Sorted {
            target,
            wish,
            arguments: arguments.to_vec(),
        })
    }

    /// The arguments that are given as a whole.
    fn given(&self) -> anyhow::Result<Map<String, Value>> {
        let (what, text) = match (&self.json_args, &self.args_file) {
            (Some(text), _) => ("--json-args", text.clone()),
            (None, Some(file)) => ("--args-file", read_arguments(file)?),
            (None, None) => return Ok(Map::new()),
        };
        serde_json::from_str(&text)
            .map_err(|error| Usage::new(format!("{what}: give a JSON object: {error}")))
    }

    async fn ask(
        &self,
        client: &Client,
        sorted: &Sorted,
        given: Map<String, Value>,
    ) -> anyhow::Result<Shown> {
        match &sorted.wish {
            Wish::Tool(name) => {
                let arguments = fit_tool(client, name, &sorted.arguments, given).await?;
                let options = CallOptions::new().on_progress(tell_progress);
                let result = client
                    .call_tool_raw_with(name, Value::Object(arguments), &options)
                    .await;
                let result = result
                    .map_err(|error| explained(&format!("tool `{}`", printable(name)), &error))?;
                Ok(Shown::Tool {
                    name: name.clone(),
                    result: Box::new(result.as_result().clone()),
                })
            }
            Wish::Resource(uri) => {
                if !sorted.arguments.is_empty() || !given.is_empty() {
                    return Err(Usage::new(
                        "a resource takes no arguments; put them into its URI",
                    ));
                }
                let read = client.read_resource(uri).await;
                let what = format!("resource `{}`", printable(uri));
                Ok(Shown::Resource(
                    read.map_err(|error| explained(&what, &error))?,
                ))
            }
            Wish::Prompt(name) => {
                let arguments = fit_prompt(client, name, &sorted.arguments, given).await?;
                let got = client.get_prompt(name, Value::Object(arguments)).await;
                let what = format!("prompt `{}`", printable(name));
                Ok(Shown::Prompt(
                    got.map_err(|error| explained(&what, &error))?,
                ))
            }
        }
    }
}

fn wish(word: &str) -> Wish {
    if word.contains("://") {
        Wish::Resource(word.to_owned())
    } else {
        Wish::Tool(word.to_owned())
    }
}

/// Whether a word is `NAME=VALUE`, and not an address or path that has a `=` somewhere.
fn is_argument(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && !name.contains("://") && !name.starts_with(['/', '.'])
    })
}

fn read_arguments(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if file == Path::new("-") {
        io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    read.with_context(|| format!("`{}` cannot be read", file.display()))?;
    if text.len() as u64 > MAX_BYTES {
        bail!("`{}` is larger than {MAX_BYTES} bytes", file.display());
    }
    Ok(text)
}

/// A client that hears what the server says, and answers what it asks.
fn listening(desk: &Arc<Desk>) -> ClientBuilder {
    let desk = Arc::clone(desk);
    Client::builder()
        .tasks()
        .on_log(LoggingLevel::Warning, tell_log)
        .on_elicit(move |asked| {
            let desk = Arc::clone(&desk);
            async move { Ok(desk.answer(asked.params).await) }
        })
}

fn tell_log(message: &LogMessageParams) {
    let level = serde_json::to_value(message.level).unwrap_or_default();
    let data = message.data.decode::<Value>().unwrap_or_default();
    let text = data
        .as_str()
        .map_or_else(|| data.to_string(), str::to_owned);
    output::complain(&format!(
        "the server says ({}): {}",
        level.as_str().unwrap_or("log"),
        printable(&text)
    ));
}

fn tell_progress(progress: &Progress) {
    let mut line = match progress.total {
        Some(total) => format!("{} of {total}", progress.progress),
        None => progress.progress.to_string(),
    };
    if let Some(message) = &progress.message {
        // Writing to a string cannot fail.
        let _ = write!(line, ": {}", printable(message));
    }
    output::complain(&line);
}

/// What went wrong with a call, and what there is to do about it.
fn explained(what: &str, error: &fastmcp::Error) -> anyhow::Error {
    let needed = error
        .data()
        .and_then(|data| data.get("requiredCapabilities"));
    if needed.is_some_and(|needed| needed.get("sampling").is_some()) {
        return anyhow::anyhow!(
            "{what}: the server wants a model to answer (sampling), and this command has none"
        );
    }
    failed(what, error)
}

async fn fit_tool(
    client: &Client,
    name: &str,
    words: &[String],
    given: Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    let tools = client
        .list_tools()
        .await
        .map_err(|error| failed("the tools cannot be listed", &error))?;
    let Some(tool) = tools.iter().find(|tool| tool.name == name) else {
        let near = did_you_mean(name, tools.iter().map(|tool| tool.name.as_str()));
        return Err(Usage::new(format!(
            "the server has no tool `{}`{near}; `fastmcp list` shows those that it has",
            printable(name)
        )));
    };
    let schema = tool.input_schema.to_value()?;
    arguments::assemble(words, given, &schema).map_err(|why| {
        Usage::new(format!(
            "{why}\n`{}` takes {}",
            printable(name),
            list::signature(&schema)
        ))
    })
}

/// Arguments of prompts are texts.
async fn fit_prompt(
    client: &Client,
    name: &str,
    words: &[String],
    given: Map<String, Value>,
) -> anyhow::Result<Map<String, Value>> {
    let prompts = client
        .list_prompts()
        .await
        .map_err(|error| failed("the prompts cannot be listed", &error))?;
    let Some(prompt) = prompts.iter().find(|prompt| prompt.name == name) else {
        let near = did_you_mean(name, prompts.iter().map(|prompt| prompt.name.as_str()));
        return Err(Usage::new(format!(
            "the server has no prompt `{}`{near}",
            printable(name)
        )));
    };
    let takes = prompt.arguments.as_deref().unwrap_or_default();
    let properties: Map<String, Value> = takes
        .iter()
        .map(|argument| (argument.name.clone(), serde_json::json!({"type": "string"})))
        .collect();
    let required: Vec<_> = takes
        .iter()
        .filter(|a| a.required == Some(true))
        .map(|a| a.name.as_str())
        .collect();
    let schema = serde_json::json!({"properties": properties, "required": required, "additionalProperties": false});
    arguments::assemble(words, given, &schema).map_err(|why| {
        Usage::new(format!(
            "{why}\n`{}` takes {}",
            printable(name),
            list::signature(&schema)
        ))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        call: Call,
    }

    fn sorted(words: &[&str]) -> Result<Sorted, String> {
        let line =
            Line::try_parse_from([&["call"], words].concat()).map_err(|error| error.to_string())?;
        line.call.sort().map_err(|error| error.to_string())
    }

    #[test]
    fn words_find_their_places() {
        let of = |words: &[&str]| {
            let sorted = sorted(words).unwrap();
            (sorted.target, sorted.wish, sorted.arguments.len())
        };
        let tool = || Wish::Tool("add".to_owned());
        assert_eq!(of(&["add", "a=1", "b:=2"]), (None, tool(), 2));
        assert_eq!(of(&[".", "add", "a=1"]), (Some(".".to_owned()), tool(), 1));
        assert_eq!(of(&["add", "a=1", "--", "server", "-x"]), (None, tool(), 1));
        let address = "https://h/mcp?key=1";
        assert_eq!(of(&[address, "add"]), (Some(address.to_owned()), tool(), 0));
        let resource = || Wish::Resource("config://app".to_owned());
        assert_eq!(
            of(&[".", "config://app"]),
            (Some(".".to_owned()), resource(), 0)
        );
        assert_eq!(
            of(&[".", "--resource", "config://app"]),
            (Some(".".to_owned()), resource(), 0)
        );
        let prompt = Wish::Prompt("review".to_owned());
        assert_eq!(of(&["--prompt", "review", "code=x"]), (None, prompt, 1));
    }

    #[test]
    fn words_without_a_place_are_refused() {
        for (words, why) in [
            (&[][..], "say which tool"),
            (&["https://h/mcp"], "say which tool"),
            (&[".", "add", "more"], "`more` is one word too many"),
            (&[".", "add", "a=1", "more"], "`more`: give arguments"),
            (&[".", "add", "--", "server"], "`add` is one word too many"),
        ] {
            let error = sorted(words).unwrap_err();
            assert!(error.contains(why), "{words:?}: {error}");
        }
    }
}
