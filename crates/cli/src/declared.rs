//! `fastmcp.json`: a server, and how it is run, said once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    configured,
    definition::{Definition, Process, Remote},
    project::Project,
    surroundings::{Surroundings, nearest},
};

/// The name of the file.
pub(crate) const FILE: &str = "fastmcp.json";
/// The most bytes of it.
const MAX_BYTES: usize = 1024 * 1024;

/// A server, and how it is run.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(title = "fastmcp.json")]
#[serde(deny_unknown_fields)]
struct File {
    /// Where editors find the description of this file.
    #[serde(rename = "$schema")]
    #[expect(dead_code, reason = "it is for editors, and may stand there")]
    schema: Option<String>,
    /// What the server is called, in the files of clients for example: letters, digits, `_`, `-` and `.`.
    name: Option<String>,
    /// What the server is.
    source: Source,
    /// How it is run.
    #[serde(default)]
    deployment: DeploymentFields,
}

/// What the server is: a package, a command or an address. Texts may name variables: `${NAME}`, `${NAME:-otherwise}`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Source {
    /// Which of the three it is. Without it, `command` or `url` say so, and otherwise it is a package.
    #[serde(rename = "type")]
    kind: Option<Kind>,
    /// A package: its folder, or that of its workspace, as seen from this file. Default: the folder of this file.
    path: Option<PathBuf>,
    /// A package: which of the workspace.
    package: Option<String>,
    /// A package: which of its binaries.
    bin: Option<String>,
    /// A package: an example in place of a binary.
    example: Option<String>,
    /// A package: features that are switched on.
    features: Vec<String>,
    /// A package: whether it is built optimised. Default: no.
    release: bool,
    /// A command: the program.
    command: Option<String>,
    /// A command: its arguments. No shell reads them.
    args: Vec<String>,
    /// An address: where the server is.
    url: Option<String>,
    /// An address: headers of every request.
    headers: BTreeMap<String, String>,
    /// An address: whether it speaks HTTP with SSE, as 2024-11-05 had it. Default: no.
    sse: bool,
    /// An address: whether somebody logs in for it in a browser. Default: no.
    oauth: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Cargo,
    Command,
    Url,
}

/// How a server is reached by those who use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// Standard input and output.
    Stdio,
    /// Streamable HTTP.
    Http,
}

/// How it is run. What the command line says, wins.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct DeploymentFields {
    /// How it is reached. Default: `stdio`.
    transport: Option<Transport>,
    /// HTTP: the address to listen at. Default: `127.0.0.1`.
    host: Option<String>,
    /// HTTP: the port; 0 stands for any that is free. Default: 8000.
    port: Option<u16>,
    /// HTTP: the path of the endpoint. Default: `/mcp`.
    path: Option<String>,
    /// HTTP: names, beside those of this machine, by which the server may be addressed.
    allowed_hosts: Vec<String>,
    /// What is logged on standard error: `error`, `warn`, `info`, `debug` or `trace`. Default: `warn`.
    log_level: Option<String>,
    /// Arguments of the server's program, behind those of the source.
    args: Vec<String>,
    /// Variables of the server's process. Values may name variables: `${NAME}`.
    env: BTreeMap<String, String>,
    /// A file of further variables, a line `NAME=value` each, as seen from this file; `env` wins.
    env_file: Option<PathBuf>,
    /// The folder that the server runs in, as seen from this file.
    cwd: Option<PathBuf>,
}

/// How a server is run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) transport: Option<Transport>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) path: Option<String>,
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) log_level: Option<String>,
}

/// What a file declares.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) name: Option<String>,
    pub(crate) definition: Definition,
    pub(crate) deployment: Deployment,
}

/// The description of the file, for editors.
pub(crate) fn schema() -> Value {
    schemars::schema_for!(File).to_value()
}

/// Reads the file. What is wrong with it is said by field.
pub(crate) fn open(file: &Path, around: &Surroundings) -> anyhow::Result<Declared> {
    let declared = configured::read_text(file)
        .and_then(|text| text.ok_or_else(|| "there is no such file".to_owned()))
        .and_then(|text| {
            let base = file.parent().unwrap_or(Path::new(""));
            read(&text, &around.absolute(base), around)
        });
    declared.map_err(|why| anyhow::anyhow!("`{}`: {why}", file.display()))
}

fn read(text: &str, base: &Path, around: &Surroundings) -> Result<Declared, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let value = configured::parse_json(text)?;
    if value.pointer("/source/entrypoint").is_some() || value.get("environment").is_some() {
        return Err(
            "it describes a server in Python, which this command does not run; give the command that does as the \
             source: {\"command\": \"uv\", \"args\": [\"run\", \"server.py\"]}"
                .to_owned(),
        );
    }
    let file: File = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let why = with_nearest(&error.into_inner().to_string());
        if path == "." {
            why
        } else {
            format!("`{path}`: {why}")
        }
    })?;
    let deployment = file.deployment;
    let variables = variables(&deployment, base)?;
    let mut definition = file.source.definition(base)?;
    definition
        .add_variables(&variables)
        .map_err(|_| "`deployment.env`: an address has none".to_owned())?;
    match &mut definition {
        Definition::Process(process) => {
            process.args.extend(deployment.args);
            process.folder = Some(base.join(deployment.cwd.unwrap_or_default()));
        }
        Definition::Project(project) => {
            project.args.extend(deployment.args);
            project.folder = deployment.cwd.map(|cwd| base.join(cwd));
        }
        Definition::Remote(_) if deployment.args.is_empty() && deployment.cwd.is_none() => {}
        Definition::Remote(_) => {
            return Err(
                "`deployment`: an address has neither `args` nor `cwd`; leave them out".to_owned(),
            );
        }
    }
    // Seen now, so that who lists hears what is missing before anything is built.
    definition.clone().expanded(around)?;
    Ok(Declared {
        name: file.name,
        definition,
        deployment: Deployment {
            transport: deployment.transport,
            host: deployment.host,
            port: deployment.port,
            path: deployment.path,
            allowed_hosts: deployment.allowed_hosts,
            log_level: deployment.log_level,
        },
    })
}

fn variables(
    deployment: &DeploymentFields,
    base: &Path,
) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::new();
    if let Some(file) = &deployment.env_file {
        let within = |why: String| format!("`deployment.env_file`: {why}");
        variables = read_env_file(&base.join(file)).map_err(within)?;
    }
    variables.extend(deployment.env.clone());
    if let Some(name) = variables.keys().find(|name| !is_variable(name)) {
        return Err(format!(
            "`deployment.env`: `{}` is no name of a variable",
            name.escape_debug()
        ));
    }
    Ok(variables)
}

/// Whether a process can have a variable of this name.
pub(crate) fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

/// The variables of a file with a line `NAME=value` for each.
pub(crate) fn read_env_file(file: &Path) -> Result<BTreeMap<String, String>, String> {
    let within = |why: String| format!("`{}`: {why}", file.display());
    let text = configured::read_text(file).map_err(within)?;
    let text = text.ok_or_else(|| within("there is no such file".to_owned()))?;
    let pairs = fastmcp::config::dotenv(&text).map_err(|error| within(error.to_string()))?;
    Ok(pairs.into_iter().collect())
}

impl Source {
    fn definition(self, base: &Path) -> Result<Definition, String> {
        let kind = match (self.kind, &self.command, &self.url) {
            (Some(kind), ..) => kind,
            (None, Some(_), Some(_)) => {
                return Err("`source`: give `command` or `url`, not both".to_owned());
            }
            (None, Some(_), None) => Kind::Command,
            (None, None, Some(_)) => Kind::Url,
            (None, None, None) => Kind::Cargo,
        };
        self.refuse_others(kind)?;
        Ok(match kind {
            Kind::Cargo => Definition::Project(Project {
                manifest: base.join(self.path.unwrap_or_default()).join("Cargo.toml"),
                package: self.package,
                bin: self.bin,
                example: self.example,
                features: self.features,
                release: self.release,
                args: self.args,
                ..Project::default()
            }),
            Kind::Command => Definition::Process(Process {
                program: self
                    .command
                    .filter(|c| !c.is_empty())
                    .ok_or("`source.command`: give the program to start")?,
                args: self.args,
                whole_environment: true,
                ..Process::default()
            }),
            Kind::Url => Definition::Remote(Remote {
                url: self
                    .url
                    .ok_or("`source.url`: give the address of the server")?,
                headers: self.headers,
                is_sse: self.sse,
                oauth: self.oauth,
            }),
        })
    }

    /// Refuses fields that mean nothing for `kind`, rather than to pass over what somebody meant.
    fn refuse_others(&self, kind: Kind) -> Result<(), String> {
        let fields = [
            ("path", Kind::Cargo, self.path.is_some()),
            ("package", Kind::Cargo, self.package.is_some()),
            ("bin", Kind::Cargo, self.bin.is_some()),
            ("example", Kind::Cargo, self.example.is_some()),
            ("features", Kind::Cargo, !self.features.is_empty()),
            ("release", Kind::Cargo, self.release),
            ("command", Kind::Command, self.command.is_some()),
            ("url", Kind::Url, self.url.is_some()),
            ("headers", Kind::Url, !self.headers.is_empty()),
            ("sse", Kind::Url, self.sse),
            ("oauth", Kind::Url, self.oauth),
        ];
        let what = match kind {
            Kind::Cargo => "a package",
            Kind::Command => "a command",
            Kind::Url => "an address",
        };
        let stray = fields
            .into_iter()
            .find(|(_, of, given)| *given && *of != kind);
        if let Some((name, ..)) = stray {
            return Err(format!("`source.{name}`: {what} has none; leave it out"));
        }
        if kind == Kind::Url && !self.args.is_empty() {
            return Err(format!("`source.args`: {what} has none; leave it out"));
        }
        Ok(())
    }
}

/// The message, and after an unknown key the nearest of those that were expected.
fn with_nearest(message: &str) -> String {
    let (given, known) = message
        .split_once("unknown field `")
        .or_else(|| message.split_once("unknown variant `"))
        .and_then(|(_, rest)| rest.split_once("`, expected "))
        .unwrap_or_default();
    let known = known
        .trim_start_matches("one of ")
        .split([',', ' '])
        .map(|known| known.trim_matches('`'));
    match nearest(given, known) {
        Some(known) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::surroundings::{System, tests::around};

    fn parsed(text: &str) -> Result<Declared, String> {
        let around = around(System::Linux, &[("KEY", "k"), ("HOST", "h.example")]);
        read(text, Path::new("/p"), &around)
    }

    #[test]
    fn the_three_kinds_of_server_are_read() {
        let declared = parsed(
            r#"{
                // A package of this folder.
                "$schema": "./schema.json", "name": "weather",
                "source": {"package": "weather", "features": ["http"]},
                "deployment": {"transport": "http", "port": 9000, "env": {"API_KEY": "${KEY}"}, "args": ["--fast"]}
            }"#,
        )
        .unwrap();
        let Definition::Project(project) = declared.definition else {
            panic!("a package")
        };
        assert_eq!(project.manifest, Path::new("/p/Cargo.toml"));
        assert_eq!(
            (project.args, project.env["API_KEY"].as_str()),
            (vec!["--fast".to_owned()], "${KEY}")
        );
        assert_eq!(
            (declared.deployment.transport, declared.deployment.port),
            (Some(Transport::Http), Some(9_000))
        );

        let declared = parsed(
            r#"{"source": {"command": "npx", "args": ["-y", "x"]}, "deployment": {"cwd": "data"}}"#,
        )
        .unwrap();
        let Definition::Process(process) = declared.definition else {
            panic!("a process")
        };
        assert_eq!(
            (process.folder.as_deref(), process.whole_environment),
            (Some(Path::new("/p/data")), true)
        );

        let declared =
            parsed(r#"{"source": {"url": "https://${HOST}/mcp", "headers": {"X-Key": "${KEY}"}}}"#)
                .unwrap();
        assert_eq!(declared.definition.kind(), "http");
    }

    #[test]
    fn what_is_wrong_is_said_by_field() {
        for (text, why) in [
            ("{", "it is no JSON"),
            (r#"{"source": {}, "nmae": "x"}"#, "unknown field `nmae`"),
            (r#"{"source": {}, "nmae": "x"}"#, "did you mean `name`?"),
            (
                r#"{"source": {"pakage": "x"}}"#,
                "`source.pakage`: unknown field",
            ),
            (r#"{"source": {"pakage": "x"}}"#, "did you mean `package`?"),
            (
                r#"{"source": {}, "deployment": {"transport": "htpp"}}"#,
                "`deployment.transport`: unknown variant `htpp`",
            ),
            (
                r#"{"source": {}, "deployment": {"transport": "htpp"}}"#,
                "did you mean `http`?",
            ),
            (
                r#"{"source": {}, "deployment": {"port": 70000}}"#,
                "`deployment.port`: ",
            ),
            (r#"{"name": "x"}"#, "missing field `source`"),
            (
                r#"{"source": {"command": "x", "url": "http://h"}}"#,
                "not both",
            ),
            (
                r#"{"source": {"command": "x", "bin": "y"}}"#,
                "`source.bin`: a command has none",
            ),
            (
                r#"{"source": {"url": "http://h"}, "deployment": {"env": {"A": "b"}}}"#,
                "`deployment.env`: an address",
            ),
            (
                r#"{"source": {"command": "x"}, "deployment": {"env": {"A": "${NONE}"}}}"#,
                "`env.A`: the variable `NONE`",
            ),
            (
                r#"{"source": {"command": "x"}, "deployment": {"env": {"A=": ""}}}"#,
                "is no name of a variable",
            ),
            (
                r#"{"source": {"path": "server.py", "entrypoint": "mcp"}}"#,
                "a server in Python",
            ),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_example_of_the_guide_is_read() {
        let page = include_str!("../../../docs/guide/src/command.md");
        let (_, rest) = page.split_once("```json\n").unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let around = around(System::Linux, &[("WEATHER_KEY", "k")]);
        let declared = read(example, Path::new("/p"), &around).unwrap();
        assert_eq!(declared.name.as_deref(), Some("weather"));
        assert_eq!(declared.deployment.port, Some(9_000));
        assert_eq!(declared.definition.carried(), ["API_KEY", "REGION"]);
    }

    #[test]
    fn the_description_names_every_field() {
        let schema = schema().to_string();
        for field in [
            "source",
            "deployment",
            "package",
            "headers",
            "env_file",
            "allowed_hosts",
        ] {
            assert!(schema.contains(&format!("\"{field}\"")), "{field}");
        }
    }
}
