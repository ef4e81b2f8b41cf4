//! `fastmcp generate-cli`: the tools of a server as a program of their own.

mod script;
mod shape;
mod skill;

use std::{
    collections::HashSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp::Client;
use fastmcp_guard::display::unmistakable;

use self::{script::Program, shape::Command, skill::Skill};
use crate::{
    Outcome, output,
    output::Usage,
    reach::{self, Reached, failed},
    surroundings::Surroundings,
    target::{Reach, Written},
};

/// The most tools of a program.
const MAX_TOOLS: usize = 1_000;
/// The longest name of a server, in characters.
const MAX_SERVER: usize = 100;
/// The largest program, in bytes.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// The file of a skill.
const SKILL: &str = "SKILL.md";

/// Write a program that has a command for each tool of a server, and a skill that teaches an agent to use it
///
/// The program is a shell script: it runs wherever `fastmcp` and a POSIX shell are. Its flags, their types, choices and defaults
/// come from the schemas of the tools; `--help` says what there is. No secret is written down: what holds one is named by its
/// variable.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fastmcp generate-cli                                 ./cli.sh and ./SKILL.md, for the package of this folder
  fastmcp generate-cli https://mcp.example.com/mcp tools/weather --bearer-env WEATHER_TOKEN
  fastmcp generate-cli --no-skill --force cursor:github gh-tools
  fastmcp generate-cli everything.sh -- npx -y @modelcontextprotocol/server-everything
  ./cli.sh --help; ./cli.sh forecast --city Oslo --days 3 --json

Targets: `fastmcp list --help`.")]
pub(crate) struct GenerateCli {
    /// Which server; without one it is the working folder
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// The program; the skill is written beside it. `-` prints the program alone [default: cli.sh]
    #[arg(value_name = "FILE")]
    file: Option<String>,
    /// A command that speaks MCP on its standard input and output
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Overwrite the files that are there
    #[arg(long)]
    force: bool,
    /// Write no SKILL.md
    #[arg(long)]
    no_skill: bool,
    #[command(flatten)]
    reach: Reach,
}

impl GenerateCli {
    pub(crate) fn run(self) -> anyhow::Result<Outcome> {
        reach::log("error", self.reach.verbose)?;
        let around = Surroundings::of_process()?;
        let (target, file) = self.words()?;
        let written = self.reach.written(target, &self.command, &around)?;
        let files = Files::of(file, self.no_skill, &around)?;
        files.refuse_what_is_there(self.force)?;
        let found = self.reach.find(target, &self.command, &around)?;
        let (server, commands) = reach::run(|tasks| async move {
            let reached =
                Reached::to(found, &self.reach, &around, Client::builder(), &tasks).await?;
            let name = reached.client.server_info().map(|info| info.name);
            let tools = reached.client.list_tools().await;
            reached.close().await;
            let tools = tools.map_err(|error| failed("the tools cannot be listed", &error))?;
            if tools.len() > MAX_TOOLS {
                bail!(
                    "the server has {} tools; a program may have {MAX_TOOLS}",
                    tools.len()
                );
            }
            let name = shape::one_line(name.as_deref().unwrap_or_default());
            let name: String = name.chars().take(MAX_SERVER).collect();
            let name = if name.is_empty() {
                "an MCP server".to_owned()
            } else {
                name
            };
            Ok((name, commands(&tools)?))
        })?;
        if commands.is_empty() {
            bail!("the server has no tool that can be a command");
        }
        files.write(&server, &written, &commands, self.force)
    }

    /// Target and file: a command that is the server leaves one word, the file.
    fn words(&self) -> anyhow::Result<(Option<&str>, &str)> {
        let (target, file) = (self.target.as_deref(), self.file.as_deref());
        let (target, file) = match (self.command.is_empty(), target, file) {
            (true, target, file) => (target, file),
            (false, file, None) => (None, file),
            (false, Some(target), Some(_)) => {
                return Err(Usage::new(format!(
                    "`{}` and a command after `--` are two targets; give one of them",
                    output::printable(target)
                )));
            }
            (false, None, Some(file)) => (None, Some(file)),
        };
        Ok((target, file.unwrap_or("cli.sh")))
    }
}

/// The tools that can be commands; says which cannot.
fn commands(tools: &[fastmcp::protocol::tool::Tool]) -> anyhow::Result<Vec<Command>> {
    let (mut commands, mut seen) = (Vec::new(), HashSet::new());
    for tool in tools {
        match Command::of(tool)? {
            Some(command) if seen.insert(command.name.clone()) => commands.push(command),
            Some(_) => {}
            None => {
                let shown: String = tool.name.chars().take(64).collect();
                output::complain(&format!(
                    "tool `{}` is left out: its name cannot be typed as a command",
                    unmistakable(&shown)
                ));
            }
        }
    }
    Ok(commands)
}

/// Where everything goes.
struct Files {
    /// The program; without one it is printed.
    program: Option<PathBuf>,
    skill: Option<PathBuf>,
    /// The program's name, as the skill calls it.
    name: String,
}

impl Files {
    fn of(file: &str, no_skill: bool, around: &Surroundings) -> anyhow::Result<Self> {
        if file == "-" {
            return Ok(Self {
                program: None,
                skill: None,
                name: String::new(),
            });
        }
        let program = around.absolute(Path::new(file));
        let name = program.file_name().and_then(|name| name.to_str());
        let is_plain = |name: &&str| unmistakable(name) == *name && !file.ends_with('/');
        let name = name.filter(is_plain).with_context(|| {
            format!(
                "`{}`: give the name of a file for the program",
                output::printable(file)
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            skill: (!no_skill).then(|| program.with_file_name(SKILL)),
            program: Some(program),
        })
    }

    fn refuse_what_is_there(&self, force: bool) -> anyhow::Result<()> {
        let skill = self.skill.as_deref().map(|path| (path, "--no-skill"));
        let program = self.program.as_deref().map(|path| (path, "another FILE"));
        for (path, instead) in program.into_iter().chain(skill) {
            if path.is_dir() {
                bail!("`{}` is a folder; give {instead}", path.display());
            }
            if !force && path.symlink_metadata().is_ok() {
                return Err(is_there(path, instead));
            }
        }
        Ok(())
    }

    fn write(
        &self,
        server: &str,
        target: &Written,
        commands: &[Command],
        force: bool,
    ) -> anyhow::Result<Outcome> {
        let program = Program {
            server,
            target,
            commands,
        };
        let script = program.script();
        if script.len() > MAX_BYTES {
            bail!("the program would have more than {MAX_BYTES} bytes");
        }
        let Some(path) = &self.program else {
            output::say(script.trim_end())?;
            return Ok(Outcome::Passed);
        };
        put(path, &script, 0o777, force, "another FILE")?;
        if let Some(file) = &self.skill {
            let skill = Skill {
                server,
                file: &self.name,
                variables: &target.variables,
                commands,
            };
            put(file, &skill.document(), 0o666, force, "--no-skill")?;
        }
        let tools = match commands.len() {
            1 => "1 tool".to_owned(),
            count => format!("{count} tools"),
        };
        let mut told = format!("{tools} of {server} are commands of {}", path.display());
        if let Some(file) = &self.skill {
            told.push_str(&format!("\n{} teaches an agent to use it", file.display()));
        }
        for variable in &target.variables {
            told.push_str(&format!(
                "\nit needs the variable `{}`",
                output::printable(variable)
            ));
        }
        output::say(&told)?;
        Ok(Outcome::Passed)
    }
}

fn is_there(path: &Path, instead: &str) -> anyhow::Error {
    Usage::new(format!(
        "`{}` is there already; give --force to overwrite it, or {instead}",
        path.display()
    ))
}

/// Writes a file as a whole: whoever reads it sees all of it or what was there before. A link is replaced, not followed.
fn put(path: &Path, text: &str, mode: u32, force: bool, instead: &str) -> anyhow::Result<()> {
    let cannot = || format!("`{}` cannot be written", path.display());
    let folder = path.parent().with_context(cannot)?;
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Less what the umask takes away.
        builder.permissions(fs::Permissions::from_mode(mode));
    }
    #[cfg(not(unix))]
    let _ = mode;
    let mut fresh = builder.tempfile_in(folder).with_context(cannot)?;
    fresh
        .write_all(text.as_bytes())
        .and_then(|()| fresh.as_file().sync_all())
        .with_context(cannot)?;
    if force {
        fresh.persist(path).with_context(cannot)?;
        return Ok(());
    }
    match fresh.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
            Err(is_there(path, instead))
        }
        Err(error) => Err(error.error).with_context(cannot),
    }
}
