//! Which server a command is about: one grammar for all commands.

mod doubt;
mod written;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Args;
use fastmcp::protocol::ProtocolVersion;

use self::doubt::Doubt;
pub(crate) use self::written::Written;
use crate::{
    configured::{self, Everything},
    declared::{self, Deployment},
    definition::{Definition, Process, Remote, told_url},
    output::{Usage, printable},
    project::Project,
    surroundings::{Surroundings, did_you_mean},
};

/// What a target may be, for the help of commands.
pub(crate) const GRAMMAR: &str = "\
A target is one of
  https://host/mcp           an address
  .  path/to/folder          a folder with fastmcp.json or Cargo.toml; the package is built
  fastmcp.json  mcp.json     a file that declares a server, or several by `mcpServers`
  NAME  CLIENT:NAME          a server that a client on this machine has; see `fastmcp discover`
                             (one that a file of this folder names needs a yes, or --trust)
  --config FILE NAME         a server of that file
  -- COMMAND ARGS...         a command that speaks MCP on its standard input and output
Without one it is the working folder.";

/// How the server is found and spoken with.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// A file of `mcpServers` that the target is a name of
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    config: Option<PathBuf>,
    /// In a workspace: the package
    #[arg(long, value_name = "NAME", help_heading = "Target")]
    package: Option<String>,
    /// Of a package: the binary
    #[arg(long, value_name = "NAME", help_heading = "Target")]
    bin: Option<String>,
    /// Build a package optimised
    #[arg(long, help_heading = "Target")]
    release: bool,
    /// A header of every request, such as `X-Key: ${KEY}`; `${KEY}` is taken from the environment
    #[arg(long = "header", value_name = "NAME: VALUE", help_heading = "Target")]
    headers: Vec<String>,
    /// The variable that holds a bearer token for the server
    #[arg(long, value_name = "VARIABLE", help_heading = "Target")]
    bearer_env: Option<String>,
    /// Log in by the browser where the server asks for it
    #[arg(long, conflicts_with = "bearer_env", help_heading = "Target")]
    oauth: bool,
    /// A variable of the server's process; `NAME` alone hands on that of this one
    #[arg(long = "env", value_name = "NAME=VALUE", help_heading = "Target")]
    env: Vec<String>,
    /// A file of variables of the server's process
    #[arg(long, value_name = "FILE", help_heading = "Target")]
    env_file: Option<PathBuf>,
    /// Use a server that a file of this folder names without asking: it may start any program
    #[arg(long, help_heading = "Target")]
    trust: bool,
    /// How long the server may be silent
    #[arg(long, value_name = "SECONDS", default_value_t = written::SILENCE, value_parser = clap::value_parser!(u64).range(1..=86_400), help_heading = "Target")]
    timeout: u64,
    /// Speak this revision of the protocol alone
    #[arg(long, value_name = "DATE", value_parser = revision, help_heading = "Target")]
    revision: Option<ProtocolVersion>,
    /// Show what the server says on its standard error, and what is logged
    #[arg(short, long, help_heading = "Target")]
    pub(crate) verbose: bool,
}

fn revision(text: &str) -> Result<ProtocolVersion, String> {
    ProtocolVersion::parse(text).ok_or_else(|| {
        let known: Vec<_> = ProtocolVersion::ALL
            .iter()
            .map(|version| version.as_str())
            .collect();
        format!("give one of {}", known.join(", "))
    })
}

/// What a target turned out to be.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// A name for it, where it has one.
    pub(crate) name: Option<String>,
    pub(crate) servers: Servers,
    pub(crate) deployment: Deployment,
}

/// One server, or those of a file.
#[derive(Clone, Debug)]
pub(crate) enum Servers {
    One(Definition),
    Many(BTreeMap<String, Definition>),
}

impl Found {
    fn one(name: Option<String>, definition: Definition) -> Self {
        Self {
            name,
            servers: Servers::One(definition),
            deployment: Deployment::default(),
        }
    }

    /// The target on one line.
    pub(crate) fn told(&self) -> String {
        match &self.servers {
            Servers::One(definition) => definition.told(),
            Servers::Many(servers) => {
                let names: Vec<_> = servers.keys().map(|name| printable(name)).collect();
                names.join(", ")
            }
        }
    }
}

impl Reach {
    /// How long the server may be silent.
    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// The one revision to speak.
    pub(crate) const fn revision(&self) -> Option<ProtocolVersion> {
        self.revision
    }

    /// Finds the server.
    pub(crate) fn find(
        &self,
        target: Option<&str>,
        command: &[String],
        around: &Surroundings,
    ) -> anyhow::Result<Found> {
        let mut found = self.place(target, command, around)?;
        match &mut found.servers {
            Servers::One(definition) => self.adjust(definition, around)?,
            Servers::Many(_)
                if self.headers.is_empty() && self.bearer_env.is_none() && self.env.is_empty() => {}
            Servers::Many(_) => {
                return Err(Usage::new(
                    "a header, token or variable would go to all servers of the file; name one of them",
                ));
            }
        }
        Ok(found)
    }

    fn place(
        &self,
        target: Option<&str>,
        command: &[String],
        around: &Surroundings,
    ) -> anyhow::Result<Found> {
        if self.config.is_some() && !command.is_empty() {
            return Err(Usage::new(
                "--config names a server, and so does a command after `--`; give one of them",
            ));
        }
        match (target, command.split_first()) {
            (Some(target), Some(_)) => Err(Usage::new(format!(
                "`{}` and a command after `--` are two targets; give one of them",
                printable(target)
            ))),
            (None, Some((program, args))) => Ok(Found::one(
                Path::new(program)
                    .file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
                Definition::Process(Process {
                    program: program.clone(),
                    args: args.to_vec(),
                    whole_environment: true,
                    ..Process::default()
                }),
            )),
            (target, None) => match (&self.config, target) {
                (Some(file), name) => of_file(&around.absolute(file), name),
                (None, Some(target)) => self.named(target, around),
                (None, None) => self
                    .folder(&around.folder, around)
                    .map_err(|error| Usage::new(format!("{error}; give a target:\n\n{GRAMMAR}"))),
            },
        }
    }

    fn named(&self, target: &str, around: &Surroundings) -> anyhow::Result<Found> {
        if target.starts_with("http://") || target.starts_with("https://") {
            let host = url::Url::parse(target)
                .ok()
                .and_then(|url| url.host_str().map(str::to_owned));
            let remote = Remote {
                url: target.to_owned(),
                ..Remote::default()
            };
            return Ok(Found::one(host, Definition::Remote(remote)));
        }
        let path = around.absolute(Path::new(target));
        if path.is_dir() {
            return self.folder(&path, around);
        }
        if path.is_file() {
            return self.file(&path, around);
        }
        let (found, doubt) = by_name(target, around)?;
        match doubt {
            Some(doubt) if !self.trust => doubt.settled().map(|()| found),
            _ => Ok(found),
        }
    }

    fn folder(&self, folder: &Path, around: &Surroundings) -> anyhow::Result<Found> {
        for name in [declared::FILE, "Cargo.toml"] {
            let file = folder.join(name);
            if file.is_file() {
                return self.file(&file, around);
            }
        }
        bail!(
            "`{}` has neither fastmcp.json nor Cargo.toml",
            folder.display()
        )
    }

    fn file(&self, path: &Path, around: &Surroundings) -> anyhow::Result<Found> {
        if path.file_name().is_some_and(|name| name == "Cargo.toml") {
            let project = Project {
                manifest: path.to_owned(),
                ..Project::default()
            };
            let folder = path.parent().and_then(Path::file_name);
            return Ok(Found::one(
                folder.map(|name| name.to_string_lossy().into_owned()),
                Definition::Project(project),
            ));
        }
        if path.extension().is_none_or(|extension| extension != "json") {
            let shown = path.display();
            return Err(Usage::new(format!(
                "`{shown}` is no target; a program that speaks MCP is given as a command: -- {shown}"
            )));
        }
        let value = configured::read_file(path)
            .map_err(|why| anyhow::anyhow!("`{}`: {why}", path.display()))?;
        let has = |member: &str| {
            value
                .as_ref()
                .is_some_and(|value| value.get(member).is_some())
        };
        if has("mcpServers") || has("servers") {
            return of_file(path, None);
        }
        let declared = declared::open(path, around)?;
        Ok(Found {
            name: declared.name.or_else(|| {
                let folder = path.parent()?.file_name()?;
                Some(folder.to_string_lossy().into_owned())
            }),
            servers: Servers::One(declared.definition),
            deployment: declared.deployment,
        })
    }

    /// Puts what the command line says on top.
    fn adjust(&self, definition: &mut Definition, around: &Surroundings) -> anyhow::Result<()> {
        definition
            .add_variables(&self.variables(around)?)
            .map_err(Usage::new)?;
        if let Definition::Project(project) = definition {
            project.release |= self.release;
            project.package = self.package.clone().or_else(|| project.package.take());
            if self.bin.is_some() {
                project.bin.clone_from(&self.bin);
            }
        } else if self.release || self.package.is_some() || self.bin.is_some() {
            return Err(Usage::new(
                "--package, --bin and --release are for a package",
            ));
        }
        let Definition::Remote(remote) = definition else {
            if !self.headers.is_empty() || self.bearer_env.is_some() || self.oauth {
                return Err(Usage::new(
                    "headers, tokens and logins are for a server at an address",
                ));
            }
            return Ok(());
        };
        remote.oauth |= self.oauth;
        for header in &self.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Usage::new("--header: give `NAME: VALUE`, such as `X-Key: ${KEY}`")
            })?;
            remote
                .headers
                .insert(name.trim().to_owned(), value.trim().to_owned());
        }
        if let Some(variable) = &self.bearer_env {
            let unset = || {
                format!(
                    "--bearer-env: the variable `{}` is not set; put the token into it",
                    printable(variable)
                )
            };
            around.variable(variable).with_context(unset)?;
            // By its name until the server is reached: a file that is shared must not hold the token.
            remote.headers.insert(
                "Authorization".to_owned(),
                format!("Bearer ${{{variable}}}"),
            );
        }
        Ok(())
    }

    fn variables(&self, around: &Surroundings) -> anyhow::Result<BTreeMap<String, String>> {
        let mut variables = BTreeMap::new();
        if let Some(file) = &self.env_file {
            variables = declared::read_env_file(&around.absolute(file))
                .map_err(|why| anyhow::anyhow!("--env-file: {why}"))?;
        }
        for given in &self.env {
            let (name, value) = match given.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    around.variable(given).with_context(|| {
                        format!(
                            "--env: the variable `{}` is not set; give `NAME=VALUE`",
                            printable(given)
                        )
                    })?;
                    (given.as_str(), format!("${{{given}}}"))
                }
            };
            if !declared::is_variable(name) {
                return Err(Usage::new("--env: give `NAME=VALUE`"));
            }
            variables.insert(name.to_owned(), value);
        }
        Ok(variables)
    }
}

/// A server of a file of `mcpServers`, or all of them.
fn of_file(path: &Path, name: Option<&str>) -> anyhow::Result<Found> {
    let within = |why: String| anyhow::anyhow!("`{}`: {why}", path.display());
    let servers = configured::servers_of(path).map_err(within)?;
    let Some(name) = name else {
        let mut all = BTreeMap::new();
        for (name, definition) in servers {
            let definition = definition
                .map_err(|why| within(format!("server `{}`: {why}", printable(&name))))?;
            all.insert(name, definition);
        }
        let stem = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        return match all.len() {
            0 => Err(within("it names no server".to_owned())),
            1 => Ok(all.pop_first().map_or_else(
                || Found::one(None, Definition::Process(Process::default())),
                |(name, definition)| Found::one(Some(name), definition),
            )),
            _ => Ok(Found {
                name: stem,
                servers: Servers::Many(all),
                deployment: Deployment::default(),
            }),
        };
    };
    match servers.get(name) {
        Some(Ok(definition)) => Ok(Found::one(Some(name.to_owned()), definition.clone())),
        Some(Err(why)) => Err(within(format!("server `{}`: {why}", printable(name)))),
        None => {
            let known = servers.keys().map(String::as_str);
            Err(within(format!(
                "it names no server `{}`{}",
                printable(name),
                did_you_mean(name, known)
            )))
        }
    }
}

/// A server that some client has, and what is to be asked before it is used.
fn by_name(target: &str, around: &Surroundings) -> anyhow::Result<(Found, Option<Doubt>)> {
    let (source, name) = match target.split_once(':') {
        Some((source, name)) => (Some(source), name),
        None => (None, target),
    };
    let Everything { servers, .. } = configured::everything(around);
    let of_source = |of: &str| source.is_none_or(|source| source == of);
    let fitting: Vec<_> = servers
        .iter()
        .filter(|one| one.name == name && of_source(one.source))
        .collect();
    let mut known: Vec<&Definition> = fitting
        .iter()
        .filter_map(|one| one.definition.as_ref().ok())
        .collect();
    known.dedup();
    match (known.as_slice(), fitting.as_slice()) {
        ([only], _) => {
            let doubt = Doubt::of(name, only, &fitting);
            Ok((Found::one(Some(name.to_owned()), (*only).clone()), doubt))
        }
        ([], [first, ..]) => {
            let why = first
                .definition
                .as_ref()
                .err()
                .map(String::as_str)
                .unwrap_or_default();
            bail!(
                "`{}`: server `{}`: {why}",
                first.file.display(),
                printable(name)
            )
        }
        ([], []) => {
            let near = did_you_mean(name, servers.iter().map(|one| one.name.as_str()));
            bail!(
                "`{}` is no address, file or folder, and no client on this machine has a server of that name{near}\n\
                 `fastmcp discover` shows those that there are",
                printable(target)
            )
        }
        _ => {
            let mut message = format!(
                "several clients have a server `{}`; say which:",
                printable(name)
            );
            for one in fitting {
                // Writing to a string cannot fail.
                let _ = write!(message, "\n  {}:{}", one.source, printable(&one.name));
            }
            bail!(message)
        }
    }
}

/// What a server is called where nobody gave it a name: made of letters, digits, `_`, `-` and `.`.
pub(crate) fn plain_name(name: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "_-.".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().take(64).map(plain).collect();
    match name.trim_matches('-') {
        "" => "server".to_owned(),
        name => name.to_owned(),
    }
}

/// An address as messages name it.
pub(crate) fn shown(definition: &Definition) -> String {
    match definition {
        Definition::Remote(remote) => told_url(&remote.url),
        other => other.told(),
    }
}
